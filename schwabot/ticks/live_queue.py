"""Rows on their way from the exchanges' thread to the engine's: bounded, and clear about what it gives up.

A slow reader first costs quotes: above a mark only the newest waiting quote of every stream is kept. Trades wait until
the queue is full; then they are refused, which the caller has to report.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TypeAlias

from schwabot.records.market import Kind

Row: TypeAlias = tuple[int, ...]
"""ts_recv_ns, ts_event_ns, ts_emit_ns, stream, kind, bid, ask, bid_lots, ask_lots, price, qty, side."""
STREAM, KIND = 3, 4


class LiveQueue:
    """One writer, one reader.

    Args:
        streams: number of streams V.
        capacity: trades are refused from this many waiting rows on.
        shed: from this many on, a quote takes the place of the one of its stream that waits.

    Example:
        >>> queue = LiveQueue(1, capacity=4, shed=1)
        >>> [queue.put((at, 0, 0, 0, kind)) for at, kind in enumerate([0, 1, 0, 0])]
        [True, True, True, True]
        >>> [row[0] for row in queue.take(9, 0.0)], queue.coalesced
        ([1, 3], [2])
    """

    def __init__(self, streams: int, capacity: int, shed: int) -> None:
        assert 0 < shed <= capacity
        self.coalesced = [0] * streams
        self.longest = 0
        self._capacity = capacity
        self._shed = shed
        # A waiting row is a box; a quote that was given up leaves an empty one.
        self._boxes: deque[list[Row | None]] = deque()
        self._newest: list[list[Row | None] | None] = [None] * streams
        self._waiting = 0
        self._ended = False
        self._failure: BaseException | None = None
        self._change = threading.Condition()

    def __len__(self) -> int:
        return self._waiting

    def put(self, row: Row) -> bool:
        """Add a row; False when it is a trade and there is no room."""
        with self._change:
            if row[KIND] == Kind.TRADE:
                if self._waiting >= self._capacity:
                    return False
                box: list[Row | None] = [row]
            else:
                v = row[STREAM]
                older = self._newest[v]
                if older is not None and self._waiting >= self._shed:
                    older[0] = None
                    self.coalesced[v] += 1
                    self._waiting -= 1
                    self._drop_empty()
                self._newest[v] = box = [row]
            self._boxes.append(box)
            self._waiting += 1
            self.longest = max(self.longest, self._waiting)
            self._change.notify()
        return True

    def _drop_empty(self) -> None:
        """Empty boxes never outnumber full ones by much, so memory stays bounded while the reader is away."""
        if len(self._boxes) > 2 * self._waiting + 1024:
            self._boxes = deque(box for box in self._boxes if box[0] is not None)

    def take(self, most: int, timeout_s: float) -> list[Row]:
        """Up to ``most`` rows in order, as soon as there is one; none when none came in time or the writer ended.

        Raises:
            BaseException: what the writer failed with, once all its rows are taken.
        """
        with self._change:
            if not self._waiting and not self._ended:
                self._change.wait(timeout_s)
            rows: list[Row] = []
            while self._boxes and len(rows) < most:
                box = self._boxes.popleft()
                row = box[0]
                if row is None:
                    continue
                if self._newest[row[STREAM]] is box:
                    self._newest[row[STREAM]] = None
                rows.append(row)
            self._waiting -= len(rows)
            if not rows and self._failure is not None:
                raise self._failure
            return rows

    def end(self, failure: BaseException | None = None) -> None:
        """Nothing more will come."""
        with self._change:
            self._ended = True
            self._failure = self._failure or failure
            self._change.notify()

    @property
    def ended(self) -> bool:
        """Whether the writer ended and everything was taken; a failure is taken by one more ``take``, which raises."""
        return self._ended and not self._waiting and self._failure is None
