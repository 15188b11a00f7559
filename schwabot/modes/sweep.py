"""mode=sweep: many parameter sets of a policy over one recorded market, and whether the best of them is luck."""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from schwabot import engine
from schwabot.clock import ReplayClock
from schwabot.cluster.ray_cluster import RayCluster
from schwabot.config import RunConfig
from schwabot.modes.opening import describe, expected_events, say, write_config
from schwabot.modes.sweep_markets import MarketPlan, Markets, changed, declared, pipeline_of, source_of, warm_up
from schwabot.modes.trading import Desk, open_desk
from schwabot.records.market import Float64
from schwabot.simulation.report import write_report
from schwabot.simulation.sweep.figures import sweep_facts, sweep_sections
from schwabot.simulation.sweep.kernels import SweepKernel
from schwabot.simulation.sweep.maps import heat_maps
from schwabot.simulation.sweep.outcome import Outcome, judge
from schwabot.simulation.sweep.parts import Parts, identity_of
from schwabot.simulation.sweep.ranges import Space, open_space
from schwabot.simulation.sweep.search import Search, open_search
from schwabot.simulation.sweep.searching import Ended, run_search
from schwabot.simulation.sweep.shards import Resident, Shard, run_here, shards_of
from schwabot.simulation.sweep.surface import surface_heat, surface_of, threshold_of
from schwabot.simulation.sweep.table import Results
from schwabot.simulation.sweep.verdict import Verdict, verdict
from schwabot.sinks.base import RunHeader
from schwabot.sinks.progress import Progress
from schwabot.sinks.summary import write_json
from schwabot.sinks.sweep_board import SweepBoard
from schwabot.sinks.sweep_figure import Heat
from schwabot.training.heads import fitted_note
from schwabot.training.meters import CompileEntry
from schwabot_kernels.cache import source_hash

FILE = "sweep.parquet"
HERE = "here"
UNSKIPPED_SETS = 16
"""Sets that are also run without skipping, for the rate."""


def sweep(settings: RunConfig, run_dir: Path, started_s: float) -> dict[str, Any]:
    """mode=sweep: every set to Parquet, the best and what speaks against them to summary.json, report, TensorBoard.

    Returns:
        What summary.json holds.
    """
    desk = open_desk(settings)
    space = open_space(settings.sweep.over, declared(desk.policy.parameters, settings.modules))
    search = open_search(space, settings.sweep)
    graphs = [changed(settings, space.graph_setting(number)) for number in range(space.graphs)]  # all refused or none
    desk = dataclasses.replace(desk, pipeline=pipeline_of(graphs[0], desk, desk.feed))
    desk.notes += say([f"note: {note}" for note in search.notes])
    with ExitStack() as held:
        cluster = None
        if settings.cluster.kind == "ray":
            plan = MarketPlan.of(settings, desk, space)
            keys = [(HERE, number) for number in range(space.graphs)]
            cluster = held.enter_context(RayCluster(settings.cluster, plan, keys))
        return _sweep(settings, run_dir, started_s, desk, space, search, cluster)


