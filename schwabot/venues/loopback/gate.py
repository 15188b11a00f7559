"""What a request goes through before anybody carries it out: Binance's weights and bans, and the faults asked for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Protocol

from aiohttp import web
from aiohttp.typedefs import Middleware

from schwabot.ticks.binance_messages import COINM, SPOT, USDM
from schwabot.venues.loopback import coinbase_words, kraken_words
from schwabot.venues.loopback.faults import Faults
from schwabot.venues.loopback.listing import COINBASE, KRAKEN

if TYPE_CHECKING:
    from schwabot.venues.loopback.private import Private

VENUE_OF = {"api": SPOT, "fapi": USDM, "dapi": COINM, COINBASE: COINBASE, KRAKEN: KRAKEN}
WEIGHTS = {
    SPOT: {"exchangeInfo": 20, "depth": 5, "ticker/bookTicker": 2, "ticker/price": 2, "trades": 25, "aggTrades": 4,
           "openOrders": 6, "allOrders": 20, "myTrades": 20, "account": 20, "GET order": 4},
    USDM: {"depth": 2, "ticker/bookTicker": 2, "trades": 5, "aggTrades": 20, "allOrders": 5, "userTrades": 5,
           "account": 5, "balance": 5, "positionRisk": 5},
}  # fmt: skip
"""Requests that weigh more than 1; those of COIN-M weigh like those of USD-M."""
PER_MINUTE = {SPOT: 6_000, USDM: 2_400, COINM: 2_400}
ORDERS_PER_10S = {SPOT: 100, USDM: 300, COINM: 300}
PATIENCE = 10
"""Requests after a 429 that are answered by another one; then comes 418."""
BAN_S = 120.0


class Usage:
    """What was used of a venue's limits.

    Args:
        venue: ccxt's id.
        per_minute: weight that may be used.
    """

    def __init__(self, venue: str, per_minute: int) -> None:
        self.weights = WEIGHTS[SPOT if venue == SPOT else USDM]
        self.per_minute = per_minute
        self.per_10s = ORDERS_PER_10S[venue]
        self._windows = {60: (0, 0), 10: (0, 0)}  # length in s: which one it is, and what was used in it
        self._ignored = 0
        self._banned_until = 0.0

    def use(self, length_s: int, amount: int) -> int:
        """Add to what was used in the window that is now; the sum."""
        window = int(time.time()) // length_s
        last, used = self._windows[length_s]
        used = (used if last == window else 0) + amount
        self._windows[length_s] = (window, used)
        return used

    def refusal(self, used: int) -> tuple[int, float, str] | None:
        """Status, seconds to stay away and words, once more than there is was used."""
        now = time.time()
        if now < self._banned_until:
            return 418, self._banned_until - now, f"IP banned until {int(self._banned_until * 1e3)}."
        if used <= self.per_minute:
            self._ignored = 0
            return None
        self._ignored += 1
        if self._ignored > PATIENCE:
            self._banned_until = now + BAN_S
            return 418, BAN_S, f"IP banned until {int(self._banned_until * 1e3)}."
        return 429, 60 - now % 60, f"Current limit is {self.per_minute} request weight per 1 MINUTE."


def refusal(status: int, seconds: float, words: str) -> web.Response:
    """Too many requests, in Binance's words."""
    return web.json_response(
        {"code": -1003, "msg": f"Too much request weight used; {words}"},
        status=status,
        headers={"Retry-After": str(max(1, round(seconds)))},
    )


def broken(status: int) -> web.Response:
    """A server's error, in Binance's words."""
    said = {"code": -1001, "msg": "Internal error; unable to process your request. Please try again."}
    return web.json_response(said, status=status)


class Words(Protocol):
    """A venue's words for what its gate says."""

    def refusal(self, status: int, seconds: float, words: str) -> web.Response:
        """Too many requests: 429, or 418 for who goes on."""
        ...

    def broken(self, status: int) -> web.Response:
        """A server's error."""
        ...


WORDS: dict[str, Words] = {COINBASE: coinbase_words, KRAKEN: kraken_words}
"""Of venues that have other words than Binance."""


def gate(faults: Faults, usage: dict[str, Usage], accounts: Mapping[str, Private]) -> Middleware:
    """The middleware.

    Args:
        faults: that were asked for.
        usage: of each venue that has limits.
        accounts: told of each request that arrives.
    """

    @web.middleware
    async def pass_through(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        parts = request.path.split("/")
        venue = VENUE_OF.get(parts[1])
        if venue is None or request.headers.get("Upgrade", "").lower() == "websocket":
            return await handler(request)
        body = await request.read()  # it has arrived, whatever becomes of who sent it
        if (account := accounts.get(venue)) is not None:
            account.arrived(request, body)
        words = WORDS.get(venue)
        subject = f"{request.method} {request.path}"
        if slow := faults.hits("slow_answer", venue, subject):
            await asyncio.sleep(slow.seconds)
        for kind, status in (("rate_limit", 429), ("ban", 418)):
            if fault := faults.hits(kind, venue, subject):
                said = status, fault.seconds, "a fault that was asked for."
                return refusal(*said) if words is None else words.refusal(*said)
        if fault := faults.hits("server_error", venue, subject):
            return broken(fault.status) if words is None else words.broken(fault.status)
        headers = {}
        if venue in usage:
            limit, name = usage[venue], "/".join(parts[3:])
            used = limit.use(60, limit.weights.get(f"{request.method} {name}", limit.weights.get(name, 1)))
            headers["X-MBX-USED-WEIGHT-1M"] = str(used)
            if refused := limit.refusal(used):
                return refusal(*refused)
            if subject.startswith("POST") and name == "order":
                orders = limit.use(10, 1)
                headers["X-MBX-ORDER-COUNT-10S"] = str(orders)
                if orders > limit.per_10s:
                    return web.json_response(
                        {"code": -1015, "msg": f"Too many new orders; current limit is {limit.per_10s} per 10 SECOND."},
                        status=429,
                        headers={"Retry-After": "10"},
                    )
        answer = await handler(request)
        if faults.hits("lost_answer", venue, subject) and request.transport is not None:
            request.transport.abort()
        if not answer.prepared:
            answer.headers.update(headers)
        return answer

    return pass_through
