"""``schwabot::arbitrage``: windows in which a pair or a cycle of trades pays, as a torch op. V streams, C cycles."""

from __future__ import annotations

import torch
from numba import njit

from schwabot_kernels.align.cpu import BLOCK, RATE, Aligned
from schwabot_kernels.align.cpu import scratch as align_scratch
from schwabot_kernels.arbitrage.cpu import ArbitrageParams, ArbitrageState, empty_state
from schwabot_kernels.arbitrage.cpu import arbitrage as arbitrage_block
from schwabot_kernels.arbitrage.windows import LEGS
from schwabot_kernels.arrays import F64, I8, I64
from schwabot_kernels.blocks import load, load_all, wide
from schwabot_kernels.checking import array, own_copy, times
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.phase.cpu import scratch as phase_scratch
from schwabot_kernels.rings import fake_state, grown
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.tree import leaves


@njit(**NJIT)
def _pass(
    start: int,
    ts_ns: I64,
    last_ns: I64,
    x: F64,
    half: F64,
    depth: F64,
    imbalance: F64,
    latency_weight: F64,
    compensated: F64,
    route: I8,
    quoted: I8,
    fee_bp: F64,
    move: F64,
    reference_bp: float,
    latency_max_ns: float,
    params: ArbitrageParams,
    state: ArbitrageState,
    aligned: Aligned,
    phased: Phased,
    move_block: F64,
    bounds: F64,
) -> int:
    """Returns the event it stopped at: N, or where ring or list is full."""
    total = ts_ns.size
    for first in range(start, total, BLOCK):
        n = min(BLOCK, total - first)
        if state.closed_ns.shape[0] - max(state.head[1] - state.head[0], state.head[2]) < n * state.open_ns.shape[1]:
            return first
        load_all(last_ns, first, n, aligned.last_ns)
        load_all(x, first, n, aligned.x)
        load_all(half, first, n, aligned.half)
        load_all(depth, first, n, aligned.depth)
        load_all(imbalance, first, n, aligned.imbalance)
        load_all(latency_weight, first, n, aligned.latency_weight)
        load_all(compensated, first, n, phased.compensated)
        load_all(route, first, n, phased.route)
        load(move, first, n, move_block)
        arbitrage_block(
            first, n, ts_ns, aligned, phased, quoted, fee_bp, move_block, reference_bp, latency_max_ns, params,
            state, bounds,
        )  # fmt: skip
    return total


@torch.library.custom_op("schwabot::arbitrage", mutates_args=())
def arbitrage(
    ts_ns: torch.Tensor,
    last_ns: torch.Tensor,
    x: torch.Tensor,
    half: torch.Tensor,
    depth: torch.Tensor,
    imbalance: torch.Tensor,
    latency_weight: torch.Tensor,
    compensated: torch.Tensor,
    route: torch.Tensor,
    quoted: torch.Tensor,
    rate: torch.Tensor,
    move: torch.Tensor,
    reference_bp: torch.Tensor,
    fungible: torch.Tensor,
    fee_bp: torch.Tensor,
    leg: torch.Tensor,
    through: torch.Tensor,
    min_edge_bp: float,
    latency_ns: int,
    rate_stale_ns: int,
    latency_max_ns: float,
    state: list[torch.Tensor],
) -> list[torch.Tensor]:
    """Open, widen and close the windows in which a pair or a cycle of trades pays after fees.

    Args:
        ts_ns: event times. int64 [N]
        last_ns, x, half, depth, imbalance, latency_weight: see the align op. float64, ``last_ns`` int64 [V, N]
        compensated: compensated phase, bp. float64 [V, N]
        route: 0 = takes part, 5 = a rate that is well. int8 [V, N]
        quoted, rate: 1 where a stream has a touch, where it is a rate. int8 [V]
        move: what the asset's price is expected to do within our latency, bp. float64 [N]
        reference_bp: log price that 0 bp stands for, bp; NaN before it is known. float64 [1]
        fungible, fee_bp, leg, through, min_edge_bp, latency_ns, rate_stale_ns: see ``ArbitrageParams``. int8 [V, V],
            float64 [V], int32 [C, 4], int32
        latency_max_ns: feed delay at which ``latency_weight`` is 0.
        state: ``arbitrage.windows.ArbitrageState``, as by ``tree.leaves``.

    Returns:
        The state after the last event; its ring holds every closed window not yet handed out.

    Raises:
        ValueError: wrong device, shape or order of times.
        TypeError: wrong dtype.
    """
    streams, events = x.shape
    cycles = leg.shape[0]
    parts = own_copy("arbitrage", empty_state(streams, 1, cycles), state)
    fee = array("fee_bp", fee_bp, torch.float64, (streams,))
    params = ArbitrageParams(
        min_edge_bp=min_edge_bp,
        latency_ns=latency_ns,
        rate_stale_ns=rate_stale_ns,
        fungible=array("fungible", fungible, torch.int8, (streams, streams)),
        fee_bp=fee,
        leg=array("leg", leg, torch.int32, (cycles, LEGS)),
        through=array("through", through, torch.int32, through.shape),
    )
    given = (
        times(ts_ns),
        array("last_ns", last_ns, torch.int64, x.shape),
        array("x", x, torch.float64, x.shape),
        array("half", half, torch.float64, x.shape),
        array("depth", depth, torch.float64, x.shape),
        array("imbalance", imbalance, torch.float64, x.shape),
        array("latency_weight", latency_weight, torch.float64, x.shape),
        array("compensated", compensated, torch.float64, x.shape),
        array("route", route, torch.int8, x.shape),
        wide(array("quoted", quoted, torch.int8, (streams,))),
        wide(fee),
        array("move", move, torch.float64, (events,)),
        float(array("reference_bp", reference_bp, torch.float64, (1,))[0]),
    )
    work = (
        align_scratch(streams),
        phase_scratch(streams),
        x.new_empty(BLOCK).numpy(),
        x.new_empty(BLOCK).numpy(),
    )
    work[0].fine[:streams] = RATE * array("rate", rate, torch.int8, (streams,))
    row = 0
    while row < events:
        parts = grown("arbitrage", parts, BLOCK * parts.open_ns.shape[1])
        row = _pass(row, *given, latency_max_ns, params, parts, *work)
    return leaves(parts)


@arbitrage.register_fake
def _(  # type: ignore[no-untyped-def]
    ts_ns, last_ns, x, half, depth, imbalance, latency_weight, compensated, route, quoted, rate, move, reference_bp,
    fungible, fee_bp, leg, through, min_edge_bp, latency_ns, rate_stale_ns, latency_max_ns, state,
):  # fmt: skip
    return fake_state("arbitrage", ArbitrageState._fields, state)
