"""Writing a tick store, in bounded memory and so that a crash leaves what was there before.

Axis legend: N rows.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow.parquet as pq

from schwabot.errors import ConfigError, SchemaError
from schwabot.records.instrument import Instrument
from schwabot.records.market import Gap, Ticks
from schwabot.ticks.base import Feed
from schwabot.ticks.merge import concat, cut, take
from schwabot.ticks.store_format import (
    CATALOGUE,
    DAY_NS,
    INT8_COLUMNS,
    Catalogue,
    StoredFile,
    finish,
    folder_of,
    read_catalogue,
    schema_of,
    to_table,
    write_catalogue,
)

MODES = ("new", "overwrite", "append")
MERGED = 64
"""Batches that wait are made into one at a time."""
COMPRESSIONS = ("zstd", "lz4", "snappy", "none")


@dataclass(frozen=True, slots=True)
class StoreReport:
    """What was written.

    Attributes:
        root: of the store.
        rows: quotes, trades and depth rows.
        files: how many files they are in.
        bytes: their size.
        streams: rows by stream name.
        first_ns, last_ns: receive times of the first and last row, None without rows.
        dropped: rows the feed dropped, by reason.
    """

    root: str
    rows: int
    files: int
    bytes: int
    streams: dict[str, int]
    first_ns: int | None
    last_ns: int | None
    dropped: dict[str, int] = field(default_factory=dict)


def write_store(
    feed: Feed,
    root: str | os.PathLike[str],
    *,
    mode: str = "new",
    compression: str = "zstd",
    rows_per_group: int = 131_072,
) -> StoreReport:
    """Write all that a feed yields into a tick store.

    Args:
        feed: read once, to its end.
        root: folder of the store; made when missing.
        mode: ``new`` refuses a folder that is not empty; ``overwrite`` replaces a store, which stays as it
            was until the new one is whole; ``append`` adds later rows to it.
        compression: zstd, lz4, snappy or none.
        rows_per_group: rows of a Parquet row group, which is what each stream holds in memory.

    Raises:
        ConfigError: a folder that is in the way, or a setting that can't be used.
        SchemaError: appended instruments or book levels that are not those of the store.

    Example:
        >>> import tempfile
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = write_store(SyntheticFeed(SyntheticConfig(events=500)), folder)
        >>> report.files, report.streams["synthetic_a:BTC/USDT"] > 50
        (4, True)
    """
    with StoreWriter(
        feed.instruments, root, mode=mode, compression=compression, rows_per_group=rows_per_group
    ) as writer:
        for ticks in feed.batches():
            writer.write(ticks)
    return writer.report(dict(feed.dropped))


class StoreWriter:
    """Writes ticks batch by batch; the store changes when the ``with`` block ends without an error, or at a checkpoint.

    Args: as ``write_store``; ``setting`` is what named ``root``, for errors.

    Example:
        >>> import tempfile
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=500))
        >>> with tempfile.TemporaryDirectory() as folder, StoreWriter(feed.instruments, folder) as writer:
        ...     for ticks in feed.batches():
        ...         writer.write(ticks)
    """

    def __init__(
        self,
        instruments: tuple[Instrument, ...],
        root: str | os.PathLike[str],
        *,
        mode: str = "new",
        compression: str = "zstd",
        rows_per_group: int = 131_072,
        setting: str = "convert.out",
    ) -> None:
        if mode not in MODES:
            raise ConfigError(f"convert.existing={mode}: use {', '.join(MODES)}")
        if compression not in COMPRESSIONS:
            raise ConfigError(f"convert.compression={compression}: use {', '.join(COMPRESSIONS)}")
        if rows_per_group < 1:
            raise ConfigError(f"convert.rows_per_group={rows_per_group}: at least 1")
        self.instruments = instruments
        self.root = Path(root)
        self.setting = setting
        self.compression = compression
        self.rows_per_group = rows_per_group
        there = check_target(self.root, mode, setting)
        self._kept = there if mode == "append" else Catalogue((), ())
        _check_same(instruments, self._kept, self.root)
        self._levels = self._kept.levels
        self._parts = [_StreamPart(self, instrument) for instrument in instruments]
        self._finished: list[Path] = []
        self._listed = 0  # of those: in the catalogue
        self.files: list[StoredFile] = []
        self.gaps: list[Gap] = []
        """Where rows are missing: written with the next files."""
        self.ghost_chain = self._kept.ghost_chain
        """Whether a run that answers with the ghost's chain of fallbacks writes it, or did."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                self._commit()
            except BaseException:
                self._abandon()
                raise
        else:
            self._abandon()

    def write(self, ticks: Ticks) -> None:
        """Add rows that follow those written before."""
        if ticks.instruments != self.instruments:
            raise SchemaError("a batch carries other instruments than the first one", file=str(self.root))
        if ticks.levels is not None:
            depth = ticks.levels.bid_ticks.shape[1]
            if self._levels not in (0, depth):
                what = f"{depth} book levels do not fit a store of {self._levels}; choose one number of levels"
                raise SchemaError(what, file=str(self.root))
            self._levels = depth
        by_stream = take(ticks, np.argsort(ticks.stream, kind="stable"))
        ends = np.cumsum(np.bincount(ticks.stream, minlength=len(self.instruments))).tolist()
        for part, start, stop in zip(self._parts, [0, *ends[:-1]], ends, strict=True):
            days = by_stream.ts_recv_ns[start:stop] // DAY_NS
            edges = (np.flatnonzero(np.diff(days)) + 1 + start).tolist()
            for first, last in zip([start, *edges], [*edges, stop], strict=True):
                if last > first:
                    part.add(cut(by_stream, first, last), self._levels)

    def ends(self) -> dict[str, int]:
        """Receive time of the last row there was before, by stream."""
        return {part.instrument.stream: part.last_ns for part in self._parts if part.last_ns is not None}

    def checkpoint(self) -> None:
        """Put what was written so far into the store, for good; what follows goes into new files."""
        self._commit()

    def report(self, dropped: dict[str, int]) -> StoreReport:
        """Sum up what this writer has put into the store."""
        streams, files = {instrument.stream: 0 for instrument in self.instruments}, self.files[: self._listed]
        for file in files:
            streams[file.stream] += file.rows
        return StoreReport(
            root=str(self.root),
            rows=sum(streams.values()),
            files=len(files),
            bytes=sum(path.stat().st_size for path in self._finished[: self._listed] if path.exists()),
            streams=streams,
            first_ns=min((file.first_ns for file in files), default=None),
            last_ns=max((file.last_ns for file in files), default=None),
            dropped=dropped,
        )

    def _commit(self) -> None:
        for part in self._parts:
            part.close()
        self.root.mkdir(parents=True, exist_ok=True)
        by_name = {instrument.stream: instrument for instrument in (*self._kept.instruments, *self.instruments)}
        catalogue = Catalogue(
            instruments=tuple(by_name[name] for name in sorted(by_name)),
            files=(*self._kept.files, *self.files),
            levels=self._levels,
            gaps=(*self._kept.gaps, *self.gaps),
            ghost_chain=self.ghost_chain,
        )
        write_catalogue(self.root, catalogue)
        self._listed = len(self._finished)
        # What the catalogue does not list is replaced, or was left by a writer that was killed.
        listed = {file.path for file in catalogue.files}
        for path in self.root.glob("venue=*/symbol=*/date=*/*"):
            if path.relative_to(self.root).as_posix() not in listed and path.name.startswith(("part-", ".part-")):
                path.unlink()
        for path in self.root.glob(f".{CATALOGUE}.*.tmp"):
            path.unlink()

    def _abandon(self) -> None:
        """Take back what was written; what was there before stays."""
        for part in self._parts:
            part.discard()
        for path in self._finished[self._listed :]:
            path.unlink(missing_ok=True)


