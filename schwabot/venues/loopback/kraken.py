"""Kraken's public side: pairs over REST, and ticker, book and trade over its websocket API v2.

Source: Kraken, Spot REST API and Spot WebSocket API v2.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import orjson
from aiohttp import web

from schwabot.records.market import Kind
from schwabot.venues.loopback.binance_public import answered
from schwabot.venues.loopback.book import Book, Print
from schwabot.venues.loopback.hub import Channel, Connection, Hub
from schwabot.venues.loopback.kraken_words import asset_id, places_of
from schwabot.venues.loopback.listing import KRAKEN, KRAKEN_OLD, kraken_name
from schwabot.venues.loopback.player import MS, Row
from schwabot.venues.loopback.sockets import listen
from schwabot.venues.loopback.stamps import event_of, iso

DIGITS = 6
DEPTHS = (10, 25, 100, 500, 1000)
SNAPSHOT = 50
"""Trades of a snapshot, where one is asked for."""


class Kraken:
    """Kraken.

    Args:
        books: of its pairs, by Kraken's name in REST.
        hub: where its channels are.
        now_ms: its clock.
    """

    venue = KRAKEN

    def __init__(self, books: Mapping[str, Book], hub: Hub, now_ms: Callable[[], int]) -> None:
        self.books = books
        self._by_symbol = {book.listing.instrument.symbol: book for book in books.values()}
        self._hub = hub
        self._now_ms = now_ms
        kinds = ("ticker:bbo", "ticker:trades", "trade", *(f"book:{depth}" for depth in DEPTHS))
        self._channels: dict[str, dict[str, Channel]] = {
            symbol: {kind: hub.channel(KRAKEN, f"{kind}:{symbol}") for kind in kinds} for symbol in self._by_symbol
        }
        self._touch = dict.fromkeys(self._by_symbol, (0, 0))

    def publish(self, book: Book, row: Row) -> None:
        """A row of the market, after the book took it."""
        symbol = book.listing.instrument.symbol
        channels = self._channels[symbol]
        if row.kind == Kind.QUOTE:
            before, self._touch[symbol] = self._touch[symbol], (row.bid, row.ask)
            if before != (row.bid, row.ask):  # a change of price levels, as Kraken has it: not of quantities
                self._tell(channels["ticker:bbo"], book.update_id, lambda: _message("ticker", "update", _ticker(book)))
            for depth in DEPTHS:
                self._tell(
                    channels[f"book:{depth}"],
                    book.update_id,
                    lambda: _message("book", "update", _levels(book, before, event_of(row))),
                )
            return
        self._tell(channels["trade"], book.trade_id, lambda: _message("trade", "update", _trade(book, book.prints[-1])))
        self._tell(channels["ticker:trades"], book.trade_id, lambda: _message("ticker", "update", _ticker(book)))

    def _tell(self, channel: Channel, number: int, text: Callable[[], str]) -> None:
        if channel.listeners:
            self._hub.publish(channel, number, text())

    async def run(self) -> None:
        """A heartbeat a second to all who subscribed to anything."""
        while True:
            await asyncio.sleep(1)
            for connection in {one for there in self._channels.values() for c in there.values() for one in c.listeners}:
                connection.send('{"channel":"heartbeat"}')

    def add_routes(self, app: web.Application) -> None:
        """REST, and the websocket."""
        for name, handler in (
            ("Time", self._time), ("SystemStatus", self._status), ("Assets", self._assets),
            ("AssetPairs", self._pairs), ("Depth", self._depth), ("Trades", self._trades), ("Ticker", self._tickers),
        ):  # fmt: skip
            app.router.add_get(f"/kraken/0/public/{name}", handler)
        app.router.add_get("/kraken/ws/v2", self._socket)
        app.router.add_route("*", "/kraken/{tail:.*}", self._nothing)

    async def _time(self, _: web.Request) -> web.Response:
        return _result({"unixtime": self._now_ms() // 1_000, "rfc1123": ""})

    async def _status(self, _: web.Request) -> web.Response:
        return _result({"status": "online", "timestamp": iso(self._now_ms() * MS, 0)})

    async def _assets(self, _: web.Request) -> web.Response:
        assets = {
            asset
            for book in self.books.values()
            for asset in (book.listing.instrument.base, book.listing.instrument.quote)
        }
        common = {"aclass": "currency", "display_decimals": 8, "status": "enabled"}
        return _result(
            {
                asset_id(one): common | {"altname": kraken_name(one), "decimals": places_of(one)}
                for one in sorted(assets)
            }
        )

    async def _pairs(self, _: web.Request) -> web.Response:
        return _result({name: _pair(book) for name, book in self.books.items()})

    async def _depth(self, request: web.Request) -> web.Response:
        book = self._find(request.query.get("pair", ""))
        if book is None:
            return _unknown()
        bids, asks = book.sides()
        at = self._now_ms() // 1_000
        sides = {name: [[*level, at] for level in levels] for name, levels in (("bids", bids), ("asks", asks))}
        return _result({book.listing.id: sides})

    async def _trades(self, request: web.Request) -> web.Response:
        book = self._find(request.query.get("pair", ""))
        if book is None:
            return _unknown()
        price, qty = book.listing.price.text, book.listing.qty.text
        last = list(book.prints)[-int(request.query.get("count", "1000")) :]
        rows = [
            [price(row.price), qty(row.lots), event_of(row) / 1e9, "s" if row.side < 0 else "b", "m", "", number]
            for number, row in last
        ]
        return _result({book.listing.id: rows, "last": str(event_of(last[-1].row) if last else 0)})

    async def _tickers(self, request: web.Request) -> web.Response:
        names = request.query["pair"].split(",") if "pair" in request.query else list(self.books)
        books = [self._find(name) for name in names]
        found = [book for book in books if book is not None]
        return (
            _result({book.listing.id: _rest_ticker(book) for book in found}) if len(found) == len(books) else _unknown()
        )

    async def _nothing(self, request: web.Request) -> web.Response:
        return answered({"error": [f"EGeneral:Unknown method:{request.path}"]}, 404)

    def _find(self, name: str) -> Book | None:
        alternatives = (
            book for book in self.books.values() if name in (_altname(book), book.listing.instrument.symbol)
        )
        return self.books.get(name) or next(alternatives, None)

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        def begin(connection: Connection) -> None:
            data = {"version": "2.0.0", "system": "online", "api_version": "v2", "connection_id": id(connection)}
            connection.send(_json({"channel": "status", "type": "update", "data": [data]}))

        return await listen(request, self._hub, self._asked, begin)

    def _asked(self, connection: Connection, asked: Any) -> None:
        now = iso(self._now_ms() * MS, DIGITS)
        method = asked.get("method") if isinstance(asked, dict) else None
        said: dict[str, Any] = {"method": method, "time_in": now, "time_out": now}
        if isinstance(asked, dict) and "req_id" in asked:
            said["req_id"] = asked["req_id"]
        if method == "ping":
            connection.send(_json(said | {"method": "pong"}))
            return
        params = asked.get("params", {}) if isinstance(asked, dict) else {}
        if method not in ("subscribe", "unsubscribe"):
            connection.send(_json(said | {"success": False, "error": f"Malformed request: no method {method}"}))
            return
        for symbol in params.get("symbol") or []:
            kind = _kind(params)
            book, channel = self._by_symbol.get(symbol), self._channels.get(symbol, {}).get(kind)
            if book is None or channel is None:
                error = (
                    f"Currency pair not supported {symbol}" if book is None else f"Subscription name invalid: {kind}"
                )
                connection.send(_json(said | {"success": False, "error": error, "symbol": symbol}))
                continue
            result = {"channel": params["channel"], "symbol": symbol, "snapshot": _wants_snapshot(params)}
            connection.send(_json(said | {"success": True, "result": result}))
            if method == "unsubscribe":
                self._hub.leave(connection, [channel])
                continue
            if _wants_snapshot(params):
                self._snapshot(connection, params["channel"], book)
            self._hub.listen(connection, channel)

    def _snapshot(self, connection: Connection, kind: str, book: Book) -> None:
        if kind == "trade":
            trades = ",".join(_trade(book, one) for one in list(book.prints)[-SNAPSHOT:])
            connection.send(_message("trade", "snapshot", trades))
        elif kind == "book":
            connection.send(_message("book", "snapshot", _levels(book, (0, 0), None)))
        elif book.update_id:
            connection.send(_message("ticker", "snapshot", _ticker(book)))


def _kind(params: Mapping[str, Any]) -> str:
    channel = params.get("channel")
    if channel == "ticker":
        return f"ticker:{params.get('event_trigger', 'trades')}"
    return f"book:{params.get('depth', 10)}" if channel == "book" else str(channel)


def _wants_snapshot(params: Mapping[str, Any]) -> bool:
    return bool(params.get("snapshot", params.get("channel") != "trade"))


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


def _message(channel: str, kind: str, data: str) -> str:
    return f'{{"channel":"{channel}","type":"{kind}","data":[{data}]}}'


def _ticker(book: Book) -> str:
    price, qty = book.listing.price.text, book.listing.qty.text
    last = book.prints[-1].row.price if book.prints else book.bid
    return (
        f'{{"symbol":"{book.listing.instrument.symbol}","bid":{price(book.bid)},"bid_qty":{qty(book.bid_lots)},'
        f'"ask":{price(book.ask)},"ask_qty":{qty(book.ask_lots)},"last":{price(last)}}}'
    )


def _levels(book: Book, before: tuple[int, int], at_ns: int | None) -> str:
    """The touch, and the prices that were before it as gone; without a time in a snapshot."""
    price, qty = book.listing.price.text, book.listing.qty.text
    sides = []
    for old, new, lots in ((before[0], book.bid, book.bid_lots), (before[1], book.ask, book.ask_lots)):
        levels = [(old, 0)] if old not in (0, new) else []
        levels += [(new, lots)] if new else []
        sides.append(",".join(f'{{"price":{price(level)},"qty":{qty(there)}}}' for level, there in levels))
    stamp = "" if at_ns is None else f',"timestamp":"{iso(at_ns, DIGITS)}"'
    return (
        f'{{"symbol":"{book.listing.instrument.symbol}","bids":[{sides[0]}],"asks":[{sides[1]}],'
        f'"checksum":{_checksum(book)}{stamp}}}'
    )


def _checksum(book: Book) -> int:
    """CRC32 of the book's digits, asks first, without points and leading zeros."""
    price, qty = book.listing.price.text, book.listing.qty.text
    fields = (price(book.ask), qty(book.ask_lots), price(book.bid), qty(book.bid_lots))
    return zlib.crc32("".join(one.replace(".", "").lstrip("0") for one in fields).encode())


