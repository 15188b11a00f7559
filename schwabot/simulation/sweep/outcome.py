"""What a sweep came to: the best sets, and every number that says how far to trust them.

Axis legend: P sets, F folds that were searched on, D dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from schwabot.records.market import Float64, Int64
from schwabot.simulation.sweep.overfitting import (
    Overfitting,
    Step,
    backtest_overfitting,
    plateau,
    rank_of,
    walk_forward,
)
from schwabot.simulation.sweep.ranges import SIMULATION
from schwabot.simulation.sweep.settings import SweepConfig
from schwabot.simulation.sweep.statistics import (
    Shape,
    annualised,
    deflated_sharpe,
    expected_maximum,
    independent_trials,
    least_intervals,
    probabilistic_sharpe,
    variance_between_folds,
)
from schwabot.simulation.sweep.table import Pooled, Results


@dataclass(frozen=True, slots=True)
class Guards:
    """How far the best set can be trusted. Sharpe ratios are a year's.

    Attributes:
        trials: different sets that traded.
        independent: how many independent ones those amount to, roughly.
        sharpe: of the best set, where it was searched.
        luck: what the best of so many reaches by luck alone, by the variance between folds.
        probabilistic: probability that its Sharpe ratio is above 0, were it the only set tried.
        beyond_luck: probability that it is above ``luck``, with as many intervals as that variance leaves.
        deflated: the deflated Sharpe ratio as published, by the variance among the sets that were tried.
        deflated_independent: the same for ``independent`` trials.
        least_s: time from which on its Sharpe ratio would be told from 0, had it been the only one.
        searched_s: time of the folds that were searched on, as far as there were rows.
        overfitting: of the halves of the folds.
        steps: of the walk forward.
        forward: net PnL of what the walk forward chose, in each following fold.
        plateau: how far its neighbours share what it is better than usual.
        rank: share of the candidates that it beat in what was held out.
        without_best: its net PnL without its best fold.
    """

    trials: int
    independent: float
    sharpe: float
    luck: float
    probabilistic: float
    beyond_luck: float
    deflated: float
    deflated_independent: float
    least_s: float
    searched_s: float
    overfitting: Overfitting
    steps: list[Step]
    forward: list[float]
    plateau: float
    rank: float
    without_best: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished sweep, or what there is of one.

    Attributes:
        results: every row.
        config: its settings.
        bucket_s: interval of the Sharpe ratios.
        searched: all sets over the folds that were searched on.
        held_out: all sets over the fold that was not.
        objective: the first objective where it was searched, more is better, NaN = no candidate. [P]
        looked: the same in what was held out; 0 = no trades there. [P]
        order: candidates, best first.
        plateaus: of the first of them, as many as ``config.top``.
        guards: None where no set is a candidate.
        front: sets that no other beats in all objectives.
        at_end: dimensions whose end the best set lies at, by short name; latencies and fees are not ours to choose.
    """

    results: Results
    config: SweepConfig
    bucket_s: float
    searched: Pooled
    held_out: Pooled
    objective: Float64
    looked: Float64
    order: Int64
    plateaus: Float64
    guards: Guards | None
    front: Int64 = field(default_factory=lambda: np.zeros(0, np.int64))
    at_end: tuple[str, ...] = ()

    @property
    def best(self) -> int | None:
        """Number of the best set."""
        return int(self.order[0]) if len(self.order) else None

    def one(self, number: int, pooled: Pooled) -> dict[str, Any]:
        """Results of one set over some folds, by name."""
        names = ("net", "net_bp", "turnover", "fees", "funding", "slippage_bp", "drawdown", "hold_s")
        found: dict[str, Any] = {name: float(getattr(pooled, name)[number]) for name in names}
        found |= {name: int(getattr(pooled, name)[number]) for name in ("trades", "orders", "refused", "rejected")}
        found["sharpe"] = float(annualised(pooled.shape.sharpe[number], self.bucket_s))
        return found

    def top(self) -> list[dict[str, Any]]:
        """The best sets, a flat row each: parameters, results where it was searched and where it was not."""
        rows = []
        for place, number in enumerate(self.order[: self.config.top].tolist()):
            here, there = self.one(number, self.searched), self.one(number, self.held_out)
            row: dict[str, Any] = {"set": number} | self.results.space.decoded(self.results.values[number])
            row |= {name: here[name] for name in ("net", "net_bp", "trades", "sharpe", "drawdown", "slippage_bp")}
            row |= {f"held_out_{name}": there[name] for name in ("net", "net_bp", "trades", "sharpe")}
            row["plateau"] = float(self.plateaus[place])
            rows.append(row)
        return rows

    def summary(self) -> dict[str, Any]:
        """What summary.json holds under ``sweep``."""
        found: dict[str, Any] = {
            "sets": self.results.sets,
            "candidates": len(self.order),
            "trades_median": float(np.median(self.searched.trades + self.held_out.trades))
            if self.results.sets
            else 0.0,
            "method": self.config.method,
            "objectives": list(self.config.objectives),
            "best": None,
        }
        if self.best is not None:
            found["best"] = {
                "set": self.best,
                "parameters": self.results.space.decoded(self.results.values[self.best]),
                "searched": self.one(self.best, self.searched),
                "held_out": self.one(self.best, self.held_out),
            }
        if self.guards is not None:
            guards = self.guards
            found["guards"] = {
                "trials": guards.trials,
                "independent_trials": guards.independent,
                "sharpe": guards.sharpe,
                "sharpe_by_luck": guards.luck,
                "probabilistic_sharpe": guards.probabilistic,
                "beyond_luck": guards.beyond_luck,
                "deflated_sharpe": guards.deflated,
                "deflated_sharpe_independent": guards.deflated_independent,
                "least_track_s": guards.least_s,
                "searched_s": guards.searched_s,
                "overfitting_probability": guards.overfitting.probability,
                "overfitting_splits": guards.overfitting.splits,
                "overfitting_loss": guards.overfitting.loss,
                "overfitting_slope": guards.overfitting.slope,
                "walk_forward_net": sum(guards.forward),
                "walk_forward": [
                    {"fold": step.fold, "set": step.chosen, "before": step.before, "after": step.after,
                     "rank": step.rank, "net": net}
                    for step, net in zip(guards.steps, guards.forward, strict=True)
                ],
                "plateau": guards.plateau,
                "held_out_rank": guards.rank,
                "net_without_best_fold": guards.without_best,
            }  # fmt: skip
        return found


