"""From evidence to a voltage lane, in plain torch. N events, V streams, K = 16 buckets.

    forecast  m_v = slope_v d_v (+ the registry's mean where trusted), slope_v = sum d y / sum d², decayed
    bucket    floor(2 log2(|m| / sigma)) + 8; remembers E = sign(m) y - half spread over the horizon
    bits      b = min(kappa / 2 log2(1 + n SNR), 16),  SNR = max(0, mean E)² / var E,  n = min(n_eff, cap)
    voltage   V = V0 2^{b/8}; rises by at most slew dt, falls at once
    lane      clamp(lane before, lane(V - margin) if latency < max else LOW, lane(V))

Runs over a whole batch from the empty state; any device, any float type.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch

from schwabot_kernels import scan
from schwabot_kernels.align.reference import OK
from schwabot_kernels.outcomes import NS, GroupSums, decay, when_due

if TYPE_CHECKING:
    from schwabot_kernels.lanes.cpu import LanesParams

BUCKETS, CENTRE = 16, 8
SLOPE_PRIOR_BP2 = 1.0
MAX_BITS = 16.0
NONE = -1


class Turns(NamedTuple):
    """Outcomes that are remembered: one stream's per event, in turn.

    Decision row, its stream, row that writes it, move in bp. Shape: [M].
    """

    row: torch.Tensor
    stream: torch.Tensor
    written: torch.Tensor
    move: torch.Tensor


class Evidence(NamedTuple):
    """SNR, bits, mean net edge E in bp of each forecast's bucket, and the bucket. Shape: [N, V]."""

    snr: torch.Tensor
    bits: torch.Tensor
    edge: torch.Tensor
    bucket: torch.Tensor


def bits_of(evidence: torch.Tensor, kappa: float = 4.0) -> torch.Tensor:
    """b = min(kappa / 2 log2(1 + n SNR), 16).

    Example:
        >>> bits_of(torch.tensor([0.0, 15.0, 1e9])).tolist()
        [0.0, 8.0, 16.0]
    """
    return (0.5 * kappa * torch.log1p(evidence) / math.log(2.0)).clamp(max=MAX_BITS)


def voltage(bits: torch.Tensor, v0_v: float = 0.8, v_max_v: float = 3.3) -> torch.Tensor:
    """V = V0 2^{b/8}, at most v_max.

    Example:
        >>> [round(v, 6) for v in voltage(torch.tensor([0.0, 8.0, 16.0])).tolist()]
        [0.8, 1.6, 3.2]
    """
    return (v0_v * torch.exp2(bits / 8.0)).clamp(max=v_max_v)


def bits_of_voltage(volts: torch.Tensor, v0_v: float = 0.8) -> torch.Tensor:
    """b(V) = 8 log2(V / V0).

    Example:
        >>> bits_of_voltage(torch.tensor([0.8, 1.6, 3.2])).tolist()
        [0.0, 8.0, 16.0]
    """
    return 8.0 * torch.log2(volts / v0_v)


def bucket_of(ratio: torch.Tensor) -> torch.Tensor:
    """Half octave of |m| / sigma from ratio = m² / sigma², 8 for [1, 2), clipped to [0, 15].

    Example:
        >>> bucket_of(torch.tensor([0.0, 0.99, 1.0, 1.99, 2.0, 1e9])).tolist()
        [0, 7, 8, 8, 9, 15]
    """
    exponent = torch.frexp(ratio).exponent.long() - 1 + CENTRE
    return torch.where(ratio > 0, exponent.clamp(0, BUCKETS - 1), 0)