def _sweep(
    settings: RunConfig, run_dir: Path, started_s: float, desk: Desk, space: Space, search: Search,
    cluster: RayCluster | None,
) -> dict[str, Any]:  # fmt: skip
    config = write_config(settings, run_dir)
    if settings.sinks.console:
        print(f"schwabot sweep on cpu: {describe(settings)}", flush=True)  # noqa: T201
    recorder = desk.recorder(settings)
    header = RunHeader(
        run_dir=run_dir,
        mode=settings.mode,
        device=str(desk.device),
        source=describe(settings),
        instruments=desk.feed.instruments,
        expected_events=expected_events(settings, desk.feed),
        config=config,
        notes=tuple(desk.notes),
        rates=desk.pipeline.rates,
    )
    summary = engine.run(
        desk.feed,
        desk.pipeline,
        header,
        clock=ReplayClock(),
        broker=recorder,
        meters=[CompileEntry(desk.compile_s)],
        reference=desk.reference,
        batch_events=settings.batch_events,
        progress=Progress(enabled=settings.sinks.progress, label="sweep: reading"),
        started_s=started_s,
    )
    try:
        if summary["interrupted"]:
            summary["sweep"] = {"sets": 0}
            return summary
        with engine.StopRequest() as stop:
            try:
                kernel = SweepKernel(desk.policy, len(desk.legs))
                markets = Markets(settings, desk, space, kernel, stop)
                markets.keep(0, recorder)
                bench: Here | RayCluster
                if cluster is None:
                    prints = [markets.print_of(number) for number in range(space.graphs)]
                    bench = Here(markets, kernel, settings.sweep.threads or _cores())
                else:
                    cluster.expect((HERE, 0), markets.print_of(0))
                    others = [(HERE, number) for number in range(1, space.graphs)]
                    prints = [markets.print_of(0), *map(dict, cluster.open(others, lambda: stop.wanted))]
                    bench = cluster
                data = {f"graph {number}": one for number, one in enumerate(prints, 1)}
                parts = Parts(run_dir, _identity(settings, desk, space, data), settings.sweep.resume)
                ts_ns = recorder.builder.market.ts_ns
                fitted = fitted_note(desk.head, int(ts_ns[0]), int(ts_ns[-1])) if len(ts_ns) else ""
                _search(settings, run_dir, markets, bench, search, space, kernel, parts, stop, summary, fitted)
            except KeyboardInterrupt:
                summary["interrupted"] = True
                summary.setdefault("sweep", {"sets": 0})
    except BaseException as error:
        summary["error"] = str(error) or type(error).__name__
        raise
    finally:
        summary |= {"wall_s": time.perf_counter() - started_s, "peak_rss_mib": engine.peak_rss_mib()}
        write_json(run_dir / "summary.json", summary)
    return summary


class Here:
    """Threads of this process as a place to run shards; see ``schwabot.cluster.ray_cluster.RayCluster``."""

    def __init__(self, markets: Markets, kernel: SweepKernel, threads: int) -> None:
        self.slots = threads
        self._markets = markets
        self._kernel = kernel

    def run(self, shards: Sequence[Shard]) -> pa.Table:
        """Run shards."""
        residents = {(HERE, graph): self._markets.get(graph) for graph in {one.graph for one in shards}}
        return run_here(shards, residents, self.slots)

    def take_busy_s(self) -> float:
        """Time in the kernel since the last call, of all threads together."""
        return self._kernel.take_busy_s()

    def summary(self) -> dict[str, Any]:
        """Entries for summary.json."""
        return {"kind": "local"}


