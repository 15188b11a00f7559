"""What acting later costs, in plain torch. N events, V streams, L latencies, D decisions.

    move     (remembered mean + echo) / 2 times the share of the horizon that our latency takes
    expected cost of buying max(0, move), of selling max(0, -move)
    penalty  L = clip(e^{-entropy} max(0, dp) / P_max, 0, 1)
    range    hi <- max(x, x + (hi - x) e^{-dt/tau}),  lo likewise,  P_max = max(hi - lo, floor)
    realised cost_l = s (touch(t + l) - touch(t)),  touch = ask for a buy, bid for a sell, as of receive time
    curve    expected cost_l = m + sum w (cost_l - m, then) / (sum w + n0), m = s (predicted + (mean + echo) / 2)
             min(1, l / h), over earlier decisions of the stream whose cost_l was known, w = e^{-time since then / tau}

Runs over a whole batch from the empty state; any device, any float type.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from schwabot_kernels import scan
from schwabot_kernels.align.reference import OK, Aligned
from schwabot_kernels.outcomes import decay

DEAD_BP = 1e-6


class Decisions(NamedTuple):
    """First events of each desync, in order.

    row, stream, side (+1 buy); entropy in nats and P_max in bp at that event. [D]
    cost in bp and its penalty, NaN past the end. [D, L]
    """

    row: torch.Tensor
    stream: torch.Tensor
    side: torch.Tensor
    entropy: torch.Tensor
    range_bp: torch.Tensor
    cost: torch.Tensor
    penalty: torch.Tensor


def penalty(move_bp: torch.Tensor, entropy: torch.Tensor, range_bp: torch.Tensor) -> torch.Tensor:
    """L(dp, entropy, P_max) = clip(exp(-entropy) max(0, dp) / P_max, 0, 1).

    Args:
        move_bp: the favourable move that is missed; any unit, the range's.
        entropy: of the outcome, nats.
        range_bp: recent range of the price, above 0.

    Example:
        >>> value = penalty(torch.tensor(1000.0), torch.tensor(0.3), torch.tensor(70000.0))
        >>> round(value.item(), 7)
        0.0105831
    """
    return torch.clamp(torch.exp(-entropy) * move_bp.clamp(min=0.0) / range_bp, max=1.0)


def price_range(dt_s: torch.Tensor, ghost: torch.Tensor, tau_s: float, floor_bp: float) -> torch.Tensor:
    """P_max: recent high minus recent low, both sinking back to the price; at least the floor. Shape: [N]."""
    known = ~ghost.isnan()
    g = torch.where(known, ghost, 0.0)
    start = known & (known.cumsum(0) == 1)
    keep = torch.where(start, 0.0, torch.where(known, decay(dt_s, tau_s), 1.0))

    def high(x: torch.Tensor) -> torch.Tensor:
        return scan.max_affine(torch.where(known, x, -torch.inf), keep, torch.where(known, (1.0 - keep) * x, 0.0))

    width = torch.where(known.cumsum(0) > 0, high(g) + high(-g), 0.0)
    return width.clamp(min=floor_bp)


def expected_move(
    ghost: torch.Tensor, mean: torch.Tensor, echo: torch.Tensor, predicted: torch.Tensor, share: float
) -> torch.Tensor:
    """What the price is expected to do within our latency, bp; 0 without a ghost. Shape: [N]."""
    return torch.where(ghost.isnan(), 0.0, share * (predicted + 0.5 * (mean + echo)))


def expected_lag(stream: torch.Tensor, deviation: torch.Tensor, move: torch.Tensor) -> torch.Tensor:
    """The move where it is favourable to the event's stream: up where that is cheap, down where it is dear, bp.

    Shape: [N]
    """
    rows = torch.arange(stream.shape[0], device=stream.device)
    d = deviation[rows, stream.long()]
    side = (d > DEAD_BP).to(move.dtype) - (d < -DEAD_BP).to(move.dtype)
    return (side * move).clamp(min=0.0)


def touch_bp(x: torch.Tensor, half: torch.Tensor, side: torch.Tensor) -> torch.Tensor:
    """Log price of the side that is paid: ask for +1, bid for -1."""
    return x + 1e4 * torch.log1p(side * half * 1e-4)


def decisions(
    ts_ns: torch.Tensor,
    aligned: Aligned,
    deviation: torch.Tensor,
    route: torch.Tensor,
    desync_bp: float,
    latencies_ns: torch.Tensor,
    quoted: torch.Tensor,
    entropy: torch.Tensor,
    range_bp: torch.Tensor,
) -> Decisions:
    """What acting later than each first event of a desync cost, with everything that stands at the end of the data.

    Args:
        ts_ns: event times. [N]
        aligned: as-of values.
        deviation: of every stream. [N, V]
        route: of every stream. [N, V]
        desync_bp: threshold on |deviation|.
        latencies_ns: [L]
        quoted: 1 where a stream has a touch; the others decide nothing. [V]
        entropy: of the outcome, nats. [N]
        range_bp: P_max. [N]
    """
    out = (deviation.abs() > desync_bp) & (route == OK) & (quoted == 1)
    begins = out.clone()
    begins[1:] &= ~out[:-1]
    row, stream = begins.nonzero(as_tuple=True)
    side = torch.where(deviation[row, stream] > 0, 1, -1)
    due = ts_ns[row][:, None] + latencies_ns[None, :]
    # The last event at or before the due time, the last of several at the same time.
    source = torch.searchsorted(ts_ns, due, right=True) - 1
    now = touch_bp(aligned.x[row, stream], aligned.half[row, stream], side)
    at = stream[:, None].expand_as(source)
    then = touch_bp(aligned.x[source, at], aligned.half[source, at], side[:, None])
    cost = torch.where(due <= ts_ns[-1:], side[:, None] * (then - now[:, None]), torch.nan)
    share = penalty(cost, entropy[row][:, None], range_bp[row][:, None])
    return Decisions(row, stream, side, entropy[row], range_bp[row], cost, share)


def expected_costs(
    ts_ns: torch.Tensor,
    found: Decisions,
    mean: torch.Tensor,
    echo: torch.Tensor,
    predicted: torch.Tensor,
    latencies_ns: torch.Tensor,
    horizon_ns: float,
    tau_s: float,
    prior_decisions: float,
) -> torch.Tensor:
    """What decisions were expected to cost when they were made, from what earlier ones were known to have cost by then.

    Args:
        ts_ns: event times. [N]
        found: the decisions.
        mean: remembered mean outcome, bp. [N]
        echo: echo memory's readout, bp. [N]
        predicted: the ghost's move a trained head expects, bp, 0 without one. [N]
        latencies_ns: [L]
        horizon_ns: of the outcomes.
        tau_s: decay time of what is known.
        prior_decisions: n0, decisions that weigh as much as the registry's expectation.

    Shape: [D, L]
    """
    outlook = found.side * (predicted + 0.5 * (mean + echo))[found.row]
    prior = outlook[:, None] * (latencies_ns.to(outlook) / horizon_ns).clamp(max=1.0)
    at = ts_ns[found.row]
    same = found.stream[:, None] == found.stream[None, :]
    columns = []
    for k in range(latencies_ns.shape[0]):
        since_ns = at[:, None] - (at + latencies_ns[k])[None, :]
        known = same & (since_ns > 0) & ~found.cost[:, k].isnan()[None, :]
        weight = torch.where(known, decay(1e-9 * since_ns.clamp(min=0).to(prior.dtype), tau_s), 0.0)
        excess = torch.where(found.cost[:, k].isnan(), 0.0, found.cost[:, k] - prior[:, k])
        columns.append(prior[:, k] + weight @ excess / (weight.sum(1) + prior_decisions))
    return torch.stack(columns, dim=1)
