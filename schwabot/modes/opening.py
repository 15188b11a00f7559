"""What every mode begins with: the source, the settings on disk, ready kernels, and what the user has to be told."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from omegaconf import OmegaConf

from schwabot.compose import mask_secrets
from schwabot.config import (
    LIVE,
    MODES,
    CaptureSource,
    CcxtSource,
    RunConfig,
    StoreSource,
    SyntheticSource,
    TableSource,
    either,
    to_instruments,
    without_reference,
)
from schwabot.errors import ConfigError, DataError, VenueError, closest
from schwabot.modes.logged import log_notes, log_start
from schwabot.run_folder import remove_results
from schwabot.secrets import scrub
from schwabot.tensors.profiling import TRACE, Trace

if TYPE_CHECKING:
    from schwabot.modules.settings import ModulesConfig
    from schwabot.records.instrument import Instrument
    from schwabot.records.market import Ticks
    from schwabot.ticks.base import Feed

Made = TypeVar("Made")

MANY_STREAMS = 16
"""More streams than this are worth a word about what they cost."""
PAIR_NS = 9.0
"""What a pair of streams costs per event: measured at 64 and 128 streams on one core of a Zen4 server."""
COMPILING_S = 3.0
"""Compiling that takes longer than this is worth a word."""


def open_feed(settings: RunConfig) -> Feed:
    """The source of ticks that the settings ask for.

    Raises:
        ConfigError: no file matches, or a setting of the source can't be used.
        DataError: the source can't be read, or holds nothing.
        VenueError: an exchange can't be reached, or does not trade what was asked.
    """
    feed = _feed(settings)
    if not feed.instruments:
        raise DataError("the source has no stream: nothing was ever written to it")
    return feed


def _feed(settings: RunConfig) -> Feed:
    source = settings.source
    if isinstance(source, SyntheticSource):
        from schwabot.ticks.synthetic import SyntheticFeed

        return SyntheticFeed(without_reference(source))
    if isinstance(source, CaptureSource):
        from schwabot.ticks.capture import CaptureFeed
        from schwabot.ticks.files import find_files

        files = find_files(source.glob)
        return CaptureFeed(
            files,
            to_instruments(settings.instruments),
            source.policy,
            source.depth_levels,
            streams=source.streams,
            scan_lines=source.scan_lines,
        )
    if isinstance(source, TableSource):
        from schwabot.ticks.table import TableFeed

        return TableFeed(without_reference(source), to_instruments(settings.instruments))
    if isinstance(source, CcxtSource):
        return _live_feed(settings, source)
    from schwabot.ticks.store import StoreFeed

    assert isinstance(source, StoreSource)
    return StoreFeed(without_reference(source))


def _live_feed(settings: RunConfig, source: CcxtSource) -> Feed:
    if settings.mode not in LIVE:
        able = either([one for one in LIVE if one in MODES])
        raise ConfigError(f"source=ccxt is live, and mode={settings.mode} reads what was recorded: use mode={able}")
    from schwabot.ticks.ccxt_feed import CcxtFeed

    if settings.record.out:
        settings.record.check_out()  # before anybody connects
    options = {}
    if settings.live.loopback_port is not None:
        from schwabot.venues.loopback.urls import VENUES, ccxt_options

        venues = sorted({stream.partition(":")[0] for stream in source.streams})
        if unknown := [venue for venue in venues if venue not in VENUES]:
            raise ConfigError(f"source.streams: the loopback exchange speaks for {either(VENUES)}, not {unknown[0]}")
        options = {venue: ccxt_options(venue, settings.live.loopback_port) for venue in venues}
    try:
        return CcxtFeed(
            without_reference(source),
            to_instruments(settings.instruments),
            options,
            settings.fallback,
            seconds=settings.live.seconds,
            events=settings.live.events,
            keep_late=settings.record.out is not None,
        )
    except VenueError as error:
        if (port := settings.live.loopback_port) is None:
            raise
        raise VenueError(
            f"{error}; is `python -m schwabot.venues.loopback --port {port}` running, and ready?"
        ) from error


def compile_kernels(instruments: tuple[Instrument, ...], modules: ModulesConfig, *, say: bool = True) -> float:
    """Get the kernels ready by one quote through a graph of its own, so that no rate counts the time this takes.

    Args:
        instruments: V instruments of the run.
        modules: settings of the run.
        say: tell the user when they are not compiled yet and that takes long.

    Returns:
        How long it took, s: a minute or two the first time, a second or two when they are read from disk.
    """
    from schwabot.pipeline import Pipeline

    def run(quote: Ticks) -> None:
        graph = Pipeline(instruments, modules)
        graph.step(quote)
        graph.finish()

    return compile_by(run, instruments, say=say)


def compile_by(run: Callable[[Ticks], None], instruments: tuple[Instrument, ...], *, say: bool = True) -> float:
    """Get the kernels ready by what is done with one quote; see ``compile_kernels``.

    Args:
        run: given the quote.
        instruments: V instruments of the run.
        say: tell the user when they are not compiled yet and that takes long.
    """
    from schwabot.ticks.merge import blank

    def work() -> None:
        quote = blank(instruments, 1)
        for column in (quote.bid_ticks, quote.ask_ticks, quote.bid_lots, quote.ask_lots):
            column[:] = 1
        run(quote)

    return while_compiling(work, say=say)[1]


def while_compiling(work: Callable[[], Made], *, say: bool = True) -> tuple[Made, float]:
    """Do what may have to compile kernels first, and tell the user where that takes long.

    Args:
        work: what to do.
        say: tell the user.

    Returns:
        What it gave, and how long it took, s.

    Example:
        >>> while_compiling(lambda: 7)[0]
        7
    """
    from schwabot.modes.compiling import said_when_compiling

    started_s = time.perf_counter()
    with said_when_compiling(COMPILING_S) if say else nullcontext():
        made = work()
    return made, time.perf_counter() - started_s


def notes_of(feed: Feed, of_device: str | None = None) -> list[str]:
    """What a reader of the results has to know: why not the device asked for, what the source had to assume.

    Args:
        feed: the source of the run.
        of_device: note that says why it is not the device that was asked for; None when it is.
    """
    notes = [] if of_device is None else [of_device]
    notes += [f"note: {note}" for note in getattr(feed, "notes", ())]
    streams = len(feed.instruments)
    if streams == 1:
        notes.append(
            "note: one stream only: with nothing to compare it to, the ghost price is its own mid and every deviation"
            " is 0 up to rounding; what the registry remembers may still forecast; add another stream of the same asset"
        )
    if streams > MANY_STREAMS:
        notes.append(
            f"note: {streams} streams: phases and arbitrage compare every pair, which takes about"
            f" {streams**2 * PAIR_NS / 1e3:,.0f} s per million events; memory grows with streams x batch_events"
        )
    return notes


def say(notes: list[str]) -> list[str]:
    """Write each note to stderr and to the log, secrets blanked; gives them back."""
    for note in notes:
        sys.stderr.write(f"{scrub(note)}\n")
    log_notes(notes)
    return notes


def write_config(settings: RunConfig, run_dir: Path) -> dict[str, Any]:
    """Begin to write: in place of what an earlier run left, config.yaml, secrets masked; gives it as plain values."""
    remove_results(run_dir)
    config: dict[str, Any] = mask_secrets(OmegaConf.to_container(OmegaConf.structured(settings)))
    (run_dir / "config.yaml").write_text(OmegaConf.to_yaml(config), encoding="utf-8")
    log_start(settings, run_dir)
    return config


def trace_of(settings: RunConfig, run_dir: Path, device: str) -> Trace:
    """The trace that ``profile=true`` asks for; without it, one of nothing.

    Args:
        settings: of the run.
        run_dir: of the run.
        device: torch's name of it.
    """
    return Trace(run_dir / TRACE if settings.profile else None, cuda=device.startswith("cuda"))


def reference_of(wanted: str | None, instruments: tuple[Instrument, ...]) -> str | None:
    """The stream ``source.reference`` asks for.

    Raises:
        ConfigError: the source has no such stream.
    """
    streams = [instrument.stream for instrument in instruments]
    if wanted is not None and wanted not in streams:
        raise ConfigError(f"source.reference={wanted} is not in the source{closest(wanted, streams)}: {streams}")
    return wanted


def unused_reference(settings: RunConfig, instruments: tuple[Instrument, ...]) -> list[str]:
    """Notes of a mode in which ``source.reference`` changes nothing; it stays allowed, as sources are shared by modes.

    Raises:
        ConfigError: the source has no such stream.
    """
    wanted = reference_of(settings.source.reference, instruments)
    if wanted is None:
        return []
    note = f"source.reference={wanted} changes nothing in mode={settings.mode}, which compares every pair of streams"
    return [f"note: {note}: it is what basis_bp of mode=replay is measured against"]


def another_stream(settings: RunConfig) -> str:
    """What to set where the source has one stream and more are needed."""
    source = settings.source
    if isinstance(source, SyntheticSource):
        return "use source.streams=2 or more"
    if isinstance(source, StoreSource):
        narrowed = [f"source.{name}" for name in ("venues", "symbols") if getattr(source, name)]
        return (
            f"let {' and '.join(narrowed)} take in another one"
            if narrowed
            else "convert another one to that store too (mode=convert convert.existing=append)"
        )
    files = "let source.glob match the files of another one too"
    return f"{files}, and name it in source.streams" if isinstance(source, CaptureSource) and source.streams else files


def expected_events(settings: RunConfig, feed: Feed) -> int | None:
    """Quotes and trades to come; the synthetic feed knows its depth rows only as it goes."""
    return settings.source.events if isinstance(settings.source, SyntheticSource) else feed.expected_events


def describe(settings: RunConfig) -> str:
    """The source in a few words."""
    source = settings.source
    if isinstance(source, SyntheticSource):
        return f"synthetic market, {source.streams} venues, {source.events:,} events, seed {source.seed}"
    if isinstance(source, CcxtSource):
        return f"live: {', '.join(source.streams)}"
    place = getattr(source, "glob", None) or getattr(source, "path", "")
    return f"{type(source).__name__.removesuffix('Source').lower()} {place}"
