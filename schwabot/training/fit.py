"""mode=fit without its surroundings: train a forecast on the first part of the data, score it on the rest.

    reading 1   when each asset begins and ends; looks at no price           time_split.py
    reading 2   training rows, up to the cut and no further                  forecast_rows.py
    -           penalty, walk forward, coefficients                          validation.py, ridge.py
    reading 3   the whole, as it is served; what lies behind the cut scores  fit_score.py

Nothing behind the cut is read before the coefficients stand, so nothing there can change them.

Axis legend: V streams, R roles, F features, H horizons.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from schwabot.errors import ConfigError, FitError
from schwabot.modules.forecast import FEATURES, ForecastHead, role_of
from schwabot.modules.settings import ModulesConfig
from schwabot.records.instrument import Instrument
from schwabot.records.market import Ticks
from schwabot.signals.own_features import declare_columns
from schwabot.ticks.venue_clock import VenueClockConfig
from schwabot.training.assets import Asset, assets_of
from schwabot.training.device_rows import DeviceRows
from schwabot.training.fit_score import AssetScore, beaten, mean_r2
from schwabot.training.fit_settings import FitConfig
from schwabot.training.forecast_pass import ForecastPass
from schwabot.training.forecast_rows import RowCollector
from schwabot.training.heads import feature_settings, with_kalman
from schwabot.training.kalman_fit import KalmanCollector, KalmanFit
from schwabot.training.leadlag_sums import SumsDevice
from schwabot.training.ridge import Part
from schwabot.training.skill_settings import SkillConfig
from schwabot.training.time_split import Split, measure
from schwabot.training.validation import Choice, Fold, Window, near, touches, train, walk_forward

LARGEST = 1e15
"""Of what a signal of the user's own may answer."""
Read = Callable[[str], Iterator[Ticks]]
"""Opens the source anew; what is being done is told to the user."""


