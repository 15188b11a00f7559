"""How long after a websocket frame came in is the order that it leads to on the wire, ccxt and journal included?

The loopback exchange is a process of its own and plays a synthetic market of four streams as it is, some 700 messages
a second, three streams of them to us. This process is a live run: unmodified ccxt, `CcxtFeed`, `LivePipeline` with
the default graph, the policy `threshold`, `RiskGateway` with its default limits, `CcxtGateway` with its journal
(`synchronous=FULL`), the default sinks. All clocks are this process's: from the moment that aiohttp has read bytes of
the frame's socket to the moment that the order's request is written to its socket. Parts, in their order:

- aiohttp, ccxt: frame decoded, JSON read, until ccxt hands the message to its handler;
- ccxt: handler;
- ours: row made and put into the queue;
- thread: until the engine has it;
- clock, graph: until the policy is asked;
- policy, risk: until the request is approved, which is the intent;
- journal: until it is on the platter;
- thread: until the gateway's loop has it;
- ours: checked, noted as sent;
- ccxt, aiohttp: signed and written.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from benchmarks.measure import ROOT, Finding, RedError
from schwabot import engine
from schwabot.clock import LiveClock
from schwabot.config import RunConfig
from schwabot.execution.ccxt_account import CcxtAccount
from schwabot.execution.ccxt_gateway import CcxtGateway
from schwabot.execution.journal import Journal
from schwabot.execution.order_desk import Ledger, OrderDesk
from schwabot.execution.risk import RiskGate
from schwabot.execution.risk_gateway import RiskGateway
from schwabot.execution.settings import RiskConfig
from schwabot.execution.venue import VenueBroker
from schwabot.live_pipeline import LivePipeline
from schwabot.modes.live import REFUSED_HOLD_S
from schwabot.modes.live_rows import AtOnce
from schwabot.modes.opening import compile_by
from schwabot.modes.replay import sinks_of
from schwabot.records.audit import SignalColumns
from schwabot.records.market import Row, Ticks
from schwabot.records.order import Report, Request
from schwabot.signals.builtin.threshold import threshold
from schwabot.signals.compiling import compile_policy
from schwabot.simulation.recorder import MarketRecorder
from schwabot.simulation.settings import SimulationConfig
from schwabot.sinks.base import RunHeader
from schwabot.sinks.console import ConsoleSink
from schwabot.sinks.gpu_telemetry import GpuTelemetry
from schwabot.sinks.progress import Progress
from schwabot.ticks.ccxt_feed import CcxtFeed
from schwabot.ticks.ccxt_settings import CcxtConfig
from schwabot.ticks.ccxt_tap import Tap
from schwabot.ticks.live_queue import LiveQueue
from schwabot.venues.loopback.urls import KEY, SECRET, ccxt_options

SECONDS, QUICK_SECONDS = 120.0, 15.0
P50_MS = 3.0
STREAMS = ["binance:BTC/USDT", "binanceusdm:BTC/USDT:USDT", "binancecoinm:BTC/USD:BTC"]
TRADED = "binanceusdm:BTC/USDT:USDT"
PARTS = (
    "aiohttp, ccxt: frame to message", "ccxt: handler", "ours: row", "thread: to the engine", "clock, graph",
    "policy, risk", "journal", "thread: to the gateway", "ours: noted as sent", "ccxt, aiohttp: to the wire",
)  # fmt: skip
OF_CCXT = (0, 1, 9)

SERVE = """
import sys, time
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.venues.loopback import LoopbackExchange
feed = SyntheticFeed(SyntheticConfig(events=10**12, start_ns=time.time_ns()))
with LoopbackExchange(feed, deposits={"USDT": "1000000"}) as exchange:
    print(exchange.port, flush=True)
    sys.stdin.read()
