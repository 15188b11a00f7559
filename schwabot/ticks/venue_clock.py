"""Venue time on our clock: each venue's clock offset, its drift, and how long its feed takes.

Axis legend: N events, V streams, B buckets of receive time.

A message that the venue stamps E and we receive at r has r - E = (our clock - venue clock) + transport.
Transport is never less than some minimum, so the lower envelope of r - E follows the clocks and what
lies above it is delay. One-way stamps can't tell the offset from the minimum transport: the latter is
an assumption, ``min_transport_ns``.

The envelope is a line under the minima of short buckets of receive time over a sliding window: of all
lines below the minima the one closest to them on average, which is the edge of their lower convex hull
over the middle of the window (Moon, Skelly and Towsley 1999, "Estimation and removal of clock skew from
network delay measurements"), carried on to now. It is renewed at bucket edges in absolute time, so it
can't depend on how the events are cut into batches. Between edges a message below the line lowers it.

Clocks wander, so half the window is enough where most of its buckets have a message. Clocks are set: a
message so far below what came before that no admissible line can touch both makes a new beginning at
once, as a delay is never below the least; one that is set the other way looks like delay until the
window has passed it. After a silence longer than the window nothing is carried on.

How sure all this is: ``clock_interval``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from schwabot.errors import ConfigError, StateError
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Float64, Int32, Int64, Kind, Ticks
from schwabot.ticks.clock_interval import envelope_interval
from schwabot.ticks.delays import Delays
from schwabot.ticks.envelope import Point, RunSlope, closest_line_below, lower_hull, lower_hull_push

_FIRST = np.zeros(1, np.int64)
_DENSE = 0.75
"""Where this share of the buckets have a message, half the window is enough."""
_UNREST_BUCKETS = 16


@dataclass(frozen=True)
class VenueClockConfig:
    """Settings of the venue clock.

    Args:
        min_transport_ns: shortest time a message takes to reach us, ns; an assumption, default 0.
        window_s: how far back the envelope looks, s; half of it where messages are dense. Long = steadier, short =
            follows a clock that wanders.
        bucket_ms: the envelope is renewed every so many ms of receive time.
        delay_tau_s: memory of the typical feed delay, s.
        max_drift_ppm: steepest envelope, ppm (us per s); keeps early lines over a short window tame.

    Raises:
        ConfigError: a value out of range, or a window shorter than two buckets.
    """

    min_transport_ns: int = 0
    window_s: float = 10.0
    bucket_ms: int = 250
    delay_tau_s: float = 10.0
    max_drift_ppm: float = 2_000.0

    def __post_init__(self) -> None:
        for name, least, most in (
            ("min_transport_ns", 0, 3_600 * 10**9),
            ("bucket_ms", 1, 3_600_000),
            ("window_s", 0.002, 1e6),
            ("delay_tau_s", 1e-3, 1e9),
            ("max_drift_ppm", 1e-3, 1e6),
        ):
            if not least <= getattr(self, name) <= most:
                raise ConfigError(f"latency.{name}={getattr(self, name)} is out of range: use {least} to {most}")
        if self.window_s * 1_000 < 2 * self.bucket_ms:
            raise ConfigError(
                f"latency.window_s={self.window_s}: must hold two buckets (latency.bucket_ms={self.bucket_ms})"
            )


class _Venue:
    """Envelope and typical delay of one venue; all of its streams share a clock."""

    def __init__(self, config: VenueClockConfig) -> None:
        self._bucket_ns = config.bucket_ms * 1_000_000
        self._window = max(2, round(config.window_s * 1e9 / self._bucket_ns))
        self._tau_buckets = config.delay_tau_s * 1e9 / self._bucket_ns
        self._max_slope = config.max_drift_ppm * 1e-6
        self._step = max(1, self._window // 10)
        self._half = self._window // 2
        self._enough = max(2, round(_DENSE * self._half))
        self._first = MISSING_NS
        self._minima: deque[Point] = deque()
        self._hull: list[Point] = []
        self._run = RunSlope()
        self._unrest = 0.0  # how much the minima of buckets differ from one to the next
        self._bucket = 0  # the bucket that is being filled
        self._delays: list[int] = []
        self._lowest: Point = (0, 0)
        self._line: tuple[int, int, float] | None = None
        self._dip = 0  # how far messages of this bucket lie below the line
        self._delay_sum = 0.0
        self._delay_weight = 0.0
        self._delay_bucket = 0
        self.typical_ns = MISSING_NS
        self.offset_ns = MISSING_NS
        self.offset_at_ns = MISSING_NS

    def step(self, recv_ns: int, delay_ns: int) -> tuple[int, int]:
        """``advance`` for one row, without arrays."""
        number = recv_ns // self._bucket_ns
        if number != self._bucket:
            self._close()
            self._bucket = number
        if delay_ns == MISSING_NS:
            return MISSING_NS, self.typical_ns
        if not self._delays:
            self._forget_before_silence(number)
        if self._line is None:
            self._line = recv_ns, delay_ns, 0.0
        if not self._delays or delay_ns < self._lowest[1]:
            self._lowest = recv_ns, delay_ns
        self._delays.append(delay_ns)
        at, height, slope = self._line
        envelope = height + round(slope * (recv_ns - at))
        self._dip = min(self._dip, delay_ns - envelope)
        self.offset_ns, self.offset_at_ns = envelope + self._dip, recv_ns
        return self.offset_ns, self.typical_ns

    def advance(self, recv_ns: Int64, delay_ns: Int64) -> tuple[Int64, Int64]:
        """Envelope (at stamped rows) and typical delay as of each row; ``delay_ns`` is MISSING_NS without stamp."""
        n = len(recv_ns)
        bucket = recv_ns // self._bucket_ns
        starts = np.concatenate([_FIRST, np.flatnonzero(bucket[1:] != bucket[:-1]) + 1])
        starts_list = starts.tolist()
        ends = [*starts_list[1:], n]
        recvs, delays = recv_ns.tolist(), delay_ns.tolist()
        lines, typical = [], []
        dip = self._dip if int(bucket[0]) == self._bucket else 0
        for start, end, number in zip(starts_list, ends, bucket[starts].tolist(), strict=True):
            if number != self._bucket:
                self._close()
                self._bucket = number
            typical.append(self.typical_ns)
            part = delays[start:end]
            stamped = [delay for delay in part if delay != MISSING_NS]
            if stamped:
                low = min(stamped)
                if not self._delays:
                    self._forget_before_silence(number)
                if self._line is None:  # the first message ever is its own envelope
                    self._line = recvs[start + part.index(stamped[0])], stamped[0], 0.0
                if not self._delays or low < self._lowest[1]:
                    self._lowest = recvs[start + part.index(low)], low
                self._delays += stamped
            lines.append(self._line or (0, 0, 0.0))
        lengths = np.diff(starts, append=n)
        at, height = (np.repeat(np.array([line[k] for line in lines], np.int64), lengths) for k in (0, 1))
        slope = np.repeat(np.array([line[2] for line in lines]), lengths)
        envelope: Int64 = height + np.rint(slope * (recv_ns - at)).astype(np.int64)
        is_stamped = delay_ns != MISSING_NS
        below = np.where(is_stamped, delay_ns - envelope, 0)
        lowest = np.minimum.reduceat(below, starts)
        lowest[0] = min(int(lowest[0]), dip)
        for i in np.flatnonzero(lowest < 0).tolist():
            start, end = starts_list[i], ends[i]
            envelope[start:end] += np.minimum(np.minimum.accumulate(below[start:end]), dip if i == 0 else 0)
        self._dip = min(int(lowest[-1]), 0)
        last_stamped = np.flatnonzero(is_stamped)[-1:]
        if len(last_stamped):
            self.offset_ns, self.offset_at_ns = int(envelope[last_stamped[0]]), recvs[last_stamped[0]]
        return np.where(is_stamped, envelope, MISSING_NS), np.repeat(np.array(typical, np.int64), lengths)

    def _close(self) -> None:
        """Take the bucket that was being filled into the envelope and the typical delay."""
        self._dip = 0
        if not self._delays:
            return
        number, low = self._bucket, self._lowest
        if self._minima:
            change = abs(low[1] - self._minima[-1][1])
            self._unrest += (change - self._unrest) / (_UNREST_BUCKETS if self._unrest else 1)
        self._minima.append(low)
        # A short reach follows a clock that wanders; where few buckets have messages it takes more to see a line.
        reach = self._half if self._filled(number - self._half) else self._window
        # The left edge moves in steps, so that the hull is rebuilt now and then, not every time.
        first = (number - reach) // self._step * self._step
        if first == self._first:
            lower_hull_push(self._hull, low)
        else:
            self._first = first
            oldest_ns = (number - self._window) // self._step * self._step * self._bucket_ns
            while self._minima[0][0] < oldest_ns:
                self._minima.popleft()
            self._hull = self._hull_of_reach()
        at, height, slope = closest_line_below(self._hull)
        while slope < -self._max_slope:
            # The clock was set: no line that is as flat as it must be can touch what came before this point.
            while self._minima[0][0] < at:
                self._minima.popleft()
            self._hull = self._hull_of_reach()
            at, height, slope = closest_line_below(self._hull)
        if slope > self._max_slope:
            slope = self._max_slope
            left, base = self._hull[0]
            at, height = min(self._hull, key=lambda point: (point[1] - base) - slope * (point[0] - left))
        self._line = at, height, slope
        self._run.add(low)

        delays = sorted(self._delays)
        above = max(0.0, delays[len(delays) // 2] - height - slope * (low[0] - at))
        keep = math.exp((self._delay_bucket - number) / self._tau_buckets)
        self._delay_sum = self._delay_sum * keep + len(delays) * above
        self._delay_weight = self._delay_weight * keep + len(delays)
        self._delay_bucket = number
        self.typical_ns = round(self._delay_sum / self._delay_weight)
        self._delays = []

    def _filled(self, first: int) -> bool:
        """Whether most buckets from ``first`` on have a message."""
        return len(self._minima) >= self._enough and self._minima[-self._enough][0] >= first * self._bucket_ns

    def _hull_of_reach(self) -> list[Point]:
        first_ns = self._first * self._bucket_ns
        return lower_hull(point for point in self._minima if point[0] >= first_ns)

    def _forget_before_silence(self, number: int) -> None:
        """After a silence longer than the window the clock is as unknown as at first: a line carried on is a guess."""
        if self._minima and number - self._delay_bucket > self._window:
            self._minima.clear()
            self._hull = []
            self._line = None
            self._first = MISSING_NS

    def interval(self, at_ns: int | None = None) -> tuple[float, float] | None:
        """95 % interval of the envelope, ns, at a time not before the last stamp; None before the first."""
        if self.offset_ns == MISSING_NS:
            return None
        first_ns = self._first * self._bucket_ns
        points = [point for point in self._minima if point[0] >= first_ns]
        if self._delays:
            points.append(self._lowest)
        at_ns = self.offset_at_ns if at_ns is None else max(at_ns, self.offset_at_ns)
        low, high = envelope_interval(points, at_ns, self._unrest, self._max_slope)
        return min(low, self.offset_ns), max(high, self.offset_ns)

    def drift_interval(self) -> tuple[float, float] | None:
        """95 % interval of ``drift``."""
        return self._run.slope_interval()

    def state(self) -> dict[str, Int64 | Float64]:
        """All that is remembered, as arrays."""
        at, height, slope = self._line or (0, 0, math.nan)
        marks = (self._first, self._bucket, *self._lowest, at, height, self._dip, self._delay_bucket)
        return {
            "marks": np.array(
                [*marks, self.typical_ns, self.offset_ns, self.offset_at_ns, self._run.block_ns], np.int64
            ),
            "sums": np.array([slope, self._delay_sum, self._delay_weight, self._unrest]),
            "minima": np.array(list(self._minima), np.int64).reshape(-1, 2),
            "run": np.array(self._run.points(), np.int64).reshape(-1, 2),
            "delays": np.array(self._delays, np.int64),
        }

    def restore(self, state: Mapping[str, Int64 | Float64]) -> None:
        """Go on from what ``state`` gave."""
        marks = state["marks"].tolist()
        self._first, self._bucket, *lowest, at, height, self._dip, self._delay_bucket = marks[:8]
        self._lowest = lowest[0], lowest[1]
        self.typical_ns, self.offset_ns, self.offset_at_ns, block_ns = marks[8:]
        slope, self._delay_sum, self._delay_weight, self._unrest = state["sums"].tolist()
        self._line = None if math.isnan(slope) else (at, height, slope)
        self._minima = deque((time, delay) for time, delay in state["minima"].tolist())
        self._hull = self._hull_of_reach()
        self._run = RunSlope.of([(time, delay) for time, delay in state["run"].tolist()], block_ns)
        self._delays = state["delays"].tolist()

    def drift(self) -> float | None:
        """Slope of the envelope over the whole run; None in the first blocks."""
        return self._run.slope()


class VenueClock:
    """Puts a venue's time stamps on our clock; causal, never revised, the same for any batches.

    For a row with a stamp

        ts_venue = stamp (T where given, else E) + envelope(ts_recv) - min_transport

    where envelope = offset + min_transport, so that no event is dated later than min_transport before
    it reached us. Without a stamp (Binance spot bookTicker) ts_venue = ts_recv - latency. It never runs
    backwards within a stream. latency = min_transport + the venue's typical delay above the envelope:
    the median of each bucket, averaged with memory delay_tau_s over the buckets before the row's.

    The first stamped message of a venue is its own envelope (ts_venue = ts_recv - min_transport).
    Until its first bucket is over a venue has no latency, and rows without a stamp have no ts_venue:
    both are MISSING_NS. A venue that never stamps stays so. Rows with T but no E feed the clock by T.

    Args:
        instruments: V instruments as the feed gives them.
        config: settings.

    Example:
        >>> from dataclasses import replace
        >>> from schwabot.ticks.merge import blank
        >>> instruments = (Instrument("x:A/B", 0.1, 1.0),)
        >>> rows = replace(blank(instruments, 3), ts_recv_ns=np.array([30, 40, 50]), ts_emit_ns=np.array([10, 21, 29]))
        >>> VenueClock(instruments).update(rows)[0].tolist()
        [30, 40, 48]
    """

    def __init__(self, instruments: tuple[Instrument, ...], config: VenueClockConfig | None = None) -> None:
        self._config = config or VenueClockConfig()
        self._names = [instrument.stream for instrument in instruments]
        self._venue_names = venues = sorted({instrument.venue for instrument in instruments})
        self._venue_of_list = [venues.index(instrument.venue) for instrument in instruments]
        self._venue_of = np.array(self._venue_of_list, np.int64)
        self._venues = [_Venue(self._config) for _ in venues]
        self._last_ns = [MISSING_NS] * len(instruments)
        self._depth_delays = [Delays() for _ in instruments]

    def update(self, ticks: Ticks) -> tuple[Int64, Int64]:
        """Venue time on our clock and feed latency of every row, ns; MISSING_NS where unknown.

        Shape:
            both outputs [N].
        """
        if len(ticks) == 1:
            return self._update_one(ticks)
        recv = ticks.ts_recv_ns
        emit = np.where(ticks.ts_emit_ns == MISSING_NS, ticks.ts_event_ns, ticks.ts_emit_ns)
        stamp = np.where(ticks.ts_event_ns == MISSING_NS, emit, ticks.ts_event_ns)
        stamped = emit != MISSING_NS
        delay = np.where(stamped, recv - np.where(stamped, emit, 0), MISSING_NS)
        envelope = np.full(len(recv), MISSING_NS, np.int64)
        typical = np.full(len(recv), MISSING_NS, np.int64)
        venue_of = self._venue_of[ticks.stream]
        for number, venue in enumerate(self._venues):
            rows = np.flatnonzero(venue_of == number)
            if len(rows):
                envelope[rows], typical[rows] = venue.advance(recv[rows], delay[rows])
        shortest = self._config.min_transport_ns
        known = typical != MISSING_NS
        latency = np.where(known, typical + shortest, MISSING_NS)
        by_stamp = np.minimum(np.where(stamped, stamp + envelope, 0), recv) - shortest
        by_delay = np.where(known, recv - np.where(known, latency, 0), MISSING_NS)
        ts_venue = np.where(stamped, by_stamp, by_delay)
        self._never_backwards(ticks.stream, ts_venue)
        self._count_delays(ticks, delay)
        return ts_venue, latency

    def _update_one(self, ticks: Ticks) -> tuple[Int64, Int64]:
        ts_venue, latency = self.step(
            ticks.stream.item(), ticks.kind.item(), ticks.ts_recv_ns.item(), ticks.ts_event_ns.item(),
            ticks.ts_emit_ns.item(),
        )  # fmt: skip
        return np.array([ts_venue], np.int64), np.array([latency], np.int64)

    def step(self, stream: int, kind: int, recv: int, event: int, emit: int) -> tuple[int, int]:
        """``update`` for one row: the same numbers without the cost of arrays.

        Args:
            stream: index into the instruments.
            kind: ``Kind``.
            recv: receive time, ns.
            event: ``ts_event_ns``.
            emit: ``ts_emit_ns``.
        """
        if kind == Kind.DEPTH and emit != MISSING_NS:
            self._depth_delays[stream].add([recv - emit], [1])
        emit = event if emit == MISSING_NS else emit
        stamp = emit if event == MISSING_NS else event
        venue = self._venues[self._venue_of_list[stream]]
        envelope, typical = venue.step(recv, MISSING_NS if emit == MISSING_NS else recv - emit)
        shortest = self._config.min_transport_ns
        latency = MISSING_NS if typical == MISSING_NS else typical + shortest
        if emit != MISSING_NS:
            ts_venue = min(stamp + envelope, recv) - shortest
        else:
            ts_venue = MISSING_NS if latency == MISSING_NS else recv - latency
        if ts_venue != MISSING_NS:
            ts_venue = self._last_ns[stream] = max(ts_venue, self._last_ns[stream])
        return ts_venue, latency

    def _never_backwards(self, stream: Int32, ts_venue: Int64) -> None:
        for number in range(len(self._names)):
            rows = np.flatnonzero((stream == number) & (ts_venue != MISSING_NS))
            if len(rows):
                ts_venue[rows] = np.maximum(np.maximum.accumulate(ts_venue[rows]), self._last_ns[number])
                self._last_ns[number] = int(ts_venue[rows[-1]])

    def _count_delays(self, ticks: Ticks, delay: Int64) -> None:
        depth = np.flatnonzero((ticks.kind == Kind.DEPTH) & (ticks.ts_emit_ns != MISSING_NS))
        if not len(depth):
            return
        stream, delays = ticks.stream[depth], delay[depth]
        for number in np.unique(stream).tolist():
            values, counts = np.unique(delays[stream == number], return_counts=True)
            self._depth_delays[number].add(values.tolist(), counts.tolist())

    def state(self) -> dict[str, Int64 | Float64]:
        """All that is remembered, as arrays by name; ``restore`` takes it."""
        counted = [(v, *row) for v, delays in enumerate(self._depth_delays) for row in delays.rows()]
        parts: dict[str, Int64 | Float64] = {
            "settings": self._settings(),
            "last_ns": np.array(self._last_ns, np.int64),
            "depth_delays": np.array(counted, np.int64).reshape(-1, 4),
        }
        for name, venue in zip(self._venue_names, self._venues, strict=True):
            parts |= {f"{name}.{part}": values for part, values in venue.state().items()}
        return parts

    def restore(self, state: Mapping[str, Int64 | Float64]) -> None:
        """Go on from what ``state`` gave.

        Raises:
            StateError: it belongs to other venues, streams or settings.
        """
        like = self.state()
        if like.keys() != state.keys() or len(like["last_ns"]) != len(state["last_ns"]):
            odd = ", ".join(sorted(like.keys() ^ state.keys())[:5]) or "number of streams"
            raise StateError(f"state of the venue clocks belongs to other venues or streams: {odd}")
        if not np.array_equal(like["settings"], state["settings"]):
            raise StateError(
                f"state of the venue clocks was made with latency.window_s, bucket_ms = {state['settings'].tolist()}, "
                f"here they are {like['settings'].tolist()}"
            )
        self._last_ns = state["last_ns"].tolist()
        counted = state["depth_delays"]
        self._depth_delays = [Delays.of(counted[counted[:, 0] == v, 1:].tolist()) for v in range(len(self._names))]
        for name, venue in zip(self._venue_names, self._venues, strict=True):
            venue.restore({part: state[f"{name}.{part}"] for part in venue.state()})

    def _settings(self) -> Float64:
        """Without which the numbers mean something else."""
        return np.array([self._config.window_s, self._config.bucket_ms], np.float64)

    def interval(self, stream: str, at_ns: int | None = None) -> tuple[float, float] | None:
        """95 % interval of a stream's envelope (clock offset + least transport), ns, from what came so far.

        Args:
            stream: name of the stream.
            at_ns: receive time it is wanted for; default, and earliest: the venue's last stamp. The interval grows
                with the time after that.

        Returns:
            (low, high) about the present envelope; None where the venue gave no stamps.
        """
        return self._venues[self._venue_of_list[self._names.index(stream)]].interval(at_ns)

    def on_our_clock(self, stream: str, stamp_ns: int) -> int | None:
        """A stamp of the stream's venue on our clock, by the envelope as it is now; None where there is none yet."""
        offset_ns = self._venues[self._venue_of_list[self._names.index(stream)]].offset_ns
        return None if offset_ns == MISSING_NS else stamp_ns + offset_ns - self._config.min_transport_ns

    def last_stamps_ns(self) -> dict[str, int | None]:
        """Receive time of the last stamped row of each stream's venue, what the summary's offset is as of."""
        last = {name: self._venues[v].offset_at_ns for name, v in zip(self._names, self._venue_of_list, strict=True)}
        return {name: None if at == MISSING_NS else at for name, at in last.items()}

    def summary(self) -> dict[str, dict[str, Any]]:
        """What is known at the end, by stream name; None where the venue gives no stamps.

        ``clock_offset_ms`` is the envelope of receive - E at the venue's last stamp,
        ``clock_drift_ppm`` its slope over the whole run (us per s), ``clock_offset_ci_ms`` and
        ``clock_drift_ci_ppm`` their 95 % intervals [low, high] and ``feed_delay_median_ms`` the
        median receive - E of the stream's depth messages, to 0.01 ms (coarser where they spread over more
        than 65,536 such steps, 0.66 s without a gap).
        """
        by_venue = [self._venue_summary(venue) for venue in self._venues]
        return {
            name: by_venue[v] | {"feed_delay_median_ms": delays.median_ms()}
            for name, v, delays in zip(self._names, self._venue_of_list, self._depth_delays, strict=True)
        }

    def _venue_summary(self, venue: _Venue) -> dict[str, Any]:
        drift, offset_ci, drift_ci = venue.drift(), venue.interval(), venue.drift_interval()
        return {
            "clock_offset_ms": None if offset_ci is None else venue.offset_ns / 1e6,
            "clock_offset_ci_ms": None if offset_ci is None else [bound / 1e6 for bound in offset_ci],
            "clock_drift_ppm": None if drift is None else drift * 1e6,
            "clock_drift_ci_ppm": None if drift_ci is None else [bound * 1e6 for bound in drift_ci],
        }
