"""A live feed on a loopback exchange, and what it said."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from schwabot.fallback import FallbackConfig
from schwabot.records.audit import FallbackEvent
from schwabot.records.market import Kind, Ticks
from schwabot.ticks.ccxt_feed import CcxtFeed
from schwabot.ticks.ccxt_settings import CcxtConfig
from schwabot.ticks.merge import concat, take
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback import LoopbackExchange, ccxt_options

SPOT, USDM, COINM = "binance:BTC/USDT", "binanceusdm:BTC/USDT:USDT", "binancecoinm:BTC/USD:BTC"
STREAMS = [SPOT, USDM, COINM]
QUICK = {"silence_s": 0.6, "poll_after_s": 0.3, "poll_s": 0.1, "retry_first_s": 0.05, "gap_s": 2.0}
SOON = FallbackConfig(hold_s=0.5, keep=0.3)
DEADLINE_S = 60.0
SETTLE_S, PATIENCE_S = 0.8, 10.0
"""After the market's end: missed trades are asked for a little later; a busy machine takes longer."""


@contextmanager
def market(events: int = 3_000, speed: float = 8.0, **options: Any) -> Iterator[LoopbackExchange]:
    """An exchange that waits for ``play``."""
    feed = SyntheticFeed(SyntheticConfig(events=events, start_ns=time.time_ns()))
    with LoopbackExchange(feed, held=True, keep=events, speed=speed, **options) as exchange:
        yield exchange


def live(exchange: LoopbackExchange, streams: list[str] = STREAMS, **settings: Any) -> CcxtFeed:
    venues = {stream.partition(":")[0] for stream in streams}
    config = CcxtConfig(streams=streams, **(QUICK | settings))
    return CcxtFeed(config, None, {venue: ccxt_options(venue, exchange.port) for venue in venues}, SOON)


def listeners(exchange: LoopbackExchange) -> int:
    return sum(one["listeners"] for one in exchange.state()["channels"].values())


class Received:
    """What a feed said until the market ended, or something else came true, and a little longer.

    Attributes:
        events: told until then.
        truth: the exchange's state at that moment.
    """

    def __init__(
        self,
        exchange: LoopbackExchange,
        feed: CcxtFeed,
        act: Callable[[int], None] = lambda rows: None,
        until: Callable[[list[FallbackEvent]], bool] | None = None,
    ) -> None:
        batches: list[Ticks] = []
        late: list[Ticks] = [feed.take_late()]
        self.events: list[FallbackEvent] = []
        self.truth: dict[str, Any] = {}
        begun, rows, over_s, deadline = False, 0, 0.0, time.monotonic() + DEADLINE_S
        for ticks in feed.batches():
            if not begun and listeners(exchange) == 2 * len(feed.instruments):
                begun = True
                exchange.play()
            rows += len(ticks)
            late.append(feed.take_late())
            if len(ticks):
                batches.append(ticks)
            if not over_s:
                self.events += feed.take_events()
                act(rows)
                if until(self.events) if until else exchange.ended:
                    over_s, self.truth = time.monotonic(), exchange.state()
            elif self.is_settled(feed, [*batches, *late], time.monotonic() - over_s):
                break
            assert time.monotonic() < deadline, self.events
        self.ticks, self.late = concat(batches), concat(late)
        self.instruments = [one.stream for one in feed.instruments]

    def is_settled(self, feed: CcxtFeed, batches: list[Ticks], since_s: float) -> bool:
        """All trades of the time until then are here, or long enough was waited for them."""
        if since_s < SETTLE_S:
            return False
        rows = concat(batches)
        trades = np.bincount(rows.stream[rows.kind == Kind.TRADE], minlength=len(feed.instruments))
        wanted = [self.truth["books"][one.stream]["trade_id"] for one in feed.instruments]
        lost = feed.dropped.get("overflow", 0)
        return bool(lost or np.all(trades >= wanted) or since_s > PATIENCE_S)

    def of(self, stream: str, kind: Kind) -> Ticks:
        return self._of(self.ticks, stream, kind)

    def late_of(self, stream: str) -> Ticks:
        return self._of(self.late, stream, Kind.TRADE)

    def _of(self, ticks: Ticks, stream: str, kind: Kind) -> Ticks:
        v = self.instruments.index(stream)
        return take(ticks, np.flatnonzero((ticks.stream == v) & (ticks.kind == kind)))


class Watched:
    """The rows and events of a feed, as they come."""

    def __init__(self, feed: CcxtFeed) -> None:
        self.quotes: list[int] = []
        self.events: list[FallbackEvent] = []
        self._feed, self._batches = feed, feed.batches()

    def until(self, said: Callable[[], object]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not said():
            assert time.monotonic() < deadline, self.events
            ticks = next(self._batches)
            self.quotes += ticks.bid_ticks[ticks.kind == Kind.QUOTE].tolist()
            self.events += self._feed.take_events()

    def for_s(self, seconds: float) -> None:
        over_s = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > over_s)
