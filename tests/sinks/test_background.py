"""Sinks on threads of their own: nothing is lost, nothing is reordered, and errors are told."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from schwabot.records.audit import StepRecord
from schwabot.sinks import background
from schwabot.sinks.background import BackgroundSink
from schwabot.sinks.base import RunHeader
from tests.server.making import header, records


class Slow:
    """A sink that writes when it is let."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.may, self.fails_at = threading.Event(), fails_at
        self.seen: list[StepRecord] = []
        self.threads: set[str] = set()
        self.ended: Mapping[str, Any] | None = None

    def open(self, header: RunHeader) -> None:
        self.header = header

    def write(self, record: StepRecord) -> None:
        assert self.may.wait(10.0)
        if len(self.seen) == self.fails_at:
            raise OSError(28, "No space left on device")
        self.seen.append(record)
        self.threads.add(threading.current_thread().name)

    def close(self, summary: Mapping[str, Any]) -> None:
        self.ended = summary


def test_who_writes_does_not_wait_and_the_end_has_everything_in_order(tmp_path: Path) -> None:
    slow = Slow()
    sink = BackgroundSink(slow)
    sink.open(header(tmp_path))
    for record in records():
        sink.write(record)
    assert slow.seen == []
    slow.may.set()
    sink.close({"events": 1})
    assert [id(one) for one in slow.seen] == [id(one) for one in records()]
    assert slow.ended == {"events": 1}
    assert slow.threads == {"Slow"}


def test_what_goes_wrong_is_raised_by_the_next_write_once_and_nothing_follows_it(tmp_path: Path) -> None:
    slow = Slow(fails_at=2)
    slow.may.set()
    sink = BackgroundSink(slow)
    sink.open(header(tmp_path))

    def write_on() -> None:
        for _ in range(1_000):
            sink.write(records()[0])
            threading.Event().wait(0.001)

    with pytest.raises(OSError, match="No space left"):
        write_on()
    sink.close({})
    assert (len(slow.seen), slow.ended) == (2, {})


def test_what_goes_wrong_last_is_raised_at_the_end(tmp_path: Path) -> None:
    slow = Slow(fails_at=0)
    sink = BackgroundSink(slow)
    sink.open(header(tmp_path))
    sink.write(records()[0])
    slow.may.set()
    with pytest.raises(OSError, match="No space left"):
        sink.close({})
    assert slow.ended == {}


def test_only_so_many_records_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "MOST_WAITING", 3)
    slow = Slow()
    sink = BackgroundSink(slow)
    sink.open(header(tmp_path))
    done = threading.Event()

    def write() -> None:
        for record in records()[:6]:
            sink.write(record)
        done.set()

    threading.Thread(target=write, daemon=True).start()
    assert not done.wait(0.2)
    slow.may.set()
    assert done.wait(5.0)
    sink.close({})
    assert len(slow.seen) == 6
