"""A policy that asks what a lane is worth: in by taking while a stream is in one lane, out by taking a while later."""

from __future__ import annotations

from typing import Any

from schwabot.signals import BUY, SELL, Parameter, nothing, policy, take


@policy(
    lane=Parameter(1, low=0, high=2, searched=False, about="lane it enters in: 0 LOW, 1 MEDIUM, 2 HIGH"),
    hold_ms=Parameter(500.0, low=1.0, high=1e6, search=(50.0, 5000.0), log=True, unit="ms",
                      about="time from the report of the entry to the exit"),
    lots=Parameter(1, low=1, unit="lots", searched=False, about="quantity"),
)  # fmt: skip
def round_trip(s: Any, e: Any, p: Any) -> Any:
    """Buy or sell with the forecast while the stream's lane is ``lane``, and get out ``hold_ms`` later.

    One position at a time; both orders cross the spread. Without a forecast it does nothing.
    """
    if s.in_flight > 0:
        return nothing()
    if s.position != 0:
        if e.ts_ns - s.last_fill_ns >= p.hold_ms * 1e6:
            return take(SELL, s.position) if s.position > 0 else take(BUY, -s.position)
        return nothing()
    if e.lane != p.lane:
        return nothing()
    if e.forecast_bp > 0.0:
        return take(BUY, p.lots)
    if e.forecast_bp < 0.0:
        return take(SELL, p.lots)
    return nothing()
