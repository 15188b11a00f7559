"""Orders meet the market by the simulator's own rules (docs/simulation.md), compiled code and all.

The rows of the market that count for an order are the last quote and what comes after it, so that four rows per
instrument are all there is of it here: two quotes and two trades, by turns. An order arrives at the time of the last
quote that was published, after it, and nothing takes time on the way: what the network takes is real.

A real exchange takes orders that the simulator rejects. Two rules are added for them, both on the safe side:

- an order behind the touch rests behind all that is shown of its level, once its level is the touch;
- what is left of a limit order that took the touch rests at its price, as the best.

Axis legend: L instruments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from schwabot.records.market import Int8, Int64, Kind
from schwabot.venues.loopback.book import Book
from schwabot.venues.loopback.player import Row
from schwabot_kernels.simulate.exchange import trace
from schwabot_kernels.simulate.intent import CANCEL, POST, TAKE
from schwabot_kernels.simulate.records import CONSTANT, RISK_AVERSE, SLOTS, Market, Rules
from schwabot_kernels.simulate.state import (
    BOOK_ROW,
    NOT_RECORDED,
    P_KIND,
    P_LOTS,
    P_MAKER,
    P_PRICE,
    P_REASON,
    P_SLOT,
    Q_ACTION,
    Q_ARRIVAL,
    Q_LOTS,
    Q_PRICE,
    Q_SIDE,
    Q_SLOT,
    REPORT_AT,
    REPORTS_OPEN,
    REQUEST_AT,
    REQUESTS_OPEN,
    RESTS,
    TOLD_END,
    TOLD_FILL,
    TRACED_ROW,
    WOULD_CROSS,
    X_FILLED,
    X_FRONT,
    X_LEVEL,
    X_LOTS,
    X_PRICE,
    X_RESTS,
    X_SIDE,
    X_TRADED,
    new_state,
)

ROWS = 4
ALL = 2**60
"""More than any level ever shows: all of it is ahead."""
MOST_ORDERS = SLOTS
"""Orders of one instrument that may rest."""


class Report(NamedTuple):
    """What the exchange says of an order.

    slot: of the order; lots, price: of a fill, 0 lots = none; maker: 1 = it rested; rejected: why it never rested, 0 =
    it was not.
    """

    slot: int
    lots: int
    price: int
    maker: int
    rejected: int


class Matching:
    """The matching engine.

    Args:
        books: L instruments.
    """

    def __init__(self, books: Sequence[Book]) -> None:
        self._books = books
        legs = len(books)
        rows = legs * ROWS

        def longs() -> Int64:
            return np.zeros(rows, np.int64)

        def bytes_() -> Int8:
            return np.zeros(rows, np.int8)

        self._market = Market(
            ts_ns=longs(),
            venue_ns=longs(),
            leg=bytes_(),
            kind=bytes_(),
            side=bytes_(),
            bid=longs(),
            ask=longs(),
            bid_lots=longs(),
            ask_lots=longs(),
            price=longs(),
            lots=longs(),
            mark=longs(),
            next_row=np.full(rows, -1, np.int32),
            signals=np.zeros((legs, 0, 0)),
        )
        nothing, none = np.zeros((1, legs), np.int64), np.zeros(0, np.int64)
        self._rules = Rules(
            entry_ns=nothing,
            response_ns=nothing,
            taker_e7=nothing,
            maker_e7=nothing,
            model=CONSTANT,
            tables=np.zeros((2, 1), np.int64),
            seed=0,
            scale=np.ones(legs, np.int64),
            inverse=np.zeros(legs, np.int8),
            max_lots=np.full(legs, ALL),
            protection_e7=0,
            queue=RISK_AVERSE,
            bucket_ns=1,
            funding_ns=none,
            funding_leg=none,
            funding_e9=none,
        )
        self._state = new_state(legs, 0)
        for leg in range(legs):
            self._trace(leg, 0)  # compiled now, not at the first order

    def resting(self, leg: int) -> int:
        """Orders that rest."""
        return int(self._state.legs[leg, RESTS])

    def meet(self, leg: int, row: Row) -> list[Report]:
        """A row of the market meets what rests; call before the next order arrives."""
        if not self.resting(leg):
            return []
        last = int(self._state.legs[leg, TRACED_ROW])
        self._write(leg, row, last)
        return self._trace(leg, row.now_ns)

    def take(self, leg: int, slot: int, side: int, lots: int, limit: int, now_ns: int) -> Report:
        """Immediate or cancel: at the touch, within the limit and its size."""
        return self._ask(leg, TAKE, slot, side, lots, limit, now_ns)

    def post(self, leg: int, slot: int, side: int, lots: int, price: int, now_ns: int) -> Report:
        """Rest, post-only; behind the touch too."""
        report = self._ask(leg, POST, slot, side, lots, price, now_ns)
        if report.rejected == NOT_RECORDED:
            self.rest(leg, slot, side, lots, price, ALL)
            return report._replace(rejected=0)
        return report

    def rest(self, leg: int, slot: int, side: int, lots: int, price: int, ahead: int = 0) -> None:
        """Rest without a look at the touch."""
        order = self._state.there[leg, slot]
        order[:] = 0
        for column, value in (
            (X_RESTS, 1), (X_SIDE, side), (X_LOTS, lots), (X_PRICE, price), (X_FRONT, ahead), (X_LEVEL, ahead),
            (X_TRADED, 0), (X_FILLED, 0),
        ):  # fmt: skip
            order[column] = value
        self._state.legs[leg, RESTS] += 1

    def cancel(self, leg: int, slot: int, now_ns: int) -> None:
        """Take a resting order out."""
        self._ask(leg, CANCEL, slot, 0, 0, 0, now_ns)

    def crosses(self, leg: int, side: int, price: int) -> bool:
        """Whether an order at a price would trade at once."""
        book = self._books[leg]
        return bool(book.update_id) and side * (price - (book.ask if side > 0 else book.bid)) >= 0

    def touch(self, leg: int, side: int) -> tuple[int, int]:
        """Price and lots an order of that side would meet; 0 lots = not known."""
        book = self._books[leg]
        return (book.ask, book.ask_lots) if side > 0 else (book.bid, book.bid_lots)

    def _ask(self, leg: int, action: int, slot: int, side: int, lots: int, price: int, now_ns: int) -> Report:
        legs = self._state.legs
        book = self._books[leg]
        if not self.resting(leg):
            # What came since the last order met nothing: begin with the quote that stands.
            legs[leg, TRACED_ROW] = legs[leg, BOOK_ROW] = -1
            if book.update_id:
                quote = Row(now_ns, 0, 0, leg, Kind.QUOTE, book.bid, book.ask, book.bid_lots, book.ask_lots, 0, 0, 0)
                at = self._write(leg, quote, -1)
                legs[leg, TRACED_ROW] = legs[leg, BOOK_ROW] = at
        row = int(legs[leg, TRACED_ROW])
        arrival = int(self._market.venue_ns[row]) if row >= 0 else now_ns
        request = self._state.requests[leg, legs[leg, REQUEST_AT]]
        request[:] = 0
        for column, value in (
            (Q_ARRIVAL, arrival), (Q_ACTION, action), (Q_SLOT, slot), (Q_SIDE, side), (Q_LOTS, lots), (Q_PRICE, price),
        ):  # fmt: skip
            request[column] = value
        legs[leg, REQUESTS_OPEN] = 1
        (report,) = self._trace(leg, max(now_ns, arrival))
        return report

    def _write(self, leg: int, row: Row, last: int) -> int:
        """Put a row where neither the last quote nor the last row is, behind the last row."""
        market = self._market
        first = leg * ROWS + (2 if row.kind == Kind.TRADE else 0)
        at = first + (1 if first in (last, int(self._state.legs[leg, BOOK_ROW])) else 0)
        market.venue_ns[at] = market.ts_ns[at] = row.now_ns
        market.leg[at], market.kind[at], market.side[at] = leg, row.kind, row.side
        market.bid[at], market.ask[at] = row.bid, row.ask
        market.bid_lots[at], market.ask_lots[at] = row.bid_lots, row.ask_lots
        market.price[at], market.lots[at] = row.price, row.lots
        market.next_row[at] = -1
        if last >= 0:
            market.next_row[last] = at
        return at

    def _trace(self, leg: int, now_ns: int) -> list[Report]:
        state = self._state
        assert trace(self._market, self._rules, 0, state, leg, now_ns, len(self._market.kind))
        legs = state.legs
        told = []
        for number in range(int(legs[leg, REPORTS_OPEN])):
            one = state.reports[leg, (legs[leg, REPORT_AT] + number) % state.reports.shape[1]].tolist()
            filled = one[P_KIND] == TOLD_FILL
            rejected = one[P_REASON] if one[P_KIND] == TOLD_END and one[P_REASON] in _REJECTIONS else 0
            told.append(Report(one[P_SLOT], one[P_LOTS] if filled else 0, one[P_PRICE], one[P_MAKER], rejected))
        legs[leg, REPORTS_OPEN] = 0
        return told


_REJECTIONS = (WOULD_CROSS, NOT_RECORDED)
