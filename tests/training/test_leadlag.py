"""Lead-lag of a pair: orientation, peaks, ratios, intervals, and the truth of a known experiment."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from schwabot.errors import ConfigError, DataError
from schwabot.training.leadlag import LagGrid, LeadLag, LeadLagConfig, _Resamples, lead_lag
from schwabot.training.price_series import Series, to_series

MS = 1_000_000


def by_hand(swapped: bool) -> LeadLag:
    """The pair of tests/kernels/test_leadlag.py in ms: |U| at -5, 0, 5 ms is 1, 1, 4; dX^2 and dY^2 sum to 5."""
    x = to_series(np.array([0, 10, 30]) * MS, [10.0, 12.0, 13.0], "x", returns="simple")
    y = to_series(np.array([5, 12, 40]) * MS, [10.0, 11.0, 9.0], "y", returns="simple")
    return lead_lag(*((y, x) if swapped else (x, y)), LagGrid.of(max_lag_s=0.005, step_ms=5.0), clock="event")


@pytest.mark.parametrize("swapped", [False, True])
def test_orientation_and_ratios_by_hand(swapped: bool) -> None:
    found = by_hand(swapped)
    assert (found.leader, found.follower, found.lag_ms, found.clock) == ("x", "y", 5.0, "event")
    assert found.contrast == pytest.approx(4 / 5)
    assert (found.ratio, found.ratio_sq) == pytest.approx((4.0, 16.0))
    signed = [-1 / 5, 1 / 5, -4 / 5]
    assert found.curve.tolist() == pytest.approx(signed[::-1] if swapped else signed)
    assert found.lags_ms.tolist() == [-5.0, 0.0, 5.0]
    assert found.edge
    assert found.confidence is None
    assert found.lead_seen is None
    assert (found.n_x, found.n_y, found.moves_x, found.moves_y) == (3, 3, 2, 2)
    assert found.overlap_s == pytest.approx(0.025)


def test_the_curve_is_that_of_the_pair_as_given() -> None:
    found = by_hand(swapped=True)
    assert (found.x, found.y) == ("y", "x")
    assert found.lags_ms[np.argmax(np.abs(found.curve))] == -5.0  # y is first, and it follows


def walk(seed: int, lag: int, n: int = 4_000, of_x: int = 900, of_y: int = 1_500) -> tuple[Series, Series]:
    """Y does ``lag`` ms later what X does; both are seen at random ms."""
    rng = np.random.default_rng(seed)
    path = np.cumsum(rng.normal(size=n + 2 * abs(lag)))
    time_x, time_y = (np.sort(rng.choice(n, count, replace=False)) for count in (of_x, of_y))
    x = to_series(time_x * MS, path[time_x + abs(lag)], "x", returns="simple")
    y = to_series(time_y * MS, path[time_y + abs(lag) - lag], "y", returns="simple")
    return x, y


@pytest.mark.parametrize(("lag", "leader"), [(30, "x"), (-30, "y")])
def test_leader_on_random_times_either_way(lag: int, leader: str) -> None:
    for pair in (walk(1, lag), walk(1, lag)[::-1]):
        found = lead_lag(*pair, LagGrid.of(0.1, 1.0))
        assert (found.leader, found.edge, found.disagree) == (leader, False, False)
        assert abs(found.lag_ms - 30) <= 1
        assert found.confidence == 1.0
        low, high = found.lag_ci_ms or (math.nan, math.nan)
        assert 27 <= low <= found.lag_ms <= high <= 33
        assert (found.contrast_ci or (math.nan,))[0] > 0.5
        assert found.ratio > 1.0
        assert abs(found.correlation) <= 1.0


@pytest.mark.parametrize("swapped", [False, True])
def test_intervals_hold_what_they_are_of(swapped: bool) -> None:
    """Y in other units, so that no norm can take one stream's moves for the other's."""
    x, y = walk(4, 30)
    y = to_series(y.ts_ns, 100.0 * y.value, "y", returns="simple")
    found = lead_lag(*((y, x) if swapped else (x, y)), LagGrid.of(0.1, 1.0))
    for value, interval in (
        (found.lag_ms, found.lag_ci_ms),
        (found.contrast, found.contrast_ci),
        (found.ratio, found.ratio_ci),
    ):
        assert interval is not None
        assert interval[0] <= value <= interval[1]
    assert found.ratio_ci is not None
    assert found.ratio_ci[0] > 1.0


def test_intervals_hold_95_percent() -> None:
    draws = np.arange(1_001.0)
    assert _Resamples(draws, draws, draws, 20).interval(draws) == (25.0, 975.0)


@pytest.mark.parametrize("swapped", [False, True])
def test_time_that_one_of_them_covers_alone_changes_nothing(swapped: bool) -> None:
    """X joined for the tenth of Y's day in the middle: moves of Y that can meet none of X's are no reason for doubt."""
    rng = np.random.default_rng(6)
    path = np.cumsum(rng.normal(size=40_100))
    time_y = np.sort(rng.choice(40_000, 12_000, replace=False))
    time_x = np.sort(rng.choice(np.arange(18_000, 22_000), 1_000, replace=False))
    x = to_series(time_x * MS, path[time_x + 30], "x", returns="simple")
    y = to_series(time_y * MS, path[time_y], "y", returns="simple")
    first, last = (int(np.searchsorted(time_y, at)) for at in (time_x[0] - 100, time_x[-1] + 101))
    beside = np.arange(first - 1, last + 1)
    y_beside = to_series(time_y[beside] * MS, path[time_y[beside]], "y", returns="simple")
    whole, cut = (lead_lag(*((other, x) if swapped else (x, other)), LagGrid.of(0.1, 1.0)) for other in (y, y_beside))
    assert (whole.leader, whole.lag_ms, whole.ratio) == (cut.leader, cut.lag_ms, pytest.approx(cut.ratio))
    assert whole.contrast == pytest.approx(cut.contrast, rel=0.02)
    assert whole.correlation == pytest.approx(cut.correlation, rel=0.05)
    assert whole.contrast > 0.8
    assert whole.confidence == 1.0
    assert whole.contrast_ci is not None
    assert whole.contrast_ci[0] <= whole.contrast <= whole.contrast_ci[1]
    assert whole.contrast_ci[1] - whole.contrast_ci[0] < 0.3


@pytest.mark.parametrize("gap_ms", [101, 10_000])
def test_series_further_apart_than_the_longest_lag_are_refused(gap_ms: int) -> None:
    x = to_series(np.arange(100) * MS, np.arange(100.0), "x", returns="simple")
    y = to_series((np.arange(100) + 99 + gap_ms) * MS, np.arange(100.0), "y", returns="simple")
    for pair in ((x, y), (y, x)):
        with pytest.raises(DataError, match=r"no moves in common at any lag up to 0\.1 s"):
            lead_lag(*pair, LagGrid.of(0.1, 1.0))


def test_blocks_are_neither_too_many_nor_too_short() -> None:
    """A price a second: 500 blocks at most, and 10 prices in each of them."""
    for seconds, block_s in ((6_000, 12.0), (100, 10.0)):
        path = np.cumsum(np.random.default_rng(0).normal(size=seconds + 1))
        x, y = (to_series(np.arange(seconds + 1) * 1_000 * MS, path, name, returns="simple") for name in "xy")
        found = lead_lag(x, y, LagGrid.of(2.0, 1_000.0), LeadLagConfig(block_s=1.0, draws=0))
        assert found.block_s == pytest.approx(block_s)


def test_a_grid_of_more_lags_than_allowed_is_refused() -> None:
    assert len(LagGrid.of(10.0, 1.0).lags_ns()) == 20_001
    with pytest.raises(ConfigError, match="makes 20,003 lags, more than 20,001"):
        LagGrid.of(10.001, 1.0)


def test_lag_zero_is_ordered_by_the_ratio_and_nobody_is_sure() -> None:
    """The curve leans one way in every resample, and peaks at 0 in all of them: that is no lead."""
    x, y = walk(3, 0)
    found = lead_lag(x, y, LagGrid.of(0.1, 1.0))
    assert found.lag_ms == 0.0
    assert found.ratio >= 1.0
    assert lead_lag(y, x, LagGrid.of(0.1, 1.0)).leader == found.leader
    assert (found.lag_ci_ms, found.confidence, found.reverse_confidence) == ((0.0, 0.0), 0.0, 0.0)
    assert found.lead_seen is False
    assert lead_lag(x, y, LagGrid.of(0.1, 1.0), LeadLagConfig(draws=0)).lead_seen is False


def test_shares_are_those_of_the_peaks_and_one_that_holds_zero_shows_no_lead() -> None:
    """Y follows by 30 ms for four seconds; for four more it leads by 20 ms, is level, or follows still."""
    for last_lag, seen in ((-20, False), (0, False), (30, True)):
        x, y = (joined_in_time(*parts) for parts in zip(walk(1, 30), walk(2, last_lag), strict=True))
        found = lead_lag(x, y, LagGrid.of(0.1, 1.0), LeadLagConfig(draws=400))
        assert found.lag_ci_ms is not None
        assert found.confidence is not None
        assert found.reverse_confidence is not None
        assert found.lead_seen is seen
        assert (found.lag_ci_ms[0] > 0) is seen
        level = 1.0 - found.confidence - found.reverse_confidence
        assert (found.reverse_confidence > 0.05, level > 0.05) == (last_lag < 0, last_lag == 0)


def joined_in_time(first: Series, second: Series) -> Series:
    """The second after the first, at the price at which that ended."""
    time = np.concatenate([first.ts_ns, second.ts_ns + 4_100 * MS])
    value = np.concatenate([first.value, second.value - second.value[0] + first.value[-1]])
    return to_series(time, value, first.name, returns="simple")


def test_a_lag_beyond_the_grid_shows_at_its_edge() -> None:
    x, y = walk(2, 30)
    assert not lead_lag(x, y, LagGrid.of(0.034, 1.0)).edge
    for pair in ((x, y), (y, x)):
        found = lead_lag(*pair, LagGrid.of(0.028, 1.0))
        assert (found.leader, found.lag_ms, found.edge) == ("x", 28.0, True)


def test_contrast_and_correlation_that_part_are_reported() -> None:
    """Few stamps meet within bins of 1 ms, so the correlation peaks anywhere; of 10 ms, they tell 1 from -1 by luck."""
    near, few = walk(5, 40), walk(0, 40, of_x=150, of_y=150)
    grid = LagGrid.of(0.1, 1.0)
    found = lead_lag(*near, grid)
    assert not found.disagree
    assert found.bin_ms == pytest.approx(max(found.refresh_x_ms, found.refresh_y_ms), abs=1e-5)
    apart = lead_lag(*few, grid, LeadLagConfig(bin_ms=1.0))
    assert (apart.bin_ms, apart.lag_ms, apart.correlation_lag_ms, apart.disagree) == (1.0, 43.0, 65.0, True)
    other_side = lead_lag(*walk(9, 1), grid, LeadLagConfig(bin_ms=10.0))
    assert (other_side.lag_ms, other_side.correlation_lag_ms, other_side.disagree) == (1.0, -1.0, True)
    assert other_side.lag_ci_ms == (1.0, 1.0)  # sure of itself, and no lead for that
    assert other_side.lead_seen is False
    assert lead_lag(*walk(9, 1), grid, LeadLagConfig(bin_ms=10.0, draws=0)).lead_seen is False


def test_correlations_are_those_of_bins_counted_by_hand() -> None:
    """Moves that meet in one bin, the bins from before the earliest that any lag reaches, Y's moved on by the lag."""
    (x, y), width, reach = walk(7, 30, n=600, of_x=100, of_y=150), 7, 20
    found = lead_lag(x, y, LagGrid.of(reach / 1e3, 4.0), LeadLagConfig(bin_ms=width, draws=0))
    origin = int(x.ts_ns[0]) - width * MS // 2  # the first price of X in the middle of a bin
    while origin > y.ts_ns[0] - reach * MS:
        origin -= width * MS
    for lag_ms, correlation in zip(found.lags_ms.tolist(), found.correlations.tolist(), strict=True):
        bins: list[dict[int, float]] = [{}, {}]
        for moves, one, shift in zip(bins, (x, y), (0, round(lag_ms * MS)), strict=True):
            for time, move in zip(one.ts_ns[1:].tolist(), np.diff(one.value).tolist(), strict=True):
                number = (time - shift - origin) // (width * MS)
                moves[number] = moves.get(number, 0.0) + move
        product = sum(move * bins[1].get(number, 0.0) for number, move in bins[0].items())
        energy = math.prod(sum(move**2 for move in moves.values()) for moves in bins)
        assert correlation == pytest.approx(product / math.sqrt(energy))


