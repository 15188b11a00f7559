"""Arbitrage windows in plain torch. N events, V streams, C cycles, K = V V + C, A windows.

    pair   ln(bid_b / ask_a) - fees - |move|, less phi_b - phi_a where a and b don't deliver the same thing
    cycle  sum of ln(bid) over its sells and -ln(ask) over its buys - fees
           - [it buys the asset] max(0, move) - [it sells it] max(0, -move)

Within our latency the price moves against the leg that buys or against the one that sells.

Runs over a whole batch from the empty state; any device, any float type.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from schwabot_kernels.align.reference import OK, RATE, Aligned
from schwabot_kernels.lag.reference import touch_bp


class Windows(NamedTuple):
    """Windows in the order they close, those open at the end last.

    Number (buy V + sell of a pair, V V + c of cycle c), first row, row that closes it (N if none), end time, edge at
    the start, largest edge, the size then in base asset of the first leg, and the edge left after our latency, NaN past
    the end. Shape: [A].
    """

    window: torch.Tensor
    start_row: torch.Tensor
    end_row: torch.Tensor
    end_ns: torch.Tensor
    first_bp: torch.Tensor
    edge_bp: torch.Tensor
    qty: torch.Tensor
    rest_bp: torch.Tensor


class Edges(NamedTuple):
    """Net edge of every pair and cycle, -inf where a leg can't be traded; and without the expected move, whoever can.

    Shape: [N, K].
    """

    net: torch.Tensor
    rest: torch.Tensor


def touches(aligned: Aligned, rate: torch.Tensor, reference_bp: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log bid and log ask in bp; absolute, so that those of different assets can be added. Shape: [N, V]."""
    one = torch.ones_like(aligned.x)
    shift = torch.where(rate == 1, 0.0, reference_bp.to(aligned.x.dtype))
    return touch_bp(aligned.x, aligned.half, -one) + shift, touch_bp(aligned.x, aligned.half, one) + shift


def edges(
    ts_ns: torch.Tensor,
    aligned: Aligned,
    compensated: torch.Tensor,
    route: torch.Tensor,
    quoted: torch.Tensor,
    rate: torch.Tensor,
    move: torch.Tensor,
    fungible: torch.Tensor,
    fee_bp: torch.Tensor,
    leg: torch.Tensor,
    reference_bp: torch.Tensor,
    rate_stale_ns: int,
) -> Edges:
    """Edges of all pairs and cycles at every event.

    Args:
        ts_ns: event times. [N]
        aligned: as-of values.
        compensated: compensated phase, bp. [N, V]
        route: routes. [N, V]
        quoted: 1 where a stream has a touch. [V]
        rate: 1 where it is a rate. [V]
        move: what the asset's price is expected to do within our latency, bp. [N]
        fungible: see ``arbitrage.windows.ArbitrageParams``. [V, V]
        fee_bp: taker fee. [V]
        leg: legs of the cycles, see there. [C, 4]
        reference_bp: log price that 0 bp stands for, bp. [1]
        rate_stale_ns: oldest quote of a rate that counts.
    """
    streams = fee_bp.shape[0]
    one = torch.ones_like(aligned.x)
    bid, ask = touch_bp(aligned.x, aligned.half, -one), touch_bp(aligned.x, aligned.half, one)
    rest = bid[:, None, :] - ask[:, :, None] - (fee_bp[None, :] + fee_bp[:, None])
    rest = rest - torch.where(fungible == 1, 0.0, compensated[:, None, :] - compensated[:, :, None])
    use = (route == OK) & (quoted == 1)
    pair = use[:, None, :] & use[:, :, None] & (fungible >= 0)
    pair &= ~torch.eye(streams, dtype=torch.bool, device=fee_bp.device)
    net = torch.where(pair, rest - move.abs()[:, None, None], -torch.inf)
    pairs = Edges(net.flatten(1), rest.flatten(1))

    bid, ask = touches(aligned, rate, reference_bp)
    value = torch.stack((-ask - fee_bp, bid - fee_bp), -1).flatten(1)  # by 2 stream + side, [N, 2 V]
    fresh = (route == RATE) & (ts_ns[:, None] - aligned.last_ns <= rate_stale_ns)
    usable = (torch.where(rate == 1, fresh, route == OK) & (quoted == 1)).repeat_interleave(2, 1)
    none = leg < 0
    at = torch.where(none, 0, leg).long()
    rest = torch.where(none, 0.0, value[:, at]).sum(-1)
    asset = ~none & (rate[at >> 1] == 0)
    charge = torch.where(at % 2 == 0, move[:, None, None], -move[:, None, None]).clamp(min=0.0)
    net = rest - torch.where(asset, charge, 0.0).sum(-1)
    net = torch.where((usable[:, at] | none).all(-1), net, -torch.inf)
    return Edges(torch.cat((pairs.net, net), 1), torch.cat((pairs.rest, rest), 1))


