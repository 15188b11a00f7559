"""Sweep of a policy that says where it is quiet: the same answers without looking at every row.

Axis legend: N rows of the market in receive order, L legs, P parameter sets, C blocks of rows, D bucket ends.

While a request is in flight, or the signal stays inside the policy's quiet band, nothing happens but that the equity
moves with the mark. Blocks of rows are summed up for that: extremes of the signal and of the mark, the largest fall and
rise of the mark inside. Summaries combine exactly and accounts are integers, so what jumps over a block ends with the
same integers as what walks through it. All sets of a group go through a tile of rows before the next tile is read.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.kept import Key, keep
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.simulate import taking
from schwabot_kernels.simulate.formulas import fee_of, funding_of, worth
from schwabot_kernels.simulate.intent import TAKE, nothing
from schwabot_kernels.simulate.lean import Blocks, Lean, build, first_from, first_outside, over, walked
from schwabot_kernels.simulate.records import (
    BUCKETS,
    CASH,
    DRAWDOWN2,
    EQUITY2,
    FEES,
    FILLED_LOTS,
    FILLS,
    FUNDING,
    GROSS,
    HOLD_NS,
    LEAST,
    MOST_GROSS,
    ORDERS,
    PEAK2,
    POSITION,
    REFUSED,
    REJECTED,
    SLIPPAGE,
    SLOTS,
    SUM1,
    SUM2,
    SUM3,
    SUM4,
    TURNOVER,
    Seen,
    Standing,
)
from schwabot_kernels.simulate.state import ORDER_COLUMNS
from schwabot_kernels.simulate.taking import BARE, COLD

__all__ = ["Blocks", "Lean", "build", "make_skipping"]


# Columns of what a set carries from tile to tile beside its counts.
REPORT_ROW, FILL_LOTS, FILL_PRICE, FILL_SLIPPAGE, REPORTS, SAMPLED2, END, FUNDED = 0, 1, 2, 3, 4, 5, 6, 7
SINCE, FILL_NS, ORDER_NS, STATE = 8, 9, 10, 11
ENTRY, LOW, HIGH = 0, 1, 2


@njit(**COLD)
def begin_state(state: Any) -> None:
    state[REPORT_ROW] = -1
    state[FILL_NS] = state[ORDER_NS] = -1


@njit(**COLD)
def _finish(lean: Any, counts: Any, state: Any, moments: Any) -> None:
    """What is counted at the last row."""
    rows = lean.market.ts_ns.size
    sample(lean, rows, counts, state, moments)
    if lean.first < rows:
        counts[EQUITY2] = 2 * counts[CASH] + counts[POSITION] * lean.mark[rows - 1]
    if counts[POSITION] != 0:
        counts[HOLD_NS] += lean.market.ts_ns[rows - 1] - lean.market.ts_ns[state[SINCE]]


@njit(**COLD)
def sample(lean: Any, until: int, counts: Any, state: Any, moments: Any) -> None:
    """Take in the buckets that end before a row."""
    cash2, position = 2 * counts[CASH], counts[POSITION]
    k, ends = state[END], lean.ends
    if k >= ends.size or ends[k] >= until:
        return
    before, buckets = state[SAMPLED2], moments[BUCKETS]
    sum1, sum2, sum3, sum4 = moments[SUM1], moments[SUM2], moments[SUM3], moments[SUM4]
    while k < ends.size and ends[k] < until:
        equity2 = cash2 + position * lean.mark[ends[k]]
        x = float(equity2 - before)
        before = equity2
        buckets += 1.0
        sum1 += x
        sum2 += x * x
        sum3 += x * x * x
        sum4 += x * x * x * x
        k += 1
    state[END], state[SAMPLED2], moments[BUCKETS] = k, before, buckets
    moments[SUM1], moments[SUM2], moments[SUM3], moments[SUM4] = sum1, sum2, sum3, sum4


@njit(**BARE)
def _book(lean: Any, rules: Any, p: int, row: int, counts: Any, state: Any, floats: Any) -> None:
    """Book the report that is due at a row."""
    leg, lots = lean.leg, state[FILL_LOTS]
    state[REPORT_ROW] = -1
    if lots == 0:
        counts[REJECTED] += 1
        return
    value = worth(state[FILL_PRICE], rules.scale[leg], rules.inverse[leg])
    notional = abs(lots) * abs(value)
    fee = fee_of(notional, rules.taker_e7[p, leg])
    position = counts[POSITION]
    if position != 0:
        counts[HOLD_NS] += lean.market.ts_ns[row] - lean.market.ts_ns[state[SINCE]]
    state[SINCE] = row
    floats[ENTRY] = taking.entry_after(position, floats[ENTRY], lots, state[FILL_PRICE])
    counts[POSITION] = position + lots
    counts[LEAST] = min(counts[LEAST], position + lots)
    counts[CASH] -= lots * value + fee
    counts[FILLS] += 1
    counts[FEES] += fee
    counts[TURNOVER] += notional
    counts[FILLED_LOTS] += abs(lots)
    counts[SLIPPAGE] += state[FILL_SLIPPAGE]
    counts[GROSS] = min(counts[GROSS] + notional + abs(fee) + abs(state[FILL_SLIPPAGE]), MOST_GROSS)
    state[FILL_NS] = lean.market.ts_ns[row]


@njit(**BARE)
def _send(lean: Any, rules: Any, p: int, row: int, intent: Any, counts: Any, state: Any) -> bool:
    """Send a taking order, and know its end; False = refused."""
    market, leg, position = lean.market, lean.leg, counts[POSITION]
    side, lots = intent.side, intent.lots
    if lots < 1 or (side != 1 and side != -1) or side * position + lots > rules.max_lots[leg]:
        counts[REFUSED] += 1
        return False
    now, touch, number = market.ts_ns[row], lean.last[row], counts[ORDERS]
    bid, ask = market.bid[touch], market.ask[touch]
    limit = taking.limit_of(side, intent.price_ticks, bid, ask, rules.protection_e7)
    counts[ORDERS] = number + 1
    state[ORDER_NS] = now
    delay = rules.entry_ns[p, leg] + taking.entry_delay(market, lean.last, rules, leg, number, row)
    arrival = now + delay  # later than what was sent before, which is answered already
    state[REPORT_ROW] = market.ts_ns.size  # never
    if arrival > lean.last_venue_ns:
        return True
    quote = taking.book_at(market.venue_ns, lean.last, row, arrival)
    filled, price = taking.filled(market, quote, side, lots, limit)
    delay = taking.response_delay(market, lean.first_own, rules, leg, state[REPORTS], quote, arrival)
    reported = arrival + rules.response_ns[p, leg] + delay
    state[REPORTS] += 1
    state[FILL_LOTS], state[FILL_PRICE], state[FILL_SLIPPAGE] = side * filled, price, 0
    if filled > 0:
        scale, inverse = rules.scale[leg], rules.inverse[leg]
        known = worth(ask if side > 0 else bid, scale, inverse)
        state[FILL_SLIPPAGE] = side * (worth(price, scale, inverse) - known) * filled
    state[REPORT_ROW] = first_from(market.ts_ns, lean.small, lean.large, row + 1, reported)
    return True


@njit(**NJIT)
def funding_rows(lean: Any, rules: Any) -> Any:
    """Rows at which the leg's funding is due, and which payment it is."""
    rows = lean.market.ts_ns.size
    due, which = np.full(rules.funding_ns.size + 1, rows + 1), np.zeros(rules.funding_ns.size + 1, np.int64)
    count = 0
    for f in range(rules.funding_ns.size):
        if rules.funding_leg[f] == lean.leg:
            due[count] = np.searchsorted(lean.market.ts_ns, rules.funding_ns[f])
            which[count] = f
            count += 1
    return due, which


