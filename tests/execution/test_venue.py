"""Orders at a venue: with the simulated exchange as the venue, a policy comes to what it comes to in a backtest."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from schwabot.errors import StateError
from schwabot.execution.risk import RiskGate
from schwabot.execution.risk_gateway import RiskGateway
from schwabot.execution.settings import RiskConfig
from schwabot.execution.simulated import SimulatedBroker
from schwabot.execution.venue import REHEARSED_ROWS, VenueBroker
from schwabot.live_pipeline import LivePipeline
from schwabot.records.audit import SignalColumns
from schwabot.records.market import Kind, Row
from schwabot.records.order import Action, Ending, Report, Request, Told
from schwabot.signals import BUY, SELL, Parameter, nothing, policy, post, replace, take
from schwabot.signals import cancel as cancel_order
from schwabot.signals.builtin.quote_guard import quote_guard
from schwabot.signals.builtin.threshold import threshold
from schwabot.signals.compiling import compile_policy
from schwabot.signals.declaring import Policy
from schwabot.simulation.details import fills_table, trades_table
from schwabot.simulation.outcome import equity_curve
from schwabot.simulation.recorder import MarketRecorder
from schwabot.simulation.settings import SimulationConfig
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot_kernels.simulate import state as s
from schwabot_kernels.simulate.exchange import trace
from schwabot_kernels.simulate.records import CASH, EQUITY2, FEES, FILLS, HOLD_NS, POSITION

CONFIG = SimulationConfig(entry_ms=3.0, response_ms=2.0)
SYNTHETIC = SyntheticConfig(events=6_000)
LOOSE = RiskConfig(max_order_notional=1e12, max_notional=1e12, max_total_notional=1e12, max_orders_per_s=1e6,
                   order_burst=10**6, collar_bp=1e4, quote_age_s=1e6, feed_age_s=1e6, max_daily_loss=1e12,
                   max_drawdown=1e12, short_spot=True)  # fmt: skip
"""Refuses nothing here, so that what comes out is a backtest's."""


class Exchange:
    """The simulated exchange behind a gateway: requests come in, its reports go out when their time has come."""

    def __init__(self, market: Any, rules: Any) -> None:
        self.market, self.rules = market, rules
        self.state = s.new_state(1, 0)
        own = np.flatnonzero(market.leg == 0)
        self.state.legs[0, s.FIRST_ROW], self.state.legs[0, s.TAIL_ROW] = own[0], own[-1]
        self.now_ns = self.row = 0
        self.slots: dict[int, int] = {}
        self.gone: set[int] = set()

    def send(self, request: Request) -> None:
        legs, market, ts_ns = self.state.legs, self.market, request.ts_ns
        if legs[0, s.RESTS] == 0 and legs[0, s.REQUESTS_OPEN] == 0:
            known = np.flatnonzero(market.leg[: self.row + 1] == 0)
            if known[-1] > legs[0, s.TRACED_ROW] and market.venue_ns[known[-1]] <= ts_ns:
                legs[0, s.TRACED_ROW] = known[-1]
                legs[0, s.BOOK_ROW] = known[market.kind[known] == Kind.QUOTE][-1]
        if request.of >= 0:
            slot = self.slots[request.of]
        else:
            taken = {at for number, at in self.slots.items() if number not in self.gone}
            slot = self.slots[request.number] = min(set(range(8)) - taken)
        legs[0, s.LAST_ARRIVAL] = max(ts_ns + self.rules.entry_ns[0, 0], legs[0, s.LAST_ARRIVAL])
        asked = self.state.requests[0, (legs[0, s.REQUEST_AT] + legs[0, s.REQUESTS_OPEN]) % s.REQUESTS]
        legs[0, s.REQUESTS_OPEN] += 1
        asked[s.Q_ARRIVAL], asked[s.Q_ACTION], asked[s.Q_SLOT] = legs[0, s.LAST_ARRIVAL], request.action, slot
        asked[s.Q_SIDE], asked[s.Q_LOTS], asked[s.Q_PRICE] = request.side, request.lots, request.price_ticks
        asked[s.Q_NUMBER], asked[s.Q_FILLED] = request.number, request.filled_lots
        asked[s.Q_TOUCH] = request.ask_ticks if request.side > 0 else request.bid_ticks

    def reports(self) -> list[Report]:
        assert trace(self.market, self.rules, 0, self.state, 0, self.now_ns, len(self.market.ts_ns))
        legs, found = self.state.legs, []
        while legs[0, s.REPORTS_OPEN]:
            told = self.state.reports[0, legs[0, s.REPORT_AT]]
            if told[s.P_TIME] > self.now_ns:
                break
            legs[0, s.REPORT_AT] = (legs[0, s.REPORT_AT] + 1) % self.state.reports.shape[1]
            legs[0, s.REPORTS_OPEN] -= 1
            found.append(self.report(told.tolist()))
        return found

    def report(self, told: list[int]) -> Report:
        kind, ending = Told(told[s.P_KIND]), told[s.P_REASON]
        if ending or kind == Told.REPLACED:
            self.gone.add(told[s.P_NUMBER])
        if kind == Told.REPLACED:
            self.slots[told[s.P_REQUEST]] = told[s.P_SLOT]
        return Report(
            told=kind,
            number=told[s.P_NUMBER],
            ts_ns=told[s.P_TIME],
            request=told[s.P_REQUEST],
            lots=told[s.P_REST] if kind == Told.REPLACED else told[s.P_LOTS],
            price_ticks=told[s.P_PRICE],
            maker=bool(told[s.P_MAKER]),
            ending=Ending(s.WOULD_CROSS if ending == s.NOT_RECORDED else ending) if ending else None,
            ts_event_ns=told[s.P_EVENT],
        )


