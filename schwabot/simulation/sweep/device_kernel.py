"""The sweep's kernels on a CUDA device: the same numbers as on the CPU, which does what the device can't."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from schwabot.errors import DeviceError, SchwabotError, why
from schwabot.records.market import Float64
from schwabot.signals.compiling import CompiledPolicy
from schwabot.simulation.sweep.kernels import COUNTED, SUMMED, SweepKernel
from schwabot_kernels.simulate.cutting import DeviceUnfitError
from schwabot_kernels.simulate.records import COUNTS, MOMENTS, Rules


class DeviceFolds:
    """Folds on a device, as many as there is room for; what is put out is put there again when it is asked for.

    Sets run block by block through all folds in turn, so the one that was put there last is the one that is needed
    last. To put out the one used longest ago, as caches do, would leave none to come back to.
    """

    def __init__(self) -> None:
        self._there: dict[int, tuple[Any, Any, int]] = {}
        self._room: int | None = None

    def get(self, sweep: Any, fold: Any) -> Any:
        """A fold where the sweep reads it; others are put out where there is no room for it beside them."""
        if id(fold) not in self._there:
            if self._room is None:
                self._room = sweep.room()
            size = bytes_of(fold)
            while self._there and size + sum(held for _, _, held in self._there.values()) > self._room:
                self._there.popitem()
            self._there[id(fold)] = fold, sweep.put(fold), size  # with the fold, as its number may be another's then
        return self._there[id(fold)][1]

    def clear(self) -> None:
        """Put all out; there is less room than it seemed."""
        self._there.clear()
        self._room = self._room and self._room // 2


def bytes_of(value: Any) -> int:
    """Bytes of all arrays in a tuple of arrays and tuples.

    Example:
        >>> bytes_of((np.zeros(3), 7, (np.zeros(2, np.int8),)))
        26
    """
    if isinstance(value, tuple):
        return sum(map(bytes_of, value))
    return value.nbytes if isinstance(value, np.ndarray) else 0


Make = Callable[[CompiledPolicy, torch.device, bool, bool], Any]
"""Policy, device, jumps where it is quiet, skips → what sweeps on a device, see ``schwabot_kernels.simulate.gpu``."""


def say(line: str) -> None:
    """To the user, at once."""
    sys.stderr.write(f"{line}\n")


def on_device(policy: CompiledPolicy, device: torch.device, skips: bool, skip: bool) -> Any:
    """The sweep of a policy on a device.

    Args:
        policy: compiled.
        device: a CUDA device.
        skips: it is swept by its quiet band, on one leg.
        skip: and rows within it are jumped over.
    """
    from schwabot_kernels.simulate.gpu import GeneralSweep, SegmentedSweep

    if not skips:
        return GeneralSweep(policy.policy, policy.event_of, policy.params_of, policy.memory, device, policy.key)
    four = (policy.policy, policy.quiet, policy.event_of, policy.params_of)
    return SegmentedSweep(*four, policy.memory, device, skip=skip, key=policy.key)


class DeviceSweepKernel(SweepKernel):
    """Runs parameter sets on a CUDA device; whatever fails there runs on the CPU, as does all that follows.

    A fold is put on the device when it is first swept, for sweeps with skipping and without, and stays there while
    there is room. Accounts are integers and nothing is rounded
    otherwise, so where a set runs changes no number; ``check`` sees to that on some sets.

    Args:
        policy: compiled.
        legs: number of traded streams.
        streams: their names, for errors.
        device: a CUDA device.
        warn: is told once why the device was given up.
        required: do not go on on the CPU.
        make: what sweeps on the device.

    Raises:
        DeviceError: by every call from then on, where a required device was given up.
    """

    def __init__(
        self, policy: CompiledPolicy, legs: int, streams: Sequence[str] = (), *, device: torch.device,
        warn: Callable[[str], None] = say, required: bool = False, make: Make = on_device,
    ) -> None:  # fmt: skip
        super().__init__(policy, legs, streams)
        self.device = device
        self.failed: str | None = None
        """Why the device was given up; None while it answers."""
        self._warn, self._required, self._make = warn, required, make
        self._sweeps: dict[bool, Any] = {}
        self._folds = DeviceFolds()
        self._one = threading.Lock()

    @property
    def on_device(self) -> bool:
        """Do sets run on the device still?"""
        return self.failed is None

    def check(self, fold: Any, rules: Rules, params: Float64, name: str = "the first fold") -> None:
        """As ``SweepKernel.check``; besides, the device has to come to the CPU's numbers or is given up."""
        super().check(fold, rules, params, name)
        if self.failed is not None or not len(params):
            return
        rules, params, chosen = self._few(rules, params)
        legs, found = rules.scale.size, []
        for run in (self._on_cpu, self._timed):
            counts = np.zeros((len(chosen), legs, COUNTS), np.int64)
            moments = np.zeros((len(chosen), legs, MOMENTS))
            run(fold, rules, params, 0, len(chosen), counts, moments, skip=True)
            found.append((counts, moments))
        for names, cpu, there in zip((COUNTED, SUMMED), found[0], found[1], strict=True):
            for p, leg, k in np.argwhere(cpu != there)[:1].tolist():
                self._give_up(
                    f"{names[k]} of set {chosen[p]} of {name} is {there[p, leg, k]} there and {cpu[p, leg, k]} on the"
                    " CPU"
                )

    def _timed(
        self, fold: Any, rules: Rules, params: Float64, first: int, last: int, counts: Any, moments: Any, *, skip: bool
    ) -> None:
        if self.failed is None:
            try:
                self._on_device(fold, rules, params, first, last, counts, moments, skip=skip)
                self._check(counts[first:last])
            except SchwabotError as error:  # of what came back: the CPU says whether it is true
                super()._timed(fold, rules, params, first, last, counts, moments, skip=skip)
                self._give_up(f"not so on the CPU: {error}")
                return
            except Exception as error:  # noqa: BLE001 whatever a driver, compiler or allocator raises
                self._give_up(str(error) if isinstance(error, DeviceUnfitError) else why(error))
            else:
                return
        elif self._required:
            raise self._lost()
        super()._timed(fold, rules, params, first, last, counts, moments, skip=skip)

    def _on_device(
        self, fold: Any, rules: Rules, params: Float64, first: int, last: int, counts: Any, moments: Any, *, skip: bool
    ) -> None:
        with self._one:
            if self.failed is not None:  # while this thread waited
                raise DeviceUnfitError(self.failed)
            started_s = time.perf_counter()
            if skip not in self._sweeps:
                self._sweeps[skip] = self._make(self._policy, self.device, self.skips, skip)
            sweep = self._sweeps[skip]
            is_full = False
            try:
                sweep(self._folds.get(sweep, fold), rules, params, first, last, counts, moments)
            except torch.OutOfMemoryError:
                is_full = True
            if is_full:  # here, as the error holds on to what was begun
                self._folds.clear()
                sweep(self._folds.get(sweep, fold), rules, params, first, last, counts, moments)
            spent_s = time.perf_counter() - started_s
        with self._lock:
            self.device_s += spent_s

    def _give_up(self, reason: str) -> None:
        with self._one:
            is_first, self.failed = self.failed is None, self.failed or reason
            self._folds.clear()
            self._sweeps.clear()
            if self._required:
                raise self._lost()
            if is_first:
                self._warn(
                    f"warning: {self.device} can't sweep {self._policy.name} ({reason}); the sweep runs on the CPU,"
                    " with the same results"
                )

    def _lost(self) -> DeviceError:
        return DeviceError(
            f"device {self.device} is required and can't sweep {self._policy.name}: {self.failed}. Without"
            " device.required=true the CPU takes over, with the same results"
        )


def open_kernel(
    policy: CompiledPolicy,
    legs: int,
    device: torch.device,
    warn: Callable[[str], None] = say,
    *,
    required: bool = False,
) -> SweepKernel:
    """The kernel for a device.

    Args:
        policy: compiled.
        legs: number of traded streams.
        device: where to run.
        warn: is told once why a device was given up.
        required: end with an error instead of going on on the CPU.

    Example:
        >>> from schwabot.signals.builtin.threshold import threshold
        >>> from schwabot.signals.compiling import compile_policy
        >>> type(open_kernel(compile_policy(threshold), 1, torch.device("cpu"))).__name__
        'SweepKernel'
    """
    if device.type == "cuda":
        return DeviceSweepKernel(policy, legs, device=device, warn=warn, required=required)
    return SweepKernel(policy, legs)
