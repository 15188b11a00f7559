"""Does a device say what the CPU says? Asked once before a run, with the run's own graph. N events, V streams."""

from __future__ import annotations

import numpy as np
import torch

from schwabot.modules.device_graph import Call, DeviceGraph
from schwabot.modules.graph import Graph
from schwabot.records.audit import SignalColumns
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels.graph.op import graph as graph_op
from schwabot_kernels.scalar import MISSING_NS

EVENTS = 600
TOLERANCE_BP = 1e-6
COMPARED = ("ghost_bp", "mid_bp", "deviation_bp", "phase_bp", "entropy", "echo_bp", "expected_lag_bp")
"""Columns whose numbers are held to the tolerance: what is left of the others hangs on them, or on ties."""
ODD_SHARE = 0.02
"""Keys that may differ: each of their bits is the sign of a sum."""


def sample(streams: int, seed: int = 0) -> TickBatch:
    """Quotes and trades of a market that moves, gaps included; the same for the same seed. Shape: [EVENTS].

    Example:
        >>> len(sample(3))
        600
    """
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.exponential(3e6, EVENTS) + 1e9 * (rng.random(EVENTS) < 0.01)).astype(np.int64)
    stream = rng.integers(0, streams, EVENTS).astype(np.int32)
    bid = 100_000 + np.cumsum(rng.integers(-2, 3, EVENTS)) + 40 * stream
    trade = rng.random(EVENTS) < 0.2
    columns = {
        "ts_ns": 1_700_000_000_000_000_000 + at, "stream": stream, "kind": trade.astype(np.int8), "bid_ticks": bid,
        "ask_ticks": bid + rng.integers(1, 4, EVENTS), "bid_lots": rng.integers(1, 90, EVENTS),
        "ask_lots": rng.integers(1, 90, EVENTS), "price_ticks": bid, "qty_lots": rng.integers(1, 9, EVENTS),
        "side": rng.choice([-1, 1], EVENTS).astype(np.int8),
        "latency_ns": np.where(rng.random(EVENTS) < 0.3, MISSING_NS, rng.integers(0, 30_000_000, EVENTS)),
    }  # fmt: skip
    return TickBatch(**{name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in columns.items()})


def why_not(graph: Graph, device: torch.device, call: Call = graph_op) -> str | None:
    """Why a device can't run a graph: it fails, or gives other numbers than the CPU. None when it can.

    Compiles the device's kernels, which takes a while the first time.

    Args:
        graph: with the run's settings.
        device: to be tried.
        call: the op that is run with tensors on the device.
    """
    batch = sample(len(graph.instruments))
    state = graph.initial_state()
    tried = DeviceGraph(graph, device, state, call=call)
    said = tried.advance(batch).signals
    if tried.failed is not None:
        return f"a trial of the graph failed there: {tried.failed}"
    return _difference(graph.advance(batch, state).signals, said)


def _difference(wanted: SignalColumns, said: SignalColumns) -> str | None:
    for name in COMPARED:
        one, two = getattr(wanted, name), getattr(said, name)
        off = ~np.isclose(one, two, rtol=0.0, atol=TOLERANCE_BP, equal_nan=True)
        if off.any():
            at = np.argwhere(off)[0]
            return (
                f"a trial of the graph gave other numbers there than on the CPU: {name} of event {at[0]} is"
                f" {two[tuple(at)]:g} instead of {one[tuple(at)]:g}"
            )
    for name in ("route", "status", "key"):
        share = float(np.mean(getattr(wanted, name) != getattr(said, name)))
        if share > ODD_SHARE:
            return f"a trial of the graph gave another {name} there than on the CPU at {share:.1%} of the events"
    return None
