"""Live ticks of any exchanges that ccxt knows, as a ``Feed``.

One thread runs an asyncio loop with everything ccxt; a bounded queue leads to ``batches``, which the engine reads.

Axis legend: N events, V streams.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self, TypeVar

import numpy as np

from schwabot.errors import VenueError, why
from schwabot.fallback import FallbackConfig, FallbackRouter
from schwabot.records.audit import FallbackEvent
from schwabot.records.health import HealthRecord, Part
from schwabot.records.instrument import Instrument
from schwabot.records.market import Ticks
from schwabot.ticks.base import ReadOnce
from schwabot.ticks.ccxt_rows import JUMP_NS, Receipt
from schwabot.ticks.ccxt_settings import CcxtConfig
from schwabot.ticks.ccxt_venue import Venue
from schwabot.ticks.feed_meter import LagHistogram
from schwabot.ticks.live_queue import LiveQueue, Row
from schwabot.ticks.rows import RowTicks

Result = TypeVar("Result")
Item = TypeVar("Item")

BEAT_S = 0.05
"""The loop's own delay is measured this often."""
REMEMBERED = 20_000
"""Beats that are kept: the last quarter of an hour."""
MOST_EXAMPLES, MOST_ROUNDS = 20, 20
MOST_LATE = 100_000
"""Trades that were told too late and may wait to be taken; the oldest ones go then."""


