"""The lead-lag curves of all pairs as one picture, a panel per pair."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_PANELS = 36
COLOURS = {("receive", False): "tab:blue", ("event", False): "tab:orange", ("event", True): "tab:brown"}
SAID = {
    ("receive", False): "receive time",
    ("event", False): "exchange time",
    ("event", True): "exchange time, estimated: a stream without stamps",
}


def leadlag_figure(pairs: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the contrast of each pair over the lag, on both clocks, and the correlation of bins beside it.

    Args:
        pairs: one per pair and clock: x, y, clock, event_estimated, leader, lag_ms, lead_seen, disagree, edge,
            and by lag
            lags_ms, curve (signed), correlations [L].

    Example:
        >>> one = {"x": "a:X/Y", "y": "b:X/Y", "clock": "receive", "leader": "b:X/Y", "lag_ms": 10.0, "edge": True}
        >>> one |= {"event_estimated": False, "lead_seen": True, "disagree": False}
        >>> grid = np.array([-10.0, 0.0, 10.0])
        >>> figure = leadlag_figure([one | {"lags_ms": grid, "curve": grid, "correlations": grid}])
        >>> len(figure.axes)
        1
    """
    from matplotlib.figure import Figure

    panels: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for pair in pairs:
        panels.setdefault((pair["x"], pair["y"]), []).append(pair)
    strength = {names: max(float(np.abs(one["curve"]).max()) for one in panel) for names, panel in panels.items()}
    shown = sorted(sorted(panels, key=lambda names: -strength[names])[:MOST_PANELS])
    columns = max(1, math.ceil(math.sqrt(len(shown))) if len(shown) > 3 else len(shown))
    rows = max(1, math.ceil(len(shown) / columns))
    small = len(shown) > 6
    width, height = (3.3, 2.5) if small else (5.2, 4.2)
    figure = Figure(figsize=(max(7.0, width * columns), height * rows + 0.9), dpi=110, layout="constrained")
    for number, names in enumerate(shown):
        axes = figure.add_subplot(rows, columns, number + 1)
        _panel(axes, names, panels[names], 7 if small else 9)
        if number >= len(shown) - columns:
            axes.set_xlabel("lag (ms)", fontsize=8)
    left = f" (the {len(shown)} strongest of {len(panels)} pairs)" if len(panels) > len(shown) else ""
    figure.suptitle(f"Lead-lag: to the right of 0 the upper stream leads, to the left the lower one{left}", fontsize=11)
    figure.supylabel("size of contrast or correlation", fontsize=9)
    if shown:
        known = {
            label: line for axes in figure.axes for line, label in zip(*axes.get_legend_handles_labels(), strict=True)
        }
        figure.legend(known.values(), known.keys(), loc="outside lower center", ncols=2, frameon=False, fontsize=8)
    return figure


def _panel(axes: Axes, names: tuple[str, str], pairs: Sequence[Mapping[str, Any]], size: int) -> None:
    axes.axvline(0.0, color="0.6", linewidth=0.8, zorder=0)
    for pair in pairs:
        which = pair["clock"], pair["event_estimated"]
        colour, said = COLOURS.get(which, "0.3"), SAID.get(which, pair["clock"])
        lags_ms = pair["lags_ms"]
        axes.plot(lags_ms, np.abs(pair["curve"]), color=colour, linewidth=1.1, label=f"contrast (peak dotted), {said}")
        axes.plot(
            lags_ms,
            np.abs(pair["correlations"]),
            color=colour,
            linewidth=0.8,
            linestyle="--",
            alpha=0.6,
            label=f"correlation, {said}",
        )
        peak_ms = _signed(pair)
        axes.axvline(peak_ms, color=colour, linewidth=0.9, linestyle=":")
    axes.set_title("\n".join([*names, *map(_verdict, pairs)]), loc="left", fontsize=size)
    axes.set_ylim(bottom=0.0)
    axes.tick_params(labelsize=size - 1)
    axes.grid(visible=True, which="major", linewidth=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def _verdict(pair: Mapping[str, Any]) -> str:
    """Which of the two leads on that clock, and by how much."""
    clock = pair["clock"] + " (estimated)" * pair["event_estimated"]
    if pair["lead_seen"] is False:
        said = f"no lead seen (peak at {_signed(pair):g} ms{', bins disagree' * pair['disagree']})"
    else:
        said = f"{'upper' if pair['leader'] == pair['x'] else 'lower'} leads by {pair['lag_ms']:g} ms"
    return f"{clock}: {said}{' (edge)' * pair['edge']}"


def _signed(pair: Mapping[str, Any]) -> float:
    """Lag of the peak on the figure's axis."""
    lag_ms = float(pair["lag_ms"])
    return lag_ms if pair["leader"] == pair["x"] else 0.0 - lag_ms
