"""The risk gate: what may leave, decided before it is sent.

    request + view of the market and of what is open ─▶ Approved | Refused(reason)

Limits count the worst case: every open order of a side fills, and nothing of the other side does. So no order of fills
and reports can take a position past its limit. Pure: no clock of its own, no files, no network.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from math import isnan

from schwabot.errors import ConfigError
from schwabot.execution.settings import LANES, RiskConfig
from schwabot.records.audit import Lane
from schwabot.records.instrument import Instrument
from schwabot.records.order import Action, Request

_DAY_NS = 86_400_000_000_000


class TradingState(IntEnum):
    """What may pass; it goes up by itself, and down only when somebody says so."""

    NORMAL = 0
    REDUCING = 1
    """Orders that make a position smaller, and cancels."""
    HALTED = 2
    """Cancels."""


class Reason(StrEnum):
    """Why a request was refused."""

    HALTED = "halted"
    REDUCING = "reducing"
    POSITION = "position"
    ORDER_NOTIONAL = "order_notional"
    NOTIONAL = "notional"
    TOTAL_NOTIONAL = "total_notional"
    MIN_QUANTITY = "min_quantity"
    MAX_QUANTITY = "max_quantity"
    MIN_NOTIONAL = "min_notional"
    OPEN_ORDERS = "open_orders"
    RATE = "rate"
    COLLAR = "collar"
    STALE = "stale"
    LANE = "lane"
    UNKNOWN_STREAM = "unknown_stream"


@dataclass(frozen=True, slots=True)
class Approved:
    """It may leave."""


@dataclass(frozen=True, slots=True)
class Refused:
    """It may not.

    Attributes:
        reason: the rule that says so.
        what: the rule's numbers, for a person.
    """

    reason: Reason
    what: str


APPROVED = Approved()
# Looked up once: a member of an enum is a call of Python code.
_HALTED, _REDUCING = TradingState.HALTED, TradingState.REDUCING
_CANCEL, _REPLACE = Action.CANCEL, Action.REPLACE


@dataclass(frozen=True, slots=True)
class StateChange:
    """The gate went from one state to another."""

    state: TradingState
    who: str
    why: str
    ts_ns: int


@dataclass(frozen=True, slots=True)
class VenueLimits:
    """A venue's own filters of a stream; price and quantity are whole ticks and lots already. 0 = no such limit."""

    min_lots: int = 0
    max_lots: int = 0
    min_notional: float = 0.0
    max_open_orders: int = 0


@dataclass(slots=True)
class View:
    """What the gate looks at beside the request.

    Attributes:
        now_ns: time of the decision.
        quote_ns: receive time of the stream's last quote, None = none yet.
        feed_ns: receive time of the last row of any stream, None = none yet.
        bid_ticks, ask_ticks: the stream's touch.
        fair_ticks: the ghost's price of the stream; NaN = there is none.
        lane: the stream's.
        position_lots: the stream's, as reported.
        buy_lots, sell_lots: of the stream, that open orders can still fill; without the order a replace is about.
        changed_lots: that the order a replace is about can still fill.
        open_orders: of the stream.
        others_notional: worst case of all other streams, in the currency of all; NaN = a rate is missing.
        rate: what one of the stream's quote currency is in that; NaN = not known.
    """

    now_ns: int
    quote_ns: int | None = None
    feed_ns: int | None = None
    bid_ticks: int = 0
    ask_ticks: int = 0
    fair_ticks: float = float("nan")
    lane: int = Lane.LOW
    position_lots: int = 0
    buy_lots: int = 0
    sell_lots: int = 0
    changed_lots: int = 0
    open_orders: int = 0
    others_notional: float = 0.0
    rate: float = 1.0


