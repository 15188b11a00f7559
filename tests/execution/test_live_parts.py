"""What a live run adds to the gateway: a dry run, alerts, limits that outlast a restart, orders left alone."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from schwabot.execution.account_look import look
from schwabot.execution.ccxt_gateway import CcxtGateway
from schwabot.execution.dry_run import DryRun
from schwabot.execution.journal import Journal
from schwabot.execution.risk import Reason, Refused, RiskGate, TradingState, View
from schwabot.execution.risk_gateway import RiskGateway
from schwabot.execution.settings import GatewayConfig, RiskConfig
from schwabot.execution.simulated import SimulatedBroker
from schwabot.execution.trade_alerts import TradeAlerts
from schwabot.execution.venue import VenueBroker
from schwabot.live_pipeline import LivePipeline
from schwabot.records.alert import Level
from schwabot.records.audit import SignalColumns
from schwabot.records.instrument import Instrument
from schwabot.records.market import Kind, Row
from schwabot.records.order import Action, Ending, Report, Request, Told
from schwabot.signals.builtin.threshold import threshold
from schwabot.signals.compiling import compile_policy
from schwabot.simulation.recorder import MarketRecorder
from schwabot.simulation.settings import SimulationConfig
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback import LoopbackExchange
from schwabot_kernels.simulate.state import ORDER_ACTION, ORDER_END
from tests.execution.test_venue import all_four
from tests.venues.making import listed, until

SPOT = Instrument("binance:BTC/USDT", tick_size=0.5, lot_size=0.25)
DAY_S = 86_400


class Venue:
    """Takes everything and says nothing."""

    def __init__(self) -> None:
        self.sent: list[Request] = []

    def send(self, request: Request) -> None:
        self.sent.append(request)

    def reports(self) -> list[Report]:
        return []


def asked(number: int = 0, action: Action = Action.TAKE, side: int = 1, lots: int = 4, ts_ns: int = 10**9) -> Request:
    return Request(number, f"t-{number}", SPOT.stream, action, side, lots, 100, -1, 0, ts_ns, 99, 100)


def test_a_dry_run_tells_and_then_sends() -> None:
    venue, said, now_ns = Venue(), list[str](), [10**9]
    dry = DryRun(venue, {SPOT.stream: SPOT}, 2 * 10**9, said.append, lambda: now_ns[0], hold_s=0.5)
    dry.send(asked(0))
    dry.send(asked(1, Action.POST, -1))
    assert (venue.sent, dry.count) == ([], 2)
    assert said == [
        "would buy 1 binance:BTC/USDT at 50 or better, at once or never (watching first: orders leave in 1 s)",
        "would sell 1 binance:BTC/USDT at 50 or not at all, as a post (watching first: orders leave in 1 s)",
    ]
    assert list(dry.reports()) == []
    now_ns[0] += 500_000_000
    assert [(one.number, one.told, one.ending) for one in dry.reports()] == [
        (0, Told.ENDED, Ending.REFUSED), (1, Told.ENDED, Ending.REFUSED),
    ]  # fmt: skip
    dry.send(asked(2, ts_ns=2 * 10**9))
    assert [one.number for one in venue.sent] == [2]
    assert said[2:] == ["the dry run is over: orders leave from now on"]


def test_a_policy_that_insists_is_answered_now_and_then() -> None:
    now_ns = [10**9]
    gated = RiskGateway(Venue(), RiskGate(RiskConfig(), [SPOT]), [SPOT], lambda: now_ns[0], hold_s=0.25)
    gated.send(asked())
    assert list(gated.reports()) == []
    now_ns[0] += 250_000_000
    assert [(one.number, one.ending) for one in gated.reports()] == [(0, Ending.REFUSED)]
    assert gated.last_refused["stale"].what == "binance:BTC/USDT: stale: no quote yet"


def test_spot_is_not_sold_short_unless_that_is_wanted() -> None:
    view = View(10**9, quote_ns=10**9, feed_ns=10**9, bid_ticks=99, ask_ticks=100, fair_ticks=100.0, position_lots=3)
    sell = asked(side=-1)
    found = RiskGate(RiskConfig(), [SPOT]).check(sell, view)
    assert isinstance(found, Refused)
    assert (found.reason, found.what) == (
        Reason.POSITION, "binance:BTC/USDT could come to -1 lots: spot is not sold short"
    )  # fmt: skip
    assert not isinstance(RiskGate(RiskConfig(short_spot=True), [SPOT]).check(sell, view), Refused)
    view.position_lots = 4
    assert not isinstance(RiskGate(RiskConfig(), [SPOT]).check(sell, view), Refused)


def test_what_was_lost_today_counts_after_a_restart() -> None:
    day_ns = 20_000 * DAY_S * 10**9
    first = RiskGate(RiskConfig(max_daily_loss=100.0), [SPOT])
    first.equity(0.0, day_ns + 1)
    first.equity(-60.0, day_ns + 2)
    assert first.day == (20_000, 60.0)
    again = RiskGate(RiskConfig(max_daily_loss=100.0), [SPOT])
    again.carry(*first.day)
    assert again.day == (20_000, 60.0)
    again.equity(5.0, day_ns + 3)
    again.equity(-30.0, day_ns + 4)
    assert (again.state, again.day) == (TradingState.NORMAL, (20_000, 95.0))
    again.equity(-36.0, day_ns + 5)
    assert again.changes[-1].why == "loss of the day is 101, at most 100 is allowed"
    tomorrow = RiskGate(RiskConfig(max_daily_loss=100.0), [SPOT])
    tomorrow.carry(*first.day)
    tomorrow.equity(0.0, day_ns + DAY_S * 10**9)
    tomorrow.equity(-90.0, day_ns + DAY_S * 10**9 + 1)
    assert tomorrow.state is TradingState.NORMAL


def test_alerts_of_fills_refusals_and_states() -> None:
    feed = SyntheticFeed(SyntheticConfig(events=4_000))
    config = SimulationConfig(entry_ms=3.0, response_ms=2.0)
    recorder = MarketRecorder(compile_policy(threshold), feed.instruments, [feed.instruments[2].stream], config)
    broker, gate = SimulatedBroker(recorder, {"enter_bp": 0.005}), RiskGate(RiskConfig(), [SPOT])
    gated, said = RiskGateway(Venue(), gate, [SPOT], lambda: 10**9), list[str]()
    alerts, live = TradeAlerts(broker, gated, say=said.append), LivePipeline(feed.instruments, on_row=broker.row)
    found = []
    for ticks in feed.batches(500):
        live.step(ticks)
        found += alerts.take()
    assert len(found) == len(broker.outcome().fills) == len(said) > 3
    assert {one.kind for one in found} == {"fill"}
    assert found[0].text.split()[0] in ("bought", "sold")
    gated.send(asked(0))
    gated.send(asked(1))
    gate.escalate(TradingState.HALTED, "test", "enough", 7)
    first, second = alerts.take()
    assert (first.level, first.kind) == (Level.ERROR, "halt")
    assert first.text == "trading is halted, and what is open is cancelled: test: enough"
    assert second.text.endswith("stale: no quote yet (2 such orders)")
    assert alerts.take() == ()


CONFIG = GatewayConfig(recv_window_ms=500, timeout_s=1.0, cancel_after_s=0.5, kill_file=None)


@pytest.fixture(scope="module")
def exchange() -> Iterator[LoopbackExchange]:
    deposits = {"USDT": "10000000", "BTC": "100"}
    with LoopbackExchange(SyntheticFeed(SyntheticConfig(events=400)), speed=0.0, deposits=deposits) as exchange:
        until(lambda: exchange.ended)
        yield exchange


def test_orders_that_nobody_looks_after_are_cancelled(exchange: LoopbackExchange, tmp_path: Path) -> None:
    one, options = listed(exchange, SPOT.stream)
    bid = exchange.state()["books"][one.stream]["bid_ticks"]
    journal, gate = Journal(tmp_path / "journal.db"), RiskGate(RiskConfig(), [one])
    moved = [time.time_ns() + 10**10]
    with CcxtGateway([one], options, journal, gate, "sbblind", CONFIG) as gateway:
        gateway.feed_ns = lambda: moved[0]
        post = Request(
            0, "sbblind-0", one.stream, Action.POST, 1, 1_000, bid - 100, -1, 0, time.time_ns(), bid, bid + 1
        )
        gateway.send(post)
        told: list[Report] = []
        until(lambda: told.extend(gateway.reports()) or any(each.told is Told.RESTS for each in told))
        seen = look([one], options, CONFIG)
        assert "1 open orders, 1 of them ours: a start cancels those" in seen.lines[1]
        assert seen.lines[0].startswith("binance holds 100 BTC, ")
        assert seen.limits[one.stream].min_notional > 0
        moved[0] = time.time_ns() - 10**9
        until(lambda: told.extend(gateway.reports()) or any(each.ending is Ending.CANCELLED for each in told))
        assert gate.state is TradingState.NORMAL
        assert "1 open orders are cancelled" in gateway.said[0].text
    journal.close()


def test_a_halt_lasts_over_a_restart(exchange: LoopbackExchange, tmp_path: Path) -> None:
    one, options = listed(exchange, SPOT.stream)

    def run(session: str, resume: str | None = None, kill: Path | None = None) -> RiskGate:
        gate, journal = RiskGate(RiskConfig(), [one]), Journal(tmp_path / "journal.db")
        config = GatewayConfig(recv_window_ms=500, timeout_s=1.0, kill_file=None if kill is None else str(kill))
        with CcxtGateway([one], options, journal, gate, session, config, resume=resume) as gateway:
            if session == "sba":
                gate.equity(0.0, time.time_ns())
                gate.equity(-7.0, time.time_ns())
                assert gateway.kill("test", "enough")
        journal.close()
        return gate

    assert run("sba").state is TradingState.HALTED
    second = run("sbb")
    assert (second.state, second.changes[-1].who) == (TradingState.HALTED, "test")
    assert second.changes[-1].why == "enough (in an earlier run)"
    assert second.day[1] == 7.0
    assert run("sbc", resume="looked at it").state is TradingState.NORMAL
    assert run("sbd").state is TradingState.NORMAL
    (tmp_path / "stop").touch()
    assert run("sbe", resume="looked at it", kill=tmp_path / "stop").changes[0].who == "kill file"


@pytest.mark.parametrize("dry", [True, False], ids=["dry", "refused"])
def test_a_policy_that_moves_and_cancels_what_was_refused(dry: bool) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=4_000))
    one, now_ns, venue = feed.instruments[2], [0], Venue()
    limits = RiskConfig(max_order_notional=1e12 if dry else 1e-9, max_notional=1e12, max_total_notional=1e12,
                        max_orders_per_s=1e6, order_burst=10**6, collar_bp=1e4, quote_age_s=1e6, feed_age_s=1e6,
                        short_spot=True)  # fmt: skip
    inner = DryRun(venue, {one.stream: one}, 2**62, lambda line: None, lambda: now_ns[0], hold_s=0.2)
    gated = RiskGateway(inner, RiskGate(limits, [one]), feed.instruments, lambda: now_ns[0], hold_s=0.1)
    recorder = MarketRecorder(compile_policy(all_four), feed.instruments, [one.stream], SimulationConfig())
    broker = VenueBroker(recorder, {}, gated, "test")

    def on_row(row: Row, signals: SignalColumns) -> None:
        now_ns[0] = row.ts_recv_ns
        gated.observe(row, signals)
        broker.row(row, signals)

    live = LivePipeline(feed.instruments, on_row=on_row)
    for ticks in feed.batches(20):
        live.step(ticks)
    now_ns[0] += 10**9
    broker.finish()
    orders = broker.outcome().orders
    assert venue.sent == []
    assert {Action(action) for action in orders[:, ORDER_ACTION].tolist()} == set(Action)
    assert (orders[:, ORDER_END] > 0).all()
    assert inner.count > 10 if dry else inner.count == 0


def test_a_halt_is_not_undone_by_a_milder_change_that_comes_late() -> None:
    gate = RiskGate(RiskConfig(), [SPOT])
    gate.escalate(TradingState.HALTED, "SIGUSR1", "now", 1)
    gate._set(TradingState.REDUCING, "risk", "was on its way", 2)
    assert gate.state is TradingState.HALTED
    gate.resume("test", "looked at it", 3)
    assert gate.state is TradingState.NORMAL


def test_a_position_that_was_there_counts_from_the_venues_price_or_the_first_mid() -> None:
    coin = Instrument("binancecoinm:BTC/USD:BTC", 0.5, 1.0, contract_value=100.0, inverse=True)
    perp = Instrument("binanceusdm:BTC/USDT:USDT", tick_size=0.5, lot_size=0.25)
    gate = RiskGate(RiskConfig(), [coin, perp])
    gated = RiskGateway(Venue(), gate, [coin, perp], lambda: 10**9)
    gated.adopt(coin.stream, -3, 0.0)
    gated.adopt(perp.stream, 4, 120.0)
    signals = SignalColumns(**{one.name: np.zeros((1, 2)) for one in dataclasses.fields(SignalColumns)})

    def quote(stream: int, bid: int) -> None:
        row = Row(10**9, 10**9, 10**9, stream, Kind.QUOTE, bid, bid + 2, 5, 5, 0, 0, 0)
        gated.observe(row, signals)

    quote(0, 99)
    assert gate.day[0] == -1  # the other position has no price yet, so nothing is known of the sum
    quote(1, 99)
    assert gate.day[1] == 0.0
    assert gated.position(coin.stream) == -3
    quote(1, 97)
    assert gate.day[1] == pytest.approx(4 * 0.25 * 2 * 0.5)
