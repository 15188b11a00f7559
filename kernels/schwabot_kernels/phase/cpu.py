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

from schwabot_kernels.align.cpu import BLOCK, Aligned
from schwabot_kernels.arrays import F64, I8, I32, I64, aligned_zeros
from schwabot_kernels.scalar import MISSING_NS, NJIT, exp_neg

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

    pair: streams of each pair. [P, 2]; pair_sum, pair_weight: S and W, 0 until both have joined. [P]
    ring: phase at the last 65 grid times, slot = grid index mod 65. [65, V]
    grid: [index of the newest grid time, index of the first one], MISSING before the first event.
    offset: the constant c. [1]
    seen: 1 once a stream has quoted. [V]
    phi, x, last_ns, bad: the row before. [V]
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
    """phase phi and compensated phase, bp; drift; status; route. [V, BLOCK]. NaN phase = unseen.

    past: phase one window ago, NaN unknown. [V, BLOCK]; gain, step: g and g (x_v - x_u), then W and S. [P, BLOCK]
    valid: 1.0 where the stream was valid over the gap before the event. [V, BLOCK]; forget: 1 - exp(-dt/tau). [BLOCK]
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
    forget: F64


def empty_state(streams: int) -> PhaseState:
    """State before the first event."""
    pair = [(v, u) for v in range(streams) for u in range(v + 1, streams)]
    return PhaseState(
        pair=np.array(pair, np.int32).reshape(len(pair), 2),
        pair_sum=np.zeros(len(pair)),
        pair_weight=np.zeros(len(pair)),
        ring=np.full((RING + 1, streams), np.nan),
        grid=np.full(2, MISSING_NS, np.int64),
        offset=np.zeros(1),
        seen=np.zeros(streams, np.int8),
        phi=np.full(streams, np.nan),
        x=np.full(streams, np.nan),
        last_ns=np.full(streams, MISSING_NS, np.int64),
        bad=np.ones(streams, np.int8),
    )


def scratch(streams: int) -> Phased:
    """Uninitialised block."""
    shape = (streams, BLOCK)
    pairs = (streams * (streams - 1) // 2, BLOCK)
    return Phased(
        phase=aligned_zeros(shape),
        compensated=aligned_zeros(shape),
        drift=aligned_zeros(shape),
        status=aligned_zeros(shape, np.int8),
        route=aligned_zeros(shape, np.int8),
        past=aligned_zeros(shape),
        gain=aligned_zeros(pairs),
        step=aligned_zeros(pairs),
        valid=aligned_zeros(shape),
        forget=aligned_zeros((BLOCK,)),
    )


@njit(**NJIT)
def _pair_gains(
    first: int, n: int, ts_ns: I64, aligned: Aligned, params: PhaseParams, state: PhaseState, out: Phased
) -> None:
    """g and g (x_v - x_u) of every pair at each event of the block, left in ``out.gain`` and ``out.step``."""
    streams = state.x.size
    pairs = state.pair_sum.size
    dt_s, forget = aligned.dt_s, out.forget
    for j in range(n):
        forget[j] = 1.0 - exp_neg(-dt_s[j] / params.tau_s)
    for v in range(streams):
        valid, bad, last = out.valid[v], aligned.bad[v], aligned.last_ns[v]
        valid[0] = 1.0 if state.bad[v] == 0 and ts_ns[first] - state.last_ns[v] <= params.stale_ns else 0.0
        for j in range(1, n):
            valid[j] = 1.0 if bad[j - 1] == 0 and ts_ns[first + j] - last[j - 1] <= params.stale_ns else 0.0
    for p in range(pairs):
        v, u = state.pair[p]
        x_v, x_u, valid_v, valid_u = aligned.x[v], aligned.x[u], out.valid[v], out.valid[u]
        gain, step = out.gain[p], out.step[p]
        gain[0] = forget[0] * valid_v[0] * valid_u[0]
        step[0] = gain[0] * (state.x[v] - state.x[u]) if gain[0] > 0.0 else 0.0
        for j in range(1, n):
            g = forget[j] * valid_v[j] * valid_u[j]
            change = g * (x_v[j - 1] - x_u[j - 1])
            gain[j] = g
            step[j] = change if g > 0.0 else 0.0


@njit(**NJIT)
def _pair_means(start: int, stop: int, state: PhaseState, out: Phased) -> None:
    """S and W of every pair after events [start, stop) of the block, left in ``out.step`` and ``out.gain``."""
    pair_sum, pair_weight = state.pair_sum, state.pair_weight
    all_gain, all_step = out.gain, out.step
    for j in range(start, stop):
        for p in range(pair_sum.size):
            g = all_gain[p, j]
            s = (1.0 - g) * pair_sum[p] + all_step[p, j]
            w = (1.0 - g) * pair_weight[p] + g
            pair_sum[p] = s
            pair_weight[p] = w
            all_step[p, j] = s
            all_gain[p, j] = w


@njit(**NJIT)
def _phases(start: int, stop: int, state: PhaseState, out: Phased) -> None:
    """phi_v = c + mean over seen u of beta_vu at events [start, stop) of the block."""
    seen = 0
    for v in range(state.x.size):
        seen += state.seen[v]
        phi = out.phase[v]
        for j in range(start, stop):
            phi[j] = 0.0
    for p in range(state.pair_sum.size):
        v, u = state.pair[p]
        if state.seen[v] == 0 or state.seen[u] == 0:
            continue
        s, w, phi_v, phi_u = out.step[p], out.gain[p], out.phase[v], out.phase[u]
        for j in range(start, stop):
            beta = s[j] / w[j]
            phi_v[j] += beta
            phi_u[j] -= beta
    for v in range(state.x.size):
        phi = out.phase[v]
        here = state.seen[v] == 1
        for j in range(start, stop):
            phi[j] = phi[j] / seen + state.offset[0] if here else np.nan


@njit(**NJIT)
def _join(joined: int, j: int, now_ns: int, stale_ns: int, aligned: Aligned, state: PhaseState, out: Phased) -> None:
    """Let a stream in at event j, where the pairs stand in ``out``: it agrees with the others, whose phases stay."""
    _phases(j, j + 1, state, out)
    seen = valid = 0
    total_seen = total_valid = 0.0
    for v in range(state.x.size):
        if state.seen[v] == 1:
            fair = aligned.x[v, j] - out.phase[v, j]
            seen += 1
            total_seen += fair
            if aligned.bad[v, j] == 0 and now_ns - aligned.last_ns[v, j] <= stale_ns:
                valid += 1
                total_valid += fair
    if seen > 0:
        # With nobody valid, the last known prices are all there is.
        mean = total_valid / valid if valid > 0 else total_seen / seen
        c = state.offset[0]
        b = aligned.x[joined, j] - mean - c
        for p in range(state.pair_sum.size):
            v, u = state.pair[p]
            other = u if v == joined else v
            if (v == joined or u == joined) and state.seen[other] == 1:
                beta = out.phase[other, j] - c - b
                state.pair_sum[p] = JOIN_WEIGHT * (-beta if v == joined else beta)
                state.pair_weight[p] = JOIN_WEIGHT
                out.step[p, j] = state.pair_sum[p]
                out.gain[p, j] = state.pair_weight[p]
        state.offset[0] = c + b / (seen + 1)
    state.seen[joined] = 1


@njit(**NJIT)
def phase(
    first: int, n: int, ts_ns: I64, aligned: Aligned, params: PhaseParams, state: PhaseState, out: Phased
) -> None:
    """Fill ``out`` for events [first, first + n) and move ``state`` on."""
    streams = state.x.size
    _pair_gains(first, n, ts_ns, aligned, params, state, out)
    start = 0
    done = 0
    unseen = False
    for v in range(streams):
        unseen = unseen or state.seen[v] == 0
    if unseen:
        for j in range(n):
            for v in range(streams):
                if state.seen[v] == 0 and aligned.bad[v, j] == 0:
                    _pair_means(done, j + 1, state, out)
                    done = j + 1
                    _phases(start, j, state, out)
                    start = j
                    _join(v, j, ts_ns[first + j], params.stale_ns, aligned, state, out)
    _pair_means(done, n, state, out)
    _phases(start, n, state, out)

    grid_ns = params.window_ns // RING
    if state.grid[0] == MISSING_NS:
        state.grid[0] = ts_ns[first] // grid_ns
        state.grid[1] = state.grid[0]
    newest = state.grid[0]
    next_grid = (newest + 1) * grid_ns
    ring = state.ring
    have_past = newest - RING > state.grid[1]
    row = (newest - RING) % (RING + 1)
    past_phase = out.past
    for j in range(n):
        t = ts_ns[first + j]
        if t >= next_grid:
            before = newest
            newest = t // grid_ns
            for k in range(max(before + 1, newest - RING), newest + 1):
                for v in range(streams):
                    ring[k % (RING + 1), v] = out.phase[v, j - 1] if j > 0 else state.phi[v]
            next_grid = (newest + 1) * grid_ns
            have_past = newest - RING > state.grid[1]
            row = (newest - RING) % (RING + 1)
        for v in range(streams):
            past_phase[v, j] = ring[row, v] if have_past else np.nan
    state.grid[0] = newest

    strong = min(2.0 * params.k0, params.k_max)
    for v in range(streams):
        phi, past, drift, status, compensated = (
            out.phase[v],
            out.past[v],
            out.drift[v],
            out.status[v],
            out.compensated[v],
        )
        for j in range(n):
            moved = phi[j] - past[j]
            moved = moved if moved == moved else 0.0
            ratio = abs(moved) / max(abs(past[j]), 1.0)
            ratio = ratio if ratio == ratio else 0.0
            critical = ratio >= params.critical_at
            drifting = ratio >= params.drifting_at
            ahead = strong if critical else (params.k0 if drifting else 0.0)
            drift[j] = ratio
            status[j] = np.int8(2) if critical else (np.int8(1) if drifting else np.int8(0))
            compensated[j] = phi[j] + ahead * moved
        bad, last, route = aligned.bad[v], aligned.last_ns[v], out.route[v]
        for j in range(n):
            stale = ts_ns[first + j] - last[j] > params.stale_ns
            way = np.int8(2) if stale else (np.int8(4) if status[j] == 2 else np.int8(0))
            route[j] = bad[j] if bad[j] != 0 else way
        state.phi[v] = phi[n - 1]
        state.x[v] = aligned.x[v, n - 1]
        state.last_ns[v] = last[n - 1]
        state.bad[v] = bad[n - 1]
