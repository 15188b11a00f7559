from __future__ import annotations

import gzip
import zipfile
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schwabot.errors import (
    BadPriceError,
    ConfigError,
    CorruptFileError,
    CrossedQuoteError,
    DataError,
    EmptyFileError,
    MalformedLineError,
    SchemaError,
    UnsortedTimeError,
)
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Kind, Ticks
from schwabot.ticks import table_files
from schwabot.ticks.merge import concat
from schwabot.ticks.presets import ColumnMap
from schwabot.ticks.table import TableConfig, TableFeed
from schwabot.ticks.table_values import decimals, numbers, times_ns
from schwabot.ticks.validate import BadInputPolicy, check_ticks

COLUMNS = [f.name for f in fields(Ticks) if f.name not in ("instruments", "levels")]
QUOTES = ColumnMap(time="t", bid="b", ask="a", bid_qty="bq", ask_qty="aq")
TRADES = ColumnMap(time="t", price="p", qty="q", side="s")
DROP = BadInputPolicy(**{f.name: "drop" for f in fields(BadInputPolicy)})
T0 = 1_723_161_600_000_000_000  # 2024-08-09


def feed_of(folder: Path, pattern: str = "*", **settings: Any) -> TableFeed:
    return TableFeed(TableConfig(glob=str(folder / pattern), **settings))


def read(feed: TableFeed, max_events: int = 65_536) -> Ticks:
    ticks = concat(list(feed.batches(max_events)))
    check_ticks(ticks)
    return ticks


def read_until_error(feed: TableFeed) -> tuple[list[int], DataError]:
    """Receive times that came before the error, and the error."""
    times: list[int] = []
    with pytest.raises(DataError) as caught:  # noqa: PT012
        for batch in feed.batches():
            times += batch.ts_recv_ns.tolist()
    return times, caught.value


def assert_same(a: Ticks, b: Ticks) -> None:
    assert a.instruments == b.instruments
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name, strict=True)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_quotes(tmp_path: Path) -> None:
    write(
        tmp_path / "btc.csv", "t,b,bq,a,aq\n1723161600000,60000.10,1.5,60000.20,2\n1723161600000,60000.15,1,60001,0\n"
    )
    feed = feed_of(tmp_path, columns=QUOTES, maker_fee_bp=1.0, taker_fee_bp=4.0)
    ticks = read(feed)
    assert feed.instruments == (Instrument("table:btc", 0.01, 0.1, maker_fee_bp=1.0, taker_fee_bp=4.0),)
    assert ticks.ts_recv_ns.tolist() == [T0, T0]
    assert ticks.kind.tolist() == [Kind.QUOTE] * 2
    assert ticks.bid_ticks.tolist() == [6_000_010, 6_000_015]
    assert ticks.ask_ticks.tolist() == [6_000_020, 6_000_100]
    assert ticks.bid_lots.tolist() == [15, 10]
    assert ticks.ask_lots.tolist() == [20, 0]
    assert ticks.ts_event_ns.tolist() == [MISSING_NS] * 2
    assert ticks.price_ticks.tolist() == [0, 0]
    assert [note.split(": ")[1][:14] for note in feed.notes] == ["tick size 0.01", "lot size 0.1 i"]
    assert feed.progress() == 1.0


def test_stated_steps_need_no_second_look(tmp_path: Path) -> None:
    write(tmp_path / "btc.csv", "t,b,bq,a,aq\n1723161600000,60000.5,1.5,60001,2\n")
    stated = {"tick": 0.5, "lot": 0.5, "contract_value": 10.0, "inverse": True}
    feed = feed_of(tmp_path, columns=QUOTES, maker_fee_bp=0.0, taker_fee_bp=0.0, **stated)
    assert feed.notes == []
    assert feed.instruments[0] == Instrument("table:btc", 0.5, 0.5, 10.0, True)
    (note,) = feed_of(tmp_path, columns=QUOTES, taker_fee_bp=4.0, **stated).notes
    assert note.startswith("table:btc: fees are not stated and taken as 0 bp; state source.maker_fee_bp")
    assert read(feed).bid_ticks.tolist() == [120_001]


