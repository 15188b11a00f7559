"""Skipping gives what walking gives, what the general simulator gives, and what plain Python gives row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from schwabot_kernels.simulate import records as r
from schwabot_kernels.simulate.cpu import make_sweep
from schwabot_kernels.simulate.lean import over
from schwabot_kernels.simulate.records import Market, Rules
from schwabot_kernels.simulate.skipping import build, make_skipping
from tests.kernels import making_threshold as made
from tests.kernels.making_threshold import make_market, make_params, make_rules
from tests.kernels.plainly import simulate

SETS = 4
POLICY, QUIET = njit(**made.INLINED)(made.policy), njit(**made.INLINED)(made.quiet)
SWEEP = make_skipping(POLICY, QUIET, made.event_of, made.params_of)
GENERAL = make_sweep(POLICY, made.event_of, made.params_of)
PLAIN = (made.policy, made.event_of.py_func, made.params_of.py_func, 1)


def swept(market: Market, rules: Rules, params: Any, *, skip: bool, **blocks: int) -> tuple[Any, Any]:
    sets = len(params)
    counts, moments = np.full((sets, 1, r.COUNTS), -7, np.int64), np.full((sets, 1, r.MOMENTS), np.nan)
    SWEEP(build(market, 0, 0, rules.bucket_ns, **blocks), rules, params, 0, sets, counts, moments, skip, 1)
    return counts[:, 0], moments[:, 0]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.one_of(st.integers(0, 12), st.integers(13, 160)),
    shifts=st.sampled_from([(0, 0, 1), (0, 1, 3), (1, 2, 4), (2, 4, 4), (2, 3, 9), (6, 10, 14)]),
    inverse=st.booleans(),
    late_leg=st.booleans(),
    nan=st.sampled_from([0.0, 0.3, 1.0]),
    ties=st.booleans(),
    model=st.sampled_from([r.CONSTANT, r.TABLE, r.DATA]),
    latency_ns=st.sampled_from([0, 30, 400, 10**6]),
    funding=st.sampled_from([0, 1, 6]),
    bucket_ns=st.sampled_from([7, 100, 1_000, 10**9]),
    calm=st.booleans(),
)
def test_skipping_walking_and_the_rules_agree(
    seed: int,
    rows: int,
    shifts: tuple[int, int, int],
    inverse: bool,
    late_leg: bool,
    nan: float,
    ties: bool,
    model: int,
    latency_ns: int,
    funding: int,
    bucket_ns: int,
    calm: bool,
) -> None:
    market = make_market(seed, rows, inverse=inverse, late_leg=late_leg, nan=nan, ties=ties)
    if calm:  # long quiet stretches, so that whole blocks are jumped over with a position held
        market.signals[:, :, (np.arange(rows) // 9) % 3 > 0] *= 0.1
    rules = make_rules(
        seed, SETS, market, inverse=inverse, model=model, latency_ns=latency_ns, funding=funding, bucket_ns=bucket_ns
    )
    params = make_params(seed, SETS)
    block, large, tile = (1 << shift for shift in shifts)
    jumped = swept(market, rules, params, skip=True, block=block, large=large, tile=tile)
    walked = swept(market, rules, params, skip=False, block=block, large=large, tile=tile)
    sent = np.zeros((SETS, 1, r.COUNTS), np.int64), np.zeros((SETS, 1, r.MOMENTS))
    GENERAL(market, rules, params, 0, SETS, *sent, 1)
    for p in range(SETS):
        wanted = simulate(market, rules, params, p, *PLAIN)
        for name, got in (("skipping", jumped), ("walking", walked), ("general", [one[:, 0] for one in sent])):
            assert got[0][p].tolist() == wanted.counts[0].tolist(), name
            assert got[1][p].tobytes() == wanted.moments[0].tobytes(), name


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 90),
    position=st.sampled_from([-3, -1, 0, 1, 2]),
    peak2=st.sampled_from([0, 30, 500]),
    fall2=st.sampled_from([0, 20, 400]),
    shifts=st.sampled_from([(0, 1), (1, 3), (2, 2), (3, 5)]),
)
def test_peak_and_fall_of_whole_blocks_are_those_of_their_rows(
    seed: int, rows: int, position: int, peak2: int, fall2: int, shifts: tuple[int, int]
) -> None:
    market = make_market(seed, rows, inverse=False, late_leg=False, nan=0.0, ties=False)
    market.leg[:], market.kind[:] = 0, 0
    market.mark[:] = np.cumsum(np.random.default_rng(seed).integers(-9, 10, rows))
    lean = build(market, 0, 0, 100, block=1 << shifts[0], large=1 << shifts[1])
    first, end = sorted(np.random.default_rng(seed + 1).integers(0, rows + 1, 2).tolist())
    got = over(market.mark, lean.small, lean.large, first, end, 10, position, peak2, fall2)
    for row in range(first, end):
        equity2 = 10 + position * int(market.mark[row])
        peak2 = max(peak2, equity2)
        fall2 = max(fall2, peak2 - equity2)
    assert got == (peak2, fall2)


def test_what_is_promised_is_checked() -> None:
    market = make_market(1, 20, inverse=False, late_leg=False, nan=0.0, ties=False)
    with pytest.raises(ValueError, match="powers of two"):
        build(market, 0, 0, 100, block=48)
    rules = make_rules(1, 1, market, inverse=False, model=0, latency_ns=0, funding=0, bucket_ns=100)
    out = np.zeros((1, 1, r.COUNTS), np.int64), np.zeros((1, 1, r.MOMENTS))
    with pytest.raises(ValueError, match="bucket_ns"):
        SWEEP(build(market, 0, 0, 7), rules, make_params(1, 1), 0, 1, *out, True, 1)


@pytest.mark.parametrize(("scale", "full"), [(2**20, False), (2**45, True)])
def test_sums_that_leave_64_bits_are_told_alike(scale: int, full: bool) -> None:
    """An order of four lots is worth 2^57 units at the larger scale: over a hundred of them are more than 2^63."""
    market = make_market(3, 1_500, inverse=False, late_leg=False, nan=0.0, ties=False)
    market = market._replace(mark=market.mark // made.SCALE * scale)
    rules = make_rules(3, 1, market, inverse=False, model=0, latency_ns=0, funding=3, bucket_ns=10**9)
    rules = rules._replace(scale=np.array([scale]), max_lots=np.array([4]), protection_e7=0)
    params = np.array([[0.5, 0.0, 4.0, 4.0, 0.0]])
    wanted = simulate(market, rules, params, 0, *PLAIN)
    assert wanted.counts[0, r.FILLS] > 150
    assert (wanted.counts[0, r.TURNOVER] > 2**63) == full
    sent = np.zeros((1, 1, r.COUNTS), np.int64), np.zeros((1, 1, r.MOMENTS))
    GENERAL(market, rules, params, 0, 1, *sent, 1)
    for counts in (swept(market, rules, params, skip=True)[0], swept(market, rules, params, skip=False)[0], sent[0][0]):
        assert (counts[0].tolist() == wanted.counts[0].tolist()) != full
        assert counts[0, r.GROSS] == wanted.counts[0, r.GROSS]
        assert (counts[0, r.GROSS] == r.MOST_GROSS) == full
