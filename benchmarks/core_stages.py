"""Alignment, decays, consensus and realised lag alone: how fast on one core, and beside polars?

Ours: the graph's own stage functions (align, phase, consensus, deviation, realised lag) in a block loop, ghost and
every stream's deviation written out, decisions with their ten costs handed out. The peer: polars, lazy and
vectorised, with one thread (POLARS_MAX_THREADS=1) in a process of its own. It does this on the same events:

- as-of alignment: log mid, half spread, depth and age of every stream at every event by forward fill;
- phases: time-decayed means (`ewm_mean_by`) of the six differences of log mids, their means per stream, frozen by
  none;
- drift over 10 s by an as-of join of the phases with themselves, status, compensation and routing;
- consensus: typical depth by `ewm_mean_by`, weights of depth, age and feed latency, first-stage ghost, error of every
  quote against the ghost 100 ms later by as-of joins, its decayed sum per stream (cumulative sum of e^{t/tau}),
  second-stage ghost, deviations;
- lag: first events of each desync, and the touch 1 ms to 1 s later at ten latencies by one as-of join per side.

What it leaves out, in its favour: crossed quotes, phases frozen while a stream is stale, a stream that joins late,
the weighting of the first seconds (`ewm_mean_by` starts at the first value). So the two are close, not equal: the
check asks for deviations within 0.05 bp at the median, desyncs within 10 %.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from benchmarks.market import market
from benchmarks.measure import ROOT, Finding, RedError, Took, in_turn, timed
from schwabot.modules.graph import Graph
from schwabot.records.instrument import Instrument
from schwabot.tensors.tick_batch import TickBatch
from schwabot_kernels.align.cpu import BLOCK, Events, align
from schwabot_kernels.blocks import store_all
from schwabot_kernels.consensus.cpu import consensus
from schwabot_kernels.graph import cpu as kernel
from schwabot_kernels.graph.cpu import deviations
from schwabot_kernels.lag.cpu import realised_lag
from schwabot_kernels.phase.cpu import phase
from schwabot_kernels.scalar import NJIT

TARGET_EVENTS_PER_S, TARGET_RATIO = 12e6, 6.0
BATCH = 65_536
ROOM = 1 << 16


@njit(**NJIT)
def core_pass(
    start: int, events: Any, table: Any, params: Any, state: Any, work: Any, ghost: Any, deviation: Any
) -> int:
    """Like ``graph_pass`` for four stages; returns the row it stopped at, N unless the ring of decisions is full."""
    total = events.ts_ns.size
    streams = table.tick.size
    first = start
    while first < total:
        n = min(BLOCK, total - first)
        if (
            state.lag.ts_ns.size - (state.lag.head[1] - state.lag.head[0]) < n * streams
            or state.consensus.due_ns.size - (state.consensus.head[1] - state.consensus.head[0]) < n
        ):
            return first
        align(first, n, events, table, params.latency_max_ns, state.align, work.aligned)
        phase(first, n, events.ts_ns, work.aligned, params.phase, state.phase, work.phased)
        consensus(
            first,
            n,
            events.ts_ns,
            work.aligned,
            work.phased,
            params.consensus,
            state.consensus,
            work.weighed,
            work.ghost,
        )
        for v in range(streams):
            work.quoted[v] = 1 - table.trades_only[v]
        deviations(n, work.ghost, work.aligned, work.phased, work.deviation)
        store_all(work.deviation, first, n, deviation)
        for j in range(n):
            ghost[first + j] = work.ghost[j]
        realised_lag(
            first,
            n,
            events.ts_ns,
            work.aligned,
            work.phased,
            work.deviation,
            work.quoted,
            work.remembered.entropy,
            work.remembered.mean,
            work.remembered.echo,
            work.foreseen.predicted,
            work.width,
            params.latencies_ns,
            params.lag,
            state.lag,
            work.desynced,
        )
        first += n
    return total


class Core:
    """The four stages over a run, with the graph's own settings."""

    def __init__(self, instruments: tuple[Instrument, ...]) -> None:
        self.graph = Graph(instruments)
        streams = len(instruments)
        latencies = len(self.graph.params.latencies_ns)
        self.state = kernel.empty_state(streams, 4, 1, 0, 8, latencies, 0.8, capacity=ROOM)
        self.work = kernel.workspace(streams, 4, 1, 0)
        # What the stages that are left out would say of a decision, which is only kept.
        self.work.remembered.entropy[:], self.work.width[:] = 0.0, 1.0
        self.work.remembered.mean[:] = self.work.remembered.echo[:] = 0.0
        self.costs: list[np.ndarray] = []
        self.ghost: list[np.ndarray] = []
        self.deviation: list[np.ndarray] = []

    def run(self, batch: TickBatch) -> None:
        streams = len(self.graph.instruments)
        for start in range(0, len(batch), BATCH):
            part = batch.rows(start, min(start + BATCH, len(batch)))
            events = Events(*(getattr(part, name).numpy() for name in Events._fields))
            ghost, deviation = np.empty(len(part)), np.empty((streams, len(part)))
            row = 0
            while row < len(part):
                before = row
                row = core_pass(
                    row, events, self.graph.table, self.graph.params, self.state, self.work, ghost, deviation
                )
                if self._take_decisions() == 0 and row == before:
                    raise RedError("a ring is too small for this market")
            self.ghost.append(ghost)
            self.deviation.append(deviation)

    def _take_decisions(self) -> int:
        ring = self.state.lag
        done = int(ring.pending.min())
        slots = np.arange(ring.head[0], done) & (ring.ts_ns.size - 1)
        self.costs.append(ring.cost[slots])
        ring.head[0] = done
        return len(slots)


