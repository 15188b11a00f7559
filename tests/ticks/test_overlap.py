"""Two files of one stream at the same time are refused; files that follow one another are not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from schwabot.errors import OverlapError
from schwabot.records.market import Ticks
from schwabot.ticks.capture import CaptureFeed
from schwabot.ticks.merge import blank
from schwabot.ticks.overlap import Overlaps
from schwabot.ticks.presets import ColumnMap
from tests.ticks.test_capture import KNOWN, SPOT, quote, trade
from tests.ticks.test_table import T0, feed_of, read, write

COLUMNS = ColumnMap(time="t", price="p")


def table(path: Path, *times: int) -> Path:
    path.parent.mkdir(exist_ok=True)
    return write(path, "t,p\n" + "".join(f"{T0 + time},1.5\n" for time in times))


def test_same_stem_in_two_folders(tmp_path: Path) -> None:
    table(tmp_path / "v1" / "btc.csv", 0, 5, 9)
    later = table(tmp_path / "v2" / "btc.csv", 9, 12)
    ticks = read(feed_of(tmp_path, "*/btc.csv", columns=COLUMNS))
    assert (ticks.ts_recv_ns - T0).tolist() == [0, 5, 9, 9, 12]
    for times in ((8, 12), (5, 5), (0, 5, 9), (-3, 1)):
        table(later, *times)
        with pytest.raises(OverlapError, match=r"trades of table:btc .*source\.streams") as caught:
            read(feed_of(tmp_path, "*/btc.csv", columns=COLUMNS))
        assert "v1/btc.csv" in str(caught.value)
        assert "v2/btc.csv" in str(caught.value)


def test_two_forms_of_one_table(tmp_path: Path) -> None:
    table(tmp_path / "aa.csv", 0, 5)
    pq.write_table(pa.table({"t": [T0, T0 + 5], "p": [1.5, 1.5]}), tmp_path / "aa.parquet")
    with pytest.raises(OverlapError, match=r"aa\.(csv|parquet).*aa\.(csv|parquet)"):
        read(feed_of(tmp_path, columns=COLUMNS))


def test_two_names_mapped_to_one(tmp_path: Path) -> None:
    table(tmp_path / "a.csv", 0, 5)
    table(tmp_path / "b.csv", 2, 7)
    assert len(read(feed_of(tmp_path, columns=COLUMNS))) == 4
    with pytest.raises(OverlapError, match="x:BTC/USDT"):
        read(feed_of(tmp_path, columns=COLUMNS, streams={"*": "x:BTC/USDT"}))
    write(tmp_path / "both.csv", f"t,p,s\n{T0},1,A\n{T0},2,B\n{T0 + 9},1,A\n{T0 + 9},2,B\n")
    columns = ColumnMap(time="t", price="p", stream="s")
    with pytest.raises(OverlapError, match=r"both\.csv \([AB]\): .*both\.csv \([AB]\)"):
        read(feed_of(tmp_path, "both.csv", columns=columns, streams={"*": "x:BTC/USDT"}))


def test_a_copied_capture(tmp_path: Path) -> None:
    ok, copy = tmp_path / "ok.log", tmp_path / "ok2.log"
    ok.write_bytes(b"\n".join([quote(1), quote(5), quote(9)]))
    shutil.copy(ok, copy)
    with pytest.raises(OverlapError, match=r"ok2?\.log: .*ok2?\.log too has quotes of binance:BTC/USDT"):
        list(CaptureFeed([ok, copy], KNOWN).batches())
    copy.write_bytes(b"\n".join([trade(2), trade(7)]))
    assert sum(map(len, CaptureFeed([ok, copy], KNOWN).batches())) == 5, "trades may be in a file of their own"
    copy.write_bytes(b"\n".join([quote(9), quote(12)]))
    assert sum(map(len, CaptureFeed([ok, copy], KNOWN).batches())) == 5


def test_one_row_each(tmp_path: Path) -> None:
    """Files of a single moment: the same moment is a copy, the edge of another file is not."""
    table(tmp_path / "v1" / "btc.csv", 5)
    second = table(tmp_path / "v2" / "btc.csv", 5)
    with pytest.raises(OverlapError, match=r"from 2024-08-09T00:00:00\.000000005Z on"):
        read(feed_of(tmp_path, "*/btc.csv", columns=COLUMNS))
    for times in ((5, 9), (1, 5)):
        table(second, *times)
        assert len(read(feed_of(tmp_path, "*/btc.csv", columns=COLUMNS))) == 3


def test_where_the_overlap_begins(tmp_path: Path) -> None:
    table(tmp_path / "v1" / "btc.csv", 0, 5)
    table(tmp_path / "v2" / "btc.csv", 3, 9)
    with pytest.raises(OverlapError, match=r"from 2024-08-09T00:00:00\.000000003Z on"):
        read(feed_of(tmp_path, "*/btc.csv", columns=COLUMNS))


def test_an_overlap_seen_before_the_last_file(tmp_path: Path) -> None:
    """Three files, of which the first and the last overlap."""
    for name, times in (("v1", (0, 20)), ("v2", (20, 25)), ("v3", (19, 30))):
        table(tmp_path / name / "btc.csv", *times)
    with pytest.raises(OverlapError, match=r"v[13]/btc\.csv: .*v[13]/btc\.csv too"):
        read(feed_of(tmp_path, "*/btc.csv", columns=COLUMNS))


def test_files_of_one_name_are_told_apart_by_their_folder(tmp_path: Path) -> None:
    """What the message says can be done."""
    table(tmp_path / "v1" / "btc.csv", 0, 5)
    table(tmp_path / "v2" / "btc.csv", 2, 9)
    with pytest.raises(OverlapError, match=r"'\+source\.streams=\{FOLDER/FILE: VENUE:BASE/QUOTE\}'"):
        read(feed_of(tmp_path, "*/btc.csv", columns=COLUMNS))
    named = {"v1/*": "a:BTC/USDT", "v2/btc.csv": "b:BTC/USDT"}
    ticks = read(feed_of(tmp_path, "*/btc.csv", columns=COLUMNS, streams=named))
    assert [one.stream for one in ticks.instruments] == ["a:BTC/USDT", "b:BTC/USDT"]
    assert (ticks.ts_recv_ns - T0).tolist() == [0, 2, 5, 9]
    assert ticks.stream.tolist() == [0, 1, 0, 1]


def test_which_file_is_read_first_does_not_matter() -> None:
    """The earlier of two files may have its last rows read after the later one's first."""

    def rows(*times: int) -> Ticks:
        return replace(blank((SPOT,), len(times)), ts_recv_ns=np.array(times))

    overlaps = Overlaps()
    overlaps.saw("late.csv", rows(9, 12))
    overlaps.saw("early.csv", rows(0, 4))
    overlaps.saw("early.csv", rows(7, 9))
    with pytest.raises(OverlapError, match=r"^early\.csv: late\.csv too .*from 1970-01-01T00:00:00\.000000009Z on"):
        overlaps.saw("early.csv", rows(10))
