from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schwabot.errors import ConfigError, CorruptFileError, SchemaError, UnsortedTimeError
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, BookLevels, Kind, Ticks
from schwabot.ticks.capture import CaptureFeed
from schwabot.ticks.merge import blank, concat, cut, rebatch, take
from schwabot.ticks.presets import ColumnMap
from schwabot.ticks.store import StoreConfig, StoreFeed, StoreWriter, write_store
from schwabot.ticks.store_format import read_catalogue
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.ticks.table import TableConfig, TableFeed

COLUMNS = [f.name for f in fields(Ticks) if f.name not in ("instruments", "levels")]
DAY_NS = 86_400_000_000_000
MIDNIGHT = 1_723_161_600_000_000_000  # 2024-08-09
INSTRUMENTS = (
    Instrument("binance:BTC/USDT", 0.01, 1e-5, taker_fee_bp=10.0),
    Instrument("binancecoinm:BTC/USD:BTC", 0.1, 1.0, 100.0, True, 2.0, 5.0),
    Instrument("odd venue.=%:A B/C\\D:é", 1e-9, 0.3),
)


@dataclass
class Given:
    """Ticks that a test has made up, as a feed."""

    ticks: Ticks
    chunk: int = 7

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        return self.ticks.instruments

    @property
    def dropped(self) -> Mapping[str, int]:
        return {"crossed": 2}

    @property
    def expected_events(self) -> int | None:
        return len(self.ticks)

    def progress(self) -> float:
        return 0.0

    def batches(self, max_events: int = 65_536) -> Iterator[Ticks]:
        return rebatch([self.ticks] if len(self.ticks) else [], min(self.chunk, max_events))


def read(root: Path, max_events: int = 65_536, **settings: object) -> Ticks:
    return concat(list(StoreFeed(StoreConfig(path=str(root), **settings)).batches(max_events)))  # type: ignore[arg-type]


def assert_same(a: Ticks, b: Ticks) -> None:
    assert a.instruments == b.instruments
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name, strict=True)
    assert (a.levels is None) == (b.levels is None)
    if a.levels is not None and b.levels is not None:
        for column in fields(BookLevels):
            np.testing.assert_array_equal(
                getattr(a.levels, column.name), getattr(b.levels, column.name), err_msg=column.name, strict=True
            )


def some_ticks(seed: int, n: int, *, step_ns: int = 1, levels: int = 0) -> Ticks:
    """Arbitrary rows with many equal stamps, in the order of the contract."""
    rng = np.random.default_rng(seed)
    stream = rng.integers(0, len(INSTRUMENTS), n).astype(np.int32)
    recv = MIDNIGHT + step_ns * np.sort(rng.integers(-5, 5, n))
    order = np.lexsort((stream, recv))
    big = [rng.integers(0, 2**62, n) for _ in range(6)]
    kind = rng.integers(0, 3, n).astype(np.int8)
    ticks = replace(
        blank(INSTRUMENTS, n),
        ts_recv_ns=recv[order],
        ts_event_ns=np.where(rng.random(n) < 0.3, MISSING_NS, rng.integers(-(2**62), 2**62, n)),
        ts_emit_ns=np.where(rng.random(n) < 0.3, MISSING_NS, rng.integers(0, 2**62, n)),
        stream=stream[order],
        kind=kind,
        bid_ticks=big[0],
        ask_ticks=big[1],
        bid_lots=big[2],
        ask_lots=big[3],
        price_ticks=big[4],
        qty_lots=big[5],
        side=rng.integers(-1, 2, n).astype(np.int8),
    )
    if not levels:
        return ticks
    row = np.flatnonzero((kind == Kind.DEPTH) & (rng.random(n) < 0.8))
    sides = [rng.integers(0, 2**40, (len(row), levels)) for _ in range(4)]
    return replace(ticks, levels=BookLevels(row, *sides))


