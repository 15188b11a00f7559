"""Our side: reports are booked into accounts and known orders, intents are checked and sent.

Axis legend: L legs, K order slots; columns in state.py.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from schwabot_kernels.simulate.formulas import TEN7, drawn, fee_of, worth
from schwabot_kernels.simulate.intent import CANCEL, POST, REPLACE, TAKE
from schwabot_kernels.simulate.records import (
    CASH,
    DATA,
    FEES,
    FILLED_LOTS,
    FILLS,
    GROSS,
    HOLD_NS,
    LEAST,
    MOST_GROSS,
    ORDERS,
    POSITION,
    REJECTED,
    SLIPPAGE,
    SLOTS,
    TABLE,
    TURNOVER,
)
from schwabot_kernels.simulate.state import (
    ACTION,
    ASKED,
    BOOK_ROW,
    BUY_LOTS,
    CHANGE,
    CHANGE_LOTS,
    CHANGE_PRICE,
    FILL_FEE,
    FILL_LEG,
    FILL_LOTS,
    FILL_MAKER,
    FILL_ORDER,
    FILL_PRICE,
    FILL_REPORT_NS,
    FILL_ROW,
    FILL_SIDE,
    FILL_SLOT,
    FILL_VENUE_NS,
    FILLED,
    FILLS_LOGGED,
    FREE,
    HELD_FROM,
    IN_FLIGHT,
    LAST_ARRIVAL,
    LAST_FILL,
    LAST_ORDER,
    LAST_ROW,
    LOTS,
    NOT_RECORDED,
    NUMBER,
    ORDER_ACTION,
    ORDER_ARRIVAL_NS,
    ORDER_ASK,
    ORDER_BID,
    ORDER_BY,
    ORDER_COLUMNS,
    ORDER_END,
    ORDER_END_NS,
    ORDER_FILLED,
    ORDER_ID,
    ORDER_LEG,
    ORDER_LIMIT,
    ORDER_LOTS,
    ORDER_NS,
    ORDER_OF,
    ORDER_ROW,
    ORDER_SIDE,
    ORDER_SLOT,
    ORDERS_SENT,
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
    PRICE,
    Q_ACTION,
    Q_ARRIVAL,
    Q_FILLED,
    Q_LOTS,
    Q_NUMBER,
    Q_PRICE,
    Q_SIDE,
    Q_SLOT,
    Q_TOUCH,
    REPLACED,
    REPORT_AT,
    REPORTS_OPEN,
    REQUEST_AT,
    REQUESTS,
    REQUESTS_OPEN,
    RESTING,
    RESTS,
    SENT,
    SENT_NS,
    SIDE,
    STATUS,
    TOLD_END,
    TOLD_FEE,
    TOLD_FILL,
    TOLD_LATE,
    TOLD_REPLACED,
    TOLD_RESTS,
    TOO_LATE,
    TOUCH_ROW,
    TRACED_ROW,
)


@njit(cache=True, nogil=True)
def book_next(rules: Any, p: int, state: Any, leg: int, row: int, ts_ns: int) -> None:
    """Book the oldest report of a leg at a row."""
    legs = state.legs
    report = state.reports[leg, legs[leg, REPORT_AT]]
    legs[leg, REPORT_AT] = (legs[leg, REPORT_AT] + 1) % state.reports.shape[1]
    legs[leg, REPORTS_OPEN] -= 1
    kind, number, request, reason = report[P_KIND], report[P_NUMBER], report[P_REQUEST], report[P_REASON]
    order = state.known[leg, report[P_SLOT]]
    if kind != TOLD_FILL or report[P_MAKER] == 0:
        legs[leg, IN_FLIGHT] -= 1
    if kind == TOLD_LATE:
        _end(state, number, report[P_TIME], TOO_LATE, -1)
        if order[CHANGE] == number + 1:
            order[CHANGE], order[CHANGE_LOTS], order[CHANGE_PRICE] = 0, 0, 0
    elif kind == TOLD_RESTS:
        order[STATUS] = RESTING
    elif kind == TOLD_REPLACED:
        _end(state, number, report[P_TIME], REPLACED, request)
        order[NUMBER], order[LOTS], order[PRICE] = request, report[P_REST], report[P_PRICE]
        order[CHANGE], order[CHANGE_LOTS], order[CHANGE_PRICE] = 0, 0, 0
    elif kind == TOLD_FEE:
        _pay_in_lots(rules, state, leg, report, ts_ns)
    else:
        if kind == TOLD_FILL:
            lots = report[P_LOTS]
            _account(rules, p, state, leg, report, row, ts_ns)
            if order[STATUS] != FREE and order[NUMBER] == number:  # else it is over, and its slot may be another's
                order[LOTS] -= lots
                order[FILLED] += lots
                order[CHANGE_LOTS] = max(0, order[CHANGE_LOTS] - lots)
        if reason > 0:
            if OUTSIDE_LIMIT <= reason <= NOT_RECORDED:
                state.counts[leg, REJECTED] += 1
            if kind == TOLD_END and request != number:
                gone = REPLACED if order[CHANGE_PRICE] > 0 else reason
                _end(state, request, report[P_TIME], reason, -1)
                _end(state, number, report[P_TIME], gone, request)
            else:
                _end(state, number, report[P_TIME], reason, -1)
            for column in range(ORDER_COLUMNS):
                order[column] = FREE
    _sum_up(state, leg)


@njit(cache=True, nogil=True)
def _end(state: Any, number: int, time_ns: int, reason: int, by: int) -> None:
    """Log how an order or request ended."""
    if state.orders_log.shape[0] > 0:
        state.orders_log[number, ORDER_END_NS] = time_ns
        state.orders_log[number, ORDER_END] = reason
        state.orders_log[number, ORDER_BY] = by


@njit(cache=True, nogil=True)
def _hold(state: Any, leg: int, change: int, price: int, ts_ns: int) -> None:
    """Change a position by so many lots at a price."""
    counts, legs = state.counts, state.legs
    before = counts[leg, POSITION]
    after = before + change
    if before == 0 or (before < 0 < after) or (after < 0 < before):
        state.entry[leg] = float(price)
    elif abs(after) > abs(before):
        state.entry[leg] = (abs(before) * state.entry[leg] + float(abs(change) * price)) / abs(after)
    elif after == 0:
        state.entry[leg] = 0.0
    if before != 0:
        counts[leg, HOLD_NS] += ts_ns - legs[leg, HELD_FROM]
    legs[leg, HELD_FROM] = ts_ns
    counts[leg, POSITION] = after
    counts[leg, LEAST] = min(counts[leg, LEAST], after)
    state.touch[2, leg] = after


@njit(cache=True, nogil=True)
def _pay_in_lots(rules: Any, state: Any, leg: int, report: Any, ts_ns: int) -> None:
    """Lots leave a position for a fee that was booked in cash with its fill: cash gets back what they are worth."""
    counts, lots, price = state.counts, report[P_LOTS], report[P_PRICE]
    value = lots * worth(price, rules.scale[leg], rules.inverse[leg])
    _hold(state, leg, -lots, price, ts_ns)
    counts[leg, CASH] += value
    counts[leg, GROSS] = min(counts[leg, GROSS] + abs(value), MOST_GROSS)


@njit(cache=True, nogil=True)
def _account(rules: Any, p: int, state: Any, leg: int, report: Any, row: int, ts_ns: int) -> None:
    """Book a fill."""
    counts, legs = state.counts, state.legs
    side, lots, price, maker = report[P_SIDE], report[P_LOTS], report[P_PRICE], report[P_MAKER]
    value = worth(price, rules.scale[leg], rules.inverse[leg])
    notional = lots * abs(value)
    fee = fee_of(notional, rules.maker_e7[p, leg] if maker else rules.taker_e7[p, leg])
    _hold(state, leg, side * lots, price, ts_ns)
    counts[leg, CASH] -= side * lots * value + fee
    counts[leg, FEES] += fee
    counts[leg, FILLS] += 1
    counts[leg, TURNOVER] += notional
    counts[leg, FILLED_LOTS] += lots
    late = 0
    if not maker:
        late = side * lots * (value - worth(report[P_TOUCH], rules.scale[leg], rules.inverse[leg]))
    counts[leg, SLIPPAGE] += late
    counts[leg, GROSS] = min(counts[leg, GROSS] + notional + abs(fee) + abs(late), MOST_GROSS)
    legs[leg, LAST_FILL] = ts_ns
    if state.orders_log.shape[0] > 0:
        state.orders_log[report[P_NUMBER], ORDER_FILLED] += lots
    if state.fills.shape[0] > 0:
        at = state.logged[FILLS_LOGGED]
        state.logged[FILLS_LOGGED] = at + 1
        fill = state.fills[at]
        fill[FILL_ORDER], fill[FILL_LEG], fill[FILL_SLOT] = report[P_NUMBER], leg, report[P_SLOT]
        fill[FILL_SIDE], fill[FILL_LOTS], fill[FILL_PRICE], fill[FILL_MAKER] = side, lots, price, maker
        fill[FILL_FEE], fill[FILL_VENUE_NS], fill[FILL_REPORT_NS] = fee, report[P_EVENT], report[P_TIME]
        fill[FILL_ROW] = row


@njit(cache=True, nogil=True)
def _sum_up(state: Any, leg: int) -> None:
    """Open lots and the newest post of either side, as known."""
    legs, known = state.legs, state.known
    for k in range(2):
        side, newest, open_lots, at = 1 - 2 * k, -1, 0, -1
        for slot in range(SLOTS):
            if known[leg, slot, STATUS] != FREE and known[leg, slot, SIDE] == side:
                open_lots += max(known[leg, slot, LOTS], known[leg, slot, CHANGE_LOTS])
                if known[leg, slot, ACTION] == POST and known[leg, slot, NUMBER] > newest:
                    newest, at = known[leg, slot, NUMBER], slot
        legs[leg, BUY_LOTS + k] = open_lots
        legs[leg, BUY_LOTS + 2 + k] = at
        legs[leg, BUY_LOTS + 4 + k] = known[leg, at, PRICE] if at >= 0 else 0


@njit(cache=True, nogil=True)
def _crosses(state: Any, leg: int, side: int, price: int) -> bool:
    """Would a post trade with our own of the other side?"""
    for slot in range(SLOTS):
        order = state.known[leg, slot]
        if order[STATUS] != FREE and order[SIDE] == -side and order[ACTION] == POST:
            if side * (price - order[PRICE]) >= 0:
                return True
            if order[CHANGE_PRICE] > 0 and side * (price - order[CHANGE_PRICE]) >= 0:
                return True
    return False


@njit(cache=True, nogil=True)
def send(
    market: Any, rules: Any, p: int, state: Any, leg: int, row: int, action: int, side: int, lots: int, price: int,
    slot: int,
) -> bool:  # fmt: skip
    """Check an intent and send it; False = refused."""
    legs, known = state.legs, state.known
    most, position = 2 * abs(rules.max_lots[leg]), state.counts[leg, POSITION]
    top = max(rules.max_lots[leg], 0)
    touch, ts_ns = legs[leg, TOUCH_ROW], market.ts_ns[row]
    bid, ask, number = market.bid[touch], market.ask[touch], state.logged[ORDERS_SENT]
    of, already = -1, 0
    if action in (TAKE, POST):
        if lots < 1 or (side != 1 and side != -1) or lots > most:
            return False
        slot = 0
        while slot < SLOTS and known[leg, slot, STATUS] != FREE:
            slot += 1
        if slot == SLOTS or side * position + legs[leg, BUY_LOTS + (1 - side) // 2] + lots > top:
            return False
        if action == POST and (price < 1 or _crosses(state, leg, side, price)):
            return False
        if action == TAKE and price == 0:
            price = ask + (ask * rules.protection_e7) // TEN7 if side > 0 else bid - (bid * rules.protection_e7) // TEN7
        order = known[leg, slot]
        order[STATUS], order[ACTION], order[SIDE], order[LOTS], order[PRICE] = SENT, action, side, lots, price
        order[NUMBER], order[SENT_NS] = number, ts_ns
        state.counts[leg, ORDERS] += 1
    elif action in (CANCEL, REPLACE):
        if slot < 0 or slot >= SLOTS or known[leg, slot, STATUS] == FREE or known[leg, slot, CHANGE] > 0:
            return False
        order = known[leg, slot]
        side, of, already = order[SIDE], order[NUMBER], order[FILLED]
        if action == CANCEL:
            lots, price = 0, 0
        else:
            if lots < 1 or price < 1 or lots > most or _crosses(state, leg, side, price):
                return False
            others = legs[leg, BUY_LOTS + (1 - side) // 2] - order[LOTS]
            if side * position + others + lots > top:
                return False
        order[CHANGE], order[CHANGE_LOTS], order[CHANGE_PRICE] = number + 1, lots, price
    else:
        return False
    if legs[leg, RESTS] == 0 and legs[leg, REQUESTS_OPEN] == 0:
        # Nothing of ours was at the exchange: what came since the last order there matters no more.
        last = legs[leg, LAST_ROW]
        if last > legs[leg, TRACED_ROW] and market.venue_ns[last] <= ts_ns:
            legs[leg, TRACED_ROW], legs[leg, BOOK_ROW] = last, touch
    delay = rules.entry_ns[p, leg]
    if rules.model == TABLE:
        delay += drawn(rules.tables, 0, rules.seed, leg, legs[leg, ASKED])
    elif rules.model == DATA:
        last = legs[leg, LAST_ROW]
        delay += max(0, market.ts_ns[last] - market.venue_ns[last])
    legs[leg, ASKED] += 1
    legs[leg, LAST_ARRIVAL] = max(ts_ns + delay, legs[leg, LAST_ARRIVAL])
    legs[leg, LAST_ORDER] = ts_ns
    legs[leg, IN_FLIGHT] += 1
    request = state.requests[leg, (legs[leg, REQUEST_AT] + legs[leg, REQUESTS_OPEN]) % REQUESTS]
    legs[leg, REQUESTS_OPEN] += 1
    request[Q_ARRIVAL], request[Q_ACTION], request[Q_SLOT] = legs[leg, LAST_ARRIVAL], action, slot
    request[Q_SIDE], request[Q_LOTS], request[Q_PRICE], request[Q_NUMBER] = side, lots, price, number
    request[Q_TOUCH], request[Q_FILLED] = ask if side > 0 else bid, already
    state.logged[ORDERS_SENT] = number + 1
    if state.orders_log.shape[0] > 0:
        sent = state.orders_log[number]
        sent[ORDER_ID], sent[ORDER_LEG], sent[ORDER_ACTION], sent[ORDER_SIDE] = number, leg, action, side
        sent[ORDER_LOTS], sent[ORDER_LIMIT], sent[ORDER_ROW], sent[ORDER_NS] = lots, price, row, ts_ns
        sent[ORDER_BID], sent[ORDER_ASK], sent[ORDER_ARRIVAL_NS], sent[ORDER_END_NS] = bid, ask, -1, -1
        sent[ORDER_SLOT], sent[ORDER_OF], sent[ORDER_BY] = slot, of, -1
    _sum_up(state, leg)
    return True
