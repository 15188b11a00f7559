"""Phase of every stream, its drift, and routing, in plain torch. N events, V streams, P = V (V - 1) / 2 pairs.

    beta_vu  decayed mean of x_v - x_u over the time both were valid; before that, x_v - x_u when both were first seen
    phi_v    mean of beta_vu over the streams seen so far, plus a constant that keeps their mean when one joins

Runs over a whole batch from the empty state; any device, any float type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from schwabot_kernels import scan
from schwabot_kernels.align.reference import OK, UNSEEN, Aligned
from schwabot_kernels.outcomes import decay

if TYPE_CHECKING:
    from schwabot_kernels.phase.cpu import PhaseParams

STABLE, DRIFTING, CRITICAL = 0, 1, 2
ROUTE_STALE, ROUTE_DRIFTING = 2, 4
RING = 64


class Pairs(NamedTuple):
    """Mean beta and its weight W, the share of tau observed so far. [N, P]; pair p is (first[p], second[p]). [P]."""

    beta: torch.Tensor
    weight: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor


class Drifted(NamedTuple):
    """Compensated phase, bp; drift; status; route. Shape: [N, V]."""

    compensated: torch.Tensor
    drift: torch.Tensor
    status: torch.Tensor
    route: torch.Tensor


def is_valid(ts_ns: torch.Tensor, last_ns: torch.Tensor, bad: torch.Tensor, stale_ns: int) -> torch.Tensor:
    """True where a stream has a good quote that is not too old. Shape: [N, V]."""
    return (bad == OK) & (ts_ns[:, None] - last_ns <= stale_ns)


def pair_means(ts_ns: torch.Tensor, aligned: Aligned, tau_s: float, stale_ns: int) -> Pairs:
    """beta_vu = S / W of every pair; S <- a S + (1 - a) (x_v - x_u), W <- a W + (1 - a), a = e^{-dt/tau}."""
    events, streams = aligned.x.shape
    first, second = torch.triu_indices(streams, streams, 1, device=ts_ns.device)
    apart = aligned.x[:, first] - aligned.x[:, second]
    # What stood before the event held for the whole gap.
    over_gap = torch.zeros(events, streams, dtype=torch.bool, device=ts_ns.device)
    over_gap[1:] = is_valid(ts_ns[1:], aligned.last_ns[:-1], aligned.bad[:-1], stale_ns)
    both = over_gap[:, first] & over_gap[:, second]
    before = torch.zeros_like(apart)
    before[1:] = torch.where(both[1:], apart[:-1], 0.0)
    keep = torch.where(both, decay(aligned.dt_s, tau_s)[:, None], 1.0)
    sums = scan.affine(keep[..., None], torch.stack(((1.0 - keep) * before, 1.0 - keep), -1))
    total, weight = sums.unbind(-1)
    seen = aligned.bad != UNSEEN
    both_seen = seen[:, first] & seen[:, second]
    at_first = apart.gather(0, both_seen.byte().argmax(0, keepdim=True))
    return Pairs(torch.where(weight > 0, total / weight, at_first), weight, first, second)


def phases(ts_ns: torch.Tensor, aligned: Aligned, tau_s: float, stale_ns: int) -> torch.Tensor:
    """phi of every stream, bp; NaN while unseen.

    Args:
        ts_ns: event times. [N]
        aligned: as-of values.
        tau_s: decay time.
        stale_ns: age at which a stream stops counting.

    Shape: [N, V]
    """
    pairs = pair_means(ts_ns, aligned, tau_s, stale_ns)
    seen = aligned.bad != UNSEEN
    beta = torch.where(seen[:, pairs.first] & seen[:, pairs.second], pairs.beta, 0.0)
    total = torch.zeros_like(aligned.x)
    total.index_add_(1, pairs.first, beta)
    total.index_add_(1, pairs.second, -beta)
    count = seen.sum(1)
    mean = total / count.clamp(min=1)[:, None]
    # Means sum to zero over the streams seen; a newcomer's would move all others by its share, so it is given back.
    offset = torch.zeros_like(aligned.dt_s)
    for v in range(aligned.x.shape[1]):
        joins = seen[:, v] & ~torch.cat((seen.new_zeros(1), seen[:-1, v]))
        back = torch.where(joins & (count > 1), mean[:, v] / (count - 1).clamp(min=1), 0.0)
        offset += back.cumsum(0)
    return torch.where(seen, mean + offset[:, None], torch.nan)


def drift_and_routes(ts_ns: torch.Tensor, aligned: Aligned, phase: torch.Tensor, params: PhaseParams) -> Drifted:
    """How far the phase moved over the window, what that makes of the stream, and who takes part in the ghost.

    The past phase is the one at the last event strictly before the grid time floor(t/g) g - window, g = window / 64,
    once that lies after the first grid time.
    """
    grid_ns = params.window_ns // RING
    grid = torch.div(ts_ns, grid_ns, rounding_mode="floor")
    past_grid = grid - RING
    row = torch.searchsorted(ts_ns, past_grid * grid_ns) - 1
    past = torch.where((past_grid > grid[:1])[:, None], phase[row.clamp(min=0)], torch.nan)
    move = (phase - past).nan_to_num(0.0)
    drift = move.abs() / past.nan_to_num(0.0).abs().clamp(min=1.0)
    status = torch.where(
        drift >= params.critical_at, CRITICAL, torch.where(drift >= params.drifting_at, DRIFTING, STABLE)
    )
    share = torch.tensor([0.0, params.k0, min(2.0 * params.k0, params.k_max)], dtype=phase.dtype, device=phase.device)[
        status
    ]
    fresh = is_valid(ts_ns, aligned.last_ns, aligned.bad, params.stale_ns)
    in_use = torch.where(status == CRITICAL, ROUTE_DRIFTING, OK)
    route = torch.where(aligned.bad != OK, aligned.bad, torch.where(fresh, in_use, ROUTE_STALE))
    return Drifted(phase + share * move, drift, status.to(torch.int8), route.to(torch.int8))
