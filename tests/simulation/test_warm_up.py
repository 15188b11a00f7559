"""Nothing is compiled while a rate is counted, and once in a process is enough."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import schwabot
from schwabot.execution.simulated import SimulatedBroker
from schwabot.modes.backtest import latency_sensitivity
from schwabot.pipeline import Pipeline
from schwabot.signals import BUY, Parameter, load_policy, nothing, policy, signal, take
from schwabot.signals.compiling import CompiledPolicy, compile_policy
from schwabot.signals.own_signals import make_pass
from schwabot.simulation.outcome import equity_curve
from schwabot.simulation.recorder import MarketRecorder
from schwabot.simulation.rules import make_rules
from schwabot.simulation.settings import SimulationConfig
from schwabot.simulation.sweep.kernels import SweepKernel
from schwabot.simulation.sweep.shards import cut_market
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot_kernels.simulate.cpu import make_simulator
from schwabot_kernels.simulate.records import COUNTS, FILLS, MOMENTS
from schwabot_kernels.simulate.skipping import make_skipping

EVENTS = 3_000


@signal(memory=1)
def rows_seen(s: Any, e: Any, p: Any) -> Any:
    """How many rows there were."""
    s.memory[0] += 1.0
    return s.memory[0]


@policy(every=Parameter(50, low=1), signals=(rows_seen,))
def now_and_then(s: Any, e: Any, p: Any) -> Any:
    """Buys or sells every so many rows."""
    if s.call > 0 or s.in_flight > 0 or e.rows_seen % p.every != 0.0:
        return nothing()
    return take(BUY if s.position <= 0 else -BUY, 1)


def looked_up(function: Any) -> int:
    """How often it was compiled or read from disk."""
    stats = function.stats
    return sum(stats.cache_hits.values()) + sum(stats.cache_misses.values())


def kernels_of(compiled: CompiledPolicy) -> list[Any]:
    parts = (compiled.policy, compiled.event_of, compiled.params_of)
    found: list[Any] = [make_simulator(*parts, compiled.key), *(make_pass(one, ()) for one in compiled.own)]
    if compiled.quiet is not None:
        found[0] = make_skipping(parts[0], compiled.quiet, *parts[1:], compiled.key)
    return found


def recorder_of(compiled: CompiledPolicy, feed: SyntheticFeed) -> MarketRecorder:
    return MarketRecorder(compiled, feed.instruments, [feed.instruments[1].stream], SimulationConfig(), rows=EVENTS)


def test_a_broker_is_compiled_before_its_first_row_and_once_in_a_process() -> None:
    compiled = compile_policy(now_and_then)
    feed = SyntheticFeed(SyntheticConfig(events=EVENTS))
    pipeline = Pipeline(feed.instruments)
    broker = SimulatedBroker(recorder_of(compiled, feed), {})
    kernels = kernels_of(compiled)
    before = [looked_up(one) for one in kernels]
    assert before == [1, 1]
    for ticks in feed.batches(500):
        broker.step(ticks, pipeline.step(ticks))
    broker.finish()
    curve = equity_curve(broker.outcome())
    asked = iter([False, False, True])
    assert latency_sensitivity(broker, [0.0, 5.0, 9.0], curve, lambda: next(asked)) == []
    found = latency_sensitivity(broker, [0.0, 5.0], curve)
    assert next(row["fills"] for row in found) == broker.outcome().counts[:, FILLS].sum() > 10
    stream = feed.instruments[1].stream
    results = [
        schwabot.backtest(schwabot.load("synthetic", events=EVENTS), now_and_then, trade=[stream]) for _ in range(2)
    ]
    assert {one.summary["fills"] for one in results} == {int(broker.outcome().counts[:, FILLS].sum())}
    assert [looked_up(one) for one in kernels] == before


@pytest.mark.parametrize("name", ["threshold", "now_and_then"])
def test_a_sweep_is_compiled_before_its_market_is_read(name: str) -> None:
    compiled = compile_policy(now_and_then if name == "now_and_then" else load_policy(name))
    feed = SyntheticFeed(SyntheticConfig(events=EVENTS))
    recorder = recorder_of(compiled, feed)
    kernel = SweepKernel(compiled, 1)
    assert kernel.skips is (name == "threshold")
    kernel.warm_up(recorder)
    assert kernel.take_busy_s() == 0.0
    assert recorder.builder.rows == 0
    before = [looked_up(one) for one in kernels_of(compiled)]
    assert set(before) == {1}
    pipeline = Pipeline(feed.instruments)
    for ticks in feed.batches(500):
        recorder.step(ticks, pipeline.step(ticks))
    rules = make_rules(recorder.config, recorder.builder)
    fold = kernel.prepare(cut_market(recorder.builder.market, 100, 2_000), rules.bucket_ns)
    counts, moments = np.zeros((2, 1, COUNTS), np.int64), np.zeros((2, 1, MOMENTS))
    params = np.repeat(compiled.row({"enter_bp": 0.05} if kernel.skips else {})[None], 2, axis=0)
    rules = rules._replace(**{k: np.repeat(getattr(rules, k), 2, axis=0) for k in rules._fields[:4]})
    for run in (kernel, kernel.unskipped):
        run(fold, rules, params, 0, 2, counts, moments)
        assert counts[1, 0, FILLS] > 5
    assert [looked_up(one) for one in kernels_of(compiled)] == before
