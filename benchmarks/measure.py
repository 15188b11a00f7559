"""Timing of contenders in turn, and what a measurement ran on.

Every repeat times each contender once, one after the other, so that a busy minute of the machine hits all of them.
Wall time is what a user waits for; CPU time is what it costs, and hardly depends on what else the machine does.
"""

from __future__ import annotations

import gc
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


class RedError(AssertionError):
    """The contenders disagree, so there is no speed to speak of."""


@dataclass(frozen=True)
class Took:
    """One run, s. CPU time is that of the thread, or of the whole process where several threads work."""

    wall_s: float
    cpu_s: float


@dataclass
class Finding:
    """The answer to one question.

    Attributes:
        rows: a table, one dict per line with the same keys.
        targets: what was wanted → (measured, wanted, met); met is None where it was not measured.
        notes: what the reader must know, one sentence each.
    """

    rows: list[dict[str, Any]]
    targets: list[tuple[str, str, str, bool | None]]
    notes: list[str] = field(default_factory=list)


def timed(work: Callable[[], object]) -> Took:
    """Run in this thread."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.thread_time()
    work()
    return Took(time.perf_counter() - wall, time.thread_time() - cpu)


def timed_threads(work: Callable[[], object]) -> Took:
    """Run with the CPU time of all threads."""
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return Took(time.perf_counter() - wall, time.process_time() - cpu)


def in_turn(contenders: Mapping[str, Callable[[], Took]], repeats: int) -> dict[str, Took]:
    """Median wall and CPU time of each contender over interleaved repeats."""
    took: dict[str, list[Took]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            took[name].append(run())
    return {
        name: Took(statistics.median(t.wall_s for t in runs), statistics.median(t.cpu_s for t in runs))
        for name, runs in took.items()
    }


def machine() -> dict[str, str]:
    """Hardware, versions, commit and load, as text."""
    import numba
    import numpy as np
    import polars as pl
    import pyarrow as pa
    import torch

    versions = {"Python": platform.python_version(), "torch": torch.__version__, "numba": numba.__version__}
    versions |= {"numpy": np.__version__, "pyarrow": pa.__version__, "polars": pl.__version__}
    return {
        "processor": f"{_cpu_model()}, {os.cpu_count()} logical cores, {_memory_gib():.0f} GiB",
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "commit": _commit(),
        "load average at the start": f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown",
        "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    except (AttributeError, ValueError, OSError):
        return float("nan")


def _commit() -> str:
    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--", "schwabot", "kernels", "conf", "benchmarks/*.py")
        return git("rev-parse", "--short", "HEAD") + (" with uncommitted changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
