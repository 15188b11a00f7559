"""Phase of every stream against the others, its drift, and routing. N events, V streams.

Between two events the as-of prices are constant, so the decayed mean of x_v - x_u is exact in physical time:

    S <- a S + (1 - a) (x_v - x_u),   W <- a W + (1 - a),   a = exp(-dt / tau),   beta_vu = S / W

while both streams are valid over the whole gap, else frozen.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.align.cpu import Aligned
from schwabot_kernels.arrays import F64, I8, I64
from schwabot_kernels.scalar import MISSING_NS, NJIT, exp_neg

RING = 64
"""Grid points per drift window."""


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
    """Pair sums (upper triangle used), the ring of past phases and the row before.

    pair_sum, pair_weight: S and W. [V, V]
    ring: phase at the last 65 grid times, slot = grid index mod 65. [65, V]
    grid: [index of the newest grid time, index of the first one], MISSING before the first event.
    offset: the constant c. [1]
    seen: 1 once a stream has quoted. [V]
    phi, x, last_ns, bad: the row before. [V]
    clock: time of the event before. [1]
    """

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
    clock: I64


class Phased(NamedTuple):
    """phase phi and compensated phase, bp; drift; status; route. [N, V]. NaN phase = unseen."""

    phase: F64
    compensated: F64
    drift: F64
    status: I8
    route: I8


def empty_state(streams: int) -> PhaseState:
    """State before the first event."""
    return PhaseState(
        pair_sum=np.zeros((streams, streams)),
        pair_weight=np.zeros((streams, streams)),
        ring=np.full((RING + 1, streams), np.nan),
        grid=np.full(2, MISSING_NS, np.int64),
        offset=np.zeros(1),
        seen=np.zeros(streams, np.int8),
        phi=np.full(streams, np.nan),
        x=np.full(streams, np.nan),
        last_ns=np.full(streams, MISSING_NS, np.int64),
        bad=np.ones(streams, np.int8),
        clock=np.full(1, MISSING_NS, np.int64),
    )


def empty_output(events: int, streams: int) -> Phased:
    """Uninitialised output for N events."""
    shape = (events, streams)
    return Phased(
        np.empty(shape), np.empty(shape), np.empty(shape), np.empty(shape, np.int8), np.empty(shape, np.int8)
    )


@njit(inline="always", **NJIT)
def _mean_phase(state: PhaseState, x: F64, i: int, phi: F64) -> int:
    """phi_v = mean over seen u of beta_vu (without the constant) at row i; returns the number of streams seen."""
    streams = phi.size
    seen = 0
    for v in range(streams):
        phi[v] = 0.0
        seen += state.seen[v]
    for v in range(streams):
        for u in range(v + 1, streams):
            if state.seen[v] == 1 and state.seen[u] == 1:
                weight = state.pair_weight[v, u]
                beta = state.pair_sum[v, u] / weight if weight > 0.0 else x[i, v] - x[i, u]
                phi[v] += beta
                phi[u] -= beta
    for v in range(streams):
        phi[v] = phi[v] / seen if state.seen[v] == 1 else np.nan
    return seen


@njit(**NJIT)
def phase(ts_ns: I64, aligned: Aligned, params: PhaseParams, state: PhaseState, out: Phased) -> None:
    """Fill ``out`` and move ``state`` on by N events."""
    events, streams = aligned.x.shape
    grid_ns = params.window_ns // RING
    phi = np.empty(streams)
    keep = np.empty(events)
    for i in range(events):
        keep[i] = exp_neg(-aligned.dt_s[i] / params.tau_s)
    next_grid = MISSING_NS if state.grid[0] == MISSING_NS else (state.grid[0] + 1) * grid_ns
    for i in range(events):
        t = ts_ns[i]
        if state.grid[0] == MISSING_NS:
            state.grid[0] = t // grid_ns
            state.grid[1] = state.grid[0]
            next_grid = (state.grid[0] + 1) * grid_ns
        elif t >= next_grid:
            newest = t // grid_ns
            first = max(state.grid[0] + 1, newest - RING)
            for k in range(first, newest + 1):
                for v in range(streams):
                    state.ring[k % (RING + 1), v] = state.phi[v]
            state.grid[0] = newest
            next_grid = (newest + 1) * grid_ns

        a = keep[i]
        if a < 1.0:
            for v in range(streams):
                if state.bad[v] != 0 or t - state.last_ns[v] > params.stale_ns:
                    continue
                for u in range(v + 1, streams):
                    if state.bad[u] != 0 or t - state.last_ns[u] > params.stale_ns:
                        continue
                    state.pair_sum[v, u] = a * state.pair_sum[v, u] + (1.0 - a) * (state.x[v] - state.x[u])
                    state.pair_weight[v, u] = a * state.pair_weight[v, u] + (1.0 - a)

        joined = -1
        for v in range(streams):
            if state.seen[v] == 0 and aligned.bad[i, v] == 0:
                joined = v
        if joined >= 0:
            # Keep the mean phase of the streams seen before, so that the ghost stays where it is.
            before = 0.0
            count = _mean_phase(state, aligned.x, i, phi)
            for v in range(streams):
                if state.seen[v] == 1:
                    before += phi[v]
            state.seen[joined] = 1
            _mean_phase(state, aligned.x, i, phi)
            if count > 0:
                after = 0.0
                for v in range(streams):
                    if state.seen[v] == 1 and v != joined:
                        after += phi[v]
                state.offset[0] += (before - after) / count
        else:
            _mean_phase(state, aligned.x, i, phi)

        lag_index = state.grid[0] - RING
        lag_row = lag_index % (RING + 1)
        have_lag = lag_index > state.grid[1]
        for v in range(streams):
            value = phi[v] + state.offset[0]
            drift = 0.0
            status = 0
            shift = 0.0
            if have_lag:
                past = state.ring[lag_row, v]
                if past == past and value == value:
                    shift = value - past
                    drift = abs(shift) / max(abs(past), 1.0)
                    if drift >= params.critical_at:
                        status = 2
                        shift = min(2.0 * params.k0, params.k_max) * shift
                    elif drift >= params.drifting_at:
                        status = 1
                        shift = params.k0 * shift
                    else:
                        shift = 0.0
            bad = aligned.bad[i, v]
            if bad != 0:
                route = bad
            elif t - aligned.last_ns[i, v] > params.stale_ns:
                route = 2
            elif status == 2:
                route = 4
            else:
                route = 0
            out.phase[i, v] = value
            out.compensated[i, v] = value + shift
            out.drift[i, v] = drift
            out.status[i, v] = status
            out.route[i, v] = route
            state.phi[v] = value
            state.x[v] = aligned.x[i, v]
            state.last_ns[v] = aligned.last_ns[i, v]
            state.bad[v] = bad
        state.clock[0] = t
