"""Every source keeps the contract that a feed is read once, in the same words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from schwabot.errors import ConfigError
from schwabot.records.instrument import Instrument
from schwabot.ticks.base import Feed
from schwabot.ticks.capture import CaptureFeed
from schwabot.ticks.presets import ColumnMap
from schwabot.ticks.store import StoreConfig, StoreFeed, write_store
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.ticks.table import TableConfig, TableFeed

SPOT = Instrument("binance:BTC/USDT", 0.01, 1e-5)
LINE = '7 {"stream":"btcusdt@bookTicker","data":{"u":1,"s":"BTCUSDT","b":"4","B":"1","a":"5","A":"2"}}\n'


def synthetic(folder: Path) -> Feed:
    return SyntheticFeed(SyntheticConfig(events=50))


def capture(folder: Path) -> Feed:
    path = folder / "a.txt"
    path.write_text(LINE)
    return CaptureFeed([path], {SPOT.stream: SPOT})


def table(folder: Path) -> Feed:
    (folder / "a.csv").write_text("t,p\n2024-08-09 00:00:01,60000.5\n")
    return TableFeed(TableConfig(glob=f"{folder}/a.csv", columns=ColumnMap(time="t", price="p")))


def store(folder: Path) -> Feed:
    write_store(SyntheticFeed(SyntheticConfig(events=50)), str(folder / "store"))
    return StoreFeed(StoreConfig(path=str(folder / "store")))


@pytest.mark.parametrize("source", [synthetic, capture, table, store])
def test_a_second_reading_is_refused_at_once(source: Callable[[Path], Feed], tmp_path: Path) -> None:
    feed = source(tmp_path)
    assert sum(map(len, feed.batches())) > 0
    with pytest.raises(ConfigError, match=r"already read, which goes once: open its source again"):
        feed.batches()
