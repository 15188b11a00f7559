"""mode=sweep: many parameter sets of a policy over recorded markets, and whether the best of them is luck."""

from __future__ import annotations

import dataclasses
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from schwabot import engine
from schwabot.cluster.ray_cluster import RayCluster
from schwabot.config import RunConfig
from schwabot.errors import ConfigError
from schwabot.modes.opening import describe, notes_of, open_feed, say, trace_of, while_compiling, write_config
from schwabot.modes.serving import Served, served
from schwabot.modes.sweep_markets import MarketPlan, Markets, changed, content_of, declared
from schwabot.modes.sweep_slices import WHOLE, Slices, slices_of
from schwabot.modes.sweeping import Bench, Here, OpenMarkets, Swept, identity, sweep_markets
from schwabot.modes.trading import Desk, open_desk, open_policy
from schwabot.modules.forecast import ForecastHead
from schwabot.pipeline import Pipeline
from schwabot.records.instrument import Instrument
from schwabot.signals.compiling import CompiledPolicy
from schwabot.simulation.report import write_report
from schwabot.simulation.sweep.figures import sweep_facts, sweep_sections
from schwabot.simulation.sweep.maps import heat_maps
from schwabot.simulation.sweep.parts import Parts
from schwabot.simulation.sweep.ranges import Space, open_space
from schwabot.simulation.sweep.search import Search, open_search
from schwabot.simulation.sweep.table import Results
from schwabot.sinks.base import RunHeader
from schwabot.sinks.gpu_telemetry import GpuTelemetry, watch_gpu
from schwabot.sinks.narrow import print_narrow, short_number
from schwabot.sinks.progress import Progress
from schwabot.sinks.summary import write_json
from schwabot.sinks.sweep_board import SweepBoard
from schwabot.tensors.device import resolve_device
from schwabot.training.heads import fitted_note

FILE = "sweep.parquet"


@dataclasses.dataclass
class _Job:
    """What a sweep has to do, before anything is read.

    ``desk`` is there where the source is one market; parts of a store are opened one by one.
    """

    policy: CompiledPolicy
    space: Space
    search: Search
    slices: Slices
    instruments: tuple[Instrument, ...]
    head: ForecastHead | None
    desk: Desk | None
    device: str
    notes: list[str]

    @classmethod
    def of(cls, settings: RunConfig) -> _Job:
        """Refuse everything that can be refused by now."""
        policy, _ = while_compiling(lambda: open_policy(settings))
        space = open_space(settings.sweep.over, declared(policy.parameters, settings.modules))
        both = [one.short for one in space.dimensions if one.name.removeprefix("policy.") in settings.policy.parameters]
        if both:
            raise ConfigError(f"policy.{both[0]} is set and searched: leave it out of one of them")
        search = open_search(space, settings.sweep)
        graphs = [changed(settings, space.graph_setting(number)) for number in range(space.graphs)]
        feed = open_feed(settings)
        slices = slices_of(settings, feed)
        device, note = resolve_device(settings.device)
        desk = None
        if slices.parts[0].name == WHOLE:
            desk = open_desk(graphs[0], policy, feed, kind=Pipeline)
            head, notes, device = desk.head, desk.notes, desk.device
        else:
            head = ForecastHead.load(settings.checkpoint) if settings.checkpoint else None
            notes = say(notes_of(feed, note))
        notes = notes + say([*(f"note: {note}" for note in search.notes), *slices.notes])
        return cls(policy, space, search, slices, feed.instruments, head, desk, str(device), notes)


