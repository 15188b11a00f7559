"""An exchange on this machine that speaks the protocols of real ones; see docs/loopback.md."""

from schwabot.venues.loopback.server import LoopbackExchange
from schwabot.venues.loopback.urls import ccxt_options

__all__ = ["LoopbackExchange", "ccxt_options"]
