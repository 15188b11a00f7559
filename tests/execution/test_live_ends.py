"""The end of a run at the gateway: nothing leaves any more, all is cancelled; and what the next start goes on with."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from schwabot.execution.ccxt_gateway import DAY_NS, CcxtGateway
from schwabot.execution.journal import Journal, RiskNote
from schwabot.execution.risk import RiskGate, TradingState
from schwabot.execution.settings import GatewayConfig, RiskConfig
from schwabot.records.order import Action, Ending, Report, Request, Told
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback import LoopbackExchange
from tests.venues.making import listed, until

SPOT = "binance:BTC/USDT"
CONFIG = GatewayConfig(recv_window_ms=500, timeout_s=1.0)


@pytest.fixture(scope="module")
def exchange() -> Iterator[LoopbackExchange]:
    feed = SyntheticFeed(SyntheticConfig(events=400))
    with LoopbackExchange(feed, speed=0.0, deposits={"USDT": "1000000"}) as exchange:
        until(lambda: exchange.ended)
        yield exchange


def post(exchange: LoopbackExchange, session: str, number: int) -> Request:
    bid = exchange.state()["books"][SPOT]["bid_ticks"]
    return Request(
        number, f"{session}-{number}", SPOT, Action.POST, 1, 1_000, bid - 100, -1, 0, time.time_ns(), bid, bid + 1
    )


def orders(exchange: LoopbackExchange, session: str) -> dict[str, str]:
    found = exchange.state()["accounts"]["binance"]["orders"]
    return {one["clientOrderId"]: one["status"] for one in found if one["clientOrderId"].startswith(session)}


def heard(gateway: CcxtGateway) -> Report:
    """What is told next, alone."""
    told: list[Report] = []

    def any_told() -> bool:
        told.extend(gateway.reports())
        return bool(told)

    until(any_told)
    assert len(told) == 1
    return told[0]


def writable(journal: Journal, *, yes: bool) -> None:
    """Let the journal's writes fail as they do where a disk is full, or no more."""
    for connection in (journal._normal, journal._full):
        connection.execute(f"PRAGMA query_only = {'OFF' if yes else 'ON'}")


def test_nothing_leaves_once_the_run_ends(exchange: LoopbackExchange, tmp_path: Path) -> None:
    one, options = listed(exchange, SPOT)
    journal, gate = Journal(tmp_path / "journal.db"), RiskGate(RiskConfig(), [one])
    with CcxtGateway([one], options, journal, gate, "sbwind", CONFIG) as gateway:
        gateway.send(post(exchange, "sbwind", 0))
        assert heard(gateway).told is Told.RESTS
        assert orders(exchange, "sbwind") == {"sbwind-0": "NEW"}
        assert gateway.wind_down()
        assert orders(exchange, "sbwind") == {"sbwind-0": "CANCELED"}
        assert heard(gateway).ending is Ending.CANCELLED
        gateway.send(post(exchange, "sbwind", 1))
        assert heard(gateway).ending is Ending.REFUSED
        assert [each.what for each in gateway.take_refused()] == ["the run ends"]
        assert gateway.not_sent == 1
        assert set(orders(exchange, "sbwind")) == {"sbwind-0"}
        assert gate.state is TradingState.NORMAL
    journal.close()


def test_the_end_is_not_confirmed_while_the_venue_does_not_answer(exchange: LoopbackExchange, tmp_path: Path) -> None:
    one, options = listed(exchange, SPOT)
    journal, gate = Journal(tmp_path / "journal.db"), RiskGate(RiskConfig(), [one])
    with CcxtGateway([one], options, journal, gate, "sbmute", CONFIG) as gateway:
        gateway.send(post(exchange, "sbmute", 0))
        assert heard(gateway).told is Told.RESTS
        exchange.fault("server_error", path="* */order*", count=0)
        exchange.fault("server_error", path="* */openOrders", count=0)
        assert not gateway.wind_down(0.5)
        assert orders(exchange, "sbmute") == {"sbmute-0": "NEW"}
        asked = post(exchange, "sbmute", 0)
        where = f"buy 0.01 {SPOT} at {asked.price_ticks * one.tick_size:.10g}"
        assert f"look there for sbmute-0, {where}" in gateway.said[-1].text
        exchange.heal()
        assert gateway.wind_down()
        assert orders(exchange, "sbmute") == {"sbmute-0": "CANCELED"}
    journal.close()


@pytest.mark.parametrize("how", ["wind_down", "kill"])
def test_a_disk_that_is_full_keeps_no_order_open(tmp_path: Path, how: str) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=400))
    with LoopbackExchange(feed, speed=0.0, deposits={"USDT": "1000000"}) as exchange:
        until(lambda: exchange.ended)
        one, options = listed(exchange, SPOT)
        journal, gate = Journal(tmp_path / "journal.db"), RiskGate(RiskConfig(), [one])
        with CcxtGateway([one], options, journal, gate, "sbfull", CONFIG) as gateway:
            gateway.send(post(exchange, "sbfull", 0))
            assert heard(gateway).told is Told.RESTS
            writable(journal, yes=False)
            try:
                assert gateway.wind_down() if how == "wind_down" else gateway.kill("test", "enough")
                assert orders(exchange, "sbfull") == {"sbfull-0": "CANCELED"}
            finally:
                writable(journal, yes=True)
        journal.close()


@pytest.mark.parametrize(
    ("state", "days_ago", "then"),
    [
        ("REDUCING", 0, TradingState.REDUCING),
        ("REDUCING", 1, TradingState.NORMAL),
        ("HALTED", 1, TradingState.HALTED),
        ("NORMAL", 0, TradingState.NORMAL),
    ],
)
def test_a_state_goes_on_after_a_restart(
    exchange: LoopbackExchange, tmp_path: Path, state: str, days_ago: int, then: TradingState
) -> None:
    one, options = listed(exchange, SPOT)
    now_ns = (time.time_ns() // DAY_NS) * DAY_NS + DAY_NS // 2  # no midnight comes in between
    journal, gate = Journal(tmp_path / "journal.db"), RiskGate(RiskConfig(max_daily_loss=200.0), [one])
    journal.risk(RiskNote(5, state, "risk", "it lost", now_ns // DAY_NS - days_ago, 150.0))
    began_ns = time.monotonic_ns()
    gateway = CcxtGateway(
        [one], options, journal, gate, "sbnext", CONFIG, lambda: now_ns + time.monotonic_ns() - began_ns
    )
    with gateway:
        assert gate.state is then
        if then is not TradingState.NORMAL:
            assert (gate.changes[-1].who, gate.changes[-1].why) == ("risk", "it lost (in an earlier run)")
        gate.equity(0.0, now_ns)
        assert gate.day == (now_ns // DAY_NS, 0.0 if days_ago else 150.0)
    assert (last := journal.last_risk()) is not None
    assert last.state == then.name
    journal.close()
