"""How trading stands, read off a broker's books between two batches, for whoever watches a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from schwabot.execution.simulated import SimulatedBroker
from schwabot.records.instrument import Instrument
from schwabot.records.order import Action
from schwabot.records.trading import FillRow, OrderRow, PositionRow, TradingRecord
from schwabot_kernels.simulate.records import (
    DRAWDOWN2,
    EQUITY2,
    FEES,
    FILLS,
    ORDERS,
    POSITION,
    REFUSED,
    REJECTED,
    TURNOVER,
)
from schwabot_kernels.simulate.state import (
    FILL_FEE,
    FILL_LEG,
    FILL_LOTS,
    FILL_MAKER,
    FILL_ORDER,
    FILL_PRICE,
    FILL_REPORT_NS,
    FILL_SIDE,
    NUMBER,
    OPEN,
    ORDER_ACTION,
    ORDER_END,
    ORDER_END_NS,
    ORDER_FILLED,
    ORDER_LEG,
    ORDER_LIMIT,
    ORDER_LOTS,
    ORDER_NS,
    ORDER_SIDE,
    ORDER_SLOT,
    RESTING,
    STATUS,
)

STATES = (
    "sent", "filled", "rest_cancelled", "cancelled", "outside_limit", "no_book", "refused", "not_recorded", "replaced",
    "too_late",
)  # fmt: skip
"""Of an order by how it ended; one without an end is open once it rests."""
MOST_AGAIN = 200
"""Of them told once more in one record: a row takes some microseconds, for which the market's rows wait."""
MOST_ROWS = 2_000
"""Of orders and of fills in one record: a fast replay has more of them than anybody can watch."""


class Gated(NamedTuple):
    """What may leave.

    Attributes:
        state: NORMAL, REDUCING or HALTED.
        who, why: of its last change.
        refused: how many for each reason.
    """

    state: str
    who: str
    why: str
    refused: Mapping[str, int]


