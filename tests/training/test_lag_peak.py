"""Where a curve over lags peaks: plateaus, ties, and two halves of one peak."""

from __future__ import annotations

import numpy as np
import pytest

from schwabot.training.lag_peak import contrast_peak, peak_of


@pytest.mark.parametrize(
    ("size", "peak"),
    [
        ([0, 0, 0, 0, 9], 4),
        ([9, 0, 0, 0, 9], 4),  # equally far: the one at which X leads
        ([0, 9, 9, 0, 0], 2),  # half a step: towards lag 0
        ([0, 0, 9, 9, 0], 2),
        ([0, 0, 0, 9, 9], 3),
        ([9, 9, 9, 0, 0], 1),
        ([9, 0, 0, 9, 0], 3),
        ([1, 1, 1, 1, 1], 2),
    ],
)
def test_peak_of_plateaus_and_ties(size: list[float], peak: int) -> None:
    assert peak_of(np.array(size, np.float64)) == peak


@pytest.mark.parametrize(
    ("size", "peak"),
    [
        ([0, 0, 0, 0, 8, 8, 7, 7, 0], 5),  # the two meet between 5 and 6: half a step towards lag 0
        ([0, 0, 8, 8, 5, 7, 7, 0, 0], 4),  # a notch of one lag
        ([0, 0, 7, 7, 5, 8, 8, 0, 0], 4),
        ([0, 0, 8, 8, 3, 7, 7, 0, 0], 3),  # a notch too deep: two peaks
        ([0, 0, 8, 8, 5, 5, 7, 7, 0], 3),  # a notch too wide
        ([0, 0, 8, 8, 6, 5, 5, 0, 0], 3),  # less than three quarters: no half of this peak
        ([0, 0, 7, 7, 0, 0, 0, 8, 8], 7),
        ([6, 6, 5, 8, 8, 7, 7.5, 7.5, 0], 5),  # of two neighbours the higher one
        ([0, 0, 8, 7.9, 7.8, 0, 0, 0, 0], 2),  # no plateau, so every lag is told from the next
        ([1, 1, 1, 1, 1, 1, 1, 1, 1], 4),
    ],
)
def test_two_halves_of_a_peak_meet_where_it_is(size: list[float], peak: int) -> None:
    assert contrast_peak(np.array(size, np.float64)) == peak
