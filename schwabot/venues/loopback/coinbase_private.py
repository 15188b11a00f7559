"""Coinbase's private side: orders and the account over REST, signed with tokens, and the user's channel."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from datetime import datetime
from decimal import Decimal
from typing import Any

from aiohttp import web

from schwabot.venues.loopback import coinbase_words as words
from schwabot.venues.loopback.accounts import Fill, SpotAccount, decimal
from schwabot.venues.loopback.binance_public import answered
from schwabot.venues.loopback.book import Book
from schwabot.venues.loopback.coinbase import message
from schwabot.venues.loopback.coinbase_keys import Tokens
from schwabot.venues.loopback.faults import Faults
from schwabot.venues.loopback.hub import Connection, Hub
from schwabot.venues.loopback.matching import Matching
from schwabot.venues.loopback.sockets import Handler
from schwabot.venues.loopback.trading import Order, Refused, Trading, Wanted, Why
from schwabot.venues.loopback.truth import spot_truth

AT = "/coinbase/api/v3/brokerage"
USER = "user"
PAGE = 100
"""Orders, fills or accounts on a page where nobody says how many."""
MOST_LOTS = 10**9
_fits: ContextVar[bool] = ContextVar("fits")
"""Whether the token of the request that is answered fits."""
_KINDS = {  # kind, time in force, and that of a post-only order
    "limit_limit_gtc": ("LIMIT", "GTC", "GTX"), "limit_limit_fok": ("LIMIT", "FOK", "FOK"),
    "sor_limit_ioc": ("LIMIT", "IOC", "IOC"), "market_market_ioc": ("MARKET", "IOC", "IOC"),
}  # fmt: skip
_REFUSALS = {
    Why.FUNDS: ("INSUFFICIENT_FUND", "Insufficient balance in source account"),
    Why.WOULD_TAKE: ("INVALID_LIMIT_PRICE_POST_ONLY", ""),
    Why.NOT_FILLED: ("INVALID_NO_LIQUIDITY", ""),
    Why.NO_MARKET: ("ORDER_ENTRY_DISABLED", "there is no market yet"),
    Why.TOO_MANY: ("COMMANDER_REJECTED_NEW_ORDER", "the loopback exchange lets few orders of a product rest"),
}


class CoinbaseError(Exception):
    """An answer that says no.

    Args:
        error: Coinbase's word for it.
        text: for people.
        status: of HTTP.
    """

    def __init__(self, error: str, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.error, self.text, self.status = error, text, status


class NotPlaced(Exception):  # noqa: N818 - it is an answer
    """An order that is not taken: that is told with status 200.

    Args:
        reason: one of Coinbase's failure reasons.
        text: for people.
    """

    def __init__(self, reason: str, text: str = "") -> None:
        super().__init__(text)
        self.reason, self.text = reason, text


class CoinbasePrivate:
    """The account at Coinbase.

    Args:
        venue: ccxt's id.
        books: of its products, by Coinbase's name.
        hub: where the user's channel is.
        matching: the engine, shared by all.
        faults: what is done to orders.
        keys: API key and secret.
        deposits: what the account begins with, by asset.
        now_ms: the venue's clock.
        now_ns: the wall clock.
        order_ms: the clock that stamps orders and fills.
    """

    def __init__(
        self,
        venue: str,
        books: Mapping[str, Book],
        hub: Hub,
        matching: Matching,
        faults: Faults,
        keys: tuple[str, str],
        deposits: Mapping[str, Decimal],
        now_ms: Callable[[], int],
        now_ns: Callable[[], int],
        order_ms: Callable[[], int],
    ) -> None:
        self.venue = venue
        self._books, self._hub, self._faults, self._now_ms = books, hub, faults, now_ms
        self.account = SpotAccount(dict(deposits), fee_in_quote=True)
        listed = [book.listing for book in books.values()]
        self.trading = Trading(listed, matching, self.account, now_ns, order_ms, self._told)
        self.user = hub.channel(venue, USER)
        self._tokens = Tokens(keys, now_ms)
        self._events = 0

    def add_routes(self, app: web.Application) -> None:
        """Requests that need a token; before those of the public side, which answers all others."""
        for method, path, call in (
            ("GET", "accounts", self._accounts), ("GET", "transaction_summary", self._summary),
            ("GET", "orders/historical/batch", self._orders), ("GET", "orders/historical/fills", self._fills),
            ("GET", "orders/historical/{order}", self._order), ("POST", "orders", self._place),
            ("POST", "orders/batch_cancel", self._cancel),
        ):  # fmt: skip
            app.router.add_route(method, f"{AT}/{path}", self._signed(call))

    def arrived(self, request: web.Request, body: bytes) -> None:
        """See ``Private``: the token; how long the order takes after that is nobody's concern."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        _fits.set(self._tokens.fit(token, f"{request.method} {request.host}{request.path}"))

    def _signed(self, call: Callable[[web.Request, Any], Any]) -> Handler:
        async def handler(request: web.Request) -> web.StreamResponse:
            if not _fits.get():
                return web.Response(text="Unauthorized\n", status=401)
            try:
                body = json.loads(await request.text() or "{}")
                if not isinstance(body, dict):
                    raise ValueError("an object is expected")
                said = call(request, body)
                return said if isinstance(said, web.Response) else answered(said)
            except CoinbaseError as error:
                return words.said_no(error.error, error.text, error.status)
            except (ValueError, ArithmeticError) as error:
                return words.said_no("INVALID_ARGUMENT", str(error), 400)

        return handler

    def subscribe(self, connection: Connection, asked: Mapping[str, Any]) -> bool:
        """Listen to the user's channel, which begins with what is open; whether the token fits."""
        if not self._tokens.fit(str(asked.get("jwt", "")), None):
            return False
        orders = [words.order_message(one) for one in self.trading.open_orders()]
        assert connection.dress is not None
        connection.send(connection.dress(USER, self._message("snapshot", orders)))
        self._hub.listen(connection, self.user)
        return True

    def truth(self) -> dict[str, Any]:
        """See ``Private``."""
        return spot_truth(self.trading, self.account, words.order_id, words.trade_id, words.status_of)

    def _message(self, kind: str, orders: Sequence[dict[str, Any]]) -> str:
        event = {"type": kind, "orders": orders, "positions": {}}
        return message(USER, self._now_ms() * words.MS, json.dumps(event, separators=(",", ":")))

    def _told(self, order: Order, what: str, fill: Fill | None) -> None:
        """Something became of an order: the user's channel says so."""
        if self.user.listeners:
            self._events += 1
            self._hub.publish(self.user, self._events, self._message("update", [words.order_message(order)]))

    def _wanted(self, asked: Mapping[str, Any]) -> Wanted:
        """Read an order and hold it to what the product allows."""
        name = asked.get("client_order_id")
        if not name or not isinstance(name, str):
            raise CoinbaseError("INVALID_ARGUMENT", "client_order_id is required")
        book = self._books.get(str(asked.get("product_id")))
        if book is None:
            raise NotPlaced("INVALID_PRODUCT_ID")
        side = {"BUY": 1, "SELL": -1}.get(str(asked.get("side")))
        if side is None:
            raise NotPlaced("INVALID_SIDE")
        ((kind, how),) = (asked.get("order_configuration") or {"": {}}).items()
        if kind not in _KINDS or "base_size" not in how:
            raise NotPlaced("UNSUPPORTED_ORDER_CONFIGURATION", f"{', '.join(_KINDS)} with base_size are spoken here")
        kind, plain, post_only = _KINDS[kind]
        listing = book.listing
        lots, ticks = listing.qty.count(str(how["base_size"])), 0
        if lots is None or not 0 < lots <= MOST_LOTS:
            raise NotPlaced("INVALID_SIZE_PRECISION", "Too many decimals in order amount")
        if kind == "LIMIT":
            price = listing.price.count(str(how.get("limit_price")))
            if price is None or not 0 < price <= MOST_LOTS:
                raise NotPlaced("INVALID_PRICE_PRECISION", "Too many decimals in order price")
            ticks = price
        if listing.qty.size * lots * listing.price.size * (ticks or book.bid) < 1:
            raise NotPlaced("PREVIEW_INVALID_QUOTE_SIZE_TOO_SMALL", "order size is too small")
        return Wanted(listing, side, kind, post_only if how.get("post_only") else plain, lots, ticks, name)

    def _place(self, _: web.Request, asked: Mapping[str, Any]) -> dict[str, Any]:
        """A name that was used is never an order again: the answer is the one that has it."""
        try:
            wanted = self._wanted(asked)
            for order in self.trading.orders.values():
                if order.wanted.client_id == wanted.client_id:
                    return words.placed_answer(order)
            cut_short = self._faults.hits("partial_cancel", self.venue, f"POST {wanted.listing.id}") is not None
            return words.placed_answer(self.trading.place(wanted, cut_short=cut_short))
        except (NotPlaced, Refused) as error:
            reason, text = (error.reason, error.text) if isinstance(error, NotPlaced) else _REFUSALS[error.why]
        preview = reason if reason.startswith("PREVIEW_") else f"PREVIEW_{reason}"
        return {
            "success": False,
            "failure_reason": "UNKNOWN_FAILURE_REASON",
            "order_id": "",
            "error_response": {
                "error": reason.removeprefix("PREVIEW_"),
                "message": text,
                "error_details": "",
                "preview_failure_reason": preview,
            },
            "order_configuration": asked.get("order_configuration"),
        }

    def _found(self, name: str) -> Order | None:
        return next((one for one in self.trading.orders.values() if words.order_id(one.id) == name), None)

    def _cancel(self, _: web.Request, asked: Mapping[str, Any]) -> dict[str, Any]:
        results = []
        for name in asked.get("order_ids") or ():
            order = self._found(str(name))
            there = order is not None and order.open
            if order is not None and there:
                self.trading.cancel(order)
            reason = "UNKNOWN_CANCEL_FAILURE_REASON" if there else "UNKNOWN_CANCEL_ORDER"
            results.append({"success": there, "failure_reason": reason, "order_id": name})
        return {"results": results}

    def _order(self, request: web.Request, _: Any) -> dict[str, Any] | web.Response:
        order = self._found(request.match_info["order"])
        return words.unknown_order() if order is None else {"order": words.order_answer(order)}

    def _orders(self, request: web.Request, _: Any) -> dict[str, Any]:
        """The newest first."""
        states = request.query.getall("order_status", [])
        found = [
            words.order_answer(one)
            for one in reversed(self.trading.orders.values())
            if _asked_for(request, one.wanted.listing.id) and _within(request, one.created_ms, "start_date", "end_date")
        ]
        page, cursor = _page(request, [one for one in found if not states or one["status"] in states])
        return {"orders": page, "sequence": "0", "has_next": bool(cursor), "cursor": cursor}

    def _fills(self, request: web.Request, _: Any) -> dict[str, Any]:
        """The newest first; there is always a next page, and the last one is empty."""
        of = request.query.getall("order_ids", [])
        found = [
            (fill.id, order, fill)
            for order in self.trading.orders.values()
            if _asked_for(request, order.wanted.listing.id) and (not of or words.order_id(order.id) in of)
            for fill in order.fills
            if _within(request, fill.time_ms, "start_sequence_timestamp", "end_sequence_timestamp")
        ]
        found.sort(key=lambda one: -one[0])
        page, cursor = _page(request, [words.fill_answer(order, fill) for _, order, fill in found])
        return {"fills": page, "cursor": cursor or (str(len(found)) if found else "")}

    def _accounts(self, request: web.Request, _: Any) -> dict[str, Any]:
        page, cursor = _page(request, words.accounts_answer(self.account))
        return {"accounts": page, "has_next": bool(cursor), "cursor": cursor, "size": len(page)}

    def _summary(self, _request: web.Request, _: Any) -> dict[str, Any]:
        one = next(iter(self._books.values())).listing.instrument
        tier = {
            "pricing_tier": "Advanced 1",
            "usd_from": "0",
            "usd_to": "1000",
            "taker_fee_rate": f"{decimal(one.taker_fee_bp) / 10_000:f}",
            "maker_fee_rate": f"{decimal(one.maker_fee_bp) / 10_000:f}",
        }
        return {"total_volume": 0, "total_fees": 0, "fee_tier": tier, "margin_rate": None}


def _asked_for(request: web.Request, product: str) -> bool:
    names = request.query.getall("product_ids", [])
    return not names or product in names


def _within(request: web.Request, time_ms: int, begin: str, end: str) -> bool:
    first, last = (request.query.get(name) for name in (begin, end))
    return (first is None or time_ms >= _ms(first)) and (last is None or time_ms < _ms(last))


def _ms(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1e3)


def _page(request: web.Request, found: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], str]:
    """What is on the page that the cursor names, and the cursor of the next one; empty = there is none."""
    first, size = int(request.query.get("cursor") or 0), int(request.query.get("limit") or PAGE)
    return found[first : first + size], str(first + size) if first + size < len(found) else ""