def test_price_only_files_are_trades(tmp_path: Path) -> None:
    write(tmp_path / "eth.csv", "when,last\n2024-08-09,2600.5\n2024-08-09 00:00:01.000000007,2600.25\n")
    ticks = read(feed_of(tmp_path, columns=ColumnMap(time="when", price="last")))
    assert ticks.kind.tolist() == [Kind.TRADE] * 2
    assert ticks.ts_recv_ns.tolist() == [T0, T0 + 1_000_000_007]
    assert ticks.price_ticks.tolist() == [260_050, 260_025]
    assert ticks.qty_lots.tolist() == [0, 0]
    assert ticks.side.tolist() == [0, 0]


def test_quotes_and_trades_in_one_file(tmp_path: Path) -> None:
    columns = replace(QUOTES, price="p", qty="q", side="s", event_time="e")
    rows = f"{T0},{T0 - 5},10,1,11,2,,,\n{T0},,,,,,10.5,3,sell\n{T0 + 1},{T0},10,1,11,2,,,\n"
    write(tmp_path / "x.csv", "t,e,b,bq,a,aq,p,q,s\n" + rows)
    ticks = read(feed_of(tmp_path, columns=columns))
    assert ticks.kind.tolist() == [0, 1, 0]
    assert ticks.side.tolist() == [0, -1, 0]
    assert ticks.bid_ticks.tolist() == [100, 0, 100]
    assert ticks.price_ticks.tolist() == [0, 105, 0]
    assert ticks.ts_event_ns.tolist() == [T0 - 5, MISSING_NS, T0]
    write(tmp_path / "x.csv", f"t,e,b,bq,a,aq,p,q,s\n{T0},,10,1,11,2,10.5,1,buy\n")
    _, error = read_until_error(feed_of(tmp_path, columns=columns))
    assert isinstance(error, MalformedLineError)
    assert "a quote or a trade?" in str(error)


@pytest.mark.parametrize(
    ("unit", "cells", "expected"),
    [
        ("auto", ["1723161600", "1723161600.5"], [T0, T0 + 500_000_000]),
        ("auto", ["1723161600000", "1723161600000.25"], [T0, T0 + 250_000]),
        ("auto", ["1723161600000000", "1723161600000001"], [T0, T0 + 1_000]),
        ("auto", [str(T0), str(T0 + 1)], [T0, T0 + 1]),
        ("auto", ["2024-08-09T02:00:00+02:00", "2024-08-09T02:00:01+02:00"], [T0, T0 + 1_000_000_000]),
        ("auto", ["2024-08-09T00:00:00Z", "2024-08-09T00:00:00.5Z"], [T0, T0 + 500_000_000]),
        ("iso", ["2024-08-09 00:00", "2024-08-09 00:01"], [T0, T0 + 60_000_000_000]),
        ("s", ["5", "50000000000"], [5_000_000_000, MISSING_NS]),
        ("ms", ["-3", "5"], [MISSING_NS, 5_000_000]),
    ],
)
def test_times(unit: str, cells: list[str], expected: list[int], tmp_path: Path) -> None:
    if unit == "auto":
        write(tmp_path / "x.csv", "t,p\n" + "".join(f"{cell},1\n" for cell in cells))
        assert read(feed_of(tmp_path, columns=ColumnMap(time="t", price="p"))).ts_recv_ns.tolist() == expected
    elif unit != "ms":
        assert times_ns(pa.array(cells), unit)[0].tolist() == expected


