"""Rows of one table file, CSV or Parquet, in bounded memory and with their line numbers.

Axis legend: N rows.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from schwabot.errors import (
    BadPriceError,
    BadTimeError,
    CorruptFileError,
    DataError,
    EmptyFileError,
    MalformedLineError,
    SchemaError,
)
from schwabot.records.market import MISSING_NS, Float64, Int8, Int64, Kind
from schwabot.ticks.presets import ColumnMap, columns_hint
from schwabot.ticks.table_lines import Lines, Pipe
from schwabot.ticks.table_values import numbers, sides, text_of, time_unit_of, times_ns

CSV_BLOCK_BYTES = 4 << 20
PARQUET_ROWS = 65_536
LEAVE_OUT = "leave it out, or pass over it with source.policy.empty_file=drop"
_NUMBERS = ("bid", "ask", "bid_qty", "ask_qty", "price", "qty")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows as the file has them: prices in currency, quantities in its own unit, unchecked.

    Attributes:
        line: 1-based line (CSV) or row. [N]
        recv_ns, event_ns, emit_ns: times, MISSING_NS where there is none. [N]
        kind: QUOTE or TRADE. [N]
        bid, ask, bid_qty, ask_qty, price, qty: NaN where there is none. [N]
        side: +1, -1 or 0. [N]
        faults: what is wrong with a row, by its index here; lines that are not even a row have index -1.
    """

    line: Int64
    recv_ns: Int64
    event_ns: Int64
    emit_ns: Int64
    kind: Int8
    bid: Float64
    ask: Float64
    bid_qty: Float64
    ask_qty: Float64
    price: Float64
    qty: Float64
    side: Int8
    faults: list[tuple[int, DataError]]


class TableFile(Protocol):
    """One file, read front to back any number of times."""

    path: Path

    def rows(self) -> Iterator[Rows]:
        """Yield rows in order; raises CorruptFileError after the last good one."""
        ...

    def streams(self) -> list[str]:
        """Values of the stream column; empty without one."""
        ...

    def progress(self) -> float:
        """Share read so far."""
        ...


