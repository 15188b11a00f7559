"""Fees that a spot venue takes in what is traded: a position goes down by them in whole lots, before it is sold.

position = what our fills and their fees came to, in lots, rounded towards nothing

A fee in a coin that another stream trades is paid by that stream's position, as far as it goes; beyond that it was paid
by what the account held before.
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from schwabot.execution.journal import Fill
from schwabot.records.instrument import Instrument


def step(size: float) -> Decimal:
    """The decimal that was meant."""
    return Decimal(repr(float(size)))


def payer(instruments: Iterable[Instrument], fill: Fill) -> str | None:
    """Stream whose position pays the fee of another spot stream's fill: of that coin's at the venue the first by name.

    Args:
        instruments: that are traded.
        fill: of one of them.

    Example:
        >>> from dataclasses import replace
        >>> traded = [Instrument(f"binance:{name}", 0.01, 0.001) for name in ("BNB/USDT", "BTC/USDT")]
        >>> fill = Fill("binance:BTC/USDT", "1", "a-0", "7", 1, 9, 50_000, False, Decimal("0.006"), "BNB", 0, 0)
        >>> payer(traded, fill), payer(traded, replace(fill, fee_currency="BTC"))
        ('binance:BNB/USDT', None)
    """
    spot = {one.stream: one for one in instruments if one.is_spot}
    own, coin = spot.get(fill.stream), fill.fee_currency
    if own is None or coin in (own.base, own.quote):
        return None
    return min((name for name, one in spot.items() if one.venue == own.venue and one.base == coin), default=None)


def paid(fill: Fill, held: Decimal) -> Decimal:
    """What a position that holds so much pays of another stream's fee; a rebate is negative."""
    return min(fill.fee, max(held, Decimal(0)))


class BaseFees:
    """Keeps what is held exactly, and what a policy believes to hold, per spot stream.

    Args:
        instruments: that are traded; contracts pay no fee in lots.

    Example:
        >>> spot = Instrument("binance:BTC/USDT", tick_size=0.01, lot_size=0.01)
        >>> fees = BaseFees([spot])
        >>> bought = Fill(spot.stream, "1", "a-0", "7", 1, 9, 5_000_000, False, Decimal("0.006"), "BTC", 0, 0)
        >>> fees.lots(bought), fees.lots(bought)
        (1, 1)
        >>> fees.begin(spot.stream, 0, Decimal("0.008"))
        >>> fees.lots(bought), fees.lots(bought)
        (0, 1)
    """

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._spot = {one.stream: one for one in instruments if one.is_spot}
        self._amount = dict.fromkeys(self._spot, Decimal(0))
        self._told = dict.fromkeys(self._spot, 0)

    def begin(self, stream: str, lots: int, spare: Decimal) -> None:
        """A position is adopted: so many whole lots, and this much beside them."""
        if (one := self._spot.get(stream)) is not None:
            self._amount[stream], self._told[stream] = lots * step(one.lot_size) + spare, lots

    def lots(self, fill: Fill) -> int:
        """Lots that are held less than a policy believes once it has booked a fill; negative = more."""
        stream = fill.stream
        if (one := self._spot.get(stream)) is None:
            return 0
        lot = step(one.lot_size)
        fee = fill.fee if fill.fee_currency == one.base else Decimal(0)
        self._amount[stream] += fill.side * fill.lots * lot - fee
        believed, self._told[stream] = self._told[stream] + fill.side * fill.lots, int(self._amount[stream] // lot)
        return believed - self._told[stream]

    def elsewhere(self, fill: Fill) -> tuple[str, int]:
        """Stream of another coin that a fill's fee was taken in, and lots that are held less of it; "" = none."""
        stream = payer(self._spot.values(), fill)
        if stream is None:
            return "", 0
        self._amount[stream] -= paid(fill, self._amount[stream])
        believed, self._told[stream] = (
            self._told[stream],
            int(self._amount[stream] // step(self._spot[stream].lot_size)),
        )
        return stream, believed - self._told[stream]
