"""Accounts in integers: what one unit of account is worth, per traded stream.

Axis legend: L legs (traded streams).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor

import numpy as np

from schwabot.errors import ConfigError
from schwabot.records.instrument import Instrument
from schwabot.records.market import Int64
from schwabot_kernels.simulate.records import FILLS, GROSS, MOST_GROSS

FINEST = 10**9
"""A lot is worth no more units than this where a choice is left: fees are then exact to 1e-9 of it."""
COMFORTABLE = 2**46
"""Units the largest position is worth where a choice is left: sums over thousands of such trades stay below 2^62."""
LARGEST = 2**52
"""Units the largest position may be worth."""
TICKS_TELL = 10
"""Units by which what an inverse contract is worth changes from one tick to the next, at least."""
HEADROOM = 16
"""A price may grow by this factor over the first one."""
E7 = 10**7
E9 = 10**9


@dataclass(frozen=True, slots=True)
class Account:
    """The account of one leg, see ``schwabot_kernels.simulate.records.Rules.scale``.

    Attributes:
        scale: w(p) = p scale of a linear contract, -(scale // p) of an inverse one, p in ticks.
        unit: what one unit of account is worth, in ``currency``.
        currency: what it settles in.
        max_lots: largest position.
        max_ticks: highest price for which nothing overflows.
    """

    scale: int
    unit: float
    currency: str
    max_lots: int
    max_ticks: int


def open_account(instrument: Instrument, first_ticks: int, max_notional: float) -> Account:
    """Choose the scale of a leg's account at its first price.

    Args:
        instrument: what is traded.
        first_ticks: its first price.
        max_notional: largest position, in quote currency at that price.

    Raises:
        ConfigError: the largest position is less than one lot, or too large for exact 64-bit accounts.

    Example:
        >>> spot = Instrument("binance:BTC/USDT", tick_size=0.01, lot_size=1e-5)
        >>> open_account(spot, 6_000_000, 100_000.0).max_lots
        166666
        >>> open_account(spot, 6_000_000, 100_000.0).scale, open_account(spot, 6_000_000, 1_000.0).scale
        (1, 100)
        >>> inverse = Instrument("x:BTC/USD:BTC", 0.1, 1.0, contract_value=100.0, inverse=True)
        >>> account = open_account(inverse, 600_000, 100_000.0)
        >>> account.max_lots, account.currency, account.scale // 600_000
        (1000, 'BTC', 1666666666)
    """
    lot = instrument.lot_size * instrument.contract_value
    price = first_ticks * instrument.tick_size
    worth = lot if instrument.inverse else lot * price
    max_lots = floor(max_notional / worth * (1.0 + 1e-12))
    if max_lots < 1:
        raise ConfigError(
            f"simulation.max_notional={max_notional:g} is less than one lot of {instrument.stream}, which is worth"
            f" {worth:.6g} {instrument.quote} at {price:.8g}; use more"
        )
    per_lot = HEADROOM * max_lots  # an inverse contract's price may fall as far as a linear one's may grow
    scale = 10 ** len(str(first_ticks)) if instrument.inverse else 1
    while _of_a_lot(10 * scale, first_ticks, instrument.inverse) <= FINEST * 10:
        if per_lot * _of_a_lot(10 * scale, first_ticks, instrument.inverse) >= COMFORTABLE:
            break
        scale *= 10
    largest = per_lot * _of_a_lot(scale, first_ticks, instrument.inverse)
    if largest >= LARGEST:
        raise ConfigError(
            f"simulation.max_notional={max_notional:g} of {instrument.stream} is {max_lots:,} lots, too many for exact"
            f" 64-bit accounts; use at most {max_notional * LARGEST / largest * 0.9:.3g}"
        )
    if instrument.inverse and scale // first_ticks < TICKS_TELL * first_ticks:
        share = scale // first_ticks / (TICKS_TELL * first_ticks)
        raise ConfigError(
            f"simulation.max_notional={max_notional:g} of {instrument.stream} leaves too few digits to tell one price"
            f" of an inverse contract from the next in 64 bits; use at most {max_notional * share * 0.5:.3g}"
        )
    return Account(
        scale=scale,
        unit=lot / (scale * instrument.tick_size) if instrument.inverse else lot * instrument.tick_size / scale,
        currency=instrument.base if instrument.inverse else instrument.quote,
        max_lots=max_lots,
        max_ticks=HEADROOM * first_ticks,
    )


def check_sums(counts: Int64, streams: Sequence[str]) -> None:
    """Refuse results whose sums may have left 64 bits: cash, fees, turnover and so on add up over all fills.

    Args:
        counts: see ``schwabot_kernels.simulate.records``.
        streams: names of the legs.

    Shape:
        counts: [..., L, COUNTS]

    Raises:
        ConfigError: they may have; says of which stream and what to do.

    Example:
        >>> check_sums(np.zeros((3, 1, 17), np.int64), ["venue:BTC/USDT"])
    """
    flat = counts.reshape(-1, *counts.shape[-2:])
    full = np.argwhere(flat[:, :, GROSS] >= MOST_GROSS)
    if len(full):
        p, v = full[0]
        raise ConfigError(
            f"{streams[v]} traded so much, {int(flat[p, v, FILLS]):,} fills, that sums of its account may no longer fit"
            " into 64 bits, and no number is told that may be wrong: trade fewer lots at a time (the policy's lots,"
            " simulation.max_notional), or less data at once"
        )


def _of_a_lot(scale: int, ticks: int, inverse: bool) -> int:
    return scale // ticks if inverse else scale * ticks


def e7(bp: float) -> int:
    """A fee or protection in bp as a whole number of 1e-7.

    Raises:
        ConfigError: finer than that.

    Example:
        >>> e7(5.0), e7(-0.25), e7(0.1)
        (5000, -250, 100)
    """
    count = round(bp * 1000)
    if abs(count - bp * 1000) > 1e-6:
        raise ConfigError(f"{bp} bp: fees and protections are counted in 0.001 bp")
    return count
