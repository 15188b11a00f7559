"""A first-in first-out ring for outcomes that are due later. Capacity is a power of two; a full ring is grown outside.

``head`` holds [next to read, next to write], both counting up for ever.
"""

from __future__ import annotations

from numba import njit

from schwabot_kernels.arrays import I64
from schwabot_kernels.scalar import NJIT


@njit(inline="always", **NJIT)
def free_places(head: I64, capacity: int) -> int:
    """How many more entries fit."""
    return capacity - (head[1] - head[0])
