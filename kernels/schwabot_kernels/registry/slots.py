"""Slots of the outcome tables: eight doubles each, one vector. T tables.

    [decayed count, flat, sum of squares, sum, up minus down, last seen in s, -, -]

Every weight is kept as e^{(t_j - t_ref)/tau}, so that all slots decay by one common factor (see cpu.py). Tables are
handed around flat: slot s of table k of a [T, slots, 8] array starts at (k slots + s) 8.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from schwabot_kernels.arrays import F64, I64, aligned_zeros
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.vector import add8, first8, least8, load8, mul8, splat8, store8, vector8

SLOT = 8
COUNT, FLAT, SQUARES, SUM, UP_DOWN, LAST_S = 0, 1, 2, 3, 4, 5
WAYS = 8
OUTCOME, SIDES, FOUND = 0, 16, 32
"""Places in the working vectors."""


def working_vectors() -> F64:
    """Working vectors, [40].

    OUTCOME: what is added to the slot of a key, and to that of its antipode; SIDES: the signs with which the two are
    read; FOUND: what was read.
    """
    vectors = aligned_zeros((40,))
    vectors[SIDES : SIDES + 16] = 1.0
    vectors[SIDES + 8 + SUM] = vectors[SIDES + 8 + UP_DOWN] = -1.0
    return vectors


@njit(inline="always", **NJIT)
def pack_outcome(weight: float, flat: float, y: float, up_down: float, now_s: float, work: F64) -> None:
    """Leave in OUTCOME the vectors for the slot of the key itself and for that of its antipode, where y is -y."""
    weighted = weight * y
    square = weighted * y
    store8(work, OUTCOME, vector8(weight, flat, square, weighted, up_down, now_s, 0.0, 0.0))
    store8(work, OUTCOME + SLOT, vector8(weight, flat, square, -weighted, -up_down, now_s, 0.0, 0.0))


@njit(inline="always", **NJIT)
def add_outcome(table: F64, at: int, negative: int, keep: Any, work: F64) -> None:
    """Add the packed outcome to the slot at ``at``; ``negative`` is -1 for an antipode, else 0.

    Which vector is added is looked up: the signs of keys are random, and a branch on them would be guessed wrong.
    """
    store8(table, at, add8(mul8(load8(table, at), keep), load8(work, OUTCOME + (negative & SLOT))))


@njit(inline="always", **NJIT)
def all_but_last_seen() -> Any:
    """What of a slot stays when an outcome is added: last seen is replaced."""
    return vector8(1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1.0, 1.0)


@njit(inline="always", **NJIT)
def write_direct(table: F64, slots: int, codes: Any, first: int, tables: int, shift: int, work: F64) -> None:
    """Add the packed outcome to one slot per table, that of codes[first + k] without its ``shift`` lowest bits."""
    keep = all_but_last_seen()
    for k in range(tables):
        c = np.int64(codes[first + k])
        negative = c >> 63
        add_outcome(table, (k * slots + ((c ^ negative) >> shift)) * SLOT, negative, keep, work)


@njit(inline="always", **NJIT)
def read_direct(table: F64, slots: int, codes: Any, first: int, tables: int, enough: float, work: F64) -> bool:
    """Leave in FOUND the sum of one slot per table; returns whether all of them are thick enough to count."""
    found = splat8(0.0)
    least = splat8(np.inf)
    for k in range(tables):
        c = np.int64(codes[first + k])
        negative = c >> 63
        here = load8(table, (k * slots + (c ^ negative)) * SLOT)
        found = add8(found, mul8(here, load8(work, SIDES + (negative & SLOT))))
        least = least8(least, here)
    store8(work, FOUND, found)
    return first8(least) >= enough


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
def write_bounded(keys: I64, table: F64, codes: I64, first: int, work: F64) -> None:
    """As ``write_direct``, for tables [T, slots, 8] whose slots are found by key."""
    flat = table.reshape(-1)
    keep = all_but_last_seen()
    for k in range(table.shape[0]):
        c = np.int64(codes[first + k])
        slot = find(keys[k], table[k], c ^ (c >> 63), True)
        add_outcome(flat, (k * table.shape[1] + slot) * SLOT, c >> 63, keep, work)


@njit(**NJIT)
def read_backed_off(
    keys: I64, table: F64, prefix: F64, codes: Any, first: int, bits: int, enough: float, work: F64
) -> None:
    """As ``read_direct``, but a slot that is thin or absent gives way to its 8-bit, if thin too its 4-bit prefix."""
    direct, wide = bits <= 16, bits > 8
    flat = table.reshape(-1)
    level8, slots = (prefix.reshape(-1), prefix.shape[1]) if wide else (flat, table.shape[1])
    found = splat8(0.0)
    for k in range(table.shape[0]):
        c = np.int64(codes[first + k])
        negative = c >> 63
        home = c ^ negative
        place = home if direct else find(keys[k], table[k], home, False)
        here = load8(flat, (k * table.shape[1] + max(place, 0)) * SLOT)
        if place < 0 or first8(here) < enough:
            at = k * slots + (home >> (bits - 8) if wide else home)
            here = load8(level8, at * SLOT)
            if bits >= 8 and first8(here) < enough:
                here = splat8(0.0)
                for slot in range(at & ~15, (at & ~15) + 16):
                    here = add8(here, load8(level8, slot * SLOT))
        found = add8(found, mul8(here, load8(work, SIDES + (negative & SLOT))))
    store8(work, FOUND, found)
