"""From a feed's batches to the lead-lag of every pair."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot.errors import ConfigError, DataError
from schwabot.records.instrument import Instrument
from schwabot.records.market import Kind, Ticks
from schwabot.ticks.merge import blank, take
from schwabot.training.leadlag import LeadLagConfig
from schwabot.training.leadlag_streams import CLOCKS, LeadLagReport, PriceCollector, all_pairs
from schwabot.training.price_series import to_series

MS = 1_000_000
A, B, C = (Instrument(f"{name}:X/Y", 0.5, 1.0) for name in "abc")
QUICK = Instrument("b:Z/Y", 0.5, 1.0)
EXACT = LeadLagConfig(resolution_ms=0, returns="simple")


def quotes(
    instruments: tuple[Instrument, ...],
    ts_ns: npt.ArrayLike,
    stream: npt.ArrayLike,
    mid_ticks: npt.ArrayLike,
    delay_ns: npt.ArrayLike | None = None,
) -> Ticks:
    """One quote per row, two ticks wide; stamped by the venue where a delay is given."""
    time, mid = np.asarray(ts_ns, np.int64), np.asarray(mid_ticks, np.int64)
    rows = replace(
        blank(instruments, len(time)),
        ts_recv_ns=time,
        stream=np.asarray(stream, np.int32),
        bid_ticks=mid - 1,
        ask_ticks=mid + 1,
    )
    if delay_ns is None:
        return rows
    return replace(rows, ts_emit_ns=time - np.asarray(delay_ns), ts_event_ns=time - np.asarray(delay_ns))


@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), min_size=8, max_size=60),
    st.lists(st.integers(1, 59), max_size=6),
    st.integers(1, 4),
)
def test_what_is_kept_does_not_depend_on_the_batches(
    rows: list[tuple[int, int]], cuts: list[int], resolution: int
) -> None:
    """Stamps that repeat, prices that repeat, any cuts; the same as the whole at once."""
    time = np.cumsum([step for step, _ in rows]) + 10**9
    mid = np.array([price for _, price in rows]) + 10
    mid[0], mid[-1] = 99, 98  # it moves
    time[-1] += 10
    config = replace(EXACT, resolution_ms=resolution / 1e6)
    prices = PriceCollector((A, B), config)
    ticks = quotes((A, B), time, np.zeros(len(time)), mid)
    edges = [0, *sorted({cut for cut in cuts if cut < len(time)}), len(time)]
    for start, stop in pairwise(edges):
        prices.update(take(ticks, np.arange(start, stop)))
    kept = prices._prices[A.stream]["receive"]
    found = to_series(*kept.take(), observations=kept.stamps, returns="simple")
    whole = to_series(time, mid * 0.5, returns="simple", resolution_ns=resolution)
    assert found.ts_ns.tolist() == whole.ts_ns.tolist()
    assert found.value.tolist() == whole.value.tolist()
    assert found.observations == whole.observations


def test_a_price_that_is_replaced_at_its_stamp_decides_nothing_before() -> None:
    """At 30 the third 7 becomes 8 in the next batch: then 20 is where the last 7 ends, and must be there."""
    prices = PriceCollector((A, B), EXACT)
    for time, mid in (([10, 20, 30], [7, 7, 7]), ([30, 40], [8, 8])):
        prices.update(quotes((A, B), time, np.zeros(len(time)), mid))
    kept = prices._prices[A.stream]["receive"]
    assert kept.stamps == 4
    time_ns, price = kept.take()
    assert (time_ns.tolist(), price.tolist()) == ([10, 20, 30, 40], [3.5, 3.5, 4.0, 4.0])


def moving(seed: int, n: int = 400) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.integers(1, 20, n)) * MS + 10**9, 1_000 + np.cumsum(rng.integers(-3, 4, n))


def together(instruments: tuple[Instrument, ...], *parts: Ticks) -> Ticks:
    """Rows of several streams in order of receive time."""
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in (
            "ts_recv_ns",
            "ts_event_ns",
            "ts_emit_ns",
            "stream",
            "kind",
            "bid_ticks",
            "ask_ticks",
            "price_ticks",
        )
    }
    rows = replace(blank(instruments, len(columns["stream"])), **columns)
    return take(rows, np.argsort(columns["ts_recv_ns"], kind="stable"))


def test_receive_time_and_venue_time_tell_transport_from_information() -> None:
    """b does what a did 20 ms before, and its news take 50 ms longer to arrive."""
    rng = np.random.default_rng(0)
    happens, mid = moving(1, 3_000)
    jitter = rng.integers(0, 2, 3_000) * MS
    a = quotes((A, B), happens + 5 * MS + jitter, np.zeros(3_000), mid, 5 * MS + jitter)
    b = quotes((A, B), happens + 75 * MS + jitter, np.ones(3_000), mid, 55 * MS + jitter)
    # the least delay can't be told from a clock that is off: another stream of that venue is as quick as a
    quick = quotes((A, B, QUICK), happens + 25 * MS, np.full(3_000, 2), np.full(3_000, 9), np.full(3_000, 5 * MS))
    prices = PriceCollector((A, B, QUICK), replace(EXACT, max_lag_s=0.2, step_ms=5.0))
    prices.update(together((A, B, QUICK), a, b, quick))
    by_clock = {pair.clock: pair for pair in all_pairs(prices).pairs}
    assert (by_clock["receive"].leader, by_clock["receive"].lag_ms) == (A.stream, 70.0)
    assert (by_clock["event"].leader, by_clock["event"].lag_ms) == (A.stream, 20.0)


def test_three_streams_make_three_pairs_per_clock_they_have() -> None:
    parts = []
    for number, delay in enumerate((3 * MS, 3 * MS, None)):  # c never stamps
        time, mid = moving(2)
        parts.append(quotes((A, B, C), time + number * 30 * MS, np.full(400, number), mid, delay))
    prices = PriceCollector((A, B, C), replace(EXACT, max_lag_s=0.2, step_ms=5.0))
    prices.update(together((A, B, C), *parts))
    report = all_pairs(prices)
    assert [(one.leader, one.follower, one.clock, one.lag_ms) for one in report.pairs] == [
        (A.stream, B.stream, "receive", 30.0),
        (A.stream, C.stream, "receive", 60.0),
        (B.stream, C.stream, "receive", 30.0),
        (A.stream, B.stream, "event", 30.0),
    ]
    assert "gives no time stamps" in report.left_out["event"][C.stream]
    assert any(C.stream in note and "receive time only" in note for note in report.notes)
    assert report.streams[C.stream]["stamps"] is None
    assert report.streams[A.stream]["stamps"] == "venue"
    assert not any(pair.event_estimated for pair in report.pairs)


def test_batches_of_one_event_take_no_more_memory() -> None:
    """3,000 prices one at a time: a dozen parts, and nothing beside them."""
    prices = PriceCollector((A, B), EXACT)
    ticks = quotes((A, B), np.arange(3_000) * MS + 10**9, np.zeros(3_000), np.arange(3_000) + 7)
    for row in range(3_000):
        prices.update(take(ticks, np.array([row])))
    kept = prices._prices[A.stream]["receive"]
    assert len(kept) == 3_000
    assert len(kept._done) <= 12
    held = sum(array.nbytes if array.base is None else array.base.nbytes for part in kept._done for array in part)
    assert held < 16 * 3_000 + 12 * 64
    assert kept.take()[0].tolist() == ticks.ts_recv_ns.tolist()


def said(config: LeadLagConfig, *parts: Ticks) -> tuple[LeadLagReport, str]:
    """What a report over these rows of A and B says, and its notes in one."""
    prices = PriceCollector((A, B), config)
    prices.update(together((A, B), *parts))
    report = all_pairs(prices)
    return report, "; ".join(report.notes)


def later(lag_ms: int) -> tuple[Ticks, Ticks]:
    """B does what A did, 400 prices over some 4 s."""
    time, mid = moving(2)
    delay = np.full(400, MS)
    return quotes((A, B), time, np.zeros(400), mid, delay), quotes((A, B), time + lag_ms * MS, np.ones(400), mid, delay)


def test_notes_say_what_a_reader_has_to_know() -> None:
    fine = replace(EXACT, max_lag_s=0.2, step_ms=5.0)
    _, notes = said(fine, *later(30))
    for word in ("longer than the", "end of the grid", "above 1", "than the grid is wide", "try "):
        assert word not in notes
    _, notes = said(replace(fine, step_ms=50.0), *later(30))
    assert "steps of 50 ms are longer than the 10 ms between prices of the quickest pair" in notes
    assert "try leadlag.step_ms=2" in notes
    _, notes = said(replace(fine, max_lag_s=0.02), *later(30))
    assert "peak at the end of the grid, the true lag may lie beyond: a:X/Y ~ b:X/Y (receive)" in notes
    assert "try leadlag.max_lag_s=0.04" in notes
    _, notes = said(replace(fine, max_lag_s=2.5), *later(30))
    assert "answers rest on less time than the grid is wide (4.01 s)" in notes


def test_a_contrast_above_1_is_said() -> None:
    """X climbs in 199 steps of 1, Y in 19 of 10: U is some 200 * 10, and the root of 199 * 19 * 100 is 615."""
    time, mid = np.arange(200) * 10 * MS + 10**9, 100 + np.arange(200)
    slow = np.arange(0, 200, 10)
    found, notes = said(
        replace(EXACT, max_lag_s=0.2, step_ms=5.0),
        quotes((A, B), time, np.zeros(200), mid),
        quotes((A, B), time[slow], np.ones(20), mid[slow]),
    )
    assert found.pairs[0].contrast == pytest.approx(3.2, abs=0.2)
    assert "contrast above 1: a:X/Y ~ b:X/Y (receive); it is a score" in notes


def test_prices_that_repeat_count_as_seen() -> None:
    """Every price three times: the middle one is not kept, and still tells how often the stream has a price."""
    time = np.arange(600) * 5 * MS + 10**9
    mid = np.repeat(100 + np.arange(200) % 7, 3)
    found, _ = said(
        replace(EXACT, max_lag_s=0.2, step_ms=5.0),
        *(quotes((A, B), time + v * MS, np.full(600, v), mid) for v in (0, 1)),
    )
    assert (found.pairs[0].n_x, found.streams[A.stream]["observations"]) == (600, 600)
    assert found.streams[A.stream]["refresh_ms"] == pytest.approx(5.0)


def test_one_slow_stream_of_three_does_not_coarsen_the_grid() -> None:
    time, mid = moving(2)
    slow = np.arange(0, 400, 20)
    prices = PriceCollector((A, B, C), EXACT)
    prices.update(
        together(
            (A, B, C),
            quotes((A, B, C), time, np.zeros(400), mid),
            quotes((A, B, C), time + 30 * MS, np.ones(400), mid),
            quotes((A, B, C), time[slow] + MS, np.full(20, 2), mid[slow] + np.arange(20) * 10),
        )
    )
    report = all_pairs(prices)
    assert (report.grid.step_ns, report.grid.side) == (10 * MS, 100)


def test_quotes_without_stamps_beside_trades_with_them_are_dated_by_the_usual_delay() -> None:
    parts = []
    for number in (0, 1):
        time, mid = moving(3)
        rows = quotes((A, B), time, np.full(400, number), mid)
        trades = replace(
            quotes((A, B), time, np.full(400, number), mid, 7 * MS), kind=np.full(400, Kind.TRADE, np.int8)
        )
        parts += [rows, replace(trades, price_ticks=mid)]
    prices = PriceCollector((A, B), replace(EXACT, max_lag_s=0.2, step_ms=5.0))
    prices.update(together((A, B), *parts))
    report = all_pairs(prices)
    assert report.streams[A.stream]["stamps"] == "receive_minus_delay"
    assert any("receive time minus" in note for note in report.notes)
    assert [pair.lag_ms for pair in report.pairs] == [0.0, 0.0]
    assert [(pair.clock, pair.event_estimated) for pair in report.pairs] == [("receive", False), ("event", True)]


def test_streams_that_say_nothing_are_left_out_and_named() -> None:
    parts = []
    for number, moves in enumerate((True, True, False)):
        time, mid = moving(4)
        parts.append(quotes((A, B, C), time, np.full(400, number), mid if moves else np.full(400, 50)))
    prices = PriceCollector((A, B, C), replace(EXACT, max_lag_s=0.2, step_ms=5.0))
    prices.update(together((A, B, C), *parts))
    report = all_pairs(prices)
    assert [(pair.x, pair.y) for pair in report.pairs] == [(A.stream, B.stream)]
    assert "never moves" in report.left_out["receive"][C.stream]
    assert any("never moves" in note for note in report.notes)


@pytest.mark.parametrize(
    ("mid", "said"),
    [
        (np.full(400, 9), "never moves"),
        (np.repeat([8, 9, 8, 9], 100), "moved 3 times.*leave it out"),
        (None, "no prices"),
    ],
)
def test_too_little_of_a_second_stream_is_an_error_that_names_it(mid: npt.NDArray[np.int64] | None, said: str) -> None:
    time, moves = moving(4)
    parts = [quotes((A, B), time, np.zeros(400), moves)]
    if mid is not None:
        parts.append(quotes((A, B), time, np.ones(400), mid))
    prices = PriceCollector((A, B), replace(EXACT, max_lag_s=0.2, step_ms=5.0))
    prices.update(together((A, B), *parts))
    with pytest.raises(DataError, match=f"fewer than two streams can be compared: b:X/Y.*{said}"):
        all_pairs(prices)


def test_one_stream_and_prices_that_are_not_there_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"has one only \(a:X/Y\): add another one of the same asset$"):
        PriceCollector((A,), EXACT)
    trades = replace(B, trades_only=True)
    with pytest.raises(ConfigError, match=r"b:X/Y has prices only, no bid and ask: use leadlag.price=last"):
        PriceCollector((A, trades), replace(EXACT, price="mid"))
    assert PriceCollector((A, trades), EXACT).price_of == {"a:X/Y": "mid", "b:X/Y": "last"}
    prices = PriceCollector((A, B), replace(EXACT, price="last"))
    time, mid = moving(1)
    prices.update(quotes((A, B), time, np.arange(400) % 2, mid))
    with pytest.raises(DataError, match=r"no trades, only quotes: leadlag.price=mid"):
        all_pairs(prices)


def test_memory_is_bounded_and_repeats_take_none() -> None:
    prices = PriceCollector((A, B), replace(EXACT, max_prices=1_000))
    time = np.arange(5_000) * MS + 10**9
    prices.update(quotes((A, B), time, np.zeros(5_000), np.full(5_000, 7)))
    assert not prices.is_full
    prices.update(quotes((A, B), time + 10**10, np.zeros(5_000), np.arange(5_000) + 7))
    assert prices.is_full


@pytest.mark.parametrize("batch", [1, 7, 1_000, 9_999])
def test_where_the_memory_is_full_does_not_depend_on_the_batches(batch: int) -> None:
    """Of four equal prices in a row the two ends are kept, so rows say nothing of what is."""
    rows = 4_000
    mid = np.repeat(np.arange(rows // 8) + 7, 8)
    ticks = quotes((A, B), np.arange(rows) * MS + 10**9, np.arange(rows) % 2, mid, np.full(rows, MS))
    kept = []
    for size in (batch, rows):
        prices = PriceCollector((A, B), replace(EXACT, max_prices=1_000))
        for start in range(0, rows, size):
            prices.update(take(ticks, np.arange(start, min(rows, start + size))))
        assert prices.is_full
        kept.append([(one.ts_ns.tolist(), one.observations) for clock in CLOCKS for one in prices.series(clock)])
    assert kept[0] == kept[1]
    assert sum(len(times) for times, _ in kept[0][:2]) == 1_000


def test_a_stop_keeps_the_pairs_that_were_done() -> None:
    parts = [quotes((A, B, C), moving(2)[0], np.full(400, number), moving(2)[1]) for number in range(3)]
    prices = PriceCollector((A, B, C), replace(EXACT, max_lag_s=0.2, step_ms=5.0))
    prices.update(together((A, B, C), *parts))

    def stop(done: int, pairs: int, share: float) -> None:
        assert pairs == 3
        if done == 1:
            raise KeyboardInterrupt

    report = all_pairs(prices, stop)
    assert (len(report.pairs), report.complete, report.entries()["complete"]) == (1, False, False)
