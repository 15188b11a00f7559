"""The tick store: a Parquet dataset partitioned by venue, symbol and day of receipt (UTC).

Axis legend: N rows.

::

    root/_store.json                                           instruments and list of files, written last
    root/venue=binance/symbol=BTC%2FUSDT/date=2024-08-08/part-00000.parquet

Names are percent-encoded, as Hive partitions are, so polars, DuckDB or pyarrow read the folder as it is.
Rows of a stream keep the order they were received in, and ``line`` counts them, so rows of equal time
come back in the order (ts_recv_ns, stream name, line). Files carry checksums; what _store.json does not
list was never finished and is not read, and what it lists must be there and whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schwabot.errors import ConfigError, CorruptFileError, SchemaError, UnsortedTimeError
from schwabot.records.instrument import Instrument
from schwabot.records.market import Gap, Ticks
from schwabot.ticks.base import ReadOnce
from schwabot.ticks.merge import Source, cut, merge, rebatch
from schwabot.ticks.store_format import StoredFile, from_batch, read_catalogue, schema_of
from schwabot.ticks.store_place import StorePlace
from schwabot.ticks.store_writer import StoreReport, StoreWriter, write_store

__all__ = ["StoreConfig", "StoreFeed", "StoreReport", "StoreWriter", "write_store"]

READ_ROWS = 65_536
_FIRST_NS, _LAST_NS = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)


@dataclass
class StoreConfig:
    """Which part of a store to read.

    Args:
        path: root of the store; a folder, or a URI of a file system that pyarrow knows, e.g. ``s3://bucket/ticks``.
        venues: only these, e.g. ``[binance]``; empty = all.
        symbols: only these, e.g. ``[BTC/USDT]``; empty = all.
        start: first time of receipt, e.g. ``2024-08-08`` or ``2024-08-08T23:55:00``; UTC unless it says otherwise.
        end: rows are received before this; a day means its midnight.
    """

    path: str = ""
    venues: list[str] = field(default_factory=list)
    symbols: list[str] = field(default_factory=list)
    start: str | None = None
    end: str | None = None


class StoreFeed:
    """Reads a store back, or any streams and times of it, in bounded memory.

    Args:
        config: see ``StoreConfig``.

    Raises:
        ConfigError: a venue, symbol or time that can't be used; lists those there are.
        CorruptFileError: no store, or a file of it that is missing or damaged.
        SchemaError: a file whose columns are not those of a store.

    Example:
        >>> import tempfile
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> folder = tempfile.TemporaryDirectory()
        >>> written = write_store(SyntheticFeed(SyntheticConfig(events=500)), folder.name)
        >>> feed = StoreFeed(StoreConfig(path=folder.name, venues=["synthetic_b"]))
        >>> feed.expected_events == sum(len(ticks) for ticks in feed.batches())
        True
        >>> folder.cleanup()
    """

    def __init__(self, config: StoreConfig) -> None:
        if not config.path:
            raise ConfigError("source.path is empty: name the folder of the store")
        self.config = config
        self.root = StorePlace(config.path)
        catalogue = read_catalogue(self.root)
        self._levels = catalogue.levels
        self._start_ns = _FIRST_NS if config.start is None else time_ns(config.start, "source.start")
        self._end_ns = _LAST_NS if config.end is None else time_ns(config.end, "source.end")
        if self._start_ns >= self._end_ns:
            raise ConfigError(f"source.start={config.start} is not before source.end={config.end}")
        self._instruments = _chosen(catalogue.instruments, config)
        index = {instrument.stream: v for v, instrument in enumerate(self._instruments)}
        self._files: list[list[StoredFile]] = [[] for _ in self._instruments]
        for file in catalogue.files:
            if file.stream in index and file.last_ns >= self._start_ns and file.first_ns < self._end_ns:
                self._files[index[file.stream]].append(file)
        if not any(self._files) and catalogue.files:
            first, last = min(f.first_ns for f in catalogue.files), max(f.last_ns for f in catalogue.files)
            raise ConfigError(
                f"{self.root} has no rows of these streams between source.start={config.start} and"
                f" source.end={config.end}; it covers {_date(first)} to {_date(last)}"
            )
        self._rows = sum(file.rows for files in self._files for file in files)
        self.trading_notes = _fee_notes(self._instruments)
        """Those of the notes that matter only where sizes or fees do."""
        self.gaps = tuple(
            gap
            for gap in catalogue.gaps
            if gap.stream in index and gap.last_ns >= self._start_ns and gap.first_ns < self._end_ns
        )
        """Where rows are known to be missing."""
        self.ghost_chain = catalogue.ghost_chain
        """Whether a run that answers with the ghost's chain of fallbacks wrote it."""
        self.notes = [*_gap_notes(self.gaps), *self.trading_notes]
        """What a reader of the results has to know, in words."""
        self._read = 0
        self._once = ReadOnce()

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """V instruments, sorted by stream name."""
        return self._instruments

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """Files that hold rows of these streams and times, perhaps others too."""
        return tuple(file for files in self._files for file in files)

    @property
    def span_ns(self) -> tuple[int, int]:
        """First and last time of receipt that may be read, from the catalogue; both 0 where there is nothing."""
        if not self.files:
            return 0, 0
        first, last = min(file.first_ns for file in self.files), max(file.last_ns for file in self.files)
        return max(first, self._start_ns), min(last, self._end_ns - 1)

    @property
    def dropped(self) -> Mapping[str, int]:
        """Nothing: bad rows never got into the store."""
        return {}

    @property
    def expected_events(self) -> int | None:
        """Rows to come; unknown when a file is read in part."""
        files = [file for files in self._files for file in files]
        whole = all(file.first_ns >= self._start_ns and file.last_ns < self._end_ns for file in files)
        return self._rows if whole else None

    def progress(self) -> float:
        """Share of the rows read so far."""
        return min(1.0, self._read / self._rows) if self._rows else 1.0

    def batches(self, max_events: int = 65_536) -> Iterator[Ticks]:
        """Yield batches of 1 to ``max_events`` rows, in the order (ts_recv_ns, stream name, line); once.

        Raises:
            ConfigError: the feed was already read.
            CorruptFileError, SchemaError, UnsortedTimeError: a file is not what was written, after every row before it.
        """
        self._once.begin()
        sources = [
            Source(lambda v=v: self._stream(v), starts_ns=max(files[0].first_ns, self._start_ns))  # type: ignore[misc]
            for v, files in enumerate(self._files)
            if files
        ]
        return rebatch(merge(sources), max_events)

    def _stream(self, v: int) -> Iterator[Ticks]:
        """Rows of one stream."""
        for file in self._files[v]:
            yield from self._file(file, v)

    def _file(self, file: StoredFile, v: int) -> Iterator[Ticks]:
        name = self.root.name(file.path)
        try:
            with self.root.parquet(file.path) as parquet:
                _check_file(parquet, file, self._levels, name)
                groups, line = _groups(parquet, self._start_ns, file.first_line)
                seen_ns = file.first_ns
                for batch in parquet.iter_batches(READ_ROWS, row_groups=groups):
                    ticks, lines = from_batch(batch, self._instruments, v, self._levels)
                    recv = ticks.ts_recv_ns
                    if lines[0] != line or np.any(np.diff(lines) != 1):
                        raise CorruptFileError("its lines have gaps: rows are missing; convert again", file=name)
                    if recv[0] < seen_ns or np.any(np.diff(recv) < 0):
                        what = "receive time runs backwards; the file was changed after it was written: convert again"
                        raise UnsortedTimeError(what, file=name)
                    line, seen_ns = line + len(ticks), int(recv[-1])
                    self._read += len(ticks)
                    start, stop = np.searchsorted(recv, (self._start_ns, self._end_ns)).tolist()
                    if start or stop < len(ticks):
                        ticks = cut(ticks, start, stop)
                    if len(ticks):
                        yield ticks
                    if seen_ns >= self._end_ns:
                        break
        except FileNotFoundError:
            what = "listed in _store.json and not there; restore it, convert again, or leave out its days and streams"
            raise CorruptFileError(what, file=name) from None
        except (pa.ArrowException, OSError) as error:
            raise CorruptFileError(f"can't be read ({error}); convert again", file=name) from error


