"""State hash, outcome tables and echo memory on the device. N rows, V streams, T tables, b bits, L = transform's length.

As registry/cpu.py, from its state to its state, but in stages over all rows: features, their scale, codes; outcomes in
the order in which they become known; sums per slot of every table; what every row reads there; then the skill, which
needs what was read. A asking rows, M outcomes: the ring's, then one per asking row. Slots are what a code and its
antipode share. b <= 16: bounded tables evict in event order, which is sequential.

Tables take part as one set of T times ``slots`` groups, sorted by slot; see device_outcomes.py for edges and bits.
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
    faded,
    put_back,
    queued,
    taken,
)
from schwabot_kernels.device_scan import BLOCK, EDGE
from schwabot_kernels.registry.cpu import HALF_SPREAD, SHRINK, RegistryParams
from schwabot_kernels.registry.device_hash import codes_of
from schwabot_kernels.registry.slots import COUNT, FLAT, LAST_S, SQUARES, SUM, UP_DOWN
from schwabot_kernels.scalar import MISSING_NS

NS = 1e-9
READ = 4
"""Of a slot's sums: count, flat, sum, up minus down; the sum of squares is only written."""


class Remembered(NamedTuple):
    """What the memory says of every row, see ``registry.cpu.Remembered``. [N] each."""

    key: torch.Tensor
    entropy: torch.Tensor
    mean: torch.Tensor
    echo: torch.Tensor
    trusted: torch.Tensor


