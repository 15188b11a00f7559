"""Mean reversion of the deviation from the fair price."""

from __future__ import annotations

import math
from typing import Any

from schwabot.signals import BUY, SELL, Parameter, nothing, policy, take


def quiet(s: Any, p: Any) -> tuple[float, float]:
    """Deviations at which ``mean_reversion`` does nothing."""
    if s.in_flight > 0:
        return -math.inf, math.inf
    high = p.enter_bp if s.position < p.max_lots else math.inf
    low = -p.enter_bp if s.position > -p.max_lots else -math.inf
    if s.position > 0:
        low = max(-p.enter_bp, p.exit_bp)
    if s.position < 0:
        high = min(p.enter_bp, -p.exit_bp)
    return low, high


@policy(
    signal="deviation_bp",
    quiet=quiet,
    enter_bp=Parameter(1.5, low=0.0, high=1000.0, search=(0.2, 20.0), log=True, unit="bp",
                       about="deviation from the fair price at which it trades"),
    exit_bp=Parameter(0.0, low=-1000.0, high=1000.0, search=(-1.0, 2.0), unit="bp",
                      about="what of the deviation is left when the position is closed"),
    lots=Parameter(1, low=1, search=(1, 10), unit="lots", about="quantity of an order that opens or enlarges"),
    max_lots=Parameter(1, low=1, search=(1, 10), unit="lots", about="largest position"),
)  # fmt: skip
def mean_reversion(s: Any, e: Any, p: Any) -> Any:
    """Buy what is cheap against the ghost, sell what is dear, and close once it is fair again.

    With x = ``deviation_bp`` = ghost + phase - mid (positive = cheap) and position q: x > enter buys, x < -enter sells,
    up to ``max_lots``. q > 0 is closed when x < exit or x < -enter, q < 0 when x > -exit or x > enter. One order at a
    time.
    """
    if s.in_flight > 0:
        return nothing()
    x = e.deviation_bp
    if s.position > 0 and (x < p.exit_bp or x < -p.enter_bp):
        return take(SELL, s.position)
    if s.position < 0 and (x > -p.exit_bp or x > p.enter_bp):
        return take(BUY, -s.position)
    if x > p.enter_bp and s.position < p.max_lots:
        return take(BUY, min(p.lots, p.max_lots - s.position))
    if x < -p.enter_bp and s.position > -p.max_lots:
        return take(SELL, min(p.lots, p.max_lots + s.position))
    return nothing()
