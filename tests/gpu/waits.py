"""Where a device op would make the host wait for the device, or copy a number there: seen on tensors of any device."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

ASKS = {"item", "tolist", "cpu", "numpy", "nonzero", "masked_select", "unique", "__bool__", "__int__", "__float__",
        "__index__"}  # fmt: skip
COPIES = {"tensor", "as_tensor", "new_tensor"}
INDEXES = {"__getitem__", "__setitem__"}


class Waits(TorchFunctionMode):
    """Counts, by place in the kernels, what reads a tensor's values or copies values to a tensor's device.

    A mask as an index is read to know how many rows it has, and so is a tensor that is one number; a list is copied.
    """

    def __init__(self) -> None:
        super().__init__()
        self.at: Counter[str] = Counter()

    def of(self, *parts: str) -> int:
        """How many at places that any of these is part of."""
        return sum(count for place, count in self.at.items() if any(part in place for part in parts))

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in ASKS or name in COPIES or (name in INDEXES and _waits_for(args[1])):
            frame: FrameType | None = sys._getframe(1)
            while frame is not None and "torch" in Path(frame.f_code.co_filename).parts:
                frame = frame.f_back
            path = Path(frame.f_code.co_filename) if frame else Path()
            if frame and "schwabot_kernels" in path.parts:
                self.at[f"{path.parent.name}/{path.name}:{frame.f_lineno} {name}"] += 1
        return func(*args, **(kwargs or {}))


def _waits_for(index: Any) -> bool:
    parts = index if isinstance(index, tuple) else (index,)
    return any(
        isinstance(part, list) or (isinstance(part, torch.Tensor) and (part.dtype == torch.bool or part.dim() == 0))
        for part in parts
    )
