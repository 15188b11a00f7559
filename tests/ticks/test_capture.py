"""The capture source: what a recording becomes, whatever the files' order, and what bad input does."""

from __future__ import annotations

import gzip
import itertools
import re
import zlib
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schwabot import errors
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Kind, Ticks
from schwabot.ticks.capture import CaptureFeed
from schwabot.ticks.merge import concat
from schwabot.ticks.validate import BadInputPolicy, check_ticks

SPOT = Instrument("binance:BTC/USDT", 0.01, 1e-5)
SPOT_ETH = Instrument("binance:ETH/USDT", 0.01, 1e-4)
USDM = Instrument("binanceusdm:BTC/USDT:USDT", 0.1, 0.001)
COINM = Instrument("binancecoinm:BTC/USD:BTC", 0.1, 1.0, 100.0, True)
KNOWN = {i.stream: i for i in (SPOT, SPOT_ETH, USDM, COINM)}
DROP = BadInputPolicy(**{field.name: "drop" for field in fields(BadInputPolicy)})
COLUMNS = [field.name for field in fields(Ticks) if field.name not in ("instruments", "levels")]

Json = dict[str, Any]


def wrapped(recv: int, channel: str, data: Json) -> bytes:
    return b"%d %s" % (recv, orjson.dumps({"stream": f"{data['s'].lower()}@{channel}", "data": data}))


def quote(recv: int, bid: str = "100.00", ask: str = "100.01", u: int = 1, s: str = "BTCUSDT", **more: Any) -> bytes:
    return wrapped(recv, "bookTicker", {"u": u, "s": s, "b": bid, "B": "1.5", "a": ask, "A": "2", **more})


def trade(recv: int, p: str = "100.00", q: str = "0.5", **more: Any) -> bytes:
    data = {"e": "trade", "E": 1001, "s": "BTCUSDT", "t": 1, "p": p, "q": q, "T": 1000, "m": True, "M": True, **more}
    return wrapped(recv, "trade", data)


def futures_trade(recv: int, **more: Any) -> bytes:
    data = {"e": "trade", "E": 1001, "T": 1000, "s": "BTCUSDT", "t": 1, "p": "9.5", "q": "2", "X": "MARKET", "m": False}
    return wrapped(recv, "trade", {**data, **more})


def depth(recv: int, first: int, last: int, b: Any = (), a: Any = (), **more: Any) -> bytes:
    data = {"e": "depthUpdate", "E": 1001, "s": "BTCUSDT", "U": first, "u": last, "b": b, "a": a, **more}
    return wrapped(recv, "depth", data)


def snapshot(recv: int, last: int, b: Any, a: Any, **more: Any) -> bytes:
    return b"%d %s" % (recv, orjson.dumps({"lastUpdateId": last, **more, "bids": b, "asks": a}))


Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def save(*lines: bytes, name: str = "a.log", end: bytes = b"\n") -> Path:
        text = b"\n".join(lines) + end
        path = tmp_path / name
        path.write_bytes(gzip.compress(text) if name.endswith(".gz") else text)
        return path

    return save


def read(*paths: Path, policy: BadInputPolicy | None = None, max_events: int = 1_000, **options: Any) -> Ticks:
    return joined(CaptureFeed(paths, KNOWN, policy, **options), max_events)


def joined(feed: CaptureFeed, max_events: int = 1_000) -> Ticks:
    return concat(list(feed.batches(max_events)))


def until_error(feed: CaptureFeed) -> tuple[int, errors.DataError]:
    rows = 0
    try:
        for batch in feed.batches(1):
            rows += len(batch)
    except errors.DataError as error:
        return rows, error
    pytest.fail("nothing was wrong")


def assert_same(one: Ticks, two: Ticks) -> None:
    assert one.instruments == two.instruments
    for name in COLUMNS:
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), err_msg=name)
    assert (one.levels is None) == (two.levels is None)
    if one.levels is not None and two.levels is not None:
        for name in ("row", "bid_ticks", "bid_lots", "ask_ticks", "ask_lots"):
            np.testing.assert_array_equal(getattr(one.levels, name), getattr(two.levels, name), err_msg=name)


# One message of each kind


