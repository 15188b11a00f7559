"""The risk gate: every rule refuses and says why, and no order of fills gets past a limit."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schwabot.errors import ConfigError, StateError
from schwabot.execution.conversion import conversion
from schwabot.execution.risk import (
    APPROVED,
    Approved,
    Reason,
    Refused,
    RiskGate,
    TradingState,
    VenueLimits,
    View,
)
from schwabot.execution.risk_gateway import RiskGateway
from schwabot.execution.settings import RiskConfig
from schwabot.records.instrument import Instrument
from schwabot.records.market import Kind, Row
from schwabot.records.order import Action, Ending, Report, Request, Told

SPOT = Instrument("binance:BTC/USDT", tick_size=0.5, lot_size=0.25)
PERP = Instrument("binanceusdm:BTC/USDT:USDT", tick_size=0.5, lot_size=0.25)
COIN = Instrument("binancecoinm:BTC/USD:BTC", tick_size=0.5, lot_size=1.0, contract_value=100.0, inverse=True)
LOOSE = RiskConfig(max_order_notional=1e9, max_notional=1e9, max_total_notional=1e9, max_orders_per_s=1e6,
                   order_burst=10_000, collar_bp=150.0, max_daily_loss=1e9, max_drawdown=1e9)  # fmt: skip
VIEW = View(10**9, quote_ns=10**9, feed_ns=10**9, bid_ticks=99, ask_ticks=100, fair_ticks=100.0, lane=1)


def asked(number: int = 0, action: Action = Action.TAKE, side: int = 1, lots: int = 4, price: int = 100,
          of: int = -1, stream: str = SPOT.stream) -> Request:  # fmt: skip
    return Request(number, f"t-{number}", stream, action, side, lots, price, of, 0, 10**9, 99, 100)


@pytest.mark.parametrize(
    ("limits", "view", "request_", "reason"),
    [
        ({"max_order_notional": 49.0}, {}, {}, Reason.ORDER_NOTIONAL),
        ({"max_notional": 99.0}, {"position_lots": 4}, {}, Reason.NOTIONAL),
        ({"max_total_notional": 99.0}, {"others_notional": 50.0}, {}, Reason.TOTAL_NOTIONAL),
        ({"max_lots": {SPOT.stream: 7}}, {"position_lots": 2, "buy_lots": 2}, {}, Reason.POSITION),
        ({"collar_bp": 49.0}, {}, {"price": 101}, Reason.COLLAR),
        ({}, {"fair_ticks": float("nan")}, {}, Reason.COLLAR),
        ({"quote_age_s": 0.1}, {"quote_ns": 10**9 - 200_000_000}, {}, Reason.STALE),
        ({"feed_age_s": 0.1}, {"feed_ns": 10**9 - 200_000_000}, {}, Reason.STALE),
        ({}, {"quote_ns": None}, {}, Reason.STALE),
        ({"min_lane": "high"}, {}, {}, Reason.LANE),
        ({"max_open_orders": 2}, {"open_orders": 2}, {}, Reason.OPEN_ORDERS),
        ({}, {}, {"stream": "kraken:BTC/USD"}, Reason.UNKNOWN_STREAM),
    ],
)
def test_each_limit(limits: dict[str, Any], view: dict[str, Any], request_: dict[str, Any], reason: Reason) -> None:
    gate = RiskGate(replace(LOOSE, **limits), [SPOT])
    answer = gate.check(asked(**request_), replace(VIEW, **view))
    assert isinstance(answer, Refused)
    assert answer.reason is reason
    assert gate.refused == {reason: 1}
    either = [SPOT, replace(SPOT, stream="kraken:BTC/USD")]
    assert RiskGate(LOOSE, either).check(asked(**request_), VIEW) is APPROVED


def test_venue_filters() -> None:
    venue = {SPOT.stream: VenueLimits(min_lots=2, max_lots=8, min_notional=50.0, max_open_orders=3)}
    gate = RiskGate(LOOSE, [SPOT], venue)

    def reason(view: View = VIEW, **request: Any) -> Reason | None:
        answer = gate.check(asked(**request), view)
        return answer.reason if isinstance(answer, Refused) else None

    assert reason(lots=1) is Reason.MIN_QUANTITY
    assert reason(lots=9) is Reason.MAX_QUANTITY
    assert reason(lots=3) is Reason.MIN_NOTIONAL
    assert reason(replace(VIEW, open_orders=3)) is Reason.OPEN_ORDERS
    assert reason(lots=4) is None


def test_order_rate() -> None:
    gate = RiskGate(replace(LOOSE, max_orders_per_s=2.0, order_burst=3), [SPOT])
    passed = [isinstance(gate.check(asked(), VIEW), Approved) for _ in range(5)]
    assert passed == [True, True, True, False, False]
    assert gate.check(asked(action=Action.CANCEL, of=0), VIEW) is APPROVED
    later = replace(VIEW, now_ns=VIEW.now_ns + 500_000_000)
    assert [isinstance(gate.check(asked(), later), Approved) for _ in range(2)] == [True, False]


def test_states_go_up_by_themselves_and_down_only_when_told() -> None:
    gate = RiskGate(replace(LOOSE, max_drawdown=10.0), [SPOT])
    long = replace(VIEW, position_lots=4)
    gate.equity(100.0, 1)
    gate.equity(91.0, 2)
    assert gate.state is TradingState.NORMAL
    gate.equity(89.0, 3)
    assert gate.state is TradingState.REDUCING
    assert gate.changes[-1].why == "drawdown is 11, at most 10 is allowed"
    gate.equity(200.0, 4)
    assert gate.state is TradingState.REDUCING
    assert gate.check(asked(side=-1, lots=4, price=99), long) is APPROVED
    for request, view in (
        (asked(), long),
        (asked(side=-1, lots=5), long),
        (asked(side=-1), replace(long, sell_lots=1)),
    ):
        answer = gate.check(request, view)
        assert isinstance(answer, Refused)
        assert answer.reason is Reason.REDUCING
    assert gate.escalate(TradingState.HALTED, "kill file", "asked to", 5)
    assert not gate.escalate(TradingState.REDUCING, "risk", "again", 6)
    answer = gate.check(asked(side=-1), long)
    assert isinstance(answer, Refused)
    assert answer.reason is Reason.HALTED
    assert gate.check(asked(action=Action.CANCEL, of=0), long) is APPROVED
    gate.resume("me", "looked at it", 7)
    assert gate.state is TradingState.NORMAL
    assert [change.state.name for change in gate.changes] == ["REDUCING", "HALTED", "NORMAL"]


def test_a_halt_and_a_resume_do_not_undo_a_loss_that_a_limit_does() -> None:
    gate = RiskGate(replace(LOOSE, max_daily_loss=10.0), [SPOT])
    gate.equity(0.0, 1)
    gate.equity(-9.0, 2)
    gate.escalate(TradingState.HALTED, "ann", "a look", 3)
    gate.resume("ann", "all is well", 4)
    assert gate.day == (0, 9.0)
    gate.equity(-11.0, 5)
    assert (gate.state, gate.changes[-1].who) == (TradingState.REDUCING, "risk")
    gate.escalate(TradingState.HALTED, "ann", "a look", 6)
    gate.resume("ann", "it may lose ten more", 7)
    gate.equity(-20.0, 8)
    gate.equity(-29.0, 9)
    assert gate.state is TradingState.NORMAL
    gate.equity(-31.0, 10)
    assert gate.state is TradingState.REDUCING


def test_daily_loss_counts_from_midnight() -> None:
    gate, day = RiskGate(replace(LOOSE, max_daily_loss=10.0), [SPOT]), 86_400 * 10**9
    gate.equity(0.0, 1)
    gate.equity(-9.0, day - 1)
    gate.equity(-9.0, day)
    gate.equity(-18.0, day + 1)
    assert gate.state is TradingState.NORMAL
    gate.equity(-20.0, day + 2)
    assert gate.state is TradingState.REDUCING


def test_settings_that_cannot_be() -> None:
    for bad in ({"max_notional": 0.0}, {"collar_bp": float("nan")}, {"min_lane": "top"}, {"order_burst": 0},
                {"max_lots": {SPOT.stream: -1}}, {"max_lots": {"kraken:X/Y": 1}}):  # fmt: skip
        with pytest.raises(ConfigError):
            RiskGate(replace(LOOSE, **bad), [SPOT])


class Venue:
    """Takes everything; what happens to it is drawn by the test."""

    def __init__(self) -> None:
        self.sent: list[Request] = []
        self.said: list[Report] = []

    def send(self, request: Request) -> None:
        self.sent.append(request)

    def reports(self) -> list[Report]:
        said, self.said = self.said, []
        return said


class Signals:
    deviation_bp, lane = np.zeros((1, 3)), np.ones((1, 3), np.int8)


def quote(stream: int, ts_ns: int = 10**9, bid: int = 99) -> Row:
    return Row(ts_ns, ts_ns, ts_ns, stream, Kind.QUOTE, bid, bid + 1, 5, 5, 0, 0, 0)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_order_of_fills_gets_past_a_limit(data: st.DataObject) -> None:
    most = {SPOT.stream: data.draw(st.integers(0, 12)), PERP.stream: data.draw(st.integers(0, 12))}
    total = data.draw(st.integers(0, 20)) + 1
    config = replace(LOOSE, max_lots=most, max_total_notional=total * 12.5, max_open_orders=4,
                     short_spot=True)  # fmt: skip
    venue = Venue()
    gated = RiskGateway(venue, RiskGate(config, [SPOT, PERP]), [SPOT, PERP], lambda: 10**9)
    for v in range(2):
        gated.observe(quote(v), Signals)  # type: ignore[arg-type]
    there: dict[int, tuple[str, int, int]] = {}  # orders at the venue: stream, side, lots
    position = dict.fromkeys(most, 0)
    number = 0
    for _ in range(data.draw(st.integers(1, 30))):
        what = data.draw(st.sampled_from(["take", "post", "cancel", "replace", "fill", "end"]))
        stream = data.draw(st.sampled_from(list(most)))
        own = [n for n, order in there.items() if order[0] == stream]
        if what in ("take", "post"):
            side, lots = data.draw(st.sampled_from([1, -1])), data.draw(st.integers(1, 6))
            gated.send(asked(number, Action[what.upper()], side, lots, 100, stream=stream))
            if venue.sent and venue.sent[-1].number == number:
                there[number] = (stream, side, lots)
            number += 1
        elif what in ("cancel", "replace") and own:
            of, lots = data.draw(st.sampled_from(own)), data.draw(st.integers(1, 6))
            side = there[of][1]
            request = asked(number, Action[what.upper()], side, lots, 100, of, stream)
            gated.send(request)
            number += 1
            if venue.sent[-1] is not request:
                continue
            before = data.draw(st.integers(0, there[of][2]))  # fills on the way
            fills(venue, there, position, of, before)
            if of not in there:
                venue.said.append(Report(Told.TOO_LATE, request.number, 1, request=request.number))
            elif what == "cancel" or lots - before <= 0:
                del there[of]
                venue.said.append(Report(Told.ENDED, of, 1, request=request.number, ending=Ending.CANCELLED))
            else:
                del there[of]
                there[request.number] = (stream, side, lots - before)
                venue.said.append(
                    Report(Told.REPLACED, of, 1, request=request.number, lots=lots - before, price_ticks=100)
                )
        elif what == "fill" and own:
            of = data.draw(st.sampled_from(own))
            fills(venue, there, position, of, data.draw(st.integers(0, there[of][2])))
        elif what == "end" and own:
            of = data.draw(st.sampled_from(own))
            del there[of]
            venue.said.append(Report(Told.ENDED, of, 1, ending=Ending.CANCELLED))
        if data.draw(st.booleans()):
            gated.reports()
        assert all(abs(position[name]) <= most[name] for name in most)
        assert sum(abs(lots) for lots in position.values()) <= total
    gated.reports()
    assert {name: gated.position(name) for name in most} == position
    assert set(there) <= set(gated._leg) <= set(there)
    assert not gated._of


def fills(venue: Venue, there: dict[int, tuple[str, int, int]], position: dict[str, int], of: int, lots: int) -> None:
    if lots == 0:
        return
    stream, side, open_lots = there[of]
    position[stream] += side * lots
    ending = Ending.FILLED if lots == open_lots else None
    venue.said.append(Report(Told.FILL, of, 1, lots=lots, price_ticks=100, maker=True, ending=ending))
    if ending:
        del there[of]
    else:
        there[of] = (stream, side, open_lots - lots)


def test_equity_of_linear_and_inverse_contracts() -> None:
    venue = Venue()
    gated = RiskGateway(venue, RiskGate(replace(LOOSE, max_drawdown=24.0), [SPOT, COIN]), [SPOT, COIN], lambda: 10**9)
    gated.adopt(COIN.stream, -2, 100.0)  # short 200 USD of contracts at 50: 4 coins
    gated.observe(quote(1, bid=99), Signals)  # type: ignore[arg-type]
    gated.observe(quote(1, bid=109), Signals)  # type: ignore[arg-type]
    assert gated._legs[COIN.stream].worth == pytest.approx(-(109.5 * 0.5 * 4 - 200))
    gated.observe(quote(0), Signals)  # type: ignore[arg-type]
    gated.send(asked(0))
    assert venue.sent
    venue.said = [Report(Told.FILL, 0, 1, request=0, lots=4, price_ticks=100, ending=Ending.FILLED)]
    gated.reports()
    assert gated._legs[SPOT.stream].worth == pytest.approx(-0.25)  # half a spread of one coin
    assert gated.gate.state is TradingState.NORMAL
    gated.observe(quote(0, bid=89), Signals)  # type: ignore[arg-type]
    assert gated.gate.state is TradingState.REDUCING


def test_a_refused_replace_leaves_its_order_alone() -> None:
    venue = Venue()
    gated = RiskGateway(venue, RiskGate(replace(LOOSE, max_lots={SPOT.stream: 4}), [SPOT]), [SPOT], lambda: 10**9)
    gated.observe(quote(0), Signals)  # type: ignore[arg-type]
    gated.send(asked(0, Action.POST, lots=4, price=99))
    gated.send(asked(1, Action.REPLACE, lots=5, price=99, of=0))
    (told,) = gated.reports()
    assert (told.told, told.number, told.request) == (Told.TOO_LATE, 1, 1)
    assert [request.number for request in venue.sent] == [0]
    assert gated.said[1].startswith("position: ")


def test_a_fee_in_lots_of_another_stream_leaves_its_position_at_the_mid() -> None:
    venue, other = Venue(), Instrument("binance:BNB/USDT", tick_size=0.5, lot_size=0.25)
    gated = RiskGateway(venue, RiskGate(LOOSE, [SPOT, other]), [SPOT, other], lambda: 10**9)
    gated.adopt(other.stream, 3, 99.0)
    gated.observe(quote(0), Signals)  # type: ignore[arg-type]
    gated.observe(quote(1, bid=109), Signals)  # type: ignore[arg-type]
    gated.send(asked(0, Action.TAKE, lots=4, price=100))
    worth = gated._legs[other.stream].worth
    venue.said = [
        Report(Told.FILL, 0, 1, lots=4, price_ticks=100, ending=Ending.FILLED),
        Report(Told.FEE, 0, 1, lots=1, stream=other.stream),
    ]
    gated.reports()
    assert (gated.position(SPOT.stream), gated.position(other.stream)) == (4, 2)
    assert gated._legs[other.stream].worth == worth


def test_what_is_told_of_an_order_that_is_over() -> None:
    venue = Venue()
    gated = RiskGateway(venue, RiskGate(LOOSE, [SPOT]), [SPOT], lambda: 10**9)
    gated.observe(quote(0), Signals)  # type: ignore[arg-type]
    gated.send(asked(0, Action.POST, lots=4, price=99))
    gated.send(asked(1, Action.CANCEL, of=0))
    end = Report(Told.ENDED, 0, 1, request=1, ending=Ending.CANCELLED)
    fee = Report(Told.FEE, 0, 1, lots=1, price_ticks=99)
    venue.said = [Report(Told.RESTS, 0, 1, request=0), end, end]
    gated.reports()
    assert (gated.position(SPOT.stream), gated._legs[SPOT.stream].open) == (0, {})
    gated.send(asked(2, Action.POST, lots=5, price=99))
    venue.said = [Report(Told.FILL, 0, 2, lots=2, price_ticks=99, maker=True), fee]
    assert len(gated.reports()) == 2
    leg = gated._legs[SPOT.stream]
    assert (gated.position(SPOT.stream), leg.lots(1)) == (1, 5)
    assert leg.cash == -99 * 0.5 * 0.25  # of the two lots one is paid for
    venue.said = [Report(Told.FILL, 3, 2, lots=1, price_ticks=99)]
    with pytest.raises(StateError, match="a report of order 3, which was not sent"):
        gated.reports()


EUR, BTC, ETH = (
    Instrument(stream, tick_size=0.5, lot_size=0.25) for stream in ("kraken:BTC/EUR", "x:ETH/BTC", "x:ETH/USD")
)


def test_currencies_are_added_up_in_one() -> None:
    rate, own = replace(SPOT, stream="kraken:EUR/USD", tick_size=0.02), replace(SPOT, stream="kraken:BTC/USD")
    assert conversion([SPOT, own], [SPOT]).notes == []
    with pytest.raises(ConfigError, match=r"kraken:BTC/EUR is paid in EUR and .* add a stream .* kraken:EUR/USDT"):
        conversion([SPOT, EUR], [SPOT, EUR])
    with pytest.raises(ConfigError, match="x:ETH/BTC is paid in BTC"):
        conversion([BTC, ETH, replace(own, trades_only=True)], [BTC, ETH])
    assert conversion([BTC], [BTC]).notes == ["limits and losses are in BTC"]
    assert conversion([BTC, ETH, own], [BTC, ETH]).hops["BTC"][0].stream == 2
    found = conversion([SPOT, EUR, rate], [SPOT, EUR])
    assert found.notes == ["limits and losses are in USDT; EUR is converted by kraken:EUR/USD"]

    turned = RiskGateway(Venue(), RiskGate(LOOSE, [SPOT, EUR]), [SPOT, EUR, replace(rate, stream="x:USDC/EUR")], int)
    assert np.isnan(turned._converted(turned._rows[1], 10.0))
    turned.observe(quote(2, bid=62), Signals)  # type: ignore[arg-type]  # 1.25
    assert turned._converted(turned._rows[1], 10.0) == 8.0
    pegged = RiskGateway(Venue(), RiskGate(LOOSE, [SPOT, own]), [SPOT, own, replace(rate, stream="x:USDT/USD")], int)
    assert pegged._converted(pegged._rows[0], 10.0) == 10.0
    pegged.observe(quote(2, bid=49), Signals)  # type: ignore[arg-type]
    assert pegged._converted(pegged._rows[0], 10.0) == 9.9

    venue, streams = Venue(), [SPOT, EUR, rate]
    gate = RiskGate(replace(LOOSE, max_total_notional=60.0, max_drawdown=0.9), [SPOT, EUR])
    gated = RiskGateway(venue, gate, streams, lambda: 10**9)
    assert gated.notes == found.notes

    for v in range(2):
        gated.observe(quote(v), Signals)  # type: ignore[arg-type]
    gated.send(asked(0, lots=1, stream=EUR.stream))
    assert gated.said[0] == "stale: no quote yet of a stream that converts a currency"
    gated.observe(quote(2, bid=49), Signals)  # type: ignore[arg-type]  # 0.99 USD
    gated.send(asked(1, lots=4, stream=EUR.stream))  # 50 EUR
    gated.send(asked(2, lots=1, stream=SPOT.stream))  # 12.5 USDT: 49.5 and 12.5 are too much, in EUR as well
    gated.send(asked(3, lots=1, stream=EUR.stream))
    assert gated.said[2] == "total_notional: all positions could come to 62, at most 60 is allowed"
    assert gated.said[3] == "total_notional: all positions could come to 61.875, at most 60 is allowed"
    venue.said = [Report(Told.FILL, 1, 1, request=1, lots=4, price_ticks=100, ending=Ending.FILLED)]
    gated.reports()
    gated.send(asked(4, lots=1, stream=EUR.stream))
    assert "could come to 61.875" in gated.said[4]
    gated.observe(quote(2, bid=39), Signals)  # type: ignore[arg-type]  # 0.79: 50 EUR are worth less
    gated.send(asked(5, lots=1, stream=EUR.stream))
    assert [request.number for request in venue.sent] == [1, 5]
    gated.observe(quote(1, bid=97), Signals)  # type: ignore[arg-type]
    assert gate.state is TradingState.NORMAL  # 1 EUR is lost, 0.79 USD
    gated.observe(quote(2, bid=49), Signals)  # type: ignore[arg-type]
    gated.observe(quote(1, bid=97), Signals)  # type: ignore[arg-type]
    assert gate.state is TradingState.REDUCING


def test_a_rehearsal_says_the_same_and_counts_for_nothing() -> None:
    gate = RiskGate(replace(LOOSE, order_burst=1, max_orders_per_s=1e-3), [SPOT])
    for _ in range(3):
        assert gate.rehearse(asked(), VIEW) is None
        assert gate.rehearse(asked(lots=0), VIEW).reason is Reason.MIN_QUANTITY  # type: ignore[union-attr]
    assert gate.refused == {}
    assert gate.check(asked(), VIEW) is APPROVED
    assert gate.check(asked(), VIEW).reason is Reason.RATE  # type: ignore[union-attr]
    gate.escalate(TradingState.HALTED, "test", "enough", 1)
    assert gate.rehearse(asked(), VIEW).what == "trading is halted: enough"  # type: ignore[union-attr]


def test_a_halt_that_comes_while_the_state_changes_on_the_same_thread() -> None:
    gate = RiskGate(LOOSE, [SPOT])

    def interrupted() -> None:
        with gate._changing:  # as where a signal meets the thread that goes to REDUCING
            gate.escalate(TradingState.HALTED, "SIGUSR1", "now", 1)

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(5.0)
    assert not thread.is_alive()
    assert gate.state is TradingState.HALTED


def test_limits_are_replaced_while_orders_go_on() -> None:
    gate = RiskGate(replace(LOOSE, order_burst=3, max_orders_per_s=1e-3), [SPOT])
    assert gate.check(asked(), VIEW) is APPROVED
    assert gate.check(asked(), VIEW) is APPROVED
    for bad in (replace(LOOSE, max_notional=0.0), replace(LOOSE, max_lots={"kraken:X/Y": 1})):
        with pytest.raises(ConfigError):
            gate.limits(bad)
    gate.limits(replace(gate.config, max_order_notional=49.0))
    assert gate.check(asked(), VIEW).reason is Reason.ORDER_NOTIONAL  # type: ignore[union-attr]
    gate.limits(replace(gate.config, max_order_notional=51.0, order_burst=10))
    assert gate.check(asked(), VIEW) is APPROVED
    assert gate.check(asked(), VIEW).reason is Reason.RATE  # type: ignore[union-attr]  # three were sent already
    gate.equity(0.0, 1)
    gate.limits(replace(gate.config, max_drawdown=5.0))
    gate.equity(-6.0, 2)
    assert gate.state is TradingState.REDUCING
    gate.limits(LOOSE)
    assert gate.state is TradingState.REDUCING
