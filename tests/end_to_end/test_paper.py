"""mode=paper on the loopback exchange through unmodified ccxt: the same as a backtest of what was received."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from schwabot.ticks.store import StoreConfig, StoreFeed
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback.server import LoopbackExchange

COMMON = "policy.parameters={enter_bp: 0.005}", "live.measure_latency=false", "sinks.figures=false"
SWITCHING = "modules.ghost_bridge.off_bp=0.3", "fallback.half_life_s=0.5", "fallback.hold_s=0.2"
"""Limits so narrow that links of the ghost's chain are left, and soon taken back."""


def run(folder: Path, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "schwabot.run", f"hydra.run.dir={folder}", *arguments], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    summary: dict[str, Any] = json.loads((folder / "summary.json").read_text())
    return summary


def test_paper_is_a_backtest_of_what_was_received(tmp_path: Path) -> None:
    market = SyntheticFeed(SyntheticConfig(events=10**9, streams=4))
    lost = {"kind": "gap", "stream": "*@trade", "probability": 0.05, "count": 0}
    cut = {"kind": "disconnect", "stream": "*@trade", "probability": 0.01, "count": 0}
    with LoopbackExchange(market, 0, speed=4.0, faults=[lost, cut]) as exchange:
        live = run(
            tmp_path / "paper", "mode=paper", "source=ccxt", "+experiment=loopback", "live.seconds=6",
            f"live.loopback_port={exchange.port}", f"record.out={tmp_path / 'store'}", *COMMON,
            *SWITCHING,
        )  # fmt: skip
    again = run(
        tmp_path / "again", "mode=backtest", "source=store", f"source.path={tmp_path / 'store'}", *COMMON, *SWITCHING
    )
    assert again["fallbacks"] > 1, "the ghost's chain is replayed, and was needed"
    assert live["events"] == again["events"] == live["store"]["rows"] > 500
    late = sum(one["backfilled"] for one in live["feed"].values() if isinstance(one, dict))
    assert StoreFeed(StoreConfig(path=str(tmp_path / "store.late"))).expected_events == late > 3, "known, and no rows"
    assert live["store"]["gaps"] > 3
    assert live["paper"]["fills"] > 3
    assert live["paper"] == again["backtest"]
    tables = ("signals", "fills", "shortfall", "trades", "equity", "arbitrage", "lag_decisions", "lag_curve", "drift")
    for table in (*tables, "memory"):
        found, wanted = (pq.read_table(tmp_path / name / f"{table}.parquet") for name in ("paper", "again"))
        assert found.equals(wanted), table
    assert live["streams"] == again["streams"]
    assert live["lag_curve"] == again["lag_curve"]
    assert sum(cell["n"] for cells in live["lag_curve"].values() for cell in cells.values()) > 10
    assert live["device"] == "cpu"
    assert live["feed"]["binance:BTC/USDT"]["source"] == "websocket"
