"""Times in the wrong unit, stamps of another year and sources of which nothing is left are refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schwabot.errors import BadTimeError, NothingLeftError
from schwabot.ticks.capture import CaptureFeed
from schwabot.ticks.presets import ColumnMap
from schwabot.ticks.validate import BadInputPolicy
from tests.ticks.test_capture import KNOWN, depth, quote, trade
from tests.ticks.test_table import T0, feed_of, read, write

MS = 10**6
NOW = T0 // MS


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
