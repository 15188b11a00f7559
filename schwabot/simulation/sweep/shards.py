"""Pieces of a sweep that stand alone: a block of sets on one fold of one market under one setting of the graph.

A shard is a pure function of what it holds and of the market it names, so where and in which order shards run, in
threads or on other machines, changes nothing: ``merge`` puts their rows into one order.

Axis legend: N rows of the market, L legs, P sets of a shard, D searched dimensions, K parameters of the policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from schwabot.errors import DataError
from schwabot.records.market import Float64, Int64
from schwabot.simulation.sweep.ranges import Space
from schwabot.simulation.sweep.settings import SweepConfig
from schwabot.simulation.sweep.table import Leg, rows_of
from schwabot_kernels.simulate.records import COUNTS, MOMENTS, Market, Rules

MILLISECOND = 1_000_000
PER_LEG = {  # what may differ between sets: setting → field of Rules and its units
    "simulation.entry_ms": ("entry_ns", MILLISECOND),
    "simulation.response_ms": ("response_ns", MILLISECOND),
    "simulation.taker_fee_bp": ("taker_e7", 1000),
    "simulation.maker_fee_bp": ("maker_e7", 1000),
}


class Kernel(Protocol):
    """Runs sets ``first`` to ``last`` - 1 over one fold, each from flat, into rows of counts and moments.

    ``fold`` is what was prepared of the fold's market for this kernel. It holds no state of its own.
    """

    def __call__(
        self, fold: Any, rules: Rules, params: Float64, first: int, last: int, counts: Int64, moments: Float64
    ) -> None:
        """Run them."""
        ...


@dataclass(frozen=True, slots=True)
class Around:
    """A set that others are tried around: it holds for all that they do not vary.

    Attributes:
        best: the set. [D of the sweep]
        space: what the others vary.
    """

    best: Float64
    space: Space


@dataclass(frozen=True, slots=True)
class Shard:
    """One piece.

    Attributes:
        market: name of the market.
        graph: number of the graph's setting, see ``Space.graph_setting``.
        fold: number of the fold.
        first: number of the first set.
        values: the sets. [P, D]
        around: what they are tried around; none = the settings.
        skips: jump where the policy is quiet, which changes speed and no result.
    """

    market: str
    graph: int
    fold: int
    first: int
    values: Float64
    around: Around | None = None
    skips: bool = True


@dataclass(frozen=True, slots=True)
class MarketFacts:
    """What one has to know of a market to ask for its shards; the same on every machine.

    Attributes:
        digest: of every column, see ``schwabot.simulation.sweep.parts.fingerprint``.
        first_ns, last_ns: receive times of the first and last row that is traded on.
        folds: number of a fold → its rows and how long they last, ns; folds without rows here are left out.
        legs: what is traded.
        way_ns: how long an order's way to the exchange and back takes at most, without what is searched.
        counts: of what was read, as in summary.json.
    """

    digest: str
    first_ns: int
    last_ns: int
    folds: Mapping[int, tuple[int, int]]
    legs: tuple[Leg, ...]
    way_ns: int = 0
    counts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """Rows that are traded on."""
        return sum(rows for rows, _ in self.folds.values())


@dataclass(frozen=True, slots=True)
class Resident:
    """What stays in memory of one market under one setting of the graph.

    Attributes:
        facts: of the market.
        folds: number of a fold → its part of the market, prepared for the kernel.
        rules: of the settings; one row. [1, L]
        defaults: the policy's parameters. [K]
        parameters: their full names.
        space: what is searched.
        kernel: what runs sets.
        unskipped: the same through every row, where there is a difference.
    """

    facts: MarketFacts
    folds: Mapping[int, Any]
    rules: Rules
    defaults: Float64
    parameters: tuple[str, ...]
    space: Space
    kernel: Kernel
    unskipped: Kernel | None = None


def run_shard(shard: Shard, resident: Resident) -> pa.Table:
    """Run a shard; the same rows wherever and whenever it runs.

    Args:
        shard: what to run.
        resident: the market that it names.

    Returns:
        One row per set and leg, see ``schwabot.simulation.sweep.table.schema``.
    """
    if shard.around is not None:
        best = shard.around.best[None, :]
        resident = replace(
            resident,
            defaults=params_of(resident, best)[0],
            rules=rules_of(resident, best),
            space=shard.around.space,
        )
    sets, legs = len(shard.values), resident.facts.legs
    counts = np.zeros((sets, len(legs), COUNTS), np.int64)
    moments = np.zeros((sets, len(legs), MOMENTS), np.float64)
    rules, params = rules_of(resident, shard.values), params_of(resident, shard.values)
    kernel = resident.kernel if shard.skips else resident.unskipped or resident.kernel
    kernel(resident.folds[shard.fold], rules, params, 0, sets, counts, moments)
    return rows_of(
        resident.space, legs, shard.first, shard.fold, shard.market, shard.graph, shard.values, counts, moments
    )


def rules_of(resident: Resident, values: Float64) -> Rules:
    """One row of rules per set: the settings' with what is searched put in.

    Shape:
        values: [P, D] -> fields [P, L]
    """
    legs = len(resident.facts.legs)
    fields: dict[str, Any] = {
        name: np.repeat(getattr(resident.rules, name)[:1], len(values), axis=0) for name, _ in PER_LEG.values()
    }
    for d, one in enumerate(resident.space.dimensions):
        if one.name in PER_LEG:
            name, unit = PER_LEG[one.name]
            decoded = np.array(one.decoded(values[:, d]), np.float64)
            fields[name] = np.repeat(np.round(decoded * unit).astype(np.int64)[:, None], legs, axis=1)
    return resident.rules._replace(**fields)


def params_of(resident: Resident, values: Float64) -> Float64:
    """The policy's parameters of each set: its defaults with what is searched put in.

    Shape:
        values: [P, D] -> [P, K]
    """
    params = np.repeat(resident.defaults[None, :], len(values), axis=0)
    names = {one.name: d for d, one in enumerate(resident.space.dimensions)}
    for k, name in enumerate(resident.parameters):
        if name in names:
            d = names[name]
            params[:, k] = np.array(resident.space.dimensions[d].decoded(values[:, d]), np.float64)
    return params


def edges_of(first_ns: int, last_ns: int, config: SweepConfig, spans: Sequence[tuple[int, int]] = ()) -> list[int]:
    """Where the folds begin: ``config.folds`` pieces of equal time that are searched on, then what is held out.

    Args:
        first_ns: first time.
        last_ns: last time.
        config: folds, split.
        spans: times that there is data of, first and beyond the last, in order; the time between them does not count.

    Raises:
        DataError: everything was at one moment.

    Example:
        >>> edges_of(0, 100, SweepConfig(folds=2, split=0.5))
        [0, 25, 50]
        >>> edges_of(0, 1050, SweepConfig(folds=2, split=0.5), [(0, 50), (1000, 1050)])  # 100 of 1050 are there
        [0, 25, 1000]
    """
    if last_ns <= first_ns:
        raise DataError("a sweep needs some time of data, and all rows of this one are at one moment")
    some = list(spans) or [(first_ns, last_ns)]
    lasted = np.cumsum([0, *(end - begin for begin, end in some)])
    searched = config.split * int(lasted[-1])
    edges = []
    for k in range(config.folds + 1):
        at = round(searched * k / config.folds)
        place = min(int(np.searchsorted(lasted, at, side="right")) - 1, len(some) - 1)
        edges.append(some[place][0] + at - int(lasted[place]))
    return edges


def cut(ts_ns: Int64, edges: Sequence[int]) -> dict[int, tuple[int, int]]:
    """Rows of each fold, first and beyond the last; folds with fewer than two, where nothing can happen, are left out.

    Example:
        >>> cut(np.arange(100) * 10, [0, 250, 500])
        {0: (0, 25), 1: (25, 50), 2: (50, 100)}
    """
    rows = [*np.searchsorted(ts_ns, list(edges), side="left").tolist(), len(ts_ns)]
    return {fold: (first, end) for fold, (first, end) in enumerate(pairwise(rows)) if end - first >= 2}


def check_folds(markets: Iterable[MarketFacts], config: SweepConfig) -> None:
    """See that no fold is empty.

    Raises:
        DataError: too little data: a fold without two rows.
    """
    some = list(markets)
    there = {fold for one in some for fold in one.folds}
    for number in range(config.folds + 1):
        if number not in there:
            which = f"fold {number + 1} of {config.folds}" if number < config.folds else "the part that is held out"
            span_s = (max(one.last_ns for one in some) - min(one.first_ns for one in some)) / 1e9
            raise DataError(
                f"{sum(one.rows for one in some):,} rows over {span_s:.4g} s leave fewer than two to {which}: use more"
                " data or smaller sweep.folds"
            )


def cut_market(market: Market, first: int, end: int) -> Market:
    """Rows ``first`` to ``end`` - 1 as a market of their own."""
    rows = {name: getattr(market, name)[first:end] for name in Market._fields if name not in ("next_row", "signals")}
    following = market.next_row[first:end]
    inside = (following >= 0) & (following < end)
    return Market(
        **rows,
        next_row=np.where(inside, following - first, -1).astype(following.dtype),
        signals=np.ascontiguousarray(market.signals[:, :, first:end]),
    )


def shards_of(
    market: str,
    space: Space,
    first: int,
    values: Float64,
    folds: Iterable[int],
    pieces: int,
    graphs: Int64 | None = None,
    around: Around | None = None,
    *,
    skips: bool = True,
) -> list[Shard]:
    """A block of sets on one market as shards: by setting of the graph, fold, and ``pieces`` parts of the sets."""
    graph = space.graph_of(values) if graphs is None else graphs
    found = []
    every = list(folds)
    borders = [0, *(np.flatnonzero(np.diff(graph)) + 1).tolist(), len(values)]
    for begin, end in pairwise(borders):
        step = max(1, -(-(end - begin) // pieces))
        for part in range(begin, end, step):
            some = values[part : min(part + step, end)]
            found += [Shard(market, int(graph[begin]), fold, first + part, some, around, skips) for fold in every]
    return found


ORDER = ("set", "fold", "market", "leg")


def merge(tables: Iterable[pa.Table]) -> pa.Table:
    """Rows of shards in one order, whatever theirs was: by set, fold, market, leg."""
    return pa.concat_tables(tables).sort_by([(name, "ascending") for name in ORDER])


def run_here(shards: Sequence[Shard], residents: dict[tuple[str, int], Resident], threads: int) -> pa.Table:
    """Run shards in threads of this process."""
    if threads == 1 or len(shards) == 1:
        return merge(run_shard(one, residents[one.market, one.graph]) for one in shards)
    pool = ThreadPoolExecutor(threads)
    try:
        return merge(pool.map(lambda one: run_shard(one, residents[one.market, one.graph]), shards))
    finally:
        pool.shutdown(cancel_futures=True)  # a second Ctrl-C waits for what runs, not for what is queued
