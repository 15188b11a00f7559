"""Short names for the array types of the kernels."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

F64 = npt.NDArray[np.float64]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]
I32 = npt.NDArray[np.int32]
I8 = npt.NDArray[np.int8]

LINE = 64
"""Bytes in a cache line."""


def aligned_zeros(*shape: int) -> F64:
    """Zeros that start on a cache line, so that a vector of eight never lies in two.

    Example:
        >>> aligned_zeros(2, 8).ctypes.data % LINE
        0
    """
    count = math.prod(shape)
    raw = np.zeros(count + LINE // 8)
    skip = (-raw.ctypes.data % LINE) // 8
    return raw[skip : skip + count].reshape(shape)