def turns(ts_ns: torch.Tensor, x: torch.Tensor, deviation: torch.Tensor, route: torch.Tensor, horizon_ns: int) -> Turns:
    """Event i remembers the move of stream i mod V, if that takes part; resolved within the batch or not at all."""
    events, streams = x.shape
    rows = torch.arange(events, device=ts_ns.device)
    own = rows % streams
    rows = rows[(route[rows, own] == OK) & ~deviation[rows, own].isnan()]
    due = when_due(ts_ns, ts_ns[rows] + horizon_ns)
    rows, written, source = rows[due.known], due.row[due.known], due.source[due.known]
    own = rows % streams
    return Turns(rows, own, written, x[source, own] - x[rows, own])


def slopes(ts_ns: torch.Tensor, deviation: torch.Tensor, kept: Turns, tau_s: float) -> torch.Tensor:
    """Decayed regression of moves on deviations through the origin; 0 before the first outcome. Shape: [N, V]."""
    events, streams = deviation.shape
    d = deviation[kept.row, kept.stream]
    t_kept = ts_ns[kept.row]
    sums = GroupSums(kept.stream, kept.written, t_kept, torch.stack((d * kept.move, d * d), 1), tau_s, events)
    # Sums are in weights of the newest outcome, and so is the prior.
    slope = sums.sums[:, 0] / (sums.sums[:, 1] + SLOPE_PRIOR_BP2)
    rows = torch.arange(events, device=ts_ns.device)[:, None].expand(events, streams)
    place = sums.find(torch.arange(streams, device=ts_ns.device).expand(events, streams), rows)
    return torch.where(place >= 0, slope[place.clamp(min=0)], 0.0) if slope.shape[0] else torch.zeros_like(deviation)


def forecasts(
    deviation: torch.Tensor,
    route: torch.Tensor,
    slope: torch.Tensor,
    memory: torch.Tensor,
    given: torch.Tensor | None = None,
) -> torch.Tensor:
    """m = given, else slope d, plus memory; 0 where routed out; memory [N] is the registry's mean where trusted.

    Shape: given, a trained head's forecasts, NaN where it has none, [N, V]; the same back.
    """
    live = (route == OK) & ~deviation.isnan()
    m = slope * deviation
    if given is not None:
        m = torch.where(given.isnan(), m, given)
    return torch.where(live, m + memory[:, None], 0.0)


def energy_ratio(
    ts_ns: torch.Tensor, forecast: torch.Tensor, deviation: torch.Tensor, route: torch.Tensor, tau_s: float
) -> torch.Tensor:
    """m² / sigma², sigma² the decayed mean of the stream's m² on its turns before the event. Shape: [N, V]."""
    events, streams = forecast.shape
    rows = torch.arange(events, device=ts_ns.device)
    own = rows % streams
    kept = rows[(route[rows, own] == OK) & ~deviation[rows, own].isnan()]
    m = forecast[kept, kept % streams]
    # Known from the next event on.
    sums = GroupSums(
        kept % streams, kept + 1, ts_ns[kept], torch.stack((m * m, torch.ones_like(m)), 1), tau_s, events + 1
    )
    place = sums.find(
        torch.arange(streams, device=ts_ns.device).expand(events, streams), rows[:, None].expand(events, streams)
    )
    if sums.sums.shape[0] == 0:
        return torch.zeros_like(forecast)
    energy, weight = sums.sums.unbind(1)
    inverse = torch.where(energy > 0, weight / energy, 0.0)
    return forecast * forecast * torch.where(place >= 0, inverse[place.clamp(min=0)], 0.0)


