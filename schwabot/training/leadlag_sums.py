"""The two sums over lags of a pair of series, on the CPU's cores or on a CUDA device.

Axis legend: n + 1, m + 1 prices of X and Y, L lags, B blocks of time.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from schwabot.errors import DeviceError, why
from schwabot.records.market import Float64, Int64
from schwabot.tensors.device import DeviceConfig, resolve_device

if TYPE_CHECKING:
    import torch

CPU = "cpu"
STEPS_PER_CALL = {True: 20_000_000, False: 20_000_000_000}
"""Lags times prices between two words about progress, on the CPU and elsewhere."""


@dataclass
class SumsDevice:
    """Where sums are computed: a device until it fails, from then on the CPU.

    Attributes:
        name: such as ``cpu`` or ``cuda:0``.
        required: fail with the device.
        failed: why the device was given up; None while it answers.

    Example:
        >>> device = SumsDevice("cuda:0")
        >>> device.give_up(RuntimeError("CUDA error: out of memory"))
        >>> device.said
        'cuda:0, then cpu'
        >>> device.warning
        'warning: cuda:0 failed (RuntimeError: CUDA error: out of memory); the run goes on on the CPU'
    """

    name: str = CPU
    required: bool = False
    failed: str | None = None

    @property
    def is_cpu(self) -> bool:
        """Whether the CPU's kernels answer."""
        return self.name == CPU or self.failed is not None

    @property
    def cores(self) -> int:
        """Calls that may run side by side."""
        if not self.is_cpu:
            return 1
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

    @property
    def said(self) -> str:
        """What a summary says of it."""
        return self.name if self.failed is None else f"{self.name}, then {CPU}"

    @property
    def warning(self) -> str | None:
        """What a user is told where it was given up."""
        return (
            None if self.failed is None else f"warning: {self.name} failed ({self.failed}); the run goes on on the CPU"
        )

    def give_up(self, error: Exception) -> None:
        """Go on on the CPU.

        Raises:
            DeviceError: the device is required.
        """
        if self.required:
            raise DeviceError(f"device {self.name} is required and failed: {why(error)}") from error
        self.failed = why(error)


def sums_device(config: DeviceConfig) -> tuple[SumsDevice, str | None]:
    """The device that was asked for, and why it is the CPU where another was.

    Raises:
        DeviceError: it is required and can't be used.

    Example:
        >>> sums_device(DeviceConfig(kind="cpu"))
        (SumsDevice(name='cpu', required=False, failed=None), None)
    """
    found, reason = resolve_device(config)
    return SumsDevice(str(found), config.required), reason


class DeviceGivenUpError(Exception):
    """The device failed at what it was asked: ask again, in pieces of the CPU's size."""


@dataclass(frozen=True)
class LagSums:
    """Contrast and correlation of bins of one pair; see ``schwabot_kernels.leadlag``.

    Both raise ``DeviceGivenUpError`` where the device fails.

    Attributes:
        arrays: stamps and prices of X, stamps and prices of Y. [n + 1], [m + 1]
        device: where they are computed.
    """

    arrays: tuple[Int64, Float64, Int64, Float64]
    device: SumsDevice

    def calls(self, lags: int) -> int:
        """Calls to ask for that many lags by: no more than enough work for each, and some for every core."""
        steps = lags * (len(self.arrays[0]) + len(self.arrays[2]))
        return min(lags, max(self.device.cores, math.ceil(steps / STEPS_PER_CALL[self.device.is_cpu])))

    def contrast(self, lags_ns: Int64, block: Int64) -> Float64:
        """U by block of time, [L, B]; the last block is that of X's last price."""
        return self._found("contrast", lags_ns, block, int(block[-1]) + 1)

    def bin_correlation(self, lags_ns: Int64, width_ns: int, origin_ns: int) -> Float64:
        """Correlation of moves within bins, [L]."""
        return self._found("bin_correlation", lags_ns, width_ns, origin_ns)

    def _found(self, kernel: str, *given: Any) -> Float64:
        if not self.device.is_cpu:
            try:
                return self._found_there(kernel, *given)
            except Exception as error:  # whatever a driver, compiler or allocator raises
                self.device.give_up(error)
                raise DeviceGivenUpError from error
        from schwabot_kernels.leadlag import cpu

        found: Float64 = getattr(cpu, kernel)(*self.arrays, *given)
        return found

    def _found_there(self, kernel: str, *given: Any) -> Float64:
        import torch

        from schwabot_kernels.leadlag import gpu

        there: Callable[..., torch.Tensor] = getattr(gpu, kernel)
        moved = [self._moved(value) if isinstance(value, np.ndarray) else value for value in given]
        place = torch.device(self.device.name)
        # Triton launches on the current device.
        with torch.cuda.device(place) if place.type == "cuda" else nullcontext():
            return np.asarray(there(*self._tensors, *moved).cpu().numpy(), np.float64)

    @cached_property
    def _tensors(self) -> list[torch.Tensor]:
        return [self._moved(array) for array in self.arrays]

    def _moved(self, array: Int64 | Float64) -> torch.Tensor:
        import torch

        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device.name)
