"""mode=leadlag: who leads whom, for every pair of streams, on receive time and on the venues' time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schwabot.config import RunConfig
from schwabot.modes.opening import another_stream, describe, open_feed, say, unused_reference, write_config

if TYPE_CHECKING:
    from schwabot.sinks.progress import Progress
    from schwabot.ticks.base import Feed
    from schwabot.ticks.venue_clock import VenueClockConfig
    from schwabot.training.leadlag import LeadLagConfig
    from schwabot.training.leadlag_streams import LeadLagReport
    from schwabot.training.leadlag_sums import SumsDevice


def leadlag(settings: RunConfig, run_dir: Path, started_s: float) -> dict[str, Any]:
    """mode=leadlag: contrast of every pair of streams over a grid of lags; curves as Parquet and as a figure.

    Returns:
        What summary.json holds.
    """
    from schwabot.sinks.progress import Progress
    from schwabot.sinks.summary import write_json
    from schwabot.training.leadlag_sums import sums_device

    feed = open_feed(settings)
    device, reason = sums_device(settings.device)
    unused = unused_reference(settings, feed.instruments)
    unused += [] if reason is None else [f"warning: running on the CPU: {reason}"]
    said = say([*_notes(feed), *unused])
    write_config(settings, run_dir)
    summary: dict[str, Any] = {"mode": settings.mode, "device": device.name, "notes": unused}
    wanted = settings.sinks
    try:
        if wanted.console:
            print(f"schwabot leadlag on {device.name}: {describe(settings)}", flush=True)  # noqa: T201
        report = measure(
            feed,
            settings.leadlag,
            settings.latency,
            summary,
            batch_events=settings.batch_events,
            another=another_stream(settings),
            device=device,
            bars=(
                Progress(enabled=wanted.progress, label="leadlag: reading"),
                Progress(enabled=wanted.progress, label="leadlag: pairs", unit="pairs"),
            ),
        )
        said += say([] if device.warning is None else [device.warning])
        _write(report, run_dir, settings)
    except BaseException as error:
        summary["error"] = str(error) or type(error).__name__
        raise
    finally:
        close(summary, started_s)
        write_json(run_dir / "summary.json", summary)
    if wanted.console:
        from schwabot.sinks.leadlag import print_leadlag

        print_leadlag(summary, run_dir, said=said)
    else:
        say([note for note in summary["notes"] if note not in said])
    return summary


def measure(
    feed: Feed,
    config: LeadLagConfig,
    clock: VenueClockConfig,
    summary: dict[str, Any],
    *,
    batch_events: int,
    bars: tuple[Progress, Progress],
    another: str = "add another one of the same asset",
    device: SumsDevice | None = None,
) -> LeadLagReport:
    """Read a feed to its end, then compare its streams; Ctrl-C ends either part after what is at hand.

    Args:
        feed: read once.
        config: grid, price and bootstrap.
        clock: settings of the venue clocks.
        summary: gets what summary.json holds, as far as it comes.
        batch_events: events per batch.
        bars: progress of reading and of comparing.
        another: what to do where the feed has one stream only.
        device: where the sums over lags are computed; default the CPU.

    Raises:
        ConfigError: one stream only, or a price that the source does not have.
        DataError: fewer than two streams that can be compared.
    """
    from schwabot.engine import StopRequest, WatchedFeed
    from schwabot.training.leadlag_streams import PriceCollector, all_pairs

    notes = [*summary.get("notes", ()), *_notes(feed)]
    summary |= {"interrupted": False, "notes": notes}
    prices = PriceCollector(feed.instruments, config, clock, another)
    with StopRequest() as stop:
        watched = WatchedFeed(feed, bars[0], stop)
        try:
            with bars[0]:
                for ticks in watched.batches(batch_events):
                    prices.update(ticks)
                    if prices.is_full:
                        notes.append(
                            f"note: leadlag.max_prices={config.max_prices:,} was reached {_share(feed)} into the"
                            " source: the rest was not read"
                        )
                        break
        finally:
            summary |= watched.tally.counts()
            summary |= {"dropped": dict(feed.dropped), "dropped_examples": list(getattr(feed, "examples", ()))}
    summary["interrupted"] = stop.wanted
    with StopRequest() as stop, bars[1]:

        def told(done: int, pairs: int, share: float) -> None:
            bars[1].update(done, share)
            if stop.wanted:
                raise KeyboardInterrupt

        report = all_pairs(prices, told, device)
    summary["interrupted"] |= not report.complete
    if device is not None and device.warning is not None:
        summary["device"] = device.said
        notes.append(device.warning)
    notes += [f"note: {note}" for note in report.notes]
    summary["leadlag"] = report.entries()
    return report


def _notes(feed: Feed) -> list[str]:
    """What the source had to assume; not of sizes, fees and steps of the price, which no lead-lag depends on."""
    trading = getattr(feed, "trading_notes", ())
    return [f"note: {note}" for note in getattr(feed, "notes", ()) if note not in trading]


def _share(feed: Feed) -> str:
    return f"{100 * feed.progress():.0f} %"


def close(summary: dict[str, Any], started_s: float) -> None:
    """Add what is known at the end only: time and memory."""
    from schwabot.engine import peak_rss_mib

    wall_s = time.perf_counter() - started_s
    summary |= {
        "wall_s": wall_s,
        "events_per_s": summary.get("events", 0) / wall_s,
        "peak_rss_mib": peak_rss_mib(),
    }


def _write(report: LeadLagReport, run_dir: Path, settings: RunConfig) -> None:
    """The curves and their picture."""
    from schwabot.sinks.leadlag import CURVES, curves_table
    from schwabot.sinks.leadlag_figure import leadlag_figure
    from schwabot.sinks.parquet import GrowingTable

    pairs = [vars(pair) for pair in report.pairs]
    if settings.sinks.parquet:
        table = GrowingTable(run_dir / "leadlag.parquet", CURVES)
        for pair in pairs:
            table.append(curves_table([pair]))
        table.close()
    if settings.sinks.figures:
        part = run_dir / "leadlag.png.part"
        leadlag_figure(pairs).savefig(part, format="png")
        part.replace(run_dir / "leadlag.png")
