"""Guards that look at where and when sets did well: walk-forward, backtest overfitting, plateau.

Axis legend: P parameter sets, F folds (pieces of time, in order), D dimensions, k neighbours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from schwabot.records.market import Float64, Int64

Objective = Callable[[tuple[int, ...]], Float64]
"""Folds → what every set came to over them, more is better, NaN = no candidate. [P]"""
CHUNK = 1 << 22
"""Distances that are held at once."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a walk forward.

    Attributes:
        fold: the fold that the choice was tried on; those before it chose.
        chosen: number of the set, -1 = there was no candidate.
        before: its objective on the folds that chose it.
        after: on the fold after them.
        rank: share of the candidates that it beat there, ties half; 0.5 = as good as any.
    """

    fold: int
    chosen: int
    before: float
    after: float
    rank: float


def rank_of(values: Float64, one: int) -> float:
    """Share of the others that set ``one`` beats, ties half; NaN are not counted.

    Example:
        >>> rank_of(np.array([3.0, 1.0, 2.0, np.nan, 0.0]), 2)
        0.6666666666666666
    """
    if np.isnan(values[one]):
        return 0.0
    others = np.delete(values, one)
    others = others[~np.isnan(others)]
    if not len(others):
        return 0.5
    return float(((others < values[one]).sum() + 0.5 * (others == values[one]).sum()) / len(others))


def walk_forward(chooses: Objective, looks: Objective, folds: int) -> list[Step]:
    """Choose on all folds up to one, look at the next, for every fold from the second.

    Args:
        chooses: what every set came to over given folds; the best candidate is chosen.
        looks: the same where it is only looked at: sets that did not trade there came to 0.
        folds: F.

    Example:
        >>> made = np.array([[1.0, 2.0, 3.0], [2.0, 1.0, 0.0]])  # [P, F]
        >>> both = lambda folds: made[:, list(folds)].sum(axis=1)
        >>> [(step.chosen, step.after) for step in walk_forward(both, both, 3)]
        [(1, 1.0), (0, 3.0)]
    """
    steps = []
    for fold in range(1, folds):
        before, after = chooses(tuple(range(fold))), looks((fold,))
        if np.isnan(before).all():
            steps.append(Step(fold, -1, np.nan, np.nan, np.nan))
            continue
        chosen = int(np.nanargmax(before))
        steps.append(Step(fold, chosen, float(before[chosen]), float(after[chosen]), rank_of(after, chosen)))
    return steps


@dataclass(frozen=True, slots=True)
class Overfitting:
    """Probability of backtest overfitting.

    Attributes:
        probability: share of the splits in which the set that was best in one half was no better than the median of
            all in the other; NaN where there were no two sets to compare.
        splits: how many there were.
        loss: share of the splits in which it lost money in the other half, whatever the objective.
        slope: of the other half's objective over the chosen half's, of the chosen sets; negative = the better it
            looked, the worse it got.
    """

    probability: float
    splits: int
    loss: float
    slope: float


def backtest_overfitting(chooses: Objective, looks: Objective, earns: Objective, folds: int) -> Overfitting:
    """Combinatorially symmetric cross-validation: every half of the folds against its other half.

    For each of the C(F, F/2) halves: n* the best set in it, ω the relative rank of n* in the other half,
    λ = ln(ω / (1 − ω)); the probability is the share of λ ≤ 0.

    Args:
        chooses: what every set came to over given folds; the best candidate is chosen.
        looks: the same where it is only looked at.
        earns: folds → net PnL of every set. An objective may be one of which less is better, and has no loss.
        folds: F, even.

    Source:
        Bailey, Borwein, López de Prado and Zhu (2017), The Probability of Backtest Overfitting.

    Example:
        >>> best = np.outer([3.0, 2.0, 1.0], np.ones(4))  # always the same order: nothing overfitted
        >>> both = lambda folds: best[:, list(folds)].sum(axis=1)
        >>> backtest_overfitting(both, both, both, 4).probability
        0.0
    """
    assert folds % 2 == 0, "halves of the folds are set against each other"
    every = frozenset(range(folds))
    bad = lost = count = 0
    inside, outside = [], []
    for half in combinations(range(folds), folds // 2):
        others = tuple(sorted(every - set(half)))
        here, there, earned = chooses(half), looks(others), earns(others)
        known = ~np.isnan(here) & ~np.isnan(there)
        if known.sum() < 2:
            continue
        here, there, earned = here[known], there[known], earned[known]
        best = int(np.argmax(here))
        count += 1
        below = (there < there[best]).sum() + 0.5 * ((there == there[best]).sum() - 1)
        omega = (below + 1) / (len(there) + 1)  # the rank among N, over N + 1: never 0 or 1
        bad += bool(omega <= 0.5)
        lost += bool(earned[best] < 0)
        inside.append(here[best])
        outside.append(there[best])
    if not count:
        return Overfitting(np.nan, 0, np.nan, np.nan)
    x, y = np.array(inside) - np.mean(inside), np.array(outside) - np.mean(outside)
    spread = float((x * x).sum())
    slope = float((x * y).sum()) / spread if spread > 1e-12 * float(np.square(inside).sum()) else np.nan
    return Overfitting(bad / count, count, lost / count, slope)


def plateau(unit: Float64, values: Float64, rows: Int64, neighbours: int) -> Float64:
    """How much of what a set is better than a usual one its neighbours share.

    (mean of the neighbours − median of all) / (own − median of all), the neighbours being the k nearest sets in the
    unit cube of the ranges: 1 = as good all around, 0 = a spike among usual ones, negative = worse than usual around.
    NaN for sets that are no better than the median.

    Args:
        unit: places of the sets, each dimension scaled to 0..1.
        values: objective, more is better; sets with NaN count as the worst that is known.
        rows: sets to score.
        neighbours: k.

    Shape:
        unit: [P, D]; values: [P]; rows: [R] -> [R]

    Example:
        >>> line = np.linspace(0.0, 1.0, 11)[:, None]
        >>> spike = np.where(np.arange(11) == 5, 1.0, 0.0)
        >>> plateau(line, spike, np.array([5]), 2).tolist()
        [0.0]
    """
    known = values[~np.isnan(values)]
    if not len(known):
        return np.full(len(rows), np.nan)
    y = np.where(np.isnan(values), known.min(), values)
    usual = float(np.median(y))
    k = min(neighbours, len(y) - 1)
    found = np.full(len(rows), np.nan)
    if k < 1:
        return found
    step = max(1, CHUNK // len(y))
    for first in range(0, len(rows), step):
        some = rows[first : first + step]
        distance = np.zeros((len(some), len(y)))
        for d in range(unit.shape[1]):
            distance += np.square(unit[some, d, None] - unit[None, :, d])
        distance[distance == 0.0] = np.inf  # itself, and its copies where ranges hold few values
        near = np.argsort(distance, axis=1, kind="stable")[:, :k]  # ties by number, so that it is the same everywhere
        own = y[some] - usual
        better = own > 0
        around = y[near].mean(axis=1) - usual
        found[first : first + step] = np.where(better, around / np.where(better, own, 1.0), np.nan)
    return found
