"""What ccxt knows of a market, as an ``Instrument``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any

from schwabot.errors import VenueError, closest
from schwabot.records.instrument import Instrument

DECIMAL_PLACES, SIGNIFICANT_DIGITS, TICK_SIZE = 2, 3, 4
"""ccxt's precision modes."""


def instrument_of(
    venue: str, market: Mapping[str, Any], precision_mode: int, known: Instrument | None = None
) -> Instrument:
    """The instrument of a market.

    Tick and lot are the venue's own: what it sends lies on them. Fees are those of ``known`` where it is given, as they
    depend on the account; else what ccxt states for the market.

    Args:
        venue: ccxt's name of the exchange.
        market: ccxt's unified market.
        precision_mode: of the exchange: decimal places or tick sizes.
        known: what conf/instruments says of the stream.

    Raises:
        VenueError: ccxt does not say on what grid its prices or sizes lie.

    Example:
        >>> market = {"symbol": "BTC/USD:BTC", "precision": {"price": 0.1, "amount": 1.0}, "contract": True,
        ...           "contractSize": 100.0, "inverse": True, "taker": 0.0005, "maker": 0.0001}
        >>> found = instrument_of("binancecoinm", market, TICK_SIZE)
        >>> found.tick_size, found.lot_size, found.contract_value, found.inverse, found.taker_fee_bp
        (0.1, 1.0, 100.0, True, 5.0)
    """
    symbol = market["symbol"]
    stream = f"{venue}:{symbol}"
    precision = market.get("precision") or {}
    tick_size = _step(venue, symbol, "price", precision.get("price"), precision_mode)
    lot_size = _step(venue, symbol, "amount", precision.get("amount"), precision_mode)
    found = Instrument(
        stream,
        tick_size=tick_size,
        lot_size=lot_size,
        contract_value=float(market.get("contractSize") or 1.0) if market.get("contract") else 1.0,
        inverse=bool(market.get("inverse")),
        maker_fee_bp=_in_bp(market.get("maker")),
        taker_fee_bp=_in_bp(market.get("taker")),
    )
    if known is None:
        return found
    return replace(found, maker_fee_bp=known.maker_fee_bp, taker_fee_bp=known.taker_fee_bp)


def _step(venue: str, symbol: str, what: str, precision: float | None, mode: int) -> float:
    if precision is not None and mode == DECIMAL_PLACES:
        return float(Decimal(1).scaleb(-int(precision)))
    if precision is not None and mode == TICK_SIZE and float(precision) > 0:
        return float(precision)
    why = "counts significant digits" if mode == SIGNIFICANT_DIGITS else f"gives {precision}"
    raise VenueError(f"{venue}: {symbol}: no grid is known for its {what} (ccxt {why}), so it can't be a stream")


def _in_bp(share: float | None) -> float:
    return 0.0 if share is None else float(Decimal(str(share)) * 10_000)


def differences(found: Instrument, known: Instrument | None) -> list[str]:
    """Notes where conf/instruments and the venue disagree on what counts the prices.

    Example:
        >>> known = Instrument("x:A/B", tick_size=0.1, lot_size=1.0)
        >>> differences(Instrument("x:A/B", tick_size=0.01, lot_size=1.0), known)
        ['x:A/B: tick_size is 0.01 at the venue and 0.1 in conf/instruments; the venue counts']
    """
    if known is None:
        return []
    return [
        f"{found.stream}: {name} is {getattr(found, name)} at the venue and {getattr(known, name)} in"
        " conf/instruments; the venue counts"
        for name in ("tick_size", "lot_size", "contract_value", "inverse")
        if getattr(found, name) != getattr(known, name)
    ]


def market_of(venue: str, markets: Mapping[str, Mapping[str, Any]], symbol: str) -> Mapping[str, Any]:
    """The market of a symbol.

    Raises:
        VenueError: the venue does not list it, or does not trade it now.
    """
    market = markets.get(symbol)
    if market is None:
        raise VenueError(f"{venue}: no market {symbol}{closest(symbol, markets)}")
    if market.get("active") is False:
        raise VenueError(f"{venue}: {symbol} is listed but not traded now: leave it out of source.streams")
    return market
