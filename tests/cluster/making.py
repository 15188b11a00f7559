"""A small market without files, and finding the worker processes of a cluster."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from schwabot.errors import PolicyError
from schwabot.records.market import Float64, Int64
from schwabot.simulation.sweep.ranges import Dimension, Space
from schwabot.simulation.sweep.shards import MarketFacts, Resident
from schwabot.simulation.sweep.table import Leg
from schwabot_kernels.simulate import records as r

SPACE = Space((Dimension("policy.enter_bp", "float", 0.0, 1.0),))


class Adding:
    """A kernel whose rows can be told in the head: fold x 1000 + what is searched, in thousandths, as lots."""

    def __init__(self, takes_s: float) -> None:
        self.takes_s = takes_s

    def __call__(
        self, fold: int, rules: r.Rules, params: Float64, first: int, last: int, counts: Int64, moments: Float64
    ) -> None:
        time.sleep(self.takes_s)
        counts[first:last, 0, r.FILLED_LOTS] = 1000 * fold + np.round(1000 * params[first:last, 0]).astype(np.int64)


@dataclass
class SmallPlan:
    """Opens the same small market everywhere.

    Attributes:
        takes_s: time a shard takes.
        wrong: what goes wrong when a market is opened: nothing, ``policy`` or ``data`` (another one in each process).
        notes: what it has to say of the process it is in.
    """

    takes_s: float = 0.0
    wrong: str = ""
    notes: list[str] = field(default_factory=list)

    def open(self, market: str, graph: int) -> Resident:
        if self.wrong == "policy":
            raise PolicyError("text can't be used", file="mine.py", line=7)
        self.notes.append("warning: cuda:0 can't sweep")
        return resident(self.takes_s, str(os.getpid()) if self.wrong == "data" else f"{market} {graph}")


def resident(takes_s: float = 0.0, digest: str = "") -> Resident:
    one = np.ones((1, 1), np.int64)
    zeros = dict.fromkeys(r.Rules._fields, one * 0)
    folds = {0: (2, 10**9), 1: (2, 10**9)}
    return Resident(
        facts=MarketFacts(digest, 0, 2 * 10**9, folds, (Leg("a:B/C", 1.0, "C"),)),
        folds={0: 0, 1: 1},
        rules=r.Rules(**zeros),
        defaults=np.zeros(1),
        parameters=("policy.enter_bp",),
        space=SPACE,
        kernel=Adding(takes_s),
    )


def workers_below(pid: int) -> list[int]:
    """Worker processes of Ray that descend from a process."""
    parents, found = {}, []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                title = (folder / "cmdline").read_bytes()
                status = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:  # it ended meanwhile
                continue
            parents[int(folder.name)] = int(status[1])
            if title.startswith(b"ray::ShardWorker"):
                found.append(int(folder.name))

    def below(one: int) -> bool:
        while one in parents and one != pid:
            one = parents[one]
        return one == pid

    return [one for one in found if below(one)]