def test_spot_quote_has_no_stamp(write: Write) -> None:
    ticks = read(write(quote(7)))
    assert ticks.instruments == (SPOT,)
    assert (ticks.ts_recv_ns[0], ticks.ts_event_ns[0], ticks.ts_emit_ns[0]) == (7, MISSING_NS, MISSING_NS)
    assert (ticks.bid_ticks[0], ticks.ask_ticks[0]) == (10_000, 10_001)
    assert (ticks.bid_lots[0], ticks.ask_lots[0]) == (150_000, 200_000)
    assert ticks.kind[0] == Kind.QUOTE


def test_futures_messages_are_told_from_their_content(write: Write) -> None:
    usdm = quote(7, "100.10", "100.20", e="bookTicker", T=1000, E=1001)
    coinm = quote(8, "100.1", "100.2", s="BTCUSD_PERP", ps="BTCUSD", e="bookTicker", T=1000, E=1001)
    coinm = coinm.replace(b'"1.5"', b'"15"')
    coinm_trade = futures_trade(9, s="BTCUSD_PERP")
    ticks = read(write(usdm, coinm, coinm_trade))
    assert [i.stream for i in ticks.instruments] == [COINM.stream, USDM.stream]
    assert ticks.stream.tolist() == [1, 0, 0]
    assert ticks.ts_event_ns.tolist() == [10**9] * 3
    assert ticks.ts_emit_ns.tolist() == [1_001_000_000] * 3
    assert ticks.bid_lots.tolist() == [1_500, 15, 0]


@pytest.mark.parametrize(("seller_aggressed", "side"), [(True, -1), (False, 1)])
def test_trade_side_is_the_aggressor(write: Write, seller_aggressed: bool, side: int) -> None:
    ticks = read(write(trade(7, m=seller_aggressed)))
    assert (ticks.kind[0], ticks.side[0], ticks.price_ticks[0], ticks.qty_lots[0]) == (Kind.TRADE, side, 10_000, 50_000)


def test_stamps_may_be_in_microseconds(write: Write) -> None:
    ticks = read(write(trade(1_723_161_256_000_000_000, T=1_723_161_255_342_123, E=1_723_161_255_343)))
    assert ticks.ts_event_ns[0] == 1_723_161_255_342_123_000
    assert ticks.ts_emit_ns[0] == 1_723_161_255_343_000_000


def test_depth_rows_carry_the_rebuilt_book(write: Write) -> None:
    ticks = read(
        write(
            depth(1, 5, 9, [["99.00", "1"]]),
            snapshot(2, 8, [["99.00", "7"], ["98.00", "1"]], [["100.00", "2"], ["101.00", "2"]]),
            depth(3, 10, 12, [["99.50", "3"]], [["100.00", "0"]]),
        ),
        depth_levels=3,
    )
    assert ticks.kind.tolist() == [Kind.DEPTH] * 2
    assert ticks.bid_ticks.tolist() == [0, 9_950]
    assert ticks.ask_ticks.tolist() == [0, 10_100]
    assert ticks.levels is not None
    assert ticks.levels.bid_ticks.tolist() == [[0, 0, 0], [9_950, 9_900, 9_800]]
    assert ticks.levels.bid_lots.tolist() == [[0, 0, 0], [300_000, 100_000, 100_000]]
    assert ticks.levels.ask_ticks.tolist() == [[0, 0, 0], [10_100, 0, 0]]


def test_snapshot_without_symbol_finds_its_stream_by_price(write: Write) -> None:
    path = write(
        quote(1, "60000.00", "60000.01"),
        quote(1, "2600.00", "2600.01", s="ETHUSDT"),
        snapshot(2, 8, [["2600.00", "7"]], [["2600.02", "2"]]),
        depth(3, 8, 12, s="ETHUSDT"),
        depth(4, 8, 12),
    )
    ticks = read(path)
    assert ticks.bid_ticks.tolist() == [6_000_000, 260_000, 260_000, 0]
    alike = write(quote(1), quote(1, s="ETHUSDT"), snapshot(2, 8, [["100.00", "7"]], [["100.01", "2"]]), name="b")
    rows, error = until_error(CaptureFeed([alike], KNOWN))
    assert (rows, error.reason, error.line) == (2, "malformed", 3)


def test_rotated_recording_keeps_its_book(write: Write) -> None:
    one = write(snapshot(1, 8, [["99.00", "7"]], [["100.00", "2"]]), depth(3, 8, 12), name="2")
    two = write(depth(4, 13, 14, [["99.10", "1"]]), name="1")
    later = write(depth(5, 99, 100), name="0")
    assert read(two, one).bid_ticks.tolist() == [9_900, 9_910]
    assert read(later, one).bid_ticks.tolist() == [9_900, 0], "a new recording waits for its own snapshot"


