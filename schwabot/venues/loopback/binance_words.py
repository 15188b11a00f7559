"""Binance's public messages and answers, as text or plain values. Times in ms; what has no stamp is left out.

Source: Binance, REST API and web socket streams of Spot, USD-M futures and COIN-M futures.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from schwabot.records.market import MISSING_NS
from schwabot.ticks.binance_messages import COINM, SPOT
from schwabot.venues.loopback.book import Book, Changes, Print
from schwabot.venues.loopback.listing import Listing
from schwabot.venues.loopback.player import MS, Row

FOREVER_MS = 4_133_404_800_000
"""Delivery of a perpetual."""
MIN_NOTIONAL = {"binance": "5.00000000", "binanceusdm": "5"}
MOST_LOTS = 9_000_000_000
MOST_ORDERS = 200
PREFIX = {"binance": "/api", "binanceusdm": "/fapi", "binancecoinm": "/dapi"}


def pair_of(listing: Listing) -> str:
    """The pair of a contract."""
    return listing.instrument.base + listing.instrument.quote


def _stamps(row: Row) -> str:
    happened = f',"T":{row.event_ns // MS}' if row.event_ns != MISSING_NS else ""
    emitted = f',"E":{row.emit_ns // MS}' if row.emit_ns != MISSING_NS else ""
    return happened + emitted


def book_ticker(book: Book, row: Row) -> str:
    """``@bookTicker``; on spot without any time, as there."""
    listing = book.listing
    price, qty = listing.price.text, listing.qty.text
    body = (
        f'"u":{book.update_id},"s":"{listing.id}","b":"{price(row.bid)}","B":"{qty(row.bid_lots)}",'
        f'"a":"{price(row.ask)}","A":"{qty(row.ask_lots)}"'
    )
    if listing.venue == SPOT:
        return f"{{{body}}}"
    pair = f',"ps":"{pair_of(listing)}"' if listing.venue == COINM else ""
    return f'{{"e":"bookTicker",{body}{pair}{_stamps(row)}}}'


def trade(listing: Listing, print_: Print, *, aggregate: bool) -> str:
    """``@trade`` and ``@aggTrade``, where each trade is an aggregate of its own."""
    row, number = print_.row, print_.id
    body = (
        f'"s":"{listing.id}","p":"{listing.price.text(row.price)}","q":"{listing.qty.text(row.lots)}",'
        f'"m":{"true" if row.side < 0 else "false"}{_stamps(row)}'
    )
    body += f',"a":{number},"f":{number},"l":{number}' if aggregate else f',"t":{number}'
    body += ',"M":true' if listing.venue == SPOT else "" if aggregate else ',"X":"MARKET"'
    return f'{{"e":"{"aggTrade" if aggregate else "trade"}",{body}}}'


def depth_update(book: Book, noted: Changes, now_ms: int) -> dict[str, Any]:
    """``@depth``: what changed since it was last told."""
    listing = book.listing
    price, qty = listing.price.text, listing.qty.text
    before = noted.before
    bids, asks = book.told(noted)
    message: dict[str, Any] = {"e": "depthUpdate", "E": now_ms}
    if listing.venue != SPOT:
        message["T"] = now_ms
    message |= {"s": listing.id, "U": before + 1, "u": book.update_id}
    if listing.venue != SPOT:
        message["pu"] = before
    if listing.venue == COINM:
        message["ps"] = pair_of(listing)
    message["b"] = [[price(level), qty(lots)] for level, lots in bids.items()]
    message["a"] = [[price(level), qty(lots)] for level, lots in asks.items()]
    return message


def depth(book: Book, now_ms: int) -> dict[str, Any]:
    """``GET depth``: the touch."""
    bids, asks = book.sides()
    answer: dict[str, Any] = {"lastUpdateId": book.update_id}
    if book.listing.venue != SPOT:
        answer |= {"E": now_ms, "T": now_ms}
    if book.listing.venue == COINM:
        answer |= {"symbol": book.listing.id, "pair": pair_of(book.listing)}
    return answer | {"bids": bids, "asks": asks}


def touch(book: Book, now_ms: int) -> dict[str, Any]:
    """``GET ticker/bookTicker``."""
    listing = book.listing
    answer: dict[str, Any] = {
        "symbol": listing.id,
        "bidPrice": listing.price.text(book.bid),
        "bidQty": listing.qty.text(book.bid_lots),
        "askPrice": listing.price.text(book.ask),
        "askQty": listing.qty.text(book.ask_lots),
    }
    if listing.venue == COINM:
        answer["pair"] = pair_of(listing)
    return answer if listing.venue == SPOT else answer | {"time": now_ms}


def printed(listing: Listing, print_: Print) -> dict[str, Any]:
    """One of ``GET trades``."""
    row = print_.row
    return {
        "id": print_.id,
        "price": listing.price.text(row.price),
        "qty": listing.qty.text(row.lots),
        "time": (row.event_ns if row.event_ns != MISSING_NS else row.now_ns) // MS,
        "isBuyerMaker": row.side < 0,
    }


def symbol(listing: Listing) -> dict[str, Any]:
    """One of ``symbols`` in ``exchangeInfo``."""
    instrument = listing.instrument
    spot = listing.venue == SPOT
    price, qty = listing.price.text, listing.qty.text
    filters: list[dict[str, Any]] = [
        {"filterType": "PRICE_FILTER", "minPrice": price(1), "maxPrice": price(MOST_LOTS), "tickSize": price(1)},
        {"filterType": "LOT_SIZE", "minQty": qty(1), "maxQty": qty(MOST_LOTS), "stepSize": qty(1)},
        {"filterType": "MARKET_LOT_SIZE", "minQty": qty(1), "maxQty": qty(MOST_LOTS), "stepSize": qty(1)},
    ]
    if spot:
        filters += [
            {"filterType": "NOTIONAL", "minNotional": MIN_NOTIONAL[SPOT], "applyMinToMarket": True, "avgPriceMins": 0},
            {"filterType": "MAX_NUM_ORDERS", "maxNumOrders": MOST_ORDERS},
        ]
    else:
        filters.append({"filterType": "MAX_NUM_ORDERS", "limit": MOST_ORDERS})
        if least := MIN_NOTIONAL.get(listing.venue):
            filters.append({"filterType": "MIN_NOTIONAL", "notional": least})
    answer: dict[str, Any] = {
        "symbol": listing.id,
        "baseAsset": instrument.base,
        "quoteAsset": instrument.quote,
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "orderTypes": ["LIMIT", "LIMIT_MAKER", "MARKET"] if spot else ["LIMIT", "MARKET"],
        "filters": filters,
    }
    if spot:
        return answer | {
            "status": "TRADING",
            "quoteAssetPrecision": 8,
            "isSpotTradingAllowed": True,
            "isMarginTradingAllowed": False,
            "cancelReplaceAllowed": True,
            "permissions": ["SPOT"],
            "permissionSets": [["SPOT"]],
        }
    expiry = instrument.symbol.partition("-")[2]
    delivery = int(datetime.strptime(expiry + "08", "%y%m%d%H").replace(tzinfo=UTC).timestamp() * 1e3) if expiry else 0
    answer |= {
        "pair": pair_of(listing),
        "contractType": "CURRENT_QUARTER" if expiry else "PERPETUAL",
        "deliveryDate": delivery or FOREVER_MS,
        "onboardDate": 0,
        "marginAsset": listing.settle,
        "pricePrecision": listing.price.places,
        "quantityPrecision": listing.qty.places,
        "underlyingType": "COIN",
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }
    if listing.venue == COINM:
        return answer | {"contractStatus": "TRADING", "contractSize": int(instrument.contract_value)}
    return answer | {"status": "TRADING"}
