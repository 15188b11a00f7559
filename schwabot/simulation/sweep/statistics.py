"""How sure a Sharpe ratio is, of one set and of the best of many.

Everything works on power sums of equity changes, which add over time: n, Σx, Σx², Σx³, Σx⁴ (``BUCKETS``, ``SUM1`` to
``SUM4`` of the simulator). Sharpe ratios are per sampling interval unless the name says otherwise; they have no unit,
so neither the account's scale nor the factor of two in the simulator's equity matters.

Axis legend: P parameter sets, F folds.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from schwabot.records.market import Float64
from schwabot.simulation.totals import YEAR_S
from schwabot_kernels.simulate.records import BUCKETS, SUM1, SUM2, SUM3, SUM4

NORMAL = NormalDist()
EULER = 0.5772156649015329
"""Euler and Mascheroni's constant."""


class Shape(NamedTuple):
    """Sharpe ratio and the shape of what it was made of.

    n: intervals. sharpe: mean over standard deviation, 0 where nothing moved. skew: third standardised moment.
    kurtosis: fourth, 3 for a normal distribution. All [...], or all numbers.
    """

    n: Any
    sharpe: Any
    skew: Any
    kurtosis: Any


def shape_of(moments: Float64) -> Shape:
    """Sharpe ratio, skewness and kurtosis from power sums.

    Args:
        moments: n, Σx, Σx², Σx³, Σx⁴.

    Shape:
        moments: [..., 5] -> [...]

    Example:
        >>> x = np.array([1.0, 2.0, 3.0, 6.0])
        >>> one = shape_of(np.array([len(x), *(np.sum(x**k) for k in (1, 2, 3, 4))]))
        >>> round(float(one.sharpe), 6) == round(float(x.mean() / x.std(ddof=1)), 6), round(float(one.skew), 4)
        (True, 0.6872)
    """
    n = moments[..., BUCKETS]
    some = np.maximum(n, 1.0)
    m = moments[..., SUM1] / some
    s2, s3, s4 = moments[..., SUM2] / some, moments[..., SUM3] / some, moments[..., SUM4] / some
    variance = s2 - m * m
    moved = (n > 1) & (variance > 1e-14 * np.maximum(s2, 1e-300))
    variance = np.where(moved, variance, 1.0)
    third = s3 - 3 * m * s2 + 2 * m**3
    fourth = s4 - 4 * m * s3 + 6 * m * m * s2 - 3 * m**4
    sample = variance * np.maximum(n, 2.0) / np.maximum(n - 1, 1.0)
    return Shape(
        n,
        np.where(moved, m / np.sqrt(sample), 0.0),
        np.where(moved, third / variance**1.5, 0.0),
        np.where(moved, np.maximum(fourth / variance**2, 1.0), 3.0),
    )


def annualised(sharpe: ArrayLike, bucket_s: float) -> Float64:
    """Sharpe ratio of a year, S √(year / interval), as if the intervals were independent.

    Source:
        Lo (2002), The Statistics of Sharpe Ratios, eq. 15 for independent returns.

    Example:
        >>> round(float(annualised(0.1, 86_400.0)), 4)  # 0.1 √365.25
        1.9112
    """
    return np.asarray(sharpe) * math.sqrt(YEAR_S / bucket_s)


def probabilistic_sharpe(one: Shape, benchmark: ArrayLike = 0.0) -> Float64:
    """Probability that the true Sharpe ratio is above a benchmark, for independent intervals.

    PSR(S*) = Φ((S − S*) √(n − 1) / √(1 − γ₃ S + (γ₄ − 1)/4 S²)); 0.5 or less where nothing is known.

    Args:
        one: Sharpe ratio S, n, skewness γ₃ and kurtosis γ₄.
        benchmark: S*, per interval.

    Source:
        Bailey and López de Prado (2012), The Sharpe Ratio Efficient Frontier.

    Example:
        >>> round(float(probabilistic_sharpe(Shape(24.0, 0.458, -2.448, 10.164))), 3)  # two years of a fund, monthly
        0.913
    """
    spread = 1.0 - one.skew * one.sharpe + (one.kurtosis - 1.0) / 4.0 * np.square(one.sharpe)
    z = (one.sharpe - np.asarray(benchmark)) * np.sqrt(np.maximum(np.asarray(one.n) - 1.0, 0.0))
    z = z / np.sqrt(np.maximum(spread, 1e-12))
    return np.asarray(_normal_cdf(z), np.float64)


