"""Cells of a table as numbers and times; what can't be read is marked, never guessed.

Axis legend: N rows.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from math import isfinite

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from schwabot.errors import BadTimeError, SchemaError
from schwabot.records.market import MISSING_NS, Float64, Int8, Int64

Bool = npt.NDArray[np.bool_]

UNITS_NS = {"s": 1_000_000_000, "ms": 1_000_000, "us": 1_000, "ns": 1}
TIME_UNITS = ("auto", *UNITS_NS, "iso")
_AUTO_FROM_NS, _AUTO_TO_NS = 1_230_768_000 * 10**9, 4_102_444_800 * 10**9
"""2009-01-01, when bitcoin began, and 2100-01-01: what a number is taken for when nobody states its unit."""
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
_NOT_FINITE = r"^[+-]?(?i:nan|inf|infinity)$"
_DECIMAL_TIME = r"^(?P<whole>\d{1,19})(?:\.(?P<part>\d+))?$"
_ZONE = re.compile(r"(Z|[+-]\d\d(:?\d\d)?)$")
_SIDES = {"buy": 1, "b": 1, "bid": 1, "1": 1, "+1": 1, "1.0": 1, "sell": -1, "s": -1, "ask": -1, "-1": -1, "-1.0": -1}
_NO_SIDES = ("", "unknown", "0", "0.0", "none", "nan")
_TRUTHS = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
MOST_DECIMALS = 12


@dataclass(frozen=True, slots=True)
class Cells:
    """Numbers of a column.

    Attributes:
        values: NaN where there is none. [N]
        empty: the cell holds nothing. [N]
        unreadable: the cell holds something that is no number. [N]
    """

    values: Float64
    empty: Bool
    unreadable: Bool


def numbers(column: pa.Array) -> Cells:
    """Read a column of text, integers, floats or decimals as float64.

    Example:
        >>> cells = numbers(pa.array(["1.5", "", "x", " 2e-3 "]))
        >>> cells.values.tolist(), cells.empty.tolist(), cells.unreadable.tolist()
        ([1.5, nan, nan, 0.002], [False, True, False, False], [False, False, True, False])
    """
    if pa.types.is_boolean(column.type):
        # True is no price of 1.
        empty = column.is_null().to_numpy(zero_copy_only=False)
        return Cells(np.full(len(column), np.nan), empty, ~empty)
    if pa.types.is_float32(column.type) or pa.types.is_float16(column.type):
        # 60000.1 as float32 is 60000.1015625; what was meant is its shortest decimal.
        column = column.cast(pa.float32()).cast(pa.string())
    if not _is_text(column.type):
        empty = column.is_null().to_numpy(zero_copy_only=False)
        values = column.cast(pa.float64(), safe=False).fill_null(np.nan).to_numpy(zero_copy_only=False)
        return Cells(values, empty, np.zeros(len(column), dtype=np.bool_))
    if not column.null_count:
        with suppress(pa.ArrowInvalid):
            values = column.cast(pa.float64()).to_numpy(zero_copy_only=False)
            none = np.zeros(len(column), dtype=np.bool_)
            return Cells(values, none, none)
    return _some_numbers(column)


def _some_numbers(column: pa.Array) -> Cells:
    trimmed = pc.utf8_trim_whitespace(_clean(column))
    number = pc.or_(pc.match_substring_regex(trimmed, _NUMBER), pc.match_substring_regex(trimmed, _NOT_FINITE))
    empty = pc.equal(trimmed, "").to_numpy(zero_copy_only=False)
    values = pc.if_else(number, trimmed, pa.scalar(None, trimmed.type)).cast(pa.float64()).fill_null(np.nan)
    readable = number.to_numpy(zero_copy_only=False)
    return Cells(values.to_numpy(zero_copy_only=False), empty, ~readable & ~empty)


def time_unit_of(column: pa.Array) -> str:
    """Tell the unit of a time column from its first value: numbers by their size, anything else is ISO.

    Raises:
        BadTimeError: the number is no date from 2009 to 2100 in any unit, such as a row number.

    Example:
        >>> [time_unit_of(pa.array([t])) for t in (1723161600, 1723161600123, 1723161600123456, "2024-08-09")]
        ['s', 'ms', 'us', 'iso']
    """
    for value in column.drop_null():
        text = text_of(value).strip()
        if not text:
            continue
        try:
            size = float(text)
        except ValueError:
            return "iso"
        if not isfinite(size):
            continue
        # From 1973 to 5138 these ranges of seconds, ms, µs and ns since 1970 do not overlap.
        unit = "s" if size < 1e11 else "ms" if size < 1e14 else "us" if size < 1e17 else "ns"
        if not _AUTO_FROM_NS <= size * UNITS_NS[unit] < _AUTO_TO_NS:
            raise BadTimeError(
                f"{text[:40]} is no date from 2009 to 2100 in s, ms, us or ns since 1970, so its unit can't be told:"
                " state source.time_unit=s, ms, us or ns, which takes any number as it is, or another column"
            )
        return unit
    return "iso"


def times_ns(column: pa.Array, unit: str) -> tuple[Int64, Bool]:
    """Read times as int64 ns since 1970; without a zone they are UTC.

    Args:
        column: text, numbers or Arrow time stamps.
        unit: s, ms, us, ns or iso; Arrow time stamps carry their own.

    Shape:
        times [N], MISSING_NS where there is none; and whether the cell was readable or empty [N].

    Example:
        >>> times_ns(pa.array(["1723161600.5", "", "soon"]), "s")[0].tolist()[0]
        1723161600500000000
        >>> times_ns(pa.array(["2024-08-09T00:00:00.000000001"]), "iso")[0].tolist()
        [1723161600000000001]
    """
    if pa.types.is_date(column.type) or pa.types.is_timestamp(column.type):
        zone = getattr(column.type, "tz", None)
        try:
            stamps = column.cast(pa.timestamp("ns", tz=zone)).cast(pa.int64())
        except pa.ArrowInvalid:
            raise SchemaError("holds times that ns since 1970 can't, which reach from 1677 to 2262") from None
        return _filled(stamps), np.ones(len(column), dtype=np.bool_)
    if pa.types.is_floating(column.type):
        values = column.cast(pa.float64()).fill_null(np.nan).to_numpy(zero_copy_only=False)
        return _from_floats(values, UNITS_NS.get(unit, 1), column.is_null().to_numpy(zero_copy_only=False))
    if pa.types.is_integer(column.type):
        if unit == "iso":
            return np.full(len(column), MISSING_NS), column.is_null().to_numpy(zero_copy_only=False)
        return _scaled(_filled(column.cast(pa.int64())), UNITS_NS[unit])
    if not _is_text(column.type):
        raise SchemaError(f"a column of type {column.type} holds no times")
    return _iso(column) if unit == "iso" else _from_text(column, UNITS_NS[unit])


def _from_text(column: pa.Array, unit_ns: int) -> tuple[Int64, Bool]:
    if not column.null_count:
        with suppress(pa.ArrowInvalid):
            return _scaled(column.cast(pa.int64()).to_numpy(zero_copy_only=False), unit_ns)
    trimmed = pc.utf8_trim_whitespace(_clean(column))
    empty = pc.equal(trimmed, "").to_numpy(zero_copy_only=False)
    parts = pc.extract_regex(trimmed, _DECIMAL_TIME)
    readable = parts.is_valid().to_numpy(zero_copy_only=False)
    digits = len(str(unit_ns)) - 1
    whole_text = pc.if_else(parts.is_valid(), pc.struct_field(parts, "whole"), "0")
    try:
        whole = whole_text.cast(pa.int64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # 19 digits above the largest int64
        fits = pc.less(pc.utf8_length(whole_text), 19)
        readable &= fits.to_numpy(zero_copy_only=False)
        whole = pc.if_else(fits, whole_text, "0").cast(pa.int64()).to_numpy(zero_copy_only=False)
    stamps, fits_ns = _scaled(whole, unit_ns)
    if digits:
        part = pc.fill_null(pc.struct_field(parts, "part"), "")
        part = pc.utf8_slice_codeunits(pc.utf8_rpad(part, width=digits, padding="0"), 0, digits)
        stamps = stamps + part.cast(pa.int64()).to_numpy(zero_copy_only=False)
    ok = (readable & fits_ns) | empty
    return np.where(ok & ~empty, stamps, MISSING_NS), ok


def _iso(column: pa.Array) -> tuple[Int64, Bool]:
    trimmed = pc.utf8_trim_whitespace(_clean(column))
    empty = pc.equal(trimmed, "").to_numpy(zero_copy_only=False)
    texts = pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, trimmed.type), trimmed)
    stamps = _iso_at_once(texts)
    if stamps is not None:
        return _filled(stamps), np.ones(len(column), dtype=np.bool_)
    single = [_iso_at_once(texts.slice(i, 1)) for i in range(len(texts))]
    ok = np.array([one is not None for one in single], dtype=np.bool_)
    values = [MISSING_NS if one is None or one[0].as_py() is None else one[0].as_py() for one in single]
    return np.array(values, dtype=np.int64), ok | empty


def _iso_at_once(texts: pa.Array) -> pa.Array | None:
    known = texts.drop_null()
    zone = "UTC" if len(known) and _ZONE.search(known[0].as_py()[10:]) else None
    try:
        return texts.cast(pa.timestamp("ns", tz=zone)).cast(pa.int64())
    except pa.ArrowInvalid:
        return None


def _from_floats(values: Float64, unit_ns: int, empty: Bool) -> tuple[Int64, Bool]:
    with np.errstate(invalid="ignore"):
        ok = np.isfinite(values) & (np.abs(values) * unit_ns < 9e18)
        whole = np.floor(np.where(ok, values, 0.0))
    # Times of this century leave a float64 about a quarter of a µs: what was meant is the nearest µs.
    step_ns = min(unit_ns, UNITS_NS["us"])
    part = np.rint((np.where(ok, values, 0.0) - whole) * (unit_ns // step_ns)).astype(np.int64) * step_ns
    return np.where(ok, whole.astype(np.int64) * unit_ns + part, MISSING_NS), ok | empty


def _scaled(values: Int64, unit_ns: int) -> tuple[Int64, Bool]:
    missing = values == MISSING_NS
    fits = (values <= 2**62 // unit_ns) & (values >= -(2**62) // unit_ns)
    return np.where(fits, values * np.where(fits, unit_ns, 0), MISSING_NS), fits | missing


def sides(column: pa.Array, *, buyer_maker: bool = False) -> tuple[Int8, Bool]:
    """Read aggressors: +1 buyer, -1 seller, 0 unknown; and whether each cell was readable. [N].

    Example:
        >>> sides(pa.array(["buy", "SELL", "unknown", "?"]))[0].tolist()
        [1, -1, 0, 0]
        >>> sides(pa.array(["True", "False"]), buyer_maker=True)[0].tolist()
        [-1, 1]
    """
    texts = column.cast(pa.string()) if not _is_text(column.type) else _clean(column)
    coded = texts.fill_null("").dictionary_encode()
    values, ok = [], []
    for one in coded.dictionary.to_pylist():
        word = one.strip().lower()
        if buyer_maker:
            values.append((-1 if _TRUTHS[word] else 1) if word in _TRUTHS else 0)
            ok.append(word in _TRUTHS)
        else:
            values.append(_SIDES.get(word, 0))
            ok.append(word in _SIDES or word in _NO_SIDES)
    index = coded.indices.to_numpy(zero_copy_only=False)
    if not len(index):
        return np.zeros(0, dtype=np.int8), np.ones(0, dtype=np.bool_)
    return np.array(values, dtype=np.int8)[index], np.array(ok, dtype=np.bool_)[index]


def decimals(values: Float64, least: int = 0) -> int | None:
    """Fewest decimal places, at least ``least``, that write every finite value exactly; None above 12.

    Example:
        >>> decimals(np.array([60000.1, 60000.25, np.nan])), decimals(np.array([0.1 + 0.2]))
        (2, None)
    """
    finite = values[np.isfinite(values)]
    for places in range(least, MOST_DECIMALS + 1):
        # A float64 is the nearest one to a decimal of so many places exactly when rounding keeps it.
        if np.array_equal(np.round(finite, places), finite):
            return places
    return None


def text_of(value: pa.Scalar) -> str:
    """Show a cell, whatever bytes it holds."""
    if not value.is_valid:
        return ""
    if _is_text(value.type):
        return str(value.as_buffer().to_pybytes().decode("utf-8", "replace"))
    return str(value.as_py())


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _clean(column: pa.Array) -> pa.Array:
    """Fill nulls and replace bytes that are no UTF-8, which text functions refuse."""
    column = column.fill_null("")
    try:
        column.validate(full=True)
    except pa.ArrowInvalid:
        return pa.array([text_of(value) for value in column], pa.string())
    return column


def _filled(column: pa.Array) -> Int64:
    values: Int64 = column.fill_null(MISSING_NS).to_numpy(zero_copy_only=False)
    return values
