"""Fees that a spot venue takes in what is traded: a position goes down by them in whole lots, before it is sold.

spare ← spare − fee;  lots gone = −⌊spare / lot⌋;  0 ≤ spare < lot stays ours and is too little to trade
"""

from __future__ import annotations

from collections.abc import Iterable
from decimal import ROUND_FLOOR, Decimal

from schwabot.execution.journal import Fill
from schwabot.records.instrument import Instrument


def step(size: float) -> Decimal:
    """The decimal that was meant."""
    return Decimal(repr(float(size)))


def whole_lots(amount: Decimal, lot: Decimal) -> int:
    """Lots that are there in full, ⌊amount / lot⌋; of what is owed, all that are begun.

    Example:
        >>> whole_lots(Decimal("0.0299"), Decimal("0.01")), whole_lots(Decimal("-0.0001"), Decimal("0.01"))
        (2, -1)
    """
    return int((amount / lot).to_integral_value(ROUND_FLOOR))


class BaseFees:
    """Keeps what is left of a lot, per spot stream.

    Args:
        instruments: that are traded; contracts pay no fee in lots.

    Example:
        >>> spot = Instrument("binance:BTC/USDT", tick_size=0.01, lot_size=0.01)
        >>> fees = BaseFees([spot])
        >>> bought = Fill(spot.stream, "1", "a-0", "7", 1, 9, 5_000_000, False, Decimal("0.006"), "BTC", 0, 0)
        >>> fees.lots(bought), fees.lots(bought)
        (1, 1)
        >>> fees.begin(spot.stream, Decimal("0.008"))
        >>> fees.lots(bought), fees.lots(bought)
        (0, 1)
    """

    def __init__(self, instruments: Iterable[Instrument]) -> None:
        self._spot = {one.stream: one for one in instruments if one.is_spot}
        self._spare = dict.fromkeys(self._spot, Decimal(0))

    def begin(self, stream: str, spare: Decimal) -> None:
        """This much is held beside the whole lots of a position that is adopted."""
        self._spare[stream] = spare

    def lots(self, fill: Fill) -> int:
        """Whole lots that are gone with a fill's fee; negative after a rebate."""
        one = self._spot.get(fill.stream)
        if one is None or fill.fee_currency != one.base:
            return 0
        lot, spare = step(one.lot_size), self._spare[fill.stream] - fill.fee
        whole = whole_lots(spare, lot)
        self._spare[fill.stream] = spare - whole * lot
        return -whole
