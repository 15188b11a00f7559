"""The simulated broker: a policy's orders against the recorded market, batch by batch.

Axis legend: N rows of the market, L legs (traded streams), P parameter sets, K parameters.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from schwabot.records.audit import SignalColumns, StepRecord
from schwabot.records.market import Int64, Row, Ticks
from schwabot.simulation.accounts import check_sums
from schwabot.simulation.outcome import Outcome
from schwabot.simulation.recorder import MarketRecorder
from schwabot.simulation.rules import make_rules
from schwabot_kernels.simulate.cpu import make_simulator
from schwabot_kernels.simulate.state import FILLS_LOGGED, IS_FULL, ORDERS_SENT, grown, new_state

FIRST_LOG = 1 << 12


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
        self._played = 0
        recorder.warm_up()
        self._play(0, final=False)  # compiles it before any rate is counted

    def step(self, ticks: Ticks, record: StepRecord) -> None:
        """Take one batch of the market and what the graph said of it."""
        self.recorder.step(ticks, record)
        self._advance(final=False)

    def row(self, row: Row, signals: SignalColumns) -> None:
        """Take one row of the market and the graph's answer to it [1], as ``step`` takes many; sums are not checked."""
        self.recorder.row(row, signals)
        self._advance(final=False, check=False)

    def finish(self) -> None:
        """No more rows will come: play those that waited."""
        self._advance(final=True)

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
        market = self.recorder.builder.room
        self._played = int(self._run(market, self.rules, self.parameters, 0, self._state, known, final))
