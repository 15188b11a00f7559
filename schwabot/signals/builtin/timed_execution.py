"""Timed execution: an order that is sent anyway, at a moment the forecast chooses."""

from __future__ import annotations

from typing import Any

from schwabot.signals import BUY, SELL, Parameter, nothing, policy, take

AT_ONCE, AT_DEADLINE, BY_FORECAST = 0, 1, 2
"""Values of ``mode``."""


def parent_number(now_ns: int, begin_ns: int, every_s: float) -> int:
    """How many parent orders have come so far; the first comes one interval after the beginning."""
    return max(0, int((now_ns - begin_ns) // int(every_s * 1e9)))


def target_lots(parents: int, side: int, lots: int) -> int:
    """The position once all parent orders so far are done."""
    if side == 0:  # bought by odd ones, sold by even ones
        return lots * (parents % 2)
    return side * lots * parents


@policy(
    every_s=Parameter(10.0, low=0.001, high=1e6, unit="s", searched=False, about="time between two parent orders"),
    first_s=Parameter(0.0, low=0.0, high=1e9, unit="s", searched=False,
                      about="time from the start of the data after which intervals are counted"),
    window_ms=Parameter(1000.0, low=0.0, high=1e9, unit="ms", searched=False, about="time a parent order has"),
    ahead_ms=Parameter(20.0, low=0.0, high=1e6, unit="ms", searched=False,
                       about="what is left is sent so long before the deadline, to be there in time"),
    lots=Parameter(1, low=1, unit="lots", searched=False, about="quantity of a parent order"),
    side=Parameter(0, low=-1, high=1, searched=False, about="1 buys, -1 sells, 0 in turn"),
    mode=Parameter(BY_FORECAST, low=0, high=2, searched=False,
                   about="0 sends at once, 1 at the deadline, 2 when the forecast says so"),
    send_bp=Parameter(0.0, low=-1000.0, high=1000.0, search=(-2.0, 2.0), unit="bp",
                      about="forecast in the order's direction (it is about to cost more) from which it is sent"),
)  # fmt: skip
def timed_execution(s: Any, e: Any, p: Any) -> Any:
    """Fill a parent order of ``lots`` every ``every_s`` within ``window_ms``: early or held back by the forecast.

    Parent n = 1, 2, ... comes at start + first + n every and is due ``window_ms`` later. With d its side and x =
    ``forecast_bp``, what is left of it is sent as soon as d x >= send_bp (the price is about to run away), or when all
    that is left of its time is ``ahead_ms``. What a fill leaves over, or an earlier parent, is sent by the same rule.
    To see what the forecast is worth, run the three modes on the same data and seed: their parent orders are the same.
    """
    begin_ns = s.start_ns + int(p.first_s * 1e9)
    parents = parent_number(e.ts_ns, begin_ns, p.every_s)
    left = target_lots(parents, p.side, p.lots) - s.position
    if left == 0 or s.in_flight > 0:
        return nothing()
    side = BUY if left > 0 else SELL
    age_ns = e.ts_ns - begin_ns - parents * int(p.every_s * 1e9)
    due = age_ns >= (p.window_ms - p.ahead_ms) * 1e6
    now = p.mode == AT_ONCE or (p.mode == BY_FORECAST and side * e.forecast_bp >= p.send_bp)
    if due or now:
        return take(side, abs(left))
    return nothing()
