from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from schwabot.errors import CorruptFileError, MalformedLineError, SchemaError
from schwabot.records.market import Kind, Ticks
from schwabot.ticks import npz
from schwabot.ticks.merge import concat
from schwabot.ticks.table import TableConfig, TableFeed
from schwabot.ticks.validate import BadInputPolicy

BOTH = npz.EXCH | npz.LOCAL
DTYPE = np.dtype(
    [
        ("ev", "<u8"),
        ("exch_ts", "<i8"),
        ("local_ts", "<i8"),
        ("px", "<f8"),
        ("qty", "<f8"),
        ("order_id", "<u8"),
        ("ival", "<i8"),
        ("fval", "<f8"),
    ],
    align=True,
)
T0 = 1_723_161_600_000_000_000


def write(path: Path, events: list[tuple[int, int, float, float]]) -> Path:
    rows = [(ev, T0 + at - 5, T0 + at, px, qty, 0, 0, 0.0) for ev, at, px, qty in events]
    np.savez_compressed(path, data=np.array(rows, dtype=DTYPE))
    return path


def feed_of(folder: Path, **settings: object) -> TableFeed:
    return TableFeed(TableConfig(glob=str(folder / "*.npz"), preset="hftbacktest", **settings))  # type: ignore[arg-type]


def read(feed: TableFeed, max_events: int = 65_536) -> Ticks:
    return concat(list(feed.batches(max_events)))


def test_quotes_and_trades(tmp_path: Path) -> None:
    bid, ask = npz.DEPTH | BOTH | npz.BUY, npz.DEPTH | BOTH | npz.SELL
    write(
        tmp_path / "btc.npz",
        [
            (npz.SNAPSHOT | BOTH | npz.BUY, 0, 99.5, 1.0),
            (npz.SNAPSHOT | BOTH | npz.BUY, 0, 99.0, 2.0),
            (npz.SNAPSHOT | BOTH | npz.SELL, 0, 100.5, 3.0),
            (bid, 10, 98.0, 9.0),  # behind the touch: no quote
            (npz.TRADE | BOTH | npz.SELL, 20, 99.5, 1.0),
            (bid, 20, 99.5, 0.0),  # gone: the next level is best
            (npz.DEPTH | npz.EXCH | npz.BUY, 25, 100.0, 5.0),  # not seen by us
            (ask, 30, 100.0, 4.0),
            (bid, 30, 99.5, 7.0),  # one message: one quote
            (npz.CLEAR | BOTH | npz.BUY, 40, 99.0, 0.0),  # bids down to 99 are gone
            (npz.BBO | BOTH | npz.SELL, 50, 100.5, 6.0),
            (npz.TRADE | BOTH, 60, 100.5, 2.0),
            (npz.CLEAR | BOTH, 70, 0.0, 0.0),  # both sides
            (bid, 80, 90.0, 1.0),  # one side only: no touch yet
            (ask, 90, 91.0, 1.0),
        ],
    )
    feed = feed_of(tmp_path)
    ticks = read(feed)
    assert feed.instruments[0].stream == "table:btc"
    assert feed.instruments[0].tick_size == 0.1
    got = []
    for i in range(len(ticks)):
        at = int(ticks.ts_recv_ns[i]) - T0
        if ticks.kind[i] == Kind.QUOTE:
            touch = (ticks.bid_ticks[i], ticks.bid_lots[i], ticks.ask_ticks[i], ticks.ask_lots[i])
            got.append((at, *(int(x) for x in touch)))
        else:
            got.append((at, int(ticks.price_ticks[i]), int(ticks.qty_lots[i]), int(ticks.side[i])))
    assert got == [
        (0, 995, 1, 1005, 3),
        (20, 995, 1, -1),
        (20, 990, 2, 1005, 3),
        (30, 995, 7, 1000, 4),
        (40, 980, 9, 1000, 4),
        (50, 980, 9, 1005, 6),
        (60, 1005, 2, 0),
        (90, 900, 1, 910, 1),
    ]
    np.testing.assert_array_equal(ticks.ts_event_ns, ticks.ts_recv_ns - 5)


def test_reading_in_pieces_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    events = []
    for i in range(3_000):
        side = (npz.BUY, npz.SELL)[i % 2]
        price = float(rng.integers(80, 100) if side == npz.BUY else rng.integers(100, 120))
        events.append((npz.DEPTH | BOTH | side, int(i // 3), price, float(rng.integers(0, 3))))
    write(tmp_path / "x.npz", events)
    whole = read(feed_of(tmp_path))
    assert 100 < len(whole) < 1_000
    for pieces in (1, 7, 500):
        monkeypatch.setattr(npz, "READ_EVENTS", pieces)
        part = read(feed_of(tmp_path), 13)
        for name in ("ts_recv_ns", "bid_ticks", "ask_ticks", "bid_lots", "ask_lots"):
            np.testing.assert_array_equal(getattr(part, name), getattr(whole, name))


def test_bad_files(tmp_path: Path) -> None:
    path = write(tmp_path / "x.npz", [(99 | BOTH, 0, 1.0, 1.0), (npz.TRADE | BOTH, 1, 5.0, 1.0)])
    with pytest.raises(MalformedLineError, match=r"x\.npz:1: event kind 99"):
        read(feed_of(tmp_path))
    feed = feed_of(tmp_path, policy=BadInputPolicy(malformed="drop"))
    assert read(feed).price_ticks.tolist() == [5]
    assert feed.dropped == {"malformed": 1}
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(CorruptFileError, match="is no whole npz file"):
        feed_of(tmp_path)
    np.savez(path, data=np.zeros(3))
    with pytest.raises(SchemaError, match="not the events of hftbacktest: fields float64"):
        feed_of(tmp_path)
    np.savez(path, a=np.zeros(3), b=np.zeros(3))
    with pytest.raises(SchemaError, match=r"no array 'data'; it has a\.npy, b\.npy"):
        feed_of(tmp_path)
