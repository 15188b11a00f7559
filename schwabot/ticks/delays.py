"""Median of any number of delays in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

GRID_NS = 10_000
"""A delay is known to a hundredth of a millisecond, unless they spread over more than MOST_BINS of these."""
MOST_BINS = 65_536


class Delays:
    """Counts of delays on a grid that is made twice as coarse when it is full.

    How coarse it ends depends on which delays there were, not on their order, so it can't depend on the batches.

    Example:
        >>> delays = Delays()
        >>> delays.add([1_000_000, 3_000_000], [2, 1])
        >>> delays.median_ms()
        1.005
    """

    def __init__(self) -> None:
        self._grid_ns = GRID_NS
        self._bins: Counter[int] = Counter()

    @classmethod
    def of(cls, rows: Iterable[Sequence[int]]) -> Delays:
        """What ``rows`` gave."""
        delays = cls()
        for grid_ns, number, count in rows:
            delays._grid_ns = grid_ns
            delays._bins[number] = count
        return delays

    def rows(self) -> list[tuple[int, int, int]]:
        """Grid in ns, bin and count, of every bin."""
        return [(self._grid_ns, number, count) for number, count in sorted(self._bins.items())]

    def add(self, delays_ns: Sequence[int], counts: Sequence[int]) -> None:
        """Take each delay as often as its count says."""
        for delay_ns, count in zip(delays_ns, counts, strict=True):
            self._bins[delay_ns // self._grid_ns] += count
        while len(self._bins) > MOST_BINS:
            self._grid_ns *= 2
            coarser: Counter[int] = Counter()
            for number, count in self._bins.items():
                coarser[number // 2] += count
            self._bins = coarser

    def median_ms(self) -> float | None:
        """Median at the middle of its bin; None without delays."""
        total = sum(self._bins.values())
        middle = []
        for rank in ((total - 1) // 2, total // 2):
            seen = 0
            for value in sorted(self._bins):
                seen += self._bins[value]
                if seen > rank:
                    middle.append(value)
                    break
        return (sum(middle) / 2 + 0.5) * self._grid_ns / 1e6 if middle else None
