"""Our books and the venue's: fills it is slow to list or dates otherwise, holdings nobody compares, other streams."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schwabot.execution.journal import OrderState
from schwabot.execution.risk import TradingState
from schwabot.execution.settings import GatewayConfig
from schwabot.records.order import Action, Ending, Told
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback import LoopbackExchange
from schwabot.venues.loopback.urls import KEY
from tests.execution.desks import CONFIG, SECRET, Desk
from tests.venues.making import until

PERP = "binanceusdm:BTC/USDT:USDT"


@pytest.fixture
def exchange() -> Iterator[LoopbackExchange]:
    feed = SyntheticFeed(SyntheticConfig(events=400))
    deposits = {"USDT": "10000000", "BTC": "100"}
    with LoopbackExchange(feed, speed=0.0, deposits=deposits, keys=(KEY, SECRET)) as exchange:
        until(lambda: exchange.ended)
        yield exchange


def test_fills_are_found_though_the_clocks_differ(exchange: LoopbackExchange, tmp_path: Path) -> None:
    exchange.fault("clock_skew", ms=-90_000, count=0)
    exchange.fault("gap", stream="user", count=0)
    with Desk(exchange, tmp_path / "j.db", "sbahead", PERP) as desk:
        desk.ask(Action.TAKE, 2, desk.touch[1] + 100)
        assert desk.hear(1, 3.0) == [(Told.FILL, 0, 0, 2, Ending.FILLED)]
        assert desk.gateway.check() == []
    with Desk(exchange, tmp_path / "j.db", "sbagain", PERP) as desk:
        assert desk.gateway.positions[PERP].lots == 2


def test_fills_are_found_though_the_clock_was_set_meanwhile(exchange: LoopbackExchange, tmp_path: Path) -> None:
    exchange.fault("gap", stream="user", count=0)
    with Desk(exchange, tmp_path / "j.db", "sbset", PERP) as desk:
        desk.ask(Action.TAKE, 2, desk.touch[1] + 100, age_s=-300.0)  # decided when our clock was ahead
        assert desk.hear(1, 5.0) == [(Told.FILL, 0, 0, 2, Ending.FILLED)]


def test_fills_that_are_not_listed_halt_and_are_waited_for_at_the_end(
    exchange: LoopbackExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("schwabot.execution.order_desk.OWED_S", 1.0)
    exchange.fault("gap", stream="user", count=0)
    exchange.fault("server_error", path="GET */userTrades", count=0)
    with Desk(exchange, tmp_path / "j.db", "sbowed", PERP) as desk:
        desk.ask(Action.TAKE, 2, desk.touch[1] + 100)
        until(lambda: OrderState.SENT in desk.states(0))
        assert desk.gateway.wind_down()
        assert desk.gate.state is TradingState.HALTED
        said = desk.gate.changes[-1].why
        assert said.startswith("sbowed-0: binanceusdm told of 2 lots filled, and lists 0 of them after 1 s")
        assert "Internal error" in said
    exchange.heal()
    exchange.fault("gap", stream="user", count=0)
    (order,) = exchange._accounts["binanceusdm"].trading.orders.values()
    fills, order.fills = order.fills, []
    with Desk(exchange, tmp_path / "j.db", "sbstill", PERP) as desk:  # it does not wait for ever
        assert desk.gate.state is TradingState.HALTED
        assert any(note == f"{said.partition(': binanceusdm: ')[0]}" for note in desk.gateway.notes)
        assert desk.journal.open_requests()
    order.fills = fills
    with Desk(exchange, tmp_path / "j.db", "sbfound", PERP) as desk:
        assert not desk.journal.open_requests()
        assert desk.gateway.positions[PERP].lots == 2


def test_holdings_that_nobody_compares_are_told(exchange: LoopbackExchange, tmp_path: Path) -> None:
    config = GatewayConfig(recv_window_ms=600, timeout_s=1.0, reconcile_s=0.1)
    with Desk(exchange, tmp_path / "j.db", "sbblind", PERP, config) as desk:
        exchange.fault("server_error", path="GET */positionRisk", count=0)
        said = until(lambda: desk.gateway.said)
        assert said[0].text.startswith("what is held at binanceusdm was not compared 5 times in a row: binanceusdm: ")
        exchange.heal()
        time.sleep(0.3)
        said.clear()
        assert desk.gateway.check() == []
        assert desk.gate.state is TradingState.NORMAL
        assert not said
