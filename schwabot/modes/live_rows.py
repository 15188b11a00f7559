"""What mode=paper and mode=live share: live streams through the graph a row at a time, a broker told of each row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from schwabot import engine
from schwabot.clock import LiveClock
from schwabot.config import CcxtSource, RunConfig
from schwabot.errors import ConfigError
from schwabot.execution.day_report import DayReport
from schwabot.execution.simulated import SimulatedBroker
from schwabot.live_pipeline import LivePipeline, OnRow
from schwabot.modes.hot_reload import HotReload, Put, put_into_alerts, put_into_graph
from schwabot.modes.opening import compile_by, open_feed, say
from schwabot.modes.replay import sinks_of
from schwabot.modes.serving import Served
from schwabot.modes.trading import Desk, open_desk
from schwabot.records.alert import Alert
from schwabot.records.audit import StepRecord
from schwabot.records.market import Ticks
from schwabot.signals.compiling import CompiledPolicy
from schwabot.sinks.gpu_telemetry import GpuTelemetry
from schwabot.sinks.progress import Progress
from schwabot.ticks.ccxt_feed import CcxtFeed
from schwabot.ticks.feed_meter import FeedMeter
from schwabot.ticks.recorder import Recorder
from schwabot.training.lag_curve import LagCurve
from schwabot.training.meters import LagEntry


class AtOnce:
    """A broker that is told of rows as they come: what is left to do once a batch is over.

    Args:
        broker: told by ``LivePipeline``.
        keep_rows: that it remembers at least.
        at_end: done when no more rows will come, before the books are closed.
        between: done between two batches.
    """

    def __init__(
        self, broker: SimulatedBroker, keep_rows: int, at_end: Callable[[], None] = lambda: None,
        between: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._broker, self._keep_rows, self._at_end, self._between = broker, keep_rows, at_end, between

    def step(self, ticks: Ticks, record: StepRecord) -> None:
        """Look after the sums, and forget what nobody asks for."""
        self._broker.look_after()
        self._between()
        if self._broker.recorder.builder.rows > 2 * self._keep_rows + self._broker.told_rows:
            self._broker.forget(self._keep_rows)

    def finish(self) -> None:
        """No more rows will come."""
        self._at_end()
        self._broker.finish()


class RecorderEntry:
    """Writes down what a run receives.

    Args:
        recorder: open.
        feed: tells trades that come too late to be rows.
    """

    def __init__(self, recorder: Recorder, feed: CcxtFeed) -> None:
        self._recorder, self._feed = recorder, feed

    def update(self, ticks: Ticks | None, record: StepRecord) -> None:
        """Take one batch, and what the feed told."""
        if ticks is not None:
            self._recorder.write(ticks)
        self._recorder.late(self._feed.take_late())
        for event in record.fallbacks:
            self._recorder.tell(event)

    def summary(self) -> Mapping[str, Any]:
        """``store``: what is written by now, which is all of it."""
        self._recorder.close()
        report = self._recorder.report({})
        return {"store": {"path": str(Path(report.root).absolute()), "rows": report.rows, "gaps": self._recorder.gaps}}


def check_source(settings: RunConfig) -> None:
    """Refuse a source that is not live, and a device that is of no use here.

    Raises:
        ConfigError: says which.
    """
    if not isinstance(settings.source, CcxtSource):
        raise ConfigError(
            f"mode={settings.mode} trades on what is live: add source=ccxt; mode=backtest takes what was recorded"
        )
    if settings.device.kind == "cuda" and settings.device.required:
        raise ConfigError(
            f"device.required=true: mode={settings.mode} answers every event at once, which the CPU does sooner"
        )


def open_live_feed(settings: RunConfig) -> CcxtFeed:
    """The streams; what is traded is put among them, where the source does not name it.

    Raises:
        VenueError: an exchange can't be reached, or does not list a stream.
    """
    source = settings.source
    assert isinstance(source, CcxtSource)
    source.streams = list(dict.fromkeys([*source.streams, *settings.policy.trade]))
    feed = open_feed(settings)
    assert isinstance(feed, CcxtFeed)
    return feed


def open_live_desk(settings: RunConfig, policy: CompiledPolicy, feed: CcxtFeed) -> tuple[Desk, float]:
    """The graph, a row at a time, compiled; and how long that took, s."""
    desk = open_desk(settings, policy, feed, kind=LivePipeline)
    if settings.device.kind == "cuda":
        desk.notes += say(
            [f"note: mode={settings.mode} answers every event at once, which the CPU does sooner: device cpu"]
        )
    return desk, compile_by(lambda quote: _warmed(desk, quote, settings), feed.instruments)


def run_rows(
    settings: RunConfig, run_dir: Path, started_s: float, desk: Desk, broker: SimulatedBroker, on_row: OnRow, *,
    meters: list[engine.Meter], changes: HotReload, progress: Progress, alerts: Callable[[], tuple[Alert, ...]],
    server: Served, checks: tuple[Put, ...] = (), puts: tuple[Put, ...] = (),
    at_end: Callable[[], None] = lambda: None, between: Callable[[], None] = lambda: None,
) -> dict[str, Any]:  # fmt: skip
    """Drive live streams through the graph and a broker until they end.

    Args:
        settings: of the run.
        run_dir: where its files go.
        started_s: when it began.
        desk: see ``open_live_desk``.
        broker: whose books are kept.
        on_row: told of each row at once.
        meters: that measure, beside those of every live run.
        changes: settings that may change.
        progress: shown.
        alerts: see ``engine.run``.
        server: the dashboard.
        checks: refuse changed settings, before anything takes them.
        puts: take them, beside graph and alerts, and refuse nothing.
        at_end: see ``AtOnce``.
        between: see ``AtOnce``.

    Returns:
        What summary.json holds.
    """
    feed, pipeline = desk.feed, desk.pipeline
    assert isinstance(feed, CcxtFeed)
    assert isinstance(pipeline, LivePipeline)
    pipeline.on_row, pipeline.fallback = on_row, settings.fallback
    lag = desk.modules.phantom_lag
    curve = LagCurve(lag.latencies_ms, feed.instruments, notional_quote=lag.notional_quote)
    meters = [*meters, FeedMeter(feed), LagEntry(curve)]
    recorder = Recorder(feed.instruments, settings.record, ghost_chain=True) if settings.record.out else None
    if recorder is not None:
        meters.append(RecorderEntry(recorder, feed))
    sinks, day = [*sinks_of(settings, progress, GpuTelemetry(None)), *server.sinks], DayReport(broker)
    server.shows(health=feed.health)
    server.changes(changes)
    changes.put_into(*checks, partial(put_into_graph, desk), partial(put_into_alerts, sinks), *puts)
    try:
        return engine.run(
            feed,
            pipeline,
            desk.header(settings, run_dir),
            clock=LiveClock(),
            broker=AtOnce(broker, settings.live.keep_rows, at_end, between),
            sinks=sinks,
            meters=meters,
            reference=desk.reference,
            batch_events=settings.batch_events,
            progress=progress,
            started_s=started_s,
            changes=changes.take,
            alerts=lambda: (*alerts(), *day.take()),
            watch=server.watch,
        )
    finally:
        if recorder is not None:
            recorder.close()


def _warmed(desk: Desk, quote: Ticks, settings: RunConfig) -> None:
    """One quote through a pipeline of its own, so that what a first row costs is not measured."""
    pipeline = LivePipeline(desk.feed.instruments, desk.modules, settings.latency, head=desk.head)
    pipeline.step(quote)
    pipeline.finish()
