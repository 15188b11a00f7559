"""``python -m schwabot.run``: compose the settings, build the parts, hand over to the engine.

Heavy libraries are imported where they are needed, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from schwabot.config import (
    CaptureSource,
    RunConfig,
    StoreSource,
    SyntheticSource,
    TableSource,
    closest,
    conf_dir,
    explain,
    find_files,
    mask_secrets,
    normalise_arguments,
    register,
    to_instruments,
    to_settings,
    without_reference,
)
from schwabot.errors import ConfigError, SchwabotError
from schwabot.tensors.device import resolve_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schwabot.records.instrument import Instrument
    from schwabot.sinks.base import Sink
    from schwabot.sinks.progress import Progress
    from schwabot.ticks.base import Feed

INTERRUPTED = 130
TABLES = ("signals", "lag_decisions", "lag_curve", "arbitrage", "drift", "memory")
"""Parquet tables of a run."""
_started_s: list[float] = []
register()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run with the given command line, or the process's own.

    Args:
        arguments: Hydra overrides and flags, as after ``python -m schwabot.run``.

    Raises:
        SystemExit: code 2 for a setting that can't be used, 1 for bad input or a missing device, 130 for Ctrl-C.
    """
    given = sys.argv[1:] if arguments is None else arguments
    _started_s[:] = [time.perf_counter()]
    try:
        with _command_line(normalise_arguments(given)):
            _compose()
    except (HydraException, OmegaConfBaseException) as error:
        _fail(explain(error), error)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted before the first event\n")
        raise SystemExit(INTERRUPTED) from None
    except OSError as error:
        if error.filename is None:
            raise
        _fail(ConfigError(f"{error.filename}: {error.strerror}; is hydra.run.dir a folder you can write to?"), error)


