"""State vector and its hash: z of 5 V features, H = sign(W z), b bits for each of T tables. n events of one block.

W has rows of +1 and -1 (Achlioptas 2003), made as Hadamard rows times seeded random signs (Ailon & Chazelle 2006), so
that W z is a fast Walsh-Hadamard transform: n log n additions instead of n² products.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from schwabot_kernels.arrays import F32, F64, I8
from schwabot_kernels.scalar import NJIT

CHUNK = 64
"""Events hashed at a time."""
FEATURES = 5
"""Per stream: deviation, microprice offset, imbalance, half spread, momentum."""


def padded(streams: int) -> int:
    """Length of the transform: the power of two that holds 5 V features, at least 4."""
    return max(4, 1 << (FEATURES * streams - 1).bit_length())


def random_signs(streams: int, bits: int, tables: int, seed: int) -> F32:
    """Signs of each group of hyperplanes, [G, padded], G = ceil(b T / padded)."""
    width = padded(streams)
    groups = -(-bits * tables // width)
    return np.random.default_rng(seed).choice(np.array([-1.0, 1.0], np.float32), (groups, width))


def hyperplanes(streams: int, bits: int, tables: int, seed: int) -> F64:
    """W as an explicit array [D, b, T], for references: bit k of table t is the sign of z · W[:, k, t].

    Example:
        >>> W = hyperplanes(streams=2, bits=4, tables=3, seed=7)
        >>> W.shape, sorted(set(W.ravel().tolist()))
        ((10, 4, 3), [-1.0, 1.0])
    """
    width = padded(streams)
    hadamard = np.ones((1, 1))
    while hadamard.shape[0] < width:
        hadamard = np.block([[hadamard, hadamard], [hadamard, -hadamard]])
    rows = np.concatenate([hadamard * signs for signs in random_signs(streams, bits, tables, seed)])
    return np.ascontiguousarray(rows[: bits * tables, : FEATURES * streams].T).reshape(-1, bits, tables)


@njit(**NJIT)
def _first_stages(first: int, n: int, width: int, signs: F32, scaled: F32, rows: F32) -> None:
    """Signs and the first two stages of the transform, from scaled [width, BLOCK] into rows [width, CHUNK]."""
    for i in range(0, width, 4):
        w, x, y, z = signs[i], signs[i + 1], signs[i + 2], signs[i + 3]
        last = first + n
        a_row, b_row = scaled[i, first:last], scaled[i + 1, first:last]
        c_row, d_row = scaled[i + 2, first:last], scaled[i + 3, first:last]
        p, q, s, t = rows[i], rows[i + 1], rows[i + 2], rows[i + 3]
        for j in range(n):
            a, b, c, d = w * a_row[j], x * b_row[j], y * c_row[j], z * d_row[j]
            ab, a_b, cd, c_d = a + b, a - b, c + d, c - d
            p[j] = ab + cd
            q[j] = a_b + c_d
            s[j] = ab - cd
            t[j] = a_b - c_d


@njit(**NJIT)
def _radix_2(n: int, h: int, rows: F32) -> None:
    for r in range(h):
        p, q = rows[r], rows[r + h]
        for j in range(n):
            a, b = p[j], q[j]
            p[j] = a + b
            q[j] = a - b


@njit(**NJIT)
def _radix_4(n: int, h: int, width: int, rows: F32) -> None:
    for i in range(0, width, 4 * h):
        for r in range(i, i + h):
            p, q, s, t = rows[r], rows[r + h], rows[r + 2 * h], rows[r + 3 * h]
            for j in range(n):
                a, b, c, d = p[j], q[j], s[j], t[j]
                ab, a_b, cd, c_d = a + b, a - b, c + d, c - d
                p[j] = ab + cd
                q[j] = a_b + c_d
                s[j] = ab - cd
                t[j] = a_b - c_d


@njit(**NJIT)
def _radix_8(n: int, h: int, width: int, rows: F32) -> None:
    for i in range(0, width, 8 * h):
        for r in range(i, i + h):
            o, p, q, s = rows[r], rows[r + h], rows[r + 2 * h], rows[r + 3 * h]
            t, u, v, w = rows[r + 4 * h], rows[r + 5 * h], rows[r + 6 * h], rows[r + 7 * h]
            for j in range(n):
                a0, b0, c0, d0, e0, f0, g0, h0 = o[j], p[j], q[j], s[j], t[j], u[j], v[j], w[j]
                a1, b1, c1, d1 = a0 + b0, a0 - b0, c0 + d0, c0 - d0
                e1, f1, g1, h1 = e0 + f0, e0 - f0, g0 + h0, g0 - h0
                a2, b2, c2, d2 = a1 + c1, b1 + d1, a1 - c1, b1 - d1
                e2, f2, g2, h2 = e1 + g1, f1 + h1, e1 - g1, f1 - h1
                o[j] = a2 + e2
                p[j] = b2 + f2
                q[j] = c2 + g2
                s[j] = d2 + h2
                t[j] = a2 - e2
                u[j] = b2 - f2
                v[j] = c2 - g2
                w[j] = d2 - h2


@njit(**NJIT)
def _take_bits(first: int, n: int, rows: F32, codes: Any, g: int, bits: int, tables: int) -> None:
    """Push the signs of one group's projections into codes [T, BLOCK], most significant first, two at a time."""
    width = rows.shape[0]
    zero, one, none = np.float32(0.0), codes.dtype.type(1), codes.dtype.type(0)
    stop = min(width, bits * tables - g * width)
    for k in range(tables):
        code = codes[k, first : first + n]
        r = (k - g * width) % tables
        if g * width + r < tables and r < stop:
            top = rows[r]
            for j in range(n):
                code[j] = -one if top[j] > zero else none
            r += tables
        while r + tables < stop:
            high, low = rows[r], rows[r + tables]
            for j in range(n):
                c = code[j] + code[j] + (one if high[j] > zero else none)
                code[j] = c + c + (one if low[j] > zero else none)
            r += 2 * tables
        if r < stop:
            high = rows[r]
            for j in range(n):
                code[j] = code[j] + code[j] + (one if high[j] > zero else none)


