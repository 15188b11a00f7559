"""What our latency would cost a limit order in each market of a run, by that market's own numbers.

Axis legend: N events of a batch, V streams.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from schwabot.records.audit import StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Float64, Int64, Kind, Ticks
from schwabot.training.latency_cost import latency_cost

HORIZON_S = 10.0
MOST_STAGES = 10_000
SECOND_NS = 1_000_000_000


class LatencyCostMeter:
    """Volatility, spread and rate of orders of every stream, and what ``latency_cost`` says of them.

    sigma: root of the mean squared move of the log mid per second, over whole seconds of receive time. spread: mean
    over time of ask - bid. Buyers: trades whose time differs from the last one's of their side are one order each; half
    of all orders buy. The model (see ``latency_cost``) knows no queue, no jumps, and takes every buyer to pay the mean
    spread: it says what share of the spread that a resting order could earn at best is lost. Its price is Brownian
    within a latency, which a price that moves in ticks is not where a tick is all of the spread and the latency's own
    move is larger: there, at spread <= sigma sqrt(2 pi latency), nothing is said, nor where several buyers come per
    latency.

    Args:
        instruments: V instruments of the run.
        latency_ms: ours, from decision to exchange.
        notional_quote: size the loss is given in money for.

    Example:
        >>> meter = LatencyCostMeter((Instrument("a:X/Y", 0.1, 1.0),), latency_ms=10.0, notional_quote=25_000.0)
        >>> meter.summary()["latency_cost"]["a:X/Y"]["relative"] is None
        True
    """

    def __init__(self, instruments: tuple[Instrument, ...], latency_ms: float, notional_quote: float) -> None:
        V = len(instruments)
        self._streams = tuple(instrument.stream for instrument in instruments)
        self._latency_s = 1e-3 * latency_ms
        # At a latency of microseconds the programme is long, and its share is the same over a shorter horizon.
        self._horizon_s = min(HORIZON_S, MOST_STAGES * self._latency_s)
        self._notional_quote = notional_quote
        self._second, self._mid_bp = -1, np.full(V, np.nan)
        self._before_s, self._before_bp = np.zeros(V, np.int64), np.full(V, np.nan)
        self._square_bp2, self._square_s = np.zeros(V), np.zeros(V, np.int64)
        self._stood_ns, self._half_bp = np.zeros(1, np.int64), np.full((1, V), np.nan)
        self._half_sum, self._half_ns = np.zeros((1, V)), np.zeros(V, np.int64)
        self._orders = np.zeros(V, np.int64)
        self._last_trade = np.full((V, 3), np.iinfo(np.int64).min)
        self._first_ns = self._last_ns = -1

    def update(self, ticks: Ticks | None, record: StepRecord) -> None:
        """Take one batch."""
        if ticks is not None and len(ticks):
            self._take_trades(ticks)
        if len(record.ts_recv_ns):
            self._take_mids(record.ts_recv_ns // SECOND_NS, record.signals.mid_bp)
            self._take_spreads(record.ts_recv_ns, record.signals.half_spread_bp)

    def _take_trades(self, ticks: Ticks) -> None:
        self._first_ns = int(ticks.ts_recv_ns[0]) if self._first_ns < 0 else self._first_ns
        self._last_ns = int(ticks.ts_recv_ns[-1])
        rows = np.flatnonzero(ticks.kind == Kind.TRADE)
        stamp = np.where(ticks.ts_event_ns == MISSING_NS, ticks.ts_recv_ns, ticks.ts_event_ns)[rows]
        stream, side = ticks.stream[rows], ticks.side[rows] + 1
        for v in np.unique(stream).tolist():
            for way in range(3):
                own = stamp[(stream == v) & (side == way)]
                if len(own):
                    self._orders[v] += np.count_nonzero(np.diff(own, prepend=self._last_trade[v, way]))
                    self._last_trade[v, way] = own[-1]

    def _take_mids(self, second: Int64, mid_bp: Float64) -> None:
        """The mid at the end of every second in which anything happened; the second that goes on has none yet."""
        ends = np.flatnonzero(np.diff(second))
        seconds = [self._second] if self._second >= 0 and second[0] != self._second else []
        mids = [self._mid_bp] if seconds else []
        for at, mid in zip([*seconds, *second[ends].tolist()], [*mids, *mid_bp[ends]], strict=True):
            known = np.isfinite(mid)
            both = known & np.isfinite(self._before_bp)
            self._square_bp2[both] += (mid - self._before_bp)[both] ** 2
            self._square_s[both] += at - self._before_s[both]
            self._before_bp, self._before_s = np.where(known, mid, self._before_bp), np.where(known, at, self._before_s)
        self._second, self._mid_bp = int(second[-1]), mid_bp[-1].copy()

    def _take_spreads(self, ts_ns: Int64, half_bp: Float64) -> None:
        """Each spread counts for as long as it stood."""
        times, halves = np.concatenate([self._stood_ns, ts_ns]), np.concatenate([self._half_bp, half_bp])
        self._stood_ns, self._half_bp = times[-1:].copy(), halves[-1:].copy()
        stood_ns, known = np.diff(times)[:, None], np.isfinite(halves[:-1])
        parts = np.where(known, halves[:-1] * (stood_ns / 1e9), 0.0)
        # cumsum adds one after the other, so the sum does not depend on the batches
        self._half_sum = np.cumsum(np.concatenate([self._half_sum, parts]), axis=0)[-1:].copy()
        self._half_ns += (known * stood_ns).sum(axis=0)

    def summary(self) -> Mapping[str, Any]:
        """``latency_cost``: per stream what was measured and what follows; None where it can't be told."""
        return {"latency_cost": {stream: self._of_stream(v) for v, stream in enumerate(self._streams)}}

    def _of_stream(self, v: int) -> dict[str, float | None]:
        span_s = (self._last_ns - self._first_ns) / 1e9
        sigma = math.sqrt(self._square_bp2[v] / self._square_s[v]) if self._square_s[v] else None
        spread = 2.0 * float(self._half_sum[0, v] / (self._half_ns[v] / 1e9)) if self._half_ns[v] else None
        buyers = 0.5 * int(self._orders[v]) / span_s if span_s > 0 else None
        measured: dict[str, float | None] = {
            "latency_ms": 1e3 * self._latency_s,
            "horizon_s": self._horizon_s,
            "sigma_bp_per_sqrt_s": sigma,
            "spread_bp": spread,
            "buyers_per_s": buyers,
        }
        relative = lost = None
        if sigma and spread and buyers and self._applies(sigma, spread, buyers):
            found = latency_cost(self._latency_s, sigma=sigma, delta=spread, mu=buyers, horizon_s=self._horizon_s)
            relative, lost = found.relative, found.lost
        money = None if lost is None else 1e-4 * lost * self._notional_quote
        return measured | {"relative": relative, "lost_bp": lost, "lost_quote": money}

    def _applies(self, sigma: float, spread: float, buyers: float) -> bool:
        late_s = self._latency_s
        within = 0.0 < late_s <= HORIZON_S and buyers * late_s <= 1.0
        return within and spread > sigma * math.sqrt(2.0 * math.pi * late_s)
