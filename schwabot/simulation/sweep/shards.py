"""Pieces of a sweep that stand alone: a block of sets on one fold of one market under one setting of the graph.

A shard is a pure function of what it holds and of the market it names, so where and in which order shards run, in
threads or on other machines, changes nothing: ``merge`` puts their rows into one order.

Axis legend: N rows of the market, L legs, P sets of a shard, D searched dimensions, K parameters of the policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
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
class Shard:
    """One piece.

    Attributes:
        market: name of the data, e.g. its streams and day.
        graph: number of the graph's setting, see ``Space.graph_setting``.
        fold: number of the fold.
        first: number of the first set.
        values: the sets. [P, D]
    """

    market: str
    graph: int
    fold: int
    first: int
    values: Float64


@dataclass(frozen=True, slots=True)
class Resident:
    """What stays in memory of one market under one setting of the graph.

    Attributes:
        folds: the market's folds, prepared for the kernel.
        rows: rows of each fold.
        spans_ns: how long each lasts.
        legs: what is traded.
        rules: of the settings; one row. [1, L]
        defaults: the policy's parameters. [K]
        parameters: their full names.
        space: what is searched.
        kernel: what runs sets.
    """

    folds: tuple[Any, ...]
    rows: tuple[int, ...]
    spans_ns: tuple[int, ...]
    legs: tuple[Leg, ...]
    rules: Rules
    defaults: Float64
    parameters: tuple[str, ...]
    space: Space
    kernel: Kernel


def run_shard(shard: Shard, resident: Resident) -> pa.Table:
    """Run a shard; the same rows wherever and whenever it runs.

    Args:
        shard: what to run.
        resident: the market that it names.

    Returns:
        One row per set and leg, see ``schwabot.simulation.sweep.table.schema``.
    """
    sets, legs = len(shard.values), len(resident.legs)
    counts = np.zeros((sets, legs, COUNTS), np.int64)
    moments = np.zeros((sets, legs, MOMENTS), np.float64)
    rules, params = rules_of(resident, shard.values), params_of(resident, shard.values)
    resident.kernel(resident.folds[shard.fold], rules, params, 0, sets, counts, moments)
    return rows_of(resident.space, resident.legs, shard.first, shard.fold, shard.graph, shard.values, counts, moments)


def rules_of(resident: Resident, values: Float64) -> Rules:
    """One row of rules per set: the settings' with what is searched put in.

    Shape:
        values: [P, D] -> fields [P, L]
    """
    legs = len(resident.legs)
    fields: dict[str, Any] = {
        field: np.repeat(getattr(resident.rules, field)[:1], len(values), axis=0) for field, _ in PER_LEG.values()
    }
    for d, one in enumerate(resident.space.dimensions):
        if one.name in PER_LEG:
            field, unit = PER_LEG[one.name]
            decoded = np.array(one.decoded(values[:, d]), np.float64)
            fields[field] = np.repeat(np.round(decoded * unit).astype(np.int64)[:, None], legs, axis=1)
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


def cut(ts_ns: Int64, config: SweepConfig) -> list[tuple[int, int]]:
    """Rows of the folds: ``config.folds`` pieces of equal time that are searched on, then the one that is held out.

    Raises:
        DataError: too little data: a fold without two rows.

    Example:
        >>> cut(np.arange(100) * 10**9, SweepConfig(folds=2, split=0.5))
        [(0, 25), (25, 50), (50, 100)]
    """
    if len(ts_ns) < 2 or ts_ns[-1] == ts_ns[0]:
        raise DataError(f"a sweep needs some time of data, and there are {len(ts_ns)} rows at one moment")
    span = int(ts_ns[-1] - ts_ns[0])
    searched = config.split * span
    edges = [int(ts_ns[0]) + round(searched * k / config.folds) for k in range(config.folds + 1)]
    rows = [*np.searchsorted(ts_ns, edges, side="left").tolist(), len(ts_ns)]
    folds = list(pairwise(rows))
    for number, (first, end) in enumerate(folds):
        if end - first < 2:
            which = f"fold {number + 1} of {config.folds}" if number < config.folds else "the part that is held out"
            raise DataError(
                f"{len(ts_ns):,} rows over {span / 1e9:.4g} s leave {end - first} to {which}: use more data or smaller"
                " sweep.folds"
            )
    return folds


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
    market: str, space: Space, first: int, values: Float64, folds: int, pieces: int, graphs: Int64 | None = None
) -> list[Shard]:
    """A block of sets as shards: by setting of the graph, fold, and ``pieces`` parts of the sets."""
    graph = space.graph_of(values) if graphs is None else graphs
    found = []
    borders = [0, *(np.flatnonzero(np.diff(graph)) + 1).tolist(), len(values)]
    for begin, end in pairwise(borders):
        step = max(1, -(-(end - begin) // pieces))
        for part in range(begin, end, step):
            some = values[part : min(part + step, end)]
            found += [Shard(market, int(graph[begin]), fold, first + part, some) for fold in range(folds)]
    return found


def merge(tables: Iterable[pa.Table]) -> pa.Table:
    """Rows of shards in one order, whatever theirs was: by set, fold, leg."""
    return pa.concat_tables(tables).sort_by([("set", "ascending"), ("fold", "ascending"), ("leg", "ascending")])


def run_here(shards: Sequence[Shard], residents: dict[tuple[str, int], Resident], threads: int) -> pa.Table:
    """Run shards in threads of this process."""
    if threads == 1 or len(shards) == 1:
        return merge(run_shard(one, residents[one.market, one.graph]) for one in shards)
    pool = ThreadPoolExecutor(threads)
    try:
        return merge(pool.map(lambda one: run_shard(one, residents[one.market, one.graph]), shards))
    finally:
        pool.shutdown(cancel_futures=True)  # a second Ctrl-C waits for what runs, not for what is queued
