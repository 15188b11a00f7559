"""Binance's public side: REST answers about the market, and channels of it over websockets."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

from aiohttp import web

from schwabot.records.market import Kind
from schwabot.ticks.binance_messages import COINM, SPOT, USDM
from schwabot.venues.loopback import binance_words as words
from schwabot.venues.loopback.book import Book, Changes
from schwabot.venues.loopback.hub import Channel, Connection, Hub
from schwabot.venues.loopback.player import Row

DEPTHS = {"depth": {SPOT: 1_000, USDM: 250, COINM: 250}, "depth@100ms": {}, "depth@500ms": {}}
TICK_MS = 50
TRADES = ("trade", "aggTrade")
SOCKETS = {SPOT: "spot", USDM: "usdm", COINM: "coinm"}


def answered(value: Any, status: int = 200) -> web.Response:
    """An answer in JSON."""
    return web.json_response(value, status=status)


def refused(code: int, text: str, status: int = 400) -> web.Response:
    """Binance's way to say no."""
    return answered({"code": code, "msg": text}, status)


class BinancePublic:
    """One of Binance's three markets.

    Args:
        venue: ccxt's id.
        books: of its instruments, by Binance's name.
        hub: where its channels are.
        now_ms: its clock.
    """

    def __init__(self, venue: str, books: Mapping[str, Book], hub: Hub, now_ms: Callable[[], int]) -> None:
        self.venue = venue
        self.books = books
        self._hub = hub
        self._now_ms = now_ms
        kinds = ("bookTicker", *TRADES, *DEPTHS)
        self._channels = {
            name: {kind: hub.channel(venue, f"{name.lower()}@{kind}") for kind in kinds} for name in books
        }
        self._known = {one.name: one for there in self._channels.values() for one in there.values()}
        self._noted: dict[str, Changes] = {}

    def publish(self, book: Book, row: Row) -> None:
        """A row of the market, after the book took it."""
        channels = self._channels[book.listing.id]
        if row.kind == Kind.QUOTE:
            channel = channels["bookTicker"]
            if channel.listeners:
                self._hub.publish(channel, book.update_id, words.book_ticker(book, row))
            return
        for kind in TRADES:
            channel = channels[kind]
            if channel.listeners:
                text = words.trade(book.listing, book.prints[-1], aggregate=kind == "aggTrade")
                self._hub.publish(channel, book.trade_id, text)

    async def run(self) -> None:
        """Tell the differences of the books, each channel at its own pace."""
        ticks = 0
        while True:
            await asyncio.sleep(TICK_MS / 1e3)
            ticks += 1
            for name, channels in self._channels.items():
                for kind, paces in DEPTHS.items():
                    pace_ms = paces.get(self.venue) or int(kind.removeprefix("depth@").removesuffix("ms"))
                    if ticks % (pace_ms // TICK_MS) == 0:
                        self._tell(self.books[name], channels[kind])

    def _tell(self, book: Book, channel: Channel) -> None:
        noted = self._noted.get(channel.name)
        if not channel.listeners:
            if noted is not None:
                book.unwatch(self._noted.pop(channel.name))
        elif noted is None:
            self._noted[channel.name] = book.watch()
        elif book.update_id > noted.before:
            message = words.depth_update(book, noted, self._now_ms())
            self._hub.publish(channel, book.update_id, json.dumps(message, separators=(",", ":")))

    def add_routes(self, app: web.Application) -> None:
        """REST."""
        at = words.PREFIX[self.venue] + "/{version:v[1-3]}"
        for path, handler in (
            ("ping", self._ping), ("time", self._time), ("exchangeInfo", self._exchange_info), ("depth", self._depth),
            ("ticker/bookTicker", self._tickers), ("ticker/price", self._prices), ("trades", self._trades),
            ("aggTrades", self._trades),
        ):  # fmt: skip
            app.router.add_get(f"{at}/{path}", handler)

    async def _ping(self, _: web.Request) -> web.Response:
        return answered({})

    async def _time(self, _: web.Request) -> web.Response:
        return answered({"serverTime": self._now_ms()})

    async def _exchange_info(self, _: web.Request) -> web.Response:
        return answered(
            {
                "timezone": "UTC",
                "serverTime": self._now_ms(),
                "rateLimits": [],
                "exchangeFilters": [],
                "symbols": [words.symbol(book.listing) for book in self.books.values()],
            }
        )

    async def _depth(self, request: web.Request) -> web.Response:
        book = self.books.get(request.query.get("symbol", ""))
        return _unknown(request) if book is None else answered(words.depth(book, self._now_ms()))

    async def _tickers(self, request: web.Request) -> web.Response:
        return self._of_each(request, lambda book: words.touch(book, self._now_ms()))

    async def _prices(self, request: web.Request) -> web.Response:
        def price(book: Book) -> dict[str, Any]:
            at = book.prints[-1].row.price if book.prints else book.bid
            return {"symbol": book.listing.id, "price": book.listing.price.text(at), "time": self._now_ms()}

        return self._of_each(request, price)

    def _of_each(self, request: web.Request, say: Callable[[Book], dict[str, Any]]) -> web.Response:
        """The book that is asked for, or those, or all."""
        if "symbol" in request.query:
            book = self.books.get(request.query["symbol"])
            if book is None:
                return _unknown(request)
            return answered([say(book)] if self.venue == COINM else say(book))
        names = json.loads(request.query["symbols"]) if "symbols" in request.query else list(self.books)
        if any(name not in self.books for name in names):
            return _unknown(request)
        return answered([say(self.books[name]) for name in names])

    async def _trades(self, request: web.Request) -> web.Response:
        book = self.books.get(request.query.get("symbol", ""))
        if book is None:
            return _unknown(request)
        last = list(book.prints)[-int(request.query.get("limit", "500")) :]
        rows = [words.printed(book.listing, one) for one in last]
        if request.path.endswith("aggTrades"):
            names = {"id": "a", "price": "p", "qty": "q", "time": "T", "isBuyerMaker": "m"}
            rows = [{names[key]: value for key, value in row.items()} | {"f": row["id"], "l": row["id"]}
                    for row in rows]  # fmt: skip
        return answered(rows)

    def subscribe(self, connection: Connection, names: list[str]) -> str | None:
        """Listen to channels; the name of one that is not there, if any: then to none."""
        if unknown := next((name for name in names if name not in self._known), None):
            return unknown
        for name in names:
            self._hub.listen(connection, self._known[name])
        return None

    def asked(self, connection: Connection, request: Any) -> None:
        """A message that came over a socket."""
        if not isinstance(request, dict) or "method" not in request:
            connection.send('{"error":{"code":3,"msg":"Invalid JSON: expected a request with a method"}}')
            return
        number, method, names = request.get("id"), request["method"], request.get("params") or []
        result: Any = None
        error: str | None = None
        if method == "SUBSCRIBE":
            unknown = self.subscribe(connection, names)
            error = f"Invalid request: the loopback exchange has no stream {unknown}" if unknown else None
        elif method == "UNSUBSCRIBE":
            self._hub.leave(connection, [self._known[name] for name in names if name in self._known])
        elif method == "LIST_SUBSCRIPTIONS":
            result = sorted(connection.names)
        else:
            error = f"Invalid request: unknown method {method}"
        said = {"result": result} if error is None else {"error": {"code": 2, "msg": error}}
        connection.send(json.dumps(said | {"id": number}))


def _unknown(request: web.Request) -> web.Response:
    if "symbol" not in request.query and "symbols" not in request.query:
        return refused(-1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed.")
    return refused(-1121, "Invalid symbol.")
