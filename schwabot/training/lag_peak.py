"""Where a curve over lags peaks, of series whose stamps can't tell every lag from its neighbours.

Axis legend: L lags, from -side to +side steps; 0 is the middle one.
"""

from __future__ import annotations

import numpy as np

from schwabot.records.market import Float64

SAME = 1e-12
"""Values this close, relative to the largest, are one plateau."""
SHARED = 0.75
"""A neighbouring plateau this high, as a share of the peak, is the other half of it.

Of a true lag that is the share f of the way from one common stamp to the next, the plateau between the two holds all,
the next one f: above 3/4 the whole stamp is the nearer answer than the half way.
"""
NOTCH = 0.5
"""Between two halves the contrast is no lower than this share of the peak: a half holds the lag and one neighbour."""


def peak_of(size: Float64) -> int:
    """Where a curve over a symmetric grid is largest; of a plateau the middle, of several the one closest to lag 0.

    A series whose stamps lie on a coarse grid has plateaus: between two such stamps no lag can be told from another.

    Args:
        size: of the curve, 0 or more. [L]

    Example:
        >>> peak_of(np.array([0.0, 3.0, 3.0, 3.0, 0.0, 1.0, 3.0])), peak_of(np.array([2.0, 0.0, 2.0]))
        (2, 2)
    """
    return _highest(size)[1]


def contrast_peak(size: Float64) -> int:
    r"""As ``peak_of``, and where the highest plateau is one half of a peak: where the two halves meet.

    Two series on stamps T apart, one of them late by k T: at k T each interval of X meets its like of Y, beside it
    two of them. U has a plateau on either side, of k T and one neighbour each, which differ by chance; at k T itself
    there is a notch of one lag where neighbours go the same way. So the plateau next to the highest one, on the
    higher side, belongs to it where it has ``SHARED`` of its height, and the answer is where they meet.

    Args:
        size: \\|U\\|. [L]

    Source: this repository; Hayashi and Yoshida (2005) for U.

    Example:
        >>> contrast_peak(np.array([0.0, 0.0, 0.3, 0.3, 0.2, 1.1, 1.1, 1.0, 1.2, 1.2, 0.1, 0.2, 0.2]))
        7
    """
    low, peak, high = _highest(size)
    if high == low:
        return peak
    top = float(size[peak])
    left, right = _beside(size[:low][::-1], top), _beside(size[high + 1 :], top)
    if left is None and right is None:
        return peak
    if right is None or (left is not None and left[0] > right[0]):
        assert left is not None
        ends = low - 1 - left[1], low
    else:
        ends = high, high + 1 + right[1]
    return _middle(*ends, len(size) // 2)


def _highest(size: Float64) -> tuple[int, int, int]:
    """First lag, middle and last lag of the highest plateau."""
    centre = len(size) // 2
    top = np.flatnonzero(size >= size.max() * (1.0 - SAME))
    plateaus = np.split(top, np.flatnonzero(np.diff(top) > 1) + 1)
    found = []
    for plateau in plateaus:
        low, high = int(plateau[0]), int(plateau[-1])
        found.append((low, _middle(low, high, centre), high))
    return min(found, key=lambda one: (abs(one[1] - centre), -one[1]))


def _middle(low: int, high: int, centre: int) -> int:
    """Of half a step: the one towards lag 0."""
    return (low + high + (low + high < 2 * centre)) // 2


def _beside(onward: Float64, top: float) -> tuple[float, int] | None:
    """Height of the plateau that goes on from here, after a notch of one lag at most, and how long the notch is."""
    for notch in (0, 1):
        if len(onward) < notch + 2:
            return None
        height, again = float(onward[notch]), float(onward[notch + 1])
        if height >= SHARED * top and abs(height - again) <= SAME * top:
            return height, notch
        if onward[0] < NOTCH * top:
            return None
    return None