class TradingView:
    """Tells how trading stands, and which orders and fills are new.

    Args:
        broker: that trades.
        account: whose orders these are.
        gated: asked what may leave.
        sending: whether orders leave for a venue.
        session: begins every client id; empty where orders are simulated.
        reasons: why requests were refused, by number.
    """

    def __init__(
        self, broker: SimulatedBroker, account: str, gated: Callable[[], Gated] = lambda: Gated("NORMAL", "", "", {}),
        *, sending: bool = False, session: str = "", reasons: Mapping[int, str] | None = None,
    ) -> None:  # fmt: skip
        self._broker, self._account, self._gated = broker, account, gated
        self._sending, self._session, self._reasons = sending, session, reasons or {}
        self._instruments = broker.recorder.builder.instruments
        self._fills = self._orders = 0
        self._again = {"orders": range(0), "fills": range(0)}
        self._going_on: dict[int, tuple[int, ...]] = {}  # number → row of the log, of orders that are not over

    def take(self) -> TradingRecord:
        """How it stands now; orders and fills since the last call, the newest ``MOST_ROWS`` of them."""
        gated = self._gated()
        return TradingRecord(
            gated.state, gated.who, gated.why, self._account, self._sending, self._positions(), self._new_orders(),
            self._new_fills(), dict(gated.refused),
        )  # fmt: skip

    def again(self) -> None:
        """Tell the newest orders and fills once more, some with each record: who watches knows nothing yet."""
        for name, count in (("orders", self._orders), ("fills", self._fills)):
            self._again[name] = range(max(0, count - MOST_ROWS), count)
        self._going_on = dict.fromkeys(self._going_on, ())  # each is told as if it had changed

    def _next_again(self, name: str) -> range:
        """Numbers that are told once more now, the newest first."""
        left = self._again[name]
        self._again[name] = left[: max(0, len(left) - MOST_AGAIN)]
        return left[-MOST_AGAIN:]

    def _positions(self) -> tuple[PositionRow, ...]:
        broker, found = self._broker, []
        state = broker.state
        for leg, (one, account) in enumerate(zip(self._instruments, broker.recorder.builder.accounts, strict=True)):
            counts = state.counts[leg].tolist()
            unit = 0.0 if account is None else account.unit
            found.append(
                PositionRow(
                    one.stream, counts[POSITION], quantity(one, counts[POSITION]),
                    float(state.entry[leg]) * one.tick_size, one.base if one.inverse else one.quote,
                    0.5 * unit * counts[EQUITY2], unit * counts[FEES], 0.5 * unit * counts[DRAWDOWN2],
                    unit * counts[TURNOVER], counts[ORDERS], counts[FILLS], counts[REFUSED] + counts[REJECTED],
                )
            )  # fmt: skip
        return tuple(found)

    def _new_orders(self) -> tuple[OrderRow, ...]:
        log = self._broker.orders
        first = max(self._orders, len(log) - MOST_ROWS)
        older = np.flatnonzero(log[self._orders : first, ORDER_END] == OPEN) + self._orders
        self._orders = len(log)
        found = []
        for number, before in list(self._going_on.items()):
            row = tuple(log[number].tolist())
            status = self._status(row, number)
            if (*row, status) != before:
                found.append(self._order(number, row, status))
                self._keep(number, row, status)
        for number in self._next_again("orders"):
            row = tuple(log[number].tolist())
            found.append(self._order(number, row, self._status(row, number)))
        for number in older.tolist():  # too many to tell of them all, but these go on
            self._going_on[number] = ()
        for number, row in enumerate(log[first:].tolist(), first):
            status = self._status(row, number)
            found.append(self._order(number, tuple(row), status))
            self._keep(number, tuple(row), status)
        return tuple(found)

    def _keep(self, number: int, row: tuple[int, ...], status: int) -> None:
        if row[ORDER_END] == OPEN:
            self._going_on[number] = (*row, status)
        else:
            self._going_on.pop(number, None)

    def _status(self, row: list[int] | tuple[int, ...], number: int) -> int:
        """Sent or resting, of an order that lives."""
        known = self._broker.state.known[row[ORDER_LEG], row[ORDER_SLOT]]
        return int(known[STATUS]) if int(known[NUMBER]) == number else 0

    def _order(self, number: int, row: tuple[int, ...], status: int) -> OrderRow:
        one, end = self._instruments[row[ORDER_LEG]], row[ORDER_END]
        state = "open" if end == OPEN and status == RESTING else STATES[end]
        return OrderRow(
            number, f"{self._session}-{number}" if self._session else "", one.stream,
            Action(row[ORDER_ACTION]).name.lower(), row[ORDER_SIDE], quantity(one, row[ORDER_LOTS]),
            row[ORDER_LIMIT] * one.tick_size, quantity(one, row[ORDER_FILLED]), state, row[ORDER_NS],
            None if end == OPEN else row[ORDER_END_NS], self._reasons.get(number, ""),
        )  # fmt: skip

    def _new_fills(self) -> tuple[FillRow, ...]:
        log, found = self._broker.fills, []
        first = max(self._fills, len(log) - MOST_ROWS)
        self._fills = len(log)
        again = ((number, log[number].tolist()) for number in self._next_again("fills"))
        for number, row in (*again, *enumerate(log[first:].tolist(), first)):
            one, account = self._instruments[row[FILL_LEG]], self._broker.recorder.builder.accounts[row[FILL_LEG]]
            unit = 0.0 if account is None else account.unit
            found.append(
                FillRow(
                    number, row[FILL_ORDER], row[FILL_REPORT_NS], one.stream, row[FILL_SIDE],
                    quantity(one, row[FILL_LOTS]), row[FILL_PRICE] * one.tick_size, unit * row[FILL_FEE],
                    one.base if one.inverse else one.quote, bool(row[FILL_MAKER]),
                )
            )  # fmt: skip
        return tuple(found)


def quantity(instrument: Instrument, lots: int) -> float:
    """Lots in base asset, of an inverse instrument in contracts.

    Example:
        >>> quantity(Instrument("binance:BTC/USDT", tick_size=0.01, lot_size=0.25), 3)
        0.75
    """
    return lots * instrument.lot_size * (1.0 if instrument.inverse else instrument.contract_value)
