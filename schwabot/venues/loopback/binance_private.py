"""Binance's private side: signed requests about orders and the account, and the user's stream."""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

from schwabot.ticks.binance_messages import COINM, SPOT
from schwabot.venues.loopback import binance_orders as words
from schwabot.venues.loopback.accounts import LEVERAGE, Fill, FuturesAccount, SpotAccount
from schwabot.venues.loopback.binance_words import MIN_NOTIONAL, MOST_LOTS
from schwabot.venues.loopback.book import Book
from schwabot.venues.loopback.faults import Faults
from schwabot.venues.loopback.hub import Hub
from schwabot.venues.loopback.listing import Listing
from schwabot.venues.loopback.matching import Matching
from schwabot.venues.loopback.trading import Order, Refused, Trading, Wanted, Why

Params = Mapping[str, str]

RECV_WINDOW_MS = 5_000
AHEAD_MS = 1_000
USER = "user"
"""Name of the user's stream among the channels."""
# What is refused: code and words on spot, and on futures.
_REFUSALS = {
    Why.DUPLICATE: ((-2010, "Duplicate order sent."), (-4116, "ClientOrderId is duplicated.")),
    Why.TOO_MANY: ((-1013, "Filter failure: MAX_NUM_ORDERS"), (-2025, "Reach max open order limit.")),
    Why.FUNDS: ((-2010, "Account has insufficient balance for requested action."), (-2019, "Margin is insufficient.")),
    Why.WOULD_TAKE: (
        (-2010, "Order would immediately match and take."),
        (-5022, "Due to the order could not be executed as maker, the Post Only order will be rejected."),
    ),
    Why.NOT_FILLED: (
        (-2010, "Order would not fill completely."),
        (-5021, "Due to the order could not be filled immediately, the FOK order has been rejected."),
    ),
    Why.REDUCE_ONLY: (
        (-1106, "Parameter 'reduceOnly' sent when not required."),
        (-2022, "ReduceOnly Order is rejected."),
    ),
    Why.NO_MARKET: ((-1013, "Market is closed."), (-1013, "Market is closed.")),
}  # fmt: skip


