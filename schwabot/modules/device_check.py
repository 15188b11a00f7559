"""Does a device say what the CPU says? Asked once before a run, with the run's own graph. N events, V streams."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import torch

from schwabot.modules.device_graph import Call, DeviceGraph
from schwabot.modules.graph import Graph, State
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels.graph.op import graph as graph_op
from schwabot_kernels.scalar import MISSING_NS

EVENTS, WARMING = 600, 4000
"""Events of a trial on the device, once from the empty state and once after as many more on the CPU."""
EDGE = 256
"""Events from edge to edge: a trial goes on from a state that the device left."""
SEEDS = (0, 1)
"""A sum that rounding puts on the other side of a threshold changes what follows: only who fails twice is refused."""
TOLERANCE = 1e-6
"""Of floats, absolute and relative: bp, nats, volts. All else is equal."""
NUMBERS = (
    "ghost_bp", "mid_bp", "half_spread_bp", "deviation_bp", "phase_bp", "drift", "forecasts_bp", "entropy", "echo_bp",
    "expected_lag_bp", "penalty",
)  # fmt: skip
CODES = ("route", "status", "key")
EVIDENCE = ("forecast_bp", "snr", "bits", "voltage", "lane", "pays_fees")
"""What hangs on a variance of past outcomes: compared once there have been some."""
ODD_SHARE = 0.1
"""Of the evidence, where a bucket is chosen by a ratio near a power of two, and what is found there is remembered."""
TIED = ("qty",)
"""Of windows: the size at the largest edge, which may come twice."""


def sample(streams: int, seed: int = 0, events: int = EVENTS) -> TickBatch:
    """Quotes and trades of a market that moves, gaps included; the same for the same seed. Shape: [events].

    No bid is another stream's ask: what is worth exactly nothing would be decided by rounding.

    Example:
        >>> len(sample(3))
        600
    """
    rng = np.random.default_rng(seed)
    at = np.cumsum(rng.exponential(3e6, events) + 1e9 * (rng.random(events) < 0.01)).astype(np.int64)
    stream = rng.integers(0, streams, events).astype(np.int32)
    bid = 100_000 + 2 * np.cumsum(rng.integers(-2, 3, events)) + 2 * rng.integers(-4, 5, events) + 2 * stream
    trade = rng.random(events) < 0.2
    columns = {
        "ts_ns": 1_700_000_000_000_000_000 + at, "stream": stream, "kind": trade.astype(np.int8), "bid_ticks": bid,
        "ask_ticks": bid + 2 * rng.integers(0, 3, events) + 1, "bid_lots": rng.integers(1, 90, events),
        "ask_lots": rng.integers(1, 90, events), "price_ticks": bid, "qty_lots": rng.integers(1, 9, events),
        "side": rng.choice([-1, 1], events).astype(np.int8),
        "latency_ns": np.where(rng.random(events) < 0.3, MISSING_NS, rng.integers(0, 30_000_000, events)),
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
    reason = None
    for seed in SEEDS:
        batch = sample(len(graph.instruments), seed, 2 * EVENTS + WARMING)
        state = graph.initial_state()
        tried = DeviceGraph(graph, device, state, edge=EDGE, call=call)
        reason = _tried(graph, tried, batch.rows(0, EVENTS), state, NUMBERS, CODES)
        if reason is None:
            graph.advance(batch.rows(EVENTS, EVENTS + WARMING), state)
            tried = tried.restarted(state)
            later = batch.rows(EVENTS + WARMING, len(batch))
            reason = _tried(graph, tried, later, state, NUMBERS, CODES + EVIDENCE)
        if reason is None or tried.failed is not None:
            return reason
    return reason


def _tried(graph: Graph, tried: DeviceGraph, batch: TickBatch, state: State, *names: tuple[str, ...]) -> str | None:
    """Why the device's answers to a batch are none, or other than the CPU's, whose state is moved on."""
    said = tried.advance(batch)
    if tried.failed is not None:
        return f"a trial of the graph failed there: {tried.failed}"
    wanted = graph.advance(batch, state)
    # A forecast that is all rounding, as of a single stream, finds whatever bucket it likes.
    foreseen = np.abs(wanted.signals.forecast_bp) > TOLERANCE
    columns = (
        _difference(
            getattr(wanted.signals, name), getattr(said.signals, name), name, foreseen if name in EVIDENCE else None
        )
        for part in names
        for name in part
    )
    tables = (
        _difference(getattr(getattr(wanted, table), one.name), getattr(getattr(said, table), one.name), one.name)
        for table in ("decisions", "arbitrage")
        for one in fields(getattr(wanted, table))
        if one.name not in TIED
    )
    return next((found for found in (*columns, *tables) if found is not None), None)


def _difference(
    wanted: np.ndarray[Any, Any], said: np.ndarray[Any, Any], name: str, foreseen: np.ndarray[Any, Any] | None = None
) -> str | None:
    begins = "a trial of the graph gave other numbers there than on the CPU"
    if wanted.shape != said.shape:
        return f"{begins}: {len(said)} of {name} instead of {len(wanted)}"
    off = said != wanted
    if wanted.dtype.kind == "f":
        off = ~np.isclose(said, wanted, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    if foreseen is not None:
        off &= foreseen
    if off.sum() <= (0 if foreseen is None else ODD_SHARE * off.size):
        return None
    at = tuple(np.argwhere(off)[0])
    return f"{begins}: {name} of event {at[0]} is {said[at]:g} instead of {wanted[at]:g}"
