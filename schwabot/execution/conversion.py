"""One currency for what is added over streams: totals, equity, losses.

rate of a currency = a spot stream of the source that trades it for money; dollars and their coins count 1:1 without

Nothing of the asset's own price is used: two streams of it that disagree for a moment are no loss.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from schwabot.errors import ConfigError
from schwabot.records.instrument import Instrument

_PEGGED = frozenset(("DAI", "FRAX", "GHO", "MIM"))


class Hop(NamedTuple):
    """One conversion: times the price of a stream, or divided by it; 1:1 before its first quote where it is pegged."""

    stream: int
    turned: bool
    pegged: bool


@dataclass(frozen=True)
class Conversion:
    """How the currencies of the streams that are traded become one.

    Attributes:
        currency: that everything is added in.
        hops: by currency; none where it counts 1:1.
        notes: what a person should know of it.
    """

    currency: str
    hops: dict[str, tuple[Hop, ...]]
    notes: list[str]


def is_dollar(currency: str) -> bool:
    """Whether it is the US dollar, or a coin that is pegged to it."""
    return "USD" in currency.upper() or currency.upper() in _PEGGED


def conversion(instruments: Sequence[Instrument], traded: Sequence[Instrument]) -> Conversion:
    """How to add what the traded streams are worth.

    Args:
        instruments: V, of the source; spot streams of two currencies among them are rates.
        traded: those that orders may be sent for.

    Raises:
        ConfigError: their currencies can't be added.

    Example:
        >>> usd, usdt = (Instrument(f"kraken:BTC/{name}", 0.1, 1e-5) for name in ("USD", "USDT"))
        >>> conversion([usd, usdt], [usd, usdt]).notes
        ['limits and losses are in USD; USDT counts 1:1: no stream of the source converts it']
        >>> rate = Instrument("kraken:USDT/USD", 1e-5, 1e-5)
        >>> conversion([usd, usdt, rate], [usd, usdt]).hops["USDT"]
        (Hop(stream=2, turned=False, pegged=True),)
    """
    quotes = list(dict.fromkeys(one.quote for one in traded))
    dollars = sorted(filter(is_dollar, quotes), key=lambda name: (name != "USD", name))
    currency = (dollars or quotes or ["USD"])[0]
    hops: dict[str, tuple[Hop, ...]] = {}
    said = []
    for quote in quotes:
        found = _hops(instruments, quote, currency)
        if found is None:
            other, first = (next(one for one in traded if one.quote == name) for name in (quote, currency))
            raise ConfigError(
                f"{other.stream} is paid in {quote} and {first.stream} in {currency}, which can't be added up for the"
                f" limits on all positions: add a stream that converts, such as {other.venue}:{quote}/{currency}, to"
                " the source, or trade them in runs of their own"
            )
        hops[quote] = found
        if found:
            said.append(f"{quote} is converted by {' and '.join(instruments[hop.stream].stream for hop in found)}")
        elif quote != currency:
            said.append(f"{quote} counts 1:1: no stream of the source converts it")
    if said or not is_dollar(currency):
        said.insert(0, f"limits and losses are in {currency}")
    return Conversion(currency, hops, ["; ".join(said)] if said else [])


def _hops(instruments: Sequence[Instrument], quote: str, currency: str) -> tuple[Hop, ...] | None:
    """From one currency to another: at once, 1:1 among dollars, or by way of some dollar; None = there is no way."""
    if quote == currency:
        return ()
    if (hop := _hop(instruments, quote, currency)) is not None:
        return (hop,)
    if is_dollar(quote) and is_dollar(currency):
        return ()
    if not is_dollar(currency):
        return None
    for name in sorted({name for one in instruments for name in (one.base, one.quote)}):
        if is_dollar(name) and (hop := _hop(instruments, quote, name)) is not None:
            return (hop, *(_hops(instruments, name, currency) or ()))
    return None


def _hop(instruments: Sequence[Instrument], quote: str, currency: str) -> Hop | None:
    for stream, one in enumerate(instruments):
        if one.is_spot and not one.trades_only and {one.base, one.quote} == {quote, currency}:
            return Hop(stream, one.base != quote, is_dollar(quote) and is_dollar(currency))
    return None