def sweep(settings: RunConfig, run_dir: Path, started_s: float) -> dict[str, Any]:
    """mode=sweep: every set to Parquet, the best and what speaks against them to summary.json, report, TensorBoard.

    Returns:
        What summary.json holds.

    Raises:
        DeviceError: a device that is required failed; what was done by then is written.
    """
    job = _Job.of(settings)
    keys = [(part.name, number) for number in range(job.space.graphs) for part in job.slices.parts]
    summary: dict[str, Any] = {"mode": settings.mode, "device": job.device, "interrupted": False}
    summary |= {"notes": list(job.notes), "compile_s": 0.0, "sweep": {"sets": 0}}

    def warn(line: str) -> None:
        if line not in summary["notes"]:  # of several markets
            summary["notes"] += say([line])
            summary["device"] = f"{job.device}, then cpu"

    with ExitStack() as held:
        cluster = None
        if settings.cluster.kind == "ray":
            plan = MarketPlan.of(settings, job.device.partition(":")[0], job.policy, job.space, job.slices)
            cluster = held.enter_context(RayCluster(settings.cluster, plan, keys, warn))
        if settings.sinks.console:
            print(f"schwabot sweep on {job.device}: {describe(settings)}", flush=True)  # noqa: T201
        stop = held.enter_context(engine.StopRequest())
        server = held.enter_context(served(settings))
        gpu = held.enter_context(watch_gpu(job.device if cluster is None else "cpu"))
        is_begun = False  # a sweep that is refused leaves what is in the folder
        try:
            markets = None
            bench: Bench
            if cluster is None:
                markets = Markets(settings, job.policy, job.space, job.slices, stop, job.desk, warn=warn)
                bench = Here(markets, settings.sweep.threads)
            else:
                bench = cluster
            facts = dict(zip(keys, bench.open(keys, lambda: stop.wanted), strict=True))
            opened = OpenMarkets(facts, job.slices, settings, job.instruments)
            known = content_of(job.policy) is not None  # otherwise nobody could say that a block is of this policy
            told_by = identity(settings, job.policy, job.space, opened)
            parts = Parts(run_dir, told_by, settings.sweep.resume and known)
            written = write_config(settings, run_dir)
            is_begun = True
            server.begin_sweep(
                RunHeader(run_dir, settings.mode, job.device, describe(settings), job.instruments, config=written)
            )
            summary |= opened.counts() | {"compile_s": markets.compile_s if markets else 0.0}
            swept = _sweep(settings, run_dir, job, opened, bench, parts, stop, gpu, server)
            summary["interrupted"] = not swept.whole and not swept.lost
            summary["sweep"] = swept.numbers | {"policy": settings.policy.name}
            summary["notes"] += say(swept.notes)
            _write(settings, run_dir, swept, summary)
            if swept.lost:
                raise swept.lost
        except KeyboardInterrupt:
            summary["interrupted"] = True
            summary["notes"] += say(["note: interrupted before a set was tried"])
            is_begun = is_begun or bool(write_config(settings, run_dir))
        except BaseException as error:
            summary["error"] = str(error) or type(error).__name__
            raise
        finally:
            summary |= {"wall_s": time.perf_counter() - started_s, "peak_rss_mib": engine.peak_rss_mib()}
            summary |= gpu.summary()
            server.end_sweep(summary)
            if is_begun:
                write_json(run_dir / "summary.json", summary)
    return summary


def _sweep(
    settings: RunConfig, run_dir: Path, job: _Job, opened: OpenMarkets, bench: Bench, parts: Parts,
    stop: engine.StopRequest, gpu: GpuTelemetry, server: Served,
) -> Swept:  # fmt: skip
    """Try all sets, and show how far it is."""
    config, bucket_s, search = settings.sweep, settings.simulation.bucket_s, job.search
    board = SweepBoard(run_dir) if settings.sinks.tensorboard else None
    best = [np.nan]
    begun_s = time.perf_counter()
    trace = trace_of(settings, run_dir, job.device)

    def told(done: int, ran: int, results: Results) -> None:
        spent_s = max(time.perf_counter() - begun_s, 1e-9)
        rates = {"sets_per_s": ran / spent_s, "param_events_per_s": ran * opened.rows / spent_s}
        last = results.last(range(config.folds))
        objective = last.objective(config.objectives[0], bucket_s, max(config.min_trades, 1))
        best.append(np.fmax(best[-1], np.fmax.reduce(objective)))
        server.sweep(
            {"done": done, "sets": search.sets, "ran": ran, "objective": config.objectives[0], "best": float(best[-1])}
            | rates
        )
        bar.update(done, done / search.sets, f", {ran * opened.rows / spent_s:,.3g} parameter-events/s")
        if board is not None:
            board.progress(done, {"best": float(best[-1])} | (rates if ran else {}))
            board.device(done, gpu.take())
        trace.step()

    try:
        with Progress(enabled=settings.sinks.progress, label="sweep", unit="sets") as bar, trace:
            swept = sweep_markets(
                settings,
                job.space,
                search,
                opened,
                bench,
                job.policy,
                parts=parts,
                fitted=fitted_note(job.head, opened.first_ns, opened.last_ns),
                told=told,
                stop=lambda: stop.wanted,
            )
        if board is not None and swept.outcome.best is not None:
            guards = swept.numbers["guards"]
            board.found({name: value for name, value in guards.items() if isinstance(value, int | float)})
            board.maps(heat_maps(swept.outcome), swept.surface)
            board.sets(swept.outcome.top(), [one.short for one in job.space.dimensions])
    finally:
        if board is not None:
            board.close()
    return swept


