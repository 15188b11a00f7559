"""Windows in which buying one stream and selling another pays after fees. V streams, n events of one block.

locked  ln(bid_b / ask_a) - fees - |move|                       where both deliver the same thing
basis   ln(bid_b / ask_a) - (phi_b - phi_a) - fees - |move|     otherwise: a persistent basis is no edge

move is what the price is expected to do within our latency: up costs the leg that buys, down the leg that sells, so
that a pair pays max(0, move) + max(0, -move) = |move| whichever way it goes.
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
from schwabot_kernels.simd import LANES, largest, load, where


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
    j: int,
    t: int,
    aligned: Aligned,
    phased: Phased,
    quoted: I8,
    lag_bp: float,
    fungible: I8,
    fee_bp: F64,
    min_edge_bp: float,
    state: ArbitrageState,
) -> None:
    streams = fungible.shape[0]
    x, half, compensated, route = aligned.x, aligned.half, phased.compensated, phased.route
    for a in range(streams):
        for b in range(streams):
            if a == b:
                continue
            edge = -1.0
            if route[j, a] == 0 and route[j, b] == 0 and quoted[a] == 1 and quoted[b] == 1:
                edge = touch_bp(x[j, b], half[j, b], -1) - touch_bp(x[j, a], half[j, a], 1)
                edge -= fee_bp[a] + fee_bp[b] + lag_bp
                if fungible[a, b] == 0:
                    edge -= compensated[j, b] - compensated[j, a]
            if edge > min_edge_bp:
                if state.open_ns[a, b] < 0:
                    state.open_ns[a, b] = t
                    state.best_bp[a, b] = -1.0
                    state.open_count[0] += 1
                if edge > state.best_bp[a, b]:
                    state.best_bp[a, b] = edge
                    # Mean depth and imbalance together give back the quantity of each side.
                    buy = aligned.depth[j, a] * (1.0 - aligned.imbalance[j, a])
                    sell = aligned.depth[j, b] * (1.0 + aligned.imbalance[j, b])
                    state.best_qty[a, b] = min(buy, sell) if buy == buy and sell == sell else np.nan
            elif state.open_ns[a, b] >= 0:
                close_window(a, b, t, state)


@njit(**NJIT)
def arbitrage(
    first: int,
    n: int,
    ts_ns: I64,
    aligned: Aligned,
    phased: Phased,
    quoted: I8,
    move: F64,
    fungible: I8,
    fee_bp: F64,
    min_edge_bp: float,
    state: ArbitrageState,
    bounds: F64,
) -> None:
    """Open, widen and close windows. The ring must have n V V free places; ``bounds`` is scratch [BLOCK].

    ``quoted`` [W] is 1 where a stream has a touch: the others have no side to deal at. fee_bp: taker fee. [W]
    """
    width = quoted.size
    for j in range(n):
        high, low, high_free, low_free = -np.inf, np.inf, -np.inf, np.inf
        for g in range(0, width, LANES):
            k = j * width + g
            use = (load(phased.route, k) == 0) & (load(quoted, g) == 1)
            # Bounds on ln(bid) and ln(ask) that need no logarithm: ln(1-h) <= -h and ln(1+h) >= h - h²/2.
            x, half, fee = load(aligned.x, k), load(aligned.half, k), load(fee_bp, g)
            compensated = load(phased.compensated, k)
            bid = where(use, x - half - fee, -np.inf)
            less_ask = where(use, 0.5e-4 * half * half - x - half - fee, -np.inf)
            high = max(high, largest(bid))
            low = min(low, -largest(less_ask))
            high_free = max(high_free, largest(where(use, bid - compensated, -np.inf)))
            low_free = min(low_free, -largest(where(use, less_ask + compensated, -np.inf)))
        bounds[j] = max(high - low, high_free - low_free)
    for j in range(n):
        if state.open_count[0] > 0 or bounds[j] > min_edge_bp:
            _all_pairs(j, ts_ns[first + j], aligned, phased, quoted, abs(move[j]), fungible, fee_bp, min_edge_bp, state)
