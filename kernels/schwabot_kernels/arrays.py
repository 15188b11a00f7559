"""Short names for the array types of the kernels."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]
U8 = npt.NDArray[np.uint8]

LINE = 64
"""Bytes in a cache line."""


def aligned_zeros(shape: Sequence[int], kind: Any = np.float64) -> Any:
    """Zeros that start on a cache line, so that a vector of eight doubles never lies in two.

    Example:
        >>> aligned_zeros((2, 8)).ctypes.data % LINE
        0
    """
    size = math.prod(shape) * np.dtype(kind).itemsize
    raw = np.zeros(size + LINE, np.uint8)
    skip = -raw.ctypes.data % LINE
    return raw[skip : skip + size].view(kind).reshape(shape)
