"""Lead-lag of two streams on the device. See cpu.py and reference.py for the definitions.

n + 1 and m + 1 prices, L lags, B blocks of time, M moves of X, T tiles of moves.

    U(theta) = sum_i dX_i (Y at the first stamp at or after s_i + theta - Y at the last one up to s_{i-1} + theta)

A program takes a tile of MOVES moves of one block of time, in order of time, and LAGS lags. Where in Y all of them fall
is found once for the tile; within, every move and lag finds its two stamps by halving, both in step, so that the loads
of neighbours fall on the same cache lines. A tile's sum is a tree; the tiles of a block are added one after the other.
No sum depends on which program is done first.

Operations, of 28 pairs x 1e6 moves x 1,000 lags: 2.8e10 pairs of searches of about log2(MOVES + LAGS * step / refresh)
= 9 steps; a step is two loads that hit the L1 cache and some 16 instructions. Bytes: 24 per move for every LAGS lags
and 8 T L, from L2; next to nothing.

The correlation of bins is the same sum with bins' edges for stamps, and the energy of Y's bins, once for every
remainder of lag and width.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from schwabot_kernels.device_scan import by_triton

MOVES = 128
LAGS = 8
TALL = 16
"""Tiles that are added up at a time."""
PARTIALS = 2**26
"""Tiles times lags at a time."""
CELLS = 2**24
"""Moves times lags that plain torch takes at a time."""


def contrast(
    time_x: torch.Tensor,
    x: torch.Tensor,
    time_y: torch.Tensor,
    y: torch.Tensor,
    lags: torch.Tensor,
    block: torch.Tensor,
    blocks: int,
) -> torch.Tensor:
    """U(theta) by block of time; see ``reference.contrast``. Tensors of one device. Shape: [L, B]."""
    moved = (x.diff() != 0).nonzero()[:, 0] + 1
    by_block = moved[torch.sort(block[moved], stable=True).indices]
    starts, ends, moves = time_x[by_block - 1], time_x[by_block], x[by_block] - x[by_block - 1]
    return _summed(starts, ends, moves, block[by_block], blocks, time_y, y, lags, first=True)


def bin_correlation(
    time_x: torch.Tensor,
    x: torch.Tensor,
    time_y: torch.Tensor,
    y: torch.Tensor,
    lags: torch.Tensor,
    width: int,
    origin: int,
) -> torch.Tensor:
    """Correlation of the moves within bins; see ``reference.bin_correlation``. Tensors of one device. Shape: [L]."""
    bins, moves = _binned(time_x, x, width, origin)
    start = origin + bins * width - 1  # what moved before the bin is in the price at its last ns
    product = _summed(start, start + width, moves, torch.zeros_like(bins), 1, time_y, y, lags, first=False)[:, 0]
    remainders, which = torch.unique((lags + origin) % width, return_inverse=True)
    energy_y = torch.stack([_energy(time_y, y, width, remainder) for remainder in remainders.tolist()])[which]
    energy = (moves * moves).sum() * energy_y
    return torch.where(energy > 0.0, product / energy.sqrt(), torch.nan)


def _binned(time: torch.Tensor, price: torch.Tensor, width: int, origin: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Bins with a stamp after the first one, and what the price moved within them, in order. Shape: both [K]."""
    number = torch.div(time[1:] - origin, width, rounding_mode="floor")
    last = torch.ones_like(number, dtype=torch.bool)
    last[:-1] = number[1:] != number[:-1]
    at = last.nonzero()[:, 0]
    return number[at], torch.cat((price[:1], price[1:][at])).diff()


def _energy(time: torch.Tensor, price: torch.Tensor, width: int, origin: int) -> torch.Tensor:
    """Sum of squared moves within bins. Shape: []."""
    moves = _binned(time, price, width, origin)[1]
    return (moves * moves).sum()


