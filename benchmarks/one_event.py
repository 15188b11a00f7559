"""How long does one event take through the streaming step, called from Python?

`LiveStep.step` with nine integers in and a named tuple out, every call timed by itself after a warm-up that fills the
memories. Beside it the same graph's other doors with N = 1: `Graph.advance` (tensors in, columns out, state moved
on), `Graph.forward` (functional: the state is copied) and the plain-torch chain, eager, which keeps no state at all.
The live step's answers must be those of the batch, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.market import market
from benchmarks.measure import Finding, RedError
from benchmarks.whole_graph import reference, settings
from schwabot.modules.graph import Graph
from schwabot_kernels.align.cpu import Events

TARGET_P50_US, TARGET_P99_US = 10.0, 50.0
WARM_EVENTS = 20_000


def percentiles(
    calls: list[Callable[[], object]], between: Callable[[], object] | None = None
) -> tuple[list[float], list[float]]:
    """p50, p99 and p99.9 of wall and of CPU time per call, us; ``between`` runs untimed after every 1,000."""
    wall, cpu = np.empty(len(calls)), np.empty(len(calls))
    for i, call in enumerate(calls):
        spent, began = time.thread_time_ns(), time.perf_counter_ns()
        call()
        wall[i] = time.perf_counter_ns() - began
        cpu[i] = time.thread_time_ns() - spent
        if between is not None and i % 1_000 == 999:
            between()
    marks = [50.0, 99.0, 99.9]
    return (np.percentile(wall, marks) / 1e3).tolist(), (np.percentile(cpu, marks) / 1e3).tolist()


def run(*, quick: bool) -> Finding:
    from schwabot.modules.live import LiveStep

    events = WARM_EVENTS + (5_000 if quick else 100_000)
    instruments, batch = market(events)
    columns = [getattr(batch, name).tolist() for name in Events._fields]
    lines = list(zip(*columns, strict=True))
    graph = Graph(instruments, settings())
    whole = graph.advance(batch, graph.initial_state()).signals

    live = LiveStep(graph, graph.initial_state())
    ghosts = []
    for i, line in enumerate(lines[:WARM_EVENTS]):
        ghosts.append(live.step(*line).ghost_bp)
        if i % 1_000 == 999:
            live.take()
    if not np.array_equal(np.array(ghosts), whole.ghost_bp[:WARM_EVENTS], equal_nan=True):
        raise RedError("the live step and the batch say different ghosts")

    few = lines[WARM_EVENTS:]
    some = range(WARM_EVENTS, WARM_EVENTS + (200 if quick else 2_000))
    state = graph.initial_state()
    graph.advance(batch.rows(0, WARM_EVENTS), state)
    still = {name: tensor.clone() for name, tensor in state.items()}
    rows_of = [batch.rows(i, i + 1) for i in some]
    torch.set_num_threads(1)
    contenders = {
        "LiveStep.step": [lambda line=line: live.step(*line) for line in few],
        "Graph.advance, N = 1": [lambda row=row: graph.advance(row, state) for row in rows_of],
        "Graph.forward, N = 1": [lambda row=row: graph(row, still) for row in rows_of],
        "plain torch, eager, N = 1": [lambda row=row: reference(instruments, row) for row in rows_of[:200]],
    }
    rows, middle, worst = [], 0.0, 0.0
    for name, calls in contenders.items():
        wall, cpu = percentiles(calls, None if rows else live.take)
        if not rows:
            middle, worst = wall[0], wall[1]
        rows.append(
            {
                "contender": name,
                "p50 us": f"{wall[0]:.1f}",
                "p99 us": f"{wall[1]:.1f}",
                "p99.9 us": f"{wall[2]:.1f}",
                "CPU p50 us": f"{cpu[0]:.1f}",
                "CPU p99 us": f"{cpu[1]:.1f}",
                "times slower, p50": f"{wall[0] / middle:.0f}",
            }
        )
    return Finding(
        rows,
        [
            ("one event, p50", f"{middle:.1f} us", "10 us", middle <= TARGET_P50_US),
            ("one event, p99", f"{worst:.1f} us", "50 us", worst <= TARGET_P99_US),
        ],
        [
            f"{len(few):,} events one by one, after {WARM_EVENTS:,} of warm-up with the batch's ghosts to the bit.",
            "CPU columns include the clock's own call, about 0.3 us.",
        ],
    )
