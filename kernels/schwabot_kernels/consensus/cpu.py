"""Weighted consensus price of all streams, in two stages. V streams, n events of one block.

Stage 1 weights each stream by ln(1 + relative depth) exp(-lambda age) max(0, 1 - latency / latency_max); stage 2
multiplies by the decayed inverse variance of what the stage-1 ghost, read one horizon later, says the stream got wrong.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.align.cpu import BLOCK, Aligned
from schwabot_kernels.arrays import F64, I32, I64, aligned_zeros
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.scalar import NJIT, exp_neg, log_pos


class ConsensusParams(NamedTuple):
    """Settings; see schwabot.modules.settings.GhostBridgeConfig."""

    age_decay_per_s: float
    tau_depth_s: float
    tau_reliability_s: float
    horizon_ns: int
    prior_variance_bp2: float
    prior_count: float


class ConsensusState(NamedTuple):
    """Decayed sums and the outcomes still to come.

    depth: [decayed sum, decayed weight] of the cross-stream mean depth and the mean now. [3]
    error_sum, error_count: decayed sum of squared errors and their number. [V]
    ghost: stage-1 ghost of the event before. [1]
    head: of the ring. [2]
    due_ns, due_stream, due_value: ring of x - phi waiting for the ghost one horizon later. [capacity]
    """

    depth: F64
    error_sum: F64
    error_count: F64
    ghost: F64
    head: I64
    due_ns: I64
    due_stream: I32
    due_value: F64


class Weighed(NamedTuple):
    """Scratch of a block: weight, error_sum, error_count [V, BLOCK]; ghost1, top, bottom, forget, typical [BLOCK]."""

    weight: F64
    error_sum: F64
    error_count: F64
    ghost1: F64
    top: F64
    bottom: F64
    forget: F64
    typical: F64


def empty_state(streams: int, capacity: int = 4096) -> ConsensusState:
    """State before the first event."""
    return ConsensusState(
        depth=np.array([0.0, 0.0, np.nan]),
        error_sum=np.zeros(streams),
        error_count=np.zeros(streams),
        ghost=np.array([np.nan]),
        head=np.zeros(2, np.int64),
        due_ns=np.zeros(capacity, np.int64),
        due_stream=np.zeros(capacity, np.int32),
        due_value=np.zeros(capacity),
    )


def scratch(streams: int) -> Weighed:
    """Uninitialised block."""
    return Weighed(*(aligned_zeros((streams, BLOCK)) for _ in range(3)), *(aligned_zeros((BLOCK,)) for _ in range(5)))


@njit(**NJIT)
def _typical_depth(
    n: int, aligned: Aligned, phased: Phased, tau_s: float, state: ConsensusState, work: Weighed
) -> None:
    """Decayed mean over time of the mean depth over the streams that take part, left in ``work.typical``."""
    total, count, keep, typical = work.top, work.bottom, work.forget, work.typical
    dt_s = aligned.dt_s
    for j in range(n):
        keep[j] = exp_neg(-dt_s[j] / tau_s)
        total[j] = 0.0
        count[j] = 0.0
    for v in range(aligned.depth.shape[0]):
        depth, way = aligned.depth[v], phased.route[v]
        for j in range(n):
            known = depth[j] == depth[j] and way[j] == 0
            total[j] += depth[j] if known else 0.0
            count[j] += 1.0 if known else 0.0
    for j in range(n):
        total[j] = total[j] / count[j]
    decayed, weight, now = state.depth[0], state.depth[1], state.depth[2]
    for j in range(n):
        # The depth now held until the next event, so the mean is exact in physical time.
        a = keep[j] if now == now else 1.0
        b = 1.0 - a
        decayed = a * decayed + (b * now if now == now else 0.0)
        weight = a * weight + b
        now = total[j] if count[j] > 0.0 else now
        typical[j] = decayed / weight if weight > 0.0 else now
    state.depth[0], state.depth[1], state.depth[2] = decayed, weight, now


@njit(**NJIT)
def consensus(
    first: int,
    n: int,
    ts_ns: I64,
    stream: I32,
    aligned: Aligned,
    phased: Phased,
    params: ConsensusParams,
    state: ConsensusState,
    work: Weighed,
    ghost: F64,
) -> None:
    """Fill ``ghost`` [n] for events [first, first + n), NaN where every stream is routed out, and move ``state`` on.

    The ring must have n free places.
    """
    streams = aligned.x.shape[0]
    _typical_depth(n, aligned, phased, params.tau_depth_s, state, work)
    ghost1, top, bottom, forget, typical = work.ghost1, work.top, work.bottom, work.forget, work.typical
    dt_s = aligned.dt_s
    for j in range(n):
        forget[j] = exp_neg(-dt_s[j] / params.tau_reliability_s)
        top[j] = 0.0
        bottom[j] = 0.0
    for v in range(streams):
        depth, last, latency = aligned.depth[v], aligned.last_ns[v], aligned.latency_weight[v]
        price, compensated, way, weight = aligned.x[v], phased.compensated[v], phased.route[v], work.weight[v]
        for j in range(n):
            relative = depth[j] / typical[j]
            relative = relative if relative == relative else 1.0
            age_s = float(ts_ns[first + j] - last[j]) * 1e-9
            w = log_pos(1.0 + relative) * exp_neg(-params.age_decay_per_s * age_s) * latency[j]
            w = w if way[j] == 0 else 0.0
            weight[j] = w
            top[j] += w * (price[j] - compensated[j]) if w > 0.0 else 0.0
            bottom[j] += w
    for j in range(n):
        ghost1[j] = top[j] / bottom[j] if bottom[j] > 0.0 else np.nan

    mask = state.due_ns.size - 1
    head, due_ns, due_stream, due_value = state.head, state.due_ns, state.due_stream, state.due_value
    error_sum, error_count = state.error_sum, state.error_count
    sums, counts, route, x, phi = work.error_sum, work.error_count, phased.route, aligned.x, phased.phase
    update = aligned.update
    read, write = head[0], head[1]
    next_due = due_ns[read & mask] if read < write else np.int64(2**63 - 1)
    for j in range(n):
        t = ts_ns[first + j]
        a = forget[j]
        for v in range(streams):
            error_sum[v] *= a
            error_count[v] *= a
        while next_due <= t:
            then = ghost1[j] if next_due == t else (ghost1[j - 1] if j > 0 else state.ghost[0])
            if then == then:
                error = due_value[read & mask] - then
                u = due_stream[read & mask]
                error_sum[u] += error * error
                error_count[u] += 1.0
            read += 1
            next_due = due_ns[read & mask] if read < write else np.int64(2**63 - 1)
        for v in range(streams):
            sums[v, j] = error_sum[v]
            counts[v, j] = error_count[v]
        u = stream[first + j]
        if update[j] == 1 and route[u, j] == 0:
            slot = write & mask
            due_ns[slot] = t + params.horizon_ns
            due_stream[slot] = u
            due_value[slot] = x[u, j] - phi[u, j]
            if read == write:
                next_due = due_ns[slot]
            write += 1
    head[0], head[1] = read, write
    state.ghost[0] = ghost1[n - 1]

    prior_sum = params.prior_count * params.prior_variance_bp2
    for j in range(n):
        top[j] = 0.0
        bottom[j] = 0.0
    for v in range(streams):
        price, compensated, weight = aligned.x[v], phased.compensated[v], work.weight[v]
        errors, count = work.error_sum[v], work.error_count[v]
        for j in range(n):
            w = weight[j] * (count[j] + params.prior_count) / (errors[j] + prior_sum)
            top[j] += w * (price[j] - compensated[j]) if w > 0.0 else 0.0
            bottom[j] += w
    for j in range(n):
        ghost[j] = top[j] / bottom[j] if bottom[j] > 0.0 else np.nan
