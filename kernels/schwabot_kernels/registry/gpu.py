"""State hash, outcome tables and echo memory on the device. N rows, V streams, T tables, b bits.

As registry/cpu.py, from its state to its state, but in stages over all rows: features, their scale, codes; outcomes in
the order in which they become known; sums per slot of every table; what every row reads there; then the skill, which
needs what was read. A asking rows, M outcomes: the ring's, then one per asking row. Slots are what a code and its
antipode share. b <= 16: bounded tables evict in event order, which is sequential.

Tables take part as one set of T times ``slots`` groups, sorted by slot; see device_outcomes.py for edges and bits.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    moved_on,
    on_the_host,
    put_back,
    queued,
    taken,
)
from schwabot_kernels.device_scan import BLOCK, EDGE
from schwabot_kernels.device_state import total, with_lanes
from schwabot_kernels.registry.cpu import HALF_SPREAD, SHRINK, RegistryParams
from schwabot_kernels.registry.device_hash import codes_of
from schwabot_kernels.registry.device_tables import READ, Outcomes, read_and_write
from schwabot_kernels.registry.slots import COUNT, FLAT, SUM, UP_DOWN
from schwabot_kernels.scalar import MISSING_NS

NS = 1e-9
ROW_BYTES = 512
"""Bytes that a row takes per table while it goes through: at most three levels of sorted outcomes, 72 each, one of them
being built, and what rows with thin slots read."""


class Remembered(NamedTuple):
    """What the memory says of every row, see ``registry.cpu.Remembered``. [N] each."""

    key: torch.Tensor
    entropy: torch.Tensor
    mean: torch.Tensor
    echo: torch.Tensor
    trusted: torch.Tensor


def remember(
    ts_ns: torch.Tensor,
    x: torch.Tensor,
    micro: torch.Tensor,
    imbalance: torch.Tensor,
    half: torch.Tensor,
    dt_s: torch.Tensor,
    route: torch.Tensor,
    ghost: torch.Tensor,
    deviation: torch.Tensor,
    predicted: torch.Tensor,
    params: RegistryParams,
    state: Any,
    *,
    codes: torch.Tensor | None = None,
    at_once: int | None = None,
    edge: int = EDGE,
    block: int = BLOCK,
) -> tuple[Remembered, Any]:
    """Hash the state of every row, tell what followed that hash before, and remember what follows it now.

    Args:
        ts_ns: event times. int64 [N], N > 0; row 0 stands at an edge
        x, micro, imbalance, half, deviation: see the op; bp. float64 [N, V]
        dt_s: time since the row before. [N]
        route: 0 = takes part. int8 [N, V]
        ghost, predicted: bp. [N]
        params: see ``registry.cpu``.
        state: ``RegistryState`` of tensors on the same device; left as it is.
        codes: of every row, in place of those computed. int32 [T, N]
        at_once: most bytes to take beside columns and state, by estimate, a quarter of the card's memory unless given;
            at least one edge's rows go through together. No bit depends on it.
        edge, block: see device_scan.

    Returns:
        What is remembered [N], and the state after the last row.

    Raises:
        ValueError: more than 16 bits.
    """
    if params.bits > 16:
        raise ValueError(
            f"{params.bits} bits: tables of more than 16 evict in event order and run on the CPU only; use the CPU's op"
            " for this graph, or modules.hash_registry.bits=16"
        )
    columns = (ts_ns, x, micro, imbalance, half, dt_s, route, ghost, deviation, predicted)
    rows, tables = ts_ns.shape[0], state.table.shape[0]
    step = max(1, (_at_once(x.device) if at_once is None else at_once) // (ROW_BYTES * tables * edge)) * edge
    found: list[Remembered] = []
    for first in range(0, rows, step):
        part = slice(first, first + step)
        given = None if codes is None else codes[:, part]
        said, state = _remember([column[part] for column in columns], params, state, given, edge, block)
        found.append(said)
    if len(found) == 1:
        return found[0], state
    return Remembered(*(torch.cat(parts) for parts in zip(*found, strict=True))), state


def _at_once(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.get_device_properties(device).total_memory) // 4
    return 2**32


def _remember(
    columns: Sequence[torch.Tensor],
    params: RegistryParams,
    state: Any,
    codes: torch.Tensor | None,
    edge: int,
    block: int,
) -> tuple[Remembered, Any]:
    """``remember``, of all rows at once."""
    ts_ns, x, micro, imbalance, half, dt_s, route, ghost, deviation, predicted = columns
    rows = ts_ns.shape[0]
    read, write, origin = torch.cat((state.head, state.clock[:1])).tolist()
    if origin == MISSING_NS:
        origin = int(ts_ns[0])
    look = looked(x, micro, imbalance, half, dt_s, route, ghost, deviation, params, state, edge=edge, block=block)
    codes = look.codes if codes is None else codes
    times = epochs(ts_ns, origin, params.tau_s, state.clock[1], edge)
    echo_times = epochs(ts_ns, origin, params.echo_tau_s, state.clock[2], edge)
    known = ~ghost.isnan()
    known[: look.start] = False
    asks = known.nonzero().squeeze(1)
    live = (read, write)
    due_ns = torch.cat((taken(state.due_ns, live), ts_ns[asks] + params.horizon_ns))
    queue = queued(ts_ns, due_ns, asks, edge)
    told, (edges, echo_edges) = on_the_host(queue.until[-1], times, echo_times)
    head = (read + told, write + asks.shape[0])
    due_ghost = torch.cat((taken(state.due_ghost, live), (ghost + predicted)[asks]))
    weight = torch.cat((taken(state.due_weight, live), 1.0 / times.scale[asks]))
    echo_weight = torch.cat((taken(state.due_echo_weight, live), 1.0 / echo_times.scale[asks]))
    code = torch.cat((taken(state.due_code, live).T, codes[:, asks].to(state.due_code.dtype)), 1)
    weight, epoch = carried_weights(weight, _asked_epochs(times, asks, queue), queue, times, edges)
    echo_asked = _asked_epochs(echo_times, asks, queue)
    echo_weight, echo_epoch = carried_weights(echo_weight, echo_asked, queue, echo_times, echo_edges)

    due = slice(0, head[0] - read)
    later = torch.cat((state.ghost, ghost))[queue.source[due] + 1]
    y = later - due_ghost[due]
    said = ~y.isnan()
    y = torch.where(said, y, 0.0)
    heavy = torch.where(said, weight[due], 0.0)
    steps = torch.round(y / params.step_bp)
    flat = steps.abs() <= params.dead_band_steps
    since = (ts_ns[queue.row[due]] - origin).double() * NS
    outcomes = Outcomes(
        code=code[:, due],
        y=y,
        weight=heavy,
        flat=torch.where(flat, heavy, 0.0),
        direction=torch.where(flat, 0.0, torch.where(steps > 0.0, heavy, -heavy)),
        echo_weight=torch.where(said, echo_weight[due], 0.0),
        epoch=epoch[due],
        echo_epoch=echo_epoch[due],
        last_s=torch.where(said, since, -torch.inf),
    )
    queue = Queue(queue.asked[due], queue.row[due], queue.source[due], queue.unit[due], queue.until)
    found, tables = read_and_write(asks, codes, outcomes, queue, times, params, state, edge, block)
    average = times.scale[asks] / code.shape[0]
    stats = ghost.new_zeros((rows, READ))
    stats[asks] = found * average[:, None]
    mean = stats[:, SUM] / (stats[:, COUNT] + SHRINK)
    echo, echo_state = _echo(asks, codes, outcomes, queue, echo_times, params, state, edge, block)
    prediction = torch.cat((taken(state.due_prediction, live), mean[asks]))
    skill = _skill(outcomes, prediction[due], queue, times, state, block)
    key = torch.full_like(ts_ns, -1)
    key[asks] = codes[0, asks].long() & ((1 << params.bits) - 1)

    pending = slice(head[0] - read, None)
    after = state._replace(
        **look.learnt,
        **tables,
        **echo_state,
        mean_x=with_lanes(look.mean_x[-1], state.mean_x),
        x=with_lanes(x[-1], state.x),
        clock=torch.cat((first_ns(ts_ns, state.clock), *(t.edges[-1:].long() for t in (times, echo_times)))),
        ghost=ghost[-1:].clone(),
        skill=skill.bases[-1, 0],
        head=moved_on(state.head, queue.until[-1], asks.shape[0]),
        due_ns=put_back(state.due_ns, due_ns[pending], head),
        due_ghost=put_back(state.due_ghost, due_ghost[pending], head),
        due_prediction=put_back(state.due_prediction, prediction[pending], head),
        due_weight=put_back(state.due_weight, weight[pending], head),
        due_echo_weight=put_back(state.due_echo_weight, echo_weight[pending], head),
        due_code=put_back(state.due_code, code[:, pending].T, head),
    )
    every = torch.arange(rows, device=ts_ns.device)
    sums = skill.read(torch.zeros_like(every), every // edge, queue.until, times.number)
    trusted = (2.0 * sums[:, 0] > sums[:, 1]).to(torch.int8)
    return Remembered(key, _entropy(stats), mean, echo, trusted), after


class Look(NamedTuple):
    """State vectors of the rows.

    start: first row with a scale; learnt: what the warm-up changed of the state; mean_x: decayed means of log mids,
    before each row's own [N, V]; codes: int32 [T, N].
    """

    start: int
    learnt: dict[str, torch.Tensor]
    mean_x: torch.Tensor
    codes: torch.Tensor


def looked(
    x: torch.Tensor,
    micro: torch.Tensor,
    imbalance: torch.Tensor,
    half: torch.Tensor,
    dt_s: torch.Tensor,
    route: torch.Tensor,
    ghost: torch.Tensor,
    deviation: torch.Tensor,
    params: RegistryParams,
    state: Any,
    *,
    edge: int = EDGE,
    block: int = BLOCK,
) -> Look:
    """Features of every row, their scale, and their codes; arguments as of ``remember``."""
    learnt, frozen = state.warm.tolist()
    mean_x = _momentum_means(x, dt_s, params.momentum_tau_s, state, edge, block)
    use = route == 0
    changed: dict[str, torch.Tensor] = {}
    start = 0
    if not frozen:
        z = torch.where(use[:, None], torch.stack((deviation, micro, imbalance, half, x - mean_x), 1), 0.0)
        start, changed = _learn_scale(z, use, ghost, learnt, params.warmup_events, state, edge, block)
    shift, factor = (changed.get(name, getattr(state, name)) for name in ("z_shift", "z_scale"))
    parts = (deviation, micro, imbalance, half, x, mean_x)
    codes = codes_of(parts, use, shift, factor, state.signs, params.bits, state.table.shape[0])
    return Look(start, changed, mean_x, codes)


def _asked_epochs(times: Epochs, asks: torch.Tensor, queue: Queue) -> torch.Tensor:
    """Epoch in which the weight of every outcome is given. Shape: [M]."""
    pending = queue.row.shape[0] - asks.shape[0]
    return torch.cat((times.edges[:1].expand(pending), times.number[asks]))


def _momentum_means(
    x: torch.Tensor, dt_s: torch.Tensor, tau_s: float, state: Any, edge: int, block: int
) -> torch.Tensor:
    """Decayed mean of each log mid, as it was before each event's own; its first price without one. Shape: [N, V]."""
    streams = x.shape[1]
    before = torch.cat((state.x[None, :streams], x[:-1]))
    start = state.mean_x[:streams]
    known = ~before.isnan()
    keep = torch.exp(-dt_s / tau_s)[:, None]
    a = torch.where(known, keep, 0.0)
    b = torch.where(known, (1.0 - keep) * before, x)
    mean = device_scan.affine(a, b.nan_to_num(), start.nan_to_num().contiguous(), edge=edge, block=block)
    return torch.where(x.isnan(), torch.nan, mean)


