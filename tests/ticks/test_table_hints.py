"""What the table source says about files that are not what was meant."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schwabot.errors import DataError, EmptyFileError, SchemaError
from schwabot.records.market import Ticks
from schwabot.ticks.merge import concat
from schwabot.ticks.presets import ColumnMap
from schwabot.ticks.table import TableConfig, TableFeed
from schwabot.ticks.validate import BadInputPolicy

T0 = 1_723_161_600_000_000_000  # 2024-08-09


def feed_of(folder: Path, pattern: str = "*", **settings: Any) -> TableFeed:
    return TableFeed(TableConfig(glob=str(folder / pattern), **settings))


def read(feed: TableFeed) -> Ticks:
    return concat(list(feed.batches()))


def error_of(feed: TableFeed) -> str:
    with pytest.raises(DataError) as caught:
        list(feed.batches())
    return str(caught.value)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_a_file_without_rows_is_refused_or_counted(tmp_path: Path) -> None:
    columns = ColumnMap(time="t", price="p")
    write(tmp_path / "a.csv", "t,p\n")
    write(tmp_path / "b.csv", "")
    pq.write_table(pa.table({"t": pa.array([], pa.int64()), "p": pa.array([], pa.float64())}), tmp_path / "c.parquet")
    for name in ("a.csv", "b.csv", "c.parquet"):
        with pytest.raises(EmptyFileError, match=rf"{name}: .*source\.policy\.empty_file=drop"):
            feed_of(tmp_path, name, columns=columns)
    drop = BadInputPolicy(empty_file="drop")
    with pytest.raises(EmptyFileError):  # nothing is left
        feed_of(tmp_path, columns=columns, policy=drop)
    write(tmp_path / "d.csv", f"t,p\n{T0},1.5\n")
    feed = feed_of(tmp_path, columns=columns, policy=drop)
    assert [one.stream for one in feed.instruments] == ["table:d"]
    assert len(read(feed)) == 1
    assert feed.dropped == {"empty_file": 3}
    assert not any("a.csv" in note for note in feed.notes)


def test_what_a_wrong_file_is_answered_with(tmp_path: Path) -> None:
    columns = ColumnMap(time="t", bid="b", ask="a")
    path = write(tmp_path / "x.csv", "t;b;a\n1;1,5;2\n")
    with pytest.raises(SchemaError, match=r"are cells apart by ';'\? then add \"source\.delimiter=';'\""):
        feed_of(tmp_path, columns=columns)
    error = error_of(feed_of(tmp_path, columns=columns, delimiter=";", time_unit="s"))
    assert "b='1,5' can't be read as bid: write decimals with a point" in error
    write(path, "t\tb\ta\n1\t1.5\t2\n")
    with pytest.raises(SchemaError, match=r"source\.delimiter='\\t'"):
        feed_of(tmp_path, columns=columns)
    assert len(read(feed_of(tmp_path, columns=columns, delimiter="\\t", time_unit="s"))) == 1
    write(path, "t,b,a\n09/08/2024,1,2\n")
    error = error_of(feed_of(tmp_path, columns=columns))
    assert "times are text as 2024-08-09 23:59:01.5 or 2024-08-09T23:59:01Z" in error
    write(path, "t,b,a\n2,1,2\n1,1,2\n")
    error = error_of(feed_of(tmp_path, columns=columns, time_unit="s"))
    assert "source.policy.unsorted=drop" in error
    write(path, "t,b,a\n1,1e300,2e300\n")
    error = error_of(feed_of(tmp_path, columns=columns, time_unit="s"))
    assert "more than 4e+14 ticks" in error
    write(path, f"{T0},1,2\n")
    with pytest.raises(SchemaError, match=r"no header line\? then name its columns: source\.names="):
        feed_of(tmp_path, columns=columns)
    write(path, f'{T0 // 1_000} {{"e":"trade","s":"X"}}\n')
    with pytest.raises(SchemaError, match=r"x\.csv:1: lines of JSON.*is this a capture\?.*source=capture"):
        feed_of(tmp_path, columns=columns)
    write(path, f'{T0} {{"stream":"x@trade","data":{{}}}}\n')
    with pytest.raises(SchemaError, match="looks like a recording: source=capture"):
        feed_of(tmp_path, columns=columns)


def test_sizes_that_nobody_states_are_said_to_be_unknown(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", f"t,p,q\n{T0},1.5,2\n")
    notes = feed_of(tmp_path, columns=ColumnMap(time="t", price="p")).notes
    assert any("no column of quantities is stated" in note for note in notes)
    assert not any("lot size" in note for note in notes)
    assert any(
        "lot size 1 " in note for note in feed_of(tmp_path, columns=ColumnMap(time="t", price="p", qty="q")).notes
    )


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
def test_arrow_times_that_ns_can_not_hold(tmp_path: Path, unit: str) -> None:
    far = pa.array([datetime(2024, 8, 9), datetime(2400, 1, 1)], pa.timestamp(unit, "UTC"))
    pq.write_table(pa.table({"t": far, "p": [1.5, 1.5]}), tmp_path / "x.parquet")
    with pytest.raises(SchemaError, match=r"x\.parquet: t: .* from 1677 to 2262"):
        read(feed_of(tmp_path, columns=ColumnMap(time="t", price="p")))
    pq.write_table(pa.table({"t": pa.array([date(2400, 1, 1)]), "p": [1.5]}), tmp_path / "x.parquet")
    with pytest.raises(SchemaError, match=r"x\.parquet: t: .* from 1677 to 2262"):
        read(feed_of(tmp_path, columns=ColumnMap(time="t", price="p")))
