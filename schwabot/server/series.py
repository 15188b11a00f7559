"""The live charts' points: a ring of columns.

Axis legend: K points, V streams.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from schwabot.records.market import Int64
from schwabot.server.wire import POINT_COLUMNS

MINUTE_NS = 60_000_000_000


class Series:
    """The newest points.

    Args:
        room: that are kept.
        streams: V.

    Example:
        >>> series = Series(3, 1)
        >>> one = {name: [[0.5]] for name in POINT_COLUMNS}
        >>> for at in range(5):
        ...     series.add({"ts_ns": [at], "ghost_bp": [None], **one})
        >>> series.columns(10)["ts_ns"], series.columns(10, since_ns=3)["ts_ns"], series.columns(2)["ts_ns"]
        ([2, 3, 4], [4], [2, 4])
    """

    def __init__(self, room: int, streams: int) -> None:
        self._room, self._count = max(room, 1), 0
        self._ts_ns = np.zeros(self._room, np.int64)
        self._ghost = np.full(self._room, np.nan)
        self._wide = {name: np.full((self._room, streams), np.nan) for name in POINT_COLUMNS}

    def add(self, points: dict[str, Any]) -> None:
        """Add points: columns of a frame; None = no value."""
        k = len(points["ts_ns"])
        at = np.arange(self._count, self._count + k)[-self._room :] % self._room
        self._count += k
        self._ts_ns[at] = points["ts_ns"][-self._room :]
        self._ghost[at] = np.array(points["ghost_bp"][-self._room :], np.float64)
        for name, room in self._wide.items():
            room[at] = np.array(points[name][-self._room :], np.float64)

    def columns(self, most: int, since_ns: int | None = None) -> dict[str, Any]:
        """The points in order, thinned out evenly to ``most``, the newest always among them; NaN where no value is.

        Args:
            most: points at most.
            since_ns: only later ones.
        """
        at = self._held()
        if since_ns is not None:
            at = at[self._ts_ns[at] > since_ns]
        return self._told(_thinned(at, most))

    def overview(self, most: int) -> dict[str, Any]:
        """The points in order, half of them of the last minute: what a chart that goes on shows best.

        Args:
            most: points at most.
        """
        at = self._held()
        is_old = self._ts_ns[at] < (self._ts_ns[at[-1]] - MINUTE_NS if len(at) else 0)
        return self._told(np.concatenate([_thinned(at[is_old], most // 2), _thinned(at[~is_old], most // 2)]))

    def _held(self) -> Int64:
        held = min(self._count, self._room)
        return np.arange(self._count - held, self._count) % self._room

    def _told(self, at: Int64) -> dict[str, Any]:
        found: dict[str, Any] = {"ts_ns": self._ts_ns[at].tolist(), "ghost_bp": self._ghost[at].tolist()}
        return found | {name: room[at].tolist() for name, room in self._wide.items()}


def _thinned(at: Int64, most: int) -> Int64:
    if len(at) <= most:
        return at
    return at[np.linspace(0, len(at) - 1, most).round().astype(np.int64)]
