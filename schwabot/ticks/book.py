"""The order book of one instrument, rebuilt from a snapshot and the changes after it.

Axis legend: K book levels.

Source: Binance, "How to manage a local order book correctly" (spot, USD-M and COIN-M pages).
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from schwabot.errors import SequenceGapError


class DepthChange(NamedTuple):
    """One change message: absolute quantities of some levels, zero = the level is gone.

    Attributes:
        before_id: the update that must already be in the book: U - 1 on spot, pu on the futures markets.
        final_id: u, the last update it contains.
        bid_ticks, bid_lots, ask_ticks, ask_lots: levels, in any order.
    """

    before_id: int
    final_id: int
    bid_ticks: Sequence[int]
    bid_lots: Sequence[int]
    ask_ticks: Sequence[int]
    ask_lots: Sequence[int]


class _Side:
    """One side: quantity by price, and the prices sorted so that the best is last.

    ``sign`` is -1 for asks. Nearly all changes are near the best price, so the end of the list is
    where insertions and deletions are cheap.
    """

    __slots__ = ("keys", "lots", "sign")

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.lots: dict[int, int] = {}
        self.keys: list[int] = []

    def clear(self) -> None:
        self.lots.clear()
        self.keys.clear()

    def apply(self, ticks: Sequence[int], lots: Sequence[int]) -> None:
        book, keys, sign = self.lots, self.keys, self.sign
        for price, quantity in zip(ticks, lots, strict=True):
            key = sign * price
            if quantity:
                if key not in book:
                    insort(keys, key)
                book[key] = quantity
            elif book.pop(key, 0):
                del keys[bisect_left(keys, key)]

    def best(self, k: int) -> tuple[list[int], list[int]]:
        keys = self.keys[: -k - 1 : -1]
        book, sign = self.lots, self.sign
        return [sign * key for key in keys], [book[key] for key in keys]


class OrderBook:
    """L2 book by update ids: a snapshot L, then every change whose ids join.

    A change covers the updates (before_id, final_id]. It joins when before_id <= id of the book <
    final_id or final_id = id; it is old news when final_id < id; otherwise something between was lost.
    Changes that come before the snapshot are kept and applied to it. The book is ``live`` from the
    first change that reaches the snapshot's id until a gap, and again after the next snapshot.
    While it is live further snapshots are ignored: the changes are exact.

    Binance asks of the first futures change U <= L <= u. Ids there are shared by all instruments, so
    L may also lie between pu and U, where this instrument has no update; pu <= L <= u covers both.

    Args:
        max_waiting: changes kept while there is no snapshot.

    Example:
        >>> book = OrderBook()
        >>> book.snapshot(10, [100, 99], [5, 6], [101], [7])
        >>> book.live
        False
        >>> book.update(DepthChange(9, 11, [100, 98], [0, 2], [101], [8]))
        >>> book.live, book.top(2)
        (True, ([99, 98], [6, 2], [101], [8]))
        >>> book.update(DepthChange(12, 13, [], [], [], []))
        Traceback (most recent call last):
        schwabot.errors.SequenceGapError: update ids do not join: the book is at 11, ...
    """

    __slots__ = ("_asks", "_bids", "_id", "_loaded", "_waiting", "live")

    def __init__(self, *, max_waiting: int = 2_000) -> None:
        self._bids = _Side(1)
        self._asks = _Side(-1)
        self._waiting: deque[DepthChange] = deque(maxlen=max_waiting)
        self._id = 0
        self._loaded = False
        self.live = False

    def joins(self, change: DepthChange) -> bool:
        """Whether the book is live and ``change`` continues it."""
        return self.live and change.before_id <= self._id

    def snapshot(
        self,
        last_id: int,
        bid_ticks: Sequence[int],
        bid_lots: Sequence[int],
        ask_ticks: Sequence[int],
        ask_lots: Sequence[int],
    ) -> None:
        """Start from a full picture of the book as of update ``last_id``; ignored while live.

        Raises:
            SequenceGapError: the first change kept is already past the snapshot.
        """
        if self.live:
            return
        self._bids.clear()
        self._asks.clear()
        self._bids.apply(bid_ticks, bid_lots)
        self._asks.apply(ask_ticks, ask_lots)
        self._id = last_id
        self._loaded = True
        waiting = list(self._waiting)
        self._waiting.clear()
        for position, change in enumerate(waiting):
            try:
                self.update(change)
            except SequenceGapError:
                self._waiting.extend(waiting[position + 1 :])
                raise

    def update(self, change: DepthChange) -> None:
        """Apply one change, keep it for later, or pass over it as old news.

        Raises:
            SequenceGapError: updates between the book and the change were lost. The book is then
                empty until the next snapshot; the changes after the gap are kept for it.
        """
        if not self._loaded:
            if self._waiting and change.before_id > self._waiting[-1].final_id:
                self._waiting.clear()
            self._waiting.append(change)
            return
        if change.final_id < self._id:
            return
        if change.before_id > self._id:
            at = self._id
            self._loaded = self.live = False
            self._waiting.append(change)
            raise SequenceGapError(
                f"update ids do not join: the book is at {at}, the next change follows {change.before_id}"
                f" and ends at {change.final_id}; the book is empty until the next snapshot"
            )
        self._bids.apply(change.bid_ticks, change.bid_lots)
        self._asks.apply(change.ask_ticks, change.ask_lots)
        self._id = change.final_id
        self.live = True

    def touch(self) -> tuple[int, int, int, int]:
        """Best bid ticks, bid lots, ask ticks, ask lots; zeros for an empty side and unless live."""
        if not self.live:
            return 0, 0, 0, 0
        bids, asks = self._bids, self._asks
        bid = bids.keys[-1] if bids.keys else 0
        ask = asks.keys[-1] if asks.keys else 0
        return bid, bids.lots.get(bid, 0), -ask, asks.lots.get(ask, 0)

    def top(self, k: int = 1) -> tuple[list[int], list[int], list[int], list[int]]:
        """Up to K best levels: bid ticks, bid lots, ask ticks, ask lots, best first; empty unless live."""
        if not self.live:
            return [], [], [], []
        return *self._bids.best(k), *self._asks.best(k)
