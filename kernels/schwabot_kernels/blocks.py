"""Between a batch's columns and the scratch of one block. N events of a batch, V streams, n events of one block."""

from __future__ import annotations

from typing import Any

from numba import njit

from schwabot_kernels.scalar import NJIT


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
    """Events [first, first + n) of a column [V, N] into scratch [V, BLOCK]."""
    for v in range(source.shape[0]):
        load(source[v], first, n, target[v])


@njit(**NJIT)
def store_all(source: Any, first: int, n: int, target: Any) -> None:
    """Scratch [V, BLOCK] into events [first, first + n) of a column [V, N]."""
    for v in range(target.shape[0]):
        store(source[v], first, n, target[v])
