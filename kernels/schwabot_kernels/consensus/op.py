"""``schwabot::consensus``: the weighted ghost price as a torch op. N events, V streams."""

from __future__ import annotations

import torch
from numba import njit

from schwabot_kernels.align.cpu import BLOCK, Aligned
from schwabot_kernels.align.cpu import scratch as align_scratch
from schwabot_kernels.arrays import F64, I8, I32, I64
from schwabot_kernels.blocks import load, load_all
from schwabot_kernels.checking import array, own_copy, stream_numbers, times
from schwabot_kernels.consensus.cpu import ConsensusParams, ConsensusState, Weighed, empty_state, scratch
from schwabot_kernels.consensus.cpu import consensus as consensus_block
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.phase.cpu import scratch as phase_scratch
from schwabot_kernels.rings import fake_state, grown
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.tree import leaves


@njit(**NJIT)
def _pass(
    start: int,
    ts_ns: I64,
    stream: I32,
    kind: I8,
    last_ns: I64,
    x: F64,
    depth: F64,
    latency_weight: F64,
    dt_s: F64,
    phase: F64,
    compensated: F64,
    route: I8,
    quoted: I8,
    params: ConsensusParams,
    state: ConsensusState,
    aligned: Aligned,
    phased: Phased,
    work: Weighed,
    block: F64,
    ghost: F64,
) -> int:
    """Returns the event it stopped at: N, or where the ring is full."""
    total = ts_ns.size
    for first in range(start, total, BLOCK):
        n = min(BLOCK, total - first)
        if state.due_ns.size - (state.head[1] - state.head[0]) < n:
            return first
        for j in range(n):
            v = stream[first + j]
            trade = kind[first + j] == 1 and quoted[v] == 0
            aligned.pricing[j] = v if kind[first + j] == 0 or trade else -1
        load_all(last_ns, first, n, aligned.last_ns)
        load_all(x, first, n, aligned.x)
        load_all(depth, first, n, aligned.depth)
        load_all(latency_weight, first, n, aligned.latency_weight)
        load(dt_s, first, n, aligned.dt_s)
        load_all(phase, first, n, phased.phase)
        load_all(compensated, first, n, phased.compensated)
        load_all(route, first, n, phased.route)
        consensus_block(first, n, ts_ns, aligned, phased, params, state, work, block)
        for j in range(n):
            ghost[first + j] = block[j]
    return total


@torch.library.custom_op("schwabot::consensus", mutates_args=())
def consensus(
    ts_ns: torch.Tensor,
    stream: torch.Tensor,
    kind: torch.Tensor,
    last_ns: torch.Tensor,
    x: torch.Tensor,
    depth: torch.Tensor,
    latency_weight: torch.Tensor,
    dt_s: torch.Tensor,
    phase: torch.Tensor,
    compensated: torch.Tensor,
    route: torch.Tensor,
    quoted: torch.Tensor,
    age_decay_per_s: float,
    tau_depth_s: float,
    tau_reliability_s: float,
    horizon_ns: int,
    prior_variance_bp2: float,
    prior_count: float,
    state: list[torch.Tensor],
) -> list[torch.Tensor]:
    """Weighted consensus price of all streams, in two stages.

    Args:
        ts_ns, stream, kind: of the events. int64, int32, int8 [N]
        last_ns: time of each stream's last quote. int64 [V, N]
        x, depth, latency_weight: see the align op. float64 [V, N]
        dt_s: time since the event before. float64 [N]
        phase, compensated: bp. float64 [V, N]
        route: 0 = takes part. int8 [V, N]
        quoted: 1 where the stream has quotes; where not, its trades are its prices. int8 [V]
        age_decay_per_s, tau_depth_s, tau_reliability_s, horizon_ns, prior_variance_bp2, prior_count: see
            ``consensus.cpu.ConsensusParams``.
        state: ``consensus.cpu.ConsensusState``, as by ``tree.leaves``.

    Returns:
        The ghost price in bp, NaN where every stream is routed out [N], then the state after the last event.

    Raises:
        ValueError: wrong device, shape, stream number or order of times.
        TypeError: wrong dtype.
    """
    streams, events = x.shape
    params = ConsensusParams(
        age_decay_per_s, tau_depth_s, tau_reliability_s, horizon_ns, prior_variance_bp2, prior_count
    )
    parts = own_copy("consensus", empty_state(streams, capacity=1), state)
    given = (
        times(ts_ns),
        stream_numbers(stream, events, streams),
        array("kind", kind, torch.int8, (events,)),
        array("last_ns", last_ns, torch.int64, x.shape),
        array("x", x, torch.float64, x.shape),
        array("depth", depth, torch.float64, x.shape),
        array("latency_weight", latency_weight, torch.float64, x.shape),
        array("dt_s", dt_s, torch.float64, (events,)),
        array("phase", phase, torch.float64, x.shape),
        array("compensated", compensated, torch.float64, x.shape),
        array("route", route, torch.int8, x.shape),
        array("quoted", quoted, torch.int8, (streams,)),
    )
    work = (align_scratch(streams), phase_scratch(streams), scratch(streams), x.new_empty(BLOCK).numpy())
    ghost = x.new_empty(events)
    row = 0
    while row < events:
        parts = grown("consensus", parts, BLOCK)
        row = _pass(row, *given, params, parts, *work, ghost.numpy())
    return [ghost, *leaves(parts)]


@consensus.register_fake
def _(  # type: ignore[no-untyped-def]
    ts_ns, stream, kind, last_ns, x, depth, latency_weight, dt_s, phase, compensated, route, quoted, age_decay_per_s,
    tau_depth_s, tau_reliability_s, horizon_ns, prior_variance_bp2, prior_count, state,
):  # fmt: skip
    return [x.new_empty(x.shape[1]), *fake_state("consensus", ConsensusState._fields, state)]