def judge(results: Results, config: SweepConfig, bucket_s: float) -> Outcome:
    """Order the sets by what they came to where they were searched, and doubt the best of them.

    Args:
        results: rows of ``config.folds`` folds that were searched on and one more that was not.
        config: objectives, folds, least trades.
        bucket_s: interval of the Sharpe ratios.
    """
    folds = range(config.folds)
    name = config.objectives[0]

    def chooses(some: tuple[int, ...]) -> Float64:
        return results.pooled(some).objective(name, bucket_s, max(1.0, config.min_trades * len(some) / config.folds))

    def looks(some: tuple[int, ...]) -> Float64:
        return results.pooled(some).objective(name, bucket_s, 0)

    def earns(some: tuple[int, ...]) -> Float64:
        return results.pooled(some).net

    searched, held_out = results.pooled(folds), results.pooled((config.folds,))
    objective, looked = chooses(tuple(folds)), looks((config.folds,))
    candidates = np.flatnonzero(~np.isnan(objective))
    order = candidates[np.argsort(-objective[candidates], kind="stable")]
    unit = results.space.unit(results.values)
    plateaus = plateau(unit, objective, order[: config.top], config.neighbours)
    if not len(order):
        return Outcome(results, config, bucket_s, searched, held_out, objective, looked, order, plateaus, None)
    best = int(order[0])
    different = np.unique(results.values, axis=0, return_index=True)[1]
    traded = different[searched.trades[different] > 0]
    variance = float(np.var(searched.shape.sharpe[traded], ddof=1)) if len(traded) > 1 else 0.0
    own = Shape(*(float(part[best]) for part in searched.shape))
    per_fold = np.stack([results.pooled((fold,)).net for fold in folds], axis=1)
    independent = max(1.0, independent_trials(per_fold[traded]))
    shapes = [results.pooled((fold,)).shape.sharpe[traded] for fold in folds]
    chance = variance_between_folds(np.stack(shapes, axis=1), own.n)
    steps = walk_forward(chooses, looks, config.folds)
    guards = Guards(
        trials=len(traded),
        independent=independent,
        sharpe=float(annualised(own.sharpe, bucket_s)),
        luck=float(annualised(expected_maximum(len(traded), chance), bucket_s)),
        probabilistic=float(probabilistic_sharpe(own)),
        beyond_luck=deflated_sharpe(own._replace(n=min(own.n, 1.0 + 1.0 / chance)), len(traded), chance),
        deflated=deflated_sharpe(own, len(traded), variance),
        deflated_independent=deflated_sharpe(own, independent, variance),
        least_s=least_intervals(own) * bucket_s,
        searched_s=float(own.n) * bucket_s,
        overfitting=backtest_overfitting(chooses, looks, earns, config.folds),
        steps=steps,
        forward=[float(per_fold[step.chosen, step.fold]) if step.chosen >= 0 else 0.0 for step in steps],
        plateau=float(plateaus[0]),
        rank=rank_of(np.where(np.isnan(objective), np.nan, looked), best),
        without_best=float(per_fold[best].sum() - per_fold[best].max()),
    )
    world = {one.name for one in SIMULATION}
    ends = [
        one.short
        for d, one in enumerate(results.space.dimensions)
        if not one.choices and one.name not in world and (unit[best, d] <= 0.01 or unit[best, d] >= 0.99)
    ]
    wanted = np.stack(
        [searched.objective(one, bucket_s, max(config.min_trades, 1)) for one in config.objectives], axis=1
    )
    return Outcome(
        results, config, bucket_s, searched, held_out, objective, looked, order, plateaus, guards, front_of(wanted),
        tuple(ends),
    )  # fmt: skip


