"""State vector and its hash: z of 5 V features, H = sign(W z), b bits for each of T tables. n events of one block.

W has rows of +1 and -1 (Achlioptas 2003), made as Hadamard rows times seeded random signs (Ailon & Chazelle 2006), so
that W z is a fast Walsh-Hadamard transform: n log n additions instead of n² products.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.arrays import F32, F64, U8, aligned_zeros
from schwabot_kernels.registry.intrinsics import (
    PAIR_STAGES,
    hadamard8,
    hadamard_pair,
    lanes_in,
    no_codes,
    positive_bits,
    pushed,
    read_word,
)
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.simd import EIGHT, load, store

FEATURES = 5
"""Per stream: deviation, microprice offset, imbalance, half spread, momentum."""


def transform_length(streams: int) -> int:
    """Length of the transform: the power of two that holds 5 V features, at least 8."""
    return max(EIGHT, 1 << (FEATURES * streams - 1).bit_length())


def random_signs(streams: int, bits: int, tables: int, seed: int) -> F32:
    """Signs of each group of hyperplanes, [G, L], G = ceil(b T / L), L = ``transform_length``."""
    width = transform_length(streams)
    groups = -(-bits * tables // width)
    return np.random.default_rng(seed).choice(np.array([-1.0, 1.0], np.float32), (groups, width))


def hadamard(length: int) -> F64:
    """Hadamard matrix [L, L] of +1 and -1, with orthogonal rows, in the order in which the transform leaves them.

    Example:
        >>> H = hadamard(32)
        >>> bool((H @ H.T == 32 * np.eye(32)).all())
        True
    """
    rows = np.eye(length)
    if length == EIGHT:
        for h in (1, 2, 4):
            upper = (np.arange(EIGHT) & h > 0)[:, None]
            rows = rows[np.arange(EIGHT) ^ h] + np.where(upper, -rows, rows)
        return rows
    for i in range(0, length, 2 * EIGHT):
        a, b = rows[i : i + EIGHT], rows[i + EIGHT : i + 2 * EIGHT]
        both = np.concatenate((a + b, a - b))
        for low, high in PAIR_STAGES:
            p, q = both[list(low)], both[list(high)]
            both = np.concatenate((p + q, p - q))
        rows[i : i + 2 * EIGHT] = both
    h = 2 * EIGHT
    while h < length:
        for i in range(0, length, 2 * h):
            a, b = rows[i : i + h].copy(), rows[i + h : i + 2 * h].copy()
            rows[i : i + h], rows[i + h : i + 2 * h] = a + b, a - b
        h *= 2
    return rows


def hyperplanes(streams: int, bits: int, tables: int, seed: int) -> F64:
    """W as an explicit array [D, b, T], for references: bit k of table t is the sign of z · W[:, k, t].

    Example:
        >>> W = hyperplanes(streams=2, bits=4, tables=3, seed=7)
        >>> W.shape, sorted(set(W.ravel().tolist()))
        ((10, 4, 3), [-1.0, 1.0])
    """
    rows = hadamard(transform_length(streams))
    groups = np.concatenate([rows * signs for signs in random_signs(streams, bits, tables, seed)])
    return np.ascontiguousarray(groups[: bits * tables, : FEATURES * streams].T).reshape(-1, bits, tables)


class Hashing(NamedTuple):
    """Scratch of a block.

    scaled: z over its learnt scale, zeros beyond 5 V. [BLOCK, L]; row: projections of one group. [L];
    bits: signs of the projections, one bit each, hyperplane 0 first. [BLOCK, G L / 8 + 8]
    """

    scaled: F32
    row: F32
    bits: U8


def scratch(events: int, streams: int, bits: int, tables: int) -> Hashing:
    """Scratch for blocks of so many events."""
    length = transform_length(streams)
    groups = -(-bits * tables // length)
    return Hashing(
        scaled=aligned_zeros((events, length), np.float32),
        row=aligned_zeros((length,), np.float32),
        bits=aligned_zeros((events, groups * length // 8 + 8), np.uint8),
    )


@njit(inline="always", **NJIT)
def _transform(length: int, start: int, signs: F32, group: int, scaled: F32, row: F32) -> None:
    """Walsh-Hadamard transform of one event's scaled z times the signs of a group, into ``row``; see ``hadamard``."""
    at = group * length
    if length == EIGHT:
        store(row, 0, hadamard8(load(scaled, start) * load(signs, at)))
        return
    for i in range(0, length, 2 * EIGHT):
        a, b = hadamard_pair(
            load(scaled, start + i) * load(signs, at + i),
            load(scaled, start + i + EIGHT) * load(signs, at + i + EIGHT),
        )
        store(row, i, a)
        store(row, i + EIGHT, b)
    h = 2 * EIGHT
    while h < length:
        for i in range(0, length, 2 * h):
            for k in range(i, i + h, EIGHT):
                a, b = load(row, k), load(row, k + h)
                store(row, k, a + b)
                store(row, k + h, a - b)
        h *= 2


@njit(**NJIT)
def codes_of(n: int, bits: int, tables: int, signs: F32, work: Hashing, codes: Any) -> None:
    """Fill codes: the b-bit key read as a two's complement number, so that ~key has code -1 - code.

    codes: T per event; flat, with room for 16 more, since whole vectors are written.
    """
    groups, length = signs.shape
    scaled, row, all_bits = work.scaled, work.row, work.bits
    stride = all_bits.shape[1]
    for j in range(n):
        at = 0
        for group in range(groups):
            _transform(length, j * length, signs, group, scaled, row)
            for i in range(0, length, EIGHT):
                all_bits[j, at] = positive_bits(load(row, i))
                at += 1
    # Hyperplane k T + t gives bit k of table t: the bits of one table come from different groups.
    for j in range(n):
        for t in range(0, tables, lanes_in(no_codes(codes))):
            code = -pushed(no_codes(codes), _bits_from(all_bits, j * stride, t))
            for k in range(1, bits):
                code = pushed(code, _bits_from(all_bits, j * stride, k * tables + t))
            store(codes, j * tables + t, code)


@njit(inline="always", **NJIT)
def _bits_from(all_bits: U8, start: int, place: int) -> int:
    """At least 57 bits from bit ``place`` on, after ``start`` bytes."""
    return read_word(all_bits, start + (place >> 3)) >> (place & 7)
