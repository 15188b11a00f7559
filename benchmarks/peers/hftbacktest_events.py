"""A recorded market in hftbacktest's event format, so that both see the same data. N rows, E events.

A quote says of the book: the best bid is at its price with its quantity, and nothing is above; levels below, if seen
before, stay as they were last seen. So one quote is several depth events of one time: per side the levels that are gone
(quantity 0), then the best. The side that makes room goes first: the book never crosses between one quote and the next.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from schwabot_kernels.simulate.records import Market

DEPTH, TRADE = 1, 2
AT_EXCHANGE, HERE, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
EVENT = np.dtype(
    [("ev", "u8"), ("exch_ts", "i8"), ("local_ts", "i8"), ("px", "f8"), ("qty", "f8"), ("order_id", "u8"),
     ("ival", "i8"), ("fval", "f8")], align=True,
)  # fmt: skip


class _Side:
    """Levels of one side that were seen and not gone since; sign: +1 bids, -1 asks."""

    def __init__(self, sign: int) -> None:
        self.sign = sign
        self.lots: dict[int, int] = {}

    def events(self, price: int, lots: int) -> list[tuple[int, int]]:
        """What (price, lots) says beyond what is known: changed levels, those gone first."""
        gone = sorted((p for p in self.lots if (p - price) * self.sign > 0), key=lambda p: -p * self.sign)
        for p in gone:
            del self.lots[p]
        changed = [(p, 0) for p in gone]
        if self.lots.get(price) != lots:
            self.lots[price] = lots
            changed.append((price, lots))
        return changed


def events_of(market: Market, leg: int, tick: float, lot: float) -> Any:
    """Events of one leg in the order of its rows; venue time and receive time are the market's. [E]

    A trade whose side is unknown is left out: hftbacktest has no such thing.
    """
    bids, asks = _Side(1), _Side(-1)
    out: list[tuple[int, int, int, float, float]] = []
    rows = np.flatnonzero(market.leg == leg)
    columns = (market.venue_ns, market.ts_ns, market.kind, market.bid, market.ask, market.bid_lots, market.ask_lots)
    values = zip(*(column[rows].tolist() for column in (*columns, market.price, market.lots, market.side)), strict=True)
    both = AT_EXCHANGE | HERE
    last_bid = 0
    for venue, here, kind, bid, ask, bid_lots, ask_lots, price, lots, side in values:
        if kind:
            if side:
                out.append((both | TRADE | (BUY if side > 0 else SELL), venue, here, price, lots))
            continue
        sides = [(BUY, bids.events(bid, bid_lots)), (SELL, asks.events(ask, ask_lots))]
        for flag, changed in reversed(sides) if bid > last_bid else sides:
            out += [(both | DEPTH | flag, venue, here, p, q) for p, q in changed]
        last_bid = bid
    events = np.zeros(len(out), EVENT)
    table = np.array(out, np.float64 if not out else object)
    for n, name in enumerate(("ev", "exch_ts", "local_ts")):
        events[name] = table[:, n].astype(EVENT[name])
    events["px"] = table[:, 3].astype(np.int64) * tick
    events["qty"] = table[:, 4].astype(np.int64) * lot
    return events
