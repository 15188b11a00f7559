"""Counts of ticks and lots as the decimals a venue would print.

Axis legend: N counts.
"""

from __future__ import annotations

from decimal import Decimal
from math import prod
from typing import Any

import numpy as np

from schwabot.records.market import Float64


def in_units(counts: Any, *steps: float, over: int = 1) -> Float64:
    """Counts × steps / over, as the double nearest to the decimal.

    A step in binary is not the step that was meant: 6183763 · 0.01 is 61837.630000000005. A step's decimal is a ratio
    of two whole numbers, and one division by the lower one rounds once.

    Args:
        counts: of steps; whole, or an average.
        steps: what is multiplied, e.g. lot size and contract value; as written, so 0.01 is one hundredth.
        over: what it is divided by.

    Shape:
        counts: [N] -> [N]

    Example:
        >>> 6183763 * 0.01, in_units([6183763, 6183764], 0.01).tolist()
        (61837.630000000005, [61837.63, 61837.64])
        >>> in_units(3, 0.1, 0.1).item(), in_units(12367527, 0.01, over=2).item()
        (0.03, 61837.635)
    """
    above, below = prod((Decimal(repr(float(step))) for step in steps), start=Decimal(1)).as_integer_ratio()
    return np.asarray(counts, np.float64) * float(above) / float(below * over)
