"""What the exchange shows of one instrument: the touch, the last trades, and what changed since it was last told."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from schwabot.records.market import Kind
from schwabot.venues.loopback.listing import Listing
from schwabot.venues.loopback.player import Row


class Print(NamedTuple):
    """A trade that was published: its id and the row."""

    id: int
    row: Row


class Changes:
    """Levels that were at the touch since the last difference was told, also those that came and went.

    Attributes:
        before: update id up to which was told.
        bids, asks: price -> lots there now.
    """

    def __init__(self, before: int) -> None:
        self.before = before
        self.bids: dict[int, int] = {}
        self.asks: dict[int, int] = {}


class Book:
    """The touch of one instrument; a level that left the touch is gone.

    Args:
        listing: what it is the book of.
    """

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.bid = self.ask = self.bid_lots = self.ask_lots = 0
        self.update_id = 0
        self.trade_id = 0
        self.prints: deque[Print] = deque(maxlen=1_000)
        self._watched: list[Changes] = []

    def take(self, row: Row) -> None:
        """A row of the market."""
        if row.kind == Kind.TRADE:
            self.trade_id += 1
            self.prints.append(Print(self.trade_id, row))
            return
        self.update_id += 1
        for one in self._watched:
            one.bids[self.bid], one.asks[self.ask] = 0, 0
            one.bids[row.bid], one.asks[row.ask] = row.bid_lots, row.ask_lots
        self.bid, self.ask, self.bid_lots, self.ask_lots = row.bid, row.ask, row.bid_lots, row.ask_lots

    def watch(self) -> Changes:
        """Begin to note what changes."""
        noted = Changes(self.update_id)
        self._watched.append(noted)
        return noted

    def told(self, noted: Changes) -> tuple[dict[int, int], dict[int, int]]:
        """What was noted, bids and asks; begins anew."""
        bids, asks = noted.bids, noted.asks
        noted.bids, noted.asks, noted.before = {}, {}, self.update_id
        bids.pop(0, None)
        asks.pop(0, None)
        return bids, asks

    def unwatch(self, noted: Changes) -> None:
        """Note no longer."""
        self._watched.remove(noted)

    def sides(self) -> tuple[list[list[str]], list[list[str]]]:
        """Bids and asks as price and quantity."""
        if not self.update_id:
            return [], []
        price, qty = self.listing.price, self.listing.qty
        return (
            [[price.text(self.bid), qty.text(self.bid_lots)]],
            [[price.text(self.ask), qty.text(self.ask_lots)]],
        )
