"""The simulated broker told row by row comes to what it comes to in batches."""

from __future__ import annotations

import numpy as np
import pytest

from schwabot.execution.simulated import SimulatedBroker
from schwabot.live_pipeline import LivePipeline
from schwabot.pipeline import Pipeline
from schwabot.signals.builtin.quote_guard import quote_guard
from schwabot.signals.builtin.threshold import threshold
from schwabot.signals.compiling import compile_policy
from schwabot.signals.declaring import Policy
from schwabot.simulation.details import equity_table, fills_table, orders_table, trades_table
from schwabot.simulation.outcome import equity_curve
from schwabot.simulation.recorder import MarketRecorder
from schwabot.simulation.settings import SimulationConfig
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot_kernels.simulate.state import FILL_ROW, ORDER_ROW

POLICIES = pytest.mark.parametrize("policy", [threshold, quote_guard], ids=["takes", "posts"])


def broker(policy: Policy, feed: SyntheticFeed) -> SimulatedBroker:
    config = SimulationConfig(entry_ms=3.0, response_ms=2.0, bucket_s=0.5)
    recorder = MarketRecorder(compile_policy(policy), feed.instruments, [feed.instruments[2].stream], config)
    return SimulatedBroker(recorder, {})


@POLICIES
def test_row_by_row_is_as_in_batches(policy: Policy) -> None:
    feed, again = (SyntheticFeed(SyntheticConfig(events=3_000)) for _ in range(2))
    batched, rows = broker(policy, feed), broker(policy, again)
    pipeline = Pipeline(feed.instruments)
    for ticks in feed.batches(700):
        batched.step(ticks, pipeline.step(ticks))
    batched.finish()
    live = LivePipeline(again.instruments, on_row=rows.row)
    for ticks in again.batches(50):
        live.step(ticks)
    rows.finish()
    one, other = batched.outcome(), rows.outcome()
    assert len(one.fills) > 3
    for name in ("counts", "moments", "fills", "orders"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert one.rows == other.rows


@POLICIES
def test_forgetting_old_rows_changes_nothing(policy: Policy) -> None:
    feed, again = (SyntheticFeed(SyntheticConfig(events=6_000)) for _ in range(2))
    whole, short = broker(policy, feed), broker(policy, again)
    for one, source, forgets in ((whole, feed, False), (short, again, True)):
        live = LivePipeline(source.instruments, on_row=one.row)
        for ticks in source.batches(100):
            live.step(ticks)
            if forgets:
                one.forget(60)
                assert one.recorder.builder.rows < 600
        one.finish()
    wanted, found = whole.outcome(), short.outcome()
    assert len(wanted.fills) > 10
    np.testing.assert_array_equal(found.counts, wanted.counts)
    np.testing.assert_array_equal(found.moments, wanted.moments)
    np.testing.assert_array_equal(np.delete(found.fills, FILL_ROW, 1), np.delete(wanted.fills, FILL_ROW, 1))
    np.testing.assert_array_equal(np.delete(found.orders, ORDER_ROW, 1), np.delete(wanted.orders, ORDER_ROW, 1))
    for table in (fills_table, orders_table, trades_table):
        assert table(found).equals(table(wanted)), table.__name__
    curve = equity_curve(wanted)
    assert len(curve.ts_ns) > 5
    assert equity_table(found, equity_curve(found)).equals(equity_table(wanted, curve))
