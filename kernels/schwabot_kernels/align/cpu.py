"""As-of alignment, one pass: the last known quote of every stream at every event. N events, V streams."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.arrays import F64, I8, I32, I64
from schwabot_kernels.scalar import MISSING_NS, NJIT, log_pos

OK, UNSEEN, STALE, CROSSED, DRIFTING = 0, 1, 2, 3, 4
QUOTE, TRADE = 0, 1


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
    """Last quote of every stream [V]; ``clock`` = [time of the last event, events so far]; ``log_ref`` [1], NaN first."""

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
    """As-of values after each event, [N, V], and ``dt_s`` [N], time since the event before (0 for the first).

    x: log mid, bp from the reference; half: half spread, bp; micro: microprice minus mid, bp;
    imbalance in [-1, 1]; depth: mean of both touch quantities in base asset, NaN unknown;
    bad: OK, UNSEEN or CROSSED.
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


def empty_output(events: int, streams: int) -> Aligned:
    """Uninitialised output for N events."""
    shape = (events, streams)
    return Aligned(
        np.empty(shape, np.int64),
        *(np.empty(shape) for _ in range(6)),
        np.empty(shape, np.int8),
        np.empty(events),
    )


@njit(**NJIT)
def align(events: Events, table: StreamTable, latency_max_ns: float, state: AlignState, out: Aligned) -> None:
    """Fill ``out`` and move ``state`` on by N events."""
    streams = table.tick.size
    for i in range(events.ts_ns.size):
        t = events.ts_ns[i]
        v = events.stream[i]
        before = state.clock[0]
        out.dt_s[i] = 0.0 if before == MISSING_NS else float(t - before) * 1e-9
        state.clock[0] = t
        state.clock[1] += 1
        quote = events.kind[i] == 0
        if quote or table.trades_only[v] == 1:
            if quote:
                bid = events.bid_ticks[i]
                ask = events.ask_ticks[i]
                bid_lots = float(events.bid_lots[i])
                ask_lots = float(events.ask_lots[i])
            else:
                bid = events.price_ticks[i]
                ask = bid
                bid_lots = 0.0
                ask_lots = 0.0
            state.last_ns[v] = t
            if bid > ask or bid <= 0:
                # The last good price stays, so that the phases of the others are not disturbed.
                if state.bad[v] != 1:
                    state.bad[v] = 3
            else:
                total = float(bid + ask)
                mid = 0.5 * total * table.tick[v]
                log_mid = log_pos(mid)
                if np.isnan(state.log_ref[0]):
                    state.log_ref[0] = log_mid
                half = float(ask - bid) / total
                lots = bid_lots + ask_lots
                imbalance = (bid_lots - ask_lots) / lots if lots > 0.0 else 0.0
                state.x[v] = 1e4 * (log_mid - state.log_ref[0])
                state.half[v] = 1e4 * half
                state.imbalance[v] = imbalance
                state.micro[v] = 1e4 * log_pos(1.0 + half * imbalance)
                base = 0.5 * lots * table.unit[v]
                if table.inverse[v] == 1:
                    base = base / mid
                state.depth[v] = base if lots > 0.0 else np.nan
                state.bad[v] = 0
            latency = events.latency_ns[i]
            if latency == MISSING_NS:
                state.latency_weight[v] = 1.0
            else:
                state.latency_weight[v] = min(1.0, max(0.0, 1.0 - float(latency) / latency_max_ns))
        for u in range(streams):
            out.last_ns[i, u] = state.last_ns[u]
            out.x[i, u] = state.x[u]
            out.half[i, u] = state.half[u]
            out.micro[i, u] = state.micro[u]
            out.imbalance[i, u] = state.imbalance[u]
            out.depth[i, u] = state.depth[u]
            out.latency_weight[i, u] = state.latency_weight[u]
            out.bad[i, u] = state.bad[u]
