"""mode=replay: every tick through the graph."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schwabot.config import RunConfig
from schwabot.modes.opening import (
    compile_kernels,
    describe,
    expected_events,
    notes_of,
    open_feed,
    reference_of,
    say,
    write_config,
)
from schwabot.tensors.device import resolve_device

if TYPE_CHECKING:
    from schwabot.sinks.base import Sink
    from schwabot.sinks.progress import Progress


def replay(settings: RunConfig, run_dir: Path, started_s: float) -> dict[str, Any]:
    """mode=replay: every tick through the graph, results to the run's folder.

    Returns:
        What summary.json holds.
    """
    from schwabot import engine
    from schwabot.clock import ReplayClock
    from schwabot.modules.forecast import ForecastHead
    from schwabot.pipeline import Pipeline
    from schwabot.sinks.base import RunHeader
    from schwabot.sinks.progress import Progress
    from schwabot.training.heads import serve
    from schwabot.training.meters import CompileEntry, meters_of, skill_meter

    feed = open_feed(settings)
    reference = reference_of(settings.source.reference, feed.instruments)
    device, reason = resolve_device(settings.device)
    notes = say(notes_of(feed, reason))
    head, modules = None, settings.modules
    if settings.checkpoint:
        head = ForecastHead.load(settings.checkpoint)
        modules = serve(head, settings.checkpoint, modules, feed.instruments)
    config = write_config(settings, run_dir)
    pipeline = Pipeline(feed.instruments, modules, settings.latency, device=device, head=head)
    compile_s = compile_kernels(feed.instruments, modules)
    skill = skill_meter(feed.instruments, settings.skill, head, rates=pipeline.rates)
    progress = Progress(enabled=settings.sinks.progress, label=settings.mode)
    header = RunHeader(
        run_dir=run_dir,
        mode=settings.mode,
        device=str(device),
        source=describe(settings),
        instruments=feed.instruments,
        expected_events=expected_events(settings, feed),
        config=config,
        notes=tuple(notes),
        rates=pipeline.rates,
        horizons_ms=pipeline.graph.horizons_ms,
    )
    summary = engine.run(
        feed,
        pipeline,
        header,
        clock=ReplayClock(),
        sinks=sinks_of(settings, progress),
        meters=[
            *meters_of(feed, skill, modules.phantom_lag, pipeline.clock_summary, head, pipeline.rates),
            CompileEntry(compile_s),
        ],
        reference=reference,
        batch_events=settings.batch_events,
        progress=progress,
        started_s=started_s,
    )
    for note in summary["notes"][len(notes) :]:
        sys.stderr.write(f"{note}\n")
    if "skill_note" in summary:
        sys.stderr.write(f"note: {summary['skill_note']}\n")
    return summary


def sinks_of(settings: RunConfig, progress: Progress) -> list[Sink]:
    """What a run through the graph writes and shows."""
    from schwabot.sinks.console import ConsoleSink
    from schwabot.sinks.lag_figure import LagFigureSink
    from schwabot.sinks.parquet import ParquetSink
    from schwabot.sinks.summary import SummarySink
    from schwabot.sinks.tensorboard import TensorBoardSink

    wanted = settings.sinks
    sinks: list[Sink] = []
    if wanted.parquet:
        sinks.append(ParquetSink(wanted, say=progress.note))
    if wanted.tensorboard:
        sinks.append(TensorBoardSink(wanted.tensorboard_points))
    sinks.append(SummarySink())
    if wanted.figures:
        sinks.append(LagFigureSink())
    if wanted.console:
        sinks.append(ConsoleSink())
    return sinks