class Path(NamedTuple):
    """How the way of the equity is kept: functions, compiled, of which ``make_advance`` makes one.

    load(counts) -> way; store(counts, way); over, walked: see ``schwabot_kernels.simulate.lean``, on a way instead of
    peak and fall; met(way, equity2) -> way after one more row; sample(lean, until, counts, state, moments): take in the
    buckets that end before a row.
    """

    load: Any
    store: Any
    over: Any
    walked: Any
    met: Any
    sample: Any


@njit(**BARE)
def _load(counts: Any) -> Any:
    return counts[PEAK2], counts[DRAWDOWN2]


@njit(**BARE)
def _store(counts: Any, way: Any) -> None:
    counts[PEAK2], counts[DRAWDOWN2] = way


@njit(**BARE)
def _over(mark: Any, small: Any, large: Any, i: int, end: int, cash2: int, position: int, way: Any) -> Any:
    return over(mark, small, large, i, end, cash2, position, way[0], way[1])


@njit(**BARE)
def _walked(mark: Any, i: int, end: int, cash2: int, position: int, way: Any) -> Any:
    return walked(mark, i, end, cash2, position, way[0], way[1])


@njit(**BARE)
def _met(way: Any, equity2: int) -> Any:
    peak2 = max(way[0], equity2)
    return peak2, max(way[1], peak2 - equity2)


