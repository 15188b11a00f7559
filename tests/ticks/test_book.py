"""The book against a brute-force one, and the id rules of the three markets."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot.errors import SequenceGapError
from schwabot.ticks.book import DepthChange, OrderBook

LEVEL = st.tuples(st.integers(1, 30), st.integers(0, 3))


def change(before: int, final: int, bids: list[tuple[int, int]] = (), asks: list[tuple[int, int]] = ()) -> DepthChange:  # type: ignore[assignment]
    return DepthChange(
        before, final, [p for p, _ in bids], [q for _, q in bids], [p for p, _ in asks], [q for _, q in asks]
    )


def loaded(last_id: int = 10) -> OrderBook:
    book = OrderBook()
    book.snapshot(last_id, [100, 99], [5, 6], [101, 102], [7, 8])
    return book


@given(st.lists(st.tuples(st.lists(LEVEL, max_size=6), st.lists(LEVEL, max_size=6)), min_size=1, max_size=40))
def test_book_equals_brute_force(messages: list[tuple[list[tuple[int, int]], list[tuple[int, int]]]]) -> None:
    book = OrderBook()
    book.snapshot(0, [], [], [], [])
    bids: dict[int, int] = {}
    asks: dict[int, int] = {}
    for number, (bid_levels, ask_levels) in enumerate(messages):
        book.update(change(number, number + 1, bid_levels, ask_levels))
        bids.update(bid_levels)
        asks.update(ask_levels)
        best_bids = sorted((p for p, q in bids.items() if q), reverse=True)[:4]
        best_asks = sorted(p for p, q in asks.items() if q)[:4]
        expected = best_bids, [bids[p] for p in best_bids], best_asks, [asks[p] for p in best_asks]
        assert book.top(4) == expected


def test_large_random_book_stays_sorted() -> None:
    draw = random.Random(1)
    book = OrderBook()
    book.snapshot(0, [], [], [], [])
    quantities: dict[int, int] = {}
    for number in range(5_000):
        price, lots = draw.randrange(400), draw.randrange(3)
        quantities[price] = lots
        book.update(change(number, number + 1, [(price, lots)], [(price, lots)]))
    prices = sorted(p for p, q in quantities.items() if q)
    assert book.top(400) == (
        prices[::-1],
        [quantities[p] for p in prices[::-1]],
        prices,
        [quantities[p] for p in prices],
    )


@pytest.mark.parametrize(("before", "final", "live"), [(5, 9, False), (8, 10, True), (9, 11, True), (10, 12, True)])
def test_first_change_must_reach_the_snapshot(before: int, final: int, live: bool) -> None:
    book = loaded()
    book.update(change(before, final, [(100, 0)]))
    assert book.live is live
    assert book.top() == (([99], [6], [101], [7]) if live else ([], [], [], []))


def test_first_change_past_the_snapshot_is_a_gap() -> None:
    book = loaded()
    with pytest.raises(SequenceGapError, match="book is at 10, the next change follows 11"):
        book.update(change(11, 13))


def test_gap_empties_the_book_until_the_next_snapshot() -> None:
    book = loaded()
    book.update(change(10, 11))
    assert book.live
    with pytest.raises(SequenceGapError):
        book.update(change(12, 13, [(98, 1)]))
    assert not book.live
    book.update(change(13, 14, [(97, 2)]))
    assert book.top() == ([], [], [], [])
    book.snapshot(12, [100], [1], [101], [1])
    assert book.live, "the changes after the gap were kept and reach the snapshot"
    assert book.top(3) == ([100, 98, 97], [1, 1, 2], [101], [1])


def test_changes_before_the_snapshot_are_applied_to_it() -> None:
    book = OrderBook()
    for before, final, lots in [(3, 5, 1), (5, 8, 2), (8, 12, 3)]:
        book.update(change(before, final, [(100, lots)]))
    assert not book.live
    book.snapshot(8, [100], [2], [101], [1])
    assert book.top() == ([100], [3], [101], [1])


def test_snapshot_older_than_all_that_was_kept_is_a_gap() -> None:
    book = OrderBook(max_waiting=2)
    for number in range(5):
        book.update(change(number, number + 1))
    with pytest.raises(SequenceGapError):
        book.snapshot(1, [100], [1], [101], [1])
    book.snapshot(4, [100], [1], [101], [1])
    assert book.live


def test_old_news_and_snapshots_change_nothing_while_live() -> None:
    book = loaded()
    book.update(change(9, 12, [(100, 9)]))
    book.update(change(8, 11, [(100, 1)]))
    book.snapshot(11, [1], [1], [2], [1])
    assert book.top() == ([100], [9], [101], [7])


def test_joins() -> None:
    book = loaded()
    assert not book.joins(change(10, 11))
    book.update(change(10, 11))
    assert book.joins(change(11, 12))
    assert not book.joins(change(12, 13))
