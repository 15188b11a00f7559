"""What venues say of orders, in whatever order and however often they say it, made into reports.

    placed, order seen, trade seen (late, twice, in any order) ─▶ reports · states and fills for the journal

A report of an end waits until the fills that go with it are known. Pure: no clock, no network. One thread at a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import NamedTuple

from schwabot.errors import StateError
from schwabot.execution.journal import Fill, OrderState
from schwabot.records.order import Action, Ending, Report, Request, Told

OPEN, CLOSED, CANCELED, EXPIRED, REJECTED = "open", "closed", "canceled", "expired", "rejected"
"""States of an order at a venue, by ccxt's names."""
_STATES = {EXPIRED: OrderState.EXPIRED, REJECTED: OrderState.REJECTED}
_STRANGERS, _REMEMBERED = 1_000, 20_000


class OrderSeen(NamedTuple):
    """A venue's word on an order.

    Attributes:
        stream: ``venue:symbol``.
        client_id: ours, empty where the venue does not say it.
        venue_id: the venue's number of it.
        status: see above.
        lots: of the whole order.
        filled_lots: so far.
        ts_event_ns: the venue's time of it.
        what: why it was refused, where the venue says so.
    """

    stream: str
    client_id: str
    venue_id: str
    status: str
    lots: int
    filled_lots: int
    ts_event_ns: int
    what: str = ""


class TradeSeen(NamedTuple):
    """A venue's word on a fill; fees exactly as printed."""

    stream: str
    venue_id: str
    trade_id: str
    lots: int
    price_ticks: int
    maker: bool
    fee: Decimal
    fee_currency: str
    ts_event_ns: int


class Move(NamedTuple):
    """An order's step, for the journal."""

    client_id: str
    state: OrderState
    venue_id: str | None
    filled_lots: int
    what: str


@dataclass(slots=True)
class Tracked:
    """An order on its way, at the venue, or gone.

    Attributes:
        request: whose client id the venue knows it by.
        lots: of the order as placed.
        replaces: the order it shall replace, until that is told.
        before: filled of the orders before it in a chain of replaces.
        filled: by trades we know.
        promised: filled by the venue's word; trades may not be known yet.
        status: at the venue.
        answered: its own request was answered by a report.
        over: told as gone.
        change: cancel or replace under way.
        seen_ns: when the venue last spoke of it.
        forgotten: the venue knew it, and does not any more.
    """

    request: Request
    lots: int
    replaces: Tracked | None = None
    before: int = 0
    filled: int = 0
    promised: int = 0
    status: str = ""
    answered: bool = False
    over: bool = False
    venue_id: str | None = None
    change: Request | None = None
    what: str = ""
    seen_ns: int = 0
    forgotten: bool = False
    ts_event_ns: int = 0
    trades: set[str] = field(default_factory=set)

    @property
    def gone(self) -> bool:
        """No longer at the venue, though fills of it may still be missing."""
        return self.over or self.status not in ("", OPEN)

    @property
    def missing(self) -> bool:
        """The venue told of more fills than we know."""
        return not self.over and self.filled < self.promised