@contextmanager
def _command_line(arguments: list[str]) -> Iterator[None]:
    """Let Hydra read these arguments, and let its errors come to us instead of being printed."""
    argv, full = sys.argv, os.environ.get("HYDRA_FULL_ERROR")
    sys.argv = [argv[0], *arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        sys.argv = argv
        if full is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = full


@hydra.main(version_base="1.3", config_path=str(conf_dir()), config_name="config")
def _compose(config: DictConfig) -> None:
    started_s = _started_s.pop() if _started_s else time.perf_counter()  # the first job pays for composing
    run_dir = Path(HydraConfig.get().runtime.output_dir).absolute()
    try:
        settings = to_settings(config)
        _remove_results(run_dir)
        summary = {"replay": replay, "convert": convert}[settings.mode](settings, run_dir, started_s)
    except SchwabotError as error:
        with suppress(OSError):
            run_dir.rmdir()  # goes only if it is empty
        _fail(error, error)
    if summary.get("interrupted"):
        raise SystemExit(INTERRUPTED)


def _remove_results(run_dir: Path) -> None:
    """Remove what an earlier run left in the same folder, so that no result stands beside another run's summary."""
    if not (run_dir / "summary.json").exists():
        return
    for name in ("summary.json", "config.yaml", *(f"{table}.parquet" for table in TABLES)):
        (run_dir / name).unlink(missing_ok=True)


def _fail(said: SchwabotError, error: Exception) -> NoReturn:
    """End with one line instead of a traceback. An exit, because Hydra reports exceptions that leave a job."""
    if os.environ.get("SCHWABOT_TRACEBACK") == "1":
        raise error
    sys.stderr.write(f"error: {said}\n")
    raise SystemExit(2 if isinstance(said, ConfigError) else 1)


def open_feed(settings: RunConfig) -> Feed:
    """The source of ticks that the settings ask for.

    Raises:
        ConfigError: no file matches, or a setting of the source can't be used.
        DataError: the source can't be read.
    """
    source = settings.source
    if isinstance(source, SyntheticSource):
        from schwabot.ticks.synthetic import SyntheticFeed

        return SyntheticFeed(without_reference(source))
    if isinstance(source, CaptureSource):
        from schwabot.ticks.capture import CaptureFeed

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
    from schwabot.ticks.store import StoreFeed

    assert isinstance(source, StoreSource)
    return StoreFeed(without_reference(source))


def replay(settings: RunConfig, run_dir: Path, started_s: float) -> dict[str, Any]:
    """mode=replay: every tick through the graph, results to the run's folder.

    Returns:
        What summary.json holds.
    """
    from schwabot import engine
    from schwabot.clock import ReplayClock
    from schwabot.pipeline import Pipeline
    from schwabot.sinks.base import RunHeader
    from schwabot.sinks.progress import Progress
    from schwabot.training.meters import meters_of
    from schwabot.training.skill import SkillMeter
    from schwabot_kernels.cache import cache_folder

    feed = open_feed(settings)
    reference = _reference(settings.source.reference, feed.instruments)
    device, reason = resolve_device(settings.device)
    notes = _say_notes(feed, reason)
    config = _write_config(settings, run_dir)
    pipeline = Pipeline(feed.instruments, settings.modules, settings.latency, device=device)
    if not cache_folder().exists():
        sys.stderr.write("compiling the kernels, once per version of Schwabot: this takes a minute or two\n")
    skill = SkillMeter(feed.instruments, settings.skill)
    progress = Progress(enabled=settings.sinks.progress, label=settings.mode)
    header = RunHeader(
        run_dir=run_dir,
        mode=settings.mode,
        device=str(device),
        source=_describe(settings),
        instruments=feed.instruments,
        expected_events=_expected_events(settings, feed),
        config=config,
        notes=tuple(notes),
    )
    summary = engine.run(
        feed,
        pipeline,
        header,
        clock=ReplayClock(),
        sinks=_sinks(settings, progress),
        meters=meters_of(feed, skill, settings.modules.phantom_lag, pipeline.clock_summary),
        reference=reference,
        batch_events=settings.batch_events,
        progress=progress,
        started_s=started_s,
    )
    for note in summary["notes"][len(notes) :]:
        sys.stderr.write(f"{note}\n")
    if skill.note:
        sys.stderr.write(f"note: {skill.note}\n")
    return summary


def convert(settings: RunConfig, run_dir: Path, started_s: float) -> dict[str, Any]:
    """mode=convert: any source to a partitioned Parquet store.

    Returns:
        What summary.json holds.
    """
    from schwabot import engine
    from schwabot.sinks.progress import Progress
    from schwabot.sinks.summary import write_json
    from schwabot.ticks.store_writer import write_store

    feed = open_feed(settings)
    notes = _say_notes(feed)
    _write_config(settings, run_dir)
    target = settings.convert
    assert target.out is not None
    with Progress(enabled=settings.sinks.progress, label="convert") as progress, engine.StopRequest() as stop:
        watched = engine.WatchedFeed(feed, progress, stop)
        report = write_store(
            watched,
            target.out,
            mode=target.existing,
            compression=target.compression,
            rows_per_group=target.rows_per_group,
        )
    wall_s = time.perf_counter() - started_s
    summary: dict[str, Any] = {"mode": settings.mode, "device": "cpu"} | watched.tally.summary({})
    summary |= {
        "dropped": dict(feed.dropped),
        "wall_s": wall_s,
        "events_per_s": summary["events"] / wall_s,
        "peak_rss_mib": engine.peak_rss_mib(),
        "interrupted": stop.wanted,
        "notes": notes,
        "store": {"path": str(Path(target.out).absolute()), "rows": report.rows, "files": report.files},
    }
    write_json(run_dir / "summary.json", summary)
    if settings.sinks.console:
        print(  # noqa: T201
            f"{report.rows:,} rows ({summary['events']:,} quotes and trades) of {len(report.streams)} streams in "
            f"{report.files} files, {report.bytes / 2**20:,.1f} MiB, {wall_s:.1f} s: {target.out}\nfiles: {run_dir}"
        )
    return summary


def _say_notes(feed: Feed, reason: str | None = None) -> list[str]:
    """Write to stderr, and give back, what the source had to guess and why the device is not the one asked for."""
    notes = [] if reason is None else [f"warning: running on the CPU: {reason}"]
    notes += [f"note: {note}" for note in getattr(feed, "notes", ())]
    for note in notes:
        sys.stderr.write(f"{note}\n")
    return notes


def _write_config(settings: RunConfig, run_dir: Path) -> dict[str, Any]:
    """Write config.yaml, secrets masked, and give the same back as plain values."""
    config: dict[str, Any] = mask_secrets(OmegaConf.to_container(OmegaConf.structured(settings)))
    (run_dir / "config.yaml").write_text(OmegaConf.to_yaml(config), encoding="utf-8")
    return config


def _reference(wanted: str | None, instruments: tuple[Instrument, ...]) -> str | None:
    streams = [instrument.stream for instrument in instruments]
    if wanted is not None and wanted not in streams:
        raise ConfigError(f"source.reference={wanted} is not in the source{closest(wanted, streams)}: {streams}")
    return wanted


def _expected_events(settings: RunConfig, feed: Feed) -> int | None:
    """Quotes and trades to come; the synthetic feed knows its depth rows only as it goes."""
    return settings.source.events if isinstance(settings.source, SyntheticSource) else feed.expected_events


def _describe(settings: RunConfig) -> str:
    source = settings.source
    if isinstance(source, SyntheticSource):
        return f"synthetic market, {source.streams} venues, {source.events:,} events, seed {source.seed}"
    place = getattr(source, "glob", None) or getattr(source, "path", "")
    return f"{type(source).__name__.removesuffix('Source').lower()} {place}"


def _sinks(settings: RunConfig, progress: Progress) -> list[Sink]:
    from schwabot.sinks.console import ConsoleSink
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
    if wanted.console:
        sinks.append(ConsoleSink())
    return sinks


if __name__ == "__main__":
    main()