def _write(settings: RunConfig, run_dir: Path, swept: Swept, summary: dict[str, Any]) -> None:
    results = swept.outcome.results
    if settings.sinks.parquet and results.sets:
        part = run_dir / f"{FILE}.part"
        pq.write_table(results.table, part, compression="zstd")
        part.replace(run_dir / FILE)
    if settings.sinks.figures:
        report(run_dir / "report.html", settings, describe(settings), swept, summary["notes"])
    if settings.sinks.console:
        _say(swept, run_dir)


def report(file: Path, settings: RunConfig, source: str, swept: Swept, notes: list[str]) -> None:
    """Write the page.

    Args:
        file: where to.
        settings: of the run; its assumptions are listed.
        source: in a few words.
        swept: what to show.
        notes: what a reader has to know.
    """
    outcome, said, found = swept.outcome, swept.said, swept.numbers
    simulation = dataclasses.asdict(settings.simulation)
    told = {f"simulation.{name}": value for name, value in simulation.items() if value not in (None, [])}
    told |= {f"policy.{name}": value for name, value in settings.policy.parameters.items()}
    told |= {f"note {number}": note for number, note in enumerate(notes, 1)}
    sections = sweep_sections(outcome, said, swept.surface, told)
    facts = sweep_facts(outcome, said)
    if found["param_events_per_s"]:
        facts |= {
            "parameter-events/s": f"{found['param_events_per_s']:,.3g}",
            "without skipping": f"{found['unskipped_per_s']:,.3g}",
            "fills of a set, median": f"{found['trades_median']:,.0f}",
        }
    what = (
        f"{outcome.results.sets:,} parameter sets of {settings.policy.name} on {source}. {said.headline}"
        " What it shows is what these orders would have met in this recording; it says nothing about other days."
    )
    write_report(file, f"Sweep of {settings.policy.name}", sections, facts, what)


def _say(swept: Swept, run_dir: Path) -> None:
    from rich.console import Console

    outcome, said, found = swept.outcome, swept.said, swept.numbers
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    rows = outcome.top()[:10]
    if rows:
        searched = {name: name.rpartition(".")[2] for name in (one.short for one in outcome.results.space.dimensions)}
        first = {"set": "set", "net": "net", "held_out_net": "held out", "trades": "fills", "sharpe": "sharpe/y"}
        last = {"plateau": "plateau", "drawdown": "drawdown", "net_bp": "net bp", "held_out_trades": "fills there"}
        shown = first | searched | last
        cells = [[short_number(row[name]) for name in shown] for row in rows]
        print_narrow(console, list(shown.values()), cells, left=())
    for line in said.text.splitlines():
        console.print(line, soft_wrap=True)
    rate = found["param_events_per_s"]
    if rate:
        console.print(
            f"{found['ran']:,} sets in {found['search_s']:.3g} s: {rate:,.3g} parameter-events/s in the kernel at a"
            f" median of {found['trades_median']:,.0f} fills a set; {found['unskipped_per_s']:,.3g} without skipping",
            soft_wrap=True,
        )
    console.print(f"report: {run_dir / 'report.html'}", soft_wrap=True)