def _learn_scale(
    z: torch.Tensor,
    use: torch.Tensor,
    ghost: torch.Tensor,
    learnt: int,
    warmup_events: int,
    state: Any,
    edge: int,
    block: int,
) -> tuple[int, dict[str, torch.Tensor]]:
    """Take rows into the warm-up sums until it is full; the first row after it, and what changed of the state."""
    rows, _, streams = z.shape
    known = (~ghost.isnan()).nonzero().squeeze(1)
    full = known.shape[0] >= warmup_events - learnt
    end = int(known[warmup_events - learnt - 1]) + 1 if full else rows
    taking = (~ghost[:end].isnan())[:, None, None]
    added = torch.cat((use[:end, None].double(), z[:end], z[:end] * z[:end]), 1)
    added = torch.where(taking, added, 0.0).flatten(1)
    before = torch.cat((state.z_count[None], state.z_sum, state.z_squares))
    sums = device_scan.affine(
        torch.ones_like(added[:, :1]), added, before[:, :streams].flatten(), edge=edge, block=block
    )[-1].view(-1, streams)
    after = before.clone()
    after[:, :streams] = sums
    features = state.z_sum.shape[0]
    count, total, squares = after[0], after[1 : 1 + features], after[1 + features :]
    changed = {
        "z_count": count,
        "z_sum": total,
        "z_squares": squares,
        "warm": state.warm.new_tensor([learnt + min(known.shape[0], warmup_events - learnt), int(full)]),
    }
    if full:
        changed["z_shift"], changed["z_scale"] = _frozen_scale(count, total, squares, warmup_events)
    return end, changed


