"""Windows in which a pair or a cycle of trades pays after fees. V streams, C cycles, n events of one block.

locked  ln(bid_b / ask_a) - fees - |move|                       where both deliver the same thing
basis   ln(bid_b / ask_a) - (phi_b - phi_a) - fees - |move|     otherwise: a persistent basis is no edge

move is what the price is expected to do within our latency: up costs the leg that buys, down the leg that sells, so
that a pair pays max(0, move) + max(0, -move) = |move| whichever way it goes. Cycles: see cycles.py.

The edge left after our latency is the same without the expected move, which has then happened, at the touches as last
known start + our latency + the largest feed delay of the legs after the start.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from schwabot_kernels.align.cpu import Aligned
from schwabot_kernels.arbitrage.cycles import count_hot, cycle_bp, delay_ns, look_at_cycles
from schwabot_kernels.arbitrage.windows import (
    BEST,
    DUE,
    FAR_NS,
    SIZE,
    START,
    WHICH,
    ArbitrageParams,
    ArbitrageState,
    close_window,
    empty_state,
    open_window,
    tell_rest,
)
from schwabot_kernels.arrays import F64, I8, I64
from schwabot_kernels.lag.cpu import touch_bp
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.simd import LANES, largest, load, store, where

__all__ = ["ArbitrageParams", "ArbitrageState", "arbitrage", "empty_state", "end_windows"]


@njit(**NJIT)
def _keep_row(j: int, aligned: Aligned, phased: Phased, row: F64) -> None:
    """What the next event calls the row before."""
    width = row.shape[1]
    for g in range(0, width, LANES):
        k = j * width + g
        store(row, g, load(aligned.x, k))
        store(row, width + g, load(aligned.half, k))
        store(row, 2 * width + g, load(phased.compensated, k))


@njit(**NJIT)
def _all_pairs(
    j: int,
    t: int,
    aligned: Aligned,
    phased: Phased,
    quoted: I8,
    lag_bp: float,
    latency_max_ns: float,
    params: ArbitrageParams,
    state: ArbitrageState,
) -> None:
    fungible, fee_bp = params.fungible, params.fee_bp
    streams = fungible.shape[0]
    x, half, compensated, route = aligned.x, aligned.half, phased.compensated, phased.route
    for a in range(streams):
        for b in range(streams):
            if a == b or fungible[a, b] < 0:
                continue
            edge = -1.0
            if route[j, a] == 0 and route[j, b] == 0 and quoted[a] == 1 and quoted[b] == 1:
                edge = touch_bp(x[j, b], half[j, b], -1) - touch_bp(x[j, a], half[j, a], 1)
                edge -= fee_bp[a] + fee_bp[b] + lag_bp
                if fungible[a, b] == 0:
                    edge -= compensated[j, b] - compensated[j, a]
            window = a * streams + b
            if edge > params.min_edge_bp:
                if state.open_ns[START, window] < 0:
                    delay = max(delay_ns(a, j, aligned, latency_max_ns), delay_ns(b, j, aligned, latency_max_ns))
                    open_window(window, t, t + params.latency_ns + delay, edge, state)
                if edge > state.open_bp[BEST, window]:
                    state.open_bp[BEST, window] = edge
                    # Mean depth and imbalance together give back the quantity of each side.
                    buy = aligned.depth[j, a] * (1.0 - aligned.imbalance[j, a])
                    sell = aligned.depth[j, b] * (1.0 + aligned.imbalance[j, b])
                    state.open_bp[SIZE, window] = min(buy, sell) if buy == buy and sell == sell else np.nan
            elif state.open_ns[START, window] >= 0:
                close_window(window, t, state)


@njit(**NJIT)
def _settle(now_ns: int, fine: I8, reference_bp: float, params: ArbitrageParams, state: ArbitrageState) -> None:
    """Write the edge left of every window whose time lies before ``now_ns``, at the touches of the row before."""
    streams, row, fee_bp = params.fungible.shape[0], state.row, params.fee_bp
    earliest = FAR_NS
    place = 0
    while place < state.head[2]:
        if state.waiting[place, DUE] >= now_ns:
            earliest = min(earliest, state.waiting[place, DUE])
            place += 1
            continue
        window = state.waiting[place, WHICH]
        if window < streams * streams:
            a, b = window // streams, window % streams
            rest = touch_bp(row[0, b], row[1, b], -1) - touch_bp(row[0, a], row[1, a], 1) - (fee_bp[a] + fee_bp[b])
            if params.fungible[a, b] == 0:
                rest -= row[2, b] - row[2, a]
        else:
            rest = cycle_bp(window - streams * streams, row, fine, reference_bp, params)
        tell_rest(place, rest, state)
    state.counts[2] = earliest


@njit(**NJIT)
def end_windows(last_ns: int, fine: I8, reference_bp: float, params: ArbitrageParams, state: ArbitrageState) -> None:
    """The data has ended: close what is open; an edge left that lies beyond ``last_ns`` is NaN.

    ``fine`` [W] is RATE where a stream is a rate.
    """
    for window in range(state.open_ns.shape[1]):
        if state.open_ns[START, window] >= 0:
            close_window(window, last_ns, state)
    _settle(last_ns + 1, fine, reference_bp, params, state)
    while state.head[2] > 0:
        tell_rest(0, np.nan, state)
    state.counts[2] = FAR_NS


@njit(**NJIT)
def arbitrage(
    first: int,
    n: int,
    ts_ns: I64,
    aligned: Aligned,
    phased: Phased,
    quoted: I8,
    fee_bp: F64,
    move: F64,
    reference_bp: float,
    latency_max_ns: float,
    params: ArbitrageParams,
    state: ArbitrageState,
    bounds: F64,
) -> None:
    """Open, widen and close windows. Ring and list must have n K free places; ``bounds`` is scratch [BLOCK].

    ``quoted`` [W] is 1 where a stream has a touch: the others have no side to deal at. fee_bp: taker fee. [W]
    reference_bp: log price that 0 bp stands for, bp.
    """
    width, min_edge_bp, top = quoted.size, params.min_edge_bp, -np.inf
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
        top = max(top, bounds[j])
    cycles = state.gross.size > 0
    hot = count_hot(state.gross, min_edge_bp) if cycles else 0
    if not cycles and state.counts[0] == 0 and top <= min_edge_bp and state.counts[2] >= ts_ns[first + n - 1]:
        _keep_row(n - 1, aligned, phased, state.row)
        return
    for j in range(n):
        t = ts_ns[first + j]
        if state.counts[2] < t:
            if j > 0:
                _keep_row(j - 1, aligned, phased, state.row)
            _settle(t, aligned.fine, reference_bp, params, state)
        if state.counts[0] > 0 or bounds[j] > min_edge_bp:
            _all_pairs(j, t, aligned, phased, quoted, abs(move[j]), latency_max_ns, params, state)
        if cycles:
            hot = look_at_cycles(
                j, t, aligned, phased, quoted, move[j], reference_bp, latency_max_ns, hot, params, state
            )
    _keep_row(n - 1, aligned, phased, state.row)
