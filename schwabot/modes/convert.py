"""mode=convert: any source to a store."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from schwabot.config import RunConfig
from schwabot.modes.opening import open_feed, say, write_config


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
    unused = ["note: running on the CPU: nothing of mode=convert runs on a GPU"] * (settings.device.kind == "cuda")
    notes = say(unused + [f"note: {note}" for note in getattr(feed, "notes", ())])
    write_config(settings, run_dir)
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
