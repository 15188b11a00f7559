"""Kernel tuples (nested NamedTuples of numpy arrays) to and from flat dicts of tensors that share their memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np
import torch

from schwabot_kernels.arrays import aligned_zeros

Tuple = TypeVar("Tuple", bound=tuple[Any, ...])


def to_dict(tree: tuple[Any, ...], prefix: str = "") -> dict[str, torch.Tensor]:
    """Flatten a kernel tuple: ``{"phase.ring": tensor, ...}``; tensors share the arrays' memory.

    Example:
        >>> from schwabot_kernels.kalman.cpu import empty_state
        >>> {name: tuple(t.shape) for name, t in to_dict(empty_state(3)).items()}
        {'moments': (2,), 'x': (3,)}
    """
    flat: dict[str, torch.Tensor] = {}
    for name, value in zip(tree._fields, tree, strict=True):  # type: ignore[attr-defined]
        if isinstance(value, tuple):
            flat.update(to_dict(value, f"{prefix}{name}."))
        else:
            flat[prefix + name] = torch.from_numpy(value)
    return flat


def from_dict(like: Tuple, flat: Mapping[str, torch.Tensor], prefix: str = "") -> Tuple:
    """The kernel tuple of ``flat``, in the shape of ``like``; arrays share the tensors' memory."""
    parts = [
        from_dict(value, flat, f"{prefix}{name}.") if isinstance(value, tuple) else flat[prefix + name].numpy()
        for name, value in zip(like._fields, like, strict=True)  # type: ignore[attr-defined]
    ]
    return type(like)(*parts)


def leaves(tree: tuple[Any, ...]) -> list[torch.Tensor]:
    """Tensors of a kernel tuple in field order, sharing memory."""
    return list(to_dict(tree).values())


def rebuild(like: Tuple, flat: list[torch.Tensor]) -> Tuple:
    """The kernel tuple of tensors in field order, in the shape of ``like``."""
    return from_dict(like, dict(zip(to_dict(like), flat, strict=True)))


def copy(tree: Tuple) -> Tuple:
    """A deep copy, every array on a cache line."""
    return type(tree)(*(copy(v) if isinstance(v, tuple) else _aligned_copy(v) for v in tree))


def _aligned_copy(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    fresh: np.ndarray[Any, Any] = aligned_zeros(values.shape, values.dtype)
    fresh[...] = values
    return fresh
