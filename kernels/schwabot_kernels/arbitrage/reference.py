"""Arbitrage windows in plain torch. N events, V streams, A windows.

    edge = ln(bid_b / ask_a) - fees - |move|, less phi_b - phi_a where a and b don't deliver the same thing

Within our latency the price moves against the leg that buys or against the one that sells, by |move| either way.

Runs over a whole batch from the empty state; any device, any float type.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from schwabot_kernels.align.reference import OK, Aligned
from schwabot_kernels.lag.reference import touch_bp


class Windows(NamedTuple):
    """Windows in the order they close, those open at the end last.

    Streams bought and sold, first row, row that closes it (N if none), end time, largest edge in bp and the size there
    in base asset. Shape: [A].
    """

    buy: torch.Tensor
    sell: torch.Tensor
    start_row: torch.Tensor
    end_row: torch.Tensor
    end_ns: torch.Tensor
    edge_bp: torch.Tensor
    qty: torch.Tensor


def edges(
    aligned: Aligned,
    compensated: torch.Tensor,
    route: torch.Tensor,
    quoted: torch.Tensor,
    move: torch.Tensor,
    fungible: torch.Tensor,
    fee_bp: torch.Tensor,
) -> torch.Tensor:
    """Net edge of buying a and selling b, bp; -inf where either is routed out or has no quotes. Shape: [N, V, V]."""
    one = torch.ones_like(aligned.x)
    bid, ask = touch_bp(aligned.x, aligned.half, -one), touch_bp(aligned.x, aligned.half, one)
    edge = bid[:, None, :] - ask[:, :, None] - (fee_bp[None, :] + fee_bp[:, None]) - move.abs()[:, None, None]
    edge = edge - torch.where(fungible == 1, 0.0, compensated[:, None, :] - compensated[:, :, None])
    use = (route == OK) & (quoted == 1)
    pair = use[:, None, :] & use[:, :, None] & ~torch.eye(fee_bp.shape[0], dtype=torch.bool, device=fee_bp.device)
    return torch.where(pair, edge, -torch.inf)


def windows(ts_ns: torch.Tensor, aligned: Aligned, edge: torch.Tensor, min_edge_bp: float) -> Windows:
    """Runs of events whose net edge is above the least one.

    Args:
        ts_ns: event times. [N]
        aligned: as-of values.
        edge: see ``edges``. [N, V, V]
        min_edge_bp: not counted itself.
    """
    events, streams = aligned.x.shape
    is_open = (edge > min_edge_bp).reshape(events, -1).T  # one row per ordered pair
    before = torch.zeros_like(is_open)
    before[:, 1:] = is_open[:, :-1]
    pair, start = (is_open & ~before).nonzero(as_tuple=True)
    run = (is_open & ~before).flatten().cumsum(0).view_as(is_open) - 1
    open_pair, open_row = is_open.nonzero(as_tuple=True)
    of = run[open_pair, open_row]
    value = edge.reshape(events, -1)[open_row, open_pair]
    best = value.new_full(pair.shape, -torch.inf).scatter_reduce(0, of, value, "amax")
    length = torch.bincount(of, minlength=pair.shape[0])
    at_best = torch.where(value == best[of], open_row, events)
    best_row = torch.full_like(pair, events).scatter_reduce(0, of, at_best, "amin")

    buy, sell = torch.div(pair, streams, rounding_mode="floor"), pair % streams
    ask_side = aligned.depth[best_row, buy] * (1.0 - aligned.imbalance[best_row, buy])
    bid_side = aligned.depth[best_row, sell] * (1.0 + aligned.imbalance[best_row, sell])
    end = start + length
    order = torch.argsort(end * (streams * streams) + pair)
    found = Windows(
        buy, sell, start, end, ts_ns[end.clamp(max=max(events - 1, 0))], best, torch.minimum(ask_side, bid_side)
    )
    return Windows(*(column[order] for column in found))
