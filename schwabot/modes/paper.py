"""mode=paper: a policy on live streams, its orders filled by the simulator."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from schwabot import engine
from schwabot.clock import LiveClock
from schwabot.config import CcxtSource, RunConfig
from schwabot.errors import ConfigError
from schwabot.execution.simulated import SimulatedBroker
from schwabot.live_pipeline import LivePipeline
from schwabot.modes.backtest import BacktestEntry, write_results
from schwabot.modes.hot_reload import open_reload, put_into_alerts, put_into_graph
from schwabot.modes.opening import compile_by, open_feed, say, while_compiling
from schwabot.modes.replay import sinks_of
from schwabot.modes.trading import Desk, open_desk, open_policy
from schwabot.records.audit import StepRecord
from schwabot.records.market import Ticks
from schwabot.sinks.gpu_telemetry import GpuTelemetry
from schwabot.sinks.progress import Progress
from schwabot.ticks.ccxt_feed import CcxtFeed
from schwabot.ticks.feed_meter import FeedMeter
from schwabot.ticks.recorder import Recorder
from schwabot.training.meters import CompileEntry


class AtOnce:
    """A broker that is told of rows as they come: what is left to do once a batch is over.

    Args:
        broker: told by ``LivePipeline``.
        keep_rows: that it remembers at least.
    """

    def __init__(self, broker: SimulatedBroker, keep_rows: int) -> None:
        self._broker = broker
        self._keep_rows = keep_rows

    def step(self, ticks: Ticks, record: StepRecord) -> None:
        """Look after the sums, and forget what nobody asks for."""
        self._broker.check_sums()
        if self._broker.recorder.builder.rows > 2 * self._keep_rows + self._broker.told_rows:
            self._broker.forget(self._keep_rows)

    def finish(self) -> None:
        """No more rows will come."""
        self._broker.finish()


class RecorderEntry:
    """Writes down what a run receives.

    Args:
        recorder: open.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    def update(self, ticks: Ticks | None, record: StepRecord) -> None:
        """Take one batch, and what the feed told."""
        if ticks is not None:
            self._recorder.write(ticks)
        for event in record.fallbacks:
            self._recorder.tell(event)

    def summary(self) -> Mapping[str, Any]:
        """``store``: what is written by now, which is all of it."""
        self._recorder.close()
        report = self._recorder.report({})
        return {"store": {"path": str(Path(report.root).absolute()), "rows": report.rows, "gaps": self._recorder.gaps}}


def paper(settings: RunConfig, run_dir: Path, started_s: float) -> dict[str, Any]:
    """mode=paper: the live streams through the graph, the policy's orders through the simulated exchange.

    Returns:
        What summary.json holds.

    Raises:
        ConfigError: a source that is not live, or a setting that can't be used.
        VenueError: an exchange can't be reached.
    """
    if not isinstance(settings.source, CcxtSource):
        raise ConfigError("mode=paper trades on what is live: add source=ccxt; mode=backtest takes what was recorded")
    if settings.device.kind == "cuda" and settings.device.required:
        raise ConfigError("device.required=true: mode=paper answers every event at once, which the CPU does sooner")
    changes = open_reload(settings)
    policy, policy_s = while_compiling(lambda: open_policy(settings))
    feed = open_feed(settings)
    assert isinstance(feed, CcxtFeed)
    with feed:
        desk = open_desk(settings, policy, feed, kind=LivePipeline)
        assert isinstance(desk.pipeline, LivePipeline)
        if settings.device.kind == "cuda":
            desk.notes += say(["note: mode=paper answers every event at once, which the CPU does sooner: device cpu"])
        graph_s = compile_by(lambda quote: _warmed(desk, quote, settings), feed.instruments)
        parameters = desk.parameters(settings)
        broker, broker_s = while_compiling(lambda: SimulatedBroker(desk.recorder(settings), parameters))
        if settings.live.measure_latency:
            desk.notes += say(_as_measured(desk, broker, feed))
        desk.pipeline.on_row = broker.row
        meters: list[engine.Meter] = [
            CompileEntry(policy_s + graph_s + broker_s), BacktestEntry(broker, desk, parameters, "paper"),
            FeedMeter(feed),
        ]  # fmt: skip
        recorder = Recorder(feed.instruments, settings.record) if settings.record.out else None
        if recorder is not None:
            meters.append(RecorderEntry(recorder))
        progress = Progress(enabled=settings.sinks.progress, label=settings.mode)
        sinks = sinks_of(settings, progress, GpuTelemetry(None))
        changes.put_into(partial(put_into_graph, desk), partial(put_into_alerts, sinks))
        try:
            summary = engine.run(
                feed,
                desk.pipeline,
                desk.header(settings, run_dir),
                clock=LiveClock(),
                broker=AtOnce(broker, settings.live.keep_rows),
                sinks=sinks,
                meters=meters,
                reference=desk.reference,
                batch_events=settings.batch_events,
                progress=progress,
                started_s=started_s,
                changes=changes.take,
            )
        finally:
            if recorder is not None:
                recorder.close()
    write_results(settings, run_dir, desk, broker, parameters, summary, "paper")
    return summary


def _warmed(desk: Desk, quote: Ticks, settings: RunConfig) -> None:
    """One quote through a pipeline of its own, so that what a first row costs is not measured."""
    pipeline = LivePipeline(desk.feed.instruments, desk.modules, settings.latency, head=desk.head)
    pipeline.step(quote)
    pipeline.finish()


def _as_measured(desk: Desk, broker: SimulatedBroker, feed: CcxtFeed) -> list[str]:
    """Let orders travel as long as requests do: half of a round trip there, half back."""
    took_s = feed.round_trips_s()
    for leg, stream in enumerate(desk.legs):
        half_ns = round(0.5e9 * took_s[stream.partition(":")[0]])
        broker.rules.entry_ns[0, leg] = broker.rules.response_ns[0, leg] = half_ns
    said = ", ".join(f"{venue} {1e3 * took:.3g} ms" for venue, took in took_s.items())
    return [f"note: simulated orders travel as long as a request does, half of it each way: {said}"]
