"""The loop: nothing depends on how it is cut, and nothing done is lost when it ends early."""

from __future__ import annotations

import errno
import io
import os
import signal
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from schwabot import engine
from schwabot.clock import ReplayClock
from schwabot.engine import StopRequest, WatchedFeed
from schwabot.errors import CrossedQuoteError, DeviceError
from schwabot.modules.device_graph import DeviceGraph
from schwabot.modules.graph import Graph
from schwabot.pipeline import Pipeline
from schwabot.records.alert import Alert, Level
from schwabot.records.audit import FallbackEvent, StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Kind, Ticks
from schwabot.sinks.base import RunHeader
from schwabot.sinks.notes import alert_note
from schwabot.sinks.progress import Progress
from schwabot.tally import Tally, default_reference
from schwabot.ticks.merge import blank
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot_kernels.graph.op import graph as graph_op

CONFIG = SyntheticConfig(events=4000, streams=3)


class Kept:
    """A sink that keeps what it is told."""

    def __init__(self) -> None:
        self.records: list[StepRecord] = []
        self.summary: Mapping[str, Any] | None = None

    def open(self, header: RunHeader) -> None:
        self.header = header

    def write(self, record: StepRecord) -> None:
        self.records.append(record)

    def close(self, summary: Mapping[str, Any]) -> None:
        assert self.summary is None, "closed twice"
        self.summary = summary


class Troubled(SyntheticFeed):
    """A synthetic feed to which something happens after its second batch."""

    def __init__(self, config: SyntheticConfig, trouble: object) -> None:
        super().__init__(config)
        self.trouble = trouble

    def batches(self, max_events: int = 65_536) -> Iterator[Ticks]:
        for number, ticks in enumerate(super().batches(max_events)):
            if number == 2:
                if isinstance(self.trouble, BaseException):
                    raise self.trouble
                assert isinstance(self.trouble, signal.Signals)
                os.kill(os.getpid(), self.trouble)
            yield ticks


class Telling(SyntheticFeed):
    """A synthetic feed that waits after every batch, and has something to tell after the first and at its end."""

    def __init__(self, config: SyntheticConfig) -> None:
        super().__init__(config)
        self.events: list[FallbackEvent] = []

    def take_events(self) -> tuple[FallbackEvent, ...]:
        told, self.events = self.events, []
        return tuple(told)

    def batches(self, max_events: int = 65_536) -> Iterator[Ticks]:
        for number, ticks in enumerate(super().batches(max_events)):
            yield ticks
            if number == 0:
                self.events.append(FallbackEvent(1, "feed.a", "websocket", "rest", "closed"))
            yield blank(self.instruments, 0)
            yield blank(self.instruments, 0)
        self.events.append(FallbackEvent(2, "feed.a", "rest", "dropped", "closed, too"))


def run(
    feed: SyntheticFeed, batch_events: int = 65_536, edge: int | None = None, **options: Any
) -> tuple[dict[str, Any], Kept]:
    """A run, with an ``edge`` as on a device."""
    kept = Kept()
    header = RunHeader(Path(), "replay", "cpu", "test", feed.instruments)
    graph = Pipeline(feed.instruments)
    if edge is not None:
        graph.run_on(DeviceGraph(graph.graph, torch.device("cpu"), graph.state, edge=edge, most_edges=1))
    clock = ReplayClock()
    summary = engine.run(feed, graph, header, clock=clock, sinks=[kept], batch_events=batch_events, **options)
    assert kept.summary == summary
    return summary, kept


def facts(summary: dict[str, Any]) -> dict[str, Any]:
    """What must not depend on time or batches."""
    return {k: v for k, v in summary.items() if k not in ("wall_s", "loop_s", "events_per_s", "peak_rss_mib")}


@pytest.mark.parametrize(("batch_events", "edge"), [(7, None), (1000, None), (300, 512)])
def test_batches_change_no_number(batch_events: int, edge: int | None) -> None:
    whole, _ = run(SyntheticFeed(CONFIG))
    cut, kept = run(SyntheticFeed(CONFIG), batch_events, edge)
    assert len(kept.records) > 4
    assert facts(cut) == facts(whole)
    assert whole["events"] == 4000 == whole["quotes"] + whole["trades"] == sum(whole["lanes"].values())


def test_a_feed_that_waits_and_has_something_to_tell() -> None:
    whole, usual = run(SyntheticFeed(CONFIG), 1000)
    summary, kept = run(Telling(CONFIG), 1000)
    told = [(len(record.ts_recv_ns), record.fallbacks) for record in kept.records]
    fallbacks = [one for _, found in told for one in found if one.component == "feed.a"]
    assert [(one.before, one.after) for one in fallbacks] == [("websocket", "rest"), ("rest", "dropped")]
    assert told[1] == (0, tuple(fallbacks[:1]))  # at once, and not with the next rows
    assert len(told) == len(usual.records) + 1  # where there is nothing to tell, there is no record
    assert facts(summary) | {"fallbacks": 0} == facts(whole) | {"fallbacks": 0}
    assert summary["fallbacks"] == whole["fallbacks"] + 2


