"""What a person may do to a run that sends orders, and when the answer is no."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from schwabot.errors import ConfigError, VenueError
from schwabot.execution.ccxt_gateway import CcxtGateway
from schwabot.execution.live_control import LiveControl
from schwabot.execution.risk import RiskGate, TradingState
from schwabot.execution.settings import RiskConfig
from schwabot.records.order import Action
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback import LoopbackExchange
from schwabot.venues.loopback.urls import KEY
from tests.execution.desks import CONFIG, SECRET, Desk
from tests.venues.making import until


@pytest.fixture
def exchange() -> Iterator[LoopbackExchange]:
    deposits = {"USDT": "10000000", "BTC": "100"}
    feed = SyntheticFeed(SyntheticConfig(events=400))
    with LoopbackExchange(feed, speed=0.0, deposits=deposits, keys=(KEY, SECRET)) as exchange:
        until(lambda: exchange.ended)
        yield exchange


def test_nobody_resumes_over_a_kill_file_or_what_nobody_can_explain(exchange: LoopbackExchange, tmp_path: Path) -> None:
    file = tmp_path / "kill"
    config = replace(CONFIG, kill_file=str(file))

    async def a_deposit() -> None:
        exchange._accounts["binance"].account.total["USDT"] += Decimal(5)

    with Desk(exchange, tmp_path / "j.db", "sbctl", config=config) as desk:
        control = LiveControl(desk.gate, desk.gateway)
        with pytest.raises(ConfigError, match="NORMAL already"):
            control.resume("ann", "a test")
        file.touch()
        until(lambda: desk.gate.state is TradingState.HALTED)
        with pytest.raises(ConfigError, match="remove it first"):
            control.resume("ann", "a test")
        file.unlink()
        exchange.call(a_deposit())
        with pytest.raises(ConfigError, match=r"USDT.*begin it with live.accept=REASON"):
            control.resume("ann", "a test")
        assert control.gated().state == "HALTED"
        assert desk.gate.state is TradingState.HALTED


def test_what_a_venue_does_not_confirm_halts(
    exchange: LoopbackExchange, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CcxtGateway.cancel_all, "__defaults__", (0.5,))
    with Desk(exchange, tmp_path / "j.db", "sbcan") as desk:
        control = LiveControl(desk.gate, desk.gateway)
        desk.ask(Action.POST, 100, desk.touch[0] - 100)
        desk.hear(1)
        assert "nothing of ours is open" in control.cancel_all("ann", "a test")
        assert desk.gate.state is TradingState.NORMAL
        desk.hear(1)
        desk.ask(Action.POST, 100, desk.touch[0] - 100)
        desk.hear(1)
        exchange.fault("ban", seconds=60)
        with pytest.raises(VenueError, match="trading is halted"):
            control.cancel_all("ann", "a test")
        assert desk.gate.state is TradingState.HALTED
        assert desk.gateway.hold is None
        exchange.heal()
        until(lambda: desk.orders()["sbcan-1"] == "CANCELED")


def test_a_dry_run_has_nothing_to_cancel(exchange: LoopbackExchange) -> None:
    gate = RiskGate(RiskConfig(), [exchange.books[0].listing.instrument])
    control = LiveControl(gate, None)
    assert "dry run" in control.cancel_all("ann", "a test")
    assert "dry run" in control.halt("ann", "a test")
    with pytest.raises(ConfigError, match="HALTED already"):
        control.reduce("ann", "a test")
    assert "goes on" in control.resume("ann", "a test")
    assert gate.state is TradingState.NORMAL
