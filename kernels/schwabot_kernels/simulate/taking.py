"""One taking order from the decision to its report: latency, the book it meets, price, fee. All integers.

Whether and how such an order fills depends on the recorded market alone, so it is known once the order is sent.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from schwabot_kernels.scalar import NJIT
from schwabot_kernels.simulate.records import DATA, TABLE

BARE: dict[str, Any] = NJIT | {"_nrt": False, "forceinline": True}
TEN7 = 10_000_000
TWO_E9 = 2_000_000_000


@njit(**BARE)
def worth(price: int, scale: int, inverse: int) -> int:
    """w(p): p scale, of an inverse contract -(scale // p).

    Example:
        >>> worth(3, 10, 0), worth(3, 10, 1)
        (30, -3)
    """
    return -(scale // price) if inverse else price * scale


@njit(**BARE)
def fee_of(notional: int, fee_e7: int) -> int:
    """ceil(notional fee / 10^7), exactly.

    Example:
        >>> fee_of(10_000_001, 3), fee_of(10_000_001, -3)
        (4, -3)
    """
    return (notional // TEN7) * fee_e7 - (-(notional % TEN7) * fee_e7) // TEN7


@njit(**BARE)
def funding_of(position: int, mark: int, rate_e9: int) -> int:
    """ceil(position mark/2 rate / 10^9), exactly: what the position pays.

    Example:
        >>> funding_of(1, 2_000_000_001, 1), funding_of(-1, 2_000_000_001, 1)
        (2, -1)
    """
    twice = position * mark
    return (twice // TWO_E9) * rate_e9 - (-(twice % TWO_E9) * rate_e9) // TWO_E9


@njit(**BARE)
def drawn(tables: Any, way: int, seed: int, leg: int, number: int) -> int:
    """Latency of request (way 0) or report (way 1) number n of a leg: its table at SplitMix64 of seed, leg and 2n + way.

    Source: Steele, Lea, Flood 2014, Fast splittable pseudorandom number generators.
    """
    z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + (np.uint64(leg) << np.uint64(48))
    z += np.uint64(2 * number + way)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    at = ((z >> np.uint64(32)) * np.uint64(tables.shape[1])) >> np.uint64(32)
    return tables[way, np.int64(at)]


@njit(**BARE)
def _feed_delay(market: Any, row: int) -> int:
    return max(0, market.ts_ns[row] - market.venue_ns[row])


@njit(**BARE)
def entry_delay(market: Any, last: Any, rules: Any, leg: int, number: int, row: int) -> int:
    """What the latency model adds to the way of request n, decided on at a row, to the exchange."""
    if rules.model == TABLE:
        return drawn(rules.tables, 0, rules.seed, leg, number)
    if rules.model != DATA:
        return 0
    own = last[row]
    following = market.next_row[own]
    while 0 <= following <= row:
        own, following = following, market.next_row[following]
    return _feed_delay(market, own)


@njit(**BARE)
def response_delay(market: Any, first_own: int, rules: Any, leg: int, number: int, quote: int, time_ns: int) -> int:
    """What the latency model adds to the way of report n back, of an event at the exchange after a quote, -1 = none."""
    if rules.model == TABLE:
        return drawn(rules.tables, 1, rules.seed, leg, number)
    if rules.model != DATA:
        return 0
    own, following = -1, first_own
    if quote >= 0:
        own, following = quote, market.next_row[quote]
    while following >= 0 and market.venue_ns[following] <= time_ns:
        own, following = following, market.next_row[following]
    return _feed_delay(market, own) if own >= 0 else 0


@njit(**BARE)
def book_at(venue_ns: Any, last: Any, row: int, time_ns: int) -> int:
    """Row of the last quote of the leg with venue time up to time_ns, -1 = none; sought from a row on, both ways.

    Args:
        last: row of the leg's last quote received up to each row, -1 = none. [N]
    """
    rows = last.size
    low, step = row, 1
    while low >= 0 and last[low] >= 0 and venue_ns[last[low]] > time_ns:
        low -= step
        step += step
    if low < 0:
        low = 0
        if last[0] >= 0 and venue_ns[last[0]] > time_ns:
            return -1
    high, step = row + 1, 1
    while high < rows and (last[high] < 0 or venue_ns[last[high]] <= time_ns):
        low = high
        high += step
        step += step
    high = min(high, rows)
    while high - low > 1:
        middle = (low + high) >> 1
        if last[middle] < 0 or venue_ns[last[middle]] <= time_ns:
            low = middle
        else:
            high = middle
    return last[low]


@njit(**BARE)
def limit_of(side: int, price_ticks: int, bid: int, ask: int, protection_e7: int) -> int:
    """Worst price of a taking order: its own, or the known touch and the protection beyond."""
    if price_ticks != 0:
        return price_ticks
    return ask + (ask * protection_e7) // TEN7 if side > 0 else bid - (bid * protection_e7) // TEN7


@njit(**BARE)
def filled(market: Any, quote: int, side: int, lots: int, limit: int) -> Any:
    """(lots, price) of a taking order that meets the touch of a quote; (0, 0) where there is none within the limit."""
    if quote < 0:
        return 0, 0
    if side > 0:
        price, there = market.ask[quote], market.ask_lots[quote]
        if price > limit:
            return 0, 0
    else:
        price, there = market.bid[quote], market.bid_lots[quote]
        if price < limit:
            return 0, 0
    return (min(lots, there) if there > 0 else lots), price


@njit(**BARE)
def entry_after(position: int, entry: float, lots: int, price: int) -> float:
    """Average entry price after a fill of signed lots: weighted on enlarging, kept on reducing, new through zero."""
    after = position + lots
    if after == 0:
        return 0.0
    if position == 0 or (position > 0) != (after > 0):
        return float(price)
    if (position > 0) == (lots > 0):
        return (abs(position) * entry + abs(lots) * price) / abs(after)
    return entry
