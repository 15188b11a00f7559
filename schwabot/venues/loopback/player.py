"""Plays the rows of a feed in time, with stamps shifted to now."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import NamedTuple

from schwabot.records.market import MISSING_NS, Kind, Ticks
from schwabot.ticks.base import Feed

BATCH = 4_096
AHEAD = 2
"""Batches that are read before they are due."""
BREATH = 128
"""Rows after which others of the loop get their turn."""
MS = 1_000_000


class Row(NamedTuple):
    """A quote or trade as it is published; times on the wall clock, ns, MISSING_NS where the source has none."""

    now_ns: int
    event_ns: int
    emit_ns: int
    stream: int
    kind: int
    bid: int
    ask: int
    bid_lots: int
    ask_lots: int
    price: int
    lots: int
    side: int


class Player:
    """Reads a feed and hands out its rows when they are due.

    A row received Δ after the first is due Δ / speed after the start. Stamps keep their distance to the receive time at
    the first stamp of their stream, and run on at the same speed; at speed 1 all times are shifted by one number of ms.

    Args:
        feed: read once.
        speed: 1 = as it was; 0 = as fast as the sockets take it.
        publish: gets every quote and trade.
        taken: awaited from time to time at speed 0: returns once the sockets have taken what there is.
    """

    def __init__(
        self, feed: Feed, speed: float, publish: Callable[[Row], None], taken: Callable[[], Awaitable[None]]
    ) -> None:
        self._feed = feed
        self._speed = speed
        self._publish = publish
        self._taken = taken
        self._first_ns = 0
        self._begin_ns = 0
        self._anchors: dict[int, tuple[int, int]] = {}  # of a stream: its first stamp, and when that was received
        self.rows = 0
        self.ended = False

    async def run(self) -> None:
        """Play all of it."""
        loop = asyncio.get_running_loop()
        read: asyncio.Queue[Ticks | Exception | None] = asyncio.Queue()
        ahead = threading.Semaphore(AHEAD)
        arguments = (lambda ticks: loop.call_soon_threadsafe(read.put_nowait, ticks), ahead)
        # On another thread: unpacking a file takes longer than two rows are apart. It dies with the process, since a
        # feed may wait for ever.
        threading.Thread(target=self._read, args=arguments, name="loopback feed", daemon=True).start()
        while (ticks := await read.get()) is not None:
            if isinstance(ticks, Exception):
                raise ticks
            ahead.release()
            await self._play(ticks)
        await self._taken()
        self.ended = True

    def _read(self, hand_on: Callable[[Ticks | Exception | None], object], ahead: threading.Semaphore) -> None:
        with suppress(RuntimeError):  # of a loop that is closed: nobody plays any more
            try:
                for ticks in self._feed.batches(BATCH):
                    ahead.acquire()
                    hand_on(ticks)
                hand_on(None)
            except Exception as error:  # noqa: BLE001 - whatever it is, who plays it says so
                hand_on(error)

    async def _play(self, ticks: Ticks) -> None:
        columns = (
            ticks.ts_recv_ns, ticks.ts_event_ns, ticks.ts_emit_ns, ticks.stream, ticks.kind, ticks.bid_ticks,
            ticks.ask_ticks, ticks.bid_lots, ticks.ask_lots, ticks.price_ticks, ticks.qty_lots, ticks.side,
        )  # fmt: skip
        now = time.time_ns()
        for recv, event, emit, stream, kind, *rest in zip(*(one.tolist() for one in columns), strict=True):
            if kind == Kind.DEPTH:
                continue
            if not self.rows:
                self._first_ns = recv
                # A whole number of ms, so that stamps in ms are the same after the shift.
                self._begin_ns = recv - (recv - now) // MS * MS
            self.rows += 1
            if self._speed:
                due = self._begin_ns + self._scaled(recv - self._first_ns)
                while due > now:
                    await asyncio.sleep((due - now) / 1e9)
                    now = time.time_ns()
                if self.rows % BREATH == 0:
                    await asyncio.sleep(0)
            else:
                if self.rows % BREATH == 0:
                    await self._taken()
                now = time.time_ns()
            stamps = self._stamps(stream, recv, event, emit, now)
            self._publish(Row(now, *stamps, stream, kind, *rest))

    def _scaled(self, distance_ns: int) -> int:
        return distance_ns if self._speed == 1 else int(distance_ns / self._speed)

    def _stamps(self, stream: int, recv: int, event: int, emit: int, now: int) -> tuple[int, int]:
        main = emit if emit != MISSING_NS else event
        if main == MISSING_NS:
            return MISSING_NS, MISSING_NS
        if stream not in self._anchors:
            self._anchors[stream] = (main, recv)
        stamp, at = self._anchors[stream]
        if self._speed:
            start = self._begin_ns + self._scaled(at - self._first_ns) + stamp - at
            emitted, happened = start + self._scaled(emit - stamp), start + self._scaled(event - stamp)
        else:
            emitted, happened = now + stamp - at, now + stamp - at - (main - event)
        return happened if event != MISSING_NS else MISSING_NS, emitted if emit != MISSING_NS else MISSING_NS
