"""From recorded files to signals: neither the batch size nor the order the files are named in changes a bit."""

from __future__ import annotations

import gzip
from pathlib import Path
from random import Random

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schwabot.records.instrument import Instrument
from schwabot.records.market import Kind
from schwabot.ticks.capture import CaptureFeed
from tests.invariants.making import Said, assert_same, concat, run
from tests.kernels.making import settings as small

SPOT = Instrument("binance:BTC/USDT", 0.01, 1e-5, 1.0, False, 0.1, 0.3)
USDM = Instrument("binanceusdm:BTC/USDT:USDT", 0.1, 1e-3, 1.0, False, 0.1, 0.3)
COINM = Instrument("binancecoinm:BTC/USD:BTC", 0.1, 1.0, 100.0, True, 0.1, 0.3)
KNOWN = {i.stream: i for i in (SPOT, USDM, COINM)}
SYMBOL = {SPOT: "BTCUSDT", USDM: "BTCUSDT", COINM: "BTCUSD_PERP"}
START_MS = 1_723_161_240_000
MS = 1_000_000


def message(instrument: Instrument, channel: str, recv_ns: int, data: dict[str, object]) -> bytes:
    symbol = SYMBOL[instrument]
    return b"%d %s" % (recv_ns, orjson.dumps({"stream": f"{symbol.lower()}@{channel}", "data": data | {"s": symbol}}))


def recording(instrument: Instrument, seed: int, seconds: float = 6.0) -> list[bytes]:
    """What one book sends in a few seconds: a snapshot, then quotes, trades and depth, many at whole milliseconds."""
    rng = Random(f"{instrument.stream} {seed}")
    price, step = 60_000.0 + rng.randrange(-100, 100) / 10, instrument.tick_size
    lot = 1 if instrument.inverse else 0.5
    perpetual = instrument is not SPOT
    book = {"lastUpdateId": 1, "bids": [[f"{price - 1:.2f}", "3"]], "asks": [[f"{price + 1:.2f}", "3"]]}
    recv_ns = START_MS * MS + rng.randrange(10) * MS
    book |= {"E": START_MS, "T": START_MS} if perpetual else {}
    book |= {"symbol": SYMBOL[instrument], "pair": "BTCUSD"} if instrument is COINM else {}
    lines = [b"%d %s" % (recv_ns, orjson.dumps(book))]
    update = 1
    while recv_ns < START_MS * MS + seconds * 1e9:
        recv_ns += rng.choice([0, 0, 1, MS, 5 * MS, 20 * MS, 20 * MS])
        if rng.random() < 0.3:
            price += rng.choice([-1, 1]) * rng.choice([1, 5, 20]) * 0.1
        emit_ms = recv_ns // MS + 1_270 - rng.randrange(3)
        times = {"E": emit_ms, "T": emit_ms - rng.randrange(2)}
        bid = round(price / step) * step
        what = rng.random()
        if what < 0.6:
            sizes = {"B": str(rng.randrange(1, 50) * lot), "A": str(rng.randrange(1, 50) * lot)}
            data = {"u": update, "b": f"{bid:.2f}", "a": f"{bid + step:.2f}"} | sizes
            lines.append(
                message(instrument, "bookTicker", recv_ns, data | ({"e": "bookTicker"} | times if perpetual else {}))
            )
        elif what < 0.8:
            data = {"e": "trade", "t": update, "p": f"{bid:.2f}", "q": str(lot), "m": rng.random() < 0.5} | times
            lines.append(message(instrument, "trade", recv_ns, data | ({"X": "MARKET"} if perpetual else {"M": True})))
        else:
            data = {"e": "depthUpdate", "U": update + 1, "u": update + 1, "E": times["E"]}
            data |= {"b": [[f"{bid:.2f}", str(rng.randrange(2) * lot)]], "a": []}
            data |= {"pu": update, "T": times["T"]} if perpetual else {}
            lines.append(message(instrument, "depth", recv_ns, data))
            update += 1
    return lines


def received(line: bytes) -> int:
    return int(line.split(b" ", 1)[0])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three books: one in two files, two of them in one file."""
    folder = tmp_path_factory.mktemp("captures")
    spot, usdm, coinm = (recording(i, seed=3) for i in (SPOT, USDM, COINM))
    both = sorted(usdm + coinm, key=received)
    half = next(i for i in range(len(spot) // 2, len(spot)) if received(spot[i]) > received(spot[i - 1]))
    parts = {"z.log": spot[:half], "a.gz": spot[half:], "m.gz": both}
    for name, lines in parts.items():
        text = b"\n".join(lines) + b"\n"
        (folder / name).write_bytes(gzip.compress(text) if name.endswith("gz") else text)
    return [folder / name for name in parts]


def said(files: list[Path], max_events: int) -> Said:
    feed = CaptureFeed(files, KNOWN)
    return run(list(feed.batches(max_events)), small(warmup_events=50))


@pytest.fixture(scope="module")
def whole(files: list[Path]) -> Said:
    return said(files, 65_536)


def test_the_recording_holds_what_matters(files: list[Path], whole: Said) -> None:
    """Ties across files, all kinds of rows, all streams, keys and decisions."""
    ticks = concat(*CaptureFeed(files, KNOWN).batches())
    assert set(ticks.kind.tolist()) == {Kind.QUOTE, Kind.TRADE, Kind.DEPTH}
    tied = np.flatnonzero((np.diff(ticks.ts_recv_ns) == 0) & (np.diff(ticks.stream) != 0))
    spot = list(ticks.instruments).index(SPOT)
    assert np.sum(ticks.stream[tied] == spot) >= 3, "no ties between files"
    assert (np.diff(ticks.stream)[np.diff(ticks.ts_recv_ns) == 0] >= 0).all(), "rows of one moment are in stream order"
    assert np.bincount(ticks.stream).min() > 200
    assert (whole.columns["key"] >= 0).sum() > 500
    assert len(whole.tables["decisions"]["ts_ns"]) > 20


@settings(max_examples=10)
@given(st.integers(1, 5_000))
def test_batch_size_does_not_matter(files: list[Path], whole: Said, max_events: int) -> None:
    assert_same(whole, said(files, max_events))


def test_order_of_files_does_not_matter(files: list[Path], whole: Said) -> None:
    first, second, third = files
    for order in ([third, second, first], [second, third, first], [second, first, third]):
        assert_same(whole, said(order, 997))


def test_names_of_files_do_not_matter(files: list[Path], whole: Said, tmp_path: Path) -> None:
    """Rows come in the order (receive time, stream, line), and files with other streams may be called anything."""
    renamed = []
    for path, name in zip(files, ("b.log", "c.gz", "a.gz"), strict=True):
        renamed.append(tmp_path / name)
        renamed[-1].write_bytes(path.read_bytes())
    assert_same(whole, said(renamed, 65_536))