def test_trades_outside_the_book_are_left_out_and_counted(write: Write) -> None:
    feed = CaptureFeed([write(futures_trade(1), futures_trade(2, X="NA", p="0", q="0"), futures_trade(3))], KNOWN)
    assert joined(feed).ts_recv_ns.tolist() == [1, 3]
    assert feed.dropped == {"off_book_trade": 1}


def test_aggregates_count_only_without_single_trades(write: Write) -> None:
    aggregate = trade(2, e="aggTrade")
    assert len(read(write(aggregate))) == 1
    feed = CaptureFeed([write(aggregate, name="x"), write(trade(1), name="y")], KNOWN)
    assert joined(feed).ts_recv_ns.tolist() == [1]
    assert feed.dropped == {"aggregate_trade": 1}


def test_single_trades_that_begin_late_replace_aggregates_from_then_on(write: Write) -> None:
    lines = [trade(i, e="aggTrade") for i in range(1, 5)] + [trade(5), trade(6, e="aggTrade"), trade(7)]
    feed = CaptureFeed([write(*lines)], KNOWN, scan_lines=2)
    assert joined(feed).ts_recv_ns.tolist() == [1, 2, 3, 4, 5, 7]
    assert feed.dropped == {"aggregate_trade": 1}
    late = write(*[quote(i, u=i) for i in range(1, 9)], trade(20), name="late")
    assert read(late, scan_lines=2).kind.tolist() == [Kind.QUOTE] * 8 + [Kind.TRADE]


def test_files_that_are_no_recording(write: Write) -> None:
    empty, table = write(name="empty", end=b""), write(b"t,b,a", b"1,2,3", name="table")
    with pytest.raises(errors.EmptyFileError, match=r"source\.policy\.empty_file=drop"):
        CaptureFeed([empty], KNOWN)
    feed = CaptureFeed([empty, write(quote(1))], KNOWN, BadInputPolicy(empty_file="drop"))
    assert len(joined(feed)) == 1
    assert feed.dropped == {"empty_file": 1}
    with pytest.raises(errors.MalformedLineError, match=r"table:1: .*is this a table \(source=table\)\?"):
        CaptureFeed([table], KNOWN)
    for path in (table, empty):
        with pytest.raises(errors.MalformedLineError, match="no quote, trade or depth message of a known stream"):
            CaptureFeed([path], KNOWN, DROP)


def test_other_messages_are_counted(write: Write) -> None:
    feed = CaptureFeed([write(quote(1), b'2 {"result":null,"id":1}', trade(3, e="kline"))], KNOWN)
    assert len(joined(feed)) == 1
    assert feed.dropped == {"other_message": 2}


def test_levels_of_part_lots_are_rounded_down_and_counted(write: Write) -> None:
    lines = snapshot(1, 8, [["99.00", "7.000019"]], [["100.00", "2"]]), depth(3, 8, 12)
    feed = CaptureFeed([write(*lines)], KNOWN)
    assert joined(feed).bid_lots.tolist() == [700_001]
    assert feed.dropped == {"part_lot_level": 1}


# Bad input: error after all that came before, or a counted drop that loses nothing else

