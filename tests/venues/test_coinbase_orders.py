"""Orders over Coinbase's protocol: by unmodified ccxt, and with tokens made by hand where ccxt would not make them."""

from __future__ import annotations

import asyncio
import json
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import ccxt.pro
import pytest

from schwabot.records.instrument import Instrument
from schwabot.venues.loopback import LoopbackExchange
from schwabot.venues.loopback.coinbase_keys import named_key
from schwabot.venues.loopback.urls import KEY, SECRET
from tests.venues.making import Driven, becomes, played, with_ccxt

S = "BTC/USD"
BTC_USD = Instrument("coinbase:BTC/USD", 0.01, 1e-8, maker_fee_bp=4.0, taker_fee_bp=6.0)
NAME, PEM = named_key(KEY, SECRET)
KEYS = {"apiKey": NAME, "secret": PEM, "enableRateLimit": False}
AT = "/coinbase/api/v3/brokerage"


@pytest.fixture
def feed() -> Iterator[Driven]:
    """One product, with a touch of 0.01 BTC."""
    driven = Driven(BTC_USD)
    driven.quote(5_999_900, 6_000_000, 1_000_000, 1_000_000)
    yield driven
    driven.end()


@pytest.fixture
def exchange(feed: Driven) -> Iterator[LoopbackExchange]:
    """With an account, as fast as it gets."""
    with LoopbackExchange(feed, speed=0, deposits={"USD": "10000", "BTC": "1"}) as up:
        played(up, feed)
        yield up
        feed.end()


def named(name: str, **more: Any) -> dict[str, Any]:
    return {"client_order_id": name, **more}


def test_from_order_to_balance(exchange: LoopbackExchange, feed: Driven) -> None:
    async def work(client: Any) -> None:
        taken = await client.create_order(S, "limit", "buy", 0.02, 60_001.0, named("a", timeInForce="IOC"))
        assert (taken["clientOrderId"], taken["status"]) == ("a", None)  # Coinbase's answer does not say more
        bought = await client.fetch_order(taken["id"], S)
        assert (bought["status"], bought["filled"], bought["average"]) == ("canceled", 0.01, 60_000.0)
        assert (float(bought["fee"]["cost"]), bought["fee"]["currency"]) == (0.36, "USD")
        resting = await client.create_order(S, "limit", "sell", 0.01, 59_999.5, named("b", postOnly=True))
        assert [one["clientOrderId"] for one in await client.fetch_open_orders(S)] == ["b"]
        held = await client.fetch_balance({"v3": True})
        assert (held["BTC"]["used"], held["USD"]["total"]) == (0.01, 9_399.64)
        feed.trade(5_999_950, 400_000, 1)
        feed.trade(5_999_960, 1, 1)
        played(exchange, feed)
        assert (await client.fetch_order(resting["id"], S))["status"] == "closed"
        fills = await client.fetch_my_trades(S)
        assert [(one["side"], one["amount"], one["takerOrMaker"], one["fee"]["cost"]) for one in fills] == [
            ("buy", 0.01, "taker", 0.36),
            ("sell", 0.004, "maker", 0.0959992),
            ("sell", 0.006, "maker", 0.1439988),
        ]

    with_ccxt(exchange, "coinbase", work, **KEYS)
    balances = exchange.state()["accounts"]["coinbase"]["balances"]
    held = {name: (Decimal(one["free"]), Decimal(one["locked"])) for name, one in balances.items()}
    assert held == {"BTC": (Decimal(1), Decimal(0)), "USD": (Decimal("9999.395002"), Decimal(0))}


def test_a_purchase_holds_its_fee(exchange: LoopbackExchange) -> None:
    async def work(client: Any) -> None:
        with pytest.raises(ccxt.pro.InsufficientFunds):
            await client.create_order(S, "limit", "buy", 0.2, 50_000.0, named("a"))
        await client.create_order(S, "limit", "buy", 0.1, 50_000.0, named("b"))
        assert (await client.fetch_balance({"v3": True}))["USD"]["used"] == 5_003.0

    with_ccxt(exchange, "coinbase", work, **KEYS)


def test_the_users_channel_tells_of_orders(exchange: LoopbackExchange) -> None:
    async def work(client: Any) -> None:
        await client.create_order(S, "limit", "buy", 0.01, 59_000.0, named("before"))
        watching = asyncio.create_task(client.watch_orders())
        assert [one["clientOrderId"] for one in await watching] == ["before"]
        watching = asyncio.create_task(client.watch_orders())
        order = await client.create_order(S, "limit", "buy", 0.01, 58_000.0, named("second"))
        await client.create_order(S, "limit", "buy", 0.004, 60_000.0, named("third", timeInForce="IOC"))
        await client.cancel_order(order["id"], S)
        told = {"before": ("open", 0.0), "second": ("canceled", 0.0), "third": ("closed", 0.004)}
        await becomes(lambda: {one["clientOrderId"]: (one["status"], one["filled"]) for one in client.orders} == told)
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)

    with_ccxt(exchange, "coinbase", work, **KEYS)


