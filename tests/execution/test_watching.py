"""What a watcher is told of orders and positions, and what a person may do to a paper run."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from schwabot.errors import ConfigError
from schwabot.execution import trading_view
from schwabot.execution.paper_control import PaperControl
from schwabot.execution.risk import RiskGate, TradingState
from schwabot.execution.settings import RiskConfig
from schwabot.execution.simulated import SimulatedBroker
from schwabot.execution.trading_view import TradingView
from schwabot.live_pipeline import LivePipeline
from schwabot.records.trading import FillRow, OrderRow
from schwabot.signals.builtin.quote_guard import quote_guard
from schwabot.signals.builtin.threshold import threshold
from schwabot.signals.declaring import Policy
from schwabot.simulation.details import ENDS, fills_table, orders_table
from schwabot.simulation.totals import leg_totals
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot_kernels.simulate.state import CHANGE, CHANGE_LOTS, FREE, OPEN, ORDER_END, STATUS
from tests.execution.test_simulated_rows import POLICIES, broker


def played(policy: Policy, events: int = 6_000, rows: int = 100) -> Iterator[SimulatedBroker]:
    """A broker, after each batch of rows; at last once its books are closed."""
    feed = SyntheticFeed(SyntheticConfig(events=events))
    trader = broker(policy, feed)
    live = LivePipeline(feed.instruments, on_row=trader.row)
    for ticks in feed.batches(rows):
        live.step(ticks)
        yield trader
    trader.finish()
    yield trader


@POLICIES
def test_orders_and_fills_are_told_once_each_and_come_to_the_tables(policy: Policy) -> None:
    orders: dict[int, OrderRow] = {}
    fills: list[FillRow] = []
    view = states = None
    seen: set[str] = set()
    for trader in played(policy):
        view = view or TradingView(trader, "paper")
        told = view.take()
        fills += told.fills
        orders |= {one.number: one for one in told.orders}
        seen |= {one.state for one in told.orders}
        assert view.take().orders == view.take().fills == ()
        states = told
    assert view is not None
    assert states is not None
    outcome = trader.outcome()
    table = fills_table(outcome)
    assert len(fills) == len(table) > 3
    assert [one.price for one in fills] == pytest.approx(table["price"].to_pylist())
    assert [one.fee for one in fills] == pytest.approx(table["fee"].to_pylist())
    assert [one.ts_ns for one in fills] == table["ts_report_ns"].to_pylist()
    assert sorted(orders) == list(range(len(outcome.orders)))
    ends = {row["order"]: row["end"] for row in orders_table(outcome).to_pylist()}
    names = dict(zip(ENDS, ("sent", "filled", "rest_cancelled", "cancelled", "outside_limit", "no_book", "refused",
                            "not_recorded", "replaced", "too_late"), strict=True))  # fmt: skip
    for number, end in ends.items():
        if end != "open":
            assert orders[number].state == names[end]
            assert orders[number].end_ns is not None
    (held,), totals = states.positions, leg_totals(outcome)
    assert (held.net, held.fees, held.max_drawdown) == tuple(
        totals[held.stream][name] for name in ("net", "fees", "max_drawdown")
    )
    assert (held.qty, held.fills) == (totals[held.stream]["position"], len(fills))
    if policy is quote_guard:
        assert "open" in seen


def test_a_halted_paper_run_sends_nothing_until_it_is_resumed() -> None:
    control = None
    sent: dict[str, int] = {}
    for at, trader in enumerate(played(threshold)):
        control = control or PaperControl(trader)
        control.step()
        sent[control.state.name] = sent.get(control.state.name, 0) + len(trader.orders) - sent.get("all", 0)
        sent["all"] = len(trader.orders)
        if at == 20:
            assert "halted" in control.halt("ann", "a test")
            with pytest.raises(ConfigError, match="HALTED already"):
                control.halt("ann", "again")
            with pytest.raises(ConfigError, match="resume first"):
                control.reduce("ann", "less")
        if at == 40:
            control.resume("ann", "it is over")
    assert control is not None
    assert sent["HALTED"] == 0
    assert sent["NORMAL"] > 5
    assert [(one.state.name, one.who, one.why) for one in control.changes] == [
        ("HALTED", "ann", "a test"), ("NORMAL", "ann", "it is over"),
    ]  # fmt: skip


def test_a_reducing_paper_run_only_makes_its_position_smaller() -> None:
    control = None
    before = after = 0
    for at, trader in enumerate(played(threshold)):
        control = control or PaperControl(trader)
        control.step()
        position = int(trader.state.counts[0, 1])
        if at >= 20 and position and control.state.name == "NORMAL":
            control.reduce("ann", "home time")
            before = position
        elif before:
            assert abs(position) <= abs(before)
            assert position * before >= 0
            before, after = position or before, position
            if position == 0:
                break
    assert before
    assert after == 0


def test_a_halt_and_cancel_all_take_resting_orders_out_of_the_book() -> None:
    for action in ("halt", "cancel_all"):
        control = view = None
        rested, gone = -1, 0
        for trader in played(quote_guard):
            control = control or PaperControl(trader)
            view = view or TradingView(trader, "paper")
            states = {one.number: one.state for one in view.take().orders}
            if rested >= 0:
                gone += sum(state == "cancelled" for number, state in states.items() if number <= rested)
                if gone:
                    break
            elif "open" in states.values():
                rested = max(number for number, state in states.items() if state == "open")
                getattr(control, action)("ann", "a test")
            control.step()
        assert rested >= 0
        assert gone


def test_a_halt_takes_out_an_order_that_is_being_replaced_too() -> None:
    control, halted_ns, fills, gone = None, 0, 0, False
    for trader in played(quote_guard, 4_000, rows=1):
        control = control or PaperControl(trader)
        known, builder = trader.state.known, trader.recorder.builder
        now_ns = int(builder.room.ts_ns[builder.rows - 1])
        is_replaced = (known[..., CHANGE] > 0) & (known[..., CHANGE_LOTS] > 0)
        if not halted_ns and is_replaced.any():
            control.halt("ann", "a test")
            halted_ns = now_ns
        control.step()
        if halted_ns and not gone and now_ns > halted_ns + 60_000_000:  # the way there and back takes 5 ms
            assert (known[..., STATUS] == FREE).all()
            gone, fills = True, len(trader.fills)
        assert not gone or len(trader.fills) == fills
    assert gone


def test_orders_that_were_too_many_to_tell_of_are_told_of_while_they_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trading_view, "MOST_ROWS", 2)
    view, told, last = None, {}, None
    for at, trader in enumerate(played(quote_guard)):
        view = view or TradingView(trader, "paper")
        if at % 5 == 4:
            told |= {one.number: one.state for one in view.take().orders}
        last = trader
    assert view is not None
    assert last is not None
    told |= {one.number: one.state for one in view.take().orders}
    going_on = set(np.flatnonzero(last.orders[:, ORDER_END] == OPEN).tolist())
    view.take()
    assert going_on <= told.keys()


def test_who_knows_nothing_yet_is_told_all_orders_and_fills_again_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trading_view, "MOST_AGAIN", 7)
    view = trader = None
    for trader in played(threshold):
        view = view or TradingView(trader, "paper")
        view.take()
    assert view is not None
    assert trader is not None
    assert len(trader.fills) > 20
    view.again()
    orders: dict[int, OrderRow] = {}
    fills: dict[int, FillRow] = {}
    parts = 0
    while (told := view.take()).orders or told.fills:
        assert len(told.fills) <= 7
        orders |= {one.number: one for one in told.orders}
        fills |= {one.number: one for one in told.fills}
        parts += 1
    assert parts > 3
    assert sorted(orders) == list(range(len(trader.orders)))
    assert sorted(fills) == list(range(len(trader.fills)))
    whole = TradingView(trader, "paper").take()
    assert [fills[one.number] for one in whole.fills] == list(whole.fills)
    assert [orders[one.number] for one in whole.orders] == list(whole.orders)


def test_a_halt_that_comes_while_somebody_resumes_stays() -> None:
    gate = RiskGate(RiskConfig(), [])
    gate.escalate(TradingState.REDUCING, "risk", "a loss", 1)
    seen = len(gate.changes)
    gate.escalate(TradingState.HALTED, "SIGUSR1", "the signal was sent", 2)
    assert gate.resume("ann", "all is well", 3, after=seen) is False
    assert gate.state is TradingState.HALTED
    assert gate.resume("ann", "all is well", 4, after=len(gate.changes)) is True
    assert gate.state is TradingState.NORMAL
