"""What the one account of a venue holds, in exact decimals.

Fees are rounded against the account at the eighth decimal, gains to the nearest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from typing import Protocol

from schwabot.venues.loopback.listing import Listing

EIGHTH = Decimal("0.00000001")
LEVERAGE = 20


def decimal(value: float) -> Decimal:
    """The decimal as it was written."""
    return Decimal(repr(float(value)))


def quantity(listing: Listing, lots: int) -> Decimal:
    """Lots as a quantity."""
    return listing.qty.size * lots


def value(listing: Listing, lots: int, price: int) -> Fraction:
    """What lots are worth at a price, in what the instrument settles in."""
    each = Fraction(decimal(listing.instrument.contract_value)) * Fraction(listing.qty.size)
    at = Fraction(listing.price.size) * price
    return lots * (each / at if listing.instrument.inverse else each * at)


def rounded(amount: Fraction) -> Decimal:
    """To the nearest eighth decimal."""
    return (Decimal(amount.numerator) / amount.denominator).quantize(EIGHTH, ROUND_HALF_EVEN)


def fee(listing: Listing, amount: Fraction, *, maker: bool) -> Decimal:
    """Fee on an amount, rounded against us; a rebate is negative."""
    instrument = listing.instrument
    exact = amount * Fraction(decimal(instrument.maker_fee_bp if maker else instrument.taker_fee_bp)) / 10_000
    return (Decimal(exact.numerator) / exact.denominator).quantize(EIGHTH, ROUND_CEILING)


@dataclass(frozen=True, slots=True)
class Fill:
    """One trade of an order.

    Attributes:
        id: of the trade.
        time_ms: when.
        lots, price: in lots and ticks.
        maker: whether the order rested.
        fee: what it cost, in ``fee_asset``.
        gain: realised by it, before fees; 0 on spot.
    """

    id: int
    time_ms: int
    lots: int
    price: int
    maker: bool
    fee: Decimal
    fee_asset: str
    gain: Decimal


class Account(Protocol):
    """What trading asks of an account. All quantities in lots and ticks of the listing."""

    def closes(self, listing: Listing, side: int) -> int:
        """Lots of the position that an order of that side would close."""
        ...

    def reserve(self, listing: Listing, side: int, lots: int, price: int) -> bool:
        """Set aside what an order may need; False = it is not there, and nothing was set aside."""
        ...

    def release(self, listing: Listing, side: int, lots: int, price: int) -> None:
        """Give back what was set aside for lots that will not trade, or have."""
        ...

    def fill(self, listing: Listing, side: int, lots: int, price: int, *, maker: bool) -> tuple[Decimal, str, Decimal]:
        """Book a trade; fee, what it is paid in, and the gain."""
        ...


@dataclass(slots=True)
class SpotAccount:
    """Balances by asset, and what of them open orders hold.

    Args:
        total: by asset.
        locked: of it, by open orders.
        fee_in_quote: fees are taken in quote currency, else from what is received.
        places: decimals that bookings of an asset are rounded to; those of others are exact.
    """

    total: dict[str, Decimal]
    locked: dict[str, Decimal] = field(default_factory=dict)
    fee_in_quote: bool = False
    places: dict[str, int] = field(default_factory=dict)

    def free(self, asset: str) -> Decimal:
        """What is not held."""
        return self.total.get(asset, Decimal(0)) - self.locked.get(asset, Decimal(0))

    def closes(self, listing: Listing, side: int) -> int:
        """See ``Account``; there are no positions."""
        return 0

    def _needs(self, listing: Listing, side: int, lots: int, price: int) -> tuple[str, Decimal]:
        amount = quantity(listing, lots)
        if side > 0:
            paid = amount * listing.price.size * price
            more = decimal(listing.instrument.taker_fee_bp) / 10_000 if self.fee_in_quote else Decimal(0)
            return listing.instrument.quote, paid * (1 + more)
        return listing.instrument.base, amount

    def _booked(self, asset: str, amount: Decimal, rounding: str) -> Decimal:
        places = self.places.get(asset)
        return amount if places is None else amount.quantize(Decimal(1).scaleb(-places), rounding)

    def reserve(self, listing: Listing, side: int, lots: int, price: int) -> bool:
        """See ``Account``."""
        asset, amount = self._needs(listing, side, lots, price)
        if self.free(asset) < amount:
            return False
        self.locked[asset] = self.locked.get(asset, Decimal(0)) + amount
        return True

    def release(self, listing: Listing, side: int, lots: int, price: int) -> None:
        """See ``Account``."""
        asset, amount = self._needs(listing, side, lots, price)
        self.locked[asset] -= amount

    def fill(self, listing: Listing, side: int, lots: int, price: int, *, maker: bool) -> tuple[Decimal, str, Decimal]:
        """See ``Account``."""
        base, quote = listing.instrument.base, listing.instrument.quote
        amount = quantity(listing, lots)
        paid = amount * listing.price.size * price
        self.total[base] = self.total.get(base, Decimal(0)) + side * amount
        self.total[quote] = self.total.get(quote, Decimal(0)) - side * self._booked(quote, paid, ROUND_HALF_EVEN)
        asset, received = (base, amount) if side > 0 and not self.fee_in_quote else (quote, paid)
        cost = fee(listing, Fraction(received), maker=maker)
        self.total[asset] -= self._booked(asset, cost, ROUND_CEILING)
        return cost, asset, Decimal(0)


@dataclass(slots=True)
class Position:
    """Of one contract. ``entry`` is what its lots are worth at their average entry price, of the sign of the lots."""

    lots: int = 0
    entry: Fraction = Fraction(0)

    def entry_price(self, listing: Listing) -> Fraction:
        """Average entry price; 0 without a position."""
        if not self.lots:
            return Fraction(0)
        each = self.lots * Fraction(decimal(listing.instrument.contract_value)) * Fraction(listing.qty.size)
        return each / self.entry if listing.instrument.inverse else self.entry / each


@dataclass(slots=True)
class FuturesAccount:
    """Wallets by asset and positions by stream, one-way mode, cross margin at one leverage."""

    wallet: dict[str, Decimal]
    positions: dict[str, Position] = field(default_factory=dict)
    held: dict[str, Fraction] = field(default_factory=dict)

    def position(self, listing: Listing) -> Position:
        """The position in a contract."""
        return self.positions.setdefault(listing.instrument.stream, Position())

    def margin(self, asset: str) -> Fraction:
        """What positions and open orders hold of an asset."""
        return self.held.get(asset, Fraction(0)) + sum(
            (abs(one.entry) for stream, one in self.positions.items() if _settles(stream) == asset), Fraction(0)
        ) / LEVERAGE  # fmt: skip

    def closes(self, listing: Listing, side: int) -> int:
        """See ``Account``."""
        return max(0, -side * self.position(listing).lots)

    def reserve(self, listing: Listing, side: int, lots: int, price: int) -> bool:
        """See ``Account``; what reduces the position needs nothing."""
        adding = max(0, lots - self.closes(listing, side))
        needs = value(listing, adding, price) / LEVERAGE
        asset = listing.settle
        if Fraction(self.wallet.get(asset, Decimal(0))) - self.margin(asset) < needs:
            return False
        self.held[asset] = self.held.get(asset, Fraction(0)) + value(listing, lots, price) / LEVERAGE
        return True

    def release(self, listing: Listing, side: int, lots: int, price: int) -> None:
        """See ``Account``."""
        self.held[listing.settle] -= value(listing, lots, price) / LEVERAGE

    def fill(self, listing: Listing, side: int, lots: int, price: int, *, maker: bool) -> tuple[Decimal, str, Decimal]:
        """See ``Account``."""
        position, asset = self.position(listing), listing.settle
        closing = min(lots, self.closes(listing, side))
        gained = Fraction(0)
        if closing:
            share = position.entry * closing / abs(position.lots)
            at = value(listing, closing, price) * (1 if position.lots > 0 else -1)
            # An inverse contract is worth less of the base as its price rises.
            gained = share - at if listing.instrument.inverse else at - share
            position.entry -= share
        position.entry += side * value(listing, lots - closing, price)
        position.lots += side * lots
        gain = rounded(gained)
        cost = fee(listing, value(listing, lots, price), maker=maker)
        self.wallet[asset] = self.wallet.get(asset, Decimal(0)) + gain - cost
        return cost, asset, gain


def _settles(stream: str) -> str:
    return stream.rpartition(":")[2].partition("-")[0]
