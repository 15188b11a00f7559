"""Series of prices: what counts, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot.errors import BadPriceError, DataError, UnsortedTimeError
from schwabot.training.price_series import repeats, to_series
from schwabot_kernels.leadlag import cpu


def test_the_last_price_of_a_stamp_counts() -> None:
    one = to_series([10, 10, 20, 20, 20], [5.0, 1.0, 9.0, 9.0, 4.0], "a", returns="simple")
    assert (one.ts_ns.tolist(), one.value.tolist(), one.observations) == ([10, 20], [0.0, 3.0], 2)


def test_the_last_price_within_the_resolution_counts_with_its_own_stamp() -> None:
    one = to_series([10, 18, 19, 20, 41], [1.0, 2.0, 3.0, 5.0, 7.0], returns="simple", resolution_ns=10)
    assert (one.ts_ns.tolist(), one.value.tolist()) == ([19, 20, 41], [0.0, 2.0, 4.0])


def test_log_and_simple_returns() -> None:
    prices = [2.0, 4.0, 1.0]
    np.testing.assert_allclose(to_series([1, 2, 3], prices).value, np.log([1.0, 2.0, 0.5]))
    assert to_series([1, 2, 3], prices, returns="simple").value.tolist() == [0.0, 2.0, -1.0]
    assert to_series([1, 2], [-5.0, 3.0], returns="simple").value.tolist() == [0.0, 8.0]


@given(st.lists(st.integers(1, 3), min_size=2, max_size=30), st.lists(st.integers(1, 3), min_size=2, max_size=30))
def test_leaving_out_repeats_changes_no_contrast(x: list[int], y: list[int]) -> None:
    series = []
    for number, prices in enumerate((x, y)):
        time, values = np.arange(len(prices)) * (3 + number), np.array(prices, np.float64)
        kept = ~repeats(values)
        series.append(((time, values), (time[kept], values[kept])))
    lags, block = np.arange(-90, 91), np.zeros(30, np.int64)
    whole, thin = (cpu.contrast(*series[0][k], *series[1][k], lags, block[: len(series[0][k][0])], 1) for k in (0, 1))
    assert whole.tolist() == thin.tolist()


@pytest.mark.parametrize(
    ("time", "price", "error", "said"),
    [
        ([1, 2], [1.0], DataError, "one length"),
        ([1], [1.0], DataError, "a has 1 price at different times, and a move needs two: leave it out"),
        ([], [], DataError, "a has no prices at"),
        ([5, 5], [1.0, 2.0], DataError, "a has 1 price at"),
        ([1, 2, 3], [4.0, 4.0, 4.0], DataError, "a stays at 4: .*leave it out"),
        ([3, 2], [1.0, 2.0], UnsortedTimeError, "runs backwards after index 0"),
        ([1, 2], [1.0, float("nan")], BadPriceError, "price nan at index 1"),
        ([1, 2], [1.0, 0.0], BadPriceError, "returns=simple"),
    ],
)
def test_what_is_no_series_is_refused(time: list[int], price: list[float], error: type[DataError], said: str) -> None:
    with pytest.raises(error, match=said):
        to_series(time, price, "a")


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_dates_are_times_by_their_own_unit(unit: str) -> None:
    time = np.array(["2026-01-01T00:00:01", "2026-01-01T00:00:03"], f"datetime64[{unit}]")
    assert to_series(time, [1.0, 2.0]).ts_ns.tolist() == [1_767_225_601 * 10**9, 1_767_225_603 * 10**9]


@pytest.mark.parametrize(
    "time",
    [
        [1.0, 2.5],
        [1.0, np.nan],
        [1.0, np.inf],
        ["1", "2"],
        [True, False],
        [None, 2],
        np.array([1, 2**63 + 5], np.uint64),
        np.array(["2026-01-01", "NaT"], "datetime64[us]"),
        np.array(["2026-01-01", "3026-01-01"], "datetime64[s]"),
    ],
)
def test_times_that_would_have_to_be_cut_short_are_refused(time: object) -> None:
    with pytest.raises(DataError, match="a: "):
        to_series(time, [1.0, 2.0], "a")  # type: ignore[arg-type]


def test_whole_numbers_are_times_in_any_type() -> None:
    for kind in (np.int32, np.uint64):
        assert to_series(np.array([1, 20], kind), [1.0, 2.0]).ts_ns.tolist() == [1, 20]


def test_floats_are_no_times_and_what_to_give_is_said() -> None:
    with pytest.raises(DataError, match=r"a: times are float64, .*int64.* or datetime64; of seconds: np.round"):
        to_series(np.array([1.0, 2.0]), [1.0, 2.0], "a")


def test_prices_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(DataError, match="a: prices must be numbers"):
        to_series([1, 2], ["x", "y"], "a")
