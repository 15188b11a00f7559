"""Merging, cutting and joining of sorted runs."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot.errors import MalformedLineError
from schwabot.records.instrument import Instrument
from schwabot.records.market import BookLevels, Kind, Ticks
from schwabot.ticks.merge import Source, blank, concat, cut, merge, rebatch, take

INSTRUMENTS = tuple(Instrument(f"x:{name}/Y", 0.1, 1.0) for name in "ABC")

Rows = list[tuple[int, int]]


def run(rows: Rows, label: int = 0) -> Ticks:
    """Rows of (time, stream); the position and the label are kept in qty_lots and price_ticks."""
    n = len(rows)
    columns = np.array(rows, np.int64).reshape(-1, 2)
    return replace(
        blank(INSTRUMENTS, n, Kind.TRADE),
        ts_recv_ns=columns[:, 0],
        stream=columns[:, 1].astype(np.int32),
        price_ticks=np.full(n, label, np.int64),
        qty_lots=np.arange(n, dtype=np.int64),
        levels=BookLevels(np.arange(n)[::2], *(np.arange(n)[::2, None] + label * 1_000 for _ in range(4))),
    )


def pieces(ticks: Ticks, cuts: list[int]) -> list[Ticks]:
    edges = sorted({0, len(ticks), *(min(edge, len(ticks)) for edge in cuts)})
    return [cut(ticks, a, b) for a, b in itertools.pairwise(edges)]


def as_rows(ticks: Ticks) -> list[tuple[int, ...]]:
    columns = (ticks.ts_recv_ns, ticks.stream, ticks.price_ticks, ticks.qty_lots)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def assert_levels_follow(ticks: Ticks) -> None:
    assert ticks.levels is not None
    assert np.all(np.diff(ticks.levels.row) > 0)
    expected = [(row, 1_000 * label + n) for row, (_, _, label, n) in enumerate(as_rows(ticks)) if n % 2 == 0]
    assert list(zip(ticks.levels.row.tolist(), ticks.levels.bid_ticks[:, 0].tolist(), strict=True)) == expected


sorted_rows = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), max_size=20).map(
    lambda rows: sorted(rows, key=lambda row: row[0])
)
some_cuts = st.lists(st.integers(0, 20), max_size=4)


@given(st.lists(st.tuples(sorted_rows, some_cuts, st.booleans()), min_size=1, max_size=4), st.integers(1, 9))
def test_merge_is_the_stable_sort(sources: list[tuple[Rows, list[int], bool]], max_events: int) -> None:
    def source(number: int, rows: Rows, cuts: list[int], known_start: bool) -> Source:
        chunks = pieces(run(rows, number), cuts) if rows else []
        return Source(lambda: chunks, rows[0][0]) if known_start and rows else Source(lambda: chunks)

    merged = list(merge([source(number, *spec) for number, spec in enumerate(sources)]))
    expected = sorted(
        (time, stream, label, n) for label, (rows, _, _) in enumerate(sources) for n, (time, stream) in enumerate(rows)
    )
    assert [row for part in merged for row in as_rows(part)] == expected
    batches = list(rebatch(merged, max_events))
    assert [row for batch in batches for row in as_rows(batch)] == expected
    assert all(len(batch) == max_events for batch in batches[:-1])
    if batches:
        assert_levels_follow(concat(batches))


def test_a_source_is_opened_when_its_time_comes_and_read_no_further_than_needed() -> None:
    log: list[str] = []

    def source(name: str, times: list[int]) -> Source:
        def chunks() -> Iterator[Ticks]:
            log.append(f"open {name}")
            for time in times:
                yield run([(time, 0)])
            log.append(f"end {name}")

        return Source(chunks, times[0])

    merged = merge([source("late", [50, 60]), source("early", [1, 2, 3])])
    assert as_rows(next(merged))[0][0] == 1
    assert log == ["open early"]
    assert [part.ts_recv_ns.tolist() for part in merged] == [[2], [3], [50], [60]]
    assert log == ["open early", "end early", "open late", "end late"]


def test_error_comes_after_every_row_up_to_it() -> None:
    def broken() -> Iterator[Ticks]:
        yield run([(1, 0), (5, 0)])
        raise MalformedLineError("half a line", file="a", line=3)

    seen: list[int] = []
    merged = rebatch(merge([Source(lambda: [run([(t, 1)]) for t in range(9)]), Source(broken)]), 4)
    with pytest.raises(MalformedLineError, match="a:3"):  # noqa: PT012
        for part in merged:
            seen += part.ts_recv_ns.tolist()
    assert seen == [0, 1, 1, 2, 3, 4, 5, 5]


def test_unsorted_source_is_refused() -> None:
    with pytest.raises(AssertionError, match="not sorted"):
        list(merge([Source(lambda: [run([(2, 0), (1, 0)])])]))
    with pytest.raises(AssertionError, match="backwards"):
        list(merge([Source(lambda: [run([(2, 0)]), run([(1, 0)])])]))


@given(sorted_rows.filter(bool), st.data())
def test_take_and_cut_keep_rows_whole(rows: Rows, data: st.DataObject) -> None:
    ticks = run(rows)
    order = np.array(data.draw(st.permutations(range(len(rows)))), np.int64)
    picked = take(ticks, order[: data.draw(st.integers(0, len(rows)))])
    assert_levels_follow(picked)
    start = data.draw(st.integers(0, len(rows)))
    stop = data.draw(st.integers(start, len(rows)))
    assert_levels_follow(cut(ticks, start, stop))
    assert as_rows(cut(ticks, start, stop)) == as_rows(ticks)[start:stop]


def test_rebatch_refuses_nothing_at_a_time() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        next(rebatch([], 0))
