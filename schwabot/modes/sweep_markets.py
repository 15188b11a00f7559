"""The recorded markets of mode=sweep: parts of the source under a setting of the graph, in folds, ready to be run."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

import numpy as np

from schwabot import engine
from schwabot.config import RunConfig
from schwabot.errors import ConfigError, DataError, DeviceError
from schwabot.modes.opening import open_feed, while_compiling
from schwabot.modes.sweep_slices import WHOLE, Slice, Slices
from schwabot.modes.trading import Desk, open_desk, open_policy
from schwabot.modules.settings import ModulesConfig
from schwabot.pipeline import Pipeline
from schwabot.records.market import Kind
from schwabot.signals.compiling import CompiledPolicy, key_of
from schwabot.signals.parameters import Parameter
from schwabot.signals.reading import read
from schwabot.simulation.recorder import MarketRecorder
from schwabot.simulation.rules import make_rules
from schwabot.simulation.sweep.device_kernel import open_kernel, say
from schwabot.simulation.sweep.kernels import CHECKED, SweepKernel
from schwabot.simulation.sweep.parts import fingerprint
from schwabot.simulation.sweep.ranges import SIMULATION, Declared, Space, declared_modules
from schwabot.simulation.sweep.search import random
from schwabot.simulation.sweep.shards import MarketFacts, Resident, cut, cut_market, edges_of, params_of, rules_of
from schwabot.simulation.sweep.table import Leg
from schwabot.simulation.totals import funding_note
from schwabot.sinks.notes import lost_note, required_note
from schwabot.sinks.progress import Progress
from schwabot.tensors.device import ON_CPU
from schwabot.ticks.base import Feed


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


def resident(
    settings: RunConfig, desk: Desk, recorder: MarketRecorder, space: Space, kernel: SweepKernel, part: Slice,
    edges: Sequence[int], counts: Mapping[str, Any],
) -> Resident:  # fmt: skip
    """A recorded market, cut into folds and ready for the kernel.

    Args:
        settings: of the market.
        desk: that it was read by.
        recorder: what was read.
        space: what is searched.
        kernel: what runs sets.
        part: the part of the source that it is.
        edges: where the folds begin, ns; none = by its own first and last row.
        counts: of what was read.

    Raises:
        DataError: too little data for the folds.
        ConfigError: a traded stream never quoted.
    """
    builder = recorder.builder
    market = builder.market
    begin = int(np.searchsorted(market.ts_ns, part.first_ns)) if part.end_ns else 0
    ts_ns = market.ts_ns[begin:]
    quoted = all(account is not None for account in builder.accounts)
    if part.name == WHOLE and len(ts_ns) < 2:
        raise DataError(f"a sweep needs some time of data, and there are {len(ts_ns)} rows")
    empty = part.name != WHOLE and (len(ts_ns) < 2 or not quoted)
    if not edges:
        edges = edges_of(int(ts_ns[0]), int(ts_ns[-1]), settings.sweep)
    found = {} if empty else cut(ts_ns, edges)
    folds = {number: (begin + first, begin + end) for number, (first, end) in found.items()}
    rules = make_rules(settings.simulation, builder)
    values = desk.parameters(settings)
    unpaid = funding_note(rules.funding_ns, *market.ts_ns[[0, -1]].tolist()) if len(market.ts_ns) else ""
    facts = MarketFacts(
        digest=fingerprint(market)["digest"],
        first_ns=int(ts_ns[0]) if len(ts_ns) else part.first_ns,
        last_ns=int(ts_ns[-1]) if len(ts_ns) else part.first_ns,
        folds={
            number: (end - first, int(market.ts_ns[end - 1] - market.ts_ns[first]))
            for number, (first, end) in folds.items()
        },
        legs=() if empty else legs_of(recorder, edges[-1]),
        way_ns=int((rules.entry_ns + rules.response_ns).max()),
        counts=dict(counts) | {"unpaid": unpaid},
    )
    return Resident(
        facts=facts,
        folds={number: kernel.prepare(cut_market(market, *fold), rules.bucket_ns) for number, fold in folds.items()},
        rules=rules,
        defaults=np.array([float(value) for value in values.values()], np.float64),
        parameters=tuple(f"policy.{name}" for name in values),
        space=space,
        kernel=kernel,
        unskipped=kernel.unskipped,
    )


def legs_of(recorder: MarketRecorder, until_ns: int) -> tuple[Leg, ...]:
    """What a unit of each account is worth in quote currency; of inverse contracts at the last mid before a time.

    Args:
        recorder: of the market.
        until_ns: where what is held out begins, so that its prices weigh on no choice, unless there are no others.
    """
    builder = recorder.builder
    market = builder.market
    found = []
    for v, (instrument, account) in enumerate(zip(builder.instruments, builder.accounts, strict=True)):
        if account is None:
            raise ConfigError(f"policy.trade: {instrument.stream} never quoted in this source: trade another stream")
        worth = account.unit
        if instrument.inverse:
            quotes = np.flatnonzero((market.leg == v) & (market.kind == Kind.QUOTE))
            last = quotes[max(int(np.searchsorted(market.ts_ns[quotes], until_ns)) - 1, 0)]
            worth *= 0.5 * float(market.bid[last] + market.ask[last]) * instrument.tick_size
        found.append(Leg(instrument.stream, worth, instrument.quote))
    return tuple(found)


def content_of(policy: CompiledPolicy) -> str | None:
    """Digest of all that a policy and the signals it reads depend on, None where that can't be told."""
    keys = [policy.key, *(key_of(one, read(one)) for one in policy.own)]
    texts = [key.text for key in keys if key is not None]
    return blake2b(repr(texts).encode(), digest_size=16).hexdigest() if len(texts) == len(keys) else None