class CcxtFeed:
    """Live streams.

    Opening it loads every venue's markets, so ``instruments`` is known; ``batches`` subscribes. A batch holds whatever
    waits, one row or many; it is empty when nothing came for ``idle_s``, so that the engine can look after other things
    and a stop is heard. Close it, or use it as a context manager; a ``batches`` that ends closes it, too.

    Args:
        settings: of the source.
        known: what conf/instruments says, by stream: its fees are kept.
        options: venue → options for ccxt's constructor, over the usual ones.
        fallback: when REST stands in for a websocket, and when that is taken back.
        seconds: end after so long; None = never.
        events: end after so many rows; None = never.
        keep_late: keep trades that were told too late to be rows for ``take_late``.

    Raises:
        ConfigError: a setting is out of range.
        VenueError: a venue can't be reached, or does not trade a symbol.
    """

    def __init__(
        self,
        settings: CcxtConfig,
        known: Mapping[str, Instrument] | None = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        fallback: FallbackConfig | None = None,
        *,
        seconds: float | None = None,
        events: int | None = None,
        keep_late: bool = True,
    ) -> None:
        settings.check()
        self.settings = settings
        self._seconds, self._events = seconds, events
        self._queue = LiveQueue(len(settings.streams), settings.queue_rows, settings.shed_rows)
        self._told: deque[FallbackEvent] = deque()
        self._late: deque[Row] = deque()
        self._late_lost = [0] * len(settings.streams)
        self._late_told = [0] * len(settings.streams)
        self._beats: deque[float] = deque(maxlen=REMEMBERED)
        self._lags = LagHistogram()
        self._loop_cpu_s = 0.0
        self._began_s: float | None = None
        self._yielded = 0
        self._once = ReadOnce()
        self._closed = False
        self._receipt = Receipt()
        self._set_back_ns = 0
        router = FallbackRouter(fallback)
        symbols: dict[str, list[str]] = {}
        for stream in sorted(settings.streams):
            venue, _, symbol = stream.partition(":")
            symbols.setdefault(venue, []).append(symbol)
        self._venues = [
            Venue(
                name,
                names,
                settings,
                (options or {}).get(name, {}),
                known or {},
                self._receipt,
                self._queue.put,
                self._keep_late if keep_late else lambda row: None,
                self._told.append,
                router,
            )
            for name, names in symbols.items()
        ]
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="exchanges", daemon=True)
        self._thread.start()
        self._run: Any = None
        try:
            self._call(self._open())
        except BaseException:
            self.close()
            raise
        found = sorted((one for venue in self._venues for one in venue.instruments), key=lambda one: one.stream)
        self._instruments = tuple(found)
        self.notes = [note for venue in self._venues for note in venue.notes]

    def _call(self, work: Coroutine[Any, Any, Result]) -> Result:
        """Do something in the exchanges' thread, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _open(self) -> None:
        done = await asyncio.gather(*(venue.open() for venue in self._venues), return_exceptions=True)
        for error in done:
            if error is not None:
                raise error

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """V instruments, sorted by stream name."""
        return self._instruments

    @property
    def dropped(self) -> Mapping[str, int]:
        """Messages that made no row, by reason."""
        total: Counter[str] = Counter()
        for venue in self._venues:
            for rows in tuple(venue.rows.values()):
                total += rows.counts.drops()[0]
        return total

    @property
    def examples(self) -> list[str]:
        """The first message of each reason and stream."""
        streams = [rows for venue in self._venues for rows in tuple(venue.rows.values())]
        found = [text for rows in streams for text in rows.counts.drops()[1]]
        return found[:MOST_EXAMPLES]

    @property
    def expected_events(self) -> int | None:
        """Rows to come, where the run ends after so many."""
        return self._events

    def progress(self) -> float:
        """Share of the time or rows that the run was given."""
        shares = [0.0]
        if self._events:
            shares.append(self._yielded / self._events)
        if self._seconds and self._began_s is not None:
            shares.append((time.monotonic() - self._began_s) / self._seconds)
        return min(1.0, max(shares))

    def round_trips_s(self, times: int = 5) -> dict[str, float]:
        """Median time from a request to its answer, by venue: what an order's way there and back takes at least.

        Raises:
            VenueError: a venue did not answer.
        """

        async def ask() -> dict[str, float]:
            return {venue.name: await venue.round_trip_s(times) for venue in self._venues}

        return self._call(ask())

    def take_events(self) -> tuple[FallbackEvent, ...]:
        """Switches of source, connections and trades lost, since the last call."""
        return tuple(_taken(self._told))

    def now_ns(self) -> int:
        """Time now by the clock of receive stamps: the machine's, ahead of it for a while after that was set back."""
        return time.time_ns() + self._receipt.set_back_ns

    def take_late(self) -> Ticks:
        """Trades that were told too late to be rows since the last call, as rows with the time they became known.

        The last hundred thousand of them are kept; who takes them is told of the others by an event.
        """
        ticks = RowTicks.of(self._instruments, _taken(self._late))
        for v, lost in enumerate(self._late_lost):
            if count := lost - self._late_told[v]:
                self._late_told[v] = lost
                name = f"feed.{self._instruments[v].stream}.late"
                what = f"{count} trades that were told too late were lost: {MOST_LATE:,} waited to be taken"
                self._told.append(FallbackEvent(self.now_ns(), name, "gapped", "whole", what))
        return ticks

    def _keep_late(self, row: Row) -> None:
        if len(self._late) >= MOST_LATE:
            with suppress(IndexError):  # they are being taken
                self._late_lost[self._late.popleft()[3]] += 1
        self._late.append(row)

    def batches(self, max_events: int = 65_536) -> Iterator[Ticks]:
        """Yield what waits, as soon as anything does; an empty batch when nothing came for a while. Once.

        Raises:
            ConfigError: it was called before.
            VenueError: the exchanges' thread failed.
        """
        self._once.begin()
        self._began_s = time.monotonic()
        index = {instrument.stream: v for v, instrument in enumerate(self._instruments)}
        self._run = asyncio.run_coroutine_threadsafe(self._stream(index), self._loop)
        try:
            while not self._queue.ended:
                wait_s, most = self.settings.idle_s, max_events
                if self._seconds is not None:
                    wait_s = min(wait_s, self._began_s + self._seconds - time.monotonic())
                if self._events is not None:
                    most = min(most, self._events - self._yielded)
                if wait_s <= 0.0 or most <= 0:
                    return
                rows = self._queue.take(most, wait_s)
                self._yielded += len(rows)
                taken_ns = self.now_ns()
                yield RowTicks.of(self._instruments, rows)
                self._lags.add([(taken_ns - row[0]) / 1e9 for row in rows])
        finally:
            self.close()

    async def _stream(self, index: Mapping[str, int]) -> None:
        failure: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as tasks:
                for venue in self._venues:
                    venue.begin(index)
                    tasks.create_task(venue.run())
                tasks.create_task(self._beat())
        except BaseExceptionGroup as group:
            first: BaseException = group
            while isinstance(first, BaseExceptionGroup):
                first = first.exceptions[0]
            failure = first if isinstance(first, VenueError) else VenueError(f"the live feed failed: {why(first)}")
            failure.__cause__ = first if failure is not first else None
        finally:
            await asyncio.gather(*(venue.close() for venue in self._venues), return_exceptions=True)
            self._queue.end(failure)

    async def _beat(self) -> None:
        """Measure how late the loop is, and what its thread costs."""
        began_s = time.thread_time()
        while True:
            due_s = time.monotonic() + BEAT_S
            await asyncio.sleep(BEAT_S)
            self._beats.append(max(0.0, time.monotonic() - due_s))
            self._loop_cpu_s = time.thread_time() - began_s
            self._look_at_clock()

    def _look_at_clock(self) -> None:
        """Tell when somebody set the machine's clock back, or forward again."""
        now_ns, before_ns = self._receipt.now_ns(), self._set_back_ns
        self._set_back_ns = after_ns = self._receipt.set_back_ns
        if (after_ns > 0) == (before_ns > 0) and abs(after_ns - before_ns) <= JUMP_NS:
            return
        if after_ns:
            what = f"the machine's clock was set back: receive stamps go on, {after_ns / 1e9:,.3f} s ahead of it"
            event = FallbackEvent(now_ns, "clock", "clock", "steady", what)
        else:
            event = FallbackEvent(now_ns, "clock", "steady", "clock", "the machine's clock is where it was again")
        self._told.append(event)
        self.notes.append(event.reason)

    def close(self) -> None:
        """End every connection and the thread; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        if self._run is not None:
            self._run.cancel()
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._queue.end()

    async def _close(self) -> None:
        """Let what was cancelled end; close what never ran."""
        await asyncio.gather(*(venue.close() for venue in self._venues), return_exceptions=True)
        for _ in range(MOST_ROUNDS):  # ccxt begins to read again when a reading is cancelled
            others = asyncio.all_tasks() - {asyncio.current_task()}
            if not others:
                break
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)
            await asyncio.sleep(0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def health(self) -> HealthRecord:
        """How venues, queue and answers stand."""
        now_ns = self.now_ns()
        lines = [line for venue in self._venues for line in venue.lines]
        parts = [
            Part(one.component, one.now, one.now == one.chain[0], one.health(one.now, now_ns))
            for one in (line.fallback for line in lines)
        ]
        return HealthRecord(
            tuple(parts),
            (self._lags.timing("answer"),),
            len(self._queue),
            self._queue.longest,
            sum(venue.tap.messages for venue in self._venues),
            sum({line.rows.instrument.stream: line.rows.counts.reconnects for line in lines}.values()),
            dict(self.dropped),
        )

    def summary(self) -> dict[str, Any]:
        """How the streams fared, for summary.json: ``feed.{stream}.*``, the loop, the queue and the cost."""
        streams: dict[str, Any] = {}
        messages = ccxt_ns = own_ns = 0
        for venue in self._venues:
            messages += venue.tap.messages
            ccxt_ns += venue.tap.ccxt_ns
            own_ns += venue.tap.own_ns
            for line in venue.lines:
                counts, stream = line.rows.counts, line.rows.instrument.stream
                entry = streams.setdefault(
                    stream,
                    {
                        "received": counts.received,
                        "coalesced": self._queue.coalesced[line.rows.v],
                        "reconnects": counts.reconnects,
                        "backfilled": counts.backfilled,
                        "late_lost": self._late_told[line.rows.v],
                        "missing": counts.missing,
                        "refetches_failed": counts.refetches_failed,
                    },
                )
                entry["trades_source" if line.trades else "source"] = line.fallback.now
        lag_ms = 1e3 * float(np.percentile(list(self._beats), 99)) if self._beats else None
        lags = {f"lag_p{q}_ms": self._lags.quantile(q / 100) for q in (50, 99)}
        return streams | {
            **{name: None if lag_s is None else 1e3 * lag_s for name, lag_s in lags.items()},
            "loop_lag_p99_ms": lag_ms,
            "queue_max": self._queue.longest,
            "clock_set_back_s": self._receipt.set_back_ns / 1e9,
            "messages": messages,
            "loop_cpu_s": self._loop_cpu_s,
            "ccxt_s": ccxt_ns / 1e9,
            "own_s": own_ns / 1e9,
        }


def _taken(waiting: deque[Item]) -> list[Item]:
    """What waits, also where the other thread adds to it meanwhile."""
    found = []
    while waiting:
        found.append(waiting.popleft())
    return found
