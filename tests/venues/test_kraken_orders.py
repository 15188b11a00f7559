"""Kraken's private side of the loopback exchange, through unmodified ccxt: what it refuses, and in which words."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import ccxt
import pytest

from schwabot.records.instrument import Instrument
from schwabot.venues.loopback import LoopbackExchange
from schwabot.venues.loopback.urls import credentials
from tests.venues.making import Driven, played, with_ccxt

SYMBOL = "BTC/USD"


@pytest.fixture
def exchange() -> Iterator[LoopbackExchange]:
    feed = Driven(Instrument("kraken:BTC/USD", 0.1, 1e-8, maker_fee_bp=25.0, taker_fee_bp=40.0))
    feed.quote(599_990, 600_000, 10**8, 10**8)
    with LoopbackExchange(feed, speed=0, deposits={"USD": "1000", "BTC": "1"}) as up:
        played(up, feed)
        yield up
        feed.end()


def asked(exchange: LoopbackExchange, work: Callable[[Any], Awaitable[Any]]) -> Any:
    return with_ccxt(exchange, "kraken", work, enableRateLimit=False, **credentials("kraken"))


def place(amount: float = 0.001, price: float = 59_000.0, side: str = "buy", **params: Any) -> Any:
    return lambda client: client.create_order(SYMBOL, "limit", side, amount, price, params)


def in_s(seconds: float) -> str:
    return datetime.fromtimestamp(time.time() + seconds, UTC).isoformat(timespec="milliseconds")


@pytest.mark.parametrize(
    ("work", "kind", "said"),
    [
        (place(amount=1e-7), ccxt.ExchangeError, "EOrder:Cost minimum not met"),
        (place(amount=1.0), ccxt.InsufficientFunds, "EOrder:Insufficient funds"),
        (place(amount=2.0, side="sell", price=70_000.0), ccxt.InsufficientFunds, "EOrder:Insufficient funds"),
        (place(clientOrderId="a-name-of-nineteen-"), ccxt.ExchangeError, "EGeneral:Invalid arguments:cl_ord_id"),
        (place(deadline=in_s(1.0)), ccxt.ExchangeError, "EGeneral:Invalid arguments:deadline"),
        (place(deadline=in_s(86_400.0)), ccxt.ExchangeError, "EGeneral:Invalid arguments:deadline"),
        (place(deadline="soon"), ccxt.ExchangeError, "EGeneral:Invalid arguments:deadline"),
        (place(timeInForce="FOK"), ccxt.ExchangeError, "EGeneral:Invalid arguments:timeinforce"),
        (place(oflags="fcib"), ccxt.ExchangeError, "EGeneral:Invalid arguments:oflags"),
        (lambda client: client.cancel_order("OAAAAA-AAAAA-AAAAAA"), ccxt.OrderNotFound, "EOrder:Unknown order"),
        (lambda client: client.privatePostTradeVolume(), ccxt.ExchangeError, "EGeneral:Unknown method"),
    ],
)
def test_what_it_refuses(
    exchange: LoopbackExchange, work: Callable[[Any], Awaitable[Any]], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        asked(exchange, work)
    assert exchange.state()["accounts"]["kraken"]["orders"] == []


def test_a_post_only_order_that_would_take_is_cancelled(exchange: LoopbackExchange) -> None:
    async def work(client: Any) -> Any:
        number = (await place(price=60_001.0, postOnly=True)(client))["id"]
        return (await client.fetch_order(number, SYMBOL))["info"]

    info = asked(exchange, work)
    assert (info["status"], info["reason"], info["vol_exec"]) == ("canceled", "Post only order", "0.00000000")


def test_fees_are_in_dollars_and_bookings_are_rounded(exchange: LoopbackExchange) -> None:
    async def work(client: Any) -> Any:
        await client.create_order(SYMBOL, "limit", "buy", 0.00123457, 60_000.0, {"timeInForce": "IOC"})
        return (await client.fetch_my_trades(SYMBOL))[0], await client.fetch_balance()

    trade, held = asked(exchange, work)
    assert trade["fee"] == {"cost": 0.2963, "currency": "USD"}  # 0.2962968, as its list has it
    assert (trade["takerOrMaker"], held["BTC"]["total"]) == ("taker", 1.00123457)
    assert held["USD"]["total"] == 925.6295  # 1000 − 74.0742 − 0.2963


def test_everything_open_is_cancelled_and_stays_in_the_list(exchange: LoopbackExchange) -> None:
    async def work(client: Any) -> Any:
        for number in range(3):
            await client.create_order(SYMBOL, "limit", "buy", 0.001, 59_000.0, {"clientOrderId": f"all-{number}"})
        held = await client.fetch_balance()
        await client.cancel_all_orders()
        return held, await client.fetch_closed_orders(SYMBOL), await client.fetch_open_orders(SYMBOL)

    held, closed, still = asked(exchange, work)
    assert held["USD"]["used"] == 177.708  # three times 59, and the fee of a taker
    assert sorted(one["clientOrderId"] for one in closed) == ["all-0", "all-1", "all-2"]
    assert {one["status"] for one in closed} == {"canceled"}
    assert still == []


def test_a_socket_needs_a_token(exchange: LoopbackExchange) -> None:
    async def work(client: Any) -> Any:
        await client.load_markets()
        wrong = {"method": "subscribe", "params": {"channel": "executions", "token": "x"}, "req_id": 7}
        with pytest.raises(ccxt.AuthenticationError, match="ESession:Invalid session"):
            await client.watch(client.urls["api"]["ws"]["privateV2"], "7", wrong, "7")

    asked(exchange, work)
