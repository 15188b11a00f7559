"""A gateway to the loopback exchange, and what a test asks of it and hears."""

from __future__ import annotations

import time
from pathlib import Path

from schwabot.execution.ccxt_gateway import CcxtGateway
from schwabot.execution.journal import Journal, OrderState
from schwabot.execution.risk import RiskGate
from schwabot.execution.settings import GatewayConfig, RiskConfig
from schwabot.records.instrument import Instrument
from schwabot.records.order import Action, Ending, Report, Request, Told
from schwabot.venues.loopback import LoopbackExchange
from schwabot.venues.loopback.urls import KEY, ccxt_options, credentials
from tests.venues.making import until

SPOT = "binance:BTC/USDT"
CONFIG = GatewayConfig(recv_window_ms=600, timeout_s=1.0, poll_s=0.2, quiet_s=0.5, listed_s=0.3)
SECRET = "canary-b1946ac92492d2347c6235b4d2611184"  # pragma: allowlist secret


class Desk:
    """A gateway, and what a test asks of it and hears."""

    def __init__(self, exchange: LoopbackExchange, journal: Path, session: str, stream: str = SPOT,
                 config: GatewayConfig = CONFIG, accept: str | None = None, **keys: str) -> None:  # fmt: skip
        self.exchange, self.session = exchange, session
        self.one: Instrument = next(
            book.listing.instrument for book in exchange.books if book.listing.instrument.stream == stream
        )
        self.gate = RiskGate(RiskConfig(), [self.one])
        self.journal = Journal(journal)
        venue = self.one.venue
        options = {venue: ccxt_options(venue, exchange.port) | credentials(venue, KEY, SECRET) | keys}
        self.gateway = CcxtGateway([self.one], options, self.journal, self.gate, session, config, accept=accept)
        self.said: list[Report] = []
        self.number = 0

    def __enter__(self) -> Desk:
        try:
            self.gateway.__enter__()
        except BaseException:
            self.journal.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.gateway.__exit__()
        self.journal.close()

    @property
    def touch(self) -> tuple[int, int]:
        book = self.exchange.state()["books"][self.one.stream]
        return book["bid_ticks"], book["ask_ticks"]

    def ask(
        self, action: Action, lots: int = 0, price: int = 0, side: int = 1, of: int = -1, age_s: float = 0.0
    ) -> int:
        number, self.number = self.number, self.number + 1
        bid, ask = self.touch
        ts_ns = time.time_ns() - int(age_s * 1e9)
        name = f"{self.session}-{number}"
        self.gateway.send(
            Request(number, name, self.one.stream, action, side, lots, price, of, 0, ts_ns, bid, ask)
        )  # fmt: skip
        return number

    def hear(self, wanted: int, wait_s: float = 10.0) -> list[tuple[Told, int, int, int, Ending | None]]:
        def enough() -> bool:
            self.said += self.gateway.reports()
            return len(self.said) >= wanted

        until(enough, wait_s)
        told, self.said = self.said[:wanted], self.said[wanted:]
        return [(one.told, one.number, one.request, one.lots, one.ending) for one in told]

    def states(self, number: int) -> list[OrderState]:
        return self.journal.states(f"{self.session}-{number}")

    def orders(self) -> dict[str, str]:
        truth = self.exchange.state()["accounts"][self.one.venue]["orders"]
        return {order["clientOrderId"]: order["status"] for order in truth}
