"""The main job on the recorded BTC captures: the numbers it must reproduce."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

SPOT, USDM, COINM = "binance:BTC/USDT", "binanceusdm:BTC/USDT:USDT", "binancecoinm:BTC/USD:BTC"


@pytest.fixture(scope="module")
def run_dir(captures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("btc")
    command = [sys.executable, "-m", "schwabot.run", "source=capture", f"source.glob={captures}/binance/*/btc*.gz"]
    done = subprocess.run([*command, "hydra.run.dir=run"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for stream in (SPOT, USDM, COINM):
        assert stream in done.stdout
    return folder / "run"


@pytest.fixture(scope="module")
def summary(run_dir: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((run_dir / "summary.json").read_text())
    return read


def test_counts(summary: dict[str, Any]) -> None:
    assert (summary["quotes"], summary["trades"], summary["events"]) == (113_265, 33_356, 146_621)
    assert list(summary["streams"]) == sorted((SPOT, USDM, COINM))
    assert summary["reference"] == SPOT


def test_clocks(summary: dict[str, Any]) -> None:
    medians = {stream: facts["feed_delay_median_ms"] for stream, facts in summary["streams"].items()}
    assert medians == pytest.approx({SPOT: -1272.0, USDM: -1270.1, COINM: -1269.2}, abs=0.1)
    for stream, facts in summary["streams"].items():
        assert 1.5 < medians[stream] - facts["clock_offset_ms"] < 5.0
        assert facts["clock_drift_ppm"] == pytest.approx(-4.9, abs=1.5)


def test_basis(summary: dict[str, Any]) -> None:
    assert summary["streams"][SPOT]["basis_bp"] == 0.0
    assert summary["streams"][USDM]["basis_bp"] == pytest.approx(-3.7, abs=0.05)
    assert summary["streams"][COINM]["basis_bp"] == pytest.approx(-2.7, abs=0.05)


def test_skill(summary: dict[str, Any]) -> None:
    cell = summary["skill"][COINM]["100"]
    assert cell["corr"] >= 0.45
    assert cell["r2"] > 0.1
    assert abs(cell["placebo"]) < 0.02


def test_a_basis_is_no_arbitrage(summary: dict[str, Any]) -> None:
    assert summary["arbitrage"]["locked"] == 0
    assert summary["arbitrage"]["basis"] < 50


def test_signals(run_dir: Path, summary: dict[str, Any]) -> None:
    table = pq.read_table(run_dir / "signals.parquet")
    assert table.num_rows == summary["events"]
    times = table["ts_recv_ns"].to_numpy()
    assert (times[1:] >= times[:-1]).all()
    spot = table.filter(pc.equal(table["stream"].cast("string"), SPOT))
    quotes_without_time = spot["ts_event_ns"].null_count
    assert quotes_without_time == 28_040  # spot bookTicker carries no exchange time at all
    assert table["ts_event_ns"].null_count == quotes_without_time
    lanes = {entry["values"]: entry["counts"] for entry in pc.value_counts(table["lane"].cast("string")).to_pylist()}
    assert lanes == {lane: count for lane, count in summary["lanes"].items() if count}
