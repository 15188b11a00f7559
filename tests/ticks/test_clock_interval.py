"""Is the truth inside the venue clock's intervals as often as they say? S seeds of a feed, K moments of each."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from schwabot.ticks.clock_interval import _least_squares, _thinned, envelope_interval
from schwabot.ticks.envelope import RunSlope
from schwabot.ticks.merge import blank
from schwabot.ticks.venue_clock import VenueClock
from tests.ticks.clocks import CLOCKS, JITTERS, ONE, STREAM, feed, held, swing

QUICK = [("constant", "exponential", 20), ("wanders", "gamma", 20), ("-5 ppm", "lognormal", 1)]


@pytest.mark.parametrize(("clock", "jitter", "per_s"), QUICK)
def test_the_truth_is_inside(clock: str, jitter: str, per_s: float) -> None:
    found = held(clock, jitter, per_s, seeds=1)
    assert len(found) > 40
    assert np.mean(found) > 0.88


@pytest.mark.validate
@pytest.mark.parametrize("clock", CLOCKS)
def test_coverage(clock: str) -> None:
    """About 95 % over all cells, and no cell, of about 94 intervals each (44 for bursts every 10 s), far below."""
    cells = {cell: held(clock, *cell) for cell in itertools.product(JITTERS, (1, 20, 500))}
    shares = {cell: float(np.mean(found)) for cell, found in cells.items()}
    assert min(shares.values()) > 0.85, shares
    assert 0.93 < np.mean(list(itertools.chain(*cells.values()))) < 0.99


@pytest.mark.validate
@pytest.mark.parametrize("silent_s", [2.0, 10.0])
def test_coverage_after_a_silence(silent_s: float) -> None:
    for clock, per_s in itertools.product(("-5 ppm", "wanders"), (1, 20, 500)):
        assert np.mean(held(clock, "exponential", per_s, silent_s=silent_s)) > 0.88


def summary_width_ms(jitter: str, per_s: float) -> float:
    made = feed(CLOCKS["constant"], jitter, 60.0, per_s)
    clock = VenueClock(ONE)
    clock.update(made.ticks)
    low, high = clock.summary()[STREAM]["clock_offset_ci_ms"]
    assert low <= clock.summary()[STREAM]["clock_offset_ms"] <= high
    return float(high - low)


def test_many_messages_are_surer_than_few() -> None:
    assert summary_width_ms("exponential", 500) < 0.5 * summary_width_ms("exponential", 20)
    assert summary_width_ms("exponential", 20) < 0.5 * summary_width_ms("exponential", 1)
    # As many messages, but what ten of them say together is one.
    assert summary_width_ms("exponential", 20) < 0.7 * summary_width_ms("bursts", 20)


def test_it_grows_with_silence() -> None:
    made = feed(CLOCKS["constant"], "exponential", 60.0, 100)
    clock = VenueClock(ONE)
    assert clock.interval(STREAM) is None
    clock.update(blank(ONE, 1))
    assert clock.interval(STREAM) is None
    clock.update(made.ticks)
    last_ns = clock.last_stamps_ns()[STREAM]
    assert last_ns == made.ticks.ts_recv_ns[-1]
    widths = []
    for silent_s in (0, 1, 5, 60, 3600):
        interval = clock.interval(STREAM, last_ns + silent_s * 10**9)
        assert interval is not None
        widths.append(interval[1] - interval[0])
    assert widths == sorted(widths)
    assert widths[0] < 3e6
    assert widths[-1] > 1e9  # an hour, and up to 2000 us a second for all we know
    assert clock.interval(STREAM) == clock.interval(STREAM, 0) == clock.interval(STREAM, last_ns)


def test_one_edge_by_hand() -> None:
    """A line known to be level: the posterior of gap, exponent and scale alone, summed on a fine grid."""
    delays = np.array([5.0, 1.0, 2.5, 1.2, 7.0, 3.0])
    points = [(250_000_000 * i, int(1e6 * delay)) for i, delay in enumerate(delays)]
    unrest = 2.0
    gap = np.geomspace(1e-5, 1e3, 1_500)
    scale = np.geomspace(1e-3, 1e5, 600)[:, None]
    weight = np.zeros_like(gap)
    for a in 2.0 ** (0.5 * np.arange(8)):
        x = ((delays - 1.0)[:, None, None] + gap) / scale
        likelihood = np.prod(a / scale * x ** (a - 1) * np.exp(-(x**a)), axis=0)
        # s^-a is Gamma(1/a, unrest^a): in s, even steps of its log, that is (unrest/s) exp(-(unrest/s)^a) a/Gamma(1/a).
        prior = unrest / scale * np.exp(-((unrest / scale) ** a)) * a / math.gamma(1 / a)
        weight += (likelihood * prior).sum(axis=0)
    weight *= gap  # the grid is even in the gap's log
    share = np.cumsum(weight) / weight.sum()
    high, low = (1.0 - gap[np.searchsorted(share, p)] for p in (0.025, 0.975))
    found = envelope_interval(points, points[-1][0], unrest * 1e6, 1e-12)
    assert found[1] / 1e6 == pytest.approx(high, abs=0.03)
    assert found[0] / 1e6 == pytest.approx(low, rel=0.12)


def on_a_grid(points: list[tuple[int, int]], at_ns: int, unrest_ns: float, max_slope: float) -> list[float]:
    """2.5 % and 97.5 % of the edge at a time, summed over even grids of b, c, a and the log of the gap, ns.

    The scale is integrated out by the formula at the top of clock_interval.py.
    """
    times, delays = np.array(points, float).T
    middle, half = (times[-1] + times[0]) / 2, (times[-1] - times[0]) / 2
    u, at = (times - middle) / half, (at_ns - middle) / half
    limit = max_slope * half
    level = max_slope < 1e-9
    b = np.linspace(-limit, limit, 1 if level else 121)
    c = np.linspace(-limit / 2, limit / 2, 61) if len(points) >= 4 and not level else np.zeros(1)
    b, c = (grid.ravel() for grid in np.meshgrid(b, c))
    above = delays - b[:, None] * u - c[:, None] * u**2  # of q = 0
    lowest = above.min(axis=1, keepdims=True)
    gap = unrest_ns * np.geomspace(1e-4, 3e2, 2_000 if level else 80)
    x = (above - lowest)[:, None, :] + gap[:, None]
    m, log_weight = len(points), np.full(x.shape[:2], -np.inf)
    for a in 2.0 ** (0.5 * np.arange(8)):
        total = np.log(1.0 + ((x / unrest_ns) ** a).sum(axis=2))
        log_l = m * np.log(a) + (a - 1) * np.log(x / unrest_ns).sum(axis=2) - (m + 1 / a) * total
        log_weight = np.logaddexp(log_weight, log_l + math.lgamma(m + 1 / a) - math.lgamma(1 / a))
    weight = np.exp(log_weight - log_weight.max()) * gap  # the grid is even in the gap's log
    edge = (lowest + (b * at + c * at**2)[:, None]) - gap
    order = np.argsort(edge, axis=None)
    share = np.cumsum(weight.ravel()[order])
    return edge.ravel()[order[np.searchsorted(share, np.array([0.025, 0.975]) * share[-1])]].tolist()


LINE = [(0, 300_000), (250_000_000, 0), (500_000_000, 100_000)]
BEND = [(250_000_000 * i, 40_000 * (i - 4) ** 2 + (0, 90_000, 20_000)[i % 3]) for i in range(9)]
MANY = [(250_000_000 * i, int(-1e5 * math.log((37 * i % 60 + 0.5) / 60))) for i in range(60)]
"""Sixty quantiles of an exponential law, in disorder."""
STEEP = [(250_000_000 * i, -200_000 * i + (50_000, 0, 150_000, 20_000)[i % 4]) for i in range(6)]


@pytest.mark.parametrize(
    ("points", "later_ns", "unrest", "max_slope"),
    [
        (LINE, 0, 2e5, 1e-3), (LINE, 400_000_000, 1e5, 3e-4), (BEND, 0, 5e4, 2e-4), (BEND, 300_000_000, 5e4, 1e-3),
        (BEND, 300_000_000, 5e4, 4e-4), (BEND[:4], 0, 5e4, 1e-3), (STEEP, 500_000_000, 1e5, 1e-3),
        (MANY, 0, 1e5, 1e-12),
    ],
)  # fmt: skip
def test_intervals_of_lines_and_bends_are_those_summed_on_a_grid(
    points: list[tuple[int, int]], later_ns: int, unrest: float, max_slope: float
) -> None:
    """Far from 0 in time and delay. The far end lies where shapes are few, and gaps of the code are steps of 1.4."""
    moved = [(time + 10**18, delay - 7_000_000_000) for time, delay in points]
    low, high = on_a_grid(points, points[-1][0] + later_ns, unrest, max_slope)
    found = envelope_interval(moved, moved[-1][0] + later_ns, unrest, max_slope)
    assert found[0] + 7e9 == pytest.approx(low, abs=(0.15 if points is MANY else 0.05) * (high - low))
    assert found[1] + 7e9 == pytest.approx(high, abs=0.02 * (high - low))


def test_no_interval_is_narrower_than_a_microsecond() -> None:
    low, high = envelope_interval([(0, 5_000), (250_000_000, 5_000)] * 30, 250_000_000, 1.0, 1e-9)
    assert high - low == pytest.approx(1_000.0, rel=1e-9)
    assert low < 5_000 < high + 1_000


def test_long_windows_keep_the_lowest_of_every_few() -> None:
    points = [(i, (7 * i) % 10) for i in range(129)]
    assert _thinned(points[:64]) == points[:64]
    assert [len(_thinned(points[:count])) for count in (65, 128, 129)] == [33, 64, 43]
    assert _thinned(points)[:3] == [(0, 0), (3, 1), (6, 2)]


def test_shapes_are_looked_for_about_the_least_squares() -> None:
    """Delays 0, 1, 5 at u = -1, 0, 1: slope 5/2, residuals 1/2, -1, 1/2, so a variance of 3/2 with one to spare."""
    basis, delays = np.array([[-1.0], [0.0], [1.0]]), 1e6 * np.array([0.0, 1.0, 5.0])
    mean, spread = _least_squares(basis, delays, np.array([1e12]), 2e6)
    assert mean.tolist() == pytest.approx([2.5e6])
    assert spread.ravel().tolist() == pytest.approx([1.5e12 / 2])
    # Four points leave two to spare: residuals -1, 1, -2, 2, a variance of 10 / 2, and of the slope a quarter of that.
    four = np.array([[-1.0], [-1.0], [1.0], [1.0]])
    mean, spread = _least_squares(four, 1e6 * np.array([0.0, 2.0, 4.0, 8.0]), np.array([1e12]), 2e6)
    assert mean.tolist() == pytest.approx([2.5e6])
    assert spread.ravel().tolist() == pytest.approx([5e12 / 4])
    # A slope of at most 3: one third of that squared is its variance beforehand, and 4 that of the noise.
    mean, spread = _least_squares(basis[::2], delays[::2], np.array([3e6]), 2e6)
    share = (2 / 4) / (2 / 4 + 3 / 9)
    assert mean.tolist() == pytest.approx([2.5e6 * share])
    assert spread.ravel().tolist() == pytest.approx([1e12 / (2 / 4 + 3 / 9)])
    assert _least_squares(basis, -4e6 * basis[:, 0], np.array([1e6]), 1e3)[0].tolist() == [-1e6]
    assert _least_squares(basis, 1e6 * basis[:, 0], np.array([1e12]), 2e6)[1].item() == pytest.approx(1e6 / 2)


def test_a_long_window_takes_no_more_memory() -> None:
    draw = np.random.default_rng(0)
    points = [(250_000_000 * i, int(delay)) for i, delay in enumerate(draw.exponential(1e6, 100_000))]
    low, high = envelope_interval(points, points[-1][0], 1e6, 1e-3)
    assert low < 100.0 < high + 2_000.0
    assert high - low < 1e5


@pytest.mark.parametrize("drift_ppm", [-5.0, 0.0, 40.0])
def test_drift_interval(drift_ppm: float) -> None:
    """Straight lines with independent errors: about 95 of 100."""
    draw = np.random.default_rng(3)
    inside = 0
    for _ in range(200):
        run = RunSlope()
        for i in range(30):
            run.add((i * 1_000_000_000, int(drift_ppm * 1e3 * i + draw.normal(0, 2e5))))
        interval = run.slope_interval()
        assert interval is not None
        inside += interval[0] <= drift_ppm * 1e-6 <= interval[1]
    assert 183 <= inside <= 200


def test_drift_interval_by_hand() -> None:
    run = RunSlope()
    for i, delay in enumerate((0, 2, 1, 3)):
        run.add((i * 1_000_000_000, delay * 1_000_000))
        if i < 2:
            assert run.slope_interval() is None
    # Slope 0.8 ms/s; residuals -0.3, 0.9, -0.9, 0.3 ms: they alternate, so all four count. 1.8 / 2 / 5 is 0.18.
    low, high = run.slope_interval() or (0.0, 0.0)
    assert (low + high) / 2 == pytest.approx(0.8e-3)
    assert (high - low) / 2 == pytest.approx(4.303 * 0.18**0.5 * 1e-3)


def test_a_clock_that_wanders_has_a_wide_drift_interval() -> None:
    made = feed(swing(30.0, 120.0), "exponential", 180.0, 100)
    clock = VenueClock(ONE)
    clock.update(made.ticks)
    facts = clock.summary()[STREAM]
    low, high = facts["clock_drift_ci_ppm"]
    assert low < 0.0 < high
    assert low < facts["clock_drift_ppm"] < high


def test_slope_of_a_run_leaves_out_the_blocks_that_are_partly_seen() -> None:
    """50 ppm, and the first and the last block miss their lowest message."""
    run = RunSlope()
    for second in range(10):
        run.add((second * 10**9 + 1, 50_000 * second + (10**7 if second in (0, 9) else 0)))
    assert run.slope() == pytest.approx(5e-5)


def test_blocks_of_a_run_double_past_32() -> None:
    run, found = RunSlope(), {}
    for second in range(65):
        run.add((second * 10**9, 0))
        found[second + 1] = len(run.points()), run.block_ns // 10**9
    assert [found[seconds] for seconds in (32, 33, 64, 65)] == [(32, 1), (17, 2), (32, 2), (17, 4)]


def test_interval_of_a_slope_counts_blocks_that_follow_each_other_as_fewer() -> None:
    """By the formula, written out: residuals that swing slowly make a wider interval than the same ones shuffled."""
    seconds = np.arange(25)
    swing = np.rint(1e6 * np.sin(seconds / 4.0))
    widths = []
    for rest in (swing, np.random.default_rng(1).permutation(swing)):
        run = RunSlope()
        for second, delay in zip(seconds.tolist(), rest.tolist(), strict=True):
            run.add((second * 10**9, int(delay)))
        t, y = seconds[1:-1] * 1e9, rest[1:-1]
        slope, base = np.polyfit(t, y, 1)
        left = y - slope * t - base
        rho = max(0.0, sum(a * b for a, b in itertools.pairwise(left)) / sum(left**2))
        free = len(t) * (1 - rho) / (1 + rho) - 2
        quantile = {1: 12.706, 13: 2.160}[max(1, int(free))]  # of Student's t, from a table
        error = np.sqrt(sum(left**2) / max(free, 1.0) / sum((t - t.mean()) ** 2))
        low, high = run.slope_interval() or (np.nan, np.nan)
        assert [low, high] == pytest.approx([slope - quantile * error, slope + quantile * error])
        widths.append(high - low)
    assert widths[0] > 3 * widths[1]
