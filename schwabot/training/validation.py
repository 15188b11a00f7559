"""Which penalty, and how well a fit holds on what comes after: blocks of time, purged and under embargo.

Axis legend: n rows, V streams, H horizons, P penalties, K blocks.

A row is *near* a window when its features' moment or any of its outcomes lies within the window or less than the
embargo from it (purging and embargo: López de Prado 2018, ch. 7). What scores a window is fitted on rows that are not
near it, of no asset: prices of two assets move together, so the other asset's same minutes are no stranger either.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from schwabot.errors import FitError
from schwabot.records.market import Float64, Int64
from schwabot.training.fit_settings import FitConfig
from schwabot.training.forecast_rows import Bool, Rows
from schwabot.training.ridge import Fitted, Part, RidgeConfig, Sums, fit_ridge, score

Window = tuple[int, int]
"""First and last moment, ns."""


def near(rows: Rows, windows: Sequence[Window], embargo_ns: int) -> Bool:
    """Rows whose time, outcomes or embargo touch a window: bool [n].

    Example:
        >>> rows = Rows(np.array([0, 4, 5, 20, 25]), *(np.zeros(0),) * 3, reach_ns=3)
        >>> near(rows, [(10, 18)], embargo_ns=3)
        array([False,  True,  True,  True, False])
    """
    return touches(rows.ts_ns, rows.reach_ns, windows, embargo_ns)


def touches(ts_ns: Int64, reach_ns: int, windows: Sequence[Window], embargo_ns: int) -> Bool:
    """Whether [t, t + reach] lies in a window or less than the embargo from it: bool [n]."""
    found = np.zeros(len(ts_ns), np.bool_)
    for first, last in windows:
        found |= (ts_ns + reach_ns >= first - embargo_ns) & (ts_ns <= last + embargo_ns)
    return found


def within(rows: Rows, window: Window) -> Bool:
    """Rows that lie in a window with all their outcomes: bool [n]."""
    return (rows.ts_ns >= window[0]) & (rows.ts_ns + rows.reach_ns <= window[1])


@dataclass(frozen=True, slots=True)
class Choice:
    """The penalty that held best.

    Attributes:
        penalty: the one chosen, for all horizons.
        penalties: those tried. [P]
        loss: 1 - R² on blocks they were not fitted on; lower is better. [P, H]
    """

    penalty: float
    penalties: tuple[float, ...]
    loss: Float64


@dataclass(frozen=True, slots=True)
class Fold:
    """One step of the walk forward.

    Attributes:
        windows: per asset, what was scored.
        rows: rows fitted on.
        choice: the penalty, chosen inside what was fitted on.
        r2: per asset, R² on quotes and on the grid; NaN where nothing moved. [2, V, H]
        scored: per asset, quotes and grid points scored. [2]
    """

    windows: tuple[Window, ...]
    rows: int
    choice: Choice
    r2: tuple[Float64, ...]
    scored: tuple[Int64, ...] = field(repr=False)


def split_evenly(window: Window, pieces: int) -> list[Window]:
    """Neighbouring windows of the same length."""
    edges = np.linspace(window[0], window[1], pieces + 1).astype(np.int64).tolist()
    return list(pairwise(edges))


def span(part: Part) -> Window:
    """From the first row that counts to the last one's last outcome."""
    ts_ns = part.rows.ts_ns[part.counts]
    return int(ts_ns[0]), int(ts_ns[-1]) + part.rows.reach_ns


def ridge_config(config: FitConfig) -> RidgeConfig:
    """The part of the settings that a single fit needs."""
    return RidgeConfig(config.clip, config.grid_share, config.mask_share)


