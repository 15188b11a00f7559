"""Recording: the rows as they were received, files that are whole whenever it is killed, gaps that are said."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest

from schwabot.errors import ConfigError
from schwabot.records.audit import FallbackEvent
from schwabot.records.market import Gap, Kind, Ticks
from schwabot.ticks.merge import concat, cut
from schwabot.ticks.recorder import RecordConfig, Recorder
from schwabot.ticks.store import StoreConfig, StoreFeed
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed

CHILD = """
import sys, time
from schwabot.ticks.recorder import RecordConfig, Recorder
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
feed = SyntheticFeed(SyntheticConfig(events=100_000))
with Recorder(feed.instruments, RecordConfig(out=sys.argv[1], rotate_rows=200, rows_per_group=50)) as recorder:
    for n, ticks in enumerate(feed.batches(20)):
        recorder.write(ticks)
        if n == 15:
            recorder.flush()
            print("recording", flush=True)
"""


def rows_of(path: Path) -> Ticks:
    return concat(list(StoreFeed(StoreConfig(path=str(path))).batches()))


def equal(one: Ticks, other: Ticks) -> None:
    assert one.instruments == other.instruments
    for field in fields(Ticks):
        if field.name not in ("instruments", "levels"):
            found, wanted = getattr(one, field.name), getattr(other, field.name)
            np.testing.assert_array_equal(found, wanted, err_msg=field.name)


def test_what_is_recorded_is_what_came(tmp_path: Path) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=1_000))
    came = []
    with Recorder(feed.instruments, RecordConfig(out=str(tmp_path), rotate_rows=150, rows_per_group=64)) as recorder:
        for ticks in feed.batches(37):
            recorder.write(ticks)
            came.append(ticks)
        recorder.flush()
        listed = StoreFeed(StoreConfig(path=str(tmp_path))).expected_events
        assert listed is not None
        assert 800 < listed < 1_100  # readable while it is recorded
    equal(rows_of(tmp_path), concat(came))
    feed = StoreFeed(StoreConfig(path=str(tmp_path)))
    assert (feed.gaps, feed.notes) == ((), feed.trading_notes)
    assert not list(tmp_path.rglob("*.tmp"))


def test_by_time(tmp_path: Path) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=1_000))
    ticks = next(feed.batches(2_000))
    span_s = float(ticks.ts_recv_ns[-1] - ticks.ts_recv_ns[0]) / 1e9
    with Recorder(feed.instruments, RecordConfig(out=str(tmp_path), rotate_s=span_s / 4)) as recorder:
        for start in range(0, len(ticks), 10):
            recorder.write(cut(ticks, start, min(start + 10, len(ticks))))
            recorder.flush()
    assert 4 * 4 <= recorder.report({}).files <= 6 * 4


@pytest.mark.skipif(os.name != "posix", reason="kills with SIGKILL")
def test_killed_at_any_moment_leaves_whole_files_and_goes_on_with_a_gap(tmp_path: Path) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=100_000))
    whole = concat([ticks for ticks, _ in zip(feed.batches(20_000), range(5), strict=False)])
    for turn in range(3):
        folder = tmp_path / str(turn)
        with subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == b"recording\n"
            time.sleep(0.05 + 0.07 * turn)
            child.send_signal(signal.SIGKILL)
        found = rows_of(folder)
        assert 200 <= len(found) < len(whole)
        equal(found, cut(whole, 0, len(found)))
    later = cut(whole, len(found) + 3_000, len(found) + 4_000)
    with Recorder(feed.instruments, RecordConfig(out=str(folder))) as recorder:
        recorder.write(later)
    equal(rows_of(folder), concat([cut(whole, 0, len(found)), later]))
    feed_again = StoreFeed(StoreConfig(path=str(folder)))
    assert {gap.stream for gap in feed_again.gaps} == {one.stream for one in feed.instruments}
    assert {gap.reason for gap in feed_again.gaps} == {"nothing was recorded"}
    assert f"rows are missing in {len(feed.instruments)} places" in feed_again.notes[0]
    left = {path.name for path in folder.rglob("*") if path.is_file()} - {"_store.json"}
    assert not [name for name in left if name.endswith(".tmp")]


def test_what_came_before_an_error_is_kept_and_gaps_are_told(tmp_path: Path) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=300))
    ticks = next(feed.batches(500))
    gap = Gap(feed.instruments[0].stream, *ticks.ts_recv_ns[[5, 9]].tolist(), "trades 7 to 9 are missing")

    def record() -> None:
        with Recorder(feed.instruments, RecordConfig(out=str(tmp_path))) as recorder:
            recorder.write(ticks)
            recorder.note(gap)
            raise RuntimeError("feed")

    with pytest.raises(RuntimeError, match="feed"):
        record()
    equal(rows_of(tmp_path), ticks)
    assert StoreFeed(StoreConfig(path=str(tmp_path))).gaps == (gap,)
    others = StoreConfig(path=str(tmp_path), venues=[feed.instruments[1].venue])
    assert StoreFeed(others).gaps == ()


def test_mistakes_are_refused(tmp_path: Path) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=10))
    with pytest.raises(ConfigError, match=r"add record\.out=DIR"):
        Recorder(feed.instruments, RecordConfig())
    with pytest.raises(ConfigError, match=r"record\.rotate_s=0\.0 is out of range"):
        Recorder(feed.instruments, RecordConfig(out=str(tmp_path), rotate_s=0.0))
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(ConfigError, match=r"is not empty and no tick store .* name another folder in record\.out"):
        Recorder(feed.instruments, RecordConfig(out=str(tmp_path)))


def test_a_file_is_finished_in_time_where_no_other_row_comes(tmp_path: Path) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=100))
    with Recorder(feed.instruments, RecordConfig(out=str(tmp_path), rotate_s=0.3)) as recorder:
        ticks = cut(next(feed.batches(500)), 0, 5)
        recorder.write(ticks)
        deadline = time.monotonic() + 20.0
        while not (tmp_path / "_store.json").exists():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        equal(rows_of(tmp_path), ticks)


def test_what_goes_wrong_while_writing_is_told_and_the_rest_is_kept(tmp_path: Path) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=300))
    ticks = next(feed.batches(500))

    def record() -> None:
        with Recorder(feed.instruments, RecordConfig(out=str(tmp_path))) as recorder:
            recorder.write(cut(ticks, 100, 200))
            recorder.write(cut(ticks, 0, 100))
            recorder.flush()

    with pytest.raises(ConfigError, match=r"append later rows only, or name another folder in record\.out"):
        record()
    equal(rows_of(tmp_path), cut(ticks, 100, 200))


def test_what_a_live_feed_tells_becomes_gaps(tmp_path: Path) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=300))
    ticks = next(feed.batches(500))
    one = feed.instruments[1].stream
    quotes, trades = f"feed.{one}.quotes", f"feed.{one}.trades"
    own = {kind: ticks.ts_recv_ns[(ticks.stream == 1) & (ticks.kind == kind)].tolist() for kind in Kind}
    lost_ns, back_ns = own[Kind.QUOTE][3] + 1, own[Kind.QUOTE][4]
    end_ns = int(ticks.ts_recv_ns[-1])
    with Recorder(feed.instruments, RecordConfig(out=str(tmp_path))) as recorder:
        recorder.write(ticks)  # told with the rows that came meanwhile
        recorder.tell(FallbackEvent(lost_ns, quotes, "whole", "gapped", "closed"))
        recorder.tell(FallbackEvent(back_ns, quotes, "gapped", "whole", "connected anew"))
        recorder.tell(FallbackEvent(end_ns + 10, quotes, "websocket", "rest", "closed"))
        recorder.tell(FallbackEvent(end_ns + 20, "device", "cuda:0", "cpu", "lost"))
        recorder.tell(FallbackEvent(end_ns + 30, trades, "gapped", "whole", "3 trades were lost"))
        recorder.tell(FallbackEvent(end_ns + 40, trades, "whole", "gapped", "silent"))
        recorder.close()
    gaps = StoreFeed(StoreConfig(path=str(tmp_path))).gaps
    assert gaps[:2] == (
        Gap(one, own[Kind.QUOTE][3], back_ns, "connected anew"),
        Gap(one, end_ns + 30, end_ns + 30, "3 trades were lost"),
    )
    assert (gaps[2].stream, gaps[2].first_ns, gaps[2].reason) == (one, own[Kind.TRADE][-1], "silent")
    assert gaps[2].last_ns > end_ns
    assert len(gaps) == 3


def test_trades_told_too_late_have_a_store_of_their_own(tmp_path: Path) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=300))
    ticks = next(feed.batches(500))
    with Recorder(feed.instruments, RecordConfig(out=str(tmp_path / "store"))) as recorder:
        recorder.late(cut(ticks, 0, 0))
        recorder.write(cut(ticks, 0, 200))
        recorder.late(cut(ticks, 200, 210))
        recorder.write(cut(ticks, 210, 300))
    equal(rows_of(tmp_path / "store"), concat([cut(ticks, 0, 200), cut(ticks, 210, 300)]))
    equal(rows_of(tmp_path / "store.late"), cut(ticks, 200, 210))


def test_killed_before_the_first_file_was_whole_it_goes_on(tmp_path: Path) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=300))
    ticks, config = next(feed.batches(500)), RecordConfig(out=str(tmp_path / "store"))
    with Recorder(feed.instruments, config) as recorder:
        recorder.write(cut(ticks, 0, 10))
        recorder.flush()
        shutil.copytree(tmp_path / "store", tmp_path / "killed")
    left = RecordConfig(out=str(tmp_path / "killed"))
    assert list((tmp_path / "killed").rglob(".part-*.tmp"))
    with Recorder(feed.instruments, left) as recorder:
        recorder.write(cut(ticks, 10, 300))
    equal(rows_of(tmp_path / "killed"), cut(ticks, 10, 300))
    assert not list((tmp_path / "killed").rglob("*.tmp"))


def test_one_recorder_at_a_time(tmp_path: Path) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=300))
    ticks = next(feed.batches(500))
    config = RecordConfig(out=str(tmp_path / "store"))
    with Recorder(feed.instruments, config) as recorder:
        recorder.write(cut(ticks, 0, 100))
        with pytest.raises(ConfigError, match="is being recorded into by another process"):
            Recorder(feed.instruments, config)
    with Recorder(feed.instruments, config) as recorder:
        recorder.write(cut(ticks, 100, len(ticks)))
    equal(rows_of(tmp_path / "store"), ticks)


class Slow(threading.Event):
    """Holds up the thread that says it is done, until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = threading.Event()

    def set(self) -> None:
        super().set()
        self.go_on.wait()