def test_time_types_of_parquet(tmp_path: Path) -> None:
    stamps = [T0, T0 + 1_000_000]
    for name, column in {
        "naive": pa.array(stamps, pa.timestamp("ns")),
        "zone": pa.array(stamps, pa.timestamp("ns", "Europe/Berlin")),
        "ms": pa.array([s // 1_000_000 for s in stamps], pa.timestamp("ms")),
        "int": pa.array([s // 1_000 for s in stamps]),
        "float": pa.array([s / 1e9 for s in stamps]),
        "text": pa.array(["2024-08-09", "2024-08-09 00:00:00.001"]),
    }.items():
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"t": column, "p": [1.5, 2.5]}), tmp_path / name / "x.parquet")
        ticks = read(feed_of(tmp_path / name, columns=ColumnMap(time="t", price="p")))
        assert ticks.ts_recv_ns.tolist() == stamps, name


def test_parquet_and_csv_say_the_same(tmp_path: Path) -> None:
    table = pa.table(
        {
            "t": [T0, T0 + 1, T0 + 1],
            "p": pa.array([60000.1, 60000.2, 59999.9], pa.float32()),
            "q": pa.array(["1.50", "2", "3"]).cast(pa.decimal128(9, 2)),
            "s": pa.array(["buy", "sell", None]).dictionary_encode(),
            "other": [1, 2, 3],
        }
    )
    (tmp_path / "p").mkdir()
    (tmp_path / "c").mkdir()
    pq.write_table(table, tmp_path / "p" / "x.parquet")
    write(tmp_path / "c" / "x.csv", f"t,p,q,s\n{T0},60000.1,1.5,buy\n{T0 + 1},60000.2,2,sell\n{T0 + 1},59999.9,3,\n")
    ticks = read(feed_of(tmp_path / "p", columns=TRADES))
    assert_same(ticks, read(feed_of(tmp_path / "c", columns=TRADES)))
    assert ticks.side.tolist() == [1, -1, 0]


def test_a_known_instrument_is_used(tmp_path: Path) -> None:
    write(tmp_path / "btc_2024.csv", f"t,p,q,s\n{T0},60000.1,1.5,b\n")
    known = Instrument("binance:BTC/USDT", 0.01, 1e-5, taker_fee_bp=10.0)
    config = TableConfig(glob=str(tmp_path / "*"), columns=TRADES, streams={"btc_*": known.stream})
    feed = TableFeed(config, {"any": known})
    assert feed.instruments == (replace(known, trades_only=True),)
    assert feed.notes == []
    assert read(feed).price_ticks.tolist() == [6_000_010]
    assert TableFeed(config).instruments[0].tick_size == 0.1


def test_several_files_and_ties(tmp_path: Path) -> None:
    write(tmp_path / "b.csv", f"t,p\n{T0},1\n{T0 + 2},2\n{T0 + 2},3\n")
    write(tmp_path / "a.csv", f"t,p\n{T0},4\n{T0 + 1},5\n{T0 + 2},6\n")
    columns = ColumnMap(time="t", price="p")
    ticks = read(feed_of(tmp_path, columns=columns))
    assert ticks.price_ticks.tolist() == [4, 1, 5, 6, 2, 3]
    assert ticks.stream.tolist() == [0, 1, 0, 0, 1, 1]
    backwards = [str(tmp_path / "b.csv"), str(tmp_path / "a.csv"), str(tmp_path / "*.csv")]
    assert_same(read(TableFeed(TableConfig(glob=backwards, columns=columns))), ticks)
    write(tmp_path / "b.csv", f"t,p\n{T0 + 2},1\n{T0 + 2},2\n{T0 + 3},3\n")
    one = read(feed_of(tmp_path, columns=columns, streams={"*": "x:BTC/USDT"}))
    assert [i.stream for i in one.instruments] == ["x:BTC/USDT"]
    assert one.price_ticks.tolist() == [4, 5, 6, 1, 2, 3]


def test_a_stream_column(tmp_path: Path) -> None:
    rows = f"{T0},ETH,20\n{T0},BTC,10\n{T0 + 1},BTC,10.5\nhalf,\n{T0 + 2},ETH,21\n"
    write(tmp_path / "all.csv", "t,sym,p\n" + rows)
    columns = ColumnMap(time="t", price="p", stream="sym")
    feed = feed_of(tmp_path, columns=columns, streams={"ETH": "x:ETH/USDT"}, policy=DROP)
    ticks = read(feed)
    assert [(i.stream, i.tick_size) for i in feed.instruments] == [("table:BTC", 0.1), ("x:ETH/USDT", 1.0)]
    assert ticks.stream.tolist() == [0, 1, 0, 1]
    assert ticks.price_ticks.tolist() == [100, 20, 105, 21]
    assert feed.dropped == {"malformed": 1}


CSV_TRADES = "".join(
    f"{T0 + 10 * i},{100 + i % 7}.{i % 10},{i % 5},{'buy' if i % 2 else 'sell'}\n" for i in range(1_000)
)


@given(
    rows=st.lists(
        st.tuples(
            st.integers(0, 3), st.integers(1, 10**9), st.integers(0, 50), st.integers(0, 10**6), st.integers(0, 10**6)
        ),
        min_size=1,
        max_size=60,
    ),
    max_events=st.integers(1, 70),
    block=st.sampled_from([200, 1 << 20]),
    packed=st.booleans(),
)
@settings(max_examples=30)
def test_any_quotes_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[tuple[int, int, int, int, int]],
    max_events: int,
    block: int,
    packed: bool,
) -> None:
    folder = tmp_path_factory.mktemp("table")
    ts_ns = T0 + np.cumsum([row[0] for row in rows])
    text = "t,b,a,bq,aq\n"
    for at, (_, bid, spread, bid_lots, ask_lots) in zip(ts_ns.tolist(), rows, strict=True):
        prices = [f"{p // 100}.{p % 100:02d}" for p in (bid, bid + spread)]
        text += ",".join([str(at), *prices, *(f"{q // 1000}.{q % 1000:03d}" for q in (bid_lots, ask_lots))]) + "\n"
    data = gzip.compress(text.encode()) if packed else text.encode()
    (folder / "x.csv").write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_files, "CSV_BLOCK_BYTES", block)
        ticks = read(feed_of(folder, columns=QUOTES, tick=0.01, lot=0.001), max_events)
    assert ticks.ts_recv_ns.tolist() == ts_ns.tolist()
    for name, column in (("bid_ticks", 1), ("bid_lots", 3), ("ask_lots", 4)):
        assert getattr(ticks, name).tolist() == [row[column] for row in rows]
    assert ticks.ask_ticks.tolist() == [row[1] + row[2] for row in rows]