def test_returns_on_a_coarse_clock_peak_in_the_middle_of_the_plateau() -> None:
    """On whole seconds no lag between two of them can be told from another: off by half a second at most."""
    for seed in range(20):
        path = 100.0 + np.cumsum(np.random.default_rng(seed).normal(size=1_206)) / 10
        time = np.arange(1_200) * 1_000 * MS
        x, y = to_series(time, path[5:1205], "x"), to_series(time, path[:1200], "y")
        found = lead_lag(x, y, LagGrid.of(30.0, 100.0), LeadLagConfig(draws=0))
        assert found.leader == "x"
        assert abs(found.lag_ms - 5_000) <= 500


def on_common_stamps(seed: int, ma: float, lag_s: int, n: int = 600) -> tuple[Series, Series]:
    """A price a second whose moves are white noise plus ``ma`` times the one before, and an exact copy later."""
    noise = np.random.default_rng(seed).normal(size=n + 1)
    price = 60_000.0 + np.cumsum(noise[1:] + ma * noise[:-1])
    time = np.arange(n) * 1_000 * MS
    return to_series(time, price, "x"), to_series(time + lag_s * 1_000 * MS, price, "y")


@pytest.mark.parametrize("ma", [0.0, 0.3, 1.0, -0.3])
@pytest.mark.parametrize("step_ms", [100.0, 300.0])
def test_an_exact_shift_on_common_stamps_is_found_to_a_step(ma: float, step_ms: float) -> None:
    """U is level for a second on either side of it, with a notch or a spike between, and the two sides differ."""
    grid = LagGrid.of(30.0, step_ms)
    for seed in range(8):
        for late in (on_common_stamps(seed, ma, 2), on_common_stamps(seed, ma, 2)[::-1]):
            found = lead_lag(*late, grid, LeadLagConfig(draws=100))
            assert (found.leader, found.lead_seen, found.disagree) == ("x", True, False)
            assert abs(found.lag_ms - 2_000) <= step_ms
            assert abs(found.correlation_lag_ms - 2_000) <= step_ms
            assert found.lag_ci_ms is not None
            assert found.lag_ci_ms[1] - found.lag_ci_ms[0] <= 2 * step_ms
        same = lead_lag(*on_common_stamps(seed, ma, 0), grid, LeadLagConfig(draws=100))
        assert (same.lag_ms, same.correlation_lag_ms, same.lead_seen, same.disagree) == (0.0, 0.0, False, False)


