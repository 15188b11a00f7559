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

from schwabot_kernels.consensus.gpu import WIDEST
from schwabot_kernels.phase.gpu import CELLS, HELD

F64, F32, I64, I32, I8 = "*fp64", "*fp32", "*i64", "*i32", "*i8"
N, LONG, X = "i32", "i64", "fp64"


@dataclass(frozen=True)
class Kernel:
    """A kernel as it is launched: where it is, types of its arguments in order, values of its constants.

    None among the types stands for a constant, and may be left out. stack: bytes that a thread may spill.
    """

    module: str
    name: str
    types: tuple[str | None, ...]
    constants: dict[str, Any]
    warps: int = 4
    stack: int = 16  # two numbers

    @property
    def label(self) -> str:
        told = ",".join(str(value) for value in self.constants.values())
        return f"{self.module}.{self.name}[{told}]"


STREAMS = (2, 4, 7, 8, 9, 17)
SPILLED = 512
"""Bytes of a thread's stack that kernels of the core may take from nine streams on: there most of them spill, with an
odd number by 32 to 400. Consensus' kernels end at ``WIDEST`` streams: beyond, the second cannot be launched."""
SCANS = "schwabot_kernels.device_scan"
ALIGN = "schwabot_kernels.align.gpu"
PHASE = "schwabot_kernels.phase.gpu"
CONSENSUS = "schwabot_kernels.consensus.gpu"
LAG = "schwabot_kernels.lag.gpu_expected"
TABLES = "schwabot_kernels.registry.device_tables"
HASHES = "schwabot_kernels.registry.device_hash"
LEADLAG = "schwabot_kernels.leadlag.gpu"
FORECAST = "schwabot_kernels.forecast.gpu"


def _scan_kernels() -> Iterator[Kernel]:
    for kind in range(6):
        part = I64 if kind == 1 else F64
        for columns in (1, 4) if kind != 5 else (1,):
            warps = 4 if columns == 1 else 8
            constants = {"KIND": kind, "BLOCK": 512, "COLUMNS": columns}
            yield Kernel(SCANS, "block_kernel", (part,) * 10 + (N,) * 11, constants, warps)
            constants = {"KIND": kind, "PER_EDGE": 256, "COLUMNS": columns}
            yield Kernel(SCANS, "carry_kernel", (part,) * 6 + (N,) * 2, constants, warps)


