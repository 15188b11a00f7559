"""What does lateness cost? The realised lag curve over a run.

Axis legend: D decisions, V streams, L latencies, B blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from schwabot.errors import ConfigError
from schwabot.records.audit import StepRecord
from schwabot.records.instrument import Instrument
from schwabot.training.bootstrap import BlockSums, bootstrap_ratio

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LagSummary = dict[str, dict[str, dict[str, Any]]]
"""Stream → latency in ms → mean, n, ci_low, ci_high."""


class LagCurve:
    """Mean cost of acting a latency later than the decision, per stream, with intervals.

    cost_l = side * (touch(t + l) - touch(t)); the mean is over decisions, the interval over whole blocks of time,
    because decisions of one burst share one outcome. Decisions whose latency ends past the data are left out.

    Args:
        latencies_ms: the L latencies of the records.
        instruments: V instruments of the run.
        block_s: length of a bootstrap block.
        draws: bootstrap resamples; 0 = no interval.
        seed: of the bootstrap.

    Raises:
        ConfigError: a block that has no length.

    Example:
        >>> curve = LagCurve((1.0, 10.0), (Instrument("a:X/Y", 0.1, 1.0),))
        >>> curve.summary()["a:X/Y"]["10"]
        {'mean': None, 'n': 0, 'ci_low': None, 'ci_high': None}
    """

    def __init__(
        self,
        latencies_ms: Sequence[float],
        instruments: tuple[Instrument, ...],
        *,
        block_s: float = 5.0,
        draws: int = 1000,
        seed: int = 0,
    ) -> None:
        if block_s <= 0:
            raise ConfigError(f"block_s must be positive, got {block_s}")
        self.latencies_ms = tuple(float(latency) for latency in latencies_ms)
        self.streams = tuple(instrument.stream for instrument in instruments)
        self._block_ns = int(block_s * 1e9)
        self._draws = draws
        self._seed = seed
        # Per stream and block: sums of the cost, then counts.
        self._sums = [BlockSums(2 * len(self.latencies_ms)) for _ in self.streams]

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
        values = np.concatenate([np.where(known, made.realised_cost_bp, 0.0), known], axis=1)
        block = made.ts_ns // self._block_ns
        for v in np.unique(made.stream).tolist():
            own = made.stream == v
            self._sums[v].add(block[own], values[own])

    def summary(self) -> LagSummary:
        """Stream → latency in ms → mean in bp, n decisions, 95 % interval; None where there is nothing to say."""
        return {stream: self._of_stream(v) for v, stream in enumerate(self.streams)}

    def as_table(self) -> dict[str, npt.NDArray[Any]]:
        """The same as columns, one row per stream and latency, NaN where there is nothing to say."""
        summary = self.summary()
        cells = [summary[stream][f"{ms:.12g}"] for stream in self.streams for ms in self.latencies_ms]
        table: dict[str, npt.NDArray[Any]] = {
            "stream": np.repeat(np.array(self.streams, dtype=np.str_), len(self.latencies_ms)),
            "latency_ms": np.tile(np.array(self.latencies_ms), len(self.streams)),
            "n": np.array([cell["n"] for cell in cells], dtype=np.int64),
        }
        for column, key in (("mean_bp", "mean"), ("ci_low_bp", "ci_low"), ("ci_high_bp", "ci_high")):
            table[column] = np.array([np.nan if cell[key] is None else cell[key] for cell in cells], dtype=np.float64)
        return table

    def _of_stream(self, v: int) -> dict[str, dict[str, Any]]:
        latencies = len(self.latencies_ms)
        sums = self._sums[v].values()
        cost, count = sums[:, :latencies], sums[:, latencies:]
        interval = bootstrap_ratio(cost, count, self._draws, self._seed)
        answer: dict[str, dict[str, Any]] = {}
        for k, ms in enumerate(self.latencies_ms):
            n = int(count[:, k].sum())
            low, high = (float(x) if np.isfinite(x) else None for x in interval[k])
            mean = float(cost[:, k].sum()) / n if n else None
            answer[f"{ms:.12g}"] = {"mean": mean, "n": n, "ci_low": low, "ci_high": high}
        return answer


def lag_curve_figure(summary: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Figure:
    """Draw the mean cost of each stream over latency, with its interval as a band.

    Args:
        summary: as ``LagCurve.summary`` gives it.

    Example:
        >>> cell = {"mean": 0.1, "n": 5, "ci_low": 0.05, "ci_high": 0.2}
        >>> figure = lag_curve_figure({"a:X/Y": {"1": cell, "10": cell}})
        >>> figure.axes[0].get_xscale()
        'log'
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
    for stream, cells in summary.items():
        known = sorted(
            ((float(ms), cell) for ms, cell in cells.items() if cell["mean"] is not None), key=lambda pair: pair[0]
        )
        if not known:
            continue
        latency_ms = [ms for ms, _ in known]
        most = max(cell["n"] for _, cell in known)
        (line,) = axes.plot(
            latency_ms,
            [cell["mean"] for _, cell in known],
            marker="o",
            markersize=3.5,
            label=f"{stream} (n = {most:,})",
        )
        banded = [(ms, cell) for ms, cell in known if cell["ci_low"] is not None]
        axes.fill_between(
            [ms for ms, _ in banded],
            [cell["ci_low"] for _, cell in banded],
            [cell["ci_high"] for _, cell in banded],
            color=line.get_color(),
            alpha=0.18,
            linewidth=0,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g}"))
    axes.set_xlabel("acting later than the decision (ms)")
    axes.set_ylabel("mean cost of the touch paid (bp)")
    axes.set_title("Phantom lag: what being late costs (95 % interval)", loc="left", fontsize=11)
    axes.grid(visible=True, which="major", linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=9)
    return figure
