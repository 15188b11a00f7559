"""The gateway through unmodified ccxt against the loopback exchange: orders, faults, books, kill switch."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from schwabot.errors import ConfigError, StateError, VenueError
from schwabot.execution import order_desk
from schwabot.execution.ccxt_account import CcxtAccount
from schwabot.execution.ccxt_gateway import CcxtGateway
from schwabot.execution.journal import OrderState
from schwabot.execution.kill_signal import KillSignal
from schwabot.execution.order_tracker import CANCELED, OPEN, OrderSeen
from schwabot.execution.risk import TradingState
from schwabot.execution.settings import GatewayConfig
from schwabot.records.instrument import Instrument
from schwabot.records.order import Action, Ending, Request, Told
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback import LoopbackExchange
from schwabot.venues.loopback.urls import KEY, ccxt_options
from tests.execution.desks import CONFIG, SECRET, SPOT, Desk
from tests.venues.making import until

PERP = "binanceusdm:BTC/USDT:USDT"


@pytest.fixture(scope="module")
def exchange() -> Iterator[LoopbackExchange]:
    feed = SyntheticFeed(SyntheticConfig(events=400))
    deposits = {"USDT": "10000000", "BTC": "100"}
    with LoopbackExchange(feed, speed=0.0, deposits=deposits, keys=(KEY, SECRET)) as exchange:
        until(lambda: exchange.ended)
        yield exchange


@pytest.mark.parametrize("stream", [SPOT, PERP])
def test_an_order_of_every_kind(exchange: LoopbackExchange, tmp_path: Path, stream: str) -> None:
    with Desk(exchange, tmp_path / "j.db", f"sbkinds{len(stream)}", stream) as desk:
        bid, ask = desk.touch
        lots = 100 if stream == SPOT else 2
        assert desk.gateway.limits[stream].min_notional > 0
        assert desk.gate._venue == desk.gateway.limits
        desk.ask(Action.TAKE, lots, ask + 100)
        assert desk.hear(1) == [(Told.FILL, 0, 0, lots, Ending.FILLED)]
        if stream == SPOT:  # it takes its fee in what is bought, a tenth of a lot: 99 are left to be sold
            assert desk.hear(1) == [(Told.FEE, 0, -1, 1, None)]
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
        desk.ask(Action.CANCEL, of=5)
        assert desk.hear(1) == [(Told.ENDED, 5, 7, 0, Ending.CANCELLED)]
        desk.ask(Action.CANCEL, of=5)
        assert desk.hear(1) == [(Told.TOO_LATE, 8, 8, 0, None)]
        assert desk.gateway.check() == []
        assert desk.states(0) == [OrderState.INTENDED, OrderState.SENT, OrderState.FILLED]
        assert not desk.journal.open_requests()
        assert desk.gate.state is TradingState.NORMAL
    with Desk(exchange, tmp_path / "j.db", f"sbagain{len(stream)}", stream) as desk:
        adopted = desk.gateway.positions[stream]
        bought = Decimal(lots) * (1 - Decimal("0.001") if stream == SPOT else 1)  # spot pays the fee in what it buys
        assert (adopted.lots, adopted.entry_ticks) == (int(bought), ask)
        desk.ask(Action.TAKE, int(bought), bid - 100, side=-1)
        assert desk.hear(1) == [(Told.FILL, 0, 0, int(bought), Ending.FILLED)]


def test_all_that_was_bought_can_be_sold(tmp_path: Path) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=400))
    with LoopbackExchange(feed, speed=0.0, deposits={"USDT": "1000000"}, keys=(KEY, SECRET)) as exchange:
        until(lambda: exchange.ended)
        with Desk(exchange, tmp_path / "j.db", "sball") as desk:
            bid, ask = desk.touch
            held = 0
            for lots, fee in ((100, 1), (333, 0), (100, 0), (480, 1)):  # of 1.013 lots of fees
                number = desk.ask(Action.TAKE, lots, ask + 100)
                told = desk.hear(2 if fee else 1)
                assert (
                    told
                    == [(Told.FILL, number, number, lots, Ending.FILLED), (Told.FEE, number, -1, 1, None)][: 1 + fee]
                )
                held += lots - fee
            desk.ask(Action.TAKE, held + 1, bid - 100, side=-1)
            assert desk.hear(1)[0][-1] is Ending.REFUSED  # more than is there
            desk.ask(Action.TAKE, held, bid - 100, side=-1)
            assert desk.hear(1) == [(Told.FILL, 5, 5, held, Ending.FILLED)]
            assert desk.gateway.check() == []
        with Desk(exchange, tmp_path / "j.db", "sball2") as desk:
            assert desk.gateway.positions[SPOT].lots == 0
            for lots, fee in ((480, 0), (480, 0), (100, 1)):  # of 1.06 lots, 0.987 are there from before
                number = desk.ask(Action.TAKE, lots, ask + 100)
                assert [one[3] for one in desk.hear(1 + fee)] == [lots, 1][: 1 + fee]


def test_a_fill_that_nobody_was_told_of(exchange: LoopbackExchange, tmp_path: Path) -> None:
    with Desk(exchange, tmp_path / "j.db", "sbuntold") as desk:
        desk.ask(Action.TAKE, 100, desk.touch[1] + 100)
        desk.hear(2)
        assert desk.gateway.check() == []
        assert desk.gate.state is TradingState.NORMAL
        with sqlite3.connect(tmp_path / "j.db") as other:
            other.execute("DELETE FROM fills")
        other.close()
        desk.gateway.check()
        assert desk.gate.state is TradingState.HALTED
        assert desk.gate.changes[-1].why.startswith("sbuntold-0: a fill of 100 lots was found at the venue")


def test_answers_that_are_lost(exchange: LoopbackExchange, tmp_path: Path) -> None:
    with Desk(exchange, tmp_path / "j.db", "sblost") as desk:
        bid, _ = desk.touch
        exchange.fault("lost_answer", path="POST */order")
        exchange.fault("gap", stream="user", count=4)
        desk.ask(Action.POST, 100, bid - 100)
        assert desk.hear(1) == [(Told.RESTS, 0, 0, 0, None)]
        assert OrderState.UNKNOWN in desk.states(0)
        exchange.fault("lost_answer", path="DELETE */order")
        desk.ask(Action.CANCEL, of=0)
        assert desk.hear(1) == [(Told.ENDED, 0, 1, 0, Ending.CANCELLED)]
        exchange.fault("server_error", path="POST */order")
        began = time.monotonic()
        desk.ask(Action.POST, 100, bid - 100)
        assert desk.hear(1) == [(Told.ENDED, 2, 2, 0, Ending.REFUSED)]
        assert time.monotonic() - began > CONFIG.recv_window_ms / 1e3  # it might have arrived until then
        assert desk.states(2)[-2:] == [OrderState.UNKNOWN, OrderState.REJECTED]
        assert {name for name in desk.orders() if name.startswith("sblost")} == {"sblost-0"}


def test_an_order_that_arrives_late_is_not_taken_for_lost(exchange: LoopbackExchange, tmp_path: Path) -> None:
    config = GatewayConfig(recv_window_ms=1_500, timeout_s=0.2, poll_s=0.2)
    with Desk(exchange, tmp_path / "j.db", "sblate", config=config) as desk:
        bid, _ = desk.touch
        exchange.fault("slow_answer", path="POST */order", seconds=0.7)
        exchange.fault("gap", stream="user", count=2)
        desk.ask(Action.POST, 100, bid - 100)
        assert desk.hear(1) == [(Told.RESTS, 0, 0, 0, None)]
        assert desk.gateway.kill("test", "it is over")
        assert desk.hear(1) == [(Told.ENDED, 0, -1, 0, Ending.CANCELLED)]


def test_too_many_requests_and_old_decisions(exchange: LoopbackExchange, tmp_path: Path) -> None:
    with Desk(exchange, tmp_path / "j.db", "sbmany") as desk:
        bid, _ = desk.touch
        desk.ask(Action.POST, 100, bid - 100)
        desk.hear(1)
        desk.ask(Action.POST, 100, bid - 100, age_s=3.0)
        assert desk.hear(1) == [(Told.ENDED, 1, 1, 0, Ending.REFUSED)]
        exchange.fault("rate_limit", path="POST */order", seconds=1)
        desk.ask(Action.POST, 100, bid - 100)
        desk.hear(1)
        desk.ask(Action.POST, 100, bid - 100)  # not sent: the venue wants a pause
        assert desk.hear(1) == [(Told.ENDED, 3, 3, 0, Ending.REFUSED)]
        assert OrderState.SENT not in desk.states(3)
        desk.ask(Action.CANCEL, of=0)  # cancels pass
        assert desk.hear(1) == [(Told.ENDED, 0, 4, 0, Ending.CANCELLED)]


def test_a_venue_that_bans_is_left_alone(
    exchange: LoopbackExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = GatewayConfig(recv_window_ms=600, timeout_s=1.0, poll_s=0.1, quiet_s=0.1, reconcile_s=0.1)
    monkeypatch.setattr(order_desk, "MOST_PAUSE_S", 0.4)

    def bans() -> int:
        found: int = exchange.state()["faults"]["happened"].get("ban", 0)
        return found

    with Desk(exchange, tmp_path / "j.db", "sbban", config=config) as desk:
        bid, _ = desk.touch
        desk.ask(Action.POST, 100, bid - 100)
        desk.hear(1)
        before = bans()
        exchange.fault("ban", path="*", seconds=500, count=0)
        until(lambda: bool(desk.gateway.said))
        assert desk.gateway.said[0].text.startswith("binance wants no requests for 500 s")
        time.sleep(0.6)
        assert bans() <= before + 2  # what was on its way already
        desk.ask(Action.POST, 100, bid - 100)
        assert desk.hear(1) == [(Told.ENDED, 1, 1, 0, Ending.REFUSED)]
        assert OrderState.SENT not in desk.states(1)
        desk.ask(Action.CANCEL, of=0)  # cancels pass, once
        until(lambda: bans() > before)
        time.sleep(0.3)
        asked = bans()
        time.sleep(0.3)
        assert bans() == asked <= before + 3
        assert not desk.gateway.kill("test", "enough", 1.0)
        assert asked + 2 <= bans() <= asked + 8  # the order's cancel and what is open, every 0.4 s
        exchange.heal()
        until(lambda: desk.orders()["sbban-0"] == "CANCELED")


def test_fills_that_a_venue_owes_while_it_wants_no_requests(
    exchange: LoopbackExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(order_desk, "OWED_S", 0.3)
    with Desk(exchange, tmp_path / "j.db", "sbowes", PERP) as desk:
        exchange.fault("gap", stream="user", count=4)
        exchange.fault("rate_limit", path="GET */userTrades", seconds=1)
        desk.ask(Action.TAKE, 2, desk.touch[1] + 100)
        assert desk.hear(1) == [(Told.FILL, 0, 0, 2, Ending.FILLED)]
        assert desk.gate.state is TradingState.NORMAL
        exchange.heal()


def test_a_clock_that_is_set(exchange: LoopbackExchange, tmp_path: Path) -> None:
    with Desk(exchange, tmp_path / "j.db", "sbclock") as desk:
        bid, _ = desk.touch
        exchange.fault("clock_skew", ms=2_000)
        desk.ask(Action.POST, 100, bid - 100)
        assert desk.hear(1) == [(Told.ENDED, 0, 0, 0, Ending.REFUSED)]

        def taken() -> bool:
            time.sleep(0.1)
            number = desk.ask(Action.POST, 100, bid - 100)
            return desk.hear(1) == [(Told.RESTS, number, number, 0, None)]

        until(taken)
        exchange.heal()  # now ours is wrong the other way
        assert desk.gateway.kill("test", "it is over")


def cancel_by_hand(exchange: LoopbackExchange) -> None:
    async def cancel() -> None:
        trading = exchange._accounts["binance"].trading
        for order in trading.open_orders():
            trading.cancel(order)

    exchange.call(cancel())


def test_an_order_that_the_venue_forgot_is_told_of_once(tmp_path: Path) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=400))
    with LoopbackExchange(feed, speed=0.0, deposits={"USDT": "10000000"}, keys=(KEY, SECRET)) as exchange:
        until(lambda: exchange.ended)

        async def forget() -> None:
            trading = exchange._accounts["binance"].trading
            trading.orders.clear()
            trading._open.clear()

        with Desk(exchange, tmp_path / "j.db", "sbforgot") as desk:
            desk.ask(Action.POST, 100, desk.touch[0] - 100)
            desk.hear(1)
            exchange.call(forget())
            until(lambda: desk.gate.state is TradingState.HALTED)
            time.sleep(1.0)
        with closing(sqlite3.connect(tmp_path / "j.db")) as journal:
            (said,) = journal.execute("SELECT COUNT(*) FROM log WHERE what LIKE 'sbforgot-0 was at%'").fetchone()
        assert said == 1


def test_a_venue_that_cancels_while_its_stream_is_silent(exchange: LoopbackExchange, tmp_path: Path) -> None:
    with Desk(exchange, tmp_path / "j.db", "sbsilent") as desk:
        bid, _ = desk.touch
        desk.ask(Action.POST, 100, bid - 100)
        assert desk.hear(1) == [(Told.RESTS, 0, 0, 0, None)]
        exchange.fault("gap", stream="user", count=2)
        cancel_by_hand(exchange)
        assert desk.hear(1) == [(Told.ENDED, 0, -1, 0, Ending.CANCELLED)]
        exchange.heal()


@pytest.mark.parametrize("how", ["file", "signal", "call"])
def test_the_kill_switch(exchange: LoopbackExchange, tmp_path: Path, how: str) -> None:
    file = tmp_path / "kill"
    config = GatewayConfig(recv_window_ms=600, timeout_s=1.0, kill_file=str(file))
    with Desk(exchange, tmp_path / "j.db", f"sbkill{how}", config=config) as desk:
        bid, _ = desk.touch
        for price in (bid - 100, bid - 200):
            desk.ask(Action.POST, 100, price)
        desk.hear(2)
        if how == "file":
            file.touch()
        elif how == "signal":
            with KillSignal() as stop:
                stop.meets(lambda who, why: desk.gateway.kill(who, why, 0.0))
                os.kill(os.getpid(), signal.SIGUSR1)
        else:
            assert desk.gateway.kill("test", "asked to")
        told = {(what, number, ending) for what, number, _, _, ending in desk.hear(2)}
        assert told == {(Told.ENDED, n, Ending.CANCELLED) for n in (0, 1)}
        assert desk.gate.state is TradingState.HALTED
        assert {desk.orders()[f"sbkill{how}-{n}"] for n in (0, 1)} == {"CANCELED"}
        desk.ask(Action.POST, 100, bid - 100)
        assert desk.hear(1) == [(Told.ENDED, 2, 2, 0, Ending.REFUSED)]


def test_what_a_start_finds(exchange: LoopbackExchange, tmp_path: Path) -> None:
    foreign = {"symbol": "BTCUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.001"}

    def place(name: str, price: int) -> None:
        async def order() -> None:
            account: Any = exchange._accounts["binance"]
            account._place({**foreign, "price": str(Decimal(price) / 100), "newClientOrderId": name})

        exchange.call(order())

    with Desk(exchange, tmp_path / "j.db", "sbfirst") as desk:
        bid, ask = desk.touch
        desk.ask(Action.POST, 100, bid - 100)
        desk.hear(1)
    place("by-hand", bid - 300)
    with Desk(exchange, tmp_path / "j.db", "sbsecond") as desk:
        assert desk.gateway.notes[:-1] == [
            "sbfirst-0: cancelled, left by an earlier run", f"{SPOT}: order {last(exchange)} is not ours and stays",
        ]  # fmt: skip
        assert desk.orders()["by-hand"] == "NEW"
        assert desk.gate.state is TradingState.NORMAL
        place("by-hand-2", ask + 100)  # somebody else trades on our account
        found = desk.gateway.check()
        assert len(found) == 2
        assert "BTC: " in found[0]
        assert "is held, by our fills it should be" in found[0]
        assert desk.gate.state is TradingState.HALTED
        desk.gateway.accept("me", "I bought some")
        assert desk.gate.state is TradingState.NORMAL
        assert desk.gateway.check() == []
        assert desk.gateway.positions == {}
    cancel_by_hand(exchange)
    place("sbstray", bid - 400)  # with our prefix, and in no journal
    with Desk(exchange, tmp_path / "other.db", "sbthird") as desk:
        assert desk.gate.state is TradingState.HALTED
        assert desk.gate.changes[0].why == f"{SPOT}: order sbstray was open and is not in the journal; cancelled"
        assert desk.orders()["sbstray"] == "CANCELED"


def last(exchange: LoopbackExchange) -> int:
    number: int = exchange.state()["accounts"]["binance"]["orders"][-1]["orderId"]
    return number


@pytest.mark.parametrize("left", ["long ago", "just now", "nobody knows"])
def test_how_long_a_start_waits_for_an_order_that_never_arrived(
    exchange: LoopbackExchange, tmp_path: Path, left: str
) -> None:  # fmt: skip
    config = GatewayConfig(recv_window_ms=1_500)
    with Desk(exchange, tmp_path / "j.db", "sbbefore", config=config) as desk:
        (bid, ask), name, now_ns = desk.touch, "sbbefore-0", time.time_ns()
        request = Request(0, name, SPOT, Action.TAKE, 1, 100, ask, -1, 0, now_ns, bid, ask)
        desk.journal.intend(request, now_ns)
        if left != "nobody knows":
            desk.journal.move(name, OrderState.SENT, now_ns - (5 * 10**9 if left == "long ago" else 0))
    began_s = time.monotonic()
    with Desk(exchange, tmp_path / "j.db", "sbafter", config=config) as desk:
        took_s = time.monotonic() - began_s
        assert desk.journal.states(name)[-1] is OrderState.REJECTED
        assert any(name in note for note in desk.gateway.notes)
    assert took_s < 1.2 if left == "long ago" else took_s > 1.5


def test_an_order_does_not_leave_after_the_machine_stood_still(exchange: LoopbackExchange, tmp_path: Path) -> None:
    with Desk(exchange, tmp_path / "j.db", "sbstood") as desk:
        bid, _ = desk.touch
        with desk.gateway._ledger._lock:  # what writes that it leaves has to wait
            desk.ask(Action.POST, 100, bid - 100)
            time.sleep(0.4)
        assert desk.hear(1) == [(Told.ENDED, 0, 0, 0, Ending.REFUSED)]
        assert "sbstood-0" not in desk.orders()
        assert "stood still" in desk.gateway.take_refused()[0].what


def test_a_strangers_order_of_the_same_number_is_not_ours() -> None:
    async def told() -> list[OrderSeen]:
        account = CcxtAccount("binance", [Instrument(SPOT, 0.01, 1e-5)], {"apiKey": KEY, "secret": SECRET})
        found: list[OrderSeen] = []
        each = {"id": "777", "status": "open", "amount": "0.001", "filled": "0", "info": {}, "timestamp": 1}
        account._told_order({**each, "clientOrderId": "sb-1", "symbol": "BTC/USDT"}, found.append)
        account._told_order({**each, "clientOrderId": "web", "symbol": "ETH/USDT", "status": "closed"}, found.append)
        account._told_order({**each, "clientOrderId": "sb-1", "symbol": None, "status": "canceled"}, found.append)
        await account.close()
        return found

    assert [(seen.client_id, seen.status) for seen in asyncio.run(told())] == [("sb-1", OPEN), ("sb-1", CANCELED)]


def test_venues_that_refuse_say_why_and_keep_secrets(exchange: LoopbackExchange, tmp_path: Path) -> None:
    desk = Desk(exchange, tmp_path / "j.db", "sbkeys")
    key, secret = "other", "canary-other"  # pragma: allowlist secret
    options = {"binance": {**ccxt_options("binance", exchange.port), "apiKey": key, "secret": secret}}
    gateway = CcxtGateway([desk.one], options, desk.journal, desk.gate, "sbkeys", CONFIG)
    with pytest.raises(VenueError, match="AuthenticationError") as error:
        gateway.__enter__()
    assert "canary" not in str(error.value) + repr(gateway)
    assert "signature" not in str(error.value)
    with pytest.raises(StateError, match="does not begin with sb"):
        CcxtGateway([desk.one], options, desk.journal, desk.gate, "mine", CONFIG)
    with pytest.raises(ConfigError, match="recv_window_ms"):
        CcxtGateway([desk.one], options, desk.journal, desk.gate, "sb1", GatewayConfig(recv_window_ms=1))
    nowhere = {"binance": ccxt_options("binance", 1)}
    slow = GatewayConfig(start_s=1.0)
    with pytest.raises(VenueError, match="binance"):
        CcxtGateway([desk.one], nowhere, desk.journal, desk.gate, "sb2", slow).__enter__()
    desk.journal.close()
    assert not any(b"canary" in file.read_bytes() for file in tmp_path.iterdir())
