"""``schwabot::lanes``: evidence to bits, volts and lane as a torch op. N events, V streams."""

from __future__ import annotations

import torch
from numba import njit

from schwabot_kernels.align.cpu import BLOCK, Aligned
from schwabot_kernels.align.cpu import scratch as align_scratch
from schwabot_kernels.arrays import F64, I8, I64, aligned_zeros
from schwabot_kernels.blocks import load, load_all, store_all, wide
from schwabot_kernels.checking import array, own_copy, times
from schwabot_kernels.lanes.cpu import Laned, LanesParams, LanesState, empty_state, scratch
from schwabot_kernels.lanes.cpu import lanes as lanes_block
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.phase.cpu import scratch as phase_scratch
from schwabot_kernels.rings import fake_state, grown
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.simd import padded
from schwabot_kernels.tree import leaves

COLUMNS = ("forecast", "snr", "bits", "voltage", "lane", "pays_fees")
"""Outputs before the state."""


@njit(**NJIT)
def _pass(
    start: int,
    ts_ns: I64,
    x: F64,
    half: F64,
    dt_s: F64,
    route: I8,
    deviation: F64,
    given: F64,
    mean: F64,
    trusted: I8,
    latency_weight: F64,
    move: F64,
    quoted: I8,
    style_fee_bp: F64,
    params: LanesParams,
    state: LanesState,
    aligned: Aligned,
    phased: Phased,
    block: Laned,
    deviation_block: F64,
    given_block: F64,
    blocks: F64,
    trusted_block: I8,
    forecast: F64,
    snr: F64,
    bits: F64,
    voltage: F64,
    lane: I8,
    pays_fees: I8,
) -> int:
    """Returns the event it stopped at: N, or where the ring is full."""
    total = ts_ns.size
    mean_block, move_block = blocks[0], blocks[1]
    for first in range(start, total, BLOCK):
        n = min(BLOCK, total - first)
        if state.due_ns.size - (state.head[1] - state.head[0]) < n:
            return first
        load_all(x, first, n, aligned.x)
        load_all(half, first, n, aligned.half)
        load(dt_s, first, n, aligned.dt_s)
        load_all(route, first, n, phased.route)
        load_all(deviation, first, n, deviation_block)
        load_all(given, first, n, given_block)
        load(mean, first, n, mean_block)
        load(trusted, first, n, trusted_block)
        load_all(latency_weight, first, n, aligned.latency_weight)
        load(move, first, n, move_block)
        lanes_block(
            first,
            n,
            ts_ns,
            aligned,
            phased,
            deviation_block,
            given_block,
            mean_block,
            trusted_block,
            move_block,
            quoted,
            style_fee_bp,
            x.shape[0],
            params,
            state,
            block,
        )
        store_all(block.forecast, first, n, forecast)
        store_all(block.snr, first, n, snr)
        store_all(block.bits, first, n, bits)
        store_all(block.voltage, first, n, voltage)
        store_all(block.lane, first, n, lane)
        store_all(block.pays_fees, first, n, pays_fees)
    return total


def _columns(x: torch.Tensor) -> list[torch.Tensor]:
    small = ("lane", "pays_fees")
    return [x.new_empty(x.shape, dtype=torch.int8 if name in small else torch.float64) for name in COLUMNS]


@torch.library.custom_op("schwabot::lanes", mutates_args=())
def lanes(
    ts_ns: torch.Tensor,
    x: torch.Tensor,
    half: torch.Tensor,
    dt_s: torch.Tensor,
    route: torch.Tensor,
    deviation: torch.Tensor,
    given: torch.Tensor,
    mean: torch.Tensor,
    trusted: torch.Tensor,
    latency_weight: torch.Tensor,
    move: torch.Tensor,
    quoted: torch.Tensor,
    style_fee_bp: torch.Tensor,
    horizon_ns: int,
    tau_s: float,
    slope_tau_s: float,
    kappa: float,
    count_cap: float,
    v0: float,
    v_max: float,
    medium: float,
    high: float,
    margin: float,
    slew_per_s: float,
    weight_min: float,
    state: list[torch.Tensor],
) -> list[torch.Tensor]:
    """From evidence to a discrete conviction level, for every stream at every event.

    Args:
        ts_ns: event times. int64 [N]
        x, half: log mid and half spread, bp. float64 [V, N]
        dt_s: time since the event before. float64 [N]
        route: 0 = takes part. int8 [V, N]
        deviation: fair price of the stream minus its mid, bp. float64 [V, N]
        given: a trained head's forecasts, bp, NaN where it has none. float64 [V, N], or [0, N] without a head
        mean, trusted: the registry's remembered move, and 1 where it counts. float64, int8 [N]
        latency_weight: see the align op. float64 [V, N]
        move: what the price does while an order is on its way, bp. float64 [N]
        quoted: 1 where the stream has quotes, so a touch. int8 [V]
        style_fee_bp: fee of each lane's style. float64 [3, V]
        horizon_ns, tau_s, slope_tau_s, kappa, count_cap, v0, v_max, medium, high, margin, slew_per_s, weight_min: see
            ``lanes.cpu.LanesParams``.
        state: ``lanes.cpu.LanesState``, as by ``tree.leaves``.

    Returns:
        ``COLUMNS`` [V, N], then the state after the last event.

    Raises:
        ValueError: wrong device, shape or order of times.
        TypeError: wrong dtype.
    """
    streams, events = x.shape
    params = LanesParams(
        horizon_ns, tau_s, slope_tau_s, kappa, count_cap, v0, v_max, medium, high, margin, slew_per_s, weight_min
    )
    parts = own_copy("lanes", empty_state(streams, v0, capacity=1), state)
    inputs = (
        times(ts_ns),
        array("x", x, torch.float64, x.shape),
        array("half", half, torch.float64, x.shape),
        array("dt_s", dt_s, torch.float64, (events,)),
        array("route", route, torch.int8, x.shape),
        array("deviation", deviation, torch.float64, x.shape),
        array("given", given, torch.float64, (streams if given.shape[0] else 0, events)),
        array("mean", mean, torch.float64, (events,)),
        array("trusted", trusted, torch.int8, (events,)),
        array("latency_weight", latency_weight, torch.float64, x.shape),
        array("move", move, torch.float64, (events,)),
        wide(array("quoted", quoted, torch.int8, (streams,))),
        wide(array("style_fee_bp", style_fee_bp, torch.float64, (3, streams))),
    )
    work = (
        align_scratch(streams),
        phase_scratch(streams),
        scratch(streams),
        aligned_zeros((BLOCK, padded(streams))),
        aligned_zeros((BLOCK if given.shape[0] else 0, padded(streams))),
        x.new_empty(2, BLOCK).numpy(),
        x.new_empty(BLOCK, dtype=torch.int8).numpy(),
    )
    columns = _columns(x)
    row = 0
    while row < events:
        parts = grown("lanes", parts, BLOCK)
        row = _pass(row, *inputs, params, parts, *work, *(column.numpy() for column in columns))
    return columns + leaves(parts)


@lanes.register_fake
def _(  # type: ignore[no-untyped-def]
    ts_ns, x, half, dt_s, route, deviation, given, mean, trusted, latency_weight, move, quoted, style_fee_bp,
    horizon_ns, tau_s, slope_tau_s, kappa, count_cap, v0, v_max, medium, high, margin, slew_per_s, weight_min, state,
):  # fmt: skip
    return _columns(x) + fake_state("lanes", LanesState._fields, state)
