"""A policy's orders at a venue: the simulator's own side of an order's life, with the exchange's side taken out.

    row ─▶ reports that have come are booked ─▶ the policy is asked ─▶ its requests leave through a gateway

Position, open orders, refusals and accounts are kept by the very code that keeps them in a backtest, so a policy can't
tell where it runs. Axis legend: L legs (traded streams), K order slots of a leg.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from schwabot.errors import StateError
from schwabot.execution.simulated import SimulatedBroker
from schwabot.records.audit import SignalColumns, StepRecord
from schwabot.records.market import Kind, Row, Ticks
from schwabot.records.order import Action, Report, Request, Told
from schwabot.simulation.recorder import MarketRecorder
from schwabot_kernels.simulate.booking import book_next
from schwabot_kernels.simulate.formulas import worth
from schwabot_kernels.simulate.records import CASH, DRAWDOWN2, EQUITY2, PEAK2, POSITION
from schwabot_kernels.simulate.state import (
    HELD_FROM,
    IN_FLIGHT,
    MARK,
    NUMBER,
    ORDER_ACTION,
    ORDER_ARRIVAL_ASK,
    ORDER_ARRIVAL_BID,
    ORDER_ARRIVAL_NS,
    ORDER_ASK,
    ORDER_BID,
    ORDER_LEG,
    ORDER_NS,
    ORDER_SIDE,
    ORDER_SLOT,
    ORDERS_SENT,
    P_EVENT,
    P_KIND,
    P_LOTS,
    P_MAKER,
    P_NUMBER,
    P_PRICE,
    P_REASON,
    P_REQUEST,
    P_REST,
    P_SIDE,
    P_SLOT,
    P_TIME,
    P_TOUCH,
    Q_ACTION,
    Q_FILLED,
    Q_LOTS,
    Q_NUMBER,
    Q_PRICE,
    Q_SIDE,
    Q_SLOT,
    REPORT_AT,
    REPORTS_OPEN,
    REQUEST_AT,
    REQUESTS,
    REQUESTS_OPEN,
    TAIL_ROW,
    TOUCH_ROW,
    grown,
)

_NEWEST = 20_000
"""Rows among which the touch that an order met is looked for: it arrived a moment ago."""
_ACTIONS = {int(action): action for action in Action}
_CANCEL, _REPLACE = Action.CANCEL, Action.REPLACE
REHEARSED_ROWS = 8


class Gateway(Protocol):
    """Takes requests to a venue and brings its reports."""

    def send(self, request: Request) -> None:
        """Take a request; it is safe on disk when this returns, and on its way."""
        ...

    def reports(self) -> Sequence[Report]:
        """What was told since the last call, oldest first."""
        ...


class VenueBroker(SimulatedBroker):
    """Runs a policy row by row and sends what it asks for through a gateway.

    Args:
        recorder: of the market; has the policy and the settings.
        parameters: values by name; what is absent has its default.
        gateway: to the venues.
        session: begins every client order id; unique for ever, of letters and digits.
        on_our_clock: puts a venue's stamp on our clock, given the stream; None = it is not known.

    Raises:
        ConfigError: a parameter or setting that can't be used.
    """

    def __init__(
        self, recorder: MarketRecorder, parameters: Mapping[str, Any], gateway: Gateway, session: str,
        on_our_clock: Callable[[str, int], int | None] = lambda stream, stamp_ns: stamp_ns,
    ) -> None:  # fmt: skip
        super().__init__(recorder, parameters)
        self._gateway, self._session = gateway, session
        self._streams = [one.stream for one in recorder.builder.instruments]
        self._open: set[int] = set()  # numbers of requests and orders that are not over
        self._on_our_clock = on_our_clock
        self._until_rehearsal = REHEARSED_ROWS
        self._arrivals: list[tuple[int, int, int]] = []  # whose touch there is not known yet: number, leg, time
        self._adopted: dict[int, float] = {}  # leg → entry price, until its account is opened

    def adopt(self, stream: str, position: int, entry_ticks: float) -> None:
        """Begin with a position that is there already; equity counts from its entry price.

        Args:
            stream: that is traded.
            position: lots, negative = short.
            entry_ticks: its average price; 0 = not known, it counts from the first mid.
        """
        leg = self._streams.index(stream)
        self._state.counts[leg, POSITION] = self._state.touch[2, leg] = position
        self._state.entry[leg] = entry_ticks if position else 0.0
        self._adopted[leg] = entry_ticks

    def step(self, ticks: Ticks, record: StepRecord) -> None:
        """Rows were taken as they came."""
        self.look_after()

    def look_after(self) -> None:
        """Refuse sums that may be wrong, and look up what orders met that have arrived."""
        super().look_after()
        self._look_up_arrivals()

    def row(self, row: Row, signals: SignalColumns) -> None:
        """Book what was reported, ask the policy, send what it asks for."""
        for report in self._gateway.reports():
            self._book(report, row.ts_recv_ns, self.recorder.builder.rows)
        self.recorder.row(row, signals)
        if self._adopted:
            self._pay_for_adopted()
        self._advance(final=False, check=False)
        for leg in range(len(self._streams)):
            if self._state.legs[leg, REQUESTS_OPEN]:
                self._send(leg, row)

    def finish(self) -> None:
        """Book what was reported, and close the books; what is open at the venue stays open."""
        builder, reports = self.recorder.builder, self._gateway.reports()
        if reports and builder.rows:
            row = builder.rows - 1
            ts_ns = int(builder.room.ts_ns[row])
            for report in reports:
                self._book(report, ts_ns, row)
            self._book_at(row, ts_ns)
        self._look_up_arrivals(final=True)
        self._advance(final=True)

    def _book_at(self, row: int, ts_ns: int) -> None:
        """Book all reports at a row that was played already."""
        self._state = state = grown(self._state)
        counts, legs = state.counts, state.legs
        for leg in range(len(legs)):
            while legs[leg, REPORTS_OPEN]:
                book_next(self.rules, 0, state, leg, row, ts_ns)
            equity2 = 2 * counts[leg, CASH] + counts[leg, POSITION] * legs[leg, MARK]
            counts[leg, EQUITY2] = equity2
            counts[leg, PEAK2] = max(counts[leg, PEAK2], equity2)
            counts[leg, DRAWDOWN2] = max(counts[leg, DRAWDOWN2], counts[leg, PEAK2] - equity2)

    def _pay_for_adopted(self) -> None:
        rules, counts, legs = self.rules, self._state.counts, self._state.legs
        builder, row = self.recorder.builder, self.recorder.builder.rows - 1
        for leg, entry_ticks in list(self._adopted.items()):
            if legs[leg, HELD_FROM] == 0:
                legs[leg, HELD_FROM] = builder.room.ts_ns[row]
            if builder.accounts[leg] is not None:
                if entry_ticks <= 0.0:
                    entry_ticks = 0.5 * float(builder.room.bid[row] + builder.room.ask[row])
                    self._state.entry[leg] = entry_ticks
                value = worth(round(entry_ticks), rules.scale[leg], rules.inverse[leg])
                counts[leg, CASH] -= counts[leg, POSITION] * value
                self._move(leg, row, int(counts[leg, POSITION]), round(entry_ticks))
                del self._adopted[leg]

    def rehearse(self, row: Row, ask: Callable[[Request], object]) -> None:
        """Go the way of an order without one; to be called once a row was decided on.

        Orders are rare, so what they need would have left the processor's caches by the time one comes: the risk gate
        took four times as long as when it is asked often.

        Args:
            row: the last one.
            ask: does with a request all that comes before it is sent.
        """
        self._until_rehearsal -= 1
        if not self._until_rehearsal:
            self._until_rehearsal = REHEARSED_ROWS
            touch = self._state.legs[0].tolist()[TOUCH_ROW]
            if touch >= 0:
                ask(self._request(0, self._state.requests[0, 0].tolist(), row, touch, Action.TAKE))

    def _send(self, leg: int, row: Row) -> None:
        """Take a leg's requests off the simulator's way to the exchange, in their order."""
        state = self._state
        legs, own = state.legs, state.legs[leg].tolist()
        at, left = own[REQUEST_AT], own[REQUESTS_OPEN]
        while left:
            asked = state.requests[leg, at].tolist()
            at, left = (at + 1) % REQUESTS, left - 1
            legs[leg, REQUEST_AT], legs[leg, REQUESTS_OPEN] = at, left
            self._open.add(asked[Q_NUMBER])
            self._gateway.send(self._request(leg, asked, row, own[TOUCH_ROW], _ACTIONS[asked[Q_ACTION]]))

    def _request(self, leg: int, asked: list[int], row: Row, touch: int, action: Action) -> Request:
        room, number = self.recorder.builder.room, asked[Q_NUMBER]
        of = self._state.known.item(leg, asked[Q_SLOT], NUMBER) if action is _CANCEL or action is _REPLACE else -1
        return Request(
            number, f"{self._session}-{number}", self._streams[leg], action, asked[Q_SIDE], asked[Q_LOTS],
            asked[Q_PRICE], of, asked[Q_FILLED], row.ts_recv_ns, room.bid.item(touch), room.ask.item(touch),
        )  # fmt: skip

    def _move(self, leg: int, row: int, lots: int, price_ticks: int) -> None:
        """A position changed without a fill."""
        if lots:
            self._moves = np.concatenate([self._moves, [[leg, row, lots, price_ticks]]])

    def _learn_arrival(self, report: Report, leg: int, now_ns: int) -> None:
        """Remember when an order arrived, where a report of it says so: its answer, or what a take met."""
        number = report.number if report.request < 0 else report.request
        sent = self._state.orders_log[number]
        if report.ts_event_ns is None or sent[ORDER_ARRIVAL_NS] >= 0 or report.maker:
            return
        if report.told not in (Told.RESTS, Told.REPLACED) and sent[ORDER_ACTION] != Action.TAKE:
            return
        at_ns = self._on_our_clock(self._streams[leg], report.ts_event_ns)
        if at_ns is not None:
            at_ns = min(max(at_ns, int(sent[ORDER_NS])), now_ns)
            sent[ORDER_ARRIVAL_NS] = at_ns
            self._arrivals.append((number, leg, at_ns))

    def _look_up_arrivals(self, *, final: bool = False) -> None:
        """Note the venue's touch as of when orders arrived, once a later row of the stream is here."""
        room, rows, waiting = self.recorder.builder.room, self.recorder.builder.rows, []
        for number, leg, at_ns in self._arrivals:
            tail = int(self._state.legs[leg, TAIL_ROW])
            if not final and room.venue_ns[tail] <= at_ns:
                waiting.append((number, leg, at_ns))
                continue
            first = max(rows - _NEWEST, 0)
            own = (room.leg[first:rows] == leg) & (room.kind[first:rows] == Kind.QUOTE)
            before = np.flatnonzero(own & (room.venue_ns[first:rows] <= at_ns))
            if len(before):
                touch = first + int(before[-1])
                sent = self._state.orders_log[number]
                sent[ORDER_ARRIVAL_BID], sent[ORDER_ARRIVAL_ASK] = room.bid[touch], room.ask[touch]
        self._arrivals = waiting

    def _book(self, report: Report, now_ns: int, row: int) -> None:
        """Put a report where the simulator finds those of its own exchange; it is booked with the row at hand.

        A fill of an order that is over counts like any other of its fills, and touches no open order.
        """
        state, number = self._state, report.number
        if not 0 <= number < state.logged[ORDERS_SENT]:
            raise StateError(f"a report of order {number}, which was never sent: {report}")
        is_open = number in self._open
        if not is_open and report.told not in (Told.FILL, Told.FEE):
            return  # told already
        sent = state.orders_log[number].tolist()
        leg, side = sent[ORDER_LEG], sent[ORDER_SIDE]
        if state.legs[leg, REPORTS_OPEN] == state.reports.shape[1]:
            self._state = state = grown(state)
        legs = state.legs
        counted = report.told != Told.FILL or not report.maker  # as an answer, by the simulator
        if counted and report.request < 0:
            legs[leg, IN_FLIGHT] += 1
        told = state.reports[leg, (legs[leg, REPORT_AT] + legs[leg, REPORTS_OPEN]) % state.reports.shape[1]]
        legs[leg, REPORTS_OPEN] += 1
        self._learn_arrival(report, leg, now_ns)
        if report.told is Told.FEE:
            self._move(leg, row, -report.lots, report.price_ticks)
        told[P_TIME] = now_ns
        told[P_KIND], told[P_SLOT], told[P_NUMBER] = report.told, sent[ORDER_SLOT], number
        told[P_REQUEST] = report.request if report.request >= 0 else number
        told[P_SIDE], told[P_MAKER], told[P_TOUCH] = side, report.maker, sent[ORDER_ASK if side > 0 else ORDER_BID]
        told[P_LOTS], told[P_PRICE] = report.lots, report.price_ticks
        stamp_ns = report.ts_event_ns
        event_ns = None if stamp_ns is None else self._on_our_clock(self._streams[leg], stamp_ns)
        told[P_EVENT] = report.ts_ns if event_ns is None else event_ns
        told[P_REASON] = (report.ending or 0) if is_open else 0
        told[P_REST] = report.lots
        if report.told in (Told.TOO_LATE, Told.REPLACED) or report.ending is not None:
            self._open.discard(number)
            if report.ending is not None:
                self._open.discard(report.request)
