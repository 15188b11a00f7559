"""Orders over Binance's protocol: by unmodified ccxt, and signed by hand where ccxt would not send them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import ccxt.pro
import pytest

from schwabot.venues.loopback import LoopbackExchange
from schwabot.venues.loopback.urls import SECRET
from tests.venues.making import Driven, ask, becomes, played, with_ccxt

S, USDM_S, COINM_S = "BTC/USDT", "BTC/USDT:USDT", "BTC/USD:BTC"
ORDER = {
    "symbol": "BTCUSDT",
    "side": "BUY",
    "type": "LIMIT",
    "timeInForce": "GTC",
    "quantity": "0.001",
    "price": "50000",
}


def send(exchange: LoopbackExchange, **changes: Any) -> tuple[int, Any]:
    """A spot order."""
    params = {name: value for name, value in (ORDER | changes).items() if value is not None}
    return ask(exchange, "POST", "/api/v3/order", params, secret=SECRET)[:2]


def test_spot_from_order_to_balance(exchange: LoopbackExchange, feed: Driven) -> None:
    async def work(client: Any) -> None:
        bought = await client.create_order(S, "market", "buy", 0.02)
        assert (bought["status"], bought["filled"], bought["average"]) == ("expired", 0.01, 60_000.0)
        assert bought["fee"] == {"currency": "BTC", "cost": 0.00001}
        resting = await client.create_order(S, "limit", "sell", 0.01, 59_999.5, {"clientOrderId": "mine"})
        assert resting["status"] == "open"
        assert [one["clientOrderId"] for one in await client.fetch_open_orders(S)] == ["mine"]
        held = await client.fetch_balance()
        assert (held["BTC"]["used"], held["USDT"]["free"]) == (0.01, 9_400.0)
        feed.trade(5_999_950, 400, 1)
        feed.trade(5_999_960, 1, 1)
        played(exchange, feed)
        done = await client.fetch_order(resting["id"], S)
        assert (done["status"], done["filled"]) == ("closed", 0.01)
        fills = await client.fetch_my_trades(S)
        assert [(one["side"], one["amount"], one["takerOrMaker"]) for one in fills] == [
            ("buy", 0.01, "taker"),
            ("sell", 0.004, "maker"),
            ("sell", 0.006, "maker"),
        ]
        assert [one["fee"]["cost"] for one in fills[1:]] == [0.0479996, 0.0719994]
        assert [one["status"] for one in await client.fetch_orders(S)] == ["expired", "closed"]

    with_ccxt(exchange, "binance", work)
    balances = exchange.state()["accounts"]["binance"]["balances"]
    assert balances["BTC"] == {"free": "0.99999000", "locked": "0.00000000"}
    assert balances["USDT"] == {"free": "9999.87500100", "locked": "0.00000000"}


@pytest.mark.parametrize(
    ("venue", "symbol", "amount", "linear"),
    [("binanceusdm", USDM_S, 0.5, True), ("binancecoinm", COINM_S, 500.0, False)],
)
def test_contracts_from_order_to_position(
    exchange: LoopbackExchange, feed: Driven, venue: str, symbol: str, amount: float, linear: bool
) -> None:
    async def work(client: Any) -> None:
        stream = 2 if venue == "binanceusdm" else 1
        bought = await client.create_order(symbol, "market", "buy", amount)
        assert (bought["status"], bought["filled"], bought["average"]) == ("closed", amount, 60_000.0)
        (position,) = await client.fetch_positions([symbol])
        assert (position["side"], position["contracts"], position["entryPrice"]) == ("long", amount, 60_000.0)
        feed.quote(600_100, 600_110, stream=stream)
        played(exchange, feed)
        with pytest.raises(ccxt.pro.ExchangeError, match="-2022"):
            await client.create_order(symbol, "market", "sell", 2 * amount, None, {"reduceOnly": True})
        await client.create_order(symbol, "market", "sell", amount, None, {"reduceOnly": True})
        first, last = await client.fetch_my_trades(symbol)
        assert float(first["info"]["realizedPnl"]) == 0.0
        if linear:
            assert float(last["info"]["realizedPnl"]) == 5.0
            fees = 0.0005 * 0.5 * (60_000 + 60_010)
            assert (await client.fetch_balance())["USDT"]["total"] == pytest.approx(10_005 - fees, abs=1e-8)
        else:
            assert float(last["info"]["realizedPnl"]) == pytest.approx(50_000 / 60_000 - 50_000 / 60_010, abs=5e-9)
        assert exchange.state()["accounts"][venue]["positions"] == {f"{venue}:{symbol}": 0}

    with_ccxt(exchange, venue, work)


@pytest.mark.parametrize("venue", ["binance", "binanceusdm", "binancecoinm"])
def test_the_users_stream_tells_all(exchange: LoopbackExchange, feed: Driven, venue: str) -> None:
    symbol = {"binance": S, "binanceusdm": USDM_S, "binancecoinm": COINM_S}[venue]
    amount = 1.0 if venue == "binancecoinm" else 0.01

    async def work(client: Any) -> None:
        await client.load_markets()
        watching = [asyncio.create_task(one) for one in (client.watch_orders(symbol), client.watch_my_trades(symbol))]
        await becomes(lambda: exchange.hub.channel(venue, "user").listeners)
        await client.create_order(symbol, "limit", "buy", amount, 60_000.0, {"clientOrderId": "first"})
        await client.create_order(symbol, "limit", "buy", amount, 59_000.0, {"clientOrderId": "second"})
        await client.cancel_order(None, symbol, {"clientOrderId": "second"})
        await becomes(lambda: client.orders is not None and len(client.orders) == 2 and client.myTrades)
        await becomes(lambda: client.orders[1]["status"] == "canceled")
        assert [(one["status"], one["filled"]) for one in client.orders] == [("closed", amount), ("canceled", 0.0)]
        assert [(one["amount"], one["price"]) for one in client.myTrades] == [(amount, 60_000.0)]
        for task in watching:
            task.cancel()
        await asyncio.gather(*watching, return_exceptions=True)

    with_ccxt(exchange, venue, work)


@pytest.mark.parametrize("venue", ["binanceusdm", "binancecoinm"])
def test_refusals_are_the_errors_that_ccxt_has_for_them(exchange: LoopbackExchange, venue: str) -> None:
    symbol = USDM_S if venue == "binanceusdm" else COINM_S

    async def work(client: Any) -> None:
        with pytest.raises(ccxt.pro.InsufficientFunds, match="-2019"):
            await client.create_order(symbol, "limit", "buy", 100_000, 50_000.0)
        with pytest.raises(ccxt.pro.OrderNotFound, match="-2011"):
            await client.cancel_order("77", symbol)
        with pytest.raises(ccxt.pro.OrderNotFound, match="-2013"):
            await client.fetch_order("77", symbol)

    with_ccxt(exchange, venue, work)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"symbol": "NOPE"}, -1121),
        ({"side": "HOLD"}, -1117),
        ({"type": "STOP"}, -1116),
        ({"timeInForce": "GTD"}, -1115),
        ({"price": None}, -1102),
        ({"price": "50000.001"}, -1013),
        ({"quantity": "0.000001"}, -1013),
        ({"quantity": "0.00002"}, -1013),
        ({"quantity": "much"}, -1013),
        ({"quantity": "1"}, -2010),
        ({"type": "LIMIT_MAKER", "price": "60000"}, -2010),
        ({"timeInForce": "FOK", "price": "60000", "quantity": "0.02"}, -2010),
    ],
)
def test_bad_orders_are_refused_with_binances_codes(
    exchange: LoopbackExchange, changes: dict[str, str | None], code: int
) -> None:
    status, answer = send(exchange, **changes)
    assert (status, answer["code"]) == (400, code)
    assert not exchange.state()["accounts"]["binance"]["orders"]


def test_who_asks_is_checked(exchange: LoopbackExchange) -> None:
    path = "/api/v3/account"
    late = int(time.time() * 1e3) - 6_000
    cases = [
        ({"key": "", "secret": SECRET}, 401, -2014),
        ({"key": "other", "secret": SECRET}, 401, -2015),
        ({"secret": SECRET[:-1]}, 400, -1022),
        ({"secret": ""}, 400, -1102),
        ({"secret": SECRET, "timestamp": late}, 400, -1021),
        ({"secret": SECRET, "timestamp": late + 12_000}, 400, -1021),
    ]
    for given, status, code in cases:
        assert ask(exchange, "GET", path, **given)[:2][0] == status, given
        assert ask(exchange, "GET", path, **given)[1]["code"] == code, given
    assert ask(exchange, "GET", path, secret=SECRET, timestamp=late, recvWindow=60_000)[0] == 200


def test_one_name_is_one_open_order(exchange: LoopbackExchange) -> None:
    assert send(exchange, newClientOrderId="once")[0] == 200
    status, answer = send(exchange, newClientOrderId="once")
    assert (status, answer) == (400, {"code": -2010, "msg": "Duplicate order sent."})
    assert len(exchange.state()["accounts"]["binance"]["orders"]) == 1
    name = {"symbol": "BTCUSDT", "origClientOrderId": "once"}
    assert ask(exchange, "GET", "/api/v3/order", name, secret=SECRET)[1]["orderId"] == 1
    assert ask(exchange, "DELETE", "/api/v3/order", name, secret=SECRET)[1]["status"] == "CANCELED"
    assert ask(exchange, "DELETE", "/api/v3/order", name, secret=SECRET)[1]["code"] == -2011
    nobody = name | {"origClientOrderId": "nobody"}
    assert ask(exchange, "GET", "/api/v3/order", nobody, secret=SECRET)[1]["code"] == -2013
    # As at Binance, a name is free again once its order is not open any more.
    assert send(exchange, newClientOrderId="once")[0] == 200


def test_eight_orders_may_rest(exchange: LoopbackExchange) -> None:
    for _ in range(8):
        assert send(exchange)[0] == 200
    assert send(exchange)[1]["msg"] == "Filter failure: MAX_NUM_ORDERS"
    assert len(ask(exchange, "DELETE", "/api/v3/openOrders", {"symbol": "BTCUSDT"}, secret=SECRET)[1]) == 8
    assert send(exchange)[0] == 200


def test_what_is_left_of_a_limit_order_rests_and_of_others_is_gone(exchange: LoopbackExchange, feed: Driven) -> None:
    beyond = {"price": "60000", "quantity": "0.015"}
    assert send(exchange, **beyond, timeInForce="IOC")[1]["status"] == "EXPIRED"
    order = send(exchange, **beyond)[1]
    assert (order["status"], order["executedQty"]) == ("PARTIALLY_FILLED", "0.01000000")
    feed.quote(5_999_900, 6_000_000)
    played(exchange, feed)
    first, second = exchange.state()["accounts"]["binance"]["orders"]
    assert (first["executedQty"], second["status"]) == ("0.01000000", "FILLED")


def test_cancel_and_replace_in_one(exchange: LoopbackExchange) -> None:
    async def work(client: Any) -> None:
        order = await client.create_order(S, "limit", "buy", 0.001, 50_000.0)
        other = await client.edit_order(order["id"], S, "limit", "buy", 0.002, 51_000.0)
        assert (other["amount"], other["price"], other["status"]) == (0.002, 51_000.0, "open")
        assert [one["id"] for one in await client.fetch_open_orders(S)] == [other["id"]]

    with_ccxt(exchange, "binance", work)


def test_orders_over_the_websocket_api(exchange: LoopbackExchange) -> None:
    async def work(client: Any) -> None:
        order = await client.create_order_ws(S, "limit", "buy", 0.001, 50_000.0)
        assert order["status"] == "open"
        assert (await client.cancel_order_ws(order["id"], S))["status"] == "canceled"
        with pytest.raises(ccxt.pro.ExchangeError, match="-2011"):
            await client.cancel_order_ws(order["id"], S)

    with_ccxt(exchange, "binance", work)
