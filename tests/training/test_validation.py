"""No score from what was fitted or tuned on: planted leaks are not found, and a shuffled future is not foreseen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from schwabot.errors import FitError
from schwabot.training.fit_settings import FitConfig
from schwabot.training.forecast_rows import Rows
from schwabot.training.ridge import Part, RidgeConfig, fit_ridge, score
from schwabot.training.validation import block_scores, choose, near, span, split_evenly, train, walk_forward, within

MS = 1_000_000
CONFIG = FitConfig(folds=4, blocks=4, ridge=[0.01, 0.1, 1.0], mask_share=0.0, min_rows=50)


def follower(seed: int, seconds: int = 40, share: float = 0.5, noise: float = 0.5) -> Part:
    """Outcomes over 100 ms of which ``share`` of feature 0 is known beforehand; a row every 2 ms."""
    rng = np.random.default_rng(seed)
    n = 500 * seconds
    features = rng.normal(size=(n, 1, 9)).astype(np.float32)
    outcome = share * features[:, :, :1] + noise * rng.normal(size=(n, 1, 1))
    data = Rows(np.arange(n) * 2 * MS, rng.random(n) < 0.6, features, outcome.astype(np.float32), reach_ns=100 * MS)
    return Part(data, np.ones(n, np.bool_), (0,))


def jump_at(part: Part, edge_ns: int) -> Part:
    """A jump 40 ms behind an edge, and a feature that marks the rows that see it come, on both sides of the edge.

    Whoever is fitted on the rows before the edge knows the jump behind it: their outcomes reach over.
    """
    rows = part.rows
    seeing = (rows.ts_ns > edge_ns - 60 * MS) & (rows.ts_ns <= edge_ns + 40 * MS)
    features, outcome = np.zeros_like(rows.features), 0.1 * rows.outcome_bp
    features[seeing, 0, 0] = 1.0
    outcome[seeing] += 20.0
    return replace(part, rows=replace(rows, features=features, outcome_bp=outcome))


def test_near_takes_time_outcome_and_embargo() -> None:
    data = Rows(np.array([0, 4, 5, 20, 25]), *(np.zeros(0),) * 3, reach_ns=3)  # type: ignore[arg-type]
    assert near(data, [(10, 18)], 0).tolist() == [False] * 5
    assert near(data, [(7, 20)], 0).tolist() == [False, True, True, True, False]
    assert near(data, [(10, 18)], 3).tolist() == [False, True, True, True, False]
    assert near(data, [(10, 18), (27, 30)], 3).tolist() == [False, True, True, True, True]


def test_a_planted_leak_is_not_found_by_walking_forward() -> None:
    part = follower(0)
    edge_ns = split_evenly(span(part), 2)[1][0]
    leak = jump_at(part, edge_ns)
    window = split_evenly(span(part), 2)[1]
    test = replace(leak, counts=within(leak.rows, window))

    naive = fit_ridge([replace(leak, counts=leak.rows.ts_ns < edge_ns)], 1, [0.01], RidgeConfig())
    sums = score(naive, test)
    assert ((1 - sums.error[0] / sums.energy) > 0.5).all()  # the leak is there for whoever does not purge

    (fold,) = walk_forward([leak], 1, replace(CONFIG, folds=1, embargo_s=0.0))
    assert np.abs(fold.r2[0]).max() < 0.01


def test_a_planted_leak_does_not_choose_the_penalty() -> None:
    """In blocks too: what lies on both sides of the block is purged."""
    part = follower(0)
    edge_ns = split_evenly(span(part), 4)[2][0]
    ((_, _, behind, _),) = block_scores([jump_at(part, edge_ns)], 1, replace(CONFIG, embargo_s=0.0))
    assert (behind.error / behind.energy).min() > 0.99


def test_the_embargo_keeps_its_distance() -> None:
    """What is fitted on never ends less than the embargo before what is scored; broken by dropping the embargo."""
    part = follower(0)
    marked = part.rows.features.copy()
    edge_ns = split_evenly(span(part), 2)[1][0]
    close = (part.rows.ts_ns > edge_ns - 1500 * MS) & (part.rows.ts_ns < edge_ns)
    marked[..., 1] = 0.0
    marked[close & (part.rows.ts_ns + 100 * MS >= edge_ns - 1000 * MS), 0, 1] = 1.0  # nobody may be fitted on these
    data = replace(part, rows=replace(part.rows, features=marked))
    (with_it,) = walk_forward([data], 1, replace(CONFIG, folds=1, embargo_s=1.0))
    (without,) = walk_forward([data], 1, replace(CONFIG, folds=1, embargo_s=0.0))
    assert without.rows - with_it.rows == 500  # 1 s of rows
    unmarked = replace(part, rows=replace(part.rows, features=np.where(np.arange(9) == 1, 0, marked)))
    (plain,) = walk_forward([unmarked], 1, replace(CONFIG, folds=1, embargo_s=1.0))
    np.testing.assert_array_equal(with_it.r2[0], plain.r2[0])


def test_walking_forward_comes_to_the_true_skill_and_a_shuffled_future_to_none() -> None:
    part = follower(1)
    folds = walk_forward([part], 1, CONFIG)
    assert len(folds) == 4
    assert [fold.rows for fold in folds] == sorted(fold.rows for fold in folds)
    truth = 0.25 / (0.25 + 0.25)
    for fold in folds:
        np.testing.assert_allclose(fold.r2[0], truth, atol=0.05)

    blocks = np.arange(len(part.rows)) // 250  # half a second each: outcomes stay whole, their rows go elsewhere
    order = np.random.default_rng(2).permutation(blocks.max() + 1)
    elsewhere = np.concatenate([np.flatnonzero(blocks == block) for block in order])
    shuffled = replace(part, rows=replace(part.rows, outcome_bp=part.rows.outcome_bp[elsewhere]))
    for fold in walk_forward([shuffled], 1, CONFIG):
        assert fold.r2[0].max() < 0.01


def test_what_comes_later_changes_no_fold() -> None:
    part = follower(3)
    before = walk_forward([part], 1, CONFIG)
    last = split_evenly(span(part), 5)[4]
    outcome = part.rows.outcome_bp.copy()
    outcome[part.rows.ts_ns >= last[0]] *= -3.0
    after = walk_forward([replace(part, rows=replace(part.rows, outcome_bp=outcome))], 1, CONFIG)
    for one, other in zip(before[:3], after[:3], strict=True):
        np.testing.assert_array_equal(one.r2[0], other.r2[0])
        assert one.choice.penalty == other.choice.penalty
    assert not np.array_equal(before[3].r2[0], after[3].r2[0])


def test_no_fold_is_fitted_on_what_comes_later_in_another_asset() -> None:
    """Of an asset seen for 12 s beside one seen for 40 s, 4 to 8 s and 8 to 12 s are scored: the other's 8th second on
    is too late for both."""
    long, short = follower(10), follower(11, seconds=12)
    before = walk_forward([long, short], 1, replace(CONFIG, folds=2))
    outcome = long.rows.outcome_bp.copy()
    outcome[long.rows.ts_ns > 8_200 * MS] *= -3.0
    changed = replace(long, rows=replace(long.rows, outcome_bp=outcome))
    after = walk_forward([changed, short], 1, replace(CONFIG, folds=2))
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one.r2[1], other.r2[1])
        assert not np.array_equal(one.r2[0], other.r2[0])


def test_the_other_asset_is_purged_in_the_same_minutes() -> None:
    """A twin that knows the scored minutes' outcomes by heart is of no use: its rows of those minutes are left out."""
    part = follower(4, share=0.0)
    twin = replace(part, rows=replace(part.rows, features=part.rows.features.copy()))
    twin.rows.features[:, 0, 0] = part.rows.outcome_bp[:, 0, 0]
    both = [replace(part, roles=(0,)), replace(twin, roles=(0,))]
    for fold in walk_forward(both, 1, replace(CONFIG, folds=2)):
        window = fold.windows[0]
        assert not (near(part.rows, [window], 10**9) & (part.rows.ts_ns < window[0] - 1100 * MS)).any()
        assert fold.rows == 2 * np.count_nonzero((part.rows.ts_ns < window[0]) & ~near(part.rows, [window], 10**9))


