"""Training a forecast from Python, as mode=fit does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

import pyarrow as pa

from schwabot import engine
from schwabot.api import Graph, Place, _checked_names, _settings, load
from schwabot.errors import ConfigError
from schwabot.modules.forecast import ForecastHead
from schwabot.records.market import Ticks
from schwabot.sinks.fit_table import fit_table
from schwabot.sinks.progress import Progress
from schwabot.ticks.base import Feed
from schwabot.training.fit import ForecastFit
from schwabot.training.fit_settings import FitConfig

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
    progress: bool = False,
) -> Fit:
    """Train a forecast on the first part of the data and score it on the rest.

    Args:
        source: what ``load`` takes, or a function that opens it, because it is read three times:
            ``lambda: schwabot.load(...)``.
        settings: as under ``fit.`` in the configuration, e.g. ``{"split": 0.7, "folds": 3}``.
        graph: whose settings the features are made with; default those of ``Graph()``.
        progress: show a progress bar.

    Raises:
        ConfigError: a setting that can't be used, or a feed, which can be read only once.
        FitError: too little data.
        DataError: bad input that the policy calls an error.

    Example:
        >>> market = lambda: load("synthetic", events=20_000, streams=2)
        >>> trained = fit(market, {"folds": 2, "blocks": 2})
        >>> trained.head.roles
        ('synthetic_a:*/USDT', 'synthetic_b:*/USDT:USDT')
        >>> result = Graph(checkpoint=trained.head).run(market())
        >>> result.skill.column("predictor").unique().to_pylist()
        ['forecast', 'ghost']
    """
    if hasattr(source, "batches"):
        raise ConfigError("a feed is read once and a fit reads three times: give lambda: schwabot.load(...)")
    opened = cast(Callable[[], Feed], source) if callable(source) else lambda: load(cast(Place, source))
    given = dict(settings or {})
    wrong = sorted(given.keys() - FitConfig.__dataclass_fields__.keys())
    if wrong:
        raise ConfigError(f"fit.{wrong[0]}: there is no such setting; use {', '.join(FitConfig.__dataclass_fields__)}")
    config = _settings({"fit": given}).fit  # typed and checked as on the command line
    run = (graph or Graph()).settings
    first = [opened()]
    task = ForecastFit(first[0].instruments, config, run.modules, run.latency, run.skill)

    def read(doing: str) -> Iterator[Ticks]:
        feed = first.pop() if first else opened()
        with Progress(enabled=progress, label=f"fit: {doing}") as bar, engine.StopRequest() as stop:
            yield from engine.WatchedFeed(feed, bar, stop).batches(run.batch_events)
        if stop.wanted:
            raise KeyboardInterrupt

    def keep(head: ForecastHead) -> None:
        if config.out:
            head.save(Path(config.out))

    head = task.run(read, keep)
    summary = task.summary()
    return Fit(head, fit_table(task.skill_tables("forecast"), summary), summary)