class CsvFile:
    """A CSV file, plain, gzip or zip. Lines that hold nothing are passed over.

    Args:
        path: the file.
        columns: which column holds what.
        names: columns, for a file without a header line; such a file starts with a number.
        delimiter: between cells.
        time_unit: s, ms, us, ns, iso or auto.
        only: rows of this value of the stream column; None = all.
        report_skipped: report lines that are no rows; once is enough when a file is read once per stream.
        sole: columns, where there, of which all rows hold one value.

    Raises:
        EmptyFileError: not even a header line.
        SchemaError: a column that the file does not have; lists those it has.
        CorruptFileError: not even the first line can be read.
    """

    def __init__(
        self,
        path: Path,
        columns: ColumnMap,
        *,
        names: tuple[str, ...] = (),
        delimiter: str = ",",
        time_unit: str = "auto",
        only: str | None = None,
        report_skipped: bool = True,
        sole: tuple[str, ...] = (),
    ) -> None:
        self.path = path
        self.columns = columns
        self.delimiter = delimiter
        self.only = only
        self.report_skipped = report_skipped
        self._decoder = _Decoder(path, columns, time_unit)
        self._lines: Lines | None = None
        lines = Lines(path)
        first = next((block[0] for block in lines.blocks()), b"").decode("utf-8-sig", "replace")
        if re.match(r'\s*(\d{9,}\s+)?\{\s*"', first):
            what = "lines of JSON, no table; is this a capture? It looks like a recording: source=capture"
            raise SchemaError(what, file=str(path), line=1)
        cells = next(csv.reader([first], delimiter=delimiter), [])
        if not cells and lines.error is not None:
            raise lines.error
        if not cells:
            raise EmptyFileError(f"the file is empty, not even a header line: {LEAVE_OUT}", file=str(path))
        self._named = bool(names) and _is_number(cells[0])
        if self._named and len(cells) > len(names):
            what = f"no header line and {len(cells)} columns, of which {len(names)} are known: {', '.join(names)}"
            raise SchemaError(what, file=str(path))
        self._names = list(names[: len(cells)]) if self._named else cells
        _check_columns(columns, self._names, path, delimiter)
        self._decoder.sole = tuple(name for name in sole if name in self._names)

    def rows(self) -> Iterator[Rows]:
        """Yield rows in order; raises CorruptFileError after the last good one."""
        for batch, line, skipped in self._batches():
            if self.only is not None:
                wanted = np.flatnonzero(_equal(batch.column(self.columns.stream), self.only))
                batch, line = batch.take(pa.array(wanted)), line[wanted]
            yield self._decoder.decode(batch, line, skipped if self.report_skipped else [])

    def streams(self) -> list[str]:
        """Values of the stream column; empty without one."""
        return _values(self.columns.stream, (batch for batch, _, _ in self._batches()))

    def progress(self) -> float:
        """Share of the bytes on disk read so far."""
        return self._lines.progress() if self._lines else 0.0

    def _batches(self) -> Iterator[tuple[pa.RecordBatch, Int64, list[tuple[int, DataError]]]]:
        """Mapped columns as text, their lines, and the lines that are no rows."""
        self._lines = lines = Lines(self.path)
        pipe = Pipe(lines)
        skipped: list[tuple[int, DataError]] = []
        done, next_line = 0, 1 if self._named else 2

        def skip(row: pacsv.InvalidRow) -> str:
            what = f"{row.actual_columns} cells instead of {row.expected_columns}: {row.text[:80]!r}"
            skipped.append((row.number, MalformedLineError(what, file=str(self.path), line=row.number)))
            return "skip"

        mapped = _mapped(self.columns, self._decoder.sole)
        try:
            reader = pacsv.open_csv(
                pipe,
                read_options=pacsv.ReadOptions(
                    use_threads=False,
                    block_size=CSV_BLOCK_BYTES,
                    column_names=self._names,
                    skip_rows=0 if self._named else 1,
                ),
                parse_options=pacsv.ParseOptions(
                    delimiter=self.delimiter, ignore_empty_lines=False, invalid_row_handler=skip
                ),
                convert_options=pacsv.ConvertOptions(
                    check_utf8=False,
                    include_columns=mapped,
                    column_types=dict.fromkeys(mapped, pa.string()),
                    null_values=[],
                    strings_can_be_null=False,
                ),
            )
            for batch in reader:
                if batch.num_rows:
                    ready = skipped[done:]
                    line, before = _lines_of(batch.num_rows, next_line, [number for number, _ in ready])
                    done, next_line = done + before, int(line[-1]) + 1
                    yield *_without_blank(batch, line), ready[:before]
        except pa.ArrowInvalid as error:
            if lines.error is None and "Empty CSV" not in str(error):
                raise CorruptFileError(f"is no CSV ({error})", file=str(self.path)) from error
        if len(skipped) > done:
            nothing = pa.RecordBatch.from_pydict({name: pa.array([], pa.string()) for name in mapped})
            yield nothing, np.empty(0, dtype=np.int64), skipped[done:]
        if lines.error is not None:
            raise lines.error


class ParquetFile:
    """A Parquet file.

    Args:
        path: the file.
        columns: which column holds what.
        time_unit: of time columns that are numbers or text.
        only: rows of this value of the stream column; None = all.
        sole: columns, where there, of which all rows hold one value.

    Raises:
        SchemaError: a column that the file does not have; lists those it has.
        CorruptFileError: no Parquet file, or one that is damaged.
    """

    def __init__(
        self,
        path: Path,
        columns: ColumnMap,
        *,
        time_unit: str = "auto",
        only: str | None = None,
        sole: tuple[str, ...] = (),
    ) -> None:
        self.path = path
        self.columns = columns
        self.only = only
        self._decoder = _Decoder(path, columns, time_unit)
        self._read = 0
        with self._open() as parquet:
            self._rows = parquet.metadata.num_rows
            _check_columns(columns, parquet.schema_arrow.names, path)
            self._decoder.sole = tuple(name for name in sole if name in parquet.schema_arrow.names)

    def rows(self) -> Iterator[Rows]:
        """Yield rows in order; raises CorruptFileError after the last good one."""
        for batch, line in self._batches():
            if self.only is not None:
                wanted = np.flatnonzero(_equal(batch.column(self.columns.stream), self.only))
                batch, line = batch.take(pa.array(wanted)), line[wanted]
            yield self._decoder.decode(batch, line, [])

    def streams(self) -> list[str]:
        """Values of the stream column; empty without one."""
        return _values(self.columns.stream, (batch for batch, _ in self._batches()))

    def progress(self) -> float:
        """Share of the rows read so far."""
        return self._read / self._rows if self._rows else 1.0

    def _open(self) -> pq.ParquetFile:
        try:
            return pq.ParquetFile(self.path)
        except (pa.ArrowException, OSError) as error:
            raise CorruptFileError(f"is no whole Parquet file ({error})", file=str(self.path)) from error

    def _batches(self) -> Iterator[tuple[pa.RecordBatch, Int64]]:
        self._read = 0
        with self._open() as parquet:
            batches = parquet.iter_batches(PARQUET_ROWS, columns=_mapped(self.columns, self._decoder.sole))
            while True:
                try:
                    batch = next(batches, None)
                except (pa.ArrowException, OSError) as error:
                    what = f"can't be read after row {self._read} ({error})"
                    raise CorruptFileError(what, file=str(self.path), line=self._read + 1) from error
                if batch is None:
                    return
                plain = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in batch.columns]
                batch = pa.RecordBatch.from_arrays(plain, names=batch.schema.names)
                yield batch, np.arange(self._read + 1, self._read + 1 + batch.num_rows)
                self._read += batch.num_rows