def front_of(wanted: Float64) -> Int64:
    """Sets that no other beats: none is as good in every objective and better in one.

    Args:
        wanted: objectives, more is better; rows with NaN are on no front.

    Shape:
        wanted: [P, O] -> numbers of the sets

    Example:
        >>> front_of(np.array([[1.0, 5.0], [2.0, 4.0], [1.0, 4.0], [np.nan, 9.0]])).tolist()
        [0, 1]
    """
    known = np.flatnonzero(~np.isnan(wanted).any(axis=1))
    order = known[np.lexsort(tuple(-wanted[known, o] for o in reversed(range(wanted.shape[1]))))]
    front: list[int] = []
    held = np.zeros((0, wanted.shape[1]))
    for number in order.tolist():  # those that could beat it come before it
        row = wanted[number]
        if not ((held >= row).all(axis=1) & (held > row).any(axis=1)).any():
            front.append(number)
            held = np.vstack([held, row])
    return np.array(sorted(front), np.int64)


def hours(seconds: float) -> str:
    """A time as a person says it.

    Example:
        >>> hours(90.0), hours(7200.0), hours(86400.0 * 10), hours(math.inf)
        ('90 s', '2 h', '10 days', 'forever')
    """
    if math.isinf(seconds):
        return "forever"
    for unit, size in (("days", 86_400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size or (unit == "h" and seconds >= size):
            return f"{seconds / size:,.3g} {unit}" if seconds / size < 1000 else f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.3g} s"
