"""Rows a forecast is trained on: features at a moment, and what followed.

Axis legend: N events, n rows, V streams, F features, H horizons.

As for the skill (skill.py): once every stream has a mid, a row is every quote of any stream, and every point of the
time grid, as of the last event at or before it, where that is no older than ``grid_stale_ms``. The outcome of
stream v is

    y = x_v(t + h) - x_v(t),   x_v(t + h) = log mid after the last event with ts_recv <= t + h.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from schwabot.errors import UnsortedTimeError
from schwabot.records.market import Float64, Int64
from schwabot.training.recent_rows import RecentRows
from schwabot.training.skill_settings import SkillConfig

_MS = 1_000_000
Float32 = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Rows:
    """Training rows of one asset, in order of time; quotes before grid points of the same time.

    Attributes:
        ts_ns: time of the row. [n]
        quote: a quote, not a point of the grid. bool [n]
        features: float32 [n, V, F]
        outcome_bp: float32 [n, V, H]
        reach_ns: when after its time the last outcome of a row is known.
        every: only every so manieth row was kept.
    """

    ts_ns: Int64
    quote: Bool
    features: Float32
    outcome_bp: Float32
    reach_ns: int
    every: int = 1

    def __len__(self) -> int:
        return len(self.ts_ns)


class RowCollector:
    """Gathers rows from a stream of events, in bounded memory.

    A row is complete once its longest horizon has passed. Past ``max_rows`` every second row is dropped and only every
    second of those to come is kept, and so on; which ones does not depend on the batches.

    Args:
        streams: V.
        skill: horizons and time grid.
        until_ns: a row whose longest outcome ends later is none; None = the last event.
        max_rows: most rows kept.

    Example:
        >>> collector = RowCollector(streams=1, skill=SkillConfig(horizons_ms=(10,)))
        >>> ts = np.arange(5) * 5_000_000
        >>> collector.update(ts, np.ones(5, bool), np.arange(5.0)[:, None], np.zeros((5, 1, 9)))
        >>> rows = collector.rows()
        >>> rows.ts_ns[rows.quote] / 1e6, rows.outcome_bp[rows.quote].ravel()
        (array([ 0.,  5., 10.]), array([2., 2., 2.], dtype=float32))
        >>> rows.ts_ns[~rows.quote] / 1e6
        array([ 0., 10.])
    """

    def __init__(
        self, streams: int, skill: SkillConfig, *, until_ns: int | None = None, max_rows: int = 1_000_000
    ) -> None:
        self._horizons_ns = [round(h * _MS) for h in skill.horizons_ms]
        self._reach_ns = max(self._horizons_ns)
        self._grid_ns = round(skill.grid_ms * _MS)
        self._stale_ns = round(skill.grid_stale_ms * _MS)
        self._until_ns = until_ns
        self._max_rows = max_rows
        self._streams = streams
        self._events: RecentRows | None = None
        self._rows: RecentRows | None = None
        self._next_ns: int | None = None
        self._seen = np.zeros(2, np.int64)
        self._every = 1

    def update(self, ts_ns: Int64, quote: Bool, mid_bp: Float64, features: Float64) -> None:
        """Take one batch.

        Args:
            ts_ns: receive times. [N]
            quote: is a quote. bool [N]
            mid_bp: log mids as of each event. [N, V]
            features: [N, V, F]

        Raises:
            UnsortedTimeError: receive time ran backwards.
        """
        if self._until_ns is not None:
            stop = int(np.searchsorted(ts_ns, self._until_ns, side="right"))
            ts_ns, quote, mid_bp, features = ts_ns[:stop], quote[:stop], mid_bp[:stop], features[:stop]
        start = 0
        if self._events is None:
            complete = np.flatnonzero(np.isfinite(mid_bp).all(axis=1))
            if not len(complete):
                return
            start = int(complete[0])
            wide = features.shape[1:]
            self._events = RecentRows(
                ((), np.int64), ((), np.bool_), ((self._streams,), np.float64), (wide, np.float32)
            )
            outcome = (self._streams, len(self._horizons_ns))
            self._rows = RecentRows(((), np.int64), ((), np.bool_), (wide, np.float32), (outcome, np.float32))
            self._next_ns = int(ts_ns[start])
        if np.any(np.diff(ts_ns[start:], prepend=self._events.column(0)[-1:]) < 0):
            raise UnsortedTimeError("receive time runs backwards; training needs the events in order")
        self._events.append(ts_ns[start:], quote[start:], mid_bp[start:], features[start:])
        if len(ts_ns):
            self._complete(int(ts_ns[-1]) - self._reach_ns)

    def rows(self) -> Rows:
        """The rows so far, with those that the last event completes."""
        if self._events is None or self._rows is None:
            shape = (0, self._streams)
            return Rows(
                np.zeros(0, np.int64), np.zeros(0, np.bool_), np.zeros((*shape, 0), np.float32),
                np.zeros((*shape, len(self._horizons_ns)), np.float32), self._reach_ns,
            )  # fmt: skip
        last_ns = int(self._events.column(0)[-1]) if self._until_ns is None else self._until_ns
        self._complete(last_ns - self._reach_ns + 1)
        ts_ns, quote, features, outcome_bp = (self._rows.column(k) for k in range(4))
        order = np.lexsort((~quote, ts_ns))
        return Rows(ts_ns[order], quote[order], features[order], outcome_bp[order], self._reach_ns, self._every)

    def _complete(self, stop_ns: int) -> None:
        """Make rows of all times before ``stop_ns``, whose outcomes nothing can change any more."""
        assert self._events is not None
        assert self._next_ns is not None
        if stop_ns <= self._next_ns:
            return
        ts_ns = self._events.column(0)
        low, high = np.searchsorted(ts_ns, [self._next_ns, stop_ns])
        quotes = low + np.flatnonzero(self._events.column(1)[low:high])
        self._add(ts_ns[quotes], quotes, is_quote=True)
        points, at = self._grid(int(low), int(high), stop_ns)
        self._add(points, at, is_quote=False)
        self._next_ns = stop_ns
        oldest = int(np.searchsorted(ts_ns, stop_ns)) - 1
        self._events.forget(max(0, oldest))

    def _grid(self, low: int, high: int, stop_ns: int) -> tuple[Int64, npt.NDArray[np.intp]]:
        """Points of the grid in [next, stop) and the event each follows, closely enough."""
        assert self._events is not None
        assert self._next_ns is not None
        ts_ns, grid_ns = self._events.column(0), self._grid_ns
        at = np.arange(max(0, low - 1), high)
        own = ts_ns[at]
        end = np.append(own[1:], stop_ns)
        first = -(-np.maximum(own, self._next_ns) // grid_ns)
        stop = np.minimum(-(-np.minimum(end, stop_ns) // grid_ns), (own + self._stale_ns) // grid_ns + 1)
        count = np.maximum(stop - first, 0)
        within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        return (np.repeat(first, count) + within) * grid_ns, np.repeat(at, count)

    def _add(self, times_ns: Int64, at: npt.NDArray[np.intp], *, is_quote: bool) -> None:
        assert self._events is not None
        assert self._rows is not None
        kind = int(is_quote)
        mine = (self._seen[kind] + np.arange(len(at))) % self._every == 0
        self._seen[kind] += len(at)
        times_ns, at = times_ns[mine], at[mine]
        ts_ns, mid_bp, features = (self._events.column(k) for k in (0, 2, 3))
        ends = [np.searchsorted(ts_ns, times_ns + h, side="right") - 1 for h in self._horizons_ns]
        outcome = np.stack([mid_bp[end] - mid_bp[at] for end in ends], axis=-1)
        self._rows.append(times_ns, np.full(len(at), is_quote), features[at], outcome.astype(np.float32))
        while len(self._rows) > self._max_rows:
            self._thin()

    def _thin(self) -> None:
        """Keep every second row of each kind."""
        assert self._rows is not None
        held = [self._rows.column(k).copy() for k in range(4)]
        order = np.where(held[1], np.cumsum(held[1]), np.cumsum(~held[1])) - 1
        kept = order % 2 == 0
        self._rows.forget(len(self._rows))
        self._rows.append(*(column[kept] for column in held))
        self._every *= 2
