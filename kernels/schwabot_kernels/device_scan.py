"""Prefix scans on the device with one fixed order of operations. N rows, C columns, [N, C] in and out.

    affine      y <- a y + b                              decayed sums and means
    last_row    y <- its row where one is marked          as-of values
    max_affine  y <- max(c, a y + b)                      recent high and low
    min_plus    y <- min(c, y + r)                        slew limit
    clamp       y <- min(max(y, lo), hi)                  hysteresis
    moebius     y <- (p y + q) / (r y + s)                variance of a Kalman filter

Row 0 stands at an absolute event that is a multiple of ``edge``. Rows are composed by a tree within blocks of ``block``
rows, the blocks of one edge by a tree, and y goes from edge to edge in turn. So a row has the same bits however many
follow it, and two calls split at an edge say what one says.

Triton on CUDA tensors. On CPU tensors the same blocks in plain torch, or, within ``interpreted()``, Triton's
interpreter. Each is strict in its order, but it is not the same order: they agree to rounding.

Source: Blelloch (1990), Prefix Sums and Their Applications.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

BLOCK, EDGE = 512, 131_072
COLUMNS = 4
"""Columns of one Triton program."""
Parts = tuple[torch.Tensor, ...]

AFFINE = tl.constexpr(0)
LAST = tl.constexpr(1)
MAX_AFFINE = tl.constexpr(2)
MIN_PLUS = tl.constexpr(3)
CLAMP = tl.constexpr(4)
MOEBIUS = tl.constexpr(5)

_interpret = False


@contextmanager
def interpreted() -> Iterator[None]:
    """Run Triton kernels on CPU tensors, slowly; TRITON_INTERPRET=1 must have stood before this was imported."""
    global _interpret
    if os.environ.get("TRITON_INTERPRET") != "1":
        raise RuntimeError("set TRITON_INTERPRET=1 before the first import of schwabot_kernels.device_scan")
    before, _interpret = _interpret, True
    try:
        with np.errstate(all="ignore"):  # what a device computes and does not use
            yield
    finally:
        _interpret = before


def by_triton(tensor: torch.Tensor) -> bool:
    """Whether kernels on this tensor are Triton's."""
    return tensor.is_cuda or _interpret


@triton.jit
def then_affine(a1: tl.tensor, b1: tl.tensor, a2: tl.tensor, b2: tl.tensor) -> Any:
    """One affine map, then another."""
    return a1 * a2, tl.fma(a2, b1, b2)


@triton.jit
def then_two_affine(a1: tl.tensor, b1: tl.tensor, c1: tl.tensor, a2: tl.tensor, b2: tl.tensor, c2: tl.tensor) -> Any:
    """Affine maps of two numbers that are kept alike."""
    return a1 * a2, tl.fma(a2, b1, b2), tl.fma(a2, c1, c2)


@triton.jit
def then_last(r1: tl.tensor, r2: tl.tensor) -> Any:
    """The later of two rows, -1 being none."""
    return tl.maximum(r1, r2)


@triton.jit
def then_max_affine(c1: tl.tensor, a1: tl.tensor, b1: tl.tensor, c2: tl.tensor, a2: tl.tensor, b2: tl.tensor) -> Any:
    """One bounded affine map, then another; 0 times an infinite bound is no bound."""
    bound = tl.where(c1 == -float("inf"), c1, tl.fma(a2, c1, b2))
    return tl.maximum(c2, bound), a1 * a2, tl.fma(a2, b1, b2)


@triton.jit
def then_min_plus(cap1: tl.tensor, rise1: tl.tensor, cap2: tl.tensor, rise2: tl.tensor) -> Any:
    """One capped rise, then another."""
    return tl.minimum(cap2, cap1 + rise2), rise1 + rise2


@triton.jit
def then_clamp(low1: tl.tensor, high1: tl.tensor, low2: tl.tensor, high2: tl.tensor) -> Any:
    """One clamp, then another."""
    return tl.minimum(tl.maximum(low1, low2), high2), tl.minimum(tl.maximum(high1, low2), high2)


@triton.jit
def then_moebius(
    p1: tl.tensor,
    q1: tl.tensor,
    r1: tl.tensor,
    s1: tl.tensor,
    p2: tl.tensor,
    q2: tl.tensor,
    r2: tl.tensor,
    s2: tl.tensor,
) -> Any:
    """One Moebius map with no negative coefficient, then another, over its largest coefficient."""
    p = tl.fma(p2, p1, q2 * r1)
    q = tl.fma(p2, q1, q2 * s1)
    r = tl.fma(r2, p1, s2 * r1)
    s = tl.fma(r2, q1, s2 * s1)
    largest = tl.maximum(tl.maximum(p, q), tl.maximum(r, s))
    return p / largest, q / largest, r / largest, s / largest


