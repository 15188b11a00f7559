"""Coinbase's words for orders, fills and balances, in answers and in messages of the user's channel.

Source: Coinbase, Advanced Trade API (orders, fills, accounts) and WebSocket channels (user).
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from aiohttp import web

from schwabot.venues.loopback.accounts import EIGHTH, Fill, SpotAccount
from schwabot.venues.loopback.stamps import iso
from schwabot.venues.loopback.trading import Order, Wanted

MS = 1_000_000
DIGITS = 6
SIDES = {1: "BUY", -1: "SELL"}
STATUS = {
    "NEW": "OPEN", "PARTIALLY_FILLED": "OPEN", "FILLED": "FILLED", "CANCELED": "CANCELLED", "EXPIRED": "CANCELLED",
}  # fmt: skip
FIAT = ("USD", "EUR", "GBP")
_TIMES = {
    "GTC": "GOOD_UNTIL_CANCELLED", "GTX": "GOOD_UNTIL_CANCELLED", "IOC": "IMMEDIATE_OR_CANCEL", "FOK": "FILL_OR_KILL",
}  # fmt: skip


def refusal(status: int, seconds: float, words: str) -> web.Response:
    """Too many requests: 429, and 403 for who goes on; nobody says for how long."""
    if status == 418:
        return web.Response(text="Too many errors", status=403)
    return web.Response(text="Too Many Requests", status=429)


def broken(status: int) -> web.Response:
    """A server's error; 404 = what is asked for is not in its lists yet."""
    if status == 404:
        return unknown_order()
    return said_no("INTERNAL", "internal error", status)


def unknown_order() -> web.Response:
    """An order that is not there, or not yet."""
    return said_no("NOT_FOUND", "order with this orderID was not found", 404)


def said_no(error: str, text: str, status: int) -> web.Response:
    """An answer that says no."""
    return web.json_response({"error": error, "error_details": text, "message": text}, status=status)


def order_id(number: int) -> str:
    """Coinbase numbers orders with UUIDs."""
    return _uuid(0xC0, number)


def trade_id(number: int) -> str:
    """And fills too."""
    return _uuid(0xF1, number)


def status_of(order: Order) -> str:
    """Coinbase's word for what became of an order."""
    return STATUS[order.status]


def _uuid(kind: int, number: int) -> str:
    return f"{kind:08x}-0000-4000-8000-{number:012x}"


def _text(amount: Decimal) -> str:
    return f"{amount.normalize():f}"


def _fees(order: Order) -> Decimal:
    return sum((one.fee for one in order.fills), Decimal(0))


def _average(order: Order) -> str:
    if not order.filled:
        return "0"
    return _text((order.quote / (order.wanted.listing.qty.size * order.filled)).quantize(EIGHTH))


def configuration(wanted: Wanted) -> dict[str, Any]:
    """What kind of order it is, as it was asked for."""
    listing = wanted.listing
    size = {"base_size": listing.qty.text(wanted.lots)}
    if wanted.kind == "MARKET":
        return {"market_market_ioc": size}
    limit = size | {"limit_price": listing.price.text(wanted.price)}
    if wanted.time_in_force == "IOC":
        return {"sor_limit_ioc": limit}
    if wanted.time_in_force == "FOK":
        return {"limit_limit_fok": limit}
    return {"limit_limit_gtc": limit | {"post_only": wanted.post_only}}


def placed_answer(order: Order) -> dict[str, Any]:
    """``POST orders``: what it is called, and nothing of what became of it."""
    wanted = order.wanted
    return {
        "success": True,
        "failure_reason": "UNKNOWN_FAILURE_REASON",
        "order_id": order_id(order.id),
        "success_response": {
            "order_id": order_id(order.id),
            "product_id": wanted.listing.id,
            "side": SIDES[wanted.side],
            "client_order_id": wanted.client_id,
        },
        "order_configuration": configuration(wanted),
    }