class Polars:
    """The peer in its own process with one thread, told by line what to do."""

    def __init__(self, batch: TickBatch, core: Core, folder: Path) -> None:
        table = core.graph.table
        np.savez(
            folder / "events.npz",
            **{name: getattr(batch, name).numpy() for name in Events._fields},
            tick=table.tick,
            unit=table.unit,
            inverse=table.inverse,
        )
        self.answer = folder / "answer.npz"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.polars_peer", str(folder)],
            cwd=ROOT,
            env=os.environ | {"POLARS_MAX_THREADS": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ask(self, what: str) -> dict[str, float]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        answer: dict[str, float] = json.loads(self.process.stdout.readline() or "{}")
        if not answer:
            raise RedError("the polars peer failed, see above")
        return answer

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def check(core: Core, answer: Path, after: int) -> str:
    """Raise RedError unless both did the same work; says how close they are after the first events."""
    deviation = np.concatenate(core.deviation, axis=1)[:, after:]
    costs = np.concatenate(core.costs)
    with np.load(answer) as theirs:
        apart = np.abs(deviation - theirs["deviation"][:, after:])
        decided, decided_theirs = len(costs), int(theirs["decisions"])
        curve, curve_theirs = np.nanmean(costs, axis=0), theirs["curve"]
    middle, most = np.nanmedian(apart), np.nanpercentile(apart, 99)
    if not middle < 0.05 or abs(decided / decided_theirs - 1) > 0.1:
        raise RedError(
            f"polars: deviations {middle:.3g} bp apart at the median, {most:.3g} bp at p99, "
            f"{decided_theirs:,} desyncs to our {decided:,}"
        )
    return (
        f"Checked: deviations {middle:.2g} bp apart at the median (p99 {most:.2g} bp), {decided:,} desyncs to polars' "
        f"{decided_theirs:,}, mean cost of 100 ms {curve[6]:.3f} and {curve_theirs[6]:.3f} bp."
    )


def run(*, quick: bool) -> Finding:
    events = 100_000 if quick else 1_000_000
    repeats = 3 if quick else 7
    instruments, batch = market(events)
    core = Core(instruments)
    core.run(batch)
    with tempfile.TemporaryDirectory() as folder:
        peer = Polars(batch, core, Path(folder))
        try:
            peer.ask("check")
            agreed = check(core, peer.answer, after=events // 5)

            def ours() -> Took:
                fresh = Core(instruments)
                return timed(lambda: fresh.run(batch))

            def polars() -> Took:
                took = peer.ask("run")
                return Took(took["wall_s"], took["cpu_s"])

            took = in_turn({"Schwabot, compiled, 1 thread": ours, "polars, 1 thread": polars}, repeats)
        finally:
            peer.close()
    mine, theirs = took.values()
    rows = [
        {
            "contender": name,
            "wall s": f"{t.wall_s:.3f}",
            "CPU s": f"{t.cpu_s:.3f}",
            "M events/s, wall": f"{events / t.wall_s / 1e6:.2f}",
            "M events/s per core": f"{events / t.cpu_s / 1e6:.2f}",
            "times slower, CPU": f"{t.cpu_s / mine.cpu_s:.1f}",
            "times slower, wall": f"{t.wall_s / mine.wall_s:.1f}",
        }
        for name, t in took.items()
    ]
    rate, ratio = events / mine.cpu_s, theirs.cpu_s / mine.cpu_s
    return Finding(
        rows,
        [
            (
                "alignment, decays, consensus, lag per core",
                f"{rate / 1e6:.1f} M events/s",
                "12 M events/s",
                rate >= TARGET_EVENTS_PER_S,
            ),
            ("the same work in polars", f"{ratio:.1f}×", "6×", ratio >= TARGET_RATIO),
        ],
        [agreed, f"{events:,} events, median of {repeats} interleaved repeats."],
    )
