"""A whole sweep from open markets to a verdict; what is written of it, and where, is the caller's part."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from schwabot.cluster.worker import versions
from schwabot.config import RunConfig
from schwabot.errors import DeviceError, PolicyError
from schwabot.modes.sweep_markets import Markets, content_of
from schwabot.modes.sweep_slices import Slices
from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64, Int64
from schwabot.signals.compiling import CompiledPolicy
from schwabot.simulation.sweep.outcome import Outcome, judge
from schwabot.simulation.sweep.parts import Parts, identity_of
from schwabot.simulation.sweep.ranges import Space
from schwabot.simulation.sweep.search import Search
from schwabot.simulation.sweep.searching import Ended, run_search
from schwabot.simulation.sweep.shards import MarketFacts, Shard, check_folds, run_here, shards_of
from schwabot.simulation.sweep.surface import surface_heat, surface_of, threshold_of
from schwabot.simulation.sweep.table import Results, Row
from schwabot.simulation.sweep.verdict import Verdict, verdict
from schwabot.simulation.totals import short_spot_note
from schwabot.sinks.sweep_figure import Heat
from schwabot.tensors.profiling import span

UNSKIPPED_SETS = 16
"""Sets that are also run without skipping, for the rate and to see that they come to the same."""
Key = tuple[str, int]
"""Market and number of the graph's setting."""


class Bench(Protocol):
    """A place to run shards: threads of this process, or a cluster."""

    @property
    def slots(self) -> int:
        """Shards that run side by side."""
        ...

    @property
    def on_device(self) -> bool:
        """Does one device run all shards, one after the other? Then to cut sets into parts only makes them smaller."""
        ...

    def open(self, keys: Sequence[Key], stop: Callable[[], bool]) -> list[MarketFacts]:
        """Open markets; says what there is to know of them."""
        ...

    def run(self, shards: Sequence[Shard]) -> pa.Table:
        """Run shards of open markets; rows as ``schwabot.simulation.sweep.shards.merge`` orders them."""
        ...

    def take_busy_s(self) -> float:
        """Time in the kernel since the last call, of all slots together."""
        ...

    def summary(self) -> dict[str, Any]:
        """Entries for summary.json."""
        ...


class Here:
    """Threads of this process as a place to run shards."""

    def __init__(self, markets: Markets, threads: int) -> None:
        self.slots = threads or cores()
        self._markets = markets

    @property
    def on_device(self) -> bool:
        """Does a device run all shards?"""
        return self._markets.on_device

    def open(self, keys: Sequence[Key], stop: Callable[[], bool]) -> list[MarketFacts]:
        """Open markets, one after the other."""
        return [self._markets.get(*key).facts for key in keys]

    def run(self, shards: Sequence[Shard]) -> pa.Table:
        """Run shards."""
        keys = {(one.market, one.graph) for one in shards}
        with span("sets"):
            return run_here(shards, {key: self._markets.get(*key) for key in keys}, self.slots)

    def take_busy_s(self) -> float:
        """Time in the kernel since the last call, of all threads together."""
        return self._markets.take_busy_s(self.slots)

    def summary(self) -> dict[str, Any]:
        """Entries for summary.json."""
        return {"kind": "local"}


def cores() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


