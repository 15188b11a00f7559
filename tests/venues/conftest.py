"""An exchange whose market does what the test says."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from schwabot.venues.loopback import LoopbackExchange
from tests.venues.making import COINM, SPOT, USDM, Driven, played


@pytest.fixture
def feed() -> Iterator[Driven]:
    """COIN-M, spot and USD-M, in this order, each with a touch of 1,000 lots."""
    driven = Driven(SPOT, USDM, COINM)
    assert [one.venue for one in driven.instruments] == ["binance", "binancecoinm", "binanceusdm"]
    driven.quote(5_999_900, 6_000_000, stream=0)
    driven.quote(599_990, 600_000, stream=1)
    driven.quote(599_990, 600_000, stream=2)
    yield driven
    driven.end()


@pytest.fixture
def exchange(feed: Driven) -> Iterator[LoopbackExchange]:
    """With an account, as fast as it gets."""
    with LoopbackExchange(feed, speed=0, deposits={"USDT": "10000", "BTC": "1"}, keep=1_000) as up:
        played(up, feed)
        yield up
        feed.end()
