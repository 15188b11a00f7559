"""mode=record: live streams into a store, whole at any moment."""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schwabot.config import CcxtSource, RunConfig
from schwabot.errors import ConfigError
from schwabot.modes.notifying import notify_sink
from schwabot.modes.opening import open_feed, say, write_config

if TYPE_CHECKING:
    from schwabot.sinks.notify import NotifySink
    from schwabot.sinks.progress import Progress
    from schwabot.ticks.ccxt_feed import CcxtFeed
    from schwabot.ticks.recorder import Recorder

_log = logging.getLogger("schwabot.record")


def record(settings: RunConfig, run_dir: Path, started_s: float) -> dict[str, Any]:
    """mode=record: live streams into a partitioned Parquet store, until stopped.

    Returns:
        What summary.json holds.

    Raises:
        ConfigError: a source that is not live, or a folder that can't be used.
        VenueError: an exchange can't be reached.
    """
    from schwabot import engine
    from schwabot.sinks.progress import Progress
    from schwabot.sinks.summary import write_json
    from schwabot.ticks.ccxt_feed import CcxtFeed
    from schwabot.ticks.recorder import Recorder

    if not isinstance(settings.source, CcxtSource):
        raise ConfigError(
            "mode=record writes down what is live: add source=ccxt; mode=convert copies what was recorded"
        )
    feed = open_feed(settings)
    assert isinstance(feed, CcxtFeed)
    unused = ["note: running on the CPU: nothing of mode=record runs on a GPU"] * (settings.device.kind == "cuda")
    notes, told_before = say(unused + [f"note: {note}" for note in feed.notes]), len(feed.notes)
    state: dict[str, Any] = {}
    progress, stop = Progress(enabled=settings.sinks.progress, label="record"), engine.StopRequest()
    watched = engine.WatchedFeed(feed, progress, stop)
    switches, alerts = 0, notify_sink(settings, progress.note) if settings.notify.to else None
    with feed:
        recorder = Recorder(feed.instruments, settings.record)
        write_config(settings, run_dir)
        try:
            with progress, stop, recorder:
                for ticks in watched.batches(settings.batch_events):
                    recorder.write(ticks)
                    switches += _tell(feed, recorder, progress, alerts)
                switches += _tell(feed, recorder, progress, alerts)
                notes += [f"note: {note}" for note in feed.notes[told_before:]]
        except BaseException as error:
            state = {"error": str(error) or type(error).__name__}
            raise
        finally:
            report = recorder.report({})
            wall_s = time.perf_counter() - started_s
            summary: dict[str, Any] = {"mode": settings.mode, "device": "cpu"} | watched.tally.counts()
            summary |= {
                "dropped": dict(feed.dropped),
                "dropped_examples": feed.examples,
                "wall_s": wall_s,
                "events_per_s": summary["events"] / wall_s,
                "peak_rss_mib": engine.peak_rss_mib(),
                "interrupted": stop.wanted,
                "fallbacks": switches,
                "feed": feed.summary(),
                "notes": notes,
                "store": {
                    "path": str(Path(report.root).absolute()), "rows": report.rows, "files": report.files,
                    "gaps": recorder.gaps,
                },
            }  # fmt: skip
            write_json(run_dir / "summary.json", summary | state)
            if alerts is not None:
                alerts.close(summary)
    if settings.sinks.console:
        size = f"{report.files} files, {report.bytes / 2**20:,.1f} MiB, {recorder.gaps:,} gaps, {wall_s:.1f} s"
        sys.stdout.write(f"{report.rows:,} rows of {len(report.streams)} streams in {size}: {report.root}\n")
        sys.stdout.write(f"files: {run_dir}\n")
    return summary


def _tell(feed: CcxtFeed, recorder: Recorder, progress: Progress, alerts: NotifySink | None) -> int:
    """Hand on what happened to the feed; gives how much."""
    recorder.late(feed.take_late())
    told = feed.take_events()
    for event in told:
        recorder.tell(event)
        line = f"{event.component}: {event.before} to {event.after}: {event.reason}"
        progress.note(line)
        _log.warning("%s", line, extra={"event": "fallback", "ts_ns": event.ts_ns})
    if alerts is not None:
        alerts.switched(told)
    return len(told)
