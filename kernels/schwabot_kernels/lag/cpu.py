"""What acting later costs: expected at decision time, realised afterwards. N events, V streams, L latencies, D decisions.

    penalty  L = clip(exp(-entropy) max(0, dp) / P_max, 0, 1)
    range    hi <- max(x, x + (hi - x) e^{-dt/tau}),  lo likewise,  P_max = max(hi - lo, floor)
    realised cost_l = s (touch(t + l) - touch(t)),  touch = ask for a buy, bid for a sell, as of receive time
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.align.cpu import Aligned
from schwabot_kernels.arrays import F64, I8, I32, I64
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.scalar import NJIT, exp_neg, log_pos

class LagParams(NamedTuple):
    """Settings: desync threshold, share of the outcome horizon our latency takes, range decay and floor."""

    desync_bp: float
    latency_share: float
    tau_range_s: float
    min_range_bp: float

class LagState(NamedTuple):
    """Range, desync flags and the ring of decisions whose later prices are still to come.

    price_range: [hi, lo], NaN before the first ghost. [2]
    desynced: 1 while |deviation| is above the threshold. [V]
    x, half: the row before. [V]
    head: [next to hand out, next to write]. [2]
    next_due_ns: earliest time any pending cost is known. [1]
    pending: per latency, the next decision to resolve. [L]
    ts_ns, stream, side, touch: ring of decisions. [capacity]
    cost: ring of costs, NaN until known. [capacity, L]
    """

    price_range: F64
    desynced: I8
    x: F64
    half: F64
    head: I64
    next_due_ns: I64
    pending: I64
    ts_ns: I64
    stream: I32
    side: I8
    touch: F64
    cost: F64

FAR_NS = 2**63 - 1

def empty_state(streams: int, latencies: int, capacity: int = 4096) -> LagState:
    """State before the first event."""
    return LagState(
        price_range=np.full(2, np.nan),
        desynced=np.zeros(streams, np.int8),
        x=np.full(streams, np.nan),
        half=np.full(streams, np.nan),
        head=np.zeros(2, np.int64),
        next_due_ns=np.full(1, FAR_NS, np.int64),
        pending=np.zeros(latencies, np.int64),
        ts_ns=np.zeros(capacity, np.int64),
        stream=np.zeros(capacity, np.int32),
        side=np.zeros(capacity, np.int8),
        touch=np.full(capacity, np.nan),
        cost=np.full((capacity, latencies), np.nan),
    )

@njit(**NJIT)
def touch_bp(x: float, half: float, side: int) -> float:
    """Log price of the side that is paid: ask = mid (1 + half), bid = mid (1 - half); half in bp of the mid."""
    return x + 1e4 * log_pos(1.0 + side * half * 1e-4)

@njit(**NJIT)
def resolve_decisions(now_ns: int, latencies_ns: I64, state: LagState) -> None:
    """Write the cost of every pending (decision, latency) whose time lies before ``now_ns``."""
    mask = state.ts_ns.size - 1
    earliest = FAR_NS
    for k in range(latencies_ns.size):
        while state.pending[k] < state.head[1]:
            slot = state.pending[k] & mask
            due = state.ts_ns[slot] + latencies_ns[k]
            if due >= now_ns:
                earliest = min(earliest, due)
                break
            v = state.stream[slot]
            side = state.side[slot]
            state.cost[slot, k] = side * (touch_bp(state.x[v], state.half[v], side) - state.touch[slot])
            state.pending[k] += 1
    state.next_due_ns[0] = earliest

@njit(**NJIT)
def lag(
    ts_ns: I64,
    stream: I32,
    aligned: Aligned,
    phased: Phased,
    ghost: F64,
    deviation: F64,
    entropy: F64,
    move: F64,
    latencies_ns: I64,
    params: LagParams,
    state: LagState,
    expected: F64,
    penalty: F64,
) -> None:
    """Fill ``expected`` and ``penalty`` [N] and move ``state`` on. ``move`` is the remembered move, bp.

    The ring must have N * V free places.
    """
    events, streams = aligned.x.shape
    mask = state.ts_ns.size - 1
    spread = np.empty(events)
    hi = state.price_range[0]
    lo = state.price_range[1]
    for i in range(events):
        spread[i] = exp_neg(-aligned.dt_s[i] / params.tau_range_s)
    for i in range(events):
        a = spread[i]
        g = ghost[i]
        if g == g:
            hi = max(g, g + (hi - g) * a) if hi == hi else g
            lo = min(g, g + (lo - g) * a) if lo == lo else g
        spread[i] = max(hi - lo, params.min_range_bp) if hi == hi else params.min_range_bp
    state.price_range[0] = hi
    state.price_range[1] = lo
    for i in range(events):
        d = deviation[i, stream[i]]
        along = move[i] if d > 0.0 else -move[i]
        along = along if d == d else 0.0
        e = max(0.0, along) * params.latency_share
        expected[i] = e
        penalty[i] = min(1.0, exp_neg(-entropy[i]) * e / spread[i])

    for i in range(events):
        t = ts_ns[i]
        if state.next_due_ns[0] < t:
            resolve_decisions(t, latencies_ns, state)
        for v in range(streams):
            d = deviation[i, v]
            out = (abs(d) > params.desync_bp) and phased.route[i, v] == 0
            if out and state.desynced[v] == 0:
                side = 1 if d > 0.0 else -1
                slot = state.head[1] & mask
                state.ts_ns[slot] = t
                state.stream[slot] = v
                state.side[slot] = side
                state.touch[slot] = touch_bp(aligned.x[i, v], aligned.half[i, v], side)
                for k in range(latencies_ns.size):
                    state.cost[slot, k] = np.nan
                state.head[1] += 1
                state.next_due_ns[0] = min(state.next_due_ns[0], t + latencies_ns[0])
            state.desynced[v] = 1 if out else 0
            state.x[v] = aligned.x[i, v]
            state.half[v] = aligned.half[i, v]
