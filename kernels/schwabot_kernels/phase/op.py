"""``schwabot::phase``: phase, drift and routing as a torch op. N events, V streams, P pairs."""

from __future__ import annotations

import torch
from numba import njit

from schwabot_kernels.align.cpu import BLOCK, Aligned
from schwabot_kernels.align.cpu import scratch as align_scratch
from schwabot_kernels.arrays import F64, I8, I64
from schwabot_kernels.blocks import load, load_all, store_all
from schwabot_kernels.checking import array, own_copy, times
from schwabot_kernels.phase.cpu import Phased, PhaseParams, PhaseState, empty_state, scratch
from schwabot_kernels.phase.cpu import phase as phase_block
from schwabot_kernels.rings import fake_state
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.tree import leaves

COLUMNS = ("phase", "compensated", "drift", "status", "route")
"""Outputs before the state."""


@njit(**NJIT)
def _pass(
    ts_ns: I64,
    last_ns: I64,
    x: F64,
    bad: I8,
    dt_s: F64,
    params: PhaseParams,
    state: PhaseState,
    aligned: Aligned,
    block: Phased,
    phase: F64,
    compensated: F64,
    drift: F64,
    status: I8,
    route: I8,
) -> None:
    total = ts_ns.size
    for first in range(0, total, BLOCK):
        n = min(BLOCK, total - first)
        load_all(last_ns, first, n, aligned.last_ns)
        load_all(x, first, n, aligned.x)
        load_all(bad, first, n, aligned.bad)
        load(dt_s, first, n, aligned.dt_s)
        phase_block(first, n, ts_ns, aligned, params, state, block)
        store_all(block.phase, first, n, phase)
        store_all(block.compensated, first, n, compensated)
        store_all(block.drift, first, n, drift)
        store_all(block.status, first, n, status)
        store_all(block.route, first, n, route)


def _columns(x: torch.Tensor) -> list[torch.Tensor]:
    small = ("status", "route")
    return [x.new_empty(x.shape, dtype=torch.int8 if name in small else torch.float64) for name in COLUMNS]


@torch.library.custom_op("schwabot::phase", mutates_args=())
def phase(
    ts_ns: torch.Tensor,
    last_ns: torch.Tensor,
    x: torch.Tensor,
    bad: torch.Tensor,
    dt_s: torch.Tensor,
    tau_s: float,
    stale_ns: int,
    window_ns: int,
    drifting_at: float,
    critical_at: float,
    k0: float,
    k_max: float,
    state: list[torch.Tensor],
) -> list[torch.Tensor]:
    """Phase of every stream against the others, its drift, and routing.

    Args:
        ts_ns: event times. int64 [N]
        last_ns: time of each stream's last quote. int64 [V, N]
        x: log mid, bp. float64 [V, N]
        bad: 0, or why the stream has no price. int8 [V, N]
        dt_s: time since the event before. float64 [N]
        tau_s, stale_ns, window_ns, drifting_at, critical_at, k0, k_max: see ``phase.cpu.PhaseParams``.
        state: ``phase.cpu.PhaseState``, as by ``tree.leaves``.

    Returns:
        ``COLUMNS`` [V, N], then the state after the last event.

    Raises:
        ValueError: wrong device, shape or order of times.
        TypeError: wrong dtype.
    """
    streams, events = x.shape
    params = PhaseParams(tau_s, stale_ns, window_ns, drifting_at, critical_at, k0, k_max)
    parts = own_copy("phase", empty_state(streams), state)
    columns = _columns(x)
    _pass(
        times(ts_ns),
        array("last_ns", last_ns, torch.int64, x.shape),
        array("x", x, torch.float64, x.shape),
        array("bad", bad, torch.int8, x.shape),
        array("dt_s", dt_s, torch.float64, (events,)),
        params,
        parts,
        align_scratch(streams),
        scratch(streams),
        *(column.numpy() for column in columns),
    )
    return columns + leaves(parts)


@phase.register_fake
def _(  # type: ignore[no-untyped-def]
    ts_ns, last_ns, x, bad, dt_s, tau_s, stale_ns, window_ns, drifting_at, critical_at, k0, k_max, state,
):  # fmt: skip
    return _columns(x) + fake_state("phase", PhaseState._fields, state)
