"""Orders of one venue from their arrival to their end; the words for it are the venue's own, elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from itertools import count

from schwabot.venues.loopback.accounts import Account, Fill, quantity
from schwabot.venues.loopback.listing import Listing
from schwabot.venues.loopback.matching import MOST_ORDERS, Matching, Report
from schwabot.venues.loopback.player import Row

WOULD_TAKE = "WOULD_TAKE"
"""State of a post-only order that was cancelled because it would take."""


class Why(StrEnum):
    """Why an order or a request is refused."""

    DUPLICATE = "duplicate"
    TOO_MANY = "too many"
    FUNDS = "funds"
    WOULD_TAKE = "would take"
    NOT_FILLED = "not filled"
    REDUCE_ONLY = "reduce only"
    NO_MARKET = "no market"


class Refused(Exception):  # noqa: N818 - it is an answer
    """A request that the exchange does not carry out."""

    def __init__(self, why: Why) -> None:
        super().__init__(why.value)
        self.why = why


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an order asks for.

    Attributes:
        listing: what.
        side: +1 buys, -1 sells.
        kind: ``MARKET``, ``LIMIT`` or ``LIMIT_MAKER``.
        time_in_force: ``GTC``, ``IOC``, ``FOK`` or ``GTX``.
        lots: how much.
        price: limit in ticks; 0 of a market order.
        client_id: the sender's name for it.
        reduce_only: it may only make a position smaller.
    """

    listing: Listing
    side: int
    kind: str
    time_in_force: str
    lots: int
    price: int
    client_id: str
    reduce_only: bool = False

    @property
    def post_only(self) -> bool:
        """Whether it must not take."""
        return self.kind == "LIMIT_MAKER" or self.time_in_force == "GTX"


@dataclass(slots=True)
class Order:
    """An order that was accepted."""

    id: int
    wanted: Wanted
    created_ms: int
    updated_ms: int
    status: str = "NEW"
    filled: int = 0
    fills: list[Fill] = field(default_factory=list)
    slot: int = -1
    reserved_at: int = 0
    reserved: int = 0

    @property
    def open(self) -> bool:
        """Whether it can still trade."""
        return self.status in ("NEW", "PARTIALLY_FILLED")

    @property
    def quote(self) -> Decimal:
        """What was traded, in lots at their prices, as quantity times price."""
        listing = self.wanted.listing
        return sum(
            (quantity(listing, one.lots) * listing.price.size * one.price for one in self.fills), start=Decimal(0)
        )


Told = Callable[[Order, str, Fill | None], None]
"""Gets an order, what happened (NEW, TRADE, CANCELED, EXPIRED) and the fill."""