def _forecast_kernels() -> list[Kernel]:
    found = []
    for width in (4, 8, 16):
        types = (I64, I64, F64, F64, F64, I8, *[F64] * 4, I64, F64, N, N, N, None, None)
        found.append(Kernel(FORECAST, "features_kernel", types, {"ROWS": 512 // width, "WIDTH": width}))
    for sums in (4, 16, 128):
        types = (F64, I8, F64, F64, I8, *[F64] * 3, *[N] * 7, None, None)
        found.append(Kernel(FORECAST, "head_kernel", types, {"ROWS": 1024 // sums, "SUMS": sums}))
    return found


def _leadlag_kernels() -> list[Kernel]:
    types = (I64, I64, F64, I64, I64, I64, F64, I64, I32, I32, F64, N, N, None, None, None)
    found = [Kernel(LEADLAG, "tiles_kernel", types, {"FIRST": f, "MOVES": 128, "LAGS": 8}) for f in (True, False)]
    types = (F64, I64, I64, F64, N, N, None, None)
    return [*found, Kernel(LEADLAG, "blocks_kernel", types, {"TALL": 16, "WIDE": 128})]


def _memory_kernels() -> list[Kernel]:
    """Sums and readout of tables of 8 and of 16 bits, and the hash of 1, 3, 4 and 12 streams."""
    types = (F64, F64, *(I64,) * 3, F64, N, None)
    groups = [Kernel("schwabot_kernels.device_groups", "group_kernel", types, {"TILE": 256}, 2)]
    tables = [
        Kernel(TABLES, "table_kernel", (F64, *(I64,) * 3, I32, *(F64,) * 5, N, N, N, None), {"TILE": tile}, warps)
        for tile, warps in ((256, 4), (32, 1))
    ]
    types = (I64, I32, I64, *(F64,) * 3, I64, I64, *(F64,) * 4, I8, *(N,) * 6, *(None,) * 3)
    constants = {"EDGE": 131_072, "TABLES": 16, "ROWS": 128}
    hashes = [
        Kernel(HASHES, "hash_kernel", (*(F64,) * 6, I8, F64, F64, F32, I32, N, *(None,) * 6),
               {"V": v, "W": -(-v // 4) * 4, "L": length, "BITS": bits, "TABLES": count, "ROWS": 128})
        for v, length, bits, count in ((1, 8, 4, 1), (3, 16, 16, 16), (4, 32, 8, 16), (12, 64, 8, 16))
    ]  # fmt: skip
    return [*groups, *tables, Kernel(TABLES, "read_kernel", types, constants), *hashes]


def _core_kernels() -> Iterator[Kernel]:
    events = (I64, I32, I8, I64, I64, I64, I64, I64, I64)
    table, state = (F64, F64, I8, I8, I8), (I64, F64, F64, F64, F64, F64, F64, I8)
    values = (*events, *table, *state, I64, F64, F64, I64, *state, F64, N)
    fault = (I64, I64, I8, I64, I8, I8, N, LONG)
    pairs = (F64, F64, I8, F64, I64, I64, F64, I64, *(F64,) * 6, N, N, N)
    drift = (I64, I8, F64, F64, F64, I64, F64, F64, F64, I8, I8, N, LONG, N)
    first = (I64, I32, I8, I64, *(F64,) * 6, I8, I8, *(F64,) * 6, N, N)
    second = (I64, I32, *(F64,) * 6, I64, I64, I32, *(F64,) * 8, N, N, LONG, N, N, N)
    yield Kernel(CONSENSUS, "depth_carry_kernel", (F64, F64, F64, N), {"PER_EDGE": 256})
    for streams in STREAMS:
        width = max(4, triton.next_power_of_2(streams))
        most = 16 if streams <= 8 else SPILLED
        size = {"V": streams, "BLOCK": 512, "WIDTH": width}
        ring = {**size, "BLOCK": min(128, CELLS // width), "RING": 64, "W": width, "HELD": HELD}
        of_pairs = {**size, "P": streams * (streams - 1) // 2, "TILE": 4, "HELD": HELD}
        yield Kernel(ALIGN, "mark_kernel", (I32, I8, I64, I64, I64, I8, I64, N), size, stack=most)
        yield Kernel(ALIGN, "align_kernel", values, {**size, "TILE": 4}, 8, most)
        yield Kernel(PHASE, "fault_kernel", fault, {"V": streams, "HELD": HELD, "CELLS": CELLS})
        yield Kernel(PHASE, "pair_kernel", pairs, of_pairs, 8, most)
        yield Kernel(PHASE, "drift_kernel", drift, ring)
        if streams <= WIDEST:
            yield Kernel(CONSENSUS, "first_kernel", first, size, 8, most)
            yield Kernel(CONSENSUS, "second_kernel", second, size, 8, most)
    yield Kernel(LAG, "expected_kernel", (I32, *(F64,) * 16, N, N), {"V": 4, "BLOCK": 512})


KERNELS: list[Kernel] = [
    *_scan_kernels(), *_core_kernels(), *_forecast_kernels(), *_leadlag_kernels(), *_memory_kernels(),
]  # fmt: skip
"""Every kernel at the sizes it is launched with."""


@dataclass(frozen=True)
class Usage:
    """What a compiled kernel takes: registers of a thread, bytes of stack (spills) and of shared memory.

    ``most`` is what it may take of the stack.
    """

    label: str
    registers: int
    stack: int
    shared: int
    most: int


def compiled(kernel: Kernel) -> Usage:
    """Compile one kernel for sm_90 and read its machine code's header."""
    function = getattr(import_module(kernel.module), kernel.name)
    names = function.arg_names
    given = [name for name in names if name not in kernel.constants]
    types = [kind for kind in kernel.types if kind is not None]
    assert len(given) == len(types), f"{kernel.label}: {len(given)} arguments, {len(types)} types"
    kinds = dict(zip(given, types, strict=True))
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
    return Usage(kernel.label, found["REG"], found["STACK"] + found["LOCAL"], code.metadata.shared, kernel.stack)


def main(wanted: str = "") -> None:
    """Write a JSON line for each kernel whose label contains ``wanted``."""
    for kernel in KERNELS:
        if wanted in kernel.label:
            sys.stdout.write(json.dumps(asdict(compiled(kernel))) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
