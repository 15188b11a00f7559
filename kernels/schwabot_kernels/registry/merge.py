"""Two outcome memories of one identity as one. T tables.

A weight is kept as e^{(t_j - ref)/tau} with ref = origin + epoch * EPOCHS * tau, so a memory moves to another reference
time by one factor.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from schwabot_kernels.arrays import F64, I64
from schwabot_kernels.registry.cpu import EPOCHS, RegistryParams, RegistryState
from schwabot_kernels.registry.slots import COUNT, LAST_S, SLOT, WAYS
from schwabot_kernels.scalar import MISSING_NS, NJIT

FARTHEST = 20
"""Epochs that a memory may be ahead: e^{30 * 20} still is a number."""


class EpochsApart(ValueError):  # noqa: N818
    """The memory to be added is too far ahead in time."""


def merge(state: RegistryState, other: RegistryState, params: RegistryParams) -> None:
    """Add the tables, echo and skill of ``other`` to ``state``, in place.

    Args:
        state: moved to the later reference time of the two.
        other: left as it is; of the same hyperplanes, scale and settings.
        params: of both.

    Raises:
        EpochsApart: ``other`` is more than 20 epochs (600 decay times) ahead.
    """
    if other.clock[0] == MISSING_NS:
        return
    if state.clock[0] == MISSING_NS:
        state.clock[:] = other.clock
    later_s = float(other.clock[0] - state.clock[0]) * 1e-9
    factors = []
    for place, tau_s in ((1, params.tau_s), (2, params.echo_tau_s)):
        span_s = EPOCHS * tau_s
        theirs_s = later_s + int(other.clock[place]) * span_s
        epoch = max(int(state.clock[place]), math.floor(theirs_s / span_s))
        ahead = epoch - int(state.clock[place])
        if ahead > FARTHEST:
            raise EpochsApart(f"other is about {ahead * span_s:.0f} s ahead of state")
        # Far behind is nothing left, and exp says so.
        factors.append((math.exp(-EPOCHS * ahead), math.exp(max(theirs_s / tau_s - EPOCHS * epoch, -745.0))))
        state.clock[place] = epoch
    (ours, theirs), (ours_echo, theirs_echo) = factors

    live = np.arange(state.head[0], state.head[1]) & (state.due_ns.size - 1)
    state.due_weight[live] *= ours
    state.due_echo_weight[live] *= ours_echo
    state.skill[:] = ours * state.skill + theirs * other.skill
    state.echo[:] = ours_echo * state.echo + theirs_echo * other.echo
    state.echo_weight[:] = ours_echo * state.echo_weight + theirs_echo * other.echo_weight
    state.table[..., :LAST_S] *= ours
    state.prefix[..., :LAST_S] *= ours
    _add_slots(state.prefix, other.prefix, theirs, later_s)
    if params.bits <= 16:
        _add_slots(state.table, other.table, theirs, later_s)
    else:
        for t in range(state.table.shape[0]):
            _add_bounded(state.table_key[t], state.table[t], other.table_key[t], other.table[t], theirs, later_s)


def _add_slots(table: F64, other: F64, factor: float, later_s: float) -> None:
    """Slot for slot."""
    seen, known = other[..., COUNT] > 0.0, table[..., COUNT] > 0.0
    table[..., :LAST_S] += factor * other[..., :LAST_S]
    last = other[..., LAST_S] + later_s
    table[..., LAST_S] = np.where(seen, np.where(known, np.maximum(table[..., LAST_S], last), last), table[..., LAST_S])


@njit(**NJIT)
def _add_bounded(keys: I64, table: F64, other_keys: I64, other: F64, factor: float, later_s: float) -> None:
    """Set for set: slots of the same key are added, of the rest the heaviest stay."""
    for base in range(0, keys.size, WAYS):
        matched = 0
        for source in range(base, base + WAYS):
            for slot in range(base, base + WAYS):
                if other_keys[source] >= 0 and keys[slot] == other_keys[source]:
                    _add_slot(table, slot, other, source, factor, later_s)
                    matched |= 1 << (source - base)
        for source in range(base, base + WAYS):
            if other_keys[source] < 0 or (matched >> (source - base)) & 1:
                continue
            weakest = base
            for slot in range(base, base + WAYS):
                if table[slot, COUNT] < table[weakest, COUNT]:
                    weakest = slot
            if keys[weakest] < 0 or table[weakest, COUNT] < factor * other[source, COUNT]:
                keys[weakest] = other_keys[source]
                for k in range(SLOT):
                    table[weakest, k] = 0.0
                table[weakest, LAST_S] = other[source, LAST_S] + later_s
                _add_slot(table, weakest, other, source, factor, later_s)


@njit(**NJIT)
def _add_slot(table: F64, slot: int, other: F64, source: int, factor: float, later_s: float) -> None:
    for k in range(LAST_S):
        table[slot, k] += factor * other[source, k]
    table[slot, LAST_S] = max(table[slot, LAST_S], other[source, LAST_S] + later_s)
