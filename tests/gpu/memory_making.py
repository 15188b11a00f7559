"""What the registry and the lanes are given in a run of the graph, cut into pieces. N events, V streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from schwabot.modules.forecast import ForecastHead
from schwabot.modules.graph import Graph
from schwabot.modules.settings import ModulesConfig
from schwabot.records.instrument import Instrument
from schwabot.ticks.capture import CaptureFeed
from schwabot_kernels import tree
from schwabot_kernels.lanes.cpu import LanesState
from schwabot_kernels.lanes.op import COLUMNS as LANES_COLUMNS
from schwabot_kernels.lanes.op import lanes
from schwabot_kernels.registry.cpu import RegistryState
from schwabot_kernels.registry.op import COLUMNS as REGISTRY_COLUMNS
from schwabot_kernels.registry.op import remember
from schwabot_kernels.rings import RINGS, grown
from tests.kernels.making import Market, assert_close, first_events

Columns = dict[str, torch.Tensor]


@dataclass(frozen=True)
class Piece:
    """Consecutive events: inputs of both ops, the CPU's answers, and its states before and after.

    Inputs are stream-major, as the CPU's ops take them. codes: of every event that asked. [T, A]
    """

    graph: Graph
    registry_in: Columns
    registry_before: RegistryState
    registry_out: Columns
    registry_after: RegistryState
    codes: torch.Tensor
    lanes_in: Columns
    lanes_before: LanesState
    lanes_out: Columns
    lanes_after: LanesState

    @property
    def events(self) -> int:
        return len(self.registry_in["ts_ns"])


def tensors(state: Any) -> Any:
    """An op's state as a tuple of tensors of its own."""
    return type(state)(*(torch.from_numpy(part.copy()) for part in state))


def on(device: str, state: Any) -> Any:
    """An op's state on the device."""
    return type(state)(*(part.to(device) for part in tensors(state)))


def arrays(state: Any) -> Any:
    """An op's state of tensors as the CPU's kernels take it."""
    return type(state)(*(part.cpu().numpy() for part in state))


def run_cpu_registry(
    graph: Graph, given: Columns, before: RegistryState
) -> tuple[Columns, RegistryState, torch.Tensor]:
    """Answers, state after, and the codes of all tables of the events that asked."""
    events = len(given["ts_ns"])
    wide = grown("registry", before, events + int(before.head[1] - before.head[0]) + 256)
    out = remember(**given, **graph.params.registry._asdict(), state=tree.leaves(wide))
    answers = dict(zip(REGISTRY_COLUMNS, out, strict=False))
    after = RegistryState(*(part.numpy() for part in out[len(REGISTRY_COLUMNS) :]))
    # Nothing is overwritten in so long a ring: codes that were written long ago still lie there.
    asked = torch.arange(int(before.head[1]), int(after.head[1])) & (after.due_ns.shape[0] - 1)
    return answers, after, torch.from_numpy(after.due_code)[asked].T.contiguous()


def run_cpu_lanes(graph: Graph, given: Columns, before: LanesState) -> tuple[Columns, LanesState]:
    """Answers, and state after."""
    out = lanes(**given, **graph.params.lanes._asdict(), state=tree.leaves(before))
    return dict(zip(LANES_COLUMNS, out, strict=False)), LanesState(
        *(part.numpy() for part in out[len(LANES_COLUMNS) :])
    )


def pieces(market: Market, config: ModulesConfig, cuts: Sequence[int], head: ForecastHead | None = None) -> list[Piece]:
    """A run on the CPU from the empty state, module after module, cut before the events ``cuts``."""
    trades_only = [i.stream for i in market.instruments if i.trades_only]
    graph = Graph(market.instruments, config, trades_only, head)
    state = graph.initial_state()
    found = []
    bounds = [0, *cuts, len(market.batch)]
    for first, end in pairwise(bounds):
        if end > first:
            piece, state = _piece(graph, market.batch.rows(first, end), state)
            found.append(piece)
    return found