def test_batches_do_not_depend_on_the_cut(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", "t,p,q,s\n" + CSV_TRADES)
    write(tmp_path / "y.csv", "t,p,q,s\n" + CSV_TRADES)
    whole = read(feed_of(tmp_path, columns=TRADES))
    assert len(whole) == 2_000
    for max_events in (1, 7, 1_999):
        assert_same(read(feed_of(tmp_path, columns=TRADES), max_events), whole)


GOOD = f"{T0},10,1,11,1\n"
LATER = f"{T0 + 9},10,1,11,1\n"


@pytest.mark.parametrize(
    ("line", "error", "message"),
    [
        (f"{T0 + 1},nan,1,11,1", BadPriceError, "bid nan is not a finite number"),
        (f"{T0 + 1},inf,1,11,1", BadPriceError, "bid inf is not a finite number"),
        (f"{T0 + 1},,1,11,1", BadPriceError, "bid is missing"),
        (f"{T0 + 1},0,1,11,1", BadPriceError, "bid 0.0 is not positive"),
        (f"{T0 + 1},-10,1,11,1", BadPriceError, "bid -10.0 is not positive"),
        (
            f"{T0 + 1},10,1,11.5,1",
            BadPriceError,
            "tick size 1.0: correct the tick size in conf/instruments or source.tick",
        ),
        (f"{T0 + 1},10,1,11,-2", BadPriceError, "ask quantity -2.0 is negative"),
        (f"{T0 + 1},10,,11,2", BadPriceError, "bid_qty is missing"),
        (f"{T0 + 1},10,0.5,11,2", BadPriceError, "bid quantity 0.5 is not a multiple of the lot size 1.0"),
        (f"{T0 + 1},12,1,11,1", CrossedQuoteError, "crossed quote of table:x: bid 12 above ask 11"),
        (f"{T0 - 1},10,1,11,1", UnsortedTimeError, "runs backwards"),
        ("soon,10,1,11,1", MalformedLineError, "t='soon' can't be read as time"),
        (",10,1,11,1", MalformedLineError, "time is missing"),
        (f"{T0 + 1},1o,1,11,1", MalformedLineError, "b='1o' can't be read as bid"),
        (f"{T0 + 1},10,1", MalformedLineError, "3 cells instead of 5"),
        (f"{T0 + 1},10,1,11,1,7", MalformedLineError, "6 cells instead of 5"),
    ],
)
def test_bad_rows(tmp_path: Path, line: str, error: type[DataError], message: str) -> None:
    path = write(tmp_path / "x.csv", "t,b,bq,a,aq\n" + GOOD + "\n" + line + "\n" + LATER)
    strict = BadInputPolicy(crossed="error")
    times, found = read_until_error(feed_of(tmp_path, columns=QUOTES, tick=1.0, lot=1.0, policy=strict))
    assert type(found) is error
    assert message in str(found)
    assert (found.file, found.line) == (str(path), 4)  # the blank line counts
    assert times == [T0]  # what came before is handed on
    feed = feed_of(tmp_path, columns=QUOTES, tick=1.0, lot=1.0, policy=DROP)
    assert read(feed).ts_recv_ns.tolist() == [T0, T0 + 9]
    assert feed.dropped == {error.reason: 1}
    assert message in feed.examples[0]


def test_every_late_row_is_late(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", "t,p\n" + "".join(f"{T0 + at},1\n" for at in (0, 10, 1, 5, 10, 11, 4)))
    columns = ColumnMap(time="t", price="p")
    for block in (64, 1 << 20):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(table_files, "CSV_BLOCK_BYTES", block)
            feed = feed_of(tmp_path, columns=columns, policy=DROP)
            assert (read(feed).ts_recv_ns - T0).tolist() == [0, 10, 10, 11]
            assert feed.dropped == {"unsorted": 3}


def test_bad_bytes_are_a_malformed_line(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(
        b"t,p\n" + f"{T0},1\n".encode() + b"\xff\xfe,2\n" + f"{T0},\xb5\n".encode("latin1")
    )
    feed = feed_of(tmp_path, columns=ColumnMap(time="t", price="p"), policy=DROP)
    assert read(feed).ts_recv_ns.tolist() == [T0]
    assert feed.dropped == {"malformed": 2}


def test_lines_count_past_bad_ones(tmp_path: Path) -> None:
    text = "t,p\n" + "".join(f"{T0 + i},1\nhalf\n" if i % 50 == 0 else f"{T0 + i},1\n" for i in range(500))
    path = write(tmp_path / "x.csv", text + f"{T0 + 500},-1\nhalf\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(table_files, "CSV_BLOCK_BYTES", 300)
        times, error = read_until_error(
            feed_of(tmp_path, columns=ColumnMap(time="t", price="p"), policy=replace(DROP, bad_price="error"))
        )
        assert (error.file, error.line) == (str(path), text.count("\n") + 1)
        assert times == [T0 + i for i in range(500)]
        feed = feed_of(tmp_path, columns=ColumnMap(time="t", price="p"), policy=DROP)
        assert len(read(feed)) == 500
        assert feed.dropped == {"malformed": 11, "bad_price": 1}


def test_a_cut_archive(tmp_path: Path) -> None:
    prices = np.random.default_rng(0).integers(10**6, 10**7, 30_000)
    text = "t,p\n" + "".join(f"{T0 + i},{price}\n" for i, price in enumerate(prices))
    path = tmp_path / "x.csv.gz"
    data = gzip.compress(text.encode())
    path.write_bytes(data[: len(data) // 2])
    columns = ColumnMap(time="t", price="p")
    times, error = read_until_error(feed_of(tmp_path, columns=columns))
    assert isinstance(error, CorruptFileError)
    assert (error.file, error.line) == (str(path), len(times) + 2)
    assert len(times) > 10_000
    feed = feed_of(tmp_path, columns=columns, policy=DROP)
    # Half a number at the end of what unpacks is not taken for a number.
    assert read(feed).price_ticks.tolist() == prices[: len(times)].tolist()
    assert feed.dropped == {"corrupt_file": 1}


def test_archives_that_can_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "x.csv.zip"
    columns = ColumnMap(time="t", price="p")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.csv", f"t,p\n{T0},1\n")
    assert read(feed_of(tmp_path, columns=columns)).price_ticks.tolist() == [1]
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with pytest.raises(CorruptFileError, match="zip data is damaged after line 0"):
        feed_of(tmp_path, columns=columns)
    path.write_bytes(gzip.compress(b"t,p")[:12])
    with pytest.raises(CorruptFileError, match="ends early"):
        feed_of(tmp_path, columns=columns)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.csv", "t,p")
        archive.writestr("y.csv", "t,p")
    with pytest.raises(SchemaError, match=r"holds 2 files, not one: x\.csv, y\.csv"):
        feed_of(tmp_path, columns=columns)


def test_a_damaged_parquet_file(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"t": [T0], "p": [1.0]}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(CorruptFileError, match="is no whole Parquet file"):
        feed_of(tmp_path, columns=ColumnMap(time="t", price="p"))


def test_wrong_columns(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", "time,Price,p,p\n1,2,3,4\n")
    with pytest.raises(SchemaError, match=r"no column 'price' \(source.columns.price\); it has 'time', 'Price', 'p'"):
        feed_of(tmp_path, columns=ColumnMap(time="time", price="price"))
    with pytest.raises(SchemaError, match="'p' is there 2 times"):
        feed_of(tmp_path, columns=ColumnMap(time="time", price="p"))
    pq.write_table(pa.table({"t": [True], "p": [1.0], "w": [[1]]}), tmp_path / "x.parquet")
    (tmp_path / "x.csv").unlink()
    with pytest.raises(SchemaError, match="no column 'q'"):
        feed_of(tmp_path, columns=ColumnMap(time="t", price="q"))
    with pytest.raises(SchemaError, match="type bool holds no times"):
        feed_of(tmp_path, columns=ColumnMap(time="t", price="p"))
    write(tmp_path / "x.parquet", "")
    with pytest.raises(EmptyFileError, match="the file is empty"):
        feed_of(tmp_path, columns=ColumnMap(time="t", price="p"))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"glob": "no/such/*.csv"}, "no file matches"),
        ({"preset": "kraken"}, "choose from none, binance_trades"),
        ({"columns": ColumnMap()}, "state time, and bid and ask"),
        ({"columns": ColumnMap(time="t", qty="q")}, "qty is stated without price"),
        ({"columns": ColumnMap(time="t", price="p", side="s", buyer_maker="m")}, "not both"),
        ({"time_unit": "min"}, "choose from auto, s, ms"),
        ({"delimiter": ""}, "one character"),
        ({"tick": 0.0}, "source.tick=0.0: use a number above 0"),
        ({"streams": {"x": "kraken"}}, "source.streams: x: kraken is not of the form venue:BASE/QUOTE"),
        ({"taker_fee_bp": 1e6}, "source.taker_fee_bp=1000000.0 is out of range"),
        ({"preset": "hftbacktest"}, "fields of preset hftbacktest are fixed"),
    ],
)
def test_settings_are_checked(tmp_path: Path, setting: dict[str, Any], message: str) -> None:
    write(tmp_path / "x.csv", "t,p\n1,2\n")
    with pytest.raises(ConfigError, match=message):
        TableFeed(TableConfig(**({"glob": str(tmp_path / "*"), "columns": ColumnMap(time="t", price="p")} | setting)))


def test_prices_that_are_no_decimals_need_a_tick(tmp_path: Path) -> None:
    write(tmp_path / "x.csv", f"t,p\n{T0},{1 / 3!r}\n")
    with pytest.raises(ConfigError, match=r"more than 12 decimals: state source\.tick"):
        feed_of(tmp_path, columns=ColumnMap(time="t", price="p"))


@given(st.integers(0, 10**11), st.integers(0, 8))
def test_decimals_are_the_fewest(count: int, places: int) -> None:
    found = decimals(np.array([float(f"{count}e-{places}")]))
    text = f"{count:0{places + 1}d}"
    part = text[len(text) - places :].rstrip("0") if places else ""
    assert found == len(part)


def test_true_is_no_price_of_one() -> None:
    cells = numbers(pa.array([True, None, False]))
    assert np.isnan(cells.values).all()
    assert cells.empty.tolist() == [False, True, False]
    assert cells.unreadable.tolist() == [True, False, True]
