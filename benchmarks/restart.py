"""How long after its start does a process trade again, with 10,000 orders in its journal?

The journal has 10,000 filled orders of an earlier session and, at the loopback exchange, eight that are open. A process
starts: interpreter and imports, `CcxtFeed` with its markets, policy, graph from the cache on disk, `CcxtGateway` with
recovery (open orders looked up and cancelled, fills fetched, books compared), then rows, one of which is decided on. In
the other run one more order left just before the crash and its answer was lost; it never arrived. It can be given up
only once it can't arrive any more: `recv_window_ms` (3 s unless set) and half a second after the journal says it left.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.live_orders import loopback
from benchmarks.measure import ROOT, Finding, RedError

ORDERS, OPEN = 10_000, 8
MOST_S = 5.0
STREAM = "binance:BTC/USDT"
STREAMS = [STREAM, "binanceusdm:BTC/USDT:USDT", "binancecoinm:BTC/USD:BTC"]
HOUR_NS = 3_600_000_000_000


def start(port: int, file: str, session: str, began_s: float) -> dict[str, Any]:
    """A live run up to its first decision; when each part was done, s after ``began_s``, and what was found."""
    from schwabot.execution.ccxt_gateway import CcxtGateway
    from schwabot.execution.journal import Journal
    from schwabot.execution.risk import RiskGate
    from schwabot.execution.risk_gateway import RiskGateway
    from schwabot.execution.settings import RiskConfig
    from schwabot.execution.venue import VenueBroker
    from schwabot.live_pipeline import LivePipeline
    from schwabot.records.audit import SignalColumns
    from schwabot.records.market import Row
    from schwabot.signals.builtin.threshold import threshold
    from schwabot.signals.compiling import compile_policy
    from schwabot.simulation.recorder import MarketRecorder
    from schwabot.simulation.settings import SimulationConfig
    from schwabot.ticks.ccxt_feed import CcxtFeed
    from schwabot.ticks.ccxt_settings import CcxtConfig
    from schwabot.venues.loopback.urls import KEY, SECRET, ccxt_options

    done = {"imports": time.time() - began_s}

    def part(name: str) -> None:
        done[name] = time.time() - began_s

    options = {stream.partition(":")[0]: ccxt_options(stream.partition(":")[0], port) for stream in STREAMS}
    journal = Journal(Path(file))  # first, as mode=live does: from here on nobody else sends
    with CcxtFeed(CcxtConfig(streams=STREAMS), options=options) as feed:
        part("feed")
        instruments = feed.instruments
        traded = next(one for one in instruments if one.stream == STREAM)
        recorder = MarketRecorder(compile_policy(threshold), instruments, [STREAM], SimulationConfig())
        part("policy")
        gate = RiskGate(RiskConfig(), [traded])
        keys = options[traded.venue] | {"apiKey": KEY, "secret": SECRET}
        decided: list[int] = []
        with CcxtGateway([traded], {traded.venue: keys}, journal, gate, session) as gateway:
            part("recovery")
            broker = VenueBroker(recorder, {}, RiskGateway(gateway, gate, instruments, time.time_ns), session)

            def on_row(row: Row, signals: SignalColumns) -> None:
                broker.row(row, signals)
                decided.append(row.stream)

            pipeline = LivePipeline(instruments, on_row=on_row)
            for ticks in feed.batches():
                pipeline.step(ticks)
                if decided:
                    part("graph, first decision")
                    break
            said = {"notes": len(gateway.notes), "changes": [change.why for change in gate.changes]}
        journal.close()
    return {"done": done, **said}


def make_journal(port: int, file: Path) -> None:
    """Begin counting, then write what an earlier session would have left; eight orders are really there."""
    from schwabot.execution.ccxt_gateway import CcxtGateway
    from schwabot.execution.journal import Journal
    from schwabot.execution.risk import RiskGate
    from schwabot.execution.settings import RiskConfig
    from schwabot.records.order import Action, Request
    from schwabot.ticks.ccxt_feed import CcxtFeed
    from schwabot.ticks.ccxt_settings import CcxtConfig
    from schwabot.venues.loopback.urls import KEY, SECRET, ccxt_options

    options = ccxt_options("binance", port)
    with CcxtFeed(CcxtConfig(streams=[STREAM]), options={"binance": options}) as feed:
        (one,) = feed.instruments
        touch = next(ticks for ticks in feed.batches() if len(ticks) and ticks.bid_ticks[0])
    bid, ask = int(touch.bid_ticks[0]), int(touch.ask_ticks[0])
    journal = Journal(file)
    keys = {"binance": options | {"apiKey": KEY, "secret": SECRET}}
    with CcxtGateway([one], keys, journal, RiskGate(RiskConfig(), [one]), "sbold") as gateway:
        for number in range(OPEN):
            name, now_ns = f"sbold-{number}", time.time_ns()
            gateway.send(Request(number, name, STREAM, Action.POST, 1, 100, bid // 2, -1, 0, now_ns, bid, ask))
        told = 0
        until_s = time.monotonic() + 10.0
        while told < OPEN and time.monotonic() < until_s:
            told += len(gateway.reports())
            time.sleep(0.01)
    journal.close()
    first_ns, numbers = time.time_ns() - HOUR_NS, range(OPEN, OPEN + ORDERS)
    with sqlite3.connect(file) as rows:
        rows.executemany(
            "INSERT INTO requests VALUES (?, 'sbold', ?, ?, 1, ?, 100, ?, -1, 0, ?, ?, ?, ?)",
            [(f"sbold-{n}", n, STREAM, 1 - 2 * (n % 2), bid, first_ns + n, bid, ask, first_ns + n) for n in numbers],
        )
        rows.executemany(
            "INSERT INTO transitions VALUES (NULL, ?, ?, ?, ?, ?, '')",
            [(f"sbold-{n}", state, first_ns + n, venue_id, lots) for n in numbers
             for state, venue_id, lots in (("sent", None, 0), ("filled", f"old{n}", 100))],
        )  # fmt: skip
        rows.executemany(
            "INSERT INTO fills VALUES (NULL, ?, ?, ?, ?, ?, 100, ?, 0, '0', 'USDT', ?, ?)",
            [(STREAM, f"old{n}", f"sbold-{n}", f"old{n}", 1 - 2 * (n % 2), bid, first_ns + n, first_ns + n)
             for n in numbers],
        )  # fmt: skip
    rows.close()


def lose_an_answer(file: Path) -> None:
    """An order that left now, and that the venue will never hear of."""
    now_ns, name = time.time_ns(), "sbold-lost"
    with sqlite3.connect(file) as rows:
        rows.execute(
            "INSERT INTO requests VALUES (?, 'sbold', ?, ?, 2, 1, 100, 5000000, -1, 0, ?, 5000000, 5000001, ?)",
            (name, ORDERS + OPEN, STREAM, now_ns, now_ns),
        )
        rows.execute("INSERT INTO transitions VALUES (NULL, ?, 'sent', ?, NULL, 0, '')", (name, now_ns))
    rows.close()


def run(*, quick: bool) -> Finding:
    lines, targets = [], []
    with loopback() as port, tempfile.TemporaryDirectory() as folder:
        for what, session, lost in (
            ("all answers known", "sbfirst", False), ("an answer lost", "sbsecond", True)
        ):  # fmt: skip
            file = Path(folder) / session / "journal.db"
            make_journal(port, file)
            if lost:
                lose_an_answer(file)
            command = [sys.executable, "-m", "benchmarks.restart", str(port), str(file), session, str(time.time())]
            process = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
            if process.returncode:
                raise RedError(f"the start failed: {process.stderr[-2000:]}")
            said = json.loads(process.stdout.strip().splitlines()[-1])
            if said["changes"] or said["notes"] < OPEN + lost:
                raise RedError(f"the start found {said}")
            done = said["done"]
            took = dict(zip(done, [0.0, *done.values()], strict=False))
            whole = max(done.values())
            lines.append({"start": what} | {f"{name} s": f"{at - took[name]:.2f}" for name, at in done.items()}
                         | {"trading after s": f"{whole:.2f}"})  # fmt: skip
            targets.append(
                (f"restart, {ORDERS:,} orders, {what}", f"{whole:.1f} s", f"{MOST_S:.0f} s", whole <= MOST_S)
            )
    return Finding(lines, targets, ["Compiled code is on disk. The exchange is another process on the same machine."])


if __name__ == "__main__":
    port_, file_, session_, began_ = sys.argv[1:]
    sys.stdout.write(json.dumps(start(int(port_), file_, session_, float(began_))) + "\n")
