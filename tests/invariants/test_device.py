"""A graph whose batches run on a device says what it says on the CPU, also when the device fails on the way.

The device is the CPU here, through the same op and the same seam; tests/gpu holds what GPU kernels say to the CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from schwabot.modules.device_check import EVIDENCE, why_not
from schwabot.modules.device_graph import DeviceGraph
from schwabot.modules.graph import TEMPLATE, Graph
from schwabot.modules.settings import ModulesConfig
from schwabot.pipeline import Pipeline
from schwabot.records.market import Ticks
from schwabot.tensors.transfers import Transfers
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot_kernels import tree
from schwabot_kernels.graph.cpu import GraphColumns
from schwabot_kernels.graph.op import graph as graph_op
from schwabot_kernels.graph.op import on_tensors
from tests.invariants.making import CLOCK, MARKETS, Said, as_ticks, assert_same, configs, pieces, run, said
from tests.kernels.making import Habits, head
from tests.kernels.making import settings as settings_of_graph
from tests.kernels.test_parity_graph import QUIET

FAULTS: dict[str, Callable[[], Exception]] = {
    "out of memory": lambda: torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
    "lost": lambda: RuntimeError("CUDA error: unspecified launch failure\nCUDA kernel errors might be ..."),
    "does not compile": lambda: SyntaxError("at 3:8: triton could not compile this"),
    "no answer": lambda: OSError(5, "Input/output error"),
}


class Faulty:
    """The op of a device that fails at one of its calls, before or after its work is done."""

    def __init__(self, at: int, fault: str, late: bool) -> None:
        self.left, self.fault, self.late = at, fault, late
        self.calls = 0

    def __call__(self, *given: Any) -> list[torch.Tensor]:
        self.calls += 1
        out = graph_op(*given) if self.late or self.left else []
        if self.left == 0:
            raise FAULTS[self.fault]()
        self.left -= 1
        return out


def run_on_device(parts: list[Ticks], config: ModulesConfig, edge: int, call: Any = graph_op) -> Said:
    pipeline = Pipeline(parts[0].instruments, config, CLOCK)
    pipeline.run_on(DeviceGraph(pipeline.graph, torch.device("cpu"), pipeline.state, edge=edge, call=call))
    return said([pipeline.step(part) for part in parts], pipeline)


@settings(max_examples=25, phases=[Phase.explicit, Phase.generate])
@given(MARKETS, configs(), st.lists(st.floats(0.0, 1.0), max_size=6), st.sampled_from([1, 64, 100, 131_072]))
def test_whatever_the_edges_and_batches(ticks: Ticks, config: ModulesConfig, shares: list[float], edge: int) -> None:
    parts = pieces(ticks, [round(share * len(ticks)) for share in shares])
    assert_same(run([ticks], config), run_on_device(parts, config, edge))


@settings(max_examples=25, phases=[Phase.explicit, Phase.generate])
@given(
    MARKETS,
    configs(),
    st.lists(st.floats(0.0, 1.0), max_size=6),
    st.sampled_from([64, 131_072]),
    st.integers(0, 6),
    st.sampled_from(sorted(FAULTS)),
    st.booleans(),
)
def test_a_device_that_fails_loses_nothing(
    ticks: Ticks, config: ModulesConfig, shares: list[float], edge: int, at: int, fault: str, late: bool
) -> None:
    parts = pieces(ticks, [round(share * len(ticks)) for share in shares])
    call = Faulty(at, fault, late)
    found = run_on_device(parts, config, edge, call)
    switches = [event for event in found.fallbacks if event.component == "device"]
    assert len(switches) == (call.left == 0 and call.calls > at)
    assert all(str(FAULTS[fault]()).splitlines()[0] in event.reason for event in switches)
    assert call.calls <= at + 1  # it is not asked again
    others = [event for event in found.fallbacks if event.component != "device"]
    assert_same(run([ticks], config), replace(found, fallbacks=others))


@pytest.mark.parametrize("at", [0, 1, 2, 99])
def test_a_recording_is_run_in_whole_edges_and_nothing_twice(at: int) -> None:
    ticks = as_ticks(Habits(events=1_000, streams=4, seed=3, **QUIET))
    config = settings_of_graph("weighted", 8, 3, 20)
    sizes: list[int] = []
    faulty = Faulty(at, "lost", late=False)

    def call(*given: Any) -> list[torch.Tensor]:
        sizes.append(len(given[0][0]))
        return faulty(*given)

    pipeline = Pipeline(ticks.instruments, config, CLOCK)
    device = DeviceGraph(pipeline.graph, torch.device("cpu"), pipeline.state, edge=64, most_edges=3, call=call)
    pipeline.run_on(device)
    answered = list(pipeline.answers(pieces(ticks, [100 * k for k in range(1, 10)])))
    events = sum(len(record.ts_recv_ns) for _, record in answered)
    assert sizes[:4] == [192, 192, 192, 192][: at + 1]
    assert at < 99 or sum(sizes) == events
    assert sum(len(part) for part, _ in answered) == len(ticks)
    found = without_device(said([record for _, record in answered], pipeline))
    assert_same(run([ticks], config), found)
    if at == 0:
        assert max(len(part) for part, _ in answered[2:]) <= 100  # the CPU goes on with batches as they are read


class FaultyWay(Transfers):
    """Copies that fail from the k-th call of one kind on; those of the next batch also half way, in their thread."""

    def __init__(self, what: str, at: int) -> None:
        super().__init__(torch.device("cpu"))
        self.what, self.left = what, at
        self.sent = 0

    def _take(self, what: str) -> None:
        if what == self.what:
            if self.left == 0:
                raise RuntimeError("CUDA error: device lost")
            self.left -= 1

    def begin(self, tensors: Iterable[torch.Tensor]) -> None:
        self._take("begin")
        super().begin(tensors)

    def _sent_beside(self, tensors: list[torch.Tensor]) -> list[tuple[torch.Tensor, torch.Tensor]]:
        found = super()._sent_beside(tensors[:5])
        self._take("beside")
        return found + super()._sent_beside(tensors[5:])

    def up(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        self._take("up")
        return super().up(tensors)

    def down(self, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        found = super().down(tensors)
        self._take("down")
        return found

    def _sent(self, tensor: torch.Tensor) -> torch.Tensor:
        self.sent += len(tensor) > 60
        return super()._sent(tensor)


@pytest.mark.parametrize("what", ["begin", "beside", "up", "down"])
@pytest.mark.parametrize("at", [0, 2, 99])
def test_copies_that_fail_lose_nothing(what: str, at: int) -> None:
    """Not even of the answer at hand, when it is the next batch that can't be sent; that one is sent in its turn."""
    ticks = as_ticks(Habits(events=1_000, streams=4, seed=3, **QUIET))
    config = settings_of_graph("weighted", 8, 3, 20)
    pipeline = Pipeline(ticks.instruments, config, CLOCK)
    way = FaultyWay(what, at)
    pipeline.run_on(
        DeviceGraph(pipeline.graph, way.device, pipeline.state, edge=64, most_edges=3, transfers=way)
    )  # fmt: skip
    found = said([record for _, record in pipeline.answers(pieces(ticks, [300, 500]))], pipeline)
    switches = [event.component for event in found.fallbacks].count("device")
    assert switches == (at < 99 and what in ("up", "down"))
    assert_same(run([ticks], config), without_device(found))
    if at == 99:
        assert way.sent == 5 * 11  # every column once, and the latencies again of those that were sent ahead


