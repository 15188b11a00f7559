"""A policy on a recorded market, compiled: every row in receive order, integers throughout. See README.md.

Rows at which nothing of ours can happen (no report due, no request arriving, no order resting that a row could meet)
only mark the position and ask the policy; on one leg they run in a loop whose state is in registers.

Axis legend: N rows, L legs, S signals, P parameter sets, K order slots.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numba
import numpy as np
from numba import njit

from schwabot_kernels.arrays import F64, I64
from schwabot_kernels.kept import Key, keep
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.simulate.booking import book_next, send
from schwabot_kernels.simulate.exchange import following_row, trace
from schwabot_kernels.simulate.formulas import BARE, add_sample, funding_of
from schwabot_kernels.simulate.intent import NOTHING
from schwabot_kernels.simulate.records import (
    CALLS,
    CASH,
    DRAWDOWN2,
    EQUITY2,
    FILLS,
    FUNDING,
    GROSS,
    HOLD_NS,
    MOST_GROSS,
    PEAK2,
    POSITION,
    REFUSED,
    Market,
    Rules,
    Seen,
    Standing,
)
from schwabot_kernels.simulate.state import (
    BUCKET_END,
    BUY_LOTS,
    BUY_ORDER,
    BUY_TICKS,
    ENDED,
    FILLS_LOGGED,
    FIRST_ROW,
    FUNDED,
    HELD_FROM,
    IN_FLIGHT,
    IS_FULL,
    LAST_FILL,
    LAST_ORDER,
    LAST_ROW,
    MARK,
    NEXT,
    ORDERS_SENT,
    P_TIME,
    Q_ARRIVAL,
    REPORT_AT,
    REPORTS_OPEN,
    REQUEST_AT,
    REQUESTS_OPEN,
    RESTS,
    SAMPLED2,
    SELL_LOTS,
    SELL_ORDER,
    SELL_TICKS,
    START,
    TAIL_ROW,
    TOUCH_ROW,
    SimState,
    grown,
    log_room,
    new_state,
)

__all__ = ["SimState", "grown", "make_simulator", "make_sweep", "new_state"]

PLAYED, WAITS, FULL = 0, 1, 2


@njit(cache=True, nogil=True)
def _learn_tails(market: Any, state: Any, n_known: int) -> None:
    """Find the last known row of every leg."""
    legs = state.legs
    for row in range(state.clock[6], n_known):
        leg = market.leg[row]
        if leg >= 0:
            legs[leg, TAIL_ROW] = row
    state.clock[6] = max(state.clock[6], n_known)


@njit(**BARE)
def _due(market: Any, rules: Any, state: Any, n_known: int, final: bool) -> int:
    """The earliest receive time at which a row may be more than a mark and a question."""
    legs, clock = state.legs, state.clock
    due = clock[BUCKET_END]
    if clock[FUNDED] < rules.funding_ns.size:
        due = min(due, rules.funding_ns[clock[FUNDED]])
    for leg in range(legs.shape[0]):
        if legs[leg, REPORTS_OPEN] > 0:
            due = min(due, state.reports[leg, legs[leg, REPORT_AT], P_TIME])
        if legs[leg, REQUESTS_OPEN] > 0:
            due = min(due, state.requests[leg, legs[leg, REQUEST_AT], Q_ARRIVAL])
        if legs[leg, RESTS] > 0:
            following = following_row(market, state, leg, n_known)
            if following >= 0:
                due = min(due, market.venue_ns[following])
        if not final and (legs[leg, RESTS] > 0 or legs[leg, REQUESTS_OPEN] > 0):
            due = min(due, market.venue_ns[legs[leg, TAIL_ROW]])
    return due


@njit(**NJIT)
def _sample(state: Any) -> None:
    """End a bucket."""
    for leg in range(state.legs.shape[0]):
        equity2 = state.counts[leg, EQUITY2]
        add_sample(state.moments, leg, equity2 - state.legs[leg, SAMPLED2])
        state.legs[leg, SAMPLED2] = equity2


@njit(**BARE)
def _learn(market: Any, state: Any, row: int) -> None:
    """A row becomes known."""
    legs, leg = state.legs, market.leg[row]
    if leg >= 0:
        legs[leg, LAST_ROW] = row
        if legs[leg, FIRST_ROW] < 0:
            legs[leg, FIRST_ROW] = row
        if market.kind[row] == 0:
            legs[leg, TOUCH_ROW] = row
            legs[leg, MARK] = market.mark[row]
            state.touch[0, leg] = market.bid[row]
            state.touch[1, leg] = market.ask[row]


@njit(**BARE)
def _value(state: Any, leg: int) -> None:
    """Equity of a leg, its peak and largest fall."""
    counts = state.counts
    equity2 = 2 * counts[leg, CASH] + counts[leg, POSITION] * state.legs[leg, MARK]
    counts[leg, EQUITY2] = equity2
    counts[leg, PEAK2] = max(counts[leg, PEAK2], equity2)
    counts[leg, DRAWDOWN2] = max(counts[leg, DRAWDOWN2], counts[leg, PEAK2] - equity2)


@njit(**NJIT)
def _play_row(market: Any, rules: Any, p: int, state: Any, row: int, n_known: int, final: bool) -> int:
    """Everything of one row but the policy, in the order of the README."""
    legs, clock, counts = state.legs, state.clock, state.counts
    ts_ns = market.ts_ns[row]
    if not final:
        for leg in range(legs.shape[0]):
            if (legs[leg, RESTS] > 0 or legs[leg, REQUESTS_OPEN] > 0) and market.venue_ns[legs[leg, TAIL_ROW]] <= ts_ns:
                return WAITS
    if ts_ns >= clock[BUCKET_END] or row == 0:
        if row > 0:
            _sample(state)
        clock[BUCKET_END] = (ts_ns // rules.bucket_ns + 1) * rules.bucket_ns
    _learn(market, state, row)
    for leg in range(legs.shape[0]):
        if not trace(market, rules, p, state, leg, ts_ns, n_known):
            return FULL
    while True:
        first, time_ns = -1, ts_ns
        for leg in range(legs.shape[0]):
            if legs[leg, REPORTS_OPEN] > 0:
                of = state.reports[leg, legs[leg, REPORT_AT], P_TIME]
                if of < time_ns or (of == time_ns and first < 0):
                    first, time_ns = leg, of
        if first < 0:
            break
        book_next(rules, p, state, first, row, ts_ns)
    while clock[FUNDED] < rules.funding_ns.size and rules.funding_ns[clock[FUNDED]] <= ts_ns:
        leg = rules.funding_leg[clock[FUNDED]]
        if legs[leg, TOUCH_ROW] >= 0:
            paid = funding_of(counts[leg, POSITION], legs[leg, MARK], rules.funding_e9[clock[FUNDED]])
            counts[leg, CASH] -= paid
            counts[leg, FUNDING] += paid
            counts[leg, GROSS] = min(counts[leg, GROSS] + abs(paid), MOST_GROSS)
        clock[FUNDED] += 1
    for leg in range(legs.shape[0]):
        if legs[leg, TOUCH_ROW] >= 0:
            _value(state, leg)
    return PLAYED


@njit(**BARE)
def _mark(market: Any, state: Any, row: int) -> None:
    """A row at which nothing of ours is due: a touch, and what the position is worth by it."""
    leg = market.leg[row]
    _learn(market, state, row)
    if leg >= 0 and state.legs[leg, TOUCH_ROW] >= 0:
        _value(state, leg)


@njit(**NJIT)
def _has_room(state: Any) -> bool:
    """Can one more row be logged, whatever happens at it?"""
    fills, orders = log_room(state)
    fills_left = state.fills.shape[0] - state.logged[FILLS_LOGGED]
    orders_left = state.orders_log.shape[0] - state.logged[ORDERS_SENT]
    return (state.fills.shape[0] == 0 or fills_left >= fills) and (
        state.orders_log.shape[0] == 0 or orders_left >= orders
    )


@njit(**NJIT)
def _close(market: Any, state: Any, row: int, final: bool) -> None:
    """Bring what is kept lazily up to the last row played."""
    legs, clock, counts = state.legs, state.clock, state.counts
    clock[NEXT] = row
    if row > 0:
        ts_ns = market.ts_ns[row - 1]
        for leg in range(legs.shape[0]):
            if counts[leg, POSITION] != 0:
                counts[leg, HOLD_NS] += ts_ns - legs[leg, HELD_FROM]
                legs[leg, HELD_FROM] = ts_ns
        if final and clock[ENDED] == 0:
            _sample(state)
            clock[ENDED] = 1


@lru_cache(maxsize=64)
def make_simulator(
    policy: Callable[..., Any], event_of: Callable[..., Any], params_of: Callable[..., Any], key: Key | None = None
) -> Callable[..., int]:
    """Compile the simulator of a policy; call ``run(market, rules, params, p, state, n_known, final)``.

    It plays rows from where the state is, changes the state and returns the next row to play. It stops before a row
    that can't be known yet, or with ``state.logged[2] == 1``: go on with ``grown(state)``.

    Args:
        policy: compiled ``(s, e, p) -> Intent``.
        event_of: compiled ``(seen, signals, leg, row) -> e``.
        params_of: compiled ``(params, p) -> p``.
        key: what tells these three from all others; with it what is compiled is kept on disk.
    """

    @njit(nogil=True, boundscheck=False, error_model="numpy", _nrt=False)
    def run(
        market: Any, rules: Any, params: Any, p: int, state: Any, n_known: int, final: bool
    ) -> int:  # pragma: no cover
        legs, clock, counts = state.legs, state.clock, state.counts
        bids, asks, positions = state.touch[0], state.touch[1], state.touch[2]
        declared = params_of(params, p)
        if n_known > 0:
            clock[START] = market.ts_ns[0]
        start = clock[START]
        state.logged[IS_FULL] = 0
        _learn_tails(market, state, n_known)
        i = clock[NEXT]
        due, changed = 0, True
        while i < n_known:
            if changed:
                if not _has_room(state):
                    state.logged[IS_FULL] = 1
                    break
                due, changed = _due(market, rules, state, n_known, final), False
            asked = False
            action, side, lots, price, slot = 0, 0, 0, 0, -1
            if legs.shape[0] == 1 and legs[0, TOUCH_ROW] >= 0:
                # Rows at which only the market moves: everything of ours stays as it is, in registers.
                position, cash2 = counts[0, POSITION], 2 * counts[0, CASH]
                equity2, peak2, drawdown2 = counts[0, EQUITY2], counts[0, PEAK2], counts[0, DRAWDOWN2]
                in_flight, entry, fills = legs[0, IN_FLIGHT], state.entry[0], counts[0, FILLS]
                buy_lots, sell_lots = legs[0, BUY_LOTS], legs[0, SELL_LOTS]
                buy_order, sell_order = legs[0, BUY_ORDER], legs[0, SELL_ORDER]
                buy_ticks, sell_ticks = legs[0, BUY_TICKS], legs[0, SELL_TICKS]
                last_fill, last_order = legs[0, LAST_FILL], legs[0, LAST_ORDER]
                # Row numbers without a sign: numba asks at every access whether a signed one counts from the end.
                touch, last = np.uint64(legs[0, TOUCH_ROW]), np.uint64(legs[0, LAST_ROW])
                j, known_rows = np.uint64(i), np.uint64(n_known)
                orders, memory = state.known[0], state.memory[0]
                while j < known_rows:
                    ts_ns = market.ts_ns[j]
                    if ts_ns >= due:
                        break
                    kind = numba.int64(market.kind[j])
                    own = market.leg[j] == 0
                    if own:
                        last = j
                    if own and kind == 0:
                        touch = j
                    traded = own and kind == 1
                    bid, ask = market.bid[touch], market.ask[touch]
                    bids[0] = bid
                    asks[0] = ask
                    equity2 = cash2 + position * market.mark[touch]
                    peak2 = max(peak2, equity2)
                    drawdown2 = max(drawdown2, peak2 - equity2)
                    said = policy(
                        Standing(
                            position, in_flight, buy_lots, sell_lots, buy_order, sell_order, buy_ticks, sell_ticks,
                            entry, 0.5 * equity2, fills, last_fill, last_order, start, 0, positions, orders, memory,
                        ),
                        event_of(
                            Seen(
                                ts_ns, 0, numba.int64(own), kind, bid, ask, market.bid_lots[touch],
                                market.ask_lots[touch], 0.5 * (bid + ask), market.price[j] if traded else 0,
                                market.lots[j] if traded else 0, numba.int64(market.side[j]) if traded else 0,
                                bids, asks,
                            ),
                            market.signals, 0, j,
                        ),
                        declared,
                    )  # fmt: skip
                    if said.action != NOTHING:
                        action, side, lots = said.action, said.side, said.lots
                        price, slot = said.price_ticks, said.order
                        asked = True
                        break
                    j += np.uint64(1)
                i = numba.int64(j)
                legs[0, TOUCH_ROW], legs[0, LAST_ROW], legs[0, MARK] = (
                    numba.int64(touch),
                    numba.int64(last),
                    market.mark[touch],
                )
                counts[0, EQUITY2], counts[0, PEAK2], counts[0, DRAWDOWN2] = equity2, peak2, drawdown2
                if i == n_known:
                    break
            if not asked and market.ts_ns[i] < due:
                _mark(market, state, i)
            elif not asked:
                changed = True
                code = _play_row(market, rules, p, state, i, n_known, final)
                if code != PLAYED:
                    state.logged[IS_FULL] = numba.int64(code == FULL)
                    break
            ts_ns, kind = market.ts_ns[i], numba.int64(market.kind[i])
            for leg in range(legs.shape[0]):
                touch = legs[leg, TOUCH_ROW]
                if touch < 0:
                    continue
                own = market.leg[i] == leg
                traded = own and kind == 1
                bid, ask = market.bid[touch], market.ask[touch]
                for call in range(CALLS):
                    if not asked:
                        said = policy(
                            Standing(
                                counts[leg, POSITION], legs[leg, IN_FLIGHT], legs[leg, BUY_LOTS], legs[leg, SELL_LOTS],
                                legs[leg, BUY_ORDER], legs[leg, SELL_ORDER], legs[leg, BUY_TICKS],
                                legs[leg, SELL_TICKS], state.entry[leg], 0.5 * counts[leg, EQUITY2],
                                counts[leg, FILLS], legs[leg, LAST_FILL], legs[leg, LAST_ORDER], start, call, positions,
                                state.known[leg], state.memory[leg],
                            ),
                            event_of(
                                Seen(
                                    ts_ns, leg, numba.int64(own), kind, bid, ask, market.bid_lots[touch],
                                    market.ask_lots[touch], 0.5 * (bid + ask), market.price[i] if traded else 0,
                                    market.lots[i] if traded else 0, numba.int64(market.side[i]) if traded else 0,
                                    bids, asks,
                                ),
                                market.signals, leg, i,
                            ),
                            declared,
                        )  # fmt: skip
                        action, side, lots = said.action, said.side, said.lots
                        price, slot = said.price_ticks, said.order
                        if action == NOTHING:
                            break
                    asked, changed = False, True
                    if not send(market, rules, p, state, leg, i, action, side, lots, price, slot):
                        counts[leg, REFUSED] += 1
                        break
            i += 1
        _close(market, state, i, final and i == n_known)
        return i

    simulator: Callable[..., int] = keep(run, key)
    return simulator


def make_sweep(
    policy: Callable[..., Any], event_of: Callable[..., Any], params_of: Callable[..., Any], key: Key | None = None
) -> Callable[..., None]:
    """Compile a sweep; call ``sweep(market, rules, params, first, last, counts, moments, memory)``.

    Plays parameter sets first to last - 1 over the whole market, one after the other, and writes counts [P, L, COUNTS]
    and moments [P, L, MOMENTS] of them. Releases the GIL while it plays. It is compiled once for a policy, together
    with ``make_simulator`` of the same one.
    """
    run = make_simulator(policy, event_of, params_of, key)

    def sweep(
        market: Market, rules: Rules, params: F64, first: int, last: int, counts: I64, moments: F64, memory: int = 0
    ) -> None:
        for p in range(first, last):
            state = new_state(rules.scale.size, memory, 0, 0)
            run(market, rules, params, p, state, market.ts_ns.size, True)
            while state.logged[IS_FULL]:
                state = grown(state)
                run(market, rules, params, p, state, market.ts_ns.size, True)
            counts[p] = state.counts
            moments[p] = state.moments

    return sweep
