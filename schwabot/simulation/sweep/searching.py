"""The loop of a sweep: ask for sets, run or recall them, tell what they came to.

Axis legend: P sets, D dimensions, O objectives, F folds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from schwabot.errors import DeviceError
from schwabot.records.market import Float64
from schwabot.simulation.sweep.parts import Parts
from schwabot.simulation.sweep.search import Search
from schwabot.simulation.sweep.settings import SweepConfig
from schwabot.simulation.sweep.table import Results

Evaluate = Callable[[int, Float64], pa.Table]
"""First set's number, sets [P, D] → rows by set, fold, leg. Local threads and a cluster look the same from here."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a search ended.

    Attributes:
        whole: all sets were tried.
        ran: sets that were run now.
        recalled: sets that an earlier part of this sweep had run.
        lost: the error of a required device that ended it.
    """

    whole: bool
    ran: int
    recalled: int
    lost: DeviceError | None = None


def run_search(
    search: Search,
    config: SweepConfig,
    results: Results,
    evaluate: Evaluate,
    bucket_s: float,
    parts: Parts | None = None,
    told: Callable[[int, int], None] = lambda done, ran: None,
    stop: Callable[[], bool] = lambda: False,
) -> Ended:
    """Try all sets of a search.

    What the search is told is of the searched folds only; what is held out it never hears of.

    Args:
        search: what is asked.
        config: objectives, folds, least trades.
        results: gets every row.
        evaluate: runs sets.
        bucket_s: ``simulation.bucket_s``.
        parts: where blocks are kept and recalled from.
        told: called after each block with the sets that are done and those of them that were run now.
        stop: asked before each block.
    """
    searched = range(config.folds)
    ran = 0
    while True:
        if stop():
            return Ended(False, ran, results.sets - ran)
        values = search.ask()
        if not len(values):
            return Ended(True, ran, results.sets - ran)
        first = results.sets
        table = parts.load(first, values) if parts is not None else None
        if table is None:
            try:
                table = evaluate(first, values)
            except DeviceError as error:
                return Ended(False, ran, results.sets - ran, error)
            ran += len(values)
            if parts is not None:
                parts.save(first, values, table)
        results.append(values, table)
        search.tell(_wanted(results, config, bucket_s, searched))
        told(results.sets, ran)


def _wanted(results: Results, config: SweepConfig, bucket_s: float, folds: range) -> Float64:
    """What a search is told of the last block: objectives; of sets with too few trades how far they are from enough.

    Shape:
        -> [P, O]
    """
    pooled = results.last(folds)
    columns = [pooled.objective(name, bucket_s, max(config.min_trades, 1)) for name in config.objectives]
    missing = 1.0 - pooled.trades / max(config.min_trades, 1)
    return np.stack(
        [np.where(np.isfinite(one), one, -1e9 * (1.0 + np.maximum(missing, 0.0))) for one in columns], axis=1
    )
