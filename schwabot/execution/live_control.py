"""What a person may do to a live run, beside SIGUSR1 and the kill file; from any thread."""

from __future__ import annotations

import threading
import time

from schwabot.errors import ConfigError, VenueError
from schwabot.execution.ccxt_gateway import CcxtGateway
from schwabot.execution.risk import RiskGate, TradingState
from schwabot.execution.trading_view import Gated


class LiveControl:
    """Halts a live run, lets it only reduce, lets it go on, cancels what is open.

    Args:
        gate: that decides what may leave.
        gateway: to the venues; None = a dry run, in which nothing is open.
    """

    def __init__(self, gate: RiskGate, gateway: CcxtGateway | None) -> None:
        self._gate, self._gateway = gate, gateway
        self._cancelling = threading.Lock()

    def halt(self, who: str, why: str) -> str:
        """Let nothing leave any more, and cancel what is open."""
        if self._gateway is None:
            self._gate.escalate(TradingState.HALTED, who, why, time.time_ns())
            return "trading is halted; it was a dry run, so nothing was open"
        done = self._gateway.kill(who, why)
        return f"trading is halted; {self._confirmed(done)}"

    def reduce(self, who: str, why: str) -> str:
        """Let only orders leave that make a position smaller.

        Raises:
            ConfigError: the state is as strict already, or stricter.
        """
        if not self._gate.escalate(TradingState.REDUCING, who, why, time.time_ns()):
            raise ConfigError(f"trading is {self._gate.state.name} already; resume first if you want less than that")
        return "only orders that make a position smaller leave from now on"

    def resume(self, who: str, why: str) -> str:
        """Trade again, once what is held at the venues was compared and is what our fills say.

        Raises:
            ConfigError: nothing is halted, what is held differs, or the kill file is still there.
            VenueError: a venue can't be asked.
        """
        gate, gateway, seen = self._gate, self._gateway, len(self._gate.changes)
        if gate.state is TradingState.NORMAL:
            raise ConfigError("trading is NORMAL already")
        if gateway is not None:
            if gateway.kill_file_is_there():
                raise ConfigError(f"the kill file {gateway.config.kill_file} is there: remove it first")
            if found := gateway.check():
                raise ConfigError(f"{found[0]}; end the run, and begin it with live.accept=REASON if that is right")
        anew = gate.is_over_limit
        if not gate.resume(who, why, time.time_ns(), after=seen):
            last = gate.changes[-1]
            raise ConfigError(f"meanwhile trading was {last.state.name}, by {last.who}: {last.why}; look at that first")
        if gateway is not None:
            gateway.journal.note(f"{who} resumed: {why}", time.time_ns())
        counts = "count from here, as a limit of theirs was reached" if anew else "go on as they were"
        return f"trading goes on; loss of the day and drawdown {counts}"

    def cancel_all(self, who: str, why: str) -> str:
        """Cancel everything that is ours; until that is confirmed no order leaves, after it trading goes on.

        Where a venue does not confirm it, trading is halted: nobody knows what is open.

        Raises:
            ConfigError: somebody else is at it.
            VenueError: a venue has not confirmed it.
        """
        gateway = self._gateway
        if gateway is None:
            return "it is a dry run: nothing is open"
        if not self._cancelling.acquire(blocking=False):
            raise ConfigError("everything is being cancelled already")
        try:
            gateway.hold = f"everything is being cancelled, by {who}: {why}"
            if not gateway.cancel_all(f"{who}: {why}"):
                what = f"{gateway.not_confirmed}; trading is halted"
                self._gate.escalate(TradingState.HALTED, who, what, time.time_ns())
                raise VenueError(what)
        finally:
            gateway.hold = None
            self._cancelling.release()
        return self._confirmed(True)

    def gated(self) -> Gated:
        """How it stands."""
        gate = self._gate
        last = gate.changes[-1] if gate.changes else None
        refused = {str(reason): count for reason, count in list(gate.refused.items())}
        return Gated(gate.state.name, last.who if last else "", last.why if last else "", refused)

    def _confirmed(self, done: bool) -> str:
        assert self._gateway is not None
        return "the venues have confirmed that nothing of ours is open" if done else self._gateway.not_confirmed
