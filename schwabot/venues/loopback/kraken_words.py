"""Kraken's words for orders, fills, balances and refusals, in answers and in messages of the account's stream.

Source: Kraken, Spot REST API and Spot WebSocket API v2, channel executions.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from aiohttp import web

from schwabot.venues.loopback.accounts import Fill, SpotAccount
from schwabot.venues.loopback.listing import KRAKEN_OLD, Listing, kraken_name
from schwabot.venues.loopback.stamps import iso
from schwabot.venues.loopback.trading import WOULD_TAKE, Order

MS = 1_000_000
DIGITS = 6
SIDES = {1: "buy", -1: "sell"}
STATUS = {"NEW": "open", "PARTIALLY_FILLED": "open", "FILLED": "closed"}
"""The others are canceled: the rest of an immediate order, too."""
WS_STATUS = {"NEW": "new", "PARTIALLY_FILLED": "partially_filled", "FILLED": "filled"}
_IDS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def refusal(status: int, seconds: float, words: str) -> web.Response:
    """Too many requests: HTTP says 200, and nobody says for how long."""
    return said_no("EGeneral:Temporary lockout" if status == 418 else "EAPI:Rate limit exceeded")


def broken(status: int) -> web.Response:
    """A server's error: the API's own where HTTP says 200, else that of what stands before it."""
    if status == 200:
        return said_no("EService:Busy")
    return web.Response(text="<html><body>error</body></html>", status=status, content_type="text/html")


def said_no(*errors: str) -> web.Response:
    """An answer that says no."""
    return web.json_response({"error": list(errors)})


def text_id(letter: str, number: int) -> str:
    """A number as Kraken names orders (O) and trades (T).

    Example:
        >>> text_id("O", 37)
        'O00000-00000-000011'
    """
    digits = ""
    for _ in range(16):
        number, digit = divmod(number, 36)
        digits = _IDS[digit] + digits
    return f"{letter}{digits[:5]}-{digits[5:10]}-{digits[10:]}"


def number_of(text: str) -> int | None:
    """The number that a name stands for; None = it is no name."""
    digits = text[1:].replace("-", "")
    return int(digits, 36) if len(digits) == 16 and digits.isalnum() and digits.isascii() else None


def asset_id(asset: str) -> str:
    """Kraken's name of an asset in balances."""
    return KRAKEN_OLD.get(asset, kraken_name(asset))


def places_of(asset: str) -> int:
    """Decimals that bookings of an asset are rounded to."""
    return 4 if asset_id(asset).startswith("Z") else 8 if asset.startswith("USD") else 10


def altname(listing: Listing) -> str:
    """The pair, as orders and trades name it."""
    return kraken_name(listing.instrument.base) + kraken_name(listing.instrument.quote)


def _volume(listing: Listing, lots: int) -> str:
    return f"{listing.qty.size * lots:.8f}"


def _money(amount: Decimal) -> str:
    return f"{amount:.5f}"


def _average(order: Order) -> Decimal:
    size = order.wanted.listing.qty.size * order.filled
    return order.quote / size if order.filled else Decimal(0)


def _fees(order: Order) -> Decimal:
    return sum((one.fee for one in order.fills), Decimal(0))


def description(order: Order) -> str:
    """What was ordered, in words."""
    wanted = order.wanted
    at = "market" if wanted.kind == "MARKET" else f"limit {wanted.listing.price.text(wanted.price)}"
    return f"{SIDES[wanted.side]} {_volume(wanted.listing, wanted.lots)} {altname(wanted.listing)} @ {at}"


def status_of(order: Order) -> str:
    """Kraken's word for what became of an order."""
    return STATUS.get(order.status, "canceled")


def why_ended(order: Order) -> str | None:
    """The reason of an end that is no fill."""
    return {"CANCELED": "User requested", "EXPIRED": "Immediate or cancel", WOULD_TAKE: "Post only order"}.get(
        order.status
    )


def order_answer(order: Order) -> dict[str, Any]:
    """One of ``QueryOrders``, ``OpenOrders`` and ``ClosedOrders``."""
    wanted = order.wanted
    listing = wanted.listing
    answer: dict[str, Any] = {
        "refid": None,
        "userref": 0,
        "cl_ord_id": wanted.client_id,
        "status": status_of(order),
        "opentm": order.created_ms / 1e3,
        "starttm": 0,
        "expiretm": 0,
        "descr": {
            "pair": altname(listing),
            "type": SIDES[wanted.side],
            "ordertype": wanted.kind.lower().split("_")[0],
            "price": listing.price.text(wanted.price),
            "price2": "0",
            "leverage": "none",
            "order": description(order),
            "close": "",
        },
        "vol": _volume(listing, wanted.lots),
        "vol_exec": _volume(listing, order.filled),
        "cost": _money(order.quote),
        "fee": _money(_fees(order)),
        "price": _money(_average(order)),
        "stopprice": "0.00000",
        "limitprice": "0.00000",
        "misc": "",
        "oflags": "fciq,post" if wanted.post_only else "fciq",
    }
    if not order.open:
        answer |= {"closetm": order.updated_ms / 1e3, "reason": why_ended(order)}
    return answer


