"""Stopping anywhere and going on from the saved state in a new process changes no bit: not of clocks, nor of events."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from schwabot.errors import StateError
from schwabot.modules.graph import State
from schwabot.modules.settings import ModulesConfig
from schwabot.pipeline import Pipeline
from schwabot.records.market import MISSING_NS, Ticks
from tests.invariants.making import CLOCK, MARKETS, Said, as_ticks, assert_same, configs, pieces, rows, said
from tests.kernels.making import Habits
from tests.kernels.making import settings as small

HABITS = Habits(
    events=600, streams=3, seed=11, ties=0.1, round_times=False, gaps=0.02, trades=0.2, trades_only=0.0, crossed=0.05,
    no_size=0.0, still=0.0, outages=0.5, late=0.5, coarse=False,
)  # fmt: skip


def in_two_lives(parts: list[Ticks], lived: int, config: ModulesConfig) -> tuple[Said, list[tuple[int, int]]]:
    """Some batches in one pipeline, the rest in another one that starts from its file; and how it numbers them."""
    instruments = parts[0].instruments
    first, second = Pipeline(instruments, config, CLOCK), Pipeline(instruments, config, CLOCK)
    records = [first.step(part) for part in parts[:lived]]
    with TemporaryDirectory() as folder:
        first.save(Path(folder, "state.pt"))
        second.load(Path(folder, "state.pt"))
    records += [second.step(part) for part in parts[lived:]]
    return said(records, second), [(record.batch, record.first_event) for record in records]


@settings(max_examples=25)
@given(MARKETS, configs(), st.lists(st.floats(0.0, 1.0), max_size=5), st.integers(0, 5))
def test_going_on_from_a_file(ticks: Ticks, config: ModulesConfig, shares: list[float], lived: int) -> None:
    parts = pieces(ticks, [round(share * len(ticks)) for share in shares])
    lived = min(lived, len(parts))
    at_once = Pipeline(ticks.instruments, config, CLOCK)
    records = [at_once.step(part) for part in parts]
    resumed, numbers = in_two_lives(parts, lived, config)
    assert_same(said(records, at_once), resumed)
    assert numbers == [(record.batch, record.first_event) for record in records]


def test_row_by_row_after_a_restart() -> None:
    """The clocks' one-row path goes on from the state of the array path, and the other way round."""
    ticks = as_ticks(HABITS)
    config = small(bits=4, tables=2)
    whole = Pipeline(ticks.instruments, config, CLOCK)
    expected = said([whole.step(ticks)], whole)
    for parts, lived in (
        ([rows(ticks, np.s_[:300]), *pieces(rows(ticks, np.s_[300:]), range(300))], 1),
        ([*pieces(rows(ticks, np.s_[:300]), range(300)), rows(ticks, np.s_[300:])], 300),
        ([rows(ticks, np.s_[:-1]), rows(ticks, np.s_[-1:])], 1),  # the other streams say nothing more
    ):
        assert_same(expected, in_two_lives(parts, lived, config)[0])
    # What is compared has clocks that say something and statuses that changed before and after.
    assert (expected.columns["ts_venue_ns"] != MISSING_NS).mean() > 0.5
    changes = expected.tables["drift_events"]["ts_ns"]
    assert (changes < ticks.ts_recv_ns[300]).any()
    assert (changes > ticks.ts_recv_ns[300]).any()


def test_the_clock_summary_goes_on_too() -> None:
    ticks = as_ticks(HABITS)
    whole, first = (Pipeline(ticks.instruments, small(), CLOCK) for _ in range(2))
    whole.step(ticks)
    first.step(rows(ticks, np.s_[:400]))
    second = Pipeline(ticks.instruments, small(), CLOCK, state=first.state)
    second.step(rows(ticks, np.s_[400:]))
    assert second.clock_summary() == whole.clock_summary()
    assert any(facts["feed_delay_median_ms"] is not None for facts in whole.clock_summary().values())


def clones(state: State) -> State:
    return {name: tensor.clone() for name, tensor in state.items()}


def test_a_given_state_is_left_alone() -> None:
    ticks = as_ticks(HABITS)
    first = Pipeline(ticks.instruments, small(), CLOCK)
    first.step(rows(ticks, np.s_[:300]))
    given_state, before = first.state, clones(first.state)
    Pipeline(ticks.instruments, small(), CLOCK, state=given_state).step(rows(ticks, np.s_[300:]))
    assert all(torch.equal(given_state[name].nan_to_num(), before[name].nan_to_num()) for name in before)


def test_a_state_of_the_graph_alone_starts_the_clocks_afresh() -> None:
    ticks = as_ticks(HABITS)
    first = Pipeline(ticks.instruments, small(), CLOCK)
    first.step(rows(ticks, np.s_[:300]))
    memory = {name: tensor for name, tensor in first.state.items() if name in first.graph.initial_state()}
    second = Pipeline(ticks.instruments, small(), CLOCK, state=memory)
    record, fresh = (p.step(rows(ticks, np.s_[300:])) for p in (second, Pipeline(ticks.instruments, small(), CLOCK)))
    assert record.first_event == 0
    assert record.reference_price == first.finish().reference_price != fresh.reference_price
    assert np.array_equal(record.ts_venue_ns, fresh.ts_venue_ns)


def test_what_does_not_fit_is_refused() -> None:
    ticks = as_ticks(HABITS)
    pipeline = Pipeline(ticks.instruments, small(), CLOCK)
    pipeline.step(ticks)
    state = pipeline.state

    def resume(changed: State, **clock: float) -> None:
        Pipeline(ticks.instruments, small(), replace(CLOCK, **clock), state=changed)

    resume(state)
    for part in ("watch.route", "pipeline.events", "venue_clock.last_ns", "phase.x"):
        with pytest.raises(StateError, match=part.rpartition(".")[2]):
            resume({name: tensor for name, tensor in state.items() if name != part})
    with pytest.raises(StateError, match=r"bucket_ms"):
        resume(state, bucket_ms=100)
    with pytest.raises(StateError, match="unknown"):
        resume(state | {"other": torch.zeros(1)})


def test_files_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """And leave the pipeline as it was."""
    ticks = as_ticks(HABITS)
    pipeline = Pipeline(ticks.instruments, small(), CLOCK)
    pipeline.step(ticks)
    before = clones(pipeline.state)
    pipeline.graph.save(pipeline.graph.initial_state(), tmp_path / "graph.pt")
    with pytest.raises(StateError, match=r"graph\.pt: holds the graph's part alone"):
        pipeline.load(tmp_path / "graph.pt")
    other = Pipeline(ticks.instruments, small(), replace(CLOCK, window_s=3.0))
    other.save(tmp_path / "other.pt")
    with pytest.raises(StateError, match=r"other\.pt: .*window_s"):
        pipeline.load(tmp_path / "other.pt")
    assert before.keys() == pipeline.state.keys()
    assert all(torch.equal(pipeline.state[name].nan_to_num(), before[name].nan_to_num()) for name in before)
