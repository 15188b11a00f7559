"""Compiles every Triton kernel for Hopper, which needs no GPU, and prints what each takes of a multiprocessor.

Run as a script, in a process of its own: where kernels are interpreted they can't be compiled.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

F64, I64, I32, I8, N, LONG = "*fp64", "*i64", "*i32", "*i8", "i32", "i64"


@dataclass(frozen=True)
class Kernel:
    """A kernel as it is launched: where it is, types of its arguments in order, values of its constants."""

    module: str
    name: str
    types: tuple[str, ...]
    constants: dict[str, Any]
    warps: int = 4

    @property
    def label(self) -> str:
        told = ",".join(str(value) for value in self.constants.values())
        return f"{self.module}.{self.name}[{told}]"


STREAMS = (2, 4, 7, 8)
"""From nine streams on some kernels spill a little."""
SCANS = "schwabot_kernels.device_scan"
ALIGN = "schwabot_kernels.align.gpu"
PHASE = "schwabot_kernels.phase.gpu"
CONSENSUS = "schwabot_kernels.consensus.gpu"
LAG = "schwabot_kernels.lag.gpu_expected"


def _scan_kernels() -> Iterator[Kernel]:
    for kind in range(6):
        part = I64 if kind == 1 else F64
        for columns in (1, 4) if kind != 5 else (1,):
            warps = 4 if columns == 1 else 8
            constants = {"KIND": kind, "BLOCK": 512, "COLUMNS": columns}
            yield Kernel(SCANS, "block_kernel", (part,) * 10 + (N,) * 11, constants, warps)
            constants = {"KIND": kind, "PER_EDGE": 256, "COLUMNS": columns}
            yield Kernel(SCANS, "carry_kernel", (part,) * 6 + (N,) * 2, constants, warps)


def _core_kernels() -> Iterator[Kernel]:
    events = (I64, I32, I8, I64, I64, I64, I64, I64, I64)
    table, state = (F64, F64, I8, I8, I8), (I64, F64, F64, F64, F64, F64, F64, I8)
    values = (*events, *table, *state, I64, F64, F64, I64, *state, F64, N)
    pairs = (I64, F64, F64, I64, I8, F64, I64, I8, I64, I64, F64, I64, *(F64,) * 6, N, N, LONG, N)
    drift = (I64, I64, I8, F64, F64, F64, I64, F64, F64, F64, I8, I8, N, LONG, LONG, N)
    first = (I64, I32, I8, I64, *(F64,) * 6, I8, I8, *(F64,) * 6, N, N)
    second = (I64, I32, *(F64,) * 6, I64, I64, I32, *(F64,) * 7, N, N, LONG, N, N, N)
    yield Kernel(CONSENSUS, "depth_carry_kernel", (F64, F64, F64, N), {"PER_EDGE": 256})
    for streams in STREAMS:
        width = 4 if streams <= 4 else 8
        size = {"V": streams, "BLOCK": 512, "WIDTH": width}
        ring = {**size, "BLOCK": 128, "RING": 64, "W": width}
        yield Kernel(ALIGN, "mark_kernel", (I32, I8, I64, I64, I64, I8, I64, N), size)
        yield Kernel(ALIGN, "align_kernel", values, {**size, "TILE": 4}, 8)
        yield Kernel(PHASE, "pair_kernel", pairs, {**size, "P": streams * (streams - 1) // 2, "TILE": 4}, 8)
        yield Kernel(PHASE, "drift_kernel", drift, ring)
        yield Kernel(CONSENSUS, "first_kernel", first, size, 8)
        yield Kernel(CONSENSUS, "second_kernel", second, size, 8)
    yield Kernel(LAG, "expected_kernel", (I32, *(F64,) * 16, N, N), {"V": 4, "BLOCK": 512})


KERNELS: list[Kernel] = [*_scan_kernels(), *_core_kernels()]
"""Every kernel at the sizes it is launched with."""


@dataclass(frozen=True)
class Usage:
    """What a compiled kernel takes: registers of a thread, bytes of stack (spills) and of shared memory."""

    label: str
    registers: int
    stack: int
    shared: int


def compiled(kernel: Kernel) -> Usage:
    """Compile one kernel for sm_90 and read its machine code's header."""
    function = getattr(import_module(kernel.module), kernel.name)
    names = function.arg_names
    given = [name for name in names if name not in kernel.constants]
    assert len(given) == len(kernel.types), f"{kernel.label}: {len(given)} arguments, {len(kernel.types)} types"
    kinds = dict(zip(given, kernel.types, strict=True))
    signature = {name: kinds.get(name, "constexpr") for name in names}
    on_16_bytes = {
        (place,): [["tt.divisibility", 16]] for place, name in enumerate(names) if signature[name].startswith("*")
    }
    source = ASTSource(fn=function, signature=signature, constexprs=kernel.constants, attrs=on_16_bytes)
    options = {"num_warps": kernel.warps, "enable_fp_fusion": False}
    code = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(code.asm["cubin"])
        file.flush()
        told = subprocess.run(
            [str(tool), "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    found = {name: int(value) for name, value in re.findall(r"(REG|STACK|LOCAL):(\d+)", told)}
    return Usage(kernel.label, found["REG"], found["STACK"] + found["LOCAL"], code.metadata.shared)


def main(wanted: str = "") -> None:
    """Write a JSON line for each kernel whose label contains ``wanted``."""
    for kernel in KERNELS:
        if wanted in kernel.label:
            sys.stdout.write(json.dumps(asdict(compiled(kernel))) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
