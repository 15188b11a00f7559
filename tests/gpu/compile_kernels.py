"""Compiles every Triton kernel for Hopper, which needs no GPU, and prints what each takes of a multiprocessor.

Run as a script, in a process of its own: where kernels are interpreted they can't be compiled.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

F64, F32, I64, I32, I8 = "*fp64", "*fp32", "*i64", "*i32", "*i8"
N, LONG, X = "i32", "i64", "fp64"


@dataclass(frozen=True)
class Kernel:
    """A kernel as it is launched: where it is, types of its arguments in order (None = constexpr), constexprs."""

    module: str
    name: str
    types: tuple[str | None, ...]
    constants: dict[str, Any]
    warps: int = 4

    @property
    def label(self) -> str:
        told = ",".join(str(value) for value in self.constants.values())
        return f"{self.module}.{self.name}[{told}]"


WIDTHS = (4, 8)
"""Columns of a row of streams in whole powers of two; from nine streams on some kernels spill a little."""
SCANS = "schwabot_kernels.device_scan"


def _scan_kernels() -> list[Kernel]:
    found = []
    for kind in range(6):
        part = I64 if kind == 1 else F64
        for columns in (1, 4) if kind != 5 else (1,):
            warps = 4 if columns == 1 else 8
            constants = {"KIND": kind, "BLOCK": 512, "COLUMNS": columns}
            found.append(Kernel(SCANS, "block_kernel", (part,) * 10 + (N,) * 11 + (None,) * 3, constants, warps))
            constants = {"KIND": kind, "PER_EDGE": 256, "COLUMNS": columns}
            found.append(Kernel(SCANS, "carry_kernel", (part,) * 6 + (N,) * 2 + (None,) * 3, constants, warps))
    return found


def _forecast_kernels() -> list[Kernel]:
    found = []
    for width in (4, 8, 16):
        types = (I64, I64, F64, F64, F64, I8, *[F64] * 4, I64, F64, N, N, N, None, None)
        found.append(Kernel(FORECAST, "features_kernel", types, {"ROWS": 512 // width, "WIDTH": width}))
    for sums in (4, 16, 128):
        types = (F64, I8, F64, F64, I8, F64, F64, *[N] * 7, None, None, None)
        found.append(Kernel(FORECAST, "head_kernel", types, {"CLIP": 2.7, "ROWS": 1024 // sums, "SUMS": sums}))
    return found


def _leadlag_kernels() -> list[Kernel]:
    types = (I64, I64, F64, I64, I64, I64, F64, I64, I32, I32, F64, N, N, None, None, None)
    found = [Kernel(LEADLAG, "tiles_kernel", types, {"FIRST": f, "MOVES": 128, "LAGS": 8}) for f in (True, False)]
    types = (F64, I64, I64, F64, N, N, None, None)
    return [*found, Kernel(LEADLAG, "blocks_kernel", types, {"TALL": 16, "WIDE": 128})]


def _memory_kernels() -> list[Kernel]:
    """Sums and readout of tables of 8 and of 16 bits, and the hash of 1, 3, 4 and 12 streams."""
    none = (None,) * 2
    groups = [
        Kernel("schwabot_kernels.device_groups", "group_kernel", (F64, F64, *(I64,) * 3, F64, N, *none),
               {"TILE": 256, "COLUMNS": columns}, 2)
        for columns in (1, 4, 9)
    ]  # fmt: skip
    tables = [
        Kernel(TABLES, "table_kernel", (F64, *(I64,) * 3, I32, *(F64,) * 5, N, N, N, None), {"TILE": tile}, warps)
        for tile, warps in ((256, 4), (32, 1))
    ]
    types = (I64, I32, I64, *(F64,) * 3, I64, I64, *(F64,) * 4, I8, *(N,) * 5, *(None,) * 4)
    constants = {"EDGE": 131_072, "TABLES": 16, "STEPS": 18, "ROWS": 128}
    hashes = [
        Kernel(HASHES, "hash_kernel", (*(F64,) * 6, I8, F64, F64, F32, I32, N, *(None,) * 6),
               {"V": v, "W": -(-v // 4) * 4, "L": length, "BITS": bits, "TABLES": count, "ROWS": 128})
        for v, length, bits, count in ((1, 8, 4, 1), (3, 16, 16, 16), (4, 32, 8, 16), (12, 64, 8, 16))
    ]  # fmt: skip
    return [*groups, *tables, Kernel(TABLES, "read_kernel", types, constants), *hashes]


TABLES = "schwabot_kernels.registry.device_tables"
HASHES = "schwabot_kernels.registry.device_hash"
LEADLAG = "schwabot_kernels.leadlag.gpu"
FORECAST = "schwabot_kernels.forecast.gpu"

PHASE = "schwabot_kernels.phase.gpu"


def _phase_kernels() -> list[Kernel]:
    columns = (I64, F64, F64, I64, I8)
    found = []
    for width in WIDTHS:
        constants = {"BLOCK": 512, "WIDTH": width, "TILE": 8 if width == 8 else 4}
        pairs = (*columns, F64, I64, I8, I64, I64, F64, I64, F64, F64, F64, F64, F64, F64) + (N,) * 4 + (LONG, N)
        found.append(Kernel(PHASE, "pair_kernel", (*pairs, None, None, None), constants, min(width, 8)))
        drift = (I64, I64, I8, F64, F64, F64, I64, F64, F64, F64, I8, I8, N, N, N, LONG, LONG, N)
        constants = {"RING": 64, "BLOCK": 128, "WIDTH": width}
        found.append(Kernel(PHASE, "drift_kernel", (*drift, None, None, None), constants))
    return found


CONSENSUS = "schwabot_kernels.consensus.gpu"


def _consensus_kernels() -> list[Kernel]:
    found = [Kernel(CONSENSUS, "depth_carry_kernel", (F64, F64, F64, N, None), {"PER_EDGE": 256})]
    first = (I64, I32, I8, I64, F64, F64, F64, F64, F64, F64, I8, I8, F64, F64, F64, F64, F64, F64, N, N, N)
    second = (
        I64,
        I32,
        F64,
        F64,
        F64,
        F64,
        F64,
        F64,
        I64,
        I64,
        I32,
        F64,
        F64,
        F64,
        F64,
        F64,
        F64,
        F64,
        N,
        N,
        N,
        LONG,
        N,
        N,
        N,
    )
    for width in WIDTHS:
        constants = {"BLOCK": 512, "WIDTH": width}
        found.append(Kernel(CONSENSUS, "first_kernel", (*first, None, None), constants, min(width, 8)))
        found.append(Kernel(CONSENSUS, "second_kernel", (*second, None, None), constants, min(width, 8)))
    return found


ALIGN = "schwabot_kernels.align.gpu"


def _align_kernels() -> list[Kernel]:
    marks = (I32, I8, I64, I64, I64, I8, I64, N, N)
    events = (I64, I32, I8, I64, I64, I64, I64, I64, I64)
    table, state = (F64, F64, I8, I8, I8), (I64, F64, F64, F64, F64, F64, F64, I8)
    values = (*events, *table, *state, I64, F64, F64, I64, *state, F64, N, N)
    found = []
    for width in WIDTHS:
        marked = {"BLOCK": 512, "WIDTH": width}
        found.append(Kernel(ALIGN, "mark_kernel", (*marks, None, None), marked))
        cut = {"BLOCK": 512, "WIDTH": width, "TILE": 4}
        found.append(Kernel(ALIGN, "align_kernel", (*values, None, None, None), cut, 8))
    return found


LAG = "schwabot_kernels.lag.gpu_expected"


def _lag_kernels() -> list[Kernel]:
    types = (I32, *(F64,) * 16, N, N, N)
    return [Kernel(LAG, "expected_kernel", (*types, None), {"BLOCK": 512})]


KERNELS: list[Kernel] = _scan_kernels() + _align_kernels() + _phase_kernels() + _consensus_kernels() + _lag_kernels()
"""Every kernel at the sizes it is launched with."""
KERNELS += _forecast_kernels() + _leadlag_kernels() + _memory_kernels()


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
    assert len(names) == len(kernel.types), f"{kernel.label}: {len(names)} arguments, {len(kernel.types)} types"
    signature = {name: kind or "constexpr" for name, kind in zip(names, kernel.types, strict=True)}
    source = ASTSource(fn=function, signature=signature, constexprs=kernel.constants)
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
