"""Orders as they travel: what is asked of a venue, and what a venue tells of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple


class Action(IntEnum):
    """What a request asks for; numbers as policies' intents have them."""

    TAKE = 1
    """Immediate or cancel, at the limit or better."""
    POST = 2
    """Rest in the book, refused if it would cross."""
    CANCEL = 3
    REPLACE = 4
    """Cancel the order and post again in its place, if it still rests."""


class Told(IntEnum):
    """What a report is about; numbers as the simulator has them."""

    RESTS = 0
    """A post is in the book."""
    FILL = 1
    ENDED = 2
    """The order is gone without a (further) fill."""
    TOO_LATE = 3
    """A cancel or replace found nothing to change."""
    REPLACED = 4
    FEE = 5
    """A venue took its fee in what was traded: so many lots less are held; negative = more."""


class Ending(IntEnum):
    """Why an order is gone; numbers as the simulator's log has them."""

    FILLED = 1
    REST_CANCELLED = 2
    """Taken in part, the rest was not there."""
    CANCELLED = 3
    OUTSIDE_LIMIT = 4
    """A take met nothing within its limit."""
    REFUSED = 6
    """By the venue, or by our own risk limits."""


class Request(NamedTuple):
    """What is asked of a venue; a tuple, as it is made on the way of an order.

    Attributes:
        number: of this request within the session, from 0.
        client_id: what the venue knows the order by; unique for ever. A cancel has one too, for the journal.
        stream: ``venue:symbol``.
        action: see ``Action``.
        side: +1 buys, -1 sells.
        lots: quantity; 0 for a cancel. Of a replace: what shall be open, if nothing fills on the way.
        price_ticks: limit; 0 for a cancel.
        of: number of the order that is cancelled or replaced, -1 otherwise.
        filled_lots: what was known to be filled of that order when this was decided.
        ts_ns: when it was decided: receive time of the row.
        bid_ticks, ask_ticks: touch known then.
    """

    number: int
    client_id: str
    stream: str
    action: Action
    side: int
    lots: int
    price_ticks: int
    of: int
    filled_lots: int
    ts_ns: int
    bid_ticks: int
    ask_ticks: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a venue (or our own gate, in its place) tells of an order.

    Attributes:
        told: see ``Told``.
        number: of the order, ``Request.number``; of ``TOO_LATE``: of the cancel or replace.
        ts_ns: when we learnt of it.
        request: number of the request that this answers, -1 = none: a fill of a resting order, or what the venue did by
            itself.
        lots: filled; of ``REPLACED``: open now; of ``FEE``: taken.
        price_ticks: of the fill; of ``REPLACED``: the new limit; of ``FEE``: of the fill it was taken of, 0 = the mid.
        maker: the fill added liquidity.
        ending: why the order is gone with this, None while it goes on.
        ts_event_ns: the venue's own time of it, on our clock where that is known, else ``ts_ns``.
        stream: of ``FEE``: whose lots they are, where that is not the order's; "" = the order's.
    """

    told: Told
    number: int
    ts_ns: int
    request: int = -1
    lots: int = 0
    price_ticks: int = 0
    maker: bool = False
    ending: Ending | None = None
    ts_event_ns: int | None = None
    stream: str = ""
