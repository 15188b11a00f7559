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
from schwabot_kernels.blocks import decays
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.scalar import NJIT, exp_neg, log_pos
from schwabot_kernels.simd import LANES, as_doubles, count_lanes, lanes_from, load, padded, store, total, where


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
    error_sum, error_count: decayed sum of squared errors and their number. [W]
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
    """Scratch of a block: weight, error_sum, error_count [BLOCK, W]; ghost1, top, bottom, forget, typical [BLOCK]."""

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
    width = padded(streams)
    return ConsensusState(
        depth=np.array([0.0, 0.0, np.nan]),
        error_sum=np.zeros(width),
        error_count=np.zeros(width),
        ghost=np.array([np.nan]),
        head=np.zeros(2, np.int64),
        due_ns=np.zeros(capacity, np.int64),
        due_stream=np.zeros(capacity, np.int32),
        due_value=np.zeros(capacity),
    )


def scratch(streams: int) -> Weighed:
    """An empty block."""
    rows = (aligned_zeros((BLOCK, padded(streams))) for _ in range(3))
    return Weighed(*rows, *(aligned_zeros((BLOCK,)) for _ in range(5)))


@njit(**NJIT)
def _typical_depth(
    n: int, aligned: Aligned, phased: Phased, tau_s: float, state: ConsensusState, work: Weighed
) -> None:
    """Decayed mean over time of the mean depth over the streams that take part, left in ``work.typical``."""
    mean, keep, typical = work.top, work.forget, work.typical
    width = aligned.x.shape[1]
    decays(n, aligned.dt_s, tau_s, keep)
    for j in range(n):
        depths = 0.0
        known = 0
        for k in range(j * width, (j + 1) * width, LANES):
            depth = load(aligned.depth, k)
            use = (depth == depth) & (load(phased.route, k) == 0)
            depths += total(where(use, depth, 0.0))
            known += count_lanes(use)
        mean[j] = depths / known
    decayed, weight, now = state.depth[0], state.depth[1], state.depth[2]
    for j in range(n):
        # The depth now held until the next event, so the mean is exact in physical time.
        a = keep[j] if now == now else 1.0
        b = 1.0 - a
        decayed = a * decayed + (b * now if now == now else 0.0)
        weight = a * weight + b
        now = mean[j] if mean[j] == mean[j] else now
        typical[j] = decayed / weight if weight > 0.0 else now
    state.depth[0], state.depth[1], state.depth[2] = decayed, weight, now


@njit(**NJIT)
def _weighted_mean(n: int, aligned: Aligned, phased: Phased, work: Weighed, mean: F64) -> None:
    """Mean over the streams of x - compensated phase by ``work.weight``, [n]; NaN where nothing weighs."""
    width = aligned.x.shape[1]
    for j in range(n):
        top = bottom = 0.0
        for k in range(j * width, (j + 1) * width, LANES):
            w = load(work.weight, k)
            top += total(where(w > 0.0, w * (load(aligned.x, k) - load(phased.compensated, k)), 0.0))
            bottom += total(where(w > 0.0, w, 0.0))
        work.top[j] = top
        work.bottom[j] = bottom
    for j in range(0, n, LANES):
        weight = load(work.bottom, j)
        store(mean, j, where(weight > 0.0, load(work.top, j) / weight, np.nan))


@njit(**NJIT)
def _stage_1(
    first: int,
    n: int,
    ts_ns: I64,
    aligned: Aligned,
    phased: Phased,
    params: ConsensusParams,
    work: Weighed,
) -> None:
    """Fill ``work.weight`` and ``work.ghost1``."""
    width, typical, rate = aligned.x.shape[1], work.typical, params.age_decay_per_s
    for j in range(n):
        for k in range(j * width, (j + 1) * width, LANES):
            relative = load(aligned.depth, k) / typical[j]
            relative = where(relative == relative, relative, 1.0)
            age_s = as_doubles(ts_ns[first + j] - load(aligned.last_ns, k)) * 1e-9
            w = log_pos(1.0 + relative) * exp_neg(-rate * age_s) * load(aligned.latency_weight, k)
            store(work.weight, k, where(load(phased.route, k) == 0, w, 0.0))
    _weighted_mean(n, aligned, phased, work, work.ghost1)


@njit(**NJIT)
def _reliability(
    first: int,
    n: int,
    ts_ns: I64,
    aligned: Aligned,
    phased: Phased,
    params: ConsensusParams,
    state: ConsensusState,
    work: Weighed,
) -> None:
    """Decayed sums of squared errors and their number after each event; row j is made from row j - 1."""
    decays(n, aligned.dt_s, params.tau_reliability_s, work.forget)
    width, ghost1, forget, pricing = aligned.x.shape[1], work.ghost1, work.forget, aligned.pricing
    sums, counts = work.error_sum, work.error_count
    mask = state.due_ns.size - 1
    head, due_ns, due_stream, due_value = state.head, state.due_ns, state.due_stream, state.due_value
    read, write = head[0], head[1]
    next_due = due_ns[read & mask] if read < write else np.int64(2**63 - 1)
    for j in range(n):
        t = ts_ns[first + j]
        row = j * width
        for g in range(0, width, LANES):
            store(sums, row + g, (load(sums, row + g - width) if j > 0 else load(state.error_sum, g)) * forget[j])
            store(counts, row + g, (load(counts, row + g - width) if j > 0 else load(state.error_count, g)) * forget[j])
        while next_due <= t:
            then = ghost1[j] if next_due == t else (ghost1[j - 1] if j > 0 else state.ghost[0])
            if then == then:
                error = due_value[read & mask] - then
                u = np.int64(due_stream[read & mask])
                for g in range(0, width, LANES):
                    whose = lanes_from(g) == u
                    store(sums, row + g, where(whose, load(sums, row + g) + error * error, load(sums, row + g)))
                    store(counts, row + g, where(whose, load(counts, row + g) + 1.0, load(counts, row + g)))
            read += 1
            next_due = due_ns[read & mask] if read < write else np.int64(2**63 - 1)
        u = pricing[j]
        if u >= 0 and phased.route[j, u] == 0:
            slot = write & mask
            due_ns[slot] = t + params.horizon_ns
            due_stream[slot] = u
            due_value[slot] = aligned.x[j, u] - phased.phase[j, u]
            if read == write:
                next_due = due_ns[slot]
            write += 1
    head[0], head[1] = read, write
    state.ghost[0] = ghost1[n - 1]
    for g in range(0, width, LANES):
        store(state.error_sum, g, load(sums, (n - 1) * width + g))
        store(state.error_count, g, load(counts, (n - 1) * width + g))


@njit(**NJIT)
def consensus(
    first: int,
    n: int,
    ts_ns: I64,
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
    _typical_depth(n, aligned, phased, params.tau_depth_s, state, work)
    _stage_1(first, n, ts_ns, aligned, phased, params, work)
    _reliability(first, n, ts_ns, aligned, phased, params, state, work)
    prior_count = params.prior_count
    prior_sum = prior_count * params.prior_variance_bp2
    for k in range(0, n * aligned.x.shape[1], LANES):
        reliability = (load(work.error_count, k) + prior_count) / (load(work.error_sum, k) + prior_sum)
        store(work.weight, k, load(work.weight, k) * reliability)
    _weighted_mean(n, aligned, phased, work, ghost)
