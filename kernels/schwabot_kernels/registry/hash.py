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
def transform(n: int, width: int, rows: F32) -> None:
    """Walsh-Hadamard transform over the first index of rows [width, BLOCK], in place, two stages at a time."""
    h = 1
    while h < width:
        if 4 * h <= width:
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
            h *= 4
        else:
            for r in range(h):
                p, q = rows[r], rows[r + h]
                for j in range(n):
                    a, b = p[j], q[j]
                    p[j] = a + b
                    q[j] = a - b
            h *= 2


@njit(**NJIT)
def codes_of(n: int, bits: int, tables: int, signs: F32, scaled: F32, projected: F32, codes: Any) -> None:
    """Fill codes [T, BLOCK]: the b-bit key read as a two's complement number, so that ~key has code -1 - code.

    scaled: z over its learnt scale, padded with zeros. [padded, BLOCK]; projected: scratch. [padded, BLOCK]
    """
    groups, width = signs.shape
    zero, one, none = np.float32(0.0), codes.dtype.type(1), codes.dtype.type(0)
    for g in range(groups):
        for d in range(width):
            sign, source, target = signs[g, d], scaled[d], projected[d]
            for j in range(n):
                target[j] = sign * source[j]
        transform(n, width, projected)
        for r in range(min(width, bits * tables - g * width)):
            row, code = projected[r], codes[(g * width + r) % tables]
            if g * width + r < tables:
                for j in range(n):
                    code[j] = -one if row[j] > zero else none
            else:
                for j in range(n):
                    code[j] = code[j] + code[j] + (one if row[j] > zero else none)


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
