"""``schwabot::graph``: every stage in one fused pass, as a torch op. N events, V streams, L latencies."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, TypeVar, cast, get_type_hints

import numpy as np
import torch

from schwabot_kernels.align.cpu import BLOCK, Events, StreamTable
from schwabot_kernels.checking import array, own_copy, stream_numbers, times
from schwabot_kernels.forecast.cpu import FEATURES
from schwabot_kernels.graph.cpu import (
    GraphColumns,
    GraphParams,
    GraphState,
    column_shapes,
    empty_columns,
    empty_state,
    graph_pass,
    workspace,
)
from schwabot_kernels.registry.cpu import RegistryState
from schwabot_kernels.rings import fake_state, grown
from schwabot_kernels.simd import padded
from schwabot_kernels.tree import leaves

_TORCH: dict[type, torch.dtype] = {np.int64: torch.int64, np.int8: torch.int8, np.float64: torch.float64}

Params = TypeVar("Params", bound=tuple[Any, ...])

COLUMNS = GraphColumns._fields
"""Outputs before the state, stream-major: [N] or [V, N], forecasts [H, V, N]."""
ARRAYS = (
    "r_bp2", "latencies_ns", "fungible", "fee_bp", "leg", "through", "style_fee_bp", "inverse_scale",
    "coefficients", "target",
)  # fmt: skip
"""Settings that are arrays, in the order of ``GraphParams``."""


def flat_params(params: tuple[Any, ...]) -> tuple[list[float], list[torch.Tensor]]:
    """The numbers and the arrays of kernel settings, in field order. Whole numbers up to 2^53 survive as floats."""
    numbers: list[float] = []
    arrays: list[torch.Tensor] = []
    for value in params:
        if isinstance(value, tuple):
            inner = flat_params(value)
            numbers += inner[0]
            arrays += inner[1]
        elif isinstance(value, np.ndarray):
            arrays.append(torch.from_numpy(value))
        else:
            numbers.append(float(value))
    return numbers, arrays


def full_params(kind: type[Params], numbers: Iterator[float], arrays: Iterator[torch.Tensor]) -> Params:
    """Kernel settings of ``flat_params``, every number of the type its field is declared with.

    numba compiles anew for every mix of types, so an int where a float is declared costs a minute.
    """
    return _filled(kind, numbers, (part.contiguous().numpy() for part in arrays))


def _filled(kind: type[Params], numbers: Iterator[float], arrays: Iterator[Any]) -> Params:
    values: list[Any] = []
    for hint in get_type_hints(kind).values():
        if hint in (int, float, bool):
            values.append(hint(next(numbers)))
        elif isinstance(hint, type) and issubclass(hint, tuple):
            values.append(_filled(hint, numbers, arrays))
        else:
            values.append(next(arrays))
    return kind(*values)


def grown_state(parts: GraphState, rows: int = BLOCK) -> GraphState:
    """The graph's state with room for ``rows`` more events in every ring."""
    streams = parts.arbitrage.value.shape[0] // 2
    return parts._replace(
        consensus=grown("consensus", parts.consensus, rows),
        registry=grown("registry", parts.registry, rows),
        lanes=grown("lanes", parts.lanes, rows),
        lag=grown("lag", parts.lag, rows * streams),
        arbitrage=grown("arbitrage", parts.arbitrage, rows * parts.arbitrage.open_ns.shape[1]),
    )


def _sizes(state: list[torch.Tensor]) -> list[int]:
    """How many parts of the state belong to each stage."""
    sizes = [len(get_type_hints(stage)) for stage in get_type_hints(GraphState).values()]
    if len(state) != sum(sizes):
        raise ValueError(f"the state has {len(state)} parts, graph takes {sum(sizes)}")
    return sizes


