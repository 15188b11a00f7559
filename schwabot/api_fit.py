"""Training a forecast from Python, as mode=fit does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import pyarrow as pa
import torch

from schwabot import engine
from schwabot.api import Graph, Place, _checked_names, _settings, load
from schwabot.api_device import device_settings, warn_of
from schwabot.errors import ConfigError, closest
from schwabot.modules.forecast import ForecastHead
from schwabot.records.market import Ticks
from schwabot.sinks.fit_table import fit_table
from schwabot.sinks.progress import Progress
from schwabot.ticks.base import Feed
from schwabot.training.fit import ForecastFit
from schwabot.training.fit_settings import FitConfig
from schwabot.training.leadlag_sums import sums_device

Source: TypeAlias = Place | Sequence[Place] | pa.Table | Callable[[], Feed]


@dataclass(frozen=True)
class Fit:
    """A trained forecast and what it is worth.

    Attributes:
        head: the forecast; ``Graph(checkpoint=fit.head)`` serves it, ``fit.head.save(file)`` keeps it.
        skill: one row per part of the data, predictor, stream and horizon, as fit.parquet.
        summary: ``fit`` of summary.json.
    """

    head: ForecastHead = field(repr=False)
    skill: pa.Table = field(repr=False)
    summary: dict[str, Any] = field(repr=False)

    def __repr__(self) -> str:
        return f"Fit({', '.join(self.head.roles)}; {self.skill.num_rows:,} scores)"


@_checked_names
def fit(
    source: Source,
    settings: Mapping[str, Any] | None = None,
    *,
    graph: Graph | None = None,
    device: str | torch.device | None = None,
    progress: bool = False,
    **options: Any,
) -> Fit:
    """Train a forecast on the first part of the data and score it on the rest.

    Args:
        source: what ``load`` takes, or a function that opens it, because it is read three times:
            ``lambda: schwabot.load(...)``.
        settings: as under ``fit.`` in the configuration, e.g. ``{"split": 0.7, "folds": 3}``.
        graph: whose settings the features are made with; default those of ``Graph()``.
        device: where the sums that a fit is made of are computed, as of ``Graph``; default that of
            ``graph``.
        progress: show a progress bar.
        options: the same as ``settings`` by keyword: ``split=0.7, folds=3``.

    Raises:
        ConfigError: a setting that can't be used, a feed, which can be read only once, or a function that opens none.
        FitError: too little data.
        DataError: bad input that the policy calls an error.

    Example:
        >>> market = lambda: load("synthetic", events=20_000, streams=2)
        >>> trained = fit(market, folds=2, blocks=2)
        >>> trained.head.roles
        ('synthetic_a:*/USDT', 'synthetic_b:*/USDT:USDT')
        >>> graph = Graph(checkpoint=trained.head)
        >>> result = graph.run(market())
        >>> result.skill.column("predictor").unique().to_pylist()
        ['forecast', 'ghost']
    """
    if hasattr(source, "batches"):
        raise ConfigError("a feed is read once and a fit reads three times: give lambda: schwabot.load(...)")
    if settings is not None and not isinstance(settings, Mapping):
        raise ConfigError(f"settings={settings!r}: use keywords, fit(..., folds=3), or a dict, {{'folds': 3}}")
    opened = _opener(source)
    given = dict(settings or {}) | options
    known = tuple(FitConfig.__dataclass_fields__)
    wrong = [str(name) for name in given if name not in known]
    if wrong:
        beside = ("graph", "device", "progress")
        hint = closest(wrong[0], (*known, *beside))
        if wrong[0] in beside:
            hint = f", it is an argument beside them: fit(..., {wrong[0]}=...)"
        raise ConfigError(
            f"fit.{wrong[0]}: there is no such setting{hint}; arguments: source, settings, {', '.join(beside)};"
            f" settings: {', '.join(known)}"
        )
    config = _settings({"fit": given}).fit  # typed and checked as on the command line
    run = (graph or Graph()).settings
    first = [opened()]
    place, of_device = sums_device(
        run.device if device is None else _settings({"device": device_settings(device)}).device
    )
    warn_of(of_device)
    task = ForecastFit(first[0].instruments, config, run.modules, run.latency, run.skill, place)

    stop = engine.StopRequest()

    def tell(doing: str) -> None:
        if stop.wanted:  # while the last batch was read: what comes next would fit to a part
            raise KeyboardInterrupt

    def read(doing: str) -> Iterator[Ticks]:
        feed = first.pop() if first else opened()
        with Progress(enabled=progress, label=f"fit: {doing}") as bar, stop:
            yield from engine.WatchedFeed(feed, bar, stop).batches(run.batch_events)
        if stop.wanted:
            raise KeyboardInterrupt

    def keep(head: ForecastHead) -> None:
        if config.out:
            head.save(Path(config.out))

    head = task.run(read, keep, tell)
    warn_of(place.warning)
    summary = task.summary()
    return Fit(head, fit_table(task.skill_tables("forecast"), summary), summary)


def _opener(source: Source) -> Callable[[], Feed]:
    """A function that opens the source and gives a feed, or says that it gave none."""
    if not callable(source):
        return lambda: load(cast(Place, source))

    def opened() -> Feed:
        feed = source()
        if not (hasattr(feed, "batches") and hasattr(feed, "instruments")):
            raise ConfigError(
                f"the source of fit is a function that returned {feed!r:.80}, of type {type(feed).__name__}, and no"
                " feed: let it open one, lambda: schwabot.load(...), or give what load takes without a function"
            )
        return feed

    return opened