def _frozen_scale(
    count: torch.Tensor, total: torch.Tensor, squares: torch.Tensor, warmup_events: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shift and scale of z. [5, W] each; see ``registry.cpu._freeze_scale``."""
    rare = (100.0 * count < warmup_events)[None]
    taken_part = torch.where(rare, count.sum(), count)
    mean = torch.where(rare, total.sum(1, keepdim=True), total) / taken_part
    square = torch.where(rare, squares.sum(1, keepdim=True), squares) / taken_part
    shift = torch.zeros_like(mean)
    shift[HALF_SPREAD] = mean[HALF_SPREAD]
    square[HALF_SPREAD] = (square[HALF_SPREAD] - mean[HALF_SPREAD] * mean[HALF_SPREAD]).clamp(min=0.0)
    still = square <= (1e-9 * mean * mean).clamp(min=1e-18)
    return shift, torch.where(still, 0.0, 1.0 / torch.sqrt(square))


def _echo(
    asks: torch.Tensor,
    codes: torch.Tensor,
    outcomes: Outcomes,
    queue: Queue,
    times: Epochs,
    params: RegistryParams,
    state: Any,
    edge: int,
    block: int,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Readout of the echo memory [N], and the memory after."""
    bits = params.bits
    weighted = outcomes.echo_weight * outcomes.y
    values = torch.cat((_signs(outcomes.code[0], bits) * weighted[:, None], outcomes.echo_weight[:, None]), 1)
    base = torch.cat((state.echo[:bits], state.echo_weight))[None]
    memory = Sums(_one_group(queue, times, block), outcomes.echo_epoch, values, base, times.edges)
    zero = torch.zeros_like(asks)
    now = memory.read(zero, asks // edge, queue.until[asks], times.number[asks])
    scale = times.scale[asks]
    heard = total(now[:, :bits] * _signs(codes[0, asks], bits)) * scale
    out = torch.zeros_like(times.scale)
    out[asks] = heard / (bits * (1.0 + now[:, bits] * scale))
    end = memory.bases[-1, 0]
    return out, {"echo": with_lanes(end[:bits], state.echo), "echo_weight": end[bits:].clone()}


def _skill(outcomes: Outcomes, prediction: torch.Tensor, queue: Queue, times: Epochs, state: Any, block: int) -> Sums:
    """Decayed sums of prediction times outcome and of its square."""
    weighted = outcomes.weight * prediction
    values = torch.stack((weighted * outcomes.y, weighted * prediction), 1)
    return Sums(_one_group(queue, times, block), outcomes.epoch, values, state.skill[None], times.edges)


def _one_group(queue: Queue, times: Epochs, block: int) -> Groups:
    known = queue.row.shape[0]
    return Groups(
        torch.zeros_like(queue.unit), queue.unit, torch.arange(known, device=queue.unit.device), 1,
        times.edges.shape[0] - 1, known + 1, block // 2,
    )  # fmt: skip


def _signs(code: torch.Tensor, bits: int) -> torch.Tensor:
    """+1 or -1 per bit, most significant first. Shape: [M]; returns [M, b]."""
    shift = torch.arange(bits - 1, -1, -1, device=code.device)
    return 2.0 * ((code.long()[:, None] >> shift) & 1).double() - 1.0


def _entropy(stats: torch.Tensor) -> torch.Tensor:
    """Shannon entropy of down, flat and up with one pseudo-count each, nats. Shape: [N, 4]; returns [N]."""
    count, flats, up_downs = stats[:, COUNT], stats[:, FLAT], stats[:, UP_DOWN]
    moved = (count - flats).clamp(min=0.0)
    total = count + 3.0
    flat = (flats + 1.0) / total
    up = ((0.5 * (moved + up_downs)).clamp(min=0.0) + 1.0) / total
    down = ((0.5 * (moved - up_downs)).clamp(min=0.0) + 1.0) / total
    return -(flat * flat.log() + up * up.log() + down * down.log())
