"""What does lateness cost? The realised lag curve over a run, and beside it what was expected at the decisions.

Axis legend: D decisions, V streams, L latencies, B blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from schwabot.errors import ConfigError
from schwabot.records.audit import StepRecord
from schwabot.records.instrument import Instrument
from schwabot.training.bootstrap import BlockSums, bootstrap_ratio

LagSummary = dict[str, dict[str, dict[str, Any]]]
"""Stream → latency in ms → n; of what was realised mean, ci_low, ci_high; of what was expected at the same decisions
expected, expected_ci_low, expected_ci_high; of realised minus expected gap, gap_ci_low, gap_ci_high. All in bp, and
with the suffix _quote in money."""
PARTS = ("", "expected", "gap")


class LagCurve:
    """Mean cost of acting a latency later than the decision, realised and as expected then, per stream, with intervals.

    cost_l = side * (touch(t + l) - touch(t)); the mean is over decisions, the interval over whole blocks of time,
    because decisions of one burst share one outcome. Decisions whose latency ends past the data are left out, of the
    expected curve too: both are over the same decisions. An interval of the gap between the two that does not hold zero
    says that the expectation was off on average.
    In quote currency the cost of ``notional_quote`` traded is notional_quote * cost / 10,000.

    Args:
        latencies_ms: the L latencies of the records.
        instruments: V instruments of the run.
        notional_quote: size that the cost in money is stated for, in each stream's quote currency.
        block_s: length of a bootstrap block.
        draws: bootstrap resamples; 0 = no interval.
        seed: of the bootstrap.

    Raises:
        ConfigError: a block that has no length, or no size.

    Example:
        >>> curve = LagCurve((1.0, 10.0), (Instrument("a:X/Y", 0.1, 1.0),))
        >>> curve.summary()["a:X/Y"]["10"]["n"]
        0
    """

    def __init__(
        self,
        latencies_ms: Sequence[float],
        instruments: tuple[Instrument, ...],
        *,
        notional_quote: float = 25_000.0,
        block_s: float = 5.0,
        draws: int = 1000,
        seed: int = 0,
    ) -> None:
        if block_s <= 0:
            raise ConfigError(f"block_s must be positive, got {block_s}")
        if not notional_quote > 0:
            raise ConfigError(f"notional_quote must be positive, got {notional_quote}")
        self.latencies_ms = tuple(float(latency) for latency in latencies_ms)
        self.streams = tuple(instrument.stream for instrument in instruments)
        self.notional_quote = float(notional_quote)
        self._block_ns = int(block_s * 1e9)
        self._draws = draws
        self._seed = seed
        # Per stream and block: sums of the realised cost, then of the expected one, then counts.
        self._sums = [BlockSums(3 * len(self.latencies_ms)) for _ in self.streams]

    def update(self, record: StepRecord) -> None:
        """Take in the decisions of one batch.

        Raises:
            ConfigError: decisions over other latencies than this curve's.
        """
        made = record.decisions
        if not len(made.ts_ns):
            return
        carried = made.realised_cost_bp.shape[1]
        if carried != len(self.latencies_ms):
            raise ConfigError(f"decisions carry {carried} latencies, the lag curve has {len(self.latencies_ms)}")
        known = np.isfinite(made.realised_cost_bp)
        costs = [np.where(known, cost, 0.0) for cost in (made.realised_cost_bp, made.expected_cost_bp)]
        values = np.concatenate([*costs, known], axis=1)
        block = made.ts_ns // self._block_ns
        for v in np.unique(made.stream).tolist():
            own = made.stream == v
            self._sums[v].add(block[own], values[own])

    def summary(self) -> LagSummary:
        """Stream → latency in ms → means, n decisions and 95 % intervals; None where there is nothing to say."""
        return {stream: self._of_stream(v) for v, stream in enumerate(self.streams)}

    def _of_stream(self, v: int) -> dict[str, dict[str, Any]]:
        realised, expected, count = np.split(self._sums[v].values(), 3, axis=1)
        sums = np.concatenate([realised, expected, realised - expected], axis=1)
        counts = np.tile(count, len(PARTS))
        # one call: the three are drawn from the same blocks
        intervals = bootstrap_ratio(sums, counts, self._draws, self._seed).reshape(len(PARTS), -1, 2)
        totals = sums.sum(axis=0).reshape(len(PARTS), -1)
        answer: dict[str, dict[str, Any]] = {}
        for k, ms in enumerate(self.latencies_ms):
            n = int(count[:, k].sum())
            cost_bp: dict[str, float | None] = {}
            for part, total, interval in zip(PARTS, totals[:, k].tolist(), intervals[:, k], strict=True):
                low, high = (float(x) if np.isfinite(x) else None for x in interval)
                prefix = f"{part}_" if part else ""
                named = {part or "mean": total / n if n else None, f"{prefix}ci_low": low, f"{prefix}ci_high": high}
                cost_bp |= named
            money = {f"{name}_quote": self._in_quote(value) for name, value in cost_bp.items()}
            answer[f"{ms:.12g}"] = {"n": n} | cost_bp | money
        return answer

    def _in_quote(self, cost_bp: float | None) -> float | None:
        return None if cost_bp is None else cost_bp * self.notional_quote * 1e-4
