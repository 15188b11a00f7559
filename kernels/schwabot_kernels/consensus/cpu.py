"""Weighted consensus price of all streams, in two stages. N events, V streams.

Stage 1 weights each stream by ln(1 + relative depth) exp(-lambda age) max(0, 1 - latency / latency_max); stage 2
multiplies by the decayed inverse variance of what the stage-1 ghost, read one horizon later, says the stream got wrong.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.align.cpu import Aligned
from schwabot_kernels.arrays import F64, I8, I32, I64
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


def empty_state(streams: int, capacity: int = 16384) -> ConsensusState:
    """State before the first event."""
    return ConsensusState(
        depth=np.array([0.0, 0.0, np.nan]),
        error_sum=np.zeros(streams),
        error_count=np.zeros(streams),
        ghost=np.array([np.nan]),
        head=np.zeros(2, np.int64),
        due_ns=np.empty(capacity, np.int64),
        due_stream=np.empty(capacity, np.int32),
        due_value=np.empty(capacity),
    )


@njit(**NJIT)
def consensus(
    ts_ns: I64,
    stream: I32,
    kind: I8,
    aligned: Aligned,
    phased: Phased,
    params: ConsensusParams,
    state: ConsensusState,
    ghost: F64,
) -> None:
    """Fill ``ghost`` [N], NaN where every stream is routed out, and move ``state`` on. The ring must have N free places."""
    events, streams = aligned.x.shape
    mask = state.due_ns.size - 1
    weight = np.empty((events, streams))
    forget = np.empty(events)
    relative = np.empty(events)
    for i in range(events):
        forget[i] = exp_neg(-aligned.dt_s[i] / params.tau_reliability_s)
    for i in range(events):
        # Cross-stream mean depth: constant between events, so exact in physical time.
        a = exp_neg(-aligned.dt_s[i] / params.tau_depth_s)
        if state.depth[2] == state.depth[2]:
            state.depth[0] = a * state.depth[0] + (1.0 - a) * state.depth[2]
            state.depth[1] = a * state.depth[1] + (1.0 - a)
        total = 0.0
        count = 0
        for v in range(streams):
            depth = aligned.depth[i, v]
            if depth == depth:
                total += depth
                count += 1
        if count > 0:
            state.depth[2] = total / count
        relative[i] = state.depth[0] / state.depth[1] if state.depth[1] > 0.0 else state.depth[2]
    for i in range(events):
        for v in range(streams):
            depth = aligned.depth[i, v] / relative[i]
            depth = depth if depth == depth else 1.0
            age_s = float(ts_ns[i] - aligned.last_ns[i, v]) * 1e-9
            w = log_pos(1.0 + depth) * exp_neg(-params.age_decay_per_s * age_s) * aligned.latency_weight[i, v]
            weight[i, v] = w if phased.route[i, v] == 0 else 0.0

    prior_sum = params.prior_count * params.prior_variance_bp2
    for i in range(events):
        t = ts_ns[i]
        top = 0.0
        bottom = 0.0
        for v in range(streams):
            w = weight[i, v]
            if w > 0.0:
                top += w * (aligned.x[i, v] - phased.compensated[i, v])
                bottom += w
        first = top / bottom if bottom > 0.0 else np.nan

        for v in range(streams):
            state.error_sum[v] *= forget[i]
            state.error_count[v] *= forget[i]
        while state.head[0] < state.head[1]:
            slot = state.head[0] & mask
            due = state.due_ns[slot]
            if due > t:
                break
            then = first if due == t else state.ghost[0]
            if then == then:
                error = state.due_value[slot] - then
                u = state.due_stream[slot]
                state.error_sum[u] += error * error
                state.error_count[u] += 1.0
            state.head[0] += 1
        state.ghost[0] = first

        top = 0.0
        bottom = 0.0
        for v in range(streams):
            w = weight[i, v]
            if w > 0.0:
                w *= (state.error_count[v] + params.prior_count) / (state.error_sum[v] + prior_sum)
                top += w * (aligned.x[i, v] - phased.compensated[i, v])
                bottom += w
        ghost[i] = top / bottom if bottom > 0.0 else np.nan

        u = stream[i]
        if kind[i] == 0 and phased.route[i, u] == 0:
            slot = state.head[1] & mask
            state.due_ns[slot] = t + params.horizon_ns
            state.due_stream[slot] = u
            state.due_value[slot] = aligned.x[i, u] - phased.phase[i, u]
            state.head[1] += 1