def _summed(
    starts: torch.Tensor,
    ends: torch.Tensor,
    moves: torch.Tensor,
    block: torch.Tensor,
    blocks: int,
    time_y: torch.Tensor,
    y: torch.Tensor,
    lags: torch.Tensor,
    *,
    first: bool,
) -> torch.Tensor:
    """Sum of every move times how far Y went between its start and end, both moved on by a lag.

    Args:
        starts: of the moves, ns, never decreasing within a block; int64 [M]
        ends: likewise. [M]
        moves: [M]
        block: of every move, never decreasing. [M]
        blocks: B.
        time_y: stamps of Y, strictly increasing. [m + 1]
        y: prices. [m + 1]
        lags: [L]
        first: at the end Y's first stamp at or after it counts, else the last one up to it.

    Shape: [L, B].
    """
    counts = torch.bincount(block, minlength=blocks)
    tiles = (counts + MOVES - 1) // MOVES
    tile_ends, move_ends = tiles.cumsum(0), counts.cumsum(0)
    number = int(tile_ends[-1])
    if not number:
        return moves.new_zeros((lags.shape[0], blocks))
    tile = torch.arange(number, device=moves.device)
    of = torch.searchsorted(tile_ends, tile, right=True)
    begin = (move_ends - counts)[of] + (tile - (tile_ends - tiles)[of]) * MOVES
    size = torch.minimum(move_ends[of] - begin, torch.full_like(begin, MOVES))
    out = moves.new_empty((lags.shape[0], blocks))
    step = max(1, PARTIALS // number)
    for k in range(0, len(lags), step):
        rows, some = out[k : k + step], lags[k : k + step]
        tiled = (starts, ends, moves, begin, size, time_y, y, some)
        if by_triton(moves):
            partial = _partials_by_triton(*tiled, first=first)
            wide = min(128, triton.next_power_of_2(some.shape[0]))
            blocks_kernel[(blocks, triton.cdiv(some.shape[0], wide))](
                partial, tile_ends - tiles, tiles, rows, some.shape[0], blocks, TALL=TALL, WIDE=wide, num_warps=4
            )
        else:
            partial = _partials(*tiled, first=first)
            for b, (end, held) in enumerate(zip(tile_ends.tolist(), tiles.tolist(), strict=True)):
                rows[:, b] = partial[end - held : end].sum(0)
    return out


def _partials(
    starts: torch.Tensor,
    ends: torch.Tensor,
    moves: torch.Tensor,
    begin: torch.Tensor,
    size: torch.Tensor,
    time_y: torch.Tensor,
    y: torch.Tensor,
    lags: torch.Tensor,
    *,
    first: bool,
) -> torch.Tensor:
    """Sums of the tiles [T, L] in plain torch."""
    last = time_y.shape[0] - 1
    place = torch.arange(MOVES, device=moves.device)
    at = (begin[:, None] + place).clamp(max=moves.shape[0] - 1)
    tiled = torch.where(place < size[:, None], moves[at], 0.0)
    found = []
    step = max(1, CELLS // tiled.numel())
    for k in range(0, len(lags), step):
        some = lags[k : k + step]
        before = torch.searchsorted(time_y, starts[None] + some[:, None], right=True) - 1
        after = torch.searchsorted(time_y, ends[None] + some[:, None], right=not first) - (0 if first else 1)
        went = y[after.clamp(0, last)] - y[before.clamp(0, last)]
        found.append((tiled * went[:, at]).sum(2))
    return torch.cat(found).T


def _partials_by_triton(
    starts: torch.Tensor,
    ends: torch.Tensor,
    moves: torch.Tensor,
    begin: torch.Tensor,
    size: torch.Tensor,
    time_y: torch.Tensor,
    y: torch.Tensor,
    lags: torch.Tensor,
    *,
    first: bool,
) -> torch.Tensor:
    """Sums of the tiles [T, L] by ``tiles_kernel``."""
    tiles, count = begin.shape[0], lags.shape[0]
    groups = triton.cdiv(count, LAGS)
    filled = torch.cat((lags, lags[-1:].expand(groups * LAGS - count))).view(groups, LAGS)
    least, most = filled.amin(1), filled.amax(1)
    # The stamps of Y that any move and lag of a program can end at.
    low = torch.searchsorted(time_y, starts[begin][:, None] + least[None], right=True) - 1
    high = torch.searchsorted(time_y, ends[begin + size - 1][:, None] + most[None])
    last = time_y.shape[0] - 1
    low, high = low.clamp(0, last).int(), high.clamp(0, last).int()
    partial = moves.new_empty((tiles, count))
    tiles_kernel[(tiles, groups)](
        starts, ends, moves, begin, size, time_y.contiguous(), y.contiguous(), lags, low, high, partial, count, groups,
        FIRST=first, MOVES=MOVES, LAGS=LAGS, num_warps=4, enable_fp_fusion=False,
    )  # fmt: skip
    return partial


@triton.jit
def tiles_kernel(  # type: ignore[no-untyped-def]
    starts, ends, moves, begin, size, time_y, y, lags, low, high, partial, L, groups,
    FIRST: tl.constexpr, MOVES: tl.constexpr, LAGS: tl.constexpr,
):  # fmt: skip
    """Sum over a tile of moves at LAGS lags."""
    tile = tl.program_id(0).to(tl.int64)
    group = tl.program_id(1)
    place = tl.arange(0, MOVES)
    used = place < tl.load(size + tile)
    at = tl.load(begin + tile) + place
    column = group * LAGS + tl.arange(0, LAGS)
    lag = tl.load(lags + column, column < L, other=0)
    start = tl.load(starts + at, used, other=0)[None, :] + lag[:, None]
    end = tl.load(ends + at, used, other=0)[None, :] + lag[:, None]
    move = tl.load(moves + at, used, other=0.0)
    bottom = tl.load(low + tile * groups + group)
    top = tl.load(high + tile * groups + group)
    before = tl.zeros((LAGS, MOVES), tl.int32) + bottom
    after = before
    left = top - bottom + 1
    # The last stamps up to the start and up to the end; bottom if there is none.
    while left > 1:
        half = left // 2
        before = tl.where(tl.load(time_y + before + half) <= start, before + half, before)
        after = tl.where(tl.load(time_y + after + half) <= end, after + half, after)
        left -= half
    if FIRST:
        after = tl.where(tl.load(time_y + after) < end, tl.minimum(after + 1, top), after)
    went = tl.load(y + after) - tl.load(y + before)
    total = tl.sum(tl.where(used[None, :], move[None, :] * went, 0.0), 1)
    tl.store(partial + tile * L + column, total, column < L)


@triton.jit
def blocks_kernel(partial, first, number, out, L, B, TALL: tl.constexpr, WIDE: tl.constexpr):  # type: ignore[no-untyped-def]
    """Add up the tiles of a block of time, TALL after TALL."""
    block = tl.program_id(0)
    column = tl.program_id(1) * WIDE + tl.arange(0, WIDE)
    tile = tl.arange(0, TALL)
    count = tl.load(number + block)
    begin = partial + tl.load(first + block) * L
    total = tl.zeros((WIDE,), tl.float64)
    for above in range(0, count, TALL):
        row = above + tile
        mask = (row < count)[:, None] & (column < L)[None, :]
        total += tl.sum(tl.load(begin + row[:, None] * L + column[None, :], mask, other=0.0), 0)
    tl.store(out + column.to(tl.int64) * B + block, total, column < L)