@pytest.mark.parametrize("on_device", [False, True])
def test_a_batch_of_no_rows_changes_nothing(on_device: bool) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=1_500, streams=2))
    graphs = [Pipeline(feed.instruments) for _ in range(2)]
    for one in graphs:
        if on_device:
            one.run_on(DeviceGraph(one.graph, torch.device("cpu"), one.graph.initial_state(), call=graph_op))
    for ticks in feed.batches(500):
        records = [one.step(ticks) for one in graphs]
        assert np.array_equal(records[0].signals.ghost_bp, records[1].signals.ghost_bp, equal_nan=True)
        empty = graphs[1].step(blank(feed.instruments, 0))
        assert (len(empty.ts_recv_ns), len(empty.decisions.ts_ns), empty.fallbacks) == (0, 0, ())
    done, cut = (one.state for one in graphs)
    assert done.keys() == cut.keys()
    for name in done.keys() - {"pipeline.batches"}:
        assert torch.equal(done[name].nan_to_num(), cut[name].nan_to_num()), name


def test_counts_by_hand() -> None:
    instruments = (Instrument("a:X/Y", 0.5, 0.1), Instrument("b:X/Y:Y", 0.01, 1.0))
    n = 6
    kind = np.array([Kind.QUOTE, Kind.TRADE, Kind.QUOTE, Kind.DEPTH, Kind.QUOTE, Kind.TRADE], np.int8)
    long = lambda *values: np.array(values, np.int64)  # noqa: E731
    ticks = Ticks(
        instruments=instruments,
        ts_recv_ns=long(0, 20, 1_000_000_000, 1_000_000_040, 2_000_000_000, 5_000_000_000),
        ts_event_ns=np.full(n, MISSING_NS),
        ts_emit_ns=np.full(n, MISSING_NS),
        stream=np.array([0, 0, 1, 0, 0, 1], np.int32),
        kind=kind,
        bid_ticks=long(199, 0, 9999, 1, 200, 0),
        ask_ticks=long(201, 0, 10001, 3, 202, 0),
        bid_lots=long(3, 0, 7, 9, 5, 0),
        ask_lots=long(4, 0, 8, 9, 6, 0),
        price_ticks=long(0, 200, 0, 0, 0, 9000),
        qty_lots=long(0, 1, 0, 0, 0, 1),
        side=np.array([0, 1, 0, 0, 0, -1], np.int8),
    )
    tally = Tally(instruments)
    tally.update(ticks, Pipeline(instruments).step(ticks))
    summary = tally.summary({"a:X/Y": {"clock_offset_ms": 1.5, "clock_drift_ppm": None, "feed_delay_median_ms": 2.0}})
    assert (summary["events"], summary["quotes"], summary["trades"], summary["span_s"]) == (5, 3, 2, 5.0)
    assert summary["reference"] == "a:X/Y"
    spot, perpetual = summary["streams"]["a:X/Y"], summary["streams"]["b:X/Y:Y"]
    assert (spot["events"], perpetual["events"]) == (3, 2)
    assert spot["book"] == {"bid": 100.0, "bid_qty": 0.5, "ask": 101.0, "ask_qty": 0.6}
    assert perpetual["book"] == {"bid": 99.99, "bid_qty": 7.0, "ask": 100.01, "ask_qty": 8.0}
    assert (spot["clock_offset_ms"], perpetual["clock_offset_ms"]) == (1.5, None)
    # both are seen from 1 s on: mids 100 and 100 for 1 s, then 100.5 and 100 for 3 s
    assert (spot["route"], perpetual["route"]) == ("stale", "stale")  # last quoted 3 and 4 s before the end
    assert perpetual["basis_bp"] == pytest.approx(1e4 * np.log(100 / 100.5) * 3 / 4, rel=1e-9)
    assert spot["basis_bp"] == 0.0


def test_flags_are_counted_by_the_rows_own_stream() -> None:
    feed = SyntheticFeed(replace(CONFIG, streams=2))
    ticks = next(iter(feed.batches(4)))
    record = Pipeline(feed.instruments).step(ticks)
    n = len(record.stream)
    assert n == 4
    pays = np.zeros((n, 2), np.int8)
    pays[[0, 1, 2], record.stream[:3]] = 1
    pays[3, 1 - record.stream[3]] = 1  # the other stream's
    penalty = np.array([np.nan, record.reentry_penalty, record.reentry_penalty + 1e-9, 1.0])
    record = replace(record, signals=replace(record.signals, pays_fees=pays, penalty=penalty))
    tally = Tally(feed.instruments)
    tally.update(ticks, record)
    tally.update(ticks, record)
    summary = tally.summary({})
    assert (summary["pays_fees"], summary["avoid_reentry"]) == (6, 4)


