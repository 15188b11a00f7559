"""A device that is none: tensors that say they are elsewhere, and that nothing on the host can be mixed with.

Under ``pretended()`` the device ``meta`` has memory (the host's) and is as strict as a GPU: an op on its tensors and
the host's fails, but for single numbers, copies from one to the other, and indices, which CUDA takes from the host too.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter, tree_map

PLACE = torch.device("meta")
aten = torch.ops.aten
COPIES = (aten._to_copy.default, aten.copy_.default)
INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)
MADE = (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor)


class There(torch.Tensor):
    """A tensor on the device; ``memory`` is where its numbers really are."""

    memory: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, memory: torch.Tensor) -> There:
        made: There = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, memory.size(), strides=memory.stride(), storage_offset=memory.storage_offset(), dtype=memory.dtype,
            device=PLACE,
        )  # fmt: skip
        made.memory = memory
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f"{func} on a device that is not there any more")


def _here(value: Any) -> Any:
    return value.memory if isinstance(value, There) else value


class Dispatched(TorchDispatchMode):
    """Does every op in the host's memory, and gives tensors back where they belong."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        given = [value for value in tree_iter((args, named)) if isinstance(value, torch.Tensor)]
        there = [value for value in given if isinstance(value, There)]
        looked = args[:1] if func in INDEXED else (args, named)
        strays = [v for v in tree_iter(looked) if isinstance(v, torch.Tensor) and not isinstance(v, There) and v.dim()]
        if there and strays and func not in COPIES:
            raise RuntimeError(f"{func}: tensors of the host among the device's, {[tuple(v.shape) for v in strays]}")
        target = bool(there)
        if named.get("device") is not None:
            target = torch.device(named["device"]) == PLACE
            named["device"] = torch.device("cpu")
        elif func is aten.copy_.default:
            target = isinstance(args[0], There)
        out = func(*tree_map(_here, args), **tree_map(_here, named))
        if func._schema.is_mutable:
            return args[0]
        return (
            tree_map(lambda value: There(value) if isinstance(value, torch.Tensor) else value, out) if target else out
        )


class Made(TorchFunctionMode):
    """Tensors and indices of Python numbers, which torch leaves empty on ``meta``, and the way back."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = dict(kwargs or {})
        if func is torch.Tensor.tolist:
            return _here(args[0]).tolist()
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and isinstance(args[1], list):
            return func(args[0], torch.tensor(args[1]).to(args[0].device), *args[2:])
        if func not in MADE:
            return func(*args, **named)
        place = named.pop("device", None)
        if func is torch.Tensor.new_tensor:
            place = args[0].device if place is None else place
            named.setdefault("dtype", args[0].dtype)
            args = args[1:]
        if isinstance(args[0], torch.Tensor):
            return args[0].to(device=place, dtype=named.get("dtype"))
        made = torch.tensor(*args, **named)
        return made if place is None else made.to(place)


@contextmanager
def pretended() -> Iterator[torch.device]:
    """The device, while it is there."""
    with Dispatched(), Made():
        yield PLACE
