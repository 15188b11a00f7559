"""Rows to the engine: in order, bounded, quotes before trades, and nothing given up in silence."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot.records.market import Kind
from schwabot.ticks.live_queue import LiveQueue, Row


def row(at: int, stream: int = 0, kind: int = Kind.QUOTE) -> Row:
    return (at, 0, 0, stream, int(kind))


@given(
    st.lists(st.one_of(st.tuples(st.integers(0, 2), st.integers(0, 1)), st.integers(1, 5)), max_size=60),
    st.integers(1, 8),
)
def test_what_comes_out_is_what_went_in_less_what_was_counted(steps: list[tuple[int, int] | int], shed: int) -> None:
    queue = LiveQueue(3, capacity=10, shed=shed)
    put: list[Row] = []
    refused = 0
    out: list[Row] = []
    for at, step in enumerate(steps):
        if isinstance(step, int):
            out += queue.take(step, 0.0)
        elif queue.put(row(at, *step)):
            put.append(row(at, *step))
        else:
            assert step[1] == Kind.TRADE
            refused += 1
        assert len(queue) <= 10 + 3
    out += queue.take(1000, 0.0)
    assert out == sorted(out)
    assert len(out) == len(put) - sum(queue.coalesced)
    assert [one for one in out if one[4] == Kind.TRADE] == [one for one in put if one[4] == Kind.TRADE]
    # a quote is only ever given up for a later one of its stream
    for lost in set(put) - set(out):
        assert any(one[3] == lost[3] and one[4] == Kind.QUOTE and one[0] > lost[0] for one in out)
    assert refused == len([s for s in steps if not isinstance(s, int)]) - len(put)


def test_memory_is_bounded_while_nobody_reads() -> None:
    queue = LiveQueue(2, capacity=100, shed=4)
    for at in range(20_000):
        queue.put(row(at, at % 2))
    assert len(queue) <= 5
    assert len(queue._boxes) < 2_000
    assert queue.coalesced[0] + queue.coalesced[1] + len(queue) == 20_000
    assert [one[0] for one in queue.take(9, 0.0)][-2:] == [19_998, 19_999]


def test_the_reader_waits_for_the_writer() -> None:
    queue = LiveQueue(1, capacity=10, shed=10)
    writer = threading.Timer(0.05, queue.put, [row(7)])
    began = time.monotonic()
    writer.start()
    assert queue.take(5, 5.0) == [row(7)]
    assert time.monotonic() - began < 2.0
    assert queue.take(5, 0.01) == []


def test_a_failure_comes_after_the_rows_before_it() -> None:
    queue = LiveQueue(1, capacity=10, shed=10)
    queue.put(row(1))
    queue.end(OSError("gone"))
    assert not queue.ended
    assert queue.take(5, 5.0) == [row(1)]
    assert not queue.ended  # who goes on until it is would never hear of it
    with pytest.raises(OSError, match="gone"):
        queue.take(5, 5.0)
