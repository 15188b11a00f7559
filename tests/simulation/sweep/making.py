"""A market whose result is known in closed form, so that sweeps can be checked by hand; and whole sweeps over it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from schwabot.simulation.sweep.parts import Parts
from schwabot.simulation.sweep.ranges import SIMULATION, Declared, Space, open_space
from schwabot.simulation.sweep.search import open_search
from schwabot.simulation.sweep.searching import Ended, run_search
from schwabot.simulation.sweep.settings import SweepConfig
from schwabot.simulation.sweep.shards import MarketFacts, Resident, run_here, shards_of
from schwabot.simulation.sweep.table import Leg, Results, Row
from schwabot_kernels.simulate import records as r

DECLARED = (
    Declared("policy.threshold_bp", "float", 0.0, 100.0, (0.5, 8.0, True)),
    Declared("policy.lots", "int", 1, 100, (1, 10, False)),
    Declared("policy.fade", "choice", search=(0, 1, False), choices=(False, True)),
    *SIMULATION,
)
LEG = Leg("venue:BTC/USDT", worth=0.01, currency="USDT")
BUCKET_S = 60.0


def rules(legs: int = 1) -> r.Rules:
    one = np.full((1, legs), 1, np.int64)
    return r.Rules(
        entry_ns=5_000_000 * one, response_ns=5_000_000 * one, taker_e7=5000 * one, maker_e7=0 * one, model=0,
        tables=np.zeros((2, 1), np.int64), seed=0, scale=one[0], inverse=np.zeros(legs, np.int8), max_lots=100 * one[0],
        protection_e7=0, queue=0, bucket_ns=60 * 10**9, funding_ns=one[0][:0], funding_leg=one[0][:0],
        funding_e9=one[0][:0],
    )  # fmt: skip


class Hill:
    """What a set earns falls with the distance of the threshold from 2 bp, and with latency.

    The equity changes of a fold are `n` buckets of mean m and standard deviation `noise`, whose sums are exact.
    """

    def __init__(self, noise: float = 1000.0, gain: float = 100.0, trades: int = 40) -> None:
        self.noise, self.gain, self.trades = noise, gain, trades

    def __call__(
        self, fold: Any, rules: r.Rules, params: Any, first: int, last: int, counts: Any, moments: Any
    ) -> None:
        for p in range(first, last):
            threshold, lots = params[p, 0], params[p, 1]
            mean = self.gain * lots * (1 - np.log2(threshold / 2) ** 2) - rules.entry_ns[p, 0] / 1e6
            n = 100
            x = mean + self.noise * lots * np.where(np.arange(n) % 2, 1.0, -1.0)
            for leg in range(counts.shape[1]):
                counts[p, leg, r.EQUITY2] = round(x.sum())
                counts[p, leg, r.FILLS] = self.trades
                counts[p, leg, r.TURNOVER] = self.trades * lots * 10_000
                counts[p, leg, r.FEES] = self.trades * lots
                moments[p, leg] = [n, x.sum(), (x**2).sum(), (x**3).sum(), (x**4).sum()]


class Noise:
    """Sets without any skill: independent normal equity changes, drawn by the set and the fold."""

    def __init__(self, seed: int, mean: float = 0.0, trades: int = 40) -> None:
        self.seed, self.mean, self.trades = seed, mean, trades

    def __call__(
        self, fold: Any, rules: r.Rules, params: Any, first: int, last: int, counts: Any, moments: Any
    ) -> None:
        for p in range(first, last):
            rng = np.random.default_rng([self.seed, fold, *params[p].view(np.uint64).tolist()])
            x = np.round(rng.normal(self.mean, 1000.0, 500))
            counts[p, 0, r.EQUITY2], counts[p, 0, r.FILLS], counts[p, 0, r.TURNOVER] = x.sum(), self.trades, 10**6
            counts[p, 0, r.ORDERS] = self.trades
            moments[p, 0] = [len(x), *(np.sum(x**k) for k in (1, 2, 3, 4))]


def resident(space: Space, kernel: Any, folds: int, legs: int = 1) -> Resident:
    facts = MarketFacts(
        digest="", first_ns=0, last_ns=folds * 10**12, folds=dict.fromkeys(range(folds), (1000, 10**12)),
        legs=tuple(replace(LEG, stream=f"venue{leg}:BTC/USDT") for leg in range(legs)),
    )  # fmt: skip
    return Resident(
        facts=facts, folds={fold: fold for fold in range(folds)}, rules=rules(legs),
        defaults=np.array([2.0, 1.0, 0.0]), parameters=("policy.threshold_bp", "policy.lots", "policy.fade"),
        space=space, kernel=kernel,
    )  # fmt: skip


def rows_of_set(one: Resident) -> list[Row]:
    return [Row(fold, "all", leg) for fold in one.folds for leg in one.facts.legs]


def swept(
    config: SweepConfig,
    kernel: Any,
    folder: Path | None = None,
    identity: dict[str, Any] | None = None,
    blocks: int | None = None,
    legs: int = 1,
    pieces: int = 1,
    threads: int = 1,
) -> tuple[Results, Ended, Space]:
    space = open_space(config.over, DECLARED)
    one = resident(space, kernel, config.folds + 1, legs)
    residents = {("all", graph): one for graph in range(space.graphs)}
    results = Results(space, rows_of_set(one))
    parts = Parts(folder, identity or {}, config.resume) if folder is not None else None
    done: list[int] = []

    def evaluate(first: int, values: Any) -> Any:
        return run_here(shards_of("all", space, first, values, one.folds, pieces), residents, threads)

    ended = run_search(
        open_search(space, config), config, results, evaluate, BUCKET_S, parts, lambda sets, ran: done.append(sets),
        lambda: blocks is not None and len(done) >= blocks,
    )  # fmt: skip
    return results, ended, space