class _Decoder:
    """Turns batches of mapped columns into ``Rows``."""

    def __init__(self, path: Path, columns: ColumnMap, time_unit: str) -> None:
        self.path = path
        self.columns = columns
        self.time_unit = time_unit
        self._units: dict[str, str] = {}
        self.sole: tuple[str, ...] = ()
        self._first: dict[str, str] = {}

    def decode(self, batch: pa.RecordBatch, line: Int64, skipped: list[tuple[int, DataError]]) -> Rows:
        n = batch.num_rows
        found: dict[int, DataError] = {}
        self._sole_values(batch, line, found)
        times = {role: self._times(batch, role, line, found) for role in ("time", "event_time", "emit_time")}
        values: dict[str, Float64] = {}
        empty: dict[str, npt.NDArray[np.bool_]] = {}
        for role in _NUMBERS:
            values[role], empty[role] = self._numbers(batch, role, line, found)
        kind = self._kinds(line, empty, found)
        quote, trade = kind == Kind.QUOTE, kind == Kind.TRADE
        for role in _NUMBERS:
            wanted = trade if role in ("price", "qty") else quote
            if getattr(self.columns, role):
                self._fault(empty[role] & wanted, BadPriceError, f"{role} is missing", line, found)
            values[role] = np.where(wanted, values[role], np.nan)
        side = np.zeros(n, dtype=np.int8)
        for role in ("side", "buyer_maker"):
            name = getattr(self.columns, role)
            if name:
                side, ok = sides(batch.column(name), buyer_maker=role == "buyer_maker")
                self._unreadable(~ok & trade, batch, role, line, found)
                side = np.where(trade, side, 0).astype(np.int8)
        faults = [(-1, error) for _, error in skipped] + sorted(found.items())
        faults.sort(key=lambda one: one[1].line or 0)
        return Rows(
            line, times["time"], times["event_time"], times["emit_time"], kind, side=side, faults=faults, **values
        )

    def _sole_values(self, batch: pa.RecordBatch, line: Int64, found: dict[int, DataError]) -> None:
        """Find rows of another instrument than the first row's."""
        for name in self.sole if batch.num_rows else ():
            column = batch.column(name)
            first = self._first.setdefault(name, text_of(column[0]))
            other = ~_equal(column, first)
            if other.any():
                values = sorted({first} | {text_of(one) for one in column.unique()})
                shown = ", ".join(values[:8]) + (", ..." if len(values) > 8 else "")
                what = f"column {name!r} has several values ({shown}): one stream is one instrument; split the file"
                if not self.columns.stream:
                    what += f", or state source.columns.stream={name} to read every {name} as a stream of its own"
                self._fault(other, SchemaError, what, line, found)

    def _times(self, batch: pa.RecordBatch, role: str, line: Int64, found: dict[int, DataError]) -> Int64:
        name = getattr(self.columns, role)
        if not name:
            return np.full(batch.num_rows, MISSING_NS)
        column = batch.column(name)
        try:
            if role not in self._units and batch.num_rows:
                self._units[role] = time_unit_of(column) if self.time_unit == "auto" else self.time_unit
            stamps, ok = times_ns(column, self._units.get(role, "ns"))
        except (SchemaError, BadTimeError) as error:
            raise type(error)(f"{name}: {error.what}", file=str(self.path)) from None
        self._unreadable(~ok, batch, role, line, found)
        if role == "time":
            self._fault(ok & (stamps == MISSING_NS), MalformedLineError, "time is missing", line, found)
        return stamps

    def _numbers(
        self, batch: pa.RecordBatch, role: str, line: Int64, found: dict[int, DataError]
    ) -> tuple[Float64, npt.NDArray[np.bool_]]:
        name = getattr(self.columns, role)
        if not name:
            return np.full(batch.num_rows, np.nan), np.ones(batch.num_rows, dtype=np.bool_)
        try:
            cells = numbers(batch.column(name))
        except pa.ArrowException as error:
            raise SchemaError(
                f"{name} of type {batch.column(name).type} holds no numbers", file=str(self.path)
            ) from error
        self._unreadable(cells.unreadable, batch, role, line, found)
        return cells.values, cells.empty

    def _kinds(self, line: Int64, empty: dict[str, npt.NDArray[np.bool_]], found: dict[int, DataError]) -> Int8:
        if not self.columns.bid:
            return np.full(len(line), Kind.TRADE, dtype=np.int8)
        if not self.columns.price:
            return np.full(len(line), Kind.QUOTE, dtype=np.int8)
        trade = ~empty["price"]
        both = trade & ~(empty["bid"] & empty["ask"])
        self._fault(both, MalformedLineError, "fills both price and bid or ask: a quote or a trade?", line, found)
        return np.where(trade, Kind.TRADE, Kind.QUOTE).astype(np.int8)

    def _unreadable(
        self, bad: npt.NDArray[np.bool_], batch: pa.RecordBatch, role: str, line: Int64, found: dict[int, DataError]
    ) -> None:
        for row in np.flatnonzero(bad).tolist():
            name = getattr(self.columns, role)
            shown = text_of(batch.column(name)[row])[:80]
            what = f"{name}={shown!r} can't be read as {role.replace('_', ' ')}"
            what += ": write decimals with a point" if role in _NUMBERS and "," in shown else ""
            if role in self._units:
                unit = self._units[role]
                what += f" in {unit} since 1970" if unit != "iso" else ""
                what += "; times are text as 2024-08-09 23:59:01.5 or 2024-08-09T23:59:01Z, or s, ms, us or ns since"
                what += " 1970, the same in all of a file: see source.time_unit"
            found.setdefault(row, MalformedLineError(what, file=str(self.path), line=int(line[row])))

    def _fault(
        self, bad: npt.NDArray[np.bool_], kind: type[DataError], what: str, line: Int64, found: dict[int, DataError]
    ) -> None:
        for row in np.flatnonzero(bad).tolist():
            found.setdefault(row, kind(what, file=str(self.path), line=int(line[row])))


