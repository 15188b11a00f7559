"""What a policy asks for. A policy returns one of these; plain Python and compiled code give the same five integers."""

from __future__ import annotations

from typing import NamedTuple

from numba.extending import register_jitable

NOTHING, TAKE, POST, CANCEL, REPLACE = 0, 1, 2, 3, 4
"""Actions."""
BUY, SELL = 1, -1
"""Sides."""


class Intent(NamedTuple):
    """One order intent; made by ``nothing``, ``take``, ``post``, ``cancel`` and ``replace``.

    action: what to do; side: +1 buys, -1 sells; lots: quantity; price_ticks: limit, 0 = the touch known at the decision
    and ``protection_bp`` beyond; order: number of the slot that is cancelled or replaced, -1 otherwise.
    """

    action: int
    side: int
    lots: int
    price_ticks: int
    order: int


@register_jitable
def nothing() -> Intent:
    """Do nothing.

    Example:
        >>> nothing().action == NOTHING
        True
    """
    return Intent(0, 0, 0, 0, -1)


@register_jitable
def take(side: int, lots: int, price_ticks: int = 0) -> Intent:
    """Cross the spread: immediate or cancel, at the touch met at the exchange, limited by its size.

    Args:
        side: +1 buys at the ask, -1 sells at the bid.
        lots: quantity, more than 0.
        price_ticks: worst price; 0 = the touch known at the decision plus the setting ``simulation.protection_bp``.

    Example:
        >>> take(BUY, 3)
        Intent(action=1, side=1, lots=3, price_ticks=0, order=-1)
    """
    return Intent(1, int(side), int(lots), int(price_ticks), -1)


@register_jitable
def post(side: int, lots: int, price_ticks: int) -> Intent:
    """Rest in the book until cancelled; refused by the exchange if it would cross on arrival (post-only).

    Example:
        >>> post(SELL, 2, 60_001).price_ticks
        60001
    """
    return Intent(2, int(side), int(lots), int(price_ticks), -1)


@register_jitable
def cancel(order: int) -> Intent:
    """Take an order out of the book; it can be filled until the request arrives.

    Args:
        order: slot of the order, e.g. ``s.buy_order``.

    Example:
        >>> cancel(0).order
        0
    """
    return Intent(3, 0, 0, 0, int(order))


@register_jitable
def replace(order: int, lots: int, price_ticks: int) -> Intent:
    """Change an order in one request; it keeps its place in the queue only at the same price with fewer lots.

    Example:
        >>> replace(1, 2, 59_999)
        Intent(action=4, side=0, lots=2, price_ticks=59999, order=1)
    """
    return Intent(4, 0, int(lots), int(price_ticks), int(order))