def test_names_are_used_once(exchange: LoopbackExchange) -> None:
    async def work(client: Any) -> None:
        first = await client.create_order(S, "limit", "buy", 0.01, 59_000.0, named("once"))
        await client.cancel_order(first["id"], S)
        again = await client.create_order(S, "limit", "sell", 0.02, 61_000.0, named("once"))
        assert (again["id"], again["side"]) == (first["id"], "buy")
        with pytest.raises(ccxt.pro.BadRequest):  # which does not say why
            await client.cancel_order(first["id"], S)
        with pytest.raises(ccxt.pro.ExchangeError, match="order with this orderID was not found"):
            await client.fetch_order("once", S)

    with_ccxt(exchange, "coinbase", work, **KEYS)
    assert len(exchange.state()["accounts"]["coinbase"]["orders"]) == 1


BAD: list[tuple[float, float, dict[str, Any], str]] = [
    (0.01, 60_000.0, {"postOnly": True}, "INVALID_LIMIT_PRICE_POST_ONLY"),
    (0.02, 60_000.0, {"timeInForce": "FOK"}, "INVALID_NO_LIQUIDITY"),
    (0.00001, 59_000.0, {}, "INVALID_QUOTE_SIZE_TOO_SMALL"),
    (0.01, 59_000.0, {"side": "HOLD"}, "INVALID_SIDE"),
    (0.01, 59_000.0, {"product_id": "NOPE"}, "INVALID_PRODUCT_ID"),
    (0.01, 59_000.0, {"order_configuration": {"twap_limit_gtd": {}}}, "UNSUPPORTED_ORDER_CONFIGURATION"),
    (0.01, 59_000.0, {"order_configuration": {"sor_limit_ioc": {"base_size": "1e-9"}}}, "INVALID_SIZE_PRECISION"),
    (0.01, 59_000.0, {"client_order_id": ""}, "client_order_id is required"),
]


def test_bad_orders_are_refused(exchange: LoopbackExchange) -> None:
    async def work(client: Any) -> None:
        for size, price, more, reason in BAD:
            with pytest.raises(ccxt.pro.ExchangeError, match=reason):
                await client.create_order(S, "limit", "buy", size, price, named("x") | more)

    with_ccxt(exchange, "coinbase", work, **KEYS)
    assert not exchange.state()["accounts"]["coinbase"]["orders"]


def ask(exchange: LoopbackExchange, token: str, query: str = "") -> int:
    url = f"http://127.0.0.1:{exchange.port}{AT}/accounts{query}"
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})) as said:
            json.load(said)
            return int(said.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def token(exchange: LoopbackExchange, pem: str = PEM, **changes: Any) -> str:
    """A token for the list of accounts."""
    now = int(time.time())
    said = {"sub": NAME, "nbf": now, "exp": now + 120, "uri": f"GET 127.0.0.1:{exchange.port}{AT}/accounts"} | changes
    made: str = ccxt.Exchange.jwt(said, pem.encode(), "sha256", False, {"kid": said["sub"], "alg": "ES256"})
    return made


def test_tokens_are_checked(exchange: LoopbackExchange) -> None:
    now = int(time.time())
    assert ask(exchange, token(exchange), "?limit=1") == 200
    for bad in (
        "", "a.b.c", token(exchange)[:-3] + "AAA", token(exchange, named_key(KEY, "another")[1]),
        token(exchange, sub="organizations/x"), token(exchange, uri=f"POST 127.0.0.1:{exchange.port}{AT}/orders"),
        token(exchange, nbf=now - 10, exp=now - 1), token(exchange, nbf=now + 5),
        token(exchange, nbf=now, exp=now + 121), token(exchange, uri=None),
    ):  # fmt: skip
        assert ask(exchange, bad) == 401, bad

    async def work(client: Any) -> None:
        with pytest.raises(ccxt.pro.AuthenticationError):
            await client.fetch_balance({"v3": True})
        async with client.session.ws_connect(client.urls["api"]["ws"]) as socket:
            await socket.send_json({"type": "subscribe", "channel": "user", "product_ids": [], "jwt": token(exchange)})
            assert await socket.receive_json() == {"type": "error", "message": "authentication failure"}

    with_ccxt(exchange, "coinbase", work, **KEYS | {"apiKey": "organizations/x"})  # pragma: allowlist secret


def test_lists_come_in_pages_the_newest_first(exchange: LoopbackExchange) -> None:
    async def work(client: Any) -> None:
        for number in range(5):
            await client.create_order(S, "limit", "buy", 0.001, 60_000.0, named(f"n{number}", timeInForce="IOC"))
        seen, page = [], {"fills": [{}], "cursor": ""}
        while page["fills"]:  # the last page has a cursor too, and ccxt can't read it
            asked = {"limit": 2, "cursor": page["cursor"]}
            page = await client.v3PrivateGetBrokerageOrdersHistoricalFills(asked)
            seen += [one["trade_id"] for one in page["fills"]]
        with pytest.raises(IndexError):
            await client.fetch_my_trades(S, None, 2, {"cursor": page["cursor"]})
        assert len(seen) == 5
        assert seen == sorted(seen, reverse=True)
        orders = await client.v3PrivateGetBrokerageOrdersHistoricalBatch({"limit": 2, "order_status": "FILLED"})
        assert [one["client_order_id"] for one in orders["orders"]] == ["n4", "n3"]
        assert (orders["has_next"], orders["cursor"]) == (True, "2")
        assert not await client.fetch_orders(S, client.milliseconds() + 60_000)

    with_ccxt(exchange, "coinbase", work, **KEYS)
