"""What the simulator keeps between rows, and the columns of it: open orders, requests, reports, logs.

Axis legend: L legs, K order slots of a leg, M floats of a policy's memory, R reports under way, Q requests under way.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.arrays import F64, I64
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.simulate.records import CALLS, COUNTS, MOMENTS, SLOTS

# Columns of Standing.orders: an open order as the policy knows it; a free slot is all 0.
STATUS = 0  # 0 free, 1 sent, 2 resting
ACTION = 1  # TAKE or POST
SIDE = 2
LOTS = 3  # still open
PRICE = 4  # limit
NUMBER = 5  # of the request it lives by: a replace gives it its own
SENT_NS = 6
CHANGE = 7  # 1 + number of the cancel or replace under way, 0 = none
CHANGE_LOTS = 8  # lots the replace under way asks for, less what was reported filled since
CHANGE_PRICE = 9
FILLED = 10  # lots since it was sent first
ORDER_COLUMNS = 16
FREE, SENT, RESTING = 0, 1, 2

# Columns of an order as the exchange has it.
X_RESTS, X_SIDE, X_LOTS, X_PRICE, X_FRONT, X_LEVEL, X_TRADED, X_FILLED, X_NUMBER = range(9)
X_COLUMNS = 9

# Columns of a request on its way.
Q_ARRIVAL, Q_ACTION, Q_SLOT, Q_SIDE, Q_LOTS, Q_PRICE, Q_NUMBER, Q_TOUCH, Q_FILLED = range(9)
Q_COLUMNS = 9
REQUESTS = 32
"""Requests of a leg that can be under way at most, Q: an order and two cancels for each slot are 24."""

# Columns of a report on its way.
P_TIME, P_KIND, P_SLOT, P_NUMBER, P_REQUEST, P_SIDE, P_LOTS, P_PRICE, P_MAKER = range(9)
P_EVENT, P_TOUCH, P_REASON, P_REST = 9, 10, 11, 12
P_COLUMNS = 13
TOLD_RESTS, TOLD_FILL, TOLD_END, TOLD_LATE, TOLD_REPLACED, TOLD_FEE = range(6)
"""Kinds of reports: it rests; a fill; it ended without one; a cancel or replace came too late; it was replaced; lots
that a real venue took as a fee."""

# Columns of SimState.legs.
TOUCH_ROW = 0  # last quote received, -1
LAST_ROW = 1  # last row received, -1
FIRST_ROW = 2
TAIL_ROW = 3  # last row known, received or not
TRACED_ROW = 4  # last row the exchange has gone past, -1
BOOK_ROW = 5  # last quote of those, -1
LAST_ARRIVAL = 6
LAST_REPORT = 7
ASKED = 8  # requests so far
TOLD = 9  # reports so far
REQUEST_AT, REQUESTS_OPEN = 10, 11  # ring
REPORT_AT, REPORTS_OPEN = 12, 13  # ring
RESTS = 14  # orders that rest at the exchange
IN_FLIGHT = 15
BUY_LOTS, SELL_LOTS, BUY_ORDER, SELL_ORDER, BUY_TICKS, SELL_TICKS = range(16, 22)
LAST_FILL, LAST_ORDER = 22, 23
SAMPLED2 = 24  # twice the equity at the last sample
HELD_FROM = 25  # receive time up to which HOLD_NS is counted
MARK = 26
LEG_COLUMNS = 32

# Entries of SimState.clock.
NEXT, START, BUCKET_END, FUNDED, LAST_TS, ENDED = range(6)
FILLS_LOGGED, ORDERS_SENT, IS_FULL = range(3)
"""Entries of SimState.logged."""

# Columns of the log of fills.
FILL_ORDER, FILL_LEG, FILL_SLOT, FILL_SIDE, FILL_LOTS, FILL_PRICE, FILL_MAKER, FILL_FEE = range(8)
FILL_VENUE_NS, FILL_REPORT_NS, FILL_ROW = 8, 9, 10
FILL_COLUMNS = 11
# Columns of the log of orders; a row is a request, its number is its row.
ORDER_ID, ORDER_LEG, ORDER_ACTION, ORDER_SIDE, ORDER_LOTS, ORDER_LIMIT, ORDER_ROW, ORDER_NS = range(8)
ORDER_BID, ORDER_ASK, ORDER_ARRIVAL_NS, ORDER_ARRIVAL_BID, ORDER_ARRIVAL_ASK, ORDER_END_NS = range(8, 14)
ORDER_FILLED, ORDER_END, ORDER_SLOT, ORDER_OF, ORDER_BY = range(14, 19)
SENT_COLUMNS = 19
OPEN, DONE, REST_CANCELLED, CANCELLED, OUTSIDE_LIMIT, NO_BOOK, WOULD_CROSS, NOT_RECORDED, REPLACED, TOO_LATE = range(10)
"""How an order or request ended."""


class SimState(NamedTuple):
    """Everything between two rows.

    legs [L, LEG_COLUMNS], entry: average entry price [L], touch: bids, asks, positions as policies see them [3, L],
    known: own orders as known [L, K, ORDER_COLUMNS], there: as the exchange has them [L, K, X_COLUMNS],
    requests [L, Q, Q_COLUMNS], reports [L, R, P_COLUMNS], clock, memory [L, M]; counts, moments: see ``Result``;
    fills, orders_log: the logs, of which the first logged[0], logged[1] rows are in use; logged[2]: 1 = full.
    """

    legs: I64
    entry: F64
    touch: I64
    known: I64
    there: I64
    requests: I64
    reports: I64
    clock: I64
    memory: F64
    counts: I64
    moments: F64
    fills: I64
    orders_log: I64
    logged: I64


@njit(**NJIT)
def new_state(legs: int, memory: int, fills_capacity: int = 0, orders_capacity: int = 0) -> SimState:
    """A run that has not begun.

    Args:
        legs: L.
        memory: floats of the policy's own, per leg.
        fills_capacity: rows of the log of fills to begin with; 0 = not logged.
        orders_capacity: likewise of orders.

    Example:
        >>> new_state(2, 0).counts.shape
        (2, 17)
    """
    state = SimState(
        np.zeros((legs, LEG_COLUMNS), np.int64),
        np.zeros(legs),
        np.zeros((3, legs), np.int64),
        np.zeros((legs, SLOTS, ORDER_COLUMNS), np.int64),
        np.zeros((legs, SLOTS, X_COLUMNS), np.int64),
        np.zeros((legs, REQUESTS, Q_COLUMNS), np.int64),
        np.zeros((legs, 32, P_COLUMNS), np.int64),
        np.zeros(8, np.int64),
        np.zeros((legs, memory)),
        np.zeros((legs, COUNTS), np.int64),
        np.zeros((legs, MOMENTS)),
        np.zeros((fills_capacity, FILL_COLUMNS), np.int64),
        np.zeros((orders_capacity, SENT_COLUMNS), np.int64),
        np.zeros(3, np.int64),
    )
    for column in (TOUCH_ROW, LAST_ROW, FIRST_ROW, TAIL_ROW, TRACED_ROW, BOOK_ROW, BUY_ORDER, SELL_ORDER):
        state.legs[:, column] = -1
    for column in (LAST_FILL, LAST_ORDER):
        state.legs[:, column] = -1
    for column in (LAST_ARRIVAL, LAST_REPORT):
        state.legs[:, column] = -(2**63)
    state.clock[BUCKET_END] = -(2**63)
    return state


@njit(**NJIT)
def log_room(state: SimState) -> tuple[int, int]:
    """Rows of the logs one row of the market may need at most."""
    legs = state.legs.shape[0]
    return legs * state.reports.shape[1], legs * CALLS


@njit(**NJIT)
def grown(state: SimState) -> SimState:
    """The same with twice the room, where the run said it is full: ``state.logged[2]``.

    Example:
        >>> grown(new_state(1, 0, 10, 10)).reports.shape[1]
        64
    """
    legs, ring = state.reports.shape[0], state.reports.shape[1]
    reports = np.zeros((legs, 2 * ring, P_COLUMNS), np.int64)
    for leg in range(legs):
        for k in range(state.legs[leg, REPORTS_OPEN]):
            reports[leg, k] = state.reports[leg, (state.legs[leg, REPORT_AT] + k) % ring]
        state.legs[leg, REPORT_AT] = 0
    rows = state.fills.shape[0]
    fills = np.zeros((2 * rows + 2 * legs * ring if rows else 0, FILL_COLUMNS), np.int64)
    fills[:rows] = state.fills
    rows = state.orders_log.shape[0]
    orders = np.zeros((2 * rows + legs * CALLS if rows else 0, SENT_COLUMNS), np.int64)
    orders[:rows] = state.orders_log
    state.logged[IS_FULL] = 0
    return SimState(
        state.legs, state.entry, state.touch, state.known, state.there, state.requests, reports, state.clock,
        state.memory, state.counts, state.moments, fills, orders, state.logged,
    )  # fmt: skip
