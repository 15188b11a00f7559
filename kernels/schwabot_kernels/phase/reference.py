"""Phase of every stream, its drift, and routing, in plain torch. N events, V streams, P = V (V - 1) / 2 pairs.

    beta_vu  decayed mean of x_v - x_u over the time both were valid, after what it was seeded with
    phi_v    mean of beta_vu over the streams seen so far, plus a constant c

A stream joins the n seen before with the phase that makes it agree with them, and leaves theirs alone:

    m = mean over the valid old v of x_v - phi_v,   b = x_new - m - c,   c <- c + b / (n + 1)
    beta_v,new = (phi_v - c) - b

Runs over a whole batch from the empty state; any device, any float type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from schwabot_kernels import scan
from schwabot_kernels.align.reference import OK, Aligned
from schwabot_kernels.outcomes import decay

if TYPE_CHECKING:
    from schwabot_kernels.phase.cpu import PhaseParams

STABLE, DRIFTING, CRITICAL = 0, 1, 2
ROUTE_STALE, ROUTE_DRIFTING = 2, 4
RING = 64
JOIN_WEIGHT = 0.01


class Drifted(NamedTuple):
    """Compensated phase, bp; drift; status; route. Shape: [N, V]."""

    compensated: torch.Tensor
    drift: torch.Tensor
    status: torch.Tensor
    route: torch.Tensor


def is_valid(ts_ns: torch.Tensor, last_ns: torch.Tensor, bad: torch.Tensor, stale_ns: int) -> torch.Tensor:
    """True where a stream has a good quote that is not too old. Shape: [N, V]."""
    return (bad == OK) & (ts_ns[:, None] - last_ns <= stale_ns)


def phases(ts_ns: torch.Tensor, aligned: Aligned, tau_s: float, stale_ns: int) -> torch.Tensor:
    """phi of every stream, bp; NaN while unseen.

    S <- a S + (1 - a) (x_v - x_u), W <- a W + (1 - a), beta_vu = S / W, a = e^{-dt/tau}; a join adds 0.01 beta to S
    and 0.01 to W.

    Args:
        ts_ns: event times. [N]
        aligned: as-of values.
        tau_s: decay time.
        stale_ns: age at which a stream stops counting.

    Shape: [N, V]
    """
    events, streams = aligned.x.shape
    first, second = torch.triu_indices(streams, streams, 1, device=ts_ns.device)
    # What stood before the event held for the whole gap.
    valid = is_valid(ts_ns, aligned.last_ns, aligned.bad, stale_ns)
    over_gap = torch.zeros_like(valid)
    over_gap[1:] = is_valid(ts_ns[1:], aligned.last_ns[:-1], aligned.bad[:-1], stale_ns)
    both = over_gap[:, first] & over_gap[:, second]
    keep = torch.where(both, decay(aligned.dt_s, tau_s)[:, None], 1.0)
    apart = torch.zeros_like(keep)
    apart[1:] = torch.where(both[1:], (aligned.x[:, first] - aligned.x[:, second])[:-1], 0.0)
    added = torch.stack(((1.0 - keep) * apart, 1.0 - keep), -1)
    seen = (aligned.bad == OK).cumsum(0) > 0  # never of a rate
    offset = torch.zeros_like(aligned.dt_s)

    def sums(upto: int) -> torch.Tensor:
        """Sum over u of beta_vu."""
        total, weight = scan.affine(keep[:upto, :, None], added[:upto]).unbind(-1)
        beta = torch.where(weight > 0, total / weight, 0.0)
        return torch.zeros_like(aligned.x[:upto]).index_add_(1, first, beta).index_add_(1, second, -beta)

    old = torch.zeros(streams, dtype=torch.bool, device=ts_ns.device)
    for row, joined in sorted((int(seen[:, v].byte().argmax()), v) for v in range(streams) if bool(seen[:, v].any())):
        if old.any():
            trusted = old & valid[row] if bool((old & valid[row]).any()) else old
            centred = sums(row + 1)[row] / old.sum()  # phi - c
            b = aligned.x[row, joined] - (aligned.x[row] - centred)[trusted].mean()
            for p, (v, u) in enumerate(zip(first.tolist(), second.tolist(), strict=True)):
                if joined in (v, u) and bool(old[v] | old[u]):
                    beta = centred[v] - b if u == joined else b - centred[u]
                    added[row, p] = JOIN_WEIGHT * torch.stack((beta, torch.ones_like(beta)))
            offset[row:] += b / (old.sum() + 1)
        old[joined] = True
    phi = sums(events) / seen.sum(1).clamp(min=1)[:, None] + offset[:, None]
    return torch.where(seen, phi, torch.nan)


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
