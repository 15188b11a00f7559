"""Memory for the graph's answers, used again once nobody looks at it. N events, V streams.

A batch of 65,536 events and four streams gives 22 MiB of columns. Fresh memory has to be mapped and zeroed by the
operating system page by page, which takes longer than writing the answers into it.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from schwabot_kernels.arrays import LINE
from schwabot_kernels.graph.cpu import GraphColumns, column_shapes

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
KEPT = 4
"""Buffers kept: what a sink or two still hold, and one to write into."""


def _references(buffers: list[Bytes]) -> list[int]:
    return [sys.getrefcount(buffer) for buffer in buffers]


_ALONE = _references([np.empty(0, np.uint8)])[0]
"""References to a buffer that is in a list and nowhere else, as this Python counts them."""


class ColumnMemory:
    """Hands out columns; those of an earlier batch are written over as soon as no array looks at them any more.

    Every column is a view into one buffer per batch, and a view keeps its buffer counted. So a caller who keeps any
    column of a batch, or a slice of it, keeps all of that batch as it is.

    Example:
        >>> memory = ColumnMemory()
        >>> kept = memory.columns(events=100, streams=4).ghost
        >>> np.shares_memory(kept, memory.columns(events=100, streams=4).ghost)
        False
    """

    def __init__(self) -> None:
        self._buffers: list[Bytes] = []

    def columns(self, events: int, streams: int, horizons: int = 0) -> GraphColumns:
        """Uninitialised columns for N events."""
        shapes = column_shapes(events, streams, horizons)
        starts = [0]
        for kind, shape in shapes:
            size = int(np.prod(shape)) * np.dtype(kind).itemsize
            starts.append(starts[-1] + -(-size // LINE) * LINE)
        buffer = self._free(starts[-1])
        views: Any = (
            buffer[start : start + int(np.prod(shape)) * np.dtype(kind).itemsize].view(kind).reshape(shape)
            for start, (kind, shape) in zip(starts, shapes, strict=False)
        )
        return GraphColumns(*views)

    def _free(self, size: int) -> Bytes:
        """A buffer of at least ``size`` bytes that nobody looks at; the oldest is given up when all are in use."""
        for place, references in enumerate(_references(self._buffers)):
            if references == _ALONE and self._buffers[place].size >= size:
                self._buffers.append(self._buffers.pop(place))
                return self._buffers[-1]
        fresh = np.empty(size, np.uint8)
        self._buffers = [*self._buffers[1 - KEPT :], fresh]
        return fresh
