"""Prices at times that differ, without what says nothing: the input of the lead-lag.

Axis legend: n + 1 prices.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from schwabot.errors import BadPriceError, DataError, UnsortedTimeError
from schwabot.records.market import Float64, Int64


@dataclass(frozen=True)
class Series:
    """Prices of one stream on stamps that differ.

    Attributes:
        name: of the stream.
        ts_ns: strictly increasing, ns. [n + 1]
        value: log price, or price, from the first one on. [n + 1]
        observations: stamps before repeats between two equal prices were left out, which changes no result.
    """

    name: str
    ts_ns: Int64 = field(repr=False)
    value: Float64 = field(repr=False)
    observations: int

    @property
    def moves(self) -> int:
        """How often the price moved."""
        return int(np.count_nonzero(np.diff(self.value)))

    @property
    def span_ns(self) -> int:
        """From the first price to the last."""
        return int(self.ts_ns[-1] - self.ts_ns[0])

    @property
    def interval_ms(self) -> float:
        """Mean time between two prices."""
        return self.span_ns / 1e6 / max(1, self.observations - 1)


def to_series(
    ts_ns: npt.ArrayLike,
    price: npt.ArrayLike,
    name: str = "",
    *,
    returns: str = "log",
    resolution_ns: int = 1,
    observations: int | None = None,
) -> Series:
    """Prices at times, checked. The last price of a stamp counts.

    Args:
        ts_ns: never decreasing, whole ns or datetime64 of any unit. [n + 1]
        price: above 0 for log returns. [n + 1]
        name: of the stream.
        returns: ``log`` or ``simple`` (differences of prices).
        resolution_ns: stamps are told apart to this.
        observations: how many stamps there were before repeats were left out; default those given.

    Raises:
        DataError: fewer than two stamps, a price that never moves, arrays of different lengths, or no times or numbers.
        BadPriceError: a price that is no number, or not above 0 for log returns.
        UnsortedTimeError: time that runs backwards.

    Example:
        >>> to_series([10, 10, 20, 30, 40], [1.0, 2.0, 2.0, 2.0, 4.0], "a", returns="simple").ts_ns.tolist()
        [10, 30, 40]
    """
    what = name or "a series"
    time = whole_ns(ts_ns, what)
    try:
        values = np.asarray(price, np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{what}: prices must be numbers ({error})") from None
    if time.ndim != 1 or time.shape != values.shape:
        raise DataError(f"{what}: times and prices must be two rows of one length, not {time.shape} and {values.shape}")
    good = np.isfinite(values) & ((values > 0) | (returns != "log"))
    if not good.all():
        at = int(np.argmin(good))
        hint = "" if not np.isfinite(values[at]) else "; returns=simple takes differences of prices"
        raise BadPriceError(f"{what}: price {values[at]} at index {at}{hint}")
    if (np.diff(time) < 0).any():
        raise UnsortedTimeError(f"{what}: time runs backwards after index {int(np.argmax(np.diff(time) < 0))}: sort it")
    time, values = last_of_stamp(time, values, resolution_ns)
    if len(time) < 2:
        has = f"{len(time) or 'no'} price{'s' * (len(time) != 1)}"
        raise DataError(f"{what} has {has} at different times, and a move needs two: leave it out, or give more of it")
    seen = len(time) if observations is None else observations
    inner = repeats(values)
    time, values = time[~inner], values[~inner]
    if not np.diff(values).any():
        raise DataError(
            f"{what} stays at {values[0]:g}: a price that never moves neither leads nor follows; leave it out, or give"
            " a stretch in which it moves"
        )
    return Series(name, time, np.log(values / values[0]) if returns == "log" else values - values[0], seen)


def whole_ns(ts_ns: npt.ArrayLike, what: str) -> Int64:
    """Times as int64 ns: dates by their own unit, and nothing that would have to be cut short."""
    given = np.asarray(ts_ns)
    if given.dtype.kind == "M":
        if np.isnat(given).any():
            raise DataError(f"{what}: a time is missing (NaT)")
        time: Int64 = given.astype("datetime64[ns]").astype(np.int64)
        whole = bool((time.astype("datetime64[ns]").astype(given.dtype) == given).all())  # ns end in 2262
    elif given.dtype.kind in "iu":
        time = given.astype(np.int64)
        whole = bool((np.abs(given.astype(np.float64)) < 2.0**63).all() and (time == given).all())
    elif given.dtype.kind == "f" and given.size:
        raise DataError(
            f"{what}: times are {given.dtype}, whose unit and rounding nobody knows: give whole ns (int64) or"
            " datetime64; of seconds: np.round(times * 1e9).astype(np.int64)"
        )
    else:
        whole = not given.size
        time = np.zeros(given.shape, np.int64)
    if not whole:
        raise DataError(f"{what}: times must be whole ns (int64) or datetime64, and some are not: {given.dtype}")
    return time


def last_of_stamp(ts_ns: Int64, price: Float64, resolution_ns: int = 1) -> tuple[Int64, Float64]:
    """The last price of each stamp, or of each ``resolution_ns``, with its own stamp.

    Example:
        >>> last_of_stamp(np.array([1, 8, 8, 12]), np.array([1.0, 2.0, 3.0, 4.0]), 10)[0].tolist()
        [8, 12]
    """
    number = ts_ns // resolution_ns
    last = np.ones(len(ts_ns), np.bool_)
    last[:-1] = number[1:] != number[:-1]
    return ts_ns[last], price[last]


def repeats(price: Float64) -> npt.NDArray[np.bool_]:
    """Prices with their like on either side: they move nothing, and only intervals without a move begin or end there.

    Example:
        >>> repeats(np.array([1.0, 1.0, 1.0, 2.0, 2.0])).tolist()
        [False, True, False, False, False]
    """
    same = price[1:] == price[:-1]
    inner: npt.NDArray[np.bool_] = np.concatenate([[False], same[1:] & same[:-1], [False]])
    return inner if len(price) > 1 else np.zeros(len(price), np.bool_)