def quantities(
    aligned: Aligned, window: torch.Tensor, row: torch.Tensor, rate: torch.Tensor, leg: torch.Tensor,
    reference_bp: torch.Tensor,
) -> torch.Tensor:  # fmt: skip
    """Largest amount that passes through all legs of window a at a row, in base asset of its first leg. Shape: [A]."""
    streams = rate.shape[0]
    there = torch.stack((aligned.depth * (1.0 - aligned.imbalance), aligned.depth * (1.0 + aligned.imbalance)), -1)
    there = there.flatten(1)  # by 2 stream + side, [N, 2 V]
    pair = window < streams * streams
    number = torch.where(pair, window, 0)
    buy, sell = torch.div(number, streams, rounding_mode="floor"), number % streams
    of_pair = torch.minimum(there[row, 2 * buy], there[row, 2 * sell + 1])
    if not leg.shape[0]:
        return of_pair

    bid, ask = touches(aligned, rate, reference_bp)
    legs = leg[torch.where(pair, 0, window - streams * streams)].long()
    amount = torch.ones_like(of_pair)
    size = torch.full_like(of_pair, torch.inf)
    for k in range(legs.shape[1]):
        v, sells, used = legs[:, k].clamp(min=0) >> 1, legs[:, k] % 2 == 1, legs[:, k] >= 0
        bought = torch.ones_like(amount) if k == 0 else amount / torch.exp(1e-4 * ask[row, v])
        base = torch.where(sells, amount, bought)
        size = torch.where(used, torch.minimum(size, there[row, legs[:, k].clamp(min=0)] / base), size)
        amount = torch.where(used, torch.where(sells, base * torch.exp(1e-4 * bid[row, v]), base), amount)
    return torch.where(pair, of_pair, size)


def windows(
    ts_ns: torch.Tensor,
    aligned: Aligned,
    edge: Edges,
    rate: torch.Tensor,
    leg: torch.Tensor,
    reference_bp: torch.Tensor,
    min_edge_bp: float,
    latency_ns: int,
    latency_max_ns: float,
) -> Windows:
    """Runs of events whose net edge is above the least one.

    Args:
        ts_ns: event times. [N]
        aligned: as-of values.
        edge: see ``edges``.
        rate: as there. [V]
        leg: as there. [C, 4]
        reference_bp: as there. [1]
        min_edge_bp: not counted itself.
        latency_ns: our own; the largest feed delay of the legs at the start is added to it.
        latency_max_ns: feed delay at which ``aligned.latency_weight`` is 0.
    """
    events, streams = aligned.x.shape
    is_open = (edge.net > min_edge_bp).T  # one row per window
    before = torch.zeros_like(is_open)
    before[:, 1:] = is_open[:, :-1]
    window, start = (is_open & ~before).nonzero(as_tuple=True)
    run = (is_open & ~before).flatten().cumsum(0).view_as(is_open) - 1
    open_window, open_row = is_open.nonzero(as_tuple=True)
    of = run[open_window, open_row]
    value = edge.net[open_row, open_window]
    best = value.new_full(window.shape, -torch.inf).scatter_reduce(0, of, value, "amax")
    length = torch.bincount(of, minlength=window.shape[0])
    at_best = torch.where(value == best[of], open_row, events)
    best_row = torch.full_like(window, events).scatter_reduce(0, of, at_best, "amin")

    pairs = streams * streams
    pair = torch.cartesian_prod(torch.arange(streams), torch.arange(streams)).view(-1, 2).to(window.device)
    filled = torch.cat((pair, pair), 1)
    if leg.shape[0]:
        of_cycle = torch.where(leg < 0, leg[:, :1], leg).long() >> 1
        filled = torch.cat((filled, of_cycle))
    delay = torch.floor((1.0 - aligned.latency_weight) * latency_max_ns + 0.5).long()
    due = ts_ns[start] + latency_ns + delay[start[:, None], filled[window]].amax(1)
    last = ts_ns[-1] if events else 0
    then = torch.searchsorted(ts_ns, due, right=True) - 1
    rest = torch.where(due <= last, edge.rest[then.clamp(min=0), window], torch.nan)

    end = start + length
    order = torch.argsort(end * (pairs + leg.shape[0]) + window)
    found = Windows(
        window,
        start,
        end,
        ts_ns[end.clamp(max=max(events - 1, 0))],
        edge.net[start, window],
        best,
        quantities(aligned, window, best_row, rate, leg, reference_bp),
        rest,
    )
    return Windows(*(column[order] for column in found))