def block_scores(parts: Sequence[Part], roles: int, config: FitConfig) -> list[list[Sums]]:
    """How every penalty does on each block of each part, fitted on the other blocks: [parts][blocks]."""
    embargo_ns = round(config.embargo_s * 1e9)
    found: list[list[Sums]] = [[] for _ in parts]
    for k in range(config.blocks):
        windows = [split_evenly(span(part), config.blocks)[k] for part in parts]
        others = [replace(part, counts=part.counts & ~near(part.rows, windows, embargo_ns)) for part in parts]
        others = [part for part in others if (part.counts & part.rows.quote).any()]
        if not others:
            continue
        fitted = fit_ridge(others, roles, config.ridge, ridge_config(config))
        for own, part, window in zip(found, parts, windows, strict=True):
            own.append(score(fitted, replace(part, counts=part.counts & within(part.rows, window))))
    return found


def choose(parts: Sequence[Part], roles: int, config: FitConfig) -> Choice:
    """The penalty of the least 1 - R², mean over assets, quotes and grid, streams and horizons.

    One for all horizons: what a single horizon prefers in a few minutes does not last.

    Raises:
        FitError: the rows are too few or too close for blocks.
    """
    blocks = [own for own in block_scores(parts, roles, config) if own]
    if not any((one.energy > 0).any() for own in blocks for one in own):
        raise FitError(
            f"what is left to fit on is too short for {config.blocks} blocks with {config.embargo_s:g} s between them:"
            " use more data, a larger fit.split or a smaller fit.embargo_s"
        )
    loss, cells = np.zeros((2, len(config.ridge), parts[0].rows.outcome_bp.shape[2]))
    for own in blocks:
        energy = np.sum([one.energy for one in own], axis=0)
        share = np.divide(1.0, energy, out=np.zeros_like(energy), where=energy > 0)
        loss += (share * np.sum([one.error for one in own], axis=0)).sum(axis=(1, 2))
        cells += np.count_nonzero(energy > 0, axis=(0, 1))
    loss /= np.maximum(cells, 1)
    best = len(loss) - 1 - int(loss[::-1].mean(axis=1).argmin())  # of equal ones the largest penalty
    return Choice(config.ridge[best], tuple(config.ridge), loss)


def train(parts: Sequence[Part], roles: int, config: FitConfig) -> tuple[Fitted, Choice]:
    """Choose a penalty inside these rows, then fit to all of them."""
    choice = choose(parts, roles, config)
    return fit_ridge(parts, roles, [choice.penalty], ridge_config(config)), choice


def walk_forward(
    parts: Sequence[Part], roles: int, config: FitConfig, tell: Callable[[str], None] = lambda doing: None
) -> list[Fold]:
    """Fit on what came before, score what comes next, step by step; the penalty is chosen anew each time.

    Each asset's time is cut into one piece more than there are folds; fold k is fitted on pieces 0 to k and scored on
    the next. Where the assets' times differ, what comes after the first moment scored of any asset is left out for all.
    """
    embargo_ns = round(config.embargo_s * 1e9)
    pieces = [split_evenly(span(part), config.folds + 1) for part in parts]
    found = []
    for k in range(config.folds):
        tell(f"walking forward, fold {k + 1} of {config.folds}")
        windows = tuple(piece[k + 1] for piece in pieces)
        begins = min(first for first, _ in windows)  # one asset's past may be the future of another
        before = [
            replace(part, counts=part.counts & (part.rows.ts_ns < begins) & ~near(part.rows, windows, embargo_ns))
            for part in parts
        ]
        before = [part for part in before if np.count_nonzero(part.counts & part.rows.quote) >= config.min_rows]
        if not before:
            continue
        fitted, choice = train(before, roles, config)
        r2, scored = [], []
        for part, window in zip(parts, windows, strict=True):
            counts = part.counts & within(part.rows, window)
            sums = score(fitted, replace(part, counts=counts))
            energy, error = sums.energy, sums.error[0]
            r2.append(np.divide(energy - error, energy, out=np.full(energy.shape, np.nan), where=energy > 0))
            scored.append(
                np.array([np.count_nonzero(counts & part.rows.quote), np.count_nonzero(counts & ~part.rows.quote)])
            )
        rows = sum(int(np.count_nonzero(part.counts)) for part in before)
        found.append(Fold(windows, rows, choice, tuple(r2), tuple(scored)))
    return found