class Trading:
    """The orders of one venue.

    Args:
        listings: what it lists, with numbers of their own in ``matching``.
        matching: shared by the venues.
        account: of the one who trades.
        now_ns: the wall clock, which the market goes by.
        now_ms: the venue's clock, which stamps orders.
        tell: gets every change.
    """

    def __init__(
        self,
        listings: Sequence[Listing],
        matching: Matching,
        account: Account,
        now_ns: Callable[[], int],
        now_ms: Callable[[], int],
        tell: Told,
    ) -> None:
        self.listings = {one.id: one for one in listings}
        self.account = account
        self.orders: dict[int, Order] = {}
        self._matching = matching
        self._now_ns = now_ns
        self._now_ms = now_ms
        self._tell = tell
        self._ids = count(1)
        self._trades = count(1)
        self._slots: dict[int, dict[int, Order]] = {one.index: {} for one in listings}
        self._open: dict[str, Order] = {}

    def open_orders(self, listing: Listing | None = None) -> list[Order]:
        """Orders that can still trade, in the order they came."""
        return [one for one in self._open.values() if listing is None or one.wanted.listing is listing]

    def find(self, listing: Listing, order_id: int | None, client_id: str | None) -> Order | None:
        """An order by its id, or the last one by its sender's name for it."""
        if order_id is not None:
            order = self.orders.get(order_id)
            return order if order is not None and order.wanted.listing is listing else None
        for order in reversed(self.orders.values()):
            if order.wanted.client_id == client_id and order.wanted.listing is listing:
                return order
        return None

    def met(self, leg: int, row: Row) -> None:
        """A row of the market."""
        for report in self._matching.meet(leg, row):
            self._fill(self._slots[leg][report.slot], report)

    def place(self, wanted: Wanted, *, cut_short: bool = False, cancels: bool = False) -> Order:
        """An order arrives.

        Args:
            wanted: what it asks for.
            cut_short: a fault: it trades in part, and the exchange cancels the rest.
            cancels: a post-only order that would take is recorded, and cancelled then.

        Raises:
            Refused: nothing of it was recorded.
        """
        listing, side = wanted.listing, wanted.side
        leg, taken = listing.index, self._slots[listing.index]
        touch, there = self._matching.touch(leg, side)
        crosses = wanted.kind == "MARKET" or self._matching.crosses(leg, side, wanted.price)
        limit = wanted.price or (2**62 if side > 0 else 0)
        if wanted.client_id in self._open:
            raise Refused(Why.DUPLICATE)
        if len(taken) >= MOST_ORDERS:
            raise Refused(Why.TOO_MANY)
        if not touch:
            raise Refused(Why.NO_MARKET)
        if wanted.reduce_only and self.account.closes(listing, side) < wanted.lots:
            raise Refused(Why.REDUCE_ONLY)
        would_take = wanted.post_only and crosses
        if would_take and not cancels:
            raise Refused(Why.WOULD_TAKE)
        if wanted.time_in_force == "FOK" and not (crosses and (not there or there >= wanted.lots)):
            raise Refused(Why.NOT_FILLED)
        now_ns = self._now_ns()
        at = wanted.price or touch
        if not self.account.reserve(listing, side, wanted.lots, at):
            raise Refused(Why.FUNDS)
        now_ms = self._now_ms()
        order = Order(next(self._ids), wanted, now_ms, now_ms, reserved_at=at, reserved=wanted.lots)
        order.slot = next(slot for slot in range(MOST_ORDERS) if slot not in taken)
        self.orders[order.id] = self._open[wanted.client_id] = taken[order.slot] = order
        self._tell(order, "PENDING" if would_take else "NEW", None)
        if would_take:
            self._end(order, WOULD_TAKE)
            return order
        if cut_short:
            self._fill(order, Report(order.slot, max(1, wanted.lots // 2), at if not crosses else touch, 0, 0))
            self._end(order, "CANCELED")
            return order
        if crosses:
            self._fill(order, self._matching.take(leg, order.slot, side, wanted.lots, limit, now_ns))
        rest = wanted.lots - order.filled
        if rest and (wanted.kind == "MARKET" or wanted.time_in_force in ("IOC", "FOK")):
            self._end(order, "EXPIRED")
        elif rest and crosses:
            self._matching.rest(leg, order.slot, side, rest, wanted.price)
        elif rest:
            report = self._matching.post(leg, order.slot, side, rest, wanted.price, now_ns)
            assert not report.rejected, report
        return order

    def cancel(self, order: Order) -> None:
        """Take an open order out."""
        self._matching.cancel(order.wanted.listing.index, order.slot, self._now_ns())
        self._end(order, "CANCELED")

    def _fill(self, order: Order, report: Report) -> None:
        if not report.lots:
            return
        wanted = order.wanted
        listing, side = wanted.listing, wanted.side
        self._release(order, report.lots)
        maker = bool(report.maker)
        cost, asset, gain = self.account.fill(listing, side, report.lots, report.price, maker=maker)
        fill = Fill(next(self._trades), self._now_ms(), report.lots, report.price, maker, cost, asset, gain)
        order.fills.append(fill)
        order.filled += report.lots
        order.updated_ms = fill.time_ms
        order.status = "FILLED" if order.filled == wanted.lots else "PARTIALLY_FILLED"
        if not order.open:
            self._forget(order)
        self._tell(order, "TRADE", fill)

    def _end(self, order: Order, status: str) -> None:
        if not order.open:
            return
        self._release(order, order.reserved)
        order.status = status
        order.updated_ms = self._now_ms()
        self._forget(order)
        self._tell(order, status, None)

    def _release(self, order: Order, lots: int) -> None:
        self.account.release(order.wanted.listing, order.wanted.side, lots, order.reserved_at)
        order.reserved -= lots

    def _forget(self, order: Order) -> None:
        self._slots[order.wanted.listing.index].pop(order.slot, None)
        self._open.pop(order.wanted.client_id, None)
