"""The simulated broker: a policy's orders against the recorded market, batch by batch.

Axis legend: N rows of the market, L legs (traded streams), P parameter sets, K parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numba
import numpy as np

from schwabot.records.audit import SignalColumns, StepRecord
from schwabot.records.market import Int64, Kind, Row, Ticks
from schwabot.records.order import Action
from schwabot.simulation.accounts import check_sums
from schwabot.simulation.details import REGRET_NS
from schwabot.simulation.outcome import MOVE_ROW, Outcome, sample_rows
from schwabot.simulation.recorder import MarketRecorder
from schwabot.simulation.rules import make_rules
from schwabot_kernels.simulate.booking import send
from schwabot_kernels.simulate.cpu import make_simulator
from schwabot_kernels.simulate.state import (
    BOOK_ROW,
    FILL_ROW,
    FILLS_LOGGED,
    FIRST_ROW,
    IS_FULL,
    LAST_ROW,
    NEXT,
    ORDER_END_NS,
    ORDER_ROW,
    ORDERS_SENT,
    REQUESTS,
    REQUESTS_OPEN,
    RESTS,
    TAIL_ROW,
    TOUCH_ROW,
    TRACED_ROW,
    SimState,
    grown,
    new_state,
)

FIRST_LOG = 1 << 12
KNOWN = 6
"""Entry of ``SimState.clock``: rows whose leg is known."""
_ROW_COLUMNS = [TOUCH_ROW, LAST_ROW, FIRST_ROW, TAIL_ROW, TRACED_ROW, BOOK_ROW]


class SimulatedBroker:
    """Runs a policy over every row as it comes and fills its orders by the rules of docs/simulation.md.

    An order is decided at a row, but what it met at the exchange may be received later; rows wait until that is known.
    So the outcome never depends on how the market is cut into batches.

    Args:
        recorder: of the market; has the policy and the settings.
        parameters: values by name; what is absent has its default.

    Raises:
        ConfigError: a parameter or setting that can't be used.
    """

    def __init__(self, recorder: MarketRecorder, parameters: Mapping[str, Any]) -> None:
        self.recorder = recorder
        policy = recorder.policy
        self.rules = make_rules(recorder.config, recorder.builder)
        self.parameters = policy.row(dict(parameters))[None, :]
        self._run = make_simulator(policy.policy, policy.event_of, policy.params_of, policy.key)
        self._state = new_state(len(recorder.builder.instruments), policy.memory, FIRST_LOG, FIRST_LOG)
        self._moves = np.empty((0, 4), np.int64)  # see Outcome
        self._played = self._told_rows = 0
        recorder.warm_up()
        # Compiled before any rate is counted. The dispatcher looks at the type of every array on every call, which
        # takes longer than to play a row; they are always the same.
        dispatcher: Any = self._run
        self._run_row = dispatcher.compile(tuple(map(numba.typeof, self._given(0, final=False))))
        self._play(0, final=False)

    def step(self, ticks: Ticks, record: StepRecord) -> None:
        """Take one batch of the market and what the graph said of it."""
        self.recorder.step(ticks, record)
        self._advance(final=False)

    def row(self, row: Row, signals: SignalColumns) -> None:
        """Take one row of the market and the graph's answer to it [1], as ``step`` takes many; sums are not checked."""
        self.recorder.row(row, signals)
        self._advance(final=False, check=False)

    @property
    def fills(self) -> Int64:
        """The log of fills, columns ``FILL_...`` of ``schwabot_kernels.simulate.state``: [fills, 11]."""
        logged: Int64 = self._state.fills[: int(self._state.logged[FILLS_LOGGED])]
        return logged

    @property
    def orders(self) -> Int64:
        """The log of orders, columns ``ORDER_...`` of ``schwabot_kernels.simulate.state``: [orders, 19]."""
        logged: Int64 = self._state.orders_log[: int(self._state.logged[ORDERS_SENT])]
        return logged

    @property
    def state(self) -> SimState:
        """Everything between two rows; to be read, not written."""
        state: SimState = self._state
        return state

    def request(self, leg: int, row: int, action: Action, slot: int) -> bool:
        """Ask for something that the policy did not; False = it was refused.

        Args:
            leg: of the order.
            row: that it is decided on, the last one known.
            action: cancel, say.
            slot: of the order.
        """
        if self._state.legs[leg, REQUESTS_OPEN] >= REQUESTS - 1 or len(self.orders) == len(self._state.orders_log):
            return False
        sent: bool = send(self.recorder.builder.room, self.rules, 0, self._state, leg, row, int(action), 0, 0, 0, slot)
        return sent

    def finish(self) -> None:
        """No more rows will come: play those that waited."""
        self._advance(final=True)

    def check_sums(self) -> None:
        """Refuse to go on where a sum may have left 64 bits; ``row`` does not look.

        Raises:
            ConfigError: it may have.
        """
        self._check(self._state.counts)

    def look_after(self) -> None:
        """What is left to do once some rows were taken one by one: see ``check_sums``."""
        self.check_sums()

    @property
    def told_rows(self) -> int:
        """Rows that ``forget`` kept besides the newest ones."""
        return self._told_rows

    def forget(self, newest: int) -> None:
        """Drop rows of the market that nothing asks for any more, so that a run may go on for months.

        Kept are the newest rows, all that an order at the exchange may still meet, each leg's last rows, the first row
        of all, whose time policies know, and what the tables and the equity curve of ``outcome`` are made of.

        Args:
            newest: rows to keep at least.
        """
        rows, legs, clock = self.recorder.builder.rows, self._state.legs, self._state.clock
        busy = (legs[:, RESTS] > 0) | (legs[:, REQUESTS_OPEN] > 0)
        first = min([max(rows - newest, 0), int(clock[NEXT]), *legs[busy, TRACED_ROW].tolist()])
        if first <= 0:
            return
        pinned = legs[:, _ROW_COLUMNS]
        old = np.concatenate([[0], pinned[pinned >= 0], *self._told_of(rows)])
        kept = np.unique(np.concatenate([old[old < first], np.arange(first, rows)]))
        self.recorder.builder.forget_all_but(kept)
        number = np.full(rows + 1, -1)  # the last entry is that of no row, -1
        number[kept] = np.arange(len(kept))
        legs[:, _ROW_COLUMNS] = number[pinned]
        for at in (NEXT, KNOWN):
            clock[at] = np.searchsorted(kept, clock[at])
        for log, column in ((self._state.fills, FILL_ROW), (self._state.orders_log, ORDER_ROW)):
            log[:, column] = number[log[:, column]]
        self._moves[:, MOVE_ROW] = number[self._moves[:, MOVE_ROW]]
        self._played = int(clock[NEXT])
        self._told_rows = len(kept) - (rows - first)

    def _told_of(self, rows: int) -> list[Int64]:
        """Rows that tables and curves are made of: of fills, orders and samples, and the quotes known at them."""
        market, state = self.recorder.builder.room, self._state
        ts_ns, kind, leg = market.ts_ns[:rows], market.kind[:rows], market.leg[:rows]
        orders = state.orders_log[: int(state.logged[ORDERS_SENT])]
        named = np.concatenate(
            [state.fills[: int(state.logged[FILLS_LOGGED]), FILL_ROW], orders[:, ORDER_ROW], self._moves[:, MOVE_ROW]]
        )
        due = np.searchsorted(ts_ns, self.rules.funding_ns)
        found = [named, due, sample_rows(ts_ns, int(self.rules.bucket_ns))]
        ends = orders[:, ORDER_END_NS]
        times = np.concatenate([*(ts_ns[of[of < rows]] for of in found), ends, ends + REGRET_NS])
        for v in range(state.legs.shape[0]):
            quotes = np.flatnonzero((leg == v) & (kind == Kind.QUOTE))
            at = np.searchsorted(ts_ns[quotes], times, side="right") - 1
            found.append(quotes[np.unique(at[at >= 0])])
        return found

    def outcome(self) -> Outcome:
        """What the run came to so far."""
        builder = self.recorder.builder
        state = self._state
        return Outcome(
            market=builder.market,
            instruments=builder.instruments,
            accounts=tuple(builder.accounts),
            rules=self.rules,
            counts=state.counts,
            moments=state.moments,
            fills=state.fills[: int(state.logged[FILLS_LOGGED])],
            orders=state.orders_log[: int(state.logged[ORDERS_SENT])],
            lanes=builder.lanes,
            rows=self._played,
            moves=self._moves,
        )

    def again(self, added_entry_ms: float) -> Int64:
        """The whole run once more with a longer way to the exchange.

        Returns:
            What it came to, see ``schwabot_kernels.simulate.records``. [L, COUNTS]
        """
        recorder = self.recorder
        longer = dataclasses.replace(recorder.config, entry_ms=recorder.config.entry_ms + added_entry_ms)
        rules = make_rules(longer, recorder.builder)
        state = new_state(len(recorder.builder.instruments), recorder.policy.memory)
        while True:
            self._run(recorder.builder.room, rules, self.parameters, 0, state, recorder.builder.rows, True)
            if not state.logged[IS_FULL]:
                counts: Int64 = state.counts
                self._check(counts)
                return counts
            state = grown(state)

    def _advance(self, *, final: bool, check: bool = True) -> None:
        known = self.recorder.builder.rows
        while known:
            self._play(known, final=final)
            if not self._state.logged[IS_FULL]:
                if check:
                    self._check(self._state.counts)
                return
            self._state = grown(self._state)

    def _check(self, counts: Int64) -> None:
        check_sums(counts, [one.stream for one in self.recorder.builder.instruments])

    def _play(self, known: int, *, final: bool) -> None:
        self._played = int(self._run_row(*self._given(known, final=final)))

    def _given(self, known: int, *, final: bool) -> tuple[Any, ...]:
        return self.recorder.builder.room, self.rules, self.parameters, 0, self._state, known, final
