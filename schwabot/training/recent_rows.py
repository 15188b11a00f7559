"""Columns that grow at one end and are forgotten at the other. Axis legend: n rows held."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_ROOM = 1024


class RecentRows:
    """A window over a stream of rows, as arrays; appending costs a constant per row.

    Args:
        columns: shape of one row and dtype of each column.

    Example:
        >>> rows = RecentRows(((), np.int64), ((2,), np.float64))
        >>> rows.append(np.array([10, 20]), np.array([[1.0, 2.0], [3.0, 4.0]]))
        >>> rows.forget(1)
        >>> rows.column(0), rows.column(1)
        (array([20]), array([[3., 4.]]))
    """

    def __init__(self, *columns: tuple[tuple[int, ...], npt.DTypeLike]) -> None:
        self._start = 0
        self._stop = 0
        self._columns: list[npt.NDArray[Any]] = [np.empty((_ROOM, *shape), dtype) for shape, dtype in columns]

    def __len__(self) -> int:
        return self._stop - self._start

    def column(self, k: int) -> npt.NDArray[Any]:
        """The rows held of column k, a view. Shape [n, ...]."""
        return self._columns[k][self._start : self._stop]

    def append(self, *columns: npt.NDArray[Any]) -> None:
        """Add rows, one array per column."""
        rows = len(columns[0])
        if self._stop + rows > len(self._columns[0]):
            self._make_room(rows)
        for held, new in zip(self._columns, columns, strict=True):
            held[self._stop : self._stop + rows] = new
        self._stop += rows

    def forget(self, rows: int) -> None:
        """Let go of the oldest rows."""
        self._start += rows

    def _make_room(self, rows: int) -> None:
        # Twice what is needed, so that moving costs a constant per row.
        size = max(_ROOM, 2 * (len(self) + rows))
        for k, old in enumerate(self._columns):
            fresh = np.empty((size, *old.shape[1:]), old.dtype)
            fresh[: len(self)] = self.column(k)
            self._columns[k] = fresh
        self._start, self._stop = 0, len(self)
