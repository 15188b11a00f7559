"""Orders that are told of and not sent: how a live run begins, and all there is of one that nobody confirmed.

RiskGateway ─▶ DryRun ─┬▶ told of, refused          while it is dry
                       └▶ the venue's gateway       from then on
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from schwabot.execution.held import Held
from schwabot.execution.risk_gateway import Inner
from schwabot.records.instrument import Instrument
from schwabot.records.order import Action, Report, Request


class DryRun:
    """A gateway that sends nothing until its time has come; the policy hears that its orders were refused.

    Args:
        inner: where requests go afterwards; None = they never do.
        instruments: that are traded.
        until_ns: time of the first request that is sent.
        tell: told of each order that would leave, in a line.
        now_ns: time now.
        hold_s: a policy hears so long after that its order was refused.

    Example:
        >>> spot = Instrument("binance:BTC/USDT", tick_size=0.01, lot_size=1e-5)
        >>> dry = DryRun(None, {spot.stream: spot}, 0, print)
        >>> dry.send(Request(0, "a-0", spot.stream, Action.TAKE, 1, 2_000, 6_000_000, -1, 0, 5, 5_999_999, 6_000_000))
        would buy 0.02 binance:BTC/USDT at 60000 or better, at once or never
        >>> dry.reports()[0].ending.name, dry.count
        ('REFUSED', 1)
    """

    def __init__(
        self,
        inner: Inner | None,
        instruments: Mapping[str, Instrument],
        until_ns: int,
        tell: Callable[[str], None],
        now_ns: Callable[[], int] = time.time_ns,
        hold_s: float = 0.0,
    ) -> None:
        self._inner, self._instruments, self._until_ns, self._tell = inner, instruments, until_ns, tell
        self._now_ns, self._hold_ns = now_ns, round(hold_s * 1e9)
        self._told = Held()
        self._is_dry = True
        self.count = 0
        """Orders that were told of."""

    def send(self, request: Request) -> None:
        """Tell of a request, or send it."""
        if self._told.answer(request):
            return
        if self._inner is not None and request.ts_ns >= self._until_ns:
            if self._is_dry:
                self._is_dry = False
                self._tell("the dry run is over: orders leave from now on")
            self._inner.send(request)
            return
        self.count += 1
        line = f"would {order_text(self._instruments[request.stream], request)}"
        if self._inner is not None:  # a live run, at its beginning: who reads "would" must not think it a dry one
            line += f" (watching first: orders leave in {(self._until_ns - request.ts_ns) / 1e9:.0f} s)"
        self._tell(line)
        self._told.refuse(request, self._now_ns() + self._hold_ns)

    def reports(self) -> Sequence[Report]:
        """What was told since the last call."""
        told = self._told.take(self._now_ns()) if self._told else []
        return [*told, *(self._inner.reports() if self._inner is not None else ())]


def order_text(one: Instrument, request: Request) -> str:
    """An order in words."""
    side = "buy" if request.side > 0 else "sell"
    how = "or better, at once or never" if request.action is Action.TAKE else "or not at all, as a post"
    return f"{side} {quantity(one, request.lots)} {one.stream} at {price(one, request.price_ticks)} {how}"


def quantity(one: Instrument, lots: int) -> str:
    """Lots in units of quantity: coins, or contracts."""
    return f"{lots * one.lot_size:.10g}"


def price(one: Instrument, ticks: float) -> str:
    """Ticks in quote currency."""
    return f"{ticks * one.tick_size:.10g}"
