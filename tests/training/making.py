"""Step records made by hand. Axis legend: N events, V streams, D decisions, L latencies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np

from schwabot.records.audit import ArbitrageEvents, DriftEvents, LagDecisions, Route, SignalColumns, StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Float64, Int8, Int64, Kind

EPOCH_NS = 1_723_161_240_000_000_000


def instruments(streams: int) -> tuple[Instrument, ...]:
    """V instruments named a, b, c, ..."""
    return tuple(Instrument(f"venue{chr(97 + v)}:X/Y", 0.01, 0.001) for v in range(streams))


@dataclass(frozen=True)
class Market:
    """Columns of a whole run."""

    ts_ns: Int64
    mid_bp: Float64
    deviation_bp: Float64
    kind: Int8

    def __len__(self) -> int:
        return len(self.ts_ns)

    def head(self, n: int) -> Market:
        """The first n events."""
        return Market(*(getattr(self, f.name)[:n] for f in fields(self)))

    def records(self, cuts: Iterable[int] = ()) -> list[StepRecord]:
        """The run as step records that end at the given places."""
        edges = sorted({0, len(self), *(c for c in cuts if 0 < c < len(self))})
        return [self._record(b, i, j) for b, (i, j) in enumerate(pairwise(edges))]

    def _record(self, batch: int, start: int, stop: int) -> StepRecord:
        n, streams = stop - start, self.mid_bp.shape[1]
        wide, flat = np.full((n, streams), np.nan), np.full(n, np.nan)
        mid = self.mid_bp[start:stop]
        seen = np.isfinite(mid)
        signals = SignalColumns(
            ghost_bp=flat, mid_bp=mid, half_spread_bp=wide, deviation_bp=self.deviation_bp[start:stop],
            phase_bp=wide, drift=wide,
            route=np.where(seen, Route.OK, Route.UNSEEN).astype(np.int8), status=np.zeros((n, streams), np.int8),
            forecast_bp=wide, key=np.full(n, -1, np.int64), entropy=flat, echo_bp=flat, expected_lag_bp=flat,
            penalty=flat, snr=wide, bits=wide, voltage=wide, lane=np.zeros((n, streams), np.int8),
            pays_fees=np.zeros((n, streams), np.int8), forecasts_bp=np.zeros((n, streams, 0)),
        )  # fmt: skip
        return StepRecord(
            batch=batch, first_event=start, instruments=instruments(streams), reference_price=100.0,
            latencies_ms=(1.0,), key_bits=8,
 reentry_penalty=0.1, lane_sizes=(0.0, 1.0, 2.0),
            lane_styles=("observe", "post", "cross"), ts_recv_ns=self.ts_ns[start:stop],
            ts_event_ns=np.full(n, MISSING_NS),
            ts_venue_ns=np.full(n, MISSING_NS), stream=np.zeros(n, np.int32), kind=self.kind[start:stop],
            signals=signals, decisions=decisions([], [], np.zeros((0, 1))),
            arbitrage=ArbitrageEvents(
                np.zeros(0, "i1"), np.zeros((0, 4), "i4"), np.zeros((0, 4), "i1"),
                *(np.zeros(0, t) for t in ("i8", "i8", "f8", "f8", "f8", "f8")),
            ),
            drift_events=DriftEvents(*(np.zeros(0, t) for t in ("i8", "i4", "i1", "i1", "i1", "f8"))),
        )  # fmt: skip


def decisions(
    ts_ns: Sequence[int] | Int64,
    stream: Sequence[int] | Int64,
    cost_bp: Float64,
    expected_bp: Float64 | None = None,
) -> LagDecisions:
    """Decisions of a batch; all of them buy, and expect no cost unless it is said."""
    return LagDecisions(
        ts_ns=np.asarray(ts_ns, np.int64),
        stream=np.asarray(stream, np.int32),
        side=np.ones(len(ts_ns), np.int8),
        expected_cost_bp=np.zeros_like(cost_bp) if expected_bp is None else expected_bp,
        realised_cost_bp=cost_bp,
        entropy=np.zeros(len(ts_ns)),
        range_bp=np.ones(len(ts_ns)),
        realised_penalty=np.zeros_like(cost_bp),
    )


def with_decisions(latencies_ms: tuple[float, ...], made: LagDecisions) -> StepRecord:
    """A record that carries decisions and nothing else of interest."""
    market = Market(np.array([EPOCH_NS]), np.zeros((1, 2)), np.zeros((1, 2)), np.zeros(1, np.int8))
    return replace(market.records()[0], latencies_ms=latencies_ms, decisions=made)


def random_market(
    rng: np.random.Generator, events: int, streams: int, mean_gap_ms: float, tied: float = 0.0, trades: float = 0.2
) -> Market:
    """Random walks in which each event moves one stream, on irregular times with ties and some NaN deviations."""
    gap_ns = (rng.exponential(mean_gap_ms * 1e6, events) * (rng.random(events) >= tied)).astype(np.int64)
    own = rng.integers(streams, size=events)
    step = rng.normal(size=events)[:, None] * (own[:, None] == np.arange(streams))
    mid = np.cumsum(step, axis=0)
    first = np.array([np.flatnonzero(own == v)[0] if (own == v).any() else events for v in range(streams)])
    mid[np.arange(events)[:, None] < first] = np.nan
    deviation = np.nanmean(np.where(np.isfinite(mid), mid, 0.0), axis=1, keepdims=True) - mid
    deviation[rng.random((events, streams)) < 0.05] = np.nan
    kind = np.where(rng.random(events) < trades, Kind.TRADE, Kind.QUOTE).astype(np.int8)
    return Market(EPOCH_NS + np.cumsum(gap_ns), mid, deviation, kind)
