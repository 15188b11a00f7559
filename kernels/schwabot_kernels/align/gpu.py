"""As-of alignment on the device. N events, V streams.

Any device's tensors; rows are [N, V]. The state is the CPU's, as tensors, at an event that is a multiple of ``edge``.
"""

from __future__ import annotations

import torch

from schwabot_kernels.align.cpu import AlignState, Events, StreamTable
from schwabot_kernels.align.reference import CROSSED, MISSING_NS, OK, QUOTE, RATE, TRADE, UNSEEN, Aligned
from schwabot_kernels.device_scan import BLOCK, EDGE, last_row
from schwabot_kernels.device_state import shifted, with_lanes
from schwabot_kernels.outcomes import NS

TINY = 1e-300


def pricing(events: Events, table: StreamTable) -> tuple[torch.Tensor, torch.Tensor]:
    """Whether an event is its stream's quote, and whether that is a good price. Shape: [N] each."""
    quote = events.kind == QUOTE
    quoting = quote | ((events.kind == TRADE) & (table.trades_only[events.stream] == 1))
    bid = torch.where(quote, events.bid_ticks, events.price_ticks)
    ask = torch.where(quote, events.ask_ticks, events.price_ticks)
    return quoting, quoting & (bid <= ask) & (bid > 0)


def align(
    events: Events,
    table: StreamTable,
    latency_max_ns: float,
    state: AlignState,
    *,
    edge: int = EDGE,
    block: int = BLOCK,
) -> tuple[Aligned, AlignState]:
    """The last known quote of every stream at every event.

    Args:
        events: at least one.
        table: of the streams, as tensors.
        latency_max_ns: feed delay at which a stream's weight reaches zero.
        state: before the first event.
        edge: see ``device_scan``.
        block: see ``device_scan``.

    Returns:
        As-of values [N, V], and the state after the last event.
    """
    stream, streams, ts_ns = events.stream.long(), table.tick.shape[0], events.ts_ns
    quote = events.kind == QUOTE
    quoting, good = pricing(events, table)
    bid = torch.where(quote, events.bid_ticks, events.price_ticks).double()
    ask = torch.where(quote, events.ask_ticks, events.price_ticks).double()
    both = (bid + ask).clamp(min=TINY)
    half = (ask - bid) / both
    buy = torch.where(quote, events.bid_lots, 0).double()
    sell = torch.where(quote, events.ask_lots, 0).double()
    lots = buy + sell
    imbalance = (buy - sell) / lots.clamp(min=TINY)
    mid = 0.5 * both * table.tick[stream]
    depth = 0.5 * lots * table.unit[stream] / torch.where(table.inverse[stream] == 1, mid, 1.0)
    depth = torch.where(lots > 0.0, depth, torch.nan)
    micro = 1e4 * torch.log((1.0 + half * imbalance).clamp(min=TINY))
    weight = (1.0 - events.latency_ns.double() / latency_max_ns).clamp(0.0, 1.0)
    weight = torch.where(events.latency_ns == MISSING_NS, 1.0, weight)

    log_mid = torch.log(mid)
    of_rate = table.rate[stream] == 1
    rows = torch.arange(ts_ns.shape[0], device=ts_ns.device)
    first = torch.where(good & ~of_rate, rows, ts_ns.shape[0]).amin(0, keepdim=True)
    found = torch.where(first < ts_ns.shape[0], log_mid[first.clamp(max=ts_ns.shape[0] - 1)], torch.nan)
    log_ref = torch.where(state.log_ref.isnan(), found, state.log_ref)
    x = 1e4 * (log_mid - torch.where(of_rate, 0.0, log_ref))

    own = stream[:, None] == torch.arange(streams, device=ts_ns.device)
    marked = torch.cat((quoting[:, None] & own, good[:, None] & own), 1)
    none = torch.full((2 * streams,), -1, device=ts_ns.device)
    updated, quoted = last_row(marked, none, edge=edge, block=block).split(streams, 1)

    def as_of(row: torch.Tensor, values: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        return torch.where(row >= 0, values[row.clamp(min=0)], before[:streams])

    fine = torch.where(table.rate == 1, RATE, OK).to(torch.int8)
    before = state.bad[:streams]
    stood = torch.where((updated >= 0) & (before != UNSEEN), CROSSED, before)
    aligned = Aligned(
        last_ns=as_of(updated, ts_ns, state.last_ns),
        x=as_of(quoted, x, state.x),
        half=as_of(quoted, 1e4 * half, state.half),
        micro=as_of(quoted, micro, state.micro),
        imbalance=as_of(quoted, imbalance, state.imbalance),
        depth=as_of(quoted, depth, state.depth),
        latency_weight=as_of(updated, weight, state.latency_weight),
        bad=torch.where(quoted < 0, stood, torch.where(updated == quoted, fine, CROSSED)).to(torch.int8),
        dt_s=(ts_ns - shifted(ts_ns, torch.where(state.clock[0] == MISSING_NS, ts_ns[0], state.clock[0]))).double()
        * NS,
    )
    kept = {
        name: with_lanes(getattr(aligned, name)[-1], getattr(state, name))
        for name in AlignState._fields
        if name not in ("clock", "log_ref")
    }
    clock = torch.stack((ts_ns[-1], state.clock[1] + ts_ns.shape[0]))
    return aligned, AlignState(**kept, clock=clock, log_ref=log_ref)
