"""The gateway at Coinbase, through ccxt against the loopback exchange: what is otherwise there than at Binance."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt
import pytest

from schwabot.errors import VenueError
from schwabot.execution.ccxt_account import CcxtAccount
from schwabot.execution.journal import OrderState
from schwabot.execution.order_tracker import OrderSeen
from schwabot.execution.risk import TradingState
from schwabot.execution.settings import GatewayConfig
from schwabot.execution.trouble import Fate, Trouble
from schwabot.records.instrument import Instrument
from schwabot.records.order import Action, Ending, Request, Told
from schwabot.venues.loopback import LoopbackExchange
from schwabot.venues.loopback.coinbase_keys import named_key
from schwabot.venues.loopback.urls import KEY, ccxt_options, credentials
from tests.execution.desks import CONFIG, SECRET, Desk
from tests.venues.making import Driven, played, until
from tests.venues.test_coinbase_orders import BTC_USD

STREAM = BTC_USD.stream
ETH_USD = Instrument("coinbase:ETH/USD", 0.01, 1e-8)
BID, ASK = 5_999_900, 6_000_000
LOTS = 100_000
KEYS = credentials("coinbase", KEY, SECRET)


@pytest.fixture(scope="module")
def feed() -> Iterator[Driven]:
    driven = Driven(BTC_USD, ETH_USD)
    driven.quote(BID, ASK, 10**8, 10**8)
    driven.quote(BID, ASK, 10**8, 10**8, stream=1)
    yield driven
    driven.end()


@pytest.fixture(scope="module")
def exchange(feed: Driven) -> Iterator[LoopbackExchange]:
    with LoopbackExchange(feed, speed=0, deposits={"USD": "1000000", "BTC": "10"}, keys=(KEY, SECRET)) as up:
        played(up, feed)
        yield up
        feed.end()


def test_an_order_of_every_kind(exchange: LoopbackExchange, tmp_path: Path) -> None:
    with Desk(exchange, tmp_path / "j.db", "sbkinds", STREAM) as desk:
        assert desk.gateway.limits[STREAM].min_notional == 1.0
        desk.ask(Action.TAKE, LOTS, ASK + 100)
        assert desk.hear(1) == [(Told.FILL, 0, 0, LOTS, Ending.FILLED)]  # and no fee in what was bought
        desk.ask(Action.TAKE, LOTS, BID - 100)
        assert desk.hear(1) == [(Told.ENDED, 1, 1, 0, Ending.OUTSIDE_LIMIT)]
        desk.ask(Action.POST, LOTS, BID - 100)
        desk.ask(Action.CANCEL, of=2)  # at once, before the answer
        assert desk.hear(2) == [(Told.RESTS, 2, 2, 0, None), (Told.ENDED, 2, 3, 0, Ending.CANCELLED)]
        desk.ask(Action.POST, LOTS, BID - 100)
        desk.ask(Action.REPLACE, LOTS + 1, BID - 200, of=4)
        assert desk.hear(2) == [(Told.RESTS, 4, 4, 0, None), (Told.REPLACED, 4, 5, LOTS + 1, None)]
        desk.ask(Action.POST, LOTS, ASK + 100)
        assert desk.hear(1) == [(Told.ENDED, 6, 6, 0, Ending.REFUSED)]
        desk.ask(Action.TAKE, 10**10, ASK)
        assert desk.hear(1) == [(Told.ENDED, 7, 7, 0, Ending.REFUSED)]
        desk.ask(Action.CANCEL, of=5)
        assert desk.hear(1) == [(Told.ENDED, 5, 8, 0, Ending.CANCELLED)]
        assert desk.gateway.check() == []
        assert desk.states(0) == [OrderState.INTENDED, OrderState.SENT, OrderState.FILLED]
        fill = desk.journal.fills(STREAM)[0]
        assert (fill.fee, fill.fee_currency, fill.maker) == (Decimal("0.036"), "USD", False)
    with Desk(exchange, tmp_path / "j.db", "sbagain", STREAM) as desk:
        assert desk.gateway.positions[STREAM] == (LOTS, ASK)
        assert desk.gate.state is TradingState.NORMAL


def test_fills_in_parts(exchange: LoopbackExchange, feed: Driven, tmp_path: Path) -> None:
    """In the user's channel what was filled looks like the whole order to ccxt."""
    with Desk(exchange, tmp_path / "j.db", "sbparts", STREAM) as desk:
        desk.ask(Action.POST, LOTS, ASK - 1)
        assert desk.hear(1) == [(Told.RESTS, 0, 0, 0, None)]
        feed.trade(ASK - 1, LOTS // 4, -1)
        assert desk.hear(1) == [(Told.FILL, 0, -1, LOTS // 4, None)]
        desk.ask(Action.CANCEL, of=0)
        assert desk.hear(1) == [(Told.ENDED, 0, 1, 0, Ending.CANCELLED)]
        assert desk.journal.fills(STREAM)[0].maker
        exchange.fault("partial_cancel")
        number = desk.ask(Action.TAKE, LOTS, ASK)
        assert desk.hear(2) == [
            (Told.FILL, number, -1, LOTS // 2, None), (Told.ENDED, number, number, 0, Ending.REST_CANCELLED),
        ]  # fmt: skip
        assert desk.gateway.check() == []


def test_answers_that_are_lost(exchange: LoopbackExchange, tmp_path: Path) -> None:
    with Desk(exchange, tmp_path / "j.db", "sblost", STREAM) as desk:
        exchange.fault("lost_answer", path="POST */orders")
        exchange.fault("gap", stream="user", count=4)
        desk.ask(Action.POST, LOTS, BID - 100)
        assert desk.hear(1) == [(Told.RESTS, 0, 0, 0, None)]
        assert OrderState.UNKNOWN in desk.states(0)
        exchange.fault("lost_answer", path="POST */batch_cancel")
        desk.ask(Action.CANCEL, of=0)
        assert desk.hear(1) == [(Told.ENDED, 0, 1, 0, Ending.CANCELLED)]
        exchange.heal()


def test_an_order_that_arrives_late_is_not_taken_for_lost(exchange: LoopbackExchange, tmp_path: Path) -> None:
    config = GatewayConfig(recv_window_ms=600, timeout_s=0.2, poll_s=0.2, listed_s=0.3)
    with Desk(exchange, tmp_path / "j.db", "sblate", STREAM, config) as desk:
        exchange.fault("slow_answer", path="POST */orders", seconds=0.6)
        desk.ask(Action.POST, LOTS, BID - 100)
        assert desk.hear(1) == [(Told.RESTS, 0, 0, 0, None)]
        desk.ask(Action.CANCEL, of=0)
        assert desk.hear(1) == [(Told.ENDED, 0, 1, 0, Ending.CANCELLED)]


def test_an_order_that_was_given_up_and_comes_after_all(exchange: LoopbackExchange, tmp_path: Path) -> None:
    """Tokens are checked at the door: nothing bounds what Coinbase does then."""
    config = GatewayConfig(recv_window_ms=100, timeout_s=0.2, poll_s=0.2, listed_s=0.3)
    with Desk(exchange, tmp_path / "j.db", "sbafter", STREAM, config) as desk:
        exchange.fault("slow_answer", path="POST */orders", seconds=4.5, count=2)
        for number, price in enumerate((BID - 100, BID - 200)):
            desk.ask(Action.POST, LOTS, price)
            until(lambda number=number: OrderState.UNKNOWN in desk.states(number))
        exchange.fault("server_error", path="POST */orders")
        began = time.monotonic()
        desk.ask(Action.POST, LOTS, BID - 300)
        told = [(Told.ENDED, number, number, 0, Ending.REFUSED) for number in (0, 1, 2)]
        assert sorted(desk.hear(3), key=str) == told
        assert time.monotonic() - began > 3.1  # its token might have let it in until then
        assert desk.states(2)[-2:] == [OrderState.UNKNOWN, OrderState.REJECTED]
        assert "sbafter-2" not in desk.orders()
        assert desk.gate.state is TradingState.NORMAL
        exchange.fault("gap", stream="user")  # nobody tells of the first
        until(lambda: desk.orders().get("sbafter-1") == "CANCELLED")
        assert desk.gate.state is TradingState.HALTED
        assert desk.gate.changes[-1].why == "sbafter-1: it is open there, though it was refused or never arrived"
        assert desk.orders()["sbafter-0"] == "OPEN"
        assert desk.gateway.kill("test", "nothing stays")
        assert desk.orders()["sbafter-0"] == "CANCELLED"


def test_tokens_end_with_the_window(exchange: LoopbackExchange) -> None:
    """ccxt's own live for 120 s, and one for the channel is used again until it is over."""
    client = _account(exchange, recv_window_ms=3_000)._exchange

    def life_s(token: str) -> int:
        body = token.split(".")[1]
        said = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        assert 0 <= time.time() - said["nbf"] < 2
        return int(said["exp"] - said["nbf"])

    assert life_s(client.sign("brokerage/orders", ["v3", "private"], "POST")["headers"]["Authorization"]) == 5
    assert life_s(client.create_ws_auth("user", [])["jwt"]) == 120
    assert client.create_ws_auth("user", [])["jwt"] != client.create_ws_auth("user", [])["jwt"]


def test_an_order_that_is_not_listed_yet(exchange: LoopbackExchange, tmp_path: Path) -> None:
    with Desk(exchange, tmp_path / "j.db", "sblisted", STREAM, dataclasses.replace(CONFIG, listed_s=10.0)) as desk:
        exchange.fault("gap", stream="user", count=4)
        exchange.fault("server_error", path="GET */historical/*", status=404)
        desk.ask(Action.TAKE, LOTS, ASK)
        assert desk.hear(1) == [(Told.FILL, 0, 0, LOTS, Ending.FILLED)]
        assert exchange.state()["faults"]["happened"]["server_error"]
        assert desk.gate.state is TradingState.NORMAL
        exchange.heal()


def happened(exchange: LoopbackExchange, kind: str) -> int:
    times: int = exchange.state()["faults"]["happened"].get(kind, 0)
    return times


def test_an_order_that_coinbase_does_not_know_any_more(exchange: LoopbackExchange, tmp_path: Path) -> None:
    config = GatewayConfig(recv_window_ms=600, quiet_s=0.2, order_ttl_s=60.0)
    with Desk(exchange, tmp_path / "j.db", "sbforgot", STREAM, config) as desk:
        desk.ask(Action.POST, LOTS, BID - 100)
        desk.hear(1)
        exchange.fault("server_error", path="GET */historical/0*", status=404, count=0)
        before = happened(exchange, "server_error")
        until(lambda: happened(exchange, "server_error") > before)
        assert desk.gate.state is TradingState.NORMAL  # it may not be in the lists yet
        desk.ask(Action.POST, LOTS, BID - 100, age_s=11.0)
        until(lambda: desk.gate.state is TradingState.HALTED)
        assert desk.gate.changes[-1].why == "sbforgot-1 was at coinbase, which does not know it any more"
        exchange.heal()


def test_what_became_of_an_order_is_heard_and_not_asked_for(exchange: LoopbackExchange, tmp_path: Path) -> None:
    with Desk(exchange, tmp_path / "j.db", "sbheard", STREAM) as desk:
        exchange.fault("slow_answer", path="GET */historical/0*", count=0)
        before = happened(exchange, "slow_answer")
        for _ in range(4):
            desk.ask(Action.TAKE, LOTS, ASK)
        desk.hear(4)
        assert happened(exchange, "slow_answer") - before < 2
        exchange.heal()


def test_what_the_answer_does_not_say_is_asked_for(exchange: LoopbackExchange, tmp_path: Path) -> None:
    with Desk(exchange, tmp_path / "j.db", "sbasked", STREAM, GatewayConfig(recv_window_ms=600, listed_s=0.3)) as desk:
        exchange.fault("gap", stream="user", count=2)
        desk.ask(Action.TAKE, LOTS, ASK)
        assert desk.hear(1, 3.0) == [(Told.FILL, 0, 0, LOTS, Ending.FILLED)]


def by_hand(exchange: LoopbackExchange, name: str, price: int, product: str = "BTC-USD", **size: str) -> None:
    """Somebody buys on our account; the price is in ticks."""

    async def order() -> None:
        account: Any = exchange._accounts["coinbase"]
        how = {"limit_limit_gtc": {"base_size": "0.001", "limit_price": str(Decimal(price) / 100), **size}}
        asked = {"client_order_id": name, "product_id": product, "side": "BUY", "order_configuration": how}
        assert account._place(None, asked)["success"]

    exchange.call(order())


def test_lists_are_read_to_their_last_page(exchange: LoopbackExchange, tmp_path: Path) -> None:
    """The last one is empty, and the first row of the first one is not ours to see."""
    with Desk(exchange, tmp_path / "j.db", "sbpages", STREAM) as desk:
        for number in range(4):
            desk.ask(Action.TAKE, LOTS + number, ASK)
        desk.hear(4)
    by_hand(exchange, "of-another", ASK, "ETH-USD")
    account, since_ns = _account(exchange), time.time_ns() - 10**10
    account.rules = dataclasses.replace(account.rules, cursor=2)
    request = Request(0, "sbpages-0", STREAM, Action.TAKE, 1, LOTS, ASK, -1, 0, time.time_ns(), BID, ASK)

    async def ask() -> None:
        await account.connect()
        exchange.fault("server_error", path="GET */fills", after=1)
        trades = await account.trades(STREAM, since_ns)  # and no page that fails costs another
        assert sorted(one.lots for one in trades[-4:]) == [LOTS + number for number in range(4)]
        assert (await account.order(request, None)).lots == LOTS
        with pytest.raises(Trouble, match="no order goes by") as error:
            await account.order(request._replace(client_id="sbnobody"), None)
        assert error.value.fate is Fate.ABSENT
        with pytest.raises(Trouble, match="coinbase: IndexError") as error:
            await account._ask([].pop)  # as ccxt does with answers that it does not expect
        assert error.value.fate is Fate.LOST
        await account.close()

    asyncio.run(ask())


def test_a_clock_that_is_set(exchange: LoopbackExchange, tmp_path: Path) -> None:
    with Desk(exchange, tmp_path / "j.db", "sbclock", STREAM) as desk:
        exchange.fault("clock_skew", ms=10_000)
        desk.ask(Action.POST, LOTS, BID - 100)
        assert desk.hear(1) == [(Told.ENDED, 0, 0, 0, Ending.REFUSED)]

        def taken() -> bool:
            time.sleep(0.1)
            number = desk.ask(Action.POST, LOTS, BID - 100)
            return desk.hear(1) == [(Told.RESTS, number, number, 0, None)]

        until(taken)
        exchange.heal()  # now ours is wrong the other way
        assert desk.gateway.kill("test", "it is over")


@pytest.mark.parametrize("apart_s", [900, -900])
def test_clocks_that_are_far_apart(exchange: LoopbackExchange, apart_s: int) -> None:
    """No run begins; one that has begun finds its orders all the same."""
    by_hand(exchange, f"apart{apart_s}", BID - 300)
    account = _account(exchange)
    account._exchange.milliseconds = lambda: time.time_ns() // 10**6 + apart_s * 1_000
    decided_ns = time.time_ns() + apart_s * 10**9
    request = Request(0, f"apart{apart_s}", STREAM, Action.POST, 1, LOTS, BID, -1, 0, decided_ns, BID, ASK)

    async def ask() -> None:
        way = "ahead of" if apart_s > 0 else "behind"
        with pytest.raises(VenueError, match=rf"coinbase: this machine's clock is (899|900|901) s {way} the venue's"):
            await account.connect()
        assert (await account.order(request, None)).lots == LOTS
        await account.close()

    asyncio.run(ask())


def test_a_venue_whose_stream_is_cut_or_silent(exchange: LoopbackExchange, tmp_path: Path) -> None:
    async def cancel() -> None:
        trading = exchange._accounts["coinbase"].trading
        for order in trading.open_orders():
            trading.cancel(order)

    with Desk(exchange, tmp_path / "j.db", "sbsilent", STREAM) as desk:
        for number, kind in enumerate(("gap", "disconnect")):
            desk.ask(Action.POST, LOTS, BID - 100)
            assert desk.hear(1) == [(Told.RESTS, number, number, 0, None)]
            exchange.fault(kind, stream="user", count=2)
            exchange.call(cancel())
            assert desk.hear(1) == [(Told.ENDED, number, -1, 0, Ending.CANCELLED)]
            exchange.heal()


def test_what_a_start_finds(exchange: LoopbackExchange, tmp_path: Path) -> None:
    with Desk(exchange, tmp_path / "j.db", "sbfirst", STREAM) as desk:
        desk.ask(Action.POST, LOTS, BID - 100)
        desk.hear(1)
    by_hand(exchange, "by-hand", BID - 300)
    with Desk(exchange, tmp_path / "j.db", "sbsecond", STREAM) as desk:
        assert desk.gateway.notes[0] == "sbfirst-0: cancelled, left by an earlier run"
        assert desk.gateway.notes[1].endswith("is not ours and stays")
        assert desk.orders()["by-hand"] == "OPEN"
        by_hand(exchange, "by-hand-2", ASK + 100)  # somebody else trades on our account
        assert [one.partition(": ")[2][:4] for one in desk.gateway.check()] == ["BTC:", "USD:"]
        assert desk.gate.state is TradingState.HALTED
    by_hand(exchange, "sbstray", BID - 400)  # with our prefix, and in no journal
    with Desk(exchange, tmp_path / "other.db", "sbthird", STREAM) as desk:
        assert desk.gate.changes[0].why == f"{STREAM}: order sbstray was open and is not in the journal; cancelled"
        assert desk.orders()["sbstray"] == "CANCELLED"


def _account(exchange: LoopbackExchange, recv_window_ms: int = 600, **keys: str) -> CcxtAccount:
    options = {**ccxt_options("coinbase", exchange.port), **KEYS, **keys}
    return CcxtAccount("coinbase", [BTC_USD], options, recv_window_ms)


@pytest.mark.parametrize(
    ("status", "answer", "fate"),
    [
        (200, {"success": False, "failure_reason": "UNKNOWN_FAILURE_REASON", "error_response":
               {"error": "INVALID_LIMIT_PRICE_POST_ONLY", "message": ""}}, Fate.REFUSED),
        (200, {"success": False, "failure_reason": "UNKNOWN_FAILURE_REASON", "error_response":
               {"error": "UNKNOWN_FAILURE_REASON", "message": "",
                "preview_failure_reason": "PREVIEW_STOP_PRICE_ABOVE_LAST_TRADE_PRICE"}}, Fate.REFUSED),
        (200, {"success": False, "failure_reason": "UNKNOWN_FAILURE_REASON", "error_response":
               {"error": "UNKNOWN_FAILURE_REASON", "message": "", "error_details": "",
                "preview_failure_reason": "UNKNOWN_PREVIEW_FAILURE_REASON"}}, Fate.LOST),
        (400, {"error": "INVALID_ARGUMENT", "message": "x"}, Fate.REFUSED),
        (403, {"error": "PERMISSION_DENIED", "message": "Missing required scopes"}, Fate.REFUSED),
        (404, {"error": "NOT_FOUND", "message": "order with this orderID was not found"}, Fate.ABSENT),
        (404, {"error": "unknown", "message": "order with this orderID was not found"}, Fate.ABSENT),
        (429, {"error": "RESOURCE_EXHAUSTED", "message": "x"}, Fate.THROTTLED),
        (429, {"errors": [{"id": "rate_limit_exceeded", "message": "Too many requests"}]}, Fate.THROTTLED),
        (500, {"error": "internal", "message": "INTERNAL"}, Fate.LOST),
        (500, {"errors": [{"id": "internal_server_error", "message": "x"}]}, Fate.LOST),
        (401, "Unauthorized", Fate.REFUSED),
        (429, "too many requests", Fate.THROTTLED),
        (503, "upstream connect error", Fate.LOST),
    ],
)  # fmt: skip
def test_what_answers_mean(exchange: LoopbackExchange, status: int, answer: Any, fate: Fate) -> None:
    text = answer if isinstance(answer, str) else json.dumps(answer, separators=(",", ":"))
    client = ccxt.coinbase()

    def heard() -> None:
        client.handle_errors(status, "", "https://x", "POST", {}, text, None if answer is text else answer, {}, "")
        client.handle_http_status_code(status, "", "https://x", "POST", text)

    with pytest.raises(ccxt.BaseError) as error:
        heard()
    assert _account(exchange)._trouble(error.value).fate is fate


def test_what_somebody_else_sized_in_quote_is_left_out(exchange: LoopbackExchange) -> None:
    account, told = _account(exchange), list[OrderSeen]()
    filled = 0.000297920684505
    info = {"cumulative_quantity": str(filled), "status": "FILLED"}
    for size in (filled, 0.0003):
        seen = {"symbol": "BTC/USD", "id": "x", "amount": size, "filled": size, "status": "closed", "info": info}
        account._told_order(seen, told.append)
    assert [(one.lots, one.filled_lots) for one in told] == [(0, 30_000)]
    asked = {"filled": filled, "amount": filled, "status": "closed", "info": {"size_in_quote": True}}
    assert account._order(BTC_USD, asked).filled_lots == 0
    assert account.rules.trade(asked) is None


def test_a_fill_that_was_taken_back_is_none(exchange: LoopbackExchange) -> None:
    kinds = ("FILL", "REVERSAL", "CORRECTION", "SYNTHETIC")
    fills: list[Any] = [_account(exchange).rules.trade({"info": {"trade_type": kind}}) for kind in kinds]
    assert [one is not None for one in fills] == [True, False, False, False]


def test_an_answer_without_a_number_is_lost(exchange: LoopbackExchange) -> None:
    """ccxt makes an order of one that says no and not why."""
    account = _account(exchange)
    request = Request(0, "sbnone-0", STREAM, Action.POST, 1, LOTS, BID, -1, 0, time.time_ns(), BID, ASK)

    async def says_no(_: Any) -> dict[str, Any]:
        return {"success": False, "failure_reason": "UNKNOWN_FAILURE_REASON"}

    async def ask() -> None:
        await account.connect()
        account._exchange.v3PrivatePostBrokerageOrders = says_no
        with pytest.raises(Trouble, match="the answer to sbnone-0 names no order") as error:
            await account.place(request, LOTS)
        assert error.value.fate is Fate.LOST
        await account.close()

    asyncio.run(ask())


def test_keys_of_another_kind_are_refused_and_not_shown(exchange: LoopbackExchange, tmp_path: Path) -> None:
    for keys in ({"apiKey": "a-uuid"}, {"secret": f"{KEYS['secret'][:31]}\ncanary"}):  # pragma: allowlist secret
        with pytest.raises(VenueError, match="orders need an ECDSA key") as error:
            _account(exchange, **keys)
        assert "canary" not in str(error.value)
        assert error.value.__cause__ is None
    secret = named_key("me", "another word")[1]
    desk = Desk(exchange, tmp_path / "j.db", "sbkeys", STREAM, secret=secret)
    with pytest.raises(VenueError, match="AuthenticationError"):
        desk.__enter__()
    for hidden in (KEY, *secret.splitlines()[1:-1]):
        assert not any(hidden.encode() in file.read_bytes() for file in tmp_path.iterdir())
