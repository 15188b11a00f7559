"""The Python API: ticks in, Arrow tables out, with the settings and defaults of the command line.

Axis legend: N events, V streams.
"""

from __future__ import annotations

import inspect
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import wraps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ParamSpec, TypeVar, cast

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from schwabot import engine
from schwabot.api_device import device_settings, warn_of
from schwabot.clock import ReplayClock
from schwabot.compose import explain, to_settings
from schwabot.config import SOURCES, RunConfig, conf_dir, register
from schwabot.errors import ConfigError, closest
from schwabot.modes.opened_graph import open_pipeline
from schwabot.modes.opening import compile_kernels, notes_of, open_feed
from schwabot.modules.forecast import ForecastHead
from schwabot.modules.settings import ModulesConfig
from schwabot.records.audit import SignalColumns
from schwabot.sinks.arrow import ArrowSink
from schwabot.sinks.base import RunHeader
from schwabot.sinks.progress import Progress
from schwabot.sinks.settings import SinksConfig
from schwabot.sinks.tables import WIDE
from schwabot.ticks.base import Feed
from schwabot.ticks.files import find_files
from schwabot.ticks.presets import ColumnMap
from schwabot.ticks.recording import Recording
from schwabot.ticks.store_format import CATALOGUE
from schwabot.training.heads import serve
from schwabot.training.meters import FORECAST, GHOST, CompileEntry, meters_of, skill_meter
from schwabot.training.skill import Predictor
from schwabot.training.skill_table import skill_table

Place = str | Path
Given = ParamSpec("Given")
Returned = TypeVar("Returned")
MODULES = tuple(one.name for one in fields(ModulesConfig))
PER_EVENT = ("ghost_bp", "key", "entropy", "echo_bp", "expected_lag_bp", "penalty")
"""Fields of ``SignalColumns`` with one number per event; the others have one per stream."""
_composing = threading.Lock()
"""Hydra composes for one thread at a time."""
_read: weakref.WeakValueDictionary[int, Feed] = weakref.WeakValueDictionary()
"""Feeds that ``Graph.run`` began to read, for as long as they live; by id, because a feed may have no hash."""


def _checked_names(function: Callable[Given, Returned]) -> Callable[Given, Returned]:
    """Answer a misspelt or missing argument as a misspelt setting is answered."""
    parameters = {name: one for name, one in inspect.signature(function).parameters.items() if name != "self"}
    named = [name for name, one in parameters.items() if one.kind is not one.VAR_KEYWORD]
    needed = [name for name in named if parameters[name].default is inspect.Parameter.empty]

    @wraps(function)
    def call(*args: Given.args, **given: Given.kwargs) -> Returned:
        try:
            inspect.signature(function).bind(*args, **given)
        except TypeError as error:
            wrong = [name for name in given if name not in named]
            hint = f", there is no argument {wrong[0]}{closest(wrong[0], named)}" if wrong else f": {error}"
            said = f"; arguments: {', '.join(named)}" + (f" (needed: {', '.join(needed)})" if needed else "")
            raise ConfigError(f"{function.__name__.strip('_')}{hint}{said}") from None
        return function(*args, **given)

    return call