class OrderTracker:
    """Keeps every order of a session and says what changed; what is said waits in the lists below to be taken.

    Example:
        >>> tracker = OrderTracker()
        >>> tracker.ask(Request(0, "a-0", "binance:BTC/USDT", Action.POST, 1, 3, 100, -1, 0, 5, 99, 100), 5)
        >>> tracker.trade(TradeSeen("binance:BTC/USDT", "77", "x", 1, 100, True, Decimal(0), "USDT", 6), 7)
        >>> tracker.order(OrderSeen("binance:BTC/USDT", "a-0", "77", "canceled", 3, 1, 7), 8)
        >>> [(report.told.name, report.lots) for report in tracker.reports]
        [('RESTS', 0), ('FILL', 1), ('ENDED', 0)]
    """

    def __init__(self) -> None:
        self.orders: dict[str, Tracked] = {}
        """By client id; the newest of those that are over too."""
        self.reports: list[Report] = []
        self.moves: list[Move] = []
        self.fills: list[Fill] = []
        self.to_place: list[Tracked] = []
        """Second halves of replaces: their old order is gone, the new one can be placed."""
        self.problems: list[str] = []
        """What can't be explained."""
        self.version = 0
        """Grows with everything that is learnt or asked."""
        self._live: dict[str, Tracked] = {}
        self._number: dict[int, Tracked] = {}
        self._venue: dict[tuple[str, str], Tracked] = {}
        self._early: dict[tuple[str, str], list[TradeSeen]] = {}

    def open_orders(self) -> list[Tracked]:
        """Orders that are not over, oldest first."""
        return list(self._live.values())

    def changed_by(self, request: Request) -> Tracked | None:
        """The order that waits for this cancel or replace, if one does."""
        order = self._number.get(request.of)
        return order if order is not None and order.change is request else None

    def ask(self, request: Request, now_ns: int) -> None:
        """A request is on its way.

        Raises:
            StateError: its client id was used before.
        """
        if request.client_id in self.orders:
            raise StateError(f"{request.client_id} was asked already")
        self.version += 1
        if request.action in (Action.TAKE, Action.POST):
            self._add(Tracked(request, request.lots, seen_ns=now_ns))
            return
        order = self._number.get(request.of)
        if order is None or order.over or order.change is not None:
            self._too_late(request, now_ns)
            return
        order.change = request

    def order(self, seen: OrderSeen, now_ns: int) -> None:
        """The venue told of an order; nothing happens where it is not one of ours."""
        order = self.orders.get(seen.client_id) or self._venue.get((seen.stream, seen.venue_id))
        if order is None:
            return
        order.seen_ns = max(order.seen_ns, now_ns)
        order.lots = seen.lots or order.lots
        if order.over and order.venue_id is None and seen.status == OPEN:
            self._late(order, "it is open there, though it was refused or never arrived")
        if order.venue_id is None and seen.venue_id:
            self._known_as(order, seen.venue_id, now_ns)
        if order.over:
            if seen.filled_lots > order.filled:
                self._late(order, f"{seen.filled_lots} lots filled, {order.filled} were told")
            return
        if seen.status and not (order.gone and seen.status == OPEN) and order.status != seen.status:
            order.status = seen.status
            self.version += 1
        order.what = seen.what or order.what
        order.promised = max(order.promised, seen.filled_lots)
        order.ts_event_ns = max(order.ts_event_ns, seen.ts_event_ns)
        self._settle(order, now_ns)

    def trade(self, seen: TradeSeen, now_ns: int) -> None:
        """The venue told of a fill; one of an order that is not known (yet) is kept for when it is."""
        order = self._venue.get((seen.stream, seen.venue_id))
        if order is None:
            early = self._early.setdefault((seen.stream, seen.venue_id), [])
            if all(one.trade_id != seen.trade_id for one in early):
                early.append(seen)
            while len(self._early) > _STRANGERS:
                del self._early[next(iter(self._early))]
            return
        self._trade(order, seen, now_ns)

    def sent(self, client_id: str) -> None:
        """An order left."""
        self.moves.append(Move(client_id, OrderState.SENT, None, 0, ""))

    def unknown(self, client_id: str, what: str) -> None:
        """The answer to an order was lost; nothing, where something else has told of the order by now."""
        order = self.orders[client_id]
        if order.over or order.status or order.filled:
            return
        self.moves.append(Move(client_id, OrderState.UNKNOWN, None, 0, what))

    def refused(self, client_id: str, what: str, now_ns: int) -> None:
        """An order will never be at the venue: it was refused, or did not get there in time."""
        order = self.orders[client_id]
        if order.over or order.status:
            return
        order.status, order.what = REJECTED, what
        order.seen_ns = now_ns
        self.version += 1
        self._settle(order, now_ns)

    def _add(self, order: Tracked) -> None:
        self.orders[order.request.client_id] = self._live[order.request.client_id] = order
        while len(self.orders) - len(self._live) > _REMEMBERED:
            old = next(one for one in self.orders.values() if one.over)
            del self.orders[old.request.client_id], self._number[old.request.number]
            self._venue.pop((old.request.stream, old.venue_id or ""), None)
        self._number[order.request.number] = order

    def _known_as(self, order: Tracked, venue_id: str, now_ns: int) -> None:
        order.venue_id = venue_id
        key = order.request.stream, venue_id
        self._venue[key] = order
        for trade in self._early.pop(key, []):
            self._trade(order, trade, now_ns)

    def _trade(self, order: Tracked, seen: TradeSeen, now_ns: int) -> None:
        if seen.trade_id in order.trades:
            return
        order.trades.add(seen.trade_id)
        self.version += 1
        request = order.request
        self.fills.append(
            Fill(
                request.stream, seen.trade_id, request.client_id, seen.venue_id, request.side, seen.lots,
                seen.price_ticks, seen.maker, seen.fee, seen.fee_currency, seen.ts_event_ns, now_ns,
            )
        )  # fmt: skip
        order.filled += seen.lots
        if order.over:
            self._late(order, f"a fill of {seen.lots} lots came after its end was told")
            self._filled(order, seen, now_ns)
            return
        if order.filled > order.lots:
            self.problems.append(f"{request.client_id}: {order.filled} lots filled, {order.lots} were asked for")
        whole = order.filled >= order.lots
        takes = request.action is Action.TAKE
        if not takes:
            self._answer(order, now_ns)
        if whole:
            self._filled(order, seen, now_ns, request.number if takes else -1, Ending.FILLED)
            self._end(order, OrderState.FILLED, now_ns)
        else:
            self._filled(order, seen, now_ns)
            self._move(order, OrderState.PARTIAL)
            self._settle(order, now_ns)

    def _filled(
        self, order: Tracked, seen: TradeSeen, now_ns: int, answers: int = -1, ending: Ending | None = None
    ) -> None:  # fmt: skip
        self.reports.append(
            Report(
                Told.FILL, order.request.number, now_ns, answers, seen.lots, seen.price_ticks, seen.maker, ending,
                seen.ts_event_ns,
            )
        )  # fmt: skip

    def _settle(self, order: Tracked, now_ns: int) -> None:
        """Tell what the venue's word on an order comes to."""
        takes = order.request.action is Action.TAKE
        if order.over:
            return
        if order.status == OPEN:
            if not takes:
                self._answer(order, now_ns)
            return
        if not order.status or order.filled < order.promised:
            return
        never = not order.answered and order.filled == 0 and order.status in (REJECTED, EXPIRED)
        if takes:
            refused = order.status == REJECTED
            ending = Ending.REST_CANCELLED if order.filled else Ending.REFUSED if refused else Ending.OUTSIDE_LIMIT
            self._ended(order, order.request.number, ending, now_ns)
        elif never:
            number = order.replaces.request.number if order.replaces else order.request.number
            self._ended(order, order.request.number, Ending.REFUSED, now_ns, number)
        else:
            self._answer(order, now_ns)
            self._cancelled(order, now_ns)
            return
        self._end(order, _STATES.get(order.status, OrderState.CANCELLED), now_ns)

    def _cancelled(self, order: Tracked, now_ns: int) -> None:
        """A resting order is gone before it was filled."""
        change = order.change
        state = _STATES.get(order.status, OrderState.CANCELLED)
        if change is not None and change.action is Action.REPLACE:
            filled = order.before + order.filled
            rest = change.lots - (filled - change.filled_lots)
            if rest > 0:
                order.change = None
                self._over(order)
                self._move(order, state)
                new = Tracked(change, rest, order, filled, seen_ns=now_ns)
                self._add(new)
                self.to_place.append(new)
                return
        self._ended(order, change.number if change else -1, Ending.CANCELLED, now_ns)
        if change is not None:
            order.change = None
            self.moves.append(Move(change.client_id, OrderState.DONE, None, 0, ""))
        self._end(order, state, now_ns)

    def _ended(self, order: Tracked, request: int, ending: Ending, now_ns: int, number: int | None = None) -> None:
        number = order.request.number if number is None else number
        event_ns = order.ts_event_ns or None
        self.reports.append(Report(Told.ENDED, number, now_ns, request, ending=ending, ts_event_ns=event_ns))

    def _end(self, order: Tracked, state: OrderState, now_ns: int) -> None:
        self._over(order)
        self._move(order, state)
        if order.change is not None:
            self._too_late(order.change, now_ns)
            order.change = None

    def _over(self, order: Tracked) -> None:
        order.over = True
        del self._live[order.request.client_id]

    def _answer(self, order: Tracked, now_ns: int) -> None:
        """A post, or what replaces one, is in the book."""
        if order.answered:
            return
        order.answered = True
        self._move(order, OrderState.RESTS)
        request, old, event_ns = order.request, order.replaces, order.ts_event_ns or None
        if old is None:
            self.reports.append(Report(Told.RESTS, request.number, now_ns, request.number, ts_event_ns=event_ns))
        else:
            order.replaces = None
            self.reports.append(
                Report(
                    Told.REPLACED, old.request.number, now_ns, request.number, order.lots, request.price_ticks,
                    ts_event_ns=event_ns,
                )
            )  # fmt: skip

    def _too_late(self, request: Request, now_ns: int) -> None:
        self.reports.append(Report(Told.TOO_LATE, request.number, now_ns, request.number))
        self.moves.append(Move(request.client_id, OrderState.DONE, None, 0, "too late"))

    def _move(self, order: Tracked, state: OrderState) -> None:
        self.moves.append(Move(order.request.client_id, state, order.venue_id, order.filled, order.what))

    def _late(self, order: Tracked, what: str) -> None:
        self.problems.append(f"{order.request.client_id}: {what}")
