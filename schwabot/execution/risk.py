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
from typing import NamedTuple

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


class _Terms(NamedTuple):
    """What every request of a stream is held against."""

    per_lot: float
    """Quantity of a lot times the contract's value; of an inverse contract this is in quote currency."""
    tick_size: float
    inverse: bool
    is_spot: bool
    min_lots: int
    max_lots: int
    min_notional: float
    max_open_orders: int
    most_lots: int | None


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
        self._lock, self._changing = threading.Lock(), threading.RLock()  # a signal may change it meanwhile
        self._venue = dict(venue or {})
        self.changes: list[StateChange] = []
        self._state = TradingState.NORMAL
        self.limits(config)
        self.refused: dict[Reason, int] = {}
        self._tokens, self._refilled_ns = float(config.order_burst), 0
        self._peak: float | None = None
        self._day, self._day_begin = -1, 0.0
        self._equity = 0.0
        self._carried: tuple[int, float] | None = None
        self.is_over_limit = False
        """A limit of losses was reached since somebody said that all may trade."""

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
            self._prepare()

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
        with self._lock:
            self._venue.update(venue)
            self._prepare()

    def _prepare(self) -> None:
        """Look up what every request of a stream is held against."""
        config = self.config
        self._min_lane = int(LANES[config.min_lane])
        self._terms = {
            name: _Terms(
                one.lot_size * one.contract_value, one.tick_size, one.inverse, one.is_spot, max(venue.min_lots, 1),
                venue.max_lots, venue.min_notional,
                min(config.max_open_orders, venue.max_open_orders or config.max_open_orders),
                config.max_lots.get(name),
            )
            for name, one in self._instruments.items()
            for venue in [self._venue.get(name, _NO_LIMITS)]
        }  # fmt: skip

    def escalate(self, state: TradingState, who: str, why: str, ts_ns: int) -> bool:
        """Go to a stricter state; a milder one changes nothing. Returns whether it changed."""
        if state <= self.state:
            return False
        self._set(state, who, why, ts_ns)
        return True

    def resume(self, who: str, why: str, ts_ns: int, after: int | None = None) -> bool:
        """Trade again; where a limit of losses was reached, drawdown and loss of the day count from here, else go on.

        Args:
            who: says so.
            why: in words.
            ts_ns: when.
            after: number of changes that they had seen; where there are more by now, nothing is done. None = whatever
                came meanwhile.

        Returns:
            Whether it was done.
        """
        with self._changing:
            if after is not None and len(self.changes) != after:
                return False
            if self.is_over_limit:
                self._peak, self._day, self._carried, self.is_over_limit = None, -1, None, False
            self._set(TradingState.NORMAL, who, why, ts_ns)
            return True

    @property
    def state(self) -> TradingState:
        """What may pass: the strictest since somebody said that all may, so no thread undoes another one's change."""
        return self._state

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
        with self._changing:
            self.changes.append(StateChange(state, who, why, ts_ns))
            self._state = state if state is TradingState.NORMAL else max(self._state, state)

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
                self.is_over_limit = True
                why = f"{name} is {loss:g}, at most {limit:g} is allowed"
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
            refused = self._against(request, view) or self._too_fast(view.now_ns)
        if refused is not None:
            self.refused[refused.reason] = self.refused.get(refused.reason, 0) + 1
            return refused
        self._tokens -= 1.0
        return APPROVED

    def rehearse(self, request: Request, view: View) -> Refused | None:
        """What ``check`` would say, but for the rate of orders; it counts for nothing."""
        with self._lock:
            return self._against(request, view)

    def _against(self, request: Request, view: View) -> Refused | None:
        """What speaks against it, apart from the rate of orders."""
        # One function, and nothing looked up that can be known before: an order waits while this runs.
        terms = self._terms.get(request.stream)
        if terms is None:
            return Refused(Reason.UNKNOWN_STREAM, f"{request.stream} is not traded")
        state, config, side, lots, now_ns = self._state, self.config, request.side, request.lots, view.now_ns
        if state is _HALTED:
            return Refused(Reason.HALTED, f"trading is halted: {self.changes[-1].why}")
        per_lot, tick_size, inverse, is_spot, min_lots, most_order, min_notional, most_open, most = terms
        same, other = (view.buy_lots, view.sell_lots) if side > 0 else (view.sell_lots, view.buy_lots)
        changed = view.changed_lots
        worst = side * view.position_lots + same + (lots if lots > changed else changed)
        if state is _REDUCING and worst > 0:
            return Refused(Reason.REDUCING, f"only orders that make a position smaller: {self.changes[-1].why}")
        quote_ns, feed_ns = view.quote_ns, view.feed_ns
        if quote_ns is None or (now_ns - quote_ns) * 1e-9 > config.quote_age_s:
            return _stale("quote", quote_ns, now_ns, config.quote_age_s)
        if feed_ns is None or (now_ns - feed_ns) * 1e-9 > config.feed_age_s:
            return _stale("feed", feed_ns, now_ns, config.feed_age_s)
        if lots < min_lots:
            return Refused(Reason.MIN_QUANTITY, f"{lots} lots, the venue wants {min_lots} or more")
        if most_order and lots > most_order:
            return Refused(Reason.MAX_QUANTITY, f"{lots} lots, the venue takes {most_order} at most")
        price = request.price_ticks
        worth = lots * per_lot * (1.0 if inverse else price * tick_size)
        if worth < min_notional:
            return Refused(Reason.MIN_NOTIONAL, f"an order of {worth:g}, the venue wants {min_notional:g} or more")
        if view.open_orders >= most_open and request.action is not _REPLACE:
            return Refused(Reason.OPEN_ORDERS, f"{view.open_orders} orders of {request.stream} are open already")
        fair = view.fair_ticks
        if fair != fair:
            return Refused(Reason.COLLAR, "there is no ghost to hold the price against")
        off_bp = 1e4 * side * (price / fair - 1.0)
        if off_bp > config.collar_bp:
            what = f"price is {off_bp:.1f} bp beyond the ghost, at most {config.collar_bp:g} bp is allowed"
            return Refused(Reason.COLLAR, what)
        if worst > 0:  # it does not only make a position smaller
            if view.lane < self._min_lane:
                return Refused(Reason.LANE, f"lane {Lane(view.lane).name}, at least {config.min_lane} is needed")
            if side < 0 and is_spot and not config.short_spot:
                what = f"{request.stream} could come to {-worst} lots: spot is not sold short"
                return Refused(Reason.POSITION, what)
            if most is not None and worst > most:
                what = f"{request.stream} could come to {worst} lots, at most {most} is allowed"
                return Refused(Reason.POSITION, what)
            ask, rate = view.ask_ticks, view.rate
            worth_at = 1.0 if inverse else (price if price > ask else ask) * tick_size
            opposite = other - side * view.position_lots
            order, could = rate * (lots * per_lot * worth_at), rate * (worst * per_lot * worth_at)
            total = view.others_notional + (could if worst > opposite else rate * (opposite * per_lot * worth_at))
            if total != total:
                return Refused(Reason.STALE, "no quote yet of a stream that converts a currency")
            if order > config.max_order_notional:
                return _above(Reason.ORDER_NOTIONAL, "an order of", order, config.max_order_notional)
            if could > config.max_notional:
                return _above(Reason.NOTIONAL, f"{request.stream} could come to", could, config.max_notional)
            if total > config.max_total_notional:
                return _above(Reason.TOTAL_NOTIONAL, "all positions could come to", total, config.max_total_notional)
        return None

    def _too_fast(self, now_ns: int) -> Refused | None:
        config = self.config
        tokens, refilled_ns, most_tokens = self._tokens, self._refilled_ns, config.order_burst
        if now_ns > refilled_ns:
            tokens += (now_ns - refilled_ns) * 1e-9 * config.max_orders_per_s
            self._refilled_ns = now_ns
        self._tokens = tokens = tokens if tokens < most_tokens else float(most_tokens)
        if tokens < 1.0:
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


def _stale(name: str, seen_ns: int | None, now_ns: int, limit_s: float) -> Refused:
    if seen_ns is None:
        return Refused(Reason.STALE, f"no {name} yet")
    age_s = (now_ns - seen_ns) * 1e-9
    return Refused(Reason.STALE, f"the {name} is {age_s:.3g} s old, at most {limit_s:g} s is allowed")
