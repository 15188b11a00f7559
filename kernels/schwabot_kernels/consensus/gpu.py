"""Weighted consensus price on the device. N events, V streams, Q places of the ring and events after it.

Any device's tensors; rows are [N, V]. The state is the CPU's, as tensors, at an event that is a multiple of ``edge``.

What is to be judged is a queue in order of due times, ring then events; an event judges a run of it, in its order.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

from schwabot_kernels.align.reference import OK, QUOTE, TRADE, Aligned
from schwabot_kernels.consensus.cpu import ConsensusParams
from schwabot_kernels.consensus.reference import stage_weight
from schwabot_kernels.device_scan import AFFINE, BLOCK, EDGE, affine, by_triton, carry, last_row, then_two_affine
from schwabot_kernels.device_state import OnDevice, constants, on_16_bytes, shifted, total, with_lanes
from schwabot_kernels.outcomes import NS

WIDEST = 16
"""Most streams whose rows a program holds. With 32 ``second_kernel`` would need 393 KB of shared memory, where a
multiprocessor of a H100 lends 227, and ``first_kernel`` would spill 1.9 KB a thread: beyond it is plain torch."""


class Queue(NamedTuple):
    """What is judged one horizon later. [Q]; ``number`` counts what is judged, as the ring's head does."""

    due_ns: torch.Tensor
    stream: torch.Tensor
    value: torch.Tensor
    judged: torch.Tensor
    number: torch.Tensor


class Fair(NamedTuple):
    """Ghost price [N]; ghost plus compensated phase less log mid [N, V]. bp."""

    ghost: torch.Tensor
    deviation: torch.Tensor


def consensus(
    ts_ns: torch.Tensor, stream: torch.Tensor, kind: torch.Tensor, aligned: Aligned, phase: torch.Tensor,
    compensated: torch.Tensor, route: torch.Tensor, quoted: torch.Tensor, params: ConsensusParams, state:
    OnDevice, *, edge: int = EDGE, block: int = BLOCK,
) -> tuple[Fair, OnDevice]:  # fmt: skip
    """The weighted ghost, and how far every stream is from it.

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
        Ghost and deviations, and the state after the last event.
    """
    aligned = Aligned._make(on_16_bytes(*aligned))
    ts_ns, stream, kind, phase, compensated, route, quoted = on_16_bytes(
        ts_ns, stream, kind, phase, compensated, route, quoted
    )
    streams = aligned.x.shape[1]
    find = _by_triton if by_triton(aligned.x) and streams <= WIDEST else _in_torch
    found = find(aligned, ts_ns, stream, kind, phase, compensated, route, quoted, params, state, edge, block)
    waiting = _waiting(ts_ns, stream, found.value, params, state)
    return Fair(found.ghost, found.deviation), state._replace(
        depth=found.depth,
        error_sum=with_lanes(found.errors[:streams], state.error_sum),
        error_count=with_lanes(found.errors[streams:], state.error_count),
        ghost=found.first[-1:].clone(),
        **waiting._asdict(),
    )


class Found(NamedTuple):
    """Ghost, first-stage ghost, and what is judged one horizon later, NaN where nothing is [N]; deviations [N, V].

    depth: state after [3]; errors: sums of squares, then counts, after the last event [2 V].
    """

    ghost: torch.Tensor
    first: torch.Tensor
    value: torch.Tensor
    depth: torch.Tensor
    errors: torch.Tensor
    deviation: torch.Tensor


