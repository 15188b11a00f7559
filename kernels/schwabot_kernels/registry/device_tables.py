"""Outcome tables on the device: what rows read, and the tables after. N rows, A asking rows, M outcomes, T tables.

The slots of all tables are G = T 2^{b-1} groups; see device_outcomes.py. C = 5 sums a slot: count, flat, sum, up minus
down, and the sum of squares, which nothing here reads.
"""

# mypy: disable-error-code="assignment, no-untyped-def, var-annotated"
# (Triton kernels: their language has no types that mypy knows.)
from __future__ import annotations

from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl

from schwabot_kernels.device_groups import group_scan
from schwabot_kernels.device_outcomes import Epochs, Groups, Queue, Sums
from schwabot_kernels.device_scan import by_triton
from schwabot_kernels.device_state import total
from schwabot_kernels.registry.cpu import RegistryParams
from schwabot_kernels.registry.slots import COUNT, FLAT, LAST_S, SQUARES, SUM, UP_DOWN

READ = 4
"""Sums of a slot that are read."""
SUMS = SQUARES + 1
ROWS = 128


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


@triton.jit
def then_slots(
    a1: tl.tensor, b1: tl.tensor, c1: tl.tensor, d1: tl.tensor, e1: tl.tensor, f1: tl.tensor,
    a2: tl.tensor, b2: tl.tensor, c2: tl.tensor, d2: tl.tensor, e2: tl.tensor, f2: tl.tensor,
) -> Any:  # fmt: skip
    """One affine map of the five sums of a slot, then another."""
    return (
        a1 * a2, tl.fma(a2, b1, b2), tl.fma(a2, c1, c2), tl.fma(a2, d1, d2), tl.fma(a2, e1, e2), tl.fma(a2, f1, f2),
    )  # fmt: skip


@triton.jit(do_not_specialize=["known"])
def table_kernel(
    keep, order, start, filled, code, weight, y, flat, direction, sums, known, groups, slots, TILE: tl.constexpr,
):  # fmt: skip
    """Sums of one slot in one unit, at every outcome; see ``device_groups.group_kernel``."""
    group = tl.load(filled + tl.program_id(0))
    first = tl.load(start + group)
    end = tl.load(start + group + 1)
    table = group % (groups + 1) // slots
    b0 = tl.zeros([1], tl.float64)
    c0 = tl.zeros([1], tl.float64)
    d0 = tl.zeros([1], tl.float64)
    e0 = tl.zeros([1], tl.float64)
    f0 = tl.zeros([1], tl.float64)
    for tile in range(first, end, TILE):
        at = tile + tl.arange(0, TILE)
        mask = at < end
        a = tl.load(keep + at, mask & (at > first), other=1.0)
        place = tl.load(order + at, mask, other=0)
        k = tl.where(mask, place - table * known, 0)
        sign = (2 * (tl.load(code + place, mask, other=0) >> 31) + 1).to(tl.float64)
        b = tl.load(weight + k, mask, other=0.0)
        move = tl.load(y + k, mask, other=0.0)
        c = tl.load(flat + k, mask, other=0.0)
        d = sign * (b * move)
        e = sign * tl.load(direction + k, mask, other=0.0)
        f = (b * move) * move
        a, b, c, d, e, f = tl.associative_scan((a, b, c, d, e, f), 0, then_slots)
        b = tl.fma(a, b0, b)
        c = tl.fma(a, c0, c)
        d = tl.fma(a, d0, d)
        e = tl.fma(a, e0, e)
        f = tl.fma(a, f0, f)
        tl.store(sums + at * 5, b, mask)
        tl.store(sums + at * 5 + 1, c, mask)
        tl.store(sums + at * 5 + 2, d, mask)
        tl.store(sums + at * 5 + 3, e, mask)
        tl.store(sums + at * 5 + 4, f, mask)
        last = tile + TILE - 1
        b0 = tl.sum(tl.where(at == last, b, 0.0), 0, keep_dims=True)
        c0 = tl.sum(tl.where(at == last, c, 0.0), 0, keep_dims=True)
        d0 = tl.sum(tl.where(at == last, d, 0.0), 0, keep_dims=True)
        e0 = tl.sum(tl.where(at == last, e, 0.0), 0, keep_dims=True)
        f0 = tl.sum(tl.where(at == last, f, 0.0), 0, keep_dims=True)


@triton.jit
def left(epochs: tl.tensor) -> Any:
    """``device_outcomes.faded``."""
    return tl.exp(-tl.minimum(30.0 * epochs, 708.0))


