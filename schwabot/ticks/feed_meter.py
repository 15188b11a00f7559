"""How late things are, and what became of a live feed, for summary.json."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import log10
from typing import Any, Protocol

import numpy as np

from schwabot.records.audit import StepRecord
from schwabot.records.health import TIMING_BINS, TIMING_PER_DECADE, Timing
from schwabot.records.market import Ticks


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
        >>> lags.add([1e-3, 2e-3, 4e-3]); 1.9 < 1e3 * lags.quantile(0.5) < 2.1
        True
        >>> sum(lags.timing("answer").counts[30:])  # 1 ms and more
        3
    """

    _PER_DECADE = 115
    _WIDE = tuple(
        (-(-at * 115 // TIMING_PER_DECADE), -(-(at + 1) * 115 // TIMING_PER_DECADE)) for at in range(TIMING_BINS)
    )
    """Bins that are one of a ``Timing``."""

    def __init__(self) -> None:
        self._counts = [0] * (9 * self._PER_DECADE)

    def add(self, lags_s: Iterable[float]) -> None:
        """Count times, s: mostly one, so without arrays."""
        counts, per_decade = self._counts, self._PER_DECADE
        for lag_s in lags_s:
            at = int(log10(lag_s * 1e6) * per_decade) if lag_s > 1e-6 else 0
            counts[min(at, len(counts) - 1)] += 1

    def timing(self, name: str) -> Timing:
        """The counts in wider bins, for whoever watches."""
        counts = self._counts
        return Timing(name, tuple([sum(counts[begin:end]) for begin, end in self._WIDE]))

    def quantile(self, q: float) -> float | None:
        """The time below which a share q of them lies, s; None where there are none."""
        total = sum(self._counts)
        if not total:
            return None
        at = int(np.searchsorted(np.cumsum(self._counts), q * total))
        return float(1e-6 * 10 ** ((at + 0.5) / self._PER_DECADE))
