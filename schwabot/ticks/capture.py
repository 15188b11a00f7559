"""Raw Binance recordings as a source of ticks.

A line is ``<receive time, ns> <JSON>``: WebSocket messages (``{"stream": ..., "data": ...}``) of the
spot, USD-M and COIN-M books, and REST depth snapshots. Which book a message belongs to is told from
what it holds, so files may be named anything, hold several streams and be given in any order.

Axis legend: N events, V streams, K book levels.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from schwabot.errors import (
    ConfigError,
    CorruptFileError,
    DataError,
    EmptyFileError,
    MalformedLineError,
    UnknownStreamError,
)
from schwabot.records.instrument import Instrument
from schwabot.records.market import Int64, Ticks
from schwabot.ticks.base import ReadOnce
from schwabot.ticks.binance_messages import Messages, Problem, Sorter
from schwabot.ticks.book import OrderBook
from schwabot.ticks.capture_columns import Columns
from schwabot.ticks.capture_depth import DepthColumns
from schwabot.ticks.merge import Source, concat, cut, merge, rebatch, take
from schwabot.ticks.overlap import Overlaps
from schwabot.ticks.recording import Recording
from schwabot.ticks.validate import BadInput, BadInputPolicy, refuse_nothing


@dataclass(slots=True)
class _File:
    """What the first lines of a file tell."""

    recording: Recording
    starts_ns: int
    streams: set[str]
    trade_by_trade: set[str]


class CaptureFeed:
    """Ticks of raw Binance recordings, merged by (receive time, stream name, line of file).

    bookTicker makes QUOTE rows, trade and aggTrade make TRADE rows, depthUpdate makes DEPTH rows with
    the top of the book rebuilt from the snapshot and the changes; while there is no usable snapshot
    the touch of a DEPTH row is 0 (its time stamps still count). A snapshot makes no row.

    Left out and counted, because they are no error: ``off_book_trade`` (perpetual trades of type
    INSURANCE_FUND, ADL or NA are not made in the order book, some carry price zero),
    ``aggregate_trade`` (aggTrade of a stream that also has trade messages), ``other_message``, and
    ``part_lot_level`` (a book level that is not whole lots is rounded down to what can be traded).

    When the policy makes a problem an error, every row before it is yielded first.

    Args:
        paths: files, plain or gzip, in any order.
        instruments: known instruments by any key; a stream without one is an unknown stream.
        policy: what to do with bad input.
        depth_levels: K best levels kept at DEPTH rows; 0 = none.
        streams: names of the streams to expect; default those in the first ``scan_lines`` lines.
        scan_lines: how far into each file to look for streams.

    Raises:
        ConfigError: no file, a file twice, a file that is not there, or a stream without instrument.
        UnknownStreamError: a stream that no instrument describes, if the policy says so.
        OverlapError: while reading, two files hold rows of one kind and stream at the same time.

    Example:
        >>> import tempfile
        >>> spot = Instrument("binance:BTC/USDT", 0.01, 1e-5)
        >>> line = '7 {"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"4","B":"1","a":"5","A":"2"}}'
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder, "any.txt")
        ...     size = path.write_text(line)
        ...     feed = CaptureFeed([path], {spot.stream: spot})
        ...     [(batch.bid_ticks.tolist(), batch.ask_lots.tolist()) for batch in feed.batches()]
        [([400], [200000])]
    """

    def __init__(
        self,
        paths: Iterable[str | Path],
        instruments: Mapping[str, Instrument],
        policy: BadInputPolicy | None = None,
        depth_levels: int = 0,
        *,
        streams: Collection[str] = (),
        scan_lines: int = 5_000,
    ) -> None:
        self._bad = BadInput(policy or BadInputPolicy())
        self._depth_levels = depth_levels
        # Sorted, so that the order the files are given in can't matter even for ties.
        recordings = [Recording(path) for path in _checked(paths)]
        known = {instrument.stream: instrument for instrument in instruments.values()}
        missing = sorted(set(streams) - set(known))
        if missing:
            raise ConfigError(f"source.streams names {missing}, which conf/instruments does not describe")
        self._first_problem: DataError | None = None
        scanned = [self._scan(recording, known, scan_lines) for recording in recordings]
        self._files = [file for file in scanned if file is not None]
        found = set(streams).union(*(file.streams for file in self._files))
        if not found:
            raise self._nothing_found(scan_lines)
        self._instruments = tuple(known[name] for name in sorted(found))
        self._described = set(known) - found
        index = {instrument.stream: i for i, instrument in enumerate(self._instruments)}
        self._repeats = {index[name] for file in self._files for name in file.trade_by_trade if name in index}
        self._index = index
        self._books: dict[int, OrderBook] = {}
        self._overlaps = Overlaps()
        self._once = ReadOnce()

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """V instruments, sorted by stream name."""
        return self._instruments

    @property
    def dropped(self) -> Mapping[str, int]:
        """Lines left out so far, by reason."""
        return self._bad.dropped

    @property
    def examples(self) -> Sequence[str]:
        """The first few messages per reason."""
        return self._bad.examples

    @property
    def expected_events(self) -> int | None:
        """Unknown before the end: lines are not counted beforehand."""
        return None

    def progress(self) -> float:
        """Share of the bytes (as they lie on disk) read so far."""
        size = sum(file.recording.size for file in self._files)
        return sum(file.recording.bytes_read for file in self._files) / size if size else 1.0

    def batches(self, max_events: int = 65_536) -> Iterator[Ticks]:
        """Yield batches of ``max_events`` rows (the last may be shorter), in order; once.

        Raises:
            ConfigError: the feed was already read.
            DataError: bad input that the policy calls an error, after every row before it.
        """
        self._once.begin()
        sources = [Source(lambda file=file: self._read(file), file.starts_ns) for file in self._files]  # type: ignore[misc]
        return refuse_nothing(rebatch(merge(sources), max_events), self._bad)

    def _nothing_found(self, scan_lines: int) -> DataError:
        """Why there is no stream: the first bad line or damage, if the policy calls it an error."""
        if self._first_problem is not None and getattr(self._bad.policy, self._first_problem.reason, "") == "error":
            return self._first_problem
        what = (
            f"no quote, trade or depth message of a known stream in the first {scan_lines} lines (source.scan_lines);"
            " a line is the receive time in ns, a space and a Binance message as JSON. Is it a table (source=table)?"
        )
        return MalformedLineError(what, file=", ".join(str(file.recording.path) for file in self._files[:3]) or None)

    def _scan(self, recording: Recording, known: Mapping[str, Instrument], scan_lines: int) -> _File | None:
        """Find streams and the first receive time in the first lines; everything bad is left to the reading.

        None for a file without a single line, where the policy is to pass over it.
        """
        described = tuple(known.values())
        blocks: list[Messages] = []
        reader = Recording(recording.path)
        sorter = Sorter(str(recording.path), described)
        first_line = 1
        damage: DataError | None = None
        try:
            for lines in reader.blocks():
                head = list(itertools.islice(lines, max(0, scan_lines - first_line + 1)))
                blocks.append(sorter.sort(head, first_line))
                first_line += len(head)
                if len(head) < len(lines):
                    break
        except CorruptFileError as error:
            damage = error
        else:
            if first_line == 1:
                what = "the file is empty: leave it out, or pass over it with source.policy.empty_file=drop"
                self._bad.found(EmptyFileError(what, file=str(recording.path)))
                return None
        names: set[str] = set()
        single: set[str] = set()
        starts: list[int] = []
        for messages in blocks:
            rows = (messages.quotes, messages.trades, messages.depths)
            starts += [kind[0].recv_ns for kind in rows if kind]
            names.update(described[row.stream].stream for kind in rows for row in kind if row.stream >= 0)
            single.update(described[row.stream].stream for row in messages.trades if not row.aggregate)
            for problem in messages.problems:
                if self._first_problem is None and isinstance(problem.what, DataError):
                    self._first_problem = problem.what
                if isinstance(problem.what, UnknownStreamError) and self._bad.policy.unknown_stream == "error":
                    raise problem.what
        # Damage counts when the file is read; only where it leaves nothing to read it is told at once.
        self._first_problem = self._first_problem or damage
        return _File(recording, min(starts, default=0), names, single)

    def _read(self, file: _File) -> Iterator[Ticks]:
        """Yield one file's rows, block by block."""
        name = str(file.recording.path)
        sorter = Sorter(name, self._instruments, described=self._described, repeats=self._repeats)
        columns = Columns(name, self._instruments)
        here = {self._index[stream] for stream in file.streams}
        depth = DepthColumns(columns, here, self._books, self._depth_levels)
        blocks = file.recording.blocks()
        first_line, last_ns = 1, -1
        while True:
            try:
                lines = next(blocks, None)
            except CorruptFileError as error:
                self._bad.found(error)
                break
            if lines is None:
                break
            messages = sorter.sort(lines, first_line, last_ns)
            first_line, last_ns = first_line + len(lines), messages.last_recv_ns
            yield from self._checked_rows(columns, depth, messages)
        depth.hand_over()

    def _checked_rows(self, columns: Columns, depth: DepthColumns, messages: Messages) -> Iterator[Ticks]:
        parts = [columns.quotes(messages.quotes), columns.trades(messages.trades), depth.rows(messages)]
        problems = messages.problems + [problem for _, _, found in parts for problem in found]
        ticks, lines = _joined(parts)
        # A tuple is no error: it is left out on purpose.
        in_order = sorted(problems, key=lambda problem: problem.line)
        failure = self._bad.first_error((p.what, p.message) if isinstance(p.what, str) else p.what for p in in_order)
        if failure is not None:
            ticks = cut(ticks, 0, int(np.searchsorted(lines, failure.line or 0)))
        if len(ticks):
            self._overlaps.saw(columns.file, ticks)
            yield ticks
        if failure is not None:
            raise failure


def _joined(parts: list[tuple[Ticks, Int64, list[Problem]]]) -> tuple[Ticks, Int64]:
    """Quotes, trades and depth rows of one block in line order, and their lines."""
    depth_rows = parts[-1][0]
    lines = np.concatenate([part_lines for _, part_lines, _ in parts])
    joined = concat([replace(rows, levels=None) for rows, _, _ in parts])
    if depth_rows.levels is not None:
        first = len(joined) - len(depth_rows)
        joined = replace(joined, levels=replace(depth_rows.levels, row=depth_rows.levels.row + first))
    order = np.argsort(lines, kind="stable")
    return take(joined, order), lines[order]


def _checked(paths: Iterable[str | Path]) -> list[Path]:
    given = sorted(Path(path) for path in paths)
    if not given:
        raise ConfigError("no recording to read: the list of files is empty")
    for path in given:
        if not path.is_file():
            raise ConfigError(f"{path} is not a file")
    twice = [str(path) for path, n in Counter(path.resolve() for path in given).items() if n > 1]
    if twice:
        raise ConfigError(f"given more than once: {', '.join(twice)}")
    return given