def _piece(graph: Graph, batch: Any, state: dict[str, torch.Tensor]) -> tuple[Piece, dict[str, torch.Tensor]]:
    timeline, harness = graph.tensor_harness(batch, state)
    ghost, bridge = graph.ghost_bridge(batch, timeline, state)
    move_bp, given, foreseen = torch.zeros_like(ghost.price_bp), ghost.deviation_bp.T[:0], {}
    forecast = graph.ghost_bridge.forecast
    if graph.horizons_ms:
        (_, forecasts_bp, move_bp), foreseen = forecast(batch, timeline, state)
        given = forecasts_bp[..., forecast.params.lanes_horizon].T
    memory, registry = graph.hash_registry(batch, timeline, ghost, state, move_bp)
    lag, delay = graph.phantom_lag(batch, timeline, ghost, memory, state, move_bp)
    _, bridge = graph.ghost_bridge.arbitrage(batch, timeline, lag.move_bp, bridge | harness)
    aligned, gates = timeline.aligned, graph.voltage_lanes
    registry_in = {
        "ts_ns": batch.ts_ns, "x": aligned.x.T, "micro": aligned.micro.T, "imbalance": aligned.imbalance.T,
        "half": aligned.half.T, "dt_s": aligned.dt_s, "route": timeline.route.T, "ghost": ghost.price_bp,
        "deviation": ghost.deviation_bp.T, "predicted": move_bp,
    }  # fmt: skip
    lanes_in = {
        "ts_ns": batch.ts_ns, "x": aligned.x.T, "half": aligned.half.T, "dt_s": aligned.dt_s,
        "route": timeline.route.T, "deviation": ghost.deviation_bp.T, "given": given, "mean": memory.mean_bp,
        "trusted": memory.trusted, "latency_weight": aligned.latency_weight.T, "move": lag.move_bp,
        "quoted": torch.from_numpy(gates.quoted), "style_fee_bp": torch.from_numpy(gates.style_fee_bp),
    }  # fmt: skip
    before = graph._like(state)
    registry_out, registry_after, codes = run_cpu_registry(graph, registry_in, before.registry)
    lanes_out, lanes_after = run_cpu_lanes(graph, lanes_in, before.lanes)
    _, after = gates(batch, timeline, ghost, memory, lag, state, given.T if graph.horizons_ms else None)
    piece = Piece(
        graph, registry_in, before.registry, registry_out, registry_after, codes, lanes_in, before.lanes, lanes_out,
        lanes_after,
    )  # fmt: skip
    return piece, state | harness | bridge | registry | delay | after | foreseen


def row_major(given: Columns, device: str) -> Columns:
    """Inputs as the device's ops take them: [V, N] as [N, V]."""
    whole = ("quoted", "style_fee_bp")
    return {
        name: (part if part.dim() == 1 or name in whole else part.T).contiguous().to(device)
        for name, part in given.items()
    }


def live_ring(op: str, state: Any) -> dict[str, torch.Tensor]:
    """The live entries of an op's rings, oldest first."""
    head = torch.as_tensor(state.head).tolist()
    return {
        name: torch.as_tensor(getattr(state, name))[torch.arange(*head) & (len(getattr(state, name)) - 1)].cpu()
        for name in RINGS[op]
    }


def same_bits(a: torch.Tensor, b: torch.Tensor) -> bool:
    """Whether two tensors are equal bit for bit, NaN included."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    if a.is_floating_point():
        a, b = (part.contiguous().view({8: torch.int64, 4: torch.int32}[part.element_size()]) for part in (a, b))
    return torch.equal(a, b)


def near(ours: torch.Tensor, theirs: torch.Tensor, what: str, room: float = 1e-9) -> None:
    """Within a share of what stands there, and of 1."""
    theirs = torch.as_tensor(theirs).double()
    assert_close(ours.cpu().double(), theirs, room * (1.0 + theirs.abs().nan_to_num()), what)


def captured(captures: Path, events: int) -> Market:
    """The first events of the recorded market in bitcoin."""
    known = {
        i.stream: i
        for i in (
            Instrument("binance:BTC/USDT", 0.01, 1e-5, taker_fee_bp=10.0),
            Instrument("binanceusdm:BTC/USDT:USDT", 0.1, 0.001, taker_fee_bp=5.0),
            Instrument("binancecoinm:BTC/USD:BTC", 0.1, 1.0, 100.0, inverse=True, taker_fee_bp=5.0),
        )
    }
    feed = CaptureFeed(sorted((captures / "binance").glob("*/btc*.gz")), known)
    return first_events(feed, events)