@policy(lots=Parameter(2, low=1, unit="lots", about="quantity of a post"))
def all_four(s: Any, e: Any, p: Any) -> Any:
    """Posts, moves and cancels posts, and takes now and then: every kind of request."""
    if s.call > 1 or s.in_flight > 2:
        return nothing()
    turn = int(e.ts_ns // 7_000_000) % 5
    if turn == 0 and s.buy_order < 0:
        return post(BUY, p.lots, e.bid_ticks)
    if turn == 1 and s.sell_order < 0:
        return post(SELL, p.lots, e.ask_ticks)
    if turn == 2 and s.buy_order >= 0:
        return replace(s.buy_order, 1, e.bid_ticks)
    if turn == 3 and s.sell_order >= 0:
        return cancel_order(s.sell_order)
    if turn == 4 and s.position == 0:
        return take(BUY, 1)
    if turn == 4 and s.position > 3:
        return take(SELL, 2)
    return nothing()


def recorder(policy: Policy, feed: SyntheticFeed) -> MarketRecorder:
    return MarketRecorder(compile_policy(policy), feed.instruments, [feed.instruments[2].stream], CONFIG)


@pytest.mark.parametrize("policy", [threshold, quote_guard, all_four], ids=["takes", "posts", "all"])
def test_what_a_backtest_comes_to(policy: Policy) -> None:
    feed = SyntheticFeed(SYNTHETIC)
    backtest = SimulatedBroker(recorder(policy, feed), {})
    live = LivePipeline(feed.instruments, on_row=backtest.row)
    for ticks in feed.batches(500):
        live.step(ticks)
    backtest.finish()

    exchange = Exchange(backtest.recorder.builder.market, backtest.rules)
    feed = SyntheticFeed(SYNTHETIC)
    gated = RiskGateway(exchange, RiskGate(LOOSE, feed.instruments), feed.instruments, lambda: exchange.now_ns)
    venue = VenueBroker(recorder(policy, feed), {}, gated, "test")

    def on_row(row: Row, signals: SignalColumns) -> None:
        exchange.now_ns, exchange.row = row.ts_recv_ns, venue.recorder.builder.rows
        gated.observe(row, signals)
        venue.row(row, signals)
        venue.rehearse(row, lambda request: rehearsed.append(gated.rehearse(request)))

    rehearsed: list[None] = []
    live = LivePipeline(feed.instruments, on_row=on_row)
    for ticks in feed.batches(20):
        live.step(ticks)
    venue.finish()
    assert len(rehearsed) > venue.recorder.builder.rows // REHEARSED_ROWS - 10
    assert gated.gate.refused == {}
    assert gated.position(feed.instruments[2].stream) == venue._state.counts[0, POSITION]
    wanted, found = backtest.outcome(), venue.outcome()
    assert len(wanted.fills) > 10
    rejected = [s.ORDER_ARRIVAL_NS, s.ORDER_ARRIVAL_NS + 1, s.ORDER_ARRIVAL_NS + 2, s.ORDER_END_NS, s.ORDER_END]
    np.testing.assert_array_equal(found.counts, wanted.counts)
    np.testing.assert_array_equal(found.moments, wanted.moments)
    np.testing.assert_array_equal(
        np.delete(found.fills, s.FILL_REPORT_NS, 1), np.delete(wanted.fills, s.FILL_REPORT_NS, 1)
    )
    np.testing.assert_array_equal(np.delete(found.orders, rejected, 1), np.delete(wanted.orders, rejected, 1))
    takes = (wanted.orders[:, s.ORDER_ACTION] == Action.TAKE) & (wanted.orders[:, s.ORDER_END] == s.DONE)
    met = [s.ORDER_ARRIVAL_NS, s.ORDER_ARRIVAL_BID, s.ORDER_ARRIVAL_ASK]
    np.testing.assert_array_equal(found.orders[takes][:, met], wanted.orders[takes][:, met])
    assert takes.sum() > 3 or policy is quote_guard


class Silent:
    """A venue that takes everything and says what the test wants said."""

    def __init__(self) -> None:
        self.sent: list[Request] = []
        self.said: list[Report] = []

    def send(self, request: Request) -> None:
        self.sent.append(request)

    def reports(self) -> list[Report]:
        said, self.said = self.said, []
        return said


@policy()
def one_post(s: Any, e: Any, p: Any) -> Any:
    """One order at the bid at a time."""
    return post(BUY, 3, e.bid_ticks) if s.buy_order < 0 and s.in_flight == 0 else nothing()


class Heard:
    """A broker of one post at a venue that says what the test wants said."""

    def __init__(self, ahead_ns: int = 0) -> None:
        feed, self.gateway = SyntheticFeed(SYNTHETIC), Silent()
        self.broker = VenueBroker(
            recorder(one_post, feed), {}, self.gateway, "test", lambda stream, stamp_ns: stamp_ns - ahead_ns
        )
        self.stream = feed.instruments[2].stream
        self._live = LivePipeline(feed.instruments, on_row=self.broker.row)
        self._rows = feed.batches(20)

    def hear(self, *said: Report) -> None:
        self.gateway.said = list(said)
        self._live.step(next(self._rows))

    @property
    def books(self) -> tuple[Any, Any, Any]:
        state = self.broker._state
        return state.legs[0], state.counts[0], state.known[0, 0]


def test_fills_in_parts_and_a_venue_that_ends_an_order_by_itself() -> None:
    told = Heard()
    told.broker.adopt(told.stream, 4, 6_000_000.0)
    told.hear()
    (request,) = told.gateway.sent
    assert request.client_id == "test-0"
    assert (request.stream, request.action, request.lots) == (told.stream, Action.POST, 3)
    price, scale = request.price_ticks, int(told.broker.rules.scale[0])
    legs, counts, known = told.books
    assert (counts[POSITION], counts[CASH], legs[s.IN_FLIGHT]) == (4, -4 * 6_000_000 * scale, 1)
    told.hear(Report(Told.RESTS, 0, 5, request=0))
    assert (known[s.STATUS], legs[s.IN_FLIGHT]) == (s.RESTING, 0)
    told.hear(Report(Told.FILL, 0, 6, lots=1, price_ticks=price, maker=True))
    assert (counts[POSITION], known[s.LOTS], legs[s.IN_FLIGHT]) == (5, 2, 0)
    told.hear(Report(Told.ENDED, 0, 7, ending=Ending.CANCELLED))
    assert (counts[POSITION], known[s.NUMBER], known[s.STATUS], legs[s.IN_FLIGHT]) == (5, 1, s.SENT, 1)
    order = known.copy()  # a new one has the slot
    told.hear(Report(Told.FILL, 0, 8, lots=1, price_ticks=price, maker=False))
    assert (counts[POSITION], counts[FILLS], legs[s.IN_FLIGHT], legs[s.BUY_LOTS]) == (6, 2, 1, 3)
    cash, fees = counts[CASH], counts[FEES]
    told.hear(Report(Told.FEE, 0, 8, lots=7, price_ticks=price))
    assert (counts[POSITION], counts[CASH], counts[FEES]) == (-1, cash + 7 * price * scale, fees)
    assert (told.broker._state.touch[2, 0], told.broker._state.entry[0], counts[FILLS]) == (-1, price, 2)
    before = counts.copy()
    told.hear(Report(Told.ENDED, 0, 9, ending=Ending.CANCELLED), Report(Told.RESTS, 0, 9))  # told already
    np.testing.assert_array_equal(known, order)
    assert counts[POSITION] == before[POSITION]
    assert counts[CASH] == before[CASH]
    assert told.broker._state.orders_log[0, s.ORDER_FILLED] == 2
    assert len(told.gateway.sent) == 2
    with pytest.raises(StateError, match="a report of order 2, which was never sent"):
        told.hear(Report(Told.FILL, 2, 9, lots=1, price_ticks=price))


def test_a_fill_counts_the_same_before_and_after_its_orders_end() -> None:
    books = []
    for late in (False, True):
        told = Heard()
        told.hear()
        price = told.gateway.sent[0].price_ticks
        said = [
            Report(Told.FILL, 0, 6, lots=2, price_ticks=price, maker=True),
            Report(Told.ENDED, 0, 6, ending=Ending.CANCELLED),
        ]
        told.hear(Report(Told.RESTS, 0, 5, request=0))
        told.hear(*(reversed(said) if late else said))
        outcome = told.broker.outcome()
        books.append((outcome.counts.copy(), outcome.fills.copy(), outcome.orders.copy(), told.books[2].copy()))
    for in_time, afterwards in zip(*books, strict=True):
        np.testing.assert_array_equal(in_time, afterwards)
    assert books[0][0][0, POSITION] == 2


def test_tables_and_curve_know_what_was_taken_on_and_what_went_as_fees() -> None:
    told = Heard()
    broker = told.broker
    broker.adopt(told.stream, 4, 5_990_000.0)
    told.hear()
    price = told.gateway.sent[0].price_ticks
    told.hear(Report(Told.RESTS, 0, 5, request=0))
    told.hear(Report(Told.FILL, 0, 6, lots=3, price_ticks=price, maker=True, ending=Ending.FILLED))
    told.hear(Report(Told.FEE, 0, 7, lots=2, price_ticks=price))
    for _ in range(40):
        told.hear()
    rows = broker.recorder.builder.rows
    broker.forget(30)
    assert broker.recorder.builder.rows < rows
    number = told.gateway.sent[-1].number
    said = Report(Told.FILL, number, 9, lots=1, price_ticks=price + 5, maker=True)
    told.gateway.said = [Report(Told.RESTS, number, 8, request=number), said]
    broker.finish()
    outcome = broker.outcome()
    curve = equity_curve(outcome)
    assert outcome.counts[0, POSITION] == curve.position_lots[0, -1] == 4 + 3 - 2 + 1
    assert curve.equity2[0, -1] == outcome.counts[0, EQUITY2]
    assert 0 < outcome.counts[0, HOLD_NS] < 10**12
    fills, trades = fills_table(outcome), trades_table(outcome)
    lot = outcome.instruments[0].lot_size
    assert fills["position"].to_pylist() == pytest.approx([7 * lot, 6 * lot])
    (trip,) = trades.to_pylist()
    assert (trip["side"], trip["closed"]) == ("long", False)
    assert trip["qty"] == pytest.approx(7 * lot)
    assert trip["pnl"] == pytest.approx(curve.money(outcome.instruments, outcome.accounts)[0, -1])


def test_fills_are_at_the_venues_time_on_our_clock() -> None:
    told = Heard(ahead_ns=1_000)
    told.hear()
    price = told.gateway.sent[0].price_ticks
    told.hear(Report(Told.RESTS, 0, 5, request=0))
    told.hear(Report(Told.FILL, 0, 6, lots=1, price_ticks=price, maker=True, ts_event_ns=5_000))
    told.hear(Report(Told.FILL, 0, 7, lots=1, price_ticks=price, maker=True))
    assert told.broker.fills[:, s.FILL_VENUE_NS].tolist() == [4_000, 7]
