"""Joining sorted runs of ticks into one, in bounded memory.

Axis legend: N events, M depth rows with levels, K book levels, S sources.

The order is (ts_recv_ns, stream name, source, row of source). A source is read no further than the
slowest other source needs: rows are handed on once every source has shown a later receive time (the
watermark), so that whatever is still unread can only come after them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np

from schwabot.errors import DataError
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, BookLevels, Int64, Kind, Ticks

_COLUMNS = tuple(column.name for column in fields(Ticks) if column.name not in ("instruments", "levels"))
_LEVELS = tuple(column.name for column in fields(BookLevels) if column.name != "row")
_END = int(np.iinfo(np.int64).max)


def blank(instruments: tuple[Instrument, ...], n: int, kind: Kind = Kind.QUOTE) -> Ticks:
    """N rows of zeros without time stamps of the venue, to be filled in with ``dataclasses.replace``.

    Example:
        >>> rows = blank((Instrument("x:A/B", 0.1, 1.0),), 2)
        >>> len(rows), bool(rows.ts_emit_ns[0] == MISSING_NS), rows.side.dtype.name
        (2, True, 'int8')
    """
    missing = np.full(n, MISSING_NS, np.int64)
    zeros = [np.zeros(n, np.int64) for _ in range(7)]
    return Ticks(
        instruments=instruments,
        ts_recv_ns=zeros[0],
        ts_event_ns=missing,
        ts_emit_ns=missing.copy(),
        stream=np.zeros(n, np.int32),
        kind=np.full(n, kind, np.int8),
        bid_ticks=zeros[1],
        ask_ticks=zeros[2],
        bid_lots=zeros[3],
        ask_lots=zeros[4],
        price_ticks=zeros[5],
        qty_lots=zeros[6],
        side=np.zeros(n, np.int8),
    )


def take(ticks: Ticks, rows: Int64) -> Ticks:
    """Pick rows, each at most once, in the order given; book levels follow their rows.

    Example:
        >>> rows = replace(blank((Instrument("x:A/B", 0.1, 1.0),), 3), ts_recv_ns=np.array([5, 6, 7]))
        >>> take(rows, np.array([2, 0])).ts_recv_ns.tolist()
        [7, 5]
    """
    columns = {name: getattr(ticks, name)[rows] for name in _COLUMNS}
    return replace(ticks, **columns, levels=_take_levels(ticks.levels, rows, len(ticks)))


def _take_levels(levels: BookLevels | None, rows: Int64, n: int) -> BookLevels | None:
    if levels is None:
        return None
    new_row = np.full(n, -1, np.int64)
    new_row[rows] = np.arange(len(rows))
    entries = np.flatnonzero(new_row[levels.row] >= 0)
    entries = entries[np.argsort(new_row[levels.row[entries]])]
    picked = {name: getattr(levels, name)[entries] for name in _LEVELS}
    return BookLevels(row=new_row[levels.row[entries]], **picked)


def cut(ticks: Ticks, start: int, stop: int) -> Ticks:
    """Rows start to stop, as views.

    Example:
        >>> len(cut(blank((Instrument("x:A/B", 0.1, 1.0),), 9), 2, 5))
        3
    """
    columns = {name: getattr(ticks, name)[start:stop] for name in _COLUMNS}
    levels = ticks.levels
    if levels is not None:
        first, last = (int(i) for i in np.searchsorted(levels.row, (start, stop)))
        picked = {name: getattr(levels, name)[first:last] for name in _LEVELS}
        levels = BookLevels(row=levels.row[first:last] - start, **picked)
    return replace(ticks, **columns, levels=levels)


def concat(parts: Sequence[Ticks]) -> Ticks:
    """Join one or more runs of the same instruments end to end.

    Example:
        >>> part = blank((Instrument("x:A/B", 0.1, 1.0),), 2)
        >>> len(concat([part, part]))
        4
    """
    if len(parts) == 1:
        return parts[0]
    columns: dict[str, Any] = {name: np.concatenate([getattr(part, name) for part in parts]) for name in _COLUMNS}
    with_levels = [part.levels for part in parts if part.levels is not None]
    levels = None
    if with_levels:
        assert len(with_levels) == len(parts), "either every part has book levels or none"
        starts = np.cumsum([0, *(len(part) for part in parts[:-1])])
        row = np.concatenate([book.row + start for book, start in zip(with_levels, starts, strict=True)])
        joined = {name: np.concatenate([getattr(book, name) for book in with_levels]) for name in _LEVELS}
        levels = BookLevels(row=row, **joined)
    return replace(parts[0], **columns, levels=levels)


def rebatch(chunks: Iterable[Ticks], max_events: int) -> Iterator[Ticks]:
    """Cut or join chunks into batches of exactly ``max_events`` rows; the last may be shorter.

    What was already read is handed on before an error of the chunks is raised.

    Example:
        >>> part = blank((Instrument("x:A/B", 0.1, 1.0),), 5)
        >>> [len(batch) for batch in rebatch([part, part], 4)]
        [4, 4, 2]
    """
    if max_events < 1:
        raise ValueError(f"max_events={max_events}: must be at least 1")
    waiting: list[Ticks] = []
    rows = 0
    failure: DataError | None = None
    chunk_iterator = iter(chunks)
    while True:
        try:
            chunk = next(chunk_iterator, None)
        except DataError as error:
            failure, chunk = error, None
        if chunk is None:
            break
        waiting.append(chunk)
        rows += len(chunk)
        if rows < max_events:
            continue
        joined = concat(waiting)
        whole = rows - rows % max_events
        for start in range(0, whole, max_events):
            yield cut(joined, start, start + max_events)
        waiting, rows = ([cut(joined, whole, rows)], rows - whole) if rows > whole else ([], 0)
    if rows:
        yield concat(waiting)
    if failure is not None:
        raise failure


@dataclass(slots=True)
class Source:
    """One run of ticks sorted by receive time, opened when its first row may be due.

    Args:
        open: called once; yields chunks of rows.
        starts_ns: no row is earlier than this; unknown by default, which opens the source at once.
    """

    open: Callable[[], Iterable[Ticks]]
    starts_ns: int = MISSING_NS
    _chunks: Iterator[Ticks] | None = field(default=None, init=False)
    _held: list[Ticks] = field(default_factory=list, init=False)
    _seen_ns: int = field(default=MISSING_NS, init=False)
    _ended: bool = field(default=False, init=False)
    _error: DataError | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self._seen_ns = self.starts_ns

    def _read(self) -> None:
        """Read one chunk, or learn that there is none."""
        if self._chunks is None:
            self._chunks = iter(self.open())
        try:
            chunk = next(self._chunks, None)
        except DataError as error:
            self._error, chunk = error, None
        if chunk is None:
            self._ended = True
        elif len(chunk):
            recv = chunk.ts_recv_ns
            assert recv[0] >= self._seen_ns, "a source of a merge runs backwards or before its start"
            assert np.all(recv[1:] >= recv[:-1]), "a source of a merge is not sorted"
            self._held.append(chunk)
            self._seen_ns = int(recv[-1])

    def _release(self, before_ns: int) -> list[Ticks]:
        """Hand over every held row earlier than ``before_ns``."""
        released: list[Ticks] = []
        while self._held:
            chunk = self._held[0]
            stop = int(np.searchsorted(chunk.ts_recv_ns, before_ns))
            if stop == len(chunk):
                released.append(self._held.pop(0))
                continue
            if stop:
                released.append(cut(chunk, 0, stop))
                self._held[0] = cut(chunk, stop, len(chunk))
            break
        return released


def merge(sources: Sequence[Source]) -> Iterator[Ticks]:
    """Merge sorted sources of the same instruments into one run of chunks.

    Rows are ordered by (receive time, stream name, source, row of source). When a source fails, every
    row up to the last time it showed is handed on first, then its error is raised.

    Args:
        sources: S runs. Ties between two sources of one stream go to the one listed first.

    Example:
        >>> def run(*times):
        ...     rows = blank((Instrument("x:A/B", 0.1, 1.0),), len(times))
        ...     return Source(lambda: [replace(rows, ts_recv_ns=np.array(times))])
        >>> [part.ts_recv_ns.tolist() for part in merge([run(1, 4, 6), run(2, 5, 5)])]
        [[1, 2, 4], [5, 5], [6]]
    """
    last_ns, failure = _END, None
    running = list(sources)
    while True:
        open_ones = [source for source in running if not source._ended]
        watermark = min((source._seen_ns for source in open_ones), default=_END)
        released = [part for source in running for part in source._release(min(watermark, last_ns))]
        if released:
            yield _in_order(released)
        if watermark >= last_ns or not open_ones:
            break
        slowest = next(source for source in open_ones if source._seen_ns == watermark)
        slowest._read()
        if slowest._error is not None and slowest._seen_ns < last_ns - 1:
            last_ns, failure = slowest._seen_ns + 1, slowest._error
        running = [source for source in running if source._held or not source._ended]
    if failure is not None:
        raise failure


def _in_order(parts: list[Ticks]) -> Ticks:
    joined = concat(parts)
    recv, stream = joined.ts_recv_ns, joined.stream
    later = recv[1:] > recv[:-1]
    if np.all(later | ((recv[1:] == recv[:-1]) & (stream[1:] >= stream[:-1]))):
        return joined
    return take(joined, np.lexsort((stream, recv)).astype(np.int64))
