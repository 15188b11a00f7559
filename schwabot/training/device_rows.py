"""Training rows on a device, and the sums over them that a fit is made of.

Axis legend: n rows, k rows of a sum, V streams, F features of a stream, D = V F, H horizons, P penalties.

Features and outcomes are float32, as they are on the host; every sum is float64. They go to the device once and stay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
import torch

from schwabot.records.market import Float64, Int64
from schwabot.training.forecast_rows import Rows
from schwabot.training.leadlag_sums import SumsDevice

CHUNK = 131_072
"""Rows that are widened to float64 at a time."""

Sums = TypeVar("Sums")


class DeviceRows:
    """One asset's rows on a device that all assets leave at its first failure: from then on it gives no sums.

    Args:
        rows: of the asset.
        device: where to.

    Raises:
        DeviceError: the device failed, here or later, and is required.
    """

    def __init__(self, rows: Rows, device: SumsDevice) -> None:
        self._sums_device, self._device = device, torch.device(device.name)
        there = self._tried(lambda: (self._moved(rows.features), self._moved(rows.outcome_bp)))
        if there is not None:
            self._features, self._outcome = there

    def squares(self, weight: Float64, at: Int64) -> Float64 | None:
        """Weighted sums of squared features, [V, F]; None where the device has failed. Shape: weight [k], at [k]."""

        def summed() -> Float64:
            found = sum(torch.einsum("n,nvf->vf", w, f * f) for w, f, _ in self._chunks(weight, at))
            return _back(found)

        return self._tried(summed)

    def products(
        self, weight: Float64, at: Int64, scale: Float64, clip: float
    ) -> tuple[Float64, Float64, Float64] | None:
        """Weighted sums of products of scaled features with themselves and with outcomes, and of squared outcomes.

        Shape: scale [V, F]; returns [D, D], [D, V H], [V, H], or None where the device has failed.
        """

        def summed() -> tuple[Float64, Float64, Float64]:
            gram: Any = 0.0
            cross: Any = 0.0
            energy: Any = 0.0
            for w, f, y in self._chunks(weight, at):
                z = self._scaled(f, scale, clip)
                weighted = z * w[:, None]
                gram = gram + weighted.T @ z
                cross = cross + weighted.T @ y.reshape(len(w), -1)
                energy = energy + torch.einsum("n,nvh->vh", w, y * y)
            return _back(gram), _back(cross), _back(energy)

        return self._tried(summed)

    def errors(self, at: Int64, coefficients: Float64, scale: Float64, clip: float) -> tuple[Float64, Float64] | None:
        """Sums of squared outcomes [V, H], and of squared errors of every penalty's forecasts [P, V, H].

        Shape: coefficients [P, H, V, D]; None where the device has failed.
        """

        def summed() -> tuple[Float64, Float64]:
            there = torch.from_numpy(np.ascontiguousarray(coefficients)).to(self._device)
            energy = torch.zeros(self._outcome.shape[1:], dtype=torch.float64, device=self._device)
            error = torch.zeros((len(there), *energy.shape), dtype=torch.float64, device=self._device)
            for _, f, y in self._chunks(np.ones(len(at)), at):
                z = self._scaled(f, scale, clip)
                energy += (y * y).sum(0)
                for p in range(len(there)):
                    miss = y - torch.einsum("nd,hvd->nvh", z, there[p])
                    error[p] += (miss * miss).sum(0)
            return _back(energy), _back(error)

        return self._tried(summed)

    def _moved(self, values: Any) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)).to(self._device)

    def _scaled(self, features: torch.Tensor, scale: Float64, clip: float) -> torch.Tensor:
        """clip(f / scale, -clip, clip), 0 where the scale is 0. Shape: [k, V, F]; returns [k, D]."""
        inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
        factor = torch.from_numpy(inverse).to(self._device)
        return (features * factor).clamp(-clip, clip).reshape(len(features), -1)

    def _chunks(self, weight: Float64, at: Int64) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        for start in range(0, len(at), CHUNK):
            place = torch.from_numpy(at[start : start + CHUNK]).to(self._device)
            part = torch.from_numpy(np.ascontiguousarray(weight[start : start + CHUNK])).to(self._device)
            yield part, self._features[place].double(), self._outcome[place].double()

    def _tried(self, work: Callable[[], Sums]) -> Sums | None:
        if self._sums_device.failed is not None:
            return None
        try:
            return work()
        except Exception as error:  # noqa: BLE001 whatever a driver or allocator raises, the fit goes on on the CPU
            self._sums_device.give_up(error)
            return None


def _back(value: Any) -> Float64:
    return np.asarray(value.cpu().numpy()) if isinstance(value, torch.Tensor) else np.zeros(())
