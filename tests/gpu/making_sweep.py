"""What stands in the place of a device in tests of a sweep: the CPU's kernel, which may fail and has little room."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch

from schwabot.signals.compiling import CompiledPolicy
from schwabot.simulation.sweep.device_kernel import DeviceSweepKernel
from schwabot_kernels.simulate.skipping import make_skipping


class Card:
    """A device that is none.

    Args:
        fails_at: number of the call that fails, counted from 1, calls on no set's rows (warming up) left out.
    """

    def __init__(self, fails_at: int = 10**9) -> None:
        self.fails_at = fails_at
        self.calls = 0
        self.puts: Counter[int] = Counter()

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

    def put(self, lean: Any) -> Any:
        self._card.puts[lean.market.ts_ns.size] += 1
        return lean

    def __call__(self, lean: Any, rules: Any, params: Any, first: int, last: int, counts: Any, moments: Any) -> None:
        self._card.calls += lean.market.ts_ns.size > 0
        if self._card.calls >= self._card.fails_at:
            raise RuntimeError("CUDA error: unspecified launch failure")
        self._run(lean, rules, params, first, last, counts, moments, self._skip, self._memory)
