"""``schwabot::align``: as-of alignment as a torch op. N events, V streams."""

from __future__ import annotations

import torch
from numba import njit

from schwabot_kernels.align.cpu import BLOCK, Aligned, AlignState, Events, StreamTable, empty_state, scratch
from schwabot_kernels.align.cpu import align as align_block
from schwabot_kernels.arrays import F64, I8, I64
from schwabot_kernels.blocks import store, store_all
from schwabot_kernels.checking import array, own_copy, stream_numbers, times
from schwabot_kernels.rings import fake_state
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.tree import leaves

COLUMNS = ("last_ns", "x", "half", "micro", "imbalance", "depth", "latency_weight", "bad", "dt_s")
"""Outputs before the state."""


@njit(**NJIT)
def _pass(
    events: Events,
    table: StreamTable,
    latency_max_ns: float,
    state: AlignState,
    block: Aligned,
    last_ns: I64,
    x: F64,
    half: F64,
    micro: F64,
    imbalance: F64,
    depth: F64,
    latency_weight: F64,
    bad: I8,
    dt_s: F64,
) -> None:
    total = events.ts_ns.size
    for first in range(0, total, BLOCK):
        n = min(BLOCK, total - first)
        align_block(first, n, events, table, latency_max_ns, state, block)
        store_all(block.last_ns, first, n, last_ns)
        store_all(block.x, first, n, x)
        store_all(block.half, first, n, half)
        store_all(block.micro, first, n, micro)
        store_all(block.imbalance, first, n, imbalance)
        store_all(block.depth, first, n, depth)
        store_all(block.latency_weight, first, n, latency_weight)
        store_all(block.bad, first, n, bad)
        store(block.dt_s, first, n, dt_s)


def _columns(events: int, streams: int, like: torch.Tensor) -> list[torch.Tensor]:
    kinds = {"last_ns": torch.int64, "bad": torch.int8}
    return [
        like.new_empty((events,) if name == "dt_s" else (streams, events), dtype=kinds.get(name, torch.float64))
        for name in COLUMNS
    ]


@torch.library.custom_op("schwabot::align", mutates_args=())
def align(
    ts_ns: torch.Tensor,
    stream: torch.Tensor,
    kind: torch.Tensor,
    bid_ticks: torch.Tensor,
    ask_ticks: torch.Tensor,
    bid_lots: torch.Tensor,
    ask_lots: torch.Tensor,
    price_ticks: torch.Tensor,
    qty_lots: torch.Tensor,
    side: torch.Tensor,
    latency_ns: torch.Tensor,
    tick: torch.Tensor,
    unit: torch.Tensor,
    inverse: torch.Tensor,
    trades_only: torch.Tensor,
    rate: torch.Tensor,
    latency_max_ns: float,
    state: list[torch.Tensor],
) -> list[torch.Tensor]:
    """The last known quote of every stream at every event.

    Args:
        ts_ns, stream, kind, bid_ticks, ask_ticks, bid_lots, ask_lots, price_ticks, qty_lots, side, latency_ns: events,
            see ``align.cpu.Events``. int64, ``stream`` int32, ``kind`` and ``side`` int8. [N]
        tick, unit: see ``align.cpu.StreamTable``. float64 [V]
        inverse, trades_only, rate: 0 or 1. int8 [V]
        latency_max_ns: feed delay at which a stream's weight reaches zero.
        state: ``align.cpu.AlignState``, as by ``tree.leaves``.

    Returns:
        ``COLUMNS``, [V, N] but ``dt_s`` [N], then the state after the last event.

    Raises:
        ValueError: wrong device, shape, stream number or order of times.
        TypeError: wrong dtype.

    Example:
        >>> from schwabot_kernels.align.cpu import empty_state
        >>> one = torch.ones(1, dtype=torch.int64)
        >>> missing = torch.full((1,), -(2**63))
        >>> out = align(one, one.int() * 0, one.char() * 0, 99 * one, 101 * one, one, one, 0 * one, 0 * one,
        ...     one.char() * 0, missing,
        ...     one.double(), one.double(), *[one.char() * 0] * 3, 5e8, leaves(empty_state(streams=1)))
        >>> dict(zip(COLUMNS, out))["half"].item()
        100.0
    """
    events, streams = ts_ns.shape[0], tick.shape[0]
    parts = own_copy("align", empty_state(streams), state)
    batch = Events(
        times(ts_ns, int(parts.clock[0])),
        stream_numbers(stream, events, streams),
        array("kind", kind, torch.int8, (events,)),
        array("bid_ticks", bid_ticks, torch.int64, (events,)),
        array("ask_ticks", ask_ticks, torch.int64, (events,)),
        array("bid_lots", bid_lots, torch.int64, (events,)),
        array("ask_lots", ask_lots, torch.int64, (events,)),
        array("price_ticks", price_ticks, torch.int64, (events,)),
        array("qty_lots", qty_lots, torch.int64, (events,)),
        array("side", side, torch.int8, (events,)),
        array("latency_ns", latency_ns, torch.int64, (events,)),
    )
    table = StreamTable(
        array("tick", tick, torch.float64, (streams,)),
        array("unit", unit, torch.float64, (streams,)),
        array("inverse", inverse, torch.int8, (streams,)),
        array("trades_only", trades_only, torch.int8, (streams,)),
        array("rate", rate, torch.int8, (streams,)),
    )
    columns = _columns(events, streams, tick)
    _pass(batch, table, latency_max_ns, parts, scratch(streams), *(column.numpy() for column in columns))
    return columns + leaves(parts)


@align.register_fake
def _(  # type: ignore[no-untyped-def]
    ts_ns, stream, kind, bid_ticks, ask_ticks, bid_lots, ask_lots, price_ticks, qty_lots, side, latency_ns, tick,
    unit, inverse, trades_only, rate, latency_max_ns, state,
):  # fmt: skip
    return _columns(ts_ns.shape[0], tick.shape[0], tick) + fake_state("align", AlignState._fields, state)