"""


@contextmanager
def loopback() -> Iterator[int]:
    """A loopback exchange in a process of its own; its port."""
    server = subprocess.Popen(
        [sys.executable, "-c", SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        yield int(server.stdout.readline())
    finally:
        server.stdin.close()
        server.wait()


class Stamps:
    """Notes when a frame, the row that it makes and the order that follows pass each place, time.time_ns()."""

    def __init__(self) -> None:
        self.of_row: dict[int, list[int]] = {}
        self.of_order: dict[str, list[int]] = {}
        self._frame = [0, 0]
        self._taken_ns = 0
        self._stack = ExitStack()

    def __enter__(self) -> Stamps:
        import aiohttp
        from aiohttp.client_proto import ResponseHandler
        from ccxt.async_support.base.ws.client import Client

        trace = aiohttp.TraceConfig()
        trace.on_request_chunk_sent.append(self._written)
        self._before(ResponseHandler, "data_received", self._read)
        self._before(Client, "handle_message", self._decoded)
        self._before(Tap, "_hand_on", self._handled)
        self._before(LiveQueue, "put", self._put)
        self._before(LivePipeline, "_hear", self._taken)
        self._after(Ledger, "intend", lambda ledger, request, now_ns: self.order(request))
        self._before(OrderDesk, "begin", lambda desk, request: self.order(request))
        self._before(CcxtAccount, "place", lambda account, request, lots: self.order(request))
        session = aiohttp.ClientSession.__init__
        self._stack.enter_context(
            patch.object(aiohttp.ClientSession, "__init__", lambda *args, **given: session(
                *args, **{"trace_configs": [trace], **given}))
        )  # fmt: skip
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _before(self, owner: type, name: str, note: Callable[..., None]) -> None:
        function = getattr(owner, name)

        def noted(*args: Any, **given: Any) -> Any:
            note(*args, **given)
            return function(*args, **given)

        self._stack.enter_context(patch.object(owner, name, noted))

    def _after(self, owner: type, name: str, note: Callable[..., None]) -> None:
        function = getattr(owner, name)

        def noted(*args: Any, **given: Any) -> Any:
            answer = function(*args, **given)
            note(*args, **given)
            return answer

        self._stack.enter_context(patch.object(owner, name, noted))

    def _read(self, protocol: Any, data: bytes) -> None:
        protocol.read_ns = time.time_ns()

    def _decoded(self, client: Any, message: Any) -> None:
        if (protocol := client.connection._conn.protocol) is not None:  # closing otherwise
            self._frame = [protocol.read_ns]

    def _handled(self, tap: Any, exchange: Any, client: Any) -> None:
        self._frame = [self._frame[0], time.time_ns()]

    def _put(self, queue: Any, row: tuple[int, ...]) -> None:
        self.of_row[row[0]] = [self._frame[0], row[0], self._frame[-1], time.time_ns()]

    def _taken(self, pipeline: Any, ticks: Ticks) -> None:
        self._taken_ns = time.time_ns()

    def asked(self, request: Request, graph_ns: int) -> None:
        """The gate has approved a request."""
        self.of_order[request.client_id] = [*self.of_row[request.ts_ns], self._taken_ns, graph_ns, time.time_ns()]

    def order(self, request: Request) -> None:
        """A request passed the next place."""
        self.of_order[request.client_id].append(time.time_ns())

    async def _written(self, session: Any, context: Any, params: Any) -> None:
        found = re.search(rb"newClientOrderId=([^&]+)", params.chunk)
        if params.method == "POST" and found is not None and (marks := self.of_order.get(found[1].decode())):
            marks.append(time.time_ns())


class Noted:
    """The gateway, with a note of when a request comes."""

    def __init__(self, inner: CcxtGateway, stamps: Stamps) -> None:
        self.graph_ns = 0
        self._inner, self._stamps = inner, stamps

    def send(self, request: Request) -> None:
        self._stamps.asked(request, self.graph_ns)
        self._inner.send(request)

    def reports(self) -> Sequence[Report]:
        return self._inner.reports()


def live_run(port: int, seconds: float, stamps: Stamps) -> dict[str, Any]:
    """A live run as the live modes put it together; what became of its orders."""
    options = {stream.partition(":")[0]: ccxt_options(stream.partition(":")[0], port) for stream in STREAMS}
    keys = {"apiKey": KEY, "secret": SECRET}
    quiet = Progress(enabled=False)
    with tempfile.TemporaryDirectory() as name, CcxtFeed(
        CcxtConfig(streams=STREAMS), options=options, seconds=seconds
    ) as feed:  # fmt: skip
        instruments = feed.instruments
        traded = next(one for one in instruments if one.stream == TRADED)
        recorder = MarketRecorder(compile_policy(threshold), instruments, [TRADED], SimulationConfig())
        pipeline = LivePipeline(instruments)
        compile_by(lambda quote: LivePipeline(instruments).step(quote), instruments, say=False)
        journal, gate = Journal(Path(name) / "journal.db"), RiskGate(RiskConfig(), [traded])
        venue_options = {traded.venue: options[traded.venue] | keys}
        with CcxtGateway([traded], venue_options, journal, gate, "sbbench") as gateway:
            noted = Noted(gateway, stamps)
            gated = RiskGateway(noted, gate, instruments, time.time_ns, REFUSED_HOLD_S)
            broker = VenueBroker(recorder, {"lots": 5, "max_lots": 5}, gated, "sbbench")

            def on_row(row: Row, signals: SignalColumns) -> None:
                noted.graph_ns = time.time_ns()
                gated.observe(row, signals)
                broker.row(row, signals)

            pipeline.on_row = on_row
            sinks = [
                one for one in sinks_of(RunConfig(), quiet, GpuTelemetry(None)) if not isinstance(one, ConsoleSink)
            ]
            header = RunHeader(Path(name), "bench", "cpu", "loopback", instruments)
            summary = engine.run(
                feed, pipeline, header, clock=LiveClock(), broker=AtOnce(broker, 200_000), sinks=sinks, progress=quiet
            )
            wrong = gateway.check()
        fills = len(journal.fills())
        journal.close()
    if wrong or gate.changes:
        raise RedError(f"{wrong}; {gate.changes}")
    return {
        "events": summary["events"], "feed": feed.summary(), "fills": fills,
        "refused": {str(reason): count for reason, count in gate.refused.items()},
    }  # fmt: skip


def run(*, quick: bool) -> Finding:
    seconds = QUICK_SECONDS if quick else SECONDS
    with loopback() as port, Stamps() as stamps:
        cpu_s = time.process_time()
        said = live_run(port, seconds, stamps)
        cpu_s = time.process_time() - cpu_s
    whole = [marks for marks in stamps.of_order.values() if len(marks) == len(PARTS) + 1]
    if len(whole) < 10:
        raise RedError(f"{len(whole)} orders of {len(stamps.of_order)} reached the wire; {said}")
    parts = np.diff(np.array(whole), axis=1) / 1e6
    total = parts.sum(axis=1)
    lines = [
        {"from → to": what, **{f"p{q} ms": f"{np.percentile(values, q):.3f}" for q in (50, 90, 99)},
         "of all": f"{values.sum() / total.sum():.0%}"}
        for what, values in [*zip(PARTS, parts.T, strict=True), ("frame → order on the wire", total)]
    ]  # fmt: skip
    middle = float(np.percentile(total, 50))
    ccxt = parts[:, OF_CCXT].sum() / total.sum()
    lag = said["feed"]
    return Finding(
        lines,
        [("frame to order on the wire, p50", f"{middle:.2f} ms", f"{P50_MS:.0f} ms", middle <= P50_MS)],
        [
            f"{len(whole)} orders, {said['fills']} fills, {said['events']:,} rows; the gate refused {said['refused']}.",
            f"Of the time, ccxt and aiohttp are {ccxt:.0%}.",
            f"From receipt to the engine, all rows: p50 {lag['lag_p50_ms']:.2f} ms, p99 {lag['lag_p99_ms']:.2f} ms.",
            f"{cpu_s:.0f} s of CPU time in {seconds:.0f} s, start included.",
            "The exchange is another process on the same machine.",
        ],
    )
