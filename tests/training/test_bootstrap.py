"""Block sums and the interval they give."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot.errors import ConfigError
from schwabot.training.bootstrap import BlockSums, bootstrap_ratio


@given(
    blocks=st.lists(st.integers(0, 200), min_size=1, max_size=80).map(sorted),
    cuts=st.lists(st.integers(0, 80), max_size=8),
    most=st.integers(2, 40),
)
def test_block_sums_are_exact_bounded_and_cut_free(blocks: list[int], cuts: list[int], most: int) -> None:
    number = np.array(blocks, np.int64)
    values = np.random.default_rng(len(blocks)).normal(size=(len(blocks), 3))
    whole, cut = BlockSums(3, most), BlockSums(3, most)
    whole.add(number, values)
    edges = [0, *sorted(min(c, len(blocks)) for c in cuts), len(blocks)]
    for low, high in itertools.pairwise(edges):
        cut.add(number[low:high], values[low:high])
    assert len(whole) <= most
    np.testing.assert_array_equal(whole.values(), cut.values())
    merged = number >> whole.level
    expected = [values[merged == b].sum(axis=0) for b in np.unique(merged)]
    np.testing.assert_allclose(whole.values(), expected, atol=1e-12)
    # No coarser than it has to be.
    assert whole.level == 0 or len(np.unique(number >> (whole.level - 1))) > most


def test_interval_of_a_mean_is_the_textbook_one() -> None:
    """Ratio over blocks of equal size is a mean: the interval must be mean ± 1.96 standard errors."""
    values = np.random.default_rng(0).normal(5, 2, size=(900, 1))
    low, high = bootstrap_ratio(values, np.ones((900, 1)), draws=4000, seed=1)[0]
    error = values.std() / 30
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.2 * error)


def test_blocks_widen_the_interval_of_dependent_values() -> None:
    """Ten equal copies in a block are one observation, not ten."""
    once = np.random.default_rng(0).normal(size=200)
    split = bootstrap_ratio(np.repeat(once, 10)[:, None], np.ones((2000, 1)), draws=1000, seed=0)[0]
    whole = bootstrap_ratio(10 * once[:, None], np.full((200, 1), 10.0), draws=1000, seed=0)[0]
    assert np.diff(whole)[0] == pytest.approx(np.sqrt(10) * np.diff(split)[0], rel=0.15)


def test_the_true_value_is_covered_as_often_as_promised() -> None:
    rng = np.random.default_rng(2)
    samples = rng.normal(1.0, 3.0, size=(60, 300))
    intervals = bootstrap_ratio(samples, np.ones_like(samples), draws=500, seed=0)
    assert 0.88 <= np.mean((intervals[:, 0] < 1) & (intervals[:, 1] > 1)) <= 0.98


def test_same_seed_same_interval_and_nothing_to_say() -> None:
    sums = np.random.default_rng(0).normal(size=(20, 2)) + 3
    one, other = (bootstrap_ratio(sums, np.ones_like(sums), draws=100, seed=s) for s in (1, 2))
    np.testing.assert_array_equal(one, bootstrap_ratio(sums, np.ones_like(sums), draws=100, seed=1))
    assert not np.array_equal(one, other)
    assert np.isnan(bootstrap_ratio(sums[:1], sums[:1], draws=100, seed=1)).all()
    assert np.isnan(bootstrap_ratio(sums, np.zeros_like(sums), draws=100, seed=1)).all()
    with pytest.raises(ConfigError, match="level"):
        bootstrap_ratio(sums, sums, draws=10, seed=0, level=1.5)
    with pytest.raises(ConfigError, match="max_blocks"):
        BlockSums(1, 1)
