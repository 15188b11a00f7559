"""What the skill meter sums, and how sums become numbers.

Axis legend: n rows scored, V streams, H horizons, P predictors, C cases (each predictor as it is, from 1 ms on, stale).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from schwabot.records.market import Float64, Int64
from schwabot.training.bootstrap import BlockSums, bootstrap_ratio
from schwabot.training.recent_rows import RecentRows
from schwabot.training.skill_settings import SkillConfig

_MS = 1_000_000
_MOMENTS = 4
_SILENT_BP = 1e-9
"""A predictor whose root mean square is no larger says nothing: what it shows is rounding."""


class CausalSlope:
    """Slope through the origin, fitted on the outcomes known before each row.

    slope_i = sum_j d_j y_j / (sum_j d_j^2 + prior) over j with t_j + h < t_i (``<=`` when ``closed``).

    Args:
        horizon_ns: h, how long an outcome takes to become known.
        shape: of one row, e.g. (C, V).
        prior_bp2: pull to zero.
        closed: rows are taken after all events of their stamp.

    Example:
        >>> slope = CausalSlope(horizon_ns=2, shape=(1,), prior_bp2=1.0)
        >>> slope.step(np.array([0, 2, 3]), np.ones((3, 1)), np.full((3, 1), 3.0)).ravel()
        array([0. , 0. , 1.5])
    """

    def __init__(self, horizon_ns: int, shape: tuple[int, ...], prior_bp2: float, closed: bool = False) -> None:
        self.horizon_ns = horizon_ns
        self.prior_bp2 = prior_bp2
        self._side: Any = "right" if closed else "left"
        # When each row's outcome is known, and the running sums of d^2 and d*y up to it; row 0 stands for all before.
        self._rows = RecentRows(((), np.int64), ((2, *shape), np.float64))
        self._rows.append(np.array([np.iinfo(np.int64).min]), np.zeros((1, 2, *shape)))

    def step(self, ts_ns: Int64, dd: Float64, dy: Float64) -> Float64:
        """Slope for each row, then remember the rows.

        Args:
            ts_ns: row times, never decreasing, none before the last call's. [n]
            dd: squared deviation; 0 for rows that do not count. [n, ...]
            dy: deviation times outcome, likewise. [n, ...]

        Shape: [n, ...]
        """
        self._rows.append(ts_ns + self.horizon_ns, np.stack([dd, dy], axis=1))
        known_ns, sums = self._rows.column(0), self._rows.column(1)
        # Left to right from the last running sum, so a cut between calls changes no bit.
        fresh = sums[len(sums) - len(ts_ns) - 1 :]
        np.add.accumulate(fresh, axis=0, out=fresh)
        known = np.searchsorted(known_ns, ts_ns, side=self._side) - 1
        slope = np.take(sums, known, axis=0)
        self._rows.forget(int(known[-1]))
        return np.asarray(slope[:, 1] / (slope[:, 0] + self.prior_bp2))


class Score:
    """Everything summed so far over one set of rows.

    Attributes:
        slopes: one per horizon.
        fit: rows counted, sum y^2, sum squared error. [3, C, V, H]
        counted: rows whose outcome lies within the data and that are not left out, answered or not. [P, H]
        moments: sums of d, y, d^2, d*y of the first P cases. [4, P, V, H]
        blocks: per block, sum y^2 and squared error of the first P cases. [B, H*2*P*V]
    """

    def __init__(self, cases: int, predictors: int, streams: int, config: SkillConfig, closed: bool) -> None:
        self.predictors = predictors
        horizons = len(config.horizons_ms)
        self.slopes = [
            CausalSlope(int(h * _MS), (cases, streams), config.prior_bp2, closed) for h in config.horizons_ms
        ]
        self.fit = np.zeros((3, cases, streams, horizons))
        self.counted = np.zeros((predictors, horizons), dtype=np.int64)
        self.moments = np.zeros((_MOMENTS, predictors, streams, horizons))
        self.blocks = BlockSums(horizons * 2 * predictors * streams)

    def add(
        self,
        k: int,
        ts_ns: Int64,
        d: Float64,
        y: Float64,
        answered: npt.NDArray[np.bool_],
        starts: npt.NDArray[np.intp],
        moves: npt.NDArray[np.bool_],
        left_out: npt.NDArray[np.bool_] | None,
    ) -> tuple[Float64, Float64]:
        """Forecast the rows of one horizon and add them to the sums; returns forecasts and ``fit`` per segment.

        Args:
            k: horizon.
            ts_ns: row times. [n]
            d: what the predictors said. [n, C, V]
            y: outcomes. [n, C, V]
            answered: where they said anything. [n, C, V]
            starts: first row of each segment. [S]
            moves: cases that say a move in bp, which no slope is fitted to. bool [C]
            left_out: rows that are not scored; a slope learns from them all the same. bool [n, C]
        """
        predictors = self.predictors
        counts = answered & np.isfinite(y)
        if not counts.all():
            d, y = np.where(counts, d, 0.0), np.where(counts, y, 0.0)
        dd, dy = d * d, d * y
        forecast = self.slopes[k].step(ts_ns, dd, dy)
        forecast[:, moves] = 1.0
        forecast *= d
        if left_out is None:
            self.counted[:, k] += len(ts_ns)
        else:
            self.counted[:, k] += np.count_nonzero(~left_out[:, :predictors], axis=0)
            counts = counts & ~left_out[..., None]
            forecast, d, y, dd, dy = (np.where(counts, q, 0.0) for q in (forecast, d, y, dd, dy))
        error = y - forecast
        fit = np.stack([np.add.reduceat(q, starts) for q in (counts * 1.0, y * y, error * error)], axis=1)
        moments = np.stack([np.add.reduceat(q[:, :predictors], starts) for q in (d, y, dd, dy)], axis=1)
        self.fit[..., k] = _add_in_order(self.fit[..., k], fit)
        self.moments[..., k] = _add_in_order(self.moments[..., k], moments)
        return forecast, fit


def _add_in_order(total: Float64, pieces: Float64) -> Float64:
    """total + pieces[0] + pieces[1] + ..., left to right."""
    return np.asarray(np.add.accumulate(np.concatenate([total[None], pieces]))[-1])


class Table:
    """Turns the sums of one predictor into the numbers of the summary."""

    def __init__(self, rows: Score, grid: Score, predictor: int, predictors: int, config: SkillConfig) -> None:
        self._fit = rows.fit[:, [predictor, predictors + predictor, 2 * predictors + predictor]]
        self._moments = rows.moments[:, predictor]
        self._grid_fit = grid.fit[:, predictor]
        self._seen = rows.counted[predictor]
        horizons, streams = len(config.horizons_ms), self._fit.shape[2]
        blocks = rows.blocks.values().reshape(-1, horizons, 2, predictors, streams)[:, :, :, predictor]
        self._energy = blocks.transpose(2, 0, 3, 1)
        energy, error = self._energy.reshape(2, len(blocks), streams * horizons)
        ratio = bootstrap_ratio(error, energy, config.draws, config.seed)
        self._interval = (1.0 - ratio[:, ::-1]).reshape(streams, horizons, 2)
        self._top = config.top_blocks

    def cell(self, v: int, k: int) -> dict[str, Any]:
        """The numbers of one stream and horizon."""
        (n, yy, sse) = self._fit[:, :, v, k]
        d, y, dd, dy = (float(q) for q in self._moments[:, v, k])
        energy, error = self._energy[:, :, v, k]
        calm = np.argsort(-energy, kind="stable")[self._top :]
        low, high = self._interval[v, k]
        return {
            "corr": _correlation(float(n[0]), d, y, dd, dy, float(yy[0])),
            "r2": _r2(yy[0], sse[0]),
            "r2_ci": [_finite(low), _finite(high)],
            "r2_grid": _r2(*self._grid_fit[1:, v, k]),
            "r2_after_1ms": _r2(yy[1], sse[1]),
            "r2_without_top3": _r2(energy[calm].sum(), error[calm].sum()),
            "placebo": _r2(yy[2], sse[2]),
            "n": int(n[0]),
            "excluded": int(self._seen[k] - n[0]),
        }


def _r2(energy: float, error: float) -> float | None:
    return None if energy <= 0 else float(1.0 - error / energy)


def _correlation(n: float, d: float, y: float, dd: float, dy: float, yy: float) -> float | None:
    """Pearson's, from sums; None where d says nothing."""
    spread = (n * dd - d * d) * (n * yy - y * y)
    return None if n < 2 or spread <= 0 or dd <= n * _SILENT_BP**2 else float((n * dy - d * y) / np.sqrt(spread))


def _finite(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None
