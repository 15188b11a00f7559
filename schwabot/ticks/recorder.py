"""Recording what comes, in files that are whole at any moment: mode=record.

    feed ─▶ rows in memory (at most ``rows_per_group`` a stream) ─▶ .part-00007.parquet.tmp ─▶ part-00007.parquet
                                                                    every rotate_s or rotate_rows: fsync, rename,
                                                                    then _store.json lists it

A thread of its own writes, so that whoever hands rows over does not wait for a disk. What ``_store.json`` lists is
whole; a process that is killed loses what came since the last rotation, and the gap it leaves is in the store once
recording goes on. Trades that were told too late to be rows are in a store beside it.
"""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from schwabot.errors import ConfigError
from schwabot.records.audit import FallbackEvent
from schwabot.records.instrument import Instrument
from schwabot.records.market import Gap, Int64, Kind, Ticks
from schwabot.ticks.store_writer import COMPRESSIONS, StoreReport, StoreWriter, check_target

PACE_S = 0.1
"""Rows that came are written this often."""
MOST_WAITING = 1_000_000
"""Rows that may wait for the disk, those being written among them; who hands over more has to wait, too."""


@dataclass
class RecordConfig:
    """mode=record: a live feed into a store.

    Attributes:
        out: folder of the store; a store that is there is gone on with.
        rotate_s: files are finished this often, in receive time: what a crash can lose.
        rotate_rows: or after so many rows of all streams.
        compression: zstd, lz4, snappy or none.
        rows_per_group: rows of a Parquet row group, which is what each stream holds in memory.
    """

    out: str | None = None
    rotate_s: float = 300.0
    rotate_rows: int = 2_000_000
    compression: str = "zstd"
    rows_per_group: int = 131_072

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        if not 0.1 <= self.rotate_s <= 86_400.0:
            raise ConfigError(f"record.rotate_s={self.rotate_s} is out of range: use 0.1 to 86400")
        for name in ("rotate_rows", "rows_per_group"):
            if not 1 <= getattr(self, name) <= 1 << 30:
                raise ConfigError(f"record.{name}={getattr(self, name)} is out of range: use 1 or more")
        if self.compression not in COMPRESSIONS:
            raise ConfigError(f"record.compression={self.compression}: use {', '.join(COMPRESSIONS)}")

    def check_out(self) -> Path:
        """The folder, which can be recorded into.

        Raises:
            ConfigError: none is named, something else is there, or another process records into it.
        """
        self.check()
        if not self.out:
            raise ConfigError("mode=record needs a folder to write to: add record.out=DIR")
        root = Path(self.out)
        check_target(root, "append", "record.out")
        _locked(root).close()
        return root


