"""Quotes around the fair price, pulled when the forecast turns against them."""

from __future__ import annotations

import math
from typing import Any

from schwabot.signals import BUY, SELL, Parameter, cancel, nothing, policy, post, replace


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


def bring(side: int, order: int, ticks: int, open_lots: int, wanted: int, lots: int) -> Any:
    """The request that takes one side from what it is to what it should be."""
    if order < 0:
        return post(side, lots, wanted) if wanted > 0 else nothing()
    if wanted == 0:
        return cancel(order)
    return replace(order, open_lots, wanted) if wanted != ticks else nothing()


@policy(
    memory=1,
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
    Answers to what was sent are waited for, so that there is never more than one order of a side.
    """
    if s.call == 0:
        if s.in_flight > 0:
            return nothing()
        answer = bring(BUY, s.buy_order, s.buy_ticks, s.buy_lots, wanted_bid(s, e, p), p.lots)
        s.memory[0] = answer.action
        if answer.action != 0:
            return answer
    elif s.call > 1 or s.memory[0] == 0.0:  # both sides were seen to
        return nothing()
    return bring(SELL, s.sell_order, s.sell_ticks, s.sell_lots, wanted_ask(s, e, p), p.lots)
