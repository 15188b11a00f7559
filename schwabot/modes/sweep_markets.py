"""The recorded markets of mode=sweep: one per setting of the graph, cut into folds, ready for the kernel."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from schwabot import engine
from schwabot.config import RunConfig
from schwabot.errors import ConfigError
from schwabot.modes.opening import open_feed
from schwabot.modes.trading import Desk
from schwabot.modules.settings import ModulesConfig
from schwabot.pipeline import Pipeline
from schwabot.records.market import Kind
from schwabot.signals.parameters import Parameter
from schwabot.simulation.recorder import MarketRecorder
from schwabot.simulation.rules import make_rules
from schwabot.simulation.sweep.kernels import SweepKernel
from schwabot.simulation.sweep.ranges import SIMULATION, Declared, Space, declared_modules
from schwabot.simulation.sweep.shards import Resident, cut, cut_market
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
