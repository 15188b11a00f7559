"""Everything that can be made to go wrong, as a client sees it."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp
import pytest

from schwabot.errors import ConfigError
from schwabot.venues.loopback import LoopbackExchange
from schwabot.venues.loopback.faults import Faults
from schwabot.venues.loopback.urls import SECRET
from tests.venues.making import SPOT, USDM, Driven, ask, becomes, played

Socket = aiohttp.ClientWebSocketResponse


def listening(exchange: LoopbackExchange, work: Callable[[Socket], Awaitable[Any]]) -> Any:
    """With a socket that listens to spot's quotes."""

    async def run() -> Any:
        url = f"ws://127.0.0.1:{exchange.port}/spot/stream/ws/btcusdt@bookTicker"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as ws:
            await becomes(lambda: exchange.hub.channel("binance", "btcusdt@bookTicker").listeners)
            return await work(ws)

    return asyncio.run(run())


async def ids(ws: Socket, count: int) -> list[int]:
    """Update ids of so many messages."""
    return [json.loads((await asyncio.wait_for(ws.receive(), 5)).data)["u"] for _ in range(count)]


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ({"kind": "gap", "after": 1}, [2, 4, 5, 6]),
        ({"kind": "gap", "after": 1, "count": 2}, [2, 5, 6, 7]),
        ({"kind": "duplicate", "after": 1}, [2, 3, 3, 4]),
        ({"kind": "reorder", "after": 1}, [2, 4, 3, 5]),
        ({"kind": "gap", "stream": "ethusdt@*"}, [2, 3, 4, 5]),
        ({"kind": "gap", "venue": "kraken"}, [2, 3, 4, 5]),
        ({"kind": "gap", "probability": 0.5, "count": 0, "seed": 3}, None),
    ],
)
def test_messages(exchange: LoopbackExchange, feed: Driven, fault: dict[str, Any], seen: list[int] | None) -> None:
    async def work(ws: Socket) -> list[int]:
        exchange.fault(**fault)
        for bid in range(30):
            feed.quote(5_999_000 + bid, 6_000_000)
        return await ids(ws, 4)

    found = listening(exchange, work)
    if seen is not None:
        assert found == seen
    else:
        assert found[-1] > 5  # some of the first were lost
    # The truth is told whatever was done to the messages.
    played(exchange, feed)
    channel = exchange.state()["channels"]["binance:btcusdt@bookTicker"]
    assert [number for number, _ in channel["kept"]] == list(range(2, 2 + channel["sent"]))


def test_a_disconnect_cuts_the_socket_and_a_new_one_works(exchange: LoopbackExchange, feed: Driven) -> None:
    async def cut(ws: Socket) -> None:
        exchange.fault("disconnect", after=1)
        feed.quote(5_999_000, 6_000_000)
        assert await ids(ws, 1) == [2]
        feed.quote(5_999_001, 6_000_000)
        message = await asyncio.wait_for(ws.receive(), 5)
        assert message.type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR)

    listening(exchange, cut)

    async def again(ws: Socket) -> None:
        feed.quote(5_999_002, 6_000_000)
        assert await ids(ws, 1) == [4]

    listening(exchange, again)


def test_a_freeze_is_silent_and_ends(exchange: LoopbackExchange, feed: Driven) -> None:
    async def work(ws: Socket) -> None:
        exchange.fault("freeze", seconds=0.3)
        feed.quote(5_999_000, 6_000_000)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(ws.receive(), 0.1)
        await asyncio.sleep(0.3)
        feed.quote(5_999_001, 6_000_000)
        assert await ids(ws, 1) == [3]
        assert not ws.closed

    listening(exchange, work)


def test_requests(exchange: LoopbackExchange) -> None:
    path = "/api/v3/time"
    exchange.fault("rate_limit", seconds=7, path="GET */time")
    status, answer, headers = ask(exchange, "GET", path)
    assert (status, answer["code"], headers["Retry-After"]) == (429, -1003, "7")
    exchange.fault("ban", seconds=90)
    assert ask(exchange, "GET", path)[0] == 418
    exchange.fault("server_error", status=502)
    assert ask(exchange, "GET", path)[0] == 502
    exchange.fault("slow_answer", seconds=0.2)
    began = time.monotonic()
    assert ask(exchange, "GET", path)[0] == 200
    assert time.monotonic() - began > 0.2
    exchange.fault("server_error", path="POST *")
    assert ask(exchange, "GET", path)[0] == 200


def test_an_order_is_taken_and_its_answer_lost(exchange: LoopbackExchange) -> None:
    exchange.fault("lost_answer", path="POST */order")
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001",
             "price": "50000", "newClientOrderId": "lost"}  # fmt: skip
    with pytest.raises(OSError, match=r"closed|reset"):
        ask(exchange, "POST", "/api/v3/order", order, secret=SECRET)
    name = {"symbol": "BTCUSDT", "origClientOrderId": "lost"}
    assert ask(exchange, "GET", "/api/v3/order", name, secret=SECRET)[1]["status"] == "NEW"


