"""Weighted consensus price in two stages, in plain torch. N events, V streams.

    w_v  = ln(1 + depth_v / mean depth) e^{-lambda age} latency weight, 0 where routed out
    g0   = sum w (x - phi^) / sum w
    g    = the same with w_v (count_v + n0) / (errors_v + n0 s0²), errors = decayed squares of
         x - phi(t) - g0(t + h)

Runs over a whole batch from the empty state; any device, any float type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from schwabot_kernels import scan
from schwabot_kernels.align.reference import OK, QUOTE, TRADE, Aligned
from schwabot_kernels.outcomes import NS, decay, when_due

if TYPE_CHECKING:
    from schwabot_kernels.consensus.cpu import ConsensusParams


class Consensus(NamedTuple):
    """Ghost and first-stage ghost, bp, NaN where nobody takes part [N]; weights of both stages [N, V].

    depth_weight: share of tau_depth observed so far [N]; error_sum, error_count: decayed judgements [N, V].
    """

    ghost: torch.Tensor
    first: torch.Tensor
    first_weight: torch.Tensor
    weight: torch.Tensor
    depth_weight: torch.Tensor
    error_sum: torch.Tensor
    error_count: torch.Tensor


def stage_weight(
    depth: torch.Tensor, age_s: torch.Tensor, latency_weight: torch.Tensor, age_decay_per_s: float
) -> torch.Tensor:
    """ln(1 + relative depth) exp(-lambda age) latency weight.

    Example:
        >>> one = torch.ones((), dtype=torch.float64)
        >>> round(stage_weight(one, 2.0 * one, one, 0.5).item(), 12)  # ln 2 / e
        0.254994597434
    """
    return torch.log1p(depth) * torch.exp(-age_decay_per_s * age_s) * latency_weight


def weighted_mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """sum w x / sum w over the last axis, NaN where no weight is positive.

    Example:
        >>> weighted_mean(torch.tensor([1.0, 4.0]), torch.tensor([2.0, 1.0])).item()
        2.0
    """
    used = weight > 0
    top = torch.where(used, weight * values, 0.0).sum(-1)
    bottom = torch.where(used, weight, 0.0).sum(-1)
    return torch.where(bottom > 0, top / bottom, torch.nan)


def mean_depth(aligned: Aligned, route: torch.Tensor, tau_s: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Decayed mean over time of the mean depth over the streams that take part, and the share of tau it has seen.

    Shape: [N] each.
    """
    known = ~aligned.depth.isnan() & (route == OK)
    row = torch.where(known.any(1), torch.where(known, aligned.depth, 0.0).sum(1) / known.sum(1), torch.nan)
    # A stream's depth, once known, can become unknown again; the last mean stands meanwhile.
    rows = torch.arange(row.shape[0], device=row.device)
    last = torch.where(row.isnan(), -1, rows).cummax(0).values
    now = torch.where(last >= 0, row[last.clamp(min=0)], torch.nan)
    keep = decay(aligned.dt_s, tau_s)
    before = torch.cat((now.new_full((1,), torch.nan), now[:-1]))
    keep = torch.where(before.isnan(), 1.0, keep)
    added = torch.stack(((1.0 - keep) * before.nan_to_num(0.0), 1.0 - keep), -1)
    total, weight = scan.affine(keep[:, None], added).unbind(-1)
    return torch.where(weight > 0, total / weight, now), weight


def consensus(
    ts_ns: torch.Tensor,
    stream: torch.Tensor,
    kind: torch.Tensor,
    aligned: Aligned,
    phase: torch.Tensor,
    compensated: torch.Tensor,
    route: torch.Tensor,
    quoted: torch.Tensor,
    params: ConsensusParams,
) -> Consensus:
    """The weighted ghost.

    Args:
        ts_ns: event times. [N]
        stream: of each event. [N]
        kind: of each event. [N]
        aligned: as-of values.
        phase: see the phase op. [N, V]
        compensated: see the phase op. [N, V]
        route: see the phase op. [N, V]
        quoted: 1 where the stream has quotes; where not, its trades are its prices. [V]
        params: see GhostBridgeConfig.
    """
    events, streams = aligned.x.shape
    dtype = aligned.x.dtype
    relative, depth_weight = mean_depth(aligned, route, params.tau_depth_s)
    depth = (aligned.depth / relative[:, None]).nan_to_num(1.0)
    age_s = (ts_ns[:, None] - aligned.last_ns).to(dtype) * NS
    weight = stage_weight(depth, age_s, aligned.latency_weight, params.age_decay_per_s)
    weight = torch.where(route == OK, weight, 0.0)
    values = aligned.x - compensated
    first = weighted_mean(values, weight)

    rows = torch.arange(events, device=ts_ns.device)
    own = stream.long()
    judged = ((kind == QUOTE) | (kind == TRADE) & (quoted[own] == 0)) & (route[rows, own] == OK)
    u = own[judged]
    due = when_due(ts_ns, ts_ns[judged] + params.horizon_ns)
    error = aligned.x[judged, u] - phase[judged, u] - first[due.source]
    written = due.known & ~error.isnan()
    row, u, error = due.row[written], u[written], error[written]
    added = torch.zeros(events, streams, 2, dtype=dtype, device=ts_ns.device)
    added.index_put_((row, u), torch.stack((error * error, torch.ones_like(error)), -1), accumulate=True)
    keep = decay(aligned.dt_s, params.tau_reliability_s)
    error_sum, error_count = scan.affine(keep[:, None, None], added).unbind(-1)

    prior_sum = params.prior_count * params.prior_variance_bp2
    final = weight * (error_count + params.prior_count) / (error_sum + prior_sum)
    return Consensus(weighted_mean(values, final), first, weight, final, depth_weight, error_sum, error_count)