class BinanceError(Exception):
    """An answer that says no.

    Args:
        code: Binance's.
        text: its words.
        status: of HTTP.
    """

    def __init__(self, code: int, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.status = status


class BinancePrivate:
    """The account of one of Binance's three markets.

    Args:
        venue: ccxt's id.
        books: of its instruments, by Binance's name.
        hub: where the user's stream is.
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
        self._spot = venue == SPOT
        self._books = books
        self._hub = hub
        self._faults = faults
        self._key, self._secret = keys
        self._now_ms = now_ms
        self.account = SpotAccount(dict(deposits)) if self._spot else FuturesAccount(dict(deposits))
        listed = [book.listing for book in books.values()]
        self.trading = Trading(listed, matching, self.account, now_ns, order_ms, self._told)
        self.user = hub.channel(venue, USER)
        self.listen_keys: set[str] = set()
        self._events = 0
        self.calls: dict[tuple[str, str], Callable[[Params], Any]] = {
            ("POST", "order"): self._place,
            ("POST", "order/test"): self._test,
            ("GET", "order"): lambda params: words.order_answer(self._find(params, -2013, "Order does not exist.")),
            ("DELETE", "order"): self._cancel,
            ("GET", "openOrders"): self._open_orders,
            ("GET", "allOrders"): self._all_orders,
        }
        if self._spot:
            self.calls |= {
                ("DELETE", "openOrders"): self._cancel_all,
                ("POST", "order/cancelReplace"): self._replace,
                ("GET", "myTrades"): self._fills,
                ("GET", "account"): self._spot_account,
            }
        else:
            self.calls |= {
                ("DELETE", "allOpenOrders"): self._cancel_all,
                ("GET", "openOrder"): self.calls["GET", "order"],
                ("GET", "userTrades"): self._fills,
                ("GET", "account"): self._futures_account,
                ("GET", "balance"): lambda _: self._assets(),
                ("GET", "positionRisk"): lambda _: self._positions(),
                ("GET", "leverageBracket"): lambda _: self._brackets(),
                ("POST", "leverage"): self._leverage,
                ("GET", "positionSide/dual"): lambda _: {"dualSidePosition": False},
            }

    def signed(self, raw: str, key: str | None) -> dict[str, str]:
        """Parameters of a signed request, as they came: query and body.

        Raises:
            BinanceError: no key or another one, a wrong signature, or a time outside of the window.
        """
        self.check_key(key)
        payload, _, signature = raw.rpartition("&signature=")
        expected = hmac.new(self._secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
        params = dict(parse_qsl(payload, keep_blank_values=True))
        self._check(params, signature, expected)
        return params

    def signed_message(self, asked: Mapping[str, Any]) -> dict[str, str]:
        """Parameters of a signed request over the websocket API: the signature is over them by name.

        Raises:
            BinanceError: see ``signed``.
        """
        params = {name: _plain(one) for name, one in asked.items()}
        self.check_key(params.get("apiKey"))
        signature = params.pop("signature", "")
        payload = "&".join(f"{name}={params[name]}" for name in sorted(params))
        expected = hmac.new(self._secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
        self._check(params, signature, expected)
        return params

    def check_key(self, key: str | None) -> None:
        """Whether it is the account's key.

        Raises:
            BinanceError: it is not.
        """
        if not key:
            raise BinanceError(-2014, "API-key format invalid.", 401)
        if not hmac.compare_digest(key, self._key):
            raise BinanceError(-2015, "Invalid API-key, IP, or permissions for action.", 401)

    def _check(self, params: Params, signature: str, expected: str) -> None:
        if "timestamp" not in params:
            raise BinanceError(-1102, "Mandatory parameter 'timestamp' was not sent, was empty/null, or malformed.")
        if not hmac.compare_digest(signature, expected):
            raise BinanceError(-1022, "Signature for this request is not valid.")
        sent, now = int(params["timestamp"]), self._now_ms()
        if sent >= now + AHEAD_MS:
            raise BinanceError(-1021, "Timestamp for this request was 1000ms ahead of the server's time.")
        if now - sent > int(float(params.get("recvWindow", RECV_WINDOW_MS))):
            raise BinanceError(-1021, "Timestamp for this request is outside of the recvWindow.")

    def _listing(self, params: Params) -> Listing:
        book = self._books.get(_need(params, "symbol"))
        if book is None:
            raise BinanceError(-1121, "Invalid symbol.")
        return book.listing

    def _find(self, params: Params, code: int, text: str) -> Order:
        listing = self._listing(params)
        number, name = params.get("orderId"), params.get("origClientOrderId")
        if not number and not name:
            raise BinanceError(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
        order = self.trading.find(listing, int(number) if number else None, name)
        if order is None:
            raise BinanceError(code, text)
        return order

    def _wanted(self, params: Params) -> Wanted:
        """Read an order and hold it to the filters."""
        listing = self._listing(params)
        side = {"BUY": 1, "SELL": -1}.get(_need(params, "side"))
        kind = _need(params, "type")
        kinds = ("LIMIT", "MARKET", "LIMIT_MAKER") if self._spot else ("LIMIT", "MARKET")
        if side is None:
            raise BinanceError(-1117, "Invalid side.")
        if kind not in kinds:
            raise BinanceError(-1116, "Invalid orderType.")
        time_in_force = _need(params, "timeInForce") if kind == "LIMIT" else params.get("timeInForce", "GTC")
        if time_in_force not in ("GTC", "IOC", "FOK") + (() if self._spot else ("GTX",)):
            raise BinanceError(-1115, "Invalid timeInForce.")
        if "quantity" not in params and "quoteOrderQty" in params:
            raise BinanceError(-1106, "The loopback exchange takes quantity, not quoteOrderQty.")
        lots = listing.qty.count(_need(params, "quantity"))
        if lots is None or not 0 < lots <= MOST_LOTS:
            raise BinanceError(*self._filter("LOT_SIZE", -4003 if lots == 0 else -1111))
        price = 0
        if kind != "MARKET":
            ticks = listing.price.count(_need(params, "price"))
            if ticks is None or not 0 < ticks <= MOST_LOTS:
                raise BinanceError(*self._filter("PRICE_FILTER", -4014))
            price = ticks
        reduce_only = params.get("reduceOnly", "false").lower() == "true"
        least = Decimal(MIN_NOTIONAL.get(self.venue, "0"))
        book = self._books[listing.id]
        at = price or (book.ask if side > 0 else book.bid)
        if not reduce_only and listing.qty.size * lots * listing.price.size * at < least:
            raise BinanceError(*self._filter("NOTIONAL", -4164))
        name = params.get("newClientOrderId") or secrets.token_hex(11)
        return Wanted(listing, side, kind, time_in_force, lots, price, name, reduce_only)

    def _filter(self, name: str, code: int) -> tuple[int, str]:
        if self._spot:
            return -1013, f"Filter failure: {name}"
        return code, {
            -4003: "Quantity less than or equal to zero.",
            -4014: "Price not increased by tick size.",
            -4164: "Order's notional must be no smaller than 5 (unless you choose reduce only).",
        }.get(code, "Precision is over the maximum defined for this asset.")

    def _place(self, params: Params) -> dict[str, Any]:
        wanted = self._wanted(params)
        cut_short = self._faults.hits("partial_cancel", self.venue, f"POST {wanted.listing.id}") is not None
        try:
            return words.placed_answer(self.trading.place(wanted, cut_short=cut_short))
        except Refused as error:
            raise BinanceError(*_REFUSALS[error.why][0 if self._spot else 1]) from None

    def _test(self, params: Params) -> dict[str, Any]:
        self._wanted(params)
        return {}

    def _cancel(self, params: Params) -> dict[str, Any]:
        order = self._find(params, -2011, "Unknown order sent.")
        if not order.open:
            raise BinanceError(-2011, "Unknown order sent.")
        self.trading.cancel(order)
        return words.cancelled_answer(order, params.get("newClientOrderId") or secrets.token_hex(11))

    def _replace(self, params: Params) -> dict[str, Any]:
        """Cancel, then place; where the cancel fails and it says STOP_ON_FAILURE, no more."""
        cancel = {"symbol": params.get("symbol", "")} | {
            to: params[name]
            for name, to in (("cancelOrderId", "orderId"), ("cancelOrigClientOrderId", "origClientOrderId"))
            if params.get(name)
        }
        answer: dict[str, Any] = {"cancelResult": "SUCCESS", "newOrderResult": "NOT_ATTEMPTED"}
        answer |= {"cancelResponse": None, "newOrderResponse": None}
        for what, call, given in (("cancel", self._cancel, cancel), ("newOrder", self._place, params)):
            try:
                answer |= {f"{what}Response": call(given), f"{what}Result": "SUCCESS"}
            except BinanceError as error:
                answer |= {f"{what}Response": {"code": error.code, "msg": error.text}, f"{what}Result": "FAILURE"}
                if what == "newOrder" or params.get("cancelReplaceMode") != "ALLOW_FAILURE":
                    break
        if "FAILURE" in (answer["cancelResult"], answer["newOrderResult"]):
            both = answer["cancelResult"] == "FAILURE" and answer["newOrderResult"] != "SUCCESS"
            raise BinanceError(-2022 if both else -2021, "Order cancel-replace failed: " + json.dumps(answer), 409)
        return answer

    def _cancel_all(self, params: Params) -> Any:
        listing = self._listing(params)
        open_orders = self.trading.open_orders(listing)
        if self._spot and not open_orders:
            raise BinanceError(-2011, "Unknown order sent.")
        for order in open_orders:
            self.trading.cancel(order)
        if self._spot:
            return [words.cancelled_answer(order, secrets.token_hex(11)) for order in open_orders]
        return {"code": 200, "msg": "The operation of cancel all open order is done."}

    def _open_orders(self, params: Params) -> list[dict[str, Any]]:
        listing = self._listing(params) if "symbol" in params else None
        return [words.order_answer(one) for one in self.trading.open_orders(listing)]

    def _all_orders(self, params: Params) -> list[dict[str, Any]]:
        listing = self._listing(params)
        first = int(params.get("orderId", "0"))
        begin, end = int(params.get("startTime", "0")), int(params.get("endTime", str(2**62)))
        found = [
            one
            for one in self.trading.orders.values()
            if one.wanted.listing is listing and one.id >= first and begin <= one.created_ms <= end
        ]
        return [words.order_answer(one) for one in _limited(found, params, from_start=bool(first or begin))]

    def _fills(self, params: Params) -> list[dict[str, Any]]:
        listing = self._listing(params)
        first, of = int(params.get("fromId", "0")), params.get("orderId")
        begin, end = int(params.get("startTime", "0")), int(params.get("endTime", str(2**62)))
        found = [
            (fill.id, order, fill)
            for order in self.trading.orders.values()
            if order.wanted.listing is listing and (of is None or order.id == int(of))
            for fill in order.fills
            if fill.id >= first and begin <= fill.time_ms <= end
        ]
        found.sort(key=lambda one: one[0])
        return [
            words.fill_answer(order, fill)
            for _, order, fill in _limited(found, params, from_start=bool(first or begin))
        ]

    def _spot_account(self, _: Params) -> dict[str, Any]:
        assert isinstance(self.account, SpotAccount)
        return {
            "accountType": "SPOT",
            "canTrade": True,
            "canWithdraw": False,
            "canDeposit": False,
            "updateTime": self._now_ms(),
            "balances": [
                {"asset": asset, "free": free, "locked": held}
                for asset, free, held in words.spot_balances(self.account)
            ],
            "permissions": ["SPOT"],
        }

    def _assets(self) -> list[dict[str, Any]]:
        assert isinstance(self.account, FuturesAccount)
        return words.futures_assets(self.account, list(self._books.values()), self._now_ms())

    def _positions(self) -> list[dict[str, Any]]:
        assert isinstance(self.account, FuturesAccount)
        now = self._now_ms()
        return [words.position_answer(self.account, book, now) for book in self._books.values()]

    def _futures_account(self, _: Params) -> dict[str, Any]:
        answer: dict[str, Any] = {"canTrade": True, "canDeposit": False, "canWithdraw": False, "feeTier": 0}
        return answer | {"updateTime": 0, "assets": self._assets(), "positions": self._positions()}

    def _brackets(self) -> list[dict[str, Any]]:
        unit = "qty" if self.venue == COINM else "notional"
        bracket = {
            "bracket": 1, "initialLeverage": LEVERAGE, f"{unit}Cap": 100_000_000, f"{unit}Floor": 0,
            "maintMarginRatio": 0.004, "cum": 0.0,
        }  # fmt: skip
        return [{"symbol": name, "brackets": [bracket]} for name in self._books]

    def _leverage(self, params: Params) -> dict[str, Any]:
        listing = self._listing(params)
        if int(_need(params, "leverage")) != LEVERAGE:
            raise BinanceError(
                -4028, f"Leverage {params['leverage']} is not valid: the loopback exchange has {LEVERAGE}."
            )
        return {"symbol": listing.id, "leverage": LEVERAGE, "maxNotionalValue": "100000000", "maxQty": "100000"}

    def _told(self, order: Order, what: str, fill: Fill | None) -> None:
        """Something became of an order: the user's stream says so."""
        if not self.user.listeners:
            return
        now = self._now_ms()
        messages = [words.order_message(order, what, fill, now)]
        if isinstance(self.account, SpotAccount):
            messages.append(words.spot_message(self.account, order.wanted.listing, now))
        elif fill is not None:
            messages.insert(0, words.futures_message(self.account, self._books[order.wanted.listing.id], now))
        for message in messages:
            self._events += 1
            wrapped = {"subscriptionId": 0, "event": message} if self._spot else message
            self._hub.publish(self.user, self._events, json.dumps(wrapped, separators=(",", ":")))

    def listen_key(self) -> str:
        """A new one for the user's stream."""
        key = secrets.token_hex(32)
        self.listen_keys.add(key)
        return key

    def truth(self) -> dict[str, Any]:
        """All orders, fills, balances and positions, for tests."""
        said: dict[str, Any] = {
            "orders": [words.order_answer(one) for one in self.trading.orders.values()],
            "fills": [words.fill_answer(order, fill) for order in self.trading.orders.values() for fill in order.fills],
        }
        if isinstance(self.account, SpotAccount):
            balances = {
                asset: {"free": free, "locked": held} for asset, free, held in words.spot_balances(self.account)
            }
            return said | {"balances": balances}
        positions = {stream: one.lots for stream, one in self.account.positions.items()}
        return said | {
            "wallet": {asset: str(one) for asset, one in self.account.wallet.items()},
            "positions": positions,
        }


def _need(params: Params, name: str) -> str:
    if not params.get(name):
        raise BinanceError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")
    return params[name]


def _limited(found: list[Any], params: Params, *, from_start: bool) -> list[Any]:
    """The first ones from where it begins, else the last ones."""
    most = min(int(params.get("limit", "500")), 1_000)
    return found[:most] if from_start else found[-most:]


def _plain(one: Any) -> str:
    return ("true" if one else "false") if isinstance(one, bool) else str(one)
