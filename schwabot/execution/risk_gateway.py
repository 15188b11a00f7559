"""The risk gate in front of a gateway: keeps what the gate needs to know, and answers for the venue what it refuses.

    VenueBroker ─▶ RiskGateway ─▶ any gateway (simulated exchange, ccxt)

A refused order ends with ``Ending.REFUSED``; a refused replace is told as too late: its order goes on as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import exp, isnan
from typing import NamedTuple, Protocol

from schwabot.errors import StateError
from schwabot.execution.conversion import Hop, conversion
from schwabot.execution.held import Held
from schwabot.execution.risk import Refused, RiskGate, View, notional
from schwabot.records.audit import SignalColumns
from schwabot.records.instrument import Instrument
from schwabot.records.market import Kind, Row
from schwabot.records.order import Action, Report, Request, Told

_REPLACE_HOLD_NS = 50_000_000
_REMEMBERED = 1_000
_PAST = 40_000
"""Requests that are over and may still be told of: twice as many as ``OrderTracker`` knows."""
# Looked up once: a member of an enum is a call of Python code.
_QUOTE, _CANCEL, _REPLACE = int(Kind.QUOTE), Action.CANCEL, Action.REPLACE


class Inner(Protocol):
    """What is gated."""

    def send(self, request: Request) -> None:
        """Take a request."""
        ...

    def reports(self) -> Sequence[Report]:
        """What was told since the last call."""
        ...


@dataclass(slots=True)
class _Open:
    """An order that can still fill."""

    side: int
    lots: int
    changed: int = 0

    @property
    def worst(self) -> int:
        return max(self.lots, self.changed)


@dataclass(slots=True)
class _Leg:
    instrument: Instrument
    hops: tuple[Hop, ...] = ()
    position: int = 0
    cash: float = 0.0  # quote currency; of an inverse contract its base
    worth: float = 0.0  # quote currency
    unpriced: bool = False
    bid: int = 0
    ask: int = 0
    quote_ns: int | None = None
    fair: float = float("nan")
    lane: int = 0
    open: dict[int, _Open] = field(default_factory=dict)

    def lots(self, side: int) -> int:
        if not self.open:
            return 0
        return sum(order.worst for order in self.open.values() if order.side == side)

    def worst_notional(self) -> float:
        if not self.position and not self.open:
            return 0.0
        most = max(self.position + self.lots(1), -self.position + self.lots(-1), 0)
        price = max(self.ask, self.bid)
        return notional(self.instrument, most, price) if most else 0.0

    def trade(self, side: int, lots: int, price_ticks: float, fee_bp: float) -> None:
        one, worth = self.instrument, notional(self.instrument, lots, price_ticks)
        price = price_ticks * one.tick_size
        if one.inverse:
            self.cash += side * worth / price - worth / price * fee_bp * 1e-4
        else:
            self.cash -= side * worth + worth * fee_bp * 1e-4
        self.position += side * lots

    def price(self) -> None:
        """A position without an entry price counts from the first mid."""
        position, self.position, self.unpriced = self.position, 0, False
        self.trade(1 if position > 0 else -1, abs(position), (self.bid + self.ask) * 0.5, 0.0)

    def mark(self) -> None:
        one, mid = self.instrument, (self.bid + self.ask) * 0.5
        signed = notional(one, self.position, mid) * (1 if self.position > 0 else -1) if self.position else 0.0
        if one.inverse:
            price = mid * one.tick_size
            self.worth = self.cash * price - signed
        else:
            self.worth = self.cash + signed


class LastRefused(NamedTuple):
    """When an order was refused, and why."""

    ts_ns: int
    what: str


class RiskGateway:
    """Sends what the gate approves.

    Args:
        inner: where approved requests go.
        gate: that decides.
        instruments: V instruments, as in the rows.
        now_ns: time now: the machine's where orders are real, so that rows that wait in a queue count as old.
        hold_s: a refused order's end is reported so long after: a policy that insists asks this often, not at each row.

    Raises:
        ConfigError: streams are traded whose currencies can't be added.

    Example:
        >>> from schwabot.execution.settings import RiskConfig
        >>> class Venue:
        ...     def send(self, request): print("sent", request.client_id)
        ...     def reports(self): return []
        >>> spot = Instrument("binance:BTC/USDT", tick_size=0.01, lot_size=1e-5)
        >>> gated = RiskGateway(Venue(), RiskGate(RiskConfig(), [spot]), [spot], lambda: 5)
        >>> gated.send(Request(0, "a-0", spot.stream, Action.TAKE, 1, 1, 100, -1, 0, 5, 99, 100))
        >>> gated.reports()[0].ending.name, gated.said
        ('REFUSED', {0: 'stale: no quote yet'})
    """

    def __init__(
        self, inner: Inner, gate: RiskGate, instruments: Sequence[Instrument], now_ns: Callable[[], int],
        hold_s: float = 0.0,
    ) -> None:  # fmt: skip
        self.inner, self.gate = inner, gate
        self._now_ns, self._hold_ns = now_ns, round(hold_s * 1e9)
        found = conversion(instruments, gate.traded)
        self.notes = found.notes
        """What is converted and what counts 1:1, for a person to know."""
        self._rows = [_Leg(one, found.hops.get(one.quote, ())) for one in instruments]
        self._legs = {one.stream: leg for one, leg in zip(instruments, self._rows, strict=True)}
        self._of: dict[int, tuple[_Leg, int]] = {}  # replaces under way: leg, and the order's number
        self._leg: dict[int, tuple[_Leg, int]] = {}  # requests without an end: leg and side
        self._past: dict[int, tuple[_Leg, int]] = {}  # the newest of those that are over
        self._feed_ns: int | None = None
        self._refused = Held()
        self.said: dict[int, str] = {}
        """Why the last requests were refused, by number."""
        self.last_refused: dict[str, LastRefused] = {}
        """The last refusal for each reason."""

    def adopt(self, stream: str, position: int, entry_ticks: float) -> None:
        """Begin with a position that is there already, see ``VenueBroker.adopt``."""
        leg = self._legs[stream]
        leg.position = 0
        if entry_ticks > 0.0:
            leg.trade(1 if position > 0 else -1, abs(position), entry_ticks, 0.0)
        else:
            leg.position, leg.unpriced = position, True

    def observe(self, row: Row, signals: SignalColumns) -> None:
        """Learn of a row and the graph's answer [1] before anything is decided on it."""
        leg, v = self._rows[row.stream], row.stream
        self._feed_ns = row.ts_recv_ns
        if row.kind == _QUOTE:
            leg.bid, leg.ask, leg.quote_ns = row.bid_ticks, row.ask_ticks, row.ts_recv_ns
            if leg.unpriced:
                leg.price()
            if leg.position or leg.cash:
                leg.mark()
                self._tell_equity(row.ts_recv_ns)
        leg.lane = signals.lane.item(0, v)
        leg.fair = (leg.bid + leg.ask) * 0.5 * exp(signals.deviation_bp.item(0, v) * 1e-4)

    def rehearse(self, request: Request) -> None:
        """Look at a request as ``send`` does, and forget it, see ``VenueBroker.rehearse``."""
        leg = self._legs[request.stream]
        self.gate.rehearse(request, self._view(request, leg, self._now_ns()))

    @property
    def feed_ns(self) -> int | None:
        """Receive time of the last row of any stream, None = none yet."""
        return self._feed_ns

    def position(self, stream: str) -> int:
        """Lots held, as reported."""
        return self._legs[stream].position

    def send(self, request: Request) -> None:
        """Send a request if it may leave; else say so with the next reports."""
        if self._refused.answer(request):
            return
        leg = self._legs[request.stream]
        now_ns = self._now_ns()
        answer = self.gate.check(request, self._view(request, leg, now_ns))
        if isinstance(answer, Refused):
            said = self.said[request.number] = f"{answer.reason}: {answer.what}"
            self.last_refused[answer.reason] = LastRefused(now_ns, f"{request.stream}: {said}")
            if len(self.said) > _REMEMBERED:
                del self.said[next(iter(self.said))]
            if request.action is Action.REPLACE:  # sooner: until then its order can't be cancelled
                self._refused.too_late(request, now_ns + min(self._hold_ns, _REPLACE_HOLD_NS))
            else:
                self._refused.refuse(request, now_ns + self._hold_ns)
            return
        if request.action is _REPLACE:
            leg.open[request.of].changed = request.lots
            self._of[request.number] = (leg, request.of)
        elif request.action is not _CANCEL:
            leg.open[request.number] = _Open(request.side, request.lots)
        self._leg[request.number] = leg, request.side
        self.inner.send(request)

    def reports(self) -> Sequence[Report]:
        """What was told since the last call, refusals first."""
        told = self._refused.take(self._now_ns()) if self._refused else []
        return [*told, *self._learnt()]

    def _learnt(self) -> Sequence[Report]:
        told = self.inner.reports()
        for report in told:
            self._learn(report)
        return told

    def _view(self, request: Request, leg: _Leg, now_ns: int) -> View:
        buy, sell, changed = leg.lots(1), leg.lots(-1), 0
        if request.action is _REPLACE:
            order = leg.open.get(request.of)
            if order is None:
                raise StateError(f"request {request.number} replaces order {request.of}, which is not open")
            changed = order.worst
            buy, sell = (buy - changed, sell) if order.side > 0 else (buy, sell - changed)
        others = 0.0
        for other in self._rows:
            if (other.position or other.open) and other is not leg:
                others += self._converted(other, other.worst_notional())
        return View(
            now_ns, leg.quote_ns, self._feed_ns, leg.bid, leg.ask, leg.fair, leg.lane, leg.position, buy, sell, changed,
            len(leg.open), others, self._converted(leg, 1.0) if leg.hops else 1.0,
        )  # fmt: skip

    def _learn(self, report: Report) -> None:
        number = report.number
        leg, side = self._leg.get(number) or self._past.get(number) or (None, 0)
        if leg is None:
            raise StateError(f"a report of order {number}, which was not sent: {report}")
        if report.told is Told.FILL:
            fee_bp = leg.instrument.maker_fee_bp if report.maker else leg.instrument.taker_fee_bp
            leg.trade(side, report.lots, report.price_ticks, fee_bp)
        elif report.told is Told.FEE:  # in place of the fee in money, which was booked with the fill
            leg, price = (self._legs[report.stream], 0) if report.stream else (leg, report.price_ticks)
            leg.trade(-1 if report.lots > 0 else 1, abs(report.lots), price or (leg.bid + leg.ask) * 0.5, 0.0)
        if report.told in (Told.FILL, Told.FEE):
            leg.mark()
            self._tell_equity(report.ts_ns)
        if number not in self._leg or report.told is Told.FEE:
            return
        if report.told is Told.TOO_LATE:
            if (change := self._of.pop(number, None)) and (order := change[0].open.get(change[1])):
                order.changed = 0
            self._over(number)
            return
        order = leg.open.get(number)
        if order is None:
            raise StateError(f"a report of order {number}, which is not open: {report}")
        if report.told is Told.FILL:
            order.lots -= report.lots
            order.changed = max(0, order.changed - report.lots)
        if report.told is Told.REPLACED:
            leg.open[report.request] = _Open(order.side, report.lots)
            self._of.pop(report.request, None)
        if report.told is Told.REPLACED or report.ending is not None:
            del leg.open[number]
            self._over(number)
        if report.ending is not None and report.request not in (-1, number):
            self._over(report.request)
            self._of.pop(report.request, None)

    def _over(self, number: int) -> None:
        """No end of it will be told any more; a fill may still come."""
        if (found := self._leg.pop(number, None)) is not None:
            self._past[number] = found
            if len(self._past) > _PAST:
                del self._past[next(iter(self._past))]

    def _converted(self, leg: _Leg, amount: float) -> float:
        """A leg's money in the currency of all; NaN while a price that it takes is not known."""
        for hop in leg.hops:
            other = self._rows[hop.stream]
            price = (other.bid + other.ask) * 0.5 * other.instrument.tick_size
            if price == 0.0:
                price = 1.0 if hop.pegged else float("nan")
            amount = amount / price if hop.turned else amount * price
        return amount

    def _tell_equity(self, ts_ns: int) -> None:
        if any(leg.position and not leg.bid for leg in self._rows):
            return  # what was taken on is not worth anything yet: its price is to come
        equity = sum(self._converted(leg, leg.worth) for leg in self._rows if leg.worth)
        if not isnan(equity):
            self.gate.equity(equity, ts_ns)
