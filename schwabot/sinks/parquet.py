"""Parquet tables: signals, lag decisions and their mean curve, arbitrage windows, drift events.

Axis legend: N rows of a batch, V streams, L latencies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from schwabot.records.audit import DriftStatus, Lane, Route, StepRecord
from schwabot.records.market import MISSING_NS, Float64, Int8, Int32, Int64
from schwabot.sinks.base import RunHeader
from schwabot.sinks.settings import AUTO_OFF_EVENTS, SinksConfig

ROWS_PER_GROUP = 65_536
TEXT = pa.dictionary(pa.int32(), pa.string())
SIGNALS = pa.schema(
    [
        pa.field("ts_recv_ns", pa.int64(), nullable=False),
        pa.field("ts_event_ns", pa.int64()),
        pa.field("stream", TEXT, nullable=False),
        pa.field("ghost_bp", pa.float64()),
        pa.field("deviation_bp", pa.float64()),
        pa.field("phase_bp", pa.float64()),
        pa.field("drift", pa.float64()),
        pa.field("key", pa.string()),
        pa.field("entropy", pa.float64()),
        pa.field("echo_bp", pa.float64()),
        pa.field("expected_lag_bp", pa.float64()),
        pa.field("snr", pa.float64()),
        pa.field("bits", pa.float64()),
        pa.field("voltage", pa.float64()),
        pa.field("lane", TEXT),
    ]
)
ARBITRAGE = pa.schema(
    [
        ("kind", TEXT),
        ("buy", TEXT),
        ("sell", TEXT),
        ("start_ns", pa.int64()),
        ("end_ns", pa.int64()),
        ("edge_bp", pa.float64()),
        ("qty_base", pa.float64()),
    ]
)
DRIFT = pa.schema(
    [
        ("ts_recv_ns", pa.int64()),
        ("stream", TEXT),
        ("what", TEXT),
        ("before", TEXT),
        ("after", TEXT),
        ("drift", pa.float64()),
    ]
)
LAG_CURVE = pa.schema(
    [
        ("stream", TEXT),
        ("latency_ms", pa.float64()),
        ("realised_mean_bp", pa.float64()),
        ("n", pa.int64()),
        ("realised_ci_low_bp", pa.float64()),
        ("realised_ci_high_bp", pa.float64()),
    ]
)


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
    """Writes signals.parquet, lag_decisions.parquet, lag_curve.parquet, arbitrage.parquet and drift.parquet.

    Columns that look ahead start with ``realised_``. Rows of signals.parquet hold the answer for the row's own stream;
    no answer is null.

    Args:
        config: which rows of the signals are written.
        say: told in one line that ``signals=auto`` turned itself off.
        auto_off_events: events above which it does.
    """

    def __init__(
        self, config: SinksConfig, say: Callable[[str], None] = print, auto_off_events: int = AUTO_OFF_EVENTS
    ) -> None:
        self._say = say
        self._stride = config.signals_stride()
        self._limit = auto_off_events if config.signals == "auto" else None
        self._signals: GrowingTable | None = None
        self._decisions: GrowingTable | None = None

    def open(self, header: RunHeader) -> None:
        """Open the files that every run has."""
        self._dir = header.run_dir
        self._streams = pa.array([instrument.stream for instrument in header.instruments], pa.string())
        self._names = [instrument.stream for instrument in header.instruments]
        self._arbitrage = GrowingTable(self._dir / "arbitrage.parquet", ARBITRAGE)
        self._drift = GrowingTable(self._dir / "drift.parquet", DRIFT)
        if self._limit is not None and (header.expected_events or 0) > self._limit:
            self._turn_off()
        if self._stride:
            self._signals = GrowingTable(self._dir / "signals.parquet", SIGNALS)

    def write(self, record: StepRecord) -> None:
        """Take one batch."""
        if self._signals is not None:
            if self._limit is not None and record.first_event + len(record.ts_recv_ns) > self._limit:
                self._signals.discard()
                self._signals = None
                self._turn_off()
            else:
                self._signals.append(signals_table(record, self._streams, self._stride))
        self._write_decisions(record)
        self._write_arbitrage(record)
        self._write_drift(record)

    def close(self, summary: Mapping[str, Any]) -> None:
        """Finish the files; the mean lag curve is taken from ``summary["lag_curve"]``."""
        for table in (self._signals, self._decisions, self._arbitrage, self._drift):
            if table is not None:
                table.close()
        curve = summary.get("lag_curve") or {}
        rows = [
            (stream, float(latency), cell["mean"], cell["n"], cell["ci_low"], cell["ci_high"])
            for stream, cells in curve.items()
            for latency, cell in cells.items()
        ]
        columns = list(zip(*rows, strict=True)) or [()] * len(LAG_CURVE)
        arrays = [
            pa.array(values, field.type.value_type if field.type == TEXT else field.type, from_pandas=True)
            for values, field in zip(columns, LAG_CURVE, strict=True)
        ]
        arrays[0] = arrays[0].dictionary_encode()
        table = GrowingTable(self._dir / "lag_curve.parquet", LAG_CURVE)
        table.append(pa.table(arrays, schema=LAG_CURVE))
        table.close()

    def _turn_off(self) -> None:
        self._stride = 0
        self._say(
            f"no signals.parquet: more than {self._limit:,} events; sinks.signals=all or every_n writes it anyway"
        )

    def _write_decisions(self, record: StepRecord) -> None:
        decisions = record.decisions
        if self._decisions is None:
            self._decisions = GrowingTable(self._dir / "lag_decisions.parquet", _decisions_schema(record.latencies_ms))
        if not len(decisions.ts_ns):
            return
        columns = [
            pa.array(decisions.ts_ns),
            _text(decisions.stream, self._names),
            _text((decisions.side < 0).astype(np.int32), ["buy", "sell"]),
        ]
        columns += [_nullable(column) for column in decisions.realised_cost_bp.T]
        self._decisions.append(pa.table(columns, schema=_decisions_schema(record.latencies_ms)))

    def _write_arbitrage(self, record: StepRecord) -> None:
        found = record.arbitrage
        if not len(found.start_ns):
            return
        columns = [
            _text(found.locked, ["basis", "locked"]),
            _text(found.buy, self._names),
            _text(found.sell, self._names),
            pa.array(found.start_ns),
            pa.array(found.end_ns),
            _nullable(found.edge_bp),
            _nullable(found.qty),
        ]
        self._arbitrage.append(pa.table(columns, schema=ARBITRAGE))

    def _write_drift(self, record: StepRecord) -> None:
        events = record.drift_events
        if not len(events.ts_ns):
            return
        # one list of names for both enums: statuses first, routes after them
        names = [status.name.lower() for status in DriftStatus] + [route.name.lower() for route in Route]
        shift = np.where(events.what == 0, 0, len(DriftStatus))
        columns = [
            pa.array(events.ts_ns),
            _text(events.stream, self._names),
            _text(events.what, ["drift", "route"]),
            _text(events.before + shift, names),
            _text(events.after + shift, names),
            _nullable(events.drift),
        ]
        self._drift.append(pa.table(columns, schema=DRIFT))


def signals_table(record: StepRecord, streams: pa.Array, stride: int = 1) -> pa.Table:
    """Rows of signals.parquet of one batch: each row's answer for its own stream.

    Args:
        record: the batch.
        streams: names of the V streams.
        stride: keep the events whose number in the run is a multiple of it.

    Shape:
        N / stride rows.
    """
    rows = np.arange(-record.first_event % stride, len(record.ts_recv_ns), stride)
    stream = record.stream[rows]
    signals = record.signals

    def own(columns: Float64) -> pa.Array:
        return _nullable(columns[rows, stream])

    event_ns = record.ts_event_ns[rows]
    columns = [
        pa.array(record.ts_recv_ns[rows]),
        pa.array(event_ns, mask=event_ns == MISSING_NS),
        pa.DictionaryArray.from_arrays(pa.array(stream, pa.int32()), streams),
        _nullable(signals.ghost_bp[rows]),
        own(signals.deviation_bp),
        own(signals.phase_bp),
        own(signals.drift),
        hex_keys(signals.key[rows]),
        _nullable(signals.entropy[rows]),
        _nullable(signals.echo_bp[rows]),
        _nullable(signals.expected_lag_bp[rows]),
        own(signals.snr),
        own(signals.bits),
        own(signals.voltage),
        _text(signals.lane[rows, stream], [lane.name for lane in Lane]),
    ]
    return pa.table(columns, schema=SIGNALS)


def hex_keys(keys: Int64) -> pa.Array:
    """Keys as text, null where there is none.

    Example:
        >>> hex_keys(np.array([63, -1, 0])).to_pylist()
        ['0x3f', None, '0x0']
    """
    distinct, codes = np.unique(keys, return_inverse=True)
    names = pa.array([hex(key) if key >= 0 else None for key in distinct.tolist()], pa.string())
    return names.take(pa.array(codes))


def _nullable(values: Float64) -> pa.Array:
    return pa.array(np.ascontiguousarray(values, dtype=np.float64), from_pandas=True)


def _text(codes: Int8 | Int32 | npt.NDArray[np.integer[Any]], names: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names, pa.string()))


def _decisions_schema(latencies_ms: tuple[float, ...]) -> pa.Schema:
    costs = [(f"realised_cost_{latency:g}ms_bp", pa.float64()) for latency in latencies_ms]
    return pa.schema([("ts_recv_ns", pa.int64()), ("stream", TEXT), ("side", TEXT), *costs])
