"""What stands in the place of a device in tests of a sweep: the CPU's kernel, which may fail and has little room."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import torch

from schwabot.signals.compiling import CompiledPolicy
from schwabot.simulation.sweep.device_kernel import DeviceSweepKernel, bytes_of
from schwabot_kernels.simulate.skipping import make_skipping

PLENTY = 2**40


class There:
    """A fold on the device."""

    def __init__(self, lean: Any) -> None:
        self.lean, self.bytes = lean, bytes_of(lean)


class Card:
    """A device that is none.

    Args:
        fails_at: number of the call that fails, counted from 1; calls on no rows, for warming up, are not counted.
        room: bytes that folds may take, as it says of itself.
        memory: bytes that they can take.
    """

    def __init__(self, fails_at: int = PLENTY, room: int = PLENTY, memory: int = PLENTY) -> None:
        self.fails_at, self.room, self.memory = fails_at, room, memory
        self.calls = self.puts = self.most = 0
        self.held: WeakSet[There] = WeakSet()

    def make(self, policy: CompiledPolicy, device: torch.device, skips: bool, skip: bool) -> Any:
        assert skips
        return Sweep(self, policy, skip)

    def open_kernel(
        self, policy: CompiledPolicy, legs: int, device: torch.device, warn: Callable[[str], None], *, required: bool
    ) -> DeviceSweepKernel:
        there = torch.device("cuda", 0)
        return DeviceSweepKernel(policy, legs, device=there, warn=warn, required=required, make=self.make)


class Sweep:
    """What ``make`` gives, see ``schwabot_kernels.simulate.gpu.SegmentedSweep``."""

    def __init__(self, card: Card, policy: CompiledPolicy, skip: bool) -> None:
        self._card, self._skip, self._memory = card, skip, policy.memory
        self._run = make_skipping(policy.policy, policy.quiet, policy.event_of, policy.params_of, policy.key)

    def room(self) -> int:
        return self._card.room

    def put(self, lean: Any) -> There:
        card, there = self._card, There(lean)
        if (held := there.bytes + sum(one.bytes for one in card.held)) > card.memory:
            raise torch.OutOfMemoryError(f"CUDA out of memory: {held} of {card.memory}")
        card.held.add(there)
        card.puts += lean.market.ts_ns.size > 0
        card.most = max(card.most, held)
        return there

    def __call__(self, there: There, rules: Any, params: Any, first: int, last: int, counts: Any, moments: Any) -> None:
        assert there in self._card.held
        self._card.calls += there.lean.market.ts_ns.size > 0
        if self._card.calls >= self._card.fails_at:
            raise RuntimeError("CUDA error: unspecified launch failure")
        self._run(there.lean, rules, params, first, last, counts, moments, self._skip, self._memory)
