"""Codes of the state on the device: scaled features, a Walsh-Hadamard transform per group of hyperplanes, packed signs.

N rows, V streams, T tables, b bits, G groups of L hyperplanes; see hash.py, whose sums these are, in its order.
"""

# Triton knows tuples by their sums only.
# ruff: noqa: RUF005, SIM108
# mypy: disable-error-code="assignment, no-untyped-def, var-annotated"
# (Triton kernels: their language has no types that mypy knows.)
from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from schwabot_kernels.device_scan import by_triton
from schwabot_kernels.registry.intrinsics import PAIR_STAGES
from schwabot_kernels.simd import EIGHT

ROWS = 128
"""Rows of one Triton program: one a thread, which holds all of a row's projections in registers."""
LARGEST, MOST_TABLES = 8192, 16
"""b T L and T of what fits into registers and compiles within seconds; what doesn't goes through plain torch."""


@triton.jit
def _eight(rows: tl.tuple) -> Any:
    """Walsh-Hadamard transform of eight vectors; see ``intrinsics.hadamard8``."""
    for s in tl.static_range(3):
        out = ()
        for i in tl.static_range(8):
            if i & (1 << s):
                out = out + (rows[i ^ (1 << s)] - rows[i],)
            else:
                out = out + (rows[i ^ (1 << s)] + rows[i],)
        rows = out
    return rows