class RiskGate:
    """Approves or refuses requests, and holds the state of trading.

    Args:
        config: the limits.
        instruments: that may be traded.
        venue: their venues' filters, by stream.

    Raises:
        ConfigError: a limit that can't be used.

    Example:
        >>> spot = Instrument("binance:BTC/USDT", tick_size=0.01, lot_size=1e-5)
        >>> gate = RiskGate(RiskConfig(max_order_notional=100.0), [spot])
        >>> request = Request(0, "a-0", spot.stream, Action.TAKE, 1, 1_000, 6_000_000, -1, 0, 5, 5_999_999, 6_000_000)
        >>> view = View(5, quote_ns=5, feed_ns=5, bid_ticks=5_999_999, ask_ticks=6_000_000, fair_ticks=6_000_000.0)
        >>> gate.check(request, view).what
        'an order of 600, at most 100 is allowed'
    """

    def __init__(
        self, config: RiskConfig, instruments: Mapping[str, Instrument] | list[Instrument] | tuple[Instrument, ...],
        venue: Mapping[str, VenueLimits] | None = None,
    ) -> None:  # fmt: skip
        listed = instruments.values() if isinstance(instruments, Mapping) else instruments
        self._instruments = {one.stream: one for one in listed}
        self._spot = {one.stream for one in listed if one.is_spot}
        self._lock = threading.Lock()
        self.limits(config)
        self._venue = dict(venue or {})
        self.changes: list[StateChange] = []
        self.refused: dict[Reason, int] = {}
        self._tokens, self._refilled_ns = float(config.order_burst), 0
        self._peak: float | None = None
        self._day, self._day_begin = -1, 0.0
        self._equity = 0.0
        self._carried: tuple[int, float] | None = None

    @property
    def traded(self) -> list[Instrument]:
        """What may be traded."""
        return list(self._instruments.values())

    def limits(self, config: RiskConfig) -> None:
        """Have other limits from the next request on; called from any thread.

        What counts towards them goes on: orders of the last second, highest equity, loss of the day. The state of
        trading stays too: limits that are wider do not end ``REDUCING``, ``resume`` does.

        Args:
            config: the new limits.

        Raises:
            ConfigError: one that can't be used; the old ones stay.
        """
        self.check_limits(config)
        with self._lock:
            self.config = config

    def check_limits(self, config: RiskConfig) -> None:
        """Refuse limits that can't be used; change nothing.

        Raises:
            ConfigError: says which.
        """
        config.check()
        if unknown := set(config.max_lots) - set(self._instruments):
            raise ConfigError(f"execution.risk.max_lots names {sorted(unknown)[0]}, which is not traded")

    def filters(self, venue: Mapping[str, VenueLimits]) -> None:
        """Learn the venues' filters, by stream."""
        self._venue.update(venue)

    def escalate(self, state: TradingState, who: str, why: str, ts_ns: int) -> bool:
        """Go to a stricter state; a milder one changes nothing. Returns whether it changed."""
        if state <= self.state:
            return False
        self._set(state, who, why, ts_ns)
        return True

    def resume(self, who: str, why: str, ts_ns: int) -> None:
        """Trade again; drawdown and daily loss count from here."""
        self._peak, self._day, self._carried = None, -1, None
        self._set(TradingState.NORMAL, who, why, ts_ns)

    @property
    def state(self) -> TradingState:
        """What may pass: the strictest since somebody said that all may, so no thread undoes another one's change."""
        strictest = TradingState.NORMAL
        for change in reversed(self.changes):
            if change.state is TradingState.NORMAL:
                break
            strictest = max(strictest, change.state)
        return strictest

    @property
    def day(self) -> tuple[int, float]:
        """Days since 1970 UTC of the last equity, and what was lost in that day so far."""
        if self._day < 0 and self._carried is not None:
            return self._carried
        return self._day, self._day_begin - self._equity

    def carry(self, day: int, lost: float) -> None:
        """Count what an earlier run lost in a day as lost in that day."""
        self._carried = (day, lost)

    def _set(self, state: TradingState, who: str, why: str, ts_ns: int) -> None:
        self.changes.append(StateChange(state, who, why, ts_ns))

    def equity(self, equity: float, ts_ns: int) -> None:
        """Learn what positions and cash are worth now; too large a loss ends what opens positions."""
        day = ts_ns // _DAY_NS
        if day != self._day:
            carried_day, lost = self._carried or (day, 0.0)
            self._equity, self._day_begin = equity, equity + (lost if carried_day == day else 0.0)
            self._day, self._carried = day, None  # last: another thread reads ``day``
        self._equity = equity
        self._peak = equity if self._peak is None else max(self._peak, equity)
        if self.state is not TradingState.NORMAL:
            return
        for name, loss, limit in (
            ("loss of the day", self._day_begin - equity, self.config.max_daily_loss),
            ("drawdown", self._peak - equity, self.config.max_drawdown),
        ):
            if loss > limit:
                why = f"{name} is {loss:.2f}, at most {limit:.2f} is allowed"
                self.escalate(TradingState.REDUCING, "risk", why, ts_ns)
                return

    def check(self, request: Request, view: View) -> Approved | Refused:
        """May this request leave? An approved order counts for the order rate.

        Args:
            request: what a policy asks for.
            view: of the market and of what is open.
        """
        if request.action is _CANCEL:
            return APPROVED
        with self._lock:  # one set of limits for the whole request
            answer = self._check(request, view)
        if isinstance(answer, Refused):
            self.refused[answer.reason] = self.refused.get(answer.reason, 0) + 1
        else:
            self._tokens -= 1.0
        return answer

    def _check(self, request: Request, view: View) -> Approved | Refused:
        instrument = self._instruments.get(request.stream)
        if instrument is None:
            return Refused(Reason.UNKNOWN_STREAM, f"{request.stream} is not traded")
        if self.state is _HALTED:
            return Refused(Reason.HALTED, f"trading is halted: {self.changes[-1].why}")
        venue = self._venue.get(request.stream, _NO_LIMITS)
        side, lots = request.side, request.lots
        same, other = (view.buy_lots, view.sell_lots) if side > 0 else (view.sell_lots, view.buy_lots)
        worst = side * view.position_lots + same + max(lots, view.changed_lots)
        reduces = worst <= 0
        if self.state is _REDUCING and not reduces:
            return Refused(Reason.REDUCING, f"only orders that make a position smaller: {self.changes[-1].why}")
        return (
            self._stale(view)
            or _filtered(instrument, venue, request)
            or self._opens_too_many(venue, request, view)
            or self._collared(request, view)
            or (None if reduces else self._too_much(instrument, request, view, worst, other))
            or self._too_fast(view.now_ns)
            or APPROVED
        )

    def _stale(self, view: View) -> Refused | None:
        for name, seen_ns, limit_s in (
            ("quote", view.quote_ns, self.config.quote_age_s),
            ("feed", view.feed_ns, self.config.feed_age_s),
        ):
            if seen_ns is None:
                return Refused(Reason.STALE, f"no {name} yet")
            if (age_s := (view.now_ns - seen_ns) * 1e-9) > limit_s:
                return Refused(Reason.STALE, f"the {name} is {age_s:.3g} s old, at most {limit_s:g} s is allowed")
        return None

    def _opens_too_many(self, venue: VenueLimits, request: Request, view: View) -> Refused | None:
        limit = min(self.config.max_open_orders, venue.max_open_orders or self.config.max_open_orders)
        if request.action is not _REPLACE and view.open_orders >= limit:
            return Refused(Reason.OPEN_ORDERS, f"{view.open_orders} orders of {request.stream} are open already")
        return None

    def _collared(self, request: Request, view: View) -> Refused | None:
        if isnan(view.fair_ticks):
            return Refused(Reason.COLLAR, "there is no ghost to hold the price against")
        off_bp = 1e4 * request.side * (request.price_ticks / view.fair_ticks - 1.0)
        if off_bp > self.config.collar_bp:
            what = f"price is {off_bp:.1f} bp beyond the ghost, at most {self.config.collar_bp:g} bp is allowed"
            return Refused(Reason.COLLAR, what)
        return None

    def _too_much(
        self, instrument: Instrument, request: Request, view: View, worst: int, other: int
    ) -> Refused | None:  # fmt: skip
        config, stream = self.config, request.stream
        if view.lane < LANES[config.min_lane]:
            return Refused(Reason.LANE, f"lane {Lane(view.lane).name}, at least {config.min_lane} is needed")
        if request.side < 0 and worst > 0 and not config.short_spot and stream in self._spot:
            return Refused(Reason.POSITION, f"{stream} could come to {-worst} lots: spot is not sold short")
        if worst > (most := config.max_lots.get(stream, worst)):
            return Refused(Reason.POSITION, f"{stream} could come to {worst} lots, at most {most} is allowed")
        price = max(request.price_ticks, view.ask_ticks)
        opposite = max(other - request.side * view.position_lots, 0)
        order, could = (
            view.rate * notional(instrument, request.lots, price),
            view.rate * notional(instrument, worst, price),
        )
        total = view.others_notional + max(could, view.rate * notional(instrument, opposite, price))
        if isnan(total):
            return Refused(Reason.STALE, "no quote yet of a stream that converts a currency")
        if order > config.max_order_notional:
            return _above(Reason.ORDER_NOTIONAL, "an order of", order, config.max_order_notional)
        if could > config.max_notional:
            return _above(Reason.NOTIONAL, f"{stream} could come to", could, config.max_notional)
        if total > config.max_total_notional:
            return _above(Reason.TOTAL_NOTIONAL, "all positions could come to", total, config.max_total_notional)
        return None

    def _too_fast(self, now_ns: int) -> Refused | None:
        config = self.config
        passed_s = max(now_ns - self._refilled_ns, 0) * 1e-9
        self._tokens = min(self._tokens + passed_s * config.max_orders_per_s, float(config.order_burst))
        self._refilled_ns = max(now_ns, self._refilled_ns)
        if self._tokens < 1.0:
            return Refused(Reason.RATE, f"more than {config.max_orders_per_s:g} orders a second")
        return None


