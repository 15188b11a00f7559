"""What ccxt's own classes keep of a message is found, whole and in order, whichever way they keep it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import ccxt.pro
import pytest

from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Kind
from schwabot.ticks.ccxt_rest import quote_row
from schwabot.ticks.ccxt_rows import Receipt, StreamRows
from schwabot.ticks.ccxt_tap import Found, Tap


class Heard:
    """A tap that keeps what it is told."""

    def __init__(self) -> None:
        self.found: list[Found] = []
        self.ended: list[str] = []
        self.unread: list[Exception] = []
        self.holes: list[tuple[int, int]] = []
        self.tap = Tap(
            on_message=lambda: None,
            on_found=lambda client, found: self.found.extend(found),
            on_ended=lambda client, reason: self.ended.append(reason),
            on_unread=lambda client, error: self.unread.append(error),
            on_hole=lambda client, first, last: self.holes.append((first, last)),
            on_client=lambda client: None,
        )


def market(symbol: str, name: str) -> dict[str, Any]:
    base, quote = symbol.split("/")
    return {"id": name, "symbol": symbol, "base": base, "quote": quote, "baseId": base, "quoteId": quote,
            "type": "spot", "spot": True, "active": True, "info": {"wsname": symbol, "altname": name},
            "precision": {"price": 0.01, "amount": 1e-8}}  # fmt: skip


def tapped(venue: str, name: str, work: Callable[[Any, Any, Heard], None]) -> Heard:
    heard = Heard()

    async def run() -> None:
        exchange = heard.tap.exchange(getattr(ccxt.pro, venue), {})
        exchange.set_markets([market("BTC/USD", name)])
        try:
            work(exchange, exchange.client("ws://127.0.0.1:1/x"), heard)
        finally:
            await exchange.close()

    asyncio.run(run())
    return heard


def coinbase_book(kind: str, side: str, price: str, size: str) -> dict[str, Any]:
    update = {"side": side, "event_time": "1970-01-01T00:00:00Z", "price_level": price, "new_quantity": size}
    return {"channel": "l2_data", "timestamp": "2026-11-01T00:00:00.123456789Z", "sequence_num": 1,
            "events": [{"type": kind, "product_id": "BTC-USD", "updates": [update]}]}  # fmt: skip


def coinbase_trades(*numbers: int) -> dict[str, Any]:
    trades = [{"trade_id": str(number), "product_id": "BTC-USD", "price": "100.5", "size": "0.25", "side": "BUY",
               "time": "2026-11-01T00:00:00.5Z"} for number in numbers]  # fmt: skip
    return {"channel": "market_trades", "timestamp": "2026-11-01T00:00:00.6Z", "sequence_num": 1,
            "events": [{"type": "update", "trades": trades}]}  # fmt: skip


def test_books_that_change_in_place_make_a_row_when_their_top_does() -> None:
    def work(exchange: Any, client: Any, heard: Heard) -> None:
        heard.tap.book_symbols = ("BTC/USD",)
        rows = StreamRows(0, Instrument("coinbase:BTC/USD", 0.01, 1e-8), Receipt(), 0)
        made = []
        for message in (
            coinbase_book("snapshot", "bid", "100.00", "1"),
            coinbase_book("update", "offer", "101.00", "2"),
            coinbase_book("update", "offer", "105.00", "2"),
            coinbase_book("update", "bid", "100.50", "3"),
        ):
            exchange.handle_message(client, message)
            made += [quote_row(rows, kind, value) for kind, _, value in heard.found]
            heard.found.clear()
        assert [row[5:9] for row in made if row is not None] == [
            (10_000, 10_100, 100_000_000, 200_000_000),
            (10_050, 10_100, 300_000_000, 200_000_000),
        ]
        assert {row[1:3] for row in made if row is not None} == {(1_793_491_200_123_000_000,) * 2}
        assert rows.counts.dropped == {"one_sided": 1}, "the snapshot had no ask"
        assert rows.counts.examples == ["coinbase:BTC/USD: bid 100.0, ask None: a side is empty"]
        for price in ("105.00", "101.00"):
            exchange.handle_message(client, coinbase_book("update", "offer", price, "0"))
        ((kind, _, value),) = heard.found
        assert quote_row(rows, kind, value) is None
        assert rows.counts.dropped == {"one_sided": 2}

    tapped("coinbase", "BTC-USD", work)


def test_a_new_connection_tells_the_book_that_it_brings_and_not_the_one_of_the_old() -> None:
    def work(exchange: Any, client: Any, heard: Heard) -> None:
        heard.tap.book_symbols = ("BTC/USD",)
        for kind, side, price in (("snapshot", "bid", "100.00"), ("update", "offer", "101.00")):
            exchange.handle_message(client, coinbase_book(kind, side, price, "1"))
        told = len(heard.found)
        heard.tap.renew(exchange, ["BTC/USD"])
        exchange.handle_message(client, coinbase_trades(1))
        assert [kind for kind, _, _ in heard.found[told:]] == ["trade"]
        again = coinbase_book("update", "bid", "100.00", "1") | {"timestamp": "2026-11-01T00:00:09Z"}
        exchange.handle_message(client, again)
        assert [kind for kind, _, _ in heard.found[told:]] == ["trade", "book"]

    tapped("coinbase", "BTC-USD", work)


def test_every_trade_of_a_message_is_found_once_and_in_order() -> None:
    def work(exchange: Any, client: Any, heard: Heard) -> None:
        for message in (coinbase_trades(2, 1), coinbase_trades(5, 4, 3)):
            exchange.handle_message(client, message)

    heard = tapped("coinbase", "BTC-USD", work)
    assert [(kind, value["id"]) for kind, _, value in heard.found] == [("trade", str(n)) for n in range(1, 6)]


def test_more_trades_than_ccxt_keeps_are_all_found() -> None:
    def work(exchange: Any, client: Any, heard: Heard) -> None:
        exchange.options["tradesLimit"] = 10
        exchange.handle_message(client, coinbase_trades(*range(500, 0, -1)))

    heard = tapped("coinbase", "BTC-USD", work)
    assert [value["id"] for _, _, value in heard.found] == [str(n) for n in range(1, 501)]


def test_krakens_quotes_have_no_stamp_and_its_trades_have() -> None:
    ticker = {"symbol": "BTC/USD", "bid": 100.1, "bid_qty": 0.5, "ask": 100.2, "ask_qty": 2.0, "last": 100.1}
    trade = {"symbol": "BTC/USD", "side": "sell", "price": 100.1, "qty": 0.25, "ord_type": "market", "trade_id": 7,
             "timestamp": "2026-11-01T00:00:00.123456Z"}  # fmt: skip

    def work(exchange: Any, client: Any, heard: Heard) -> None:
        exchange.handle_message(client, {"channel": "ticker", "type": "update", "data": [ticker]})
        exchange.handle_message(client, {"channel": "trade", "type": "update", "data": [trade]})

    heard = tapped("kraken", "XXBTZUSD", work)
    rows = StreamRows(0, Instrument("kraken:BTC/USD", 0.1, 1e-8), Receipt(), 0)
    (kind, _, quote), (other, _, told) = heard.found
    assert (kind, other) == ("quote", "trade")
    row = quote_row(rows, kind, quote)
    assert row is not None
    assert row[1:9] == (MISSING_NS, MISSING_NS, 0, Kind.QUOTE, 1_001, 1_002, 50_000_000, 200_000_000)
    row = rows.trade(told, 0.0)
    assert row is not None
    assert row[1:5] == (1_793_491_200_123_000_000, MISSING_NS, 0, Kind.TRADE)
    assert row[9:] == (1_001, 25_000_000, -1)


def test_a_message_that_ccxt_refuses_is_told_and_does_not_end_the_reading() -> None:
    def work(exchange: Any, client: Any, heard: Heard) -> None:
        exchange.handle_message(client, {"type": "error", "message": "no such product"})
        exchange.handle_message(client, coinbase_trades(1))

    heard = tapped("coinbase", "BTC-USD", work)
    assert [str(error) for error in heard.unread] == ["no such product"]
    assert len(heard.found) == 1


def test_a_message_after_a_hole_in_the_numbers_is_not_read() -> None:
    def work(exchange: Any, client: Any, heard: Heard) -> None:
        other = exchange.client("ws://127.0.0.1:1/y")
        for on, number in ((client, 3), (other, 90), (client, 4), (client, 4), (client, 8), (other, 91)):
            exchange.handle_message(on, coinbase_trades(100 * number) | {"sequence_num": number})

    heard = tapped("coinbase", "BTC-USD", work)
    assert heard.holes == [(5, 7)]
    assert [value["id"] for _, _, value in heard.found] == ["300", "9000", "400", "400", "9100"]
    assert heard.tap.messages == 6


@pytest.mark.parametrize("code", [1000, 1006])
def test_the_end_of_a_connection_is_told(code: int) -> None:
    heard = tapped("coinbase", "BTC-USD", lambda exchange, client, heard: exchange.on_close(client, code))
    assert heard.ended == [f"closed by the venue, code {code}"]


def test_a_connection_that_was_given_up_is_not_listened_to() -> None:
    def work(exchange: Any, client: Any, heard: Heard) -> None:
        exchange.handle_message(client, coinbase_trades(1))
        client.on_error(ccxt.NetworkError("silent"))
        exchange.handle_message(client, coinbase_trades(2))

    heard = tapped("coinbase", "BTC-USD", work)
    assert [value["id"] for _, _, value in heard.found] == ["1"]
    assert heard.ended == ["silent"]