@torch.library.custom_op("schwabot::graph", mutates_args=())
def graph(
    events: list[torch.Tensor],
    own: torch.Tensor,
    table: list[torch.Tensor],
    numbers: list[float],
    arrays: list[torch.Tensor],
    state: list[torch.Tensor],
) -> list[torch.Tensor]:
    """A batch of events through the whole graph.

    Args:
        events: ``align.cpu.Events``. [N] each
        own: columns of the user's own that the head reads. float64 [V, E, N]
        table: ``align.cpu.StreamTable``. [V] each
        numbers, arrays: ``graph.cpu.GraphParams`` as by ``flat_params``.
        state: ``graph.cpu.GraphState``, as by ``tree.leaves``.

    Returns:
        ``COLUMNS``, then the state after the last event; its rings hold every decision and window not yet handed out.

    Raises:
        ValueError: wrong device, shape, number of parts, stream number or order of times.
        TypeError: wrong dtype.
    """
    if len(events) != len(Events._fields) or len(table) != len(StreamTable._fields):
        raise ValueError(f"graph takes events {Events._fields} and table {StreamTable._fields}")
    total, streams = events[0].shape[0], table[0].shape[0]
    params = full_params(GraphParams, iter(numbers), iter(arrays))
    columns_own = own.shape[1] if own.dim() == 3 else 0
    given_own = array("own", own, torch.float64, (streams, columns_own, total))
    features = FEATURES + columns_own
    for name, given in zip(ARRAYS, arrays, strict=True):
        shape = {
            "latencies_ns": given.shape,
            "fungible": (streams, streams),
            "leg": given.shape,
            "through": given.shape,
            "style_fee_bp": (3, streams),
            "inverse_scale": (features, padded(streams)),
            "coefficients": (streams, features, given.shape[2] if given.dim() == 4 else 0, padded(streams)),
            "target": (padded(streams),),
        }
        kind = {
            "latencies_ns": torch.int64, "fungible": torch.int8, "leg": torch.int32,
            "through": torch.int32, "target": torch.int8,
        }  # fmt: skip
        array(name, given, kind.get(name, torch.float64), shape.get(name, (streams,)))
    parts = _own_copy(streams, params, state)
    small = {"stream": torch.int32, "kind": torch.int8, "side": torch.int8}
    checked = {
        name: array(name, column, small.get(name, torch.int64), (total,))
        for name, column in zip(Events._fields, events, strict=True)
    }
    times(events[0], int(parts.align.clock[0]))
    stream_numbers(events[1], total, streams)
    streams_table = StreamTable(
        *(
            array(name, column, torch.int8 if name in ("inverse", "trades_only", "rate") else torch.float64, (streams,))
            for name, column in zip(StreamTable._fields, table, strict=True)
        )
    )
    horizons = params.head.coefficients.shape[2]
    if horizons and not (0 <= params.head.lanes_horizon < horizons and 0 <= params.head.memory_horizon < horizons):
        raise ValueError(f"the head has {horizons} horizons; lanes_horizon and memory_horizon are places among them")
    work = workspace(streams, params.registry.bits, parts.registry.table.shape[0], horizons, columns_own)
    columns = empty_columns(total, streams, horizons)
    row = 0
    while row < total:
        parts = grown_state(parts)
        row = graph_pass(row, Events(**checked), given_own, streams_table, params, parts, work, columns)
    return leaves(columns) + leaves(parts)


def _own_copy(streams: int, params: GraphParams, state: list[torch.Tensor]) -> GraphState:
    at = sum(_sizes(state)[: GraphState._fields.index("registry")]) + RegistryState._fields.index("table")
    tables, slots = state[at].shape[:2]
    like = empty_state(
        streams, params.registry.bits, tables, 0, slots, params.latencies_ns.size, params.lanes.v0, capacity=1,
        cycles=params.arbitrage.leg.shape[0],
    )  # fmt: skip
    copies = []
    first = 0
    for (op, part), size in zip(like._asdict().items(), _sizes(state), strict=True):
        copies.append(own_copy(op, part, state[first : first + size]))
        first += size
    return GraphState(*copies)


@graph.register_kernel("cuda")
def _(  # type: ignore[no-untyped-def]
    events, own, table, numbers, arrays, state,
):  # fmt: skip
    given = [*events, own, *table, *arrays, *state]
    return own_memory(on_tensors(events, own, table, numbers, arrays, state), given)


def own_memory(out: list[torch.Tensor], given: list[torch.Tensor]) -> list[torch.Tensor]:
    """Each with memory of its own, as an op's answers must have: what shares some with another or is given is copied.

    Example:
        >>> given = torch.zeros(2)
        >>> one, two = own_memory([given, given[:1]], [given])
        >>> one.add_(1).sum().item(), two.item(), given.sum().item()
        (2.0, 0.0, 0.0)
    """
    taken = {part.untyped_storage()._cdata for part in given}
    found = []
    for part in out:
        fresh = part.clone() if part.untyped_storage()._cdata in taken else part
        taken.add(fresh.untyped_storage()._cdata)
        found.append(fresh)
    return found


def on_tensors(
    events: list[torch.Tensor],
    own: torch.Tensor,
    table: list[torch.Tensor],
    numbers: list[float],
    arrays: list[torch.Tensor],
    state: list[torch.Tensor],
    **sizes: int,
) -> list[torch.Tensor]:
    """What ``graph`` does with CUDA tensors, for tensors of any device; ``arrays`` may be anywhere.

    Args:
        events, own, table, numbers, arrays, state: see ``graph``.
        sizes: ``edge`` and ``block``, see device_scan.py.
    """
    from schwabot_kernels.graph.gpu import graph as on_any

    device = events[0].device
    params = _filled(GraphParams, iter(numbers), iter([part.to(device).contiguous() for part in arrays]))
    parts: list[Any] = []
    first = 0
    for stage, size in zip(get_type_hints(GraphState).values(), _sizes(state), strict=True):
        parts.append(stage(*state[first : first + size]))
        first += size
    given: list[Any] = [Events(*cast(Any, events)), own, StreamTable(*cast(Any, table)), params, GraphState(*parts)]
    blocks: Any = sizes
    # Triton launches on the current device, whatever its tensors are on.
    with torch.cuda.device(device) if device.type == "cuda" else nullcontext():
        columns, after = on_any(*given, **blocks)
    return [*columns, *(part for stage in after for part in stage)]


@graph.register_fake
def _(  # type: ignore[no-untyped-def]
    events, own, table, numbers, arrays, state,
):  # fmt: skip
    total, streams = events[0].shape[0], table[0].shape[0]
    like = events[0]
    horizons = arrays[ARRAYS.index("coefficients")].shape[2]
    columns = [like.new_empty(shape, dtype=_TORCH[kind]) for kind, shape in column_shapes(total, streams, horizons)]
    after = []
    first = 0
    for (op, stage), size in zip(get_type_hints(GraphState).items(), _sizes(state), strict=True):
        after += fake_state(op, stage._fields, state[first : first + size])
        first += size
    return columns + after
