"""The simulated broker told row by row comes to what it comes to in batches."""

from __future__ import annotations

import numpy as np

from schwabot.execution.simulated import SimulatedBroker
from schwabot.live_pipeline import LivePipeline
from schwabot.pipeline import Pipeline
from schwabot.signals.builtin.threshold import threshold
from schwabot.signals.compiling import compile_policy
from schwabot.simulation.recorder import MarketRecorder
from schwabot.simulation.settings import SimulationConfig
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed


def broker(feed: SyntheticFeed) -> SimulatedBroker:
    config = SimulationConfig(entry_ms=3.0, response_ms=2.0)
    recorder = MarketRecorder(compile_policy(threshold), feed.instruments, [feed.instruments[1].stream], config)
    return SimulatedBroker(recorder, {})


def test_row_by_row_is_as_in_batches() -> None:
    feed, again = (SyntheticFeed(SyntheticConfig(events=3_000)) for _ in range(2))
    batched, rows = broker(feed), broker(again)
    pipeline = Pipeline(feed.instruments)
    for ticks in feed.batches(700):
        batched.step(ticks, pipeline.step(ticks))
    batched.finish()
    live = LivePipeline(again.instruments, on_row=rows.row)
    for ticks in again.batches(50):
        live.step(ticks)
    rows.finish()
    one, other = batched.outcome(), rows.outcome()
    assert len(one.fills) > 10
    for name in ("counts", "moments", "fills", "orders"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
    assert one.rows == other.rows
