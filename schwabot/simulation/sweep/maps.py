"""Which parameters matter, and what came of pairs of them.

Axis legend: P sets, D dimensions, B bins.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

from schwabot.records.market import Float64, Int64
from schwabot.simulation.sweep.outcome import Outcome
from schwabot.simulation.sweep.ranges import Dimension
from schwabot.sinks.sweep_figure import Heat

AXES = {"sharpe": "sharpe (a year)", "trades": "trades (fills)", "net_bp": "net, bp", "slippage_bp": "slippage, bp"}
"""Objectives whose name alone does not say what is meant."""
MOST_BINS = 16
INFLUENCE_BINS = 8
MOST_MAPS = 3


def influence(unit: Float64, objective: Float64) -> Float64:
    """Share of the objective's variance that each parameter explains alone, through the means of 8 bins of its range.

    The correlation ratio η², less what bins of noise would explain, (B − 1)/(P − 1); 0 to 1. Sets without a number are
    left out.

    Shape:
        unit: [P, D]; objective: [P] -> [D]

    Example:
        >>> unit = np.random.default_rng(0).random((2000, 2))
        >>> np.round(influence(unit, unit[:, 0] + 0.01 * unit[:, 1]), 1).tolist()
        [1.0, 0.0]
    """
    known = ~np.isnan(objective)
    y, places = objective[known], unit[known]
    found = np.zeros(unit.shape[1])
    if len(y) < 3 or not y.var() > 0:
        return found
    for d in range(unit.shape[1]):
        bins = np.minimum((places[:, d] * INFLUENCE_BINS).astype(np.int64), INFLUENCE_BINS - 1)
        count = np.bincount(bins, minlength=INFLUENCE_BINS)
        used = count > 0
        mean = np.bincount(bins, y, INFLUENCE_BINS)[used] / count[used]
        between = float((count[used] * (mean - y.mean()) ** 2).sum() / (len(y) * y.var()))
        noise = (used.sum() - 1) / (len(y) - 1)
        found[d] = max(0.0, (between - noise) / (1.0 - noise)) if noise < 1 else 0.0
    return found


def heat_maps(outcome: Outcome, most: int = MOST_MAPS) -> list[Heat]:
    """The median objective over every pair of the most influential parameters."""
    values, objective = outcome.results.values, outcome.objective
    dimensions = outcome.results.space.dimensions
    order = np.argsort(-influence(outcome.results.space.unit(values), objective), kind="stable").tolist()
    heats = []
    for a, b in combinations(order[:MOST_MAPS], 2):
        x, columns = _bins(dimensions[a], values[:, a], len(values))
        y, rows = _bins(dimensions[b], values[:, b], len(values))
        z = _medians(rows, columns, objective, len(y), len(x))
        name = AXES.get(outcome.config.objectives[0], outcome.config.objectives[0])
        title = f"median {name} over {dimensions[a].short} and {dimensions[b].short}"
        heats.append(Heat(title, dimensions[a].short, dimensions[b].short, name, x, y, z))
    return heats[:most]


def _bins(one: Dimension, values: Float64, sets: int) -> tuple[tuple[str, ...], Int64]:
    """Labels of the bins of a dimension, and which bin each set is in; more sets, finer bins."""
    most = int(np.clip(np.sqrt(sets) / 2, 3, MOST_BINS))
    size = one.size
    if size is not None and size <= MOST_BINS:
        levels = one.levels(size)
        place = np.abs(values[:, None] - levels[None, :]).argmin(axis=1)
        return tuple(_short(value) for value in one.decoded(levels)), place.astype(np.int64)
    distinct = np.unique(values)
    if len(distinct) <= MOST_BINS:
        return tuple(_short(value) for value in one.decoded(distinct)), np.searchsorted(distinct, values).astype(
            np.int64
        )
    place = np.minimum((one.unit(values) * most).astype(np.int64), most - 1)
    middle = (np.arange(most) + 0.5) / most
    at = one.low * (one.high / one.low) ** middle if one.log else one.low + middle * (one.high - one.low)
    return tuple(_short(value) for value in at.tolist()), place


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _medians(rows: Int64, columns: Int64, values: Float64, height: int, width: int) -> Float64:
    known = np.flatnonzero(~np.isnan(values))
    cell = rows[known] * width + columns[known]
    order = np.argsort(cell, kind="stable")
    z = np.full(height * width, np.nan)
    starts = np.flatnonzero(np.diff(cell[order], prepend=-1))
    for some in np.split(order, starts[1:]) if len(order) else ():
        z[cell[some[0]]] = np.median(values[known[some]])
    return z.reshape(height, width)