def _search(
    settings: RunConfig, run_dir: Path, markets: Markets, bench: Here | RayCluster, search: Search, space: Space,
    kernel: SweepKernel, parts: Parts, stop: engine.StopRequest, summary: dict[str, Any],
    fitted: str,
) -> None:  # fmt: skip
    """Try the sets, judge them, write everything."""
    config, bucket_s = settings.sweep, settings.simulation.bucket_s
    first = markets.get(0)
    folds = config.folds + 1
    results = Results(space, first.legs, folds)
    threads = config.threads or _cores()
    rows = sum(first.rows)
    summary["compile_s"] += warm_up(first)
    bench.take_busy_s()
    board = SweepBoard(run_dir) if settings.sinks.tensorboard else None
    best = [np.nan]
    begun_s = time.perf_counter()

    def evaluate(number: int, values: Float64) -> pa.Table:
        pieces = max(1, -(-bench.slots // folds) if kernel.skips else bench.slots)
        return bench.run(shards_of(HERE, space, number, values, folds, pieces))

    def told(done: int, ran: int) -> None:
        spent_s = max(time.perf_counter() - begun_s, 1e-9)
        bar.update(done, done / search.sets, f", {ran * rows / spent_s:,.3g} parameter-events/s")
        if board is not None:
            last = results.last(range(config.folds))
            objective = last.objective(config.objectives[0], bucket_s, max(config.min_trades, 1))
            best.append(np.fmax(best[-1], np.fmax.reduce(objective)))
            rates = {"sets_per_s": ran / spent_s, "param_events_per_s": ran * rows / spent_s}
            board.progress(done, {"best": float(best[-1])} | (rates if ran else {}))

    with Progress(enabled=settings.sinks.progress, label="sweep", unit="sets") as bar:
        ended = run_search(search, config, results, evaluate, bucket_s, parts, told, lambda: stop.wanted)
    search_s = time.perf_counter() - begun_s
    kernel_s = bench.take_busy_s() / bench.slots
    kernel.take_busy_s()
    summary["interrupted"] = not ended.whole
    table = results.table
    if settings.sinks.parquet and results.sets:
        part = run_dir / f"{FILE}.part"
        pq.write_table(table, part, compression="zstd")
        part.replace(run_dir / FILE)
    outcome = judge(results, config, bucket_s)
    said = verdict(outcome, fitted)
    found = outcome.summary() | _rates(ended, rows, kernel_s, search_s, kernel, first, results.values, threads)
    found |= {"threads": bench.slots, "cluster": bench.summary()}
    found |= {"verdict": said.word, "reasons": [said.headline, *said.reasons], "remarks": list(said.remarks)}
    found["policy"] = settings.policy.name
    summary["sweep"] = found
    notes = _notes(settings, outcome, ended, parts, first)
    summary["notes"] = [*summary["notes"], *say(notes)]
    surface = _surface(settings, outcome, markets, threads) if not stop.wanted else None
    if settings.sinks.figures:
        _report(settings, run_dir, outcome, said, surface, found, summary["notes"])
    if board is not None:
        if outcome.best is not None:
            board.found({name: value for name, value in found["guards"].items() if isinstance(value, int | float)})
            board.maps(heat_maps(outcome), surface)
            board.sets(outcome.top(), [one.short for one in space.dimensions])
        board.close()
    if settings.sinks.console:
        _say(outcome, said, found, run_dir)


def _identity(settings: RunConfig, desk: Desk, space: Space, data: dict[str, Any]) -> dict[str, Any]:
    """What the rows depend on, beside the data themselves."""
    simulation = dataclasses.asdict(settings.simulation)
    del simulation["added_ms"]
    told: dict[str, Any] = {"simulation": simulation, "policy": dataclasses.asdict(settings.policy)}
    told["trade"] = list(desk.legs)
    told["instruments"] = [dataclasses.asdict(one) for one in desk.feed.instruments if one.stream in desk.legs]
    told["kernels"] = source_hash()
    if settings.simulation.funding:
        told["funding"] = blake2b(Path(settings.simulation.funding).read_bytes(), digest_size=16).hexdigest()
    return identity_of(settings.sweep, space, source_of(desk), told, data)


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def _rates(
    ended: Ended, rows: int, kernel_s: float, search_s: float, kernel: SweepKernel, first: Resident, values: Float64,
    threads: int,
) -> dict[str, Any]:  # fmt: skip
    """How fast it went: sets x rows per second in the kernel, with skipping and without."""
    events = ended.ran * rows
    found: dict[str, Any] = {
        "events": rows,
        "ran": ended.ran,
        "recalled": ended.recalled,
        "kernel_s": kernel_s,
        "search_s": search_s,
        "sets_per_s": ended.ran / search_s if ended.ran else None,
        "param_events_per_s": events / kernel_s if ended.ran and kernel_s > 0 else None,
        "threads": threads,
        "skips": kernel.skips,
    }
    found["unskipped_per_s"] = found["param_events_per_s"]
    if kernel.skips and ended.ran:
        chosen = values[np.linspace(0, len(values) - 1, min(UNSKIPPED_SETS, len(values))).astype(np.int64)]
        plain = dataclasses.replace(first, kernel=kernel.unskipped)
        graphs = np.zeros(len(chosen), np.int64)
        shards = shards_of(HERE, first.space, 0, chosen, len(first.rows), -(-threads // len(first.rows)), graphs)
        run_here(shards, {(HERE, 0): plain}, threads)
        found["unskipped_per_s"] = len(chosen) * rows / max(kernel.take_busy_s() / threads, 1e-9)
    return found


def _surface(settings: RunConfig, outcome: Outcome, markets: Markets, threads: int) -> Heat | None:
    """Latency x threshold around the best set."""
    config, threshold = settings.sweep, threshold_of(outcome)
    if outcome.best is None or threshold is None or not config.surface_ms:
        return None
    best = outcome.results.values[outcome.best]
    graph = int(outcome.results.space.graph_of(best[None, :])[0])
    base_ms = settings.simulation.entry_ms
    one, values = surface_of(markets.get(graph), best, threshold, base_ms, config.surface_ms, config.surface_levels)
    results = Results(one.space, one.legs, config.folds)
    shards = shards_of(HERE, one.space, 0, values, config.folds, 1, np.zeros(len(values), np.int64))
    results.append(values, run_here(shards, {(HERE, 0): one}, threads))
    return surface_heat(
        results.pooled(range(config.folds)), threshold, values, sorted({base_ms + ms for ms in config.surface_ms})
    )


def _notes(settings: RunConfig, outcome: Outcome, ended: Ended, parts: Parts, first: Resident) -> list[str]:
    notes = []
    if ended.recalled:
        notes.append(f"note: {ended.recalled:,} sets were taken from what an earlier part of this sweep had run")
    if parts.torn:
        notes.append(f"note: {parts.torn} files of an earlier part could not be read: their sets were run again")
    if not ended.whole:
        notes.append(
            f"note: interrupted after {outcome.results.sets:,} of {settings.sweep.sets:,} sets: run the same again in"
            " the same hydra.run.dir to go on"
        )
    if outcome.results.sets and not outcome.searched.trades.any():
        if outcome.searched.orders.any():
            why = "orders were sent, but none was filled in the folds that were searched"
        elif outcome.searched.refused.any():
            why = "all intents were refused before they were sent (position limit, lots or price)"
        else:
            why = "no set ever asked for an order: the thresholds may be out of reach on this market"
        notes.append(f"note: no trades: {why}")
    way_ms = float((first.rules.entry_ns + first.rules.response_ns).max()) / 1e6
    if (shortest_ms := min(first.spans_ns) / 1e6) <= way_ms:
        notes.append(
            f"note: the shortest fold lasts {shortest_ms:,.3g} ms, and an order's way to the exchange and back takes"
            f" {way_ms:,.3g} ms: nothing can come back in it; use more data or smaller sweep.folds"
        )
    quotes = list(dict.fromkeys(leg.currency for leg in first.legs))
    if len(quotes) > 1:
        notes.append(f"note: {' and '.join(quotes)} are added up one for one; each stream's own rows are exact")
    return notes


def _report(
    settings: RunConfig, run_dir: Path, outcome: Outcome, said: Verdict, surface: Heat | None, found: dict[str, Any],
    notes: list[str],
) -> None:  # fmt: skip
    simulation = dataclasses.asdict(settings.simulation)
    told = {f"simulation.{name}": value for name, value in simulation.items() if value not in (None, [])}
    told |= {f"policy.{name}": value for name, value in settings.policy.parameters.items()}
    told |= {f"note {number}": note for number, note in enumerate(notes, 1)}
    sections = sweep_sections(outcome, said, surface, told)
    facts = sweep_facts(outcome, said)
    if found["param_events_per_s"]:
        facts |= {
            "parameter-events/s": f"{found['param_events_per_s']:,.3g}",
            "without skipping": f"{found['unskipped_per_s']:,.3g}",
            "trades of a set, median": f"{found['trades_median']:,.0f}",
        }
    what = (
        f"{outcome.results.sets:,} parameter sets of {settings.policy.name} on {describe(settings)}. {said.headline}"
        " What it shows is what these orders would have met in this recording; it says nothing about other days."
    )
    write_report(run_dir / "report.html", f"Sweep of {settings.policy.name}", sections, facts, what)


def _say(outcome: Outcome, said: Verdict, found: dict[str, Any], run_dir: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    rows = outcome.top()[:10]
    if rows:
        table = Table(box=None, pad_edge=False, padding=(0, 1), header_style="bold")
        shown = [name for name in rows[0] if name not in ("held_out_net_bp", "held_out_sharpe", "slippage_bp")]
        for name in shown:
            table.add_column(name.replace("_", " "), justify="right")
        for row in rows:
            table.add_row(*(f"{row[name]:,.5g}" if isinstance(row[name], float) else str(row[name]) for name in shown))
        console.print("")
        console.print(table)
    for line in said.text.splitlines():
        console.print(line, soft_wrap=True)
    rate = found["param_events_per_s"]
    if rate:
        console.print(
            f"{found['ran']:,} sets in {found['search_s']:.3g} s: {rate:,.3g} parameter-events/s in the kernel at a"
            f" median of {found['trades_median']:,.0f} trades a set; {found['unskipped_per_s']:,.3g} without skipping",
            soft_wrap=True,
        )
    console.print(f"report: {run_dir / 'report.html'}", soft_wrap=True)
