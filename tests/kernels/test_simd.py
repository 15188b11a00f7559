"""Vectors against numbers: every lane says what numpy says, to the bit. The transform against its matrix."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit
from numba.core.errors import TypingError

from schwabot_kernels.arrays import aligned_zeros
from schwabot_kernels.blocks import load_all, store_all, wide
from schwabot_kernels.registry import hash as hashing
from schwabot_kernels.scalar import exp_neg, log_pos
from schwabot_kernels.simd import (
    any_lane,
    as_doubles,
    count_lanes,
    gather,
    lanes_from,
    largest,
    load,
    padded,
    splat,
    store,
    total,
    transposed,
    unknown,
    where,
)

NAN, INF = np.nan, np.inf
A = np.array([1.0, -2.0, NAN, INF])
B = np.array([1.0, 3.0, 0.0, NAN])


@njit
def _arithmetic(a: Any, b: Any, out: Any) -> None:
    x, y = load(a, 0), load(b, 0)
    store(out, 0, x + y)
    store(out, 4, x - 2)
    store(out, 8, 3.0 * x)
    store(out, 12, x / y)
    store(out, 16, -x)
    store(out, 20, abs(x))
    store(out, 24, max(x, y))
    store(out, 28, min(x, y))
    store(out, 32, max(0.0, x))


def test_arithmetic() -> None:
    out = np.empty(36)
    _arithmetic(A, B, out)
    # As Python's max and min: the second where it is beyond the first, so NaN stays where it is first.
    expected = [
        *(A + B), *(A - 2), *(3 * A), 1.0, -2 / 3, NAN, NAN, -1.0, 2.0, NAN, -INF, 1.0, 2.0, NAN, INF,
        1.0, 3.0, NAN, INF, 1.0, -2.0, NAN, INF, 1.0, 0.0, 0.0, INF,
    ]  # fmt: skip
    np.testing.assert_array_equal(out, expected)


@njit
def _compare(a: Any, b: Any, out: Any) -> None:
    x, y = load(a, 0), load(b, 0)
    store(out, 0, x < y)
    store(out, 4, x <= y)
    store(out, 8, x > y)
    store(out, 12, x >= y)
    store(out, 16, x == y)
    store(out, 20, x != y)
    store(out, 24, (x == y) | ~(x <= y))
    store(out, 28, (x != y) & (x <= y))


def test_comparisons_with_nan() -> None:
    out = np.empty(32, np.int8)
    _compare(A, B, out)
    less, equal = A < B, A == B
    expected = [less, A <= B, A > B, A >= B, equal, A != B, equal | ~(A <= B), (A != B) & (A <= B)]
    np.testing.assert_array_equal(out, np.concatenate(expected))


@njit
def _whole_numbers(a: Any, small: Any, out: Any) -> None:
    x = load(a, 0)
    store(out, 0, x + lanes_from(5))
    store(out, 4, (x << 3) - 1)
    store(out, 8, x >> 1)
    store(out, 12, (x & 3) * 7)
    store(out, 16, max(min(x, 9), 0))
    store(out, 20, load(small, 0))
    store(small, 0, x)


def test_whole_numbers() -> None:
    a, small, out = np.array([-3, 2, 127, 9]), np.array([1, -1, 0, -128], np.int8), np.empty(24, np.int64)
    _whole_numbers(a, small, out)
    expected = [a + np.arange(5, 9), 8 * a - 1, [-2, 1, 63, 4], [7, 14, 21, 7], [0, 2, 9, 9], [1, -1, 0, -128]]
    np.testing.assert_array_equal(out, np.concatenate(expected))
    assert small.tolist() == [-3, 2, 127, 9]


@njit
def _across(a: Any, index: Any, out: Any) -> tuple[float, float, int, bool, bool]:
    x = load(a, 0)
    store(out, 0, where(x > 2.0, x, -1.0))
    store(out, 4, where(x > 2.0, splat(7.0), x))
    store(out, 8, gather(a, load(index, 0)))
    store(out, 12, as_doubles(lanes_from(2)))
    return total(x), largest(x), count_lanes(x > 2.0), any_lane(x > 4.0), any_lane(x > 3.0)


def test_across_lanes() -> None:
    a, out = np.array([1.0, 2.0, 3.0, 4.0, 50.0]), np.empty(16)
    assert _across(a, np.array([4, 0, 0, 2]), out) == (10.0, 4.0, 2, False, True)
    assert out.tolist() == [-1, -1, 3, 4, 1, 2, 7, 7, 50, 1, 1, 3, 2, 3, 4, 5]


@njit
def _small_numbers(bytes_: Any, words: Any, index: Any, out: Any, single: Any) -> Any:
    place = load(index, 0)
    store(out, 0, gather(bytes_, place))
    store(out, 4, gather(words, place))
    store(out, 8, load(words, 0))
    store(single, 1, as_doubles(load(words, 0)) * 0.1)
    return gather(bytes_, 1), gather(words, 2)


def test_small_numbers_keep_their_signs() -> None:
    """int8 and int32 as Longs, one by one and gathered; doubles rounded to float32, and nothing beyond them."""
    bytes_, words = np.array([1, -1, -128, 127], np.int8), np.array([-(2**31), 2**31 - 1, -5, 7], np.int32)
    out, single = np.empty(12, np.int64), np.full(6, 9.0, np.float32)
    assert _small_numbers(bytes_, words, np.array([3, 2, 1, 1]), out, single) == (-1, -5)
    assert out.tolist() == [127, -128, -1, -1, 7, -5, 2**31 - 1, 2**31 - 1, *words.tolist()]
    assert single.tolist() == [9.0, *(words * 0.1).astype(np.float32).tolist(), 9.0]


def test_lanes_beyond_the_streams_are_zero_where_streams_are_unknown() -> None:
    np.testing.assert_array_equal(unknown(5, rows=2), [[NAN] * 5 + [0.0] * 3] * 2)


@njit
def _functions(x: Any, lanes: Any, numbers: Any, logs: bool) -> None:
    for k in range(0, x.size, 4):
        store(lanes, k, log_pos(load(x, k)) if logs else exp_neg(load(x, k)))
    for k in range(x.size):
        numbers[k] = log_pos(x[k]) if logs else exp_neg(x[k])


@pytest.mark.parametrize(("logs", "units"), [(False, 2), (True, 3)])
def test_exp_and_log_say_the_same_in_lanes_and_are_right(logs: bool, units: int) -> None:
    rng = np.random.default_rng(3)
    small = 10.0 ** rng.uniform(-18, 0, 4_000)
    x = np.concatenate((10.0 ** rng.uniform(-300, 300, 4_000), 1 + small)) if logs else -np.concatenate(
        (rng.uniform(0, 700, 4_000), small, [0.0] * 4)
    )  # fmt: skip
    lanes, numbers = np.empty_like(x), np.empty_like(x)
    _functions(x, lanes, numbers, logs)
    np.testing.assert_array_equal(lanes, numbers)
    truth = (np.log if logs else np.exp)(x.astype(np.longdouble))
    assert np.abs((numbers - truth) / np.spacing(np.abs(truth.astype(float)))).max() < units
    assert logs or numbers[-1] == 1.0


@njit
def _turn(a: Any, out: Any) -> None:
    rows = transposed(load(a, 0), load(a, 4), load(a, 8), load(a, 12))
    for k in range(4):
        store(out, 4 * k, rows[k])


def test_transposed() -> None:
    out = np.empty(16)
    _turn(np.arange(16.0), out)
    np.testing.assert_array_equal(out.reshape(4, 4), np.arange(16.0).reshape(4, 4).T)


@pytest.mark.parametrize("streams", [1, 3, 4, 5, 8, 9])
@pytest.mark.parametrize("kind", [np.float64, np.int8])
def test_columns_go_through_blocks_unharmed(streams: int, kind: Any) -> None:
    rng = np.random.default_rng(streams)
    source = rng.integers(-100, 100, (streams, 30)).astype(kind)
    block, target = aligned_zeros((16, padded(streams)), kind), np.zeros_like(source)
    for first, n in ((0, 16), (16, 13)):
        load_all(source, first, n, block)
        store_all(block, first, n, target)
    np.testing.assert_array_equal(target[:, :29], source[:, :29])
    assert not target[:, 29].any()
    assert wide(source[:, 0]).tolist() == [*source[:, 0], *[0] * (padded(streams) - streams)]


@pytest.mark.parametrize("length", [8, 16, 32, 128])
def test_hadamard_matrices_are_orthogonal_signs(length: int) -> None:
    matrix = hashing.hadamard(length)
    assert set(np.unique(matrix)) == {-1.0, 1.0}
    np.testing.assert_array_equal(matrix @ matrix.T, length * np.eye(length))


@pytest.mark.parametrize(("bits", "tables"), [(4, 1), (8, 16), (16, 3), (32, 9), (42, 16)])
@pytest.mark.parametrize("streams", [1, 2, 4, 7])
def test_codes_are_signs_of_projections(streams: int, bits: int, tables: int) -> None:
    """Keys of small whole numbers, whose projections are exact; 0 counts as below."""
    rng, events = np.random.default_rng(5), 6
    z = rng.integers(-3, 4, (events, 5 * streams)).astype(np.float32)
    work = hashing.scratch(events, streams, bits, tables)
    work.scaled[:, : z.shape[1]] = z
    codes = np.zeros(events * tables + 16, np.int32 if bits <= 16 else np.int64)
    hashing.codes_of(events, bits, tables, hashing.random_signs(streams, bits, tables, seed=11), work, codes)
    above = np.einsum("nd,dbt->nbt", z, hashing.hyperplanes(streams, bits, tables, seed=11)) > 0.0
    keys = [[int("".join("01"[int(bit)] for bit in above[i, :, t]), 2) for t in range(tables)] for i in range(events)]
    said = codes[: events * tables].reshape(events, tables).astype(object) & (2**bits - 1)
    assert said.tolist() == keys
    assert ((codes[: events * tables].reshape(events, tables) < 0) == above[:, 0]).all()


def test_what_does_not_fit_is_refused_when_compiled() -> None:
    @njit
    def misread(a: Any) -> Any:
        return total(load(a, 0))

    @njit
    def miswrite(a: Any) -> None:
        store(a, 0, splat(1.0))

    with pytest.raises(TypingError, match="vectors lie in contiguous arrays"):
        misread(np.zeros((8, 8))[:, ::2])
    with pytest.raises(TypingError, match="does not fit"):
        miswrite(np.zeros(4, np.int64))
