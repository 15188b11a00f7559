"""The compiled simulator against the exchange in plain Python: every count, sample, fill and order, however it is cut.

Axis legend: N rows, L legs, P parameter sets.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot_kernels.simulate.cpu import grown, make_simulator, make_sweep, new_state
from schwabot_kernels.simulate.formulas import fee_of, share
from schwabot_kernels.simulate.records import COUNTS, FILLED_LOTS, MOMENTS, POSITION, Market, Rules
from schwabot_kernels.simulate.state import FILL_LEG, FILL_LOTS, FILL_SIDE
from tests.kernels.making_policies import Policy, Row, make_market, make_rules, poster, random_policy, threshold
from tests.kernels.plainly import simulate


def _market(draw: np.random.Generator, rules: Rules, rows: int, legs: int, busy: float) -> Market:
    """A walk with ties in time, wide and locked quotes, unknown sizes; venue time behind, or ahead of, receive time."""
    ts, mid, told = 1_000_000, 60, []
    clocks = dict.fromkeys(range(-1, legs), 0)
    trades, ahead, moves = draw.random(), draw.random() < 0.2, draw.choice([0.1, 1.0])
    for _ in range(rows):
        ts += int(draw.integers(0, 12) * (draw.random() < busy))
        mid = max(20, mid + int(draw.integers(-1, 2) * (draw.random() < moves)))
        leg = int(draw.integers(-1, legs))
        venue = clocks[leg] = max(clocks[leg], ts - int(draw.integers(0, 15)) + (10 if ahead else 0))
        sizes = [int(x) for x in draw.integers(0, 12, 2)]
        if draw.random() < trades * 0.7:
            price = mid + int(draw.integers(-2, 4) if draw.random() < 0.3 else draw.integers(0, 2))
            told.append(Row(ts, venue, leg, 0, 0, 0, 0, price, sizes[0] // 2, int(draw.integers(-1, 2))))
        else:
            told.append(Row(ts, venue, leg, mid, mid + int(draw.integers(0, 5) if draw.random() < 0.3 else 1), *sizes))
    signals = draw.standard_normal((legs, 1, rows))
    signals[draw.random(signals.shape) < 0.05] = np.nan
    return make_market(told, signals, rules)


def _rules(draw: np.random.Generator, legs: int) -> Rules:
    inverse = draw.integers(0, 2, legs).astype(np.int8)
    payments = int(draw.integers(0, 4))
    long = 40 if draw.random() < 0.5 else 4
    return make_rules(
        legs,
        2,
        entry_ns=draw.integers(0, long, (2, legs)),
        response_ns=draw.integers(0, long, (2, legs)),
        taker_e7=draw.integers(0, 90_000, (2, legs)),
        maker_e7=draw.integers(-30_000, 30_000, (2, legs)),
        model=int(draw.integers(0, 3)),
        tables=draw.integers(0, long, (2, 5)),
        seed=int(draw.integers(0, 2**31)),
        scale=np.where(inverse == 1, 1_000_003, draw.integers(1, 20, legs)),
        inverse=inverse,
        max_lots=draw.integers(1, 40, legs),
        protection_e7=int(draw.integers(0, 500_000)),
        queue=int(draw.integers(0, 2)),
        bucket_ns=int(draw.choice([7, 100, 10_000])),
        funding_ns=np.sort(draw.integers(1_000_000, 1_000_400, payments)),
        funding_leg=draw.integers(0, legs, payments),
        funding_e9=draw.integers(-(10**8), 10**8, payments),
    )


def play(market: Market, rules: Rules, params: Any, policy: Policy, pieces: list[int], p: int = 0) -> Any:
    """Run in pieces, rows beyond those known overwritten; the state at the end."""
    run = make_simulator(*policy.compiled)
    state = new_state(len(rules.scale), policy.memory, 1, 1)
    rows, at = len(market.ts_ns), 0
    for k, known in enumerate(pieces):
        arrays = [a.copy() for a in market]
        for a in arrays:
            a[..., known:] = 77
        arrays[12][arrays[12] >= known] = -1
        while True:
            before, at = at, run(Market(*arrays), rules, params, p, state, known, k == len(pieces) - 1)
            assert before <= at <= known
            if not state.logged[2]:
                break
            state = grown(state)
    assert at == rows
    return state


def _same(state: Any, want: Any) -> None:
    np.testing.assert_array_equal(state.orders_log[: state.logged[1]].tolist(), want.orders)
    np.testing.assert_array_equal(state.fills[: state.logged[0]].tolist(), want.fills)
    np.testing.assert_array_equal(state.counts, want.counts)
    np.testing.assert_array_equal(state.moments, want.moments)


@given(
    seed=st.integers(0, 2**32 - 1),
    legs=st.integers(1, 3),
    rows=st.integers(1, 250),
    rate=st.sampled_from([10, 30, 90, 256]),
)
def test_agrees_with_plain_python(seed: int, legs: int, rows: int, rate: int) -> None:
    draw = np.random.default_rng(seed)
    rules = _rules(draw, legs)
    market = _market(draw, rules, rows, legs, busy=draw.choice([0.3, 1.0]))
    params = np.array([[0.0, 1.0, 1.0], [rate, draw.integers(2, 20), draw.integers(2, 5)]])
    want = simulate(market, rules, params, 1, *random_policy.plain, random_policy.memory)
    _same(play(market, rules, params, random_policy, [rows], p=1), want)
    pieces = sorted(draw.integers(0, rows + 1, int(draw.integers(0, 9))).tolist())
    _same(play(market, rules, params, random_policy, [*pieces, rows, rows], p=1), want)
    for leg in range(legs):
        own = np.array([f for f in want.fills if f[FILL_LEG] == leg], np.int64).reshape(-1, 11)
        held = np.cumsum(own[:, FILL_SIDE] * own[:, FILL_LOTS])
        assert abs(held).max(initial=0) <= rules.max_lots[leg]
        assert own[:, FILL_LOTS].sum() == want.counts[leg][FILLED_LOTS]


@given(seed=st.integers(0, 2**32 - 1), legs=st.integers(1, 2))
def test_a_sweep_is_one_run_after_the_other(seed: int, legs: int) -> None:
    draw = np.random.default_rng(seed)
    rules = _rules(draw, legs)
    market = _market(draw, rules, 200, legs, busy=1.0)
    params = np.array([[1.0, 0.5, 2.0], [0.3, -0.2, 1.0]])
    counts, moments = np.full((2, legs, COUNTS), -9), np.full((2, legs, MOMENTS), -9.0)
    make_sweep(*threshold.compiled)(market, rules, params, 1, 2, counts, moments, 0)
    assert (counts[0] == -9).all()
    make_sweep(*threshold.compiled)(market, rules, params, 0, 1, counts, moments, 0)
    for p in range(2):
        want = simulate(market, rules, params, p, *threshold.plain)
        np.testing.assert_array_equal(counts[p], want.counts)
        np.testing.assert_array_equal(moments[p], want.moments)


def test_random_markets_reach_every_end() -> None:
    """Else agreement would say little: all ten ways to end, for all four actions; fills of both liquidities."""
    ends, makers = set(), set()
    for seed in range(40):
        draw = np.random.default_rng(seed)
        rules = _rules(draw, 2)
        market = _market(draw, rules, 150, 2, busy=1.0)
        want = simulate(market, rules, np.array([[256.0, 9.0, 3.0]]), 0, *random_policy.plain, random_policy.memory)
        ends |= {(one[2], one[15]) for one in want.orders}
        makers |= {one[6] for one in want.fills}
    assert makers == {0, 1}
    assert {end for _, end in ends} == set(range(10))
    assert {(1, 2), (2, 8), (3, 3), (3, 9), (4, 1), (4, 3), (4, 6), (4, 7), (4, 8), (4, 9)} <= ends


def test_many_reports_under_way_grow_the_ring() -> None:
    """300 trades of one lot while the response takes longer than the run."""
    rules = make_rules(1, response_ns=np.array([[10_000]]), max_lots=np.array([10_000]))
    rows = [Row(0, 0, 0, 50, 52, 0, 0)] + [Row(20 + i, 20 + i, 0, 0, 0, 0, 0, 51, 1, -1) for i in range(300)]
    rows += [Row(20_000, 20_000, 0, 51, 53, 1, 1)] * 2
    signals = np.zeros((1, 1, len(rows)))
    signals[0, 0, 0] = 1.0
    market, params = make_market(rows, signals, rules), np.zeros((1, 3))
    want = simulate(market, rules, params, 0, *poster.plain)
    assert want.counts[0][POSITION] == 300
    _same(play(market, rules, params, poster, [len(rows)]), want)
    _same(play(market, rules, params, poster, [150, 250, len(rows)]), want)


@pytest.mark.parametrize(("notional", "fee"), [(10**7 + 1, 3), (4 * 10**18, 7500), (3, -5), (123_456_789_012, -250)])
def test_fees_round_against_us(notional: int, fee: int) -> None:
    assert fee_of(notional, fee) == -((-notional * fee) // 10**7)


@given(level=st.integers(1, 2**61), gone=st.integers(0, 2**61), front=st.integers(0, 2**61))
def test_share_of_a_queue_is_exact(level: int, gone: int, front: int) -> None:
    gone = min(gone, level)
    assert share(gone, front, level) == gone * front // level
