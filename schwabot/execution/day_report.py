"""What trading came to on a UTC day: joins the day's line that ``NotifySink`` sends."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

from schwabot.execution.simulated import SimulatedBroker
from schwabot.records.alert import Alert, Level
from schwabot.simulation.totals import leg_totals

DAY_NS = 86_400_000_000_000


class _Sums(NamedTuple):
    """Since the run began; money by currency."""

    net: Counter[str]
    fees: Counter[str]
    orders: int
    refused: int


class DayReport:
    """Tells, once a UTC day is over, what the account made and paid on it; asked between batches.

    Args:
        broker: that trades.
    """

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker
        self._day: int | None = None
        self._before = _sums(broker)

    def take(self) -> tuple[Alert, ...]:
        """The day before, at the first call of a day."""
        builder = self._broker.recorder.builder
        if not builder.rows:
            return ()
        now_ns = int(builder.room.ts_ns[builder.rows - 1])
        over, self._day = self._day is not None and now_ns // DAY_NS > self._day, now_ns // DAY_NS
        if not over:
            return ()
        before, self._before = self._before, _sums(self._broker)
        return (Alert(now_ns, Level.INFO, "daily", _text(before, self._before)),)


def _sums(broker: SimulatedBroker) -> _Sums:
    sums = _Sums(Counter(), Counter(), 0, 0)
    for leg in leg_totals(broker.outcome()).values():
        sums.net[leg["currency"]] += leg["net"]
        sums.fees[leg["currency"]] += leg["fees"]
        refused = sums.refused + leg["refused"] + leg["rejected"]
        sums = sums._replace(orders=sums.orders + leg["orders"], refused=refused)
    return sums


def _text(before: _Sums, after: _Sums) -> str:
    money = [f"{after.net[name] - before.net[name]:+,.6g} {name}" for name in after.net]
    fees = [f"{after.fees[name] - before.fees[name]:,.6g} {name}" for name in after.fees]
    orders, refused = after.orders - before.orders, after.refused - before.refused
    said = f"PnL {' and '.join(money)} after fees of {' and '.join(fees)}, {orders:,} orders"
    return f"{said}, {refused:,} of them refused" if refused else said