def test_memory_comes_with_the_end() -> None:
    summary, kept = run(SyntheticFeed(CONFIG), batch_events=1000)
    assert {record.memory is None for record in kept.records[:-1]} == {True}
    memory = kept.records[-1].memory
    assert memory is not None
    assert set(memory.table.tolist()) == set(range(16))
    assert 0 < memory.count.sum() <= 2 * 16 * summary["events"]


def test_reference_is_the_first_spot_stream() -> None:
    perpetual, spot, later = (Instrument(name, 1.0, 1.0) for name in ("a:X/Y:Y", "b:X/Y", "c:X/Y"))
    assert default_reference((perpetual, spot, later)) == "b:X/Y"
    assert default_reference((perpetual,)) == "a:X/Y:Y"


@pytest.mark.parametrize(
    ("number", "edge", "batches"), [(signal.SIGINT, None, 3), (signal.SIGTERM, None, 3), (signal.SIGINT, 512, 1)]
)
def test_a_signal_ends_after_the_batch_and_keeps_what_was_done(
    number: signal.Signals, edge: int | None, batches: int, capfd: Any
) -> None:
    before = signal.getsignal(number)
    summary, kept = run(Troubled(CONFIG, number), batch_events=500, edge=edge)
    assert summary["interrupted"]
    whole, _ = run(SyntheticFeed(CONFIG))
    assert 0 < summary["events"] < whole["events"]
    assert summary["events"] == sum(len(record.ts_recv_ns) for record in kept.records)
    assert len(kept.records) == batches + 1  # and what was waiting; on a device the batch that was read ahead is left
    assert signal.getsignal(number) is before
    assert "stopping after this batch" in capfd.readouterr().err


def test_a_second_signal_stops_at_once() -> None:
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.wanted
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_keyboard_interrupt_from_within_keeps_what_was_done() -> None:
    summary, kept = run(Troubled(CONFIG, KeyboardInterrupt()), batch_events=500)
    assert summary["interrupted"]
    assert len(kept.records) == 2


@pytest.mark.parametrize("edge", [None, 512, 131_072])
def test_bad_input_ends_the_run_but_not_the_files(edge: int | None) -> None:
    kept = Kept()
    feed = Troubled(CONFIG, CrossedQuoteError("bid 5 above ask 4", file="x.gz", line=7))
    header = RunHeader(Path(), "replay", "cpu", "test", feed.instruments)
    graph = Pipeline(feed.instruments)
    if edge is not None:
        graph.run_on(DeviceGraph(graph.graph, torch.device("cpu"), graph.state, edge=edge, most_edges=1))
    with pytest.raises(CrossedQuoteError):
        engine.run(feed, graph, header, clock=ReplayClock(), sinks=[kept], batch_events=500)
    assert kept.summary is not None
    assert kept.summary["error"] == "x.gz:7: bid 5 above ask 4"
    read = [ticks for _, ticks in zip(range(2), SyntheticFeed(CONFIG).batches(500), strict=False)]
    assert kept.summary["events"] == sum(int((ticks.kind != Kind.DEPTH).sum()) for ticks in read)
    assert kept.summary["events"] == sum(len(record.ts_recv_ns) for record in kept.records)


class Full(Kept):
    """Finds its disk full at the end."""

    def close(self, summary: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "records.parquet")


@pytest.mark.parametrize("error", [None, CrossedQuoteError("bid 5 above ask 4")])
def test_a_file_that_can_not_be_written_does_not_cost_the_others(error: Exception | None) -> None:
    kept = Kept()
    feed = SyntheticFeed(CONFIG) if error is None else Troubled(CONFIG, error)
    header = RunHeader(Path(), "replay", "cpu", "test", feed.instruments)
    with pytest.raises(OSError if error is None else CrossedQuoteError):
        engine.run(
            feed, Pipeline(feed.instruments), header, clock=ReplayClock(), sinks=[Full(), kept], batch_events=500
        )
    assert kept.summary is not None


def test_watched_feed_is_the_feed() -> None:
    feed = SyntheticFeed(CONFIG)
    with StopRequest() as stop:
        watched = WatchedFeed(feed, Progress(enabled=False), stop)
        assert watched.instruments == feed.instruments
        total = 0
        for ticks in watched.batches(1000):
            total += len(ticks)
            stop.wanted = total >= 2000
    assert 2000 <= total < 4000
    assert int(watched.tally.events.sum()) <= total
    assert watched.dropped == {}