@triton.jit
def scanned(p: tl.tensor, q: tl.tensor, r: tl.tensor, s: tl.tensor, KIND: tl.constexpr) -> Any:
    """Inclusive scan over axis 0 of the maps of a kind; parts that the kind lacks go through."""
    if KIND == AFFINE:
        p, q = tl.associative_scan((p, q), 0, then_affine)
    elif KIND == LAST:
        p = tl.associative_scan(p, 0, then_last)
    elif KIND == MAX_AFFINE:
        p, q, r = tl.associative_scan((p, q, r), 0, then_max_affine)
    elif KIND == MIN_PLUS:
        p, q = tl.associative_scan((p, q), 0, then_min_plus)
    elif KIND == CLAMP:
        p, q = tl.associative_scan((p, q), 0, then_clamp)
    else:
        p, q, r, s = tl.associative_scan((p, q, r, s), 0, then_moebius)
    return p, q, r, s


@triton.jit
def applied(p: tl.tensor, q: tl.tensor, r: tl.tensor, s: tl.tensor, y: tl.tensor, KIND: tl.constexpr) -> Any:
    """The map's answer to y."""
    if KIND == AFFINE:
        y = tl.fma(p, y, q)
    elif KIND == LAST:
        y = tl.maximum(p, y)
    elif KIND == MAX_AFFINE:
        y = tl.where(y == -float("inf"), p, tl.maximum(p, tl.fma(q, y, r)))  # nothing before: the bound
    elif KIND == MIN_PLUS:
        y = tl.minimum(p, y + q)
    elif KIND == CLAMP:
        y = tl.minimum(tl.maximum(y, p), q)
    else:
        y = tl.fma(p, y, q) / tl.fma(r, y, s)
    return y


@triton.jit
def loaded(
    p: tl.tensor,
    q: tl.tensor,
    r: tl.tensor,
    s: tl.tensor,
    at_p: tl.tensor,
    at_q: tl.tensor,
    at_r: tl.tensor,
    at_s: tl.tensor,
    mask: tl.tensor,
    KIND: tl.constexpr,
) -> Any:
    """Tiles of the parts of a kind, the map that changes nothing where masked; parts that the kind lacks are p's."""
    if KIND == AFFINE:
        a = tl.load(p + at_p, mask, other=1.0)
        b = tl.load(q + at_q, mask, other=0.0)
        c, d = a, b
    elif KIND == LAST:
        a = tl.load(p + at_p, mask, other=-1)
        b, c, d = a, a, a
    elif KIND == MAX_AFFINE:
        a = tl.load(p + at_p, mask, other=-float("inf"))
        b = tl.load(q + at_q, mask, other=1.0)
        c = tl.load(r + at_r, mask, other=0.0)
        d = c
    elif KIND == MIN_PLUS:
        a = tl.load(p + at_p, mask, other=float("inf"))
        b = tl.load(q + at_q, mask, other=0.0)
        c, d = a, b
    elif KIND == CLAMP:
        a = tl.load(p + at_p, mask, other=-float("inf"))
        b = tl.load(q + at_q, mask, other=float("inf"))
        c, d = a, b
    else:
        a = tl.load(p + at_p, mask, other=1.0)
        b = tl.load(q + at_q, mask, other=0.0)
        c = tl.load(r + at_r, mask, other=0.0)
        d = tl.load(s + at_s, mask, other=1.0)
    return a, b, c, d


@triton.jit
def stored(
    p: tl.tensor,
    q: tl.tensor,
    r: tl.tensor,
    s: tl.tensor,
    a: tl.tensor,
    b: tl.tensor,
    c: tl.tensor,
    d: tl.tensor,
    at: tl.tensor,
    mask: tl.tensor,
    KIND: tl.constexpr,
) -> None:
    """Write tiles of the parts that the kind has."""
    tl.store(p + at, a, mask)
    if KIND != LAST:
        tl.store(q + at, b, mask)
    if KIND == MAX_AFFINE:
        tl.store(r + at, c, mask)
    if KIND == MOEBIUS:
        tl.store(r + at, c, mask)
        tl.store(s + at, d, mask)


