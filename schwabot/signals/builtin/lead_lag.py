"""Following a leader: trade what it has moved and we have not yet."""

from __future__ import annotations

import math
from typing import Any

from schwabot.signals import BUY, SELL, Parameter, nothing, policy, signal, take


def faded(mean: float, value: float, share: float) -> float:
    """A decayed mean after a time in which the value stood still."""
    return value + (mean - value) * share


@signal(
    memory=5,
    tau_ms=Parameter(200.0, low=0.01, high=1e7, unit="ms", about="decay time of the means the moves are measured from"),
)
def leader_move_bp(s: Any, e: Any, p: Any) -> Any:
    """What the leader has moved lately and this stream has not, in bp.

    (x_L - m_L) - (x - m), x = log mid and m its mean in receive time, decayed with tau: between two rows of which the
    first has value x', m becomes x' + (m - x') exp(-dt/tau).
    """
    leader, own = e.mid_bp_of_leader, e.mid_bp
    if math.isnan(leader) or math.isnan(own):
        return math.nan
    if s.memory[4] == 0.0:
        s.memory[0], s.memory[1] = leader, own
    else:
        share = math.exp(-(e.ts_ns - s.last_ns) / (p.tau_ms * 1e6))
        s.memory[0] = faded(s.memory[0], s.memory[2], share)
        s.memory[1] = faded(s.memory[1], s.memory[3], share)
    s.memory[2], s.memory[3], s.memory[4] = leader, own, 1.0
    return (leader - s.memory[0]) - (own - s.memory[1])


def quiet(s: Any, p: Any) -> tuple[float, float]:
    """Moves at which ``lead_lag`` does nothing."""
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
    signal="leader_move_bp",
    quiet=quiet,
    signals=(leader_move_bp,),
    enter_bp=Parameter(1.0, low=0.0, high=1000.0, search=(0.1, 10.0), log=True, unit="bp",
                       about="move of the leader, not yet followed, at which it trades"),
    exit_bp=Parameter(0.0, low=-1000.0, high=1000.0, search=(-1.0, 2.0), unit="bp",
                      about="what of it is left when the position is closed"),
    lots=Parameter(1, low=1, search=(1, 10), unit="lots", about="quantity of an order that opens or enlarges"),
    max_lots=Parameter(1, low=1, search=(1, 10), unit="lots", about="largest position"),
)  # fmt: skip
def lead_lag(s: Any, e: Any, p: Any) -> Any:
    """Buy when the leader (``policy.leader=STREAM``) went up and this stream has not followed, and the reverse.

    With x = ``leader_move_bp`` and position q: x > enter buys, x < -enter sells, up to ``max_lots``. q > 0 is closed
    when x < exit or x < -enter, q < 0 when x > -exit or x > enter. One order at a time. ``mode=leadlag`` says who leads
    whom, and by how much.
    """
    if s.in_flight > 0:
        return nothing()
    x = e.leader_move_bp
    if s.position > 0 and (x < p.exit_bp or x < -p.enter_bp):
        return take(SELL, s.position)
    if s.position < 0 and (x > -p.exit_bp or x > p.enter_bp):
        return take(BUY, -s.position)
    if x > p.enter_bp and s.position < p.max_lots:
        return take(BUY, min(p.lots, p.max_lots - s.position))
    if x < -p.enter_bp and s.position > -p.max_lots:
        return take(SELL, min(p.lots, p.max_lots + s.position))
    return nothing()
