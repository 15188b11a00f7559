"""What latency makes of a threshold: the best set with other thresholds and later orders.

Nothing is chosen from it, so these sets are no trials.

Axis legend: P sets = T thresholds x A added latencies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from schwabot.records.market import Float64
from schwabot.simulation.sweep.maps import influence
from schwabot.simulation.sweep.outcome import Outcome
from schwabot.simulation.sweep.ranges import Dimension, Space
from schwabot.simulation.sweep.shards import Around
from schwabot.simulation.sweep.table import Pooled
from schwabot.sinks.sweep_figure import Heat

NAMES = ("threshold", "enter", "edge", "entry", "open")
"""What a parameter that waits for a better moment is called."""


def threshold_of(outcome: Outcome) -> Dimension | None:
    """The searched parameter that the surface is over: one named like a threshold, else the most influential."""
    space = outcome.results.space
    able = [d for d, one in enumerate(space.dimensions) if one.name.startswith("policy.") and not one.choices]
    if not able:
        return None
    for name in NAMES:
        for d in able:
            if name in space.dimensions[d].name:
                return space.dimensions[d]
    matter = influence(space.unit(outcome.results.values), outcome.objective)
    return space.dimensions[max(able, key=lambda d: float(matter[d]))]


def surface_of(
    best: Float64, threshold: Dimension, base_ms: float, added_ms: Sequence[float], levels: int
) -> tuple[Around, Float64]:
    """What the surface's sets are tried around, and the sets: thresholds slowest.

    Args:
        best: the best set. [D]
        threshold: the parameter.
        base_ms: entry latency that is added to.
        added_ms: added latencies.
        levels: thresholds.

    Shape:
        -> sets [T x A, 2]
    """
    entry = tuple(sorted({base_ms + one for one in added_ms}))
    latency = Dimension("simulation.entry_ms", "choice", 0, len(entry) - 1, choices=entry)
    values = np.array([(t, a) for t in threshold.levels(levels) for a in range(len(entry))], np.float64)
    return Around(best, Space((threshold, latency))), values


def surface_heat(pooled: Pooled, threshold: Dimension, values: Float64, entry_ms: Sequence[float]) -> Heat:
    """Net PnL in bp of the turnover over latency and threshold; NaN without trades."""
    levels = np.unique(values[:, 0])
    return Heat(
        f"net of latency and {threshold.short}, all else as in the best set",
        "entry latency (ms)",
        threshold.short,
        "net (bp of turnover)",
        tuple(f"{one:.4g}" for one in sorted(entry_ms)),
        tuple(f"{one:.3g}" for one in threshold.decoded(levels)),
        pooled.net_bp.reshape(len(levels), len(entry_ms)),
    )
