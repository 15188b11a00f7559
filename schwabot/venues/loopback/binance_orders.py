"""Binance's words for orders, fills, balances and positions, in answers and in messages of the user's stream."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

from schwabot.ticks.binance_messages import COINM, SPOT
from schwabot.venues.loopback.accounts import EIGHTH, LEVERAGE, Fill, FuturesAccount, SpotAccount, rounded, value
from schwabot.venues.loopback.binance_words import pair_of
from schwabot.venues.loopback.book import Book
from schwabot.venues.loopback.listing import Listing
from schwabot.venues.loopback.trading import Order

SIDES = {1: "BUY", -1: "SELL"}


def _text(amount: Decimal) -> str:
    return f"{amount.quantize(EIGHTH):f}"


def _average(order: Order) -> str:
    listing = order.wanted.listing
    if not order.filled:
        return "0"
    if listing.instrument.inverse:  # the price at which all of it is worth what its parts were
        worth = sum((value(listing, one.lots, one.price) for one in order.fills), Fraction(0))
        return _text(rounded(value(listing, order.filled, 1) * Fraction(listing.price.size) / worth))
    total = sum(one.lots * one.price for one in order.fills)
    return _text(rounded(Fraction(total, order.filled) * Fraction(listing.price.size)))


def _base_of(order: Order) -> Decimal:
    """What an order in an inverse contract came to, in its base."""
    listing = order.wanted.listing
    return rounded(sum((value(listing, one.lots, one.price) for one in order.fills), Fraction(0)))


def order_answer(order: Order) -> dict[str, Any]:
    """``GET order``, and the answer to a new one."""
    wanted = order.wanted
    listing = wanted.listing
    answer: dict[str, Any] = {
        "symbol": listing.id,
        "orderId": order.id,
        "clientOrderId": wanted.client_id,
        "price": listing.price.text(wanted.price),
        "origQty": listing.qty.text(wanted.lots),
        "executedQty": listing.qty.text(order.filled),
        "status": order.status,
        "timeInForce": wanted.time_in_force,
        "type": wanted.kind,
        "side": SIDES[wanted.side],
        "stopPrice": "0",
        "time": order.created_ms,
        "updateTime": order.updated_ms,
    }
    if listing.venue == SPOT:
        return answer | {
            "orderListId": -1,
            "cummulativeQuoteQty": _text(order.quote),
            "icebergQty": "0.00000000",
            "isWorking": True,
            "workingTime": order.created_ms,
            "origQuoteOrderQty": "0.00000000",
            "selfTradePreventionMode": "NONE",
        }
    answer |= {
        "avgPrice": _average(order),
        "cumQty": listing.qty.text(order.filled),
        "reduceOnly": wanted.reduce_only,
        "closePosition": False,
        "positionSide": "BOTH",
        "workingType": "CONTRACT_PRICE",
        "priceProtect": False,
        "origType": wanted.kind,
    }
    if listing.venue == COINM:
        return answer | {"pair": pair_of(listing), "cumBase": _text(_base_of(order))}
    return answer | {"cumQuote": _text(order.quote)}


def placed_answer(order: Order) -> dict[str, Any]:
    """What ``POST order`` answers, with fills on spot."""
    answer = order_answer(order)
    if order.wanted.listing.venue != SPOT:
        return answer
    listing = order.wanted.listing
    return answer | {
        "transactTime": order.updated_ms,
        "fills": [
            {
                "price": listing.price.text(one.price),
                "qty": listing.qty.text(one.lots),
                "commission": _text(one.fee),
                "commissionAsset": one.fee_asset,
                "tradeId": one.id,
            }
            for one in order.fills
        ],
    }


def cancelled_answer(order: Order, request_id: str) -> dict[str, Any]:
    """What ``DELETE order`` answers: on spot under the request's own name."""
    answer = order_answer(order)
    if order.wanted.listing.venue == SPOT:
        answer |= {"origClientOrderId": order.wanted.client_id, "clientOrderId": request_id}
        answer["transactTime"] = order.updated_ms
    return answer


