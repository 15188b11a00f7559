"""Orders at Kraken through unmodified ccxt: what its protocol has that Binance's has not."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from schwabot.errors import ConfigError, VenueError
from schwabot.execution.ccxt_account import CcxtAccount
from schwabot.execution.ccxt_gateway import CcxtGateway
from schwabot.execution.journal import OrderState
from schwabot.execution.order_tracker import OrderSeen, TradeSeen
from schwabot.execution.risk import TradingState
from schwabot.execution.settings import GatewayConfig
from schwabot.execution.trouble import Fate, Trouble
from schwabot.execution.turns import Turns
from schwabot.execution.venue_rules import RULES
from schwabot.records.order import Action, Ending, Request, Told
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback import LoopbackExchange
from schwabot.venues.loopback.kraken_calls import CallCounter
from schwabot.venues.loopback.kraken_private import BAD_NONCES
from schwabot.venues.loopback.urls import KEY, ccxt_options, credentials
from tests.execution.desks import CONFIG, SECRET, Desk
from tests.venues.making import until

STREAM = "kraken:BTC/USD"
ORDER = "POST */AddOrder"
WINDOW_S = RULES["kraken"].window(CONFIG.recv_window_ms) / 1e3


@pytest.fixture(scope="module")
def exchange() -> Iterator[LoopbackExchange]:
    feed = SyntheticFeed(SyntheticConfig(events=400, streams=1))
    names = {feed.instruments[0].stream: STREAM}
    deposits = {"USD": "10000000", "BTC": "100"}
    with LoopbackExchange(
        feed, speed=0.0, names=names, deposits=deposits, keys=(KEY, SECRET), weight_per_minute=10**9
    ) as exchange:
        until(lambda: exchange.ended)
        yield exchange


@pytest.fixture
def desk(exchange: LoopbackExchange, tmp_path: Path) -> Iterator[Desk]:
    with Desk(exchange, tmp_path / "j.db", "sbk", STREAM) as desk:
        yield desk
    exchange.heal()
    cancel_by_hand(exchange)


def private(exchange: LoopbackExchange) -> Any:
    return exchange._accounts["kraken"]


def on_its_loop(exchange: LoopbackExchange, work: Callable[[], Any]) -> Any:
    async def run() -> Any:
        return work()

    return exchange.call(run())


def cancel_by_hand(exchange: LoopbackExchange) -> None:
    on_its_loop(exchange, lambda: private(exchange)._cancel_all({}, 0))


def by_hand(exchange: LoopbackExchange, **given: str) -> None:
    order = {"pair": "XBTUSD", "type": "buy", "ordertype": "limit", "volume": "0.001", **given}
    on_its_loop(exchange, lambda: private(exchange)._place(order, 0))


def with_account(exchange: LoopbackExchange, work: Callable[[CcxtAccount], Awaitable[Any]], **keys: str) -> Any:
    async def run() -> Any:
        one = exchange.books[0].listing.instrument
        account = CcxtAccount("kraken", [one], ccxt_options("kraken", exchange.port) | (keys or own_keys()))
        try:
            await account.connect()
            return await work(account)
        finally:
            await account.close()

    return asyncio.run(run())


def own_keys() -> dict[str, str]:
    return credentials("kraken", KEY, SECRET)


def asked(exchange: LoopbackExchange, name: str, price: int) -> Request:
    one = exchange.books[0].listing.instrument
    return Request(0, name, one.stream, Action.POST, 1, 100, price, -1, 0, time.time_ns(), 0, 0)


def test_an_order_of_every_kind(exchange: LoopbackExchange, tmp_path: Path) -> None:
    lots = 123
    with Desk(exchange, tmp_path / "j.db", "sbkinds", STREAM) as desk:
        bid, ask = desk.touch
        desk.ask(Action.TAKE, lots, ask + 100)
        assert desk.hear(1) == [(Told.FILL, 0, 0, lots, Ending.FILLED)]  # its fee is in dollars: no lot is missing
        desk.ask(Action.TAKE, lots, bid - 100)
        assert desk.hear(1) == [(Told.ENDED, 1, 1, 0, Ending.OUTSIDE_LIMIT)]
        desk.ask(Action.POST, lots, bid - 100)
        desk.ask(Action.CANCEL, of=2)  # at once, before the answer
        assert desk.hear(2) == [(Told.RESTS, 2, 2, 0, None), (Told.ENDED, 2, 3, 0, Ending.CANCELLED)]
        desk.ask(Action.POST, lots, bid - 100)
        desk.ask(Action.REPLACE, lots + 1, bid - 200, of=4)
        assert desk.hear(2) == [(Told.RESTS, 4, 4, 0, None), (Told.REPLACED, 4, 5, lots + 1, None)]
        desk.ask(Action.POST, lots, ask + 100)
        assert desk.hear(1) == [(Told.ENDED, 6, 6, 0, Ending.REFUSED)]
        assert desk.states(6) == [OrderState.INTENDED, OrderState.SENT, OrderState.REJECTED]
        assert desk.gateway.take_refused()[-1].what == "Post only order"
        desk.ask(Action.CANCEL, of=5)
        assert desk.hear(1) == [(Told.ENDED, 5, 7, 0, Ending.CANCELLED)]
        exchange.fault("partial_cancel")
        desk.ask(Action.POST, lots, bid - 100)
        told = desk.hear(3)
        assert [one[0] for one in told] == [Told.RESTS, Told.FILL, Told.ENDED]
        assert (told[1][3], told[2][4]) == (lots // 2, Ending.CANCELLED)
        assert desk.gateway.check() == []
        assert desk.states(0) == [OrderState.INTENDED, OrderState.SENT, OrderState.FILLED]
        assert not desk.journal.open_requests()
        assert desk.gate.state is TradingState.NORMAL
        fees = [fill for fill in desk.journal.fills() if fill.fee > 0]
        assert {fill.fee_currency for fill in fees} == {"USD"}
        assert len(fees) == 2
    with Desk(exchange, tmp_path / "j.db", "sbagain", STREAM) as desk:
        held = desk.gateway.positions[STREAM].lots
        assert held == lots + lots // 2
        desk.ask(Action.TAKE, held, bid - 100, side=-1)
        assert desk.hear(1) == [(Told.FILL, 0, 0, held, Ending.FILLED)]
        until(lambda: desk.gateway._desks["kraken"]._up)  # what the stream begins with, orders and fills mixed, is read
        assert desk.gateway.check() == []


def test_answers_that_are_lost(exchange: LoopbackExchange, desk: Desk) -> None:
    bid, ask = desk.touch
    exchange.fault("lost_answer", path=ORDER, count=2)
    exchange.fault("gap", stream="user", count=0)
    desk.ask(Action.POST, 100, bid - 100)
    assert desk.hear(1) == [(Told.RESTS, 0, 0, 0, None)]
    desk.ask(Action.TAKE, 100, ask + 100)
    assert desk.hear(1) == [(Told.FILL, 1, 1, 100, Ending.FILLED)]  # it is in the list of what is over
    exchange.fault("lost_answer", path=ORDER)
    desk.ask(Action.POST, 100, ask + 100)
    assert desk.hear(1) == [(Told.ENDED, 2, 2, 0, Ending.REFUSED)]  # it would have taken
    assert OrderState.UNKNOWN in desk.states(0)
    assert OrderState.UNKNOWN in desk.states(1)
    exchange.fault("lost_answer", path="POST */CancelOrder")
    desk.ask(Action.CANCEL, of=0)
    assert desk.hear(1) == [(Told.ENDED, 0, 3, 0, Ending.CANCELLED)]
    assert [name for name in desk.orders() if name.startswith("sbk-")] == ["sbk-0", "sbk-1", "sbk-2"]


def test_answers_that_say_nothing(exchange: LoopbackExchange, tmp_path: Path) -> None:
    config = GatewayConfig(poll_s=60.0, quiet_s=60.0, listed_s=0.3)
    with Desk(exchange, tmp_path / "j.db", "sbnothing", STREAM, config) as desk:
        bid, ask = desk.touch
        exchange.fault("gap", stream="user", count=0)  # so nobody tells what became of an order
        desk.ask(Action.TAKE, 100, ask + 100)
        assert desk.hear(1, 3.0) == [(Told.FILL, 0, 0, 100, Ending.FILLED)]
        desk.ask(Action.POST, 100, bid - 100)
        desk.ask(Action.CANCEL, of=1)
        assert desk.hear(2, 3.0) == [(Told.RESTS, 1, 1, 0, None), (Told.ENDED, 1, 2, 0, Ending.CANCELLED)]
    exchange.heal()


def test_an_order_that_waits_at_the_venue(exchange: LoopbackExchange, tmp_path: Path) -> None:
    config = GatewayConfig(timeout_s=0.2, poll_s=0.2, listed_s=0.3)
    with Desk(exchange, tmp_path / "j.db", "sbwait", STREAM, config) as desk:
        bid, _ = desk.touch
        exchange.fault("gap", stream="user", count=0)
        exchange.fault("slow_answer", path=ORDER, seconds=0.7)
        exchange.fault("slow_answer", path=ORDER, seconds=WINDOW_S + 0.3)
        began = time.monotonic()
        desk.ask(Action.POST, 100, bid - 100)
        desk.ask(Action.POST, 100, bid - 200)
        assert desk.hear(1) == [(Told.RESTS, 0, 0, 0, None)]
        assert desk.hear(1) == [(Told.ENDED, 1, 1, 0, Ending.REFUSED)]
        assert time.monotonic() - began > WINDOW_S  # it might have been carried out until then
        assert desk.states(1)[-2:] == [OrderState.UNKNOWN, OrderState.REJECTED]
        time.sleep(max(0.0, began + WINDOW_S + 0.8 - time.monotonic()))
        assert "sbwait-1" not in desk.orders()  # its deadline was over when its turn came
        assert desk.gateway.kill("test", "it is over")
    exchange.heal()


def test_too_many_requests(exchange: LoopbackExchange, desk: Desk) -> None:
    bid, _ = desk.touch
    desk.ask(Action.POST, 100, bid - 100)
    desk.hear(1)
    exchange.fault("rate_limit", path=ORDER)
    desk.ask(Action.POST, 100, bid - 100)
    assert desk.hear(1) == [(Told.ENDED, 1, 1, 0, Ending.REFUSED)]
    assert OrderState.UNKNOWN not in desk.states(1)
    desk.ask(Action.POST, 100, bid - 100)  # not sent: the venue wants a pause
    assert desk.hear(1) == [(Told.ENDED, 2, 2, 0, Ending.REFUSED)]
    assert OrderState.SENT not in desk.states(2)
    desk.ask(Action.CANCEL, of=0)  # cancels pass
    assert desk.hear(1) == [(Told.ENDED, 0, 3, 0, Ending.CANCELLED)]


def test_a_clock_that_is_set(exchange: LoopbackExchange, desk: Desk) -> None:
    bid, _ = desk.touch
    exchange.fault("clock_skew", ms=4_000)
    desk.ask(Action.POST, 100, bid - 100)
    assert desk.hear(1) == [(Told.ENDED, 0, 0, 0, Ending.REFUSED)]  # its deadline is too near by Kraken's clock
    desk.ask(Action.POST, 100, bid - 100)
    assert desk.hear(1) == [(Told.RESTS, 1, 1, 0, None)]


def test_a_deadline_does_not_move_with_our_clock(exchange: LoopbackExchange) -> None:
    async def work(account: CcxtAccount) -> list[float]:
        how, given, began = account.rules.how, list[float](), time.time()

        def heard(takes: bool, void_ms: int) -> dict[str, Any]:
            given.append(void_ms / 1e3 - began)
            return how(takes, void_ms)

        account.rules = replace(account.rules, how=heard)
        milliseconds = account._exchange.milliseconds
        account._exchange.milliseconds = lambda: milliseconds() + 5_000
        await account.place(asked(exchange, "sbset", 100_000), 100)
        return given

    (void_s,) = with_account(exchange, work)
    private(exchange)._nonce = 0  # nonces are by the clock that was set
    assert 2.0 < void_s <= WINDOW_S + 0.5
    cancel_by_hand(exchange)


def test_requests_do_not_overtake_each_other(exchange: LoopbackExchange) -> None:
    async def work(account: CcxtAccount) -> list[str]:
        seen, _ = await account.place(asked(exchange, "sbnonce-0", 100_000), 100)
        fetch, arrived, delays = account._exchange.fetch, list[str](), iter((0.04, 0.03, 0.02, 0.01))

        async def slower_at_first(url: str, *how: Any) -> Any:
            await asyncio.sleep(next(delays, 0.0))
            arrived.append(url.rpartition("/")[2])
            return await fetch(url, *how)

        account._exchange.fetch = slower_at_first
        await asyncio.gather(
            account.open_orders(STREAM),
            account.trades(STREAM, time.time_ns()),
            account.place(asked(exchange, "sbnonce-1", 100_000), 100),
            account.cancel(asked(exchange, "", 0), seen.venue_id),
        )
        return arrived

    account = private(exchange)
    account._bad_nonces.clear()
    assert with_account(exchange, work) == ["OpenOrders", "CancelOrder", "AddOrder", "TradesHistory"]
    assert account._bad_nonces == []
    cancel_by_hand(exchange)


def test_a_turn_ends() -> None:
    async def work() -> None:
        turns, done = Turns(0.02), list[str]()

        async def one(name: str, s: float) -> None:
            async with turns.take(0):
                await asyncio.sleep(s)
                done.append(name)

        slow, left, last = (asyncio.create_task(one(*given)) for given in (("slow", 0.1), ("left", 0.0), ("last", 0.0)))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.gather(slow, last)
        await one("after", 0.0)
        assert done == ["last", "slow", "after"]

    asyncio.run(work())


def test_nonces_that_others_use(exchange: LoopbackExchange) -> None:
    there = private(exchange)

    async def work(account: CcxtAccount) -> None:
        def behind(by: int) -> None:
            there._nonce = last = account._exchange.milliseconds() + 100
            account._exchange.options["lastNonce"] = last - by

        behind(1)
        with pytest.raises(Trouble, match="EAPI:Invalid nonce") as error:
            await account.place(asked(exchange, "sbnonce-2", 100_000), 100)  # an order is sent once
        assert error.value.fate is Fate.REFUSED
        behind(1)
        assert await account.open_orders(STREAM) == []
        there._bad_nonces = [account._exchange.milliseconds()] * BAD_NONCES
        behind(50)
        with pytest.raises(Trouble, match="EGeneral:Temporary lockout") as error:
            await account.open_orders(STREAM)
        assert error.value.wait_s == 600.0

    with_account(exchange, work)
    there._locked_ms, there._nonce, there._bad_nonces = 0, 0, []
    assert "sbnonce-2" not in [order["clientOrderId"] for order in exchange.state()["accounts"]["kraken"]["orders"]]


def test_what_kraken_counts(exchange: LoopbackExchange, tmp_path: Path) -> None:
    there = private(exchange)
    before, there.calls = there.calls, CallCounter()
    try:
        with Desk(exchange, tmp_path / "j.db", "sbcalls", STREAM) as desk:
            account = desk.gateway._desks["kraken"].account
            account.rules = replace(account.rules, poll_s=0.5)  # the test's patience
            _, ask = desk.touch
            exchange.fault("gap", stream="user", count=0)
            exchange.fault("lost_answer", path=ORDER)
            exchange.fault("slow_answer", path="POST */TradesHistory", count=0)
            before_s = exchange.faults.happened.get("slow_answer", 0)
            for _ in range(4):
                desk.ask(Action.TAKE, 100, ask + 100)
            assert {told[4] for told in desk.hear(4)} == {Ending.FILLED}
            assert exchange.faults.happened["slow_answer"] - before_s <= 2  # one question for the fills of several
            assert there.calls.refused == 0
    finally:
        there.calls = before


def test_more_fills_than_a_page_has(exchange: LoopbackExchange) -> None:
    before = len(exchange.state()["accounts"]["kraken"]["fills"])
    book = exchange.state()["books"][STREAM]
    for _ in range(120):
        by_hand(exchange, price=str(Decimal(book["ask_ticks"] + 100) / 100), timeinforce="IOC")

    async def work(account: CcxtAccount) -> Any:
        assert account.rounding == {"BTC": Decimal("2e-10"), "USD": Decimal("0.0002")}
        return await account.trades(STREAM, time.time_ns() - 600 * 10**9)

    found = with_account(exchange, work)
    assert len(found) == before + 120
    assert len({one.trade_id for one in found}) == len(found)
    stamps = [one.ts_event_ns for one in found]
    assert stamps == sorted(stamps)


def test_open_orders_are_asked_for_one_by_one(exchange: LoopbackExchange, desk: Desk) -> None:
    bid, _ = desk.touch
    for price in (bid - 100, bid - 200, bid - 300):
        desk.ask(Action.POST, 100, price)
    desk.hear(3)
    exchange.fault("slow_answer", path="POST */QueryOrders", count=0)
    before = exchange.faults.happened.get("slow_answer", 0)
    time.sleep(CONFIG.quiet_s + 0.4)
    assert exchange.faults.happened["slow_answer"] - before in (1, 2)  # Kraken counts questions


def test_the_kill_switch(exchange: LoopbackExchange, desk: Desk) -> None:
    bid, _ = desk.touch
    for price in (bid - 100, bid - 200):
        desk.ask(Action.POST, 100, price)
    desk.hear(2)
    exchange.fault("server_error", path="POST */CancelOrder", status=200)  # EService:Busy
    assert desk.gateway.kill("test", "asked to")
    told = {(what, number, ending) for what, number, _, _, ending in desk.hear(2)}
    assert told == {(Told.ENDED, n, Ending.CANCELLED) for n in (0, 1)}
    assert {desk.orders()[f"sbk-{n}"] for n in (0, 1)} == {"canceled"}


def test_what_a_start_finds(exchange: LoopbackExchange, tmp_path: Path) -> None:
    with Desk(exchange, tmp_path / "j.db", "sbfirst", STREAM) as desk:
        bid, ask = desk.touch
        desk.ask(Action.POST, 100, bid - 100)
        desk.hear(1)
    by_hand(exchange, price=str(Decimal(bid - 300) / 100), cl_ord_id="by-hand")
    with Desk(exchange, tmp_path / "j.db", "sbsecond", STREAM) as desk:
        assert desk.gateway.notes[0] == "sbfirst-0: cancelled, left by an earlier run"
        assert desk.gateway.notes[1].endswith("is not ours and stays")
        assert desk.orders()["by-hand"] == "open"
        assert desk.gate.state is TradingState.NORMAL
        by_hand(exchange, price=str(Decimal(ask + 100) / 100))  # somebody else trades on our account
        assert "BTC: " in desk.gateway.check()[0]
        assert desk.gate.state is TradingState.HALTED
    cancel_by_hand(exchange)
    by_hand(exchange, price=str(Decimal(bid - 300) / 100), cl_ord_id="sbstray")  # with our prefix, and in no journal
    with Desk(exchange, tmp_path / "other.db", "sbthird", STREAM) as desk:
        assert desk.gate.changes[0].why == f"{STREAM}: order sbstray was open and is not in the journal; cancelled"
        assert desk.orders()["sbstray"] == "canceled"


def test_wrong_keys_and_long_names(exchange: LoopbackExchange, tmp_path: Path) -> None:
    desk = Desk(exchange, tmp_path / "j.db", "sbkeys", STREAM)
    for keys, said in (
        (credentials("kraken", KEY, "canary-other"), "EAPI:Invalid signature"),
        (credentials("kraken", "other", SECRET), "EAPI:Invalid key"),
    ):
        options = {"kraken": ccxt_options("kraken", exchange.port) | keys}
        gateway = CcxtGateway([desk.one], options, desk.journal, desk.gate, "sbkeys", CONFIG)
        with pytest.raises(VenueError, match=said) as error:
            gateway.__enter__()
        assert keys["secret"] not in str(error.value)
    desk.journal.close()

    async def work(account: CcxtAccount) -> Any:
        return await account.place(asked(exchange, "sb-longer-than-eighteen", 100_000), 100)

    with pytest.raises(Trouble, match="18 characters"):
        with_account(exchange, work)
    with pytest.raises(VenueError, match="KRAKEN_SECRET is the private key") as error:
        CcxtAccount("kraken", [], {"apiKey": "key", "secret": "canary-no-base64"})  # pragma: allowlist secret
    assert "canary" not in str(error.value)
    with pytest.raises(ConfigError, match="prefix"):
        GatewayConfig(prefix="mine", listed_s=0.3).check()
    with pytest.raises(VenueError, match="have not been tried"):
        CcxtAccount("bitstamp", [], {})


def test_a_stream_that_is_refused_is_asked_for_anew(exchange: LoopbackExchange) -> None:
    async def work(account: CcxtAccount) -> list[bool]:
        up, heard = list[bool](), asyncio.Event()
        await account._exchange.authenticate()
        private(exchange)._tokens = dict.fromkeys(private(exchange)._tokens, 0)  # its time is over
        watching = asyncio.create_task(account.watch(lambda _: heard.set(), lambda _: None, up.append))
        for number in range(50):
            await account.place(asked(exchange, f"sbtoken-{number}", 100_000), 100)
            if heard.is_set():
                break
            await asyncio.sleep(0.1)
        watching.cancel()
        return up

    up = with_account(exchange, work)
    cancel_by_hand(exchange)
    assert up[0] is False
    assert up[-1] is True


def test_what_its_stream_leaves_out_is_read_from_its_own_words(exchange: LoopbackExchange) -> None:
    account = CcxtAccount("kraken", [exchange.books[0].listing.instrument], {})
    ccxt, orders, fills = account._exchange, list[OrderSeen](), list[TradeSeen]()
    whole = {"exec_type": "pending_new", "order_id": "O1", "cl_ord_id": "sb-1", "order_userref": 0, "symbol": "BTC/USD",
             "order_qty": 0.01, "order_status": "pending_new", "timestamp": "2026-01-01T00:00:00.000000Z"}  # fmt: skip
    end = {"exec_type": "canceled", "order_id": "O1", "order_userref": 0, "order_status": "canceled", "cum_qty": 0.004,
           "cum_cost": 240.0, "avg_price": 60_000.0, "timestamp": "2026-01-01T00:00:01.000000Z"}  # fmt: skip
    for row in (whole, end):
        account._told_order(ccxt.parse_ws_order(row), orders.append)
        account._told_trade({**ccxt.parse_ws_trade(row), "symbol": "BTC/USD"}, fills.append)  # markets aren't loaded
    seen = [(one.client_id, one.venue_id, one.status, one.lots, one.filled_lots) for one in orders]
    assert seen == [("sb-1", "O1", "", 1000, 0), ("", "O1", "canceled", 0, 400)]
    assert fills == []


@pytest.mark.parametrize(
    ("said", "fate"),
    [
        ("EOrder:Insufficient funds", Fate.REFUSED),
        ("EOrder:Orders limit exceeded", Fate.REFUSED),
        ("EOrder:Post only order", Fate.REFUSED),
        ("EOrder:Tick size check failed", Fate.REFUSED),
        ("EGeneral:Invalid arguments:cl_ord_id", Fate.REFUSED),
        ("EGeneral:Permission denied", Fate.REFUSED),
        ("EAPI:Invalid signature", Fate.REFUSED),
        ("EService:Market in cancel_only mode", Fate.REFUSED),
        ("EQuery:Unknown asset pair", Fate.REFUSED),
        ("EOrder:Unknown order", Fate.ABSENT),
        ("EAPI:Rate limit exceeded", Fate.THROTTLED),
        ("EOrder:Rate limit exceeded", Fate.THROTTLED),
        ("EGeneral:Too many requests", Fate.THROTTLED),
        ("EGeneral:Temporary lockout", Fate.THROTTLED),
        ("EService:Throttled: 1700000000", Fate.THROTTLED),
        ("EService:Unavailable", Fate.LOST),
        ("EService:Busy", Fate.LOST),
        ("EService:Deadline elapsed", Fate.LOST),
        ("EGeneral:Internal error", Fate.LOST),
        ("EDatabase:Internal error", Fate.LOST),
        ("ESomething:New", Fate.LOST),
    ],
)
def test_what_kraken_says_means(said: str, fate: Fate) -> None:
    account = CcxtAccount("kraken", [], {})
    ccxt, answer = account._exchange, {"error": [said]}
    with pytest.raises(account._ccxt.BaseError) as error:
        ccxt.handle_errors(200, "OK", "", "POST", {}, json.dumps(answer), answer, {}, "")
    assert account._trouble(error.value).fate is fate