@triton.jit(do_not_specialize=["N", "apply"])
def block_kernel(  # type: ignore[no-untyped-def]
    p, q, r, s, whole_p, whole_q, whole_r, whole_s, starts, y,
    row_p, row_q, row_r, row_s, column_p, column_q, column_r, column_s, N, C, apply,
    KIND: tl.constexpr, BLOCK: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One block of rows: its map as a whole to ``whole``, or, if ``apply``, y of every row from y at its start.

    One kernel for both: two would be laid out each in its own way, and their trees need not agree.
    """
    block = tl.program_id(0).to(tl.int64)
    rows = block * BLOCK + tl.arange(0, BLOCK)[:, None]
    columns = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    mask = (rows < N) & (columns < C)
    a, b, c, d = loaded(
        p, q, r, s, rows * row_p + columns * column_p, rows * row_q + columns * column_q,
        rows * row_r + columns * column_r, rows * row_s + columns * column_s, mask, KIND,
    )  # fmt: skip
    a, b, c, d = scanned(a, b, c, d, KIND)
    if apply:
        start = tl.load(starts + block * C + columns, columns < C)
        tl.store(y + rows * C + columns, applied(a, b, c, d, start, KIND), mask)
    else:
        last = (rows - block * BLOCK == BLOCK - 1) & (columns < C)
        at = block * C + columns + 0 * rows
        stored(whole_p, whole_q, whole_r, whole_s, a, b, c, d, at, last, KIND)


@triton.jit(do_not_specialize=["blocks"])
def carry_kernel(  # type: ignore[no-untyped-def]
    whole_p, whole_q, whole_r, whole_s, y0, starts, blocks, C,
    KIND: tl.constexpr, PER_EDGE: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """y at the start of every block and after the last, [blocks + 1, C], edge after edge."""
    columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    within = tl.arange(0, PER_EDGE)[:, None]
    y = tl.load(y0 + columns, columns < C)
    for edge in range(tl.cdiv(blocks, PER_EDGE)):
        block = edge * PER_EDGE + within
        mask = (block < blocks) & (columns < C)
        at = block.to(tl.int64) * C + columns
        p, q, r, s = loaded(whole_p, whole_q, whole_r, whole_s, at, at, at, at, mask, KIND)
        a, b, c, d = scanned(p, q, r, s, KIND)
        after = applied(a, b, c, d, y, KIND)  # y at the start of the block after each
        tl.store(starts + at, y + 0 * after, mask & (within == 0))
        tl.store(starts + at + C, after, mask & (within < PER_EDGE - 1))
        # The next edge begins with what the last row says of itself: its block's map on y at the block's start.
        before = tl.sum(tl.where(within == PER_EDGE - 2, after, 0), 0, keep_dims=True)
        end = applied(p, q, r, s, before, KIND)
        y = tl.sum(tl.where(within == PER_EDGE - 1, end, 0), 0, keep_dims=True)
    if blocks % PER_EDGE == 0:
        tl.store(starts + blocks.to(tl.int64) * C + columns, y, columns < C)


def _affine(earlier: Parts, later: Parts) -> Parts:
    return earlier[0] * later[0], later[0] * earlier[1] + later[1]


def _last(earlier: Parts, later: Parts) -> Parts:
    return (torch.maximum(earlier[0], later[0]),)


def _max_affine(earlier: Parts, later: Parts) -> Parts:
    c1, a1, b1 = earlier
    c2, a2, b2 = later
    bound = torch.where(c1 == -torch.inf, c1, a2 * c1 + b2)
    return torch.maximum(c2, bound), a1 * a2, a2 * b1 + b2


def _min_plus(earlier: Parts, later: Parts) -> Parts:
    return torch.minimum(later[0], earlier[0] + later[1]), earlier[1] + later[1]


def _clamp(earlier: Parts, later: Parts) -> Parts:
    return tuple(torch.minimum(torch.maximum(bound, later[0]), later[1]) for bound in earlier)


def _moebius(earlier: Parts, later: Parts) -> Parts:
    p1, q1, r1, s1 = earlier
    p2, q2, r2, s2 = later
    product = (p2 * p1 + q2 * r1, p2 * q1 + q2 * s1, r2 * p1 + s2 * r1, r2 * q1 + s2 * s1)
    largest = torch.maximum(torch.maximum(product[0], product[1]), torch.maximum(product[2], product[3]))
    return tuple(entry / largest for entry in product)


_COMBINE: tuple[Callable[[Parts, Parts], Parts], ...] = (_affine, _last, _max_affine, _min_plus, _clamp, _moebius)
_NOTHING: tuple[tuple[float, ...], ...] = (
    (1.0, 0.0), (-1,), (-torch.inf, 1.0, 0.0), (torch.inf, 0.0), (-torch.inf, torch.inf), (1.0, 0.0, 0.0, 1.0),
)  # fmt: skip
"""The map of each kind that changes nothing."""
_APPLY: tuple[Callable[[Parts, torch.Tensor], torch.Tensor], ...] = (
    lambda m, y: m[0] * y + m[1],
    lambda m, y: torch.maximum(m[0], y),
    lambda m, y: torch.where(y == -torch.inf, m[0], torch.maximum(m[0], m[1] * y + m[2])),
    lambda m, y: torch.minimum(m[0], y + m[1]),
    lambda m, y: torch.minimum(torch.maximum(y, m[0]), m[1]),
    lambda m, y: (m[0] * y + m[1]) / (m[2] * y + m[3]),
)


def _prefixes(kind: int, parts: Parts) -> Parts:
    """Inclusive scan over dim 1 by doubling (Hillis and Steele 1986): what a row is made of is the same for any N."""
    shift = 1
    while shift < parts[0].shape[1]:
        joined = _COMBINE[kind](tuple(p[:, :-shift] for p in parts), tuple(p[:, shift:] for p in parts))
        parts = tuple(torch.cat((p[:, :shift], j), 1) for p, j in zip(parts, joined, strict=True))
        shift *= 2
    return parts


def _in_blocks(kind: int, parts: Parts, rows: int) -> Parts:
    """[N, C] as [blocks, rows, C], filled up with the map that changes nothing."""
    blocks = -(-parts[0].shape[0] // rows)
    filled = []
    for part, nothing in zip(parts, _NOTHING[kind], strict=True):
        whole = torch.full((blocks * rows, part.shape[1]), nothing, dtype=part.dtype, device=part.device)
        whole[: part.shape[0]] = part
        filled.append(whole.view(blocks, rows, -1))
    return tuple(filled)


def carry(kind: int, whole: Parts, y0: torch.Tensor, *, per_edge: int) -> torch.Tensor:
    """y at the start of every block and after the last, from the blocks' maps and y at the start of the first.

    Args:
        kind: of map.
        whole: map of each block, contiguous. [blocks, C]
        y0: [C]
        per_edge: blocks from edge to edge, a power of two, at least 2.

    Shape: [blocks + 1, C]
    """
    blocks, columns = whole[0].shape
    starts = torch.empty((blocks + 1, columns), dtype=y0.dtype, device=y0.device)
    if by_triton(y0):
        p, q, r, s = (*whole, *[whole[0]] * (4 - len(whole)))
        width = _width(kind, columns)
        carry_kernel[(triton.cdiv(columns, width),)](
            p, q, r, s, y0.contiguous(), starts, blocks, columns,
            KIND=kind, PER_EDGE=per_edge, COLUMNS=width, num_warps=_warps(width), enable_fp_fusion=False,
        )  # fmt: skip
        return starts
    own = _in_blocks(kind, whole, per_edge)
    inner = _prefixes(kind, own)
    y = y0
    for edge in range(own[0].shape[0]):
        first = edge * per_edge
        upto = min(per_edge - 1, blocks - first)
        starts[first] = y
        starts[first + 1 : first + 1 + upto] = _APPLY[kind](tuple(p[edge, :upto] for p in inner), y)
        if upto == per_edge - 1:
            y = _APPLY[kind](tuple(p[edge, -1] for p in own), starts[first + upto])
    if blocks % per_edge == 0:
        starts[blocks] = y
    return starts


def _width(kind: int, columns: int) -> int:
    return 1 if kind == MOEBIUS.value else int(min(COLUMNS, triton.next_power_of_2(columns)))


def _warps(width: int) -> int:
    return 4 if width == 1 else 8


def _scan(kind: int, parts: Parts, y0: torch.Tensor, edge: int, block: int) -> torch.Tensor:
    """y of every row. Shape: parts [N, C] or [N, 1], y0 [C]; returns [N, C]."""
    if edge % block or edge < 2 * block or block & (block - 1) or edge & (edge - 1):
        raise ValueError(f"edge {edge} and block {block}: powers of two, and at least two blocks from edge to edge")
    rows, columns = parts[0].shape[0], y0.shape[0]
    parts = tuple(p.expand(rows, columns) for p in parts)
    if rows == 0 or columns == 0:
        return torch.empty_like(parts[0], memory_format=torch.contiguous_format)
    if not by_triton(y0):
        filled = _in_blocks(kind, parts, block)
        inner = _prefixes(kind, filled)
        starts = carry(kind, tuple(p[:, -1] for p in inner), y0, per_edge=edge // block)
        return _APPLY[kind](inner, starts[:-1, None]).reshape(-1, columns)[:rows]
    blocks, width = triton.cdiv(rows, block), _width(kind, columns)
    whole = tuple(p.new_empty((blocks, columns)) for p in parts)
    y = torch.empty((rows, columns), dtype=y0.dtype, device=y0.device)
    p, q, r, s = (*parts, *[parts[0]] * (4 - len(parts)))
    a, b, c, d = (*whole, *[whole[0]] * (4 - len(whole)))

    def run(starts: torch.Tensor, apply: int) -> None:
        block_kernel[(blocks, triton.cdiv(columns, width))](
            p, q, r, s, a, b, c, d, starts, y,
            *(part.stride(0) for part in (p, q, r, s)), *(part.stride(1) for part in (p, q, r, s)), rows, columns,
            apply, KIND=kind, BLOCK=block, COLUMNS=width, num_warps=_warps(width), enable_fp_fusion=False,
        )  # fmt: skip

    run(y, 0)
    run(carry(kind, whole, y0, per_edge=edge // block), 1)
    return y


def affine(a: torch.Tensor, b: torch.Tensor, y0: torch.Tensor, *, edge: int = EDGE, block: int = BLOCK) -> torch.Tensor:
    """y_i = a_i y_{i-1} + b_i.

    Args:
        a: what each row keeps of y. [N, C], or [N, 1] for all columns
        b: what it adds. [N, C] or [N, 1]
        y0: y before row 0. [C]
        edge: rows after which y is carried in turn, see the top of this file.
        block: rows of a block; both are powers of two.

    Shape: [N, C]; the last row is the state after.

    Example:
        >>> column = torch.tensor([[1.0], [1.0], [4.0]])
        >>> affine(torch.tensor([[0.5], [0.5], [0.0]]), column, torch.tensor([2.0])).flatten().tolist()
        [2.0, 2.0, 4.0]
    """
    return _scan(0, (a, b), y0, edge, block)


def last_row(update: torch.Tensor, first: torch.Tensor, *, edge: int = EDGE, block: int = BLOCK) -> torch.Tensor:
    """Row of the latest True at or before each row, counted from 0; ``first`` before there is one.

    Shape: update [N, C], first [C] int64; returns [N, C] int64.

    Example:
        >>> last_row(torch.tensor([[False], [True], [False]]), torch.tensor([-7])).flatten().tolist()
        [-7, 1, 1]
    """
    rows = torch.arange(update.shape[0], device=update.device)[:, None]
    row = _scan(1, (torch.where(update, rows, -1),), torch.full_like(first, -1), edge, block)
    return torch.where(row < 0, first, row)


def max_affine(
    c: torch.Tensor, a: torch.Tensor, b: torch.Tensor, y0: torch.Tensor, *, edge: int = EDGE, block: int = BLOCK
) -> torch.Tensor:
    """y_i = max(c_i, a_i y_{i-1} + b_i) with a >= 0; c = -inf is no bound; y = -inf is nothing yet: y_i = c_i.

    Shape: [N, C], y0 [C]; returns [N, C].
    """
    return _scan(2, (c, a, b), y0, edge, block)


def min_plus(
    cap: torch.Tensor, rise: torch.Tensor, y0: torch.Tensor, *, edge: int = EDGE, block: int = BLOCK
) -> torch.Tensor:
    """y_i = min(cap_i, y_{i-1} + rise_i); cap = inf is none. Shape: [N, C], y0 [C]; returns [N, C]."""
    return _scan(3, (cap, rise), y0, edge, block)


def clamp(
    low: torch.Tensor, high: torch.Tensor, y0: torch.Tensor, *, edge: int = EDGE, block: int = BLOCK
) -> torch.Tensor:
    """y_i = min(max(y_{i-1}, low_i), high_i) with low <= high.

    Shape: [N, C], y0 [C]; returns [N, C], of y0's type; integers up to 2^53.

    Example:
        >>> low, high = torch.tensor([[1], [2], [0]]), torch.tensor([[2], [2], [1]])
        >>> clamp(low, high, torch.tensor([0])).flatten().tolist()
        [1, 2, 1]
    """
    y = _scan(4, (low.double(), high.double()), y0.double(), edge, block)
    return y.to(y0.dtype)


def moebius(
    p: torch.Tensor, q: torch.Tensor, r: torch.Tensor, s: torch.Tensor, y0: torch.Tensor, *, edge: int = EDGE,
    block: int = BLOCK,
) -> torch.Tensor:  # fmt: skip
    """y_i = (p_i y_{i-1} + q_i) / (r_i y_{i-1} + s_i), all coefficients >= 0. Shape: [N, C], y0 [C]; returns [N, C]."""
    return _scan(5, (p, q, r, s), y0, edge, block)