def _in_torch(
    aligned: Aligned, ts_ns: torch.Tensor, stream: torch.Tensor, kind: torch.Tensor, phase: torch.Tensor,
    compensated: torch.Tensor, route: torch.Tensor, quoted: torch.Tensor, params: ConsensusParams, state: OnDevice,
    edge: int, block: int,
) -> Found:  # fmt: skip
    typical, depth = _typical_depth(aligned, route, params.tau_depth_s, state.depth, edge, block)
    relative = aligned.depth / typical[:, None]
    relative = torch.where(relative.isnan(), 1.0, relative)
    age_s = (ts_ns[:, None] - aligned.last_ns).double() * NS
    weight = stage_weight(relative, age_s, aligned.latency_weight, params.age_decay_per_s)
    weight = torch.where(route == OK, weight, 0.0)
    values = aligned.x - compensated
    first = weighted_mean(values, weight)

    own = stream.long()
    pricing = (kind == QUOTE) | ((kind == TRADE) & (quoted[own] == 0))
    judged = pricing & (route.gather(1, own[:, None])[:, 0] == OK)
    value = torch.where(judged, (aligned.x - phase).gather(1, own[:, None])[:, 0], torch.nan)
    errors = _reliability(ts_ns, stream, value, first, aligned.dt_s, params, state, weight.shape[1], edge, block)
    error_sum, error_count = errors.chunk(2, 1)
    prior_sum = params.prior_count * params.prior_variance_bp2
    final = weight * ((error_count + params.prior_count) / (error_sum + prior_sum))
    ghost = weighted_mean(values, final)
    return Found(ghost, first, value, depth, errors[-1], ghost[:, None] + compensated - aligned.x)


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
    due_ns: torch.Tensor, stream: torch.Tensor, value: torch.Tensor, before: torch.Tensor, state: OnDevice
) -> Queue:
    """The ring's places, of which the last live ones are judged, and events, ``before`` of which went before these."""
    capacity = state.due_ns.shape[0]
    number = state.head[1] - capacity + torch.arange(capacity, device=due_ns.device)
    slot = number % capacity
    live = number >= state.head[0]
    judged = ~value.isnan()
    return Queue(
        due_ns=torch.cat((torch.where(live, state.due_ns[slot], torch.iinfo(torch.int64).min), due_ns)),
        stream=torch.cat((state.due_stream[slot], stream)),
        value=torch.cat((state.due_value[slot], value)),
        judged=torch.cat((live, judged)),
        number=torch.cat((number, state.head[1] + before + judged.cumsum(0) - 1)),
    )


def _reliability(
    ts_ns: torch.Tensor,
    stream: torch.Tensor,
    value: torch.Tensor,
    first: torch.Tensor,
    dt_s: torch.Tensor,
    params: ConsensusParams,
    state: OnDevice,
    streams: int,
    edge: int,
    block: int,
) -> torch.Tensor:
    """Decayed sums of squared errors, then their number, after each event, [N, 2 V]. Waits for the device once."""
    queue = _queue(ts_ns + params.horizon_ns, stream, value, state.head[1] * 0, state)
    lanes = torch.arange(streams, device=ts_ns.device)
    upto = torch.searchsorted(queue.due_ns, ts_ns, right=True)
    since = shifted(upto, (~queue.judged[: state.due_ns.shape[0]]).sum())
    ghost_before = shifted(first, state.ghost[0])
    squares = torch.zeros((ts_ns.shape[0], streams), dtype=torch.float64, device=ts_ns.device)
    counts = torch.zeros_like(squares)
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
    return affine(keep, torch.cat((squares, counts), 1), before, edge=edge, block=block)


class Waiting(NamedTuple):
    """The part of the state that is a ring."""

    head: torch.Tensor
    due_ns: torch.Tensor
    due_stream: torch.Tensor
    due_value: torch.Tensor


def _waiting(
    ts_ns: torch.Tensor, stream: torch.Tensor, value: torch.Tensor, params: ConsensusParams, state: OnDevice
) -> Waiting:
    """The ring of what is still to be judged after the last event. Waits for the device once."""
    now_ns, capacity = ts_ns[-1:], state.due_ns.shape[0]
    until = torch.searchsorted(ts_ns, now_ns - params.horizon_ns, right=True)
    first, waited = torch.cat((until, state.head[1:] - state.head[:1])).tolist()
    while capacity < waited + ts_ns.shape[0] - first:
        capacity *= 2
    before = (~value[:first].isnan()).sum()
    queue = _queue(ts_ns[first:] + params.horizon_ns, stream[first:], value[first:], before, state)
    live = queue.judged & (queue.due_ns > now_ns)
    slot = torch.where(live, queue.number % capacity, capacity)  # the rest to a place beyond the ring
    newest = queue.number[-1:] + 1
    rings = []
    for values in (queue.due_ns, queue.stream, queue.value):
        ring = values.new_zeros(capacity + 1)
        ring[slot] = values
        rings.append(ring[:capacity])
    return Waiting(torch.cat((newest - live.sum(), newest)), *rings)