@triton.jit
def _sixteen(rows: tl.tuple, FIRST: tl.constexpr) -> Any:
    """Walsh-Hadamard transform of sixteen vectors from ``FIRST`` on; see ``intrinsics.hadamard_pair``."""
    plus = ()
    minus = ()
    for i in tl.static_range(8):
        plus = plus + (rows[FIRST + i] + rows[FIRST + 8 + i],)
        minus = minus + (rows[FIRST + i] - rows[FIRST + 8 + i],)
    both = plus + minus
    # intrinsics.PAIR_STAGES: the first two deal places 0 8 1 9 4 12 5 13 against the next but one, the last halves.
    for s in tl.static_range(3):
        plus = ()
        minus = ()
        for i in tl.static_range(8):
            if s < 2:
                p = both[i // 4 * 4 + i % 4 // 2 + i % 2 * 8]
                q = both[i // 4 * 4 + i % 4 // 2 + i % 2 * 8 + 2]
            else:
                p = both[i // 4 * 8 + i % 4]
                q = both[i // 4 * 8 + i % 4 + 4]
            plus = plus + (p + q,)
            minus = minus + (p - q,)
        both = plus + minus
    return both


@triton.jit
def _all(rows: tl.tuple, L: tl.constexpr) -> Any:
    """Walsh-Hadamard transform of L vectors, in the CPU's order."""
    if L == 8:
        out = _eight(rows)
    else:
        out = ()
        for i in tl.static_range(0, L, 16):
            out = out + _sixteen(rows, i)
        for s in tl.static_range(4, 10):
            if (1 << s) < L:
                following = ()
                for i in tl.static_range(L):
                    if i & (1 << s):
                        following = following + (out[i ^ (1 << s)] - out[i],)
                    else:
                        following = following + (out[i] + out[i ^ (1 << s)],)
                out = following
    return out


@triton.jit
def hash_kernel(
    deviation, micro, imbalance, half, x, mean_x, use, shift, factor, signs, code, N,
    V: tl.constexpr, W: tl.constexpr, L: tl.constexpr, BITS: tl.constexpr, TABLES: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Codes of ``ROWS`` rows."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    mask = row < N
    scaled = ()
    for i in tl.static_range(L):
        if i < 5 * V:
            at = row * V + i % V
            if i < V:
                z = tl.load(deviation + at, mask, other=0.0)
            elif i < 2 * V:
                z = tl.load(micro + at, mask, other=0.0)
            elif i < 3 * V:
                z = tl.load(imbalance + at, mask, other=0.0)
            elif i < 4 * V:
                z = tl.load(half + at, mask, other=0.0)
            else:
                z = tl.load(x + at, mask, other=0.0) - tl.load(mean_x + at, mask, other=0.0)
            place = (i // V) * W + i % V
            z = (z - tl.load(shift + place)) * tl.load(factor + place)
            takes = tl.load(use + at, mask, other=0) != 0
            scaled = scaled + (tl.where(takes, z, 0.0).to(tl.float32),)
        else:
            scaled = scaled + (tl.zeros([ROWS], tl.float32),)
    codes = ()
    for _ in tl.static_range(TABLES):
        codes = codes + (tl.zeros([ROWS], tl.int32),)
    for group in tl.static_range(tl.cdiv(BITS * TABLES, L)):
        signed = ()
        for i in tl.static_range(L):
            signed = signed + (scaled[i] * tl.load(signs + group * L + i),)
        projected = _all(signed, L)
        # Hyperplane k T + t gives bit k of table t, most significant first; the first one counts negative.
        following = ()
        for t in tl.static_range(TABLES):
            packed = codes[t]
            for k in tl.static_range(BITS):
                if (k * TABLES + t) // L == group:
                    bit = (projected[k * TABLES + t - group * L] > 0.0).to(tl.int32)
                    if k == 0:
                        bit = -bit
                    packed = packed * 2 + bit
            following = following + (packed,)
        codes = following
    for t in tl.static_range(TABLES):
        tl.store(code + t * tl.cast(N, tl.int64) + row, codes[t], mask)


def codes_of(
    parts: tuple[torch.Tensor, ...],
    use: torch.Tensor,
    shift: torch.Tensor,
    factor: torch.Tensor,
    signs: torch.Tensor,
    bits: int,
    tables: int,
) -> torch.Tensor:
    """The b-bit key of every table read as a two's complement number, so that ~key has code -1 - code.

    Args:
        parts: deviation, microprice offset, imbalance, half spread, log mid and its decayed mean. [N, V] each
        use: whether a stream takes part. [N, V]
        shift: of the learnt scale. [5, W]
        factor: of the learnt scale. [5, W]
        signs: of the hyperplanes. float32 [G, L]
        bits: b
        tables: T

    Shape: int32 [T, N]
    """
    rows, streams = use.shape
    fits = bits * tables * signs.shape[1] <= LARGEST and tables <= MOST_TABLES
    if by_triton(use) and fits:
        code = torch.empty((tables, rows), dtype=torch.int32, device=use.device)
        hash_kernel[(triton.cdiv(rows, ROWS),)](
            *(part.contiguous() for part in parts), use.to(torch.int8).contiguous(), shift.contiguous(),
            factor.contiguous(), signs, code, rows, V=streams, W=shift.shape[1], L=signs.shape[1], BITS=bits,
            TABLES=tables, ROWS=ROWS, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
        return code
    *features, x, mean_x = parts
    z = torch.stack((*features, x - mean_x), 1)
    scaled = torch.where(use[:, None], (z - shift[:, :streams]) * factor[:, :streams], 0.0).float().flatten(1)
    return plain_codes(scaled, signs, bits, tables)


def plain_codes(scaled: torch.Tensor, signs: torch.Tensor, bits: int, tables: int) -> torch.Tensor:
    """Codes of scaled features without gaps, in plain torch. Shape: float32 [N, 5 V]; returns int32 [T, N]."""
    rows = scaled.shape[0]
    groups, length = signs.shape
    padded = scaled.new_zeros((length, rows))
    padded[: scaled.shape[1]] = scaled.T
    code = torch.zeros((tables, rows), dtype=torch.int32, device=scaled.device)
    for group in range(groups):
        above = (transformed(padded * signs[group, :, None]) > 0.0).int()
        # Hyperplane k T + t gives bit k of table t, most significant first; the first one counts negative.
        for i in range(length):
            k, t = divmod(group * length + i, tables)
            if k < bits:
                code[t] += (-above[i] if k == 0 else above[i]) << (bits - 1 - k)
    return code


def transformed(rows: torch.Tensor) -> torch.Tensor:
    """Walsh-Hadamard transform over dim 0, in the order of ``hash.hadamard`` and with its additions. Shape: [L, N].

    Example:
        >>> from schwabot_kernels.registry.hash import hadamard
        >>> bool((transformed(torch.eye(32)) == torch.from_numpy(hadamard(32))).all())
        True
    """
    length = rows.shape[0]
    if length == EIGHT:
        for h in (1, 2, 4):
            lane = torch.arange(EIGHT, device=rows.device)
            upper = (lane & h > 0)[:, None]
            rows = rows[lane ^ h] + torch.where(upper, -rows, rows)
        return rows
    parts = []
    for i in range(0, length, 2 * EIGHT):
        a, b = rows[i : i + EIGHT], rows[i + EIGHT : i + 2 * EIGHT]
        both = torch.cat((a + b, a - b))
        for low, high in PAIR_STAGES:
            p, q = both[list(low)], both[list(high)]
            both = torch.cat((p + q, p - q))
        parts.append(both)
    rows = torch.cat(parts)
    h = 2 * EIGHT
    while h < length:
        pairs = rows.view(-1, 2, h, rows.shape[1])
        a, b = pairs[:, 0], pairs[:, 1]
        rows = torch.stack((a + b, a - b), 1).reshape(length, -1)
        h *= 2
    return rows
