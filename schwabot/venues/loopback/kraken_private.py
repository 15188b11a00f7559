"""Kraken's private side: signed requests about orders and the account, and the account's stream."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from contextvars import ContextVar
from datetime import datetime
from decimal import Decimal
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from aiohttp import web

from schwabot.venues.loopback import kraken_words as words
from schwabot.venues.loopback.accounts import Fill, SpotAccount
from schwabot.venues.loopback.binance_words import MOST_LOTS
from schwabot.venues.loopback.book import Book
from schwabot.venues.loopback.faults import Faults
from schwabot.venues.loopback.hub import Connection, Hub
from schwabot.venues.loopback.kraken_calls import CallCounter
from schwabot.venues.loopback.matching import Matching
from schwabot.venues.loopback.sockets import listen
from schwabot.venues.loopback.stamps import iso
from schwabot.venues.loopback.trading import WOULD_TAKE, Order, Refused, Trading, Wanted, Why
from schwabot.venues.loopback.truth import spot_truth

Params = Mapping[str, str]
Found = TypeVar("Found")

USER = "user"
"""Name of the account's stream among the channels."""
PAGE = 50
LEAST_COST = Decimal("0.5")
DEADLINE_MS = (2_000, 60_000)
TOKEN_S = 900
BAD_NONCES = 8
"""In a minute: the next one locks the key out. Kraken does not say how many it bears."""
LOCKOUT_S = 900
_CLIENT_ID = re.compile(r"[ -~]{1,18}|[0-9a-fA-F]{32}|[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
_REFUSALS = {
    Why.DUPLICATE: "EGeneral:Invalid arguments:cl_ord_id",
    Why.TOO_MANY: "EOrder:Orders limit exceeded",
    Why.FUNDS: "EOrder:Insufficient funds",
    Why.NO_MARKET: "EService:Market in cancel_only mode",
}


class KrakenError(Exception):
    """An answer that says no, in Kraken's words."""


_heard: ContextVar[tuple[dict[str, str], int] | KrakenError] = ContextVar("heard")
"""Of the request that is answered: its parameters and when it came, or what was wrong with it."""


class KrakenPrivate:
    """The account at Kraken; made with what ``BinancePrivate`` is made with.

    The secret is base64 text at Kraken: that of the bytes of the one given, see ``urls.credentials``.
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
        self._books = dict(books) | {words.altname(book.listing): book for book in books.values()}
        self._hub, self._faults, self._now_ms = hub, faults, now_ms
        self._key, self._secret = keys
        listed = [book.listing for book in books.values()]
        assets = {name for one in listed for name in (one.instrument.base, one.instrument.quote)} | set(deposits)
        self.account = SpotAccount(
            dict(deposits), fee_in_quote=True, places={name: words.places_of(name) for name in assets}
        )
        self.trading = Trading(listed, matching, self.account, now_ns, order_ms, self._told)
        self.user = hub.channel(venue, USER)
        self.calls = CallCounter()
        self._nonce = 0
        self._bad_nonces: list[int] = []
        self._locked_ms = 0
        self._sequence = 0
        self._tokens: dict[str, int] = {}
        self._calls: dict[str, Callable[[Params, int], Any]] = {
            "AddOrder": self._place,
            "CancelOrder": self._cancel,
            "CancelAll": self._cancel_all,
            "QueryOrders": self._query,
            "OpenOrders": self._open_orders,
            "ClosedOrders": self._closed_orders,
            "TradesHistory": self._fills,
            "BalanceEx": lambda params, _: words.balances(self.account),
            "Balance": lambda params, _: {name: one["balance"] for name, one in words.balances(self.account).items()},
            "GetWebSocketsToken": self._token,
        }

    def add_routes(self, app: web.Application) -> None:
        """See ``Private``."""
        app.router.add_post("/kraken/0/private/{name}", self._private)
        app.router.add_get("/kraken/ws-auth/v2", self._socket)

    def arrived(self, request: web.Request, body: bytes) -> None:
        """See ``Private``: key, signature and nonce, which has to be larger than that of any request before."""
        path = request.path.removeprefix("/kraken")
        if path.startswith("/0/private/"):
            try:
                _heard.set((self._signed(path, body.decode(), request.headers), self._now_ms()))
            except KrakenError as error:
                _heard.set(error)

    def _signed(self, path: str, body: str, headers: Mapping[str, str]) -> dict[str, str]:
        params = dict(parse_qsl(body, keep_blank_values=True))
        if not hmac.compare_digest(headers.get("API-Key", ""), self._key):
            raise KrakenError("EAPI:Invalid key")
        nonce = params.pop("nonce", "")
        digest = hashlib.sha256((nonce + body).encode()).digest()
        signature = hmac.new(self._secret.encode(), path.encode() + digest, hashlib.sha512).digest()
        if not hmac.compare_digest(headers.get("API-Sign", ""), b64encode(signature).decode()):
            raise KrakenError("EAPI:Invalid signature")
        now_ms = self._now_ms()
        if now_ms < self._locked_ms:
            raise KrakenError("EGeneral:Temporary lockout")
        if not nonce.isdecimal() or int(nonce) <= self._nonce:
            self._bad_nonces = [ms for ms in self._bad_nonces if ms > now_ms - 60_000] + [now_ms]
            if len(self._bad_nonces) > BAD_NONCES:
                self._locked_ms = now_ms + LOCKOUT_S * 1_000
            raise KrakenError("EAPI:Invalid nonce")
        self._nonce = int(nonce)
        if not self.calls.use(path.rpartition("/")[2]):
            raise KrakenError("EAPI:Rate limit exceeded")
        return params

    async def _private(self, request: web.Request) -> web.Response:
        heard, call = _heard.get(), self._calls.get(request.match_info["name"])
        try:
            if isinstance(heard, KrakenError):
                raise heard
            if call is None:
                raise KrakenError("EGeneral:Unknown method")
            return web.json_response({"error": [], "result": call(*heard)})
        except KrakenError as error:
            return words.said_no(str(error))

    def _wanted(self, params: Params, at_ms: int) -> Wanted:
        """Read an order, and hold it to Kraken's rules."""
        if (book := self._books.get(params.get("pair", ""))) is None:
            raise KrakenError("EQuery:Unknown asset pair")
        listing = book.listing
        side, kind = {"buy": 1, "sell": -1}.get(params.get("type", "")), params.get("ordertype", "")
        if side is None or kind not in ("limit", "market"):
            raise KrakenError(f"EGeneral:Invalid arguments:{'type' if side is None else 'ordertype'}")
        flags = [one for one in params.get("oflags", "").split(",") if one]
        time_in_force = params.get("timeinforce", "GTC")
        if set(flags) - {"fciq", "post"} or ("post" in flags and (kind, time_in_force) != ("limit", "GTC")):
            raise KrakenError("EGeneral:Invalid arguments:oflags")
        if time_in_force not in ("GTC", "IOC"):
            raise KrakenError("EGeneral:Invalid arguments:timeinforce")
        lots, price = listing.qty.count(params.get("volume", "")), 0
        if lots is None or not lots < MOST_LOTS:
            raise KrakenError("EGeneral:Invalid arguments:volume")
        if lots < 1:
            raise KrakenError("EOrder:Order minimum not met")
        if kind == "limit":
            ticks = listing.price.count(params.get("price", ""))
            if ticks is None or not 0 < ticks < MOST_LOTS:
                raise KrakenError("EOrder:Invalid price")
            price = ticks
        at = price or (book.ask if side > 0 else book.bid)
        if listing.qty.size * lots * listing.price.size * at < LEAST_COST:
            raise KrakenError("EOrder:Cost minimum not met")
        name = params.get("cl_ord_id")
        if name is not None and not _CLIENT_ID.fullmatch(name):
            raise KrakenError("EGeneral:Invalid arguments:cl_ord_id")
        if (void := params.get("deadline")) is not None:
            self._check_deadline(void, at_ms)
        how = "LIMIT_MAKER" if "post" in flags else kind.upper()
        return Wanted(listing, side, how, time_in_force, lots, price, name or secrets.token_hex(16))

    def _check_deadline(self, text: str, at_ms: int) -> None:
        try:
            void_ms = datetime.fromisoformat(text).timestamp() * 1e3
        except ValueError:
            raise KrakenError("EGeneral:Invalid arguments:deadline") from None
        if not DEADLINE_MS[0] <= void_ms - at_ms <= DEADLINE_MS[1]:
            raise KrakenError("EGeneral:Invalid arguments:deadline")
        if self._now_ms() > void_ms:
            raise KrakenError("EService:Deadline elapsed")

    def _place(self, params: Params, at_ms: int) -> dict[str, Any]:
        wanted = self._wanted(params, at_ms)
        cut_short = self._faults.hits("partial_cancel", self.venue, f"POST {wanted.listing.id}") is not None
        try:
            order = self.trading.place(wanted, cut_short=cut_short, cancels=True)
        except Refused as error:
            raise KrakenError(_REFUSALS[error.why]) from None
        return {"descr": {"order": words.description(order)}, "txid": [words.text_id("O", order.id)]}

    def _cancel(self, params: Params, _: int) -> dict[str, Any]:
        name, txid = params.get("cl_ord_id"), params.get("txid", "")
        found = [one for one in self.trading.open_orders()
                 if name == one.wanted.client_id or (name is None and words.number_of(txid) == one.id)]  # fmt: skip
        if not found:
            raise KrakenError("EOrder:Unknown order")
        for order in found:
            self.trading.cancel(order)
        return {"count": len(found)}

    def _cancel_all(self, _: Params, __: int) -> dict[str, Any]:
        found = self.trading.open_orders()
        for order in found:
            self.trading.cancel(order)
        return {"count": len(found)}

    def _query(self, params: Params, _: int) -> dict[str, Any]:
        answer = {}
        for txid in params.get("txid", "").split(","):
            order = self.trading.orders.get(words.number_of(txid) or 0)
            if order is None:
                raise KrakenError("EOrder:Invalid order")
            answer[txid] = words.order_answer(order) | (
                {"trades": [words.text_id("T", fill.id) for fill in order.fills]} if params.get("trades") else {}
            )
        return answer

    def _open_orders(self, params: Params, _: int) -> dict[str, Any]:
        return {"open": _by_id(_named(self.trading.open_orders(), params))}

    def _closed_orders(self, params: Params, _: int) -> dict[str, Any]:
        over = [one for one in self.trading.orders.values() if not one.open]
        found = [one for one in _named(over, params) if _inside(params, one.created_ms)]
        found.sort(key=lambda one: (one.updated_ms, one.id), reverse=True)
        return {"closed": _by_id(_page(found, params)), "count": len(found)}

    def _fills(self, params: Params, _: int) -> dict[str, Any]:
        found = [
            (order, fill)
            for order in self.trading.orders.values()
            for fill in order.fills
            if _inside(params, fill.time_ms)
        ]
        found.sort(key=lambda one: one[1].id, reverse=True)
        trades = {words.text_id("T", fill.id): words.fill_answer(order, fill) for order, fill in _page(found, params)}
        return {"trades": trades, "count": len(found)}

    def _token(self, _: Params, __: int) -> dict[str, Any]:
        token = secrets.token_urlsafe(32)
        self._tokens[token] = self._now_ms()
        return {"token": token, "expires": TOKEN_S}

    async def _socket(self, request: web.Request) -> web.StreamResponse:
        return await listen(request, self._hub, self._asked)

    def _asked(self, connection: Connection, asked: Any) -> None:
        now = iso(self._now_ms() * words.MS, words.DIGITS)
        asked = asked if isinstance(asked, dict) else {}
        method, params = asked.get("method"), asked.get("params") or {}
        said: dict[str, Any] = {"method": method, "time_in": now, "time_out": now}
        said |= {"req_id": asked["req_id"]} if "req_id" in asked else {}
        if method == "ping":
            connection.send(json.dumps(said | {"method": "pong"}))
            return
        if method not in ("subscribe", "unsubscribe") or params.get("channel") != "executions":
            connection.send(json.dumps(said | {"success": False, "error": f"Malformed request: {method}"}))
            return
        made_ms = self._tokens.get(str(params.get("token")), -TOKEN_S * 1_000)
        if self._now_ms() - made_ms > TOKEN_S * 1_000:
            connection.send(json.dumps(said | {"success": False, "error": "ESession:Invalid session"}))
            return
        connection.send(json.dumps(said | {"success": True, "result": {"channel": "executions"}}))
        if method == "unsubscribe":
            self._hub.leave(connection, [self.user])
            return
        rows = [words.whole_order(one, "new") for one in self.trading.open_orders() if params.get("snap_orders", True)]
        if params.get("snap_trades"):
            fills = [(one, fill) for one in self.trading.orders.values() for fill in one.fills]
            rows += [words.trade_message(*one) for one in sorted(fills, key=lambda one: one[1].id)[-PAGE:]]
        connection.send(self._message("snapshot", rows))
        self._hub.listen(connection, self.user)

    def _message(self, kind: str, rows: list[dict[str, Any]]) -> str:
        self._sequence += 1
        return json.dumps({"channel": "executions", "type": kind, "data": rows, "sequence": self._sequence})

    def _told(self, order: Order, what: str, fill: Fill | None) -> None:
        """Something became of an order: the account's stream says so."""
        if not self.user.listeners:
            return
        rows = []
        if what in ("NEW", "PENDING"):
            rows = [words.whole_order(order, "pending_new")]
            rows += [words.order_change(order, "new")] if what == "NEW" else []
        elif fill is not None:
            rows = [words.trade_message(order, fill)]
            rows += [words.order_change(order, "filled")] if order.status == "FILLED" else []
        else:
            rows = [words.order_change(order, "canceled")]
        for row in rows:
            self._hub.publish(self.user, self._sequence + 1, self._message("update", [row]))

    def truth(self) -> dict[str, Any]:
        """See ``Private``."""

        def order_id(number: int) -> str:
            return words.text_id("O", number)

        def trade_id(number: int) -> str:
            return words.text_id("T", number)

        def status(order: Order) -> str:  # which says what it comes to
            return "rejected" if order.status == WOULD_TAKE else words.status_of(order)

        return spot_truth(self.trading, self.account, order_id, trade_id, status)


def _named(orders: Iterable[Order], params: Params) -> list[Order]:
    name = params.get("cl_ord_id")
    return [one for one in orders if name is None or one.wanted.client_id == name]


def _by_id(orders: Iterable[Order]) -> dict[str, Any]:
    return {words.text_id("O", one.id): words.order_answer(one) for one in orders}


def _inside(params: Params, time_ms: int) -> bool:
    """Within start, which is left out, and end."""
    start, end = float(params.get("start", "-1")), float(params.get("end", "inf"))
    return start < time_ms / 1e3 <= end


def _page(found: list[Found], params: Params) -> list[Found]:
    first = int(params.get("ofs", "0"))
    return found[first : first + PAGE]