@triton.jit
def then_depth(
    keep1: tl.tensor, sum1: tl.tensor, weight1: tl.tensor, share1: tl.tensor, now1: tl.tensor,
    keep2: tl.tensor, sum2: tl.tensor, weight2: tl.tensor, share2: tl.tensor, now2: tl.tensor,
) -> Any:  # fmt: skip
    """One stretch of the decayed mean depth, then another.

    sum <- keep sum + sum_1 + share now, weight <- keep weight + weight_1 + share, now <- now_1 where that is known:
    ``share`` is what the depth before the stretch adds while the stretch does not know its own; NaN is unknown.
    """
    known = now1 == now1
    return (
        keep1 * keep2,
        tl.fma(keep2, sum1, sum2) + tl.where(known, share2 * now1, 0.0),
        tl.fma(keep2, weight1, weight2) + tl.where(known, share2, 0.0),
        keep2 * share1 + tl.where(known, 0.0, share2),
        tl.where(now2 == now2, now2, now1),
    )


@triton.jit
def after_depth(
    keep: tl.tensor, added: tl.tensor, more: tl.tensor, share: tl.tensor, now: tl.tensor,
    total: tl.tensor, weight: tl.tensor, before: tl.tensor,
) -> Any:  # fmt: skip
    """Sum, weight and depth now after a stretch, from those before it."""
    known = before == before
    return (
        tl.fma(keep, total, added) + tl.where(known, share * before, 0.0),
        tl.fma(keep, weight, more) + tl.where(known, share, 0.0),
        tl.where(now == now, now, before),
    )


@triton.jit(do_not_specialize=["blocks"])
def depth_carry_kernel(  # type: ignore[no-untyped-def]
    whole, y0, starts, blocks, PER_EDGE: tl.constexpr,
):  # fmt: skip
    """Sum, weight and depth now at the start of every block and after the last, [blocks + 1, 3], edge after edge."""
    within = tl.arange(0, PER_EDGE)
    total, weight, before = tl.load(y0), tl.load(y0 + 1), tl.load(y0 + 2)
    for edge in range(tl.cdiv(blocks, PER_EDGE)):
        block = (edge * PER_EDGE + within).to(tl.int64)
        mask = block < blocks
        keep = tl.load(whole + block * 5, mask, other=1.0)
        added = tl.load(whole + block * 5 + 1, mask, other=0.0)
        more = tl.load(whole + block * 5 + 2, mask, other=0.0)
        share = tl.load(whole + block * 5 + 3, mask, other=0.0)
        now = tl.load(whole + block * 5 + 4, mask, other=float("nan"))
        a, b, c, d, e = tl.associative_scan((keep, added, more, share, now), 0, then_depth)
        x, y, z = after_depth(a, b, c, d, e, total, weight, before)
        first = mask & (within == 0)
        tl.store(starts + block * 3, total + 0.0 * keep, first)
        tl.store(starts + block * 3 + 1, weight + 0.0 * keep, first)
        tl.store(starts + block * 3 + 2, before + 0.0 * keep, first)
        later = mask & (within < PER_EDGE - 1)
        tl.store(starts + block * 3 + 3, x, later)
        tl.store(starts + block * 3 + 4, y, later)
        tl.store(starts + block * 3 + 5, z, later)
        # As in device_scan: the next edge begins with the last block's own map on what stood at its start.
        total = tl.sum(tl.where(within == PER_EDGE - 2, x, 0.0), 0)
        weight = tl.sum(tl.where(within == PER_EDGE - 2, y, 0.0), 0)
        before = tl.sum(tl.where(within == PER_EDGE - 2, z, 0.0), 0)
        x, y, z = after_depth(keep, added, more, share, now, total, weight, before)
        total = tl.sum(tl.where(within == PER_EDGE - 1, x, 0.0), 0)
        weight = tl.sum(tl.where(within == PER_EDGE - 1, y, 0.0), 0)
        before = tl.sum(tl.where(within == PER_EDGE - 1, z, 0.0), 0)
    if blocks % PER_EDGE == 0:
        at = blocks.to(tl.int64) * 3
        tl.store(starts + at, total)
        tl.store(starts + at + 1, weight)
        tl.store(starts + at + 2, before)


