"""As-of alignment in plain torch. N events, V streams.

    x = 1e4 ln(mid / first mid),  micro = 1e4 ln(1 + half imbalance),  half = (ask - bid) / (ask + bid)

Runs over a whole batch from the empty state; any device, any float type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import torch

from schwabot_kernels.outcomes import NS, last_row

if TYPE_CHECKING:
    from schwabot_kernels.align.cpu import StreamTable

OK, UNSEEN, CROSSED, RATE = 0, 1, 3, 5
QUOTE, TRADE = 0, 1
MISSING_NS = -(2**63)


class Events(Protocol):
    """Columns of a batch, int64 but for stream (int32) and kind (int8); a TickBatch is one. Shape: [N]."""

    @property
    def ts_ns(self) -> torch.Tensor: ...  # noqa: D102
    @property
    def stream(self) -> torch.Tensor: ...  # noqa: D102
    @property
    def kind(self) -> torch.Tensor: ...  # noqa: D102
    @property
    def bid_ticks(self) -> torch.Tensor: ...  # noqa: D102
    @property
    def ask_ticks(self) -> torch.Tensor: ...  # noqa: D102
    @property
    def bid_lots(self) -> torch.Tensor: ...  # noqa: D102
    @property
    def ask_lots(self) -> torch.Tensor: ...  # noqa: D102
    @property
    def price_ticks(self) -> torch.Tensor: ...  # noqa: D102
    @property
    def latency_ns(self) -> torch.Tensor: ...  # noqa: D102


class Aligned(NamedTuple):
    """As-of values after each event.

    Shape: [N, V]; dt_s, the time since the event before, 0 for the first, [N].

    x: log mid, bp from the asset's first quote, of a rate from 1; half: half spread, bp; micro: microprice minus mid,
    bp; imbalance in [-1, 1]; depth: mean of both touch quantities in base asset, NaN unknown; bad: OK, UNSEEN,
    CROSSED or RATE.
    """

    last_ns: torch.Tensor
    x: torch.Tensor
    half: torch.Tensor
    micro: torch.Tensor
    imbalance: torch.Tensor
    depth: torch.Tensor
    latency_weight: torch.Tensor
    bad: torch.Tensor
    dt_s: torch.Tensor


def reference_price(events: Events, table: StreamTable, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    """Mid of the first good quote that is not a rate's, what 0 bp stands for; 1 where there is none. Shape: []."""
    device = events.ts_ns.device
    stream = events.stream.long()
    quote = events.kind == QUOTE
    bid = torch.where(quote, events.bid_ticks, events.price_ticks)
    ask = torch.where(quote, events.ask_ticks, events.price_ticks)
    takes = quote | (torch.as_tensor(table.trades_only, device=device)[stream] == 1)
    good = takes & (bid <= ask) & (bid > 0) & (torch.as_tensor(table.rate, device=device)[stream] == 0)
    if not bool(good.any()):
        return torch.ones((), dtype=dtype, device=device)
    first = int(good.byte().argmax())
    tick = torch.as_tensor(table.tick, dtype=dtype, device=device)[stream[first]]
    return 0.5 * (bid[first] + ask[first]).to(dtype) * tick


def align(events: Events, table: StreamTable, latency_max_ns: float, dtype: torch.dtype = torch.float64) -> Aligned:
    """The last known quote of every stream at every event.

    Args:
        events: the batch.
        table: per stream: tick, unit, inverse, trades_only, rate. [V]
        latency_max_ns: feed delay at which a stream's weight reaches zero.
        dtype: of everything computed.
    """
    ts_ns, device = events.ts_ns, events.ts_ns.device
    stream = events.stream.long()
    tick = torch.as_tensor(table.tick, dtype=dtype, device=device)
    unit = torch.as_tensor(table.unit, dtype=dtype, device=device)[stream]
    inverse = torch.as_tensor(table.inverse, device=device)[stream] == 1
    trades_only = torch.as_tensor(table.trades_only, device=device)[stream] == 1
    rates = torch.as_tensor(table.rate, device=device) == 1
    quote = events.kind == QUOTE
    bid = torch.where(quote, events.bid_ticks, events.price_ticks)
    ask = torch.where(quote, events.ask_ticks, events.price_ticks)
    bid_lots = torch.where(quote, events.bid_lots, 0).to(dtype)
    ask_lots = torch.where(quote, events.ask_lots, 0).to(dtype)
    update = quote | trades_only
    valid = update & (bid <= ask) & (bid > 0)

    total = (bid + ask).to(dtype)
    mid = 0.5 * total * tick[stream]
    reference = torch.where(rates[stream], 1.0, reference_price(events, table, dtype))
    half = (ask - bid).to(dtype) / total
    lots = bid_lots + ask_lots
    imbalance = torch.where(lots > 0, (bid_lots - ask_lots) / lots, 0.0)
    depth = torch.where(lots > 0, 0.5 * lots * unit / torch.where(inverse, mid, 1.0), torch.nan)
    latency = torch.clamp(1.0 - events.latency_ns.to(dtype) / latency_max_ns, 0.0, 1.0)

    own = stream[:, None] == torch.arange(tick.shape[0], device=device)
    updated = last_row(update[:, None] & own)
    quoted = last_row(valid[:, None] & own)

    def as_of(rows: torch.Tensor, values: torch.Tensor, before: float) -> torch.Tensor:
        return torch.where(
            rows >= 0, values[rows.clamp(min=0)], torch.tensor(before, dtype=values.dtype, device=device)
        )

    never = quoted < 0
    return Aligned(
        last_ns=torch.where(updated >= 0, ts_ns[updated.clamp(min=0)], MISSING_NS),
        x=as_of(quoted, 1e4 * torch.log(mid / reference), torch.nan),
        half=as_of(quoted, 1e4 * half, torch.nan),
        micro=as_of(quoted, 1e4 * torch.log1p(half * imbalance), 0.0),
        imbalance=as_of(quoted, imbalance, 0.0),
        depth=as_of(quoted, depth, torch.nan),
        latency_weight=as_of(updated, torch.where(events.latency_ns == MISSING_NS, 1.0, latency), 1.0),
        bad=torch.where(never, UNSEEN, torch.where(updated == quoted, torch.where(rates, RATE, OK), CROSSED)).to(
            torch.int8
        ),
        dt_s=torch.cat((ts_ns.new_zeros(1), ts_ns.diff()))[: ts_ns.shape[0]].to(dtype) * NS,
    )
