"""Scans within groups that lie one after the other. M outcomes, G groups, C columns, K outcomes a tile.

    y_j = keep_j y_{j-1} + value_j,  from 0 at the first outcome of each group

One program goes through a group, tile after tile from the group's first outcome on: a tree within the tile, the carry
from tile to tile. So what a sum is made of depends on nothing but the group's outcomes up to it.
Triton on CUDA tensors and within ``interpreted()``, else plain torch by doubling; they agree to rounding.
"""

# mypy: disable-error-code="assignment, no-untyped-def, var-annotated"
# (Triton kernels: their language has no types that mypy knows.)
from __future__ import annotations

import torch
import triton
import triton.language as tl

from schwabot_kernels.device_scan import by_triton, then_affine

TILE = 256


@triton.jit
def group_kernel(keep, values, order, start, filled, sums, C, TILE: tl.constexpr):
    """Sums of one column of one group, at every outcome."""
    group = tl.load(filled + tl.program_id(0))
    first = tl.load(start + group)
    end = tl.load(start + group + 1)
    c = tl.program_id(1)
    y = tl.zeros([1], tl.float64)
    for tile in range(first, end, TILE):
        at = tile + tl.arange(0, TILE)
        mask = at < end
        a = tl.load(keep + at, mask & (at > first), other=1.0)
        row = tl.load(order + at, mask, other=0)
        b = tl.load(values + row * C + c, mask, other=0.0)
        a, b = tl.associative_scan((a, b), 0, then_affine)
        after = tl.fma(a, y, b)
        tl.store(sums + at * C + c, after, mask)
        y = tl.sum(tl.where(at == tile + TILE - 1, after, 0.0), 0, keep_dims=True)


def group_scan(
    keep: torch.Tensor,
    values: torch.Tensor,
    order: torch.Tensor,
    start: torch.Tensor,
    filled: torch.Tensor,
    *,
    tile: int = TILE,
) -> torch.Tensor:
    """Sums at every outcome of every group.

    Args:
        keep: what is left of the sum before, in sorted order; the first of a group is not read. [M]
        values: as given, not sorted. [M, C]
        order: outcome at each sorted place. int64 [M]
        start: first sorted place of each group, and M. int64 [G + 1]
        filled: groups that have outcomes. int64
        tile: K, a power of two.

    Shape: [M, C], in sorted order.

    Example:
        >>> keep, values = torch.full((3,), 0.5).double(), torch.tensor([[1.0], [1.0], [4.0]]).double()
        >>> start, filled = torch.tensor([0, 2, 3]), torch.tensor([0, 1])
        >>> group_scan(keep, values, torch.arange(3), start, filled).flatten().tolist()
        [1.0, 1.5, 4.0]
    """
    total, columns = values.shape
    if total == 0:
        return torch.empty_like(values)
    if not by_triton(values):
        return _by_doubling(keep, values[order], start)
    groups = filled.shape[0]
    sums = torch.empty_like(values, memory_format=torch.contiguous_format)
    group_kernel[(groups, columns)](
        keep, values.contiguous(), order, start, filled, sums, columns, TILE=tile, num_warps=2, enable_fp_fusion=False
    )
    return sums


def _by_doubling(keep: torch.Tensor, values: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
    """Each sum takes in that of the half before it: Hillis and Steele (1986)."""
    places = torch.arange(values.shape[0], device=values.device)
    rank = places - start[torch.searchsorted(start, places, right=True) - 1]
    longest = int(rank.max()) + 1
    shift = 1
    while shift < longest:
        takes = rank[shift:] >= shift
        joined = keep[shift:, None] * values[:-shift] + values[shift:]
        values = torch.cat((values[:shift], torch.where(takes[:, None], joined, values[shift:])))
        keep = torch.cat((keep[:shift], torch.where(takes, keep[shift:] * keep[:-shift], keep[shift:])))
        shift *= 2
    return values
