"""When each asset was seen, and which of its time is fitted on. Axis legend: V streams."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from schwabot.errors import FitError
from schwabot.records.market import MISSING_NS, Int64, Kind, Ticks
from schwabot.training.assets import Asset
from schwabot.training.fit_settings import FitConfig


@dataclass(frozen=True, slots=True)
class Split:
    """Time of one asset.

    Attributes:
        first_ns: when the last of its streams was first seen.
        cut_ns: what is fitted on ends here, outcomes too.
        score_ns: what scores it begins after this; the embargo lies between.
        last_ns: its last event.
        events: quotes and trades.
    """

    first_ns: int
    cut_ns: int
    score_ns: int
    last_ns: int
    events: int

    @property
    def scores(self) -> bool:
        """Is anything held out?"""
        return self.score_ns < self.last_ns


def measure(batches: Iterable[Ticks], assets: Sequence[Asset], config: FitConfig) -> tuple[Split, ...]:
    """One reading of the source: when each asset begins and ends, and where that is cut. Looks at no price.

    Raises:
        FitError: a stream of which nothing came, or no time to split.
    """
    streams = max(int(asset.streams.max()) for asset in assets) + 1
    first: Int64 = np.full(streams, MISSING_NS)
    last: Int64 = np.full(streams, MISSING_NS)
    events: Int64 = np.zeros(streams, np.int64)
    pricing = np.zeros(streams, np.int64)
    for asset in assets:
        pricing[asset.streams] = [Kind.TRADE if one.trades_only else Kind.QUOTE for one in asset.instruments]
    for ticks in batches:
        rows = np.flatnonzero(ticks.kind != Kind.DEPTH)
        stream, ts_ns = ticks.stream[rows], ticks.ts_recv_ns[rows]
        events += np.bincount(stream, minlength=streams)
        last[stream] = ts_ns  # the later row wins
        priced = np.flatnonzero(ticks.kind[rows] == pricing[stream])[::-1]
        new = first[stream[priced]] == MISSING_NS
        first[stream[priced[new]]] = ts_ns[priced[new]]  # from the back: the earlier row wins
    return tuple(
        _split(asset, first[asset.streams], last[asset.streams], events[asset.streams], config) for asset in assets
    )


def _split(asset: Asset, first: Int64, last: Int64, events: Int64, config: FitConfig) -> Split:
    for instrument, at in zip(asset.instruments, first.tolist(), strict=True):
        if at == MISSING_NS:
            what = "trades" if instrument.trades_only else "quotes"
            raise FitError(
                f"{instrument.stream} has no {what}, and rows begin once every stream of the asset has a"
                " price: leave it out of the source"
            )
    first_ns, last_ns = int(first.max()), int(last.max())
    if last_ns <= first_ns:
        raise FitError(f"{asset.base or 'the source'}: its streams have no time in common, there is nothing to split")
    embargo_ns = round(config.embargo_s * 1e9)
    if config.split == 1.0:
        return Split(first_ns, last_ns, last_ns, last_ns, int(events.sum()))
    cut_ns = first_ns + int(config.split * (last_ns - first_ns))
    if cut_ns + embargo_ns >= last_ns:
        raise FitError(
            f"{asset.base or 'the source'}: {(last_ns - cut_ns) / 1e9:.3g} s are left to score after"
            f" {config.split:.0%}, and the embargo takes {config.embargo_s:g} s of it: use more data, a smaller"
            " fit.split or fit.embargo_s, or fit.split=1 for no score"
        )
    return Split(first_ns, cut_ns, cut_ns + embargo_ns, last_ns, int(events.sum()))