class Recorder:
    """Writes a feed's batches and finishes files as it goes.

    Args:
        instruments: V instruments of the feed.
        config: where to, and how often files are finished.
        ghost_chain: a run that answers with the ghost's chain of fallbacks writes it.

    Raises:
        ConfigError: a folder that is in the way, or a setting that can't be used.
        SchemaError: the store there has other instruments by these names.

    Example:
        >>> import tempfile
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=500))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Recorder(feed.instruments, RecordConfig(out=folder)) as recorder:
        ...         for ticks in feed.batches(100):
        ...             recorder.write(ticks)
        ...     recorder.report({}).files
        4
    """

    def __init__(self, instruments: tuple[Instrument, ...], config: RecordConfig, *, ghost_chain: bool = False) -> None:
        self._root = config.check_out()
        self._config = config
        self._lock = _locked(self._root)
        self._instruments = instruments
        self._writer = self._store(self._root)
        self._writer.ghost_chain |= ghost_chain
        self._late: StoreWriter | None = None
        self._before = self._writer.ends()
        self._rows = 0
        self._began_ns: int | None = None
        self._newest_ns, self._newest_s = 0, 0.0
        self._number = {one.stream: v for v, one in enumerate(instruments)}
        self._lost: dict[str, tuple[int, str]] = {}  # lines that lose rows: their last one, and why
        self._recent: Ticks | None = None
        self._last_ns: dict[int, int] = {}
        self._earlier_ns: dict[int, int] = {}  # before the recent ones
        self._closed = False
        self._handed: list[Handed] = []
        self._handed_rows = 0
        self._ending = False
        self._failure: BaseException | None = None
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="recorder", daemon=True)
        self._thread.start()

    def _store(self, root: Path) -> StoreWriter:
        config = self._config
        return StoreWriter(
            self._instruments,
            root,
            mode="append",
            compression=config.compression,
            rows_per_group=config.rows_per_group,
            setting="record.out",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Keep what came, also when the recording ends by an error.

        Raises:
            OSError: it could not be written.
        """
        if self._closed:
            return
        self._closed = True
        with self._change:
            self._ending = True
            self._change.notify_all()
        self._thread.join()
        self._lock.close()
        if self._failure is not None:
            raise self._failure

    def write(self, ticks: Ticks) -> None:
        """Take one batch of rows, perhaps none.

        Raises:
            OSError: what was handed over before could not be written.
            ConfigError: it is older than what is in the store.
        """
        if len(ticks):
            self._hand(("rows", ticks), len(ticks))

    def late(self, ticks: Ticks) -> None:
        """Take trades that were told too late to be rows; they go into a store of their own, ``OUT.late``."""
        if len(ticks):
            self._hand(("late", ticks), len(ticks))

    def tell(self, event: FallbackEvent) -> None:
        """Something happened to the feed. Rows it lost are a gap."""
        self._hand(("event", event))

    def note(self, gap: Gap) -> None:
        """Rows of a stream were lost; the store says so from the next rotation on."""
        self._hand(("gap", gap))

    def flush(self) -> None:
        """Wait until all that was handed over is with the writer, and files are finished where it is time."""
        done = threading.Event()
        self._hand(("done", done))
        while not done.wait(PACE_S):
            self._check()

    @property
    def gaps(self) -> int:
        """Gaps noted so far."""
        return len(self._writer.gaps)

    def report(self, dropped: dict[str, int]) -> StoreReport:
        """Sum up what was written."""
        return self._writer.report(dropped)

    def _hand(self, work: Handed, rows: int = 0) -> None:
        with self._change:
            self._change.wait_for(lambda: self._handed_rows < MOST_WAITING or self._failure is not None)
            self._check()
            self._handed.append(work)
            self._handed_rows += rows
            if work[0] == "done":
                self._change.notify_all()

    def _check(self) -> None:
        """Say what went wrong in the thread."""
        if self._failure is not None:
            self._closed = True
            self._lock.close()
            raise self._failure

    # the thread

    def _run(self) -> None:
        try:
            while self._do_all():
                self._rotate_in_time()
            self._end()
        except BaseException as error:  # noqa: BLE001 - who hands over next gets it
            with suppress(OSError, ValueError):
                self._checkpoint()
            if isinstance(error, OSError) and error.errno and error.filename is None:  # Arrow does not say where
                error = OSError(error.errno, os.strerror(error.errno), str(self._root))
            with self._change:
                self._failure = error
                self._change.notify_all()

    def _do_all(self) -> bool:
        """Do what was handed over; False where nothing more will be. Its rows take up room until they are written."""
        with self._change:
            if not self._ending:
                self._change.wait(PACE_S)
            works, self._handed, rows, ending = self._handed, [], self._handed_rows, self._ending
        for work in works:
            self._do(work)
        with self._change:
            self._handed_rows -= rows
            self._change.notify_all()
        return not ending

    def _do(self, work: Handed) -> None:
        match work:
            case ("rows", Ticks() as ticks):
                self._write(ticks)
            case ("late", Ticks() as ticks):
                self._late = self._late or self._store(self._root.with_name(f"{self._root.name}.late"))
                self._late.write(ticks)
            case ("event", FallbackEvent() as event):
                self._take_event(event)
            case ("gap", Gap() as gap):
                self._writer.gaps.append(gap)
            case ("done", threading.Event() as done):
                done.set()

    def _write(self, ticks: Ticks) -> None:
        if self._before:
            self._resumed(ticks)
        if self._began_ns is None:
            self._began_ns = int(ticks.ts_recv_ns[0])
        self._writer.write(ticks)
        self._rows += len(ticks)
        self._newest_ns, self._newest_s = int(ticks.ts_recv_ns[-1]), time.monotonic()
        self._recent, self._earlier_ns = ticks, dict(self._last_ns)
        lines = _lines_of(ticks)
        for line in np.unique(lines).tolist():
            self._last_ns[line] = int(ticks.ts_recv_ns[np.flatnonzero(lines == line)[-1]])
        self._rotate(self._newest_ns)

    def _rotate_in_time(self) -> None:
        """Rows are in their file in time, also where no other one comes."""
        self._rotate(self._newest_ns + round(1e9 * (time.monotonic() - self._newest_s)))

    def _rotate(self, now_ns: int) -> None:
        if self._began_ns is None:
            return
        if self._rows >= self._config.rotate_rows or now_ns - self._began_ns >= self._config.rotate_s * 1e9:
            self._checkpoint()

    def _checkpoint(self) -> None:
        self._writer.checkpoint()
        if self._late is not None:
            self._late.checkpoint()
        self._rows, self._began_ns = 0, None

    def _end(self) -> None:
        now_ns = time.time_ns()
        for component, (first_ns, reason) in self._lost.items():
            self._writer.gaps.append(Gap(_stream_of(component), first_ns, max(now_ns, first_ns), reason))
        self._checkpoint()

    def _take_event(self, event: FallbackEvent) -> None:
        """A gap is from the last row of the quotes or trades that went missing to where they are whole again."""
        stream = _stream_of(event.component)
        if stream not in self._number:
            return
        if event.after == "gapped":
            line = 2 * self._number[stream] + event.component.endswith(".trades")
            self._lost.setdefault(event.component, (self._last_before(line, event.ts_ns), event.reason))
        elif event.before == "gapped":
            first_ns, _ = self._lost.pop(event.component, (event.ts_ns, ""))
            self._writer.gaps.append(Gap(stream, first_ns, max(event.ts_ns, first_ns), event.reason))

    def _last_before(self, line: int, ts_ns: int) -> int:
        """Its last row until a time: events are told after the rows that came meanwhile."""
        recent = self._recent
        if recent is not None:
            own = recent.ts_recv_ns[(_lines_of(recent) == line) & (recent.ts_recv_ns <= ts_ns)]
            if len(own):
                return int(own[-1])
        return self._earlier_ns.get(line, ts_ns)

    def _resumed(self, ticks: Ticks) -> None:
        """The first row of a stream that was recorded before ends a gap."""
        for v, instrument in enumerate(ticks.instruments):
            if instrument.stream in self._before and (own := ticks.ts_recv_ns[ticks.stream == v]).size:
                last_ns = self._before.pop(instrument.stream)
                self._writer.gaps.append(Gap(instrument.stream, last_ns, int(own[0]), "nothing was recorded"))


Handed = tuple[str, Ticks | FallbackEvent | Gap | threading.Event]
"""What was handed over: "rows", "late", "event", "gap" or "done", and it."""


def _lines_of(ticks: Ticks) -> Int64:
    """Which quotes or trades a row is of: 2 v, and one more for trades."""
    lines: Int64 = 2 * ticks.stream.astype(np.int64) + (ticks.kind == Kind.TRADE)
    return lines


def _stream_of(component: str) -> str:
    """It is ``feed.venue:symbol.quotes`` or ``.trades``."""
    return component.removeprefix("feed.").rpartition(".")[0]


def _locked(root: Path) -> sqlite3.Connection:
    """Hold a store for this process: the system lets go of it with the process, whatever ends that."""
    beside = root.with_name(f"{root.name}.lock")
    beside.parent.mkdir(parents=True, exist_ok=True)
    lock = sqlite3.connect(beside, timeout=0.0, isolation_level=None, check_same_thread=False)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        raise ConfigError(
            f"record.out={root} is being recorded into by another process; stop it first, or name another folder"
        ) from error
    return lock
