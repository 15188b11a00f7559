"""Ticks in, signals out: the way of a tick on one page. READ FIRST.

    Feed ─▶ Ticks ─▶ VenueClock ─▶ TickBatch ─▶ Graph ─▶ StepRecord ─▶ sinks
                     venue time     tensors      the five modules:
                     on our clock                TensorHarness   one timeline, phase, drift, routing
                                                 GhostBridge     fair price, deviation, arbitrage
                                                 HashRegistry    what followed states like this one
                                                 PhantomLag      what acting late costs
                                                 VoltageLanes    evidence → bits → volts → lane

Replay, paper and live call ``step`` with batches of any size; the answers do not depend on how events are cut.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch

from schwabot.modules.graph import Graph, GraphOutput, State
from schwabot.modules.settings import ModulesConfig
from schwabot.records.audit import DriftEvents, FallbackEvent, SignalColumns, StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import Int64, Kind, Ticks
from schwabot.tensors.tick_batch import TickBatch
from schwabot.ticks.merge import blank
from schwabot.ticks.venue_clock import VenueClock, VenueClockConfig


class Pipeline:
    """The one path from market events to signals.

    Args:
        instruments: V instruments as the feed gives them.
        modules: settings of the graph.
        clock: settings of the venue clocks.
        device: where the graph runs.
        state: the graph's state to go on from; the venue clocks start afresh. None = from the beginning.

    Example:
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=3000))
        >>> pipeline = Pipeline(feed.instruments)
        >>> records = [pipeline.step(ticks) for ticks in feed.batches(1000)]
        >>> sum(len(record.ts_recv_ns) for record in records)
        3000
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        modules: ModulesConfig | None = None,
        clock: VenueClockConfig | None = None,
        *,
        device: torch.device | str = "cpu",
        state: State | None = None,
    ) -> None:
        self.instruments = tuple(instruments)
        self.device = torch.device(device)
        self.clock = VenueClock(self.instruments, clock or VenueClockConfig())
        self.graph = Graph(self.instruments, modules, [i.stream for i in self.instruments if i.trades_only])
        if state is not None:
            self.graph.check_state(state)
        self.state = self.graph.initial_state() if state is None else state
        self._batches = 0
        self._events = 0
        self._watch = _Watch(self.instruments)

    def step(self, ticks: Ticks) -> StepRecord:
        """Answer one batch of N ≥ 1 rows."""
        ts_venue_ns, latency_ns = self.clock.update(ticks)
        batch = TickBatch.from_ticks(ticks, latency_ns, self.device)
        started_s = time.perf_counter()
        output = self.graph.advance(batch, self.state)
        compute_s = time.perf_counter() - started_s
        return self._record(output, ticks, ts_venue_ns, ticks.kind != Kind.DEPTH, compute_s)

    def finish(self) -> StepRecord:
        """What was still waiting for later events when the data ended; carries no rows."""
        empty = blank(self.instruments, 0)
        return self._record(self.graph.finish(self.state), empty, empty.ts_recv_ns, np.ones(0, np.bool_), 0.0)

    def clock_summary(self) -> dict[str, dict[str, float | None]]:
        """Per stream: clock offset and drift, median feed delay."""
        return self.clock.summary()

    def _record(
        self,
        output: GraphOutput,
        ticks: Ticks,
        ts_venue_ns: Int64,
        rows: npt.NDArray[np.bool_],
        compute_s: float,
    ) -> StepRecord:
        ts_recv_ns = ticks.ts_recv_ns[rows]
        drift_events, fallbacks = self._watch.changes(ts_recv_ns, output.signals)
        record = StepRecord(
            batch=self._batches,
            first_event=self._events,
            instruments=self.instruments,
            reference_price=self.graph.reference_price(self.state),
            latencies_ms=tuple(self.graph.config.phantom_lag.latencies_ms),
            ts_recv_ns=ts_recv_ns,
            ts_event_ns=ticks.ts_event_ns[rows],
            ts_venue_ns=ts_venue_ns[rows],
            stream=ticks.stream[rows],
            kind=ticks.kind[rows],
            signals=output.signals,
            decisions=output.decisions,
            arbitrage=output.arbitrage,
            drift_events=drift_events,
            fallbacks=fallbacks,
            depth_rows=len(ticks) - len(ts_recv_ns),
            compute_s=compute_s,
        )
        self._batches += 1
        self._events += len(ts_recv_ns)
        return record


class _Watch:
    """Notices changes of status and route between any two rows, also across batches."""

    def __init__(self, instruments: tuple[Instrument, ...]) -> None:
        self._status = np.zeros((1, len(instruments)), np.int8)
        self._route = np.ones((1, len(instruments)), np.int8)
        self._has_ghost = False

    def changes(self, ts_ns: Int64, signals: SignalColumns) -> tuple[DriftEvents, tuple[FallbackEvent, ...]]:
        """Events of one batch, in time order, status before route."""
        found = []
        for what, before, now in ((0, self._status, signals.status), (1, self._route, signals.route)):
            both = np.concatenate([before, now])
            row, stream = np.nonzero(both[1:] != both[:-1])
            found.append((row, stream, np.full(len(row), what), both[row, stream], now[row, stream]))
        if len(ts_ns):
            self._status, self._route = signals.status[-1:].copy(), signals.route[-1:].copy()
        row, stream, kind, old, new = (np.concatenate(parts) for parts in zip(*found, strict=True))
        order = np.lexsort((stream, kind, row))
        row, stream = row[order], stream[order]
        events = DriftEvents(
            ts_ns=ts_ns[row],
            stream=stream.astype(np.int32),
            what=kind[order].astype(np.int8),
            before=old[order],
            after=new[order],
            drift=signals.drift[row, stream],
        )
        return events, self._ghost_changes(ts_ns, signals)

    def _ghost_changes(self, ts_ns: Int64, signals: SignalColumns) -> tuple[FallbackEvent, ...]:
        found = ~np.isnan(signals.ghost_bp)
        flips = np.flatnonzero(np.diff(found, prepend=self._has_ghost))
        if len(found):
            self._has_ghost = bool(found[-1])
        return tuple(
            FallbackEvent(int(ts_ns[i]), "ghost_bridge", "none", "ghost", "a stream can be used")
            if found[i]
            else FallbackEvent(int(ts_ns[i]), "ghost_bridge", "ghost", "none", "every stream is routed out")
            for i in flips
        )
