"""The torch ops: schema, shapes without data, compiled callers, splits, and what they refuse. N events, V streams."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch

from schwabot.modules.graph import Graph, State
from schwabot_kernels import tree
from schwabot_kernels.align.cpu import Events
from schwabot_kernels.align.op import align
from schwabot_kernels.arbitrage.op import arbitrage
from schwabot_kernels.consensus.cpu import empty_state as consensus_state
from schwabot_kernels.consensus.op import consensus
from schwabot_kernels.forecast.op import forecast
from schwabot_kernels.graph.cpu import GraphParams, GraphState, empty_state
from schwabot_kernels.graph.op import flat_params, full_params
from schwabot_kernels.graph.op import graph as graph_op
from schwabot_kernels.kalman.op import kalman
from schwabot_kernels.lag.op import lag
from schwabot_kernels.lanes.op import lanes
from schwabot_kernels.phase.op import phase
from schwabot_kernels.registry.op import remember
from schwabot_kernels.rings import grown
from tests.kernels import making

Call = tuple[Callable[..., list[torch.Tensor]], tuple[Any, ...]]
OPS = ("align", "phase", "consensus", "kalman", "forecast", "remember", "lag", "arbitrage", "lanes", "graph")


class Recorder:
    """Stands in a module's place for its op: notes the arguments, and calls it."""

    def __init__(self, op: Any, names: list[str]) -> None:
        self.op, self.names, self.args = op, names, ()

    def __call__(self, *args: Any, **named: Any) -> list[torch.Tensor]:
        self.args = (*args, *(named[name] for name in self.names[len(args) :]))
        out: list[torch.Tensor] = self.op(*self.args)
        return out


@pytest.fixture(scope="module")
def calls() -> dict[str, Call]:
    """Every op with the arguments the modules give it, 700 events into a market of three streams."""
    import schwabot.modules.forecast as coming
    import schwabot.modules.ghost_bridge as bridge
    import schwabot.modules.graph as whole
    import schwabot.modules.hash_registry as registry
    import schwabot.modules.phantom_lag as delay
    import schwabot.modules.tensor_harness as harness
    import schwabot.modules.voltage_lanes as gates

    places = [
        (harness, "align", align), (harness, "phase", phase), (bridge, "consensus", consensus),
        (bridge, "kalman", kalman), (coming, "forecast_op", forecast), (registry, "remember", remember),
        (delay, "lag", lag),
        (bridge, "arbitrage", arbitrage), (gates, "lanes", lanes), (whole, "graph_op", graph_op),
    ]  # fmt: skip
    recorders = {}
    with pytest.MonkeyPatch.context() as patch:
        for module, name, op in places:
            names = [argument.name for argument in op._opoverload._schema.arguments]
            recorders[name.removesuffix("_op")] = recorder = Recorder(op, names)
            patch.setattr(module, name, recorder)
        market = making.synthetic(1_000, streams=3)
        for estimator in ("weighted", "kalman"):
            config = making.settings(estimator)
            config.ghost_bridge.desync_bp = 1e6  # costs to come are NaN, and opcheck takes no NaN for equal
            graph = Graph(market.instruments, config, head=making.head(market.instruments))
            _, state = graph.by_module(market.batch.rows(0, 700), graph.initial_state())
            graph.by_module(market.batch.rows(700, 1_000), state)
            graph(market.batch.rows(700, 1_000), state)
    return {name: (recorder.op, recorder.args) for name, recorder in recorders.items()}


@pytest.mark.parametrize("name", OPS)
def test_opcheck(calls: dict[str, Call], name: str) -> None:
    op, args = calls[name]
    args = (*args[:-1], [part.nan_to_num() for part in args[-1]])  # nor in places of a ring that hold nothing
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        results = torch.library.opcheck(op, args)
    assert results == dict.fromkeys(
        ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_dynamic"), "SUCCESS"
    )


@pytest.mark.parametrize("name", OPS)
def test_inputs_are_left_alone_and_a_second_call_says_the_same(calls: dict[str, Call], name: str) -> None:
    op, args = calls[name]
    tensors = [part for arg in args for part in (arg if isinstance(arg, list) else [arg]) if torch.is_tensor(part)]
    before = [tensor.clone() for tensor in tensors]
    first, second = op(*args), op(*args)
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(tensors, before, strict=True))
    assert all(torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(first, second, strict=True))
    theirs = {tensor.untyped_storage().data_ptr() for tensor in tensors if tensor.numel()}
    assert not theirs & {tensor.untyped_storage().data_ptr() for tensor in first if tensor.numel()}


@pytest.mark.parametrize("name", OPS)
def test_inputs_need_not_be_contiguous(calls: dict[str, Call], name: str) -> None:
    op, args = calls[name]

    def apart(value: Any) -> Any:
        if isinstance(value, list):
            return [apart(part) for part in value]
        if not torch.is_tensor(value) or value.dim() == 0:
            return value
        wide = value.new_zeros((*value.shape, 2))
        wide[..., 0] = value
        return wide[..., 0]

    for ours, theirs in zip(op(*args), op(*(apart(arg) for arg in args)), strict=True):
        assert torch.equal(ours.nan_to_num(), theirs.nan_to_num())


