"""What the exchange asks of a venue's private side, and which venues have one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from aiohttp import web

from schwabot.venues.loopback.binance_private import BinancePrivate
from schwabot.venues.loopback.coinbase_private import CoinbasePrivate
from schwabot.venues.loopback.kraken_private import KrakenPrivate
from schwabot.venues.loopback.listing import BINANCE, COINBASE, KRAKEN
from schwabot.venues.loopback.trading import Trading


class Private(Protocol):
    """The account of a venue other than Binance, in that venue's protocol."""

    trading: Trading

    def add_routes(self, app: web.Application) -> None:
        """Where its requests and sockets come in."""
        ...

    def arrived(self, request: web.Request, body: bytes) -> None:
        """A request of the venue came in: what the venue checks at its door is checked before anything delays it."""
        ...

    def truth(self) -> dict[str, Any]:
        """All orders, fills and balances, for tests; see ``spot_truth``."""
        ...


Account = BinancePrivate | Private
SIDES: dict[str, Callable[..., Account]] = {
    **dict.fromkeys(BINANCE, BinancePrivate), COINBASE: CoinbasePrivate, KRAKEN: KrakenPrivate,
}  # fmt: skip
"""By ccxt's id of the venue; all are made with what ``BinancePrivate`` is made with."""
