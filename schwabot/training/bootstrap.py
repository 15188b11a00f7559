"""Block bootstrap of a ratio of sums. Axis legend: M values, B blocks, K columns, R draws.

Market outcomes that overlap or cluster are not independent, so an interval is drawn by resampling whole blocks of time
(Künsch 1989). For a ratio of sums only the sums of each block are needed, and memory does not grow with the events.
"""

from __future__ import annotations

import numpy as np

from schwabot.errors import ConfigError
from schwabot.records.market import Float64, Int64

_CELLS_PER_ROUND = 4_000_000


class BlockSums:
    """Sums per block of time, in bounded memory.

    Past ``max_blocks`` neighbouring blocks are merged two by two, so that blocks get longer instead of more; longer
    blocks keep the bootstrap valid. Values are added in the order given, so results do not depend on how calls are cut.
    Memory grows with the blocks up to 8 * max_blocks * columns bytes, which 5 s blocks reach after 28 hours.

    Args:
        columns: K, values per row.
        max_blocks: most blocks kept; at least 2.

    Example:
        >>> sums = BlockSums(columns=1)
        >>> sums.add(np.array([7, 7, 8]), np.array([[1.0], [2.0], [5.0]]))
        >>> sums.values().ravel()
        array([3., 5.])
    """

    def __init__(self, columns: int, max_blocks: int = 20_000) -> None:
        if max_blocks < 2:
            raise ConfigError(f"max_blocks must be at least 2, got {max_blocks}")
        self.columns = columns
        self.max_blocks = max_blocks
        self.level = 0
        """Each kept block spans 2**level of the blocks given."""
        self._row: dict[int, int] = {}
        self._sums = np.zeros((16, columns))

    def __len__(self) -> int:
        return len(self._row)

    def add(self, block: Int64, values: Float64) -> None:
        """Add rows to their blocks.

        Args:
            block: number of the block each row falls in. [M]
            values: what to add. [M, K]
        """
        start = 0
        while start < len(block):
            numbers = block[start:] >> self.level
            distinct, first = np.unique(numbers, return_index=True)
            new = sorted(
                (at, number)
                for number, at in zip(distinct.tolist(), first.tolist(), strict=True)
                if number not in self._row
            )
            room = self.max_blocks - len(self._row)
            stop = len(numbers) if len(new) <= room else new[room][0]
            for at, number in new:
                if at < stop:
                    self._row[number] = len(self._row)
            self._grow()
            distinct, inverse = np.unique(numbers[:stop], return_inverse=True)
            rows = np.array([self._row[number] for number in distinct.tolist()], dtype=np.int64)[inverse]
            np.add.at(self._sums, rows, values[start : start + stop])
            start += stop
            if stop < len(numbers):
                self._merge()

    def values(self) -> Float64:
        """Sums of every block, in order of time. Shape [B, K]."""
        order = [self._row[number] for number in sorted(self._row)]
        return self._sums[order]

    def _grow(self) -> None:
        if len(self._row) > len(self._sums):
            bigger = np.zeros((min(2 * len(self._row), self.max_blocks), self.columns))
            bigger[: len(self._sums)] = self._sums
            self._sums = bigger

    def _merge(self) -> None:
        numbers = sorted(self._row)
        sums = self.values()
        self.level += 1
        self._row = {}
        rows = [self._row.setdefault(number >> 1, len(self._row)) for number in numbers]
        self._sums = np.zeros((len(self._sums), self.columns))
        np.add.at(self._sums, rows, sums)


def bootstrap_ratio(numerator: Float64, denominator: Float64, draws: int, seed: int, level: float = 0.95) -> Float64:
    """Percentile interval of Σ numerator / Σ denominator when whole blocks are drawn with replacement.

    Args:
        numerator: sums per block. [B, K]
        denominator: sums per block. [B, K]
        draws: R, resamples.
        seed: the same seed gives the same interval.
        level: coverage, between 0 and 1.

    Shape: [K, 2], low and high; NaN with fewer than two blocks or draws, or where no draw has a positive denominator.

    Source: Künsch (1989), "The jackknife and the bootstrap for general stationary observations".

    Example:
        >>> rng = np.random.default_rng(0)
        >>> low, high = bootstrap_ratio(rng.normal(3, 1, (400, 1)), np.ones((400, 1)), draws=500, seed=1)[0]
        >>> bool(2.8 < low < 3 < high < 3.2)
        True
    """
    if not 0 < level < 1:
        raise ConfigError(f"level must be between 0 and 1, got {level}")
    blocks, columns = numerator.shape
    if blocks < 2 or draws < 2:
        return np.full((columns, 2), np.nan)
    rng = np.random.default_rng(seed)
    both = np.concatenate([numerator, denominator], axis=1)
    ratio = np.empty((draws, columns))
    per_round = max(1, _CELLS_PER_ROUND // blocks)
    for start in range(0, draws, per_round):
        stop = min(draws, start + per_round)
        picks = rng.integers(blocks, size=(stop - start, blocks))
        times = np.stack([np.bincount(pick, minlength=blocks) for pick in picks])
        drawn = times.astype(np.float64) @ both
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio[start:stop] = np.where(drawn[:, columns:] > 0, drawn[:, :columns] / drawn[:, columns:], np.nan)
    tail = (1 - level) / 2
    interval = np.full((columns, 2), np.nan)
    answered = np.isfinite(ratio).any(axis=0)
    if answered.any():
        interval[answered] = np.nanquantile(ratio[:, answered], [tail, 1 - tail], axis=0).T
    return interval