def evidence(
    ts_ns: torch.Tensor,
    half: torch.Tensor,
    forecast: torch.Tensor,
    ratio: torch.Tensor,
    kept: Turns,
    params: LanesParams,
) -> Evidence:
    """What followed forecasts of the same size.

    Args:
        ts_ns: event times. [N]
        half: half spread, bp. [N, V]
        forecast: m. [N, V]
        ratio: m² / sigma². [N, V]
        kept: the outcomes that are remembered.
        params: see VoltageLanesConfig.
    """
    events, streams = forecast.shape
    bucket = torch.where(forecast != 0, bucket_of(ratio), NONE)
    k = bucket[kept.row, kept.stream]
    row, v, written, move = (column[k >= 0] for column in kept)
    m = forecast[row, v]
    e = torch.where(m > 0, move, -move) - half[row, v]
    group = v * BUCKETS + k[k >= 0]
    t_kept = ts_ns[row]

    # Outcomes that overlap count for the share of the horizon since the bucket's last one.
    order = torch.sort(group, stable=True).indices
    gap = t_kept[order].diff()
    same = group[order].diff() == 0
    share = torch.ones_like(e)
    share[order[1:]] = torch.where(same, (gap.to(e) / params.horizon_ns).clamp(max=1.0), 1.0)
    values = torch.stack((share, torch.ones_like(e), e, e * e), 1)
    sums = GroupSums(group, written, t_kept, values, params.tau_s, events)
    _, count, total, squares = sums.sums.unbind(1)
    # One more outcome, of zero edge and as heavy as the newest.
    mean = total / (count + 1.0)
    variance = (squares / (count + 1.0) - mean * mean).clamp(min=1e-6)
    snr = torch.where(mean > 0, mean * mean / variance, 0.0)

    asked = torch.arange(streams, device=ts_ns.device) * BUCKETS + bucket
    rows = torch.arange(events, device=ts_ns.device)[:, None].expand(events, streams)
    # A forecast of zero asks for no bucket.
    place = torch.where(bucket >= 0, sums.find(asked.clamp(min=0), rows), NONE)
    if mean.shape[0] == 0:
        zero = torch.zeros_like(forecast)
        return Evidence(zero, zero, zero, bucket)
    here, at = place >= 0, place.clamp(min=0)
    effective = sums.sums[at, 0] * decay((ts_ns[:, None] - sums.ts_ns[at]).to(e) * NS, params.tau_s)
    n = effective.clamp(max=params.count_cap)
    now = torch.where(here, snr[at], 0.0)
    return Evidence(now, bits_of(now * n, params.kappa), torch.where(here, mean[at], 0.0), bucket)


def slew(dt_s: torch.Tensor, volts: torch.Tensor, start_v: float, slew_v_per_s: float) -> torch.Tensor:
    """V_i = min(V_i, V_{i-1} + slew dt). Shape: [N, V]."""
    return scan.min_plus(volts, (slew_v_per_s * dt_s)[:, None].expand_as(volts), start_v)


def hysteresis(
    volts: torch.Tensor, latency_weight: torch.Tensor, quoted: torch.Tensor, params: LanesParams
) -> torch.Tensor:
    """Lane, left upward only when the voltage is a margin above the edge and the latency allows it; LOW without quotes.

    Shape:
        [N, V], quoted [V]; returns [N, V].
    """

    def lane_at(v: torch.Tensor) -> torch.Tensor:
        return (v >= params.medium).long() + (v >= params.high).long()

    upper = torch.where(quoted == 1, lane_at(volts), 0)
    lower = torch.where(latency_weight > params.weight_min, lane_at(volts - params.margin), 0)
    return scan.clamp(lower, upper, 0)


def pays_fees(
    lane: torch.Tensor,
    edge: torch.Tensor,
    forecast: torch.Tensor,
    move: torch.Tensor,
    style_fee_bp: torch.Tensor,
) -> torch.Tensor:
    """Whether E minus the missed favourable move minus the fee of the lane's style is above 0.

    Args:
        lane: [N, V]
        edge: mean net edge E of the forecast's bucket, bp. [N, V]
        forecast: bp. [N, V]
        move: what the price does while an order is on its way, bp. [N]
        style_fee_bp: [3, V]

    Shape:
        [N, V], bool.
    """
    streams = torch.arange(lane.shape[1], device=lane.device)
    missed = torch.where(forecast > 0, move[:, None], -move[:, None]).clamp(min=0.0)
    return (lane > 0) & (edge - missed - style_fee_bp[lane, streams] > 0)
