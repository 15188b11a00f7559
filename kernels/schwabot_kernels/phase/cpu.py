"""Phase of every stream against the others, its drift, and routing. V streams, P pairs v < u, n events of one block.

Between two events the as-of prices are constant, so the decayed mean of x_v - x_u is exact in physical time:

    S <- (1 - g) S + g (x_v - x_u),   W <- (1 - g) W + g,   beta_vu = S / W,   g = 1 - exp(-dt / tau)

while both streams are valid over the whole gap; g = 0 (frozen) otherwise.

A stream joins at event j with the phase that makes it agree with the n streams seen before, whose phases stay:

    m = mean over the valid old v of x_v - phi_v,   b = x_new - m - c,   c <- c + b / (n + 1)
    beta_v,new = (phi_v - c) - b, at the small weight W = 0.01,   so that  phi_v as before,  phi_new = x_new - m
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.align.cpu import BLOCK, DRIFTING, STALE, UNSEEN, Aligned
from schwabot_kernels.arrays import F64, I8, I32, I64, aligned_zeros
from schwabot_kernels.scalar import MISSING_NS, NJIT, exp_neg
from schwabot_kernels.simd import LANES, lanes_from, load, padded, splat, store, unknown, where

RING = 64
"""Grid points per drift window."""
JOIN_WEIGHT = 0.01
"""Weight W of what a stream joins with: a tenth of tau, so that what is then seen soon outweighs it."""


class PhaseParams(NamedTuple):
    """Settings: times in s or ns, drift as a ratio."""

    tau_s: float
    stale_ns: int
    window_ns: int
    drifting_at: float
    critical_at: float
    k0: float
    k_max: float


class PhaseState(NamedTuple):
    """Pair sums, the ring of past phases and the row before.

    pair: streams of each pair, (0, 1), (0, 2), ..., (1, 2), ... [P, 2]
    pair_sum, pair_weight: S and W, 0 until both have joined. [P in whole vectors]
    ring: phase at the last 65 grid times, slot = grid index mod 65. [65, W]
    grid: [index of the newest grid time, index of the first one], MISSING before the first event.
    offset: the constant c. [1]
    seen: 1 once a stream has quoted. [W]
    phi, x, last_ns, bad: the row before. [W]
    """

    pair: I32
    pair_sum: F64
    pair_weight: F64
    ring: F64
    grid: I64
    offset: F64
    seen: I8
    phi: F64
    x: F64
    last_ns: I64
    bad: I8


class Phased(NamedTuple):
    """phase phi and compensated phase, bp; drift; status; route. [BLOCK, W]. NaN phase = unseen.

    past: phase one window ago, NaN unknown. [BLOCK, W]
    gain, step: g and g (x_v - x_u), then step becomes beta, 0 where unknown. [BLOCK, P + 3 in whole vectors]
    valid, price: 1 and the price where the stream was valid over the gap before the event, else 0. [BLOCK + 1, W]
    sign: +1 and -1 at the two streams of each pair, else 0. [P, W]; forget: 1 - exp(-dt/tau). [BLOCK]
    unknown: NaN for streams, 0 beyond. [W]
    """

    phase: F64
    compensated: F64
    drift: F64
    status: I8
    route: I8
    past: F64
    gain: F64
    step: F64
    valid: F64
    price: F64
    sign: F64
    forget: F64
    unknown: F64


def _pairs(streams: int) -> I32:
    pair = [(v, u) for v in range(streams) for u in range(v + 1, streams)]
    return np.array(pair, np.int32).reshape(len(pair), 2)


def empty_state(streams: int) -> PhaseState:
    """State before the first event."""
    width, pair = padded(streams), _pairs(streams)
    return PhaseState(
        pair=pair,
        pair_sum=np.zeros(padded(len(pair))),
        pair_weight=np.zeros(padded(len(pair))),
        ring=unknown(streams, rows=RING + 1),
        grid=np.full(2, MISSING_NS, np.int64),
        offset=np.zeros(1),
        seen=np.zeros(width, np.int8),
        phi=unknown(streams),
        x=unknown(streams),
        last_ns=np.full(width, MISSING_NS, np.int64),
        bad=np.full(width, UNSEEN, np.int8),
    )


def scratch(streams: int) -> Phased:
    """An empty block."""
    width, pair = padded(streams), _pairs(streams)
    shape = (BLOCK, width)
    # Vectors that begin near the end of a row reach beyond it.
    pairs = (BLOCK, padded(len(pair) + LANES - 1))
    route = aligned_zeros(shape, np.int8)
    route[...] = UNSEEN
    sign = aligned_zeros((len(pair), width))
    sign[np.arange(len(pair)), pair[:, 0]] = 1.0
    sign[np.arange(len(pair)), pair[:, 1]] = -1.0
    return Phased(
        phase=aligned_zeros(shape),
        compensated=aligned_zeros(shape),
        drift=aligned_zeros(shape),
        status=aligned_zeros(shape, np.int8),
        route=route,
        past=aligned_zeros(shape),
        gain=aligned_zeros(pairs),
        step=aligned_zeros(pairs),
        valid=aligned_zeros((BLOCK + 1, width)),
        price=aligned_zeros((BLOCK + 1, width)),
        sign=sign,
        forget=aligned_zeros((BLOCK,)),
        unknown=unknown(streams),
    )


@njit(**NJIT)
def _pair_gains(
    first: int, n: int, ts_ns: I64, aligned: Aligned, params: PhaseParams, state: PhaseState, out: Phased
) -> None:
    """g and g (x_v - x_u) of every pair at each event of the block, left in ``out.gain`` and ``out.step``."""
    width, forget, dt_s = state.x.size, out.forget, aligned.dt_s
    for j in range(0, n, LANES):
        store(forget, j, 1.0 - exp_neg(-load(dt_s, j) / params.tau_s))
    for g in range(0, width, LANES):
        x, bad, last = load(state.x, g), load(state.bad, g), load(state.last_ns, g)
        for j in range(n):
            k = j * width + g
            ok = (bad == 0) & (ts_ns[first + j] - last <= params.stale_ns)
            store(out.valid, k, where(ok, splat(1.0), 0.0))
            store(out.price, k, where(ok, x, 0.0))
            x, bad, last = load(aligned.x, k), load(aligned.bad, k), load(aligned.last_ns, k)
    streams = state.pair[-1, 1] + 1
    valid, price, gain, step = out.valid, out.price, out.gain, out.step
    stride = gain.shape[1]
    start = 0
    for v in range(streams - 1):
        # The pairs of v and u = v + 1, ..., V - 1 lie side by side; what the last vector writes beyond them is then
        # overwritten by those of v + 1.
        for u in range(v + 1, streams, LANES):
            k = start + u - v - 1
            for j in range(n):
                row = j * width
                g_vu = load(valid, row + u) * (forget[j] * valid[j, v])
                store(gain, k, g_vu)
                store(step, k, (price[j, v] - load(price, row + u)) * g_vu)
                k += stride
        start += streams - 1 - v


@njit(**NJIT)
def _pair_means(start: int, stop: int, state: PhaseState, out: Phased) -> None:
    """beta of every pair after events [start, stop) of the block, left in ``out.step``; 0 until both have joined."""
    stride = out.gain.shape[1]
    for g in range(0, state.pair_sum.size, LANES):
        used = lanes_from(g) < state.pair.shape[0]
        s, w = load(state.pair_sum, g), load(state.pair_weight, g)
        for j in range(start, stop):
            k = j * stride + g
            gain = where(used, load(out.gain, k), 0.0)
            keep = 1.0 - gain
            s = keep * s + where(used, load(out.step, k), 0.0)
            w = keep * w + gain
            store(out.step, k, where(w > 0.0, s / w, 0.0))
        store(state.pair_sum, g, s)
        store(state.pair_weight, g, w)


@njit(**NJIT)
def _phases(start: int, stop: int, state: PhaseState, out: Phased) -> None:
    """phi_v = c + mean over seen u of beta_vu at events [start, stop) of the block."""
    width, beta, sign = state.x.size, out.step, out.sign
    seen = 0
    for v in range(width):
        seen += state.seen[v]
    share, offset, pairs = 1.0 / max(seen, 1), state.offset[0], state.pair.shape[0]
    for g in range(0, width, LANES):
        here, nothing = load(state.seen, g) == 1, load(out.unknown, g)
        for j in range(start, stop):
            all_beta = splat(0.0)
            for p in range(pairs):
                all_beta = all_beta + load(sign, p * width + g) * beta[j, p]
            store(out.phase, j * width + g, where(here, all_beta * share + offset, nothing))


@njit(**NJIT)
def _join(joined: int, j: int, now_ns: int, stale_ns: int, aligned: Aligned, state: PhaseState, out: Phased) -> None:
    """Let a stream in at event j, where the pairs stand in ``out``: it agrees with the others, whose phases stay."""
    _phases(j, j + 1, state, out)
    seen = valid = 0
    total_seen = total_valid = 0.0
    for v in range(state.x.size):
        if state.seen[v] == 1:
            fair = aligned.x[j, v] - out.phase[j, v]
            seen += 1
            total_seen += fair
            if aligned.bad[j, v] == 0 and now_ns - aligned.last_ns[j, v] <= stale_ns:
                valid += 1
                total_valid += fair
    if seen > 0:
        # With nobody valid, the last known prices are all there is.
        mean = total_valid / valid if valid > 0 else total_seen / seen
        c = state.offset[0]
        b = aligned.x[j, joined] - mean - c
        for p in range(state.pair.shape[0]):
            v, u = state.pair[p]
            other = u if v == joined else v
            if (v == joined or u == joined) and state.seen[other] == 1:
                beta = out.phase[j, other] - c - b
                state.pair_sum[p] = JOIN_WEIGHT * (-beta if v == joined else beta)
                state.pair_weight[p] = JOIN_WEIGHT
                out.step[j, p] = state.pair_sum[p] / state.pair_weight[p]
        state.offset[0] = c + b / (seen + 1)
    state.seen[joined] = 1


@njit(**NJIT)
def phase(
    first: int, n: int, ts_ns: I64, aligned: Aligned, params: PhaseParams, state: PhaseState, out: Phased
) -> None:
    """Fill ``out`` for events [first, first + n) and move ``state`` on."""
    width = state.x.size
    pairs = state.pair.shape[0]
    streams = state.pair[-1, 1] + 1 if pairs > 0 else 1
    if pairs > 0:
        _pair_gains(first, n, ts_ns, aligned, params, state, out)
    start = 0
    done = 0
    unseen = False
    for v in range(streams):
        unseen = unseen or state.seen[v] == 0
    if unseen:
        for j in range(n):
            for v in range(streams):
                if state.seen[v] == 0 and aligned.bad[j, v] == 0:
                    _pair_means(done, j + 1, state, out)
                    done = j + 1
                    _phases(start, j, state, out)
                    start = j
                    _join(v, j, ts_ns[first + j], params.stale_ns, aligned, state, out)
    _pair_means(done, n, state, out)
    _phases(start, n, state, out)
    _look_back(first, n, ts_ns, params, state, out)

    strong, k0, stale_ns = min(2.0 * params.k0, params.k_max), params.k0, params.stale_ns
    for j in range(n):
        for k in range(j * width, (j + 1) * width, LANES):
            phi, past = load(out.phase, k), load(out.past, k)
            moved = phi - past
            moved = where(moved == moved, moved, 0.0)
            drift = abs(moved) / max(abs(past), 1.0)
            drift = where(drift == drift, drift, 0.0)
            critical, drifting = drift >= params.critical_at, drift >= params.drifting_at
            store(out.drift, k, drift)
            store(out.status, k, where(critical, splat(2), where(drifting, splat(1), 0)))
            store(out.compensated, k, phi + where(critical, splat(strong), where(drifting, splat(k0), 0.0)) * moved)
            bad, stale = load(aligned.bad, k), ts_ns[first + j] - load(aligned.last_ns, k) > stale_ns
            store(out.route, k, where(bad != 0, bad, where(stale, splat(STALE), where(critical, splat(DRIFTING), 0))))
    for g in range(0, width, LANES):
        k = (n - 1) * width + g
        store(state.phi, g, load(out.phase, k))
        store(state.x, g, load(aligned.x, k))
        store(state.last_ns, g, load(aligned.last_ns, k))
        store(state.bad, g, load(aligned.bad, k))


@njit(**NJIT)
def _look_back(first: int, n: int, ts_ns: I64, params: PhaseParams, state: PhaseState, out: Phased) -> None:
    """Keep the phases at grid times, and leave those one window ago in ``out.past``."""
    width, ring = state.x.size, state.ring
    grid_ns = params.window_ns // RING
    if state.grid[0] == MISSING_NS:
        state.grid[0] = ts_ns[first] // grid_ns
        state.grid[1] = state.grid[0]
    newest = state.grid[0]
    next_grid = (newest + 1) * grid_ns
    have_past = newest - RING > state.grid[1]
    row = (newest - RING) % (RING + 1) * width
    for j in range(n):
        t = ts_ns[first + j]
        if t >= next_grid:
            before = newest
            newest = t // grid_ns
            for k in range(max(before + 1, newest - RING), newest + 1):
                for g in range(0, width, LANES):
                    then = load(out.phase, (j - 1) * width + g) if j > 0 else load(state.phi, g)
                    store(ring, k % (RING + 1) * width + g, then)
            next_grid = (newest + 1) * grid_ns
            have_past = newest - RING > state.grid[1]
            row = (newest - RING) % (RING + 1) * width
        for g in range(0, width, LANES):
            store(out.past, j * width + g, load(ring, row + g) if have_past else splat(np.nan))
    state.grid[0] = newest