def time_ns(text: str, setting: str) -> int:
    """Turn an ISO date or time into ns since 1970; UTC unless it carries a zone.

    Example:
        >>> time_ns("2024-08-08", "source.start"), time_ns("2024-08-08T01:00:00+01:00", "source.start")
        (1723075200000000000, 1723075200000000000)
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{setting}={text!r}: write 2024-08-08 or 2024-08-08T23:55:00") from None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * 1_000


def _date(ts_ns: int) -> str:
    return datetime.fromtimestamp(ts_ns // 1_000_000_000, UTC).isoformat()


def _chosen(there: tuple[Instrument, ...], config: StoreConfig) -> tuple[Instrument, ...]:
    for setting, wanted, known in (
        ("venues", config.venues, {instrument.venue for instrument in there}),
        ("symbols", config.symbols, {instrument.symbol for instrument in there}),
    ):
        unknown = sorted(set(wanted) - known)
        if unknown:
            raise ConfigError(
                f"source.{setting}: {', '.join(unknown)} not in the store; it has {', '.join(sorted(known))}"
            )
    chosen = tuple(
        instrument
        for instrument in there
        if (not config.venues or instrument.venue in config.venues)
        and (not config.symbols or instrument.symbol in config.symbols)
    )
    if not chosen and there:
        raise ConfigError(f"no stream is of venues {config.venues} and of symbols {config.symbols}")
    return chosen


def _gap_notes(gaps: tuple[Gap, ...]) -> list[str]:
    if not gaps:
        return []
    longest = max(gaps, key=lambda gap: gap.last_ns - gap.first_ns)
    said = f"the longest is {(longest.last_ns - longest.first_ns) / 1e9:,.1f} s of {longest.stream} ({longest.reason})"
    return [f"rows are missing in {len(gaps):,} places of the recording; {said}"]


def _fee_notes(instruments: tuple[Instrument, ...]) -> list[str]:
    """Say which fees are 0: the table a store was made of may have stated none."""
    free = [one.stream for one in instruments if one.maker_fee_bp == one.taker_fee_bp == 0]
    if not free:
        return []
    said = ", ".join(free[:3]) + (", ..." if len(free) > 3 else "")
    return [f"{said}: the store holds fees of 0 bp; if the venue charges any, convert again with the fees stated"]


def _check_file(parquet: pq.ParquetFile, file: StoredFile, levels: int, name: str) -> None:
    found = parquet.schema_arrow
    if not any(found.equals(schema_of(k)) for k in {0, levels}):
        columns = ", ".join(f"{column.name} {column.type}" for column in found)
        raise SchemaError(f"not the columns of a tick store; it has {columns}", file=name)
    if parquet.metadata.num_rows != file.rows:
        what = f"has {parquet.metadata.num_rows} rows, _store.json says {file.rows}; convert again"
        raise CorruptFileError(what, file=name)


def _groups(parquet: pq.ParquetFile, start_ns: int, line: int) -> tuple[list[int], int]:
    """Row groups that reach ``start_ns``, and the line of their first row."""
    column = parquet.schema_arrow.names.index("ts_recv_ns")
    groups = list(range(parquet.metadata.num_row_groups))
    while groups:
        group = parquet.metadata.row_group(groups[0])
        statistics = group.column(column).statistics
        if statistics is None or not statistics.has_min_max or statistics.max >= start_ns:
            break
        line += group.num_rows
        groups.pop(0)
    return groups, line
