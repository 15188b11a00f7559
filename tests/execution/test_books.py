"""Our books and the venue's: fills it is slow to list or dates otherwise, holdings nobody compares, other streams."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from schwabot.errors import JournalError
from schwabot.execution.journal import Fill, Journal, OrderState
from schwabot.execution.order_desk import ACCEPT
from schwabot.execution.reconcile import rounded
from schwabot.execution.risk import TradingState
from schwabot.execution.settings import GatewayConfig
from schwabot.records.instrument import Instrument
from schwabot.records.order import Action, Ending, Request, Told
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback import LoopbackExchange
from schwabot.venues.loopback.urls import KEY
from tests.execution.desks import SECRET, SPOT, Desk
from tests.venues.making import SPOT as BTC
from tests.venues.making import Driven, played, until

PERP = "binanceusdm:BTC/USDT:USDT"
ETH = Instrument("binance:ETH/USDT", 0.01, 1e-4)


@pytest.fixture
def exchange() -> Iterator[LoopbackExchange]:
    feed = SyntheticFeed(SyntheticConfig(events=400))
    deposits = {"USDT": "10000000", "BTC": "100"}
    with LoopbackExchange(feed, speed=0.0, deposits=deposits, keys=(KEY, SECRET)) as exchange:
        until(lambda: exchange.ended)
        yield exchange


def test_fills_are_found_though_the_clocks_differ(exchange: LoopbackExchange, tmp_path: Path) -> None:
    exchange.fault("clock_skew", ms=-50_000, count=0)
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
        assert f"{said.partition(': binanceusdm: ')[0]} ({ACCEPT})" in desk.gateway.notes
        assert desk.journal.open_requests()
    shutil.copy(tmp_path / "j.db", tmp_path / "accepted.db")
    with Desk(exchange, tmp_path / "accepted.db", "sbsaid", PERP, accept="I looked at it") as desk:
        assert desk.gate.state is TradingState.NORMAL
        assert not desk.journal.open_requests()
        assert desk.gateway.positions[PERP].lots == 2
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


def test_orders_that_were_left_where_nobody_trades_now_are_not_left_alone(
    exchange: LoopbackExchange, tmp_path: Path
) -> None:
    with Desk(exchange, tmp_path / "j.db", "sbleft", PERP) as desk:
        bid, ask = desk.touch
        desk.ask(Action.TAKE, 2, ask + 100)
        desk.ask(Action.POST, 3, bid - 100)
        desk.hear(2)
    with pytest.raises(JournalError, match=rf"sbleft-1 \(buy 3 lots of {PERP}\).*policy.trade=\[\"{PERP}\"\]'"):
        Desk(exchange, tmp_path / "j.db", "sbother", SPOT).__enter__()
    with Desk(exchange, tmp_path / "j.db", "sbback", PERP) as desk:
        assert desk.orders()["sbleft-1"] == "CANCELED"
    with Desk(exchange, tmp_path / "j.db", "sbthen", SPOT) as desk:
        assert desk.gateway.notes[0] == (
            f"{PERP}: +2 lots by the fills of earlier runs, and not traded now: nobody looks after them"
        )


def test_fills_of_another_stream_moved_the_same_currency(tmp_path: Path) -> None:
    driven = Driven(BTC, ETH)
    with LoopbackExchange(driven, speed=0, deposits={"USDT": "100000"}, keys=(KEY, SECRET)) as exchange:
        for stream in (0, 1):
            driven.quote(100_000, 100_010, 10_000, 10_000, stream)
        played(exchange, driven)
        for number, stream in enumerate((BTC.stream, ETH.stream, BTC.stream)):
            with Desk(exchange, tmp_path / "j.db", f"sbday{number}", stream) as desk:
                assert desk.gate.state is TradingState.NORMAL
                desk.ask(Action.TAKE, 2_000, desk.touch[1])
                assert desk.hear(1)[0][-1] is Ending.FILLED
                assert desk.gateway.check() == []
        driven.end()


def test_fills_are_not_read_with_other_lots(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.db")
    journal.reads([BTC])
    other = Instrument(BTC.stream, BTC.tick_size, 10 * BTC.lot_size)
    journal.reads([other])  # there are no fills yet
    journal.begin("a", 5)
    journal.intend(Request(0, "a-0", BTC.stream, Action.TAKE, 1, 3, 100, -1, 0, 5, 99, 100), 6)
    journal.fill(Fill(BTC.stream, "1", "a-0", "7", 1, 3, 100, False, Decimal(0), "USDT", 7, 8))
    with pytest.raises(JournalError, match=r"in ticks of 0\.01 and lots of 0\.0001, which are 0\.01 and 1e-05 now"):
        journal.reads([BTC])
    assert journal.lots() == {BTC.stream: 3}
    journal.close()


def test_what_rounding_may_hide_grows_with_fills_that_were_booked_there_alone(tmp_path: Path) -> None:
    btc, eth, far = (Instrument(name, 0.01, 1e-4) for name in ("kraken:BTC/USD", "kraken:ETH/USD", "binance:BTC/USD"))
    journal = Journal(tmp_path / "j.db")
    journal.begin("sba", 1)
    journal.count_from("kraken", [("USD", Decimal(9)), ("BTC", Decimal(1))], 1, "first look")
    for number, stream in enumerate((btc, eth, far, far, far)):
        request = Request(number, f"sba-{number}", stream.stream, Action.TAKE, 1, 1, 100, -1, 0, 5, 99, 100)
        journal.intend(request, 5)
        journal.fill(Fill(stream.stream, str(number), f"sba-{number}", "7", 1, 1, 100, True, Decimal(0), "USD", 5, 5))
    step = Decimal("0.0002")
    found = rounded(journal, "kraken", {one.stream: one for one in (btc, eth, far)}, {"USD": step, "BTC": step})
    assert found == {"USD": 2 * step, "BTC": step}
    journal.close()


def booked(exchange: LoopbackExchange, asset: str, amount: str) -> None:
    """Somebody moves money, or trades by hand."""

    async def book() -> None:
        exchange._accounts["binance"].account.total[asset] += Decimal(amount)

    exchange.call(book())


def test_what_is_held_can_be_accepted(exchange: LoopbackExchange, tmp_path: Path) -> None:
    with Desk(exchange, tmp_path / "j.db", "sbold") as desk:
        desk.ask(Action.TAKE, 1_000, desk.touch[1] + 100)
        desk.hear(2)
        booked(exchange, "USDT", "5")
        assert desk.gateway.wind_down()
        assert len(desk.gateway.differs) == 1
        assert desk.gateway.differs[0].startswith("binance: USDT: ")
        assert desk.gateway.differs[0].endswith("(if what is held is right, start with live.accept=REASON)")
        assert desk.gate.state is TradingState.HALTED
    with Desk(exchange, tmp_path / "j.db", "sbmore", accept="a deposit") as desk:
        assert desk.gate.state is TradingState.NORMAL
        assert desk.gateway.check() == []
        assert desk.gateway.positions[SPOT].lots == 999
    booked(exchange, "BTC", "-100.008")  # what was there before, and most of what was bought
    with Desk(exchange, tmp_path / "j.db", "sbhalt") as desk:
        assert desk.gate.state is TradingState.HALTED
        assert desk.gateway.notes[-1].startswith("binance: BTC: 0.00199 is held, by our fills it should be 100.00999")
    with Desk(exchange, tmp_path / "j.db", "sbsold", accept="sold by hand") as desk:
        assert desk.gateway.positions[SPOT].lots == 199
        assert desk.gateway.notes[-1] == "what is held was accepted: sold by hand"
    with Desk(exchange, tmp_path / "j.db", "sbthen") as desk:
        assert desk.gate.state is TradingState.NORMAL
        assert desk.gateway.positions[SPOT].lots == 199
        assert desk.gateway.wind_down()
        assert desk.gateway.differs == []
