"""One taking order from the decision to its report: latency, the book it meets, price, fee. All integers.

Whether and how such an order fills depends on the recorded market alone, so it is known once the order is sent.
"""

from __future__ import annotations

from typing import Any

from numba import njit

from schwabot_kernels.scalar import NJIT
from schwabot_kernels.simulate.formulas import TEN7, drawn
from schwabot_kernels.simulate.records import DATA, TABLE

COLD: dict[str, Any] = NJIT | {"_nrt": False}
BARE: dict[str, Any] = COLD | {"forceinline": True}
"""For functions that allocate nothing: references to arrays are not counted, which would cost more than the work."""


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

    ``last`` is the row of the leg's last quote received up to each row, -1 = none. [N]
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