def test_a_device_that_does_not_say_what_is_free_gets_one_edge_and_is_left() -> None:
    graph = Graph(SyntheticFeed(SyntheticConfig(streams=3)).instruments)
    nowhere = torch.device("cuda", 99)
    assert DeviceGraph(graph, nowhere, graph.initial_state()).batch_events == 131_072
    assert why_not(graph, nowhere) is not None


CPU = torch.device("cpu")
STATE = list(tree.to_dict(TEMPLATE))
STATE_PARTS = (
    "align.x", "phase.pair_sum", "registry.echo", "lag.expected", "lag.cost", "lag.side",
    "lag.ts_ns", "arbitrage.closed_bp",
)  # fmt: skip


def tried_graph() -> Graph:
    """A graph whose trial reaches decisions, windows, lanes and a head."""
    instruments = tuple(replace(i, taker_fee_bp=0.1) for i in SyntheticFeed(SyntheticConfig(streams=3)).instruments)
    config = ModulesConfig()
    config.ghost_bridge.desync_bp = 0.1
    return Graph(instruments, config, (), head(instruments))


def breaking(name: str) -> Callable[..., list[torch.Tensor]]:
    """The op of a device that says of one column, or leaves in one part of the state, something else."""

    def call(*given: Any) -> list[torch.Tensor]:
        out = graph_op(*given)
        named = dict(zip((*GraphColumns._fields, *STATE), out, strict=True))
        part = named[name]
        if name in GraphColumns._fields and name not in ("forecast", *EVIDENCE):
            part = part[..., -1:]  # of one event
        part += 1 if not part.is_floating_point() else 1e-4 * (1.0 + part.abs())
        return out

    return call


