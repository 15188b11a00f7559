"""One source, several assets: which streams price the same thing, and each asset's own ticks.

Axis legend: N rows, V streams.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np

from schwabot.records.instrument import Instrument
from schwabot.records.market import Int64, Ticks


@dataclass(frozen=True, eq=False)
class Asset:
    """Streams of one base asset.

    Attributes:
        base: name of the asset; empty where the streams' names do not tell.
        instruments: its V instruments, sorted by stream name.
        streams: their numbers in the source. [V]
    """

    base: str
    instruments: tuple[Instrument, ...]
    streams: Int64

    def part(self, ticks: Ticks) -> Ticks:
        """This asset's rows; levels of the book are left out."""
        number = np.full(len(ticks.instruments), -1, np.int32)
        number[self.streams] = np.arange(len(self.streams), dtype=np.int32)
        own = number[ticks.stream]
        if (own >= 0).all() and len(self.streams) == len(ticks.instruments):
            return replace(ticks, levels=None)
        rows = own >= 0
        columns = {one.name: getattr(ticks, one.name) for one in fields(ticks)}
        picked = {name: column[rows] for name, column in columns.items() if isinstance(column, np.ndarray)}
        return replace(ticks, **(picked | {"stream": own[rows]}), instruments=self.instruments, levels=None)


def assets_of(instruments: Sequence[Instrument]) -> tuple[Asset, ...]:
    """The assets of a source by name; streams whose name has no BASE/QUOTE go with the only asset, or stand together.

    Example:
        >>> names = ["a:BTC/USD", "a:ETH/USD", "b:BTC/USD:USD"]
        >>> [(asset.base, asset.streams.tolist()) for asset in assets_of([Instrument(n, 1, 1) for n in names])]
        [('BTC', [0, 2]), ('ETH', [1])]
    """
    bases = [i.base.upper() if "/" in i.symbol else "" for i in instruments]
    named = sorted(set(bases) - {""})
    if len(named) == 1:
        bases = named * len(bases)
    return tuple(
        Asset(base, tuple(i for i, own in zip(instruments, bases, strict=True) if own == base), np.flatnonzero(at))
        for base in sorted(set(bases))
        for at in [np.array([own == base for own in bases])]
    )
