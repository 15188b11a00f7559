"""The simulated broker: a policy's orders against the recorded market, batch by batch.

Axis legend: N rows of the market, L legs (traded streams).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from schwabot_kernels.simulate.cpu import grown, make_simulator, new_state

from schwabot.records.audit import StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import Float64, Ticks
from schwabot.signals.columns import resolve
from schwabot.signals.compiling import CompiledPolicy
from schwabot.simulation.market import MarketBuilder
from schwabot.simulation.rules import make_rules
from schwabot.simulation.settings import SimulationConfig

FIRST_LOG = 1 << 12


class SimulatedBroker:
    """Runs a policy over every row as it comes and fills its orders by the rules of docs/simulation.md.

    An order is decided at a row, but what it met at the exchange may be received later; rows wait until that is known.
    So the outcome never depends on how the market is cut into batches.

    Args:
        policy: compiled.
        parameters: one value per declared parameter.
        instruments: V instruments of the source.
        legs: streams to trade.
        config: the simulated exchange.
        horizons_ms: of a trained forecast, if there is one.
        rows: rows to come, if known.

    Raises:
        ConfigError: a leg or signal that is not there, a setting that can't be used.
    """

    def __init__(
        self,
        policy: CompiledPolicy,
        parameters: Mapping[str, Any],
        instruments: Sequence[Instrument],
        legs: Sequence[str],
        config: SimulationConfig,
        horizons_ms: Sequence[float] = (),
        rows: int | None = None,
    ) -> None:
        self.policy = policy
        self.config = config
        columns = [[resolve(name, leg, instruments, horizons_ms) for name in policy.signals] for leg in legs]
        self.builder = MarketBuilder(instruments, legs, columns, config.max_notional, rows)
        self.rules = make_rules(config, self.builder)
        self.parameters: Float64 = np.array([[float(parameters[one.name]) for one in policy.parameters]])
        self._run = make_simulator(policy.policy, policy.event_of, policy.params_of)
        self._state = new_state(len(legs), policy.memory, FIRST_LOG, FIRST_LOG)

    def step(self, ticks: Ticks, record: StepRecord) -> None:
        """Take one batch of the market and what the graph said of it."""
        self.builder.append(ticks, record)
        self._advance(final=False)

    def finish(self) -> None:
        """No more rows will come: play those that waited."""
        self._advance(final=True)

    def _advance(self, *, final: bool) -> None:
        known = self.builder.rows
        while True:
            market = self.builder.room
            row = self._run(market, self.rules, self.parameters, 0, self._state, known, final)
            if not self._state.log_full:
                self.row = int(row)
                return
            self._state = grown(self._state)
