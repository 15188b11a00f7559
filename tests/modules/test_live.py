"""The live step: the batch's bits, one event at a time."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch
from hypothesis import given, settings

from schwabot.errors import StateError, UnknownStreamError, UnsortedTimeError
from schwabot.modules.graph import Graph, GraphOutput
from schwabot.modules.live import LiveStep
from schwabot.records.audit import SignalColumns
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels.align.cpu import Events
from schwabot_kernels.graph.step import step
from tests.kernels import making
from tests.kernels.making import ALL_HABITS, Habits, adversarial
from tests.modules.making import A, B, assert_same_answers, assert_same_state, joined


def walk(live: LiveStep, batch: TickBatch, take_every: int = 50) -> GraphOutput:
    """Every event of a batch through the live step, and all that it said."""
    names = [field.name for field in fields(SignalColumns)]
    said: dict[str, list[np.ndarray]] = {name: [] for name in names}
    done = []
    for i, row in enumerate(zip(*(getattr(batch, name).tolist() for name in Events._fields), strict=True)):
        signal = live.step(*row)
        for name in names:
            said[name].append(np.array(getattr(signal, name)))
        if i % take_every == take_every - 1:
            done.append(live.take())
    done.append(live.take())
    tables = zip(*done, strict=True)
    decisions, windows = (
        type(parts[0])(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(parts[0])))
        for parts in tables
    )
    return GraphOutput(SignalColumns(**{name: np.stack(values) for name, values in said.items()}), decisions, windows)


@settings(max_examples=20)
@given(ALL_HABITS)
def test_live_equals_batch(habits: Habits) -> None:
    market = adversarial(habits)
    graph = Graph(market.instruments, making.settings())
    whole, after = graph(market.batch, graph.initial_state())
    live = LiveStep(graph, graph.initial_state())
    assert_same_answers(joined([whole]), joined([walk(live, market.batch)]))
    assert_same_state(after, live.state)


def test_batch_and_live_take_turns_on_one_state() -> None:
    market = making.synthetic(900)
    graph = Graph(market.instruments, making.settings("kalman"))
    whole, after = graph(market.batch, graph.initial_state())
    state = graph.initial_state()
    first = graph.advance(market.batch.rows(0, 300), state)
    second = walk(LiveStep(graph, state), market.batch.rows(300, 600))
    third = graph.advance(market.batch.rows(600, 900), state)
    assert_same_answers(joined([whole]), joined([first, second, third]))
    assert_same_state(after, state)


def test_rings_grow_and_nothing_is_lost_when_nobody_takes() -> None:
    market = making.synthetic(6_000)
    batch = TickBatch(**{name: getattr(market.batch, name) for name in TickBatch.__dataclass_fields__})
    object.__setattr__(batch, "ts_ns", torch.arange(len(batch)) + batch.ts_ns[0])
    graph = Graph(market.instruments, making.settings(warmup_events=100))
    whole, after = graph(batch, graph.initial_state())
    live = LiveStep(graph, graph.initial_state())
    assert_same_answers(joined([whole]), joined([walk(live, batch, take_every=10**6)]))
    assert len(live.state["registry.due_ns"]) > 4096
    assert_same_state(after, live.state)


def test_refusals() -> None:
    graph = Graph((A, B), making.settings())
    with pytest.raises(StateError):
        LiveStep(graph, Graph((A,), making.settings()).initial_state())
    live = LiveStep(graph, graph.initial_state())
    live.step(10, 0, 0, 99, 101, 1, 1)
    with pytest.raises(UnsortedTimeError):
        live.step(9, 0, 0, 99, 101, 1, 1)
    for stream in (-1, 2):
        with pytest.raises(UnknownStreamError):
            live.step(11, stream, 0, 99, 101, 1, 1)


def test_the_step_compiles_once_for_all_graphs() -> None:
    """A second specialisation would cost a user a minute, at the first live event."""
    for graph in (Graph((A, B), making.settings()), Graph((A,), making.settings("kalman", tables=3, bits=4))):
        LiveStep(graph, graph.initial_state()).step(10, 0, 0, 99, 101, 1, 1)
    assert len(step.overloads) == 1


def test_a_second_thread_is_refused() -> None:
    live = LiveStep(graph := Graph([A, B], making.settings()), graph.initial_state())
    event = (1_000, 0, 0, 99, 101, 5, 5)
    live.step(*event)
    live._turn.pop()  # as a thread in the middle of a step leaves it
    with pytest.raises(StateError, match="another thread is in this LiveStep"):
        live.step(*event)
    live._turn.append(None)
    live.step(*event)
