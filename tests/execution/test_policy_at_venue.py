"""A policy through the whole way to a venue: its books are the exchange's, whatever was lost in between."""

from __future__ import annotations

import dataclasses
import time
from decimal import Decimal
from pathlib import Path

import numpy as np

from schwabot.execution.ccxt_gateway import CcxtGateway
from schwabot.execution.journal import Journal
from schwabot.execution.risk import RiskGate, TradingState
from schwabot.execution.risk_gateway import RiskGateway
from schwabot.execution.settings import GatewayConfig, RiskConfig
from schwabot.execution.venue import VenueBroker
from schwabot.records.audit import SignalColumns
from schwabot.records.market import MISSING_NS, Kind, Row
from schwabot.records.order import Action
from schwabot.signals.compiling import compile_policy
from schwabot.simulation.recorder import MarketRecorder
from schwabot.simulation.settings import SimulationConfig
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback import LoopbackExchange
from schwabot.venues.loopback.urls import KEY, SECRET, ccxt_options
from schwabot_kernels.simulate.records import POSITION
from schwabot_kernels.simulate.state import ORDER_ACTION, ORDERS_SENT
from tests.execution.test_venue import all_four

STREAM = "binancecoinm:BTC/USD:BTC"
RISK = RiskConfig(max_order_notional=1e4, max_notional=1e5, max_total_notional=1e5, max_orders_per_s=60.0,
                  order_burst=10, quote_age_s=1.0, feed_age_s=1.0)  # fmt: skip
CONFIG = GatewayConfig(recv_window_ms=400, timeout_s=0.5, poll_s=0.2, quiet_s=0.4, reconcile_s=0.3)


def test_its_books_are_the_exchanges(tmp_path: Path) -> None:
    signals = SignalColumns(**{one.name: np.zeros((1, 1)) for one in dataclasses.fields(SignalColumns)})
    feed = SyntheticFeed(SyntheticConfig(events=10**9))
    with LoopbackExchange(feed, deposits={"BTC": "100"}) as exchange:
        book = next(one for one in exchange.books if one.listing.instrument.stream == STREAM)
        one = book.listing.instrument
        options = {one.venue: {**ccxt_options(one.venue, exchange.port), "apiKey": KEY, "secret": SECRET}}
        gate, journal = RiskGate(RISK, [one]), Journal(tmp_path / "journal.db")
        recorder = MarketRecorder(compile_policy(all_four), [one], [STREAM], SimulationConfig(max_notional=1e5))
        with CcxtGateway([one], options, journal, gate, "sbpolicy", CONFIG) as gateway:
            gated = RiskGateway(gateway, gate, [one], time.time_ns)
            broker = VenueBroker(recorder, {}, gated, "sbpolicy")
            for kind, path in (("lost_answer", "POST */order"), ("server_error", "POST */order"),
                               ("lost_answer", "DELETE */order"), ("partial_cancel", "*")):  # fmt: skip
                exchange.fault(kind, path=path, probability=0.1, count=0)

            def row() -> None:
                touch, now_ns = (book.bid, book.ask, book.bid_lots, book.ask_lots), time.time_ns()
                quote = Row(now_ns, MISSING_NS, MISSING_NS, 0, Kind.QUOTE, *touch, 0, 0, 0)
                gated.observe(quote, signals)
                broker.row(quote, signals)
                time.sleep(0.01)

            while not book.update_id:
                time.sleep(0.01)

            def enough() -> bool:
                asked = set(broker._state.orders_log[: int(broker._state.logged[ORDERS_SENT]), ORDER_ACTION].tolist())
                return asked == set(Action) and len(broker.fills) > 3

            began_s = time.monotonic()
            while (lasts_s := time.monotonic() - began_s) < 2.5 or (lasts_s < 20.0 and not enough()):
                row()
            exchange.heal()
            assert gateway.kill("test", "enough")
            assert gateway.check() == []
            for _ in range(3):
                row()
        (change,) = gate.changes
        assert (change.state, change.who) == (TradingState.HALTED, "test")
        truth = exchange.state()["accounts"][one.venue]
        fills, position = truth["fills"], int(broker._state.counts[0, POSITION])
        assert len(fills) > 3
        assert len(broker.outcome().fills) == len(fills) == len(journal.fills())
        assert position == gated.position(STREAM) == sum(
            int(Decimal(fill["qty"])) * (1 if fill["side"] == "BUY" else -1) for fill in fills
        )  # fmt: skip
        assert not journal.open_requests()
        asked = {journal.request(f"sbpolicy-{order}") for order in broker.outcome().orders[:, 0].tolist()}
        assert {request.action for request in asked if request} == set(Action)
        journal.close()
