"""``schwabot::lag``: expected and realised cost of acting late as a torch op. N events, V streams, L latencies."""

from __future__ import annotations

import torch
from numba import njit

from schwabot_kernels.align.cpu import BLOCK, Aligned
from schwabot_kernels.align.cpu import scratch as align_scratch
from schwabot_kernels.arrays import F64, I8, I32, I64, aligned_zeros
from schwabot_kernels.blocks import load, load_all, store, wide
from schwabot_kernels.checking import array, own_copy, stream_numbers, times
from schwabot_kernels.lag.cpu import Desynced, LagParams, LagState, empty_state, expected_lag, realised_lag, scratch
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.phase.cpu import scratch as phase_scratch
from schwabot_kernels.rings import fake_state, grown
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.simd import padded
from schwabot_kernels.tree import leaves

COLUMNS = ("move", "expected", "penalty")
"""Outputs before the state."""


@njit(**NJIT)
def _pass(
    start: int,
    ts_ns: I64,
    stream: I32,
    x: F64,
    half: F64,
    dt_s: F64,
    route: I8,
    ghost: F64,
    deviation: F64,
    entropy: F64,
    mean: F64,
    echo: F64,
    predicted: F64,
    quoted: I8,
    latencies_ns: I64,
    params: LagParams,
    state: LagState,
    aligned: Aligned,
    phased: Phased,
    desynced: Desynced,
    deviation_block: F64,
    blocks: F64,
    move: F64,
    expected: F64,
    penalty: F64,
) -> int:
    """Returns the event it stopped at: N, or where the ring is full."""
    total = ts_ns.size
    streams = x.shape[0]
    ghost_block, entropy_block, mean_block, echo_block = blocks[0], blocks[1], blocks[2], blocks[3]
    width_block, move_block, expected_block, penalty_block = blocks[4], blocks[5], blocks[6], blocks[7]
    predicted_block = blocks[8]
    for first in range(start, total, BLOCK):
        n = min(BLOCK, total - first)
        if state.ts_ns.size - (state.head[1] - state.head[0]) < n * streams:
            return first
        load_all(x, first, n, aligned.x)
        load_all(half, first, n, aligned.half)
        load(dt_s, first, n, aligned.dt_s)
        load_all(route, first, n, phased.route)
        load_all(deviation, first, n, deviation_block)
        load(ghost, first, n, ghost_block)
        load(entropy, first, n, entropy_block)
        load(mean, first, n, mean_block)
        load(echo, first, n, echo_block)
        load(predicted, first, n, predicted_block)
        load(stream, first, n, aligned.stream)
        expected_lag(
            n,
            aligned,
            ghost_block,
            deviation_block,
            entropy_block,
            mean_block,
            echo_block,
            predicted_block,
            params,
            state,
            width_block,
            move_block,
            expected_block,
            penalty_block,
        )
        realised_lag(
            first,
            n,
            ts_ns,
            aligned,
            phased,
            deviation_block,
            quoted,
            entropy_block,
            mean_block,
            echo_block,
            predicted_block,
            width_block,
            latencies_ns,
            params,
            state,
            desynced,
        )
        store(move_block, first, n, move)
        store(expected_block, first, n, expected)
        store(penalty_block, first, n, penalty)
    return total


@torch.library.custom_op("schwabot::lag", mutates_args=())
def lag(
    ts_ns: torch.Tensor,
    stream: torch.Tensor,
    x: torch.Tensor,
    half: torch.Tensor,
    dt_s: torch.Tensor,
    route: torch.Tensor,
    ghost: torch.Tensor,
    deviation: torch.Tensor,
    entropy: torch.Tensor,
    mean: torch.Tensor,
    echo: torch.Tensor,
    predicted: torch.Tensor,
    quoted: torch.Tensor,
    latencies_ns: torch.Tensor,
    desync_bp: float,
    latency_share: float,
    tau_range_s: float,
    min_range_bp: float,
    horizon_ns: float,
    tau_curve_s: float,
    prior_decisions: float,
    state: list[torch.Tensor],
) -> list[torch.Tensor]:
    """What acting later costs: expected at every event; realised after each desync, in the state's ring.

    Args:
        ts_ns, stream: of the events. int64, int32 [N]
        x, half: log mid and half spread, bp. float64 [V, N]
        dt_s: time since the event before. float64 [N]
        route: 0 = takes part. int8 [V, N]
        ghost: fair price, bp. float64 [N]
        deviation: fair price of the stream minus its mid, bp. float64 [V, N]
        entropy, mean, echo: what the registry remembers; nats, bp, bp. float64 [N]
        predicted: the ghost's move a trained head expects, bp, 0 without one. float64 [N]
        quoted: 1 where a stream has a touch. int8 [V]
        latencies_ns: of the realised curve, increasing. int64 [L]
        desync_bp, latency_share, tau_range_s, min_range_bp, horizon_ns, tau_curve_s, prior_decisions: see
            ``lag.cpu.LagParams``.
        state: ``lag.cpu.LagState``, as by ``tree.leaves``.

    Returns:
        ``COLUMNS`` [N], then the state after the last event; its ring holds every decision not yet handed out.

    Raises:
        ValueError: wrong device, shape, stream number or order of times.
        TypeError: wrong dtype.
    """
    streams, events = x.shape
    params = LagParams(desync_bp, latency_share, tau_range_s, min_range_bp, horizon_ns, tau_curve_s, prior_decisions)
    parts = own_copy("lag", empty_state(streams, latencies_ns.shape[0], capacity=1), state)
    given = (
        times(ts_ns),
        stream_numbers(stream, events, streams),
        array("x", x, torch.float64, x.shape),
        array("half", half, torch.float64, x.shape),
        array("dt_s", dt_s, torch.float64, (events,)),
        array("route", route, torch.int8, x.shape),
        array("ghost", ghost, torch.float64, (events,)),
        array("deviation", deviation, torch.float64, x.shape),
        array("entropy", entropy, torch.float64, (events,)),
        array("mean", mean, torch.float64, (events,)),
        array("echo", echo, torch.float64, (events,)),
        array("predicted", predicted, torch.float64, (events,)),
        wide(array("quoted", quoted, torch.int8, (streams,))),
        array("latencies_ns", latencies_ns, torch.int64, latencies_ns.shape),
    )
    work = (
        align_scratch(streams),
        phase_scratch(streams),
        scratch(streams),
        aligned_zeros((BLOCK, padded(streams))),
        x.new_empty(9, BLOCK).numpy(),
    )
    columns = [torch.empty_like(ghost) for _ in COLUMNS]
    row = 0
    while row < events:
        parts = grown("lag", parts, BLOCK * streams)
        row = _pass(row, *given, params, parts, *work, *(column.numpy() for column in columns))
    return columns + leaves(parts)


@lag.register_fake
def _(  # type: ignore[no-untyped-def]
    ts_ns, stream, x, half, dt_s, route, ghost, deviation, entropy, mean, echo, predicted, quoted, latencies_ns,
    desync_bp, latency_share, tau_range_s, min_range_bp, horizon_ns, tau_curve_s, prior_decisions, state,
):  # fmt: skip
    return [torch.empty_like(ghost) for _ in COLUMNS] + fake_state("lag", LagState._fields, state)
