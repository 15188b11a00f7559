"""How late things are, and what became of a live feed, for summary.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from schwabot.records.audit import StepRecord
from schwabot.records.market import Float64, Int64, Ticks


class Summarised(Protocol):
    """A feed that tells how it fared."""

    def summary(self) -> Mapping[str, Any]:
        """Entries of ``feed``."""
        ...


class FeedMeter:
    """Puts what a live feed says of itself under ``feed`` into summary.json.

    Args:
        feed: of the run.
    """

    def __init__(self, feed: Summarised) -> None:
        self._feed = feed

    def update(self, ticks: Ticks | None, record: StepRecord) -> None:
        """Nothing to do: the feed counts for itself."""

    def summary(self) -> Mapping[str, Any]:
        """``feed``: see ``CcxtFeed.summary``."""
        return {"feed": dict(self._feed.summary())}


class LagHistogram:
    """Quantiles of times from 1 us to 1,000 s to 2 %, in constant memory.

    Example:
        >>> lags = LagHistogram(); lags.quantile(0.5) is None
        True
        >>> lags.add(np.array([1e-3, 2e-3, 4e-3])); 1.9 < 1e3 * lags.quantile(0.5) < 2.1
        True
    """

    _PER_DECADE = 115

    def __init__(self) -> None:
        self._counts: Int64 = np.zeros(9 * self._PER_DECADE, np.int64)

    def add(self, lags_s: Float64) -> None:
        """Count times. [N] s."""
        at = np.log10(np.maximum(lags_s, 1e-6) / 1e-6) * self._PER_DECADE
        self._counts += np.bincount(np.minimum(at.astype(np.int64), len(self._counts) - 1), minlength=len(self._counts))

    def quantile(self, q: float) -> float | None:
        """The time below which a share q of them lies, s; None where there are none."""
        total = int(self._counts.sum())
        if not total:
            return None
        at = int(np.searchsorted(np.cumsum(self._counts), q * total))
        return float(1e-6 * 10 ** ((at + 0.5) / self._PER_DECADE))
