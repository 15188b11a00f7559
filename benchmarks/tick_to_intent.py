"""How long after a row was taken from the queue is the order that it leads to approved, in process?

One row per batch, as a quiet live run has them, through what such a run is made of: queue, `engine.run`,
`LivePipeline` with the default graph, `RiskGateway` and `RiskGate`, `VenueBroker` with the
policy `threshold`, the default sinks. An intent is a request that the gate has approved, as it is handed to the
journal; the journal's commit (`synchronous=FULL`) stands beside it. The venue fills each order at the touch it was
decided on, with the next row. Rows without an intent are timed until the policy has said so, and every row until the
next one can be taken, with its StepRecord, sinks and sums. The first rows warm the memories and do not count; they
must have the ghosts of a replay, to the bit.

"At once": the next row waits already. "Paced": it comes 2 ms later, when the processor has slept and its caches have
other things in them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.captures import CAPTURES
from benchmarks.measure import Finding, RedError
from schwabot import engine
from schwabot.api import load
from schwabot.clock import LiveClock
from schwabot.config import RunConfig
from schwabot.execution.journal import Journal
from schwabot.execution.order_desk import Ledger
from schwabot.execution.risk import RiskGate
from schwabot.execution.risk_gateway import RiskGateway
from schwabot.execution.settings import RiskConfig
from schwabot.execution.venue import VenueBroker
from schwabot.live_pipeline import LivePipeline
from schwabot.modes.live_rows import AtOnce
from schwabot.modes.replay import sinks_of
from schwabot.pipeline import Pipeline
from schwabot.records.audit import FallbackEvent, SignalColumns
from schwabot.records.instrument import Instrument
from schwabot.records.market import Int64, Kind, Row, Ticks
from schwabot.records.order import Ending, Report, Request, Told
from schwabot.signals.builtin.threshold import threshold
from schwabot.signals.compiling import compile_policy
from schwabot.simulation.recorder import MarketRecorder
from schwabot.simulation.settings import SimulationConfig
from schwabot.sinks.base import RunHeader
from schwabot.sinks.console import ConsoleSink
from schwabot.sinks.gpu_telemetry import GpuTelemetry
from schwabot.sinks.progress import Progress
from schwabot.ticks.base import Feed
from schwabot.ticks.live_queue import LiveQueue
from schwabot.ticks.rows import RowTicks
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed

P50_US, P99_US = 60.0, 300.0
WARM = 20_000
PACE_S = 0.002
KEEP_ROWS = 200_000
LIMITS = RiskConfig(max_orders_per_s=50.0, order_burst=50)
"""The default ones but for the rate of orders, so that there are enough of them to time."""
MARKS = (50.0, 99.0, 99.9)

LiveRow = tuple[int, ...]


def now() -> tuple[int, int]:
    """Wall clock and CPU time of this thread, ns."""
    return time.perf_counter_ns(), time.thread_time_ns()


class Queued:
    """Rows that come one by one through a live run's queue; notes when each was taken, and when it was done with."""

    def __init__(self, instruments: tuple[Instrument, ...], rows: Sequence[LiveRow], *, paced: bool) -> None:
        self.instruments = instruments
        self.dropped: Mapping[str, int] = {}
        self.expected_events = len(rows)
        self.row = 0
        """The one that is being answered."""
        self.taken, self.done = (np.zeros((len(rows), 2), np.int64) for _ in range(2))
        self._rows, self._paced = rows, paced
        self._queue = LiveQueue(len(instruments), 100_000, 10_000)

    def progress(self) -> float:
        return 0.0

    def take_events(self) -> tuple[FallbackEvent, ...]:
        return ()

    def batches(self, max_events: int = 65_536) -> Iterator[Ticks]:
        for first in range(0, WARM, 1_000):
            yield RowTicks.of(self.instruments, list(self._rows[first : first + 1_000]))
        for number, row in enumerate(self._rows[WARM:], WARM):
            self._queue.put(row)
            if self._paced:
                time.sleep(PACE_S)
            self.taken[number] = now()
            yield RowTicks.of(self.instruments, self._queue.take(max_events, 1.0))
            self.done[number] = now()


class Venue:
    """Takes requests as a gateway to a venue does, and fills them with the next row."""

    def __init__(self, feed: Queued, ledger: Ledger) -> None:
        self.rows: list[int] = []
        self.sent: list[tuple[int, int]] = []
        self.kept: list[tuple[int, int]] = []
        self._feed, self._ledger = feed, ledger
        self._told: list[Report] = []

    def send(self, request: Request) -> None:
        self.sent.append(now())
        self._ledger.intend(request, time.time_ns())
        self.kept.append(now())
        self.rows.append(self._feed.row)
        touch = request.ask_ticks if request.side > 0 else request.bid_ticks
        filled = (request.number, request.ts_ns, request.number, request.lots, touch)
        self._told.append(Report(Told.FILL, *filled, ending=Ending.FILLED))

    def reports(self) -> list[Report]:
        told, self._told = self._told, []
        return told


@dataclass
class Market:
    """What is traded on: I instruments, the rows, the stream of the orders and their lots."""

    instruments: tuple[Instrument, ...]
    rows: list[LiveRow]
    stream: str
    lots: int


@dataclass
class Took:
    """From a row to its intent, from there to the journal's commit, to no intent, to the next row: wall, CPU, ns."""

    intent: Int64
    commit: Int64
    none: Int64
    row: Int64