def test_rows_that_are_being_written_take_up_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schwabot.ticks.recorder.MOST_WAITING", 100)
    feed = SyntheticFeed(SyntheticConfig(events=300))
    ticks, held, slow = next(feed.batches(500)), Slow(), Slow()
    with Recorder(feed.instruments, RecordConfig(out=str(tmp_path))) as recorder:
        recorder._hand(("done", held))
        assert held.wait(10.0)
        recorder.write(cut(ticks, 0, 99))
        recorder._hand(("done", slow))
        recorder.write(cut(ticks, 99, 150))
        held.go_on.set()
        assert slow.wait(10.0)  # all of it is with the thread that writes
        more = threading.Thread(target=recorder.write, args=(cut(ticks, 150, len(ticks)),))
        more.start()
        more.join(0.3)
        waited = more.is_alive()
        slow.go_on.set()
        more.join(10.0)
    assert waited
    equal(rows_of(tmp_path), ticks)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk that any Linux has")
def test_a_full_disk_is_named_and_what_is_counted_is_in_the_store(tmp_path: Path) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=2_000))
    ticks, root = next(feed.batches(3_000)), tmp_path / "store"
    recorder = Recorder(feed.instruments, RecordConfig(out=str(root), rotate_rows=500))
    recorder.write(cut(ticks, 0, 500))
    recorder.flush()
    first = next(root.rglob("part-00000.parquet"))
    first.with_name(f".part-00001.parquet.{os.getpid()}.tmp").symlink_to("/dev/full")
    recorder.write(cut(ticks, 500, len(ticks)))
    with pytest.raises(OSError, match="No space left on device") as full:
        recorder.flush()
    assert full.value.filename == str(root)
    recorder.close()
    assert recorder.report({}).rows == len(rows_of(root)) >= 500
