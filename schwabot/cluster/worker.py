"""What runs on a worker: opens the market a shard names, keeps it, runs the shard. Knows nothing of Ray."""

from __future__ import annotations

import os
import platform
import socket
import threading
import time
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from schwabot.errors import DataError
from schwabot.simulation.sweep.shards import MarketFacts, Resident, Shard, run_shard
from schwabot_kernels.cache import source_hash

Key = tuple[str, int]
"""Market and number of the graph's setting."""
LIBRARIES = ("schwabot", "numpy", "numba", "llvmlite", "torch", "pyarrow")
"""What the bits of a result may depend on."""


class Plan(Protocol):
    """How a worker comes to a market. It is sent to every worker, so it holds settings, not data.

    ``notes`` is what the user has to know of the process it is in, such as a device that was given up.
    """

    notes: list[str]

    def open(self, market: str, graph: int) -> Resident:
        """Read that part of the source through the graph of that setting."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where a worker is, and with what it computes."""

    host: str
    pid: int
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class Ran:
    """A shard's rows, how long it ran once its market was open, and what the worker has had to say so far."""

    table: pa.Table
    busy_s: float
    notes: tuple[str, ...] = ()


def versions() -> dict[str, str]:
    """Versions of what the bits of a result may depend on, Schwabot's sources among them."""
    found = {"python": platform.python_version(), "sources": _sources()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # run from a clone
            found[name] = "not installed"
    return found


@cache
def _sources() -> str:
    """Digest of this package and of the kernels."""
    digest = blake2b(source_hash().encode(), digest_size=8)
    package = Path(__file__).resolve().parents[1]
    for file in sorted(package.rglob("*.py")):
        digest.update(file.relative_to(package).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()


class ShardWorker:
    """Runs shards, several at a time if it is asked to, on one copy of each market.

    Args:
        plan: how to open a market.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._lock = threading.Lock()
        self._open: dict[Key, Resident] = {}

    def place(self) -> Place:
        """Where this is."""
        return Place(socket.gethostname(), os.getpid(), versions())

    def open(self, market: str, graph: int) -> MarketFacts:
        """Open a market and keep it.

        Returns:
            What tells it from another.
        """
        return self._get((market, graph)).facts

    def run(self, shard: Shard, expected: MarketFacts) -> Ran:
        """Run a shard.

        Args:
            shard: what to run.
            expected: facts of its market, so that no result is of other data.

        Raises:
            DataError: the market is another one here.
        """
        resident = self._get((shard.market, shard.graph))
        found = resident.facts
        if found != expected:
            raise DataError(
                f"the market differs between machines: {found.rows:,} rows with digest {found.digest} on"
                f" {socket.gethostname()}, {expected.rows:,} rows with digest {expected.digest} where it was opened"
                " first. Every worker has to see the same files, and the graph has to run on the same"
                " kind of device"
            )
        started_s = time.perf_counter()
        table = run_shard(shard, resident)
        where = f"warning: worker on {socket.gethostname()}: "
        notes = tuple(where + one.removeprefix("warning: ") for one in dict.fromkeys(self._plan.notes))
        return Ran(table, time.perf_counter() - started_s, notes)

    def _get(self, key: Key) -> Resident:
        if key not in self._open:
            with self._lock:  # one at a time: the graph takes all there is
                if key not in self._open:
                    self._open[key] = self._plan.open(*key)
        return self._open[key]
