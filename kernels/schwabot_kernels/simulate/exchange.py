"""The exchange's side: the venue's rows and our requests meet in the order of time, and reports leave.

Axis legend: L legs, K order slots; columns in state.py.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from schwabot_kernels.simulate.formulas import BARE, drawn, share
from schwabot_kernels.simulate.intent import CANCEL, POST, TAKE
from schwabot_kernels.simulate.records import DATA, FAR_NS, PROPORTIONAL, SLOTS, TABLE
from schwabot_kernels.simulate.state import (
    BOOK_ROW,
    CANCELLED,
    DONE,
    FIRST_ROW,
    LAST_REPORT,
    NO_BOOK,
    NOT_RECORDED,
    ORDER_ARRIVAL_ASK,
    ORDER_ARRIVAL_BID,
    ORDER_ARRIVAL_NS,
    OUTSIDE_LIMIT,
    P_EVENT,
    P_KIND,
    P_LOTS,
    P_MAKER,
    P_NUMBER,
    P_PRICE,
    P_REASON,
    P_REQUEST,
    P_REST,
    P_SIDE,
    P_SLOT,
    P_TIME,
    P_TOUCH,
    Q_ACTION,
    Q_ARRIVAL,
    Q_FILLED,
    Q_LOTS,
    Q_NUMBER,
    Q_PRICE,
    Q_SIDE,
    Q_SLOT,
    Q_TOUCH,
    REPORT_AT,
    REPORTS_OPEN,
    REQUEST_AT,
    REQUESTS,
    REQUESTS_OPEN,
    REST_CANCELLED,
    RESTS,
    TAIL_ROW,
    TOLD,
    TOLD_END,
    TOLD_FILL,
    TOLD_LATE,
    TOLD_REPLACED,
    TOLD_RESTS,
    TRACED_ROW,
    WOULD_CROSS,
    X_FILLED,
    X_FRONT,
    X_LEVEL,
    X_LOTS,
    X_NUMBER,
    X_PRICE,
    X_RESTS,
    X_SIDE,
    X_TRADED,
)


@njit(**BARE)
def trace(market: Any, rules: Any, p: int, state: Any, leg: int, time_ns: int, n_known: int) -> bool:
    """Play the exchange of one leg up to a time, rows before requests of the same time; False = no room for reports."""
    legs, venue_ns = state.legs, market.venue_ns
    while legs[leg, RESTS] > 0 or legs[leg, REQUESTS_OPEN] > 0:
        if legs[leg, REPORTS_OPEN] + SLOTS > state.reports.shape[1]:
            return False
        row = legs[leg, TRACED_ROW]
        following = following_row(market, state, leg, n_known)
        arrival = FAR_NS
        if legs[leg, REQUESTS_OPEN] > 0:
            arrival = state.requests[leg, legs[leg, REQUEST_AT], Q_ARRIVAL]
        if following >= 0 and venue_ns[following] <= arrival:
            if venue_ns[following] > time_ns:
                return True
            legs[leg, TRACED_ROW] = following
            if market.kind[following] == 0:
                legs[leg, BOOK_ROW] = following
            if legs[leg, RESTS] > 0:
                for slot in range(SLOTS):
                    if state.there[leg, slot, X_RESTS]:
                        _meet(market, rules, p, state, leg, slot, following)
        else:
            # Beyond the last row of the leg nothing is known of the venue: the request stays unanswered.
            if arrival > time_ns or (following < 0 and arrival > venue_ns[row]):
                return True
            at = legs[leg, REQUEST_AT]
            legs[leg, REQUEST_AT] = (at + 1) % REQUESTS
            legs[leg, REQUESTS_OPEN] -= 1
            _arrive(market, rules, p, state, leg, at)
    return True


@njit(**BARE)
def following_row(market: Any, state: Any, leg: int, n_known: int) -> int:
    """The next row of the leg the exchange will go past, -1 = not known."""
    row = state.legs[leg, TRACED_ROW]
    following = state.legs[leg, FIRST_ROW] if row < 0 else market.next_row[row]
    return following if following < n_known else -1


@njit(cache=True, nogil=True)
def _tell(
    market: Any, rules: Any, p: int, state: Any, leg: int, time_ns: int, kind: int, slot: int, number: int,
    request: int, side: int, lots: int, price: int, maker: int, touch: int, reason: int, rest: int,
) -> None:  # fmt: skip
    """A report of something at the exchange leaves for us."""
    legs = state.legs
    number_of = legs[leg, TOLD]
    delay = rules.response_ns[p, leg]
    if rules.model == TABLE:
        delay += drawn(rules.tables, 1, rules.seed, leg, number_of)
    elif rules.model == DATA:
        row = legs[leg, TRACED_ROW]
        while row != legs[leg, TAIL_ROW]:
            following = legs[leg, FIRST_ROW] if row < 0 else market.next_row[row]
            if market.venue_ns[following] > time_ns:
                break
            row = following
        if row >= 0:
            delay += max(0, market.ts_ns[row] - market.venue_ns[row])
    legs[leg, TOLD] = number_of + 1
    legs[leg, LAST_REPORT] = max(time_ns + delay, legs[leg, LAST_REPORT])
    at = (legs[leg, REPORT_AT] + legs[leg, REPORTS_OPEN]) % state.reports.shape[1]
    legs[leg, REPORTS_OPEN] += 1
    report = state.reports
    report[leg, at, P_TIME] = legs[leg, LAST_REPORT]
    report[leg, at, P_KIND] = kind
    report[leg, at, P_SLOT] = slot
    report[leg, at, P_NUMBER] = number
    report[leg, at, P_REQUEST] = request
    report[leg, at, P_SIDE] = side
    report[leg, at, P_LOTS] = lots
    report[leg, at, P_PRICE] = price
    report[leg, at, P_MAKER] = maker
    report[leg, at, P_EVENT] = time_ns
    report[leg, at, P_TOUCH] = touch
    report[leg, at, P_REASON] = reason
    report[leg, at, P_REST] = rest


@njit(cache=True, nogil=True)
def _fill(market: Any, rules: Any, p: int, state: Any, leg: int, slot: int, lots: int, time_ns: int) -> None:
    """A resting order trades at its price."""
    order = state.there[leg, slot]
    order[X_LOTS] -= lots
    order[X_FILLED] += lots
    reason = 0
    if order[X_LOTS] == 0:
        order[X_RESTS] = 0
        state.legs[leg, RESTS] -= 1
        reason = DONE
    _tell(
        market, rules, p, state, leg, time_ns, TOLD_FILL, slot, order[X_NUMBER], -1, order[X_SIDE], lots,
        order[X_PRICE], 1, 0, reason, 0,
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _meet(market: Any, rules: Any, p: int, state: Any, leg: int, slot: int, row: int) -> None:
    """A row of the venue meets a resting order."""
    order = state.there[leg, slot]
    side, price = order[X_SIDE], order[X_PRICE]
    time_ns = market.venue_ns[row]
    if market.kind[row] == 1:
        through = side * (price - market.price[row])
        if through > 0:  # it traded beyond our level
            _fill(market, rules, p, state, leg, slot, order[X_LOTS], time_ns)
        elif through == 0 and market.side[row] != side:
            lots, front = market.lots[row], order[X_FRONT]
            order[X_TRADED] += lots
            order[X_FRONT] = max(0, front - lots)
            if lots > front:
                _fill(market, rules, p, state, leg, slot, min(lots - front, order[X_LOTS]), time_ns)
        return
    own, other, there = market.bid[row], market.ask[row], market.bid_lots[row]
    if side < 0:
        own, other, there = other, own, market.ask_lots[row]
    if side * (other - price) <= 0:
        _fill(market, rules, p, state, leg, slot, order[X_LOTS], time_ns)
    elif side * (own - price) < 0:  # we are the best
        order[X_FRONT] = 0
        order[X_LEVEL] = 0
        order[X_TRADED] = 0
    elif own == price and there > 0:
        gone = order[X_LEVEL] - order[X_TRADED] - there
        if rules.queue == PROPORTIONAL and gone > 0:
            order[X_FRONT] -= share(gone, order[X_FRONT], max(order[X_LEVEL] - order[X_TRADED], 1))
        order[X_FRONT] = min(order[X_FRONT], there)
        order[X_LEVEL] = there
        order[X_TRADED] = 0


@njit(cache=True, nogil=True)
def _join(market: Any, state: Any, leg: int, slot: int, side: int, lots: int, price: int) -> int:
    """Rest behind what is there; returns why not, or 0."""
    row = state.legs[leg, BOOK_ROW]
    if row < 0:
        return NO_BOOK
    own, other, there = market.bid[row], market.ask[row], market.bid_lots[row]
    if side < 0:
        own, other, there = other, own, market.ask_lots[row]
    if side * (price - other) >= 0:
        return WOULD_CROSS
    if side * (price - own) < 0 or (price == own and there == 0):
        return NOT_RECORDED
    order = state.there[leg, slot]
    order[X_RESTS] = 1
    order[X_SIDE] = side
    order[X_LOTS] = lots
    order[X_PRICE] = price
    order[X_FRONT] = there if price == own else 0
    order[X_LEVEL] = order[X_FRONT]
    order[X_TRADED] = 0
    state.legs[leg, RESTS] += 1
    return 0


@njit(cache=True, nogil=True)
def _arrive(market: Any, rules: Any, p: int, state: Any, leg: int, at: int) -> None:
    """A request reaches the exchange."""
    request, legs = state.requests[leg, at], state.legs
    time_ns, action, slot, number = request[Q_ARRIVAL], request[Q_ACTION], request[Q_SLOT], request[Q_NUMBER]
    side, lots, price = request[Q_SIDE], request[Q_LOTS], request[Q_PRICE]
    row = legs[leg, BOOK_ROW]
    if state.orders_log.shape[0] > 0:
        state.orders_log[number, ORDER_ARRIVAL_NS] = time_ns
        if row >= 0:
            state.orders_log[number, ORDER_ARRIVAL_BID] = market.bid[row]
            state.orders_log[number, ORDER_ARRIVAL_ASK] = market.ask[row]
    order = state.there[leg, slot]
    kind, of, asked, reason, maker, touch, rest = TOLD_END, number, number, 0, 0, 0, 0
    if action == TAKE:
        if row < 0:
            reason = NO_BOOK
        else:
            met, there = market.bid[row], market.bid_lots[row]
            if side > 0:
                met, there = market.ask[row], market.ask_lots[row]
            if side * (met - price) > 0:
                reason = OUTSIDE_LIMIT
            else:
                kind, price, touch, reason = TOLD_FILL, met, request[Q_TOUCH], DONE
                if 0 < there < lots:
                    lots, reason = there, REST_CANCELLED
    elif action == POST:
        reason = _join(market, state, leg, slot, side, lots, price)
        if reason == 0:
            kind = TOLD_RESTS
            order[X_FILLED] = 0
            order[X_NUMBER] = number
    elif order[X_RESTS] == 0:
        kind = TOLD_LATE
    else:
        of = order[X_NUMBER]
        rest = lots - (order[X_FILLED] - request[Q_FILLED])
        if action == CANCEL or rest <= 0:
            reason = CANCELLED
            order[X_RESTS] = 0
            legs[leg, RESTS] -= 1
        elif price == order[X_PRICE] and rest <= order[X_LOTS]:
            order[X_LOTS] = rest
        else:
            order[X_RESTS] = 0
            legs[leg, RESTS] -= 1
            reason = _join(market, state, leg, slot, side, rest, price)
        if reason == 0:
            kind = TOLD_REPLACED
            order[X_NUMBER] = number
    _tell(
        market, rules, p, state, leg, time_ns, kind, slot, of, asked, side, lots, price, maker, touch, reason, rest
    )  # fmt: skip