WHOLE = Path(_load, _store, _over, _walked, _met, sample)
"""Of a run from the first row on: its peak and its largest fall."""


INLINED: dict[str, Any] = {
    "error_model": "numpy",
    "boundscheck": False,
    "nogil": True,
    "forceinline": True,
    "_nrt": False,
}


def make_event(event_of: Any) -> Any:
    """event(lean, row): what a policy sees of a row."""

    @njit(**INLINED)
    def event(lean, row):  # type: ignore[no-untyped-def]
        market, leg, touch = lean.market, lean.leg, np.int64(lean.last[row])
        own = 1 if market.leg[row] == leg else 0
        kind: Any = np.int64(market.kind[row])
        bid, ask, bid_lots, ask_lots = (
            market.bid[touch],
            market.ask[touch],
            market.bid_lots[touch],
            market.ask_lots[touch],
        )
        trade: tuple[Any, Any, Any] = (0, 0, 0)
        if own == 1 and kind == 1:
            trade = (market.price[row], market.lots[row], np.int64(market.side[row]))
        touches = (market.bid[touch : touch + 1], market.ask[touch : touch + 1])
        seen = Seen(
            market.ts_ns[row], leg, own, kind, bid, ask, bid_lots, ask_lots, 0.5 * (bid + ask), *trade, *touches
        )
        return event_of(seen, market.signals, leg, row)

    return event


def make_advance(policy: Any, quiet: Any, event_of: Any, params_of: Any, path: Path) -> tuple[Any, Any]:
    """The loop over the rows of one set, and what it needs to know before; see ``make_skipping`` for the first four.

    It allocates nothing and raises nothing, so that it compiles for a CPU and for CUDA.

    Returns:
        advance(lean, rules, params, p, i, end, due, which, counts, moments, state, floats, orders, memory, skip): rows
        [i, end) of one set; False = the policy did other than take.
        settle(lean, params, p, counts, state, floats, orders, memory): the quiet band of the standing into floats.
    """
    event = make_event(event_of)
    load, store, passed, seen_all, met, take_in = path

    @njit(**INLINED)
    def standing(lean, equity2, counts, state, floats, positions, orders, memory):  # type: ignore[no-untyped-def]
        position, entry, equity = counts[POSITION], floats[ENTRY], 0.5 * equity2
        fills, fill_ns, order_ns, start_ns = counts[FILLS], state[FILL_NS], state[ORDER_NS], lean.market.ts_ns[0]
        own = (position, 0, 0, 0, -1, -1, 0, 0, entry, equity, fills, fill_ns, order_ns, start_ns, 0)
        return Standing(*own, positions, orders, memory)

    @njit(**INLINED)
    def settle(lean, params, p, counts, state, floats, orders, memory):  # type: ignore[no-untyped-def]
        positions = counts[POSITION : POSITION + 1]
        s = standing(lean, 0, counts, state, floats, positions, orders, memory)
        low, high = quiet(s, params_of(params, p))
        floats[LOW], floats[HIGH] = low, high

    @njit(**INLINED | {"forceinline": False})
    def fund(lean, rules, row, due, which, counts, state, moments):  # type: ignore[no-untyped-def]
        """Pay what is due up to a row; what was due before the first quote costs nothing."""
        take_in(lean, row, counts, state, moments)
        while due[state[FUNDED]] <= row:
            f = state[FUNDED]
            state[FUNDED] += 1
            if counts[POSITION] != 0:
                paid = funding_of(counts[POSITION], lean.mark[row], rules.funding_e9[which[f]])
                counts[CASH] -= paid
                counts[FUNDING] += paid
                counts[GROSS] = min(counts[GROSS] + abs(paid), MOST_GROSS)

    @njit(**INLINED | {"forceinline": False})
    def advance(lean, rules, params, p, i, end, due, which, counts, moments, state, floats, orders, memory, skip):  # type: ignore[no-untyped-def]
        mark, small, large, ps = lean.mark, lean.small, lean.large, params_of(params, p)
        positions = counts[POSITION : POSITION + 1]
        way = load(counts)
        while i < end:
            if i == lean.first or i == state[REPORT_ROW]:
                if i == state[REPORT_ROW]:
                    take_in(lean, i, counts, state, moments)
                    _book(lean, rules, p, i, counts, state, floats)
                settle(lean, params, p, counts, state, floats, orders, memory)
            if i >= due[state[FUNDED]]:
                fund(lean, rules, i, due, which, counts, state, moments)
            cash2, position = 2 * counts[CASH], counts[POSITION]
            stop = min(end, due[state[FUNDED]])
            if state[REPORT_ROW] >= 0:
                stop = min(stop, state[REPORT_ROW])
                if skip:
                    way = passed(mark, small, large, i, stop, cash2, position, way)
                else:
                    way = seen_all(mark, i, stop, cash2, position, way)
                i = stop
                continue
            intent = nothing()
            if skip:
                at = first_outside(lean.signal, small, large, i, stop, floats[LOW], floats[HIGH])
                way = passed(mark, small, large, i, min(at + 1, stop), cash2, position, way)
                i = at
                if i < stop:
                    equity2 = cash2 + position * mark[i]
                    s = standing(lean, equity2, counts, state, floats, positions, orders, memory)
                    intent = policy(s, event(lean, i), ps)
            else:
                while i < stop:
                    equity2 = cash2 + position * mark[i]
                    way = met(way, equity2)
                    s = standing(lean, equity2, counts, state, floats, positions, orders, memory)
                    intent = policy(s, event(lean, i), ps)
                    if intent.action != 0:
                        break
                    i += 1
            if i < stop:
                if intent.action != 0:
                    if intent.action != TAKE:
                        return False
                    _send(lean, rules, p, i, intent, counts, state)
                i += 1
        store(counts, way)
        take_in(lean, end, counts, state, moments)
        return True

    return advance, settle


