"""The lag curve as a picture: what being late cost, and what it was expected to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from schwabot.records.audit import StepRecord
from schwabot.sinks.base import RunHeader

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FILE = "lag_curve.png"
MOST_PANELS = 12
Cell = Mapping[str, Any]


class LagFigureSink:
    """Writes lag_curve.png at the end, whole or not at all; none where nothing was decided."""

    def open(self, header: RunHeader) -> None:
        """Remember where to write."""
        self._path = header.run_dir / FILE

    def write(self, record: StepRecord) -> None:
        """Nothing per batch."""

    def close(self, summary: Mapping[str, Any]) -> None:
        """Draw the lag curve."""
        curve = summary.get("lag_curve") or {}
        if any(cell["n"] for cells in curve.values() for cell in cells.values()):
            part = self._path.with_name(f"{FILE}.part")
            lag_figure(curve).savefig(part, format="png")
            part.replace(self._path)


def lag_figure(summary: Mapping[str, Mapping[str, Cell]]) -> Figure:
    """Draw each stream's mean cost over latency, realised and expected, with intervals as bands; one panel a stream.

    Args:
        summary: ``lag_curve`` of summary.json: stream → latency in ms → n, mean, ci_low, ci_high, expected,
            expected_ci_low, expected_ci_high in bp. Of more than 12 streams those of most decisions are drawn.

    Example:
        >>> cell = {"n": 5, "mean": 0.1, "ci_low": 0.05, "ci_high": 0.2, "expected": 0.08}
        >>> figure = lag_figure({"a:X/Y": {"1": cell, "10": cell}})
        >>> figure.axes[0].get_xscale(), [line.get_label() for line in figure.axes[0].lines[1:]]
        ('log', ['realised', 'expected at the decision'])
    """
    from matplotlib.figure import Figure

    decisions = {stream: max((cell["n"] for cell in cells.values()), default=0) for stream, cells in summary.items()}
    most = sorted(decisions, key=lambda stream: -decisions[stream])[:MOST_PANELS]
    drawn = [stream for stream in summary if stream in most and decisions[stream]]
    across = min(2, max(1, len(drawn)))
    down = max(1, -(-len(drawn) // across))
    figure = Figure(figsize=(5.0 * across, 1.0 + 2.9 * down), dpi=120, layout="constrained")
    grid = figure.subplots(down, across, sharex=True, sharey=True, squeeze=False)
    panels: list[Axes] = list(grid.flat)
    for stream, axes in zip(drawn, panels, strict=False):
        axes.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
        _draw(axes, summary[stream], ("mean", "ci_low", "ci_high"), "realised", color="C0")
        named = ("expected", "expected_ci_low", "expected_ci_high")
        _draw(axes, summary[stream], named, "expected at the decision", color="C1", linestyle="--")
        axes.set_title(f"{stream} (n = {decisions[stream]:,})", fontsize=9)
    for place, axes in enumerate(panels):
        _dress(axes, is_left=place % across == 0, is_lowest=place + across >= len(drawn))
        axes.set_visible(place < max(1, len(drawn)))
    if drawn:
        panels[0].legend(frameon=False, fontsize=8, loc="upper left")
    left_out = f", {len(drawn)} of {len(summary)} streams" if len(summary) > MOST_PANELS else ""
    figure.suptitle(f"Phantom lag: what being late costs (mean, 95 % interval{left_out})", fontsize=11)
    return figure


def _draw(
    axes: Axes, cells: Mapping[str, Cell], names: tuple[str, str, str], label: str, color: str, linestyle: str = "-"
) -> None:
    """One curve with its band, where it is known."""
    middle, low, high = names
    known = sorted(
        ((float(ms), cell) for ms, cell in cells.items() if cell.get(middle) is not None), key=lambda pair: pair[0]
    )
    if not known:
        return
    axes.plot(
        [ms for ms, _ in known],
        [cell[middle] for _, cell in known],
        marker="o",
        markersize=3,
        color=color,
        linestyle=linestyle,
        label=label,
    )
    banded = [(ms, cell) for ms, cell in known if cell.get(low) is not None]
    axes.fill_between(
        [ms for ms, _ in banded],
        [cell[low] for _, cell in banded],
        [cell[high] for _, cell in banded],
        color=color,
        alpha=0.18,
        linewidth=0,
    )


def _dress(axes: Axes, *, is_left: bool, is_lowest: bool) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g}"))
    if is_lowest:
        axes.set_xlabel("acting later than the decision (ms)")
        axes.xaxis.set_tick_params(labelbottom=True)
    if is_left:
        axes.set_ylabel("extra cost of the touch (bp)")
    axes.grid(visible=True, which="major", linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)
