"""What acting later cost, on the device. See cpu.py for the formulas; what it is expected to cost: gpu_expected.py.

N events, V streams, W = V in whole vectors, L latencies, D decisions, M costs that become known, G = V L memories.

Decisions are few: they are found in one pass over the events, and the rest is arithmetic on [D, L]. A cost is known at
the first event after its due time, at the touch of the row before. What is known of a stream and latency is a decayed
sum over such costs. Costs are put in order of memory and time and composed by doubling within the part of a memory that
becomes known between two edges, so that what a cost is made of does not depend on the others; from edge to edge the
sums go on in turn. So two calls split at an edge say what one says.

Plain torch on any device: nothing here is as long as the events but the search for desyncs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from schwabot_kernels.align.reference import OK
from schwabot_kernels.device_scan import EDGE
from schwabot_kernels.lag.cpu import FAR_NS, LagParams, LagState
from schwabot_kernels.lag.reference import touch_bp
from schwabot_kernels.outcomes import NS
from schwabot_kernels.rings import RINGS

LEAST_EXPONENT = -708.0
"""As the CPU's exponential has it: what has faded further stays as faint."""


class Pending(NamedTuple):
    """Decisions whose costs are not all known at the first event, then the new ones, in order; [D].

    outlook: s (predicted + (mean + echo) / 2).
    """

    ts_ns: torch.Tensor
    stream: torch.Tensor
    side: torch.Tensor
    touch: torch.Tensor
    outlook: torch.Tensor


class Known(NamedTuple):
    """Costs that become known, by memory, then in time; [M].

    memory: stream L + latency; row: the event that learns of it; due_ns: from when it fades; weight, excess: the
    memory's sums right after it, as of then.
    """

    memory: torch.Tensor
    row: torch.Tensor
    due_ns: torch.Tensor
    weight: torch.Tensor
    excess: torch.Tensor


