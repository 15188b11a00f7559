"""The recorded markets of mode=sweep: one per setting of the graph, cut into folds, ready for the kernel."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from schwabot import engine
from schwabot.config import RunConfig
from schwabot.errors import ConfigError
from schwabot.modes.opening import open_feed
from schwabot.modes.trading import Desk, open_desk
from schwabot.modules.settings import ModulesConfig
from schwabot.pipeline import Pipeline
from schwabot.records.market import Kind
from schwabot.signals.parameters import Parameter
from schwabot.simulation.recorder import MarketRecorder
from schwabot.simulation.rules import make_rules
from schwabot.simulation.sweep.kernels import SweepKernel
from schwabot.simulation.sweep.parts import fingerprint
from schwabot.simulation.sweep.ranges import SIMULATION, Declared, Space, declared_modules
from schwabot.simulation.sweep.shards import Resident, cut, cut_market, run_shard, shards_of
from schwabot.simulation.sweep.table import Leg
from schwabot.sinks.progress import Progress
from schwabot.ticks.base import Feed
from schwabot.training.heads import serve


def declared(parameters: Iterable[Parameter], modules: ModulesConfig) -> list[Declared]:
    """What may be searched: the policy's parameters, latencies and fees, the graph's settings.

    Args:
        parameters: as the policy declares them.
        modules: settings of the graph.
    """
    found = []
    for one in parameters:
        span = None if one.range is None else (float(one.range[0]), float(one.range[1]), one.log)
        name = f"policy.{one.name}"
        if one.kind is bool:
            found.append(Declared(name, "choice", search=span, choices=(False, True)))
        else:
            low = -np.inf if one.low is None else one.low
            high = np.inf if one.high is None else one.high
            found.append(Declared(name, "int" if one.kind is int else "float", low, high, span))
    return [*found, *SIMULATION, *declared_modules(dataclasses.asdict(modules))]


def changed(settings: RunConfig, setting: Mapping[str, Any]) -> RunConfig:
    """The settings with others of the graph.

    Args:
        settings: of the run.
        setting: full name → value, e.g. ``modules.hash_registry.bits``.

    Raises:
        ConfigError: a value that the module refuses.
    """
    modules = settings.modules
    for name, value in setting.items():
        modules = _put(modules, name.split(".")[1:], value)
    _check(modules)
    return dataclasses.replace(settings, modules=modules)


def _put(node: Any, path: list[str], value: Any) -> Any:
    if len(path) == 1:
        return dataclasses.replace(node, **{path[0]: value})
    return dataclasses.replace(node, **{path[0]: _put(getattr(node, path[0]), path[1:], value)})


def _check(node: Any) -> None:
    check: Callable[[], None] | None = getattr(node, "check", None)
    if check is not None:
        check()
    for one in dataclasses.fields(node):
        if dataclasses.is_dataclass(child := getattr(node, one.name)):
            _check(child)


def pipeline_of(settings: RunConfig, desk: Desk, feed: Feed) -> Pipeline:
    """The graph with the settings' modules, serving the desk's head."""
    modules = settings.modules
    if desk.head is not None:
        modules = serve(desk.head, settings.checkpoint or "", modules, feed.instruments)
    return Pipeline(feed.instruments, modules, settings.latency, device=desk.device, head=desk.head)


def record(settings: RunConfig, desk: Desk, stop: engine.StopRequest, label: str) -> MarketRecorder:
    """Run the source through a graph of other settings.

    Args:
        settings: with the graph's settings put in.
        desk: of the run; its policy and legs are used.
        stop: Ctrl-C ends the reading.
        label: for the progress bar.

    Raises:
        KeyboardInterrupt: it was stopped: half a market is none.
    """
    feed = open_feed(settings)
    pipeline = pipeline_of(settings, desk, feed)
    recorder = dataclasses.replace(desk, feed=feed, pipeline=pipeline).recorder(settings)
    with Progress(enabled=settings.sinks.progress, label=label) as bar:
        for ticks in engine.WatchedFeed(feed, bar, stop).batches(settings.batch_events):
            recorder.step(ticks, pipeline.step(ticks))
    pipeline.finish()
    recorder.finish()
    if stop.wanted:
        raise KeyboardInterrupt
    return recorder


def resident(settings: RunConfig, desk: Desk, recorder: MarketRecorder, space: Space, kernel: SweepKernel) -> Resident:
    """A recorded market, cut into folds and ready for the kernel.

    Raises:
        DataError: too little data for the folds.
        ConfigError: a traded stream never quoted.
    """
    builder = recorder.builder
    market = builder.market
    folds = cut(market.ts_ns, settings.sweep)
    rules = make_rules(settings.simulation, builder)
    prepared = tuple(kernel.prepare(cut_market(market, *fold), rules.bucket_ns) for fold in folds)
    values = desk.parameters(settings)
    return Resident(
        folds=prepared,
        rows=tuple(end - first for first, end in folds),
        spans_ns=tuple(int(market.ts_ns[end - 1] - market.ts_ns[first]) for first, end in folds),
        legs=legs_of(recorder),
        rules=rules,
        defaults=np.array([float(value) for value in values.values()], np.float64),
        parameters=tuple(f"policy.{name}" for name in values),
        space=space,
        kernel=kernel,
    )


def legs_of(recorder: MarketRecorder) -> tuple[Leg, ...]:
    """What a unit of each account is worth: in quote currency; of inverse contracts at the last mid."""
    builder = recorder.builder
    market = builder.market
    found = []
    for v, (instrument, account) in enumerate(zip(builder.instruments, builder.accounts, strict=True)):
        if account is None:
            raise ConfigError(f"policy.trade: {instrument.stream} never quoted in this source: trade another stream")
        worth = account.unit
        if instrument.inverse:
            last = np.flatnonzero((market.leg == v) & (market.kind == Kind.QUOTE))[-1]
            worth *= 0.5 * float(market.bid[last] + market.ask[last]) * instrument.tick_size
        found.append(Leg(instrument.stream, worth, instrument.quote))
    return tuple(found)


def source_of(desk: Desk) -> str:
    """Source text of the policy."""
    file = Path(desk.policy.source.rpartition(":")[0])
    return file.read_text(encoding="utf-8") if file.is_file() else desk.policy.source


def digest_of(source: str) -> str:
    """What tells one source text from another."""
    return blake2b(source.encode(), digest_size=16).hexdigest()


def warm_up(one: Resident) -> float:
    """Compile the kernel on the shortest fold, so that no rate counts it; gives the time, s."""
    started_s = time.perf_counter()
    fold = int(np.argmin(one.rows))
    middle = np.array([[dimension.at(np.array([0.5]))[0] for dimension in one.space.dimensions]])
    shard = shards_of("warm-up", one.space, 0, middle, 1, 1)[0]
    run_shard(dataclasses.replace(shard, fold=fold), one)
    return time.perf_counter() - started_s


class Markets:
    """Markets of one run by setting of the graph, recorded when they are first asked for.

    Args:
        settings: of the run.
        desk: with the compiled policy.
        space: what is searched, the graph's settings among it.
        kernel: what runs sets.
        stop: Ctrl-C ends the reading.
    """

    def __init__(
        self, settings: RunConfig, desk: Desk, space: Space, kernel: SweepKernel, stop: engine.StopRequest
    ) -> None:
        self._settings = settings
        self._desk = desk
        self._space = space
        self._kernel = kernel
        self._stop = stop
        self._found: dict[int, tuple[Resident, dict[str, Any]]] = {}

    def keep(self, graph: int, recorder: MarketRecorder) -> None:
        """Take a market that was recorded already."""
        one = resident(self._settings, self._desk, recorder, self._space, self._kernel)
        self._found[graph] = one, fingerprint(recorder.builder.market)

    def get(self, graph: int) -> Resident:
        """The market under a setting of the graph."""
        return self._get(graph)[0]

    def print_of(self, graph: int) -> dict[str, Any]:
        """Its fingerprint."""
        return self._get(graph)[1]

    def _get(self, graph: int) -> tuple[Resident, dict[str, Any]]:
        if graph not in self._found:
            settings = changed(self._settings, self._space.graph_setting(graph))
            label = f"sweep: reading, setting {graph + 1} of {self._space.graphs}"
            self.keep(graph, record(settings, self._desk, self._stop, label))
        return self._found[graph]


@dataclasses.dataclass
class MarketPlan:
    """How a worker on any machine comes to the markets of a sweep: it reads the source itself.

    Attributes:
        settings: of the run.
        space: what is searched.
        folder: where the run was started; used where it is there, so that relative paths mean the same.
        policy: digest of the policy's source.
    """

    settings: RunConfig
    space: Space
    folder: str
    policy: str

    @classmethod
    def of(cls, settings: RunConfig, desk: Desk, space: Space) -> MarketPlan:
        """The plan of a run: on the device that the run found, without progress bars."""
        device = dataclasses.replace(settings.device, kind=desk.device.type, required=True)
        sinks = dataclasses.replace(settings.sinks, progress=False)
        told = dataclasses.replace(settings, device=device, sinks=sinks)
        return cls(told, space, os.getcwd(), digest_of(source_of(desk)))

    def __post_init__(self) -> None:
        self._markets: Markets | None = None

    def open(self, market: str, graph: int) -> tuple[Resident, dict[str, Any]]:
        """Read the source through the graph of that setting.

        Raises:
            ConfigError: the policy is another one here.
        """
        if self._markets is None:
            if os.path.isdir(self.folder):
                os.chdir(self.folder)
            desk = open_desk(self.settings)
            if digest_of(source_of(desk)) != self.policy:
                raise ConfigError(f"policy={self.settings.policy.name} has another source on a worker: copy it there")
            kernel = SweepKernel(desk.policy, len(desk.legs))
            self._markets = Markets(self.settings, desk, self.space, kernel, engine.StopRequest())
            warm_up(self._markets.get(graph))
        return self._markets.get(graph), self._markets.print_of(graph)