class Outcomes(NamedTuple):
    """What became known, in order. [M], code [T, M].

    y: move beyond what was predicted, bp; weight, echo_weight: in the epochs of the writing row; flat, direction: the
    weight where the move was flat, and with its sign where it was not; last_s: time of the writing row. All nothing
    where there was no ghost.
    """

    code: torch.Tensor
    y: torch.Tensor
    weight: torch.Tensor
    flat: torch.Tensor
    direction: torch.Tensor
    echo_weight: torch.Tensor
    epoch: torch.Tensor
    echo_epoch: torch.Tensor
    last_s: torch.Tensor


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
    head = (read + int(queue.until[-1]), write + asks.shape[0])
    due_ghost = torch.cat((taken(state.due_ghost, live), (ghost + predicted)[asks]))
    weight = torch.cat((taken(state.due_weight, live), 1.0 / times.scale[asks]))
    echo_weight = torch.cat((taken(state.due_echo_weight, live), 1.0 / echo_times.scale[asks]))
    code = torch.cat((taken(state.due_code, live).T, codes[:, asks].to(state.due_code.dtype)), 1)
    weight, epoch = carried_weights(weight, _asked_epochs(times, asks, queue), queue, times)
    echo_weight, echo_epoch = carried_weights(echo_weight, _asked_epochs(echo_times, asks, queue), queue, echo_times)

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
    found, tables = _tables(asks, codes, outcomes, queue, times, params, state, edge)
    average = times.scale[asks] / code.shape[0]
    stats = ghost.new_zeros((rows, READ))
    stats[asks] = found * average[:, None]
    mean = stats[:, SUM] / (stats[:, COUNT] + SHRINK)
    echo, echo_state = _echo(asks, codes, outcomes, queue, echo_times, params, state, edge)
    prediction = torch.cat((taken(state.due_prediction, live), mean[asks]))
    skill = _skill(outcomes, prediction[due], queue, times, state, edge)
    key = torch.full_like(ts_ns, -1)
    key[asks] = codes[0, asks].long() & ((1 << params.bits) - 1)

    pending = slice(head[0] - read, None)
    after = state._replace(
        **look.learnt,
        **tables,
        **echo_state,
        mean_x=_with_streams(state.mean_x, look.mean_x[-1]),
        x=_with_streams(state.x, x[-1]),
        clock=torch.stack((state.clock.new_tensor(origin), *(t.edges[-1].long() for t in (times, echo_times)))),
        ghost=ghost[-1:].clone(),
        skill=skill.bases[-1, 0],
        head=state.head.new_tensor(head),
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
    """Epoch in which the weight of every outcome is given. [M]"""
    pending = queue.row.shape[0] - asks.shape[0]
    return torch.cat((times.edges[:1].expand(pending), times.number[asks]))


def _with_streams(before: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """A row of the state [W] with new values of its streams [V]."""
    after = before.clone()
    after[: values.shape[0]] = values
    return after


def _momentum_means(
    x: torch.Tensor, dt_s: torch.Tensor, tau_s: float, state: Any, edge: int, block: int
) -> torch.Tensor:
    """Decayed mean of each log mid, as it was before each event's own; its first price where it has none. [N, V]"""
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


def _tables(
    asks: torch.Tensor,
    codes: torch.Tensor,
    outcomes: Outcomes,
    queue: Queue,
    times: Epochs,
    params: RegistryParams,
    state: Any,
    edge: int,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What every asking row reads, summed over tables [A, 4], and the tables after."""
    bits, tables, units = params.bits, codes.shape[0], times.edges.shape[0] - 1
    levels = [_Level(bits, state.table, outcomes, queue, times, units)]
    if bits > 8:
        levels.append(_Level(8, state.prefix, outcomes, queue, times, units, bits))
    own = codes[:, asks].long()
    side = own >> 63
    home = own ^ side
    unit, limit, epoch = asks // edge, queue.until[asks], times.number[asks]
    here = levels[0].read(home, unit, limit, epoch)
    enough = params.min_count / times.scale[asks]
    thin = here[..., COUNT] < enough
    if bits >= 8 and bool(thin.any()):
        if bits > 8:
            here = torch.where(thin[..., None], levels[1].read(home >> (bits - 8), unit, limit, epoch), here)
            thin = here[..., COUNT] < enough
        wide = _Level(4, None, outcomes, queue, times, units, bits, finer=levels[-1])
        here = torch.where(thin[..., None], wide.read(home >> (bits - 4), unit, limit, epoch), here)
    sign = (2 * side + 1).double()
    signed = torch.stack((here[..., COUNT], here[..., FLAT], here[..., SUM] * sign, here[..., UP_DOWN] * sign), -1)
    found = signed[0]
    for t in range(1, tables):
        found = found + signed[t]
    after = {"table": levels[0].after(state.table)}
    if bits > 8:
        after["prefix"] = levels[1].after(state.prefix)
    return found, after


class _Level:
    """Sums of the slots of all tables, at the b, 8 or 4 highest bits of codes of ``bits``.

    Args:
        level: how many bits.
        table: before row 0. [T, slots, 8]
        outcomes, queue, times, units: what became known, and when.
        bits: b, where not ``level``.
        finer: level 8, of which level 4 is the sum of sixteen slots each at every edge.
    """

    def __init__(
        self,
        level: int,
        table: torch.Tensor | None,
        outcomes: Outcomes,
        queue: Queue,
        times: Epochs,
        units: int,
        bits: int = 0,
        finer: _Level | None = None,
    ) -> None:
        code = outcomes.code.long()
        tables, known = code.shape
        self.slots = 1 << (level - 1)
        negative = code >> 63
        place = (code ^ negative) >> (max(bits, level) - level)
        self.first = torch.arange(tables, device=code.device)[:, None] * self.slots
        number = torch.arange(known, device=code.device)
        unit, number, epoch, last_s = (
            part.expand(tables, known).reshape(-1) for part in (queue.unit, number, outcomes.epoch, outcomes.last_s)
        )
        # Where there was no ghost nothing is added, and nothing was seen.
        self.groups = Groups(
            (place + self.first).reshape(-1), unit, number, tables * self.slots, units, queue.row.shape[0] + 1
        )
        self.last_s = last_s[self.groups.order]
        bases = None
        if finer is not None:
            # Places of level 8 whose first seven bits begin with these three.
            bases = _sum_in_order(finer.sums.bases.view(units + 1, tables * self.slots, 16, -1).movedim(2, -1))
            base = bases[0]
        else:
            assert table is not None
            base = table[..., : SQUARES + 1].reshape(tables * self.slots, -1)
        self.sums = Sums(self.groups, epoch, _values(outcomes, negative), base, times.edges, bases)

    def read(
        self, place: torch.Tensor, unit: torch.Tensor, limit: torch.Tensor, epoch: torch.Tensor
    ) -> torch.Tensor:
        """Sums of the slot of each table at asking rows. Shape: place [T, A], the rest [A]; returns [T, A, 5]."""
        unit, limit, epoch = (part.expand_as(place) for part in (unit, limit, epoch))
        return self.sums.read(place + self.first, unit, limit, epoch)

    def after(self, table: torch.Tensor) -> torch.Tensor:
        """The tables after the last row. [T, slots, 8]"""
        after = table.clone()
        after[..., : SQUARES + 1] = self.sums.bases[-1].view(*table.shape[:2], -1)
        seen = table[..., LAST_S].reshape(-1)
        # The last of a group may have had no ghost: the latest time is what counts.
        group = self.groups.key // self.groups.indices % (self.groups.groups + 1)
        after[..., LAST_S] = seen.scatter_reduce(0, group, self.last_s, "amax").view(table.shape[:2])
        return after


def _values(outcomes: Outcomes, negative: torch.Tensor) -> torch.Tensor:
    """What is added to slots, table after table: count, flat, sum, up minus down, sum of squares. [T M, 5]"""
    sign = (2 * negative + 1).double()
    weighted = outcomes.weight * outcomes.y
    parts = (outcomes.weight, outcomes.flat, sign * weighted, sign * outcomes.direction, weighted * outcomes.y)
    return torch.stack([part.expand_as(sign) for part in parts], -1).flatten(0, 1)


def _echo(
    asks: torch.Tensor,
    codes: torch.Tensor,
    outcomes: Outcomes,
    queue: Queue,
    times: Epochs,
    params: RegistryParams,
    state: Any,
    edge: int,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Readout of the echo memory [N], and the memory after."""
    bits = params.bits
    weighted = outcomes.echo_weight * outcomes.y
    values = torch.cat((_signs(outcomes.code[0], bits) * weighted[:, None], outcomes.echo_weight[:, None]), 1)
    base = torch.cat((state.echo[:bits], state.echo_weight))[None]
    memory = Sums(_one_group(queue, times), outcomes.echo_epoch, values, base, times.edges)
    zero = torch.zeros_like(asks)
    now = memory.read(zero, asks // edge, queue.until[asks], times.number[asks])
    scale = times.scale[asks]
    heard = _sum_in_order(now[:, :bits] * _signs(codes[0, asks], bits)) * scale
    out = torch.zeros_like(times.scale)
    out[asks] = heard / (bits * (1.0 + now[:, bits] * scale))
    end = memory.bases[-1, 0]
    return out, {"echo": _with_streams(state.echo, end[:bits]), "echo_weight": end[bits:].clone()}


def _skill(
    outcomes: Outcomes, prediction: torch.Tensor, queue: Queue, times: Epochs, state: Any, edge: int
) -> Sums:
    """Decayed sums of prediction times outcome and of its square."""
    weighted = outcomes.weight * prediction
    values = torch.stack((weighted * outcomes.y, weighted * prediction), 1)
    return Sums(_one_group(queue, times), outcomes.epoch, values, state.skill[None], times.edges)


def _one_group(queue: Queue, times: Epochs) -> Groups:
    known = queue.row.shape[0]
    return Groups(
        torch.zeros_like(queue.unit), queue.unit, torch.arange(known, device=queue.unit.device), 1,
        times.edges.shape[0] - 1, known + 1,
    )  # fmt: skip


def _signs(code: torch.Tensor, bits: int) -> torch.Tensor:
    """+1 or -1 per bit, most significant first. Shape: [M]; returns [M, b]."""
    shift = torch.arange(bits - 1, -1, -1, device=code.device)
    return 2.0 * ((code.long()[:, None] >> shift) & 1).double() - 1.0


def _sum_in_order(parts: torch.Tensor) -> torch.Tensor:
    """Sum over the last dim, first to last, on every device and for every number of rows."""
    total = parts[..., 0]
    for k in range(1, parts.shape[-1]):
        total = total + parts[..., k]
    return total


def _entropy(stats: torch.Tensor) -> torch.Tensor:
    """Shannon entropy of down, flat and up with one pseudo-count each, nats. Shape: [N, 4]; returns [N]."""
    count, flats, up_downs = stats[:, COUNT], stats[:, FLAT], stats[:, UP_DOWN]
    moved = (count - flats).clamp(min=0.0)
    total = count + 3.0
    flat = (flats + 1.0) / total
    up = ((0.5 * (moved + up_downs)).clamp(min=0.0) + 1.0) / total
    down = ((0.5 * (moved - up_downs)).clamp(min=0.0) + 1.0) / total
    return -(flat * flat.log() + up * up.log() + down * down.log())