def test_locked_windows_that_overlap_count_once() -> None:
    """0 to 4 s, 1 to 2 s and 3 to 6 s, then 8 to 9 s: 7 s of the run, 2 s the median one."""
    from tests.sinks.making import INSTRUMENTS, records

    record = records(3)[0]
    s = 10**9
    windows = replace(
        record.arbitrage,
        locked=np.ones(5, np.int8) * np.array([1, 1, 1, 1, 0], np.int8),
        legs=np.tile(np.array([0, 1, -1, -1], np.int32), (5, 1)),
        sides=np.tile(np.array([1, -1, 0, 0], np.int8), (5, 1)),
        start_ns=np.array([1, 0, 3, 8, 0]) * s,
        end_ns=np.array([2, 4, 6, 9, 99]) * s,
        start_bp=np.ones(5),
        edge_bp=np.ones(5),
        qty=np.ones(5),
        realised_left_bp=np.array([1.0, np.nan, -2.0, 0.5, 7.0]),
    )
    tally = Tally(INSTRUMENTS)
    tally.update(None, replace(record, arbitrage=windows))
    said = tally.summary({})
    assert said["arbitrage"] == {
        "locked": 4, "basis": 1, "locked_s": 7.0, "locked_median_ms": 2_000.0, "realised_edge_left_median_bp": 0.5,
    }  # fmt: skip
    assert said["streams"][INSTRUMENTS[0].stream]["arbitrage"] == {"locked": 4, "basis": 1}


def test_a_device_that_fails_is_named_once_and_the_run_goes_on() -> None:
    calls = []

    def fails(*given: Any) -> list[torch.Tensor]:
        calls.append(given)
        if len(calls) == 3:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nFor debugging ...")
        return graph_op(*given)

    def run(device: DeviceGraph | None) -> tuple[Kept, str]:
        feed = SyntheticFeed(CONFIG)
        pipeline, kept, said = Pipeline(feed.instruments), Kept(), io.StringIO()
        if device is not None:
            pipeline.run_on(device)
        header = RunHeader(Path("."), "replay", "cuda:0", "synthetic", feed.instruments)
        progress = Progress(enabled=False, stream=said)
        engine.run(feed, pipeline, header, clock=ReplayClock(), sinks=[kept], batch_events=900, progress=progress)
        return kept, said.getvalue()

    graph = Graph(SyntheticFeed(CONFIG).instruments)
    plain, _ = run(None)
    kept, said = run(DeviceGraph(graph, torch.device("cpu"), graph.initial_state(), edge=300, most_edges=3, call=fails))
    assert said.count("warning: ") == said.count("\n") == 1
    assert "cpu failed (RuntimeError: CUDA error: an illegal memory access was encountered)" in said
    assert plain.summary is not None
    assert kept.summary is not None
    assert kept.summary["device"] == "cpu, then cpu"
    assert kept.summary["notes"] == [said.strip()]
    assert kept.summary["fallbacks"] == plain.summary["fallbacks"] + 1
    timing = {"wall_s", "loop_s", "events_per_s", "peak_rss_mib", "notes", "fallbacks", "device"}
    assert {k: v for k, v in kept.summary.items() if k not in timing} == {
        k: v for k, v in plain.summary.items() if k not in timing
    }


def test_a_required_device_that_fails_ends_the_run_and_what_was_done_is_kept() -> None:
    calls = []

    def fails(*given: Any) -> list[torch.Tensor]:
        calls.append(given)
        if len(calls) == 3:
            raise RuntimeError("CUDA error: unspecified launch failure")
        return graph_op(*given)

    feed, kept = SyntheticFeed(CONFIG), Kept()
    pipeline = Pipeline(feed.instruments)
    pipeline.run_on(
        DeviceGraph(
            pipeline.graph, torch.device("cpu"), pipeline.graph.initial_state(), edge=300, most_edges=3, call=fails
        )
    )
    header = RunHeader(Path(), "replay", "cuda:0", "synthetic", feed.instruments)
    with pytest.raises(DeviceError, match="device cpu is required and failed: RuntimeError: CUDA error: unspecified"):
        engine.run(
            feed, pipeline, header, clock=ReplayClock(), sinks=[kept], batch_events=900, device_required=True
        )  # fmt: skip
    assert kept.summary is not None
    assert (len(kept.records), len(calls)) == (2, 3)
    assert kept.summary["device"] == "cuda:0"  # none of what is kept is the CPU's
    assert kept.summary["events"] == sum(len(record.stream) for record in kept.records)
    assert "is required and failed" in kept.summary["error"]


def test_what_somebody_typed_elsewhere_begins_no_line_and_moves_no_cursor() -> None:
    alert = Alert(5, Level.ERROR, "halt", "trading is halted: ann: a\nerror: forged\x1b[2J → ok")
    assert alert_note(alert) == r"warning: halt: trading is halted: ann: a\nerror: forged\x1b[2J → ok"