def test_the_other_asset_is_purged_from_the_blocks_that_choose() -> None:
    """A twin whose future is noise but for the block that is scored: known there by heart, it would be of use."""
    part = follower(4, share=1.0)
    window = split_evenly(span(part), 4)[1]
    inside = near(part.rows, [window], 10**9)
    outcome = part.rows.outcome_bp.copy()
    outcome[~inside] = 0.0
    quiet = replace(part, rows=replace(part.rows, outcome_bp=outcome))
    alone, both = (block_scores(parts, 1, replace(CONFIG, ridge=[0.01])) for parts in ([quiet], [quiet, quiet]))
    np.testing.assert_array_equal(both[0][1].error, both[0][1].energy[None])  # nobody has seen anything move
    np.testing.assert_array_equal(both[1][1].error, alone[0][1].error)
    shifted = replace(part, rows=replace(part.rows, ts_ns=part.rows.ts_ns + 10**10))  # its blocks lie 10 s later
    own = [replace(quiet, counts=part.counts), shifted]
    marked = replace(shifted, rows=replace(shifted.rows, outcome_bp=shifted.rows.outcome_bp.copy()))
    marked.rows.outcome_bp[near(marked.rows, [window], 0)] *= -3.0
    plain, other = (block_scores([own[0], one], 1, replace(CONFIG, ridge=[0.01])) for one in (shifted, marked))
    np.testing.assert_array_equal(plain[0][1].error, other[0][1].error)