class ForecastFit:
    """One fit, stage by stage; ``summary`` tells how far it came.

    Args:
        instruments: of the source, of one asset or several.
        config: see ``FitConfig``.
        modules: settings of the graph that will serve the head.
        latency: settings of the venue clocks.
        skill: horizons, grid and intervals of the scores.
        device: does the sums over rows; default the CPU, which also does the rest.

    Raises:
        ConfigError: an asset that is not in the source, a horizon of the modules that would not be trained, or a signal
            of the user's own that can't be used.

    Example:
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> market = SyntheticConfig(events=20_000, streams=2)
        >>> fit = ForecastFit(SyntheticFeed(market).instruments, FitConfig(folds=1, blocks=2))
        >>> head = fit.run(lambda doing: SyntheticFeed(market).batches())
        >>> head.roles, head.coefficients.shape
        (('synthetic_a:*/USDT', 'synthetic_b:*/USDT:USDT'), (5, 2, 2, 9))
        >>> sorted(fit.summary()["baselines"])
        ['kalman', 'mean', 'microprice', 'weighted']
    """

    def __init__(
        self,
        instruments: Sequence[Instrument],
        config: FitConfig | None = None,
        modules: ModulesConfig | None = None,
        latency: VenueClockConfig | None = None,
        skill: SkillConfig | None = None,
        device: SumsDevice | None = None,
    ) -> None:
        skill = skill or SkillConfig()
        self.device = device or SumsDevice()
        self.config = config or FitConfig()
        self.modules = modules or ModulesConfig()
        self.latency = latency or VenueClockConfig()
        self.skill = replace(skill, enabled="on", horizons_ms=tuple(sorted(skill.horizons_ms)))
        self.own = declare_columns(self.config.signals, self.config.signal_parameters)
        self.assets = assets_of(instruments)
        self._embargo_ns = round(self.config.embargo_s * 1e9)
        self.splits: tuple[Split, ...] = ()
        self.head: ForecastHead | None = None
        self.choice: Choice | None = None
        self.folds: list[Fold] = []
        self.scores: dict[str, AssetScore] = {}
        self.kalman: dict[str, KalmanFit] = {}
        self.notes: list[str] = []
        self._rows: dict[str, dict[str, int]] = {}
        self._fitted_on = self._wanted()
        # Only these: a stream whose like was not fitted on has no forecast, which is not one of 0 bp.
        self.roles = tuple(sorted({role_of(one) for k in self._fitted_on for one in self.assets[k].instruments}))
        self._check_horizons()

    def _wanted(self) -> tuple[int, ...]:
        bases = [asset.base for asset in self.assets]
        unknown = [one for one in self.config.assets if one.upper() not in bases]
        if unknown:
            raise ConfigError(f"fit.assets={self.config.assets}: {unknown[0]} is not in the source, it has {bases}")
        wanted = {one.upper() for one in self.config.assets} or set(bases)
        return tuple(k for k, base in enumerate(bases) if base in wanted)

    def _check_horizons(self) -> None:
        known = self.skill.horizons_ms
        for name, ms in (
            ("voltage_lanes", self.modules.voltage_lanes.horizon_ms),
            ("hash_registry", self.modules.hash_registry.horizon_ms),
        ):
            if ms not in known:
                raise ConfigError(
                    f"modules.{name}.horizon_ms={ms:g} is none of the horizons that are fitted, skill.horizons_ms="
                    f"{list(known)}: no run could serve the checkpoint; add it there"
                )

    def run(
        self,
        read: Read,
        keep: Callable[[ForecastHead], None] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> ForecastHead:
        """Train, then score.

        Args:
            read: opens the source anew, three times.
            keep: is given the head as soon as it stands, before it is scored.
            tell: is told what is being done between the readings, and may end the fit there by raising.

        Raises:
            FitError: too little data, or a stream without a price.
        """
        self.splits = measure(read("finding the split"), self.assets, self.config)
        parts = self._parts(read("reading what is fitted on"))
        self.head = self._train(parts, tell or (lambda doing: None))
        if keep is not None:
            keep(self.head)
        if any(split.scores for split in self.splits):
            self._score(read("scoring the rest"))
            for score in self.scores.values():
                self.notes += beaten({name: score.summary(name) for name in score.predictors})
        else:
            self.notes.append("fit.split=1: everything was fitted on, so nothing is left to score it")
        return self.head

    def warm_up(self, quote: Ticks) -> None:
        """Get the kernels ready by one quote of the first asset."""
        ForecastPass(self.assets[0].instruments, self.modules, self.latency, own=self.own).step(quote)

    def _parts(self, batches: Iterator[Ticks]) -> list[Part]:
        """Training rows of every asset that is fitted on, and the last batch read is the one in which all ended."""
        passes, collectors, kalman = {}, {}, {}
        for k in self._fitted_on:
            asset, split = self.assets[k], self.splits[k]
            modules = self._modules(asset.instruments)
            passes[k] = ForecastPass(asset.instruments, modules, self.latency, own=self.own)
            kalman[k] = KalmanCollector(asset.instruments, until_ns=split.cut_ns)
            collectors[k] = RowCollector(
                len(asset.instruments), self.skill, until_ns=split.cut_ns, max_rows=self.config.max_rows
            )
        until_ns = max(self.splits[k].cut_ns for k in self._fitted_on)
        for ticks in batches:
            for k, collector in collectors.items():
                own = self.assets[k].part(ticks)
                if len(own) and own.ts_recv_ns[0] <= self.splits[k].cut_ns:
                    columns = passes[k].step(own)
                    collector.update(columns.ts_ns, columns.quote, columns.mid_bp, columns.features)
                    counts = ~touches(columns.ts_ns, 0, self._scoring(k), self._embargo_ns)
                    kalman[k].take(
                        columns.ts_ns[counts], columns.stream[counts], columns.mid_bp[counts], columns.route[counts],
                        columns.ghosts["weighted"][counts], columns.baselines["weighted"][counts],
                    )  # fmt: skip
            if ticks.ts_recv_ns[-1] > until_ns:
                break
        parts = [self._part(k, collector) for k, collector in collectors.items()]
        if self.config.kalman and not self.kalman:
            self._fit_kalman(kalman)
        return parts

    def _fit_kalman(self, collectors: Mapping[int, KalmanCollector]) -> None:
        for k, collector in collectors.items():
            base = self.assets[k].base
            try:
                self.kalman[base] = collector.fit(prior_r_bp2=self.modules.ghost_bridge.kalman_r_bp2)
            except FitError as error:
                self.notes.append(f"{base or 'the source'}: q and r of the Kalman ghost stay as configured: {error}")

    def _fitted_kalman(self) -> dict[str, Any] | None:
        """q, and r by role; over several assets their geometric means, because both are scales."""
        if not self.kalman:
            return None
        r_bp2: dict[str, list[float]] = {}
        for k in self._fitted_on:
            found = self.kalman.get(self.assets[k].base)
            if found is not None:
                for one, r in zip(self.assets[k].instruments, found.r_bp2.tolist(), strict=True):
                    r_bp2.setdefault(role_of(one), []).append(r)
        q = [found.q_bp2_per_s for found in self.kalman.values()]
        return {
            "q_bp2_per_s": float(np.exp(np.mean(np.log(q)))),
            "r_bp2": {role: float(np.exp(np.mean(np.log(values)))) for role, values in sorted(r_bp2.items())},
        }

    def _modules(self, instruments: Sequence[Instrument]) -> ModulesConfig:
        """Settings of the graph for these streams, with q and r where they are fitted."""
        kalman = self._fitted_kalman()
        return self.modules if kalman is None else with_kalman(self.modules, kalman, instruments)

    def _scoring(self, k: int) -> list[Window]:
        """What scores the other assets."""
        return [(one.score_ns, one.last_ns) for j, one in enumerate(self.splits) if j != k and one.scores]

    def _part(self, k: int, collector: RowCollector) -> Part:
        """Rows that count: none near what scores any asset, because prices of two assets move together."""
        asset, rows = self.assets[k], collector.rows()
        for one, column in zip(self.own, np.moveaxis(rows.features[..., len(FEATURES) :], -1, 0), strict=True):
            if len(rows) and (size := float(np.abs(column).max())) > LARGEST:
                raise FitError(
                    f"fit.signals: {one.name} answers numbers of up to {size:.3g}, whose squares are no numbers any"
                    " more: scale it, or answer math.nan where it has no answer"
                )
        counts = ~near(rows, self._scoring(k), self._embargo_ns)
        quotes = int(np.count_nonzero(counts & rows.quote))
        name = asset.base or "the source"
        if not np.any(rows.quote):
            raise FitError(
                f"{name}: no quote to fit on in the first {self.config.split:.0%} of the time: rows begin once all"
                " streams have a price, and are quotes, so use more data, with bid and ask; last prices alone won't do"
            )
        if quotes < self.config.min_rows:
            raise FitError(
                f"{name}: {quotes:,} quotes in the first {self.config.split:.0%} of its"
                f" {(self.splits[k].last_ns - self.splits[k].first_ns) / 1e9:,.1f} s are too few to fit on,"
                f" fit.min_rows={self.config.min_rows:,}: use more data"
            )
        self._rows[asset.base] = {
            "quotes": quotes, "grid": int(np.count_nonzero(counts & ~rows.quote)), "every": rows.every,
        }  # fmt: skip
        if rows.every > 1:
            self.notes.append(
                f"{name}: more rows than fit.max_rows={self.config.max_rows:,}, so one in {rows.every} was kept"
            )
        still = ~(rows.outcome_bp[counts] != 0).any(axis=(0, 2))
        self.notes += [
            f"{one.stream} never moves in what is fitted on: its forecast is 0, and nothing can score it"
            for one, is_still in zip(asset.instruments, still, strict=True)
            if is_still
        ]
        if len(asset.instruments) == 1:
            self.notes.append(
                f"{name}: one stream only, so there is no deviation to learn from; the forecast is made of its own"
                " quotes and trades"
            )
        there = None if self.device.is_cpu else DeviceRows(rows, self.device)
        return Part(rows, counts, tuple(self.roles.index(role_of(one)) for one in asset.instruments), there)

    def _train(self, parts: Sequence[Part], tell: Callable[[str], None]) -> ForecastHead:
        roles, config = len(self.roles), self.config
        if config.folds:
            self.folds = walk_forward(parts, roles, config, tell)
            if len(self.folds) < config.folds:
                self.notes.append(
                    f"{config.folds - len(self.folds)} of {config.folds} folds have too few rows before them and are"
                    " left out"
                )
        tell(f"choosing a penalty on {config.blocks} blocks")
        fitted, self.choice = train(parts, roles, config)
        self.notes += [
            f"fit.signals: {one.name} is 0 or without an answer wherever it was fitted on, so it adds nothing"
            for one, scale in zip(self.own, fitted.scale.T[len(FEATURES) :], strict=True)
            if not scale.any()
        ]
        horizons = len(self.skill.horizons_ms)
        return ForecastHead(
            roles=self.roles,
            horizons_ms=tuple(float(h) for h in self.skill.horizons_ms),
            scale=fitted.scale,
            coefficients=fitted.coefficients[0].reshape(horizons, roles, roles, -1),
            clip=config.clip,
            settings=feature_settings(self.modules),
            provenance=self._provenance(),
            own=self.own,
        )

    def _provenance(self) -> dict[str, Any]:
        assert self.choice is not None
        config = self.config
        return {
            "streams": {
                one.stream: [self.splits[k].first_ns, self.splits[k].cut_ns]
                for k in self._fitted_on
                for one in self.assets[k].instruments
            },
            "rows": self._rows,
            "lambda": self.choice.penalty,
            "kalman": self._fitted_kalman(),
            **{name: getattr(config, name) for name in ("split", "embargo_s", "blocks", "grid_share", "mask_share")},
        }

    def _score(self, batches: Iterator[Ticks]) -> None:
        """Serve the head over the whole source; only what lies behind cut and embargo counts."""
        assert self.head is not None
        self.scores = {}
        for asset, split in zip(self.assets, self.splits, strict=True):
            if not any(role_of(one) in self.roles for one in asset.instruments):
                self.notes.append(f"{asset.base}: nothing like its streams was fitted on, so it is not scored")
            elif split.scores:
                self.scores[asset.base] = AssetScore(
                    asset, split, self.head, self._modules, self.latency, self.skill, self.config
                )
        for ticks in batches:
            for asset in self.assets:
                own = asset.part(ticks)
                if asset.base in self.scores and len(own):
                    self.scores[asset.base].update(own)

    def skill_tables(self, predictor: str) -> dict[str, Any]:
        """Held-out skill of a predictor: stream → horizon in ms → numbers, over all assets."""
        return {stream: cells for score in self.scores.values() for stream, cells in score.summary(predictor).items()}

    def summary(self) -> dict[str, Any]:
        """``fit`` of summary.json, as far as the fit came."""
        found: dict[str, Any] = {
            "assets": {
                asset.base: {
                    "streams": [one.stream for one in asset.instruments],
                    "fitted_on": k in self._fitted_on,
                    "first_ns": split.first_ns,
                    "cut_ns": split.cut_ns,
                    "last_ns": split.last_ns,
                    "events": split.events,
                    "rows": self._rows.get(asset.base),
                }
                for k, (asset, split) in enumerate(zip(self.assets, self.splits, strict=bool(self.splits)))
            },
            "signals": {one.name: {"of": one.spec, "parameters": dict(one.parameters)} for one in self.own},
            "folds": [self._fold(fold) for fold in self.folds],
        }
        if self.choice is not None:
            found |= {
                "lambda": self.choice.penalty,
                "loss": _losses(self.choice, self.skill.horizons_ms),
            }
        if self.scores:
            names = next(iter(self.scores.values())).predictors
            tables = {name: self.skill_tables(name) for name in names}
            found |= {
                "baselines": {name: table for name, table in tables.items() if name != "forecast"},
                "mean_r2": {
                    base: {name: mean_r2(score.summary(name)) for name in names} for base, score in self.scores.items()
                },
                "missing": {
                    stream: table for score in self.scores.values() for stream, table in score.missing().items()
                },
            }
        return found | {
            "kalman": {base: fitted.summary() for base, fitted in self.kalman.items()},
            "notes": list(self.notes),
        }

    def _fold(self, fold: Fold) -> dict[str, Any]:
        def table(asset: Asset, r2: Any) -> dict[str, dict[str, float | None]]:
            return {
                one.stream: {
                    f"{h:g}": None if math.isnan(r2[v, j]) else float(r2[v, j])
                    for j, h in enumerate(self.skill.horizons_ms)
                }
                for v, one in enumerate(asset.instruments)
            }

        fitted = [self.assets[k] for k in self._fitted_on]
        return {
            "rows": fold.rows,
            "lambda": fold.choice.penalty,
            "loss": _losses(fold.choice, self.skill.horizons_ms),
            "assets": {
                asset.base: {
                    "first_ns": window[0], "last_ns": window[1], "quotes": int(n[0]), "grid": int(n[1]),
                    "r2": table(asset, r2[0]), "r2_grid": table(asset, r2[1]),
                }
                for asset, window, r2, n in zip(fitted, fold.windows, fold.r2, fold.scored, strict=True)
            },
        }  # fmt: skip


def _losses(choice: Choice, horizons_ms: Sequence[float]) -> dict[str, Mapping[str, float]]:
    """1 - R² on validation blocks: penalty → horizon."""
    return {
        f"{penalty:g}": {f"{h:g}": float(loss) for h, loss in zip(horizons_ms, row, strict=True)}
        for penalty, row in zip(choice.penalties, choice.loss, strict=True)
    }
