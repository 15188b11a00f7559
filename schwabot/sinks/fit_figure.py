"""What a trained forecast is worth beside what needs no training, as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = {"forecast": "C3", "kalman": "C0", "weighted": "C2", "mean": "C1", "microprice": "0.45"}
_COLUMNS = 3

Table = Mapping[str, Mapping[str, Mapping[str, Any]]]
"""Stream → horizon in ms → numbers."""


def fit_figure(tables: Mapping[str, Table]) -> Figure:
    """Draw the held-out R² of every predictor over horizon, a panel per stream; the forecast with its interval.

    Args:
        tables: predictor → stream → horizon in ms → r2, r2_ci, r2_grid. The first is the forecast.

    Example:
        >>> cell = {"r2": 0.2, "r2_ci": [0.1, 0.3], "r2_grid": 0.1}
        >>> figure = fit_figure({"forecast": {"a:X/Y": {"10": cell, "100": cell}}})
        >>> figure.axes[0].get_title(loc="left")
        'a:X/Y'
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    forecast = next(iter(tables))
    streams = list(tables[forecast]) or [""]
    columns = min(_COLUMNS, len(streams))
    rows = -(-len(streams) // columns)
    figure = Figure(figsize=(1.2 + 3.4 * columns, 0.9 + 2.7 * rows), dpi=120, layout="constrained")
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel().tolist()
    for axes, stream in zip(panels, streams, strict=False):
        axes.axhline(0.0, color="0.6", linewidth=0.8, zorder=0)
        for name, table in tables.items():
            cells = [(float(h), cell) for h, cell in table.get(stream, {}).items() if cell["r2"] is not None]
            if not cells:
                continue
            ms, known = zip(*sorted(cells, key=lambda pair: pair[0]), strict=True)
            colour, first = COLOURS.get(name, "C4"), name == forecast
            width = 2.0 if first else 1.1
            axes.plot(
                ms, [cell["r2"] for cell in known], color=colour, linewidth=width, marker="o", markersize=3, label=name
            )
            if first:
                grid = [(h, cell["r2_grid"]) for h, cell in zip(ms, known, strict=True) if cell["r2_grid"] is not None]
                axes.plot(
                    *zip(*grid, strict=True), color=colour, linewidth=1.2, linestyle="--", label=f"{name}, 10 ms grid"
                )
                band = [(h, *cell["r2_ci"]) for h, cell in zip(ms, known, strict=True) if None not in cell["r2_ci"]]
                if band:
                    at, low, high = zip(*band, strict=True)
                    axes.fill_between(at, low, high, color=colour, alpha=0.15, linewidth=0)
        axes.set_title(stream, loc="left", fontsize=9)
        axes.grid(visible=True, linewidth=0.4, alpha=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[len(streams) :]:
        axes.set_visible(False)
    panels[0].set_xscale("log")
    panels[0].xaxis.set_major_formatter(FuncFormatter(lambda ms, _: f"{ms:g}"))
    bottom = min([-0.05, *(min(line.get_ydata()) for axes in panels for line in axes.get_lines())])
    panels[0].set_ylim(max(bottom, -0.25), None)
    handles, labels = panels[0].get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(6, len(labels)), frameon=False, fontsize=8)
    for axes in panels[max(0, len(streams) - columns) : len(streams)]:
        axes.set_xlabel("horizon (ms)", fontsize=9)
    figure.supylabel("R² of the next move", fontsize=9)
    figure.suptitle(
        "What was held out: forecast beside baselines (band: 95 % interval)", x=0.01, ha="left", fontsize=11
    )
    return figure