class OpenMarkets:
    """What is known of the markets of a sweep once they are open.

    Args:
        facts: of each market and setting of the graph.
        slices: what the source is cut into.
        settings: of the run.
        instruments: of the source.

    Raises:
        DataError: a fold without rows.
    """

    def __init__(
        self,
        facts: Mapping[Key, MarketFacts],
        slices: Slices,
        settings: RunConfig,
        instruments: Sequence[Instrument],
    ) -> None:
        self.facts = dict(facts)
        self.instruments = tuple(instruments)
        self.first = {market: one for (market, graph), one in facts.items() if graph == 0}
        check_folds(self.first.values(), settings.sweep)
        self.rows = sum(one.rows for one in self.first.values())
        self.first_ns = min(one.first_ns for one in self.first.values())
        self.last_ns = max(one.last_ns for one in self.first.values())
        self._slices = slices

    @property
    def legs(self) -> list[str]:
        """Every traded stream, once."""
        return list(dict.fromkeys(leg.stream for one in self.first.values() for leg in one.legs))

    def rows_of_set(self, folds: Sequence[int]) -> list[Row]:
        """The rows that every set has, in the order of the table."""
        return [
            Row(fold, market, leg, self._slices.named(market).time)
            for fold in folds
            for market in sorted(self.first)
            if fold in self.first[market].folds
            for leg in self.first[market].legs
        ]

    def counts(self) -> dict[str, Any]:
        """What was read, of all markets together; of a stream's book the last."""
        total: dict[str, Any] = {"events": 0, "quotes": 0, "trades": 0}
        streams: dict[str, Any] = {}
        dropped: dict[str, int] = {}
        for market in sorted(self.first):
            counts = self.first[market].counts
            for name in total:
                total[name] += counts.get(name, 0)
            for stream, told in counts.get("streams", {}).items():
                before = streams.get(stream, {"events": 0})["events"]
                streams[stream] = told | {"events": before + told["events"]}
            for why, number in counts.get("dropped", {}).items():
                dropped[why] = dropped.get(why, 0) + number
        return total | {"span_s": (self.last_ns - self.first_ns) / 1e9, "streams": streams, "dropped": dropped}


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep came to.

    Attributes:
        outcome: every set, and how far the best can be trusted.
        said: the same in words.
        surface: latency x threshold around the best set.
        numbers: entries for summary.json.
        notes: what a reader has to know.
        whole: all sets were tried.
        lost: the error of a required device that failed: what was done by then is all there is.
    """

    outcome: Outcome
    said: Verdict
    surface: Heat | None
    numbers: dict[str, Any]
    notes: list[str]
    whole: bool
    lost: DeviceError | None = None


def sweep_markets(
    settings: RunConfig, space: Space, search: Search, opened: OpenMarkets, bench: Bench, policy: CompiledPolicy, *,
    parts: Parts | None = None, fitted: str = "",
    told: Callable[[int, int, Results], None] = lambda done, ran, results: None,
    stop: Callable[[], bool] = lambda: False,
) -> Swept:  # fmt: skip
    """Try all sets on open markets and judge them.

    Args:
        settings: of the run.
        space: what is searched.
        search: what is asked.
        opened: the markets.
        bench: where shards run.
        policy: what decides.
        parts: where blocks are kept and recalled from.
        fitted: where the forecast that is traded on knew what came after, that in words.
        told: called after each block.
        stop: asked before each block.

    Raises:
        PolicyError: the policy acted where it said that it is quiet.
    """
    config, bucket_s = settings.sweep, settings.simulation.bucket_s
    folds = range(config.folds + 1)
    jumping = [market for market, one in opened.first.items() if len(one.legs) == 1 and one.folds]
    skips = policy.quiet is not None and policy.skip_signal is not None and bool(jumping)
    results = Results(space, opened.rows_of_set(folds))
    shards = sum(len(one.folds) for one in opened.first.values())
    pieces = 1 if bench.on_device else max(1, -(-bench.slots // shards) if skips else bench.slots)
    bench.take_busy_s()
    begun_s = time.perf_counter()

    def evaluate(number: int, values: Float64) -> pa.Table:
        return bench.run(
            [
                shard
                for market, one in opened.first.items()
                for shard in shards_of(market, space, number, values, one.folds, pieces)
            ]
        )

    ended = run_search(
        search, config, results, evaluate, bucket_s, parts, lambda done, ran: told(done, ran, results), stop
    )
    search_s = time.perf_counter() - begun_s
    kernel_s = bench.take_busy_s() / bench.slots
    outcome = judge(results, config, bucket_s)
    said = verdict(outcome, fitted)
    events = ended.ran * opened.rows
    numbers = outcome.summary()
    numbers |= {
        "events": opened.rows,
        "ran": ended.ran,
        "recalled": ended.recalled,
        "kernel_s": kernel_s,
        "search_s": search_s,
        "sets_per_s": ended.ran / search_s if ended.ran else None,
        "param_events_per_s": events / kernel_s if ended.ran and kernel_s > 0 else None,
        "skips": skips,
    }
    numbers["unskipped_per_s"] = numbers["param_events_per_s"]
    surface, lost = None, ended.lost
    try:
        if skips and ended.ran and not lost:
            numbers["unskipped_per_s"] = _unskipped(
                {market: opened.first[market] for market in jumping}, bench, outcome, policy.source
            )
        surface = None if lost or stop() else _surface(settings, outcome, opened, bench)
    except DeviceError as error:
        lost = error
    numbers |= {"threads": bench.slots, "cluster": bench.summary(), "markets": len(opened.first)}
    numbers |= {"verdict": said.word, "reasons": [said.headline, *said.reasons], "remarks": list(said.remarks)}
    notes = _notes(settings, outcome, ended, parts, opened)
    return Swept(outcome, said, surface, numbers, notes, ended.whole, lost)


def _unskipped(markets: Mapping[str, MarketFacts], bench: Bench, outcome: Outcome, policy: str) -> float:
    """The best set and some others through every row of the longest market: the rate, and proof of the same rows."""
    results = outcome.results
    numbers = np.linspace(0, results.sets - 1, min(UNSKIPPED_SETS, results.sets)).astype(np.int64)
    if outcome.best is not None:
        numbers[0] = outcome.best
    numbers = np.unique(numbers)
    market, facts = max(markets.items(), key=lambda one: (one[1].rows, one[0]))
    pieces = 1 if bench.on_device else max(1, -(-bench.slots // len(facts.folds)))
    shards = shards_of(market, results.space, 0, results.values[numbers], facts.folds, pieces, skips=False)
    bench.take_busy_s()
    found = bench.run(shards)
    spent_s = bench.take_busy_s() / bench.slots
    expected = results.rows_of(numbers, market)
    for name in found.column_names:
        if name != "set" and not found[name].equals(expected[name]):
            row = next(k for k in range(len(found)) if found[name][k] != expected[name][k])
            raise PolicyError(
                f"{policy}: its quiet function promises what the policy does not keep: set {expected['set'][row]} in"
                f" fold {found['fold'][row]} comes to {name}={found[name][row]} when every row is looked at, and to"
                f" {expected[name][row]} when rows it calls quiet are jumped over; mend quiet, or leave signal= and"
                " quiet= out"
            )
    return len(numbers) * facts.rows / max(spent_s, 1e-9)


def _surface(settings: RunConfig, outcome: Outcome, opened: OpenMarkets, bench: Bench) -> Heat | None:
    """Latency x threshold around the best set."""
    config, threshold = settings.sweep, threshold_of(outcome)
    if outcome.best is None or threshold is None or not config.surface_ms:
        return None
    results = outcome.results
    best = results.values[outcome.best]
    base_ms = results.space.decoded(best).get("simulation.entry_ms", settings.simulation.entry_ms)
    around, values = surface_of(best, threshold, base_ms, config.surface_ms, config.surface_levels)
    graphs: Int64 = np.repeat(results.space.graph_of(best[None, :]), len(values))
    folds = range(config.folds)
    shards = [
        shard
        for market, one in opened.first.items()
        for shard in shards_of(
            market, around.space, 0, values, [fold for fold in one.folds if fold in folds], 1, graphs, around
        )
    ]
    found = Results(around.space, opened.rows_of_set(folds))
    found.append(values, bench.run(shards))
    entry_ms = sorted({base_ms + ms for ms in config.surface_ms})
    return surface_heat(found.pooled(folds), threshold, values, entry_ms)


def identity(settings: RunConfig, policy: CompiledPolicy, space: Space, opened: OpenMarkets) -> dict[str, Any]:
    """What the rows depend on, beside what ``identity_of`` knows."""
    simulation = dataclasses.asdict(settings.simulation)
    del simulation["added_ms"]
    told: dict[str, Any] = {"simulation": simulation, "policy": dataclasses.asdict(settings.policy)}
    told["trade"] = opened.legs
    told["instruments"] = [dataclasses.asdict(one) for one in opened.instruments if one.stream in opened.legs]
    told["versions"] = versions()
    if settings.simulation.funding:
        told["funding"] = blake2b(Path(settings.simulation.funding).read_bytes(), digest_size=16).hexdigest()
    data = {
        f"{market}, graph {graph + 1}": {"rows": one.rows, "first_ns": one.first_ns, "last_ns": one.last_ns}
        | {"digest": one.digest}
        for (market, graph), one in opened.facts.items()
    }
    return identity_of(settings.sweep, space, content_of(policy) or "unknown", told, data)


def _notes(
    settings: RunConfig, outcome: Outcome, ended: Ended, parts: Parts | None, opened: OpenMarkets
) -> list[str]:  # fmt: skip
    notes = []
    if ended.recalled:
        notes.append(f"note: {ended.recalled:,} sets were taken from what an earlier part of this sweep had run")
    if parts is not None and parts.torn:
        notes.append(f"note: {parts.torn} files of an earlier part could not be read: their sets were run again")
    if not ended.whole:
        why = "ended by its device" if ended.lost else "interrupted"
        notes.append(
            f"note: {why} after {outcome.results.sets:,} of {settings.sweep.sets:,} sets: run the same again in"
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
    if outcome.results.sets:
        least = outcome.results.table.group_by("stream").aggregate([("least_position", "min")]).to_pydict()
        lots = dict(zip(least["stream"], least["least_position_min"], strict=True))
        traded = [one for one in opened.instruments if one.stream in lots]
        if short := short_spot_note(traded, [lots[one.stream] for one in traded]):
            notes.append(short)
    unpaid = [str(one.counts.get("unpaid") or "") for one in opened.first.values()]
    if all(unpaid):
        notes.append(unpaid[0])
    if absent := [market for market, one in opened.first.items() if not one.folds]:
        notes.append(
            f"note: left out, because a traded stream never quoted there or there are fewer than two rows: "
            f"{', '.join(absent)}"
        )
    way_ms = max(one.way_ns for one in opened.first.values()) / 1e6
    shortest_ms = min(span_ns for one in opened.first.values() for _, span_ns in one.folds.values()) / 1e6
    if shortest_ms <= way_ms:
        notes.append(
            f"note: the shortest fold lasts {shortest_ms:,.3g} ms, and an order's way to the exchange and back takes"
            f" {way_ms:,.3g} ms: nothing can come back in it; use more data or smaller sweep.folds"
        )
    if idle := _idle(outcome.results.space, opened):
        notes.append(
            f"note: {', '.join(idle)} changed nothing that the policy reads: sets that differ in it only are the same"
        )
    quotes = list(dict.fromkeys(leg.currency for leg in outcome.results.legs))
    if len(quotes) > 1:
        notes.append(f"note: {' and '.join(quotes)} are added up one for one; each stream's own rows are exact")
    return notes


def _idle(space: Space, opened: OpenMarkets) -> list[str]:
    """Settings of the graph under which every market was the same to the last bit."""
    names = [space.dimensions[d].short for d in space.graph]
    if not names or space.graphs < 2:
        return []
    matters: set[str] = set()
    first: dict[tuple[str, str, tuple[str, ...]], str] = {}
    for (market, graph), one in opened.facts.items():
        setting = space.graph_setting(graph)
        for name, full in zip(names, setting, strict=True):
            others = tuple(f"{key}={value}" for key, value in setting.items() if key != full)
            if first.setdefault((market, name, others), one.digest) != one.digest:
                matters.add(name)
    return [name for name in names if name not in matters]