_NO_LIMITS = VenueLimits()


def notional(instrument: Instrument, lots: int, price_ticks: float) -> float:
    """What a quantity is worth in quote currency, |lots|·lot·contract·price; inverse contracts are so by themselves.

    Example:
        >>> notional(Instrument("binance:BTC/USDT", tick_size=0.5, lot_size=0.25), 4, 20)
        10.0
    """
    worth = abs(lots) * instrument.lot_size * instrument.contract_value
    return worth if instrument.inverse else worth * price_ticks * instrument.tick_size


def _above(reason: Reason, what: str, value: float, limit: float) -> Refused:
    return Refused(reason, f"{what} {value:g}, at most {limit:g} is allowed")


def _filtered(instrument: Instrument, venue: VenueLimits, request: Request) -> Refused | None:
    if request.lots < max(venue.min_lots, 1):
        return Refused(Reason.MIN_QUANTITY, f"{request.lots} lots, the venue wants {max(venue.min_lots, 1)} or more")
    if venue.max_lots and request.lots > venue.max_lots:
        return Refused(Reason.MAX_QUANTITY, f"{request.lots} lots, the venue takes {venue.max_lots} at most")
    worth = notional(instrument, request.lots, request.price_ticks)
    if worth < venue.min_notional:
        return Refused(Reason.MIN_NOTIONAL, f"an order of {worth:g}, the venue wants {venue.min_notional:g} or more")
    return None