def check(one: Resident, kernel: SweepKernel) -> None:
    """Hold the policy to what it says of its quiet, on the shortest fold, by sets from all over the ranges.

    Raises:
        PolicyError: it does something where it said that it is quiet.
    """
    fold = min(one.facts.folds, key=lambda number: one.facts.folds[number][0])
    values = random(one.space, CHECKED, seed=0)
    kernel.check(one.folds[fold], rules_of(one, values), params_of(one, values), f"fold {fold + 1}")


class Markets:
    """Markets of one run by name and setting of the graph, recorded when they are first asked for.

    Args:
        settings: of the run.
        policy: compiled for as many streams as the settings say.
        space: what is searched, the graph's settings among it.
        slices: what the source is cut into.
        stop: Ctrl-C ends the reading.
        desk: of the whole source under the first setting of the graph, if it is open already.
        open_feed: opens a part of the source anew.
        open_kernel: opens what runs sets on the graph's device.
        warn: is told why a device was given up.
    """

    def __init__(
        self,
        settings: RunConfig,
        policy: CompiledPolicy,
        space: Space,
        slices: Slices,
        stop: engine.StopRequest,
        desk: Desk | None = None,
        open_feed: Callable[[RunConfig], Feed] = open_feed,
        open_kernel: Callable[..., SweepKernel] = open_kernel,
        warn: Callable[[str], None] = say,
    ) -> None:
        self._settings = settings
        self._space = space
        self._slices = slices
        self._stop = stop
        self._desk = desk
        self._head = desk.head if desk is not None else None
        self._open_feed, self._open_kernel = open_feed, open_kernel
        self._warn = warn
        self._policies = {max(len(settings.policy.trade), 1): policy}
        self._kernels: dict[int, SweepKernel] = {}
        self._checked: set[int] = set()
        self._found: dict[tuple[str, int], Resident] = {}
        self.compile_s = 0.0
        """Time spent on compiling."""

    def get(self, market: str, graph: int) -> Resident:
        """The market under a setting of the graph.

        Raises:
            KeyboardInterrupt: it was stopped: half a market is none.
            DeviceError: the device failed, and is required.
        """
        key = market, graph
        if key not in self._found:
            self._found[key] = self._open(market, graph)
        return self._found[key]

    def take_busy_s(self, threads: int = 1) -> float:
        """Time spent in the kernels since the last call, over all threads; see ``SweepKernel.take_busy_s``."""
        return sum(kernel.take_busy_s(threads) for kernel in self._kernels.values())

    @property
    def on_device(self) -> bool:
        """Do all sets run on a device?"""
        return bool(self._kernels) and all(kernel.on_device for kernel in self._kernels.values())

    def _open(self, market: str, graph: int) -> Resident:
        part = self._slices.named(market)
        settings = changed(part.settings(self._settings), self._space.graph_setting(graph))
        legs = max(len(settings.policy.trade), 1)
        if legs not in self._policies:
            self._policies[legs] = open_policy(settings)
        policy = self._policies[legs]
        desk, self._desk = self._desk if market == WHOLE and graph == 0 else None, None
        if desk is None:
            desk = open_desk(settings, policy, self._open_feed(settings), self._head, quiet=True, kind=Pipeline)
            for note in desk.notes:
                if note.startswith(ON_CPU):
                    self._warn(note)
        self.compile_s += desk.compile()
        recorder = desk.recorder(settings)
        recorder.builder.known = self._slices.streams or recorder.builder.known
        if legs not in self._kernels:
            device, required = desk.pipeline.device, settings.device.required
            self._kernels[legs], spent_s = while_compiling(
                lambda: self._open_kernel(policy, legs, device, self._warn, required=required)
            )
            self.compile_s += spent_s + while_compiling(lambda: self._kernels[legs].warm_up(recorder))[1]
        kernel = self._kernels[legs]
        label = "sweep: reading" if market == WHOLE else f"sweep: reading {market}"
        if self._space.graphs > 1:
            label += f", setting {graph + 1} of {self._space.graphs}"
        with Progress(enabled=settings.sinks.progress, label=label) as bar:
            watched = engine.WatchedFeed(desk.feed, bar, self._stop)
            for ticks, record in desk.pipeline.answers(watched.batches(settings.batch_events)):
                recorder.step(ticks, record)
                for lost in (one for one in record.fallbacks if one.component == "device"):
                    if settings.device.required:
                        raise DeviceError(required_note(lost))
                    self._warn(lost_note(lost))
        desk.pipeline.finish()
        recorder.finish()
        if self._stop.wanted:
            raise KeyboardInterrupt
        counts = watched.tally.counts() | {"dropped": dict(desk.feed.dropped)}
        found = resident(settings, desk, recorder, self._space, kernel, part, self._slices.edges, counts)
        if legs not in self._checked and found.facts.folds:
            self._checked.add(legs)
            self.compile_s += while_compiling(lambda: check(found, kernel))[1]
            self.take_busy_s()
        return found


