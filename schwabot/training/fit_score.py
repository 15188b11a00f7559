"""A trained head served over the data it was not fitted on, beside what needs no training. Axis legend: V streams."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from schwabot.errors import ConfigError
from schwabot.modules.forecast import ForecastHead
from schwabot.modules.settings import ModulesConfig
from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64, Ticks
from schwabot.ticks.venue_clock import VenueClockConfig
from schwabot.training.assets import Asset
from schwabot.training.fit_settings import FitConfig
from schwabot.training.forecast_pass import BASELINES, ForecastPass, PassColumns
from schwabot.training.skill import SkillMeter
from schwabot.training.skill_settings import SkillConfig
from schwabot.training.time_split import Split

FORECAST = "forecast"
MEAN_MS = (50.0, 100.0, 500.0)
"""Horizons of the mean by which fits are compared."""
BEATEN_BY = {
    "microprice": "its own microprice",
    "mean": "the plain mean of mids",
    "weighted": "the weighted ghost price",
    "kalman": "the Kalman ghost price",
}
NO_MOVE = "expecting no move"
_MOST_MISSING = 8
"""With more streams than this, leaving out one after the other would take longer than the fit."""


@dataclass(frozen=True)
class _Run:
    """One pass and its meter."""

    asset: Asset
    run: ForecastPass
    meter: SkillMeter

    def update(self, ticks: Ticks) -> None:
        own = self.asset.part(ticks) if len(ticks.instruments) > len(self.asset.instruments) else ticks
        if len(own):
            columns = self.run.step(own)
            self.meter.take(columns.ts_ns, columns.quote, columns.mid_bp, lambda name: _answer(columns, name))


def _answer(columns: PassColumns, name: str) -> Float64:
    return columns.forecasts_bp if name == FORECAST else columns.baselines[name]


class AssetScore:
    """Skill of head and baselines on what one asset holds out, also with each of its streams really missing.

    The online slopes of the baselines learn from the beginning of the data on; no row up to cut and embargo counts.

    Args:
        asset: whose ticks.
        split: its time.
        head: to serve.
        modules: settings of the graph for these streams.
        latency, skill, config: settings.
    """

    def __init__(
        self,
        asset: Asset,
        split: Split,
        head: ForecastHead,
        modules: Callable[[Sequence[Instrument]], ModulesConfig],
        latency: VenueClockConfig,
        skill: SkillConfig,
        config: FitConfig,
    ) -> None:
        self.asset = asset
        self.predictors = (FORECAST, *BASELINES)
        before = [(np.iinfo(np.int64).min, split.score_ns)]

        def run(part: Asset, names: tuple[str, ...], skill: SkillConfig) -> _Run | None:
            try:
                served = ForecastPass(part.instruments, modules(part.instruments), latency, head)
            except ConfigError:  # the one stream of a known role is the one that is missing
                return None
            meter = SkillMeter(
                part.instruments, skill, predictors=names, moves=(FORECAST,), left_out=dict.fromkeys(names, before)
            )
            return _Run(part, served, meter)

        whole = run(asset, self.predictors, skill)
        assert whole is not None, "it has a role that the head knows"
        self._whole = whole
        self._tables: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
        self._missing: dict[str, _Run] = {}
        if config.missing and 1 < len(asset.instruments) <= _MOST_MISSING:
            for v, one in enumerate(asset.instruments):
                found = run(without(asset, v), (FORECAST,), replace(skill, draws=0))
                if found is not None:
                    self._missing[one.stream] = found

    def update(self, ticks: Ticks) -> None:
        """Take one batch of the asset's ticks."""
        self._tables.clear()
        self._whole.update(ticks)
        for run in self._missing.values():
            run.update(ticks)

    def summary(self, predictor: str = FORECAST) -> dict[str, dict[str, dict[str, Any]]]:
        """Stream → horizon in ms → numbers; see ``SkillMeter.summary``."""
        if predictor not in self._tables:  # it takes a bootstrap
            self._tables[predictor] = self._whole.meter.summary(predictor)
        return self._tables[predictor]

    def missing(self) -> dict[str, dict[str, dict[str, dict[str, Any]]]]:
        """Stream that is missing → the forecast's skill on the others."""
        return {stream: run.meter.summary() for stream, run in self._missing.items()}


def without(asset: Asset, v: int) -> Asset:
    """The asset without one of its streams; its ticks are taken from the asset's, not from the source's."""
    kept = [u for u in range(len(asset.instruments)) if u != v]
    return Asset(asset.base, tuple(asset.instruments[u] for u in kept), np.array(kept, np.int64))


def mean_r2(table: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, float | None]:
    """Mean R² over streams and ``MEAN_MS`` (over all horizons where there is none of them), on quotes and on the grid.

    Example:
        >>> mean_r2({"a:X/Y": {"10": {"r2": 0.9, "r2_grid": 0.5}, "50": {"r2": 0.25, "r2_grid": None}}})
        {'quotes': 0.25, 'grid': None}
    """
    horizons = {h for cells in table.values() for h in cells}
    wanted = {h for h in horizons if float(h) in MEAN_MS} or horizons

    def mean(name: str) -> float | None:
        values = [cells[h][name] for cells in table.values() for h in cells if h in wanted]
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    return {"quotes": mean("r2"), "grid": mean("r2_grid")}


def beaten(tables: Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]) -> list[str]:
    """What has to be said of each stream on which the head does worse than something that needs no training.

    Means as ``mean_r2``'s, of one stream; an R² of 0 is that of expecting no move.

    Args:
        tables: predictor → stream → horizon in ms → numbers; the first is the forecast.

    Example:
        >>> def table(r2, grid):
        ...     return {"a:X/Y": {"100": {"r2": r2, "r2_grid": grid}}}
        >>> beaten({"forecast": table(0.125, 0.1), "microprice": table(0.25, 0.05)})
        ['a:X/Y: on what was held out the trained forecast does worse than its own microprice on quotes (mean ...
        >>> beaten({"forecast": table(-0.125, 0.1), "microprice": table(-0.25, 0.05)})[0][-58:]
        'expecting no move on quotes (mean R² -0.125 against 0.000)'
        >>> beaten({"forecast": table(-0.0001, 0.1), "microprice": table(-0.25, 0.1002)})
        []
    """
    forecast, *others = tables
    notes = []
    for stream, cells in tables[forecast].items():
        own = mean_r2({stream: cells})
        worse: dict[str, list[str]] = {}
        for where, rows in (("quotes", "quotes"), ("grid", "a 10 ms grid")):
            found = {name: mean_r2({stream: tables[name][stream]})[where] for name in others}
            known = {BEATEN_BY[name]: value for name, value in found.items() if value is not None} | {NO_MOVE: 0.0}
            best, r2 = max(known, key=lambda name: known[name]), own[where]
            if r2 is not None and round(known[best], 3) > round(r2, 3):  # as shown
                worse.setdefault(best, []).append(f"on {rows} (mean R² {r2:.3f} against {known[best]:.3f})")
        if worse:
            said = " and ".join(f"than {name} {' and '.join(rows)}" for name, rows in worse.items())
            notes.append(f"{stream}: on what was held out the trained forecast does worse {said}")
    return notes
