"""The whole graph on device tensors against the CPU's compiled pass, from the beginning and from anywhere."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given
from hypothesis import settings as settings_of_tests
from hypothesis import strategies as st

from schwabot.modules.device_graph import DeviceGraph
from schwabot.modules.graph import Graph
from schwabot.modules.settings import HashRegistryConfig, ModulesConfig
from schwabot.records.audit import SignalColumns
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels import tree
from schwabot_kernels.align.cpu import Events
from schwabot_kernels.graph.cpu import GraphColumns
from schwabot_kernels.graph.op import flat_params, on_tensors, own_memory
from schwabot_kernels.graph.op import graph as graph_op
from tests.gpu.memory_making import same_bits
from tests.gpu.recording import captured
from tests.gpu.staged import NAMES, State, assert_stages
from tests.kernels.making import Habits, Market, adversarial, head, settings, synthetic

HABITS = {
    "ties": 0.2, "round_times": True, "gaps": 0.02, "trades": 0.3, "trades_only": 0.0, "crossed": 0.05, "no_size": 0.1,
    "still": 0.3, "outages": 0.2, "late": 0.3, "coarse": False,
}  # fmt: skip


def start(market: Market, config: ModulesConfig) -> tuple[Graph, list[torch.Tensor]]:
    graph = Graph(market.instruments, config, [i.stream for i in market.instruments if i.trades_only])
    state = graph.initial_state()
    return graph, [state[name] for name in NAMES]


def arguments(graph: Graph, batch: TickBatch, state: list[torch.Tensor], device: str) -> list[object]:
    numbers, arrays = flat_params(graph.params)
    own = torch.zeros((len(graph.instruments), 0, len(batch)), dtype=torch.float64)
    events = [getattr(batch, name).to(device) for name in Events._fields]
    table = [part.to(device) for part in tree.leaves(graph.table)]
    return [events, own.to(device), table, numbers, arrays, [part.to(device) for part in state]]


def columns_of(out: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    return dict(zip(GraphColumns._fields, (part.cpu() for part in out), strict=False))


def assert_close(ours: list[torch.Tensor], theirs: list[torch.Tensor]) -> None:
    """Columns of two whole runs of an ordinary market.

    Each stage's rounding is the next one's input here, so floats may be as far apart as the stages make of it: 1e-7.
    Discrete answers are equal, and what hangs on them agrees, on all but 1e-4 of events.
    """
    for name, a in columns_of(ours).items():
        b = columns_of(theirs)[name]
        assert a.shape == b.shape, name
        assert a.dtype == b.dtype, name
        off = ~torch.isclose(a, b, rtol=1e-7, atol=1e-7, equal_nan=True) if a.is_floating_point() else a != b
        count = int(off.sum())
        assert count <= 1e-4 * a.numel(), f"{name}: {count} of {a.numel()}, first at {off.nonzero()[:1].tolist()}"


def state_of(out: list[torch.Tensor]) -> list[torch.Tensor]:
    return [part.cpu() for part in out[len(GraphColumns._fields) :]]


def assert_agrees(market: Market, config: ModulesConfig, cut: int, device: str, head: Any = None, **sizes: int) -> None:
    """Stage by stage from the same bits: both halves on the device, the second from its own state and the CPU's."""
    trades_only = [i.stream for i in market.instruments if i.trades_only]
    graph = Graph(market.instruments, config, trades_only, head)
    state = graph.initial_state()
    first, second = market.batch.rows(0, cut), market.batch.rows(cut, len(market.batch))

    def held(batch: TickBatch, state: State) -> State:
        given = arguments(graph, batch, [state[name] for name in NAMES], device)
        return assert_stages(graph, batch, state, given, device, **sizes)

    ours = held(first, state)
    _, theirs = graph(first, state)
    held(second, ours)
    held(second, theirs)


@pytest.mark.parametrize("estimator", ["weighted", "kalman"])
@pytest.mark.parametrize(("streams", "seed"), [(2, 3), (3, 5), (4, 8), (6, 13)])
def test_adversarial_markets(estimator: str, streams: int, seed: int, device: str) -> None:
    market = adversarial(Habits(events=601, streams=streams, seed=seed, **HABITS))
    assert_agrees(market, settings(estimator, bits=8, tables=3), 257, device, edge=64, block=8)


def test_windows_of_cycles(device: str) -> None:
    """Streams that convert currencies: windows as on the CPU, of pairs and of cycles."""
    market = adversarial(Habits(events=601, streams=6, seed=4, rates=True, **HABITS | {"outages": 0.0}))
    free = replace(market, instruments=tuple(replace(i, taker_fee_bp=-0.5) for i in market.instruments))
    assert_agrees(free, settings("weighted", bits=8, tables=3), 257, device, edge=64, block=8)
    graph, state = start(free, settings())
    ours = on_tensors(*arguments(graph, free.batch, state, device), edge=64, block=8)
    theirs = graph_op(*arguments(graph, free.batch, state, "cpu"))
    closed = []
    for out in (ours, theirs):
        named = dict(zip(NAMES, state_of(out), strict=True))
        count = int(named["arbitrage.head"][1])
        closed.append(named["arbitrage.closed_ns"][:count, :3])
    assert torch.equal(*closed)
    assert (closed[0][:, 0] >= 36).sum() > 20