def fill_answer(order: Order, fill: Fill) -> dict[str, Any]:
    """One of ``myTrades`` or ``userTrades``."""
    wanted = order.wanted
    listing = wanted.listing
    spot = listing.venue == SPOT
    answer: dict[str, Any] = {
        "symbol": listing.id,
        "id": fill.id,
        "orderId": order.id,
        "price": listing.price.text(fill.price),
        "qty": listing.qty.text(fill.lots),
        "commission": _text(fill.fee),
        "commissionAsset": fill.fee_asset,
        "time": fill.time_ms,
    }
    if spot:
        quote = listing.qty.size * fill.lots * listing.price.size * fill.price
        return answer | {
            "orderListId": -1, "quoteQty": _text(quote), "isBuyer": wanted.side > 0, "isMaker": fill.maker,
            "isBestMatch": True,
        }  # fmt: skip
    answer |= {
        "side": SIDES[wanted.side],
        "positionSide": "BOTH",
        "realizedPnl": _text(fill.gain),
        "buyer": wanted.side > 0,
        "maker": fill.maker,
    }
    worth = _text(rounded(value(listing, fill.lots, fill.price)))
    if listing.venue == COINM:
        return answer | {"pair": pair_of(listing), "marginAsset": listing.settle, "baseQty": worth}
    return answer | {"quoteQty": worth}


def order_message(order: Order, what: str, fill: Fill | None, now_ms: int) -> dict[str, Any]:
    """``executionReport`` or ``ORDER_TRADE_UPDATE``."""
    wanted = order.wanted
    listing = wanted.listing
    price, qty = listing.price.text, listing.qty.text
    spot = listing.venue == SPOT
    body: dict[str, Any] = {
        "s": listing.id,
        "c": wanted.client_id,
        "S": SIDES[wanted.side],
        "o": wanted.kind,
        "f": wanted.time_in_force,
        "q": qty(wanted.lots),
        "p": price(wanted.price),
        "x": what,
        "X": order.status,
        "i": order.id,
        "l": qty(fill.lots if fill else 0),
        "z": qty(order.filled),
        "L": price(fill.price if fill else 0),
        "n": _text(fill.fee) if fill else "0",
        "N": fill.fee_asset if fill else None,
        "T": order.updated_ms,
        "t": fill.id if fill else -1 if spot else 0,
        "m": fill.maker if fill else False,
    }
    if spot:
        last = listing.qty.size * fill.lots * listing.price.size * fill.price if fill else Decimal(0)
        return {"e": "executionReport", "E": now_ms} | body | {
            "P": "0.00000000", "F": "0.00000000", "g": -1, "C": "", "r": "NONE", "I": order.id, "w": order.open,
            "M": False, "O": order.created_ms, "Z": _text(order.quote), "Y": _text(last), "Q": "0.00000000",
            "W": order.created_ms, "V": "NONE",
        }  # fmt: skip
    body |= {
        "ap": _average(order), "sp": "0", "b": "0", "a": "0", "R": wanted.reduce_only, "wt": "CONTRACT_PRICE",
        "ot": wanted.kind, "ps": "BOTH", "cp": False, "rp": _text(fill.gain) if fill else "0",
    }  # fmt: skip
    if listing.venue == COINM:
        body["ma"] = listing.settle
    return {"e": "ORDER_TRADE_UPDATE", "E": now_ms, "T": order.updated_ms, "o": body}


def spot_balances(account: SpotAccount) -> list[tuple[str, str, str]]:
    """Asset, free and locked."""
    return [
        (asset, _text(account.free(asset)), _text(account.locked.get(asset, Decimal(0))))
        for asset in sorted(account.total)
    ]


def spot_message(account: SpotAccount, listing: Listing, now_ms: int) -> dict[str, Any]:
    """``outboundAccountPosition``: the assets that may have changed."""
    changed = (listing.instrument.base, listing.instrument.quote)
    balances = [{"a": asset, "f": free, "l": held} for asset, free, held in spot_balances(account) if asset in changed]
    return {"e": "outboundAccountPosition", "E": now_ms, "u": now_ms, "B": balances}


