"""The one loop: feed, graph, sinks. Replay, paper and live differ only in what they hand to it.

Axis legend: N events of a batch, V streams.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from types import FrameType, TracebackType
from typing import Any, Protocol, Self

from schwabot.clock import Clock
from schwabot.errors import DeviceError
from schwabot.records.alert import Alert, Level
from schwabot.records.audit import SettingsEvent, StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import Ticks
from schwabot.secrets import scrub
from schwabot.sinks.base import RunHeader, Sink
from schwabot.sinks.notes import alert_note, lost_note, required_note, settings_note
from schwabot.sinks.progress import Progress
from schwabot.tally import Tally
from schwabot.tensors.profiling import Trace, span, spans
from schwabot.ticks.base import Feed, events_of, with_events

MOST_NOTES = 200
"""Warnings of a run that its summary keeps at most: a run may go on for months."""


class Graph(Protocol):
    """What the loop needs of ``schwabot.pipeline.Pipeline``."""

    def step(self, ticks: Ticks) -> StepRecord:
        """Answer one batch now; one of no rows changes nothing."""
        ...

    def answers(self, chunks: Iterable[Ticks]) -> Iterator[tuple[Ticks, StepRecord]]:
        """Answer what a feed yields, in batches of its own choice."""
        ...

    def finish(self) -> StepRecord:
        """What was still waiting for later events when the source ended."""
        ...

    def clock_summary(self) -> Mapping[str, Mapping[str, Any]]:
        """Stream → clock offset and drift with intervals, median feed delay."""
        ...


class Meter(Protocol):
    """Measures something over the run."""

    def update(self, ticks: Ticks | None, record: StepRecord) -> None:
        """Take one batch; ``ticks`` is None for what ``Graph.finish`` says."""
        ...

    def summary(self) -> Mapping[str, Any]:
        """Entries for summary.json."""
        ...


class Broker(Protocol):
    """Takes a policy's orders to an exchange: simulated, on paper or real."""

    def step(self, ticks: Ticks, record: StepRecord) -> None:
        """Take one batch of the market and what the graph said of it."""
        ...

    def finish(self) -> None:
        """No more events will come."""
        ...