def test_an_order_trades_in_part_and_the_exchange_cancels_the_rest(exchange: LoopbackExchange) -> None:
    exchange.fault("partial_cancel", path="POST BTCUSDT")
    order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.01",
             "price": "50000"}  # fmt: skip
    answer = ask(exchange, "POST", "/api/v3/order", order, secret=SECRET)[1]
    assert (answer["status"], answer["executedQty"]) == ("CANCELED", "0.00500000")
    assert exchange.state()["accounts"]["binance"]["balances"]["USDT"] == {
        "free": "9750.00000000",
        "locked": "0.00000000",
    }


def test_a_clock_that_is_off(exchange: LoopbackExchange) -> None:
    number = exchange.fault("clock_skew", ms=60_000, venue="binance")
    ahead = ask(exchange, "GET", "/api/v3/time")[1]["serverTime"] - time.time() * 1e3
    assert ahead == pytest.approx(60_000, abs=2_000)
    assert ask(exchange, "GET", "/fapi/v1/time")[1]["serverTime"] - time.time() * 1e3 == pytest.approx(0, abs=2_000)
    assert ask(exchange, "GET", "/api/v3/account", secret=SECRET)[1]["code"] == -1021
    assert ask(exchange, "DELETE", f"/loopback/faults/{number}")[0] == 200
    assert ask(exchange, "GET", "/api/v3/account", secret=SECRET)[0] == 200


def test_orders_are_stamped_by_a_clock_that_is_off_at_once(exchange: LoopbackExchange, feed: Driven) -> None:
    def ahead_ms(bid: int | None) -> float:
        if bid is not None:  # the market goes on with stamps of its own
            feed.quote(bid, 6_000_000)
            played(exchange, feed)
        order = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001",
                 "price": "50000"}  # fmt: skip
        answer = ask(exchange, "POST", "/api/v3/order", order, secret=SECRET, recvWindow=60_000)[1]
        return float(answer["transactTime"] - time.time() * 1e3)

    straight = ahead_ms(None)
    number = exchange.fault("clock_skew", ms=20_000, venue="binance")
    for bid in (None, 5_999_910):
        assert ahead_ms(bid) - straight == pytest.approx(20_000, abs=2_000)
    assert ask(exchange, "DELETE", f"/loopback/faults/{number}")[0] == 200
    for bid in (None, 5_999_920):
        assert ahead_ms(bid) == pytest.approx(straight, abs=2_000)


def test_faults_over_http(exchange: LoopbackExchange) -> None:
    async def post(body: str) -> tuple[int, Any]:
        url = f"http://127.0.0.1:{exchange.port}/loopback/faults"
        async with aiohttp.ClientSession() as session, session.post(url, data=body) as answer:
            return answer.status, await answer.json()

    assert asyncio.run(post('[{"kind": "gap"}, {"kind": "freeze"}]')) == (200, {"numbers": [1, 2]})
    assert [one["kind"] for one in exchange.state()["faults"]["on"].values()] == ["gap", "freeze"]
    for body in ('{"kind": "gab"}', '{"gap": 1}', "7", "{", '{"kind": "gap", "count": -1}'):
        status, answer = asyncio.run(post(body))
        assert status == 400, body
        assert answer["error"]
    exchange.heal()
    assert exchange.state()["faults"]["on"] == {}


def test_what_is_no_fault() -> None:
    with pytest.raises(ConfigError, match="did you mean gap"):
        Faults().add({"kind": "gapp"})
    with pytest.raises(ConfigError, match="did you mean probability"):
        Faults().add({"kind": "gap", "probabilty": 0.1})


def test_weights_run_out_and_who_goes_on_is_banned() -> None:
    if time.time() % 60 > 57:  # what was used is forgotten at the full minute
        time.sleep(60 - time.time() % 60)
    feed = Driven(SPOT, USDM)
    with LoopbackExchange(feed, weight_per_minute=45) as exchange:
        path = "/api/v3/exchangeInfo"
        found = [ask(exchange, "GET", path) for _ in range(3)]
        assert [status for status, _, _ in found] == [200, 200, 429]
        assert found[0][2]["X-MBX-USED-WEIGHT-1M"] == "20"
        assert found[-1][1]["code"] == -1003
        assert int(found[-1][2]["Retry-After"]) <= 60
        statuses = [ask(exchange, "GET", path)[0] for _ in range(12)]
        assert statuses[-1] == 418
        assert ask(exchange, "GET", "/fapi/v1/time")[0] == 200
        feed.end()
