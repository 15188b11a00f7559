"""What happens to bad input: a typed error, or a drop that is counted and shown. Never a repair.

Axis legend: N rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from schwabot.errors import (
    BadPriceError,
    ConfigError,
    CrossedQuoteError,
    DataError,
    NothingLeftError,
    SchemaError,
    UnsortedTimeError,
)
from schwabot.records.market import Float64, Int64, Kind, Ticks

Bool = npt.NDArray[np.bool_]

CHOICES = ("error", "drop")
NOTHING_LEFT = "are columns mixed up, such as bid and ask? Is it the right file?"
MOST_STEPS = 4e14
"""Ticks or lots in one number: more would not be told apart in float64."""


@dataclass(frozen=True, slots=True)
class BadInputPolicy:
    """What to do with each kind of bad input: ``"error"`` stops the run, ``"drop"`` counts it and goes on.

    Everything that says data is lost or misdescribed is an error by default. A crossed quote is not:
    venues do send them (auctions, halts, consolidated feeds), one says nothing about the rows around
    it, and a stream whose quotes are dropped goes stale and is routed around.

    Args:
        corrupt_file: a file that ends early or does not unpack; "drop" keeps what came before.
        empty_file: a file without a single row, such as a header line alone; "drop" leaves it out.
        malformed: half a line, invalid JSON, a field that is not what it should be.
        bad_price: NaN, infinite, non-positive or off-grid price; negative or non-finite quantity.
        bad_time: time in another unit than it was read in or before 1970, or a venue's stamp more than a day from the
            time of receipt.
        crossed: a quote with its bid above its ask.
        unsorted: receive time that runs backwards; "drop" drops the late row.
        unknown_stream: an instrument that conf/instruments does not describe.
        gap: order book update ids that do not join; "drop" empties the book until the next snapshot.
        schema: columns or types that are not what was promised.

    Raises:
        ConfigError: a value that is neither "error" nor "drop".

    Example:
        >>> BadInputPolicy(gap="drop").gap
        'drop'
        >>> BadInputPolicy(gap="ignore")
        Traceback (most recent call last):
        schwabot.errors.ConfigError: source.policy.gap=ignore: use error or drop
    """

    corrupt_file: str = "error"
    empty_file: str = "error"
    malformed: str = "error"
    bad_price: str = "error"
    bad_time: str = "error"
    crossed: str = "drop"
    unsorted: str = "error"
    unknown_stream: str = "error"
    gap: str = "error"
    schema: str = "error"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value not in CHOICES:
                raise ConfigError(f"source.policy.{field.name}={value}: use error or drop")


class BadInput:
    """Applies a ``BadInputPolicy``: raises the error, or counts the drop and keeps the first messages.

    Args:
        policy: what to do with each kind.
        max_examples: messages kept per reason.

    Example:
        >>> bad = BadInput(BadInputPolicy(crossed="drop"))
        >>> bad.found(CrossedQuoteError("bid 5 above ask 4", file="btc.gz", line=7))
        >>> bad.dropped, bad.examples
        (Counter({'crossed': 1}), ['btc.gz:7: bid 5 above ask 4'])
    """

    def __init__(self, policy: BadInputPolicy, *, max_examples: int = 3) -> None:
        self.policy = policy
        self.max_examples = max_examples
        self.dropped: Counter[str] = Counter()
        self.examples: list[str] = []

    def found(self, error: DataError) -> None:
        """Raise ``error`` when the policy says so, else count it as a drop."""
        if getattr(self.policy, error.reason, "error") == "error":
            raise error
        self.count(error.reason, str(error))

    def first_error(self, problems: Iterable[DataError | tuple[str, str]]) -> DataError | None:
        """Take problems in line order up to the first that the policy calls an error, and give that one back.

        Args:
            problems: errors to decide on, and (reason, message) of what is left out and is no error.
        """
        for problem in problems:
            if not isinstance(problem, DataError):
                self.count(*problem)
                continue
            try:
                self.found(problem)
            except DataError as error:
                return error
        return None

    def count(self, reason: str, message: str) -> None:
        """Count a row that is left out on purpose and is no error, e.g. a trade outside the order book."""
        if self.dropped[reason] < self.max_examples:
            self.examples.append(message)
        self.dropped[reason] += 1


def refuse_nothing(batches: Iterable[Ticks], bad: BadInput) -> Iterator[Ticks]:
    """Hand on batches; a source of which nothing is left is an error, not an empty success.

    Raises:
        NothingLeftError: rows were dropped, and not one was left.
    """
    rows = 0
    for batch in batches:
        rows += len(batch)
        yield batch
    if not rows and bad.dropped:
        counts = ", ".join(f"{n:,} {reason}" for reason, n in bad.dropped.items())
        shown = f"; e.g. {bad.examples[0]}" if bad.examples else ""
        raise NothingLeftError(f"every row of the source was dropped ({counts}){shown}: {NOTHING_LEFT}")


def to_steps(values: Float64, step: float | Float64) -> tuple[Int64, Bool]:
    """Whole steps in each value, and whether it is a multiple of the step: c = round(value / step).

    A decimal of up to 15 digits has one nearest float64, so the count is the decimal's own as long as
    the quotient lies within 1e-6 steps (or the rounding error of the division) of a whole number.

    Args:
        values: prices or quantities. [N]
        step: tick or lot size, same unit; one for all or one each. [N]

    Shape:
        both outputs [N]; the count is 0 where the flag is False.

    Example:
        >>> counts, ok = to_steps(np.array([61837.63, 61837.635, np.nan]), 0.01)
        >>> counts.tolist(), ok.tolist()
        ([6183763, 0, 0], [True, False, False])
    """
    quotient = values / step
    whole = np.rint(quotient)
    with np.errstate(invalid="ignore"):
        size = np.abs(whole)
        tolerance = np.maximum(1e-6, size * 1e-15)
        ok = (np.abs(quotient - whole) <= tolerance) & (size < MOST_STEPS)
    return np.where(ok, whole, 0.0).astype(np.int64), ok


def price_problem(value: float, step: float, what: str = "price") -> str | None:
    """Say what is wrong with one price, or None.

    Example:
        >>> price_problem(0.15, 0.1)
        'price 0.15 is not a multiple of the tick size 0.1: correct the tick size in conf/instruments'
        >>> price_problem(-1.0, 0.1), price_problem(0.2, 0.1)
        ('price -1.0 is not positive', None)
    """
    if not np.isfinite(value):
        return f"{what} {value} is not a finite number"
    if value <= 0:
        return f"{what} {value} is not positive"
    if value / step >= MOST_STEPS:
        return (
            f"{what} {value} is more than {MOST_STEPS:g} ticks of {step}: no price, or the tick size is far too small"
        )
    if not to_steps(np.array([value]), step)[1][0]:
        return f"{what} {value} is not a multiple of the tick size {step}: correct the tick size in conf/instruments"
    return None


def quantity_problem(value: float, step: float, what: str = "quantity") -> str | None:
    """Say what is wrong with one quantity, or None (zero is allowed).

    Example:
        >>> quantity_problem(-1.0, 0.001)
        'quantity -1.0 is negative'
    """
    if not np.isfinite(value):
        return f"{what} {value} is not a finite number"
    if value < 0:
        return f"{what} {value} is negative"
    if value / step >= MOST_STEPS:
        return (
            f"{what} {value} is more than {MOST_STEPS:g} lots of {step}: no quantity, or the lot size is far too small"
        )
    if not to_steps(np.array([value]), step)[1][0]:
        return f"{what} {value} is not a multiple of the lot size {step}: correct the lot size in conf/instruments"
    return None


def row_errors(
    ticks: Ticks,
    *,
    file: str | None = None,
    lines: Sequence[int] | Int64 | None = None,
    after_ns: int | None = None,
) -> list[tuple[int, DataError]]:
    """Find every row that breaks the contract of ``Ticks``; at most one error per row, in row order.

    Args:
        ticks: rows to check.
        file: named in the messages.
        lines: 1-based line of each row, for the messages; default row number + 1. [N]
        after_ns: receive time of the row before the first, if there was one.

    Example:
        >>> from dataclasses import replace
        >>> from schwabot.records.instrument import Instrument
        >>> from schwabot.ticks.merge import blank
        >>> rows = blank((Instrument("x:A/B", tick_size=0.1, lot_size=1.0),), 1)
        >>> ticks = replace(rows, bid_ticks=np.array([5]), ask_ticks=np.array([4]))
        >>> print(row_errors(ticks, file="a.csv")[0][1])
        a.csv:1: crossed quote of x:A/B: bid 0.5 above ask 0.4
    """
    quote = ticks.kind == Kind.QUOTE
    trade = ticks.kind == Kind.TRADE
    depth = ticks.kind == Kind.DEPTH
    recv = ticks.ts_recv_ns
    before = np.empty_like(recv)
    if len(recv):
        # A late row is the bad one, not those after it: compare with the latest time seen so far.
        before[0] = recv[0] if after_ns is None else after_ns
        before[1:] = np.maximum.accumulate(np.maximum(recv, before[0]))[:-1]
    in_range = (ticks.stream >= 0) & (ticks.stream < len(ticks.instruments))
    known_kind = quote | trade | depth
    bad_touch = quote & ((ticks.bid_ticks <= 0) | (ticks.ask_ticks <= 0) | (ticks.bid_lots < 0) | (ticks.ask_lots < 0))
    bad_trade = trade & ((ticks.price_ticks <= 0) | (ticks.qty_lots < 0))
    crossed = (quote | (depth & (ticks.bid_ticks > 0) & (ticks.ask_ticks > 0))) & (ticks.bid_ticks > ticks.ask_ticks)
    late = recv < before
    bad = ~in_range | ~known_kind | bad_touch | bad_trade | crossed | late
    errors: list[tuple[int, DataError]] = []
    for row in np.flatnonzero(bad).tolist():
        line = row + 1 if lines is None else int(lines[row])
        error: DataError
        if not in_range[row] or not known_kind[row]:
            what = f"stream index {ticks.stream[row]} or kind {ticks.kind[row]} does not exist"
            error = SchemaError(what, file=file, line=line)
        elif late[row]:
            error = UnsortedTimeError(late_message(int(recv[row]), int(before[row])), file=file, line=line)
        elif bad_touch[row]:
            what = (
                f"quote {ticks.bid_ticks[row]} x {ticks.bid_lots[row]} / {ticks.ask_ticks[row]} x {ticks.ask_lots[row]}"
                " (ticks x lots) has a price that is not positive or a negative quantity"
            )
            error = BadPriceError(what, file=file, line=line)
        elif bad_trade[row]:
            what = (
                f"trade {ticks.price_ticks[row]} x {ticks.qty_lots[row]} (ticks x lots) has a price that is not"
                " positive or a negative quantity"
            )
            error = BadPriceError(what, file=file, line=line)
        else:
            what = crossed_message(ticks, row)
            error = CrossedQuoteError(what, file=file, line=line)
        errors.append((row, error))
    return errors


def late_message(recv_ns: int, before_ns: int) -> str:
    """Say that receive time runs backwards."""
    return (
        f"receive time {recv_ns} runs backwards: {(before_ns - recv_ns) / 1e6:.3f} ms before an earlier row;"
        " sort the file, or leave such rows out with source.policy.unsorted=drop"
    )


def crossed_message(ticks: Ticks, row: int) -> str:
    """Say which quote is crossed, in currency."""
    instrument = ticks.instruments[int(ticks.stream[row])]
    bid, ask = int(ticks.bid_ticks[row]) * instrument.tick_size, int(ticks.ask_ticks[row]) * instrument.tick_size
    return f"crossed quote of {instrument.stream}: bid {bid:.12g} above ask {ask:.12g}"


def check_ticks(ticks: Ticks, *, file: str | None = None, after_ns: int | None = None) -> None:
    """Raise the first error of ``row_errors``: sorted times, positive prices, bid <= ask, stream in range.

    Raises:
        SchemaError, UnsortedTimeError, BadPriceError, CrossedQuoteError: the first row that breaks the contract.

    Example:
        >>> from dataclasses import replace
        >>> from schwabot.records.instrument import Instrument
        >>> from schwabot.ticks.merge import blank
        >>> rows = blank((Instrument("x:A/B", tick_size=0.1, lot_size=1.0),), 1)
        >>> ticks = replace(rows, bid_ticks=np.array([4]), ask_ticks=np.array([5]))
        >>> check_ticks(ticks)
        >>> check_ticks(ticks, file="a.csv", after_ns=9)
        Traceback (most recent call last):
        schwabot.errors.UnsortedTimeError: a.csv:1: receive time 0 runs backwards: 0.000 ms before an earlier row; ...
    """
    errors = row_errors(ticks, file=file, after_ns=after_ns)
    if errors:
        raise errors[0][1]