def _trade(book: Book, print_: Print) -> str:
    listing, row = book.listing, print_.row
    return (
        f'{{"symbol":"{listing.instrument.symbol}","side":"{"sell" if row.side < 0 else "buy"}",'
        f'"price":{listing.price.text(row.price)},"qty":{listing.qty.text(row.lots)},"ord_type":"market",'
        f'"trade_id":{print_.id},"timestamp":"{iso(event_of(row), DIGITS)}"}}'
    )


def _altname(book: Book) -> str:
    instrument = book.listing.instrument
    return kraken_name(instrument.base) + kraken_name(instrument.quote)


def _pair(book: Book) -> dict[str, Any]:
    listing = book.listing
    instrument = listing.instrument
    return {
        "altname": _altname(book),
        "wsname": f"{kraken_name(instrument.base)}/{kraken_name(instrument.quote)}",
        "aclass_base": "currency",
        "base": KRAKEN_OLD.get(instrument.base, instrument.base),
        "aclass_quote": "currency",
        "quote": KRAKEN_OLD.get(instrument.quote, instrument.quote),
        "lot": "unit",
        "cost_decimals": 8,
        "pair_decimals": listing.price.places,
        "lot_decimals": listing.qty.places,
        "lot_multiplier": 1,
        "leverage_buy": [],
        "leverage_sell": [],
        "fees": [[0, instrument.taker_fee_bp / 100]],
        "fees_maker": [[0, instrument.maker_fee_bp / 100]],
        "ordermin": listing.qty.text(1),
        "costmin": "0.5",
        "tick_size": listing.price.text(1),
        "status": "online",
    }


def _rest_ticker(book: Book) -> dict[str, Any]:
    price, qty = book.listing.price.text, book.listing.qty.text
    last = price(book.prints[-1].row.price if book.prints else book.bid)
    return {
        "a": [price(book.ask), "1", qty(book.ask_lots)],
        "b": [price(book.bid), "1", qty(book.bid_lots)],
        "c": [last, qty(book.prints[-1].row.lots if book.prints else 0)],
        "v": ["0", "0"],
        "p": [last, last],
        "t": [0, 0],
        "l": [last, last],
        "h": [last, last],
        "o": last,
    }


def _result(value: Any) -> web.Response:
    return answered({"error": [], "result": value})


def _unknown() -> web.Response:
    return answered({"error": ["EQuery:Unknown asset pair"]})
