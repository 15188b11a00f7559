"""As-of alignment: the last known quote of every stream at every event. V streams, n events of one block.

Kernels work on blocks of at most ``BLOCK`` events in stream-major scratch arrays [V, BLOCK]: what is the same for every
event is computed in loops that LLVM vectorises over events, what depends on the event before in a scalar loop.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.arrays import F64, I8, I32, I64, aligned_zeros
from schwabot_kernels.scalar import MISSING_NS, NJIT, log_pos

BLOCK = 256
OK, UNSEEN, STALE, CROSSED, DRIFTING = 0, 1, 2, 3, 4
"""Routes; ``bad`` of an aligned stream is OK, UNSEEN or CROSSED."""


class Events(NamedTuple):
    """One batch of events, columns of length N (see records.market.Ticks); ``latency_ns`` MISSING when unknown."""

    ts_ns: I64
    stream: I32
    kind: I8
    bid_ticks: I64
    ask_ticks: I64
    bid_lots: I64
    ask_lots: I64
    price_ticks: I64
    latency_ns: I64


class StreamTable(NamedTuple):
    """What turns integers into prices and quantities, [V].

    ``unit`` is the lot in base asset (linear) or in quote currency (inverse); ``trades_only`` streams take
    their price from trades.
    """

    tick: F64
    unit: F64
    inverse: I8
    trades_only: I8


class AlignState(NamedTuple):
    """Last quote of every stream [V]; ``clock`` = [last event's time, events so far]; ``log_ref`` [1], NaN first."""

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
    """As-of values after each event of a block, [V, BLOCK], and ``dt_s`` [BLOCK], time since the event before.

    x: log mid, bp from the reference; half: half spread, bp; micro: microprice minus mid, bp;
    imbalance in [-1, 1]; depth: mean of both touch quantities in base asset, NaN unknown;
    bad: OK, UNSEEN or CROSSED; own: the event's own values before they are spread, [6, BLOCK]; update: 0 = the event
    leaves prices alone, 1 = a good price, 2 = a crossed one. [BLOCK]
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
    update: I8


def empty_state(streams: int) -> AlignState:
    """State before the first event."""
    return AlignState(
        last_ns=np.full(streams, MISSING_NS, np.int64),
        x=np.full(streams, np.nan),
        half=np.full(streams, np.nan),
        micro=np.zeros(streams),
        imbalance=np.zeros(streams),
        depth=np.full(streams, np.nan),
        latency_weight=np.ones(streams),
        bad=np.full(streams, UNSEEN, np.int8),
        clock=np.array([MISSING_NS, 0], np.int64),
        log_ref=np.array([np.nan]),
    )


def scratch(streams: int) -> Aligned:
    """Uninitialised block."""
    shape = (streams, BLOCK)
    return Aligned(
        last_ns=aligned_zeros(shape, np.int64),
        x=aligned_zeros(shape),
        half=aligned_zeros(shape),
        micro=aligned_zeros(shape),
        imbalance=aligned_zeros(shape),
        depth=aligned_zeros(shape),
        latency_weight=aligned_zeros(shape),
        bad=aligned_zeros(shape, np.int8),
        dt_s=aligned_zeros((BLOCK,)),
        own=aligned_zeros((6, BLOCK)),
        update=aligned_zeros((BLOCK,), np.int8),
    )


@njit(**NJIT)
def _own_values(first: int, n: int, events: Events, table: StreamTable, latency_max_ns: float, out: Aligned) -> None:
    """Price features of each event by itself: log mid, half spread, microprice offset, imbalance, depth, weight."""
    stream, kind, latency_ns = events.stream, events.kind, events.latency_ns
    bid_ticks, ask_ticks, price_ticks = events.bid_ticks, events.ask_ticks, events.price_ticks
    bid_lots, ask_lots = events.bid_lots, events.ask_lots
    tick, unit, inverse, trades_only = table.tick, table.unit, table.inverse, table.trades_only
    own, update = out.own, out.update
    for j in range(n):
        i = first + j
        v = stream[i]
        quote = kind[i] == 0
        trade = kind[i] == 1 and trades_only[v] == 1
        bid = bid_ticks[i] if quote else price_ticks[i]
        ask = ask_ticks[i] if quote else price_ticks[i]
        good = bid <= ask and bid > 0
        update[j] = (1 if good else 2) if quote or trade else 0
        total = max(float(bid) + float(ask), 1e-300)
        half = (float(ask) - float(bid)) / total
        buy = float(bid_lots[i]) if quote else 0.0
        sell = float(ask_lots[i]) if quote else 0.0
        lots = buy + sell
        imbalance = (buy - sell) / max(lots, 1e-300)
        mid = 0.5 * total * tick[v]
        base = 0.5 * lots * unit[v] / (mid if inverse[v] == 1 else 1.0)
        own[0, j] = log_pos(mid)
        own[1, j] = 1e4 * half
        own[2, j] = 1e4 * log_pos(max(1.0 + half * imbalance, 1e-300))
        own[3, j] = imbalance
        own[4, j] = base if lots > 0.0 else np.nan
        weight = min(1.0, max(0.0, 1.0 - float(latency_ns[i]) / latency_max_ns))
        own[5, j] = 1.0 if latency_ns[i] == MISSING_NS else weight


@njit(**NJIT)
def align(
    first: int, n: int, events: Events, table: StreamTable, latency_max_ns: float, state: AlignState, out: Aligned
) -> None:
    """Fill ``out`` for events [first, first + n) and move ``state`` on."""
    ts_ns, stream = events.ts_ns, events.stream
    own, update, dt_s = out.own, out.update, out.dt_s
    before = state.clock[0]
    dt_s[0] = 0.0 if before == MISSING_NS else float(ts_ns[first] - before) * 1e-9
    for j in range(1, n):
        dt_s[j] = float(ts_ns[first + j] - ts_ns[first + j - 1]) * 1e-9
    state.clock[0] = ts_ns[first + n - 1]
    state.clock[1] += n
    _own_values(first, n, events, table, latency_max_ns, out)
    if np.isnan(state.log_ref[0]):
        for j in range(n):
            if update[j] == 1:
                state.log_ref[0] = own[0, j]
                break
    reference = state.log_ref[0]
    for j in range(n):
        own[0, j] = 1e4 * (own[0, j] - reference)
    for v in range(state.x.size):
        last = state.last_ns[v]
        x = state.x[v]
        half = state.half[v]
        micro = state.micro[v]
        imbalance = state.imbalance[v]
        depth = state.depth[v]
        weight = state.latency_weight[v]
        bad = state.bad[v]
        out_last, out_x, out_half, out_micro = out.last_ns[v], out.x[v], out.half[v], out.micro[v]
        out_imbalance, out_depth, out_weight, out_bad = (
            out.imbalance[v],
            out.depth[v],
            out.latency_weight[v],
            out.bad[v],
        )
        for j in range(n):
            mine = stream[first + j] == v and update[j] != 0
            # A crossed quote leaves the last good price, so that the phases of the others are not disturbed.
            good = mine and update[j] == 1
            last = ts_ns[first + j] if mine else last
            x = own[0, j] if good else x
            half = own[1, j] if good else half
            micro = own[2, j] if good else micro
            imbalance = own[3, j] if good else imbalance
            depth = own[4, j] if good else depth
            weight = own[5, j] if mine else weight
            crossed = np.int8(3) if bad != 1 else bad
            bad = np.int8(0) if good else (crossed if mine else bad)
            out_last[j] = last
            out_x[j] = x
            out_half[j] = half
            out_micro[j] = micro
            out_imbalance[j] = imbalance
            out_depth[j] = depth
            out_weight[j] = weight
            out_bad[j] = bad
        state.last_ns[v] = last
        state.x[v] = x
        state.half[v] = half
        state.micro[v] = micro
        state.imbalance[v] = imbalance
        state.depth[v] = depth
        state.latency_weight[v] = weight
        state.bad[v] = bad
