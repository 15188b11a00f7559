"""A market of two currencies with a known mispricing, from the source to the tables."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import schwabot
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed

SPOT, DOLLAR, RATE = "synthetic_a:BTC/USDT", "synthetic_b:BTC/USD", "synthetic_c:USDT/USD"
MARKET: dict[str, Any] = {
    "events": 40_000,
    "streams": 3,
    "contract": ["spot", "spot_usd", "rate"],
    "rate_per_s": [140.0, 110.0, 20.0],
    "tick_size": [0.01, 0.01, 0.0001],
    "spread_bp": [0.2, 0.4, 1.0],
    "size": [1.0, 0.5, 50_000.0],
    "basis_bp": [0.0],
    "basis_swing_bp": [0.0, 40.0, 0.0],
    "basis_period_s": 60.0,
    "noise_bp": [0.4, 0.4, 0.1],
}


@pytest.fixture(scope="module")
def result() -> schwabot.Result:
    return schwabot.Graph().run(schwabot.load("synthetic", **MARKET))


def test_locked_windows_are_there_when_and_as_the_dollars_stray(result: schwabot.Result) -> None:
    """Fees are 21 bp: windows open well beyond them only, on the side that the mispricing says."""
    locked = [row for row in result.arbitrage.to_pylist() if row["kind"] == "locked"]
    assert len(locked) > 5
    forth = f"buy {SPOT}, sell {DOLLAR}, buy {RATE}"
    back = f"buy {DOLLAR}, sell {SPOT}, sell {RATE}"
    assert {row["legs"] for row in locked} == {forth, back}
    truth = SyntheticFeed(SyntheticConfig(**MARKET)).truth_at(np.array([row["start_ns"] for row in locked]))
    for row, strayed in zip(locked, truth.basis_bp[:, 1].tolist(), strict=True):
        # Spreads, noise and how late the two venues follow the price make a few bp.
        assert (strayed if row["legs"] == forth else -strayed) > 21.0 - 8.0
        assert 0 < row["start_edge_bp"] <= row["edge_bp"] < 40.0
        assert row["qty_base"] > 0
        assert row["realised_edge_left_bp"] is None or abs(row["realised_edge_left_bp"] - row["start_edge_bp"]) < 15.0
    said = result.summary["arbitrage"]
    assert said["locked"] == len(locked)
    assert 0 < said["locked_s"] < result.summary["span_s"]
    assert said["locked_median_ms"] > 0


def test_the_rate_has_no_part_in_the_price(result: schwabot.Result) -> None:
    streams = result.summary["streams"]
    assert streams[RATE]["route"] == "rate"
    assert {streams[SPOT]["route"], streams[DOLLAR]["route"]} <= {"ok", "drifting"}  # bases that swing by 40 bp drift
    assert streams[RATE]["basis_bp"] is None
    assert streams[RATE]["events"] > 0
    assert set(result.summary["skill"]) == {SPOT, DOLLAR}
    assert set(result.summary["truth"]["basis_error_bp"]) == {SPOT, DOLLAR}
    assert result.summary["truth"]["rows"] > 30_000
    assert result.summary["reference"] == SPOT
    own = result.signals.to_pydict()
    of_rate = [k for k, stream in enumerate(own["stream"]) if stream == RATE]
    assert all(own["deviation_bp"][k] is None and own["phase_bp"][k] is None for k in of_rate)
    assert {own["lane"][k] for k in of_rate} == {"LOW"}


def test_without_the_rate_nothing_is_locked() -> None:
    market = MARKET | {"streams": 2, "events": 20_000}
    assert schwabot.Graph().run(schwabot.load("synthetic", **market)).summary["arbitrage"]["locked"] == 0
