"""Weighted consensus price on the device. N events, V streams, Q places of the ring and events after it.

Any device's tensors; rows are [N, V]. The state is the CPU's, as tensors, at an event that is a multiple of ``edge``.

What is still to be judged is a queue in order of due times: the ring's places, the oldest first, then every event of
the call, with a mark where there is something to judge. An event judges a run of the queue, added up in its order.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from schwabot_kernels.align.reference import OK, QUOTE, TRADE, Aligned
from schwabot_kernels.consensus.cpu import ConsensusParams, ConsensusState
from schwabot_kernels.consensus.reference import stage_weight
from schwabot_kernels.device_scan import BLOCK, EDGE, affine, last_row
from schwabot_kernels.device_state import shifted, total, with_lanes
from schwabot_kernels.outcomes import NS


class Queue(NamedTuple):
    """What is judged one horizon later. [Q]; ``number`` counts what is judged, as the ring's head does."""

    due_ns: torch.Tensor
    stream: torch.Tensor
    value: torch.Tensor
    judged: torch.Tensor
    number: torch.Tensor


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
    state: ConsensusState,
    *,
    edge: int = EDGE,
    block: int = BLOCK,
) -> tuple[torch.Tensor, ConsensusState]:
    """The weighted ghost.

    Args:
        ts_ns: event times, at least one. [N]
        stream: of each event. [N]
        kind: of each event. [N]
        aligned: as-of values.
        phase: see the phase op. [N, V]
        compensated: see the phase op. [N, V]
        route: see the phase op. [N, V]
        quoted: 1 where the stream has quotes; where not, its trades are its prices. [V]
        params: settings.
        state: before the first event.
        edge: see ``device_scan``.
        block: see ``device_scan``.

    Returns:
        The ghost price [N], and the state after the last event.
    """
    streams = aligned.x.shape[1]
    typical, depth = _typical_depth(aligned, route, params.tau_depth_s, state.depth, edge, block)
    relative = aligned.depth / typical[:, None]
    relative = torch.where(relative.isnan(), 1.0, relative)
    age_s = (ts_ns[:, None] - aligned.last_ns).double() * NS
    weight = stage_weight(relative, age_s, aligned.latency_weight, params.age_decay_per_s)
    weight = torch.where(route == OK, weight, 0.0)
    values = aligned.x - compensated
    first = weighted_mean(values, weight)

    own = stream.long()
    at = own[:, None]
    pricing = (kind == QUOTE) | ((kind == TRADE) & (quoted[own] == 0))
    judged = pricing & (route.gather(1, at)[:, 0] == OK)
    value = (aligned.x - phase).gather(1, at)[:, 0]
    queue = _queue(ts_ns + params.horizon_ns, own, value, judged, state)
    error_sum, error_count = _reliability(ts_ns, queue, first, aligned.dt_s, params, state, streams, edge, block)
    prior_sum = params.prior_count * params.prior_variance_bp2
    final = weight * ((error_count + params.prior_count) / (error_sum + prior_sum))
    due_ns, due_stream, due_value, head = _waiting(queue, ts_ns[-1], state)
    after = ConsensusState(
        depth=depth,
        error_sum=with_lanes(error_sum[-1], state.error_sum),
        error_count=with_lanes(error_count[-1], state.error_count),
        ghost=first[-1:].clone(),
        head=head,
        due_ns=due_ns,
        due_stream=due_stream,
        due_value=due_value,
    )
    return weighted_mean(values, final), after


