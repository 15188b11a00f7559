"""The core's stages by the CPU's ops and by the device's, from one state. N events, V streams."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from schwabot.modules.graph import Graph
from schwabot.modules.settings import ModulesConfig
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels import tree
from schwabot_kernels.align import cpu as align_cpu
from schwabot_kernels.align.cpu import Events
from schwabot_kernels.align.op import COLUMNS as ALIGN_COLUMNS
from schwabot_kernels.align.op import align as align_op
from schwabot_kernels.align.reference import Aligned
from schwabot_kernels.consensus import cpu as consensus_cpu
from schwabot_kernels.consensus.op import consensus as consensus_op
from schwabot_kernels.device_state import on_device
from schwabot_kernels.kalman import cpu as kalman_cpu
from schwabot_kernels.kalman.op import kalman as kalman_op
from schwabot_kernels.lag import cpu as lag_cpu
from schwabot_kernels.lag.op import lag as lag_op
from schwabot_kernels.phase import cpu as phase_cpu
from schwabot_kernels.phase.gpu import Drifted
from schwabot_kernels.phase.op import COLUMNS as PHASE_COLUMNS
from schwabot_kernels.phase.op import phase as phase_op
from schwabot_kernels.rings import RINGS
from tests.kernels.making import Market, assert_close, assert_same


class Said(NamedTuple):
    """What the CPU's ops say of a stretch of events, as rows [N, V]; ``remembered``: entropy, mean, echo, predicted."""

    batch: TickBatch
    aligned: Aligned
    drifted: Drifted
    weighted: torch.Tensor
    filtered: torch.Tensor
    deviation: torch.Tensor
    remembered: tuple[torch.Tensor, ...]
    lag: tuple[torch.Tensor, ...]


class States(NamedTuple):
    """The core's states, as arrays."""

    align: align_cpu.AlignState
    phase: phase_cpu.PhaseState
    consensus: consensus_cpu.ConsensusState
    kalman: kalman_cpu.KalmanState
    lag: lag_cpu.LagState


def graph_of(market: Market, config: ModulesConfig) -> Graph:
    return Graph(market.instruments, config, [i.stream for i in market.instruments if i.trades_only])


def empty(graph: Graph) -> States:
    streams = len(graph.instruments)
    return States(
        align_cpu.empty_state(streams),
        phase_cpu.empty_state(streams),
        consensus_cpu.empty_state(streams, capacity=4),
        kalman_cpu.empty_state(streams),
        lag_cpu.empty_state(streams, len(graph.params.latencies_ns), capacity=4),
    )


def rows_of(column: torch.Tensor) -> torch.Tensor:
    """[V, N] as [N, V]; [N] as it is."""
    return column.T.contiguous() if column.dim() == 2 else column


def quoted_of(graph: Graph) -> torch.Tensor:
    return torch.from_numpy(1 - graph.table.trades_only)


def by_cpu(graph: Graph, batch: TickBatch, states: States, seed: int = 0) -> tuple[Said, States]:
    """A stretch of events through the CPU's ops."""
    params, streams = graph.params, len(graph.instruments)
    given = {name: getattr(batch, name) for name in Events._fields}
    table = tree.leaves(graph.table)

    def run(op: Any, name: str, like: Any, columns: int, *args: Any) -> tuple[list[torch.Tensor], Any]:
        out = op(*args, tree.leaves(getattr(states, name)))
        return out[:columns], tree.rebuild(like, out[columns:])

    columns, align_state = run(
        align_op, "align", states.align, len(ALIGN_COLUMNS), *given.values(), *table, params.latency_max_ns
    )
    a = dict(zip(ALIGN_COLUMNS, columns, strict=True))
    columns, phase_state = run(
        phase_op, "phase", states.phase, len(PHASE_COLUMNS), batch.ts_ns, a["last_ns"], a["x"], a["bad"], a["dt_s"],
        *params.phase,
    )  # fmt: skip
    p = dict(zip(PHASE_COLUMNS, columns, strict=True))
    (weighted,), consensus_state = run(
        consensus_op, "consensus", states.consensus, 1, batch.ts_ns, batch.stream, batch.kind, a["last_ns"], a["x"],
        a["depth"], a["latency_weight"], a["dt_s"], p["phase"], p["compensated"], p["route"], quoted_of(graph),
        *params.consensus,
    )  # fmt: skip
    (filtered,), kalman_state = run(
        kalman_op, "kalman", states.kalman, 1, batch.stream, a["x"], a["dt_s"], p["compensated"], p["route"],
        torch.as_tensor(params.r_bp2), params.q_bp2_per_s,
    )  # fmt: skip
    deviation = weighted + p["compensated"] - a["x"]
    make = torch.Generator().manual_seed(seed)
    entropy, mean, echo, predicted = torch.rand(4, len(batch), generator=make, dtype=torch.float64)
    columns, lag_state = run(
        lag_op, "lag", states.lag, 3, batch.ts_ns, batch.stream, a["x"], a["half"], a["dt_s"], p["route"], weighted,
        deviation, entropy, mean - 0.5, echo - 0.5, predicted - 0.5, quoted_of(graph),
        torch.as_tensor(params.latencies_ns), *params.lag,
    )  # fmt: skip
    said = Said(
        batch,
        Aligned(**{name: rows_of(column) for name, column in a.items()}),
        Drifted(**{name: rows_of(column) for name, column in p.items()}),
        weighted,
        filtered,
        rows_of(deviation),
        (entropy, mean - 0.5, echo - 0.5, predicted - 0.5),
        tuple(columns),
    )
    assert streams == said.aligned.x.shape[1]
    return said, States(align_state, phase_state, consensus_state, kalman_state, lag_state)


