"""Many parameter sets of a policy over a recorded market from Python, as mode=sweep does on one machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from schwabot.api import Graph, Place, _checked_names, _feed, _no_text, _settings, load
from schwabot.api_device import refuse_device, warn_of
from schwabot.config import RunConfig
from schwabot.engine import StopRequest
from schwabot.errors import ConfigError
from schwabot.modes.sweep import report
from schwabot.modes.sweep_markets import Markets, changed, declared
from schwabot.modes.sweep_slices import WHOLE, Slice, Slices
from schwabot.modes.sweeping import Here, OpenMarkets, Swept, sweep_markets
from schwabot.modes.trading import open_desk
from schwabot.pipeline import Pipeline
from schwabot.signals.compiling import compile_policy
from schwabot.signals.declaring import Policy, Signal
from schwabot.signals.loading import load_policy, load_signal
from schwabot.signals.own_signals import split_parameters
from schwabot.simulation.sweep.outcome import Outcome
from schwabot.simulation.sweep.ranges import open_space
from schwabot.simulation.sweep.search import open_search
from schwabot.sinks.progress import Progress
from schwabot.sinks.summary import plain
from schwabot.ticks.base import Feed
from schwabot.training.heads import fitted_note


@dataclass(frozen=True)
class Sweep:
    """What a sweep came to.

    Attributes:
        table: a row per set, fold and stream, as sweep.parquet.
        best: the best sets, a row each: parameters, what they came to where they were searched, and held out.
        verdict: does the best look like luck? In words.
        summary: ``sweep`` of summary.json, with the run's ``device`` and ``notes``.
        outcome: the same as arrays.
    """

    table: pa.Table = field(repr=False)
    best: list[dict[str, Any]] = field(repr=False)
    verdict: str
    summary: dict[str, Any] = field(repr=False)
    outcome: Outcome = field(repr=False)
    _swept: Swept = field(repr=False)
    _settings: RunConfig = field(repr=False)
    _source: str = field(repr=False)

    def __repr__(self) -> str:
        return f"Sweep({self.summary['policy']}: {self.summary['sets']:,} sets; {self.verdict.splitlines()[0]})"

    def report(self, file: Place) -> Path:
        """Write the page that mode=sweep writes as report.html.

        Args:
            file: where to.

        Raises:
            ConfigError: there is no such folder, or something else than a page lies there.
        """
        path = Path(file)
        if path.exists() and not path.read_bytes()[:64].lower().startswith(b"<!doctype html"):
            raise ConfigError(f"{path} is there and no page: name another file")
        if not path.absolute().parent.is_dir():
            raise ConfigError(f"{path}: there is no folder {path.absolute().parent}")
        report(path, self._settings, self._source, self._swept, self._swept.notes)
        return path


@_checked_names
def sweep(
    source: Feed | Place | Sequence[Place] | pa.Table,
    policy: str | Policy,
    over: Mapping[str, Any] | None = None,
    *,
    sets: int = 1000,
    method: str = "random",
    objectives: Sequence[str] = ("sharpe",),
    options: Mapping[str, Any] | None = None,
    trade: Sequence[str] = (),
    leader: str | None = None,
    signals: Sequence[str | Signal] = (),
    simulation: Mapping[str, Any] | None = None,
    graph: Graph | None = None,
    batch_events: int = 65_536,
    progress: bool = False,
    **parameters: Any,
) -> Sweep:
    """Try many parameter sets of a policy, and say whether the best of them is luck; see docs/sweep.md.

    Args:
        source: a feed, or what ``load`` takes. With settings of the graph in ``over`` it is read once per setting, so
            it has to be what ``load`` takes.
        policy: a built-in one by name, ``my_module:my_policy``, or a function declared with ``@policy``.
        over: name → range, as ``sweep.over``; default the policy's parameters over the ranges that they declare.
        sets: parameter sets that are tried.
        method: ``random``, ``grid``, ``tpe``, ``cmaes`` or ``nsga2``.
        objectives: what is wanted, best first.
        options: more settings as under ``sweep.``, e.g. ``{"folds": 4, "seed": 1}``; ``each`` is mode=sweep's only.
        trade: streams to trade; default one stream, as ``policy.trade`` in the configuration.
        leader: stream of the policy's ``..._of_leader`` signals.
        signals: signals of one's own that it reads.
        simulation: as under ``simulation.`` in the configuration, e.g. ``{"entry_ms": 20}``.
        graph: whose settings and forecast give the signals; default those of ``Graph()``.
        batch_events: events per batch while reading; changes memory and speed, never a result.
        progress: show progress bars.
        parameters: of the policy that are not searched, ``lots=2``; of a signal as a dict under its name.

    Raises:
        ConfigError: a name, range or value that can't be used, or a feed that was already read.
        PolicyError: a policy that can't be compiled; says the line.
        DataError: bad input, or too little of it.
        DeviceError: a device that the graph's settings require failed.

    Example:
        >>> found = sweep("synthetic", "threshold", {"enter_bp": [0.1, 0.3]}, sets=8, lots=1)
        >>> found.table.num_rows == 8 * 9  # eight folds that are searched on, one that is held out
        True
        >>> found.summary["verdict"] in ("loss", "luck", "unclear", "holds")
        True
    """
    _no_text(objectives=objectives, trade=trade, signals=signals)
    graph = graph or Graph()
    given: dict[str, Any] = dict(options or {})
    if "each" in given:
        raise ConfigError("options: each needs a store and mode=sweep source=store; a sweep from Python is one market")
    given |= {"sets": sets, "method": method, "objectives": list(objectives)}
    of_policy, _ = split_parameters(parameters)
    run = _settings({"sweep": given, "simulation": dict(simulation or {}), "batch_events": batch_events})
    run.sweep.over = dict(over or {})
    run = dataclasses.replace(
        run,
        mode="sweep",
        modules=graph.settings.modules,
        latency=graph.settings.latency,
        device=graph.settings.device,
        checkpoint=graph._checkpoint if graph.head is not None else None,
        sinks=dataclasses.replace(run.sinks, progress=progress),
    )
    asked = policy if isinstance(policy, Policy) else load_policy(policy)
    own = [one if isinstance(one, Signal) else load_signal(one) for one in signals]
    compiled = compile_policy(asked, own, max(len(trade), 1))
    refuse_device("sweep", of_policy, [one.name for one in compiled.parameters])
    compiled.values(of_policy)
    run.policy.name, run.policy.trade, run.policy.leader = compiled.name, list(trade), leader
    run.policy.parameters = parameters
    space = open_space(run.sweep.over, declared(compiled.parameters, run.modules))
    if both := [one.short for one in space.dimensions if one.name.removeprefix("policy.") in of_policy]:
        raise ConfigError(f"{both[0]} is set and searched: leave it out of one of them")
    search = open_search(space, run.sweep)
    first = changed(run, space.graph_setting(0))
    for number in range(1, space.graphs):
        changed(run, space.graph_setting(number))
    is_feed = hasattr(source, "batches") and hasattr(source, "instruments")
    if is_feed and space.graphs > 1:
        raise ConfigError(
            f"over holds settings of the graph, so the source is read {space.graphs} times, and a feed is read once:"
            " give what schwabot.load takes instead of a feed"
        )
    desk = open_desk(first, compiled, _feed(source), graph.head, quiet=True, kind=Pipeline)
    for note in desk.notes:
        warn_of(note)
    slices, warned = Slices((Slice(),)), list[str]()
    with StopRequest() as stop:
        markets = Markets(
            run, compiled, space, slices, stop, desk, lambda settings: load(cast("Place", source)),
            warn=lambda line: None if line in warned else warned.append(line),
        )  # fmt: skip
        bench = Here(markets, run.sweep.threads)
        keys = [(WHOLE, number) for number in range(space.graphs)]
        facts = dict(zip(keys, bench.open(keys, lambda: stop.wanted), strict=True))
        opened = OpenMarkets(facts, slices, run, desk.feed.instruments)
        with Progress(enabled=progress, label="sweep", unit="sets") as bar:
            swept = sweep_markets(
                run, space, search, opened, bench, compiled,
                fitted=fitted_note(graph.head, opened.first_ns, opened.last_ns),
                told=lambda done, ran, results: bar.update(done, done / search.sets, ""),
                stop=lambda: stop.wanted,
            )  # fmt: skip
    if swept.lost:
        raise swept.lost
    if not swept.whole:
        raise KeyboardInterrupt
    for note in warned:
        warn_of(note)
    device = str(desk.device) if desk.device.type == "cpu" or not warned else f"{desk.device}, then cpu"
    notes = [*desk.notes, *warned, *swept.notes]
    return Sweep(
        table=swept.outcome.results.table,
        best=swept.outcome.top(),
        verdict=swept.said.text,
        summary=plain(swept.numbers | {"policy": compiled.name, "device": device, "notes": list(dict.fromkeys(notes))}),
        outcome=swept.outcome,
        _swept=swept,
        _settings=run,
        _source=type(desk.feed).__name__.removesuffix("Feed").lower(),
    )
