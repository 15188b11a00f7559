"""Equity changes of several markets and streams as one: in money, and over the time of the longest."""

from __future__ import annotations

import statistics
from dataclasses import replace

import numpy as np
import pytest

from schwabot.simulation.sweep.ranges import Space, open_space
from schwabot.simulation.sweep.shards import merge
from schwabot.simulation.sweep.table import Leg, Pooled, Results, Row, rows_of
from schwabot_kernels.simulate import records as r
from tests.simulation.sweep.making import DECLARED, LEG

SPACE = open_space({"threshold_bp": [1.0, 4.0]}, DECLARED)
VALUES = np.array([[2.0]])


def pooled(markets: dict[str, list[tuple[Leg, list[int]]]], space: Space = SPACE) -> Pooled:
    """One set over one fold of markets whose legs' equity changed by these numbers, in units of the account."""
    tables = []
    for market, legs in markets.items():
        counts = np.zeros((1, len(legs), r.COUNTS), np.int64)
        moments = np.array([[[len(x), *(sum(one**k for one in x) for k in (1, 2, 3, 4))] for _, x in legs]], np.float64)
        tables.append(rows_of(space, [leg for leg, _ in legs], 0, 0, market, 0, VALUES, counts, moments))
    results = Results(space, [Row(0, market, leg) for market, legs in markets.items() for leg, _ in legs])
    results.append(VALUES, merge(tables))
    return results.pooled((0,))


def test_a_stream_of_two_markets_is_pooled_in_money() -> None:
    """An account's unit is worth twice as much and five times as much: changes of 2, 4, 6 and of 5, -5, 10, 20."""
    shape = pooled({"a": [(replace(LEG, worth=2.0), [1, 2, 3])], "b": [(replace(LEG, worth=5.0), [1, -1, 2, 4])]}).shape
    money = [2.0, 4.0, 6.0, 5.0, -5.0, 10.0, 20.0]
    # mean 6; squared deviations 16 + 4 + 0 + 1 + 121 + 16 + 196 = 354
    assert shape.n.tolist() == [7]
    assert shape.sharpe[0] == pytest.approx(6.0 / (354.0 / 6.0) ** 0.5)
    assert shape.sharpe[0] == pytest.approx(statistics.mean(money) / statistics.stdev(money))
    # cubed -64 - 8 + 0 - 1 - 1331 + 64 + 2744 = 1404, to the fourth 256 + 16 + 0 + 1 + 14641 + 256 + 38416 = 53586
    assert shape.skew[0] == pytest.approx(1404.0 / 7.0 / (354.0 / 7.0) ** 1.5)
    assert shape.kurtosis[0] == pytest.approx(53586.0 / 7.0 / (354.0 / 7.0) ** 2)


@pytest.mark.parametrize("longer", [0, 1])
def test_a_stream_that_was_there_for_a_shorter_time_stood_still_in_the_rest(longer: int) -> None:
    """100 buckets of -1 and 3 in turn; 10 buckets of 0 and 2 in turn, which are 100 with 90 of nothing."""
    streams = [(replace(LEG, stream="v:A"), [-1, 3] * 50), (replace(LEG, stream="v:B"), [0, 2] * 5)]
    shape = pooled({"a": streams if longer == 0 else streams[::-1]}).shape
    # the long one: mean 1, squared deviations 100 x 4. The short one: mean 0.1, squared deviations 20 - 100 x 0.1^2
    assert shape.n.tolist() == [100]
    assert shape.sharpe[0] == pytest.approx((1.0 + 0.1) / ((400.0 / 99.0) ** 0.5 + (19.0 / 99.0) ** 0.5))
    # five deviations of 1.9 and 95 of -0.1: the least skewness is the long one's, the largest kurtosis the short one's
    assert shape.skew[0] == pytest.approx(0.0, abs=1e-12)
    assert shape.kurtosis[0] == pytest.approx((5 * 1.9**4 + 95 * 0.1**4) / 100 / 0.19**2)


def test_streams_of_one_market_are_told_in_the_money_of_each() -> None:
    """Two streams that move alike but for their unit: means and standard deviations add up."""
    x = [1, 2, 3, 6]  # mean 3, squared deviations 4 + 1 + 0 + 9
    streams = [(replace(LEG, stream="v:A", worth=1.0), x), (replace(LEG, stream="v:B", worth=10.0), [-k for k in x])]
    shape = pooled({"a": streams}).shape
    assert shape.sharpe[0] == pytest.approx((3.0 - 30.0) / ((14.0 / 3.0) ** 0.5 * 11.0))
