"""Parquet tables hold each row's answer for its own stream, whatever the batches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schwabot.records.audit import StepRecord
from schwabot.records.market import MISSING_NS
from schwabot.sinks.parquet import GrowingTable, ParquetSink
from schwabot.sinks.settings import SinksConfig
from schwabot.sinks.tables import hex_keys
from tests.sinks.making import INSTRUMENTS, START_NS, SUMMARY, header, records

COLUMNS = [
    "ts_recv_ns", "ts_event_ns", "stream", "kind", "ghost_bp", "deviation_bp", "phase_bp", "drift", "key",
    "entropy", "echo_bp", "expected_lag_bp", "penalty", "avoid_reentry", "snr", "bits", "voltage", "lane",
    "pays_fees", "size", "style",
]  # fmt: skip


def write(folder: Path, run: list[StepRecord], config: SinksConfig | None = None, **options: int) -> list[str]:
    said: list[str] = []
    folder.mkdir(exist_ok=True)
    sink = ParquetSink(config or SinksConfig(), say=said.append, **options)
    sink.open(header(folder))
    for record in run:
        sink.write(record)
    sink.close(SUMMARY)
    assert not list(folder.glob("*.part"))
    return said


def test_signals_hold_the_own_streams_answer(tmp_path: Path) -> None:
    (record,) = records(500)
    write(tmp_path, [record])
    table = pq.read_table(tmp_path / "signals.parquet")
    assert table.column_names == COLUMNS
    rows = table.to_pylist()
    assert len(rows) == 500
    assert rows[0]["deviation_bp"] is None  # NaN
    assert rows[0]["key"] is None  # warm-up
    assert rows[0]["echo_bp"] is None
    for i in (1, 100, 499):
        v = record.stream[i]
        assert rows[i]["stream"] == INSTRUMENTS[v].stream
        assert rows[i]["ts_recv_ns"] == record.ts_recv_ns[i]
        assert rows[i]["ts_event_ns"] == (None if record.ts_event_ns[i] == MISSING_NS else record.ts_event_ns[i])
        assert rows[i]["deviation_bp"] == record.signals.deviation_bp[i, v]
        assert rows[i]["voltage"] == record.signals.voltage[i, v]
        assert rows[i]["ghost_bp"] == record.signals.ghost_bp[i]
        assert rows[i]["lane"] == ("LOW", "MEDIUM", "HIGH")[record.signals.lane[i, v]]
        assert rows[i]["pays_fees"] == bool(record.signals.pays_fees[i, v])
    assert rows[499]["key"] == f"0x{record.signals.key[499]:02x}"
    assert {len(row["key"]) for row in rows[5:]} == {4}
    assert [row["kind"] for row in rows] == [("quote", "quote", "trade")[i % 3] for i in range(500)]
    assert {row["ts_event_ns"] is None for row in rows if row["stream"] == INSTRUMENTS[0].stream} == {True}


def test_what_a_lane_does_and_when_to_stay_out(tmp_path: Path) -> None:
    """Size and style follow the lane's settings, re-entry advice the penalty's threshold of 0.1."""
    write(tmp_path, records(500))
    table = pq.read_table(tmp_path / "signals.parquet")
    rows = table.to_pylist()
    does = {"LOW": (0.0, "observe"), "MEDIUM": (0.5, "cross"), "HIGH": (3.0, "cross")}
    assert {row["lane"] for row in rows} == set(does)
    assert [(row["size"], row["style"]) for row in rows] == [does[row["lane"]] for row in rows]
    assert pa.types.is_dictionary(table.schema.field("style").type)
    advice = {row["penalty"]: row["avoid_reentry"] for row in rows}
    assert advice == {0.05: False, 0.1: False, 0.2: True, None: None}


def test_keys_have_one_width_for_their_bits() -> None:
    keys = np.array([5, -1])
    assert [hex_keys(keys, bits)[0].as_py() for bits in (4, 8, 16, 32, 42)] == [
        "0x5", "0x05", "0x0005", "0x00000005", "0x00000000005",
    ]  # fmt: skip
    assert hex_keys(keys, 8)[1].as_py() is None


def test_memory_of_the_end(tmp_path: Path) -> None:
    write(tmp_path / "some", records(50, cuts=(20,)))
    assert [list(row.values()) for row in pq.read_table(tmp_path / "some" / "memory.parquet").to_pylist()] == [
        [0, "0x00", 2.0, 0.25, 1.0, 0.5, 3.0],
        [0, "0x3f", 2.0, -0.25, 1.0, 0.5, 3.0],
        [1, "0x11", 0.5, 1.0, 0.0, 1.0, 0.125],
    ]
    write(tmp_path / "none", records(50, cuts=(20,))[:1])  # a run that broke off
    table = pq.read_table(tmp_path / "none" / "memory.parquet")
    assert (table.num_rows, table.column_names) == (
        0, ["table", "key", "count", "mean_bp", "variance_bp2", "entropy", "age_s"],
    )  # fmt: skip


@pytest.mark.parametrize("held_rows", [1, 50, 4_096])
def test_batches_change_nothing(tmp_path: Path, held_rows: int) -> None:
    write(tmp_path / "whole", records(400))
    write(tmp_path / "cut", records(400, cuts=(1, 2, 77, 77, 300)), held_rows=held_rows)
    for name in ("signals", "lag_decisions", "arbitrage", "drift", "lag_curve", "memory"):
        whole, cut = (pq.read_table(tmp_path / run / f"{name}.parquet") for run in ("whole", "cut"))
        assert whole.equals(cut), name


@pytest.mark.parametrize("held_rows", [1, 50, 4_096])
def test_every_nth_event_of_the_run(tmp_path: Path, held_rows: int) -> None:
    write(tmp_path / "all", records(400))
    config = SinksConfig(signals="every_n", signals_n=7)
    write(tmp_path / "some", records(400, cuts=(3, 50, 151)), config, held_rows=held_rows)
    every = pq.read_table(tmp_path / "all" / "signals.parquet")
    some = pq.read_table(tmp_path / "some" / "signals.parquet")
    assert some.equals(every.take(np.arange(0, 400, 7)))


def test_off_writes_no_signals(tmp_path: Path) -> None:
    write(tmp_path, records(50), SinksConfig(signals="off"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "arbitrage.parquet", "drift.parquet", "lag_curve.parquet", "lag_decisions.parquet", "memory.parquet",
    ]  # fmt: skip


@pytest.mark.parametrize(("signals", "kept"), [("auto", False), ("all", True)])
def test_many_events_turn_auto_off_once(tmp_path: Path, signals: str, kept: bool) -> None:
    said = write(tmp_path, records(100, cuts=(40, 80)), SinksConfig(signals=signals), auto_off_events=79)
    assert (tmp_path / "signals.parquet").exists() == kept
    assert len(said) == (0 if kept else 1)


def test_what_happened(tmp_path: Path) -> None:
    write(tmp_path, records(10))
    spot, usdm = (instrument.stream for instrument in INSTRUMENTS)
    assert pq.read_table(tmp_path / "lag_decisions.parquet").to_pylist() == [
        {
            "ts_recv_ns": START_NS,
            "stream": usdm,
            "side": "sell",
            "entropy": 0.75,
            "range_bp": 4.0,
            "expected_cost_1ms_bp": 0.25,
            "expected_cost_10ms_bp": 0.75,
            "expected_cost_100ms_bp": 1.0,
            "realised_cost_1ms_bp": 0.5,
            "realised_cost_10ms_bp": 1.5,
            "realised_cost_100ms_bp": None,
            "realised_penalty_1ms": 0.0625,
            "realised_penalty_10ms": 0.125,
            "realised_penalty_100ms": None,
        }
    ]
    assert pq.read_table(tmp_path / "arbitrage.parquet").to_pylist() == [
        {
            "kind": "locked",
            "legs": f"buy {spot}, sell {usdm}",
            "start_ns": START_NS,
            "end_ns": START_NS + 1,
            "start_edge_bp": 0.125,
            "edge_bp": 0.25,
            "qty_base": 0.5,
            "realised_edge_left_bp": None,
        }
    ]
    drift = pq.read_table(tmp_path / "drift.parquet").to_pylist()
    assert [(row["what"], row["before"], row["after"], row["drift"]) for row in drift] == [
        ("drift", "stable", "critical", 5.0),
        ("route", "ok", "drifting", None),
    ]
    curve = pq.read_table(tmp_path / "lag_curve.parquet").to_pylist()
    cells = [(row["latency_ms"], row["realised_mean_bp"], row["n"]) for row in curve]
    assert cells == [(10.0, 0.4, 7), (100.0, None, 0)]
    assert [(row["expected_mean_bp"], row["realised_gap_mean_bp"]) for row in curve] == [(0.25, 0.15), (None, None)]
    names = ("notional_quote", "realised_mean_quote", "realised_ci_low_quote", "realised_ci_high_quote")
    assert [curve[0][name] for name in names] == [20_000.0, 0.8, 0.2, 1.4]
    assert [curve[1][name] for name in names] == [20_000.0, None, None, None]


def test_memory_is_bounded_by_the_row_group(tmp_path: Path) -> None:
    schema = pa.schema([("x", pa.int64())])
    table = GrowingTable(tmp_path / "x.parquet", schema, rows_per_group=100)
    for start in range(0, 1000, 30):
        table.append(pa.table({"x": np.arange(start, min(start + 30, 1000))}))
        assert table._pending_rows < 100
    table.close()
    file = pq.ParquetFile(tmp_path / "x.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)] == [100] * 10
    assert file.read()["x"].to_pylist() == list(range(1000))