def realised_lag(
    ts_ns: torch.Tensor,
    x: torch.Tensor,
    half: torch.Tensor,
    route: torch.Tensor,
    deviation: torch.Tensor,
    quoted: torch.Tensor,
    entropy: torch.Tensor,
    mean: torch.Tensor,
    echo: torch.Tensor,
    predicted: torch.Tensor,
    width: torch.Tensor,
    latencies_ns: torch.Tensor,
    params: LagParams,
    state: Any,
    *,
    edge: int = EDGE,
) -> LagState:
    """Record the first event of every desync, and costs that have become known; the state after the last event.

    Args:
        ts_ns: event times, never decreasing. int64 [N]
        x: log mid, bp. float64 [N, V]
        half: half spread, bp. float64 [N, V]
        route: 0 = takes part. int8 [N, V]
        deviation: fair price minus log mid, bp. float64 [N, V]
        quoted: 1 where a stream has a touch; the others decide nothing. int8 [V]
        entropy: of the outcome, nats. float64 [N]
        mean: remembered, of the horizon, bp. float64 [N]
        echo: likewise. float64 [N]
        predicted: what a trained head expects of it, bp, 0 without one. float64 [N]
        width: P_max, bp. float64 [N]
        latencies_ns: increasing. int64 [L]
        params: the kernel's settings.
        state: ``LagState`` of tensors on the events' device, left alone; its ring grows where it has to.
        edge: the first event stands at a multiple of it.
    """
    rows, streams = x.shape
    if rows == 0:
        return LagState(*(part.clone() for part in state))
    out = (quoted == 1) & (route == OK) & (deviation.abs() > params.desync_bp)
    begins = out.clone()
    begins[1:] &= ~out[:-1]
    begins[0] &= state.desynced[:streams] == 0
    row, stream = begins.nonzero(as_tuple=True)
    oldest, newest, *pending = torch.cat((state.head, state.pending)).tolist()

    side = torch.where(deviation[row, stream] > 0, 1, -1)
    new = Pending(
        ts_ns=ts_ns[row],
        stream=stream,
        side=side,
        touch=touch_bp(x[row, stream], half[row, stream], side),
        outlook=side * (predicted[row] + 0.5 * (mean[row] + echo[row])),
    )
    first = min(pending)
    slots = torch.arange(first, newest, device=x.device) & (state.ts_ns.shape[0] - 1)
    every = Pending(*(torch.cat((getattr(state, n)[slots].to(c.dtype), c)) for n, c in new._asdict().items()))

    due = every.ts_ns[:, None] + latencies_ns
    number = torch.arange(first, newest + len(row), device=x.device)
    resolved = (number[:, None] >= state.pending) & (due < ts_ns[-1])
    source = torch.searchsorted(ts_ns, due, right=True) - 1  # the row before the event that learns of it
    at, of = source.clamp(min=0), every.stream[:, None].expand_as(source)
    then_x = torch.where(source >= 0, x[at, of], state.x[of])
    then_half = torch.where(source >= 0, half[at, of], state.half[of])
    cost = every.side[:, None] * (touch_bp(then_x, then_half, every.side[:, None]) - every.touch[:, None])
    foreseen = every.outlook[:, None] * (latencies_ns.to(x.dtype) / params.horizon_ns).clamp(max=1.0)

    known, after = _learn(
        every.stream, source + 1, due, cost - foreseen, resolved, params, state, -(-rows // edge), edge
    )
    expected = _expected(new, row, foreseen[newest - first :], known, params, state, rows)
    unknown = torch.full_like(expected, torch.nan)
    cost = torch.where(resolved, cost, torch.cat((state.cost[slots], unknown)))
    after = _grown(after, oldest, newest, len(row))
    mask = after.ts_ns.shape[0] - 1
    written = {
        "ts_ns": new.ts_ns, "stream": stream, "side": side, "touch": new.touch, "entropy": entropy[row],
        "range_bp": width[row], "outlook": new.outlook, "expected": expected,
    }  # fmt: skip
    for name, values in written.items():
        ring = getattr(after, name)
        ring[number[newest - first :] & mask] = values.to(ring.dtype)
    after.cost[number & mask] = cost
    after.pending.add_(resolved.sum(0))
    after.head[1] += len(row)
    waits = after.pending < after.head[1]
    nearest = torch.where(waits, after.ts_ns[after.pending & mask] + latencies_ns, FAR_NS)
    after.next_due_ns[0] = nearest.amin()
    after.desynced[:streams] = out[-1].to(torch.int8)
    after.x[:streams], after.half[:streams] = x[-1], half[-1]
    return after


def _faded(since_ns: torch.Tensor, tau_s: float) -> torch.Tensor:
    """Weight of a cost that has been known for so long."""
    return torch.exp((since_ns.double() * -NS / tau_s).clamp(min=LEAST_EXPONENT))


def _learn(
    stream: torch.Tensor,
    row: torch.Tensor,
    due_ns: torch.Tensor,
    excess: torch.Tensor,
    resolved: torch.Tensor,
    params: LagParams,
    state: Any,
    edges: int,
    edge: int,
) -> tuple[Known, Any]:
    """What becomes known, and a copy of the state with the memories after all of it.

    Args:
        stream: of the decisions. [D]
        row: event that learns of a cost. [D, L]
        due_ns: when it was due. [D, L]
        excess: what it was above the outlook. [D, L]
        resolved: it becomes known now. bool [D, L]
        params: as for ``realised_lag``.
        state: likewise.
        edges: parts of the call from edge to edge.
        edge: events from edge to edge.
    """
    after: Any = LagState(*(part.clone() for part in state))
    latencies = state.pending.shape[0]
    decision, latency = (resolved & ~excess.isnan()).nonzero(as_tuple=True)
    memory = stream[decision] * latencies + latency
    memory, order = torch.sort(memory, stable=True)
    decision, latency = decision[order], latency[order]
    row, due_ns, excess = row[decision, latency], due_ns[decision, latency], excess[decision, latency]

    part = row // edge
    before = state.known_ns.flatten()[memory]
    begins = torch.ones_like(memory, dtype=torch.bool)
    same = memory[1:] == memory[:-1]
    before[1:] = torch.where(same, due_ns[:-1], before[1:])
    begins[1:] = ~same | (part[1:] != part[:-1])
    keep, sums = _composed(_faded(due_ns - before, params.tau_curve_s), excess, begins)

    # From edge to edge: the last map of every memory's part, the one that changes nothing where it has none. Those that
    # are not last go to a place beyond.
    ends, last = torch.ones_like(begins), torch.ones_like(begins)
    ends[:-1], last[:-1] = begins[1:], ~same
    memories = state.known_ns.numel()
    cell = torch.where(ends, part * memories + memory, edges * memories)
    whole_keep, whole_sums = keep.new_ones(edges * memories + 1), keep.new_zeros((2, edges * memories + 1))
    whole_keep[cell], whole_sums[:, cell] = keep, sums
    start = keep.new_empty((2, edges * memories))
    y = torch.stack((state.known_weight.flatten(), state.known_excess.flatten()))
    for k in range(edges):
        of_part = slice(k * memories, (k + 1) * memories)
        start[:, of_part] = y
        y = whole_keep[of_part] * y + whole_sums[:, of_part]
    after.known_weight[:], after.known_excess[:] = (total.view_as(state.known_weight) for total in y)
    newest_ns = torch.cat((after.known_ns.flatten(), due_ns.new_zeros(1)))
    newest_ns[torch.where(last, memory, memories)] = due_ns
    after.known_ns[:] = newest_ns[:-1].view_as(after.known_ns)
    weight, total = keep * start[:, part * memories + memory] + sums
    return Known(memory, row, due_ns, weight, total), after


def _composed(keep: torch.Tensor, excess: torch.Tensor, begins: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Maps y <- keep y + (1, excess) composed from where a part begins, by doubling. Shape: [M], [2, M]."""
    place = torch.arange(keep.shape[0], device=keep.device)
    place = place - torch.where(begins, place, 0).cummax(0).values
    sums = torch.stack((torch.ones_like(excess), excess))
    shift = 1
    while shift < keep.shape[0]:
        joins = place[shift:] >= shift
        later = keep[shift:]
        sums = torch.cat(
            (sums[:, :shift], torch.where(joins, later * sums[:, :-shift] + sums[:, shift:], sums[:, shift:])), 1
        )
        keep = torch.cat((keep[:shift], torch.where(joins, later * keep[:-shift], later)))
        shift *= 2
    return keep, sums


def _expected(
    new: Pending,
    row: torch.Tensor,
    foreseen: torch.Tensor,
    known: Known,
    params: LagParams,
    state: Any,
    rows: int,
) -> torch.Tensor:
    """What new decisions are expected to cost, from what was known when they were made. Shape: [D, L]."""
    memory = new.stream[:, None] * foreseen.shape[1] + torch.arange(foreseen.shape[1], device=row.device)
    weight, total = state.known_weight.flatten()[memory], state.known_excess.flatten()[memory]
    since = state.known_ns.flatten()[memory]
    if known.memory.numel():
        stride = rows + 1
        place = torch.searchsorted(known.memory * stride + known.row, memory * stride + row[:, None], right=True) - 1
        at = place.clamp(min=0)
        found = (place >= 0) & (known.memory[at] == memory)
        weight = torch.where(found, known.weight[at], weight)
        total = torch.where(found, known.excess[at], total)
        since = torch.where(found, known.due_ns[at], since)
    faded = _faded(new.ts_ns[:, None] - since, params.tau_curve_s)
    return foreseen + faded * total / (faded * weight + params.prior_decisions)


def _grown(state: Any, oldest: int, newest: int, more: int) -> Any:
    """The state with room for so many more decisions in its ring; itself where it has it."""
    size = capacity = state.ts_ns.shape[0]
    while capacity - (newest - oldest) < more:
        capacity *= 2
    if capacity == size:
        return state
    live = torch.arange(oldest, newest, device=state.ts_ns.device)
    larger = {}
    for name in RINGS["lag"]:
        values = getattr(state, name)
        larger[name] = values.new_zeros((capacity, *values.shape[1:]))
        larger[name][live & (capacity - 1)] = values[live & (size - 1)]
    return state._replace(**larger)
