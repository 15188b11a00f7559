"""What the files of a tick store look like: names, columns and the catalogue.

Axis legend: N rows of one stream, M depth rows with levels, K book levels.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa

from schwabot.errors import CorruptFileError, SchemaError
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, BookLevels, Gap, Int64, Ticks
from schwabot.ticks.store_place import StorePlace

FORMAT = 1
CATALOGUE = "_store.json"
DAY_NS = 86_400_000_000_000
STAMPS = ("ts_event_ns", "ts_emit_ns")
INT64_COLUMNS = (
    "bid_ticks",
    "ask_ticks",
    "bid_lots",
    "ask_lots",
    "price_ticks",
    "qty_lots",
)
INT8_COLUMNS = ("kind", "side")
LEVELS = ("bid_ticks", "bid_lots", "ask_ticks", "ask_lots")


@dataclass(frozen=True, slots=True)
class StoredFile:
    """One finished file of the store.

    Attributes:
        path: below the root, with ``/``.
        stream: whose rows it holds.
        rows: how many.
        first_line: line of its first row within the stream.
        first_ns, last_ns: receive times of its first and last row.
    """

    path: str
    stream: str
    rows: int
    first_line: int
    first_ns: int
    last_ns: int


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What ``_store.json`` says.

    Attributes:
        instruments: by stream name.
        files: in reading order.
        levels: book levels K, 0 = none.
        gaps: where rows are known to be missing, in the order in which that was learnt.
        ghost_chain: a run that answers with the ghost's chain of fallbacks wrote it.
    """

    instruments: tuple[Instrument, ...]
    files: tuple[StoredFile, ...]
    levels: int = 0
    gaps: tuple[Gap, ...] = ()
    ghost_chain: bool = False


