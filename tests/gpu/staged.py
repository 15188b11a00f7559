"""The graph on the device, stage by stage: every stage against the CPU's op from the device's own bits.

``Graph.by_module`` is run with ops that answer what the device's stage answered, after the CPU's op was asked the same
and found to agree. So each stage is held to the tolerance of its op whatever the stages before it rounded, and what
comes out at the end must be the device's columns and state bit for bit, or a stage was given something else there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import partial
from inspect import signature
from typing import Any

import pytest
import torch

import schwabot.modules.forecast as coming
import schwabot.modules.ghost_bridge as bridge
import schwabot.modules.hash_registry as registry
import schwabot.modules.phantom_lag as delay
import schwabot.modules.tensor_harness as harness
import schwabot.modules.voltage_lanes as gates
import schwabot_kernels.graph.gpu as there
from schwabot.modules.graph import TEMPLATE, Graph, signals_of
from schwabot.records.audit import SignalColumns
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels import tree
from schwabot_kernels.align.op import COLUMNS as ALIGNED
from schwabot_kernels.align.reference import Aligned
from schwabot_kernels.graph.cpu import GraphColumns
from schwabot_kernels.graph.op import on_tensors
from schwabot_kernels.lag.op import COLUMNS as LAGGED
from schwabot_kernels.lanes.cpu import LanesState
from schwabot_kernels.lanes.op import COLUMNS as LANED
from schwabot_kernels.phase.gpu import Drifted
from schwabot_kernels.phase.op import COLUMNS as DRIFTED
from schwabot_kernels.registry.cpu import RegistryState
from schwabot_kernels.registry.gpu import Remembered
from schwabot_kernels.registry.op import COLUMNS as REMEMBERED
from tests.gpu import test_arbitrage, test_forecast, test_lag, test_lanes, test_registry
from tests.gpu.memory_making import Piece, arrays, run_cpu_registry, same_bits
from tests.gpu.recording import Recorded
from tests.gpu.running import depth_seen, hold_align, hold_consensus, hold_kalman, hold_phase, price_bp, rows_of
from tests.kernels.making import assert_close, assert_same

State = dict[str, torch.Tensor]
NAMES = list(tree.to_dict(TEMPLATE))
STAGES = (
    "align", "phase", "consensus", "kalman", "features", "head", "remember", "expected_lag", "realised_lag",
    "arbitrage", "lanes",
)  # fmt: skip
PLACES = {
    "align": (harness, "align"), "phase": (harness, "phase"), "consensus": (bridge, "consensus"),
    "kalman": (bridge, "kalman"), "forecast": (coming, "forecast_op"), "registry": (registry, "remember"),
    "lag": (delay, "lag"), "arbitrage": (bridge, "arbitrage"), "lanes": (gates, "lanes"),
}  # fmt: skip

GIVEN = {"forecast": "features", "registry": "remember", "lag": "realised_lag"}
"""The stage that is given what the op is, where its name is another."""


def moved(values: Any, device: str) -> Any:
    """A tensor, or a tuple of such, nested or not, on a device."""
    if isinstance(values, tuple):
        parts = [moved(value, device) for value in values]
        return type(values)(*parts) if hasattr(values, "_fields") else tuple(parts)
    return values.to(device) if isinstance(values, torch.Tensor) else values


def by_device(given: list[Any], sizes: dict[str, int]) -> tuple[dict[str, Any], dict[str, Any], list[torch.Tensor]]:
    """What the stages answered on the device, what they were given by name, and the graph's columns and state."""
    found: dict[str, Any] = {}
    asked: dict[str, Any] = {}

    def watched(name: str, stage: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **named: Any) -> Any:
            answer = stage(*args, **named)
            found[name] = moved(answer, "cpu")
            asked[name] = signature(stage).bind(*args, **named).arguments
            return answer

        return run

    with pytest.MonkeyPatch.context() as patch:
        for name in STAGES:
            patch.setattr(there, name, watched(name, getattr(there, name)))
        out = on_tensors(*given, **sizes)
    return found, asked, [part.cpu() for part in out]


def told(found: dict[str, Any]) -> dict[str, tuple[list[torch.Tensor], Any]]:
    """What the stages answered, as the CPU's ops do: columns, stream-major, and the state after."""

    def wide(columns: Any, names: tuple[str, ...]) -> list[torch.Tensor]:
        return [
            getattr(columns, name).mT if getattr(columns, name).dim() > 1 else getattr(columns, name) for name in names
        ]

    answers: dict[str, tuple[list[torch.Tensor], Any]] = {}
    for op, names in (("align", ALIGNED), ("phase", DRIFTED), ("lanes", LANED)):
        columns, state = found[op]
        answers[op] = wide(columns, names), state
    if "consensus" in found:
        answers["consensus"] = [found["consensus"][0].ghost], found["consensus"][1]
    if "kalman" in found:
        answers["kalman"] = [found["kalman"][0]], found["kalman"][1]
    if "features" in found:
        features, state = found["features"]
        forecasts, predicted = found["head"]
        answers["forecast"] = [features.mT, forecasts.mT, predicted], state
    answers["registry"] = wide(found["remember"][0], REMEMBERED), found["remember"][1]
    lag, price_range = found["expected_lag"]
    answers["lag"] = wide(lag, LAGGED), found["realised_lag"]._replace(price_range=price_range)
    answers["arbitrage"] = [], found["arbitrage"]
    return answers


