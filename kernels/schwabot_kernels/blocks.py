"""Between a batch's columns and the scratch of one block. N events of a batch, V streams, n events of one block.

W = V in whole vectors, the length of a row of scratch.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from schwabot_kernels.arrays import F64
from schwabot_kernels.scalar import NJIT, exp_neg
from schwabot_kernels.simd import LANES, padded, transposed
from schwabot_kernels.simd import load as load_lanes
from schwabot_kernels.simd import store as store_lanes


def wide(values: Any) -> Any:
    """What belongs to streams, [..., V], with zeros for the lanes beyond V, [..., W].

    Example:
        >>> wide(np.ones((2, 3))).tolist()
        [[1.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 0.0]]
    """
    streams = values.shape[-1]
    return np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, padded(streams) - streams)])


@njit(**NJIT)
def load(source: Any, first: int, n: int, target: Any) -> None:
    """Events [first, first + n) of a column [N] into scratch [BLOCK]."""
    for j in range(n):
        target[j] = source[first + j]


@njit(**NJIT)
def store(source: Any, first: int, n: int, target: Any) -> None:
    """Scratch [BLOCK] into events [first, first + n) of a column [N]."""
    for j in range(n):
        target[first + j] = source[j]


@njit(**NJIT)
def load_all(source: Any, first: int, n: int, target: Any) -> None:
    """Events [first, first + n) of a column [V, N] into scratch [BLOCK, W]."""
    for v in range(source.shape[0]):
        for j in range(n):
            target[j, v] = source[v, first + j]


@njit(**NJIT)
def store_all(source: Any, first: int, n: int, target: Any) -> None:
    """Scratch [BLOCK, W] into events [first, first + n) of a column [V, N], four by four where streams allow."""
    streams, events, width = target.shape[0], target.shape[1], source.shape[1]
    whole = n - n % LANES
    for v in range(0, streams - streams % LANES, LANES):
        to = v * events + first
        for j in range(0, whole, LANES):
            k = j * width + v
            a, b, c, d = transposed(
                load_lanes(source, k),
                load_lanes(source, k + width),
                load_lanes(source, k + 2 * width),
                load_lanes(source, k + 3 * width),
            )
            store_lanes(target, to + j, a)
            store_lanes(target, to + j + events, b)
            store_lanes(target, to + j + 2 * events, c)
            store_lanes(target, to + j + 3 * events, d)
        for u in range(v, v + LANES):
            for j in range(whole, n):
                target[u, first + j] = source[j, u]
    for v in range(streams - streams % LANES, streams):
        for j in range(n):
            target[v, first + j] = source[j, v]


@njit(**NJIT)
def decays(n: int, dt_s: F64, tau_s: float, target: F64) -> None:
    """exp(-dt / tau) of n events, [BLOCK] both. What lies beyond n is computed too, and means nothing."""
    for j in range(0, n, LANES):
        store_lanes(target, j, exp_neg(-load_lanes(dt_s, j) / tau_s))
