r"""How sure is the envelope? A 95 % interval for our clock minus the venue's, plus the least transport.

Axis legend: M points (minima of buckets), S shapes of the curve, G gaps below it, A exponents.

The minimum delay y_i of a bucket at time t_i lies above the curve that is asked for: y_i = q(t_i) + x_i, x_i > 0.
Minima of many are Weibull, whatever they are minima of (Fisher and Tippett 1928):

    p(x) = a x^(a-1) / s^a exp(-(x/s)^a)

a = 1 where messages often take the least time, large where hardly any comes near it. The curve bends,

    q(t) = q + b u + c u^2,   u = (t - middle) / half span,

because clocks wander. This is a regression whose noise has an edge: the fit moves with the lowest few points, and
the usual standard errors are wrong (Smith 1994, "Nonregular regression", Biometrika 81). Posterior quantiles are valid
there (Chernozhukov and Hong 2004, Econometrica 72; for an edge alone Smith and Naylor 1987, Applied Statistics 36), so
the interval is one of those. Priors: q flat; |b| up to ``max_slope`` per half span and |c| up to half of that, so that
the slope changes by no more than ``max_slope`` between the middle and an end; a from 1 to 11.3; s of the size of
``unrest``, the usual change from one minimum to the next, with a tail of 1/s^2. For given b, c, g and a, with g the gap
between the curve and the lowest point, s integrates to

    L = a^M prod x_i^(a-1) Gamma(M + 1/a) / Gamma(1/a) unrest / (unrest^a + sum x_i^a)^(M + 1/a)

and the rest is a weighted sum: b and c drawn twice, about least squares and then about the first answer, g and a on a
grid.

The interval grows with the spread of the minima, with few messages, with a bend, and with the time since the last
message, as b and c carry on. What it can't hold is what no one-way stamp shows: the least transport itself is in q and
stays there, and if it changes (another route), that is a change of q like any other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from schwabot.records.market import Float64
from schwabot.ticks.envelope import Point

LEVEL = 0.95
_EXPONENTS = tuple(2.0 ** (0.5 * k) for k in range(8))
_MOST_POINTS = 64
_POINTS_FOR_A_BEND = 4
_SPREAD_OUT = (0.5 + np.arange(1, 193)[:, None] * (0.7548776662466927, 0.5698402909980532)) % 1.0
"""Points that fill the unit square evenly: multiples of 1/p and 1/p^2, p^3 = p + 1."""
_RADIUS, _ANGLE = np.sqrt(-2.0 * np.log(_SPREAD_OUT[:, 0])), 2.0 * math.pi * _SPREAD_OUT[:, 1]
_DRAWS: Float64 = np.stack([_RADIUS * np.cos(_ANGLE), _RADIUS * np.sin(_ANGLE)], axis=1)
"""Standard normal pairs. [S, 2]"""
_GAP_EDGES = np.concatenate([[0.0], np.geomspace(1e-3, 30.0, 30)])
_GAPS: Float64 = 0.5 * (_GAP_EDGES[1:] + _GAP_EDGES[:-1])
_LOG_WIDTHS: Float64 = np.log(np.diff(_GAP_EDGES))
_LEAST_NS = 1_000.0
"""No clock is known better than this."""


def envelope_interval(points: Sequence[Point], at_ns: int, unrest_ns: float, max_slope: float) -> tuple[float, float]:
    """95 % interval of the edge below the points at a time, ns.

    Args:
        points: at least one; M of them, oldest first.
        at_ns: time, not before the last point.
        unrest_ns: usual difference of one point from the one before.
        max_slope: steepest the edge may be, ns per ns.

    Source:
        Chernozhukov and Hong (2004); see the top of the file.

    Example:
        >>> delays = 5_000_000 + np.random.default_rng(0).exponential(1e6, 20)
        >>> points = [(250_000_000 * i, int(delay)) for i, delay in enumerate(delays)]
        >>> low, high = envelope_interval(points, points[-1][0], 1e6, 1e-3)
        >>> low < 5_000_000 < high < 5_500_000
        True
    """
    points = _thinned(points)
    times = np.array([time - points[0][0] for time, _ in points], np.float64)
    delays = np.array([delay - points[0][1] for _, delay in points], np.float64)
    half_ns = max(times[-1] / 2, 1e6)
    size = 2 if len(points) >= _POINTS_FOR_A_BEND else 1
    powers = np.arange(1, size + 1)
    middle = times[-1] / 2
    basis = ((times - middle) / half_ns)[:, None] ** powers
    at = ((at_ns - points[0][0] - middle) / half_ns) ** powers
    limit = max_slope * half_ns * np.array([1.0, 0.5])[:size]
    unrest_ns = max(unrest_ns, _LEAST_NS)

    mean, spread = _least_squares(basis, delays, limit, unrest_ns)
    draws = _DRAWS[:, :size]
    for widen in (1.5, 2.5):
        shapes = mean + draws @ np.linalg.cholesky(widen * spread).T
        above = delays - shapes @ basis.T
        lowest = above.min(axis=1)
        above -= lowest[:, None]
        gaps = _GAPS * (np.median(above.sum(axis=1)) + unrest_ns) / (len(points) + 1)
        log_weight = _log_likelihood(above, gaps, unrest_ns) + _LOG_WIDTHS
        # Divided by the density they were drawn from.
        log_weight += np.where((np.abs(shapes) <= limit).all(axis=1), 0.5 * (draws**2).sum(axis=1), -np.inf)[:, None]
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        by_shape = weight.sum(axis=1)
        mean = by_shape @ shapes
        spread = (by_shape[:, None] * (shapes - mean)).T @ (shapes - mean) + 1e-3 * spread
    found = (lowest + shapes @ at)[:, None] - gaps
    order = np.argsort(found, axis=None, kind="stable")
    share = np.cumsum(weight.ravel()[order])
    tail = (1.0 - LEVEL) / 2
    low, high = found.ravel()[order[np.searchsorted(share, [tail, 1.0 - tail]).clip(max=len(order) - 1)]].tolist()
    return points[0][1] + min(low, high - _LEAST_NS), points[0][1] + high


def _thinned(points: Sequence[Point]) -> Sequence[Point]:
    """The lowest of every few, so that a long window needs no more memory."""
    each = -(-len(points) // _MOST_POINTS)
    return [min(points[i : i + each], key=lambda point: point[1]) for i in range(0, len(points), each)]


def _least_squares(basis: Float64, delays: Float64, limit: Float64, unrest_ns: float) -> tuple[Float64, Float64]:
    """Where to look for shapes: mean and covariance of a line or parabola through the middle of the points."""
    design = np.concatenate([np.ones((len(delays), 1)), basis], axis=1)
    prior = np.diag([0.0, *(3.0 / limit**2)])
    free = len(delays) - design.shape[1]
    variance = unrest_ns**2
    for _ in range(2):
        covariance = np.linalg.inv(design.T @ design / variance + prior)
        fit = covariance @ design.T @ delays / variance
        if free > 0:
            variance = max(float(np.sum((delays - design @ fit) ** 2)) / free, _LEAST_NS**2)
    return np.clip(fit[1:], -limit, limit), covariance[1:, 1:]


def _log_likelihood(above: Float64, gaps: Float64, unrest_ns: float) -> Float64:
    """Log of L, summed over the exponents. [S, G]."""
    count = above.shape[1]
    x = (above[:, None, :] + gaps[None, :, None]) / unrest_ns
    total = np.log(x).sum(axis=2)
    # Every other exponent is twice as large: its powers are the squares of those before the last.
    powers, parts = (x, x ** _EXPONENTS[1]), []
    for i, a in enumerate(_EXPONENTS):
        power = powers[i % 2]
        if i >= 2:
            np.square(power, out=power)
        parts.append(
            count * math.log(a)
            + (a - 1.0) * total
            + math.lgamma(count + 1.0 / a)
            - math.lgamma(1.0 / a)
            - (count + 1.0 / a) * np.log1p(power.sum(axis=2))
        )
    return np.asarray(np.logaddexp.reduce(parts, axis=0))
