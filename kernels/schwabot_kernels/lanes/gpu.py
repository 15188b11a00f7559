"""From evidence to a discrete conviction level on the device. N rows, V streams, K = 16 buckets, M outcomes.

As lanes/cpu.py, from its state to its state, but in stages over all rows, each of which needs the ones before: outcomes
of turns and the slopes they give; forecasts; the energies of forecasts; buckets; what followed in each bucket; bits,
volts and lanes. M: the ring's outcomes, then one per row whose turn stream takes part.
Row 0 stands at an edge; see device_outcomes.py for edges and bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from schwabot_kernels import device_scan
from schwabot_kernels.device_outcomes import (
    Epochs,
    Groups,
    Queue,
    Sums,
    carried_weights,
    epochs,
    first_ns,
    latest,
    moved_on,
    on_the_host,
    put_back,
    queued,
    taken,
)
from schwabot_kernels.device_scan import BLOCK, EDGE
from schwabot_kernels.device_state import with_lanes
from schwabot_kernels.lanes.cpu import (
    BUCKETS,
    COUNT,
    N_EFF,
    SLOPE_PRIOR_BP2,
    SQUARES,
    SUM,
    LanesParams,
)
from schwabot_kernels.lanes.reference import bits_of, bucket_of, forecasts, pays_fees
from schwabot_kernels.scalar import MISSING_NS

NONE = -1


class Laned(NamedTuple):
    """Forecast in bp, SNR, bits, voltage in V, lane, pays_fees. [N, V] each."""

    forecast: torch.Tensor
    snr: torch.Tensor
    bits: torch.Tensor
    voltage: torch.Tensor
    lane: torch.Tensor
    pays_fees: torch.Tensor


class Turns(NamedTuple):
    """Outcomes in order: what the ring keeps of each. Shape: [M].

    ``weight`` and ``slope_weight`` are in the epochs of the row that writes, or after the last row where none does.
    """

    due_ns: torch.Tensor
    stream: torch.Tensor
    x: torch.Tensor
    deviation: torch.Tensor
    half: torch.Tensor
    weight: torch.Tensor
    slope_weight: torch.Tensor
    epoch: torch.Tensor
    slope_epoch: torch.Tensor


class Rows(NamedTuple):
    """Rows that ask, the queue of outcomes, the part of it that becomes known, units of rows, K of scans."""

    asks: torch.Tensor
    queue: Queue
    due: slice
    unit: torch.Tensor
    tile: int


def lanes(
    ts_ns: torch.Tensor,
    x: torch.Tensor,
    half: torch.Tensor,
    dt_s: torch.Tensor,
    route: torch.Tensor,
    deviation: torch.Tensor,
    given: torch.Tensor | None,
    mean: torch.Tensor,
    trusted: torch.Tensor,
    latency_weight: torch.Tensor,
    move: torch.Tensor,
    quoted: torch.Tensor,
    style_fee_bp: torch.Tensor,
    params: LanesParams,
    state: Any,
    *,
    edge: int = EDGE,
    block: int = BLOCK,
) -> tuple[Laned, Any]:
    """From evidence to a discrete conviction level, for every stream at every row.

    Args:
        ts_ns: event times. int64 [N], N > 0; row 0 stands at an edge
        x, half, deviation, latency_weight: see the op. float64 [N, V]
        dt_s: time since the row before. [N]
        route: 0 = takes part. int8 [N, V]
        given: a trained head's forecasts, bp, NaN where it has none; None without a head. [N, V]
        mean, trusted: the registry's remembered move, and 1 where it counts. float64, int8 [N]
        move: what the price does while an order is on its way, bp. [N]
        quoted: 1 where the stream has quotes. int8 [V]
        style_fee_bp: fee of each lane's style. [3, V]
        params: see ``lanes.cpu``.
        state: ``LanesState`` of tensors on the same device; left as it is.
        edge, block: see device_scan.

    Returns:
        The lanes [N, V], and the state after the last row.
    """
    rows, streams = x.shape
    every = torch.arange(rows, device=x.device)
    read, write, origin, events = torch.cat((state.head, state.clock[:1], state.clock[3:])).tolist()
    if origin == MISSING_NS:
        origin = int(ts_ns[0])
    times = epochs(ts_ns, origin, params.tau_s, state.clock[1], edge)
    slope_times = epochs(ts_ns, origin, params.slope_tau_s, state.clock[2], edge)
    turn = (every + events) % streams
    own = (route[every, turn] == 0) & ~deviation[every, turn].isnan()
    asks = own.nonzero().squeeze(1)
    live, asked = (read, write), (asks, turn[asks])
    due_ns = torch.cat((taken(state.due_ns, live), ts_ns[asks] + params.horizon_ns))
    queue = queued(ts_ns, due_ns, asks, edge)
    told, edges = on_the_host(queue.until[-1], times, slope_times)
    head = (read + told, write + asks.shape[0])
    turns = _turns(state, live, due_ns, asked, x, deviation, half, queue, times, slope_times, edges)
    at = Rows(asks, queue, slice(0, head[0] - read), every // edge, block // 2)
    later = torch.cat((state.x[None, :streams], x))[queue.source[at.due] + 1, turns.stream[at.due]]
    moved = later - turns.x[at.due]

    slope, slope_state = _slopes(turns, moved, at, slope_times, state, streams)
    extra = torch.where(trusted == 1, mean, 0.0)
    m = forecasts(deviation, route, slope, extra, given)
    ratio, energy_state = _energies(m, turn, own, at, slope_times, state)
    bucket = torch.where(m != 0.0, bucket_of(ratio), NONE)
    due_forecast = torch.cat((taken(state.due_forecast, live), m[asked]))
    due_bucket = torch.cat((taken(state.due_bucket, live).long(), bucket[asked]))
    edge_bp = torch.where(due_forecast[at.due] > 0.0, moved, -moved) - turns.half[at.due]
    now, bucket_state = _evidence(bucket, due_bucket[at.due], edge_bp, turns, at, times, params, state)

    bits = bits_of(now.snr * now.effective.clamp(max=params.count_cap), params.kappa)
    aim = (params.v0 * torch.exp2(bits / 8.0)).clamp(max=params.v_max)
    rise = (params.slew_per_s * dt_s)[:, None]
    first_volts = state.voltage[:streams].contiguous()
    volts = device_scan.min_plus(aim, rise, first_volts, edge=edge, block=block)
    upper = torch.where(quoted == 1, _lane_at(volts, params), 0.0)
    lower = torch.where(latency_weight > params.weight_min, _lane_at(volts - params.margin, params), 0.0)
    lower = torch.minimum(lower, upper)  # a margin never asks for more than there is
    first_lane = state.lane[:streams].double()
    lane = device_scan.clamp(lower, upper, first_lane, edge=edge, block=block).to(torch.int8)
    pays = pays_fees(lane.long(), now.edge, m, move, style_fee_bp).to(torch.int8)

    pending = slice(head[0] - read, None)
    rings = {
        "due_ns": due_ns, "due_stream": turns.stream.int(), "due_bucket": due_bucket.int(), "due_x": turns.x,
        "due_deviation": turns.deviation, "due_forecast": due_forecast, "due_half": turns.half,
        "due_weight": turns.weight, "due_slope_weight": turns.slope_weight,
    }  # fmt: skip
    after = state._replace(
        **slope_state,
        **energy_state,
        **bucket_state,
        **{name: put_back(getattr(state, name), part[pending], head) for name, part in rings.items()},
        clock=torch.cat((
            first_ns(ts_ns, state.clock), *(t.edges[-1:].long() for t in (times, slope_times)), state.clock[3:] + rows,
        )),
        voltage=with_lanes(volts[-1], state.voltage),
        lane=with_lanes(lane[-1], state.lane),
        x=with_lanes(x[-1], state.x),
        head=moved_on(state.head, queue.until[-1], asks.shape[0]),
    )  # fmt: skip
    return Laned(m, now.snr, bits, volts, lane, pays), after


def _lane_at(volts: torch.Tensor, params: LanesParams) -> torch.Tensor:
    return (volts >= params.medium).double() + (volts >= params.high).double()


def _turns(
    state: Any,
    live: tuple[int, int],
    due_ns: torch.Tensor,
    asked: tuple[torch.Tensor, torch.Tensor],
    x: torch.Tensor,
    deviation: torch.Tensor,
    half: torch.Tensor,
    queue: Queue,
    times: Epochs,
    slope_times: Epochs,
    edges: list[list[float]],
) -> Turns:
    """Outcomes of the ring, then of the rows that ask; ``edges``: those of both times, on the host."""

    def weights(ring: torch.Tensor, t: Epochs, at_edges: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
        given = torch.cat((taken(ring, live), 1.0 / t.scale[asked[0]]))
        epoch = torch.cat((t.edges[:1].expand(live[1] - live[0]), t.number[asked[0]]))
        return carried_weights(given, epoch, queue, t, at_edges)

    weight, epoch = weights(state.due_weight, times, edges[0])
    slope_weight, slope_epoch = weights(state.due_slope_weight, slope_times, edges[1])
    return Turns(
        due_ns=due_ns,
        stream=torch.cat((taken(state.due_stream, live).long(), asked[1])),
        x=torch.cat((taken(state.due_x, live), x[asked])),
        deviation=torch.cat((taken(state.due_deviation, live), deviation[asked])),
        half=torch.cat((taken(state.due_half, live), half[asked])),
        weight=weight,
        slope_weight=slope_weight,
        epoch=epoch,
        slope_epoch=slope_epoch,
    )


def _slopes(
    turns: Turns, moved: torch.Tensor, at: Rows, times: Epochs, state: Any, streams: int
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Regression of moves on deviations through the origin, as every row finds it [N, V], and the state after."""
    stream, d, weight, epoch = (
        part[at.due] for part in (turns.stream, turns.deviation, turns.slope_weight, turns.slope_epoch)
    )
    known = stream.shape[0]
    unit = at.queue.unit[at.due]
    number = torch.arange(known, device=stream.device)
    groups = Groups(stream, unit, number, streams, times.edges.shape[0] - 1, known + 1, at.tile)
    base = torch.stack((state.products, state.squares), 1)[:streams]
    sums = Sums(groups, epoch, torch.stack((weight * d * moved, weight * d * d), 1), base, times.edges)
    products, squares = sums.at_outcomes(stream, unit).unbind(1)
    slope = products / (squares + weight * SLOPE_PRIOR_BP2)
    marks = stream[:, None] == torch.arange(streams, device=stream.device)
    found = _latest_or(latest(marks, at.queue.until), slope, state.slope[:streams])
    products, squares = sums.bases[-1].unbind(1)
    return found, {
        "products": with_lanes(products, state.products),
        "squares": with_lanes(squares, state.squares),
        "slope": with_lanes(found[-1], state.slope),
    }


