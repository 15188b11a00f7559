"""What the exchange lists: instruments under the names and in the decimals of their venue."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal

from schwabot.errors import ConfigError
from schwabot.records.instrument import Instrument
from schwabot.ticks.binance_messages import COINM, SPOT, USDM, native_symbol

COINBASE, KRAKEN = "coinbase", "kraken"
BINANCE = (SPOT, USDM, COINM)
PLACES = 8
"""Decimals in which Binance's spot market prints prices and quantities."""


KRAKEN_OLD = {"BTC": "XXBT", "ETH": "XETH", "LTC": "XLTC", "XRP": "XXRP", "DOGE": "XXDG", "USD": "ZUSD", "EUR": "ZEUR"}
"""Kraken's first assets have an X or Z before their name, and two have another name."""


def kraken_name(asset: str) -> str:
    """Kraken's name of an asset, without the letter before it.

    Example:
        >>> kraken_name("BTC"), kraken_name("SOL")
        ('XBT', 'SOL')
    """
    return KRAKEN_OLD.get(asset, f" {asset}")[1:]


@dataclass(frozen=True, slots=True)
class Step:
    """The step of a price or quantity, as a whole number of units of the last decimal that is printed.

    Example:
        >>> Step.of(0.5, 1).text(7), Step.of(1e-05, 8).text(123456), Step.of(0.01, 2).count("60000.01")
        ('3.5', '1.23456000', 6000001)
    """

    size: Decimal
    units: int
    places: int

    @staticmethod
    def of(size: float, places: int = 0) -> Step:
        """The step as it was written, printed with at least so many decimals."""
        exact = Decimal(repr(float(size))).normalize()
        places = max(places, -int(exact.as_tuple().exponent))
        return Step(exact, int(exact.scaleb(places)), places)

    def text(self, count: int) -> str:
        """Count steps as the venue prints them."""
        if not self.places:
            return str(count * self.units)
        digits = str(abs(count) * self.units).zfill(self.places + 1)
        return f"{'-' if count < 0 else ''}{digits[: -self.places]}.{digits[-self.places :]}"

    def count(self, text: str) -> int | None:
        """Steps of a decimal; None where it is off the grid, or no number."""
        try:
            steps = Decimal(text) / self.size
        except ArithmeticError:
            return None
        return int(steps) if steps.is_finite() and steps == int(steps) else None


@dataclass(frozen=True, slots=True)
class Listing:
    """One instrument as its venue lists it.

    Attributes:
        index: of the stream in the feed.
        instrument: under the name it goes by here.
        id: the venue's own name.
        price, qty: steps.
    """

    index: int
    instrument: Instrument
    id: str
    price: Step
    qty: Step

    @property
    def venue(self) -> str:
        """ccxt's id of the venue."""
        return self.instrument.venue

    @property
    def settle(self) -> str:
        """What gains are paid in: base of an inverse contract, else the quote currency."""
        return self.instrument.base if self.instrument.inverse else self.instrument.quote


def listings(instruments: Iterable[Instrument], names: dict[str, str] | None = None) -> list[Listing]:
    """List what a feed plays.

    Args:
        instruments: of the feed, in its order.
        names: stream of the feed -> stream it goes by here; those of the synthetic market need none.

    Raises:
        ConfigError: a stream of a venue that is not spoken for, or two under one name.

    Example:
        >>> [one.id for one in listings([Instrument("synthetic_a:BTC/USDT", 0.01, 1e-5)])]
        ['BTCUSDT']
    """
    made: list[Listing] = []
    taken: set[str] = set()
    for index, instrument in enumerate(instruments):
        stream = (names or {}).get(instrument.stream) or _name(instrument, taken)
        if stream in taken:
            raise ConfigError(f"{stream}: two streams of the source go by this name; give one of them another")
        taken.add(stream)
        one = replace(instrument, stream=stream)
        places = PLACES if one.venue == SPOT else 0
        made.append(Listing(index, one, _id(one), Step.of(one.tick_size, places), Step.of(one.lot_size, places)))
    return made


def _name(instrument: Instrument, taken: set[str]) -> str:
    """A stream of the synthetic market goes to the first venue that has no such symbol yet."""
    if not instrument.venue.startswith("synthetic"):
        return instrument.stream
    venues = (SPOT, COINBASE, KRAKEN) if instrument.is_spot else (COINM,) if instrument.inverse else (USDM,)
    free = [name for venue in venues if (name := f"{venue}:{instrument.symbol}") not in taken]
    if not free:
        raise ConfigError(
            f"{instrument.stream}: {', '.join(venues)} have {instrument.symbol} already; fewer streams of a kind,"
            " e.g. 4, or other contracts"
        )
    return free[0]


def _id(instrument: Instrument) -> str:
    if instrument.is_spot and instrument.venue == COINBASE:
        return f"{instrument.base}-{instrument.quote}"
    if instrument.is_spot and instrument.venue == KRAKEN:  # by REST; over websockets BTC/USD is BTC/USD
        base, quote = KRAKEN_OLD.get(instrument.base), KRAKEN_OLD.get(instrument.quote)
        return f"{base}{quote}" if base and quote else kraken_name(instrument.base) + instrument.quote
    native = native_symbol(instrument)
    if native is None:
        raise ConfigError(
            f"{instrument.stream}: the loopback exchange speaks for spot of {SPOT}, {COINBASE} and {KRAKEN} and for"
            f" contracts of {USDM} and {COINM}; give the stream another name: --name"
            f" {instrument.stream}={SPOT}:{instrument.base}/{instrument.quote}"
        )
    return native[1]
