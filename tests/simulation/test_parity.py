"""One policy, four ways: the engine in batches of any size, the sweep, the exchange in plain Python. Same integers."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import schwabot
from schwabot.execution.simulated import SimulatedBroker
from schwabot.pipeline import Pipeline
from schwabot.signals import BUY, SELL, Parameter, cancel, nothing, policy, post, take
from schwabot.signals.compiling import CompiledPolicy, compile_policy
from schwabot.simulation.outcome import Outcome, equity_curve
from schwabot.simulation.recorder import MarketRecorder
from schwabot.simulation.settings import SimulationConfig
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot_kernels.simulate.cpu import make_sweep
from schwabot_kernels.simulate.records import COUNTS, EQUITY2, FILLS, MOMENTS, REFUSED, Market
from tests.kernels.plainly import simulate

EVENTS = 6_000


@policy(edge_bp=Parameter(0.05, low=0.0, high=10.0), memory=1)
def busy(s: Any, e: Any, p: Any) -> Any:
    """Takes on the forecast and keeps a bid at the touch while it has none, so that all kinds of requests occur."""
    if s.call > 0 or s.in_flight > 1:
        return nothing()
    if e.forecast_bp > p.edge_bp and s.position < 3:
        return take(BUY, 2)
    if e.forecast_bp < -p.edge_bp and s.position > -3:
        return take(SELL, 2)
    s.memory[0] += 1.0
    if s.buy_order < 0 and s.position < 5:
        return post(BUY, 1, e.bid_ticks)
    if s.buy_order >= 0 and s.buy_ticks < e.bid_ticks and s.memory[0] % 7.0 == 0.0:
        return cancel(s.buy_order)
    return nothing()


@pytest.fixture(scope="module")
def compiled() -> CompiledPolicy:
    return compile_policy(busy)


def played(
    compiled: CompiledPolicy, batch: int, config: SimulationConfig, legs: tuple[int, ...], events: int = EVENTS
) -> SimulatedBroker:
    feed = SyntheticFeed(SyntheticConfig(events=events))
    pipeline = Pipeline(feed.instruments)
    recorder = MarketRecorder(compiled, feed.instruments, [feed.instruments[v].stream for v in legs], config)
    broker = SimulatedBroker(recorder, {"edge_bp": 0.05})
    for ticks in feed.batches(batch):
        broker.step(ticks, pipeline.step(ticks))
    broker.finish()
    return broker


CONFIGS = [
    SimulationConfig(entry_ms=3.0, response_ms=4.0),
    SimulationConfig(latency="data", queue="proportional", maker_fee_bp=-0.5),
    SimulationConfig(
        latency="table", entry_quantiles_ms=[1.0, 2.0, 80.0], response_quantiles_ms=[0.0, 5.0], entry_ms=0.0, seed=7
    ),
]


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("legs", [(1,), (0, 3)])
def test_engine_sweep_and_plain_python_agree(
    compiled: CompiledPolicy, config: SimulationConfig, legs: tuple[int, ...]
) -> None:
    broker = played(compiled, 65_536, config, legs)
    outcome = broker.outcome()
    assert outcome.rows == EVENTS
    assert (outcome.counts[:, FILLS] > 20).all()
    plain = simulate(
        outcome.market,
        broker.rules,
        broker.parameters,
        0,
        compiled.python,
        compiled.event_of.py_func,
        compiled.params_of.py_func,
        compiled.memory,
    )
    np.testing.assert_array_equal(outcome.counts, plain.counts)
    np.testing.assert_array_equal(outcome.moments, plain.moments)
    assert outcome.fills.tolist() == plain.fills
    assert outcome.orders.tolist() == plain.orders

    sweep = make_sweep(compiled.policy, compiled.event_of, compiled.params_of, compiled.key)
    counts, moments = np.zeros((1, len(legs), COUNTS), np.int64), np.zeros((1, len(legs), MOMENTS))
    sweep(outcome.market, broker.rules, broker.parameters, 0, 1, counts, moments, compiled.memory)
    np.testing.assert_array_equal(counts[0], outcome.counts)
    np.testing.assert_array_equal(moments[0], outcome.moments)


@pytest.mark.parametrize("batch", [1, 37, 1_000])
def test_batches_change_nothing(compiled: CompiledPolicy, batch: int) -> None:
    events = EVENTS if batch > 1 else 1_500
    whole, cut = (played(compiled, size, CONFIGS[1], (1, 2), events).outcome() for size in (65_536, batch))
    assert whole.counts[:, FILLS].min() > 5
    np.testing.assert_array_equal(whole.counts, cut.counts)
    np.testing.assert_array_equal(whole.moments, cut.moments)
    np.testing.assert_array_equal(whole.fills, cut.fills)
    np.testing.assert_array_equal(whole.orders, cut.orders)


def test_later_ticks_change_nothing_before(compiled: CompiledPolicy) -> None:
    """What was decided and filled by a row stays, whatever comes after: no look-ahead."""
    long = played(compiled, 65_536, CONFIGS[0], (1,)).outcome()
    short = played(compiled, 500, CONFIGS[0], (1,), EVENTS // 2).outcome()
    # The last half second may wait for answers that the shorter data do not hold.
    settled = short.market.ts_ns[-1] - 500_000_000
    rows = int(np.searchsorted(short.market.ts_ns, settled))
    early = [outcome.fills[outcome.fills[:, 10] < rows] for outcome in (short, long)]
    assert len(early[0]) > 10
    np.testing.assert_array_equal(early[0], early[1])


def test_equity_from_the_log_is_the_kernels_own(compiled: CompiledPolicy) -> None:
    outcome: Outcome = played(compiled, 65_536, CONFIGS[1], (0, 3)).outcome()
    curve = equity_curve(outcome)
    np.testing.assert_array_equal(curve.equity2[:, -1], outcome.counts[:, EQUITY2])
    assert curve.equity2.shape[1] == outcome.moments[0, 0]
    changes = np.diff(curve.equity2.astype(np.float64), prepend=0.0, axis=1)
    np.testing.assert_array_equal(np.cumsum(changes, axis=1)[:, -1], outcome.moments[:, 1])


def test_the_python_api_gives_the_same() -> None:
    found = schwabot.backtest(
        schwabot.load("synthetic", events=EVENTS),
        busy,
        trade=["synthetic_b:BTC/USDT:USDT"],
        simulation={"entry_ms": 3.0, "response_ms": 4.0},
        edge_bp=0.05,
    )
    outcome = played(compile_policy(busy), 999, CONFIGS[0], (1,)).outcome()
    np.testing.assert_array_equal(found.outcome.counts, outcome.counts)
    assert found.fills.num_rows == outcome.counts[0, FILLS]
    assert found.summary["legs"]["synthetic_b:BTC/USDT:USDT"]["refused"] == outcome.counts[0, REFUSED]


def test_a_market_that_was_played_is_let_go(compiled: CompiledPolicy) -> None:
    """Kernels without reference counting must not keep arrays, which would fill the memory of a long sweep."""
    broker = played(compiled, 65_536, CONFIGS[0], (1,), 1_000)
    market = Market(*(array.copy() for array in broker.outcome().market))
    kept = [weakref.ref(array) for array in market]
    sweep = make_sweep(compiled.policy, compiled.event_of, compiled.params_of, compiled.key)
    counts, moments = np.zeros((1, 1, COUNTS), np.int64), np.zeros((1, 1, MOMENTS))
    sweep(market, broker.rules, broker.parameters, 0, 1, counts, moments, compiled.memory)
    del market
    gc.collect()
    assert [array() for array in kept] == [None] * len(kept)
