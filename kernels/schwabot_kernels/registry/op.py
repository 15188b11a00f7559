"""``schwabot::remember``: state hash, outcome tables and echo memory as a torch op. N events, V streams, T tables."""

from __future__ import annotations

import torch
from numba import njit

from schwabot_kernels.align.cpu import BLOCK, Aligned
from schwabot_kernels.align.cpu import scratch as align_scratch
from schwabot_kernels.arrays import F64, I8, I64, aligned_zeros
from schwabot_kernels.blocks import load, load_all, store
from schwabot_kernels.checking import array, own_copy, times
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.phase.cpu import scratch as phase_scratch
from schwabot_kernels.registry.cpu import RegistryParams, RegistryState, Remembered, empty_state, scratch
from schwabot_kernels.registry.cpu import remember as remember_block
from schwabot_kernels.rings import fake_state, grown
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.simd import padded
from schwabot_kernels.tree import leaves

COLUMNS = ("key", "entropy", "mean", "echo", "trusted")
"""Outputs before the state."""


@njit(**NJIT)
def _pass(
    start: int,
    ts_ns: I64,
    x: F64,
    micro: F64,
    imbalance: F64,
    half: F64,
    dt_s: F64,
    route: I8,
    ghost: F64,
    deviation: F64,
    predicted: F64,
    params: RegistryParams,
    state: RegistryState,
    aligned: Aligned,
    phased: Phased,
    block: Remembered,
    ghost_block: F64,
    deviation_block: F64,
    predicted_block: F64,
    key: I64,
    entropy: F64,
    mean: F64,
    echo: F64,
    trusted: I8,
) -> int:
    """Returns the event it stopped at: N, or where the ring is full."""
    total = ts_ns.size
    for first in range(start, total, BLOCK):
        n = min(BLOCK, total - first)
        if state.due_ns.size - (state.head[1] - state.head[0]) < n:
            return first
        load_all(x, first, n, aligned.x)
        load_all(micro, first, n, aligned.micro)
        load_all(imbalance, first, n, aligned.imbalance)
        load_all(half, first, n, aligned.half)
        load(dt_s, first, n, aligned.dt_s)
        load_all(route, first, n, phased.route)
        load(ghost, first, n, ghost_block)
        load_all(deviation, first, n, deviation_block)
        load(predicted, first, n, predicted_block)
        remember_block(
            first,
            n,
            ts_ns,
            aligned,
            phased,
            ghost_block,
            deviation_block,
            predicted_block,
            x.shape[0],
            params,
            state,
            block,
        )
        store(block.key, first, n, key)
        store(block.entropy, first, n, entropy)
        store(block.mean, first, n, mean)
        store(block.echo, first, n, echo)
        store(block.trusted, first, n, trusted)
    return total


def _columns(ghost: torch.Tensor) -> list[torch.Tensor]:
    kinds = {"key": torch.int64, "trusted": torch.int8}
    return [ghost.new_empty(ghost.shape, dtype=kinds.get(name, torch.float64)) for name in COLUMNS]


@torch.library.custom_op("schwabot::remember", mutates_args=())
def remember(
    ts_ns: torch.Tensor,
    x: torch.Tensor,
    micro: torch.Tensor,
    imbalance: torch.Tensor,
    half: torch.Tensor,
    dt_s: torch.Tensor,
    route: torch.Tensor,
    ghost: torch.Tensor,
    deviation: torch.Tensor,
    predicted: torch.Tensor,
    bits: int,
    horizon_ns: int,
    tau_s: float,
    echo_tau_s: float,
    momentum_tau_s: float,
    warmup_events: int,
    step_bp: float,
    dead_band_steps: int,
    min_count: float,
    state: list[torch.Tensor],
) -> list[torch.Tensor]:
    """Hash the state of every event, tell what followed that hash before, and remember what follows it now.

    Args:
        ts_ns: event times. int64 [N]
        x, micro, imbalance, half: see the align op. float64 [V, N]
        dt_s: time since the event before. float64 [N]
        route: 0 = takes part. int8 [V, N]
        ghost: fair price, bp. float64 [N]
        deviation: fair price of the stream minus its mid, bp. float64 [V, N]
        predicted: the ghost's move that is expected anyway, bp; what is remembered is what came beyond it. float64 [N]
        bits, horizon_ns, tau_s, echo_tau_s, momentum_tau_s, warmup_events, step_bp, dead_band_steps, min_count: see
            ``registry.cpu.RegistryParams``.
        state: ``registry.cpu.RegistryState``, as by ``tree.leaves``.

    Returns:
        ``COLUMNS`` [N], see ``registry.cpu.Remembered``, then the state after the last event.

    Raises:
        ValueError: wrong device, shape or order of times.
        TypeError: wrong dtype.
    """
    streams, events = x.shape
    params = RegistryParams(
        bits, horizon_ns, tau_s, echo_tau_s, momentum_tau_s, warmup_events, step_bp, dead_band_steps, min_count
    )
    fields = dict(zip(RegistryState._fields, state, strict=False))
    tables, slots = fields["table"].shape[:2] if "table" in fields else (1, 1)
    parts = own_copy("registry", empty_state(streams, bits, tables, seed=0, slots=slots, capacity=1), state)
    given = (
        times(ts_ns),
        array("x", x, torch.float64, x.shape),
        array("micro", micro, torch.float64, x.shape),
        array("imbalance", imbalance, torch.float64, x.shape),
        array("half", half, torch.float64, x.shape),
        array("dt_s", dt_s, torch.float64, (events,)),
        array("route", route, torch.int8, x.shape),
        array("ghost", ghost, torch.float64, (events,)),
        array("deviation", deviation, torch.float64, x.shape),
        array("predicted", predicted, torch.float64, (events,)),
    )
    work = (
        align_scratch(streams),
        phase_scratch(streams),
        scratch(streams, bits, tables),
        x.new_empty(BLOCK).numpy(),
        aligned_zeros((BLOCK, padded(streams))),
        x.new_empty(BLOCK).numpy(),
    )
    columns = _columns(ghost)
    row = 0
    while row < events:
        parts = grown("registry", parts, BLOCK)
        row = _pass(row, *given, params, parts, *work, *(column.numpy() for column in columns))
    return columns + leaves(parts)


@remember.register_fake
def _(  # type: ignore[no-untyped-def]
    ts_ns, x, micro, imbalance, half, dt_s, route, ghost, deviation, predicted, bits, horizon_ns, tau_s, echo_tau_s,
    momentum_tau_s, warmup_events, step_bp, dead_band_steps, min_count, state,
):  # fmt: skip
    return _columns(ghost) + fake_state("registry", RegistryState._fields, state)
