"""Settings of mode=fit. Kept apart from the code so that ``--help`` needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from schwabot.errors import ConfigError


@dataclass
class FitConfig:
    """How a forecast is trained.

    Attributes:
        out: file for the checkpoint, beside the one in the run's folder.
        assets: base assets to fit on, e.g. [BTC]; the others of the source are only scored. Empty = all.
        split: share of each asset's time that is fitted on; the rest scores it. 1 = all of it, and no score.
        embargo_s: time left out on both sides between what is fitted on and what scores it.
        folds: steps of the walk-forward evaluation inside the fitted part; 0 = none.
        blocks: blocks of time that choose the penalty, each scored by a fit on the others.
        ridge: penalties to choose from, in units of the number of rows.
        clip: limit of a feature, in units of its RMS.
        grid_share: weight of the points of the time grid, against that of the quotes.
        mask_share: weight of copies of the rows in which one stream is missing, against that of the rows themselves.
        missing: also score the forecast with each stream left out in turn.
        kalman: also fit the Kalman ghost's q and r.
        max_rows: rows kept per asset; beyond it every second, fourth, ... is.
        min_rows: fewer quotes than this are too few to fit on.
        signals: signals of one's own among the features, ``my_module:my_signal`` each.
        signal_parameters: their parameters by the signal's name; short: ``fit.my_signal.tau_ms=50``.
    """

    out: str | None = None
    assets: list[str] = field(default_factory=list)
    split: float = 0.6
    embargo_s: float = 1.0
    folds: int = 5
    blocks: int = 4
    ridge: list[float] = field(default_factory=lambda: [0.3, 0.5, 1.0])
    clip: float = 12.0
    grid_share: float = 0.5
    mask_share: float = 0.3
    missing: bool = True
    kalman: bool = True
    max_rows: int = 1_000_000
    min_rows: int = 1000
    signals: list[str] = field(default_factory=list)
    signal_parameters: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        for name, low, high in (
            ("split", 0.05, 1.0),
            ("embargo_s", 0.0, 1e6),
            ("folds", 0, 100),
            ("blocks", 2, 100),
            ("clip", 1e-3, 1e9),
            ("grid_share", 0.0, 1.0),
            ("mask_share", 0.0, 0.99),
            ("max_rows", 1000, 10**9),
            ("min_rows", 10, 10**9),
        ):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"fit.{name}={getattr(self, name)} is out of range: use {low:g} to {high:g}")
        for name in self.signals:
            if ":" not in name:
                raise ConfigError(f"fit.signals: {name} is not of the form my_module:my_signal")
        if self.signal_parameters and not self.signals:
            name = next(iter(self.signal_parameters))
            raise ConfigError(f"fit.{name} does nothing without a signal: add fit.signals=[my_module:{name}]")
        if not self.ridge or any(not 0 < one < 1e9 for one in self.ridge) or sorted(set(self.ridge)) != self.ridge:
            raise ConfigError(f"fit.ridge={self.ridge}: use one or more increasing numbers above 0")
