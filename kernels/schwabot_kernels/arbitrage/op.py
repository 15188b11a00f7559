"""``schwabot::arbitrage``: windows in which a pair of trades pays, as a torch op. N events, V streams."""

from __future__ import annotations

import torch
from numba import njit

from schwabot_kernels.align.cpu import BLOCK, Aligned
from schwabot_kernels.align.cpu import scratch as align_scratch
from schwabot_kernels.arbitrage.cpu import ArbitrageState, empty_state
from schwabot_kernels.arbitrage.cpu import arbitrage as arbitrage_block
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
    x: F64,
    half: F64,
    depth: F64,
    imbalance: F64,
    compensated: F64,
    route: I8,
    quoted: I8,
    move: F64,
    fungible: I8,
    fee_bp: F64,
    min_edge_bp: float,
    state: ArbitrageState,
    aligned: Aligned,
    phased: Phased,
    move_block: F64,
    bounds: F64,
) -> int:
    """Returns the event it stopped at: N, or where the ring is full."""
    total = ts_ns.size
    streams = x.shape[0]
    for first in range(start, total, BLOCK):
        n = min(BLOCK, total - first)
        if state.pair.size - (state.head[1] - state.head[0]) < n * streams * streams:
            return first
        load_all(x, first, n, aligned.x)
        load_all(half, first, n, aligned.half)
        load_all(depth, first, n, aligned.depth)
        load_all(imbalance, first, n, aligned.imbalance)
        load_all(compensated, first, n, phased.compensated)
        load_all(route, first, n, phased.route)
        load(move, first, n, move_block)
        arbitrage_block(
            first, n, ts_ns, aligned, phased, quoted, move_block, fungible, fee_bp, min_edge_bp, state, bounds
        )
    return total


@torch.library.custom_op("schwabot::arbitrage", mutates_args=())
def arbitrage(
    ts_ns: torch.Tensor,
    x: torch.Tensor,
    half: torch.Tensor,
    depth: torch.Tensor,
    imbalance: torch.Tensor,
    compensated: torch.Tensor,
    route: torch.Tensor,
    quoted: torch.Tensor,
    move: torch.Tensor,
    fungible: torch.Tensor,
    fee_bp: torch.Tensor,
    min_edge_bp: float,
    state: list[torch.Tensor],
) -> list[torch.Tensor]:
    """Open, widen and close the windows in which buying one stream and selling another pays after fees.

    Args:
        ts_ns: event times. int64 [N]
        x, half, depth, imbalance: see the align op. float64 [V, N]
        compensated: compensated phase, bp. float64 [V, N]
        route: 0 = takes part. int8 [V, N]
        quoted: 1 where a stream has a touch. int8 [V]
        move: what the price is expected to do within our latency, bp. float64 [N]
        fungible: 1 where two streams deliver the same thing. int8 [V, V]
        fee_bp: taker fee. float64 [V]
        min_edge_bp: net edge above which a window opens.
        state: ``arbitrage.cpu.ArbitrageState``, as by ``tree.leaves``.

    Returns:
        The state after the last event; its ring holds every closed window not yet handed out.

    Raises:
        ValueError: wrong device, shape or order of times.
        TypeError: wrong dtype.
    """
    streams, events = x.shape
    parts = own_copy("arbitrage", empty_state(streams, capacity=1), state)
    given = (
        times(ts_ns),
        array("x", x, torch.float64, x.shape),
        array("half", half, torch.float64, x.shape),
        array("depth", depth, torch.float64, x.shape),
        array("imbalance", imbalance, torch.float64, x.shape),
        array("compensated", compensated, torch.float64, x.shape),
        array("route", route, torch.int8, x.shape),
        wide(array("quoted", quoted, torch.int8, (streams,))),
        array("move", move, torch.float64, (events,)),
        array("fungible", fungible, torch.int8, (streams, streams)),
        wide(array("fee_bp", fee_bp, torch.float64, (streams,))),
    )
    work = (
        align_scratch(streams),
        phase_scratch(streams),
        x.new_empty(BLOCK).numpy(),
        x.new_empty(BLOCK).numpy(),
    )
    row = 0
    while row < events:
        parts = grown("arbitrage", parts, BLOCK * streams * streams)
        row = _pass(row, *given, min_edge_bp, parts, *work)
    return leaves(parts)


@arbitrage.register_fake
def _(  # type: ignore[no-untyped-def]
    ts_ns, x, half, depth, imbalance, compensated, route, quoted, move, fungible, fee_bp, min_edge_bp, state,
):  # fmt: skip
    return fake_state("arbitrage", ArbitrageState._fields, state)
