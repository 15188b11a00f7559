"""mode=fit: train a forecast, score it on what it has not seen, write a checkpoint."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schwabot.config import RunConfig
from schwabot.errors import ConfigError
from schwabot.modes.opening import compile_by, describe, open_feed, say, write_config
from schwabot.records.market import Ticks

CHECKPOINT = "checkpoint.safetensors"
HEADER_BYTES = 1 << 20
"""A checkpoint says what it is well before this."""


def _check_out(out: str | None) -> None:
    """Say what is wrong with ``fit.out`` before a fit that may take long, not after it.

    Raises:
        ConfigError: it is a folder, lies in none, or is a file that is no checkpoint.
    """
    if not out:
        return
    file = Path(out)
    if file.is_dir():
        raise ConfigError(f"fit.out={out} is a folder: name a file in it, such as {file / 'head.safetensors'}")
    if not file.absolute().parent.is_dir():
        raise ConfigError(f"fit.out={out}: there is no folder {file.absolute().parent}; make it, or name another file")
    if file.is_file() and file.stat().st_size:
        with file.open("rb") as opened:
            if b"schwabot_head" not in opened.read(HEADER_BYTES):
                raise ConfigError(f"fit.out={out} is a file that is no checkpoint and would be lost: name another one")


def fit(settings: RunConfig, run_dir: Path, started_s: float) -> dict[str, Any]:
    """mode=fit: train, score, write; Ctrl-C while it reads ends it without a head, later it keeps the head.

    Returns:
        What summary.json holds.
    """
    from schwabot import engine
    from schwabot.modules.forecast import ForecastHead
    from schwabot.sinks.fit_board import FitBoard
    from schwabot.sinks.fit_table import fit_table, show_fit, write_fit
    from schwabot.sinks.gpu_telemetry import watch_gpu
    from schwabot.sinks.progress import Progress
    from schwabot.sinks.summary import write_json
    from schwabot.training.fit import ForecastFit
    from schwabot.training.leadlag_sums import sums_device

    _check_out(settings.fit.out)
    feed = open_feed(settings)
    device, reason = sums_device(settings.device)
    task = ForecastFit(feed.instruments, settings.fit, settings.modules, settings.latency, settings.skill, device)
    notes = say(
        ([] if reason is None else [f"warning: running on the CPU: {reason}"])
        + [f"note: {note}" for note in getattr(feed, "notes", ())]
    )
    config = write_config(settings, run_dir)
    had_one = (run_dir / CHECKPOINT).exists()
    if settings.sinks.console:
        print(f"schwabot fit on {device.name}: {describe(settings)}")  # noqa: T201
    compile_s = compile_by(task.warm_up, task.assets[0].instruments)
    stop = engine.StopRequest()
    state: dict[str, Any] = {"interrupted": False}
    measured: dict[str, Any] = {}
    whole = False
    files: dict[str, str] = {}
    first: list[engine.WatchedFeed] = []
    given = [feed]
    doing = ""

    def tell(now: str) -> None:
        if stop.wanted:
            raise KeyboardInterrupt  # also where the last batch was at hand, and a fit to half the rows would follow
        nonlocal doing
        doing = now
        if settings.sinks.progress:
            sys.stderr.write(f"fit: {now}\n")

    def read(now: str) -> Iterator[Ticks]:
        tell(now)
        source = given.pop() if given else open_feed(settings)
        with Progress(enabled=settings.sinks.progress, label=f"fit: {now}") as bar:
            watched = engine.WatchedFeed(source, bar, stop)
            if not first:
                first.append(watched)
            yield from watched.batches(settings.batch_events)
        if stop.wanted:
            raise KeyboardInterrupt

    def keep(head: ForecastHead) -> None:
        for name, place in (("checkpoint", run_dir / CHECKPOINT), ("out", settings.fit.out)):
            if place:
                head.save(place)
                files[name] = str(Path(place).absolute())

    try:
        with stop, watch_gpu(device.name) as gpu:
            try:
                task.run(read, keep, tell)
            finally:
                measured = gpu.summary()
        whole = True
        state["interrupted"] = stop.wanted
    except KeyboardInterrupt:
        state["interrupted"] = True
        task.scores.clear()  # of a part of what was held out only
    except BaseException as error:
        state["error"] = str(error) or type(error).__name__
        raise
    finally:
        found = task.summary() | files
        skill = task.skill_tables("forecast")
        summary: dict[str, Any] = {"mode": settings.mode, "device": device.said}
        if first:
            summary |= first[0].tally.counts() | {
                "dropped": dict(first[0].dropped),
                "dropped_examples": list(getattr(feed, "examples", ())),
            }
        told = list(task.notes)
        if whole:
            left = "all was done by then"
        else:
            left = "there is a checkpoint, but no score" if files else "no head was written"
        ended = f"interrupted while {doing}: {left}"
        if state["interrupted"]:
            told.append(ended)
        if had_one and "checkpoint" not in files:
            told.append(f"this fit wrote no head: the {CHECKPOINT} there is of an earlier fit")
        notes += say([*([device.warning] if device.warning else []), *(f"note: {note}" for note in told)])
        summary |= {"skill": skill, "fit": found} | measured
        if task.scores:
            share = f"{100 * (1 - settings.fit.split):g} %"
            summary["skill_note"] = (
                f"of the trained forecast, on the last {share} of each asset's time after an embargo of"
                f" {settings.fit.embargo_s:g} s; fit.baselines holds the same for what needs no training"
            )
        wall_s = time.perf_counter() - started_s
        summary |= {
            "wall_s": wall_s,
            "compile_s": compile_s,
            "peak_rss_mib": engine.peak_rss_mib(),
            "notes": notes,
        } | state
        write_json(run_dir / "summary.json", summary)
    if settings.sinks.parquet:
        write_fit(run_dir / "fit.parquet", fit_table(skill, found))
    if settings.sinks.tensorboard:
        board = FitBoard(run_dir)
        board.losses(found)
        board.skill({"forecast": skill, **found.get("baselines", {})})
        board.close({name: config[name] for name in ("source", "fit", "modules") if name in config}, found)
    if settings.sinks.console:
        show_fit(skill, found)
        if state["interrupted"]:
            print(ended)  # noqa: T201
        print(f"checkpoint: {files.get('out') or files.get('checkpoint')}" if files else "no checkpoint")  # noqa: T201
        print(f"files: {run_dir}")  # noqa: T201
    sys.stdout.flush()
    return summary