def test_with_rates_and_cycles(device: str) -> None:
    market = adversarial(Habits(events=601, streams=5, seed=21, **HABITS | {"rates": True}))
    graph, _ = start(market, settings("weighted", bits=8, tables=3))
    assert len(graph.params.arbitrage.leg)
    assert_agrees(market, settings("weighted", bits=8, tables=3), 257, device, edge=64, block=8)


@pytest.mark.parametrize("bits", [4, 16])
def test_a_market_of_some_length(bits: int, device: str) -> None:
    market = synthetic(20_003, seed=4)
    config = ModulesConfig(hash_registry=HashRegistryConfig(bits=bits, warmup_events=500))
    # Lanes that are reached in so short a run, and pay: no fee is taken.
    low = {"medium_v": 0.82, "high_v": 0.9, "margin_v": 0.005, "style": ["observe"] * 3}
    config.voltage_lanes = replace(config.voltage_lanes, **low)
    assert_agrees(market, config, 9_001, device, edge=4096, block=64)
    graph, state = start(market, config)
    ours = on_tensors(*arguments(graph, market.batch, state, device), edge=4096, block=64)
    assert_close(ours, graph_op(*arguments(graph, market.batch, state, "cpu")))
    for name, values in (("lane", [0, 1, 2]), ("pays_fees", [0, 1])):
        assert columns_of(ours)[name].unique().tolist() == values


def test_with_a_trained_head(device: str) -> None:
    market = synthetic(6_001, seed=5)
    trained = head(market.instruments)
    graph = Graph(market.instruments, ModulesConfig(), (), trained)
    state = graph.initial_state()
    given = arguments(graph, market.batch, [state[name] for name in NAMES], "cpu")
    ours = on_tensors(*arguments(graph, market.batch, [state[name] for name in NAMES], device), edge=1024, block=64)
    assert_close(ours, graph_op(*given))
    assert columns_of(ours)["forecasts"].shape == (len(trained.horizons_ms), len(market.instruments), 6_001)


def test_a_capture(captures: Path, device: str) -> None:
    market = captured(captures, 140_000 if device == "cuda" else 40_000)

    assert_agrees(market, ModulesConfig(), len(market.batch) // 2 + 1, device)


@settings_of_tests(max_examples=8, phases=[Phase.explicit, Phase.generate])
@given(
    st.integers(0, 2**32 - 1), st.integers(2, 5), st.lists(st.integers(1, 400), max_size=5), st.sampled_from([64, 128])
)
def test_no_split_changes_a_bit(seed: int, streams: int, cuts: list[int], edge: int) -> None:
    """Whatever the batches, the device's answers have the same bits; what lies behind the last edge is run again."""
    market = adversarial(Habits(events=400, streams=streams, seed=seed, **HABITS))
    config = settings("weighted", bits=8, tables=2)
    whole, pieces = (played(market, config, edge, at) for at in ([], cuts))
    for name, one, two in zip(GraphColumns._fields, whole, pieces, strict=True):
        assert torch.equal(one.nan_to_num(-77.0), two.nan_to_num(-77.0)), name


def played(market: Market, config: ModulesConfig, edge: int, cuts: list[int]) -> list[torch.Tensor]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    graph, _ = start(market, config)

    def call(*given: Any) -> list[torch.Tensor]:
        return on_tensors(*given, edge=edge, block=8)

    runs = DeviceGraph(graph, torch.device(device), graph.initial_state(), edge=edge, call=call)
    at = sorted({0, 400, *cuts})
    said = [runs.advance(market.batch.rows(a, b)).signals for a, b in pairwise(at)]
    assert runs.failed is None
    names = [field.name for field in fields(SignalColumns)]
    return [torch.from_numpy(np.concatenate([getattr(one, name) for one in said])) for name in names]


@torch.library.custom_op("schwabot::graph_on_any_device", mutates_args=())
def as_op(
    events: list[torch.Tensor],
    own: torch.Tensor,
    table: list[torch.Tensor],
    numbers: list[float],
    arrays: list[torch.Tensor],
    state: list[torch.Tensor],
) -> list[torch.Tensor]:
    """What ``schwabot::graph`` does with CUDA tensors, as an op: torch refuses answers that share memory."""
    given = [*events, own, *table, *arrays, *state]
    return own_memory(on_tensors(events, own, table, numbers, arrays, state, edge=64, block=8), given)


@pytest.mark.parametrize("events", [1, 257])
def test_an_op_may_answer_so(events: int, device: str) -> None:
    market = adversarial(Habits(events=events, streams=4, seed=8, **HABITS))
    graph, state = start(market, settings("weighted", bits=8, tables=3))
    given = arguments(graph, market.batch, state, device)
    for one, two in zip(as_op(*given), on_tensors(*given, edge=64, block=8), strict=True):
        assert same_bits(one, two)


@pytest.mark.gpu
def test_the_op_itself_on_a_gpu() -> None:
    market = synthetic(20_003, seed=4)
    graph, state = start(market, ModulesConfig())
    assert_close(
        graph_op(*arguments(graph, market.batch, state, "cuda")),
        graph_op(*arguments(graph, market.batch, state, "cpu")),
    )
