"""Keeps the market a policy trades on: rows, the graph's answers it reads, signals of the user's own.

Axis legend: N rows, L legs (traded streams), S signals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from schwabot.records.audit import SignalColumns, StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import Row, Ticks
from schwabot.signals.columns import takers
from schwabot.signals.compiling import CompiledPolicy
from schwabot.signals.own_signals import OwnSignals
from schwabot.simulation.market import MarketBuilder
from schwabot.simulation.settings import SimulationConfig


class MarketRecorder:
    """Takes every batch of a run and keeps what a policy will be played on.

    Args:
        policy: compiled; says which signals.
        instruments: V instruments of the source.
        legs: streams to trade.
        config: the simulated exchange.
        horizons_ms: of a trained forecast, if there is one.
        leader: stream of the signals ``..._of_leader``.
        rows: rows to come, if known.
        own: parameters of signals of the user's own, by the signal's name.

    Raises:
        ConfigError: a leg or signal that is not there.
    """

    def __init__(
        self,
        policy: CompiledPolicy,
        instruments: Sequence[Instrument],
        legs: Sequence[str],
        config: SimulationConfig,
        horizons_ms: Sequence[float] = (),
        leader: str | None = None,
        rows: int | None = None,
        own: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        streams = [one.stream for one in instruments]
        self._own = OwnSignals.of(policy, len(legs), own)
        columns = takers(self._own.names, legs, streams, horizons_ms, leader)
        self.policy = policy
        self.config = config
        self.builder = MarketBuilder(instruments, legs, columns, config.max_notional, rows)

    def warm_up(self) -> None:
        """Get the signals of the user's own compiled, or read from disk; no row is needed."""
        self._own.fill(self.builder.room, 0, 0)

    def step(self, ticks: Ticks, record: StepRecord) -> None:
        """Take one batch of the market and what the graph said of it."""
        before = self.builder.rows
        self.builder.append(ticks, record)
        self._own.fill(self.builder.room, before, self.builder.rows)

    def row(self, row: Row, signals: SignalColumns) -> None:
        """Take one row and the graph's answer to it [1]: ``step`` without the cost of arrays."""
        before = self.builder.rows
        self.builder.append_row(row, signals)
        self._own.fill(self.builder.room, before, self.builder.rows)

    def finish(self) -> None:
        """Nothing is left to do."""
