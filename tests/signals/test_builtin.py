"""What the built-in policies do, event by event, and that they do the same compiled."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schwabot.signals import BUY, SELL, cancel, load_policy, nothing, post, replace, take
from schwabot.signals.builtin import NAMES
from schwabot.signals.compiling import CompiledPolicy, compile_policy, make_event_of, make_params_of
from schwabot_kernels.simulate.records import SLOTS
from schwabot_kernels.simulate.state import CHANGE, LOTS, ORDER_COLUMNS, PRICE
from tests.signals.making import event, parameters, standing

COMPILED: dict[str, CompiledPolicy] = {}
S = 10**9


def compiled(name: str) -> CompiledPolicy:
    if name not in COMPILED:
        COMPILED[name] = compile_policy(load_policy(name))
    return COMPILED[name]


def ask(name: str, s: dict[str, Any], e: dict[str, Any], **p: Any) -> Any:
    policy = load_policy(name)
    return policy(standing(**s), event(**e), parameters(policy, **p))


@pytest.mark.parametrize(
    ("position", "forecast_bp", "answer"),
    [
        (0, 1.0, nothing()),
        (0, 1.1, take(BUY, 1)),
        (0, -1.1, take(SELL, 1)),
        (2, 1.1, take(BUY, 1)),
        (3, 9.0, nothing()),
        (3, -0.2, nothing()),
        (3, -0.3, take(SELL, 3)),
        (-2, 0.3, take(BUY, 2)),
        (-2, 5.0, take(BUY, 2)),
        (-2, 0.1, nothing()),
        (0, math.nan, nothing()),
        (3, math.nan, nothing()),
    ],
)
def test_threshold(position: int, forecast_bp: float, answer: Any) -> None:
    given = {"enter_bp": 1.0, "exit_bp": 0.2, "lots": 1, "max_lots": 3}
    assert ask("threshold", {"position": position}, {"forecast_bp": forecast_bp}, **given) == answer
    assert ask("threshold", {"position": position, "in_flight": 1}, {"forecast_bp": forecast_bp}, **given) == nothing()


@pytest.mark.parametrize(("name", "signal"), [("mean_reversion", "deviation_bp"), ("lead_lag", "leader_move_bp")])
@pytest.mark.parametrize(
    ("position", "x", "answer"),
    [
        (0, 2.1, take(BUY, 2)),
        (0, -2.1, take(SELL, 2)),
        (0, 1.9, nothing()),
        (2, 2.1, take(BUY, 1)),
        (3, 2.1, nothing()),
        (3, 0.6, nothing()),
        (3, 0.4, take(SELL, 3)),
        (-3, -0.6, nothing()),
        (-3, -0.4, take(BUY, 3)),
        (-3, math.nan, nothing()),
    ],
)
def test_reverting(name: str, signal: str, position: int, x: float, answer: Any) -> None:
    given = {"enter_bp": 2.0, "exit_bp": 0.5, "lots": 2, "max_lots": 3}
    assert ask(name, {"position": position}, {signal: x}, **given) == answer


PARENTS = {"every_s": 10.0, "window_ms": 1000.0, "ahead_ms": 20.0, "lots": 5}


@pytest.mark.parametrize(
    ("after_s", "position", "forecast_bp", "given", "answer"),
    [
        (9.99, 0, 9.0, {}, nothing()),  # the first comes after one interval
        (10.0, 0, 0.4, {"send_bp": 0.5}, nothing()),
        (10.0, 0, 0.5, {"send_bp": 0.5}, take(BUY, 5)),
        (10.0, 0, math.nan, {}, nothing()),
        (10.97, 0, -9.0, {}, nothing()),  # held back
        (10.98, 0, -9.0, {}, take(BUY, 5)),  # due, 20 ms ahead
        (10.98, 0, math.nan, {}, take(BUY, 5)),
        (10.5, 3, 1.0, {}, take(BUY, 2)),  # what a fill left over
        (15.0, 3, -1.0, {}, take(BUY, 2)),
        (10.5, 5, 1.0, {}, nothing()),
        (20.0, 5, -1.0, {}, take(SELL, 5)),  # sells in turn
        (20.0, 5, 1.0, {}, nothing()),
        (20.0, 3, -1.0, {}, take(SELL, 3)),  # the first was never finished
        (20.0, 5, 1.0, {"side": 1}, take(BUY, 5)),
        (20.0, -5, -1.0, {"side": -1}, take(SELL, 5)),
        (10.0, 0, -9.0, {"mode": 0}, take(BUY, 5)),
        (10.5, 0, 9.0, {"mode": 1}, nothing()),
        (10.98, 0, 0.0, {"mode": 1}, take(BUY, 5)),
        (10.0, 0, 9.0, {"first_s": 0.25}, nothing()),
        (10.24, 0, 9.0, {"first_s": 0.25, "mode": 0}, nothing()),
        (10.25, 0, 9.0, {"first_s": 0.25}, take(BUY, 5)),
        (11.22, 0, -9.0, {"first_s": 0.25}, nothing()),  # of its second 0.97 s are gone
        (11.23, 0, -9.0, {"first_s": 0.25}, take(BUY, 5)),
        (20.0, 0, 9.0, {"first_s": 50.0, "side": 1}, nothing()),  # no parent before the first
        (35.0, 0, 9.0, {"first_s": 50.0, "mode": 0}, nothing()),
        (60.0, 0, 9.0, {"first_s": 50.0}, take(BUY, 5)),
    ],
)
def test_timed_execution(after_s: float, position: int, forecast_bp: float, given: dict[str, Any], answer: Any) -> None:
    e = {"ts_ns": 10**18 + round(after_s * S), "forecast_bp": forecast_bp}
    assert ask("timed_execution", {"position": position}, e, **PARENTS, **given) == answer
    assert ask("timed_execution", {"position": position, "in_flight": 1}, e, **PARENTS, **given) == nothing()


FAIR = {"forecast_bp": 0.0, "deviation_bp": 0.0}  # the market is 100 at 102, fair is 101


def test_quotes_both_sides_one_after_the_other() -> None:
    assert ask("quote_guard", {}, FAIR, lots=2) == post(BUY, 2, 100)
    sent = {"call": 1, "in_flight": 1, "buy_order": 0, "orders": orders({0: (1, 100, 0)})}
    assert ask("quote_guard", sent, FAIR, lots=2) == post(SELL, 2, 102)
    both = {
        "call": 2,
        "in_flight": 2,
        "buy_order": 0,
        "sell_order": 1,
        "orders": orders({0: (1, 100, 0), 1: (1, 102, 0)}),
    }
    assert ask("quote_guard", both, FAIR, lots=2) == nothing()


def orders(slots: dict[int, tuple[int, int, int]]) -> np.ndarray:
    """Own orders: lots, price and whether a change is under way, by slot."""
    known = np.zeros((SLOTS, ORDER_COLUMNS), np.int64)
    for slot, (lots, price, change) in slots.items():
        known[slot, LOTS], known[slot, PRICE], known[slot, CHANGE] = lots, price, change
    return known


@pytest.mark.parametrize(
    ("s", "e", "given", "answer"),
    [
        ({}, {}, {}, nothing()),
        ({}, {"forecast_bp": -0.4}, {}, cancel(3)),
        ({}, {"forecast_bp": 0.4}, {}, cancel(4)),
        ({"orders": orders({3: (1, 100, 5), 4: (1, 102, 0)})}, {"forecast_bp": -0.4}, {}, nothing()),  # on its way
        ({}, {"forecast_bp": -0.4}, {"guard": False}, nothing()),
        ({}, {"forecast_bp": math.nan}, {}, nothing()),
        ({}, {"bid_ticks": 101, "mid_ticks": 101.5}, {}, replace(3, 1, 101)),
        ({"orders": orders({3: (1, 100, 0), 4: (2, 103, 0)})}, {}, {}, replace(4, 2, 102)),
        (
            {},
            {"bid_ticks": 102, "ask_ticks": 104, "mid_ticks": 103.0},
            {},
            replace(4, 1, 104),
        ),  # the offer is in the way
        ({}, {"deviation_bp": math.nan}, {}, cancel(3)),  # no fair price, no quotes
        ({}, {"deviation_bp": -150.0}, {}, cancel(3)),  # fair is below 100
        ({}, {"deviation_bp": 150.0}, {}, cancel(4)),
        ({"position": 5}, {}, {}, cancel(3)),
        ({"position": -5}, {}, {}, cancel(4)),
        ({"buy_order": -1}, {}, {}, post(BUY, 1, 100)),
        ({"buy_order": -1}, {"forecast_bp": -0.4}, {}, nothing()),
        ({"buy_order": -1}, {"bid_lots": 0}, {}, nothing()),  # nobody knows the queue
        ({"sell_order": -1}, {}, {}, post(SELL, 1, 102)),
        (
            {"orders": orders({3: (1, 100, 0), 4: (1, 106, 0)})},
            {"ask_ticks": 106, "mid_ticks": 103.0},
            {"inside": True, "offset_bp": 50.0},
            replace(3, 1, 102),
        ),
    ],
)
def test_quote_guard(s: dict[str, Any], e: dict[str, Any], given: dict[str, Any], answer: Any) -> None:
    quoting = {"buy_order": 3, "sell_order": 4, "orders": orders({3: (1, 100, 0), 4: (1, 102, 0)})}
    assert ask("quote_guard", {**quoting, **s}, {**FAIR, **e}, **given) == answer


numbers = st.floats(-20.0, 20.0) | st.just(math.nan)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", NAMES)
def test_compiled_answers_the_same(name: str, data: st.DataObject) -> None:
    one, policy = compiled(name), load_policy(name)
    bid = data.draw(st.integers(2, 10**6))
    ask_ticks = bid + data.draw(st.integers(1, 5))
    seen = {
        "ts_ns": 10**18 + data.draw(st.integers(0, 10**11)), "own": data.draw(st.integers(0, 1)), "bid_ticks": bid,
        "ask_ticks": ask_ticks, "mid_ticks": 0.5 * (bid + ask_ticks), "bid_lots": data.draw(st.integers(0, 9)),
        "ask_lots": data.draw(st.integers(0, 9)),
    }  # fmt: skip
    signals = {signal: data.draw(numbers) for signal in one.signals}
    few = st.integers(-5, 5)
    s = standing(
        position=data.draw(few), in_flight=data.draw(st.integers(0, 1)), buy_order=data.draw(st.integers(-1, 7)),
        sell_order=data.draw(st.integers(-1, 7)), buy_ticks=bid + data.draw(few), sell_ticks=bid + data.draw(few),
        buy_lots=data.draw(st.integers(0, 5)), sell_lots=data.draw(st.integers(0, 5)),
        call=data.draw(st.integers(0, 2)),
        orders=orders({slot: (1, bid + slot % 3 - 1, data.draw(st.integers(0, 1))) for slot in range(SLOTS)}),
    )  # fmt: skip
    values = {}
    for parameter in one.parameters:
        low, high = parameter.range or (parameter.low or 0, 100 if parameter.high is None else parameter.high)
        drawn = {float: st.floats(low, high), int: st.integers(int(low), int(high)), bool: st.booleans()}  # type: ignore
        values[parameter.name] = data.draw(drawn[parameter.kind])
    e, p = event(**seen, **signals), parameters(policy, **values)
    memory = s.memory.copy()
    said = policy(s, e, p)
    again = s._replace(memory=memory)
    assert _run(one, again, e, values) == tuple(int(value) for value in said)
    np.testing.assert_array_equal(again.memory, s.memory)
    if one.quiet is not None:
        _holds_its_promise(one, policy, s, e, p, values)


def _run(one: CompiledPolicy, s: Any, e: Any, values: dict[str, Any]) -> tuple[int, ...]:
    event_type, _ = _types(one)
    params = one.params_of(one.row(values)[None], 0)
    return tuple(one.policy(s, event_type(*e), params))


TYPES: dict[str, Any] = {}


def _types(one: CompiledPolicy) -> Any:
    """One event type per policy, so that each is compiled once."""
    if one.name not in TYPES:
        TYPES[one.name] = make_event_of(one.signals)[0], make_params_of(one.parameters)[0]
    return TYPES[one.name]


def _holds_its_promise(one: CompiledPolicy, policy: Any, s: Any, e: Any, p: Any, values: dict[str, Any]) -> None:
    assert policy.quiet is not None
    low, high = policy.quiet(s, p)
    params = one.params_of(one.row(values)[None], 0)
    assert tuple(one.quiet(s, params)) == (low, high)
    for x in (low, high, 0.5 * (low + high), math.nan):
        if low <= x <= high or math.isnan(x):
            assert policy(s, e._replace(**{one.skip_signal: x}), p) == nothing()
