"""``python -m schwabot.run``: compose the settings, build the parts, hand over to the engine.

Heavy libraries are imported where they are needed, so that ``--help`` answers at once.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from schwabot.config import (
    CaptureSource,
    RunConfig,
    StoreSource,
    SyntheticSource,
    TableSource,
    closest,
    conf_dir,
    explain,
    mask_secrets,
    normalise_arguments,
    register,
    to_instruments,
    to_settings,
    without_reference,
)
from schwabot.errors import ConfigError, DataError, SchwabotError
from schwabot.tensors.device import resolve_device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from schwabot.modules.settings import ModulesConfig
    from schwabot.records.instrument import Instrument
    from schwabot.sinks.base import Sink
    from schwabot.sinks.progress import Progress
    from schwabot.ticks.base import Feed

INTERRUPTED = 130
MANY_STREAMS = 16
"""More streams than this are worth a word about what they cost."""
PAIR_NS = 9.0
"""What a pair of streams costs per event: measured at 64 and 128 streams on one core of a Zen4 server."""
COMPILING_S = 3.0
"""Kernels that are not ready after this are being compiled, and the user is told so."""
TABLES = ("signals", "lag_decisions", "lag_curve", "arbitrage", "drift", "memory")
RESULTS = ("summary.json", "config.yaml", *(f"{table}.parquet" for table in TABLES))
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
        if "--version" in given:
            # By name: the package's own module names the API, which stands above this one.
            print(f"schwabot {import_module('schwabot').__version__}")  # noqa: T201
        else:
            _check_names(given)
            with _command_line(normalise_arguments(given)):
                _compose()
        sys.stdout.flush()  # here, not at exit, where a reader that is gone can't be caught
    except BrokenPipeError:  # ``... | head``: who reads has seen enough
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except (HydraException, OmegaConfBaseException) as error:
        _fail(explain(error), error)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted before the first event\n")
        raise SystemExit(INTERRUPTED) from None
    except OSError as error:  # before the run's folder is there
        if error.filename is None:
            raise
        _fail(ConfigError(f"{error.filename}: {error.strerror}; is hydra.run.dir a folder you can write to?"), error)


def _check_names(arguments: Sequence[str]) -> None:
    """Refuse a folder without a name, which Hydra takes for the working directory; it would write there at once."""
    for argument in arguments:
        name, is_set, value = argument.partition("=")
        name = name.lstrip("+")
        if is_set and name in ("hydra.run.dir", "hydra.sweep.dir") and not value.strip(" \"'"):
            _fail(
                error := ConfigError(f"{name} is empty; say {name}=DIR, or leave it out for outputs/<date>/<time>"),
                error,
            )


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
        _check_folder(run_dir)
        _remove_results(run_dir)
        summary = {"replay": replay, "convert": convert}[settings.mode](settings, run_dir, started_s)
    except SchwabotError as error:
        with suppress(OSError):
            run_dir.rmdir()  # goes only if it is empty
        _fail(error, error)
    except BrokenPipeError:
        raise
    except OSError as error:  # caught here, because Hydra reports exceptions that leave a job
        if error.filename is None:
            raise
        inside = run_dir in Path(os.fsdecode(error.filename)).absolute().parents
        hint = "; is hydra.run.dir a folder you can write to?" if inside else ""
        _fail(ConfigError(f"{os.fsdecode(error.filename)}: {error.strerror}{hint}"), error)
    if summary.get("interrupted"):
        raise SystemExit(INTERRUPTED)


def _check_folder(run_dir: Path) -> None:
    """A run may replace what an earlier run left, and nothing else.

    Raises:
        ConfigError: it holds files of a run's names without the config.yaml of a run.
    """
    taken = [one for name in RESULTS for one in (name, f"{name}.part") if (run_dir / one).exists()]
    taken += sorted(path.name for path in run_dir.glob("events.out.tfevents.*"))
    if taken and not _is_ours(run_dir / "config.yaml"):
        raise ConfigError(
            f"{run_dir} holds {', '.join(taken[:3])}, but no config.yaml of a run of Schwabot beside it, so it is"
            f" somebody else's and would be overwritten; say {_folder_setting()}=NEW, a folder of its own"
        )


def _folder_setting() -> str:
    return "hydra.sweep.dir" if HydraConfig.get().mode == RunMode.MULTIRUN else "hydra.run.dir"


def _is_ours(file: Path) -> bool:
    """Is this the config.yaml that a run writes, of this version or another?"""
    try:
        tree = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException):  # unreadable, not text, not YAML, not settings
        return False
    return isinstance(tree, dict) and {"mode", "source", "modules", "sinks"} <= tree.keys()


def _remove_results(run_dir: Path) -> None:
    """Remove what an earlier run left in the same folder, so that no result stands beside another run's summary."""
    parts = [name for name in (f"{one}.part" for one in RESULTS) if (run_dir / name).exists()]
    if parts:
        sys.stderr.write(f"note: the run before in {run_dir} was killed: removing what it left, {', '.join(parts)}\n")
    for old in run_dir.glob("events.out.tfevents.*"):
        old.unlink()
    for name in (*RESULTS, *parts):
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
        DataError: the source can't be read, or holds nothing.
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
    from schwabot.training.meters import CompileEntry, meters_of
    from schwabot.training.skill import SkillMeter

    feed = open_feed(settings)
    reference = _reference(settings.source.reference, feed.instruments)
    device, reason = resolve_device(settings.device)
    notes = _say(notes_of(feed, reason))
    config = _write_config(settings, run_dir)
    pipeline = Pipeline(feed.instruments, settings.modules, settings.latency, device=device)
    compile_s = compile_kernels(feed.instruments, settings.modules)
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
        meters=[
            *meters_of(feed, skill, settings.modules.phantom_lag, pipeline.clock_summary),
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


def compile_kernels(instruments: tuple[Instrument, ...], modules: ModulesConfig, *, say: bool = True) -> float:
    """Get the kernels ready by one quote through a graph of its own, so that no rate counts the time this takes.

    Args:
        instruments: V instruments of the run.
        modules: settings of the run.
        say: tell the user when this takes long, that is, when they are not compiled yet.

    Returns:
        How long it took, s: a minute or two the first time, a second or two when they are read from disk.
    """
    from schwabot.pipeline import Pipeline
    from schwabot.ticks.merge import blank

    said = "compiling the kernels, once per version of Schwabot: this takes a minute or two\n"
    timer = threading.Timer(COMPILING_S, sys.stderr.write, [said])
    started_s = time.perf_counter()
    if say:
        timer.start()
    try:
        quote = blank(instruments, 1)
        for column in (quote.bid_ticks, quote.ask_ticks, quote.bid_lots, quote.ask_lots):
            column[:] = 1
        graph = Pipeline(instruments, modules)
        graph.step(quote)
        graph.finish()
    finally:
        timer.cancel()
    return time.perf_counter() - started_s


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
    notes = _say([f"note: {note}" for note in getattr(feed, "notes", ())])
    _write_config(settings, run_dir)
    target = settings.convert
    assert target.out is not None
    state: dict[str, Any] = {}
    report = None
    progress, stop = Progress(enabled=settings.sinks.progress, label="convert"), engine.StopRequest()
    watched = engine.WatchedFeed(feed, progress, stop)
    try:
        with progress, stop:
            report = write_store(
                watched,
                target.out,
                mode=target.existing,
                compression=target.compression,
                rows_per_group=target.rows_per_group,
            )
    except BaseException as error:
        state = {"error": str(error) or type(error).__name__}
        notes.append(f"note: nothing was written, {target.out} is as it was before")
        raise
    finally:
        wall_s = time.perf_counter() - started_s
        summary: dict[str, Any] = {"mode": settings.mode, "device": "cpu"} | watched.tally.counts()
        rows, files = (report.rows, report.files) if report is not None else (0, 0)
        summary |= {
            "dropped": dict(feed.dropped),
            "dropped_examples": list(getattr(feed, "examples", ())),
            "wall_s": wall_s,
            "events_per_s": summary["events"] / wall_s,
            "peak_rss_mib": engine.peak_rss_mib(),
            "interrupted": stop.wanted,
            "notes": notes,
            "store": {"path": str(Path(target.out).absolute()), "rows": rows, "files": files},
        }
        write_json(run_dir / "summary.json", summary | state)
    if settings.sinks.console:
        print(  # noqa: T201
            f"{report.rows:,} rows ({summary['events']:,} quotes and trades) of {len(report.streams)} streams in "
            f"{report.files} files, {report.bytes / 2**20:,.1f} MiB, {wall_s:.1f} s: {target.out}\nfiles: {run_dir}"
        )
    return summary


def notes_of(feed: Feed, reason: str | None = None) -> list[str]:
    """What a reader of the results has to know: why not the device asked for, what the source had to assume.

    Args:
        feed: the source of the run.
        reason: why it is not the device that was asked for; None when it is.
    """
    notes = [] if reason is None else [f"warning: running on the CPU: {reason}"]
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


def _say(notes: list[str]) -> list[str]:
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