@lru_cache(maxsize=64)
def make_skipping(policy: Any, quiet: Any, event_of: Any, params_of: Any, key: Key | None = None) -> Any:
    """The compiled sweep of a policy that only takes, one order at a time, and says where it is quiet.

    Args:
        policy: policy(standing, event, params) -> Intent.
        quiet: quiet(standing, params) -> (low, high): while the standing (its equity aside) stays as it is, the policy
            answers nothing to every event whose signal is in between or no number.
        event_of: event_of(seen, signals, leg, row) -> event.
        params_of: params_of(params, set) -> parameters.
        key: what tells these four from all others; with it what is compiled is kept on disk.

    Returns:
        sweep(lean, rules, params, first, last, counts, moments, skip=True, memory=0): fills counts [P, L, COUNTS] and
        moments [P, L, MOMENTS] of sets first..last-1.
        skip=False walks through every row and asks the policy at each while nothing is in flight. It raises ValueError
        when rules.bucket_ns is not that of ``build``, or the policy does other than take.
    """
    advance, _ = make_advance(policy, quiet, event_of, params_of, WHOLE)

    @njit(nogil=True, error_model="numpy", boundscheck=False)
    def sweep(lean, rules, params, first, last, counts, moments, skip=True, memory=0):  # type: ignore[no-untyped-def]
        if rules.bucket_ns != lean.bucket_ns:
            raise ValueError("rules.bucket_ns is not the one that build was given")
        rows, leg, sets = lean.market.ts_ns.size, lean.leg, last - first
        due, which = funding_rows(lean, rules)
        states, floats = np.zeros((sets, STATE), np.int64), np.zeros((sets, 3))
        memories, orders = np.zeros((sets, memory)), np.zeros((SLOTS, ORDER_COLUMNS), np.int64)
        counts[first:last], moments[first:last] = 0, 0.0
        for k in range(sets):
            begin_state(states[k])
        begin = lean.first
        while begin < rows:
            end = min(rows, (begin // lean.tile + 1) * lean.tile)
            for k in range(sets):
                p = first + k
                c, m, s, f, own = counts[p, leg], moments[p, leg], states[k], floats[k], memories[k]
                if not advance(lean, rules, params, p, begin, end, due, which, c, m, s, f, orders, own, skip):
                    raise ValueError("a policy that says where it is quiet may only take")
            begin = end
        for k in range(sets):
            _finish(lean, counts[first + k, leg], states[k], moments[first + k, leg])

    return keep(sweep, key)
