"""What is traded: one instrument at one venue."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Instrument:
    """One stream: an instrument at a venue, with what turns integers into prices and quantities.

    price = ``price_ticks * tick_size``; quantity = ``qty_lots * lot_size`` in units of
    ``contract_value``: for a linear instrument that is base asset per unit (1 for spot), for an
    inverse one quote currency per contract, so that in base asset

        linear:   qty_lots * lot_size * contract_value
        inverse:  qty_lots * lot_size * contract_value / price

    Attributes:
        stream: ``venue:symbol`` with ccxt's names, e.g. ``binance:BTC/USDT``, ``binanceusdm:BTC/USDT:USDT``.
        tick_size: smallest price step, in quote currency.
        lot_size: smallest quantity step, in base asset (linear) or contracts (inverse).
        contract_value: value of one unit of quantity, see above.
        inverse: True when the contract is worth a fixed amount of quote currency and settles in base.
        maker_fee_bp: fee for adding liquidity, in bp of the notional.
        taker_fee_bp: fee for taking liquidity, in bp of the notional.
        trades_only: the source has no quotes of it, so its price is its last trade.

    Example:
        >>> spot = Instrument("binance:BTC/USDT", tick_size=0.01, lot_size=1e-5)
        >>> spot.venue, spot.symbol, spot.base, spot.quote, spot.delivers
        ('binance', 'BTC/USDT', 'BTC', 'USDT', 'BTC')
    """

    stream: str
    tick_size: float
    lot_size: float
    contract_value: float = 1.0
    inverse: bool = False
    maker_fee_bp: float = 0.0
    taker_fee_bp: float = 0.0
    trades_only: bool = False

    @property
    def venue(self) -> str:
        """ccxt's exchange id."""
        return self.stream.partition(":")[0]

    @property
    def symbol(self) -> str:
        """ccxt's unified symbol, e.g. ``BTC/USDT:USDT``."""
        return self.stream.partition(":")[2]

    @property
    def base(self) -> str:
        """The asset that is priced."""
        return self.symbol.partition("/")[0]

    @property
    def quote(self) -> str:
        """The currency the price is in."""
        return self.symbol.partition("/")[2].partition(":")[0]

    @property
    def delivers(self) -> str:
        """What holding it gives: the base asset on spot, a position in this very stream otherwise.

        Two streams are fungible (a locked arbitrage between them is possible) only when this agrees. Contracts of one
        name at two venues are not: a long one here and a short one there stay two positions, with two margins.
        """
        return self.base if self.is_spot else self.stream

    @property
    def is_spot(self) -> bool:
        """Whether it changes hands at once, against its quote currency; ccxt names a derivative's settlement."""
        return ":" not in self.symbol
