"""Coinbase's public side: products over REST, and level2, market_trades, ticker and heartbeats over a websocket.

Source: Coinbase, Advanced Trade API and WebSocket API.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any

from aiohttp import web

from schwabot.records.market import Kind
from schwabot.venues.loopback.binance_public import answered
from schwabot.venues.loopback.book import Book, Print
from schwabot.venues.loopback.hub import Connection, Hub
from schwabot.venues.loopback.listing import COINBASE
from schwabot.venues.loopback.player import MS, Row
from schwabot.venues.loopback.sockets import listen
from schwabot.venues.loopback.stamps import emit_of, event_of, iso

DIGITS = 9
CHANNELS = ("level2", "market_trades", "ticker", "ticker_batch", "heartbeats")
TRADES_S = 0.25
BATCH_S = 5
SNAPSHOT = 50
"""Trades that a new subscription is told of."""


def message(channel: str, at_ns: int, events: str) -> str:
    """A message of a channel, without its number, which goes by the socket and comes last."""
    return f'{{"channel":"{channel}","client_id":"","timestamp":"{iso(at_ns, DIGITS)}","events":[{events}]}}'


def _numbered() -> Callable[[str, str], str]:
    """Numbers the messages of one socket over all of its channels."""
    numbers = count()
    return lambda _, text: f'{text[:-1]},"sequence_num":{next(numbers)}}}'


class Coinbase:
    """Coinbase.

    Args:
        books: of its products, by Coinbase's name.
        hub: where its channels are.
        now_ms: its clock.
    """

    venue = COINBASE

    def __init__(self, books: Mapping[str, Book], hub: Hub, now_ms: Callable[[], int]) -> None:
        self.books = books
        self._hub = hub
        self._now_ms = now_ms
        self._channels = {name: {kind: hub.channel(COINBASE, f"{kind}:{name}") for kind in CHANNELS} for name in books}
        self._touch = dict.fromkeys(books, (0, 0))
        self._untold: dict[str, list[Print]] = {name: [] for name in books}
        self.user: Callable[[Connection, Mapping[str, Any]], bool] | None = None
        """Lets a socket listen to the user's channel, where there is an account; False = it must not."""

    def publish(self, book: Book, row: Row) -> None:
        """A row of the market, after the book took it."""
        name = book.listing.id
        channels = self._channels[name]
        if row.kind == Kind.QUOTE:
            before, self._touch[name] = self._touch[name], (row.bid, row.ask)
            if (channel := channels["level2"]).listeners:
                levels = self._levels(book, iso(event_of(row), DIGITS), before)
                event = f'{{"type":"update","product_id":"{name}","updates":[{levels}]}}'
                self._hub.publish(channel, book.update_id, message("l2_data", emit_of(row), event))
            return
        if channels["market_trades"].listeners:
            self._untold[name].append(book.prints[-1])
        if (channel := channels["ticker"]).listeners:
            text = message("ticker", emit_of(row), _ticker(book, "update"))
            self._hub.publish(channel, book.trade_id, text)

    async def run(self) -> None:
        """What comes at its own pace: trades together, heartbeats, and tickers in batches."""
        for quarter in count(1):
            await asyncio.sleep(TRADES_S)
            for name, channels in self._channels.items():
                self._tell_trades(name)
                second, rest = divmod(quarter, round(1 / TRADES_S))
                if rest:
                    continue
                now_ns = self._now_ms() * MS
                if (channel := channels["heartbeats"]).listeners:
                    event = f'{{"current_time":"{iso(now_ns, DIGITS)}","heartbeat_counter":{second}}}'
                    self._hub.publish(channel, second, message("heartbeats", now_ns, event))
                if second % BATCH_S == 0 and (channel := channels["ticker_batch"]).listeners:
                    text = message("ticker_batch", now_ns, _ticker(self.books[name], "update"))
                    self._hub.publish(channel, second, text)

    def _tell_trades(self, name: str) -> None:
        """The trades since the last time in one message, the newest first."""
        channel, untold = self._channels[name]["market_trades"], self._untold[name]
        if untold and channel.listeners:
            trades = ",".join(_trade(self.books[name], one) for one in reversed(untold))
            text = message("market_trades", self._now_ms() * MS, f'{{"type":"update","trades":[{trades}]}}')
            self._hub.publish(channel, untold[-1].id, text)
        untold.clear()

    def _levels(self, book: Book, at: str, before: tuple[int, int]) -> str:
        """The touch, and the prices that were before it as gone."""
        price, qty = book.listing.price.text, book.listing.qty.text
        found = []
        for side, old, new, lots in (
            ("bid", before[0], book.bid, book.bid_lots), ("offer", before[1], book.ask, book.ask_lots),
        ):  # fmt: skip
            levels = [(new, lots)] if old in (0, new) else [(old, 0), (new, lots)]
            found += [
                f'{{"side":"{side}","event_time":"{at}","price_level":"{price(level)}","new_quantity":"{qty(there)}"}}'
                for level, there in levels
            ]
        return ",".join(found)

    def add_routes(self, app: web.Application) -> None:
        """REST, and the websocket."""
        at = "/coinbase/api/v3/brokerage"
        for path, handler in (
            (f"{at}/market/products", self._products), (f"{at}/market/product_book", self._book),
            (f"{at}/market/products/{{name}}/ticker", self._trades), (f"{at}/time", self._time),
            ("/coinbase/v2/time", self._time), ("/coinbase/v2/currencies", self._currencies),
            ("/coinbase/v2/currencies/crypto", self._currencies), ("/coinbase/v2/exchange-rates", self._rates),
            ("/coinbase/ws", self._socket), ("/coinbase/{tail:.*}", self._nothing),
        ):  # fmt: skip
            app.router.add_get(path, handler)

    async def _products(self, request: web.Request) -> web.Response:
        spot = request.query.get("product_type", "SPOT") == "SPOT"
        products = [_product(book) for book in self.books.values()] if spot else []
        return answered({"products": products, "num_products": len(products)})

    async def _book(self, request: web.Request) -> web.Response:
        book = self.books.get(request.query.get("product_id", ""))
        if book is None:
            return _unknown()
        sides = {
            name: [{"price": price, "size": size} for price, size in levels]
            for name, levels in zip(("bids", "asks"), book.sides(), strict=True)
        }
        at = iso(self._now_ms() * MS, DIGITS)
        return answered({"pricebook": {"product_id": book.listing.id, **sides, "time": at}})

    async def _trades(self, request: web.Request) -> web.Response:
        book = self.books.get(request.match_info["name"])
        if book is None:
            return _unknown()
        last = list(book.prints)[-int(request.query.get("limit", "100")) :]
        price = book.listing.price.text
        return answered(
            {
                "trades": [json.loads(_trade(book, one)) for one in reversed(last)],
                "best_bid": price(book.bid),
                "best_ask": price(book.ask),
            }
        )

    async def _time(self, request: web.Request) -> web.Response:
        now = self._now_ms()
        if "/v2/" in request.path:
            return answered({"data": {"iso": iso(now * MS, 0), "epoch": now // 1_000}})
        return answered({"iso": iso(now * MS, 0), "epochSeconds": str(now // 1_000), "epochMillis": str(now)})

    async def _currencies(self, _: web.Request) -> web.Response:
        return answered({"data": []})

    async def _rates(self, _: web.Request) -> web.Response:
        return answered({"data": {"currency": "USD", "rates": {}}})

    async def _nothing(self, request: web.Request) -> web.Response:
        return answered({"error": "NOT_FOUND", "message": f"not spoken here: {request.path}"}, 404)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        return await listen(request, self._hub, self._asked, dress=_numbered())

    def _asked(self, connection: Connection, asked: Any) -> None:
        if not isinstance(asked, dict) or asked.get("type") not in ("subscribe", "unsubscribe"):
            connection.send('{"type":"error","message":"expected a message of type subscribe or unsubscribe"}')
            return
        kind, names = asked.get("channel"), asked.get("product_ids") or list(self.books)
        if kind == "user" and asked["type"] == "subscribe":
            if self.user is None or not self.user(connection, asked):
                connection.send('{"type":"error","message":"authentication failure"}')
                return
            self._say_subscriptions(connection)
            return
        if kind not in CHANNELS or any(name not in self.books for name in names):
            text = f"the loopback exchange has no channel {kind} of {', '.join(map(str, names))}"
            connection.send(json.dumps({"type": "error", "message": text}))
            return
        channels = [self._channels[name][kind] for name in names]
        if asked["type"] == "unsubscribe":
            self._hub.leave(connection, channels)
        for channel, name in zip(channels, names, strict=True):
            if asked["type"] == "subscribe":
                self._snapshot(connection, kind, self.books[name])
                self._hub.listen(connection, channel)
        self._say_subscriptions(connection)

    def _say_subscriptions(self, connection: Connection) -> None:
        there: dict[str, list[str]] = {}
        for name in sorted(connection.names):
            there.setdefault(name.partition(":")[0], []).append(name.partition(":")[2])
        said = message("subscriptions", self._now_ms() * MS, json.dumps({"subscriptions": there}))
        self._send(connection, said)

    def _snapshot(self, connection: Connection, kind: str, book: Book) -> None:
        name, at = book.listing.id, iso(0, 0)
        event = ""
        if kind == "level2":
            levels = self._levels(book, at, (0, 0)) if book.update_id else ""
            event, kind = f'{{"type":"snapshot","product_id":"{name}","updates":[{levels}]}}', "l2_data"
        elif kind == "market_trades" and book.prints:
            last = list(book.prints)[-SNAPSHOT:]
            event = f'{{"type":"snapshot","trades":[{",".join(_trade(book, one) for one in reversed(last))}]}}'
        elif kind.startswith("ticker") and book.update_id:
            event = _ticker(book, "snapshot")
        if event:
            self._send(connection, message(kind, self._now_ms() * MS, event))

    def _send(self, connection: Connection, text: str) -> None:
        assert connection.dress is not None
        connection.send(connection.dress("", text))


def _trade(book: Book, print_: Print) -> str:
    listing, row = book.listing, print_.row
    # Coinbase names the side of the maker.
    side = "SELL" if row.side > 0 else "BUY"
    return (
        f'{{"trade_id":"{print_.id}","product_id":"{listing.id}","price":"{listing.price.text(row.price)}",'
        f'"size":"{listing.qty.text(row.lots)}","side":"{side}","time":"{iso(event_of(row), DIGITS)}"}}'
    )


def _ticker(book: Book, kind: str) -> str:
    price, qty = book.listing.price.text, book.listing.qty.text
    last = book.prints[-1].row.price if book.prints else book.bid
    return (
        f'{{"type":"{kind}","tickers":[{{"type":"ticker","product_id":"{book.listing.id}","price":"{price(last)}",'
        f'"best_bid":"{price(book.bid)}","best_bid_quantity":"{qty(book.bid_lots)}",'
        f'"best_ask":"{price(book.ask)}","best_ask_quantity":"{qty(book.ask_lots)}"}}]}}'
    )


def _product(book: Book) -> dict[str, Any]:
    listing = book.listing
    price, qty = listing.price.text, listing.qty.text
    return {
        "product_id": listing.id,
        "price": price(book.prints[-1].row.price if book.prints else book.bid),
        "base_increment": qty(1),
        "price_increment": price(1),
        "quote_increment": price(1),
        "base_min_size": qty(1),
        "base_max_size": qty(10**9),
        "quote_min_size": "1",
        "quote_max_size": "150000000",
        "base_currency_id": listing.instrument.base,
        "quote_currency_id": listing.instrument.quote,
        "product_type": "SPOT",
        "status": "online",
        "trading_disabled": False,
        "is_disabled": False,
        "alias": "",
        "alias_to": [],
    }


def _unknown() -> web.Response:
    return answered({"error": "INVALID_ARGUMENT", "error_details": "valid product_id is required"}, 400)