def assert_stages(graph: Graph, batch: TickBatch, state: State, given: list[Any], device: str, **sizes: int) -> State:
    """Hold a batch's stages on the device to the CPU's ops; gives the state the device left.

    Args:
        graph, batch, state: what is run, and from where.
        given: the same as ``schwabot::graph`` takes it, on the device.
        device: where.
        sizes: ``edge`` and ``block``.
    """
    found, asked, out = by_device(given, sizes)
    answers = told(found)

    def held(op: str, real: Any) -> Callable[..., list[torch.Tensor]]:
        names = [argument.name for argument in real._opoverload._schema.arguments]

        def run(*args: Any, **named: Any) -> list[torch.Tensor]:
            call = Recorded()
            call.update(zip(names, args, strict=False), **named)
            for name, value in asked[GIVEN.get(op, op)].items():
                if name in call and isinstance(value, torch.Tensor) and len(value) == len(batch):
                    wanted = rows_of(call[name])
                    assert same_bits(value.cpu().contiguous(), wanted), f"{op} was given another {name}"
            columns, after = answers[op]
            if op == "registry":
                hold_registry(graph, call, columns, after, device, sizes)
            else:
                call.answer = [part.clone() for part in real(*args, **named)]
                HOLD[op](graph, call, columns, after, found, device)
            return [part.contiguous() for part in columns] + [part.clone() for part in after]

        return run

    with pytest.MonkeyPatch.context() as patch:
        for op, (module, name) in PLACES.items():
            patch.setattr(module, name, held(op, getattr(module, name)))
        output, after = graph.by_module(batch, state)
    columns = signals_of(GraphColumns._make(part.numpy() for part in out[: len(GraphColumns._fields)]))
    for field in fields(SignalColumns):
        ours, wanted = (torch.from_numpy(getattr(one, field.name)) for one in (columns, output.signals))
        assert same_bits(ours.contiguous(), wanted.contiguous()), f"{field.name} is another stage's, or of other inputs"
    left = dict(zip(NAMES, out[len(GraphColumns._fields) :], strict=True))
    for name in NAMES:
        if name not in ("lag.head", "arbitrage.head"):  # by_module hands out what is complete
            assert same_bits(left[name], after[name]), f"state {name} is another stage's"
    return {name: left.get(name, state[name]) for name in state}


def hold_registry(
    graph: Graph, call: Recorded, columns: list[torch.Tensor], after: Any, device: str, sizes: dict[str, int]
) -> None:
    """Codes equal but for ties, the rest from equal codes: from the CPU's where a tie was decided differently."""
    params = graph.params.registry._asdict()
    given = {name: value for name, value in call.items() if name not in params and name != "state"}
    before = arrays(RegistryState(*call.state))
    answers, left, codes = run_cpu_registry(graph, given, before)
    piece = Piece(graph, given, before, answers, left, codes, {}, None, {}, None)  # type: ignore[arg-type]
    tied = test_registry.hold_codes(piece, device, **sizes)
    ours: Any = Remembered(**dict(zip(REMEMBERED, columns, strict=True)))
    assert_same(ours.key, answers["key"], tied, "key")
    if not torch.equal(ours.key, answers["key"]):
        ours, after = test_registry.run_device(piece, device, **sizes)
    test_registry.hold(piece, device, ours, after)


def hold_lanes(graph: Graph, call: Recorded, columns: Any, after: Any, found: Any, device: str) -> None:
    answers = dict(zip(LANED, call.answer, strict=False))
    left = LanesState(*(part.numpy() for part in call.answer[len(LANED) :]))
    piece = Piece(graph, {}, None, {}, None, torch.zeros(0), call, None, answers, left)  # type: ignore[arg-type]
    test_lanes.hold(piece, device, found["lanes"][0], after)


def hold_lag(graph: Graph, call: Recorded, columns: Any, after: Any, found: Any, device: str) -> None:
    for name, ours, wanted in zip(LAGGED, columns, call.answer, strict=False):
        assert_close(wanted, ours, 1e-9 * wanted.abs().nan_to_num().clamp(min=1.0), name)
    assert_close(
        call.answer[len(LAGGED)], after.price_range, 1e-9 * (1.0 + after.price_range.abs().nan_to_num()), "range"
    )
    test_lag.hold(call, after)


def hold_core(op: str, graph: Graph, call: Recorded, columns: Any, after: Any, found: Any, device: str) -> None:
    """Alignment, phase or a ghost."""
    count = len(columns)
    said, left = call.answer[:count], type(getattr(TEMPLATE, op))(*call.answer[count:])
    if op == "align":
        hold_align(Aligned(**dict(zip(ALIGNED, map(rows_of, said), strict=True))), found[op][0], left, after)
        return
    bp = price_bp(call.x)
    if op == "phase":
        drifted = Drifted(**dict(zip(DRIFTED, map(rows_of, said), strict=True)))
        hold_phase(graph, drifted, found[op][0], left, after, bp)
    elif op == "consensus":
        before = type(TEMPLATE.consensus)(*call.state)
        seen = depth_seen(before, call.dt_s, call.depth.mT, call.route.mT, call.tau_depth_s)
        hold_consensus(said[0], columns[0], left, after, call.x, seen)
    else:
        hold_kalman(said[0], columns[0], left, after, bp)


def hold_forecast(graph: Graph, call: Recorded, columns: Any, after: Any, found: Any, device: str) -> None:
    test_forecast.hold(call, (found["features"][0], *found["head"], after))


def hold_arbitrage(graph: Graph, call: Recorded, columns: Any, after: Any, found: Any, device: str) -> None:
    test_arbitrage.hold(call, after)


HOLD: dict[str, Callable[..., None]] = {
    **{op: partial(hold_core, op) for op in ("align", "phase", "consensus", "kalman")},
    "forecast": hold_forecast,
    "lag": hold_lag,
    "arbitrage": hold_arbitrage,
    "lanes": hold_lanes,
}