@pytest.mark.parametrize("name", [*GraphColumns._fields, *STATE_PARTS])
def test_a_device_that_says_something_else_is_not_used(name: str) -> None:
    assert "gave other numbers" in str(why_not(tried_graph(), CPU, breaking(name)))


def test_a_device_that_says_the_same_is_used() -> None:
    assert why_not(tried_graph(), CPU) is None
    assert "out of memory" in str(why_not(tried_graph(), CPU, Faulty(0, "out of memory", late=False)))


@pytest.mark.parametrize("seed", range(12))
def test_rounding_is_no_reason_not_to_use_a_device(seed: int) -> None:
    """Whatever the streams, fees, hashes and estimator, the device's own code passes where it is right."""
    rng = np.random.default_rng(seed)
    streams = SyntheticFeed(SyntheticConfig(streams=int(rng.integers(1, 7)))).instruments
    fee_bp = float(rng.choice([0.0, 0.1, 5.0]))
    instruments = tuple(replace(i, taker_fee_bp=fee_bp) for i in streams)
    estimator, bits = str(rng.choice(["weighted", "kalman"])), int(rng.choice([4, 8, 16]))
    config = settings_of_graph(estimator, bits, 3, 20) if rng.random() < 0.5 else ModulesConfig()
    graph = Graph(instruments, config, (), head(instruments) if rng.random() < 0.5 else None)
    assert why_not(graph, CPU, on_tensors) is None


class Gone(torch.Tensor):
    """Lies on a device that may be lost, after which nothing can be done with it."""

    lost = False

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if cls.lost:
            raise RuntimeError("CUDA error: device lost")
        with torch._C.DisableTorchFunctionSubclass():
            return func(*args, **(kwargs or {}))


def losable(*given: Any) -> list[torch.Tensor]:
    """The op of a device whose state lies there."""
    events, own, table, numbers, arrays, state = given
    out = graph_op(events, own, table, numbers, arrays, [part.as_subclass(torch.Tensor) for part in state])
    count = len(GraphColumns._fields)
    return [*out[:count], *(part.as_subclass(Gone) for part in out[count:])]


@pytest.mark.parametrize("asked", ["step", "state", "finish"])
@pytest.mark.parametrize("edge", [64, 131_072])
def test_a_device_lost_between_two_batches(asked: str, edge: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = as_ticks(Habits(events=500, streams=4, seed=3, **QUIET))
    config = settings_of_graph("weighted", 8, 3, 20)
    parts = pieces(ticks, [150, 300])
    pipeline = Pipeline(ticks.instruments, config, CLOCK)
    pipeline.run_on(DeviceGraph(pipeline.graph, torch.device("cpu"), pipeline.state, edge=edge, call=losable))
    records = [pipeline.step(part) for part in parts[:2]]
    monkeypatch.setattr(Gone, "lost", True)
    if asked == "state":
        assert all(value is not None for value in pipeline.state.values())
    if asked == "finish":
        assert_same(run(parts[:2], config), without_device(said(records, pipeline)))
        return
    records.append(pipeline.step(parts[2]))
    found = said(records, pipeline)
    switches = [event.component for event in found.fallbacks].count("device")
    assert switches == 1 or (switches, asked) == (0, "step")  # a step begins with a copy of its own
    assert_same(run([ticks], config), without_device(found))


def without_device(found: Said) -> Said:
    return replace(found, fallbacks=[event for event in found.fallbacks if event.component != "device"])


def test_a_state_that_is_loaded_goes_on_on_the_device(tmp_path: Path) -> None:
    ticks = as_ticks(Habits(events=500, streams=4, seed=3, **QUIET))
    config = settings_of_graph("weighted", 8, 3, 20)
    before, after = pieces(ticks, [300])
    first = Pipeline(ticks.instruments, config, CLOCK)
    first.step(before)
    first.save(tmp_path / "state")
    second = Pipeline(ticks.instruments, config, CLOCK)
    second.run_on(DeviceGraph(second.graph, torch.device("cpu"), second.state, edge=64))
    second.load(tmp_path / "state")
    one, two = first.step(after).signals, second.step(after).signals
    np.testing.assert_array_equal(one.ghost_bp, two.ghost_bp)
    np.testing.assert_array_equal(one.voltage, two.voltage)