@pytest.mark.parametrize(("lag_ms", "wanted_ms"), [(2_500, 2_500), (2_100, 2_000), (2_900, 3_000)])
def test_a_lag_between_common_stamps_is_found_to_a_quarter_of_them(lag_ms: int, wanted_ms: int) -> None:
    """A path of 100 ms seen on whole seconds: half way the plateau between the two stamps, else the nearer stamp."""
    for seed in range(8):
        path = np.cumsum(np.random.default_rng(seed).normal(size=20_100))
        seen = np.arange(2_000) * 10 + 50
        x, y = (
            to_series(np.arange(2_000) * 1_000 * MS, path[seen - late], name, returns="simple")
            for name, late in (("x", 0), ("y", lag_ms // 100))
        )
        found = lead_lag(x, y, LagGrid.of(30.0, 100.0), LeadLagConfig(draws=0))
        assert (found.leader, found.lag_ms) == ("x", wanted_ms)


def test_stamps_a_few_ms_off_the_second_find_the_shift_too() -> None:
    for seed in range(8):
        rng = np.random.default_rng(seed)
        x, y = on_common_stamps(seed, 0.3, 2)
        jittered = (Series(one.name, one.ts_ns + rng.integers(0, 40, 600) * MS, one.value, 600) for one in (x, y))
        found = lead_lag(*jittered, LagGrid.of(30.0, 100.0), LeadLagConfig(draws=0))
        assert abs(found.lag_ms - 2_000) <= 100


def test_a_seed_gives_one_answer_and_the_blocks_are_said() -> None:
    x, y = walk(7, 10)
    grid, config = LagGrid.of(0.05, 1.0), LeadLagConfig(draws=50, seed=3)
    first, again = lead_lag(x, y, grid, config), lead_lag(x, y, grid, config)
    assert first.entry() == again.entry()
    assert first.blocks == 20
    assert first.block_s == pytest.approx(x.span_ns / 1e9 / 20)


def test_no_lead_is_not_sure() -> None:
    x, _ = walk(11, 0)
    _, y = walk(12, 0)
    sure = lead_lag(x, y, LagGrid.of(0.1, 1.0)).confidence
    assert sure is not None
    assert sure < 0.99


def test_series_without_a_common_time_are_refused() -> None:
    x, y = walk(1, 0)
    later = Series("y", y.ts_ns + 10**12, y.value, y.observations)
    with pytest.raises(
        DataError, match=r"x \(1970-01-01T00:00:00.* to .*Z\) and y \(1970-01-01T00:16:40.*\) have no moves in common"
    ):
        lead_lag(x, later, LagGrid.of(0.1, 1.0))


def test_progress_comes_to_its_end_and_may_stop_it() -> None:
    told: list[float] = []
    lead_lag(*walk(1, 5), LagGrid.of(0.1, 1.0), progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0

    def stop(share: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        lead_lag(*walk(1, 5), LagGrid.of(0.1, 1.0), progress=stop)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"price": "bid"}, "leadlag.price=bid is not a choice; use auto, mid or last"),
        ({"returns": "arithmetic"}, "use log or simple"),
        ({"max_lag_s": -1.0}, "leadlag.max_lag_s=-1.0 is out of range"),
        ({"max_lag_s": math.nan}, "out of range"),
        ({"draws": -1}, "leadlag.draws"),
        ({"step_ms": 2000.0, "max_lag_s": 1.0}, "longer than leadlag.max_lag_s=1"),
        ({"step_ms": 0.01, "max_lag_s": 30.0}, "makes 6,000,001 lags"),
    ],
)
def test_settings_that_cannot_be_used(settings: dict[str, float], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        LeadLagConfig(**settings).check()  # type: ignore[arg-type]


def test_grid_of_slow_prices_is_the_coarse_one() -> None:
    assert LeadLagConfig().grid(99.0) == LagGrid.of(1.0, 10.0)
    assert LeadLagConfig().grid(1_000.0) == LagGrid.of(30.0, 100.0)
    assert LeadLagConfig(max_lag_s=30.0, step_ms=100.0).grid(5.0).side == 300
    assert LagGrid.of(0.3, 100.0).side == 3  # 0.3 s is three steps, though 0.3 / 0.1 is less than 3


def brownian(seed: int, rho: float) -> tuple[Series, Series]:
    """The experiment of Hoffmann, Rosenbaum and Yoshida: N = 10,000, lag 200, 500 and 3,000 samples. 1 = 1 ms."""
    n, lag = 10_000, 200
    rng = np.random.default_rng(seed)
    leads, own = np.cumsum(rng.normal(size=(2, n + lag)), axis=1)
    follows: npt.NDArray[np.float64] = rho * leads + math.sqrt(1 - rho**2) * own
    time_x, time_y = (np.sort(rng.choice(n, count, replace=False)) for count in (500, 3_000))
    x = to_series(time_x * MS, leads[time_x + lag], "leader", returns="simple")
    return x, to_series(time_y * MS, follows[time_y], "follower", returns="simple")


def share_within_two_steps(rho: float, seeds: int) -> float:
    """On a grid of 400 to either side."""
    grid, config = LagGrid.of(0.4, 1.0), LeadLagConfig(draws=0)
    hits = 0
    for seed in range(seeds):
        found = lead_lag(*brownian(seed, rho), grid, config)
        hits += found.leader == "leader" and abs(found.lag_ms - 200) <= 2
    return hits / seeds


def test_known_lag_of_brownian_paths() -> None:
    assert share_within_two_steps(0.8, seeds=20) == 1.0


@pytest.mark.slow
@pytest.mark.parametrize(("rho", "share"), [(0.8, 0.99), (0.5, 0.90)])
def test_known_lag_of_many_brownian_paths(rho: float, share: float) -> None:
    assert share_within_two_steps(rho, seeds=200) >= share
