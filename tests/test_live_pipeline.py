"""A row at a time: the same signals as in batches, and every row is told before the next is looked at."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import pytest

from schwabot.live_pipeline import LivePipeline
from schwabot.pipeline import Pipeline
from schwabot.records.audit import SignalColumns, StepRecord
from schwabot.records.market import Kind, Row, Ticks
from schwabot.ticks.merge import cut
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed

FEED = SyntheticFeed(SyntheticConfig(events=1_500))
TICKS = next(FEED.batches(5_000))  # with depth among them


def equal(one: StepRecord, other: StepRecord) -> None:
    for field in fields(SignalColumns):
        found, wanted = getattr(other.signals, field.name), getattr(one.signals, field.name)
        np.testing.assert_array_equal(found, wanted, err_msg=field.name, strict=True)
    for name in ("ts_recv_ns", "ts_event_ns", "ts_venue_ns", "stream", "kind", "depth_rows", "first_event"):
        np.testing.assert_array_equal(getattr(other, name), getattr(one, name), err_msg=name)
    for part in ("decisions", "arbitrage", "drift_events"):
        for field in fields(getattr(one, part)):
            wanted = getattr(getattr(one, part), field.name)
            np.testing.assert_array_equal(getattr(getattr(other, part), field.name), wanted, err_msg=field.name)
    assert one.fallbacks == other.fallbacks


@pytest.mark.parametrize("batch", [1, 7, 400])
def test_the_same_bits_as_in_batches(batch: int) -> None:
    pipeline, live = Pipeline(FEED.instruments), LivePipeline(FEED.instruments)
    for start in range(0, 1_200, batch):
        ticks = cut(TICKS, start, min(start + batch, 1_200))
        equal(pipeline.step(ticks), live.step(ticks))
    equal(pipeline.finish(), live.finish())
    assert live.clock_summary() == pipeline.clock_summary()


def test_every_row_is_told_with_its_signals_and_venue_time() -> None:
    told: list[tuple[Row, dict[str, np.ndarray]]] = []

    def on_row(row: Row, signals: SignalColumns) -> None:
        told.append((row, {field.name: getattr(signals, field.name).copy() for field in fields(SignalColumns)}))

    live = LivePipeline(FEED.instruments, on_row=on_row)
    record = live.step(TICKS)
    rows = np.flatnonzero(TICKS.kind != Kind.DEPTH)
    assert [row.ts_recv_ns for row, _ in told] == TICKS.ts_recv_ns[rows].tolist()
    assert [row.ts_venue_ns for row, _ in told] == record.ts_venue_ns.tolist()
    assert [row.ask_ticks for row, _ in told] == TICKS.ask_ticks[rows].tolist()
    for name in (field.name for field in fields(SignalColumns)):
        seen = np.concatenate([signals[name] for _, signals in told])
        np.testing.assert_array_equal(seen, getattr(record.signals, name), err_msg=name, strict=True)


def test_an_error_of_who_decides_ends_the_step_there() -> None:
    def on_row(row: Row, signals: SignalColumns) -> None:
        raise RuntimeError("no more")

    live = LivePipeline(FEED.instruments, on_row=on_row)
    with pytest.raises(RuntimeError, match="no more"):
        live.step(TICKS)


def test_goes_on_from_a_saved_state(tmp_path) -> None:  # type: ignore[no-untyped-def]
    whole, first = LivePipeline(FEED.instruments), Pipeline(FEED.instruments)
    one, two = cut(TICKS, 0, 700), cut(TICKS, 700, len(TICKS))
    whole.step(one)
    first.step(one)
    first.save(tmp_path / "state")
    second = LivePipeline(FEED.instruments)
    second.step(cut(TICKS, 0, 100))
    second.load(tmp_path / "state")
    equal(whole.step(two), second.step(two))


def test_rows_are_told_at_once_and_records_hold_what_came_in_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schwabot.live_pipeline.RECORD_S", 1e9)
    monkeypatch.setattr("schwabot.live_pipeline.RECORD_ROWS", 300)
    told: list[int] = []
    live = LivePipeline(FEED.instruments, on_row=lambda row, signals: told.append(row.ts_recv_ns))
    pipeline, rows = Pipeline(FEED.instruments), np.flatnonzero(TICKS.kind != Kind.DEPTH)
    before = sys.getswitchinterval(), gc.get_freeze_count()

    def chunks() -> Iterator[Ticks]:
        assert sys.getswitchinterval() < before[0]
        assert gc.get_freeze_count() > before[1]
        for start in range(400):
            assert len(told) == np.sum(rows < start)  # nothing waits for what comes later
            yield cut(TICKS, start, start + 1)
        yield cut(TICKS, 0, 0)  # none came for a while
        yield cut(TICKS, 400, 500)

    answered = list(live.answers(chunks()))
    assert [len(ticks) for ticks, _ in answered] == [300, 100, 100]
    for (ticks, record), (start, end) in zip(answered, [(0, 300), (300, 400), (400, 500)], strict=True):
        np.testing.assert_array_equal(ticks.ts_recv_ns, TICKS.ts_recv_ns[start:end])
        equal(pipeline.step(cut(TICKS, start, end)), record)
    assert (sys.getswitchinterval(), gc.get_freeze_count()) == before