def folder_of(instrument: Instrument, ts_ns: int) -> str:
    """Hive partition of a row: names percent-encoded, day of receipt in UTC.

    Example:
        >>> folder_of(Instrument("binanceusdm:BTC/USDT:USDT", 0.1, 0.001), 1_723_161_600_000_000_000)
        'venue=binanceusdm/symbol=BTC%2FUSDT%3AUSDT/date=2024-08-09'
    """
    venue, symbol = quote(instrument.venue, safe=""), quote(instrument.symbol, safe="")
    day = datetime.fromtimestamp(ts_ns // DAY_NS * 86_400, UTC).date()
    return f"venue={venue}/symbol={symbol}/date={day.isoformat()}"


def schema_of(levels: int) -> pa.Schema:
    """Columns of every file; a stamp the venue does not give is null, as are the levels of rows without.

    Example:
        >>> schema_of(0).names[:5]
        ['line', 'ts_recv_ns', 'ts_event_ns', 'ts_emit_ns', 'kind']
    """
    columns = [pa.field("line", pa.int64(), nullable=False), pa.field("ts_recv_ns", pa.int64(), nullable=False)]
    columns += [pa.field(name, pa.int64()) for name in STAMPS]
    columns += [pa.field(name, pa.int8(), nullable=False) for name in INT8_COLUMNS]
    columns += [pa.field(name, pa.int64(), nullable=False) for name in INT64_COLUMNS]
    columns += [pa.field(f"{name}_{k}", pa.int64()) for k in range(1, levels + 1) for name in LEVELS]
    return pa.schema(columns)


def to_table(ticks: Ticks, first_line: int, levels: int) -> pa.Table:
    """Rows of one stream as a table of ``schema_of(levels)``. [N]."""
    n = len(ticks)
    arrays = [pa.array(np.arange(first_line, first_line + n)), pa.array(ticks.ts_recv_ns)]
    for name in STAMPS:
        stamps = getattr(ticks, name)
        arrays.append(pa.array(stamps, mask=stamps == MISSING_NS))
    arrays += [pa.array(getattr(ticks, name)) for name in INT8_COLUMNS + INT64_COLUMNS]
    if levels:
        missing = np.ones(n, dtype=np.bool_)
        book = ticks.levels
        if book is not None:
            missing[book.row] = False
        for k in range(levels):
            for name in LEVELS:
                values = np.zeros(n, dtype=np.int64)
                if book is not None:
                    values[book.row] = getattr(book, name)[:, k]
                arrays.append(pa.array(values, mask=missing))
    return pa.Table.from_arrays(arrays, schema=schema_of(levels))


def from_batch(
    batch: pa.RecordBatch, instruments: tuple[Instrument, ...], stream: int, levels: int
) -> tuple[Ticks, Int64]:
    """Turn rows of one file back into ticks, with their lines.

    Args:
        batch: rows, with or without level columns.
        instruments: of the whole feed.
        stream: index of the file's stream in it.
        levels: K of the store; 0 = none.
    """
    n = batch.num_rows
    columns = {name: _ints(batch, name, np.dtype(np.int64)) for name in ("ts_recv_ns", *STAMPS, *INT64_COLUMNS)}
    columns |= {name: _ints(batch, name, np.dtype(np.int8)) for name in INT8_COLUMNS}
    ticks = Ticks(
        instruments=instruments,
        stream=np.full(n, stream, dtype=np.int32),
        levels=_levels(batch, levels) if levels else None,
        **columns,
    )
    return ticks, _ints(batch, "line", np.dtype(np.int64))


def _ints(batch: pa.RecordBatch, name: str, dtype: np.dtype[Any]) -> Any:
    column = batch.column(name)
    if column.null_count:
        column = column.fill_null(MISSING_NS)
    return np.array(column.to_numpy(zero_copy_only=False), dtype=dtype)


def _levels(batch: pa.RecordBatch, levels: int) -> BookLevels:
    if f"{LEVELS[0]}_1" not in batch.schema.names:
        none = {name: np.empty((0, levels), dtype=np.int64) for name in LEVELS}
        return BookLevels(row=np.empty(0, dtype=np.int64), **none)
    there = batch.column(f"{LEVELS[0]}_1").is_valid().to_numpy(zero_copy_only=False)
    row = np.flatnonzero(there).astype(np.int64)
    picked = {
        name: np.stack([_ints(batch, f"{name}_{k}", np.dtype(np.int64))[row] for k in range(1, levels + 1)], axis=1)
        for name in LEVELS
    }
    return BookLevels(row=row, **picked)


def write_catalogue(root: Path, catalogue: Catalogue) -> None:
    """Replace ``_store.json`` at once, so that a reader sees the old one or the new one."""
    content = {
        "format": FORMAT,
        "levels": catalogue.levels,
        "instruments": [asdict(instrument) for instrument in catalogue.instruments],
        "files": [asdict(file) for file in catalogue.files],
        "gaps": [asdict(gap) for gap in catalogue.gaps],
        "ghost_chain": catalogue.ghost_chain,
    }
    temporary = root / f".{CATALOGUE}.{os.getpid()}.tmp"
    temporary.write_text(json.dumps(content, indent=1))
    finish(temporary, root / CATALOGUE)


def finish(temporary: Path, final: Path) -> None:
    """Flush a file to disk and give it its name; after a crash it is whole or not there."""
    _sync(temporary)
    os.replace(temporary, final)
    if os.name == "posix":  # elsewhere a folder can't be opened
        _sync(final.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_catalogue(root: Path | StorePlace) -> Catalogue:
    """Read ``_store.json``.

    Raises:
        CorruptFileError: there is none, or it does not parse.
        SchemaError: it was written by another version of the format.
    """
    place = StorePlace(str(root)) if isinstance(root, Path) else root
    path = place.name(CATALOGUE)
    try:
        content = json.loads(place.text(CATALOGUE))
    except FileNotFoundError:
        what = f"no {CATALOGUE} in it: not a tick store, or mode=convert did not finish; convert again"
        raise CorruptFileError(what, file=str(root)) from None
    except NotADirectoryError:
        raise CorruptFileError("is a file, not the folder of a tick store", file=str(root)) from None
    except OSError as error:
        if error.filename is not None:
            raise
        raise CorruptFileError(f"can't be read ({error})", file=path) from error  # of another machine
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise CorruptFileError(f"does not parse ({error}); convert again", file=path) from error
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise SchemaError(f"store format {found!r}, this version reads {FORMAT}; convert again", file=path)
    try:
        return Catalogue(
            instruments=tuple(Instrument(**one) for one in content["instruments"]),
            files=tuple(StoredFile(**one) for one in content["files"]),
            levels=content["levels"],
            gaps=tuple(Gap(**one) for one in content.get("gaps", ())),  # stores of before have none
            ghost_chain=content.get("ghost_chain", False),
        )
    except (KeyError, TypeError) as error:
        raise SchemaError(f"an entry is missing or unknown ({error}); convert again", file=path) from error
