"""Threshold with hysteresis on the forecast."""

from __future__ import annotations

import math
from typing import Any

from schwabot.signals import BUY, SELL, Parameter, nothing, policy, take


def quiet(s: Any, p: Any) -> tuple[float, float]:
    """Forecasts at which ``threshold`` does nothing."""
    if s.in_flight > 0:
        return -math.inf, math.inf
    high = p.enter_bp if s.position < p.max_lots else math.inf
    low = -p.enter_bp if s.position > -p.max_lots else -math.inf
    if s.position < 0:
        high = min(high, p.exit_bp)
    if s.position > 0:
        low = max(low, -p.exit_bp)
    return low, high


@policy(
    signal="forecast_bp",
    quiet=quiet,
    enter_bp=Parameter(0.1, low=0.0, high=1000.0, search=(0.02, 0.5), log=True, unit="bp",
                       about="forecast above which it buys, below minus which it sells"),
    exit_bp=Parameter(0.0, low=0.0, high=1000.0, search=(0.0, 0.1), unit="bp",
                      about="forecast against the position that closes it"),
    lots=Parameter(1, low=1, search=(1, 10), unit="lots", about="quantity of an order that opens or enlarges"),
    max_lots=Parameter(1, low=1, search=(1, 10), unit="lots", about="largest position"),
)  # fmt: skip
def threshold(s: Any, e: Any, p: Any) -> Any:
    """Cross the spread when the forecast is large, and get out when it turns.

    With x = ``forecast_bp`` and position q: x > enter buys, x < -enter sells, up to ``max_lots``; a position on the
    wrong side is closed first, with -q. Between the two a position is closed once the forecast is against it by more
    than exit: q > 0 and x < -exit, or q < 0 and x > exit. One order at a time.
    """
    if s.in_flight > 0:
        return nothing()
    x = e.forecast_bp
    if s.position > 0 and (x < -p.exit_bp or x < -p.enter_bp):
        return take(SELL, s.position)
    if s.position < 0 and (x > p.exit_bp or x > p.enter_bp):
        return take(BUY, -s.position)
    if x > p.enter_bp and s.position < p.max_lots:
        return take(BUY, min(p.lots, p.max_lots - s.position))
    if x < -p.enter_bp and s.position > -p.max_lots:
        return take(SELL, min(p.lots, p.max_lots + s.position))
    return nothing()
