"""What is true of a spot account, in words that are the same for all venues but Binance's, whose own they are."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from schwabot.venues.loopback.accounts import SpotAccount
from schwabot.venues.loopback.trading import Order, Trading


def spot_truth(
    trading: Trading, account: SpotAccount, order_id: Callable[[int], str], trade_id: Callable[[int], str],
    status: Callable[[Order], str],
) -> dict[str, Any]:  # fmt: skip
    """All orders, fills and balances.

    Args:
        trading: has the orders.
        account: has the balances.
        order_id: the venue's name of an order.
        trade_id: and of a trade.
        status: the venue's word for what became of an order.
    """
    orders = list(trading.orders.values())
    return {
        "orders": [
            {"orderId": order_id(one.id), "clientOrderId": one.wanted.client_id, "status": status(one)}
            for one in orders
        ],
        "fills": [
            {
                "id": trade_id(fill.id),
                "orderId": order_id(one.id),
                "qty": one.wanted.listing.qty.text(fill.lots),
                "price": one.wanted.listing.price.text(fill.price),
                "commission": str(fill.fee),
                "commissionAsset": fill.fee_asset,
            }
            for one in orders
            for fill in one.fills
        ],
        "balances": {
            asset: {"free": str(account.free(asset)), "locked": str(account.locked.get(asset, Decimal(0)))}
            for asset in sorted(account.total)
        },
    }
