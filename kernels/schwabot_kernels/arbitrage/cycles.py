"""Cycles of up to four trades that end in what they began with. V streams, C cycles, n events of one block.

    gross  sum over the legs of  -ln(ask) - fee  (buy)  or  ln(bid) - fee  (sell)
    edge   gross - [a leg buys the asset] max(0, move) - [a leg sells it] max(0, -move)

A rate's log price is absolute, those of the asset's streams are relative to the run's first quote, which is added here.
Legs that trade rates bear no expected move: it is that of the asset.
"""

from __future__ import annotations

from math import exp

import numpy as np
from numba import njit

from schwabot_kernels.align.cpu import OK, RATE, Aligned
from schwabot_kernels.arbitrage.windows import (
    BEST,
    LEGS,
    SIZE,
    START,
    ArbitrageParams,
    ArbitrageState,
    close_window,
    open_window,
)
from schwabot_kernels.arrays import F64, I8
from schwabot_kernels.lag.cpu import touch_bp
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.simd import LANES, any_lane, load, store


@njit(**NJIT)
def leg_bp(leg: int, x: float, half: float, is_rate: bool, fee_bp: float, reference_bp: float) -> float:
    """What a leg adds to the log return of its cycle, bp."""
    base = 0.0 if is_rate else reference_bp
    if leg & 1 == 0:
        return -(touch_bp(x, half, 1) + base) - fee_bp
    return touch_bp(x, half, -1) + base - fee_bp


@njit(**NJIT)
def cycle_bp(c: int, row: F64, fine: I8, reference_bp: float, params: ArbitrageParams) -> float:
    """Sum over the legs at x and half spread of a row [3, W], bp."""
    edge = 0.0
    for k in range(LEGS):
        leg = params.leg[c, k]
        if leg >= 0:
            v = leg >> 1
            edge += leg_bp(leg, row[0, v], row[1, v], fine[v] == RATE, params.fee_bp[v], reference_bp)
    return edge


@njit(**NJIT)
def delay_ns(v: int, j: int, aligned: Aligned, latency_max_ns: float) -> int:
    """Feed delay of a stream as measured, at most ``latency_max_ns``; 0 where it is unknown."""
    return int((1.0 - aligned.latency_weight[j, v]) * latency_max_ns + 0.5)


@njit(**NJIT)
def cycle_qty(c: int, j: int, aligned: Aligned, reference_bp: float, params: ArbitrageParams) -> float:
    """Largest amount that passes through all touches, in the base asset of the first leg; NaN where one is unknown."""
    amount, size = 1.0, np.inf
    for k in range(LEGS):
        leg = params.leg[c, k]
        if leg < 0:
            break
        v = leg >> 1
        mid = exp(1e-4 * (aligned.x[j, v] + (0.0 if aligned.fine[v] == RATE else reference_bp)))
        depth, imbalance, half = aligned.depth[j, v], aligned.imbalance[j, v], 1e-4 * aligned.half[j, v]
        # Mean depth and imbalance together give back the quantity of each side.
        if leg & 1 == 0:
            there = depth * (1.0 - imbalance)
            needed = 1.0 if k == 0 else amount / (mid * (1.0 + half))
            amount = needed
        else:
            there = depth * (1.0 + imbalance)
            needed = amount
            amount = needed * mid * (1.0 - half)
        if there != there:
            return np.nan
        size = min(size, there / needed)
    return size


@njit(**NJIT)
def count_hot(gross: F64, min_edge_bp: float) -> int:
    """How many cycles would pay if no move were expected: only those can be open."""
    hot = 0
    for c in range(gross.size):
        hot += 1 if gross[c] > min_edge_bp else 0
    return hot