class _StreamPart:
    """The file that one stream is being written to."""

    def __init__(self, store: StoreWriter, instrument: Instrument) -> None:
        self.store = store
        self.instrument = instrument
        earlier = [file for file in store._kept.files if file.stream == instrument.stream]
        self.next_line = sum(file.rows for file in earlier)
        self.last_ns = max((file.last_ns for file in earlier), default=None)
        self._folder = ""
        self._levels = 0
        self._held: list[Ticks] = []
        self._held_rows = 0
        self._rows = 0
        self._first_line = 0
        self._first_ns = 0
        self._final: Path | None = None
        self._writer: pq.ParquetWriter | None = None

    def add(self, ticks: Ticks, levels: int) -> None:
        """Add rows of one day."""
        first_ns = int(ticks.ts_recv_ns[0])
        if self.last_ns is not None and first_ns < self.last_ns:
            raise ConfigError(
                f"{self.store.root}: {self.instrument.stream} is stored up to {_date(self.last_ns)} and these rows"
                f" start at {_date(first_ns)}; append later rows only, or name another folder in {self.store.setting}"
            )
        folder = folder_of(self.instrument, first_ns)
        if self._final is None or folder != self._folder or levels != self._levels:
            self.close()
            self._open(folder, levels, first_ns)
        self.last_ns = int(ticks.ts_recv_ns[-1])
        self._held.append(ticks)
        self._held_rows += len(ticks)
        if len(self._held) % MERGED == 0:  # many batches of a row each take ten times their rows' memory
            self._held[-MERGED:] = [concat(self._held[-MERGED:])]
        while self._held_rows >= self.store.rows_per_group:
            self._write_group(self.store.rows_per_group)

    def close(self) -> None:
        """Finish the file, if there is one."""
        if self._writer is None or self._final is None:
            return
        if self._held_rows:
            self._write_group(self._held_rows)
        assert self.last_ns is not None
        writer, self._writer = self._writer, None
        writer.close()
        finish(_temporary(self._final), self._final)
        self.store._finished.append(self._final)
        path = self._final.relative_to(self.store.root).as_posix()
        self.store.files.append(
            StoredFile(path, self.instrument.stream, self._rows, self._first_line, self._first_ns, self.last_ns)
        )
        self._final = None

    def discard(self) -> None:
        """Drop the unfinished file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._final is not None:
            _temporary(self._final).unlink(missing_ok=True)

    def _open(self, folder: str, levels: int, first_ns: int) -> None:
        directory = self.store.root / folder
        directory.mkdir(parents=True, exist_ok=True)
        numbers = [int(path.stem.removeprefix("part-")) for path in directory.glob("part-*.parquet")]
        self._folder, self._levels = folder, levels
        self._rows, self._first_line, self._first_ns = 0, self.next_line, first_ns
        self._final = directory / f"part-{max(numbers, default=-1) + 1:05d}.parquet"
        schema = schema_of(levels)
        # Times, prices and lines differ little from row to row: their differences are small.
        self._writer = pq.ParquetWriter(
            _temporary(self._final),
            schema,
            compression=self.store.compression,
            use_dictionary=list(INT8_COLUMNS),
            column_encoding={name: "DELTA_BINARY_PACKED" for name in schema.names if name not in INT8_COLUMNS},
            write_page_checksum=True,
        )

    def _write_group(self, rows: int) -> None:
        writer, self._writer = self._writer, None  # one that fails leaves half a file, which is never listed
        assert writer is not None
        held = concat(self._held)
        writer.write_table(to_table(cut(held, 0, rows), self.next_line, self._levels))
        self._writer = writer
        self.next_line += rows
        self._rows += rows
        self._held_rows -= rows
        self._held = [cut(held, rows, len(held))] if self._held_rows else []


def _date(ts_ns: int) -> str:
    """Time of receipt to the ns, UTC."""
    return f"{datetime.fromtimestamp(ts_ns // 10**9, UTC):%Y-%m-%dT%H:%M:%S}.{ts_ns % 10**9:09d}Z"


def _temporary(final: Path) -> Path:
    return final.with_name(f".{final.name}.{os.getpid()}.tmp")


def check_target(root: Path, mode: str, setting: str = "convert.out") -> Catalogue:
    """What is there already; refuses a folder that is in the way.

    Args:
        root: of the store.
        mode: as ``write_store``.
        setting: that named it, for the error.

    Raises:
        ConfigError: something else is there.
    """
    if not root.exists() or (root.is_dir() and not any(path.is_file() for path in root.rglob("*"))):
        return Catalogue((), ())
    if not root.is_dir():
        raise ConfigError(f"{root} is a file; name a folder in {setting}")
    if mode == "new" and ((root / CATALOGUE).exists() or any(root.glob("venue=*"))):
        raise ConfigError(
            f"{root} is not empty: add convert.existing=append (later rows to the store there) or"
            f" convert.existing=overwrite (replace it), or name another folder in {setting}"
        )
    if (root / CATALOGUE).exists():
        return read_catalogue(root)
    if any(root.glob("venue=*")):
        whole = any(one.is_file() and not one.name.startswith(".part-") for one in root.rglob("*"))
        if mode == "overwrite" or (mode == "append" and not whole):
            return Catalogue((), ())  # killed before the first file was whole
        raise ConfigError(f"{root} holds an unfinished store (no {CATALOGUE}): add convert.existing=overwrite")
    raise ConfigError(f"{root} is not empty and no tick store (no {CATALOGUE}); name another folder in {setting}")


def _check_same(instruments: tuple[Instrument, ...], kept: Catalogue, root: Path) -> None:
    known = {instrument.stream: instrument for instrument in kept.instruments}
    for instrument in instruments:
        if known.get(instrument.stream, instrument) != instrument:
            what = f"{instrument.stream} is stored as {known[instrument.stream]}, not as {instrument}; correct it"
            raise SchemaError(what, file=str(root))
