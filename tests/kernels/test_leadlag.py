"""Lead-lag kernels: by hand, and against their definitions."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from schwabot_kernels.leadlag import cpu, reference

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]

# X moves by 2 in (0, 10] and by 1 in (10, 30]; Y by 1 in (5, 12] and by -2 in (12, 40].
TIME_X, X = np.array([0, 10, 30]), np.array([0.0, 2.0, 3.0])
TIME_Y, Y = np.array([5, 12, 40]), np.array([0.0, 1.0, -1.0])


def u_of(lag: int) -> float:
    return float(cpu.contrast(TIME_X, X, TIME_Y, Y, np.array([lag]), np.zeros(3, np.int64), 1)[0, 0])


@pytest.mark.parametrize(
    ("lag", "value"),
    [
        (0, 2 * 1 + 1 * 1 + 1 * -2),  # (10, 30] meets both moves of Y
        (5, 2 * 1 + 2 * -2 + 1 * -2),  # Y's are (0, 7], (7, 35]
        (2, 2 * 1 + 1 * -2),  # (3, 10] ends where (10, 30] begins: they have no point in common
        (-5, 1 * 1 + 1 * -2),  # (10, 17] begins where (0, 10] ends
        (39, 2 * -2),  # (-27, 1] reaches into (0, 10]
        (40, 0),  # (-28, 0] does not
        (-24, 1 * 1),  # (29, 36] begins within (10, 30]
        (-25, 0),  # (30, 37] begins after it
        (10**12, 0),
        (-(10**12), 0),
    ],
)
def test_contrast_by_hand(lag: int, value: float) -> None:
    assert u_of(lag) == value


def test_contrast_goes_to_the_block_in_which_x_moved() -> None:
    lags, block = np.array([0, 5]), np.array([7, 0, 2])  # the first price's block means nothing
    assert cpu.contrast(TIME_X, X, TIME_Y, Y, lags, block, 3).tolist() == [[2, 0, -1], [-2, 0, -2]]


@pytest.mark.parametrize(
    ("lag", "value"),
    [
        (0, 2 * 1 / 5),  # bins of 10: X moves in bins 1 and 3, Y in 1 and 4
        (10, 1 * -2 / 5),  # Y in 0 and 3
        (20, 0.0),  # Y in -1 and 2
        (30, 2 * -2 / 5),  # Y in -2 and 1
        (-20, 1 * 1 / 5),  # Y in 3 and 6
    ],
)
def test_correlation_by_hand(lag: int, value: float) -> None:
    found = cpu.bin_correlation(TIME_X, X, TIME_Y, Y, np.array([lag]), 10, -50)
    assert found.tolist() == [pytest.approx(value)]


def test_correlation_is_unknown_where_one_does_not_move() -> None:
    still = np.zeros(3)
    for arrays in ((TIME_X, still, TIME_Y, Y), (TIME_X, X, TIME_Y, still)):
        assert np.isnan(cpu.bin_correlation(*arrays, np.array([0]), 10, -50)).all()


@st.composite
def series(draw: st.DrawFn) -> tuple[Int64, Float64]:
    steps = draw(st.lists(st.integers(1, 15), min_size=2, max_size=40))
    prices = draw(st.lists(st.integers(-3, 3), min_size=len(steps), max_size=len(steps)))
    return np.cumsum(steps) + draw(st.integers(0, 30)), np.array(prices, np.float64)


@given(series(), series(), st.integers(1, 20), st.integers(1, 9))
def test_kernels_agree_with_their_definitions(
    one: tuple[Int64, Float64], other: tuple[Int64, Float64], width: int, step: int
) -> None:
    lags = np.arange(-60, 61, step)
    block = np.arange(len(one[0])) % 3
    both = [torch.from_numpy(array) for array in (*one, *other)]
    grid = torch.from_numpy(lags)
    expected = reference.contrast(*both, grid, torch.from_numpy(block), 3)
    # prices are whole numbers, so sums in any order are exact
    np.testing.assert_array_equal(cpu.contrast(*one, *other, lags, block, 3), expected.numpy())
    expected = reference.bin_correlation(*both, grid, width, -100)
    found = cpu.bin_correlation(*one, *other, lags, width, -100)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-12, equal_nan=True)
    assert not (np.abs(found) > 1.0 + 1e-12).any()


def test_contrast_mirrors_when_the_streams_change_places() -> None:
    lags = np.arange(-60, 61)
    forward = cpu.contrast(TIME_X, X, TIME_Y, Y, lags, np.zeros(3, np.int64), 1)[:, 0]
    backward = cpu.contrast(TIME_Y, Y, TIME_X, X, lags, np.zeros(3, np.int64), 1)[:, 0]
    assert forward.tolist() == backward[::-1].tolist()
