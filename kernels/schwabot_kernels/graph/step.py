"""One event through the graph, from Python, in microseconds. V streams.

Passing the some 170 arrays of state and scratch as arguments would cost more than the work: numba unpacks each of them
on every call. So they are bound once, in a struct that lives beside them and is passed as one pointer.
"""

from __future__ import annotations

from types import FunctionType
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.experimental import structref
from numba.extending import intrinsic

from schwabot_kernels.align.cpu import Events, StreamTable
from schwabot_kernels.arrays import F64, I8
from schwabot_kernels.graph.cpu import GraphParams, GraphState, Workspace, _room, graph_block
from schwabot_kernels.scalar import NJIT

WIDE = ("mid", "half", "deviation", "phase", "drift", "forecast", "snr", "bits", "voltage")
"""Rows of ``Answer.wide``."""
SMALL = ("route", "status", "lane", "pays_fees")
"""Rows of ``Answer.small``."""
NO_ROOM = -2
"""Instead of a key: a ring has to grow first, and nothing was done."""

# Handing hundreds of arrays to a function costs more than what it does with one event. So the stages and the block
# that calls them are compiled into ``step`` itself, from the same source, which saves a quarter of the time. They are
# cached with it, not by themselves: their place in the cache is that of the functions they are made from.
_INSIDE = {**NJIT, "cache": False, "forceinline": True}
_STAGES = (
    "align", "phase", "consensus", "kalman", "deviations", "features", "own_features", "head", "remember",
    "expected_lag", "realised_lag", "arbitrage", "lanes",
)  # fmt: skip
_source = graph_block.py_func
_stages = {name: njit(**_INSIDE)(_source.__globals__[name].py_func) for name in _STAGES}
_graph_block = njit(**_INSIDE)(FunctionType(_source.__code__, {**_source.__globals__, **_stages}, "graph_block"))
_has_room = njit(**_INSIDE)(_room.py_func)


class Answer(NamedTuple):
    """What the last event gave for every stream: the rows WIDE and SMALL, forecasts. [9, V], [4, V] and [H, V].

    All are overwritten by the next event.
    """

    wide: F64
    small: I8
    forecasts: F64


@structref.register
class BoundType(types.StructRef):  # type: ignore[misc]
    """numba's type of ``Bound``."""

    def preprocess_fields(self, fields: Any) -> Any:
        """Forget literal values, so that every struct has one type."""
        return tuple((name, types.unliteral(kind)) for name, kind in fields)


class Bound(structref.StructRefProxy):  # type: ignore[misc]
    """Arrays of one event, own columns, settings, state, scratch and answer, bound for ``step``. Keeps none alive."""


structref.define_proxy(Bound, BoundType, ["event", "own", "table", "params", "state", "work", "answer"])


@intrinsic
def _borrowed(typing_context: Any, tree: Any) -> Any:
    """The same (tuples of) arrays without an owner: handing them on inside compiled code counts no references."""

    def strip(context: Any, builder: Any, kind: Any, value: Any) -> Any:
        if isinstance(kind, types.BaseTuple):
            inner = cgutils.unpack_tuple(builder, value)
            parts = [strip(context, builder, k, part) for k, part in zip(kind.types, inner, strict=True)]
            return context.make_tuple(builder, kind, parts)
        if isinstance(kind, types.Array):
            array = context.make_array(kind)(context, builder, value)
            array.meminfo = ir.Constant(array.meminfo.type, None)
            array.parent = ir.Constant(array.parent.type, None)
            return array._getvalue()
        return value

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return strip(context, builder, signature.args[0], args[0])

    return tree(tree), codegen


@njit(**NJIT)
def bind(
    event: Events,
    own: F64,
    table: StreamTable,
    params: GraphParams,
    state: GraphState,
    work: Workspace,
    answer: Answer,
) -> Any:
    """A ``Bound`` of these arrays; the caller keeps them alive. ``event`` has [1] columns, ``own``: [V, E, 1]."""
    return Bound(
        _borrowed(event),
        _borrowed(own),
        _borrowed(table),
        _borrowed(params),
        _borrowed(state),
        _borrowed(work),
        _borrowed(answer),
    )


@njit(**NJIT)
def step(
    bound: Any,
    ts_ns: int,
    stream: int,
    kind: int,
    bid_ticks: int,
    ask_ticks: int,
    bid_lots: int,
    ask_lots: int,
    price_ticks: int,
    qty_lots: int,
    side: int,
    latency_ns: int,
) -> tuple[float, Any, float, float, float, float]:
    """Move the bound state on by one event and fill the bound answer.

    Returns ghost, key, entropy, echo, expected lag and penalty; key = NO_ROOM when a ring has to grow first.
    """
    event, state, work, answer = bound.event, bound.state, bound.work, bound.answer
    if not _has_room(1, answer.wide.shape[1], state):
        return np.nan, np.int64(NO_ROOM), np.nan, np.nan, np.nan, np.nan
    event.ts_ns[0] = ts_ns
    event.stream[0] = stream
    event.kind[0] = kind
    event.bid_ticks[0] = bid_ticks
    event.ask_ticks[0] = ask_ticks
    event.bid_lots[0] = bid_lots
    event.ask_lots[0] = ask_lots
    event.price_ticks[0] = price_ticks
    event.qty_lots[0] = qty_lots
    event.side[0] = side
    event.latency_ns[0] = latency_ns
    _graph_block(0, 1, event, bound.own, bound.table, bound.params, state, work)
    aligned, phased, laned, wide, small = work.aligned, work.phased, work.laned, answer.wide, answer.small
    for v in range(wide.shape[1]):
        wide[0, v] = aligned.x[0, v]
        wide[1, v] = aligned.half[0, v]
        wide[2, v] = work.deviation[0, v]
        wide[3, v] = phased.phase[0, v]
        wide[4, v] = phased.drift[0, v]
        wide[5, v] = laned.forecast[0, v]
        wide[6, v] = laned.snr[0, v]
        wide[7, v] = laned.bits[0, v]
        wide[8, v] = laned.voltage[0, v]
        small[0, v] = phased.route[0, v]
        small[1, v] = phased.status[0, v]
        small[2, v] = laned.lane[0, v]
        small[3, v] = laned.pays_fees[0, v]
        for h in range(answer.forecasts.shape[0]):
            answer.forecasts[h, v] = work.foreseen.forecasts[h, 0, v]
    memory = work.remembered
    return work.ghost[0], memory.key[0], memory.entropy[0], memory.echo[0], work.expected[0], work.penalty[0]


def empty_event() -> Events:
    """Columns of length 1."""
    kinds = {"stream": np.int32, "kind": np.int8, "side": np.int8}
    return Events(*(np.zeros(1, kinds.get(name, np.int64)) for name in Events._fields))


def empty_answer(streams: int, horizons: int) -> Answer:
    """Uninitialised answer."""
    return Answer(
        np.empty((len(WIDE), streams)), np.empty((len(SMALL), streams), np.int8), np.empty((horizons, streams))
    )
