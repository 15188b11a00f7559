"""Slots of the outcome tables: eight doubles each, a cache line. T tables.

    [decayed count, flat, sum, up minus down | sum of squares, last seen in s, -, -]

The first vector of four is what is read at every event; the second is only written to. Every weight is kept as
e^{(t_j - t_ref)/tau}, so that all slots decay by one common factor (see cpu.py). Tables are handed around flat: slot s
of table k of a [T, slots, 8] array starts at (k slots + s) 8.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from schwabot_kernels.arrays import F64, I64, aligned_zeros
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.simd import LANES, doubles, first_lane, load, splat, store

SLOT = 8
COUNT, FLAT, SUM, UP_DOWN, SQUARES, LAST_S = 0, 1, 2, 3, 4, 5
WAYS = 8
OUTCOME, SIDES, FOUND = 0, 8, 16
"""Places in the working vectors."""


def working_vectors() -> F64:
    """Working vectors, [20].

    OUTCOME: what is added to the first half of the slot of a key, and of that of its antipode; SIDES: the signs with
    which the two are read; FOUND: what was read.
    """
    vectors = aligned_zeros((20,))
    vectors[SIDES : SIDES + 2 * LANES] = 1.0
    vectors[SIDES + LANES + SUM] = vectors[SIDES + LANES + UP_DOWN] = -1.0
    return vectors


@njit(inline="always", **NJIT)
def pack_outcome(weight: float, flat: float, y: float, up_down: float, now_s: float, work: F64) -> Any:
    """Leave in OUTCOME the vectors for the slot of the key itself and for that of its antipode, where y is -y.

    Returns what is added to the second half of either.
    """
    weighted = weight * y
    store(work, OUTCOME, doubles(weight, flat, weighted, up_down))
    store(work, OUTCOME + LANES, doubles(weight, flat, -weighted, -up_down))
    return doubles(weighted * y, now_s, 0.0, 0.0)


@njit(inline="always", **NJIT)
def add_outcome(table: F64, at: int, negative: int, second: Any, work: F64) -> None:
    """Add the packed outcome to the slot at ``at``; ``negative`` is -1 for an antipode, else 0.

    Which vector is added is looked up: the signs of keys are random, and a branch on them would be guessed wrong.
    """
    store(table, at, load(table, at) + load(work, OUTCOME + (negative & LANES)))
    # Last seen is replaced, not added to.
    store(table, at + LANES, load(table, at + LANES) * doubles(1.0, 0.0, 1.0, 1.0) + second)


@njit(inline="always", **NJIT)
def write_direct(
    table: F64, slots: int, codes: Any, first: int, tables: int, shift: int, second: Any, work: F64
) -> None:
    """Add the packed outcome to one slot per table, that of codes[first + k] without its ``shift`` lowest bits."""
    for k in range(tables):
        c = np.int64(codes[first + k])
        negative = c >> 63
        add_outcome(table, (k * slots + ((c ^ negative) >> shift)) * SLOT, negative, second, work)


@njit(inline="always", **NJIT)
def read_direct(table: F64, slots: int, codes: Any, first: int, tables: int, enough: float, work: F64) -> bool:
    """Leave in FOUND the sum of one slot per table; returns whether all of them are thick enough to count."""
    found = splat(0.0)
    least = splat(np.inf)
    for k in range(tables):
        c = np.int64(codes[first + k])
        negative = c >> 63
        here = load(table, (k * slots + (c ^ negative)) * SLOT)
        found = found + here * load(work, SIDES + (negative & LANES))
        least = min(least, here)
    store(work, FOUND, found)
    return first_lane(least) >= enough


@njit(**NJIT)
def find(keys: I64, table: F64, key: int, insert: bool) -> int:
    """Slot of a key in an 8-way set-associative table; -1 if absent. Inserting evicts the smallest decayed count."""
    sets = keys.size // WAYS
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    base = int((mixed >> np.uint64(32)) % np.uint64(sets)) * WAYS
    weakest = base
    for slot in range(base, base + WAYS):
        if keys[slot] == key:
            return slot
        if table[slot, COUNT] < table[weakest, COUNT]:
            weakest = slot
    if not insert:
        return -1
    keys[weakest] = key
    for k in range(SLOT):
        table[weakest, k] = 0.0
    return weakest


@njit(**NJIT)
def write_bounded(keys: I64, table: F64, codes: I64, first: int, second: Any, work: F64) -> None:
    """As ``write_direct``, for tables [T, slots, 8] whose slots are found by key."""
    flat = table.reshape(-1)
    for k in range(table.shape[0]):
        c = np.int64(codes[first + k])
        slot = find(keys[k], table[k], c ^ (c >> 63), True)
        add_outcome(flat, (k * table.shape[1] + slot) * SLOT, c >> 63, second, work)


@njit(**NJIT)
def read_backed_off(
    keys: I64, table: F64, prefix: F64, codes: Any, first: int, bits: int, enough: float, work: F64
) -> None:
    """As ``read_direct``, but a slot that is thin or absent gives way to its 8-bit, if thin too its 4-bit prefix."""
    direct, wide = bits <= 16, bits > 8
    flat = table.reshape(-1)
    level8, slots = (prefix.reshape(-1), prefix.shape[1]) if wide else (flat, table.shape[1])
    found = splat(0.0)
    for k in range(table.shape[0]):
        c = np.int64(codes[first + k])
        negative = c >> 63
        home = c ^ negative
        place = home if direct else find(keys[k], table[k], home, False)
        here = load(flat, (k * table.shape[1] + max(place, 0)) * SLOT)
        if place < 0 or first_lane(here) < enough:
            at = k * slots + (home >> (bits - 8) if wide else home)
            here = load(level8, at * SLOT)
            if bits >= 8 and first_lane(here) < enough:
                here = splat(0.0)
                for slot in range(at & ~15, (at & ~15) + 16):
                    here = here + load(level8, slot * SLOT)
        found = found + here * load(work, SIDES + (negative & LANES))
    store(work, FOUND, found)
