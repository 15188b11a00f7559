"""Outcome tables for b > 16, event by event in Python: bounded, so what is forgotten depends on order. Tiny N only.

Each table has ``capacity`` slots in sets of 8 ways; a new key takes an empty way of its set or the one of smallest
decayed count. Thin or absent keys back off to their 8-bit, those to their 4-bit prefix, which are never evicted.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from schwabot_kernels.outcomes import NS, when_due
from schwabot_kernels.registry.reference import SHRINK, Remembered, entropy

if TYPE_CHECKING:
    from schwabot_kernels.registry.cpu import RegistryParams

WAYS = 8
Slot = list[float]
"""Decayed count, sum, flat, up minus down, as of ``Level.now_s``."""


class Level:
    """Slots by key, all decayed to one time."""

    def __init__(self, tau_s: float, capacity: int | None) -> None:
        self.tau_s = tau_s
        self.sets = None if capacity is None else capacity // WAYS
        self.slots: dict[int, Slot] = {}
        self.ways: dict[int, list[int]] = {}
        self.now_s = 0.0

    def decay_to(self, now_s: float) -> None:
        """Let every slot fade."""
        keep = math.exp(-(now_s - self.now_s) / self.tau_s)
        for slot in self.slots.values():
            slot[:] = [keep * value for value in slot]
        self.now_s = now_s

    def add(self, key: int, values: Slot) -> None:
        """Add one outcome, evicting the weakest of its set if that is full."""
        if key not in self.slots:
            if self.sets is not None:
                ways = self.ways.setdefault(((key * 0x9E3779B97F4A7C15 % 2**64) >> 32) % self.sets, [])
                if len(ways) == WAYS:
                    weakest = min(range(WAYS), key=lambda way: self.slots[ways[way]][0])
                    del self.slots[ways[weakest]]
                    ways[weakest] = key
                else:
                    ways.append(key)
            self.slots[key] = [0.0] * 4
        slot = self.slots[key]
        slot[:] = [a + b for a, b in zip(slot, values, strict=True)]


def remember_bounded(
    ts_ns: torch.Tensor,
    ghost: torch.Tensor,
    keys: torch.Tensor,
    predicted: torch.Tensor,
    params: RegistryParams,
    capacity: int,
) -> Remembered:
    """As ``reference.remember``, for b > 16.

    Args:
        ts_ns: event times. [N]
        ghost: fair price, bp. [N]
        keys: of every table, -1 in warm-up and where there is no ghost. [N, T]
        predicted: the move that is expected anyway, bp. [N]
        params: see HashRegistryConfig.
        capacity: slots per table.
    """
    events, tables = keys.shape
    bits = params.bits
    since = ((ts_ns - ts_ns[0]).double() * NS).tolist()
    asked = [i for i in range(events) if int(keys[i, 0]) >= 0]
    due = when_due(ts_ns, ts_ns[asked] + params.horizon_ns)
    writes: dict[int, list[tuple[int, float]]] = {}
    for place, j in enumerate(asked):
        y = float(ghost[due.source[place]] - (ghost[j] + predicted[j]))
        if bool(due.known[place]) and not math.isnan(y):
            writes.setdefault(int(due.row[place]), []).append((j, y))

    levels = [[Level(params.tau_s, c) for c in (capacity, None, None)] for _ in range(tables)]
    psi, psi_weight, psi_s, skill, skill_s = [0.0] * bits, 0.0, 0.0, 0.0, 0.0
    out = ghost.new_zeros(6, events)
    for i in range(events):
        for j, y in writes.get(i, []):
            age = since[i] - since[j]
            keep = math.exp(-age / params.tau_s)
            steps = round(y / params.step_bp)
            flat = float(abs(steps) <= params.dead_band_steps)
            direction = 0.0 if flat else math.copysign(1.0, y)
            for table in range(tables):
                home, sign = _canonical(int(keys[j, table]), bits)
                for level, width in zip(levels[table], (bits, 8, 4), strict=True):
                    level.decay_to(since[i])
                    level.add(home >> (bits - width), [keep, sign * keep * y, keep * flat, sign * keep * direction])
            fade = math.exp(-(since[i] - psi_s) / params.echo_tau_s)
            weight = math.exp(-age / params.echo_tau_s)
            code = _code(int(keys[j, 0]), bits)
            psi = [fade * a + weight * y * c for a, c in zip(psi, code, strict=True)]
            psi_weight, psi_s = fade * psi_weight + weight, since[i]
            m = float(out[4, j])
            skill = math.exp(-(since[i] - skill_s) / params.tau_s) * skill + keep * (2.0 * m * y - m * m)
            skill_s = since[i]
        out[5, i] = skill
        if int(keys[i, 0]) < 0:
            continue
        count = total = flats = up_down = 0.0
        for table in range(tables):
            home, sign = _canonical(int(keys[i, table]), bits)
            for level in levels[table]:
                level.decay_to(since[i])
            full, eight, four = (
                level.slots.get(home >> (bits - width), [0.0] * 4)
                for level, width in zip(levels[table], (bits, 8, 4), strict=True)
            )
            slot = full if full[0] >= params.min_count else eight if eight[0] >= params.min_count else four
            count, flats = count + slot[0] / tables, flats + slot[2] / tables
            total, up_down = total + sign * slot[1] / tables, up_down + sign * slot[3] / tables
        fade = math.exp(-(since[i] - psi_s) / params.echo_tau_s)
        sounded = sum(a * c for a, c in zip(psi, _code(int(keys[i, 0]), bits), strict=True))
        moved = max(count - flats, 0.0)
        out[0, i], out[1, i], out[2, i] = flats, max(0.5 * (moved + up_down), 0.0), max(0.5 * (moved - up_down), 0.0)
        out[3, i] = sounded * fade / (bits * (1.0 + psi_weight * fade))
        out[4, i] = total / (count + SHRINK)
    return Remembered(entropy(out[0], out[1], out[2]), out[4], out[3], out[5])


def _canonical(key: int, bits: int) -> tuple[int, float]:
    return (key ^ (2**bits - 1), -1.0) if key >> (bits - 1) else (key, 1.0)


def _code(key: int, bits: int) -> list[float]:
    return [1.0 if key >> (bits - 1 - k) & 1 else -1.0 for k in range(bits)]
