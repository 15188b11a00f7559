"""A market that does what a test says, and ways to talk to the exchange that plays it."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import queue
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import ccxt.pro

from schwabot.records.instrument import Instrument
from schwabot.records.market import Kind, Ticks
from schwabot.ticks.merge import blank
from schwabot.venues.loopback import LoopbackExchange, ccxt_options
from schwabot.venues.loopback.urls import KEY, SECRET

SPOT = Instrument("binance:BTC/USDT", 0.01, 1e-5, maker_fee_bp=2.0, taker_fee_bp=10.0)
USDM = Instrument("binanceusdm:BTC/USDT:USDT", 0.1, 0.001, maker_fee_bp=2.0, taker_fee_bp=5.0)
COINM = Instrument(
    "binancecoinm:BTC/USD:BTC", 0.1, 1.0, contract_value=100.0, inverse=True, maker_fee_bp=2.0, taker_fee_bp=5.0
)
KEYS = {"apiKey": KEY, "secret": SECRET}


class Driven:
    """A feed whose rows are made one by one, while it is played."""

    def __init__(self, *instruments: Instrument) -> None:
        self.instruments = tuple(sorted(instruments, key=lambda one: one.stream))
        self.dropped: dict[str, int] = {}
        self.expected_events = None
        self.rows = 0
        self._waiting: queue.Queue[Ticks | None] = queue.Queue()

    def progress(self) -> float:
        return 0.0

    def batches(self, max_events: int = 65_536) -> Iterator[Ticks]:
        while (ticks := self._waiting.get()) is not None:
            yield ticks

    def end(self) -> None:
        self._waiting.put(None)

    def quote(self, bid: int, ask: int, bid_lots: int = 1_000, ask_lots: int = 1_000, stream: int = 0) -> None:
        ticks = self._row(Kind.QUOTE, stream)
        ticks.bid_ticks[:], ticks.ask_ticks[:], ticks.bid_lots[:], ticks.ask_lots[:] = bid, ask, bid_lots, ask_lots
        self._waiting.put(ticks)

    def trade(self, price: int, lots: int, side: int, stream: int = 0) -> None:
        ticks = self._row(Kind.TRADE, stream)
        ticks.price_ticks[:], ticks.qty_lots[:], ticks.side[:] = price, lots, side
        self._waiting.put(ticks)

    def _row(self, kind: Kind, stream: int) -> Ticks:
        ticks = blank(self.instruments, 1)
        self.rows += 1
        for stamps in (ticks.ts_recv_ns, ticks.ts_event_ns, ticks.ts_emit_ns):
            stamps[:] = 1_700_000_000_000_000_000 + self.rows * 1_000_000
        ticks.kind[:], ticks.stream[:] = kind, stream
        return ticks


def until(said: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait until something is true."""
    end = time.monotonic() + seconds
    while not (found := said()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)
    return found


def listed(exchange: LoopbackExchange, stream: str) -> tuple[Instrument, dict[str, Any]]:
    """What the exchange lists under that name, and what an account there is opened with, by venue."""
    one = next(book.listing.instrument for book in exchange.books if book.listing.instrument.stream == stream)
    return one, {one.venue: ccxt_options(one.venue, exchange.port) | KEYS}


async def becomes(said: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Wait on a loop until something is true."""
    end = time.monotonic() + seconds
    while not (found := said()):
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.005)
    return found


def played(exchange: LoopbackExchange, feed: Driven) -> None:
    """Wait until the exchange has played all rows so far."""
    until(lambda: exchange.state()["rows"] == feed.rows)


def ask(
    exchange: LoopbackExchange,
    method: str,
    path: str,
    params: dict[str, Any] | None = None,
    *,
    key: str = KEY,
    secret: str = "",
    **signed: Any,
) -> tuple[int, Any, dict[str, str]]:
    """A request without ccxt: status, answer and headers. With a secret it is signed."""
    given = dict(params or {})
    if secret:
        given |= {"timestamp": int(time.time() * 1e3)} | signed
        text = urlencode(given)
        text += "&signature=" + hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()
    else:
        text = urlencode(given)
    url = f"http://127.0.0.1:{exchange.port}{path}?{text}"
    request = urllib.request.Request(url, method=method, headers={"X-MBX-APIKEY": key} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read()), dict(answer.headers)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read()), dict(error.headers)


def with_ccxt(exchange: LoopbackExchange, venue: str, work: Callable[[Any], Awaitable[Any]], **more: Any) -> Any:
    """Do something with an unmodified exchange of ccxt, and close it."""

    async def run() -> Any:
        client = getattr(ccxt.pro, venue)(ccxt_options(venue, exchange.port) | KEYS | more)
        try:
            return await work(client)
        finally:
            await client.close()

    return asyncio.run(run())
