"""How long do the three BTC captures take, from the command line to the last table?

`python -m schwabot.run source=capture` over 183,473 recorded lines, a process each time, start-up, parsing, graph,
skill with its bootstrap, Parquet and TensorBoard included. Warm: compiled kernels are on disk. Cold: an empty
NUMBA_CACHE_DIR. The profile is one more warm run with a clock around each part (exclusive times; "start-up" is
everything before the first row: interpreter, imports, Hydra, opening files).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measure import ROOT, Finding, RedError

TARGET_S = 15.0
CAPTURES = ROOT.parent / "shared" / "ticks"


def command(folder: Path, *, module: str = "schwabot.run") -> list[str]:
    glob = f"source.glob={CAPTURES}/binance/*/btc*.gz"
    return [sys.executable, "-m", module, "source=capture", glob, f"hydra.run.dir={folder}"]


def once(cache: Path | None = None, module: str = "schwabot.run") -> tuple[float, float, str]:
    """Wall and CPU seconds of one process, children included, and what it said on stderr."""
    env = os.environ | ({} if cache is None else {"NUMBA_CACHE_DIR": str(cache)})
    with tempfile.TemporaryDirectory() as folder:
        before, began = os.times(), time.perf_counter()
        done = subprocess.run(command(Path(folder), module=module), cwd=ROOT, env=env, capture_output=True, text=True)
        wall_s, after = time.perf_counter() - began, os.times()
        if done.returncode:
            raise RedError(f"the run failed: {done.stderr[-2000:]}")
        summary = json.loads((Path(folder) / "summary.json").read_text())
        if (summary["quotes"], summary["trades"]) != (113_265, 33_356):
            raise RedError(f"{summary['quotes']:,} quotes and {summary['trades']:,} trades")
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    return wall_s, spent, done.stderr


def run(*, quick: bool) -> Finding:
    if not CAPTURES.is_dir():
        return Finding([], [("three BTC captures, warm", "not measured: ../shared/ticks is not there", "15 s", None)])
    once()
    warm = [once() for _ in range(1 if quick else 5)]
    wall_s, cpu_s = (statistics.median(column) for column in list(zip(*warm, strict=True))[:2])
    rows = [{"run": "warm", "wall s": f"{wall_s:.1f}", "CPU s": f"{cpu_s:.1f}"}]
    if not quick:
        with tempfile.TemporaryDirectory() as cache:
            cold = once(Path(cache))
        rows.append({"run": "cold, kernels compiled", "wall s": f"{cold[0]:.1f}", "CPU s": f"{cold[1]:.1f}"})
    *_, said = once(module="benchmarks.profiled_run")
    parts = json.loads(said.strip().splitlines()[-1])
    rows += [
        {"run": f"of that: {part}", "wall s": f"{wall:.2f}", "CPU s": f"{cpu:.2f}"}
        for part, (wall, cpu) in sorted(parts.items(), key=lambda item: -item[1][0])
    ]
    return Finding(
        rows,
        [("three BTC captures, warm", f"{wall_s:.1f} s", "15 s", wall_s <= TARGET_S)],
        [f"Median of {len(warm)} warm runs; CPU time is all threads'."],
    )
