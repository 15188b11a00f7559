"""What an op is given: tensors to arrays, or an error that says what is wrong. N events, V streams."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch

from schwabot_kernels.arrays import I32, I64
from schwabot_kernels.rings import is_ring
from schwabot_kernels.tree import rebuild, to_dict

Part = TypeVar("Part", bound=tuple[Any, ...])


def array(name: str, tensor: torch.Tensor, dtype: torch.dtype, shape: Sequence[int]) -> np.ndarray[Any, Any]:
    """The tensor's values, without a copy where it is contiguous.

    Args:
        name: what the error calls it.
        tensor: on the CPU.
        dtype: it must have; nothing is converted.
        shape: it must have.

    Raises:
        ValueError: wrong device or shape.
        TypeError: wrong dtype.

    Example:
        >>> array("x", torch.zeros(3), torch.float64, (3,))
        Traceback (most recent call last):
        TypeError: x is torch.float32, this op takes torch.float64
    """
    if tensor.device.type != "cpu":
        raise ValueError(f"{name} is on {tensor.device}, this op runs on the CPU: pass {name}.cpu()")
    if tensor.dtype != dtype:
        raise TypeError(f"{name} is {tensor.dtype}, this op takes {dtype}")
    if tuple(tensor.shape) != tuple(shape):
        raise ValueError(f"{name} has shape {tuple(tensor.shape)}, this op takes {tuple(shape)}")
    return tensor.detach().contiguous().numpy()


def times(ts_ns: torch.Tensor, last_ns: int | None = None) -> I64:
    """Event times [N], which must not run backwards, nor lie before ``last_ns``."""
    values = array("ts_ns", ts_ns, torch.int64, (ts_ns.numel(),))
    if values.size and last_ns is not None and values[0] < last_ns:
        raise ValueError(f"ts_ns starts at {values[0]}, before the state's last event at {last_ns}")
    backwards = np.flatnonzero(values[1:] < values[:-1])
    if backwards.size:
        raise ValueError(f"ts_ns runs backwards at event {backwards[0] + 1}: sort the batch by receive time")
    return values


def stream_numbers(stream: torch.Tensor, events: int, streams: int) -> I32:
    """Stream of every event [N], each in [0, V)."""
    values = array("stream", stream, torch.int32, (events,))
    if events and not (values.min() >= 0 and values.max() < streams):
        raise ValueError(f"stream runs from {values.min()} to {values.max()}, there are {streams} streams")
    return values


def own_copy(op: str, like: Part, state: list[torch.Tensor]) -> Part:
    """A copy of an op's state as the kernel's tuple, which the op may move on.

    Args:
        op: whose state it is.
        like: a state of the right shape; rings may have any length.
        state: the parts, in the tuple's order.

    Raises:
        ValueError: wrong number of parts, device or shape.
        TypeError: wrong dtype.
    """
    expected = to_dict(like)
    if len(state) != len(expected):
        raise ValueError(f"the state has {len(state)} parts, {op} takes {len(expected)}: {', '.join(expected)}")
    for (name, wanted), given in zip(expected.items(), state, strict=True):
        shape = (given.shape[0], *wanted.shape[1:]) if is_ring(f"{op}.{name}") and given.dim() else wanted.shape
        array(f"state part {op}.{name}", given, wanted.dtype, shape)
    return rebuild(like, [part.detach().clone(memory_format=torch.contiguous_format) for part in state])