def _latest_or(place: torch.Tensor, values: torch.Tensor, first: torch.Tensor) -> torch.Tensor:
    """values[place], and ``first`` where place is -1. Shape: place [N, V], values [M], first [V]; returns [N, V]."""
    if values.shape[0] == 0:
        return first.expand(place.shape).clone()
    return torch.where(place >= 0, values[place.clamp(min=0)], first)


def _energies(
    m: torch.Tensor, turn: torch.Tensor, own: torch.Tensor, at: Rows, times: Epochs, state: Any
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """m² over the decayed mean of m² on the stream's turns before [N, V], and the state after."""
    rows, streams = m.shape
    every = torch.arange(rows, device=m.device)
    weight = 1.0 / times.scale
    mine = m[every, turn]
    groups = Groups(
        torch.where(own, turn, streams), at.unit, every, streams, times.edges.shape[0] - 1, rows + 1, at.tile
    )
    sums = Sums(
        groups, times.number, torch.stack((weight * mine * mine, weight), 1), state.energy[:streams], times.edges
    )
    squared, count = sums.at_outcomes(turn, at.unit).unbind(1)
    inverse = torch.where(squared > 0.0, count / squared, 0.0)
    marks = own[:, None] & (turn[:, None] == torch.arange(streams, device=m.device))
    upto = torch.arange(rows + 1, device=m.device)
    found = _latest_or(latest(marks, upto), inverse, state.inverse_energy[:streams])
    return m * m * found[:-1], {
        "energy": with_lanes(sums.bases[-1], state.energy),
        "inverse_energy": with_lanes(found[-1], state.inverse_energy),
    }


class Found(NamedTuple):
    """What is remembered of the forecast's bucket: SNR, mean edge in bp, effective count. [N, V] each."""

    snr: torch.Tensor
    edge: torch.Tensor
    effective: torch.Tensor


def _evidence(
    bucket: torch.Tensor,
    due_bucket: torch.Tensor,
    edge_bp: torch.Tensor,
    turns: Turns,
    at: Rows,
    times: Epochs,
    params: LanesParams,
    state: Any,
) -> tuple[Found, dict[str, torch.Tensor]]:
    """What followed forecasts of the same size, and the memory after.

    Args:
        bucket: of every forecast, -1 for one of zero. [N, V]
        due_bucket, edge_bp: of outcomes that became known. [M]
        turns, at, times: the outcomes, in which rows, and in which epochs.
        params, state: of the lanes.
    """
    rows, streams = bucket.shape
    slots = streams * BUCKETS
    stream, weight, epoch, due_ns = (part[at.due] for part in (turns.stream, turns.weight, turns.epoch, turns.due_ns))
    known, unit = stream.shape[0], at.queue.unit[at.due]
    number = torch.arange(known, device=stream.device)
    group = torch.where(due_bucket >= 0, stream * BUCKETS + due_bucket, slots)
    groups = Groups(group, unit, number, slots, times.edges.shape[0] - 1, known + 1, at.tile)

    last_ns = groups.last(due_ns[groups.order], state.last_ns[:streams].flatten())
    share = _shares(groups, group, unit, due_ns, last_ns, params.horizon_ns)
    values = torch.stack((weight * share, weight, weight * edge_bp, weight * edge_bp * edge_bp), 1)
    sums = Sums(groups, epoch, values, state.buckets[:streams].flatten(0, 1), times.edges)
    totals = sums.at_outcomes(group, unit)
    # One more outcome, of zero edge and as heavy as the newest.
    heavy = totals[:, COUNT] + weight
    mean = totals[:, SUM] / heavy
    variance = (totals[:, SQUARES] / heavy - mean * mean).clamp(min=1e-6)
    positive = mean.clamp(min=0.0)
    ratios = torch.stack((mean, positive * positive / variance), 1)[groups.order]
    first = torch.stack((state.bucket_mean[:streams], state.bucket_snr[:streams]), -1).flatten(0, 1)
    at_edges = torch.stack([groups.last(ratios[:, k], first[:, k]) for k in range(2)], -1)

    asked = torch.arange(streams, device=bucket.device) * BUCKETS + bucket.clamp(min=0)
    units, limit, epochs_now = (part[:, None].expand(rows, streams) for part in (at.unit, at.queue.until, times.number))
    place = groups.find(asked, units, limit)
    told = at_edges[units, asked]
    if known:
        told = torch.where((place >= 0)[..., None], ratios[place.clamp(min=0)], told)
    told = torch.where((bucket >= 0)[..., None], told, 0.0)
    count = sums.read(asked, units, limit, epochs_now)[..., N_EFF] * times.scale[:, None]
    shape = (streams, BUCKETS)
    return Found(told[..., 1], told[..., 0], count), {
        "buckets": with_lanes(sums.bases[-1].view(*shape, -1), state.buckets),
        "last_ns": with_lanes(last_ns[-1].view(shape), state.last_ns),
        "bucket_mean": with_lanes(at_edges[-1, :, 0].view(shape), state.bucket_mean),
        "bucket_snr": with_lanes(at_edges[-1, :, 1].view(shape), state.bucket_snr),
    }


def _shares(
    groups: Groups,
    group: torch.Tensor,
    unit: torch.Tensor,
    due_ns: torch.Tensor,
    last_ns: torch.Tensor,
    horizon_ns: int,
) -> torch.Tensor:
    """How much of the horizon each outcome does not share with the bucket's last one. Shape: [M].

    ``last_ns``: of every bucket at every edge. [U + 1, G]
    """
    order = groups.order
    if order.shape[0] == 0:
        return due_ns.double()
    due, own, unit = due_ns[order], group[order].clamp(max=groups.groups - 1), unit[order]
    before = last_ns[unit, own]
    same = torch.zeros_like(own, dtype=torch.bool)
    same[1:] = (groups.key[1:] // groups.indices) == (groups.key[:-1] // groups.indices)
    before = torch.where(same, due.roll(1), before)
    gap = torch.where(before == MISSING_NS, horizon_ns, due - before)
    share = torch.empty_like(due, dtype=torch.float64)
    share[order] = (gap.double() / float(horizon_ns)).clamp(max=1.0)
    return share
