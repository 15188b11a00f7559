"""The realised lag curve as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def lag_figure(summary: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> Figure:
    """Draw the mean cost of each stream over latency, with its interval as a band.

    Args:
        summary: ``lag_curve`` of summary.json: stream → latency in ms → mean, n, ci_low, ci_high in bp.

    Example:
        >>> cell = {"mean": 0.1, "n": 5, "ci_low": 0.05, "ci_high": 0.2}
        >>> figure = lag_figure({"a:X/Y": {"1": cell, "10": cell}})
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
