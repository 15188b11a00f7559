"""A threshold policy as the compiler of policies makes them, and random markets of one leg for it.

Axis legend: N rows, S = 1 signal, P parameter sets of one kind each.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.arrays import F64, I64
from schwabot_kernels.simulate.intent import nothing, take
from schwabot_kernels.simulate.records import Market, Rules

INLINED: dict[str, Any] = {"nogil": True, "error_model": "numpy", "forceinline": True}


class Event(NamedTuple):
    ts_ns: int
    leg: int
    own: int
    kind: int
    bid_ticks: int
    ask_ticks: int
    bid_lots: int
    ask_lots: int
    mid_ticks: float
    trade_ticks: int
    trade_lots: int
    trade_side: int
    bids: I64
    asks: I64
    x: float


class Params(NamedTuple):
    enter: float
    leave: float
    size: int
    most: int
    limit: int


@njit(**INLINED)
def event_of(seen: Any, signals: F64, leg: int, row: int) -> Any:
    return Event(
        seen.ts_ns,
        seen.leg,
        seen.own,
        seen.kind,
        seen.bid_ticks,
        seen.ask_ticks,
        seen.bid_lots,
        seen.ask_lots,
        seen.mid_ticks,
        seen.trade_ticks,
        seen.trade_lots,
        seen.trade_side,
        seen.bids,
        seen.asks,
        signals[leg, 0, row],
    )


@njit(**INLINED)
def params_of(params: F64, p: int) -> Any:
    return Params(params[p, 0], params[p, 1], np.int64(params[p, 2]), np.int64(params[p, 3]), np.int64(params[p, 4]))


def policy(s: Any, e: Any, p: Any) -> Any:
    """Long above ``enter``, short below ``-enter``, out when the signal turns by ``leave``; one order at a time."""
    if s.in_flight > 0:
        return nothing()
    side = 0
    lots = 0
    if e.x > p.enter:
        if s.position < 0:
            side, lots = 1, -s.position
        elif s.position < p.most:
            side, lots = 1, p.size
    elif e.x < -p.enter:
        if s.position > 0:
            side, lots = -1, s.position
        elif s.position > -p.most:
            side, lots = -1, p.size
    elif s.position > 0 and e.x < -p.leave:
        side, lots = -1, s.position
    elif s.position < 0 and e.x > p.leave:
        side, lots = 1, -s.position
    if side == 0:
        return nothing()
    limit = 0
    if p.limit == 1:
        limit = e.ask_ticks if side > 0 else e.bids[0]
    elif p.limit == 2:  # no sense in it, but every number that a policy sees
        of_event = e.own + e.kind + e.trade_side + e.trade_lots + e.bid_lots + e.ask_lots + e.asks[0] + e.leg + e.ts_ns
        of_self = s.fills + s.last_fill_ns + s.last_order_ns + s.start_ns + s.call + s.positions[0] + int(s.equity)
        number = (of_event + of_self + int(7.0 * s.entry_ticks) + e.trade_ticks + s.orders[0, 0] + s.buy_order) % 9
        limit = int(e.mid_ticks) - 3 + number
        lots += int(s.memory[0]) % 2
        s.memory[0] += 1.0
    return take(side, lots, limit)


def quiet(s: Any, p: Any) -> Any:
    low, high = -np.inf, np.inf
    if s.in_flight > 0:
        return low, high
    if s.position < 0:
        high = min(p.enter, p.leave)
    elif s.position < p.most:
        high = p.enter
    if s.position > 0:
        low = -min(p.enter, p.leave)
    elif s.position > -p.most:
        low = -p.enter
    return low, high


def make_market(seed: int, rows: int, *, inverse: bool, late_leg: bool, nan: float, ties: bool) -> Market:
    """Rows of a traded leg and of another stream: quotes and trades, sizes small, some unknown, stamps that repeat."""
    rng = np.random.default_rng(seed)
    step = rng.integers(0, 3 if ties else 40, rows) * 10
    ts = np.cumsum(step) + 1_000
    leg = np.where(rng.random(rows) < 0.6, 0, -1).astype(np.int8)
    if late_leg:
        leg[: rows // 3] = -1
    kind = (rng.random(rows) < 0.25).astype(np.int8)
    venue = ts - rng.integers(-20, 60, rows)
    for stream in (0, -1):
        venue[leg == stream] = np.maximum.accumulate(venue[leg == stream])
    mid = 1_000 + np.cumsum(rng.integers(-3, 4, rows))
    quote, trade = (leg == 0) & (kind == 0), (leg == 0) & (kind == 1)
    bid, ask = np.where(quote, mid, 0), np.where(quote, mid + rng.integers(1, 4, rows), 0)
    next_row, own = np.full(rows, -1, np.int32), np.flatnonzero(leg == 0)
    next_row[own[:-1]] = own[1:]
    if inverse:
        mark = np.where(quote, -(SCALE_INVERSE // np.maximum(bid, 1)) - SCALE_INVERSE // np.maximum(ask, 1), 0)
    else:
        mark = (bid + ask) * SCALE
    x = rng.integers(-30, 31, rows) / 10.0  # on a grid, so that thresholds are met exactly
    x[rng.random(rows) < nan] = np.nan
    return Market(
        ts_ns=ts,
        venue_ns=venue,
        leg=leg,
        kind=kind,
        side=np.where(trade, rng.integers(-1, 2, rows), 0).astype(np.int8),
        bid=bid,
        ask=ask,
        bid_lots=np.where(quote, rng.integers(0, 4, rows), 0),
        ask_lots=np.where(quote, rng.integers(0, 4, rows), 0),
        price=np.where(trade, mid, 0),
        lots=np.where(trade, 2, 0),
        mark=mark,
        next_row=next_row,
        signals=np.ascontiguousarray(x.reshape(1, 1, rows)),
    )


SCALE, SCALE_INVERSE = 7_001, 30_000_000_017


def make_rules(
    seed: int, sets: int, market: Market, *, inverse: bool, model: int, latency_ns: int, funding: int, bucket_ns: int
) -> Rules:
    rng = np.random.default_rng(seed + 1)
    span = (int(market.ts_ns[0]) - 50, int(market.ts_ns[-1]) + 50) if len(market.ts_ns) else (0, 1)
    return Rules(
        entry_ns=rng.integers(0, latency_ns + 1, (sets, 1)),
        response_ns=rng.integers(0, latency_ns + 1, (sets, 1)),
        taker_e7=rng.integers(-3_000, 50_000, (sets, 1)),
        maker_e7=rng.integers(-3_000, 3_000, (sets, 1)),
        model=model,
        tables=np.sort(rng.integers(0, latency_ns + 1, (2, 5)), axis=1),
        seed=seed,
        scale=np.array([SCALE_INVERSE if inverse else SCALE]),
        inverse=np.array([inverse], np.int8),
        max_lots=np.array([4]),
        protection_e7=int(rng.integers(0, 40_000)),
        queue=0,
        bucket_ns=bucket_ns,
        funding_ns=np.sort(rng.integers(*span, funding)),
        funding_leg=np.zeros(funding, np.int64),
        funding_e9=rng.integers(-900_000_000, 900_000_000, funding),
    )


def make_params(seed: int, sets: int) -> F64:
    rng = np.random.default_rng(seed + 2)
    enter, leave = rng.integers(5, 30, sets) / 10.0, rng.integers(-5, 20, sets) / 10.0
    size, most = rng.integers(0, 4, sets), rng.integers(1, 6, sets)
    return np.stack([enter, leave, size, most, rng.integers(0, 3, sets)], axis=1).astype(np.float64)
