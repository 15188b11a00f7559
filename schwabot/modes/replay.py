"""mode=replay: every tick through the graph."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schwabot.config import RunConfig

if TYPE_CHECKING:
    from schwabot.sinks.base import Sink
    from schwabot.sinks.gpu_telemetry import GpuTelemetry
    from schwabot.sinks.progress import Progress


def replay(settings: RunConfig, run_dir: Path, started_s: float) -> dict[str, Any]:
    """mode=replay: every tick through the graph, results to the run's folder.

    Returns:
        What summary.json holds.
    """
    from schwabot import engine
    from schwabot.clock import ReplayClock
    from schwabot.modes.hot_reload import open_reload, put_into_alerts, put_into_graph
    from schwabot.modes.opened_graph import open_graph
    from schwabot.modes.opening import say, trace_of
    from schwabot.modes.serving import served
    from schwabot.sinks.gpu_telemetry import watch_gpu
    from schwabot.sinks.notes import SAID
    from schwabot.sinks.progress import Progress
    from schwabot.training.meters import CompileEntry, meters_of, skill_meter

    opened = open_graph(settings)
    feed, pipeline, head = opened.feed, opened.pipeline, opened.head
    changes = open_reload(settings)
    header = opened.header(settings, run_dir)
    compile_s = opened.compile()
    skill = skill_meter(feed.instruments, settings.skill, head, rates=pipeline.rates)
    progress = Progress(enabled=settings.sinks.progress, label=settings.mode)
    with served(settings) as server, watch_gpu(header.device) as gpu:
        sinks = [*sinks_of(settings, progress, gpu), *server.sinks]
        server.changes(changes)
        changes.put_into(partial(put_into_graph, opened), partial(put_into_alerts, sinks))
        summary = engine.run(
            feed,
            pipeline,
            header,
            clock=ReplayClock(),
            sinks=sinks,
            meters=[
                *meters_of(feed, skill, opened.modules.phantom_lag, pipeline.clock_summary, head, pipeline.rates),
                CompileEntry(compile_s),
                gpu,
            ],
            reference=opened.reference,
            batch_events=settings.batch_events,
            progress=progress,
            started_s=started_s,
            trace=trace_of(settings, run_dir, header.device),
            device_required=settings.device.required,
            changes=changes.take,
        )
    said = [note for note in summary["notes"][len(opened.notes) :] if not note.startswith(SAID)]
    say(said + ([f"note: {summary['skill_note']}"] if "skill_note" in summary else []))
    return summary


def sinks_of(settings: RunConfig, progress: Progress, gpu: GpuTelemetry) -> list[Sink]:
    """What a run through the graph writes and shows."""
    from schwabot.modes.notifying import notify_sink
    from schwabot.sinks.console import ConsoleSink
    from schwabot.sinks.lag_figure import LagFigureSink
    from schwabot.sinks.log_sink import LogSink
    from schwabot.sinks.parquet import ParquetSink
    from schwabot.sinks.summary import SummarySink
    from schwabot.sinks.tensorboard import TensorBoardSink

    wanted = settings.sinks
    sinks: list[Sink] = []
    if wanted.parquet:
        sinks.append(ParquetSink(wanted, say=progress.note))
    if wanted.tensorboard:
        sinks.append(TensorBoardSink(wanted.tensorboard_points, gpu))
    sinks.append(SummarySink())
    if wanted.figures:
        sinks.append(LagFigureSink())
    if wanted.console:
        sinks.append(ConsoleSink())
    if settings.logs.enabled:
        sinks.append(LogSink(settings.logs.every_s))
    if settings.notify.to:
        sinks.append(notify_sink(settings, progress.note))
    return sinks
