"""Compiles the sweep's kernels for sm_90 without a GPU, and prints what came out as JSON: run as a process of its own.

numba-cuda asks the current device for its compute capability and loads what it compiled; here it is told 9.0, and
nothing is loaded. ``python -m tests.gpu.compile_sweep FOLDER [NAME ...]`` also leaves PTX and cubin in the folder.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import triton
from numba.cuda import codegen, dispatcher

from schwabot.signals import Parameter, nothing, policy, take
from schwabot.signals.compiling import CompiledPolicy, compile_policy
from schwabot.signals.loading import load_policy
from schwabot_kernels.simulate import cutting, gpu
from schwabot_kernels.simulate.cpu import make_simulator
from schwabot_kernels.simulate.lean import build
from schwabot_kernels.simulate.reads import NO_TIMES
from schwabot_kernels.simulate.records import Market
from schwabot_kernels.simulate.segments import GUESS, make_step
from schwabot_kernels.simulate.state import SimState, new_state
from tests.kernels.making_threshold import make_market, make_rules

CAPABILITY = (9, 0)
CUOBJDUMP = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
QUIET = ("threshold", "lead_lag", "mean_reversion", "curved")
GENERAL = ("threshold", "timed_execution", "quote_guard", "own")


class Card:
    """As much of a device as compiling asks for."""

    compute_capability = CAPABILITY


def pretend() -> None:
    """Let numba-cuda compile for the card that is not there."""
    told = cast("Any", dispatcher)
    told.get_current_device = lambda: Card
    told._Kernel.bind = lambda self: self._codelibrary.get_cubin(cc=CAPABILITY)
    cast("Any", codegen).JITCUDACodegen.magic_tuple = lambda self: CAPABILITY
    cast("Any", codegen).CUDACodeLibrary._ensure_cc = lambda self, cc: cc or CAPABILITY


@policy(memory=2, edge_bp=Parameter(1.0, low=0.0), gain=Parameter(0.1))
def own(s: Any, e: Any, p: Any) -> Any:
    """Somebody's own: a mean of the forecast in its memory, products added up."""
    s.memory[0] = s.memory[0] + p.gain * (e.forecast_bp - s.memory[0])
    s.memory[1] += 1.0
    if s.in_flight > 0:
        return nothing()
    if s.memory[0] > p.edge_bp and s.position <= 0:
        return take(1, 1)
    if s.memory[0] < -p.edge_bp and s.position >= 0:
        return take(-1, 1)
    return nothing()


def quiet(s: Any, p: Any) -> tuple[float, float]:
    if s.in_flight > 0:
        return -math.inf, math.inf
    return -p.edge_bp, p.edge_bp


@policy(signal="forecast_bp", quiet=quiet, edge_bp=Parameter(1.0, low=0.0))
def curved(s: Any, e: Any, p: Any) -> Any:
    """Calls what CUDA rounds otherwise than the CPU."""
    if s.in_flight == 0 and math.exp(e.forecast_bp) > math.exp(p.edge_bp) and s.position <= 0:
        return take(1, 1)
    return nothing()


def market_of(policy: CompiledPolicy) -> tuple[Market, Any]:
    """A market with the signals of a policy, and rules."""
    market = make_market(1, 200, inverse=False, late_leg=False, nan=0.0, ties=False)
    market = market._replace(signals=np.zeros((1, max(1, len(policy.signals)), 200)))
    return market, make_rules(1, 3, market, inverse=False, model=0, latency_ns=9, funding=1, bucket_ns=100)


def skipping(policy: CompiledPolicy) -> tuple[Any, Any]:
    """Kernel and arguments of a policy that says where it is quiet."""
    market, rules = market_of(policy)
    lean = build(market, 0, 0, rules.bucket_ns)
    plan = cutting.plan(lean, rules, 3, 4, NO_TIMES)
    shapes = cutting.shapes(plan, lean.ends.size, policy.memory)
    work = cutting.Work(**{name: np.zeros(shape, kind) for name, (shape, kind) in shapes.items()})
    step = make_step(policy.policy, policy.quiet, policy.event_of, policy.params_of)
    return gpu.make_step_kernel(step, "skip", policy.key), (lean, rules, given(policy), plan, work, GUESS)


def general(policy: CompiledPolicy) -> tuple[Any, Any]:
    """Kernel and arguments of any policy."""
    market, rules = market_of(policy)
    states = SimState(*(np.repeat(array[..., None], 3, axis=-1) for array in new_state(1, policy.memory, 0, 0)))
    run = make_simulator(policy.policy, policy.event_of, policy.params_of)
    return gpu.make_run_kernel(run, policy.key), (market, rules, given(policy), states)


def given(policy: CompiledPolicy) -> gpu.Given:
    return gpu.Given(np.repeat(policy.row()[None, :], 3, axis=0), np.zeros((3, 1, 17), np.int64), np.zeros((3, 1, 5)))


def look(policy: Any, make: Callable[[], tuple[Any, Any]], folder: Path, name: str) -> dict[str, Any]:
    """Compile, and see what came out; then once more, which is read from disk."""
    kernel, arguments = make()
    started_s = time.perf_counter()
    refused = ""
    try:
        gpu.check_indices(policy)
        gpu.compiled(kernel, *arguments)
    except cutting.DeviceUnfitError as error:
        refused = str(error)
    took_s = time.perf_counter() - started_s
    if not kernel.overloads:
        return {"name": name, "refused": refused}
    (one,) = kernel.overloads.values()
    ptx, cubin = one._codelibrary.get_asm_str(), one._codelibrary.get_cubin(cc=CAPABILITY).code
    (folder / f"{name}.ptx").write_text(ptx)
    (folder / f"{name}.cubin").write_bytes(cubin)
    said = subprocess.run(
        [CUOBJDUMP, "--dump-resource-usage", folder / f"{name}.cubin"], check=True, capture_output=True, text=True
    ).stdout
    again, arguments = make()
    with suppress(cutting.DeviceUnfitError):
        gpu.compiled(again, *arguments)
    (other,) = again.overloads.values()
    used = dict(re.findall(r"(REG|STACK|LOCAL|CONSTANT\[0\]):(\d+)", said))
    return {
        "name": name,
        "refused": refused,
        "kept": other._codelibrary.get_cubin(cc=CAPABILITY).code == cubin and not hasattr(other, "target_context"),
        "fused": len(re.findall(r"\bfma\.", ptx)),
        "other_order_of_nan": len(re.findall(r"\b(?:max|min)\.f64", ptx)),
        "constant": int(used["CONSTANT[0]"]),
        "products": len(re.findall(r"\bmul\.rn\.f64", ptx)),
        "registers": int(used["REG"]),
        "stack": int(used["STACK"]),
        "local": int(used["LOCAL"]),
        "ptx_lines": len(ptx.splitlines()),
        "compile_s": round(took_s, 1),
    }


OWN = {"own": own, "curved": curved}


def main(folder: Path, names: list[str]) -> None:
    """Print a line of JSON per kernel."""
    pretend()
    for name in names:
        of, way = name.split(".")
        declared = OWN[of] if of in OWN else load_policy(of)
        compiled = compile_policy(declared)
        make = partial(skipping if way == "skipping" else general, compiled)
        sys.stdout.write(json.dumps(look(compiled.policy, make, folder, name)) + "\n")
        sys.stdout.flush()


EVERY = [f"{name}.skipping" for name in QUIET] + [f"{name}.general" for name in GENERAL]

if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:] or EVERY)
