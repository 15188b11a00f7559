"""How far from the truth? Estimates of a synthetic market against what was true.

Axis legend: N events, V streams, K compared series.

The ghost is defined up to a constant (which of the streams has no basis is a matter of convention), and so is each mid.
So every series is compared with the efficient price after removing its own mean difference over the run:

    rmse(e) = sqrt(mean(e^2) - mean(e)^2),   e_i = estimate_i - efficient_i.

Only rows on which every stream has a mid and there is a ghost count, the same for all series: while streams join, the
plain mean of mids jumps by their bases, which would say nothing about the estimates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from schwabot.records.audit import StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64
from schwabot.ticks.synthetic import SyntheticTruth
from schwabot.ticks.synthetic_venue import Venue


class _Moments:
    """Sum and sum of squares of K series, added row by row, so that cuts change no bit."""

    def __init__(self, series: int) -> None:
        self.rows = 0
        self._sums = np.zeros((2, series))
        self._origin: Float64 | None = None

    def add(self, errors: Float64) -> None:
        """Add rows, shaped [N, K]."""
        if not len(errors):
            return
        if self._origin is None:
            # Offsets far larger than the spread would eat the digits of the variance.
            self._origin = errors[0].copy()
        centred = errors - self._origin
        rows = np.stack([centred, centred * centred], axis=1)
        self._sums = np.add.accumulate(np.concatenate([self._sums[None], rows]))[-1].copy()
        self.rows += len(errors)

    def spread(self) -> list[float | None]:
        """Root mean square about the own mean. K values, None without rows."""
        if not self.rows:
            return [None] * self._sums.shape[1]
        mean, square = self._sums / self.rows
        return [float(x) for x in np.sqrt(np.maximum(square - mean * mean, 0.0))]

    def size(self) -> list[float | None]:
        """Root mean square about zero. K values, None without rows."""
        if self._origin is None:
            return [None] * self._sums.shape[1]
        mean, square = self._sums / self.rows
        shifted = square + 2 * mean * self._origin + self._origin * self._origin
        return [float(x) for x in np.sqrt(np.maximum(shifted, 0.0))]


class TruthMeter:
    """Streaming errors of the ghost, of the naive prices beside it, and of the bases.

    Args:
        instruments: V instruments of the run.
        rates: streams that price something else than the asset; they are left out.

    Example:
        >>> meter = TruthMeter((Instrument("a:X/Y", 0.1, 1.0),))
        >>> meter.summary()["ghost_rmse_bp"] is None
        True
    """

    def __init__(self, instruments: tuple[Instrument, ...], rates: Sequence[str] = ()) -> None:
        self._at = [v for v, instrument in enumerate(instruments) if instrument.stream not in rates]
        self.streams = tuple(instruments[v].stream for v in self._at)
        self._prices = _Moments(2 + len(self.streams))
        self._bases = _Moments(len(self.streams))

    def update(self, record: StepRecord, truth: SyntheticTruth) -> None:
        """Take in one batch.

        Args:
            record: N rows.
            truth: at the same N rows, e.g. ``feed.truth_at(record.ts_recv_ns)``.
        """
        signals = record.signals
        mid_bp = signals.mid_bp[:, self._at]
        estimates = np.concatenate([signals.ghost_bp[:, None], mid_bp.mean(axis=1, keepdims=True), mid_bp], axis=1)
        errors = estimates - truth.efficient_bp[:, None]
        self._prices.add(errors[np.isfinite(errors).all(axis=1)])
        # Phases, too, are known up to a constant: compare what is left without the mean over the streams.
        phase = signals.phase_bp[:, self._at] - truth.basis_bp[:, self._at]
        phase -= phase.mean(axis=1, keepdims=True)
        self._bases.add(phase[np.isfinite(phase).all(axis=1)])

    def summary(self) -> dict[str, Any]:
        """Errors in bp: ghost, best single mid, plain mean of mids, and the phase of each stream; None without rows."""
        ghost, plain, *single = self._prices.spread()
        known = [(rmse, stream) for rmse, stream in zip(single, self.streams, strict=True) if rmse is not None]
        best = min(known, default=(None, None))
        return {
            "ghost_rmse_bp": ghost,
            "best_single_rmse_bp": best[0],
            "best_single_stream": best[1],
            "plain_mean_rmse_bp": plain,
            "basis_error_bp": dict(zip(self.streams, self._bases.size(), strict=True)),
            "rows": self._prices.rows,
        }


def clock_errors(
    clock_summary: Mapping[str, Mapping[str, Any]], venues: Sequence[Venue], since_s: Mapping[str, float]
) -> dict[str, dict[str, float | None]]:
    """Measured minus true clock offset and drift of every venue.

    The envelope of receive minus emission time is offset plus least transport; one-way stamps can't tell them apart,
    so it is compared with their sum. The true drift of a clock that wanders is that of the least-squares line through
    it.

    Args:
        clock_summary: stream → ``clock_offset_ms`` and ``clock_drift_ppm``.
        venues: the truth, ``SyntheticFeed.truth_summary()``.
        since_s: stream → seconds from the market's start to the venue's last stamp, where the offset was read.

    Returns:
        stream → ``offset_ms``, ``drift_ppm``; None where the venue gave no stamps.
    """
    errors: dict[str, dict[str, float | None]] = {}
    for venue in venues:
        measured = clock_summary.get(venue.instrument.stream, {})
        offset_ms, drift_ppm = measured.get("clock_offset_ms"), measured.get("clock_drift_ppm")
        end_s = since_s.get(venue.instrument.stream, 0.0)
        true_ms = float(venue.clock_offset_at(np.array([end_s]))[0]) + venue.latency_min_ms
        grid_s = np.linspace(-0.5, 0.5, 1_000) * end_s
        swing_ppm = (
            1e3 * float(grid_s @ venue.clock_wander_at(grid_s + 0.5 * end_s)) / max(float(grid_s @ grid_s), 1e-9)
        )
        errors[venue.instrument.stream] = {
            "offset_ms": None if offset_ms is None else offset_ms - true_ms,
            "drift_ppm": None if drift_ppm is None else drift_ppm - venue.clock_drift_ppm - swing_ppm,
        }
    return errors