def rows_of(feed: Feed, most: int) -> list[LiveRow]:
    """Quotes and trades, as the exchanges' thread hands them over."""
    rows: list[LiveRow] = []
    for ticks in feed.batches():
        columns = [getattr(ticks, name).tolist() for name in Row._fields[:-1]]
        rows += [row for row in zip(*columns, strict=True) if row[4] != Kind.DEPTH]
        if len(rows) >= most:
            break
    return rows[:most]


def took(market: Market, *, paced: bool) -> Took:
    """One run; the venue's answers come with the next row."""
    instruments, rows = market.instruments, market.rows
    feed, quiet = Queued(instruments, rows, paced=paced), Progress(enabled=False)
    recorder = MarketRecorder(compile_policy(threshold), instruments, [market.stream], SimulationConfig())
    decided, ghosts = np.zeros((len(rows), 2), np.int64), np.zeros(WARM)
    with tempfile.TemporaryDirectory() as name:
        journal = Journal(Path(name) / "journal.db")
        journal.begin("sbbench", 1)
        venue = Venue(feed, Ledger(journal, lambda what: None))
        gated = RiskGateway(venue, RiskGate(LIMITS, list(instruments)), instruments, lambda: rows[feed.row][0])
        broker = VenueBroker(recorder, {"lots": market.lots, "max_lots": market.lots}, gated, "sbbench")

        def on_row(row: Row, signals: SignalColumns) -> None:
            gated.observe(row, signals)
            broker.row(row, signals)
            decided[feed.row] = now()
            broker.rehearse(row, gated.rehearse)
            if feed.row < WARM:
                ghosts[feed.row] = signals.ghost_bp[0]
            feed.row += 1

        sinks = [one for one in sinks_of(RunConfig(), quiet, GpuTelemetry(None)) if not isinstance(one, ConsoleSink)]
        header = RunHeader(Path(name), "bench", "cpu", "rows", instruments, len(rows))
        pipeline = LivePipeline(instruments, on_row=on_row)
        engine.run(
            feed, pipeline, header, clock=LiveClock(), broker=AtOnce(broker, KEEP_ROWS), sinks=sinks, progress=quiet
        )
        journal.close()
    replayed = Pipeline(instruments).step(RowTicks.of(instruments, rows[:WARM]))
    if not np.array_equal(ghosts, replayed.signals.ghost_bp, equal_nan=True):
        raise RedError("the live rows have other ghosts than a replay")
    at = np.array(venue.rows)
    late = at >= WARM
    if not late.any():
        raise RedError(f"{late.sum()} intents; refused: {gated.gate.refused}, {[*gated.said.values()][:3]}")
    sent = np.array(venue.sent)[late]
    others = np.setdiff1d(np.arange(WARM, len(rows)), at)
    return Took(
        sent - feed.taken[at[late]],
        np.array(venue.kept)[late] - sent,
        (decided - feed.taken)[others],
        (feed.done - feed.taken)[WARM:],
    )


def markets(*, quick: bool) -> dict[str, Market]:
    """The default synthetic market, and the three BTC captures where they are there."""
    rows = WARM + (5_000 if quick else 60_000)
    synthetic = SyntheticFeed(SyntheticConfig(events=2 * rows))
    linear = next(one for one in synthetic.instruments if not one.is_spot and not one.inverse)
    found = {"synthetic": Market(synthetic.instruments, rows_of(synthetic, rows), linear.stream, 10)}
    if CAPTURES.is_dir() and not quick:
        capture = load(f"{CAPTURES}/binance/*/btc*.gz")
        taken = rows_of(capture, rows)
        found["three BTC captures"] = Market(capture.instruments, taken, "binanceusdm:BTC/USDT:USDT", 10)
    return found


def run(*, quick: bool) -> Finding:
    few = WARM + (2_000 if quick else 20_000)
    lines, targets = [], []
    for name, market in markets(quick=quick).items():
        short = Market(market.instruments, market.rows[:few], market.stream, market.lots)
        for how, given, paced in (("at once", market, False), ("paced", short, True)):
            spent = took(given, paced=paced)
            for what, values in (
                ("row → intent", spent.intent), ("intent → on the platter", spent.commit),
                ("row → no intent", spent.none), ("row → next row", spent.row),
            ):  # fmt: skip
                marks, cpu = np.percentile(values, MARKS, axis=0).T / 1e3
                lines.append(
                    {"rows": f"{name}, {how}", "from → to": what, "n": f"{len(values):,}"}
                    | {f"p{q:g} us": f"{mark:.0f}" for q, mark in zip(MARKS, marks, strict=True)}
                    | {f"CPU p{q:g} us": f"{mark:.0f}" for q, mark in zip(MARKS[:2], cpu[:2], strict=True)}
                )
                if values is spent.intent:
                    for q, mark, wanted in zip((50, 99), marks[:2], (P50_US, P99_US), strict=True):
                        targets.append((f"tick to intent, {name}, {how}, p{q}", f"{mark:.1f} us", f"{wanted:.0f} us",
                                        bool(mark <= wanted)))  # fmt: skip
    return Finding(
        lines,
        targets,
        [
            f"After {WARM:,} rows of warm-up. What the gate refused, most for its rate, counts as no intent.",
            "The journal is in the system's temporary folder. CPU time includes the clock's own call, about 0.3 us.",
        ],
    )
