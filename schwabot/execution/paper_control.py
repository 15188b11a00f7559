"""What a person may do to a paper run: halt it, let it only reduce, let it go on, cancel what is open.

The simulated exchange refuses what may not pass, as it refuses an order beyond its largest position: see ``Rules``.
"""

from __future__ import annotations

import threading
import time

from schwabot.errors import ConfigError
from schwabot.execution.risk import StateChange, TradingState
from schwabot.execution.simulated import SimulatedBroker
from schwabot.execution.trading_view import Gated
from schwabot.records.market import Int64
from schwabot.records.order import Action
from schwabot_kernels.simulate.state import CHANGE, CHANGE_LOTS, FREE, STATUS


class PaperControl:
    """The state of a paper run's trading, and who changed it; to be told from any thread.

    Args:
        broker: whose orders these are.
    """

    def __init__(self, broker: SimulatedBroker) -> None:
        self._broker = broker
        self._lock = threading.Lock()
        self.state = TradingState.NORMAL
        self.changes: list[StateChange] = []
        self._cancel = False

    def halt(self, who: str, why: str) -> str:
        """Let the policy send nothing more but cancels, and cancel what is open."""
        self._go(TradingState.HALTED, who, why)
        self._cancel = True
        return "trading is halted; what is open is cancelled with the next rows"

    def reduce(self, who: str, why: str) -> str:
        """Let only orders pass that make a position smaller."""
        self._go(TradingState.REDUCING, who, why)
        return "only orders that make a position smaller leave from now on"

    def resume(self, who: str, why: str) -> str:
        """Trade again."""
        self._go(TradingState.NORMAL, who, why)
        return "trading goes on"

    def cancel_all(self, who: str, why: str) -> str:
        """Cancel what is open; the requests leave with the next batch of rows."""
        self._cancel = True
        return "what is open is cancelled with the next rows"

    def gated(self) -> Gated:
        """How it stands."""
        last = self.changes[-1] if self.changes else None
        return Gated(self.state.name, last.who if last else "", last.why if last else "", {})

    def apply(self) -> None:
        """Let the simulated exchange refuse what may not pass: also of streams whose first quote came since."""
        top, state = self._broker.rules.max_lots, self.state
        for leg, account in enumerate(self._broker.recorder.builder.accounts):
            if account is not None:
                most = account.max_lots
                top[leg] = most if state is TradingState.NORMAL else -most if state is TradingState.REDUCING else 0

    def step(self) -> None:
        """Between two batches, on the run's own thread: send what cancels."""
        if self.state is not TradingState.NORMAL:
            self.apply()
        if not self._cancel or not self._broker.recorder.builder.rows:
            return
        broker, row = self._broker, self._broker.recorder.builder.rows - 1
        known, is_left = broker.state.known, False
        for leg in range(known.shape[0]):
            for slot in range(known.shape[1]):
                if known[leg, slot, STATUS] != FREE and not self._is_being_cancelled(known[leg, slot]):
                    # One that is being replaced can't be cancelled before that is answered: again with the next rows.
                    sent = known[leg, slot, CHANGE] == 0 and broker.request(leg, row, Action.CANCEL, slot)
                    is_left = is_left or not sent
        self._cancel = is_left

    @staticmethod
    def _is_being_cancelled(order: Int64) -> bool:
        return bool(order[CHANGE] > 0 and order[CHANGE_LOTS] == 0)

    def finish(self) -> None:
        """The run ends: its rules are those that it began with."""
        with self._lock:
            self.state = TradingState.NORMAL
        self.apply()

    def _go(self, state: TradingState, who: str, why: str) -> None:
        with self._lock:
            before = self.state
            if state is before or TradingState.NORMAL < state < before:
                first = "; resume first if you want less than that" if state < before else ""
                raise ConfigError(f"trading is {before.name} already{first}")
            self.state = state
            self.changes.append(StateChange(state, who, why, time.time_ns()))
        self.apply()
