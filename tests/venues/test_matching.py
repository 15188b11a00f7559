"""Orders against rows: the simulator's rules, and the two that are added."""

from __future__ import annotations

import itertools

from schwabot.records.market import MISSING_NS, Kind
from schwabot.venues.loopback.book import Book
from schwabot.venues.loopback.listing import listings
from schwabot.venues.loopback.matching import Matching, Report
from schwabot.venues.loopback.player import Row
from schwabot_kernels.simulate.state import WOULD_CROSS
from tests.venues.making import SPOT

BUY, SELL = 1, -1


class Played:
    """A book and the orders in it."""

    def __init__(self) -> None:
        self.book = Book(listings([SPOT])[0])
        self.engine = Matching([self.book])
        self._ns = itertools.count(1_000)

    def _row(self, row: Row) -> list[tuple[int, int, int]]:
        self.book.take(row)
        return [(one.slot, one.lots, one.price) for one in self.engine.meet(0, row)]

    def quote(self, bid: int, ask: int, bid_lots: int = 10, ask_lots: int = 10) -> list[tuple[int, int, int]]:
        return self._row(
            Row(next(self._ns), MISSING_NS, MISSING_NS, 0, Kind.QUOTE, bid, ask, bid_lots, ask_lots, 0, 0, 0)
        )

    def trade(self, price: int, lots: int, side: int) -> list[tuple[int, int, int]]:
        return self._row(Row(next(self._ns), MISSING_NS, MISSING_NS, 0, Kind.TRADE, 0, 0, 0, 0, price, lots, side))

    def take(self, side: int, lots: int, limit: int) -> Report:
        return self.engine.take(0, 7, side, lots, limit, next(self._ns))

    def post(self, slot: int, side: int, lots: int, price: int) -> int:
        return self.engine.post(0, slot, side, lots, price, next(self._ns)).rejected

    def cancel(self, slot: int) -> None:
        self.engine.cancel(0, slot, next(self._ns))


def test_a_take_gets_the_touch_and_no_more() -> None:
    market = Played()
    market.quote(100, 102, 7, 5)
    assert market.take(BUY, 9, 102)[1:4] == (5, 102, 0)
    assert market.take(SELL, 3, 100)[1:4] == (3, 100, 0)
    assert market.take(BUY, 1, 101).lots == 0
    assert market.engine.resting(0) == 0


def test_a_post_is_served_after_those_ahead() -> None:
    market = Played()
    market.quote(100, 102)
    assert market.post(0, BUY, 5, 100) == 0
    assert market.trade(100, 8, SELL) == []
    assert market.trade(100, 3, BUY) == []  # buyers do not trade with bids
    assert market.trade(100, 4, SELL) == [(0, 2, 100)]
    assert market.trade(99, 1, SELL) == [(0, 3, 100)]
    assert market.engine.resting(0) == 0


def test_a_post_that_crosses_is_rejected_also_where_another_rests() -> None:
    market = Played()
    market.quote(100, 102)
    assert market.post(0, BUY, 5, 101) == 0
    market.quote(100, 103)
    assert market.post(1, BUY, 5, 103) == WOULD_CROSS
    assert market.post(1, SELL, 5, 102) == 0
    assert market.engine.resting(0) == 2


def test_a_quote_that_crosses_it_fills_a_post() -> None:
    market = Played()
    market.quote(100, 102)
    market.post(0, BUY, 5, 101)
    assert market.quote(99, 101) == [(0, 5, 101)]


def test_behind_the_touch_an_order_rests_behind_all_that_is_shown() -> None:
    market = Played()
    market.quote(100, 102)
    assert market.post(0, BUY, 5, 90) == 0
    assert market.trade(100, 50, SELL) == []
    market.quote(90, 95, 7)
    assert market.trade(90, 7, SELL) == []
    assert market.trade(90, 2, SELL) == [(0, 2, 90)]


def test_a_quote_after_the_last_order_left_is_the_one_the_next_order_meets() -> None:
    market = Played()
    market.quote(100, 102)
    market.post(0, BUY, 5, 100)
    market.cancel(0)
    for bid in range(200, 260):  # more rows than there is room for
        market.quote(bid, bid + 2)
    assert market.post(0, BUY, 5, 261) == WOULD_CROSS
    assert market.take(BUY, 1, 10_000)[1:3] == (1, 261)


def test_quotes_and_trades_by_turns_leave_the_last_quote_in_place() -> None:
    market = Played()
    market.quote(100, 102)
    market.post(0, BUY, 1_000, 50)
    for price in range(103, 120):
        market.trade(price, 1, BUY)
        market.trade(price, 1, BUY)
        market.quote(price - 2, price)
        market.trade(price, 1, BUY)
        assert market.take(BUY, 1, 10_000)[1:3] == (1, price)