GOOD = [quote(10), trade(20), quote(30), trade(40), quote(50)]
BAD_LINES = {
    "half a line": (GOOD[2][:-9], errors.MalformedLineError, "half a line"),
    "not json": (b"30 {'a': 1}", errors.MalformedLineError, "invalid JSON"),
    "json nan": (GOOD[2].replace(b'"100.00"', b"NaN"), errors.MalformedLineError, "invalid JSON"),
    "no receive time": (GOOD[2][3:], errors.MalformedLineError, "receive time"),
    "missing field": (GOOD[2].replace(b'"B"', b'"C"'), errors.MalformedLineError, "no field 'B'"),
    "word for a price": (quote(30, bid="one"), errors.MalformedLineError, "'one' is not a number"),
    "null for a price": (GOOD[2].replace(b'"100.00"', b"null"), errors.MalformedLineError, "not a number"),
    "text for a time": (trade(30, T="x"), errors.MalformedLineError, "T or E"),
    "number for m": (trade(30, m=1), errors.MalformedLineError, "m is 1"),
    "a list": (b"30 [1]", errors.MalformedLineError, "type"),
    "nan price": (quote(30, bid="NaN"), errors.BadPriceError, "not a finite number"),
    "infinite price": (trade(30, p="inf"), errors.BadPriceError, "not a finite number"),
    "zero price": (quote(30, bid="0.00"), errors.BadPriceError, "not positive"),
    "negative price": (trade(30, p="-1.00"), errors.BadPriceError, "not positive"),
    "off the tick grid": (quote(30, bid="99.995"), errors.BadPriceError, "not a multiple of the tick size 0.01"),
    "negative quantity": (trade(30, q="-1"), errors.BadPriceError, "negative"),
    "crossed": (quote(30, "100.02"), errors.CrossedQuoteError, "bid 100.02 above ask 100.01"),
    "unsorted": (quote(19), errors.UnsortedTimeError, "runs backwards"),
    "bad book price": (depth(30, 1, 2, [["0", "1"]]), errors.BadPriceError, "book price 0.0 is not positive"),
    "bad book level": (depth(30, 1, 2, [["1.00"]]), errors.MalformedLineError, "book level"),
    "text for an update id": (depth(30, 1, "2"), errors.MalformedLineError, "update ids"),  # type: ignore[arg-type]
    "unknown stream": (quote(30, s="SOLUSDT"), errors.UnknownStreamError, "add binance:SOL/USDT"),
}


@pytest.mark.parametrize("name", BAD_LINES)
@pytest.mark.parametrize("packed", [True, False])
def test_bad_line_is_an_error_after_all_before_it(write: Write, name: str, packed: bool) -> None:
    line, cls, words = BAD_LINES[name]
    path = write(*GOOD[:2], line, *GOOD[3:], name="a.gz" if packed else "a.log")
    policy = BadInputPolicy(crossed="error")
    if cls is errors.UnknownStreamError:
        with pytest.raises(cls, match=words):
            CaptureFeed([path], KNOWN, policy)
        return
    rows, error = until_error(CaptureFeed([path], KNOWN, policy))
    assert rows == 2
    assert type(error) is cls
    assert words in str(error)
    assert str(error).startswith(f"{path}:3: ")


@pytest.mark.parametrize("name", BAD_LINES)
def test_bad_line_is_a_counted_drop(write: Write, name: str) -> None:
    line, cls, _ = BAD_LINES[name]
    path = write(*GOOD[:2], line, *GOOD[3:])
    feed = CaptureFeed([path], KNOWN, DROP)
    assert joined(feed).ts_recv_ns.tolist() == [10, 20, 40, 50]
    assert feed.dropped == {cls.reason: 1}
    assert str(feed.examples[0]).startswith(f"{path}:3: ")


def test_missing_update_is_an_error_or_a_counted_gap(write: Write) -> None:
    path = write(
        snapshot(1, 8, [["99.00", "7"]], [["100.00", "2"]]),
        depth(2, 8, 12),
        depth(3, 14, 15),
        depth(4, 16, 17),
        snapshot(5, 17, [["99.00", "1"]], [["100.00", "1"]]),
        depth(6, 18, 18),
    )
    rows, error = until_error(CaptureFeed([path], KNOWN))
    assert (rows, error.reason, error.line) == (1, "gap", 3)
    feed = CaptureFeed([path], KNOWN, DROP)
    assert joined(feed).bid_lots.tolist() == [700_000, 0, 0, 100_000]
    assert feed.dropped == {"gap": 1}


def test_futures_updates_join_by_pu(write: Write) -> None:
    stamps = {"T": 1000, "E": 1001}
    start = snapshot(1, 8, [["99.0", "7"]], [["100.0", "2"]], **stamps), depth(2, 8, 12, pu=7, T=1000)
    good = write(*start, depth(3, 20, 25, pu=12, T=1000))
    assert len(read(good)) == 2
    bad = write(*start, depth(3, 13, 25, pu=13, T=1000), name="b")
    assert until_error(CaptureFeed([bad], KNOWN))[1].reason == "gap"


