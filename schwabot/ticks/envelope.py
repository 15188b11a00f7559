"""Lines under delays: the lower convex hull, its edge over the middle, and the slope over a whole run.

Axis legend: points (receive time, delay) in ns, oldest first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from schwabot.records.market import Float64

_MAX_BLOCKS = 32
_SET_NS, _SET_TIMES = 1e7, 10.0
"""Two blocks in a row whose minima differ by more than this, and by more than so often the median: a clock was set."""
_T_975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip
"""Upper 2.5 % points of Student's t with 1, 2, ... degrees of freedom."""

Point = tuple[int, int]
"""Receive time and delay, ns."""


def lower_hull_push(hull: list[Point], point: Point) -> None:
    """Add a point to the right of a lower convex hull.

    Example:
        >>> hull = [(0, 0), (1, 5)]
        >>> lower_hull_push(hull, (2, 2))
        >>> hull
        [(0, 0), (2, 2)]
    """
    x, y = point
    while len(hull) >= 2:
        (x1, y1), (x2, y2) = hull[-2], hull[-1]
        if (y2 - y1) * (x - x2) < (y - y2) * (x2 - x1):
            break
        hull.pop()
    hull.append(point)


def lower_hull(points: Iterable[Point]) -> list[Point]:
    """The lower convex hull of points, oldest first.

    Example:
        >>> lower_hull([(0, 0), (1, 5), (2, 2), (3, 9)])
        [(0, 0), (2, 2), (3, 9)]
    """
    hull: list[Point] = []
    for point in points:
        lower_hull_push(hull, point)
    return hull


def closest_line_below(hull: Sequence[Point]) -> tuple[int, int, float]:
    """The hull's edge over the middle of its span: a point on it (time, delay) and its slope.

    Example:
        >>> closest_line_below([(0, 0), (2, 2), (10, 26)])
        (10, 26, 3.0)
    """
    if len(hull) == 1:
        return *hull[0], 0.0
    middle = (hull[0][0] + hull[-1][0]) / 2
    for (x1, y1), (x2, y2) in pairwise(hull):
        if x2 >= middle:
            return x2, y2, (y2 - y1) / (x2 - x1)
    raise AssertionError("the last edge reaches the middle")


class RunSlope:
    """Least-squares slope of block minima over a run of any length, from at most 32 blocks.

    Blocks start 1 s long and double whenever there are too many. Where a clock was set a new stretch begins: the slope
    is common to all of three blocks or more, each with a height of its own. The first and the last block of a stretch
    are only partly seen, so their minima lie high: they are left out when there are enough others.

    Example:
        >>> run = RunSlope()
        >>> for s in range(20): run.add((s * 10**9, 2_000 * s - 90 * 10**9 * (s > 8)))
        >>> round(run.slope() * 1e6, 6)
        2.0
    """

    def __init__(self) -> None:
        self.block_ns = 1_000_000_000
        self._lowest: dict[int, Point] = {}

    def add(self, point: Point) -> None:
        """Take a point later than all before it."""
        self._keep(self._lowest, point)
        while len(self._lowest) > _MAX_BLOCKS:
            self.block_ns *= 2
            merged: dict[int, Point] = {}
            for low in self._lowest.values():
                self._keep(merged, low)
            self._lowest = merged

    def _keep(self, lowest: dict[int, Point], point: Point) -> None:
        block = point[0] // self.block_ns
        if block not in lowest or point[1] < lowest[block][1]:
            lowest[block] = point

    def points(self) -> list[Point]:
        """The blocks' minima, oldest first."""
        return list(self._lowest.values())

    @classmethod
    def of(cls, points: list[Point], block_ns: int) -> RunSlope:
        """The run that has these blocks' minima."""
        run = cls()
        run.block_ns = block_ns
        run._lowest = {point[0] // block_ns: point for point in points}
        return run

    def slope(self) -> float | None:
        """Slope of delay over time; None before there are three blocks."""
        fit = self._fit()
        return None if fit is None else fit[0]

    def slope_interval(self) -> tuple[float, float] | None:
        r"""95 % interval of the slope; None before there are three blocks.

            slope +- t sqrt(sum r^2 / ((n_e - 1 - k) sum t^2)),   n_e = n (1 - rho) / (1 + rho),

        r residuals, t centred times, k stretches, rho >= 0 the correlation of a residual with the next: a clock that
        wanders gives many blocks but few independent ones.

        Source:
            Santer et al. (2000), "Statistical significance of trends", J. Geophys. Res. 105.
        """
        fit = self._fit()
        if fit is None:
            return None
        slope, times, rest, stretches = fit
        square = float(rest @ rest)
        rho = max(0.0, float(rest[1:] @ rest[:-1]) / square) if square > 0.0 else 0.0
        free = max(1.0, len(rest) * (1.0 - rho) / (1.0 + rho) - 1.0 - stretches)
        margin = _T_975[min(int(free), len(_T_975)) - 1] * math.sqrt(square / free / float(times @ times))
        return slope - margin, slope + margin

    def _fit(self) -> tuple[float, Float64, Float64, int] | None:
        """Slope, centred times and residuals of the least-squares lines, and how many there are."""
        if len(self._lowest) < 3:
            return None
        points = np.array(list(self._lowest.values()))
        changes = np.abs(np.diff(points[:, 1]))
        was_set = changes > max(_SET_NS, _SET_TIMES * float(np.median(changes)))
        parts = [part for part in np.split(points, np.flatnonzero(was_set) + 1) if len(part) >= 3]
        if not parts:
            return None
        centred = []
        for part in parts:
            inner = part[1:-1] if len(part) >= 5 else part
            both = (inner - inner[0]).astype(np.float64)
            centred.append(both - both.mean(axis=0))
        time, delay = np.concatenate(centred).T
        slope = float(time @ delay / (time @ time))
        return slope, time, delay - slope * time, len(parts)
