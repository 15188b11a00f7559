"""What a person should hear of orders: fills, refusals, and every change of what may leave."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from schwabot.execution.ccxt_gateway import CcxtGateway
from schwabot.execution.dry_run import price, quantity
from schwabot.execution.risk import StateChange, TradingState
from schwabot.execution.risk_gateway import RiskGateway
from schwabot.execution.simulated import SimulatedBroker
from schwabot.records.alert import Alert, Level
from schwabot_kernels.simulate.state import FILL_LEG, FILL_LOTS, FILL_MAKER, FILL_PRICE, FILL_REPORT_NS, FILL_SIDE

AGAIN_NS = 60_000_000_000
"""A reason for refusing orders is told of once in so long."""
_NUMBER = re.compile(r"\d+(\.\d+)?")
_STATES = {
    TradingState.NORMAL: (Level.WARNING, "halt", "trading goes on"),
    TradingState.REDUCING: (Level.WARNING, "risk", "only orders that make a position smaller leave from now on"),
    TradingState.HALTED: (Level.ERROR, "halt", "trading is halted, and what is open is cancelled"),
}


class TradeAlerts:
    """Looks at a broker between batches and tells what is new.

    Args:
        broker: that trades.
        gated: the risk gate before it; None = there is none.
        gateway: to the venues; None = there are none.
        say: told of each fill, in a line.
        changes: of what may leave, where there is no gate.
    """

    def __init__(
        self, broker: SimulatedBroker, gated: RiskGateway | None = None, gateway: CcxtGateway | None = None,
        say: Callable[[str], None] = lambda line: None, changes: Sequence[StateChange] = (),
    ) -> None:  # fmt: skip
        self._all_changes = changes if gated is None else gated.gate.changes
        self._broker, self._gated, self._gateway, self._say = broker, gated, gateway, say
        self._fills = self._changes = 0
        self._not_taken: dict[str, tuple[int, int, int]] = {}  # why: how often, how often when told of last, and when
        self._refused: dict[str, tuple[int, int]] = {}  # reason: how often by now, when it was told of last

    def take(self) -> tuple[Alert, ...]:
        """What happened since the last call."""
        found = [*self._of_fills(), *self._of_changes()]
        if self._gated is not None:
            found += self._of_gate(self._gated)
        if self._gateway is not None:
            found += self._of_venues(self._gateway)
            while self._gateway.said:
                found.append(self._gateway.said.popleft())
        return tuple(found)

    def _of_venues(self, gateway: CcxtGateway) -> list[Alert]:
        found = []
        for refused in gateway.take_refused():
            kind = _NUMBER.sub("0", refused.what)
            count, told, told_ns = self._not_taken.get(kind, (0, 0, -AGAIN_NS))
            count += 1
            if refused.ts_ns - told_ns >= AGAIN_NS:
                often = f" (one of {count - told})" if count - told > 1 else ""
                text = f"order {refused.client_id} was not taken: {refused.what}{often}"
                found.append(Alert(refused.ts_ns, Level.WARNING, "risk", text, kind))
                told, told_ns = count, refused.ts_ns
            self._not_taken[kind] = (count, told, told_ns)
        return found

    def _of_fills(self) -> list[Alert]:
        found: list[Alert] = []
        fills = self._broker.fills
        for fill in fills[self._fills :].tolist():
            one = self._broker.recorder.builder.instruments[fill[FILL_LEG]]
            did, how = "bought" if fill[FILL_SIDE] > 0 else "sold", "maker" if fill[FILL_MAKER] else "taker"
            what = f"{quantity(one, fill[FILL_LOTS])} {one.stream} at {price(one, fill[FILL_PRICE])}"
            text = f"{did} {what} ({how})"
            self._say(text)
            found.append(Alert(fill[FILL_REPORT_NS], Level.INFO, "fill", text, f"{len(found) + self._fills}"))
        self._fills = len(fills)
        return found

    def _of_changes(self) -> list[Alert]:
        changes = self._all_changes[self._changes :]
        self._changes += len(changes)
        told = ((change, *_STATES[change.state]) for change in changes)
        return [Alert(one.ts_ns, level, kind, f"{text}: {one.who}: {one.why}") for one, level, kind, text in told]

    def _of_gate(self, gated: RiskGateway) -> list[Alert]:
        found, gate = [], gated.gate
        for reason, count in list(gate.refused.items()):
            before, told_ns = self._refused.get(reason, (0, -AGAIN_NS))
            said = gated.last_refused.get(reason)
            if count > before and said is not None and said.ts_ns - told_ns >= AGAIN_NS:
                often = f" ({count - before} such orders)" if count - before > 1 else ""
                text = f"order refused by the risk gate, {said.what}{often}"
                found.append(Alert(said.ts_ns, Level.WARNING, "risk", text, reason))
                self._refused[reason] = (count, said.ts_ns)
        return found