@triton.jit
def mean_by(values: tl.tensor, weight: tl.tensor) -> Any:
    """Weighted mean over the columns, NaN where nothing weighs."""
    top = tl.sum(tl.where(weight > 0.0, weight * values, 0.0), 1)
    bottom = tl.sum(tl.where(weight > 0.0, weight, 0.0), 1)
    return tl.where(bottom > 0.0, top / tl.where(bottom > 0.0, bottom, 1.0), float("nan"))


@triton.jit(do_not_specialize=["N", "apply"])
def first_kernel(  # type: ignore[no-untyped-def]
    ts_ns, stream, kind, last_ns, x, depth, latency_weight, dt_s, phase, compensated, route, quoted, settings,
    whole, starts, weight, first, value, N, V: tl.constexpr, apply, BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Typical depth over one block: its map; if ``apply``, stage 1: weights, ghost, and what will be judged."""
    block = tl.program_id(0).to(tl.int64)
    rows = block * BLOCK + tl.arange(0, BLOCK)
    u = tl.arange(0, WIDTH)[None, :]
    inside = rows < N
    mask = inside[:, None] & (u < V)
    at = rows[:, None] * V + u
    routed = tl.load(route + at, mask, other=1) == 0
    deep = tl.load(depth + at, mask, other=float("nan"))
    known = routed & (deep == deep)
    count = tl.sum(known.to(tl.int32), 1)
    mean = tl.sum(tl.where(known, deep, 0.0), 1) / tl.maximum(count, 1).to(tl.float64)
    now = tl.where(count > 0, mean, float("nan"))
    keep = tl.where(inside, tl.exp(-tl.load(dt_s + rows, inside, other=0.0) / tl.load(settings)), 1.0)
    nothing = tl.zeros([BLOCK], tl.float64)
    a, b, c, d, e = tl.associative_scan((keep, nothing, nothing, 1.0 - keep, now), 0, then_depth)
    if apply:
        start = starts + block * 3
        total, seen, stands = after_depth(
            a, b, c, d, e, tl.load(start) + nothing, tl.load(start + 1) + nothing, tl.load(start + 2) + nothing
        )
        typical = tl.where(seen > 0.0, total / tl.where(seen > 0.0, seen, 1.0), stands)[:, None]
        relative = deep / typical
        relative = tl.where(relative == relative, relative, 1.0)
        t = tl.load(ts_ns + rows, inside, other=0)[:, None]
        age_s = (t - tl.load(last_ns + at, mask, other=0)).to(tl.float64) * 1e-9
        w = tl.log(1.0 + relative) * tl.exp(-age_s * tl.load(settings + 1))
        w = tl.where(routed, w * tl.load(latency_weight + at, mask, other=0.0), 0.0)
        apart = tl.load(x + at, mask, other=0.0) - tl.load(compensated + at, mask, other=0.0)
        tl.store(weight + at, w, mask)
        tl.store(first + rows, mean_by(apart, w), inside)
        own = tl.load(stream + rows, inside, other=0)
        what = tl.load(kind + rows, inside, other=2)
        pricing = (what == 0) | ((what == 1) & (tl.load(quoted + own, inside, other=1) == 0))
        mine = rows * V + own
        judged = inside & pricing & (tl.load(route + mine, inside, other=1) == 0)
        error = tl.load(x + mine, judged, other=0.0) - tl.load(phase + mine, judged, other=0.0)
        tl.store(value + rows, tl.where(judged, error, float("nan")), inside)
    else:
        last = rows - block * BLOCK == BLOCK - 1
        to = whole + block * 5 + 0 * rows
        tl.store(to, a, last)
        tl.store(to + 1, b, last)
        tl.store(to + 2, c, last)
        tl.store(to + 3, d, last)
        tl.store(to + 4, e, last)


@triton.jit
def known_by(
    t: tl.tensor, rows: tl.tensor, inside: tl.tensor, ts_ns: tl.tensor, due_ns: tl.tensor, oldest: tl.tensor,
    live: tl.tensor, mask: tl.tensor, horizon_ns: tl.tensor, ring_steps: tl.tensor, steps: tl.tensor,
) -> Any:  # fmt: skip
    """How much of the queue, the ring's live places and then the events, is due at time t; found by halving."""
    low, high = tl.zeros_like(rows), tl.where(inside, live + 0 * rows, 0)
    for _ in range(ring_steps):
        middle = (low + high) // 2
        open_ = low < high
        due = open_ & (tl.load(due_ns + ((oldest + middle) & mask), open_, other=0) <= t)
        high = tl.where(open_ & ~due, middle, high)
        low = tl.where(due, middle + 1, low)
    first, last = tl.zeros_like(rows), tl.where(inside, rows, 0)
    for _ in range(steps):
        middle = (first + last) // 2
        open_ = first < last
        due = open_ & (tl.load(ts_ns + middle, open_, other=0) + horizon_ns <= t)
        last = tl.where(open_ & ~due, middle, last)
        first = tl.where(due, middle + 1, first)
    return low + first


@triton.jit(do_not_specialize=["N", "capacity", "horizon_ns", "ring_steps", "steps", "apply"])
def second_kernel(  # type: ignore[no-untyped-def]
    ts_ns, stream, x, dt_s, compensated, weight, first, value, head, due_ns, due_stream, due_value, state_ghost,
    settings, whole_keep, whole_added, starts, ghost, deviation, N, V: tl.constexpr, capacity, horizon_ns, ring_steps,
    steps, apply, BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Squared errors that become known over one block: its map; if ``apply``, stage 2: the ghost and deviations."""
    block = tl.program_id(0).to(tl.int64)
    rows = block * BLOCK + tl.arange(0, BLOCK)
    u = tl.arange(0, WIDTH)[None, :]
    inside = rows < N
    old = inside & (rows > 0)
    t = tl.load(ts_ns + rows, inside, other=0)
    oldest = tl.load(head)
    live, mask = tl.load(head + 1) - oldest, capacity - 1
    upto = known_by(t, rows, inside, ts_ns, due_ns, oldest, live, mask, horizon_ns, ring_steps, steps)
    t_before = tl.load(ts_ns + rows - 1, old, other=0)
    since = known_by(t_before, rows - 1, old, ts_ns, due_ns, oldest, live, mask, horizon_ns, ring_steps, steps)
    now = tl.load(first + rows, inside, other=0.0)
    before = tl.where(old, tl.load(first + rows - 1, old, other=0.0), tl.load(state_ghost))
    squares = tl.zeros([BLOCK, WIDTH], tl.float64)
    counts = tl.zeros([BLOCK, WIDTH], tl.float64)
    for k in range(tl.max(upto - since, 0)):
        place = since + k
        told = place < upto
        kept = told & (place < live)
        fresh = told & (place >= live)
        slot, row = (oldest + place) & mask, place - live
        due = tl.where(kept, tl.load(due_ns + slot, kept, other=0), tl.load(ts_ns + row, fresh, other=0) + horizon_ns)
        said = tl.where(kept, tl.load(due_value + slot, kept, other=0.0), tl.load(value + row, fresh, other=0.0))
        who = tl.where(kept, tl.load(due_stream + slot, kept, other=0), tl.load(stream + row, fresh, other=0))
        error = said - tl.where(due == t, now, before)
        whose = (told & (error == error))[:, None] & (who[:, None] == u)
        squares += tl.where(whose, (error * error)[:, None], 0.0)
        counts += tl.where(whose, 1.0, 0.0)
    keep = tl.where(inside, tl.exp(-tl.load(dt_s + rows, inside, other=0.0) / tl.load(settings + 2)), 1.0)
    keeps, squares, counts = tl.associative_scan(
        (tl.broadcast_to(keep[:, None], [BLOCK, WIDTH]), squares, counts), 0, then_two_affine
    )
    to = block * 2 * V + u + 0 * rows[:, None]
    if apply:
        squares = tl.fma(keeps, tl.load(starts + to, u < V, other=0.0), squares)
        counts = tl.fma(keeps, tl.load(starts + to + V, u < V, other=0.0), counts)
        cells = inside[:, None] & (u < V)
        at = rows[:, None] * V + u
        w = tl.load(weight + at, cells, other=0.0)
        w *= (counts + tl.load(settings + 3)) / (squares + tl.load(settings + 4))
        price, basis = tl.load(x + at, cells, other=0.0), tl.load(compensated + at, cells, other=0.0)
        fair = mean_by(price - basis, w)
        tl.store(ghost + rows, fair, inside)
        tl.store(deviation + at, fair[:, None] + basis - price, cells)
    else:
        last = (rows[:, None] - block * BLOCK == BLOCK - 1) & (u < V)
        tl.store(whole_keep + to, keeps, last)
        tl.store(whole_keep + to + V, keeps, last)
        tl.store(whole_added + to, squares, last)
        tl.store(whole_added + to + V, counts, last)


def _by_triton(
    aligned: Aligned, ts_ns: torch.Tensor, stream: torch.Tensor, kind: torch.Tensor, phase: torch.Tensor,
    compensated: torch.Tensor, route: torch.Tensor, quoted: torch.Tensor, params: ConsensusParams, state: OnDevice,
    edge: int, block: int,
) -> Found:  # fmt: skip
    events, streams = aligned.x.shape
    blocks, width = triton.cdiv(events, block), max(4, triton.next_power_of_2(streams))
    size: dict[str, Any] = {"BLOCK": block, "WIDTH": width, "num_warps": 8, "enable_fp_fusion": False}
    like = aligned.x
    prior_sum = params.prior_count * params.prior_variance_bp2
    values = (params.tau_depth_s, params.age_decay_per_s, params.tau_reliability_s, params.prior_count, prior_sum)
    settings = constants(values, like.device)
    whole, depths = like.new_empty((blocks, 5)), like.new_empty((blocks + 1, 3))
    weight, first, value = torch.empty_like(like), like.new_empty(events), like.new_empty(events)
    for apply in (0, 1):
        first_kernel[(blocks,)](
            ts_ns, stream, kind, aligned.last_ns, like, aligned.depth, aligned.latency_weight, aligned.dt_s, phase,
            compensated, route, quoted, settings, whole, depths, weight, first, value, events, streams, apply, **size,
        )  # fmt: skip
        if not apply:
            depth_carry_kernel[(1,)](
                whole, state.depth, depths, blocks, PER_EDGE=edge // block, num_warps=4, enable_fp_fusion=False
            )
    ghost, keep, added = like.new_empty(events), *(like.new_empty((blocks, 2 * streams)) for _ in range(2))
    before = torch.cat((state.error_sum[:streams], state.error_count[:streams]))
    starts, capacity, deviation = before, state.due_ns.shape[0], torch.empty_like(like)
    for apply in (0, 1):
        second_kernel[(blocks,)](
            ts_ns, stream, like, aligned.dt_s, compensated, weight, first, value, state.head, state.due_ns,
            state.due_stream, state.due_value, state.ghost, settings, keep, added, starts, ghost, deviation,
            events, streams, capacity, params.horizon_ns, capacity.bit_length(), events.bit_length(), apply, **size,
        )  # fmt: skip
        if not apply:
            starts = carry(AFFINE.value, (keep, added), before, per_edge=edge // block)
    return Found(ghost, first, value, depths[-1], starts[-1], deviation)
