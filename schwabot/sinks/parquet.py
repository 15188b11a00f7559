"""Parquet files: signals, lag decisions and their mean curve, arbitrage windows, drift events, memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from schwabot.records.audit import StepRecord
from schwabot.sinks.base import RunHeader
from schwabot.sinks.gather import ROWS, Gathered
from schwabot.sinks.settings import AUTO_OFF_EVENTS, SinksConfig
from schwabot.sinks.tables import (
    ARBITRAGE,
    DRIFT,
    LAG_CURVE,
    MEMORY,
    TEXT,
    arbitrage_table,
    decisions_schema,
    decisions_table,
    drift_table,
    lag_curve_table,
    memory_table,
    signals_schema,
    signals_table,
)

ROWS_PER_GROUP = 65_536

MERGED = 64
"""Tables that wait are made into one at a time."""


class GrowingTable:
    """A Parquet file that is written row group by row group; the groups do not depend on the batches.

    Args:
        path: the file; written as ``<path>.part`` until it is closed.
        schema: its columns.
        rows_per_group: rows held in memory at most.
    """

    def __init__(self, path: Path, schema: pa.Schema, rows_per_group: int = ROWS_PER_GROUP) -> None:
        self._path = path
        self._part = path.with_name(path.name + ".part")
        self._rows_per_group = rows_per_group
        self._pending: list[pa.Table] = []
        self._pending_rows = 0
        text = [field.name for field in schema if field.type in (TEXT, pa.string())]
        self._writer = pq.ParquetWriter(self._part, schema, compression="zstd", use_dictionary=text)

    def append(self, table: pa.Table) -> None:
        """Add rows."""
        if table.num_rows == 0:
            return
        self._pending.append(table)
        self._pending_rows += table.num_rows
        if len(self._pending) % MERGED == 0:  # many tables of a few rows each take a hundred times their rows' memory
            self._pending[-MERGED:] = [pa.concat_tables(self._pending[-MERGED:]).combine_chunks()]
        if self._pending_rows >= self._rows_per_group:
            self._flush(self._pending_rows // self._rows_per_group * self._rows_per_group)

    def close(self) -> None:
        """Write what is left and put the file in its place."""
        if self._pending_rows:
            self._flush(self._pending_rows)
        self._writer.close()
        self._part.replace(self._path)

    def discard(self) -> None:
        """Leave no file behind."""
        self._writer.close()
        self._part.unlink()

    def _flush(self, rows: int) -> None:
        table = pa.concat_tables(self._pending).combine_chunks()
        self._writer.write_table(table.slice(0, rows), row_group_size=self._rows_per_group)
        rest = table.slice(rows)
        self._pending = [rest] if rest.num_rows else []
        self._pending_rows = rest.num_rows


class ParquetSink:
    """Writes the Parquet files of signals, lag decisions, the lag curve, arbitrage, drift and memory.

    Columns that look ahead start with ``realised_``. Rows of signals.parquet hold the answer for the row's own stream;
    no answer is null.

    Args:
        config: which rows of the signals are written.
        say: told in one line that ``signals=auto`` turned itself off.
        auto_off_events: events above which it does.
        held_rows: of small records, before tables are made of them.
    """

    def __init__(
        self, config: SinksConfig, say: Callable[[str], None] = print, auto_off_events: int = AUTO_OFF_EVENTS,
        held_rows: int = ROWS,
    ) -> None:  # fmt: skip
        self._say = say
        self._stride = config.signals_stride()
        self._limit = auto_off_events if config.signals == "auto" else None
        self._signals: GrowingTable | None = None
        self._decisions: GrowingTable | None = None
        self._gathered = Gathered(held_rows)
        self._ready: StepRecord | None = None

    def open(self, header: RunHeader) -> None:
        """Open the files that every run has."""
        self._dir = header.run_dir
        self._streams = pa.array([instrument.stream for instrument in header.instruments], pa.string())
        self._arbitrage = GrowingTable(self._dir / "arbitrage.parquet", ARBITRAGE)
        self._drift = GrowingTable(self._dir / "drift.parquet", DRIFT)
        self._memory = GrowingTable(self._dir / "memory.parquet", MEMORY)
        if self._limit is not None and (header.expected_events or 0) > self._limit:
            self._turn_off()
        if self._stride:
            self._signals = GrowingTable(self._dir / "signals.parquet", signals_schema(header.horizons_ms))

    def write(self, record: StepRecord) -> None:
        """Take one batch."""
        last = record.first_event + len(record.ts_recv_ns)
        if self._signals is not None and self._limit is not None and last > self._limit:
            self._signals.discard()
            self._signals = None
            self._turn_off()
        self._ready = self._gathered.add(record)
        self._append()

    def _append(self) -> None:
        record = self._ready
        if record is None:
            return
        if self._decisions is None:
            schema = decisions_schema(record.latencies_ms)
            self._decisions = GrowingTable(self._dir / "lag_decisions.parquet", schema)
        made = [(self._decisions, decisions_table(record)), (self._arbitrage, arbitrage_table(record)),
                (self._drift, drift_table(record))]  # fmt: skip
        if self._signals is not None:
            made.append((self._signals, signals_table(record, self._streams, self._stride)))
        if record.memory is not None:
            made.append((self._memory, memory_table(record.memory, record.key_bits)))
        self._ready = None  # a Ctrl-C before this costs nothing: ``close`` makes the tables again
        for file, table in made:
            file.append(table)

    def close(self, summary: Mapping[str, Any]) -> None:
        """Finish the files; the mean lag curve is taken from the summary."""
        self._append()
        self._ready = self._gathered.rest()
        self._append()
        for table in (self._signals, self._decisions, self._arbitrage, self._drift, self._memory):
            if table is not None:
                table.close()
        table = GrowingTable(self._dir / "lag_curve.parquet", LAG_CURVE)
        table.append(lag_curve_table(summary))
        table.close()

    def _turn_off(self) -> None:
        self._stride = 0
        self._say(
            f"no signals.parquet: more than {self._limit:,} events; sinks.signals=all or every_n writes it anyway"
        )
