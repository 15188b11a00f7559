"""mode=record on the loopback exchange: what is lost is written down, and told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schwabot.run import main
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback.server import LoopbackExchange
from tests.sinks.receiving import web_server


def test_a_silent_websocket_is_a_gap_and_an_alert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    market = SyntheticFeed(SyntheticConfig(events=10**9, streams=2))
    with LoopbackExchange(market, 0, speed=4.0) as exchange, web_server() as web:
        monkeypatch.setenv("NOTIFY_URLS", f"json://127.0.0.1:{web.port}/a")
        exchange.fault("freeze", venue="binance", count=0, after=60)
        main(
            [
                "mode=record", "source=ccxt", "source.streams=[binance:BTC/USDT]", "live.seconds=3",
                "source.silence_s=0.3", "source.poll_s=0.2", "source.poll_after_s=0.2",
                f"live.loopback_port={exchange.port}", f"record.out={tmp_path / 'store'}", "notify.to=[urls]",
                "sinks.console=false", f"hydra.run.dir={tmp_path / 'run'}",
            ]
        )  # fmt: skip
        said = [body["message"] for _, body in web.got]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["fallbacks"] >= 1
    assert summary["store"]["gaps"] >= 1
    assert "feed.binance:BTC/USDT." in said[0]
    assert "websocket → " in said[0]
    assert said[-1].startswith(f"record is done: {summary['events']:,} events")
    assert f"{summary['store']['gaps']} gaps" in said[-1]