@triton.jit(do_not_specialize=["asking", "rows", "known", "steps"])
def read_kernel(
    asks, codes, until, number, edges, enough, start, order, epoch, sums, bases, found, thin, asking, rows, known,
    groups, slots, steps, EDGE: tl.constexpr, TABLES: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """What asking rows find in their slots, summed over tables, and whether a slot of them is thin."""
    a = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    mask = a < asking
    row = tl.load(asks + a, mask, other=0)
    unit = row // EDGE
    limit = tl.load(until + row, mask, other=0)
    now = tl.load(number + row, mask, other=0.0)
    edge = tl.load(edges + unit, mask, other=0.0)
    count = tl.zeros([ROWS], tl.float64)
    flat = tl.zeros([ROWS], tl.float64)
    total = tl.zeros([ROWS], tl.float64)
    up_down = tl.zeros([ROWS], tl.float64)
    least = tl.full([ROWS], float("inf"), tl.float64)
    for table in range(TABLES):
        code = tl.load(codes + table * tl.cast(rows, tl.int64) + row, mask, other=0)
        negative = code >> 31
        sign = (2 * negative + 1).to(tl.float64)
        group = table * tl.cast(slots, tl.int64) + (code ^ negative)
        own = unit * (groups + 1) + group
        first = tl.load(start + own, mask, other=0)
        low = first
        high = tl.load(start + own + 1, mask, other=0)
        for _ in range(steps):  # to the first outcome that is not yet known
            middle = (low + high) // 2
            inside = middle < high
            earlier = inside & (tl.load(order + middle, inside, other=0) - table * tl.cast(known, tl.int64) < limit)
            low = tl.where(earlier, middle + 1, low)
            high = tl.where(earlier, high, middle)
        has = low > first
        then = tl.where(has, tl.load(epoch + low - 1, has, other=0.0), edge)
        faded_base = left(then - edge)
        faded = left(now - then)
        base = bases + (unit * groups + group) * 5
        at = sums + (low - 1) * 5
        n = tl.fma(tl.load(base, mask, other=0.0), faded_base, tl.load(at, has, other=0.0)) * faded
        count += n
        least = tl.minimum(least, n)
        flat += tl.fma(tl.load(base + 1, mask, other=0.0), faded_base, tl.load(at + 1, has, other=0.0)) * faded
        total += tl.fma(tl.load(base + 2, mask, other=0.0), faded_base, tl.load(at + 2, has, other=0.0)) * faded * sign
        up_down += (
            tl.fma(tl.load(base + 3, mask, other=0.0), faded_base, tl.load(at + 3, has, other=0.0)) * faded * sign
        )
    tl.store(found + a * 4, count, mask)
    tl.store(found + a * 4 + 1, flat, mask)
    tl.store(found + a * 4 + 2, total, mask)
    tl.store(found + a * 4 + 3, up_down, mask)
    tl.store(thin + a, (least < tl.load(enough + a, mask, other=0.0)).to(tl.int8), mask)


def read_and_write(
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
    """What every asking row reads, summed over tables [A, 4], and the tables after.

    Args:
        asks: rows that ask. [A]
        codes: of every row. [T, N]
        outcomes, queue: what becomes known, and when.
        times: epochs of the rows.
        params, state: of the registry.
        edge, block: see device_scan.
    """
    bits, units = params.bits, times.edges.shape[0] - 1
    levels = [_Level(bits, bits, state.table, outcomes, queue, times, units, block)]
    if bits > 8:
        levels.append(_Level(8, bits, state.prefix, outcomes, queue, times, units, block))
    enough = params.min_count / times.scale[asks]
    found, thin = levels[0].read_summed(asks, codes, queue, times, enough, edge)
    thin_asks = thin.nonzero().squeeze(1) if bits >= 8 else asks[:0]
    if thin_asks.shape[0]:
        rows = asks[thin_asks]
        wide = _Level(4, bits, None, outcomes, queue, times, units, block, finer=levels[-1])
        found[thin_asks] = _backed_off([*levels, wide], codes[:, rows], rows, queue, times, enough[thin_asks], edge)
    after = {"table": levels[0].after(state.table)}
    if bits > 8:
        after["prefix"] = levels[1].after(state.prefix)
    return found, after


def _backed_off(
    levels: list[_Level],
    codes: torch.Tensor,
    rows: torch.Tensor,
    queue: Queue,
    times: Epochs,
    enough: torch.Tensor,
    edge: int,
) -> torch.Tensor:
    """As ``read_summed``, but a thin slot gives way to its 8-bit, if thin too its 4-bit prefix. Shape: [R, 4]."""
    at = (rows // edge, queue.until[rows], times.number[rows])
    here = levels[0].read(codes, *at)
    for level in levels[1:]:
        thin = here[..., COUNT] < enough
        here = torch.where(thin[..., None], level.read(codes, *at), here)
    return _summed(here, codes)


def _summed(here: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
    """Sum over tables, with the sign of the code. Shape: here [T, R, 5], codes [T, R]; returns [R, 4]."""
    sign = (2 * (codes >> 31) + 1).double()
    parts = (here[..., COUNT], here[..., FLAT], here[..., SUM] * sign, here[..., UP_DOWN] * sign)
    return total(torch.stack(parts, -1).movedim(0, -1))


class _Level(Sums):
    """Sums of the slots of all tables at the b, 8 or 4 highest bits of codes.

    Args:
        level: how many bits.
        bits: b
        table: before row 0. [T, slots, 8]
        outcomes, queue, times, units: what becomes known, and when.
        block: see device_scan; a group's tile is half of it, or 32 where slots are many and see few outcomes.
        finer: level 8, of which level 4 is the sum of sixteen slots each at every edge.
    """

    def __init__(
        self,
        level: int,
        bits: int,
        table: torch.Tensor | None,
        outcomes: Outcomes,
        queue: Queue,
        times: Epochs,
        units: int,
        block: int,
        finer: _Level | None = None,
    ) -> None:
        code = outcomes.code
        tables, known = code.shape
        self.outcomes, self.slots, self.shift = outcomes, 1 << (level - 1), bits - level
        self.first = torch.arange(tables, device=code.device)[:, None] * self.slots
        tile = block // 2 if level <= 8 else min(block // 2, 32)
        number = torch.arange(known, device=code.device)
        unit, number, epoch, last_s = (
            part.expand(tables, known).reshape(-1) for part in (queue.unit, number, outcomes.epoch, outcomes.last_s)
        )
        groups = Groups(self._group(code).reshape(-1), unit, number, tables * self.slots, units, known + 1, tile)
        self.last_s = last_s[groups.order]
        if finer is None:
            assert table is not None
            bases, base = None, table[..., :SUMS].reshape(groups.groups, SUMS)
        else:
            # Slots of level 8 whose first bits are these.
            bases = total(finer.bases.view(units + 1, groups.groups, 16, SUMS).movedim(2, -1))
            base = bases[0]
        super().__init__(groups, epoch, None, base, times.edges, bases)

    def _group(self, code: torch.Tensor) -> torch.Tensor:
        """Group of the slot of codes. Shape: [T, any]; the same back."""
        code = code.long()
        return ((code ^ (code >> 63)) >> self.shift) + self.first

    def _scanned(self, keep: torch.Tensor, values: torch.Tensor | None) -> torch.Tensor:
        o, groups = self.outcomes, self.groups
        tables, known = o.code.shape
        if not by_triton(keep) or known == 0:
            return group_scan(keep, _values(o), groups.order, groups.start, groups.filled)
        sums = keep.new_empty((tables * known, SUMS))
        table_kernel[(groups.filled.shape[0],)](
            keep, groups.order, groups.start, groups.filled, o.code.int().contiguous(), o.weight, o.y, o.flat,
            o.direction, sums, known, groups.groups, self.slots, TILE=groups.tile,
            num_warps=4 if groups.tile > 128 else 1, enable_fp_fusion=False,
        )  # fmt: skip
        return sums

    def read_summed(
        self,
        asks: torch.Tensor,
        codes: torch.Tensor,
        queue: Queue,
        times: Epochs,
        enough: torch.Tensor,
        edge: int,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What asking rows find, summed over tables [A, 4], and whether a slot of theirs is thin [A]."""
        tables, rows = codes.shape
        asking = asks.shape[0]
        if not by_triton(enough) or asking == 0:
            own = codes[:, asks]
            here = self.read(own, asks // edge, queue.until[asks], times.number[asks])
            return _summed(here, own), (here[..., COUNT] < enough).any(0)
        found, thin = enough.new_empty((asking, READ)), enough.new_empty(asking, dtype=torch.int8)
        known = self.outcomes.code.shape[1]
        read_kernel[(triton.cdiv(asking, ROWS),)](
            asks, codes.contiguous(), queue.until, times.number, times.edges, enough, self.groups.start,
            self.groups.order, self.epoch, self.prefix, self.bases, found, thin, asking, rows, known,
            self.groups.groups, self.slots, known.bit_length(), EDGE=edge, TABLES=tables, ROWS=ROWS, num_warps=4,
            enable_fp_fusion=False,
        )  # fmt: skip
        return found, thin != 0

    def read(self, codes: torch.Tensor, unit: torch.Tensor, limit: torch.Tensor, epoch: torch.Tensor) -> torch.Tensor:
        """Sums of the slot of each table. Shape: codes [T, R], the rest [R]; returns [T, R, 5]."""
        unit, limit, epoch = (part.expand_as(codes) for part in (unit, limit, epoch))
        return super().read(self._group(codes), unit, limit, epoch)

    def after(self, table: torch.Tensor) -> torch.Tensor:
        """The tables after the last row. Shape: [T, slots, 8]."""
        after = table.clone()
        after[..., :SUMS] = self.bases[-1].view(*table.shape[:2], -1)
        seen = table[..., LAST_S].reshape(-1)
        # The last of a group may have had no ghost: the latest time is what counts.
        group = self.groups.key // self.groups.indices % (self.groups.groups + 1)
        after[..., LAST_S] = seen.scatter_reduce(0, group, self.last_s, "amax").view(table.shape[:2])
        return after


def _values(outcomes: Outcomes) -> torch.Tensor:
    """What is added to slots, table after table. Shape: [T M, 5]."""
    sign = (2 * (outcomes.code >> 31) + 1).double()
    weighted = outcomes.weight * outcomes.y
    parts = (outcomes.weight, outcomes.flat, sign * weighted, sign * outcomes.direction, weighted * outcomes.y)
    return torch.stack([part.expand_as(sign) for part in parts], -1).flatten(0, 1)