@pytest.mark.parametrize("max_events", [1_000, 65_536])
@pytest.mark.parametrize("read_rows", [777, 65_536])
def test_synthetic_market_comes_back_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, max_events: int, read_rows: int
) -> None:
    monkeypatch.setattr("schwabot.ticks.store.READ_ROWS", read_rows)
    config = SyntheticConfig(events=60_000)
    source = concat(list(SyntheticFeed(config).batches()))
    report = write_store(SyntheticFeed(config), tmp_path / "store", rows_per_group=5_000)
    assert_same(read(tmp_path / "store", max_events), source)
    assert report.rows == len(source)
    assert report.files == 4
    assert report.streams == {
        i.stream: int((source.stream == v).sum()) for v, i in enumerate(source.instruments)
    }  # fmt: skip
    assert (report.first_ns, report.last_ns) == (source.ts_recv_ns[0], source.ts_recv_ns[-1])
    assert report.bytes == sum(path.stat().st_size for path in (tmp_path / "store").rglob("*.parquet"))


@given(
    seed=st.integers(0, 1_000),
    n=st.integers(1, 60),
    step_ns=st.sampled_from([1, DAY_NS // 2]),
    levels=st.sampled_from([0, 2]),
    group=st.integers(1, 20),
    chunk=st.integers(1, 30),
    max_events=st.integers(1, 70),
)
@settings(max_examples=25)
def test_any_rows_come_back(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    n: int,
    step_ns: int,
    levels: int,
    group: int,
    chunk: int,
    max_events: int,
) -> None:
    root = tmp_path_factory.mktemp("store") / "s"
    source = some_ticks(seed, n, step_ns=step_ns, levels=levels)
    write_store(Given(source, chunk), root, rows_per_group=group)
    assert_same(read(root, max_events), source)


def test_any_days_and_streams(tmp_path: Path) -> None:
    source = some_ticks(3, 400, step_ns=DAY_NS // 4)
    write_store(Given(source), tmp_path / "s", rows_per_group=10)
    recv = source.ts_recv_ns
    part = take(source, np.flatnonzero((recv >= MIDNIGHT) & (recv < MIDNIGHT + DAY_NS)))
    assert_same(read(tmp_path / "s", start="2024-08-09", end="2024-08-10"), part)
    half = take(source, np.flatnonzero(recv >= MIDNIGHT + DAY_NS // 4))
    assert_same(read(tmp_path / "s", start="2024-08-09T06:00:00"), half)
    assert_same(read(tmp_path / "s", start="2024-08-09T08:00:00+02:00"), half)
    one = read(tmp_path / "s", venues=["binance"])
    assert [i.stream for i in one.instruments] == ["binance:BTC/USDT"]
    np.testing.assert_array_equal(one.bid_ticks, source.bid_ticks[source.stream == 0])
    two = read(tmp_path / "s", symbols=["BTC/USDT", "BTC/USD:BTC"])
    np.testing.assert_array_equal(two.qty_lots, source.qty_lots[source.stream < 2])
    feed = StoreFeed(StoreConfig(path=str(tmp_path / "s")))
    assert feed.expected_events == 400
    assert len(concat(list(feed.batches()))) == 400
    assert feed.progress() == 1.0
    assert StoreFeed(StoreConfig(path=str(tmp_path / "s"), start="2024-08-09T01:00:00")).expected_events is None


def test_other_tools_read_the_folder(tmp_path: Path) -> None:
    source = some_ticks(4, 200, step_ns=DAY_NS // 4)
    write_store(Given(source), tmp_path / "s")
    table = ds.dataset(tmp_path / "s", format="parquet", partitioning="hive").to_table()
    assert table.num_rows == 200
    names = set(zip(table["venue"].to_pylist(), table["symbol"].to_pylist(), strict=True))
    assert names == {(i.venue, i.symbol) for i in INSTRUMENTS}
    assert table["ts_event_ns"].null_count == (source.ts_event_ns == MISSING_NS).sum()


def test_later_rows_can_be_appended(tmp_path: Path) -> None:
    source = some_ticks(5, 300, step_ns=DAY_NS // 4)
    write_store(Given(cut(source, 0, 120)), tmp_path / "s")
    write_store(Given(cut(source, 120, 300)), tmp_path / "s", mode="append")
    assert_same(read(tmp_path / "s"), source)
    with pytest.raises(ConfigError, match="append later rows only"):
        write_store(Given(cut(source, 0, 120)), tmp_path / "s", mode="append")
    assert_same(read(tmp_path / "s"), source)
    other = replace(source, instruments=(replace(INSTRUMENTS[0], tick_size=0.5), *INSTRUMENTS[1:]))
    with pytest.raises(SchemaError, match="is stored as"):
        write_store(Given(other), tmp_path / "s", mode="append")


def test_a_new_stream_can_be_appended(tmp_path: Path) -> None:
    only = {v: take(some_ticks(6, 90), np.flatnonzero(some_ticks(6, 90).stream == v)) for v in (0, 1)}
    for v, mode in ((1, "new"), (0, "append")):
        ticks = replace(only[v], instruments=(INSTRUMENTS[v],), stream=np.zeros(len(only[v]), np.int32))
        write_store(Given(ticks), tmp_path / "s", mode=mode)
    both = read(tmp_path / "s")
    assert both.instruments == INSTRUMENTS[:2]
    np.testing.assert_array_equal(both.bid_ticks[both.stream == 0], only[0].bid_ticks)


def test_overwrite_replaces_when_it_is_whole(tmp_path: Path) -> None:
    old, new = some_ticks(7, 50), some_ticks(8, 40)
    write_store(Given(old), tmp_path / "s")
    before = sorted(path.name for path in (tmp_path / "s").rglob("*"))

    with pytest.raises(AttributeError), StoreWriter(INSTRUMENTS, tmp_path / "s", mode="overwrite") as writer:
        writer.write([new, writer.write(new)])  # type: ignore[arg-type, func-returns-value]
    assert sorted(path.name for path in (tmp_path / "s").rglob("*")) == before
    assert_same(read(tmp_path / "s"), old)

    write_store(Given(new), tmp_path / "s", mode="overwrite")
    assert_same(read(tmp_path / "s"), new)
    listed = {tmp_path / "s" / file.path for file in read_catalogue(tmp_path / "s").files}
    assert set((tmp_path / "s").rglob("*.parquet")) == listed


def test_a_failed_write_can_be_tried_again(tmp_path: Path) -> None:
    ticks = some_ticks(8, 40)
    with pytest.raises(AttributeError), StoreWriter(INSTRUMENTS, tmp_path / "s") as writer:
        writer.write([ticks, writer.write(ticks)])  # type: ignore[arg-type, func-returns-value]
    assert not [path for path in (tmp_path / "s").rglob("*") if path.is_file()]
    write_store(Given(ticks), tmp_path / "s")
    assert_same(read(tmp_path / "s"), ticks)


def test_what_a_killed_writer_left_is_not_read(tmp_path: Path) -> None:
    source = some_ticks(5, 300, step_ns=DAY_NS // 4)
    write_store(Given(cut(source, 0, 120)), tmp_path / "s")
    part = next((tmp_path / "s").rglob("*.parquet"))
    stray = part.with_name("part-00007.parquet")
    stray.write_bytes(part.read_bytes())
    part.with_name(".part-00008.parquet.1.tmp").write_bytes(b"PAR1")
    assert_same(read(tmp_path / "s"), cut(source, 0, 120))
    write_store(Given(cut(source, 120, 300)), tmp_path / "s", mode="append")
    assert_same(read(tmp_path / "s"), source)
    assert not stray.exists()
    assert not list((tmp_path / "s").rglob("*.tmp"))


def test_what_is_in_the_way_is_refused(tmp_path: Path) -> None:
    ticks = some_ticks(9, 20)
    write_store(Given(ticks), tmp_path / "s")
    with pytest.raises(ConfigError, match=r"is not empty: add convert\.existing=append"):
        write_store(Given(ticks), tmp_path / "s")
    with pytest.raises(ConfigError, match=r"is stored up to \d{4}-\d\d-\d\dT.*these rows start at .*convert\.out"):
        write_store(Given(ticks), tmp_path / "s", mode="append")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "letter.txt").write_text("dear")
    for mode in ("new", "append", "overwrite"):
        with pytest.raises(ConfigError, match="no tick store"):
            write_store(Given(ticks), tmp_path / "home", mode=mode)
    (tmp_path / "s" / "_store.json").unlink()
    with pytest.raises(CorruptFileError, match="did not finish"):
        read(tmp_path / "s")
    with pytest.raises(CorruptFileError, match="is a file, not the folder"):
        read(tmp_path / "home" / "letter.txt")
    with pytest.raises(ConfigError, match=r"unfinished store .*convert\.existing=overwrite"):
        write_store(Given(ticks), tmp_path / "s", mode="append")
    write_store(Given(ticks), tmp_path / "s", mode="overwrite")
    assert_same(read(tmp_path / "s"), ticks)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"mode": "x"}, "new, overwrite, append"),
        ({"compression": "x"}, "zstd, lz4"),
        ({"rows_per_group": 0}, "at least 1"),
    ],
)
def test_settings_of_writing_are_checked(tmp_path: Path, setting: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        write_store(Given(some_ticks(9, 20)), tmp_path / "t", **setting)  # type: ignore[arg-type]
    assert not (tmp_path / "t").exists()


def test_an_empty_feed_makes_an_empty_store(tmp_path: Path) -> None:
    report = write_store(Given(cut(some_ticks(1, 5), 0, 0)), tmp_path / "s")
    assert (report.rows, report.files, report.first_ns, report.dropped) == (0, 0, None, {"crossed": 2})
    feed = StoreFeed(StoreConfig(path=str(tmp_path / "s")))
    assert feed.instruments == INSTRUMENTS
    assert list(feed.batches()) == []
    assert feed.progress() == 1.0


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write_store(SyntheticFeed(SyntheticConfig(events=20_000, streams=1)), tmp_path / "s", rows_per_group=4_000)
    return tmp_path / "s"


def only_file(store: Path) -> Path:
    (path,) = store.rglob("*.parquet")
    return path


def test_a_flipped_byte_is_found(store: Path) -> None:
    path = only_file(store)
    content = bytearray(path.read_bytes())
    for at in (len(content) // 3, len(content) // 2):
        damaged = content.copy()
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(CorruptFileError) as caught:
            read(store)
        assert caught.value.file == str(path)


def test_a_cut_file_is_found(store: Path) -> None:
    path = only_file(store)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(CorruptFileError, match=r"part-00000\.parquet: can't be read"):
        read(store)
    path.unlink()
    with pytest.raises(CorruptFileError, match=r"listed in _store\.json and not there"):
        read(store)


def rewrite(path: Path, change: object) -> None:
    table = pq.ParquetFile(path).read()
    pq.write_table(change(table), path)  # type: ignore[operator]


def test_other_columns_are_refused(store: Path) -> None:
    rewrite(only_file(store), lambda table: table.drop_columns(["line"]))
    with pytest.raises(SchemaError, match="it has ts_recv_ns int64, ts_event_ns int64"):
        read(store)


def test_missing_rows_are_found(store: Path) -> None:
    path = only_file(store)
    whole = path.read_bytes()
    rewrite(path, lambda table: table.slice(5))
    with pytest.raises(CorruptFileError, match=r"rows, _store\.json says"):
        read(store)
    path.write_bytes(whole)
    rewrite(path, lambda table: pa.concat_tables([table.slice(0, 5), table.slice(4, 1), table.slice(6)]))
    with pytest.raises(CorruptFileError, match="lines have gaps"):
        read(store)
    path.write_bytes(whole)
    late = pa.array(np.arange(len(pq.ParquetFile(path).read()))[::-1].copy())
    schema = pq.ParquetFile(path).schema_arrow
    rewrite(path, lambda table: table.set_column(1, schema.field(1), late))
    with pytest.raises(UnsortedTimeError, match="runs backwards"):
        read(store)


def test_store_json_is_checked(store: Path) -> None:
    path = store / "_store.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"format": 99}))
    with pytest.raises(SchemaError, match="store format 99"):
        read(store)
    path.write_text(json.dumps({"format": 1, "files": [], "instruments": []}))
    with pytest.raises(SchemaError, match="levels"):
        read(store)
    path.write_text("{")
    with pytest.raises(CorruptFileError, match="does not parse"):
        read(store)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"venues": ["kraken"]}, "kraken not in the store; it has synthetic_a"),
        ({"symbols": ["ETH/USDT"]}, "ETH/USDT not in the store; it has BTC/USDT"),
        ({"start": "yesterday"}, "source.start='yesterday'"),
        ({"start": "2024-01-02", "end": "2024-01-02"}, "is not before"),
        ({"end": "2001-01-01"}, "it covers 2023-11-14T22:13:20"),
        ({"path": ""}, "source.path is empty"),
    ],
)
def test_settings_that_fit_nothing_are_refused(store: Path, setting: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        StoreFeed(StoreConfig(**({"path": str(store)} | setting)))  # type: ignore[arg-type]


def test_levels_of_another_depth_are_refused(tmp_path: Path) -> None:
    write_store(Given(some_ticks(1, 30, levels=2)), tmp_path / "s")
    with pytest.raises(SchemaError, match="3 book levels do not fit a store of 2"):
        write_store(Given(some_ticks(1, 30, step_ns=2, levels=3)), tmp_path / "s", mode="append")


def test_a_recording_with_its_book_comes_back(tmp_path: Path, captures: Path) -> None:
    spot = Instrument("binance:BTC/USDT", 0.01, 1e-5)
    paths = [captures / "binance" / "spot" / "btcusdt_20240808.gz"]
    source = concat(list(CaptureFeed(paths, {spot.stream: spot}, depth_levels=5).batches()))
    assert source.levels is not None
    assert len(source.levels.row) > 3_000
    write_store(CaptureFeed(paths, {spot.stream: spot}, depth_levels=5), tmp_path / "s")
    assert_same(read(tmp_path / "s"), source)


def test_fees_of_nothing_are_said(tmp_path: Path) -> None:
    write_store(SyntheticFeed(SyntheticConfig(events=50)), tmp_path / "stated")
    assert StoreFeed(StoreConfig(path=str(tmp_path / "stated"))).notes == []
    (tmp_path / "a.csv").write_text("t,p\n2024-08-09 00:00:01,60000.5\n")
    config = TableConfig(glob=f"{tmp_path}/a.csv", columns=ColumnMap(time="t", price="p"))
    write_store(TableFeed(config), tmp_path / "none")
    (note,) = StoreFeed(StoreConfig(path=str(tmp_path / "none"))).notes
    assert note.startswith("table:a: the store holds fees of 0 bp; if the venue charges any, convert again")
    write_store(TableFeed(replace(config, taker_fee_bp=4.0, maker_fee_bp=0.0)), tmp_path / "maker_free")
    assert StoreFeed(StoreConfig(path=str(tmp_path / "maker_free"))).notes == []


def test_a_store_on_another_file_system(tmp_path: Path) -> None:
    write_store(SyntheticFeed(SyntheticConfig(events=500)), tmp_path / "ticks")
    here = concat(list(StoreFeed(StoreConfig(path=str(tmp_path / "ticks"))).batches()))
    there = concat(list(StoreFeed(StoreConfig(path=(tmp_path / "ticks").as_uri())).batches()))
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(here, name), getattr(there, name))
    with pytest.raises(CorruptFileError, match=r"file:///.*no _store\.json in it"):
        StoreFeed(StoreConfig(path=(tmp_path / "other").as_uri()))
    with pytest.raises(ConfigError, match=r"source\.path=nowhere://x can't be used"):
        StoreFeed(StoreConfig(path="nowhere://x"))
    next((tmp_path / "ticks").glob("venue=*/symbol=*/date=*/part-*")).unlink()
    with pytest.raises(CorruptFileError, match=r"file:///.*part-00000\.parquet.*listed in _store\.json and not there"):
        list(StoreFeed(StoreConfig(path=(tmp_path / "ticks").as_uri())).batches())
