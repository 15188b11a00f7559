"""Windows in which buying one stream and selling another pays after fees. N events, V streams.

    locked  ln(bid_b / ask_a) - fees - expected lag               where both deliver the same thing
    basis   ln(bid_b / ask_a) - (phi_b - phi_a) - fees - expected lag   otherwise: a persistent basis is no edge
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.align.cpu import Aligned
from schwabot_kernels.arrays import F64, I8, I32, I64
from schwabot_kernels.lag.cpu import touch_bp
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.scalar import NJIT


class ArbitrageState(NamedTuple):
    """Open windows per ordered pair (buy, sell) and the ring of closed ones.

    open_ns: start time, -1 when closed. [V, V]
    best_bp, best_qty: largest edge so far and the size then. [V, V]
    open_count: number of open windows. [1]
    head: [next to hand out, next to write]. [2]
    pair: buy * V + sell; start_ns, end_ns, edge_bp, qty: ring of closed windows. [capacity]
    """

    open_ns: I64
    best_bp: F64
    best_qty: F64
    open_count: I64
    head: I64
    pair: I32
    start_ns: I64
    end_ns: I64
    edge_bp: F64
    qty: F64


def empty_state(streams: int, capacity: int = 16384) -> ArbitrageState:
    """State before the first event."""
    shape = (streams, streams)
    return ArbitrageState(
        open_ns=np.full(shape, -1, np.int64),
        best_bp=np.zeros(shape),
        best_qty=np.zeros(shape),
        open_count=np.zeros(1, np.int64),
        head=np.zeros(2, np.int64),
        pair=np.zeros(capacity, np.int32),
        start_ns=np.zeros(capacity, np.int64),
        end_ns=np.zeros(capacity, np.int64),
        edge_bp=np.zeros(capacity),
        qty=np.zeros(capacity),
    )


@njit(**NJIT)
def close_window(a: int, b: int, now_ns: int, state: ArbitrageState) -> None:
    """Move the open window (a, b) to the ring."""
    slot = state.head[1] & (state.pair.size - 1)
    state.pair[slot] = a * state.open_ns.shape[0] + b
    state.start_ns[slot] = state.open_ns[a, b]
    state.end_ns[slot] = now_ns
    state.edge_bp[slot] = state.best_bp[a, b]
    state.qty[slot] = state.best_qty[a, b]
    state.head[1] += 1
    state.open_ns[a, b] = -1
    state.open_count[0] -= 1


@njit(**NJIT)
def _all_pairs(
    i: int,
    t: int,
    aligned: Aligned,
    phased: Phased,
    lag_bp: float,
    fungible: I8,
    fee_bp: F64,
    min_edge_bp: float,
    state: ArbitrageState,
) -> None:
    streams = fee_bp.size
    for a in range(streams):
        for b in range(streams):
            if a == b:
                continue
            edge = -1.0
            if phased.route[i, a] == 0 and phased.route[i, b] == 0:
                edge = touch_bp(aligned.x[i, b], aligned.half[i, b], -1) - touch_bp(aligned.x[i, a], aligned.half[i, a], 1)
                edge -= fee_bp[a] + fee_bp[b] + lag_bp
                if fungible[a, b] == 0:
                    edge -= phased.compensated[i, b] - phased.compensated[i, a]
            if edge > min_edge_bp:
                if state.open_ns[a, b] < 0:
                    state.open_ns[a, b] = t
                    state.best_bp[a, b] = -1.0
                    state.open_count[0] += 1
                if edge > state.best_bp[a, b]:
                    # One side of the touch is not known apart here; imbalance splits the mean depth exactly.
                    state.best_bp[a, b] = edge
                    buy = aligned.depth[i, a] * (1.0 - aligned.imbalance[i, a])
                    sell = aligned.depth[i, b] * (1.0 + aligned.imbalance[i, b])
                    state.best_qty[a, b] = min(buy, sell)
            elif state.open_ns[a, b] >= 0:
                close_window(a, b, t, state)


@njit(**NJIT)
def arbitrage(
    ts_ns: I64,
    aligned: Aligned,
    phased: Phased,
    expected_lag: F64,
    fungible: I8,
    fee_bp: F64,
    min_edge_bp: float,
    state: ArbitrageState,
) -> None:
    """Open, widen and close windows over N events. The ring must have N * V * V free places."""
    events, streams = aligned.x.shape
    for i in range(events):
        # Bounds on ln(bid) and ln(ask) that need no logarithm: ln(1-h) <= -h and ln(1+h) >= h - h²/2.
        top = -np.inf
        low = np.inf
        top_free = -np.inf
        low_free = np.inf
        for v in range(streams):
            if phased.route[i, v] == 0:
                bid = aligned.x[i, v] - aligned.half[i, v] - fee_bp[v]
                half = aligned.half[i, v]
                ask = aligned.x[i, v] + half - 0.5e-4 * half * half + fee_bp[v]
                phi = phased.compensated[i, v]
                top = max(top, bid)
                low = min(low, ask)
                top_free = max(top_free, bid - phi)
                low_free = min(low_free, ask - phi)
        if state.open_count[0] > 0 or max(top - low, top_free - low_free) > min_edge_bp:
            _all_pairs(i, ts_ns[i], aligned, phased, expected_lag[i], fungible, fee_bp, min_edge_bp, state)
