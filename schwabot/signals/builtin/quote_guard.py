"""Quotes around the fair price, pulled when the forecast turns against them."""

from __future__ import annotations

import math
from typing import Any

from schwabot.signals import BUY, NOTHING, SELL, Parameter, cancel, nothing, policy, post, replace
from schwabot_kernels.simulate.state import CHANGE, CHANGE_PRICE, LOTS, PRICE


def wanted_bid(s: Any, e: Any, p: Any) -> int:
    """Price our bid should have, 0 = none."""
    if s.position + p.lots > p.max_lots or (p.guard and e.forecast_bp < -p.guard_bp):
        return 0
    fair = e.mid_ticks * math.exp(1e-4 * (e.deviation_bp - p.offset_bp))
    if not fair >= e.bid_ticks:  # also when there is no fair price
        return 0
    price = min(math.floor(fair), e.ask_ticks - 1) if p.inside else e.bid_ticks
    return 0 if price == e.bid_ticks and e.bid_lots == 0 else price


def wanted_ask(s: Any, e: Any, p: Any) -> int:
    """Price our offer should have, 0 = none."""
    if s.position - p.lots < -p.max_lots or (p.guard and e.forecast_bp > p.guard_bp):
        return 0
    fair = e.mid_ticks * math.exp(1e-4 * (e.deviation_bp + p.offset_bp))
    if not fair <= e.ask_ticks:
        return 0
    price = max(math.ceil(fair), e.bid_ticks + 1) if p.inside else e.ask_ticks
    return 0 if price == e.ask_ticks and e.ask_lots == 0 else price


def meets(s: Any, side: int, wanted: int, other: int) -> bool:
    """Would the order trade with our own of the other side, where that is or where it is on its way to?"""
    if other < 0:
        return False
    change = s.orders[other, CHANGE_PRICE]
    return bool(side * (wanted - s.orders[other, PRICE]) >= 0 or (change > 0 and side * (wanted - change) >= 0))


def bring(s: Any, side: int, order: int, other: int, wanted: int, lots: int) -> Any:
    """The request that takes one side from what it is to what it should be."""
    if order >= 0 and s.orders[order, CHANGE] > 0:  # one is under way
        return nothing()
    if wanted == 0:
        return cancel(order) if order >= 0 else nothing()
    if meets(s, side, wanted, other):  # first the other side has to go
        return nothing()
    if order < 0:
        return post(side, lots, wanted)
    return replace(order, s.orders[order, LOTS], wanted) if s.orders[order, PRICE] != wanted else nothing()


@policy(
    offset_bp=Parameter(0.5, low=-100.0, high=1000.0, search=(-1.0, 5.0), unit="bp",
                        about="least distance of a quote from the fair price"),
    guard_bp=Parameter(0.3, low=0.0, high=1000.0, search=(0.05, 5.0), log=True, unit="bp",
                       about="forecast against a quote at which it is pulled"),
    guard=Parameter(True, searched=False, about="false = the forecast pulls nothing, for comparison"),
    inside=Parameter(False, searched=False, about="true = also between the touches; false = at the touch only"),
    lots=Parameter(1, low=1, unit="lots", searched=False, about="quantity of a quote"),
    max_lots=Parameter(5, low=1, search=(1, 20), unit="lots", about="largest position"),
)  # fmt: skip
def quote_guard(s: Any, e: Any, p: Any) -> Any:
    """Rest one order a side where it is at least ``offset_bp`` better than fair, unless the forecast is against it.

    Fair price = mid exp(deviation_bp 1e-4), the ghost on this stream. The bid rests at the touch while fair exp(-offset
    1e-4) is not below it (with ``inside`` at that price itself, short of the ask); it is pulled while forecast_bp <
    -guard_bp, or when a fill would exceed ``max_lots``; the offer mirrors it. A quote that is elsewhere is replaced.
    There is never more than one order of a side.
    """
    answer = bring(s, BUY, s.buy_order, s.sell_order, wanted_bid(s, e, p), p.lots)
    if answer.action != NOTHING:
        return answer
    return bring(s, SELL, s.sell_order, s.buy_order, wanted_ask(s, e, p), p.lots)