@njit(**NJIT)
def _value(
    v: int, j: int, aligned: Aligned, reference_bp: float, params: ArbitrageParams, state: ArbitrageState
) -> int:
    """What a stream adds to its cycles as of event j, and their sums; by how much that changes the hot ones' number."""
    for side in range(2):
        added = -np.inf
        if state.usable[v] == 1:
            is_rate = aligned.fine[v] == RATE
            added = leg_bp(side, aligned.x[j, v], aligned.half[j, v], is_rate, params.fee_bp[v], reference_bp)
        state.value[2 * v + side] = added
    hot = 0
    for place in range(params.through[v], params.through[v + 1]):
        c = params.through[place]
        hot -= 1 if state.gross[c] > params.min_edge_bp else 0
        gross = 0.0
        for k in range(LEGS):
            leg = params.leg[c, k]
            if leg >= 0:
                gross += state.value[leg]
        state.gross[c] = gross
        hot += 1 if gross > params.min_edge_bp else 0
    return hot


@njit(**NJIT)
def _look(
    c: int, j: int, t: int, aligned: Aligned, move: float, reference_bp: float, latency_max_ns: float,
    params: ArbitrageParams, state: ArbitrageState,
) -> None:  # fmt: skip
    """Open, widen or close the window of one cycle."""
    window = state.open_ns.shape[1] - state.gross.size + c
    edge = state.gross[c]
    if edge > params.min_edge_bp:
        delay = 0
        for k in range(LEGS):
            leg = params.leg[c, k]
            if leg < 0:
                break
            if aligned.fine[leg >> 1] == OK:
                edge -= max(0.0, move if leg & 1 == 0 else -move)
            delay = max(delay, delay_ns(leg >> 1, j, aligned, latency_max_ns))
        if edge > params.min_edge_bp and state.open_ns[START, window] < 0:
            open_window(window, t, t + params.latency_ns + delay, edge, state)
    if not edge > params.min_edge_bp:
        if state.open_ns[START, window] >= 0:
            close_window(window, t, state)
    elif edge > state.open_bp[BEST, window]:
        state.open_bp[BEST, window] = edge
        state.open_bp[SIZE, window] = cycle_qty(c, j, aligned, reference_bp, params)


@njit(**NJIT)
def look_at_cycles(
    j: int,
    t: int,
    aligned: Aligned,
    phased: Phased,
    quoted: I8,
    move: float,
    reference_bp: float,
    latency_max_ns: float,
    hot: int,
    params: ArbitrageParams,
    state: ArbitrageState,
) -> int:
    """Cycles at event j. Only those through a stream whose touch or route has changed are summed up anew.

    ``hot`` is how many would pay before the event if no move were expected; returns how many do after it.
    """
    width, streams = quoted.size, params.fee_bp.size
    for g in range(0, width, LANES):
        k = j * width + g
        is_rate, route = load(aligned.fine, g) == RATE, load(phased.route, k)
        fresh = is_rate & (route == RATE) & (t - load(aligned.last_ns, k) <= params.rate_stale_ns)
        usable = (load(quoted, g) == 1) & (fresh | (~is_rate & (route == OK)))
        was = load(state.usable, g) == 1
        x_was = load(state.row, g) if j == 0 else load(aligned.x, k - width)
        half_was = load(state.row, width + g) if j == 0 else load(aligned.half, k - width)
        moved = (load(aligned.x, k) != x_was) | (load(aligned.half, k) != half_was)
        changed = (usable & ~was) | (was & ~usable) | (usable & moved)
        store(state.usable, g, usable)
        if any_lane(changed):
            for v in range(g, min(g + LANES, streams)):
                was_usable, is_usable = state.value[2 * v] > -np.inf, state.usable[v] == 1
                before = state.row[0, v] if j == 0 else aligned.x[j - 1, v]
                before_half = state.row[1, v] if j == 0 else aligned.half[j - 1, v]
                same = aligned.x[j, v] == before and aligned.half[j, v] == before_half
                if was_usable != is_usable or (is_usable and not same):
                    hot += _value(v, j, aligned, reference_bp, params, state)
    if hot > 0 or state.counts[1] > 0:
        for c in range(state.gross.size):
            _look(c, j, t, aligned, move, reference_bp, latency_max_ns, params, state)
    return hot