def to(values: Any, device: str) -> Any:
    """A tuple of tensors, nested or not, on a device."""
    if isinstance(values, torch.Tensor):
        return values.to(device)
    if isinstance(values, tuple):
        moved = [to(value, device) for value in values]
        return type(values)(*moved) if hasattr(values, "_fields") else tuple(moved)
    return values


def events_of(batch: TickBatch, device: str) -> Events:
    """A batch's columns as the device's ops take them."""
    return Events(*(getattr(batch, name).to(device) for name in Events._fields))


def state_on(states: States, device: str) -> States:
    return on_device(states, device)


def spread_bp(x: torch.Tensor) -> float:
    """From the lowest price to the highest."""
    known = x[~x.isnan()]
    return float(known.max() - known.min()) if known.numel() else 0.0


def price_bp(x: torch.Tensor) -> float:
    """1e-9 bp, in proportion more where the price moves by more than 1000 bp."""
    return 1e-9 * max(1.0, 1e-3 * spread_bp(x))


def hold_align(said: Any, ours: Any, after: Any, left: Any) -> None:
    """What the CPU's op said, what the device did, and the states they leave. So in the others."""
    bp = price_bp(said.x)
    for name in said._fields:
        wanted, found = getattr(said, name), getattr(ours, name).cpu()
        if name in ("last_ns", "bad"):
            assert torch.equal(wanted, found), name
        else:
            scale = wanted.abs().nan_to_num(0.0).clamp(min=1.0) if name == "depth" else 1.0
            assert_close(wanted, found, bp * scale, name)
    assert_states("align", after, left, bp)


def hold_phase(graph: Graph, said: Any, ours: Any, after: Any, left: Any, bp: float) -> None:
    """From the same as-of values."""
    for name in ("phase", "compensated", "drift"):
        assert_close(getattr(said, name), getattr(ours, name).cpu(), bp, name)
    thresholds = torch.tensor([graph.params.phase.drifting_at, graph.params.phase.critical_at]).double()
    in_doubt = ((said.drift[..., None] - thresholds).abs() < 1e-9).any(-1)
    for name in ("status", "route"):
        assert getattr(ours, name).dtype == getattr(said, name).dtype, name
        assert_same(getattr(said, name), getattr(ours, name).cpu(), in_doubt, name)
    assert_states("phase", after, left, bp)


def depth_seen(before: Any, dt_s: torch.Tensor, depth: torch.Tensor, route: torch.Tensor, tau_s: float) -> torch.Tensor:
    """W: how much of a decay time the mean depth has seen at every event. Shape: depth, route [N, V]."""
    _, seen, now = torch.as_tensor(before.depth).tolist()
    known = (~depth.isnan() & (route == 0)).any(1).long().cummax(0).values
    held = torch.cat((torch.tensor([int(now == now)]), known[:-1])).cummax(0).values
    return seen - (1.0 - seen) * torch.expm1(-(held * dt_s).cumsum(0) / tau_s)


def said_unsure(seen: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """How far two weighted ghosts may lie apart beside rounding: weights of a mean depth that has hardly begun. [N]"""
    return torch.where(seen > 0, 1e-15 * spread_bp(x) / seen.clamp(min=1e-300), 0.0)


def hold_consensus(
    said: torch.Tensor, ours: torch.Tensor, after: Any, left: Any, x: torch.Tensor, seen: torch.Tensor
) -> None:
    """From the same as-of values x and phases; ``seen``: see ``depth_seen``. [N]"""
    bp, unsure = price_bp(x), said_unsure(seen, x)
    assert_close(said, ours.cpu(), bp + unsure, "weighted ghost")
    assert_states("consensus", after, left, bp + float(unsure.max()))


def hold_kalman(said: torch.Tensor, ours: torch.Tensor, after: Any, left: Any, bp: float) -> None:
    """From the same as-of values and phases."""
    assert_close(said, ours.cpu(), bp, "kalman ghost")
    assert_states("kalman", after, left, bp)


def assert_states(op: str, theirs: Any, ours: Any, tolerance: float) -> None:
    """The same state: floats to a tolerance, all else equal; of rings what is live."""
    for name in theirs._fields:
        wanted, given = torch.as_tensor(getattr(theirs, name)), getattr(ours, name).cpu()
        if name in RINGS.get(op, ()):
            live = torch.arange(int(theirs.head[0]), int(theirs.head[1]))
            wanted, given = wanted[live % wanted.shape[0]], given[live % given.shape[0]]
        assert wanted.shape == given.shape, f"{op}.{name}: {tuple(wanted.shape)}, {tuple(given.shape)}"
        assert wanted.dtype == given.dtype, f"{op}.{name}: {wanted.dtype}, {given.dtype}"
        if wanted.is_floating_point():
            both = torch.equal(wanted.isnan(), given.isnan())
            assert both, f"{op}.{name}: NaN in different places, {wanted}, {given}"
            allowed = tolerance * (1.0 + wanted.abs())
            wrong = (wanted - given).abs() > allowed
            assert not bool((wrong & ~(wanted == given)).any()), f"{op}.{name}: {wanted}, {given}"
        else:
            assert torch.equal(wanted, given), f"{op}.{name}: {wanted}, {given}"
