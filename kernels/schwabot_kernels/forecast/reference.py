"""Features of the coming move and a linear head on them, in plain torch.

N events, V streams, E columns of the user's own, F = 9 + E features, H horizons.

See cpu.py for the formulas. Runs over a whole batch from the empty state; any device, any float type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from schwabot_kernels import scan
from schwabot_kernels.align.reference import OK, QUOTE, TRADE, Aligned, Events
from schwabot_kernels.outcomes import NS, decay, last_row

if TYPE_CHECKING:
    from schwabot_kernels.align.cpu import StreamTable
    from schwabot_kernels.forecast.cpu import HeadParams

FAST_S, SLOW_S = 0.005, 0.03
DEVIATION_AGE_S, TRADE_AGE_S = 0.1, 0.05
LOTS_S = 30.0
FAR_BP = 20.0


class Dealt(Events, Protocol):
    """Events with the quantity (0 = unknown) and the aggressor's side (+1 bought, -1 sold, 0 unknown) of trades."""

    @property
    def qty_lots(self) -> torch.Tensor: ...  # noqa: D102
    @property
    def side(self) -> torch.Tensor: ...  # noqa: D102


def order_flow(events: Events, good: torch.Tensor, streams: int, dtype: torch.dtype) -> torch.Tensor:
    """Order-flow imbalance of every good quote against the good quote of its stream before, in lots.

    q_b [b >= b'] - q_b' [b <= b'] - q_a [a <= a'] + q_a' [a >= a'], 0 for the first.

    Args:
        events: the batch.
        good: quotes that are not crossed. bool [N]
        streams: V.
        dtype: of the answer.

    Shape: [N].
    """
    flow = torch.zeros(good.shape[0], dtype=dtype, device=good.device)
    for v in range(streams):
        rows = torch.nonzero(good & (events.stream == v)).squeeze(1)
        bid, ask = events.bid_ticks[rows], events.ask_ticks[rows]
        bid_lots, ask_lots = events.bid_lots[rows].to(dtype), events.ask_lots[rows].to(dtype)
        change = torch.where(bid[1:] >= bid[:-1], bid_lots[1:], 0.0)
        change -= torch.where(bid[1:] <= bid[:-1], bid_lots[:-1], 0.0)
        change -= torch.where(ask[1:] <= ask[:-1], ask_lots[1:], 0.0)
        change += torch.where(ask[1:] >= ask[:-1], ask_lots[:-1], 0.0)
        flow[rows[1:]] = change
    return flow


def features(
    events: Dealt,
    table: StreamTable,
    aligned: Aligned,
    phase: torch.Tensor,
    route: torch.Tensor,
    columns: torch.Tensor | None = None,
) -> torch.Tensor:
    """The features of every stream at every event; zeros where it takes no part.

    Args:
        events: the batch.
        table: which streams have quotes. [V]
        aligned: as-of values.
        phase: bp; NaN where unseen. [N, V]
        route: 0 = takes part. [N, V]
        columns: of the user's own, if any. [V, E, N]

    Shape: [N, V, F].
    """
    dtype, device = aligned.x.dtype, aligned.x.device
    count, streams = aligned.x.shape
    own = events.stream.long()
    rows = torch.arange(count, device=device)
    mine = own[:, None] == torch.arange(streams, device=device)
    quoted = torch.as_tensor(table.trades_only, device=device)[own] == 0
    good = (events.kind == QUOTE) & (events.bid_ticks <= events.ask_ticks) & (events.bid_ticks > 0)
    trade = events.kind == TRADE

    lots = torch.where(good, 0.5 * (events.bid_lots + events.ask_lots).to(dtype), 0.0)
    seen = (mine & (lots > 0)[:, None]).to(dtype)
    keep = decay(aligned.dt_s, LOTS_S)[:, None]
    number = scan.affine(keep, seen)
    total = scan.affine(keep, seen * lots[:, None])
    usual = torch.where(number > 0, total / number, 0.0)
    per_lot = torch.where(usual > 0, 1.0 / usual, 0.0)

    flow = mine * order_flow(events, good, streams, dtype)[:, None]
    deal = mine * torch.where(trade, events.side.to(dtype) * events.qty_lots.to(dtype), 0.0)[:, None]
    step = torch.zeros_like(aligned.x)
    step[1:] = aligned.x.diff(dim=0).nan_to_num(0.0)  # a stream's first price is its own mean

    def decayed(values: torch.Tensor, tau_s: float) -> torch.Tensor:
        return scan.affine(decay(aligned.dt_s, tau_s)[:, None], values)

    # A trade's log price: that of the mid as of it, and the distance of two prices.
    quote = last_row(mine & good[:, None])[rows, own]
    mid = 0.5 * (events.bid_ticks + events.ask_ticks)[quote.clamp(min=0)].to(dtype)
    distance = 1e4 * torch.log(torch.where(trade, events.price_ticks.to(dtype), 1.0) / mid)
    told = trade & quoted & (events.price_ticks > 0) & (quote >= 0)
    dealt_x = torch.where(told, aligned.x[rows, own] + distance, torch.nan)
    last_trade = last_row(mine & trade[:, None])
    deal_x = torch.where(last_trade >= 0, dealt_x[last_trade.clamp(min=0)], torch.nan)
    away = (deal_x - aligned.x).clamp(-FAR_BP, FAR_BP).nan_to_num(0.0)
    dealt_s = (events.ts_ns[:, None] - events.ts_ns[last_trade.clamp(min=0)]).to(dtype) * NS
    taking = route == OK
    own_price = aligned.x - phase
    fair = torch.where(taking, own_price, 0.0).sum(1) / taking.sum(1)
    deviation = fair[:, None] - own_price
    age_s = (events.ts_ns[:, None] - aligned.last_ns).to(dtype) * NS

    parts = (
        deviation * torch.exp(-age_s / DEVIATION_AGE_S),
        aligned.micro,
        torch.asinh(decayed(flow, FAST_S) * per_lot),
        torch.asinh(decayed(flow, SLOW_S) * per_lot),
        torch.asinh(decayed(deal, FAST_S) * per_lot),
        torch.asinh(decayed(deal, SLOW_S) * per_lot),
        decayed(step, FAST_S),
        decayed(step, SLOW_S),
        away * torch.exp(-dealt_s / TRADE_AGE_S),
    )
    found = torch.stack(parts, -1)
    if columns is not None:
        answers = columns.permute(2, 0, 1).to(found)
        found = torch.cat([found, torch.where(answers.isfinite(), answers, 0.0)], -1)
    return torch.where(taking[..., None], found, 0.0)


def head(found: torch.Tensor, live: torch.Tensor, params: HeadParams) -> torch.Tensor:
    """Forecasts in bp, NaN where the stream takes no part or the head does not know it.

    Args:
        found: features. [N, V, F]
        live: the stream takes part. bool [N, V]
        params: the head, in the kernel's shapes.

    Shape: [N, V, H].
    """
    streams = found.shape[1]
    scale = torch.as_tensor(params.inverse_scale).to(found)[:, :streams].T
    weight = torch.as_tensor(params.coefficients).to(found)[..., :streams]
    scaled = (found * scale).clamp(-params.clip, params.clip)
    answers = live & (torch.as_tensor(params.target, device=found.device)[:streams] == 1)
    return torch.where(answers[..., None], torch.einsum("nuk,ukhv->nvh", scaled, weight), torch.nan)