def order_answer(order: Order) -> dict[str, Any]:
    """One of ``orders/historical``."""
    wanted = order.wanted
    listing = wanted.listing
    fees = _fees(order)
    return {
        "order_id": order_id(order.id),
        "product_id": listing.id,
        "user_id": "loopback",
        "order_configuration": configuration(wanted),
        "side": SIDES[wanted.side],
        "client_order_id": wanted.client_id,
        "status": status_of(order),
        "time_in_force": _TIMES[wanted.time_in_force],
        "created_time": iso(order.created_ms * MS, DIGITS),
        "last_fill_time": iso(order.fills[-1].time_ms * MS, DIGITS) if order.fills else None,
        "completion_percentage": _text(Decimal(100 * order.filled) / wanted.lots),
        "filled_size": listing.qty.text(order.filled),
        "average_filled_price": _average(order),
        "fee": "",
        "number_of_fills": str(len(order.fills)),
        "filled_value": _text(order.quote),
        "pending_cancel": False,
        "size_in_quote": False,
        "total_fees": _text(fees),
        "size_inclusive_of_fees": False,
        "total_value_after_fees": _text(order.quote + wanted.side * fees),
        "trigger_status": "INVALID_ORDER_TYPE",
        "order_type": "MARKET" if wanted.kind == "MARKET" else "LIMIT",
        "reject_reason": "REJECT_REASON_UNSPECIFIED",
        "settled": not order.open,
        "product_type": "SPOT",
        "reject_message": "",
        "cancel_message": "",
    }


def order_message(order: Order) -> dict[str, Any]:
    """One of ``orders`` in a message of the user's channel: sums, no single fills."""
    wanted = order.wanted
    listing = wanted.listing
    fees = _fees(order)
    return {
        "avg_price": _average(order),
        "cancel_reason": "",
        "client_order_id": wanted.client_id,
        "completion_percentage": _text(Decimal(100 * order.filled) / wanted.lots),
        "contract_expiry_type": "UNKNOWN_CONTRACT_EXPIRY_TYPE",
        "creation_time": iso(order.created_ms * MS, DIGITS),
        "cumulative_quantity": listing.qty.text(order.filled),
        "filled_value": _text(order.quote),
        "leaves_quantity": listing.qty.text(wanted.lots - order.filled if order.open else 0),
        "limit_price": listing.price.text(wanted.price),
        "number_of_fills": str(len(order.fills)),
        "order_id": order_id(order.id),
        "order_side": SIDES[wanted.side],
        "order_type": "Market" if wanted.kind == "MARKET" else "Limit",
        "outstanding_hold_amount": "0",
        "post_only": "true" if wanted.post_only else "false",
        "product_id": listing.id,
        "product_type": "SPOT",
        "reject_reason": "",
        "risk_managed_by": "UNKNOWN_RISK_MANAGEMENT_TYPE",
        "status": status_of(order),
        "stop_price": "",
        "time_in_force": _TIMES[wanted.time_in_force],
        "total_fees": _text(fees),
        "total_value_after_fees": _text(order.quote + wanted.side * fees),
        "trigger_status": "INVALID_ORDER_TYPE",
    }


def fill_answer(order: Order, fill: Fill) -> dict[str, Any]:
    """One of ``orders/historical/fills``."""
    listing = order.wanted.listing
    at = iso(fill.time_ms * MS, DIGITS)
    return {
        "entry_id": f"{fill.id:064x}",
        "trade_id": trade_id(fill.id),
        "order_id": order_id(order.id),
        "trade_time": at,
        "trade_type": "FILL",
        "price": listing.price.text(fill.price),
        "size": listing.qty.text(fill.lots),
        "commission": _text(fill.fee),
        "product_id": listing.id,
        "sequence_timestamp": at,
        "liquidity_indicator": "MAKER" if fill.maker else "TAKER",
        "size_in_quote": False,
        "user_id": "loopback",
        "side": SIDES[order.wanted.side],
    }


def accounts_answer(account: SpotAccount) -> list[dict[str, Any]]:
    """``accounts``: what is free and what is held, by currency."""
    return [
        {
            "uuid": _uuid(0xAC, number),
            "name": f"{asset} Wallet",
            "currency": asset,
            "available_balance": {"value": _text(account.free(asset)), "currency": asset},
            "default": True,
            "active": True,
            "created_at": "2023-01-04T06:20:06.456Z",
            "updated_at": "2023-01-04T06:20:06.456Z",
            "deleted_at": None,
            "type": "ACCOUNT_TYPE_FIAT" if asset in FIAT else "ACCOUNT_TYPE_CRYPTO",
            "ready": True,
            "hold": {"value": _text(account.locked.get(asset, Decimal(0))), "currency": asset},
        }
        for number, asset in enumerate(sorted(account.total), 1)
    ]