def test_rows_that_reach_out_of_a_window_do_not_score_it() -> None:
    data = Rows(np.array([9, 10, 17, 18, 20]), *(np.zeros(0),) * 3, reach_ns=3)  # type: ignore[arg-type]
    assert within(data, (10, 20)).tolist() == [False, True, True, False, False]


def test_a_fold_scores_its_window_and_nothing_it_was_fitted_on() -> None:
    """By count, and by planting outcomes nobody could forecast in the first piece, which no fold scores."""
    part = follower(12)
    pieces = split_evenly(span(part), 3)
    folds = walk_forward([part], 1, replace(CONFIG, folds=2))
    for fold, piece in zip(folds, pieces[1:], strict=True):
        mine = within(part.rows, piece)
        assert fold.windows == (piece,)
        wanted = [np.count_nonzero(mine & part.rows.quote), np.count_nonzero(mine & ~part.rows.quote)]
        assert fold.scored[0].tolist() == wanted
    outcome = part.rows.outcome_bp.copy()
    far = np.flatnonzero(part.rows.ts_ns < pieces[0][1] - 2 * 10**9)[::400]
    outcome[far] += 300.0
    features = part.rows.features.copy()
    features[far] = 0.0  # and of no influence on the fit
    loud = replace(part, rows=replace(part.rows, outcome_bp=outcome, features=features))
    for fold in walk_forward([loud], 1, replace(CONFIG, folds=2)):
        assert fold.r2[0].min() > 0.3


def test_noise_is_no_better_than_silence_and_takes_the_largest_penalty() -> None:
    choice = choose([follower(6, share=0.0)], 1, replace(CONFIG, ridge=[0.01, 1.0, 1e6]))
    assert choice.penalty == 1e6
    assert choice.loss[-1, 0] == pytest.approx(1.0, abs=1e-6)
    assert choice.loss[0, 0] > 1.0


def test_one_penalty_is_chosen_for_all_horizons() -> None:
    """The signal's horizon gains more by a small penalty than the noise's loses; the coefficients are the ridge's."""
    part = follower(7, share=2.0, noise=0.1)
    noise = np.random.default_rng(8).normal(size=part.rows.outcome_bp.shape).astype(np.float32)
    two = replace(part, rows=replace(part.rows, outcome_bp=np.concatenate([part.rows.outcome_bp, noise], axis=2)))
    fitted, choice = train([two], 1, CONFIG)
    assert choice.penalty == 0.01
    alone = fit_ridge([two], 1, [0.01], RidgeConfig())
    np.testing.assert_array_equal(fitted.coefficients, alone.coefficients)


def test_too_short_for_blocks_is_refused() -> None:
    part = follower(9)
    few = replace(part, counts=part.rows.ts_ns < 500 * MS)
    with pytest.raises(FitError, match="too short for 4 blocks with 1 s between them"):
        choose([few], 1, CONFIG)
