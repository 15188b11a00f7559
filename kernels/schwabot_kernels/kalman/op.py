"""``schwabot::kalman``: the filtered ghost price as a torch op. N events, V streams."""

from __future__ import annotations

import torch
from numba import njit

from schwabot_kernels.align.cpu import BLOCK, Aligned
from schwabot_kernels.align.cpu import scratch as align_scratch
from schwabot_kernels.arrays import F64, I8, I32
from schwabot_kernels.blocks import load, load_all, store
from schwabot_kernels.checking import array, own_copy, stream_numbers
from schwabot_kernels.kalman.cpu import KalmanState, empty_state
from schwabot_kernels.kalman.cpu import kalman as kalman_block
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.phase.cpu import scratch as phase_scratch
from schwabot_kernels.rings import fake_state
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.tree import leaves


@njit(**NJIT)
def _pass(
    stream: I32,
    x: F64,
    dt_s: F64,
    compensated: F64,
    route: I8,
    q_bp2_per_s: float,
    r_bp2: F64,
    state: KalmanState,
    aligned: Aligned,
    phased: Phased,
    block: F64,
    ghost: F64,
) -> None:
    total = stream.size
    for first in range(0, total, BLOCK):
        n = min(BLOCK, total - first)
        load_all(x, first, n, aligned.x)
        load(dt_s, first, n, aligned.dt_s)
        load_all(compensated, first, n, phased.compensated)
        load_all(route, first, n, phased.route)
        load(stream, first, n, aligned.stream)
        kalman_block(n, aligned, phased, q_bp2_per_s, r_bp2, state, block)
        store(block, first, n, ghost)


@torch.library.custom_op("schwabot::kalman", mutates_args=())
def kalman(
    stream: torch.Tensor,
    x: torch.Tensor,
    dt_s: torch.Tensor,
    compensated: torch.Tensor,
    route: torch.Tensor,
    r_bp2: torch.Tensor,
    q_bp2_per_s: float,
    state: list[torch.Tensor],
) -> list[torch.Tensor]:
    """Random-walk efficient price, observed by each stream at its mid changes.

    Args:
        stream: of each event. int32 [N]
        x: log mid, bp. float64 [V, N]
        dt_s: time since the event before. float64 [N]
        compensated: compensated phase, bp. float64 [V, N]
        route: 0 = takes part. int8 [V, N]
        r_bp2: observation variance. float64 [V]
        q_bp2_per_s: process variance.
        state: ``kalman.cpu.KalmanState``, as by ``tree.leaves``.

    Returns:
        The ghost price in bp, NaN where every stream is routed out [N], then the state after the last event.

    Raises:
        ValueError: wrong device, shape or stream number.
        TypeError: wrong dtype.
    """
    streams, events = x.shape
    parts = own_copy("kalman", empty_state(streams), state)
    ghost = x.new_empty(events)
    _pass(
        stream_numbers(stream, events, streams),
        array("x", x, torch.float64, x.shape),
        array("dt_s", dt_s, torch.float64, (events,)),
        array("compensated", compensated, torch.float64, x.shape),
        array("route", route, torch.int8, x.shape),
        q_bp2_per_s,
        array("r_bp2", r_bp2, torch.float64, (streams,)),
        parts,
        align_scratch(streams),
        phase_scratch(streams),
        x.new_empty(BLOCK).numpy(),
        ghost.numpy(),
    )
    return [ghost, *leaves(parts)]


@kalman.register_fake
def _(  # type: ignore[no-untyped-def]
    stream, x, dt_s, compensated, route, r_bp2, q_bp2_per_s, state,
):  # fmt: skip
    return [x.new_empty(x.shape[1]), *fake_state("kalman", KalmanState._fields, state)]
