"""Arrow tables in memory, for the Python API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from schwabot.records.audit import StepRecord
from schwabot.sinks.base import RunHeader
from schwabot.sinks.summary import plain
from schwabot.sinks.tables import (
    ARBITRAGE,
    DRIFT,
    MEMORY,
    arbitrage_table,
    decisions_schema,
    decisions_table,
    drift_table,
    lag_curve_table,
    memory_table,
    signals_schema,
    signals_table,
    wide_table,
)


class ArrowSink:
    """Keeps in memory what ``ParquetSink`` and ``SummarySink`` write.

    Args:
        stride: every how many events a row of signals is kept; 0 = none.
        wide: fields of ``SignalColumns`` of which every stream's answer is kept per event.

    Example:
        >>> sink = ArrowSink()
        >>> sink.close({"events": 0})
        >>> sink.signals.num_rows, sink.summary
        (0, {'events': 0})
    """

    def __init__(self, stride: int = 1, wide: Sequence[str] = ()) -> None:
        self._stride = stride
        self._columns = tuple(wide)
        self._parts: dict[str, list[pa.Table]] = {}
        self._decisions = decisions_schema([])
        self._horizons_ms: tuple[float, ...] = ()

    def open(self, header: RunHeader) -> None:
        """Learn the streams."""
        self._streams = pa.array([instrument.stream for instrument in header.instruments], pa.string())
        self._horizons_ms = header.horizons_ms

    def write(self, record: StepRecord) -> None:
        """Take one batch."""
        if self._stride:
            self._add("signals", signals_table(record, self._streams, self._stride))
        if self._columns:
            self._add("wide", wide_table(record, self._columns))
        self._decisions = decisions_schema(record.latencies_ms)
        self._add("decisions", decisions_table(record))
        self._add("arbitrage", arbitrage_table(record))
        self._add("drift", drift_table(record))
        if record.memory is not None:
            self._add("memory", memory_table(record.memory, record.key_bits))

    def close(self, summary: Mapping[str, Any]) -> None:
        """Join what was kept; the mean lag curve is taken from the summary."""
        self.signals = self._join("signals", signals_schema(self._horizons_ms))
        self.lag_decisions = self._join("decisions", self._decisions)
        self.arbitrage = self._join("arbitrage", ARBITRAGE)
        self.drift = self._join("drift", DRIFT)
        self.memory = self._join("memory", MEMORY)
        self.wide: pa.Table | None = pa.concat_tables(self._parts["wide"]) if "wide" in self._parts else None
        self.lag_curve = lag_curve_table(summary)
        self.summary: dict[str, Any] = plain(summary)
        self._parts = {}

    def _add(self, name: str, table: pa.Table) -> None:
        if table.num_rows or name == "wide":
            self._parts.setdefault(name, []).append(table)

    def _join(self, name: str, schema: pa.Schema) -> pa.Table:
        parts = self._parts.get(name)
        return pa.concat_tables(parts) if parts else schema.empty_table()