def weighted_mean(values: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """sum w x / sum w over the streams, from the first to the last, NaN where nothing weighs. Shape: [N]."""
    used = weight > 0.0
    top = total(torch.where(used, weight * values, 0.0))
    bottom = total(torch.where(used, weight, 0.0))
    return torch.where(bottom > 0.0, top / bottom, torch.nan)


def _typical_depth(
    aligned: Aligned, route: torch.Tensor, tau_s: float, state: torch.Tensor, edge: int, block: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decayed mean over time of the mean depth over the streams that take part [N], and its state after."""
    known = ~aligned.depth.isnan() & (route == OK)
    mean = total(torch.where(known, aligned.depth, 0.0)) / known.sum(1)
    row = last_row((~mean.isnan())[:, None], torch.full((1,), -1, device=mean.device), edge=edge, block=block)[:, 0]
    now = torch.where(row >= 0, mean[row.clamp(min=0)], state[2])
    before = shifted(now, state[2])
    # The depth now held until the next event, so the mean is exact in physical time.
    keep = torch.where(before.isnan(), 1.0, torch.exp(-aligned.dt_s / tau_s))
    forget = 1.0 - keep
    added = torch.stack((forget * before.nan_to_num(0.0), forget), 1)
    decayed, weight = affine(keep[:, None], added, state[:2], edge=edge, block=block).unbind(1)
    typical = torch.where(weight > 0.0, decayed / weight, now)
    return typical, torch.stack((decayed[-1], weight[-1], now[-1]))


def _queue(
    due_ns: torch.Tensor, stream: torch.Tensor, value: torch.Tensor, judged: torch.Tensor, state: ConsensusState
) -> Queue:
    """The ring's places, of which the last live ones are judged, and the call's events."""
    capacity = state.due_ns.shape[0]
    number = state.head[1] - capacity + torch.arange(capacity, device=due_ns.device)
    slot = number % capacity
    live = number >= state.head[0]
    return Queue(
        due_ns=torch.cat((torch.where(live, state.due_ns[slot], torch.iinfo(torch.int64).min), due_ns)),
        stream=torch.cat((state.due_stream[slot].long(), stream)),
        value=torch.cat((state.due_value[slot], value)),
        judged=torch.cat((live, judged)),
        number=torch.cat((number, state.head[1] + judged.cumsum(0) - 1)),
    )


def _reliability(
    ts_ns: torch.Tensor,
    queue: Queue,
    first: torch.Tensor,
    dt_s: torch.Tensor,
    params: ConsensusParams,
    state: ConsensusState,
    streams: int,
    edge: int,
    block: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decayed sums of squared errors and their number after each event, [N, V] each. Waits for the device once."""
    upto = torch.searchsorted(queue.due_ns, ts_ns, right=True)
    since = shifted(upto, (~queue.judged[: state.due_ns.shape[0]]).sum())
    ghost_before = shifted(first, state.ghost[0])
    squares = torch.zeros((ts_ns.shape[0], streams), dtype=torch.float64, device=ts_ns.device)
    counts = torch.zeros_like(squares)
    lanes = torch.arange(streams, device=ts_ns.device)
    for k in range(int((upto - since).amax())):
        place = (since + k).clamp(max=queue.due_ns.shape[0] - 1)
        then = torch.where(queue.due_ns[place] == ts_ns, first, ghost_before)
        error = queue.value[place] - then
        told = (since + k < upto) & queue.judged[place] & ~then.isnan()
        whose = told[:, None] & (queue.stream[place][:, None] == lanes)
        squares = torch.where(whose, squares + (error * error)[:, None], squares)
        counts = torch.where(whose, counts + 1.0, counts)
    keep = torch.exp(-dt_s / params.tau_reliability_s)[:, None]
    before = torch.cat((state.error_sum[:streams], state.error_count[:streams]))
    found = affine(keep, torch.cat((squares, counts), 1), before, edge=edge, block=block)
    return found[:, :streams], found[:, streams:]


def _waiting(
    queue: Queue, now_ns: torch.Tensor, state: ConsensusState
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The ring of what is still to be judged after ``now_ns``, and its head. Waits for the device once."""
    newest = queue.number[-1:] + 1
    live = (queue.judged & (queue.due_ns > now_ns)).nonzero()[:, 0]
    capacity = state.due_ns.shape[0]
    while capacity < live.shape[0]:
        capacity *= 2
    slot = queue.number[live] % capacity
    due_ns = torch.zeros(capacity, dtype=torch.int64, device=now_ns.device)
    due_stream = torch.zeros(capacity, dtype=torch.int32, device=now_ns.device)
    due_value = torch.zeros(capacity, dtype=torch.float64, device=now_ns.device)
    due_ns[slot], due_stream[slot], due_value[slot] = queue.due_ns[live], queue.stream[live].int(), queue.value[live]
    return due_ns, due_stream, due_value, torch.cat((newest - live.shape[0], newest))
