"""A feed's batches joined for a device: every row once and in order, groups that end where they should."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace

import numpy as np
import pytest

from schwabot.errors import CrossedQuoteError
from schwabot.records.market import Kind, Ticks
from schwabot.ticks.grouping import MOST_ROWS, grouped, one_ahead
from schwabot.ticks.merge import concat
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed


def chunks(size: int = 100, events: int = 1_000) -> list[Ticks]:
    found = list(SyntheticFeed(SyntheticConfig(events=events, depth_interval_ms=20.0)).batches(size))
    assert (concat(found).kind == Kind.DEPTH).mean() > 0.05
    return found


def events(ticks: Ticks) -> int:
    return int((ticks.kind != Kind.DEPTH).sum())


def assert_same(one: list[Ticks], other: list[Ticks]) -> None:
    for column in fields(Ticks)[1:-1]:
        np.testing.assert_array_equal(getattr(concat(one), column.name), getattr(concat(other), column.name))


@pytest.mark.parametrize("size", [1, 7, 100, 5_000])
@pytest.mark.parametrize("wanted", [64, 256, 999, 10_000])
def test_groups_end_at_multiples_and_hold_every_row(size: int, wanted: int) -> None:
    given = chunks(size)
    found = list(grouped(given, lambda: wanted))
    counts = [events(group) for group in found]
    assert all(count == wanted for count in counts[:-1])
    assert counts[-1] <= wanted
    assert_same(given, found)


def test_depth_rows_do_not_pile_up() -> None:
    some = chunks(events=200)
    quiet = [replace(one, kind=np.full(len(one), Kind.DEPTH, np.int8)) for one in some]
    given = [some[0], *quiet * 5, *some[1:]]
    found = list(grouped(given, lambda: 64))
    assert max(map(len, found)) <= MOST_ROWS * 64 + 100
    assert_same(given, found)
    ends = np.cumsum([events(group) for group in found])
    assert sum(ends[:-1] % 64 != 0) < len(found) - 2  # what follows ends at multiples again


def test_once_nobody_asks_for_groups_chunks_pass_as_they_are() -> None:
    given, asked = chunks(100), iter([384] * 6)
    found = list(grouped(given, lambda: next(asked, None)))
    assert_same(given, found)
    assert max(map(len, found[1:])) <= 100
    assert [id(one) for one in found[-4:]] == [id(one) for one in given[-4:]]


def test_what_was_read_comes_before_an_error() -> None:
    def broken() -> Iterator[Ticks]:
        yield from given[:5]
        raise CrossedQuoteError("bid 5 above ask 4", file="x.gz", line=7)

    given = chunks(100)
    found: list[Ticks] = []
    with pytest.raises(CrossedQuoteError):
        found.extend(now for now, _ in one_ahead(grouped(broken(), lambda: 128)))
    assert_same(given[:5], found)
