"""Rows of a run's Parquet tables, page by page, in bounded memory.

Axis legend: N rows of a table.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from schwabot.records.market import Int64
from schwabot.server.problems import Problem

MOST_SORTED = 2_000_000
"""Rows that are sorted for a page; one column of so many is what is held in memory."""
BATCH = 16_384


@dataclass(frozen=True, slots=True)
class Page:
    """Some rows of a table.

    Attributes:
        columns: name → Arrow's name of the type.
        rows: a mapping each.
        total: rows of the whole table.
        next_row: where the next page begins; None at the end.
    """

    columns: dict[str, str]
    rows: list[dict[str, Any]]
    total: int
    next_row: int | None


def opened(path: Path) -> pq.ParquetFile:
    """A Parquet file.

    Raises:
        Problem: it is not whole, or something else.
    """
    try:
        path.as_posix().encode()
    except UnicodeEncodeError:  # pyarrow opens no such names
        source: Any = pa.BufferReader(path.read_bytes())
    else:
        source = path
    try:
        return pq.ParquetFile(source)
    except (OSError, pa.ArrowException) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0][:200]
        raise Problem(422, "unprocessable", f"{path.name} is no whole Parquet file: {first}") from None


def columns_of(file: pq.ParquetFile) -> dict[str, str]:
    """Name → type of what a file holds."""
    kinds = ((field.name, field.type) for field in file.schema_arrow)
    return {name: str(kind.value_type if pa.types.is_dictionary(kind) else kind) for name, kind in kinds}


def page(path: Path, columns: Sequence[str], sort: str, first: int, limit: int) -> Page:
    """Rows of a table.

    Args:
        path: of the file.
        columns: those that are wanted; none = all.
        sort: a column, with - before it for the largest first; empty = as they lie. What is missing comes last.
        first: row of that order to begin with.
        limit: rows at most.

    Raises:
        Problem: no whole file, no such column, or too many rows to sort.
    """
    with opened(path) as file:
        has = columns_of(file)
        wanted = list(dict.fromkeys(columns)) or list(has)
        for name in (*wanted, *([sort.removeprefix("-")] if sort else [])):
            if name not in has:
                here = ", ".join(has)
                raise Problem(422, "unprocessable", f"{path.name} has no column {name[:100]!r}", f"there are: {here}")
        total = file.metadata.num_rows
        last = min(first + limit, total)
        try:
            places = _order(file, sort, total)[first:last] if sort else np.arange(first, last, dtype=np.int64)
            rows = _take(file, wanted, places)
        except (OSError, pa.ArrowException) as error:
            raise Problem(422, "unprocessable", f"{path.name} can't be read: {str(error)[:200]}") from None
    return Page({name: has[name] for name in wanted}, rows, total, last if last < total else None)


def _order(file: pq.ParquetFile, sort: str, total: int) -> Int64:
    """Rows by a column, ties as they lie, missing ones last. [N]."""
    if total > MOST_SORTED:
        raise Problem(
            422, "too_large", f"{total:,} rows are too many to sort: {MOST_SORTED:,} at most", "leave sort out"
        )
    name = sort.removeprefix("-")
    column = file.read(columns=[name])[name]
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)
    order = "descending" if sort.startswith("-") else "ascending"
    table = pa.table({"by": column, "row": np.arange(total)})
    # The row number makes the order one and the same on every page.
    by = [("by", order), ("row", "ascending")]
    places: Int64 = pc.sort_indices(table, by).to_numpy().astype(np.int64)
    return places


def _take(file: pq.ParquetFile, columns: list[str], places: Int64) -> list[dict[str, Any]]:
    """These rows, in this order; of the file only what holds them is read, a batch at a time."""
    wanted = np.sort(places)
    parts: list[pa.Table] = []
    for start, batch in _batches(file, columns, wanted):
        inside = wanted[(wanted >= start) & (wanted < start + batch.num_rows)] - start
        if len(inside):
            parts.append(pa.Table.from_batches([batch.take(pa.array(inside))]))
    if not parts:
        return []
    table = pa.concat_tables([part.unify_dictionaries() for part in parts])
    back = np.empty(len(places), np.int64)
    back[np.argsort(places, kind="stable")] = np.arange(len(places))
    return [{name: plain(value) for name, value in row.items()} for row in table.take(pa.array(back)).to_pylist()]


def _batches(file: pq.ParquetFile, columns: list[str], wanted: Int64) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Batches of the row groups that hold any of the wanted rows, each with the number of its first row."""
    start = 0
    for group in range(file.num_row_groups):
        count = file.metadata.row_group(group).num_rows
        lowest, beyond = np.searchsorted(wanted, (start, start + count))
        if beyond > lowest:
            at, last = start, int(wanted[beyond - 1])
            for batch in file.iter_batches(BATCH, row_groups=[group], columns=columns):
                yield at, batch
                at += batch.num_rows
                if at > last:
                    break
        start += count


def plain(value: Any) -> Any:
    """A value as JSON has it: no NaN or infinity, decimals as numbers, else text.

    Example:
        >>> [plain(one) for one in (float("nan"), Decimal("0.10"), 3, None, b"x")]
        [None, 0.1, 3, None, "b'x'"]
    """
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)
