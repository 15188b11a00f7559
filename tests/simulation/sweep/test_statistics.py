"""Guards against luck: published numbers, closed forms, and noise that must look like noise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from schwabot.simulation.sweep.overfitting import Objective, backtest_overfitting, plateau, rank_of, walk_forward
from schwabot.simulation.sweep.statistics import (
    Shape,
    annualised,
    deflated_sharpe,
    expected_maximum,
    independent_trials,
    least_intervals,
    probabilistic_sharpe,
    shape_of,
    variance_between_folds,
)
from schwabot.simulation.sweep.table import _together


def sums(x: np.ndarray) -> np.ndarray:
    return np.array([len(x), *(float(np.sum(x**k)) for k in (1, 2, 3, 4))])


def test_moments_of_a_sample_worked_by_hand() -> None:
    one = shape_of(sums(np.array([0.0, 0.0, 0.0, 4.0])))  # mean 1, deviations -1 -1 -1 3
    assert one.n == 4
    assert one.sharpe == pytest.approx(1 / math.sqrt(12 / 3))
    assert one.skew == pytest.approx((24 / 4) / 3**1.5)
    assert one.kurtosis == pytest.approx((84 / 4) / 9)


def test_the_scale_of_the_account_does_not_matter() -> None:
    x = np.random.default_rng(1).normal(3.0, 50.0, 1000)
    small, large = shape_of(sums(x)), shape_of(sums(x * 2**21))
    np.testing.assert_allclose(np.array(small), np.array(large), rtol=1e-12)


@pytest.mark.parametrize("x", [np.zeros(50), np.full(50, 7.0), np.zeros(0), np.array([5.0])])
def test_what_never_moved_has_no_sharpe(x: np.ndarray) -> None:
    assert shape_of(sums(x))[1:] == (0.0, 0.0, 3.0)
    assert probabilistic_sharpe(shape_of(sums(x))) == 0.5


def test_sums_of_folds_are_the_sums_of_the_whole() -> None:
    x = np.random.default_rng(2).normal(1.0, 2.0, 300)
    np.testing.assert_allclose(
        np.array(shape_of(sums(x[:100]) + sums(x[100:]))), np.array(shape_of(sums(x))), rtol=1e-9
    )


def test_probabilistic_sharpe_of_the_paper() -> None:
    # Bailey and López de Prado (2012): 24 months, S = 0.458, skewness -2.448, kurtosis 10.164
    assert probabilistic_sharpe(Shape(24.0, 0.458, 0.0, 3.0)) == pytest.approx(0.982, abs=5e-4)
    assert probabilistic_sharpe(Shape(24.0, 0.458, -2.448, 10.164)) == pytest.approx(0.913, abs=5e-4)


def test_deflated_sharpe_of_the_paper() -> None:
    # Bailey and López de Prado (2014): S 2.5 a year over 1250 of 250 days, V = 1/2 a year, skewness -3, kurtosis 10
    best, variance = Shape(1250.0, 2.5 / math.sqrt(250), -3.0, 10.0), 0.5 / 250
    assert expected_maximum(100, variance) == pytest.approx(0.1132, abs=5e-5)
    assert deflated_sharpe(best, 100, variance) == pytest.approx(0.9004, abs=5e-5)
    assert deflated_sharpe(best, 46, variance) == pytest.approx(0.9505, abs=5e-5)
    normal = Shape(1250.0, 2.5 / math.sqrt(250), 0.0, 3.0)
    assert deflated_sharpe(normal, 88, variance) == pytest.approx(0.9505, abs=5e-5)


def test_one_trial_is_not_deflated() -> None:
    one = Shape(100.0, 0.2, 0.0, 3.0)
    assert deflated_sharpe(one, 1, 0.0) == probabilistic_sharpe(one)


def test_the_expected_maximum_is_that_of_normal_draws() -> None:
    draws = np.random.default_rng(3).normal(0.0, 0.1, (20_000, 50)).max(axis=1)
    assert expected_maximum(50, 0.01) == pytest.approx(draws.mean(), rel=0.02)


@pytest.mark.parametrize(("per_year", "years"), [(252, 2.73), (52, 2.83), (12, 3.24)])
def test_minimum_track_record_of_the_paper(per_year: int, years: float) -> None:
    one = Shape(0.0, 2 / math.sqrt(per_year), 0.0, 3.0)  # 2 a year against 1 a year at 95 %
    assert least_intervals(one, 1 / math.sqrt(per_year)) / per_year == pytest.approx(years, abs=0.006)
    assert math.isinf(least_intervals(one, 1.0))


def test_a_year_of_hours() -> None:
    assert annualised(0.01, 3600.0) == pytest.approx(0.01 * math.sqrt(8766))


def test_trials_that_are_alike_count_less() -> None:
    rng = np.random.default_rng(4)
    common, own = rng.normal(size=(1, 400)), rng.normal(size=(20, 400))
    assert independent_trials(own) == pytest.approx(20, abs=0.3)
    half = independent_trials(common + own)  # correlation 1/2: 1/2 + 20/2
    assert half == pytest.approx(10.5, abs=1.0)
    assert independent_trials(np.repeat(common, 20, axis=0)) == pytest.approx(1.0)
    assert independent_trials(np.ones((5, 8))) == 0.0  # nothing happened


def summed(made: np.ndarray) -> tuple[Objective, Objective, Objective]:
    def objective(folds: tuple[int, ...]) -> np.ndarray:
        return made[:, list(folds)].sum(axis=1)

    return objective, objective, objective


def noise(seed: int, sets: int = 60, folds: int = 8) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(sets, folds))


def test_noise_is_overfitted_half_of_the_time() -> None:
    found = []
    for seed in range(60):
        made = noise(seed)
        found.append(backtest_overfitting(*summed(made), 8))
    assert found[0].splits == 70
    assert np.mean([one.probability for one in found]) == pytest.approx(0.5, abs=0.08)
    assert np.mean([one.slope for one in found]) < -0.3  # the halves add up to the whole


def test_a_set_that_is_better_is_not_overfitted() -> None:
    made = noise(1)
    made[7] += 4.0
    one = backtest_overfitting(*summed(made), 8)
    assert (one.probability, one.loss) == (0.0, 0.0)


def test_overfitting_worked_by_hand() -> None:
    made = np.array([[9.0, 0.0], [1.0, 1.0], [0.0, 5.0]])  # best in either fold is the worst in the other
    one = backtest_overfitting(*summed(made), 2)
    assert (one.probability, one.splits, one.loss) == (1.0, 2, 0.0)


def test_a_loss_is_of_money_whatever_the_objective() -> None:
    """Less drawdown is better, so the objective is below 0; set 0 has the least everywhere, and earns in one fold."""
    fall, net = np.array([[1.0, 2.0], [5.0, 6.0]]), np.array([[3.0, -1.0], [4.0, 4.0]])
    objective, _, _ = summed(-fall)
    _, _, earned = summed(net)
    one = backtest_overfitting(objective, objective, earned, 2)
    assert (one.probability, one.loss) == (0.0, 0.5)


def test_sets_that_are_no_candidates_are_left_out_of_it() -> None:
    made = np.full((3, 4), np.nan)
    made[0] = 1.0
    one = backtest_overfitting(*summed(made), 4)
    assert one.splits == 0
    assert math.isnan(one.probability)


def test_walk_forward_chooses_on_the_past_only() -> None:
    made = np.array([[5.0, 0.0, 7.0], [1.0, 9.0, 0.0], [0.0, 3.0, 3.0]])
    steps = walk_forward(*summed(made)[:2], 3)
    assert [(step.fold, step.chosen, step.before, step.after, step.rank) for step in steps] == [
        (1, 0, 5.0, 0.0, 0.0),
        (2, 1, 10.0, 0.0, 0.0),
    ]
    changed = made.copy()
    changed[:, 2] = 100.0, -100.0, 0.0
    assert [step.chosen for step in walk_forward(*summed(changed)[:2], 3)] == [0, 1]


def test_ranks_count_ties_half() -> None:
    assert rank_of(np.array([1.0, 1.0, 1.0]), 0) == 0.5
    assert rank_of(np.array([2.0, 1.0, np.nan]), 0) == 1.0
    assert rank_of(np.array([np.nan, 1.0]), 0) == 0.0


def test_a_hill_is_a_plateau_and_a_spike_is_none() -> None:
    rng = np.random.default_rng(5)
    unit = rng.random((400, 2))
    hill = np.exp(-((unit - 0.5) ** 2).sum(axis=1) / 0.1)
    top = int(np.argmax(hill))
    assert plateau(unit, hill, np.array([top]), 16)[0] > 0.85
    spike = rng.normal(0.0, 0.1, 400)
    spike[top] = 5.0
    assert abs(plateau(unit, spike, np.array([top]), 16)[0]) < 0.05
    assert math.isnan(plateau(unit, hill, np.array([int(np.argmin(hill))]), 16)[0])


def test_copies_of_a_set_are_not_its_neighbourhood() -> None:
    unit = np.array([[0.5], [0.5], [0.5], [0.4], [0.6], [0.0], [1.0], [0.1], [0.9]])
    values = np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    assert plateau(unit, values, np.array([0]), 2).tolist() == [0.0]


def test_variance_between_folds_is_that_of_the_whole() -> None:
    rng = np.random.default_rng(6)
    skill = np.linspace(-1.0, 0.1, 200)[:, None]  # some sets really are worse
    sharpe = skill + rng.normal(0.0, 0.2, (200, 8))
    assert variance_between_folds(sharpe, 1e6) == pytest.approx(0.2**2 / 8, rel=0.15)
    assert np.var(sharpe.mean(axis=1)) > 0.08  # what there is among sets is mostly that
    assert variance_between_folds(np.zeros((5, 8)), 101.0) == 0.01


def test_a_leg_that_earned_nothing_still_swings() -> None:
    """Means add up, and so do deviations, as if the legs fell together; also of a leg whose sum is 0."""
    still, swings = np.array([1.0, 2.0, 0.0, 3.0]), np.array([9.0, -9.0, 9.0, -9.0])
    moments = np.array([[[4.0, *(float((x**k).sum()) for k in (1, 2, 3, 4))] for x in (still, 2 * swings)]])
    together = _together(moments)
    expected = (still.mean() + 2 * swings.mean()) / (still.std(ddof=1) + 2 * swings.std(ddof=1))
    assert together.sharpe[0] == pytest.approx(expected)
