"""Times in the wrong unit, stamps of another year and sources of which nothing is left are refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schwabot.errors import BadTimeError, NothingLeftError
from schwabot.records.market import MISSING_NS, Ticks
from schwabot.ticks.capture import CaptureFeed
from schwabot.ticks.merge import blank
from schwabot.ticks.plausible import odd_times
from schwabot.ticks.presets import ColumnMap
from schwabot.ticks.validate import BadInput, BadInputPolicy, refuse_nothing
from tests.ticks.test_capture import KNOWN, SPOT, depth, quote, trade
from tests.ticks.test_table import T0, feed_of, read, write

MS = 10**6
NOW = T0 // MS
DAY, NONE = 86_400 * 10**9, MISSING_NS
DROP_DAMAGED = BadInputPolicy(corrupt_file="drop")


def capture(folder: Path, *lines: bytes, policy: BadInputPolicy | None = None) -> CaptureFeed:
    path = folder / "a.log"
    path.write_bytes(b"\n".join(lines))
    return CaptureFeed([path], KNOWN, policy)


@pytest.mark.parametrize(("unit", "per_ns"), [("us", 10**3), ("ms", 10**6), ("s", 10**9)])
def test_a_recording_in_another_unit(tmp_path: Path, unit: str, per_ns: int) -> None:
    recv = T0 // per_ns
    for line in (quote(recv), trade(recv, T=NOW, E=NOW), depth(recv, 1, 2, E=NOW)):
        with pytest.raises(BadTimeError, match=rf"a\.log:1: .*1970-01-.*2024-08-09.* in {unit}, not ns"):
            list(capture(tmp_path, line).batches())


def test_one_stamp_of_1973(tmp_path: Path) -> None:
    lines = [trade(T0 + i, T=NOW, E=NOW) for i in range(3)]
    lines[1] = trade(T0 + 1, T=10**11, E=NOW)
    with pytest.raises(BadTimeError, match=r"a\.log:2: receive time 2024-08-09.*stamp 1973-03-03.*more than a day"):
        list(capture(tmp_path, *lines).batches())
    feed = capture(tmp_path, *lines, policy=BadInputPolicy(bad_time="drop"))
    assert [batch.ts_recv_ns.tolist() for batch in feed.batches()] == [[T0, T0 + 2]]
    assert feed.dropped == {"bad_time": 1}
    day = 86_400_000
    near = trade(T0, T=NOW - day, E=NOW + day)
    assert sum(map(len, capture(tmp_path, near).batches())) == 1


def test_a_table_in_another_unit(tmp_path: Path) -> None:
    columns = ColumnMap(time="t", price="p", event_time="e")
    write(tmp_path / "x.csv", f"t,p,e\n{T0 // 1_000},1.5,\n")
    with pytest.raises(BadTimeError, match=r"x\.csv:2: .*1970-01-20.*2024-08-09.* in us, not ns; source\.time_unit"):
        read(feed_of(tmp_path, columns=columns, time_unit="ns"))
    assert read(feed_of(tmp_path, columns=columns, time_unit="us")).ts_recv_ns.tolist() == [T0]
    write(tmp_path / "x.csv", f"t,p,e\n{T0},1.5,{T0 - 10**9}\n{T0 + 1},1.5,{T0 - 2 * 86_400 * 10**9}\n")
    with pytest.raises(BadTimeError, match=r"x\.csv:3: .*2024-08-07.*more than a day"):
        read(feed_of(tmp_path, columns=columns))


def test_nothing_left_is_an_error(tmp_path: Path) -> None:
    write(tmp_path / "swapped.csv", f"t,b,a\n{T0},11,10\n{T0 + 1},11,10\n")
    write(tmp_path / "right.csv", f"t,b,a\n{T0},10,11\n{T0 + 1},11,10\n")
    columns = ColumnMap(time="t", bid="b", ask="a")
    assert len(read(feed_of(tmp_path, "right.csv", columns=columns))) == 1
    for pattern in ("swapped.csv", "*.csv"):
        with pytest.raises(NothingLeftError, match=r"swapped\.csv: all 2 rows of table:swapped .*bid and ask\?"):
            list(feed_of(tmp_path, pattern, columns=columns).batches())
    with pytest.raises(NothingLeftError, match=r"every row .*\(2 crossed\)"):
        list(capture(tmp_path, quote(1, "2.00", "1.00"), quote(2, "2.00", "1.00")).batches())


NO_DATES = [
    "0",
    "1",
    "-5",
    "2024",
    "20240809",
    "1230767999",
    "4102444800",
    "1230767999999",
    "4102444800000000000",
    "1e9",
]


@pytest.mark.parametrize("first", NO_DATES)
def test_a_number_that_is_no_date_needs_its_unit_stated(tmp_path: Path, first: str) -> None:
    columns = ColumnMap(time="t", price="p")
    write(tmp_path / "x.csv", f"t,p\n{first},1.5\n")
    with pytest.raises(
        BadTimeError, match=rf"x\.csv: t: {first} is no date from 2009 to 2100.*source\.time_unit=s, ms"
    ):
        feed_of(tmp_path, columns=columns, policy=BadInputPolicy(bad_time="drop"))


@pytest.mark.parametrize("unit_ns", [1, 10**3, 10**6, 10**9])
@pytest.mark.parametrize("second", [1_230_768_000, 4_102_444_799])
def test_the_first_and_last_moment_that_auto_takes(tmp_path: Path, unit_ns: int, second: int) -> None:
    write(tmp_path / "x.csv", f"t,p\n{second * 10**9 // unit_ns},1.5\n")
    rows = read(feed_of(tmp_path, columns=ColumnMap(time="t", price="p")))
    assert rows.ts_recv_ns.tolist() == [second * 10**9]


def test_a_clock_of_ones_own_is_taken_when_its_unit_is_stated(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", "t,p\n0,1.5\n1,1.5\n2,1.5\n")
    feed = feed_of(tmp_path, columns=ColumnMap(time="t", price="p"), time_unit="ms")
    assert read(feed).ts_recv_ns.tolist() == [0, MS, 2 * MS]


def test_nanoseconds_as_floats_are_told(tmp_path: Path) -> None:
    pq.write_table(pa.table({"t": [float(T0)], "p": [1.5]}), tmp_path / "x.parquet")
    assert read(feed_of(tmp_path, columns=ColumnMap(time="t", price="p"))).ts_recv_ns.tolist() == [T0]


@pytest.mark.parametrize(
    ("recv", "event", "emit", "read_as", "said"),
    [
        (10**15, NONE, NONE, "", "2001-09-09T01:46:40.000000000Z if it is in a unit 1,000 times as large"),
        (10**12, NONE, NONE, "", None),  # of an unknown unit, a factor of 10^6 is no proof
        (10**12, NONE, NONE, "us", "2001-09-09T01:46:40.000000000Z if it is in s, not us"),
        (10**15, NONE, NONE, "s", None),  # there is no larger unit
        (10**15, NONE, NONE, "iso", None),  # text with a date has no unit
        (T0, T0 + DAY, T0 - DAY, "", None),
        (T0, NONE, T0 - DAY - 10**3, "", r"stamp 2024-08-07T23:59:59\.999999000Z are more than a day apart"),
        (T0, NONE, T0 + DAY + 10**3, "", "stamp 2024-08-10"),
        (T0, T0 + DAY + 10**3, NONE, "", "stamp 2024-08-10"),
        (2**62, -(2**62), NONE, "", "more than a day"),  # apart by more than int64 holds
    ],
)
def test_one_row(recv: int, event: int, emit: int, read_as: str, said: str | None) -> None:
    found = odd_times(np.array([T0, recv]), np.array([NONE, event]), np.array([NONE, emit]), read_as)
    assert list(found) == ([] if said is None else [1])
    assert said is None or re.search(said, found[1])


def test_a_clock_of_ones_own_may_pass_any_time(tmp_path: Path) -> None:
    """A simulator that counts from 0: after 1 s a time in ns looks like 2001 in s, after 17 min one in us does."""
    for unit, step in (("ns", 10**8), ("us", 10**8), ("ms", 10**8), ("s", 10**5)):
        write(tmp_path / "x.csv", "t,p\n" + "".join(f"{i * step},1.5\n" for i in range(40)))
        assert len(read(feed_of(tmp_path, columns=ColumnMap(time="t", price="p"), time_unit=unit))) == 40
    write(tmp_path / "x.csv", "t,p\n1970-01-20 00:00:00,1.5\n")
    assert len(read(feed_of(tmp_path, columns=ColumnMap(time="t", price="p"), time_unit="iso"))) == 1


def test_what_can_be_done_about_a_stamp(tmp_path: Path) -> None:
    with pytest.raises(BadTimeError, match=r"a day apart; source\.policy\.bad_time=drop leaves such rows out$"):
        list(capture(tmp_path, trade(T0, T=1, E=NOW)).batches())
    write(tmp_path / "x.csv", f"t,p,e\n{T0},1.5,{T0 + 2 * 86_400 * 10**9}\n")
    columns = ColumnMap(time="t", price="p", event_time="e")
    with pytest.raises(BadTimeError, match=r"source\.columns which time is which; source\.policy\.bad_time=drop"):
        read(feed_of(tmp_path, "x.csv", columns=columns))


def test_depth_and_quotes_with_odd_stamps(tmp_path: Path) -> None:
    for line in (depth(T0, 1, 2, E=NOW - 90_000_000), quote(T0, "100.1", "100.2", E=NOW, T=NOW + 90_000_000)):
        with pytest.raises(BadTimeError, match="more than a day"):
            list(capture(tmp_path, line).batches())


def test_a_quiet_file_may_lose_all_its_rows(tmp_path: Path) -> None:
    """One crossed quote in a quiet hour stops no run; an hour of them does."""
    for name, rows in (("h0", ["10,11", "11,10"]), ("h1", ["11,10"]), ("h2", ["10,11"])):
        start = T0 + 10 * int(name[1])
        write(tmp_path / f"{name}.csv", "t,b,a\n" + "".join(f"{start + i},{row}\n" for i, row in enumerate(rows)))
    columns = ColumnMap(time="t", bid="b", ask="a")
    feed = feed_of(tmp_path, columns=columns, streams={"h*": "x:BTC/USDT"})
    assert (read(feed).ts_recv_ns - T0).tolist() == [0, 20]
    assert feed.dropped == {"crossed": 2}
    write(tmp_path / "z.csv", f"t,b,a\n{T0 + 90},10,11\n")  # the last batch is of another stream
    assert len(read(feed_of(tmp_path, columns=columns, streams={"h*": "x:BTC/USDT"}), max_events=1)) == 3
    (tmp_path / "z.csv").unlink()
    with pytest.raises(NothingLeftError, match="all 1 rows of table:h1 "):  # a stream of its own, and nothing is left
        read(feed_of(tmp_path, columns=columns))
    write(tmp_path / "h1.csv", "t,b,a\n" + "".join(f"{T0 + 10},11,10\n" for _ in range(11)))
    with pytest.raises(NothingLeftError, match=r"h1\.csv: all 11 rows of x:BTC/USDT "):
        read(feed_of(tmp_path, columns=columns, streams={"h*": "x:BTC/USDT"}))
    for name in ("h0", "h2"):
        (tmp_path / f"{name}.csv").unlink()
    write(tmp_path / "h1.csv", f"t,b,a\n{T0},11,10\n")
    write(tmp_path / "h2.csv", f"t,b,a\n{T0 + 5},11,10\n")
    write(tmp_path / "other.csv", f"t,b,a\n{T0},10,11\n")
    with pytest.raises(NothingLeftError, match=r"all 1 rows of x:BTC/USDT "):  # nothing in any of its files
        read(feed_of(tmp_path, columns=columns, streams={"h*": "x:BTC/USDT"}))


def test_a_source_that_is_empty_for_a_reason_is_no_error() -> None:
    def none() -> Iterator[Ticks]:
        yield from ()

    bad = BadInput(BadInputPolicy())
    assert list(refuse_nothing(none(), bad)) == []
    bad.count("crossed", "x.csv:2: crossed")
    with pytest.raises(NothingLeftError, match=r"\(1 crossed\); e\.g\. x\.csv:2: crossed"):
        list(refuse_nothing(none(), bad))
    some = blank((SPOT,), 1)
    assert [len(one) for one in refuse_nothing([some, some, blank((SPOT,), 0)], bad)] == [1, 1, 0]


def test_a_damaged_file_of_which_nothing_is_left(tmp_path: Path) -> None:
    """No row was lost that anybody could count, yet there is none."""
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"t": [T0 + i for i in range(500)], "p": [1.5 + i % 7 for i in range(500)]}), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:4] + b"\xff" * 400 + whole[404:])
    with pytest.raises(NothingLeftError, match=r"every row of the source was dropped \(1 corrupt_file\); e\.g\. "):
        read(feed_of(tmp_path, columns=ColumnMap(time="t", price="p"), tick=0.5, policy=DROP_DAMAGED))


def test_times_before_1970(tmp_path: Path) -> None:
    """No arbitrage window was found there, and venue clocks ended in a traceback."""
    columns = ColumnMap(time="t", price="p")
    write(tmp_path / "x.csv", "t,p\n1970-01-01 00:00:00,1.5\n")
    assert read(feed_of(tmp_path, columns=columns)).ts_recv_ns.tolist() == [0]
    write(tmp_path / "x.csv", "t,p\n1969-12-31 23:59:59.999999999,1.5\n1970-01-01 00:00:00,1.5\n")
    with pytest.raises(BadTimeError, match=r"x\.csv:2: receive time 1969-12-31T23:59:59\.999999999Z is before 1970"):
        read(feed_of(tmp_path, columns=columns))
    left = read(feed_of(tmp_path, columns=columns, policy=BadInputPolicy(bad_time="drop")))
    assert left.ts_recv_ns.tolist() == [0]
    write(tmp_path / "x.csv", "t,p,e\n0,1.5,-5\n")  # what a venue of one's own clock sent before
    ticks = read(feed_of(tmp_path, columns=ColumnMap(time="t", price="p", event_time="e"), time_unit="ns"))
    assert ticks.ts_event_ns.tolist() == [-5]
