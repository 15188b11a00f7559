"""The lag curve against hand-made decisions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot.errors import ConfigError
from schwabot.records.market import Float64
from schwabot.training.lag_curve import LagCurve
from tests.training.making import EPOCH_NS, decisions, instruments, with_decisions

LATENCIES = (1.0, 10.0, 0.5)


def curve_of(ts_ns: list[int], stream: list[int], cost: Float64, cuts: list[int] | None = None) -> LagCurve:
    curve = LagCurve(LATENCIES, instruments(2), notional_quote=20_000.0)
    edges = sorted({0, *(c for c in cuts or [] if c < len(ts_ns)), len(ts_ns)})
    for low, high in itertools.pairwise(edges):
        made = decisions(ts_ns[low:high], stream[low:high], cost[low:high])
        curve.update(with_decisions(LATENCIES, made))
    return curve


def test_by_hand() -> None:
    nan = math.nan
    cost = np.array([[0.1, 0.4, 1.0], [0.3, 0.8, nan], [0.2, nan, nan], [9.0, 9.0, 9.0]])
    ts = [EPOCH_NS, EPOCH_NS + 1, EPOCH_NS + 6 * 10**9, EPOCH_NS + 7 * 10**9]
    curve = curve_of(ts, [0, 0, 0, 1], cost)
    cells = curve.summary()["venuea:X/Y"]
    assert list(cells) == ["1", "10", "0.5"]
    assert (cells["1"]["mean"], cells["1"]["n"]) == (pytest.approx(0.2), 3)
    assert (cells["10"]["mean"], cells["10"]["n"]) == (pytest.approx(0.6), 2)
    assert (cells["0.5"]["mean"], cells["0.5"]["n"]) == (pytest.approx(1.0), 1)
    # Two blocks for stream a: the interval of l = 1 runs from one block's mean to the other's (both 0.2).
    assert (cells["1"]["ci_low"], cells["1"]["ci_high"]) == (pytest.approx(0.2), pytest.approx(0.2))
    # One block for stream b: no interval. 9 bp of 20,000 are 18.
    assert curve.summary()["venueb:X/Y"]["1"] == {
        "n": 1, "mean": 9.0, "ci_low": None, "ci_high": None,
        "expected": 0.0, "expected_ci_low": None, "expected_ci_high": None,
        "gap": 9.0, "gap_ci_low": None, "gap_ci_high": None,
        "mean_quote": pytest.approx(18.0, rel=1e-12), "ci_low_quote": None, "ci_high_quote": None,
        "expected_quote": 0.0, "expected_ci_low_quote": None, "expected_ci_high_quote": None,
        "gap_quote": pytest.approx(18.0, rel=1e-12), "gap_ci_low_quote": None, "gap_ci_high_quote": None,
    }  # fmt: skip
    assert cells["10"]["mean_quote"] == pytest.approx(1.2)
    for side in ("ci_low_quote", "ci_high_quote"):
        assert cells["1"][side] == pytest.approx(0.4)


def test_expected_beside_realised_by_hand() -> None:
    """Two blocks of stream a; the third decision has no cost at 10 ms, so nothing it expected there counts."""
    nan = math.nan
    cost = np.array([[0.1, 0.4, nan], [0.3, 0.8, nan], [0.5, nan, nan]])
    expected = np.array([[0.2, 0.1, 7.0], [0.2, 0.3, 7.0], [0.8, 9.0, 7.0]])
    curve = LagCurve(LATENCIES, instruments(2), notional_quote=20_000.0)
    ts = [EPOCH_NS, EPOCH_NS + 1, EPOCH_NS + 6 * 10**9]
    curve.update(with_decisions(LATENCIES, decisions(ts, [0, 0, 0], cost, expected)))
    one, ten, half = (curve.summary()["venuea:X/Y"][ms] for ms in ("1", "10", "0.5"))
    assert (one["mean"], one["expected"], one["gap"]) == pytest.approx((0.3, 0.4, -0.1))
    assert (ten["mean"], ten["expected"], ten["gap"]) == pytest.approx((0.6, 0.2, 0.4))
    assert (half["n"], half["expected"], half["gap"]) == (0, None, None)
    # Drawn with both blocks once or one of them twice: the means of the two blocks are the ends.
    assert (one["expected_ci_low"], one["expected_ci_high"]) == pytest.approx((0.2, 0.8))
    assert (one["gap_ci_low"], one["gap_ci_high"]) == pytest.approx((-0.3, 0.0), abs=1e-12)
    assert (one["expected_quote"], one["gap_ci_low_quote"]) == pytest.approx((0.8, -0.6))


def test_decisions_of_one_burst_count_as_one() -> None:
    """100 decisions in each of 50 blocks that share their outcome: the interval must be that of 50 values."""
    rng = np.random.default_rng(0)
    shared = rng.normal(1.0, 1.0, 50)
    ts = (EPOCH_NS + 5 * 10**9 * np.repeat(np.arange(50), 100) + np.tile(np.arange(100), 50)).tolist()
    cost = np.repeat(shared, 100)[:, None] * np.ones(3)
    cell = curve_of(ts, [0] * 5000, cost).summary()["venuea:X/Y"]["1"]
    assert cell["ci_high"] - cell["ci_low"] == pytest.approx(2 * 1.96 * shared.std() / math.sqrt(50), rel=0.15)


@given(cuts=st.lists(st.integers(1, 299), max_size=20), seed=st.integers(0, 1000))
def test_no_cut_changes_a_bit(cuts: list[int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    ts = (EPOCH_NS + np.sort(rng.integers(0, 60 * 10**9, 300))).tolist()
    stream, cost = rng.integers(0, 2, 300).tolist(), rng.normal(size=(300, 3))
    whole, cut = curve_of(ts, stream, cost), curve_of(ts, stream, cost, cuts)
    assert whole.summary() == cut.summary()


def test_wrong_latencies_are_refused_and_no_decisions_are_fine() -> None:
    curve = LagCurve(LATENCIES, instruments(2))
    curve.update(with_decisions(LATENCIES, decisions([], [], np.zeros((0, 3)))))
    assert curve.summary()["venuea:X/Y"]["1"]["n"] == 0
    with pytest.raises(ConfigError, match="decisions carry 2 latencies"):
        curve.update(with_decisions((1.0, 2.0), decisions([EPOCH_NS], [0], np.zeros((1, 2)))))
    with pytest.raises(ConfigError, match="block_s"):
        LagCurve(LATENCIES, instruments(1), block_s=0)
    with pytest.raises(ConfigError, match="notional_quote"):
        LagCurve(LATENCIES, instruments(1), notional_quote=0)
