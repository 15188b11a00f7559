"""What acting later costs, expected and realised. V streams, L latencies, D decisions, n events of one block.

move     (remembered mean + echo) / 2 times the share of the horizon that our latency takes: what is gone when we act
expected cost of buying max(0, move), of selling max(0, -move)
penalty  L = clip(exp(-entropy) max(0, dp) / P_max, 0, 1)
range    hi <- max(x, x + (hi - x) e^{-dt/tau}),  lo likewise,  P_max = max(hi - lo, floor)
realised cost_l = s (touch(t + l) - touch(t)),  touch = ask for a buy, bid for a sell, as of receive time
curve    expected cost_l = m + sum w (realised - m, then) / (sum w + prior), m = s (predicted + (mean + echo) / 2)
         min(1, l / h), h the outcome horizon, over earlier decisions of the stream whose cost_l is known,
         w = e^{-time since then / tau}
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.align.cpu import BLOCK, Aligned
from schwabot_kernels.arrays import F64, I8, I32, I64, aligned_zeros
from schwabot_kernels.blocks import decays
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.scalar import NJIT, exp_neg, log_pos
from schwabot_kernels.simd import LANES, any_lane, gather, lanes_from, load, padded, store, unknown, where

DEAD_BP = 1e-6
"""A deviation up to this has no sign: a stream alone is off its ghost by rounding."""


class LagParams(NamedTuple):
    """Settings: desync threshold, share of the outcome horizon our latency takes, range decay and floor.

    Of the expected curve: the outcome horizon, decay of what decisions cost before, and how many such decisions weigh
    as much as knowing nothing.
    """

    desync_bp: float
    latency_share: float
    tau_range_s: float
    min_range_bp: float
    horizon_ns: float
    tau_curve_s: float
    prior_decisions: float


class LagState(NamedTuple):
    """Range, desync flags and the ring of decisions whose later prices are still to come.

    price_range: [hi, lo], NaN before the first ghost. [2]
    desynced: 1 while |deviation| is above the threshold. [W]
    x, half: the row before. [W]
    head: [next to hand out, next to write]. [2]
    next_due_ns: earliest time any pending cost is known. [1]
    pending: per latency, the next decision to resolve. [L]
    known_ns, known_weight, known_excess: when a cost of the stream was last known; decayed count of such costs, and
        sum of what they were above what the outlook said. [W, L]
    ts_ns, stream, side, touch: ring of decisions; entropy, range_bp: at that moment, P_max. [capacity]
    outlook: ring of what was expected of the horizon, s (predicted + (mean + echo) / 2). [capacity]
    expected, cost: ring of expected costs, and of realised ones, NaN until known. [capacity, L]
    """

    price_range: F64
    desynced: I8
    x: F64
    half: F64
    head: I64
    next_due_ns: I64
    pending: I64
    known_ns: I64
    known_weight: F64
    known_excess: F64
    ts_ns: I64
    stream: I32
    side: I8
    touch: F64
    entropy: F64
    range_bp: F64
    outlook: F64
    expected: F64
    cost: F64


class Desynced(NamedTuple):
    """Scratch: out, 1 while a stream is desynchronised [BLOCK, W]; starts, 1 where a desync begins [BLOCK]."""

    out: I8
    starts: I8


FAR_NS = 2**63 - 1


def scratch(streams: int) -> Desynced:
    """An empty block."""
    return Desynced(aligned_zeros((BLOCK, padded(streams)), np.int8), aligned_zeros((BLOCK,), np.int8))


def empty_state(streams: int, latencies: int, capacity: int = 4096) -> LagState:
    """State before the first event."""
    width = padded(streams)
    return LagState(
        price_range=np.full(2, np.nan),
        desynced=np.zeros(width, np.int8),
        x=unknown(streams),
        half=unknown(streams),
        head=np.zeros(2, np.int64),
        next_due_ns=np.full(1, FAR_NS, np.int64),
        pending=np.zeros(latencies, np.int64),
        known_ns=np.zeros((width, latencies), np.int64),
        known_weight=np.zeros((width, latencies)),
        known_excess=np.zeros((width, latencies)),
        ts_ns=np.zeros(capacity, np.int64),
        stream=np.zeros(capacity, np.int32),
        side=np.zeros(capacity, np.int8),
        touch=np.full(capacity, np.nan),
        entropy=np.zeros(capacity),
        range_bp=np.zeros(capacity),
        outlook=np.zeros(capacity),
        expected=np.zeros((capacity, latencies)),
        cost=np.full((capacity, latencies), np.nan),
    )


@njit(**NJIT)
def touch_bp(x: float, half: float, side: int) -> float:
    """Log price of the side that is paid: ask = mid (1 + half), bid = mid (1 - half); half in bp of the mid."""
    return x + 1e4 * log_pos(1.0 + side * half * 1e-4)


@njit(**NJIT)
def _foreseen(outlook: float, latency_ns: int, params: LagParams) -> float:
    """What acting ``latency_ns`` later would cost by the outlook alone: as much of it as the latency reaches into."""
    return outlook * min(1.0, latency_ns / params.horizon_ns)


@njit(**NJIT)
def _faded(since_ns: int, params: LagParams) -> float:
    """Weight of a cost that has been known for so long."""
    return exp_neg(-1e-9 * since_ns / params.tau_curve_s)


@njit(**NJIT)
def expect_cost(slot: int, latencies_ns: I64, params: LagParams, state: LagState) -> None:
    """Write what the decision in ``slot`` is expected to cost at every latency, from costs known before it."""
    v = state.stream[slot]
    for k in range(latencies_ns.size):
        faded = _faded(state.ts_ns[slot] - state.known_ns[v, k], params)
        excess = faded * state.known_excess[v, k] / (faded * state.known_weight[v, k] + params.prior_decisions)
        state.expected[slot, k] = _foreseen(state.outlook[slot], latencies_ns[k], params) + excess


@njit(**NJIT)
def resolve_decisions(now_ns: int, latencies_ns: I64, params: LagParams, state: LagState) -> None:
    """Write the cost of every pending (decision, latency) whose time lies before ``now_ns``, and learn from it."""
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
            cost = side * (touch_bp(state.x[v], state.half[v], side) - state.touch[slot])
            state.cost[slot, k] = cost
            excess = cost - _foreseen(state.outlook[slot], latencies_ns[k], params)
            if excess == excess:
                faded = _faded(due - state.known_ns[v, k], params)
                state.known_weight[v, k] = faded * state.known_weight[v, k] + 1.0
                state.known_excess[v, k] = faded * state.known_excess[v, k] + excess
                state.known_ns[v, k] = due
            state.pending[k] += 1
    state.next_due_ns[0] = earliest


@njit(**NJIT)
def realised_penalties(entropy: F64, range_bp: F64, cost: F64, penalty: F64) -> None:
    """Fill ``penalty`` [D, L]: L of every cost [D, L], NaN where that is, by entropy and P_max at the decision [D]."""
    for d in range(cost.shape[0]):
        for k in range(cost.shape[1]):
            missed = cost[d, k]
            share = min(1.0, exp_neg(-entropy[d]) * max(0.0, missed) / range_bp[d])
            penalty[d, k] = share if missed == missed else np.nan


@njit(**NJIT)
def expected_lag(
    n: int,
    aligned: Aligned,
    ghost: F64,
    deviation: F64,
    entropy: F64,
    mean: F64,
    echo: F64,
    predicted: F64,
    params: LagParams,
    state: LagState,
    width: F64,
    move: F64,
    expected: F64,
    penalty: F64,
) -> None:
    """Fill [n] of ``width`` (P_max), ``move`` (0 without a ghost), and the own stream's ``expected`` and ``penalty``.

    ``move`` is signed and the same for all streams: it is what the price does while an order is on its way, its share
    of ``predicted`` (what a trained head expects, bp [n]) plus what registry and echo remember beyond that.
    """
    streams = deviation.shape[1]
    hi, lo = state.price_range[0], state.price_range[1]
    decays(n, aligned.dt_s, params.tau_range_s, width)
    for j in range(n):
        a = width[j]
        g = ghost[j]
        if g == g:
            hi = max(g, g + (hi - g) * a) if hi == hi else g
            lo = min(g, g + (lo - g) * a) if lo == lo else g
        width[j] = hi - lo
    state.price_range[0], state.price_range[1] = hi, lo
    for j in range(0, n, LANES):
        d = gather(deviation, lanes_from(j) * streams + load(aligned.stream, j))
        g, w = load(ghost, j), load(width, j)
        gone = where(g == g, params.latency_share * (load(predicted, j) + 0.5 * (load(mean, j) + load(echo, j))), 0.0)
        along = where(d > DEAD_BP, gone, where(d < -DEAD_BP, -gone, 0.0))
        e = max(0.0, along)
        room = max(where(w == w, w, 0.0), params.min_range_bp)
        store(move, j, gone)
        store(expected, j, e)
        store(penalty, j, min(1.0, exp_neg(-load(entropy, j)) * e / room))
        store(width, j, room)


@njit(**NJIT)
def realised_lag(
    first: int,
    n: int,
    ts_ns: I64,
    aligned: Aligned,
    phased: Phased,
    deviation: F64,
    quoted: I8,
    entropy: F64,
    mean: F64,
    echo: F64,
    predicted: F64,
    width: F64,
    latencies_ns: I64,
    params: LagParams,
    state: LagState,
    work: Desynced,
) -> None:
    """Record the first event of every desync, and costs that have become known. The ring must have n V free places.

    ``quoted`` [W] is 1 where a stream has a touch: without one nothing can be bought or sold, and nothing is decided.
    """
    lanes = state.x.size
    mask = state.ts_ns.size - 1
    x, half, out, starts = aligned.x, aligned.half, work.out, work.starts
    for j in range(n):
        starts[j] = 0
    for g in range(0, lanes, LANES):
        before, has_touch = load(state.desynced, g) == 1, load(quoted, g) == 1
        for j in range(n):
            k = j * lanes + g
            off = has_touch & (load(phased.route, k) == 0) & (abs(load(deviation, k)) > params.desync_bp)
            store(out, k, off)
            starts[j] |= any_lane(off & ~before)
            before = off
    next_due = state.next_due_ns[0]
    for j in range(n):
        t = ts_ns[first + j]
        if next_due < t:
            if j > 0:
                for g in range(0, lanes, LANES):
                    store(state.x, g, load(x, (j - 1) * lanes + g))
                    store(state.half, g, load(half, (j - 1) * lanes + g))
            resolve_decisions(t, latencies_ns, params, state)
            next_due = state.next_due_ns[0]
        if starts[j] == 0:
            continue
        for v in range(lanes):
            if out[j, v] > (out[j - 1, v] if j > 0 else state.desynced[v]):
                side = 1 if deviation[j, v] > 0.0 else -1
                slot = state.head[1] & mask
                state.ts_ns[slot] = t
                state.stream[slot] = v
                state.side[slot] = side
                state.touch[slot] = touch_bp(x[j, v], half[j, v], side)
                state.entropy[slot] = entropy[j]
                state.range_bp[slot] = width[j]
                state.outlook[slot] = side * (predicted[j] + 0.5 * (mean[j] + echo[j]))
                expect_cost(slot, latencies_ns, params, state)
                for k in range(latencies_ns.size):
                    state.cost[slot, k] = np.nan
                state.head[1] += 1
                next_due = min(next_due, t + latencies_ns[0])
    state.next_due_ns[0] = next_due
    for g in range(0, lanes, LANES):
        k = (n - 1) * lanes + g
        store(state.desynced, g, load(out, k))
        store(state.x, g, load(x, k))
        store(state.half, g, load(half, k))