def fill_answer(order: Order, fill: Fill) -> dict[str, Any]:
    """One of ``TradesHistory``."""
    wanted = order.wanted
    listing = wanted.listing
    return {
        "ordertxid": text_id("O", order.id),
        "postxid": "TKH2SE-M7IF5-CFI7LT",
        "pair": listing.id,
        "time": fill.time_ms / 1e3,
        "type": SIDES[wanted.side],
        "ordertype": wanted.kind.lower().split("_")[0],
        "price": listing.price.text(fill.price),
        "cost": _money(listing.qty.size * fill.lots * listing.price.size * fill.price),
        "fee": _money(fill.fee),
        "vol": _volume(listing, fill.lots),
        "margin": "0.00000",
        "leverage": "0",
        "misc": "",
        "trade_id": fill.id,
        "maker": fill.maker,
    }


def balances(account: SpotAccount) -> dict[str, dict[str, str]]:
    """``BalanceEx``."""
    return {
        asset_id(asset): {
            "balance": f"{amount:.{places_of(asset)}f}",
            "hold_trade": f"{account.locked.get(asset, Decimal(0)):.{places_of(asset)}f}",
        }
        for asset, amount in account.total.items()
    }


def whole_order(order: Order, kind: str) -> dict[str, Any]:
    """An order with all that is known of it: ``pending_new``, and ``new`` of a snapshot."""
    wanted = order.wanted
    listing = wanted.listing
    return {
        "exec_type": kind,
        "order_id": text_id("O", order.id),
        "cl_ord_id": wanted.client_id,
        "symbol": listing.instrument.symbol,
        "order_qty": float(listing.qty.size * wanted.lots),
        "cum_cost": float(order.quote),
        "cum_qty": float(listing.qty.size * order.filled),
        "time_in_force": "IOC" if wanted.time_in_force == "IOC" else "GTC",
        "side": SIDES[wanted.side],
        "order_type": wanted.kind.lower().split("_")[0],
        "order_userref": 0,
        "limit_price_type": "static",
        "limit_price": float(listing.price.size * wanted.price),
        "stop_price": 0.0,
        "post_only": wanted.post_only,
        "order_status": "pending_new" if kind == "pending_new" else WS_STATUS.get(order.status, "canceled"),
        "fee_usd_equiv": 0.0,
        "fee_ccy_pref": "fciq",
        "timestamp": iso(order.created_ms * MS, DIGITS),
    }


def order_change(order: Order, kind: str) -> dict[str, Any]:
    """What became of an order, without what was told before: neither its symbol nor its size."""
    listing = order.wanted.listing
    said: dict[str, Any] = {
        "timestamp": iso(order.updated_ms * MS, DIGITS),
        "order_status": "new" if kind == "new" else WS_STATUS.get(order.status, "canceled"),
        "exec_type": kind,
        "order_userref": 0,
        "order_id": text_id("O", order.id),
    }
    if kind == "new":
        return said
    said |= {
        "cum_qty": float(listing.qty.size * order.filled),
        "cum_cost": float(order.quote),
        "fee_usd_equiv": float(_fees(order)),
        "avg_price": float(_average(order)),
    }
    return said | ({"cancel_reason": why_ended(order), "reason": why_ended(order)} if kind == "canceled" else {})


def trade_message(order: Order, fill: Fill) -> dict[str, Any]:
    """A fill; its order counts as filled in part even where this is all of it."""
    wanted = order.wanted
    listing = wanted.listing
    cost = listing.qty.size * fill.lots * listing.price.size * fill.price
    return {
        "order_id": text_id("O", order.id),
        "exec_id": text_id("T", fill.id),
        "exec_type": "trade",
        "trade_id": fill.id,
        "symbol": listing.instrument.symbol,
        "side": SIDES[wanted.side],
        "last_qty": float(listing.qty.size * fill.lots),
        "last_price": float(listing.price.size * fill.price),
        "liquidity_ind": "m" if fill.maker else "t",
        "cost": float(cost),
        "order_userref": 0,
        "order_status": "partially_filled",
        "order_type": wanted.kind.lower().split("_")[0],
        "fee_usd_equiv": float(fill.fee),
        "fees": [{"asset": fill.fee_asset, "qty": float(fill.fee)}],
        "timestamp": iso(fill.time_ms * MS, DIGITS),
    }
