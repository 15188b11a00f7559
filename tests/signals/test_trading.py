"""The built-in policies at the simulated exchange: they do what they are there for, and nothing is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from schwabot.signals import load_policy
from schwabot.signals.compiling import compile_policy
from schwabot_kernels.simulate.cpu import make_simulator
from schwabot_kernels.simulate.records import FILLED_LOTS, FILLS, ORDERS, POSITION, REFUSED, Market
from schwabot_kernels.simulate.state import FILL_LOTS, FILL_MAKER, FILL_SIDE, FILL_VENUE_NS, new_state
from tests.kernels.making_policies import Row, make_market, make_rules

MS, S = 10**6, 10**9
START = 10**18
COMPILED: dict[str, Any] = {}


def random_walk(seconds: float, signals: dict[str, Any], seed: int = 3) -> Market:
    """A market that moves by a tick now and then, quoted every 5 ms or so, with trades at the touch."""
    draw = np.random.default_rng(seed)
    count = int(seconds * 200)
    ts = START + np.cumsum(draw.integers(1, 10 * MS, count))
    bid = 10_000 + np.cumsum(draw.choice([-1, 0, 0, 0, 1], count))
    rows = []
    for i in range(count):
        if i % 4 == 3:
            side = int(draw.choice([-1, 1]))
            price = int(bid[i - 1] + (side > 0))
            rows.append(Row(int(ts[i]), int(ts[i]), price=price, lots=int(draw.integers(1, 8)), side=side))
        else:
            size = draw.integers(1, 4, 2)
            rows.append(Row(int(ts[i]), int(ts[i]), 0, int(bid[i]), int(bid[i]) + 1, int(size[0]), int(size[1])))
    given = [draw.normal(size=count) * scale for scale in signals.values()]
    return make_market(rows, np.array([given]), make_rules())


def trade(name: str, market: Market, **given: Any) -> Any:
    if name not in COMPILED:
        policy = compile_policy(load_policy(name))
        COMPILED[name] = policy, make_simulator(policy.policy, policy.event_of, policy.params_of, policy.key)
    policy, run = COMPILED[name]
    state = new_state(1, policy.memory, 10_000, 10_000)
    rows = len(market.ts_ns)
    rules = make_rules(entry_ns=np.full((1, 1), 3 * MS), response_ns=np.full((1, 1), 3 * MS))
    assert run(market, rules, policy.row(given)[None], 0, state, rows, True) == rows
    return state


def test_timed_execution_is_done_by_the_deadline() -> None:
    market = random_walk(60, {"forecast_bp": 0.5})
    given = {"every_s": 5.0, "window_ms": 1000.0, "ahead_ms": 200.0, "lots": 7, "side": 1, "send_bp": 1.0}
    state = trade("timed_execution", market, **given)
    counts = state.counts[0]
    assert counts[REFUSED] == 0
    parents = int((market.ts_ns[-1] - market.ts_ns[0]) // (5 * S))
    assert counts[FILLED_LOTS] == counts[POSITION] == 7 * parents
    assert counts[FILLS] > parents, "the touch is too small for one fill to do"
    booked = state.fills[: counts[FILLS]]
    age_ns = (booked[:, FILL_VENUE_NS] - market.ts_ns[0]) % (5 * S)
    assert age_ns.max() < 1000 * MS
    assert (np.unique((booked[:, FILL_VENUE_NS] - market.ts_ns[0]) // (5 * S)) == np.arange(1, parents + 1)).all()


@pytest.mark.parametrize("guard", [True, False])
def test_quote_guard_keeps_one_order_a_side_and_its_inventory(guard: bool) -> None:
    market = random_walk(60, {"forecast_bp": 0.5, "deviation_bp": 0.2})
    given = {"guard": guard, "guard_bp": 0.5, "offset_bp": 0.0, "lots": 2, "max_lots": 4}
    state = trade("quote_guard", market, **given)
    counts = state.counts[0]
    assert counts[REFUSED] == 0
    assert counts[FILLS] > 20
    booked = state.fills[: counts[FILLS]]
    assert (booked[:, FILL_MAKER] == 1).all(), "all rested"
    inventory = np.cumsum(booked[:, FILL_SIDE] * booked[:, FILL_LOTS])
    assert np.abs(inventory).max() <= 4
    assert counts[ORDERS] > 20
