"""The source and the graph that answers it, open and unread: what mode=replay, backtest and sweep begin with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from schwabot.config import RunConfig
from schwabot.errors import DeviceError
from schwabot.modes.opening import (
    ON_CPU,
    compile_kernels,
    describe,
    expected_events,
    notes_of,
    open_feed,
    reference_of,
    say,
    while_compiling,
    write_config,
)
from schwabot.modules.device_check import why_not
from schwabot.modules.forecast import ForecastHead
from schwabot.modules.settings import ModulesConfig
from schwabot.pipeline import Pipeline
from schwabot.sinks.base import RunHeader
from schwabot.tensors.device import resolve_device
from schwabot.ticks.base import Feed
from schwabot.training.heads import serve


@dataclass
class OpenedGraph:
    """A source and its graph.

    Attributes:
        feed: unread.
        pipeline: the graph, in its first state.
        head: the trained forecast that it serves.
        modules: its settings, the head's among them.
        device: where it runs.
        reference: stream that the basis is measured against.
        notes: what a reader of the results has to know.
    """

    feed: Feed
    pipeline: Pipeline
    head: ForecastHead | None
    modules: ModulesConfig
    device: torch.device
    reference: str | None
    notes: list[str]

    def compile(self) -> float:
        """Get the kernels ready; gives the time, s."""
        return compile_kernels(self.feed.instruments, self.modules)

    def header(self, settings: RunConfig, run_dir: Path) -> RunHeader:
        """Write config.yaml, and tell the sinks what kind of run it is."""
        config: dict[str, Any] = write_config(settings, run_dir)
        return RunHeader(
            run_dir=run_dir,
            mode=settings.mode,
            device=str(self.device),
            source=describe(settings),
            instruments=self.feed.instruments,
            expected_events=expected_events(settings, self.feed),
            config=config,
            notes=tuple(self.notes),
            rates=self.pipeline.rates,
            horizons_ms=self.pipeline.graph.horizons_ms,
        )


def open_graph(
    settings: RunConfig, feed: Feed | None = None, head: ForecastHead | None = None, *, quiet: bool = False
) -> OpenedGraph:
    """Open the source and build the graph that the settings ask for.

    Args:
        settings: of the run.
        feed: the source, if it is open already.
        head: the forecast, if it is loaded already; otherwise that of ``checkpoint``.
        quiet: say no notes; they are kept.

    Raises:
        ConfigError: a stream that is not there, or a checkpoint that can't be used.
        DataError: a source that can't be read.
        DeviceError: a device that is required and can't run this graph.
    """
    feed = feed or open_feed(settings)
    reference = reference_of(settings.source.reference, feed.instruments)
    device, reason = resolve_device(settings.device)
    notes = notes_of(feed, reason)
    if not quiet:
        say(notes)
    modules = settings.modules
    if head is None and settings.checkpoint:
        head = ForecastHead.load(settings.checkpoint)
    if head is not None:
        modules = serve(head, settings.checkpoint or "head", modules, feed.instruments)
    pipeline = Pipeline(feed.instruments, modules, settings.latency, device=device, head=head)
    if device.type != "cpu":
        check, _ = while_compiling(lambda: why_not(pipeline.graph, device), say=not quiet)
        if check is not None:
            if settings.device.required:
                raise DeviceError(f"device {device} is required and can't be used: {check}")
            notes += [f"{ON_CPU}{check}"]
            if not quiet:
                say(notes[-1:])
            device = torch.device("cpu")
            pipeline = Pipeline(feed.instruments, modules, settings.latency, head=head)
    return OpenedGraph(feed, pipeline, head, modules, device, reference, notes)
