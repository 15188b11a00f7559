"""Two parameters of a sweep and what came of them, as pictures."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from schwabot.records.market import Float64

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Heat(NamedTuple):
    """Something over two parameters.

    Attributes:
        title, x_name, y_name, z_name: what is shown.
        x, y: labels of the columns and rows of ``z``, as text.
        z: values; NaN where there were none. [len(y), len(x)]
    """

    title: str
    x_name: str
    y_name: str
    z_name: str
    x: tuple[str, ...]
    y: tuple[str, ...]
    z: Float64


def heat_figure(heat: Heat) -> Figure:
    """Draw a heat map; blank where there was nothing.

    Example:
        >>> heat = Heat("a × b", "a", "b", "net", ("1", "2"), ("3", "4"), np.array([[0.0, 1.0], [2.0, np.nan]]))
        >>> [axes.get_xlabel() for axes in heat_figure(heat).axes]
        ['a', '']
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.6, 4.4), dpi=110, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(np.ma.masked_invalid(heat.z), origin="lower", aspect="auto", cmap="viridis")
    _ticks(axes.xaxis, heat.x)
    _ticks(axes.yaxis, heat.y)
    axes.tick_params(axis="x", labelrotation=45)
    axes.set_xlabel(fill(heat.x_name, 48))
    axes.set_ylabel(fill(heat.y_name, 40))
    _title(axes, heat.title)
    figure.colorbar(image, ax=axes, label=heat.z_name)
    return figure


def surface_figure(heat: Heat) -> Figure:
    """Draw the same as a surface in space."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 5.0), dpi=110, layout="constrained")
    axes = figure.add_subplot(projection="3d")
    x, y = np.meshgrid(np.arange(len(heat.x)), np.arange(len(heat.y)))
    known = np.nan_to_num(heat.z, nan=float(np.nanmin(heat.z)) if np.isfinite(heat.z).any() else 0.0)
    axes.plot_surface(x, y, known, cmap="viridis", linewidth=0.2, edgecolor="0.3")
    _ticks(axes.xaxis, heat.x)
    _ticks(axes.yaxis, heat.y)
    axes.set_box_aspect(None, zoom=0.88)  # names of axes in space are not counted by the layout
    axes.tick_params(labelsize=8)
    axes.set_xlabel(heat.x_name, labelpad=5)
    axes.set_ylabel(heat.y_name, labelpad=12)
    axes.set_zlabel(heat.z_name, labelpad=5)
    _title(axes, heat.title)
    return figure


def _title(axes: Axes, title: str, most: int = 56) -> None:
    """In as many lines as it takes: a picture does not grow with its title."""
    axes.set_title(fill(title, most), loc="left", fontsize=10)


def _ticks(axis: object, labels: tuple[str, ...], most: int = 8) -> None:
    step = max(1, -(-len(labels) // most))
    axis.set_ticks(list(range(0, len(labels), step)), labels[::step])  # type: ignore[attr-defined]
