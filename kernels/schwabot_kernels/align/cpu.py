"""As-of alignment: the last known quote of every stream at every event. V streams, n events of one block.

Kernels work on blocks of at most ``BLOCK`` events. What belongs to a stream lies in rows of W = V in whole vectors,
[BLOCK, W]: all streams of an event move on together, one per lane (see simd.py). What is the same for all streams is
computed in loops over events that LLVM vectorises. Lanes beyond V are streams that are never seen.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.arrays import F64, I8, I32, I64, aligned_zeros
from schwabot_kernels.scalar import MISSING_NS, NJIT, log_pos
from schwabot_kernels.simd import LANES, as_doubles, gather, lanes_from, load, padded, store, unknown, where

BLOCK = 256
OK, UNSEEN, STALE, CROSSED, DRIFTING, RATE = 0, 1, 2, 3, 4, 5
"""Routes; ``bad`` of an aligned stream is OK, UNSEEN, CROSSED or, where all is well with a rate, RATE."""


class Events(NamedTuple):
    """One batch of events, columns of length N (see records.market.Ticks); ``latency_ns`` MISSING when unknown.

    qty_lots, side: of a trade; alignment does not look at them.
    """

    ts_ns: I64
    stream: I32
    kind: I8
    bid_ticks: I64
    ask_ticks: I64
    bid_lots: I64
    ask_lots: I64
    price_ticks: I64
    qty_lots: I64
    side: I8
    latency_ns: I64


class StreamTable(NamedTuple):
    """What turns integers into prices and quantities, [V].

    ``unit`` is the lot in base asset (linear) or in quote currency (inverse); ``trades_only`` streams take
    their price from trades; a ``rate`` prices another asset: its log price is absolute, and it takes no part in the
    asset's price.
    """

    tick: F64
    unit: F64
    inverse: I8
    trades_only: I8
    rate: I8


class AlignState(NamedTuple):
    """Last quote of every stream [W]; ``clock`` = [last event's time, events so far]; ``log_ref`` [1], NaN first."""

    last_ns: I64
    x: F64
    half: F64
    micro: F64
    imbalance: F64
    depth: F64
    latency_weight: F64
    bad: I8
    clock: I64
    log_ref: F64


class Aligned(NamedTuple):
    """As-of values after each event of a block, [BLOCK, W], and ``dt_s`` [BLOCK], time since the event before.

    x: log mid, bp from the reference, of a rate from 1; half: half spread, bp; micro: microprice minus mid, bp;
    imbalance in [-1, 1]; depth: mean of both touch quantities in base asset, NaN unknown;
    bad: OK, UNSEEN, CROSSED or RATE; own: the event's own values before they are spread, [6, BLOCK]; stream: the
    event's; fine: what ``bad`` is after a good quote, [W];
    quoting, pricing: the stream whose quote, and whose good price it is, else -1. [BLOCK]
    """

    last_ns: I64
    x: F64
    half: F64
    micro: F64
    imbalance: F64
    depth: F64
    latency_weight: F64
    bad: I8
    dt_s: F64
    own: F64
    stream: I64
    quoting: I64
    pricing: I64
    fine: I8


def empty_state(streams: int) -> AlignState:
    """State before the first event."""
    width = padded(streams)
    return AlignState(
        last_ns=np.full(width, MISSING_NS, np.int64),
        x=unknown(streams),
        half=unknown(streams),
        micro=np.zeros(width),
        imbalance=np.zeros(width),
        depth=unknown(streams),
        latency_weight=np.ones(width),
        bad=np.full(width, UNSEEN, np.int8),
        clock=np.array([MISSING_NS, 0], np.int64),
        log_ref=np.array([np.nan]),
    )


def scratch(streams: int) -> Aligned:
    """An empty block."""
    shape = (BLOCK, padded(streams))
    bad, last_ns = aligned_zeros(shape, np.int8), aligned_zeros(shape, np.int64)
    bad[...], last_ns[...] = UNSEEN, MISSING_NS
    return Aligned(
        last_ns=last_ns,
        x=aligned_zeros(shape),
        half=aligned_zeros(shape),
        micro=aligned_zeros(shape),
        imbalance=aligned_zeros(shape),
        depth=aligned_zeros(shape),
        latency_weight=aligned_zeros(shape),
        bad=bad,
        dt_s=aligned_zeros((BLOCK,)),
        own=aligned_zeros((6, BLOCK)),
        stream=aligned_zeros((BLOCK,), np.int64),
        quoting=aligned_zeros((BLOCK,), np.int64),
        pricing=aligned_zeros((BLOCK,), np.int64),
        fine=aligned_zeros((padded(streams),), np.int8),
    )


@njit(inline="always", **NJIT)
def _own_values(
    v: Any,
    kind: Any,
    bid_ticks: Any,
    ask_ticks: Any,
    bid_lots: Any,
    ask_lots: Any,
    price_ticks: Any,
    latency_ns: Any,
    table: StreamTable,
    latency_max_ns: float,
) -> tuple[Any, ...]:
    """Log mid, half spread, microprice offset, imbalance, depth and latency weight of one event, or of four in lanes.

    Also, whose quote and whose good price it is, else -1.
    """
    quote = kind == 0
    quotes = quote | ((kind == 1) & (gather(table.trades_only, v) == 1))
    bid = where(quote, bid_ticks, price_ticks)
    ask = where(quote, ask_ticks, price_ticks)
    quoting = where(quotes, v, -1)
    pricing = where(quotes & (bid <= ask) & (bid > 0), v, -1)
    bid, ask = as_doubles(bid), as_doubles(ask)
    total = max(bid + ask, 1e-300)
    half = (ask - bid) / total
    buy = where(quote, as_doubles(bid_lots), 0.0)
    sell = where(quote, as_doubles(ask_lots), 0.0)
    lots = buy + sell
    imbalance = (buy - sell) / max(lots, 1e-300)
    mid = 0.5 * total * gather(table.tick, v)
    depth = 0.5 * lots * gather(table.unit, v) / where(gather(table.inverse, v) == 1, mid, 1.0)
    depth = where(lots > 0.0, depth, np.nan)
    micro = 1e4 * log_pos(max(1.0 + half * imbalance, 1e-300))
    weight = min(max(1.0 - as_doubles(latency_ns) / latency_max_ns, 0.0), 1.0)
    weight = where(latency_ns == MISSING_NS, 1.0, weight)
    return log_pos(mid), 1e4 * half, micro, imbalance, depth, weight, quoting, pricing


@njit(**NJIT)
def _own(first: int, n: int, events: Events, table: StreamTable, latency_max_ns: float, out: Aligned) -> None:
    """Fill ``out.own``, ``stream``, ``quoting`` and ``pricing``: what each event says by itself."""
    own, quoting, pricing = out.own, out.quoting, out.pricing
    whole = n - n % LANES
    for j in range(0, whole, LANES):
        i = first + j
        x, half, micro, imbalance, depth, weight, who, whose = _own_values(
            load(events.stream, i),
            load(events.kind, i),
            load(events.bid_ticks, i),
            load(events.ask_ticks, i),
            load(events.bid_lots, i),
            load(events.ask_lots, i),
            load(events.price_ticks, i),
            load(events.latency_ns, i),
            table,
            latency_max_ns,
        )
        store(out.stream, j, load(events.stream, i))
        store(own, j, x)
        store(own, BLOCK + j, half)
        store(own, 2 * BLOCK + j, micro)
        store(own, 3 * BLOCK + j, imbalance)
        store(own, 4 * BLOCK + j, depth)
        store(own, 5 * BLOCK + j, weight)
        store(quoting, j, who)
        store(pricing, j, whose)
    for j in range(whole, n):
        i = first + j
        out.stream[j] = events.stream[i]
        own[0, j], own[1, j], own[2, j], own[3, j], own[4, j], own[5, j], quoting[j], pricing[j] = _own_values(
            np.int64(events.stream[i]),
            np.int64(events.kind[i]),
            events.bid_ticks[i],
            events.ask_ticks[i],
            events.bid_lots[i],
            events.ask_lots[i],
            events.price_ticks[i],
            events.latency_ns[i],
            table,
            latency_max_ns,
        )


@njit(**NJIT)
def align(
    first: int, n: int, events: Events, table: StreamTable, latency_max_ns: float, state: AlignState, out: Aligned
) -> None:
    """Fill ``out`` for events [first, first + n) and move ``state`` on."""
    ts_ns = events.ts_ns
    own, dt_s, quoting, pricing = out.own, out.dt_s, out.quoting, out.pricing
    before = state.clock[0]
    dt_s[0] = 0.0 if before == MISSING_NS else float(ts_ns[first] - before) * 1e-9
    for j in range(1, n):
        dt_s[j] = float(ts_ns[first + j] - ts_ns[first + j - 1]) * 1e-9
    state.clock[0] = ts_ns[first + n - 1]
    state.clock[1] += n
    _own(first, n, events, table, latency_max_ns, out)
    rates = False
    for v in range(table.rate.size):
        out.fine[v] = RATE if table.rate[v] == 1 else OK
        rates = rates or table.rate[v] == 1
    if np.isnan(state.log_ref[0]):
        for j in range(n):
            if pricing[j] >= 0 and table.rate[pricing[j]] == 0:
                state.log_ref[0] = own[0, j]
                break
    reference = state.log_ref[0]
    if rates:
        for j in range(n):
            own[0, j] = 1e4 * (own[0, j] - (0.0 if table.rate[out.stream[j]] == 1 else reference))
    else:
        for j in range(n):
            own[0, j] = 1e4 * (own[0, j] - reference)
    width = state.x.size
    for g in range(0, width, LANES):
        lane, fine = lanes_from(g), load(out.fine, g)
        last, weight, bad = load(state.last_ns, g), load(state.latency_weight, g), load(state.bad, g)
        x, half, micro = load(state.x, g), load(state.half, g), load(state.micro, g)
        imbalance, depth = load(state.imbalance, g), load(state.depth, g)
        for j in range(n):
            k = j * width + g
            # A crossed quote leaves the last good price, so that the phases of the others are not disturbed.
            mine, good = lane == quoting[j], lane == pricing[j]
            last = where(mine, ts_ns[first + j], last)
            weight = where(mine, own[5, j], weight)
            x = where(good, own[0, j], x)
            half = where(good, own[1, j], half)
            micro = where(good, own[2, j], micro)
            imbalance = where(good, own[3, j], imbalance)
            depth = where(good, own[4, j], depth)
            bad = where(good, fine, where(mine & (bad != UNSEEN), CROSSED, bad))
            store(out.last_ns, k, last)
            store(out.latency_weight, k, weight)
            store(out.x, k, x)
            store(out.half, k, half)
            store(out.micro, k, micro)
            store(out.imbalance, k, imbalance)
            store(out.depth, k, depth)
            store(out.bad, k, bad)
        store(state.last_ns, g, last)
        store(state.latency_weight, g, weight)
        store(state.x, g, x)
        store(state.half, g, half)
        store(state.micro, g, micro)
        store(state.imbalance, g, imbalance)
        store(state.depth, g, depth)
        store(state.bad, g, bad)
