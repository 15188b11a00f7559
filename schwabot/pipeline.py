"""Ticks in, signals out: the way of a tick on one page. READ FIRST.

    Feed ─▶ Ticks ─▶ VenueClock ─▶ TickBatch ─▶ Graph ─▶ StepRecord ─▶ sinks
                     venue time     tensors      the five modules:
                     on our clock                TensorHarness   one timeline, phase, drift, routing
                                                 GhostBridge     fair price, deviation, arbitrage
                                                 HashRegistry    what followed states like this one
                                                 PhantomLag      what acting late costs
                                                 VoltageLanes    evidence → bits → volts → lane

Replay, paper and live call ``step`` with batches of any size; the answers do not depend on how events are cut, nor on
stopping anywhere and going on from the saved state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from schwabot.errors import StateError
from schwabot.modules.checkpoint import load_state, save_state
from schwabot.modules.device_graph import DeviceGraph
from schwabot.modules.forecast import ForecastHead
from schwabot.modules.graph import Graph, GraphOutput, State
from schwabot.modules.settings import ModulesConfig
from schwabot.records.audit import DriftEvents, FallbackEvent, Route, SignalColumns, StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import Int8, Int64, Kind, Ticks
from schwabot.signals.own_features import own_features
from schwabot.tensors.profiling import span
from schwabot.tensors.tick_batch import TickBatch
from schwabot.ticks.grouping import grouped, one_ahead
from schwabot.ticks.merge import blank, rebatch
from schwabot.ticks.venue_clock import VenueClock, VenueClockConfig

CPU_EVENTS = 65_536
"""Rows of a batch that was read for a device, once the CPU answers."""


class Pipeline:
    """The one path from market events to signals.

    Args:
        instruments: V instruments as the feed gives them.
        modules: settings of the graph.
        clock: settings of the venue clocks.
        device: where the graph runs; another than the CPU is left for it when it fails.
        head: a trained forecast, as ``ForecastHead.load`` gives it; None = deviation times an online slope. Signals of
            the user's own that it is made of are found where they were when it was fitted.
        state: to go on from, as ``Pipeline.state`` gives it; left as it is. A state of the graph alone will do, then
            venue clocks and counts start afresh. None = from the beginning.

    Raises:
        StateError: the state belongs to another pipeline.
        ConfigError: a signal of the user's own that the head needs is not there, or has another source.

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
        head: ForecastHead | None = None,
        state: State | None = None,
    ) -> None:
        self.instruments = tuple(instruments)
        self.device = torch.device(device)
        self.clock = VenueClock(self.instruments, clock or VenueClockConfig())
        self._head = head
        self._own = own_features(head.own, self.instruments) if head else None
        self.graph = self._graph_of(modules)
        self._batches = 0
        self._events = 0
        self._watch = _Watch(self.instruments)
        self._graph_state = self.graph.initial_state()
        self._on_device: DeviceGraph | None = None
        self._ahead: tuple[Ticks, TickBatch] | None = None
        if state is not None:
            self._go_on_from(state)
        if self.device.type != "cpu":
            self.run_on(DeviceGraph(self.graph, self.device, self._graph_state))

    def _graph_of(self, modules: ModulesConfig | None) -> Graph:
        trades_only = [one.stream for one in self.instruments if one.trades_only]
        return Graph(self.instruments, modules, trades_only, self._head, self._own)

    def retune(self, modules: ModulesConfig) -> None:
        """Other settings from the next event on; what is remembered stays, and so does what was said.

        Args:
            modules: settings; those that give a meaning to what is remembered can't change.

        Raises:
            ConfigError: a setting is out of range.
            StateError: what is remembered means something else under these settings; nothing is changed.
        """
        graph, memory = self._graph_of(modules), self._memory
        graph.check_state(memory)
        self.graph = graph
        if self._on_device is not None:
            self._on_device = self._on_device.restarted(memory, graph)

    def run_on(self, device: DeviceGraph) -> None:
        """Let a device answer from the next event on."""
        self._on_device = device

    def answers(self, chunks: Iterable[Ticks]) -> Iterator[tuple[Ticks, StepRecord]]:
        """Answer a recording. A device gets it in larger batches, as it likes them; the answers are the same.

        Args:
            chunks: as a feed yields them.

        Returns:
            The batches as they were answered, each with what ``step`` says.

        Example:
            >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
            >>> feed = SyntheticFeed(SyntheticConfig(events=3000))
            >>> pipeline = Pipeline(feed.instruments)
            >>> sum(len(record.ts_recv_ns) for ticks, record in pipeline.answers(feed.batches(1000)))
            3000
        """
        if self._on_device is None:
            yield from ((ticks, self.step(ticks)) for ticks in chunks)
            return
        for ticks, ahead in one_ahead(grouped(chunks, self._wanted)):
            # A group that was read before the device failed is too large for the CPU's scratch memory.
            for part in [ticks] if self._wanted() else rebatch([ticks], CPU_EVENTS):
                yield part, self.step(part, ahead)

    def _wanted(self) -> int | None:
        return None if self._on_device is None else self._on_device.batch_events

    def step(self, ticks: Ticks, ahead: Ticks | None = None) -> StepRecord:
        """Answer one batch of N rows, one thread at a time, as ``Graph.advance``; N = 0 changes nothing.

        Args:
            ticks: to be answered.
            ahead: the batch that will be asked next, where it is known: a device gets it while it works on this one.
        """
        with span("clock"):
            ts_venue_ns, latency_ns = self.clock.update(ticks)
        batch = self._batch(ticks, latency_ns)
        self._ahead = None if ahead is None or self._on_device is None else (ahead, TickBatch.from_ticks(ahead))
        lost: tuple[FallbackEvent, ...] = ()
        with span("graph"):
            if self._on_device is None:
                output = self.graph.advance(batch, self._graph_state)
            elif not len(ticks):
                output = self.graph.advance(batch, self.graph.initial_state())  # says nothing, whatever the state
            else:
                output = self._on_device.advance(batch, self._ahead[1] if self._ahead else None)
                lost = self._leave_a_device_that_failed(int(ticks.ts_recv_ns[-1]))
        with span("record"):
            record = self._record(output, ticks, ts_venue_ns, ticks.kind != Kind.DEPTH)
        return replace(record, fallbacks=(*lost, *record.fallbacks)) if lost else record

    def _batch(self, ticks: Ticks, latency_ns: Int64) -> TickBatch:
        """The ticks as tensors: those that the device was given ahead, which did not know the latencies yet."""
        if self._ahead is None or self._ahead[0] is not ticks:
            return TickBatch.from_ticks(ticks, latency_ns)
        return replace(self._ahead[1], latency_ns=torch.from_numpy(latency_ns[ticks.kind != Kind.DEPTH]))

    def _leave_a_device_that_failed(self, now_ns: int) -> tuple[FallbackEvent, ...]:
        on_device = self._on_device
        if on_device is None or on_device.failed is None:
            return ()
        self._graph_state, self._on_device = on_device.state, None
        return (FallbackEvent(now_ns, "device", str(on_device.device), "cpu", on_device.failed),)

    @property
    def _memory(self) -> State:
        """The graph's state after the last event."""
        if self._on_device is not None:
            self._graph_state = self._on_device.state
        return self._graph_state

    def finish(self) -> StepRecord:
        """What was still waiting for later events when the data ended, and what is remembered; carries no rows."""
        empty = blank(self.instruments, 0)
        memory, self._on_device = self._memory, None
        record = self._record(self.graph.finish(memory), empty, empty.ts_recv_ns, np.ones(0, np.bool_))
        last_ns = int(memory["align.clock"][0])
        return replace(record, memory=self.graph.hash_registry.memory(memory, last_ns))

    @property
    def state(self) -> State:
        """All that is remembered. The graph's part is its own tensors, which ``step`` moves on: clone them, or save."""
        counts = {"batches": np.array([self._batches]), "events": np.array([self._events])}
        parts = {"pipeline": counts, "watch": self._watch.state(), "venue_clock": self.clock.state()}
        return self._memory | {
            f"{owner}.{name}": torch.from_numpy(values)
            for owner, arrays in parts.items()
            for name, values in arrays.items()
        }

    def save(self, file: str | Path) -> None:
        """Write ``state`` to a file, whole or not at all."""
        save_state(file, [i.stream for i in self.instruments], self.state)

    def load(self, file: str | Path) -> None:
        """Go on from what ``save`` wrote.

        Raises:
            StateError: it is no whole state, or belongs to another pipeline; the message says why.
            FileNotFoundError: there is no such file.
        """
        state = load_state(file, [i.stream for i in self.instruments])
        try:
            if "pipeline.events" not in state:
                raise StateError("holds the graph's part alone: Graph.load reads it, Pipeline(state=...) takes it")
            self._go_on_from(state)
        except StateError as error:
            raise StateError(f"{file}: {error}") from None

    def _go_on_from(self, state: State) -> None:
        owned = [name for name in state if name.startswith(("pipeline.", "watch.", "venue_clock."))]
        memory = {name: tensor.clone() for name, tensor in state.items() if name not in owned}
        self.graph.check_state(memory)
        if owned:
            missing = {"pipeline.batches", "pipeline.events", *(f"watch.{name}" for name in self._watch.state())}
            if missing := missing - state.keys():
                raise StateError(f"state lacks {', '.join(sorted(missing))}: it was cut; give all of Pipeline.state")
            clock = {name: state[name].numpy() for name in owned if name.startswith("venue_clock.")}
            self.clock.restore({name.removeprefix("venue_clock."): values for name, values in clock.items()})
            self._watch.restore({name: state[f"watch.{name}"].numpy() for name in self._watch.state()})
            self._batches, self._events = int(state["pipeline.batches"]), int(state["pipeline.events"])
        self._graph_state = memory
        if self._on_device is not None:
            self._on_device = self._on_device.restarted(memory)

    @property
    def rates(self) -> tuple[str, ...]:
        """Streams that convert between currencies and price nothing else."""
        rate = self.graph.ghost_bridge.rate
        return tuple(one.stream for one, is_rate in zip(self.instruments, rate, strict=True) if is_rate)

    def clock_summary(self) -> dict[str, dict[str, Any]]:
        """Per stream: clock offset and drift with intervals, median feed delay."""
        return self.clock.summary()

    def _record(
        self,
        output: GraphOutput,
        ticks: Ticks,
        ts_venue_ns: Int64,
        rows: npt.NDArray[np.bool_],
    ) -> StepRecord:
        ts_recv_ns = ticks.ts_recv_ns[rows]
        drift_events, fallbacks = self._watch.changes(ts_recv_ns, output.signals)
        settings = self.graph.config
        record = StepRecord(
            batch=self._batches,
            first_event=self._events,
            instruments=self.instruments,
            reference_price=self.graph.reference_price(
                self._graph_state if self._on_device is None else self._on_device.reference
            ),
            latencies_ms=tuple(settings.phantom_lag.latencies_ms),
            horizons_ms=self.graph.horizons_ms,
            key_bits=settings.hash_registry.bits,
            reentry_penalty=settings.phantom_lag.reentry_penalty,
            lane_sizes=tuple(settings.voltage_lanes.size),
            lane_styles=tuple(settings.voltage_lanes.style),
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

    def state(self) -> dict[str, Int8]:
        """The last row's statuses and routes, and whether it had a ghost."""
        return {"status": self._status[0], "route": self._route[0], "ghost": np.array([self._has_ghost], np.int8)}

    def restore(self, state: Mapping[str, Int8]) -> None:
        """Go on from what ``state`` gave."""
        self._status, self._route = state["status"][None].copy(), state["route"][None].copy()
        self._has_ghost = bool(state["ghost"][0])

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
            else FallbackEvent(int(ts_ns[i]), "ghost_bridge", "ghost", "none", _why_none(signals.route[i]))
            for i in flips
        )


def _why_none(route: Int8) -> str:
    """Why a row has no ghost, from its streams' routes."""
    return "what it said can't be used" if (route == Route.OK).any() else "every stream is routed out"
