"""Arrow tables of what the graph said: signals, lag decisions and their mean curve, arbitrage, drift, memory.

Columns that look ahead start with ``realised_``. No answer is null.

Axis legend: N rows of a batch, V streams, D decisions, L latencies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from schwabot.records.audit import DriftStatus, Lane, MemoryColumns, Route, StepRecord
from schwabot.records.market import MISSING_NS, Float64, Int8, Int32, Int64, Kind

TEXT = pa.dictionary(pa.int32(), pa.string())
SIGNALS = pa.schema(
    [
        pa.field("ts_recv_ns", pa.int64(), nullable=False),
        pa.field("ts_event_ns", pa.int64()),
        pa.field("stream", TEXT, nullable=False),
        pa.field("kind", TEXT, nullable=False),
        pa.field("ghost_bp", pa.float64()),
        pa.field("deviation_bp", pa.float64()),
        pa.field("phase_bp", pa.float64()),
        pa.field("drift", pa.float64()),
        pa.field("key", pa.string()),
        pa.field("entropy", pa.float64()),
        pa.field("echo_bp", pa.float64()),
        pa.field("expected_lag_bp", pa.float64()),
        pa.field("penalty", pa.float64()),
        pa.field("avoid_reentry", pa.bool_()),
        pa.field("snr", pa.float64()),
        pa.field("bits", pa.float64()),
        pa.field("voltage", pa.float64()),
        pa.field("lane", TEXT),
        pa.field("pays_fees", pa.bool_()),
        pa.field("size", pa.float64()),
        pa.field("style", TEXT),
    ]
)
ARBITRAGE = pa.schema(
    [
        ("kind", TEXT),
        ("legs", TEXT),
        ("start_ns", pa.int64()),
        ("end_ns", pa.int64()),
        ("start_edge_bp", pa.float64()),
        ("edge_bp", pa.float64()),
        ("qty_base", pa.float64()),
        ("realised_edge_left_bp", pa.float64()),
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
        ("expected_mean_bp", pa.float64()),
        ("expected_ci_low_bp", pa.float64()),
        ("expected_ci_high_bp", pa.float64()),
        ("realised_gap_mean_bp", pa.float64()),
        ("realised_gap_ci_low_bp", pa.float64()),
        ("realised_gap_ci_high_bp", pa.float64()),
        ("notional_quote", pa.float64()),
        ("realised_mean_quote", pa.float64()),
        ("realised_ci_low_quote", pa.float64()),
        ("realised_ci_high_quote", pa.float64()),
        ("expected_mean_quote", pa.float64()),
        ("expected_ci_low_quote", pa.float64()),
        ("expected_ci_high_quote", pa.float64()),
    ]
)
MEMORY = pa.schema(
    [
        ("table", pa.int32()),
        ("key", pa.string()),
        ("count", pa.float64()),
        ("mean_bp", pa.float64()),
        ("variance_bp2", pa.float64()),
        ("entropy", pa.float64()),
        ("age_s", pa.float64()),
    ]
)
WIDE = ("mid_bp", "half_spread_bp", "deviation_bp", "phase_bp", "forecast_bp")


def signals_schema(horizons_ms: Sequence[float] = ()) -> pa.Schema:
    """Columns of signals.parquet; with a trained head also its forecast over each horizon.

    Example:
        >>> signals_schema([10.0, 500.0]).names[-2:]
        ['forecast_10ms_bp', 'forecast_500ms_bp']
    """
    schema = SIGNALS
    for ms in horizons_ms:
        schema = schema.append(pa.field(_forecast(ms), pa.float64()))
    return schema


def _forecast(ms: float) -> str:
    return f"forecast_{ms:.12g}ms_bp"


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
    penalty, lane = signals.penalty[rows], signals.lane[rows, stream]
    styles = list(dict.fromkeys(record.lane_styles))  # two lanes may share one
    style_of = np.array([styles.index(style) for style in record.lane_styles])
    columns = [
        pa.array(record.ts_recv_ns[rows]),
        pa.array(event_ns, mask=event_ns == MISSING_NS),
        pa.DictionaryArray.from_arrays(pa.array(stream, pa.int32()), streams),
        _text(record.kind[rows], [kind.name.lower() for kind in Kind]),
        _nullable(signals.ghost_bp[rows]),
        own(signals.deviation_bp),
        own(signals.phase_bp),
        own(signals.drift),
        hex_keys(signals.key[rows], record.key_bits),
        _nullable(signals.entropy[rows]),
        _nullable(signals.echo_bp[rows]),
        _nullable(signals.expected_lag_bp[rows]),
        _nullable(penalty),
        pa.array(penalty > record.reentry_penalty, mask=np.isnan(penalty)),
        own(signals.snr),
        own(signals.bits),
        own(signals.voltage),
        _text(lane, [lane.name for lane in Lane]),
        pa.array(signals.pays_fees[rows, stream] == 1),
        _nullable(np.array(record.lane_sizes)[lane]),
        _text(style_of[lane], styles),
        *(own(signals.forecasts_bp[..., h]) for h in range(len(record.horizons_ms))),
    ]
    return pa.table(columns, schema=signals_schema(record.horizons_ms))


def decisions_table(record: StepRecord) -> pa.Table:
    """Rows of lag_decisions.parquet: the decisions whose cost became known in this batch.

    Shape:
        D rows, one column per latency.
    """
    decisions = record.decisions
    columns = [
        pa.array(decisions.ts_ns),
        _text(decisions.stream, _names(record)),
        _text((decisions.side < 0).astype(np.int32), ["buy", "sell"]),
    ]
    columns += [_nullable(decisions.entropy), _nullable(decisions.range_bp)]
    per_latency = (decisions.expected_cost_bp, decisions.realised_cost_bp, decisions.realised_penalty)
    columns += [_nullable(column) for columns_of in per_latency for column in columns_of.T]
    return pa.table(columns, schema=decisions_schema(record.latencies_ms))


def decisions_schema(latencies_ms: Sequence[float]) -> pa.Schema:
    """Columns of lag_decisions.parquet.

    Example:
        >>> decisions_schema([0.5]).names
        ['ts_recv_ns', 'stream', 'side', 'entropy', 'range_bp',
         'expected_cost_0.5ms_bp', 'realised_cost_0.5ms_bp', 'realised_penalty_0.5ms']
    """
    known = ["entropy", "range_bp"]
    expected = [f"expected_cost_{latency:g}ms_bp" for latency in latencies_ms]
    costs = [f"realised_cost_{latency:g}ms_bp" for latency in latencies_ms]
    penalties = [f"realised_penalty_{latency:g}ms" for latency in latencies_ms]
    numbers = [(name, pa.float64()) for name in (*known, *expected, *costs, *penalties)]
    return pa.schema([("ts_recv_ns", pa.int64()), ("stream", TEXT), ("side", TEXT), *numbers])


def arbitrage_table(record: StepRecord) -> pa.Table:
    """Rows of arbitrage.parquet: the windows of this batch."""
    found = record.arbitrage
    columns = [
        _text(found.locked, ["basis", "locked"]),
        _legs(record),
        pa.array(found.start_ns),
        pa.array(found.end_ns),
        _nullable(found.start_bp),
        _nullable(found.edge_bp),
        _nullable(found.qty),
        _nullable(found.realised_left_bp),
    ]
    return pa.table(columns, schema=ARBITRAGE)


def _legs(record: StepRecord) -> pa.Array:
    """``buy a, sell b, ...`` of every window."""
    names, found = _names(record), record.arbitrage
    both = np.concatenate([found.legs, found.sides], axis=1)
    distinct, codes = np.unique(both, axis=0, return_inverse=True)
    said = [
        ", ".join(
            f"{'buy' if side > 0 else 'sell'} {names[v]}" for v, side in zip(*np.split(row, 2), strict=True) if side
        )
        for row in distinct
    ]
    return _text(codes.reshape(-1), said)


def drift_table(record: StepRecord) -> pa.Table:
    """Rows of drift.parquet: the changes of drift status and route in this batch."""
    events = record.drift_events
    # one list of names for both enums: statuses first, routes after them
    names = [status.name.lower() for status in DriftStatus] + [route.name.lower() for route in Route]
    shift = np.where(events.what == 0, 0, len(DriftStatus))
    columns = [
        pa.array(events.ts_ns),
        _text(events.stream, _names(record)),
        _text(events.what, ["drift", "route"]),
        _text(events.before + shift, names),
        _text(events.after + shift, names),
        _nullable(events.drift),
    ]
    return pa.table(columns, schema=DRIFT)


def lag_curve_table(summary: Mapping[str, Any]) -> pa.Table:
    """Rows of lag_curve.parquet.

    Args:
        summary: its ``lag_curve`` (as ``LagCurve.summary``: stream → latency in ms → means and intervals) and
            ``lag_notional_quote``; no rows without them. What a cell lacks is null.

    Example:
        >>> cell = {"mean": 0.1, "n": 5, "ci_low": None, "ci_high": 0.2, "mean_quote": 0.01, "expected": 0.2}
        >>> table = lag_curve_table({"lag_curve": {"a:X/Y": {"10": cell}}, "lag_notional_quote": 1000.0})
        >>> table.to_pylist()[0]["latency_ms"], table.to_pylist()[0]["realised_mean_quote"]
        (10.0, 0.01)
    """
    curve, notional = summary.get("lag_curve") or {}, summary.get("lag_notional_quote")
    realised, expected = ("mean", "ci_low", "ci_high"), ("expected", "expected_ci_low", "expected_ci_high")
    in_bp = ("mean", "n", "ci_low", "ci_high", *expected, "gap", "gap_ci_low", "gap_ci_high")
    in_quote = [f"{name}_quote" for name in (*realised, *expected)]
    rows = [
        (stream, float(latency), *map(cell.get, in_bp), notional, *map(cell.get, in_quote))
        for stream, cells in curve.items()
        for latency, cell in cells.items()
    ]
    columns = list(zip(*rows, strict=True)) or [()] * len(LAG_CURVE)
    arrays = [
        pa.array(values, field.type.value_type if field.type == TEXT else field.type, from_pandas=True)
        for values, field in zip(columns, LAG_CURVE, strict=True)
    ]
    arrays[0] = arrays[0].dictionary_encode()
    return pa.table(arrays, schema=LAG_CURVE)


def memory_table(memory: MemoryColumns, key_bits: int) -> pa.Table:
    """Rows of memory.parquet: what the registry remembers at each key.

    Args:
        memory: its columns.
        key_bits: bits of a key.
    """
    named = {field.name: pa.array(getattr(memory, field.name)) for field in MEMORY if field.name != "key"}
    return pa.table(named | {"key": hex_keys(memory.key, key_bits)}).select(MEMORY.names).cast(MEMORY)


def wide_table(record: StepRecord, columns: Sequence[str] = WIDE) -> pa.Table:
    """Every stream's answer at every event, which the signals' rows hold for their own stream only.

    Args:
        record: the batch.
        columns: names of [N, V] fields of ``SignalColumns``, or ``forecasts_bp``, which is one column per horizon.

    Returns:
        ts_recv_ns, stream (the row's own), ghost_bp, then ``<column>[<stream>]`` for each column and stream.

    Shape:
        N rows, 3 + len(columns) · V columns.
    """
    arrays = {
        "ts_recv_ns": pa.array(record.ts_recv_ns),
        "stream": _text(record.stream, _names(record)),
        "ghost_bp": _nullable(record.signals.ghost_bp.copy()),
    }
    signals = record.signals
    wanted = {column: getattr(signals, column) for column in columns if column != "forecasts_bp"}
    if "forecasts_bp" in columns:
        wanted |= {_forecast(ms): signals.forecasts_bp[..., h] for h, ms in enumerate(record.horizons_ms)}
    # Copies: a view would keep the memory of the whole batch.
    for column, values in wanted.items():
        for v, name in enumerate(_names(record)):
            own = values[:, v].copy()
            arrays[f"{column}[{name}]"] = _nullable(own) if own.dtype == np.float64 else pa.array(own)
    return pa.table(arrays)


def hex_keys(keys: Int64, bits: int) -> pa.Array:
    """Keys as text of one width, ceil(bits/4) digits, so that they sort as their numbers do; null where there is none.

    Example:
        >>> hex_keys(np.array([63, -1, 0]), bits=8).to_pylist()
        ['0x3f', None, '0x00']
    """
    distinct, codes = np.unique(keys, return_inverse=True)
    names = pa.array([f"0x{key:0{-(-bits // 4)}x}" if key >= 0 else None for key in distinct.tolist()], pa.string())
    return names.take(pa.array(codes))


def _nullable(values: Float64) -> pa.Array:
    return pa.array(np.ascontiguousarray(values, dtype=np.float64), from_pandas=True)


def _text(codes: Int8 | Int32 | npt.NDArray[np.integer[Any]], names: list[str]) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), pa.array(names, pa.string()))


def _names(record: StepRecord) -> list[str]:
    return [instrument.stream for instrument in record.instruments]
