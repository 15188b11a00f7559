"""The source and the graph that answers it, open and unread: what mode=replay, backtest and sweep begin with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from schwabot.config import RunConfig
from schwabot.errors import DeviceError
from schwabot.live_pipeline import RecordedPipeline
from schwabot.modes.opening import (
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
from schwabot.tensors.device import ON_CPU, resolve_device, told
from schwabot.ticks.base import Feed
from schwabot.training.heads import serve

ROW_BY_ROW = "the ghost's chain of a live run answers this, and it is there alone; fallback.replay=false leaves it out"


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
    settings: RunConfig,
    feed: Feed | None = None,
    head: ForecastHead | None = None,
    *,
    quiet: bool = False,
    kind: type[Pipeline] | None = None,
) -> OpenedGraph:
    """Open the source and build the graph that the settings ask for.

    Args:
        settings: of the run.
        feed: the source, if it is open already.
        head: the forecast, if it is loaded already; otherwise that of ``checkpoint``.
        quiet: say no notes; they are kept.
        kind: of pipeline; another than ``Pipeline`` is one for the CPU. None = the one that answers as whoever
            recorded the source.

    Raises:
        ConfigError: a stream that is not there, or a checkpoint that can't be used.
        DataError: a source that can't be read.
        DeviceError: a device that is required and can't run this graph.
    """
    feed = feed or open_feed(settings)
    reference = reference_of(settings.source.reference, feed.instruments)
    modules = settings.modules
    if head is None and settings.checkpoint:
        head = ForecastHead.load(settings.checkpoint)
    if head is not None:
        modules = serve(head, settings.checkpoint or "head", modules, feed.instruments)
    pipeline, of_device = open_pipeline(settings, feed, modules, head, quiet=quiet, kind=kind)
    notes = notes_of(feed, of_device)
    if not quiet:
        say(notes)
    return OpenedGraph(feed, pipeline, head, modules, pipeline.device, reference, notes)


def open_pipeline(
    settings: RunConfig,
    feed: Feed,
    modules: ModulesConfig,
    head: ForecastHead | None = None,
    *,
    quiet: bool = False,
    kind: type[Pipeline] | None = None,
) -> tuple[Pipeline, str | None]:
    """The graph on the device that the settings ask for, if it says there what it says on the CPU.

    Args:
        settings: of the run; of them ``device``, ``latency`` and ``fallback``.
        feed: the source.
        modules: settings of the graph, the head's among them.
        head: the trained forecast that it serves.
        quiet: say nothing where compiling takes long.
        kind: see ``open_graph``.

    Returns:
        The graph in its first state, and the note that says why it is on the CPU where another device was asked for or
        found.

    Raises:
        DeviceError: a device that is required and can't run this graph.
    """
    instruments, chained = feed.instruments, settings.fallback.replay
    if chained is None:
        chained = getattr(feed, "ghost_chain", False)
    if kind is None and chained:
        recorded, _ = while_compiling(
            lambda: RecordedPipeline(instruments, modules, settings.latency, head=head, fallback=settings.fallback),
            say=not quiet,
        )
        asked = settings.device
        return recorded, None if asked.kind == "cpu" else told(asked, ROW_BY_ROW, seen=torch.cuda.is_available())
    if kind is not None and kind is not Pipeline:
        return kind(instruments, modules, settings.latency, head=head), None
    device, note = resolve_device(settings.device)

    def on(device: torch.device) -> Pipeline:
        return Pipeline(instruments, modules, settings.latency, device=device, head=head)

    if device.type == "cpu":
        return on(device), note
    return tried(on, device, required=settings.device.required, quiet=quiet)


def tried(
    on: Callable[[torch.device], Pipeline], device: torch.device, *, required: bool, quiet: bool = False
) -> tuple[Pipeline, str | None]:
    """A graph on a device after a trial there; where that fails, on the CPU, with a note. See ``open_pipeline``."""
    pipeline = on(device)
    reason, _ = while_compiling(lambda: why_not(pipeline.graph, device), say=not quiet)
    if reason is None:
        return pipeline, None
    if required:
        raise DeviceError(f"device {device} is required and can't be used: {reason}")
    return on(torch.device("cpu")), f"{ON_CPU}{reason}"