@pytest.mark.parametrize("drop", [True, False])
def test_cut_gzip_loses_nothing_before_the_cut(tmp_path: Path, drop: bool) -> None:
    lines = [quote(i, u=i * 7919) for i in range(20_000)]
    whole = gzip.compress(b"\n".join(lines))
    path = tmp_path / "cut.gz"
    path.write_bytes(whole[: len(whole) * 2 // 3])
    complete = zlib.decompressobj(wbits=31).decompress(path.read_bytes()).count(b"\n")
    assert complete > 5_000
    feed = CaptureFeed([path], KNOWN, DROP if drop else None)
    if drop:
        assert len(joined(feed)) == complete
        assert feed.dropped == {"corrupt_file": 1}
        assert feed.progress() == 1.0
    else:
        rows, error = until_error(feed)
        assert (rows, type(error), error.line) == (complete, errors.CorruptFileError, complete + 1)


def test_gzip_cut_before_its_first_line_is_damage(tmp_path: Path) -> None:
    whole = gzip.compress("".join(f"{10**18 + k} {k * 7919}\n" for k in range(500)).encode())
    path = tmp_path / "spot.gz"
    path.write_bytes(whole[:30])
    with pytest.raises(errors.CorruptFileError, match=r"spot\.gz"):
        CaptureFeed([path], KNOWN)


def test_damaged_gzip_and_bad_checksum(tmp_path: Path) -> None:
    whole = bytearray(gzip.compress(b"\n".join(GOOD)))
    whole[-5] ^= 0xFF
    path = tmp_path / "sum.gz"
    path.write_bytes(whole)
    rows, error = until_error(CaptureFeed([path], KNOWN))
    assert (rows, error.reason) == (4, "corrupt_file")
    assert "half of line 5 is lost" in str(error)
    path.write_bytes(b"")
    assert until_error(CaptureFeed([path], KNOWN, streams=[SPOT.stream]))[1].reason == "corrupt_file"


def test_members_joined_end_to_end_are_one_file(tmp_path: Path) -> None:
    path = tmp_path / "no_suffix"
    path.write_bytes(b"".join(gzip.compress(line + b"\n") for line in GOOD) + b"\0" * 100)
    assert len(read(path)) == 5


def test_last_line_needs_no_end_of_line(write: Write) -> None:
    assert len(read(write(*GOOD, end=b""))) == 5


def test_error_in_one_file_comes_after_earlier_rows_of_the_others(write: Write) -> None:
    bad = write(quote(10), b"x", name="bad")
    other = write(*(trade(i) for i in range(20)), name="other")
    rows, error = until_error(CaptureFeed([other, bad], KNOWN))
    assert rows == 12
    assert error.file == str(bad)


def test_files_are_checked_before_reading(write: Write, tmp_path: Path) -> None:
    path = write(quote(1))
    with pytest.raises(errors.ConfigError, match="more than once"):
        CaptureFeed([path, tmp_path / "." / path.name], KNOWN)
    with pytest.raises(errors.ConfigError, match="not a file"):
        CaptureFeed([tmp_path / "nothing"], KNOWN)
    with pytest.raises(errors.ConfigError, match="empty"):
        CaptureFeed([], KNOWN)
    with pytest.raises(errors.ConfigError, match="does not describe"):
        CaptureFeed([path], KNOWN, streams=["binance:X/Y"])


def test_stream_that_appears_late_must_be_named(write: Write) -> None:
    path = write(*GOOD, quote(60, s="ETHUSDT"))
    rows, error = until_error(CaptureFeed([path], KNOWN, scan_lines=3))
    assert rows == 5
    assert "name it in source.streams" in str(error)
    assert len(read(path, scan_lines=3, streams=[SPOT_ETH.stream])) == 6


# Order of files and size of batches change nothing


def market(seed: int, n: int) -> list[bytes]:
    """A mixed recording with many equal receive times."""
    draw = np.random.default_rng(seed)
    lines = [quote(0), snapshot(0, 0, [["99.00", "7"]], [["100.00", "2"]])]
    last = 0
    for recv in np.sort(draw.integers(0, n // 2 + 1, n)).tolist():
        which = draw.integers(4)
        if which == 0:
            lines.append(quote(recv, u=len(lines), bid=f"{draw.integers(90, 100)}.00"))
        elif which == 1:
            lines.append(trade(recv, q=str(draw.integers(1, 9))))
        elif which == 2:
            lines.append(quote(recv, u=len(lines), s="ETHUSDT", bid=f"{draw.integers(90, 100)}.00"))
        else:
            lines.append(depth(recv, last + 1, last + 3, [["99.00", str(draw.integers(1, 9))]]))
            last += 3
    return lines


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.integers(1, 120), st.integers(1, 70), st.permutations(range(3)))
def test_order_of_files_and_batches_change_nothing(
    tmp_path_factory: pytest.TempPathFactory, seed: int, n: int, max_events: int, order: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("order")
    lines = market(seed, n)
    eth = [line for line in lines if b"ETHUSDT" in line] or [quote(0, s="ETHUSDT")]
    spot = [line for line in lines if b"ETHUSDT" not in line]
    perpetual = [futures_trade(i) for i in range(0, n, 3)]
    paths = [folder / name for name in ("c", "a.gz", "b")]
    for path, content in zip(paths, (spot, eth, perpetual), strict=True):
        text = b"\n".join(content)
        path.write_bytes(gzip.compress(text) if path.suffix else text)
    reference = read(*paths, depth_levels=2, max_events=10_000)
    check_ticks(reference)
    assert len(reference) == len(eth) + len(spot) + len(perpetual) - 1
    feed = CaptureFeed([paths[i] for i in order], KNOWN, depth_levels=2)
    sizes = []
    parts = []
    for batch in feed.batches(max_events):
        sizes.append(len(batch))
        parts.append(batch)
    assert all(size == max_events for size in sizes[:-1])
    assert_same(concat(parts), reference)
    expected = sorted(
        itertools.chain(
            ((int(line.split()[0]), 0, i) for i, line in enumerate(spot) if b"lastUpdateId" not in line),
            ((int(line.split()[0]), 1, i) for i, line in enumerate(eth)),
            ((i, 2, i) for i in range(0, n, 3)),
        )
    )
    assert list(zip(reference.ts_recv_ns.tolist(), reference.stream.tolist(), strict=True)) == [e[:2] for e in expected]


# The recorded captures


@pytest.fixture(scope="module")
def btc(captures: Path) -> tuple[CaptureFeed, Ticks, list[Path]]:
    paths = sorted((captures / "binance").glob("*/btc*.gz"))
    feed = CaptureFeed(reversed(paths), KNOWN)
    return feed, concat(list(feed.batches())), paths


def test_btc_captures_have_the_known_counts_and_delays(btc: tuple[CaptureFeed, Ticks, list[Path]]) -> None:
    feed, ticks, _ = btc
    assert [i.stream for i in ticks.instruments] == [SPOT.stream, COINM.stream, USDM.stream]
    assert np.bincount(ticks.kind).tolist() == [113_265, 33_356, 36_849]
    assert dict(feed.dropped) == {"part_lot_level": 3}
    assert feed.progress() == 1.0
    check_ticks(ticks)
    delay = (ticks.ts_recv_ns - ticks.ts_emit_ns) / 1e6
    medians = [float(np.median(delay[(ticks.kind == Kind.DEPTH) & (ticks.stream == v)])) for v in range(3)]
    assert medians == pytest.approx([-1272.0, -1269.2, -1270.1], abs=0.05)


def test_btc_book_top_equals_the_last_quote(btc: tuple[CaptureFeed, Ticks, list[Path]], tmp_path: Path) -> None:
    # Five changes came before the snapshot that they belong after: a feed that does not look ahead has
    # no book there yet. With the snapshot moved to the front of its file they have one too.
    _, causal, paths = btc
    assert int(np.sum((causal.kind == Kind.DEPTH) & (causal.bid_ticks > 0))) == 36_815
    equal = live = 0
    for path in paths:
        lines = gzip.decompress(path.read_bytes()).splitlines()
        kept = [line for line in lines if b'"depthUpdate"' in line or b'"A":' in line]
        picture = next(line for line in lines if b'"stream"' not in line).partition(b" ")[2]
        moved = tmp_path / path.parent.name
        moved.write_bytes(b"\n".join([lines[0].partition(b" ")[0] + b" " + picture, *kept]))
        ticks = read(moved)
        is_depth = ticks.kind == Kind.DEPTH
        ids = np.array([int(re.findall(rb'"u":(\d+)', line)[0]) for line in kept])
        quotes, rows = np.flatnonzero(~is_depth), np.flatnonzero(is_depth & (ticks.bid_ticks > 0))
        last = quotes[np.searchsorted(ids[quotes], ids[rows], side="right") - 1]
        columns = ("bid_ticks", "ask_ticks", "bid_lots", "ask_lots")
        same = [getattr(ticks, name)[rows] == getattr(ticks, name)[last] for name in columns]
        equal += int(np.sum(np.all(same, axis=0)))
        live += len(rows)
    assert (equal, live) == (36_820, 36_820)
