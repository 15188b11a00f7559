"""Inputs of single modules, worked out by hand. N events, V streams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import torch

from schwabot.modules.ghost_bridge import Ghost
from schwabot.modules.graph import Graph, GraphOutput, State, is_ring
from schwabot.modules.hash_registry import Memory
from schwabot.modules.tensor_harness import Timeline
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels.align.reference import Aligned
from schwabot_kernels.rings import LISTS

A = Instrument("a:BTC/USDT", 0.01, 0.001, taker_fee_bp=1.0)
B = Instrument("b:BTC/USDT", 0.01, 0.001, taker_fee_bp=1.0)
PERP = Instrument("c:BTC/USDT:USDT", 0.01, 0.001, taker_fee_bp=1.0)
MS = 1_000_000


def clock(times_ms: Sequence[float], streams: Sequence[int] | None = None) -> TickBatch:
    """A batch of which only time and stream matter."""
    n = len(times_ms)
    zero = torch.zeros(n, dtype=torch.int64)
    own = torch.zeros(n, dtype=torch.int32) if streams is None else torch.tensor(streams, dtype=torch.int32)
    ts_ns = torch.tensor([round(t * MS) for t in times_ms], dtype=torch.int64)
    flag = torch.zeros(n, dtype=torch.int8)
    return TickBatch(ts_ns, own, flag, zero, zero, zero, zero, zero, zero, flag, torch.full_like(zero, MISSING_NS))


def timeline(batch: TickBatch, x: Sequence[Sequence[float]], half: float = 0.1) -> Timeline:
    """Streams that were just quoted at log mids x [N, V], all in use, without phase or size."""
    mid = torch.tensor(x, dtype=torch.float64)
    zero, flag = torch.zeros_like(mid), torch.zeros(mid.shape, dtype=torch.int8)
    dt_s = torch.diff(batch.ts_ns, prepend=batch.ts_ns[:1]).double() * 1e-9
    last_ns = batch.ts_ns[:, None].expand(mid.shape)
    aligned = Aligned(last_ns, mid, zero + half, zero, zero, zero + 1.0, zero + 1.0, flag, dt_s)
    return Timeline(aligned, zero, zero, zero, flag, flag)


def ghost(price_bp: Sequence[float], deviation_bp: Sequence[Sequence[float]]) -> Ghost:
    """A fair price [N] and deviations [N, V]."""
    deviation = torch.tensor(deviation_bp, dtype=torch.float64)
    return Ghost(torch.tensor(price_bp, dtype=torch.float64), deviation, torch.zeros_like(deviation, dtype=torch.bool))


def memory(n: int, entropy: float = 0.0, mean_bp: float = 0.0, echo_bp: float = 0.0) -> Memory:
    """The same memory at N events."""
    one = torch.ones(n, dtype=torch.float64)
    return Memory(one.long(), entropy * one, mean_bp * one, echo_bp * one, one.char())


def same_bits(a: Any, b: Any) -> bool:
    """Equal to the last bit, NaN and the sign of zero included."""
    a, b = np.ascontiguousarray(a), np.ascontiguousarray(b)
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def joined(outputs: Sequence[GraphOutput]) -> dict[str, np.ndarray]:
    """Columns of several outputs, one after the other, by ``part.name``."""
    return {
        f"{part}.{field.name}": np.concatenate([getattr(getattr(output, part), field.name) for output in outputs])
        for part in ("signals", "decisions", "arbitrage")
        for field in fields(getattr(outputs[0], part))
    }


def assert_same_answers(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray]) -> None:
    odd = [name for name in ours if not same_bits(ours[name], theirs[name])]
    assert odd == []


def live_parts(state: State) -> dict[str, np.ndarray]:
    """The state without what rings hold beside their live entries, and how long they are."""
    parts = {}
    for name, tensor in state.items():
        values = tensor.numpy()
        if is_ring(name):
            op, _, field = name.partition(".")
            oldest, newest, *listed = state[f"{op}.head"].tolist()
            in_list = field in LISTS.get(op, ())
            values = values[: listed[0]] if in_list else values[np.arange(oldest, newest) & (len(values) - 1)]
        parts[name] = values
    return parts


def assert_same_state(ours: State, theirs: State) -> None:
    a, b = live_parts(ours), live_parts(theirs)
    assert a.keys() == b.keys()
    odd = [name for name in a if not same_bits(a[name], b[name])]
    assert odd == []


def columns(graph: Graph, batch: TickBatch) -> dict[str, np.ndarray]:
    """What the graph says of a batch, from the empty state."""
    return joined([graph(batch, graph.initial_state())[0]])
