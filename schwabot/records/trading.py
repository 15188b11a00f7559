"""What became of orders by now, for whoever watches a run. No logic, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class OrderRow:
    """An order or request as it stands.

    Attributes:
        number: of the request within the run, from 0.
        client_id: what the venue knows it by; empty where orders are simulated.
        stream: ``venue:symbol``.
        action: take, post, cancel or replace.
        side: +1 buys, -1 sells; 0 of a cancel.
        qty: asked for, in base asset (contracts of an inverse instrument).
        price: limit, 0 = none.
        filled_qty: of it, so far.
        state: sent, open, filled, rest_cancelled, cancelled, outside_limit, no_book, refused, not_recorded, replaced
            or too_late.
        ts_ns: when it was decided.
        end_ns: when its end was known; None while it goes on.
        reason: why it was refused, in words; mostly empty.
    """

    number: int
    client_id: str
    stream: str
    action: str
    side: int
    qty: float
    price: float
    filled_qty: float
    state: str
    ts_ns: int
    end_ns: int | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class FillRow:
    """One fill.

    Attributes:
        number: of the fill within the run, from 0.
        order: number of its order.
        ts_ns: when it was known.
        stream: ``venue:symbol``.
        side: +1 bought, -1 sold.
        qty: as in ``OrderRow``.
        price: paid or received.
        fee: in ``currency``; rebates negative.
        currency: of the fee.
        maker: whether it added liquidity.
    """

    number: int
    order: int
    ts_ns: int
    stream: str
    side: int
    qty: float
    price: float
    fee: float
    currency: str
    maker: bool


@dataclass(frozen=True, slots=True)
class PositionRow:
    """What is held of a stream, and what it came to; money in ``currency``, what the stream settles in.

    Attributes:
        stream: ``venue:symbol``.
        lots: held, negative = short.
        qty: the same as in ``OrderRow``.
        entry_price: average, 0 = nothing is held.
        currency: of the money.
        net: profit and loss after fees, at the last bid and ask.
        fees, max_drawdown, turnover: since the run began.
        orders, fills, refused: how many since then.
    """

    stream: str
    lots: int
    qty: float
    entry_price: float
    currency: str
    net: float
    fees: float
    max_drawdown: float
    turnover: float
    orders: int
    fills: int
    refused: int


@dataclass(frozen=True, slots=True)
class TradingRecord:
    """How trading stands.

    Attributes:
        state: NORMAL, REDUCING or HALTED.
        who, why: of its last change; empty before the first.
        account: whose orders these are.
        sending: whether orders leave for a venue.
        positions: of every traded stream.
        orders: those that are new or changed since the last record, by number.
        fills: since the last record.
        refused: by the risk gate, how many for each reason.
    """

    state: str
    who: str
    why: str
    account: str
    sending: bool
    positions: tuple[PositionRow, ...] = ()
    orders: tuple[OrderRow, ...] = ()
    fills: tuple[FillRow, ...] = ()
    refused: Mapping[str, int] = field(default_factory=dict)
