"""source=ccxt as the settings have it: which modes take it, and whom it talks to."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from schwabot.config import CcxtSource, LiveConfig, RunConfig
from schwabot.errors import ConfigError
from schwabot.modes.opening import describe, open_feed
from schwabot.ticks.ccxt_feed import CcxtFeed
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback import LoopbackExchange


def asked(mode: str, port: int | None, *streams: str) -> RunConfig:
    source = CcxtSource(streams=list(streams))
    return RunConfig(mode=mode, source=source, live=LiveConfig(events=5, loopback_port=port))


@pytest.mark.parametrize("mode", ["replay", "convert", "backtest", "fit"])
def test_what_reads_recordings_refuses_it(mode: str) -> None:
    with pytest.raises(ConfigError, match=f"source=ccxt is live, and mode={mode} reads what was recorded"):
        open_feed(asked(mode, None, "binance:BTC/USDT"))


def test_the_loopback_exchange_speaks_for_some_venues_only() -> None:
    with pytest.raises(ConfigError, match="not bitmex"):
        open_feed(asked("paper", 18_090, "binance:BTC/USDT", "bitmex:BTC/USD:BTC"))


@pytest.mark.parametrize("mode", ["record", "paper"])
def test_a_folder_that_is_in_the_way_is_said_before_anybody_connects(mode: str, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear")
    settings = asked(mode, 1, "binance:BTC/USDT")  # where nobody answers
    settings.record.out = str(tmp_path)
    with pytest.raises(ConfigError, match=r"is not empty and no tick store .* name another folder in record\.out"):
        open_feed(settings)


def test_a_live_mode_talks_to_the_loopback_exchange() -> None:
    market = SyntheticFeed(SyntheticConfig(events=20_000, start_ns=time.time_ns()))
    with LoopbackExchange(market) as exchange:
        settings = asked("paper", exchange.port, "binanceusdm:BTC/USDT:USDT", "binance:BTC/USDT")
        assert describe(settings) == "live: binanceusdm:BTC/USDT:USDT, binance:BTC/USDT"
        feed = open_feed(settings)
        assert isinstance(feed, CcxtFeed)
        assert [one.stream for one in feed.instruments] == ["binance:BTC/USDT", "binanceusdm:BTC/USDT:USDT"]
        assert sum(len(ticks) for ticks in feed.batches()) == 5 == feed.expected_events
