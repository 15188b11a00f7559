"""What a run is counted by: events, lanes, bases, windows, last book. Axis legend: N events of a batch, V streams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from schwabot.records.audit import DriftStatus, Lane, Route, StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64, Int64, Kind, Ticks


class Tally:
    """Counts and last values of a run; none of them depends on how it was cut into batches.

    Args:
        instruments: V instruments.
        reference: stream that ``basis_bp`` is measured against.
        rates: streams that convert between currencies, and have no basis.
    """

    def __init__(
        self, instruments: tuple[Instrument, ...], reference: str | None = None, rates: Sequence[str] = ()
    ) -> None:
        V = len(instruments)
        self.instruments = instruments
        priced = tuple(instrument for instrument in instruments if instrument.stream not in rates)
        self.reference = default_reference(priced) if reference is None else reference
        self._rates = rates
        self._reference = [instrument.stream for instrument in instruments].index(self.reference)
        self.events = np.zeros(V, dtype=np.int64)
        self.trades = 0
        self._lanes = np.zeros((V, len(Lane)), dtype=np.int64)
        self._windows = np.zeros((V, 2), dtype=np.int64)
        self._avoid_reentry = self._pays_fees = 0
        self._offset_bp = np.full((1, V), np.nan)
        self._offset_ns = np.zeros(1, dtype=np.int64)
        self._basis_sum_bp_s = np.zeros((1, V))
        self._basis_ns = np.zeros(V, dtype=np.int64)
        self._status = np.zeros(V, dtype=np.int64)
        self._route = np.full(V, Route.UNSEEN, dtype=np.int64)
        self._book = np.zeros((V, 4), dtype=np.int64)
        self._quoted = np.zeros(V, dtype=np.bool_)
        self._first_ns: int | None = None
        self._last_ns = 0
        self.arbitrage = {"locked": 0, "basis": 0}
        self._locked: list[tuple[Int64, Int64, Float64]] = []
        self.fallbacks = 0

    def update(self, ticks: Ticks | None, record: StepRecord | None) -> None:
        """Take one batch of ticks, what the graph says about it, or both."""
        if ticks is not None and len(ticks):
            self._take_ticks(ticks)
        if record is not None:
            self._take_record(record)

    def _take_record(self, record: StepRecord) -> None:
        if len(record.stream):
            self._take_signals(record)
        found = record.arbitrage
        locked = int(np.count_nonzero(found.locked))
        self.arbitrage["locked"] += locked
        self.arbitrage["basis"] += len(found.locked) - locked
        for leg in found.legs.T:
            used = leg >= 0
            np.add.at(self._windows, (leg[used], 1 - found.locked[used].astype(np.int64)), 1)
        if locked:
            at = found.locked == 1
            self._locked.append((found.start_ns[at], found.end_ns[at], found.realised_left_bp[at]))
        self.fallbacks += len(record.fallbacks)

    def _take_ticks(self, ticks: Ticks) -> None:
        if self._first_ns is None:
            self._first_ns = int(ticks.ts_recv_ns[0])
        self._last_ns = int(ticks.ts_recv_ns[-1])
        rows = ticks.kind != Kind.DEPTH
        self.events += np.bincount(ticks.stream[rows], minlength=len(self.events))
        self.trades += int(np.count_nonzero(ticks.kind == Kind.TRADE))
        quotes = np.flatnonzero(ticks.kind == Kind.QUOTE)
        last: Int64 = np.full(len(self.events), -1, dtype=np.int64)
        last[ticks.stream[quotes]] = quotes  # the later row wins
        seen = last >= 0
        columns = (ticks.bid_ticks, ticks.bid_lots, ticks.ask_ticks, ticks.ask_lots)
        self._book[seen] = np.stack([column[last[seen]] for column in columns], axis=1)
        self._quoted |= seen

    def _take_signals(self, record: StepRecord) -> None:
        signals = record.signals
        row = np.arange(len(record.stream))
        np.add.at(self._lanes, (record.stream, signals.lane[row, record.stream]), 1)
        self._pays_fees += int(np.count_nonzero(signals.pays_fees[row, record.stream]))
        self._avoid_reentry += int(np.count_nonzero(signals.penalty > record.reentry_penalty))
        self._status = signals.status[-1].astype(np.int64)
        self._route = signals.route[-1].astype(np.int64)
        self._take_offsets(record.ts_recv_ns, signals.mid_bp - signals.mid_bp[:, [self._reference]])

    def _take_offsets(self, ts_ns: Int64, offset_bp: Float64) -> None:
        """Each offset counts for as long as it stood: a mean over rows would be one over bursts."""
        times = np.concatenate([self._offset_ns, ts_ns])
        offsets = np.concatenate([self._offset_bp, offset_bp])
        self._offset_ns, self._offset_bp = times[-1:].copy(), offsets[-1:].copy()
        stood_ns = np.diff(times)[:, None]
        both = np.isfinite(offsets[:-1])
        parts = np.where(both, offsets[:-1] * (stood_ns / 1e9), 0.0)
        # cumsum adds one after the other, so the sum does not depend on the batches (np.sum's does)
        self._basis_sum_bp_s = np.cumsum(np.concatenate([self._basis_sum_bp_s, parts]), axis=0)[-1:].copy()
        self._basis_ns += (both * stood_ns).sum(axis=0)

    def _basis_bp(self, v: int) -> float | None:
        """Time mean of the log-mid offset to the reference while both were seen."""
        if self._basis_ns[v]:
            return float(self._basis_sum_bp_s[0, v] / (self._basis_ns[v] / 1e9))
        last = float(self._offset_bp[0, v])
        return last if np.isfinite(last) else None

    def counts(self) -> dict[str, Any]:
        """Entries for summary.json of a run without a graph: what the ticks alone say."""
        events = int(self.events.sum())
        return {
            "events": events,
            "quotes": events - self.trades,
            "trades": self.trades,
            "span_s": 0.0 if self._first_ns is None else (self._last_ns - self._first_ns) / 1e9,
            "streams": {
                instrument.stream: {"events": int(self.events[v]), "book": self._book_summary(v)}
                for v, instrument in enumerate(self.instruments)
            },
        }

    def summary(self, clocks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Entries for summary.json."""
        return self.counts() | {
            "streams": {
                instrument.stream: self._stream_summary(v, clocks) for v, instrument in enumerate(self.instruments)
            },
            "reference": self.reference,
            "lanes": {lane.name: int(self._lanes[:, lane].sum()) for lane in Lane},
            "pays_fees": self._pays_fees,
            "avoid_reentry": self._avoid_reentry,
            "arbitrage": self.arbitrage | self._locked_summary(),
            "fallbacks": self.fallbacks,
        }

    def _locked_summary(self) -> dict[str, float | None]:
        """How long there was a locked window, how long one lasted, and what was left of its edge when we could act."""
        if not self._locked:
            return {"locked_s": 0.0, "locked_median_ms": None, "realised_edge_left_median_bp": None}
        start, end, left = (np.concatenate(columns) for columns in zip(*self._locked, strict=True))
        order = np.argsort(start, kind="stable")
        start, end, life = start[order], np.maximum.accumulate(end[order]), end - start
        # Windows that overlap count once: each adds what lies beyond all that began before it.
        beyond = end - np.maximum(start, np.concatenate([start[:1], end[:-1]]))
        known = left[np.isfinite(left)]
        return {
            "locked_s": float(np.maximum(beyond, 0).sum() / 1e9),
            "locked_median_ms": float(np.median(life) / 1e6),
            "realised_edge_left_median_bp": float(np.median(known)) if len(known) else None,
        }

    def _stream_summary(self, v: int, clocks: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        instrument = self.instruments[v]
        clock = clocks.get(instrument.stream) or {}
        return {
            "events": int(self.events[v]),
            "clock_offset_ms": clock.get("clock_offset_ms"),
            "clock_offset_ci_ms": clock.get("clock_offset_ci_ms"),
            "clock_drift_ppm": clock.get("clock_drift_ppm"),
            "clock_drift_ci_ppm": clock.get("clock_drift_ci_ppm"),
            "feed_delay_median_ms": clock.get("feed_delay_median_ms"),
            "basis_bp": None if instrument.stream in self._rates else self._basis_bp(v),
            "drift_status": DriftStatus(int(self._status[v])).name.lower() if self.events[v] else None,
            "route": Route(int(self._route[v])).name.lower(),
            "lanes": {lane.name: int(self._lanes[v, lane]) for lane in Lane},
            "arbitrage": {"locked": int(self._windows[v, 0]), "basis": int(self._windows[v, 1])},
            "book": self._book_summary(v),
        }

    def _book_summary(self, v: int) -> dict[str, float] | None:
        if not self._quoted[v]:
            return None
        bid, bid_lots, ask, ask_lots = self._book[v].tolist()
        tick, lot = self.instruments[v].tick_size, self.instruments[v].lot_size
        return {
            "bid": in_units(bid, tick),
            "bid_qty": in_units(bid_lots, lot),
            "ask": in_units(ask, tick),
            "ask_qty": in_units(ask_lots, lot),
        }


def in_units(count: int, step: float) -> float:
    """A count of ticks or lots as the decimal a venue would print.

    Example:
        >>> 6183763 * 0.01, in_units(6183763, 0.01)
        (61837.630000000005, 61837.63)
    """
    return float(Decimal(repr(step)) * count)


def default_reference(instruments: tuple[Instrument, ...]) -> str:
    """First spot stream by name, else the first by name.

    Example:
        >>> default_reference((Instrument("a:X/Y:Y", 1.0, 1.0), Instrument("b:X/Y", 1.0, 1.0)))
        'b:X/Y'
    """
    streams = sorted(instrument.stream for instrument in instruments)
    spot = [instrument.stream for instrument in instruments if instrument.delivers == instrument.base]
    return min(spot) if spot else streams[0]