def _swap(call: Call, place: int, value: Any) -> tuple[Any, ...]:
    args = list(call[1])
    args[place] = value
    return tuple(args)


def test_refusals_say_what_was_wrong(calls: dict[str, Call]) -> None:
    op, args = calls["align"]
    call = calls["align"]
    with pytest.raises(TypeError, match=r"tick is torch\.float32, this op takes torch\.float64"):
        op(*_swap(call, 11, args[11].float()))
    with pytest.raises(ValueError, match=r"kind has shape \(299,\), this op takes \(300,\)"):
        op(*_swap(call, 2, args[2][1:]))
    with pytest.raises(ValueError, match="stream runs from 0 to 7, there are 3 streams"):
        op(*_swap(call, 1, torch.where(args[1] == 2, 7, args[1]).int()))
    with pytest.raises(ValueError, match="runs backwards at event 1"):
        op(*_swap(call, 0, args[0].flip(0)))
    with pytest.raises(ValueError, match="before the state's last event"):
        op(*_swap(call, 0, args[0] - 10**15))
    with pytest.raises(ValueError, match="the state has 3 parts, align takes 10: last_ns, x"):
        op(*_swap(call, 17, args[17][:3]))
    with pytest.raises(ValueError, match=r"state part align\.x has shape \(2,\)"):
        op(*_swap(call, 17, [part[:2] if k == 1 else part for k, part in enumerate(args[17])]))
    with pytest.raises(TypeError, match=r"state part align\.bad is torch\.int64"):
        op(*_swap(call, 17, [part.long() if k == 7 else part for k, part in enumerate(args[17])]))


@pytest.mark.parametrize("name", OPS)
def test_every_op_refuses_other_types(calls: dict[str, Call], name: str) -> None:
    op, args = calls[name]
    for place, arg in enumerate(args):
        if torch.is_tensor(arg):
            with pytest.raises(TypeError, match="this op takes"):
                op(*_swap(calls[name], place, arg.to(torch.float16)))


def test_tensors_on_another_device_are_refused(calls: dict[str, Call]) -> None:
    from schwabot_kernels.checking import array

    elsewhere = torch.zeros(3, device="meta")
    with pytest.raises(ValueError, match=r"x is on meta, this op runs on the CPU: pass x\.cpu\(\)"):
        array("x", elsewhere, torch.float32, (3,))


def _graph_args(graph: Graph, batch: Any, state: State) -> tuple[Any, ...]:
    like = tree.to_dict(empty_state(streams=1, bits=4, tables=1, seed=0, slots=1, latencies=1, v0=0.8, capacity=1))
    numbers, arrays = flat_params(graph.params)
    events = [getattr(batch, name) for name in Events._fields]
    own = torch.zeros((len(graph.instruments), 0, len(batch)), dtype=torch.float64)
    return events, own, tree.leaves(graph.table), numbers, arrays, [state[name] for name in like]


def test_an_op_can_be_compiled_into_a_larger_function() -> None:
    market = making.synthetic(400)
    graph = Graph(market.instruments, making.settings())

    def twice(*args: Any) -> torch.Tensor:
        return torch.ops.schwabot.graph(*args)[0] * 2.0

    args = _graph_args(graph, market.batch, graph.initial_state())
    compiled = torch.compile(twice, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(*args).nan_to_num(), twice(*args).nan_to_num())


def test_settings_survive_being_flattened() -> None:
    params = Graph(making.synthetic(10).instruments, making.settings()).params
    numbers, arrays = flat_params(params)
    again = full_params(GraphParams, iter(numbers), iter(arrays))
    flat, flat_again = (repr(p) for p in (params, again))
    assert flat == flat_again  # values and types
    assert isinstance(again.phase.window_ns, int)
    assert isinstance(again.lanes.weight_min, float)
    whole_numbers = full_params(GraphParams, iter([float(round(x)) for x in numbers]), iter(arrays))
    assert isinstance(whole_numbers.phase.tau_s, float)
    assert len(GraphState._fields) == 9


def test_a_ring_that_has_wrapped_grows_without_loss() -> None:
    """Entries 3, 4, 5 and 6 of a ring of four lie in places 3, 0, 1, 2; in one of eight they lie where they count."""
    state = consensus_state(streams=1, capacity=4)
    state.head[:] = 3, 7
    for number in range(3, 7):
        state.due_ns[number % 4], state.due_value[number % 4] = 10 * number, 0.5 * number
    larger = grown("consensus", state, need=2)
    assert larger.due_ns.shape == larger.due_value.shape == larger.due_stream.shape == (8,)
    assert [larger.due_ns[number % 8] for number in range(3, 7)] == [30, 40, 50, 60]
    assert [larger.due_value[number % 8] for number in range(3, 7)] == [1.5, 2.0, 2.5, 3.0]
    assert grown("consensus", larger, need=4) is larger
