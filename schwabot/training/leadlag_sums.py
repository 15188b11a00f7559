"""The two sums over lags of a pair of series, on the CPU's cores or on a CUDA device.

Axis legend: n + 1, m + 1 prices of X and Y, L lags, B blocks of time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from schwabot.records.market import Float64, Int64

if TYPE_CHECKING:
    import torch

STEPS_PER_CALL = {"cpu": 20_000_000, "cuda": 20_000_000_000}
"""Lags times prices between two words about progress."""


@dataclass(frozen=True)
class LagSums:
    """Contrast and correlation of bins of one pair; see ``schwabot_kernels.leadlag``.

    Attributes:
        arrays: stamps and prices of X, stamps and prices of Y. [n + 1], [m + 1]
        device: where they are computed, such as ``cpu`` or ``cuda:0``.
    """

    arrays: tuple[Int64, Float64, Int64, Float64]
    device: str = "cpu"

    @property
    def steps_per_call(self) -> int:
        """Lags times prices to ask for at a time."""
        return STEPS_PER_CALL[self.device.partition(":")[0]]

    def contrast(self, lags_ns: Int64, block: Int64) -> Float64:
        """U by block of time, [L, B]; the last block is that of X's last price."""
        blocks = int(block[-1]) + 1
        if self.device == "cpu":
            from schwabot_kernels.leadlag import cpu

            return cpu.contrast(*self.arrays, lags_ns, block, blocks)
        from schwabot_kernels.leadlag import gpu

        return self._there(gpu.contrast, lags_ns, self._moved(block), blocks)

    def bin_correlation(self, lags_ns: Int64, width_ns: int, origin_ns: int) -> Float64:
        """Correlation of moves within bins, [L]."""
        if self.device == "cpu":
            from schwabot_kernels.leadlag import cpu

            return cpu.bin_correlation(*self.arrays, lags_ns, width_ns, origin_ns)
        from schwabot_kernels.leadlag import gpu

        return self._there(gpu.bin_correlation, lags_ns, width_ns, origin_ns)

    def _there(self, kernel: Callable[..., torch.Tensor], lags_ns: Int64, *more: Any) -> Float64:
        return kernel(*self._tensors, self._moved(lags_ns), *more).cpu().numpy()

    @cached_property
    def _tensors(self) -> list[torch.Tensor]:
        return [self._moved(array) for array in self.arrays]

    def _moved(self, array: Int64 | Float64) -> torch.Tensor:
        import torch

        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)