class StopRequest:
    """Turns Ctrl-C and SIGTERM into a wish to stop after the batch at hand; a second one stops at once.

    Example:
        >>> with StopRequest() as stop:
        ...     stop.wanted
        False
    """

    def __init__(self) -> None:
        self.wanted = False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        sys.stderr.write("\nstopping after this batch; once more to stop at once\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


class WatchedFeed:
    """A feed that counts what passes, shows progress, and ends early when asked to stop.

    Args:
        feed: the feed.
        progress: shown while it runs.
        stop: asked between batches.
    """

    def __init__(self, feed: Feed, progress: Progress, stop: StopRequest) -> None:
        self.tally = Tally(feed.instruments)
        self._feed = feed
        self._progress = progress
        self._stop = stop

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """V instruments, sorted by stream name."""
        return self._feed.instruments

    @property
    def dropped(self) -> Mapping[str, int]:
        """Rows dropped so far, by reason."""
        return self._feed.dropped

    @property
    def expected_events(self) -> int | None:
        """Rows the feed will yield, if known."""
        return self._feed.expected_events

    def progress(self) -> float:
        """Share of the source read so far."""
        return self._feed.progress()

    def batches(self, max_events: int = 65_536) -> Iterator[Ticks]:
        """Yield the feed's batches until it ends or a stop is wanted."""
        for ticks in self._feed.batches(max_events):
            self.tally.update(ticks, None)
            self._progress.update(int(self.tally.events.sum()), self._feed.progress())
            yield ticks
            if self._stop.wanted:
                return


def run(
    feed: Feed,
    graph: Graph,
    header: RunHeader,
    *,
    clock: Clock,
    broker: Broker | None = None,
    sinks: Sequence[Sink] = (),
    meters: Sequence[Meter] = (),
    reference: str | None = None,
    batch_events: int = 65_536,
    progress: Progress | None = None,
    started_s: float | None = None,
    trace: Trace | None = None,
    device_required: bool = False,
    changes: Callable[[int], tuple[SettingsEvent, ...]] = lambda now_ns: (),
    alerts: Callable[[], tuple[Alert, ...]] = tuple,
    watch: Callable[[StepRecord], StepRecord] = lambda record: record,
) -> dict[str, Any]:
    """Drive a feed through the graph and tell every sink.

    What was done is kept whatever happens: on Ctrl-C the summary says ``interrupted``, on an error it says ``error``
    and the error goes on to the caller.

    Args:
        feed: where ticks come from.
        graph: what answers them.
        header: told to the sinks.
        clock: told the time of the newest event.
        broker: decides and trades on every batch; none = nobody trades.
        sinks: told everything; closed at the end.
        meters: measure; their summaries become part of the summary.
        reference: stream that the basis is measured against; default the first spot stream.
        batch_events: events per batch of the feed; the graph may join them.
        progress: shown while it runs.
        started_s: ``time.perf_counter()`` that wall time counts from; default now.
        trace: of a few batches; told when one is done.
        device_required: end with an error where the graph's device fails, before the batch that the CPU answered.
        changes: asked between batches, given the time: puts settings that have changed into force, and says which.
        alerts: asked after each batch for what a person should hear of; becomes part of its record.
        watch: adds to each record, once the broker had it, what who watches the run wants to know.

    Returns:
        What summary.json holds.

    Raises:
        DeviceError: the device failed, and is required.
    """
    loop_s = time.perf_counter()
    started_s = loop_s if started_s is None else started_s
    tally = Tally(header.instruments, reference, header.rates)
    bar = Progress(enabled=False) if progress is None else progress
    traced = Trace(None) if trace is None else trace
    state: dict[str, Any] = {"interrupted": False}
    opened: list[Sink] = []
    warned: list[str] = []

    def take(ticks: Ticks | None, record: StepRecord) -> None:
        gone = [event for event in record.fallbacks if event.component == "device"]
        if gone and device_required:
            raise DeviceError(required_note(gone[0]))
        tally.update(ticks, record)
        for lost in gone:
            state["device"] = f"{lost.before}, then {lost.after}"
            warned.append(lost_note(lost))
            bar.note(warned[-1])
        for event in record.settings:
            warned.append(settings_note(event))
            bar.note(warned[-1])
        if (ticks is None or len(ticks)) and broker is not None:
            with span("broker"):
                broker.finish() if ticks is None else broker.step(ticks, record)
            record = replace(record, alerts=(*record.alerts, *heard())) if ticks is None else record
        if ticks is None or len(ticks) or record.fallbacks:
            with span("meters"):
                for meter in meters:
                    meter.update(ticks, record)
        record = watch(record)
        with span("sinks"):
            for sink in sinks:
                with span(type(sink).__name__):
                    sink.write(record)

    def heard() -> tuple[Alert, ...]:
        told = alerts()
        for alert in told:
            if alert.level > Level.INFO:
                bar.note(note := alert_note(alert))
                if len(warned) < MOST_NOTES:
                    warned.append(note)
        return told

    def close() -> dict[str, Any]:
        clocks = graph.clock_summary()
        done_s = time.perf_counter()
        summary: dict[str, Any] = {"mode": header.mode, "device": header.device} | tally.summary(clocks)
        summary["dropped"] = dict(feed.dropped)
        summary["dropped_examples"] = list(getattr(feed, "examples", ()))
        failed: list[OSError] = []  # one file that can't be written does not cost the others
        for meter in meters:
            try:
                summary |= meter.summary()
            except OSError as error:
                failed.append(error)
        if failed:
            state.setdefault("error", scrub(str(failed[0])))
        summary |= {
            "wall_s": time.perf_counter() - started_s,
            "loop_s": done_s - loop_s,
            "events_per_s": summary["events"] / max(done_s - loop_s, 1e-9),
            "peak_rss_mib": peak_rss_mib(),
            "notes": [*header.notes, *warned],
        } | state
        for sink in opened:
            try:
                sink.close(summary)
            except OSError as error:
                failed.append(error)
        if failed:
            raise failed[0]
        return summary

    # Closing happens under the same guard: a Ctrl-C that comes while files are written must not lose them.
    with StopRequest() as stop:
        try:
            with bar, traced:
                for sink in sinks:
                    sink.open(header)
                    opened.append(sink)
                changed = changes(clock.now_ns())
                for ticks, record in answers(feed, graph, batch_events):
                    if len(ticks):
                        clock.advance(int(ticks.ts_recv_ns[-1]))
                    told = heard()
                    if len(ticks) or record.fallbacks or changed or told:
                        take(ticks, replace(record, settings=changed, alerts=told) if changed or told else record)
                    changed = changes(clock.now_ns())
                    bar.update(int(tally.events.sum()), feed.progress())
                    traced.step()
                    if stop.wanted:
                        state["interrupted"] = True
                        break
                take(None, replace(with_events(graph.finish(), events_of(feed)), settings=changed))
        except KeyboardInterrupt:
            state["interrupted"] = True
        except BaseException as error:
            state["error"] = scrub(str(error)) or type(error).__name__
            with suppress(OSError):  # the first error is the one to tell of
                close()
            raise
        if not tally.events.sum() and not state["interrupted"]:
            state["notes"] = [*header.notes, *warned, "note: the source holds no quotes and no trades"]
        return close()


def answers(feed: Feed, graph: Graph, batch_events: int) -> Iterator[tuple[Ticks, StepRecord]]:
    """Every batch with the graph's answer and what the feed has to tell."""
    for ticks, record in graph.answers(spans("feed", feed.batches(batch_events))):
        yield ticks, with_events(record, events_of(feed))


def peak_rss_mib() -> float:
    """Largest resident memory of this process so far."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024 * 1024 if sys.platform == "darwin" else 1024)
