"""Kernel tuples between the host's arrays and the device's tensors, and small steps every op on the device takes."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, TypeAlias, TypeVar

import numpy as np
import torch

Tuple = TypeVar("Tuple", bound=tuple[Any, ...])
OnDevice: TypeAlias = Any
"""One of the tuples of the CPU's kernels, with tensors where those have arrays."""


def on_device(tree: Tuple, device: torch.device | str) -> Tuple:
    """A kernel tuple of arrays, nested or not, as one of tensors on a device; numbers stay. Nothing is shared.

    Example:
        >>> from schwabot_kernels.kalman.cpu import empty_state
        >>> on_device(empty_state(3), "cpu").x.shape
        torch.Size([3])
    """
    return type(tree)(*(_to_tensor(value, device) for value in tree))


def _to_tensor(value: Any, device: torch.device | str) -> Any:
    if isinstance(value, tuple):
        return on_device(value, device)
    if isinstance(value, np.ndarray):
        return torch.tensor(value, device=device)
    return value


def on_host(tree: Tuple) -> Tuple:
    """A kernel tuple of tensors as one of arrays, what the CPU's kernels take. Nothing is shared.

    Example:
        >>> from schwabot_kernels.kalman.cpu import empty_state
        >>> on_host(on_device(empty_state(3), "cpu")).moments.tolist()
        [nan, 0.0]
    """
    return type(tree)(*(_to_array(value) for value in tree))


def _to_array(value: Any) -> Any:
    if isinstance(value, tuple):
        return on_host(value)
    return value.cpu().numpy().copy() if isinstance(value, torch.Tensor) else value


@lru_cache(maxsize=256)
def constants(values: tuple[float, ...], device: torch.device) -> torch.Tensor:
    """Numbers for a kernel, which takes no float of 64 bits at its launch; kept there, for a copy makes the host wait.

    Not to be written to.
    """
    return torch.tensor(values, dtype=torch.float64, device=device)


def with_lanes(streams: torch.Tensor, state: torch.Tensor) -> torch.Tensor:
    """What belongs to V streams in a part of a state of W lanes, whose others stay.

    Shape: [V, ...], [W, ...]; returns [W, ...].
    """
    return torch.cat((streams, state[streams.shape[0] :]))


def shifted(values: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    """The row before each. Shape: values [N, ...], before [...], of the row before the first; returns [N, ...]."""
    return torch.cat((before[None], values[:-1]))


def total(values: torch.Tensor) -> torch.Tensor:
    """Sum over the last axis from left to right, the same for any N. Shape: [..., V]; returns [...]."""
    found = values[..., 0]
    for v in range(1, values.shape[-1]):
        found = found + values[..., v]
    return found


def on_16_bytes(*tensors: torch.Tensor) -> list[Any]:
    """The tensors, contiguous and from a multiple of 16 bytes on; copied only where they are not.

    Triton compiles a kernel anew for other alignments, and lays that one out in its own way: its scans would be trees
    of another shape, with other bits.
    """
    settled = [tensor.contiguous() for tensor in tensors]
    return [tensor.clone() if tensor.data_ptr() % 16 else tensor for tensor in settled]