@dataclasses.dataclass
class MarketPlan:
    """How a worker on any machine comes to the markets of a sweep: it reads the source itself.

    Attributes:
        settings: of the run.
        space: what is searched.
        slices: what the source is cut into.
        folder: where the run was started; used where it is there, so that relative paths mean the same.
        policy: digest of what the policy depends on; None where that can't be told, and then it is not compared.
        notes: why a device was given up, where it is open.
    """

    settings: RunConfig
    space: Space
    slices: Slices
    folder: str
    policy: str | None
    notes: list[str] = dataclasses.field(default_factory=list)

    @classmethod
    def of(
        cls, settings: RunConfig, device_type: str, policy: CompiledPolicy, space: Space, slices: Slices
    ) -> MarketPlan:
        """The plan of a run: on the kind of device that the run found, the first of a machine; no progress bars."""
        device = dataclasses.replace(settings.device, kind=device_type, index=0)
        sinks = dataclasses.replace(settings.sinks, progress=False)
        told = dataclasses.replace(settings, device=device, sinks=sinks)
        return cls(told, space, slices, os.getcwd(), content_of(policy))

    def __post_init__(self) -> None:
        self._markets: Markets | None = None

    def open(self, market: str, graph: int) -> Resident:
        """Read that part of the source through the graph of that setting.

        Raises:
            ConfigError: the policy is another one here.
        """
        if self._markets is None:
            if os.path.isdir(self.folder):
                os.chdir(self.folder)
            policy = open_policy(self.settings)
            if self.policy is not None and content_of(policy) != self.policy:
                raise ConfigError(
                    f"policy={self.settings.policy.name}, or something that it uses, is another one on a worker: copy"
                    " its files there"
                )
            stop = engine.StopRequest()
            self._markets = Markets(self.settings, policy, self.space, self.slices, stop, warn=self.notes.append)
        return self._markets.get(market, graph)