def expected_maximum(trials: float, variance: float) -> float:
    """What the best of N Sharpe ratios comes to by luck alone, their true value being 0.

    √V ((1 − γ) Φ⁻¹(1 − 1/N) + γ Φ⁻¹(1 − 1/(N e))), γ Euler and Mascheroni's constant; 0 for one trial.

    Args:
        trials: N, independent ones.
        variance: V, of the Sharpe ratios among the trials.

    Source:
        Bailey and López de Prado (2014), The Deflated Sharpe Ratio, eq. 1.

    Example:
        >>> round(expected_maximum(100, 0.5 / 250), 4)  # the paper's example, per day
        0.1132
    """
    if trials <= 1.0 or variance <= 0.0:
        return 0.0
    return math.sqrt(variance) * (
        (1.0 - EULER) * NORMAL.inv_cdf(1.0 - 1.0 / trials) + EULER * NORMAL.inv_cdf(1.0 - 1.0 / (trials * math.e))
    )


def deflated_sharpe(best: Shape, trials: float, variance: float) -> float:
    """Probability that the best of N sets is better than the best of N that have nothing.

    DSR = PSR(S₀), S₀ the expected maximum of N Sharpe ratios of variance V around 0.

    Source:
        Bailey and López de Prado (2014), The Deflated Sharpe Ratio, eq. 2.

    Example:
        >>> best = Shape(1250.0, 2.5 / 250**0.5, -3.0, 10.0)
        >>> round(deflated_sharpe(best, 100, 0.5 / 250), 4), round(deflated_sharpe(best, 46, 0.5 / 250), 4)
        (0.9004, 0.9505)
    """
    return float(probabilistic_sharpe(best, expected_maximum(trials, variance)))


def variance_between_folds(sharpe: Float64, n: float) -> float:
    """Variance that a Sharpe ratio over all folds has by chance, max(mean_P var_F(S_pf)/F, 1/(n−1)).

    The variance *among sets*, which the deflated Sharpe ratio takes, also holds that some sets really are worse than
    others, e.g. those that pay more fees. What a set did in one fold and in the next differs by chance and by the
    market only; n intervals that hang together, or a market that changes, show here too.

    Args:
        sharpe: of every set in every fold.
        n: intervals of all folds.

    Shape:
        sharpe: [P, F]

    Example:
        >>> variance_between_folds(np.array([[0.1, 0.3, 0.1, 0.3]]), 101.0)  # 0.04/3 over 4; 1/100 is more
        0.01
    """
    least = 1.0 / max(n - 1.0, 1.0)
    if sharpe.shape[1] < 2 or not len(sharpe):
        return least
    return max(least, float(np.mean(sharpe.var(axis=1, ddof=1) / sharpe.shape[1])))


def least_intervals(one: Shape, benchmark: float = 0.0, confidence: float = 0.95) -> float:
    """Minimum track record length: intervals from which on this Sharpe ratio would be above the benchmark.

    n* = 1 + (1 − γ₃ S + (γ₄ − 1)/4 S²) (Φ⁻¹(confidence) / (S − S*))²; infinite where S is not above S*.

    Source:
        Bailey and López de Prado (2012), The Sharpe Ratio Efficient Frontier.

    Example:
        >>> day = Shape(0.0, 2 / 252**0.5, 0.0, 3.0)  # 2 a year against 1: 2.73 years of days
        >>> round(least_intervals(day, 1 / 252**0.5) / 252, 2)
        2.73
    """
    excess = float(one.sharpe) - benchmark
    if excess <= 0.0:
        return math.inf
    spread = 1.0 - float(one.skew) * float(one.sharpe) + (float(one.kurtosis) - 1.0) / 4.0 * float(one.sharpe) ** 2
    return 1.0 + spread * (NORMAL.inv_cdf(confidence) / excess) ** 2


def independent_trials(results: Float64) -> float:
    """How many independent trials so many alike ones amount to: ρ̄ + (1 − ρ̄) N.

    ρ̄ is the mean correlation between two sets' results over the folds, at least 0. With a few folds that is a rough
    number; it is told beside N and decides nothing.

    Args:
        results: one number per set and fold.

    Shape:
        results: [P, F]

    Source:
        Bailey and López de Prado (2014), The Deflated Sharpe Ratio, appendix A.3.

    Example:
        >>> wave = np.array([1.0, -2.0, 3.0, 0.0])
        >>> independent_trials(np.stack([wave, 2 * wave + 1, 0.5 * wave]))
        1.0
    """
    centred = results - results.mean(axis=1, keepdims=True)
    size = np.sqrt((centred**2).sum(axis=1))
    z = centred[size > 0] / size[size > 0, None]
    count = len(z)
    if count < 2:
        return float(count)
    mean = (float((z.sum(axis=0) ** 2).sum()) - count) / (count * (count - 1))
    mean = min(max(mean, 0.0), 1.0)
    return mean + (1.0 - mean) * count


def _normal_cdf(z: Float64) -> Float64:
    return np.asarray(np.vectorize(lambda one: 0.5 * math.erfc(-one / math.sqrt(2.0)), otypes=[np.float64])(z))