def _lines_of(rows: int, first: int, skipped: list[int]) -> tuple[Int64, int]:
    """Lines of the next rows, and how many of the skipped lines lie before the last of them.

    Example:
        >>> _lines_of(3, 2, [3, 9])
        (array([2, 4, 5]), 1)
    """
    line = np.setdiff1d(np.arange(first, first + rows + len(skipped)), skipped)[:rows]
    return line, int(np.searchsorted(skipped, line[-1])) if rows else 0


def _without_blank(batch: pa.RecordBatch, line: Int64) -> tuple[pa.RecordBatch, Int64]:
    """Pass over lines that hold nothing."""
    blank = np.ones(batch.num_rows, dtype=np.bool_)
    for column in batch.columns:
        blank &= pc.equal(pc.binary_length(column), 0).to_numpy(zero_copy_only=False)
        if not blank.any():
            return batch, line
    kept = np.flatnonzero(~blank)
    return batch.take(pa.array(kept)), line[kept]


def _mapped(columns: ColumnMap, sole: tuple[str, ...]) -> list[str]:
    named = [*(getattr(columns, one.name) for one in fields(ColumnMap)), *sole]
    return list(dict.fromkeys(name for name in named if name))


def _check_columns(columns: ColumnMap, there: list[str], path: Path, delimiter: str = "") -> None:
    for one in fields(ColumnMap):
        name = getattr(columns, one.name)
        if name and name not in there:
            what = f"no column {name!r} (source.columns.{one.name}); it has {', '.join(map(repr, there[:30]))[:600]}"
            raise SchemaError(what + columns_hint(there, delimiter), file=str(path))
        if name and there.count(name) > 1:
            raise SchemaError(f"column {name!r} is there {there.count(name)} times", file=str(path))


def _equal(column: pa.Array, value: str) -> npt.NDArray[np.bool_]:
    coded = column.dictionary_encode()
    same: npt.NDArray[np.bool_] = np.array([text_of(one) == value for one in coded.dictionary], dtype=np.bool_)
    index: Int64 = coded.indices.to_numpy(zero_copy_only=False)
    return same[index]


def _values(name: str, batches: Iterator[pa.RecordBatch]) -> list[str]:
    if not name:
        return []
    found: set[str] = set()
    for batch in batches:
        found.update(text_of(one) for one in batch.column(name).unique())
    return sorted(found)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