@_checked_names
def load(
    source: Place | Sequence[Place] | pa.Table,
    *,
    kind: str | None = None,
    instruments: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> Feed:
    """Open a source of ticks.

    Args:
        source: ``"synthetic"``; a file, pattern or list of them (captures, CSV, Parquet,
            event arrays of hftbacktest as .npz); the folder of a store;
            or an Arrow table of ticks.
        kind: ``synthetic``, ``capture``, ``table`` or ``store``; default: told from the content.
        instruments: more instruments, by any name, e.g.
            ``{"mine": {"stream": "table:btc", "tick_size": 0.1, "lot_size": 0.001, "maker_fee_bp": 2,
            "taker_fee_bp": 5}}``.
        options: settings of that source, as under ``source.`` in the configuration, e.g. ``events=10_000``,
            ``depth_levels=5``, ``preset="tardis_quotes"``, ``symbols=["BTC/USDT"]``.

    Returns:
        A feed. It is read once; load again to read again.

    An Arrow table needs ``time`` and ``bid`` and ``ask`` (quotes) or ``price`` (trades); ``bid_qty``, ``ask_qty``,
    ``qty``, ``side``, ``buyer_maker``, ``stream``, ``event_time`` and ``emit_time`` are used when they are there, and
    ``columns={"time": "t", ...}`` maps other names. Rows of a stream are in the order of ``time``.

    Raises:
        ConfigError: nothing there, a setting that can't be used, or files of different kinds.
        DataError: the source can't be read.

    Example:
        >>> feed = load("synthetic", events=2_000, streams=2)
        >>> [instrument.stream for instrument in feed.instruments]
        ['synthetic_a:BTC/USDT', 'synthetic_b:BTC/USDT:USDT']
        >>> sum(len(ticks) for ticks in load(pa.table({"time": [1.0, 2.0], "bid": [4.1, 4.2], "ask": [4.3, 4.4]}),
        ...                                  time_unit="s").batches())
        2
        >>> load("synthetic", event=2_000)
        Traceback (most recent call last):
        schwabot.errors.ConfigError: source.event: there is no such setting, did you mean events?; ...
    """
    if kind is not None and kind not in SOURCES:
        raise ConfigError(f"kind={kind!r} is not a choice{closest(kind, SOURCES)}; use {', '.join(SOURCES)}")
    entries = _entries(instruments)
    if isinstance(source, pa.Table):
        if kind not in (None, "table"):
            raise ConfigError(f"kind={kind!r}: an Arrow table is read as kind='table'")
        return _load_arrow(source, options, entries)
    places = _places(source)
    if kind is None:
        kind = _kind_of(places, options)
    if kind == "store":
        options = {"path": _only(places)} | options
    elif kind != "synthetic":
        options = {"glob": [str(place) for place in places]} | options
        if kind == "table" and all(str(place).endswith(".npz") for place in places):
            options = {"preset": "hftbacktest"} | options
    elif places != ["synthetic"]:
        raise ConfigError(f"a synthetic market has no files: load('synthetic', ...) instead of {source!r}")
    return open_feed(_settings({"source": options, "instruments": entries}, kind))


def _entries(instruments: object) -> dict[str, dict[str, Any]]:
    if instruments is None:
        return {}
    if not isinstance(instruments, Mapping) or not all(isinstance(entry, Mapping) for entry in instruments.values()):
        raise ConfigError(
            f"instruments={instruments!r}: use names with their settings, e.g."
            ' {"mine": {"stream": "table:BTC/USD", "tick_size": 0.1, "lot_size": 0.001, "maker_fee_bp": 2,'
            ' "taker_fee_bp": 5}}'
        )
    return {str(name): dict(entry) for name, entry in instruments.items()}


def _places(source: object) -> list[Place]:
    places = [source] if isinstance(source, str | Path) else list(source) if isinstance(source, list | tuple) else []
    if not places or not all(isinstance(place, str | Path) for place in places):
        raise ConfigError(
            f"source is of type {type(source).__name__}: use 'synthetic', a file, pattern or list of them, a store's"
            " folder, or an Arrow table (of a data frame: pyarrow.Table.from_pandas(frame) or frame.to_arrow())"
        )
    return places


def _load_arrow(table: pa.Table, options: dict[str, Any], entries: dict[str, Any]) -> Feed:
    """Read a table as the table source does, by way of a file that lives as long as the feed."""
    options = dict(options)
    columns = {one.name: one.name for one in fields(ColumnMap) if one.name in table.column_names}
    stated = dict(options.get("columns") or {})
    columns = {} if options.get("preset", "none") != "none" else columns
    options["columns"] = columns | stated
    name = options["columns"].get("stream")
    if name in table.column_names and "streams" not in options:
        values = [str(value) for value in table.column(name).unique().to_pylist()]
        options["streams"] = {value: value for value in values if ":" in value and "/" in value}
    folder = TemporaryDirectory(prefix="schwabot-")
    path = Path(folder.name, "arrow.parquet")
    try:
        pq.write_table(table, path)
        feed = open_feed(_settings({"source": options | {"glob": str(path)}, "instruments": entries}, "table"))
    except BaseException:
        folder.cleanup()
        raise
    weakref.finalize(feed, folder.cleanup)
    return feed


def _kind_of(places: list[Place], options: Mapping[str, Any]) -> str:
    if places == ["synthetic"]:
        return "synthetic"
    if len(places) == 1 and Path(places[0]).is_dir():
        if (Path(places[0]) / CATALOGUE).is_file():
            return "store"
        raise ConfigError(f"{places[0]} is a folder but no store ({CATALOGUE} is missing); name its files: DIR/*.gz")
    kinds = {path: _kind_of_file(path) for path in find_files([str(place) for place in places], "source")}
    if len(set(kinds.values())) > 1:
        said = ", ".join(f"{path} ({kind})" for path, kind in list(kinds.items())[:4])
        raise ConfigError(f"files of different kinds: {said}; load them apart, or state kind=")
    return next(iter(kinds.values()))


def _kind_of_file(path: Path) -> str:
    """A capture's lines start with a receive time in ns and a JSON object; everything else is a table."""
    with path.open("rb") as file:
        magic = file.read(4)
    if magic in (b"PAR1", b"PK\x03\x04"):
        return "table"
    first = next((line for block in Recording(path).blocks() for line in block), b"")
    stamp, _, message = bytes(first).partition(b" ")
    return "capture" if stamp.isdigit() and message.lstrip().startswith(b"{") else "table"


def _only(places: list[Place]) -> str:
    if len(places) != 1:
        raise ConfigError(f"a store is one folder, not {len(places)} places; convert with convert.existing=append")
    return str(places[0])


def _settings(tree: Mapping[str, Any], source: str = "synthetic") -> RunConfig:
    """What the command line would run with these values.

    Raises:
        ConfigError: a name or value that can't be used.
    """
    register()
    try:
        with _composing, initialize_config_dir(str(conf_dir()), version_base="1.3"):
            config = compose("config", overrides=[f"source={source}"])
        OmegaConf.set_struct(config, False)
        config.merge_with(tree)
    except (HydraException, OmegaConfBaseException) as error:
        raise explain(error, elsewhere=False) from error
    return to_settings(config)


@dataclass(frozen=True)
class Result:
    """What a run gave.

    Attributes:
        signals: one row per quote or trade, as signals.parquet.
        lag_decisions: one row per decision: what acting later would have cost, as lag_decisions.parquet.
        lag_curve: its mean per stream and latency, as lag_curve.parquet.
        arbitrage: closed windows, as arbitrage.parquet.
        drift: changes of drift status and route, as drift.parquet.
        memory: what the registry remembers at the end, as memory.parquet.
        skill: one row per predictor, stream and horizon.
        summary: what summary.json holds.
        wide: every stream's answer at every event, when it was asked for.
    """

    signals: pa.Table = field(repr=False)
    lag_decisions: pa.Table = field(repr=False)
    lag_curve: pa.Table = field(repr=False)
    arbitrage: pa.Table = field(repr=False)
    drift: pa.Table = field(repr=False)
    memory: pa.Table = field(repr=False)
    skill: pa.Table = field(repr=False)
    summary: dict[str, Any] = field(repr=False)
    wide: pa.Table | None = field(default=None, repr=False)

    def __repr__(self) -> str:
        parts = [f"{one.name}: {getattr(self, one.name).num_rows:,} rows" for one in fields(self)[:7]]
        streams = len(self.summary["streams"])
        return f"Result({self.summary['events']:,} events of {streams} streams; {', '.join(parts)})"


class Graph:
    """The module graph with its settings.

    Args:
        overrides: settings by module, e.g. ``{"tensor_harness": {"tau_phase_s": 5}}``; beside the five modules
            ``latency`` (venue clocks) and ``skill`` (how the ghost is scored).
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or a ``torch.device``.
        checkpoint: a trained forecast to serve: a file of mode=fit, or ``Fit.head``.
        settings: the same by keyword, ``tensor_harness={"tau_phase_s": 5}``, or one setting of a module by its bare
            name, ``tau_phase_s=5``, where only one module has it.

    Raises:
        ConfigError: a name nobody has, a name several modules have, or a value that can't be used.

    Example:
        >>> graph = Graph(tau_phase_s=5, phantom_lag={"latency_ms": 2})
        >>> graph.settings.modules.tensor_harness.tau_phase_s
        5.0
        >>> Graph(tau_fase_s=5)
        Traceback (most recent call last):
        schwabot.errors.ConfigError: tau_fase_s: there is no such setting, did you mean tau_phase_s?...
        >>> Graph({"tensor_harness": {"tau_phase_s": "long"}})
        Traceback (most recent call last):
        schwabot.errors.ConfigError: modules.tensor_harness.tau_phase_s: Value 'long' of type 'str' could not be ...
    """

    @_checked_names
    def __init__(
        self,
        overrides: Mapping[str, Any] | None = None,
        *,
        device: str | torch.device = "auto",
        checkpoint: Place | ForecastHead | None = None,
        **settings: Any,
    ) -> None:
        if overrides is not None and not isinstance(overrides, Mapping):
            raise ConfigError(f"overrides={overrides!r}: use a dict by module, e.g. {{'tensor_harness': {{...}}}}")
        self.settings = _settings(_tree([overrides or {}, settings]) | {"device": device_settings(device)})
        if checkpoint is not None and not isinstance(checkpoint, str | Path | ForecastHead):
            raise ConfigError(f"checkpoint={checkpoint!r}: use a file that mode=fit wrote, or the head of a fit")
        if checkpoint is not None and not isinstance(checkpoint, ForecastHead) and not str(checkpoint).strip():
            raise ConfigError("checkpoint is empty: name a file that mode=fit wrote, or leave it out")
        self.head = ForecastHead.load(checkpoint) if isinstance(checkpoint, str | Path) else checkpoint
        self._checkpoint = str(checkpoint) if isinstance(checkpoint, str | Path) else "head"

    @_checked_names
    def run(
        self,
        source: Feed | Place | Sequence[Place] | pa.Table,
        *,
        wide: bool | Sequence[str] = False,
        signals: str = "all",
        predictors: Mapping[str, Predictor] | None = None,
        reference: str | None = None,
        batch_events: int = 65_536,
        progress: bool = False,
    ) -> Result:
        """Run ticks through the graph, from a fresh state. Threads may share a ``Graph``, not a feed.

        Args:
            source: a feed, or what ``load`` takes.
            wide: also give every stream's answer per event: True for mid, half spread, deviation, phase and forecast,
                or names of the [N, V] fields of ``SignalColumns``; ``forecasts_bp`` is one column per horizon.
            signals: rows of ``Result.signals``: ``all``, ``off`` or ``every_100`` and the like.
            predictors: more predictors to score beside the ghost: name → function from a ``StepRecord`` to [N, V],
                larger = the stream will rise. It may use nothing but the record and what it kept of earlier ones.
            reference: stream that ``basis_bp`` is measured against; default the first spot stream by name.
            batch_events: events per batch; changes memory and speed, never a result.
            progress: show a progress bar.

        Raises:
            ConfigError: an argument that can't be used, or a feed that was already read.
            DataError: bad input that the policy calls an error.

        Example:
            >>> result = Graph().run(load("synthetic", events=3_000, seed=1), wide=["forecast_bp"])
            >>> result.signals.column_names[:5]
            ['ts_recv_ns', 'ts_event_ns', 'stream', 'kind', 'ghost_bp']
            >>> result.wide.column_names[3]
            'forecast_bp[synthetic_a:BTC/USDT]'
            >>> result.summary["events"], result.summary["quotes"] + result.summary["trades"]
            (3000, 3000)
        """
        started_s = time.perf_counter()
        feed = _feed(source)
        streams = [instrument.stream for instrument in feed.instruments]
        if reference is not None and reference not in streams:
            raise ConfigError(
                f"reference={reference!r} is not in the source{closest(str(reference), streams)}: {streams}"
            )
        _check_predictors(predictors)
        if own := {GHOST, FORECAST} & set(predictors or {}):
            raise ConfigError(f"a predictor can't be named {min(own)!r}: that is the graph's own")
        if type(batch_events) is not int:
            raise ConfigError(f"batch_events={batch_events}: use a whole number")
        RunConfig(batch_events=batch_events).check()
        SinksConfig(signals=str(signals)).check()
        sink = ArrowSink(SinksConfig(signals=signals).signals_stride(), _wide_columns(wide))
        modules = self.settings.modules
        if self.head is not None:
            modules = serve(self.head, self._checkpoint, modules, feed.instruments)
        pipeline, of_device = open_pipeline(self.settings, feed, modules, self.head, quiet=not progress)
        warn_of(of_device)
        skill = skill_meter(feed.instruments, self.settings.skill, self.head, predictors, pipeline.rates)
        bar = Progress(enabled=progress, label="graph")
        compile_s = compile_kernels(feed.instruments, modules, say=progress)
        header = RunHeader(
            run_dir=Path(),
            mode="replay",
            device=str(pipeline.device),
            source=type(feed).__name__,
            instruments=feed.instruments,
            expected_events=feed.expected_events,
            notes=tuple(notes_of(feed, of_device)),
            rates=pipeline.rates,
        )
        with suppress(TypeError):  # a feed of one's own that can't be referred to weakly
            _read[id(feed)] = feed
        engine.run(
            feed,
            pipeline,
            header,
            clock=ReplayClock(),
            sinks=[sink],
            meters=[
                *meters_of(feed, skill, modules.phantom_lag, pipeline.clock_summary, self.head, pipeline.rates),
                CompileEntry(compile_s),
            ],
            reference=reference,
            batch_events=batch_events,
            progress=bar,
            started_s=started_s,
            device_required=self.settings.device.required,
        )
        return Result(
            signals=sink.signals,
            lag_decisions=sink.lag_decisions,
            lag_curve=sink.lag_curve,
            arbitrage=sink.arbitrage,
            drift=sink.drift,
            memory=sink.memory,
            skill=skill_table(skill),
            summary=sink.summary,
            wide=sink.wide,
        )


def _feed(source: Feed | Place | Sequence[Place] | pa.Table) -> Feed:
    """A feed as it is, or what ``load`` makes of a place.

    Raises:
        ConfigError: a feed that was read before; some sources would begin anew, others say nothing more.
    """
    if not (hasattr(source, "batches") and hasattr(source, "instruments")):
        return load(cast("Place", source))
    feed = cast(Feed, source)
    if _read.get(id(feed)) is feed:
        raise ConfigError("this feed was already read, and a feed is read once: schwabot.load again")
    return feed


def _no_text(**lists: object) -> None:
    """Refuse a text where a list of them is wanted: it would be taken letter by letter."""
    for name, value in lists.items():
        if isinstance(value, str):
            raise ConfigError(f"{name}={value!r}: use a list, [{value!r}]")


def _check_predictors(given: object) -> None:
    if given is not None and not (isinstance(given, Mapping) and all(map(callable, given.values()))):
        raise ConfigError(f"predictors={given!r}: use a dict, name -> function of a StepRecord")


def _wide_columns(wide: bool | Sequence[str]) -> tuple[str, ...]:
    if isinstance(wide, bool):
        return WIDE if wide else ()
    names = tuple(one.name for one in fields(SignalColumns) if one.name not in PER_EVENT)
    if isinstance(wide, str) or not isinstance(wide, Sequence):
        raise ConfigError(f"wide={wide!r}: use True, False or a list of {', '.join(names)}")
    for name in wide:
        if name not in names:
            raise ConfigError(f"wide={name!r} is not a choice{closest(name, names)}; use {', '.join(names)}")
    return tuple(wide)


def _tree(given: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Settings as a tree: modules by name, bare names under the one module that has them."""
    owners: dict[str, list[str]] = {}
    for part in fields(ModulesConfig):
        for one in fields(getattr(ModulesConfig(), part.name)):
            owners.setdefault(one.name, []).append(part.name)
    tree: dict[str, Any] = {"modules": {}}
    for settings in given:
        for name, value in settings.items():
            if name in MODULES:
                _put(tree["modules"], name, value)
            elif name in ("latency", "skill"):
                _put(tree, name, value)
            elif len(owners.get(name, ())) == 1:
                _put(tree["modules"], owners[name][0], {name: value})
            elif name in owners:
                said = " or ".join(f"{owner}={{{name!r}: {value!r}}}" for owner in owners[name])
                raise ConfigError(f"{name} is a setting of {' and of '.join(owners[name])}: say {said}")
            elif name in ("device", "checkpoint"):
                raise ConfigError(f"{name} is an argument of Graph, beside the settings: Graph(..., {name}=...)")
            else:
                known = [*MODULES, "latency", "skill", *owners]
                raise ConfigError(
                    f"{name}: there is no such setting{closest(name, known)}; modules: {', '.join(MODULES)}, "
                    "beside them latency and skill"
                )
    return tree


def _put(tree: dict[str, Any], name: str, values: Any) -> None:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{name}={values!r}: use a dict of its settings, e.g. {name}={{...}}")
    tree.setdefault(name, {}).update(values)