@njit(**NJIT)
def codes_of(n: int, bits: int, tables: int, signs: F32, scaled: F32, projected: F32, codes: Any) -> None:
    """Fill codes [T, BLOCK]: the b-bit key read as a two's complement number, so that ~key has code -1 - code.

    scaled: z over its learnt scale, padded with zeros. [padded, BLOCK]; projected: scratch, small enough for the
    nearest cache. [padded, CHUNK]
    """
    groups, width = signs.shape
    for first in range(0, n, CHUNK):
        m = min(CHUNK, n - first)
        for g in range(groups):
            _first_stages(first, m, width, signs[g], scaled, projected)
            h = 4
            while h < width:
                left = width // h
                if left == 2:
                    _radix_2(m, h, projected)
                    h *= 2
                elif left == 4 or left == 16:
                    _radix_4(m, h, width, projected)
                    h *= 4
                else:
                    _radix_8(m, h, width, projected)
                    h *= 8
            _take_bits(first, m, projected, codes, g, bits, tables)


@njit(**NJIT)
def features(
    n: int,
    deviation: F64,
    micro: F64,
    imbalance: F64,
    half: F64,
    x: F64,
    route: I8,
    momentum: F64,
    z: F64,
) -> None:
    """Fill z [D, BLOCK]; a stream that is routed out gives zeros. ``momentum`` [V, BLOCK] holds the decayed means."""
    streams = x.shape[0]
    for v in range(streams):
        way = route[v]
        a, b, c, d, e = z[v], z[streams + v], z[2 * streams + v], z[3 * streams + v], z[4 * streams + v]
        in_a, in_b, in_c, in_d, in_x, mean = deviation[v], micro[v], imbalance[v], half[v], x[v], momentum[v]
        for j in range(n):
            use = way[j] == 0
            a[j] = in_a[j] if use else 0.0
            b[j] = in_b[j] if use else 0.0
            c[j] = in_c[j] if use else 0.0
            d[j] = in_d[j] if use else 0.0
            e[j] = in_x[j] - mean[j] if use else 0.0
