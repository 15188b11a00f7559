"""Bad input is an error or a counted drop, never a repair."""

from __future__ import annotations

from dataclasses import fields, replace
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot import errors
from schwabot.records.instrument import Instrument
from schwabot.records.market import Kind, Ticks
from schwabot.ticks.validate import (
    BadInput,
    BadInputPolicy,
    check_ticks,
    price_problem,
    quantity_problem,
    row_errors,
    to_steps,
)

ALL_ERRORS = [cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, errors.DataError)]


def ticks_of(n: int = 4) -> Ticks:
    zeros = np.zeros(n, np.int64)
    return Ticks(
        instruments=(Instrument("a:X/Y", 0.1, 0.01), Instrument("b:X/Y", 0.1, 0.01)),
        ts_recv_ns=np.arange(n, dtype=np.int64) * 10,
        ts_event_ns=zeros,
        ts_emit_ns=zeros,
        stream=(np.arange(n) % 2).astype(np.int32),
        kind=np.full(n, Kind.QUOTE, np.int8),
        bid_ticks=zeros + 100,
        ask_ticks=zeros + 101,
        bid_lots=zeros + 1,
        ask_lots=zeros + 1,
        price_ticks=zeros,
        qty_lots=zeros,
        side=zeros.astype(np.int8),
    )


NO_CHOICE = (errors.DataError, errors.NothingLeftError, errors.OverlapError)
"""What no policy can let pass: the common base, a source without rows, two files of one stream at the same time."""


def with_value(ticks: Ticks, column: str, row: int, value: int) -> Ticks:
    changed = getattr(ticks, column).copy()
    changed[row] = value
    return replace(ticks, **{column: changed})


def test_policy_has_one_field_per_reason() -> None:
    reasons = {cls.reason for cls in ALL_ERRORS if cls not in NO_CHOICE}
    assert {field.name for field in fields(BadInputPolicy)} == reasons


def test_policy_refuses_other_words() -> None:
    with pytest.raises(errors.ConfigError, match=r"source\.policy\.malformed=skip: use error or drop"):
        BadInputPolicy(malformed="skip")


@pytest.mark.parametrize("cls", [cls for cls in ALL_ERRORS if cls not in NO_CHOICE])
def test_every_reason_raises_or_counts(cls: type[errors.DataError]) -> None:
    error = cls("no good", file="f.gz", line=3)
    with pytest.raises(cls, match=r"f\.gz:3: no good"):
        BadInput(BadInputPolicy(**{cls.reason: "error"})).found(error)
    bad = BadInput(BadInputPolicy(**{cls.reason: "drop"}), max_examples=2)
    for _ in range(5):
        bad.found(error)
    assert bad.dropped == {cls.reason: 5}
    assert bad.examples == ["f.gz:3: no good"] * 2


def test_good_ticks_pass() -> None:
    check_ticks(ticks_of())
    check_ticks(ticks_of(0))


@pytest.mark.parametrize(
    ("column", "value", "error"),
    [
        ("ts_recv_ns", 9, errors.UnsortedTimeError),
        ("bid_ticks", 0, errors.BadPriceError),
        ("ask_ticks", -3, errors.BadPriceError),
        ("bid_lots", -1, errors.BadPriceError),
        ("bid_ticks", 102, errors.CrossedQuoteError),
        ("stream", 2, errors.SchemaError),
        ("stream", -1, errors.SchemaError),
        ("kind", 7, errors.SchemaError),
    ],
)
def test_each_broken_column_is_found(column: str, value: int, error: type[errors.DataError]) -> None:
    ticks = with_value(ticks_of(), column, 2, value)
    with pytest.raises(error) as raised:
        check_ticks(ticks, file="f.csv")
    assert raised.value.line == 3
    assert [row for row, _ in row_errors(ticks)] == [2]


def test_trades_need_a_positive_price() -> None:
    ticks = with_value(ticks_of(), "kind", 1, Kind.TRADE)
    with pytest.raises(errors.BadPriceError):
        check_ticks(ticks)
    check_ticks(with_value(ticks, "price_ticks", 1, 5))


def test_depth_rows_without_a_book_pass() -> None:
    ticks = with_value(with_value(ticks_of(), "kind", 1, Kind.DEPTH), "bid_ticks", 1, 0)
    check_ticks(with_value(ticks, "ask_ticks", 1, 0))


def test_only_late_rows_are_late() -> None:
    ticks = with_value(ticks_of(6), "ts_recv_ns", 2, 35)
    assert [row for row, _ in row_errors(ticks)] == [3]
    assert [row for row, _ in row_errors(ticks_of(3), after_ns=15, lines=[7, 8, 9])] == [0, 1]


@given(
    st.integers(1, 10**10),
    st.sampled_from(["0.01", "0.1", "0.00001", "1", "0.5", "0.001", "10", "0.0000001"]),
)
def test_steps_are_the_decimals_own(count: int, step: str) -> None:
    text = str(Decimal(count) * Decimal(step))
    counts, ok = to_steps(np.array([float(text)]), float(step))
    assert ok[0]
    assert counts[0] == count


@given(st.integers(1, 10**8), st.integers(1, 99), st.sampled_from(["0.01", "0.1", "1", "0.00001"]))
def test_off_grid_values_are_refused(count: int, off: int, step: str) -> None:
    value = float((Decimal(count) + Decimal(off) / 100) * Decimal(step))
    assert not to_steps(np.array([value]), float(step))[1][0]
    assert "not a multiple of the tick size" in (price_problem(value, float(step)) or "")
    assert "not a multiple of the lot size" in (quantity_problem(value, float(step)) or "")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0, -1.0])
def test_bad_prices_say_why(value: float) -> None:
    assert price_problem(value, 0.01) is not None


def test_zero_quantity_is_allowed() -> None:
    assert quantity_problem(0.0, 0.01) is None
    assert quantity_problem(float("nan"), 0.01) is not None