def _entry(account: FuturesAccount, listing: Listing) -> str:
    return _text(rounded(account.position(listing).entry_price(listing)))


def _unrealised(account: FuturesAccount, book: Book) -> Decimal:
    """At the side of the touch that would close the position."""
    listing = book.listing
    position = account.position(listing)
    at = book.bid if position.lots > 0 else book.ask
    if not position.lots or not at:
        return Decimal(0)
    now = value(listing, position.lots, at)
    return rounded(position.entry - now if listing.instrument.inverse else now - position.entry)


def futures_message(account: FuturesAccount, book: Book, now_ms: int) -> dict[str, Any]:
    """``ACCOUNT_UPDATE`` after a fill."""
    listing = book.listing
    asset = listing.settle
    wallet = _text(account.wallet.get(asset, Decimal(0)))
    position = {
        "s": listing.id, "pa": listing.qty.text(account.position(listing).lots), "ep": _entry(account, listing),
        "cr": "0", "up": _text(_unrealised(account, book)), "mt": "cross", "iw": "0", "ps": "BOTH",
    }  # fmt: skip
    balances = [{"a": asset, "wb": wallet, "cw": wallet, "bc": "0"}]
    return {"e": "ACCOUNT_UPDATE", "E": now_ms, "T": now_ms, "a": {"m": "ORDER", "B": balances, "P": [position]}}


def position_answer(account: FuturesAccount, book: Book, now_ms: int) -> dict[str, Any]:
    """One of ``positionRisk``, and of ``positions`` in ``account``."""
    listing = book.listing
    position = account.position(listing)
    mark = book.bid if position.lots > 0 else book.ask
    worth = value(listing, position.lots, mark) if mark else Fraction(0)
    margin = _text(rounded(abs(position.entry) / LEVERAGE))
    answer: dict[str, Any] = {
        "symbol": listing.id,
        "positionAmt": listing.qty.text(position.lots),
        "entryPrice": _entry(account, listing),
        "breakEvenPrice": _entry(account, listing),
        "markPrice": listing.price.text(mark),
        "unRealizedProfit": _text(_unrealised(account, book)),
        "unrealizedProfit": _text(_unrealised(account, book)),
        "liquidationPrice": "0",
        "leverage": str(LEVERAGE),
        "marginType": "cross",
        "isolated": False,
        "isolatedMargin": "0.00000000",
        "isAutoAddMargin": "false",
        "isolatedWallet": "0",
        "positionSide": "BOTH",
        "marginAsset": listing.settle,
        "initialMargin": margin,
        "maintMargin": "0.00000000",
        "positionInitialMargin": margin,
        "openOrderInitialMargin": "0",
        "updateTime": now_ms,
    }
    if listing.venue == COINM:
        return answer | {"notionalValue": _text(rounded(worth)), "maxQty": listing.qty.text(10**6)}
    return answer | {"notional": _text(rounded(worth)), "maxNotionalValue": "100000000"}


def futures_assets(account: FuturesAccount, books: list[Book], now_ms: int) -> list[dict[str, Any]]:
    """``assets`` of ``account``."""
    answers = []
    for asset in sorted(account.wallet):
        wallet = account.wallet[asset]
        open_gain = sum((_unrealised(account, one) for one in books if one.listing.settle == asset), Decimal(0))
        used = rounded(account.margin(asset))
        answers.append(
            {
                "asset": asset,
                "walletBalance": _text(wallet),
                "balance": _text(wallet),
                "crossWalletBalance": _text(wallet),
                "unrealizedProfit": _text(open_gain),
                "crossUnPnl": _text(open_gain),
                "marginBalance": _text(wallet + open_gain),
                "maintMargin": "0.00000000",
                "initialMargin": _text(used),
                "positionInitialMargin": _text(used),
                "openOrderInitialMargin": "0.00000000",
                "availableBalance": _text(wallet + open_gain - used),
                "maxWithdrawAmount": _text(wallet - used),
                "marginAvailable": True,
                "updateTime": now_ms,
            }
        )
    return answers
