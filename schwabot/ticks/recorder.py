"""Recording what comes, in files that are whole at any moment: mode=record.

    feed ─▶ rows in memory (at most ``rows_per_group`` a stream) ─▶ .part-00007.parquet.tmp ─▶ part-00007.parquet
                                                                    every rotate_s or rotate_rows: fsync, rename,
                                                                    then _store.json lists it

What ``_store.json`` lists is whole; a process that is killed loses what came since the last rotation, and the gap it
leaves is in the store once recording goes on.
"""

from __future__ import annotations

import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from schwabot.errors import ConfigError
from schwabot.records.audit import FallbackEvent
from schwabot.records.instrument import Instrument
from schwabot.records.market import Gap, Ticks
from schwabot.ticks.store_writer import StoreReport, StoreWriter


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


class Recorder:
    """Writes a feed's batches and finishes files as it goes.

    Args:
        instruments: V instruments of the feed.
        config: where to, and how often files are finished.

    Raises:
        ConfigError: a folder that is in the way, or a setting that can't be used.
        SchemaError: the store there has other instruments by these names.

    Example:
        >>> import tempfile
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=500))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Recorder(feed.instruments, RecordConfig(out=folder, rotate_rows=300)) as recorder:
        ...         for ticks in feed.batches(100):
        ...             recorder.write(ticks)
        ...     recorder.report({}).files
        8
    """

    def __init__(self, instruments: tuple[Instrument, ...], config: RecordConfig) -> None:
        config.check()
        if not config.out:
            raise ConfigError("mode=record needs a folder to write to: add record.out=DIR")
        self._config = config
        self._lock = _locked(Path(config.out))
        self._writer = StoreWriter(
            instruments, config.out, mode="append", compression=config.compression, rows_per_group=config.rows_per_group
        )
        self._before = self._writer.ends()
        self._closed = False
        self._rows = 0
        self._began_ns: int | None = None
        self._streams = {one.stream for one in instruments}
        self._away: dict[str, tuple[FallbackEvent, int]] = {}  # lines that left their websocket, and their last row
        self._last_ns: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Keep what came, also when the recording ends by an error."""
        if self._closed:
            return
        self._closed = True
        now_ns = time.time_ns()
        for left, first_ns in self._away.values():
            self.note(Gap(_stream_of(left), first_ns, max(now_ns, first_ns), _reason_of(left)))
        self._away.clear()
        self._writer.checkpoint()
        self._lock.close()

    def write(self, ticks: Ticks) -> None:
        """Take one batch of rows, perhaps none, and finish the files when it is time."""
        if len(ticks):
            now_ns = int(ticks.ts_recv_ns[-1])
            if self._before:
                self._resumed(ticks)
            if self._began_ns is None:
                self._began_ns = int(ticks.ts_recv_ns[0])
            self._writer.write(ticks)
            self._rows += len(ticks)
            for v in np.unique(ticks.stream).tolist():
                last = np.flatnonzero(ticks.stream == v)[-1]
                self._last_ns[ticks.instruments[v].stream] = int(ticks.ts_recv_ns[last])
        elif self._began_ns is None:
            return
        else:
            now_ns = time.time_ns()
        if self._rows >= self._config.rotate_rows or now_ns - self._began_ns >= self._config.rotate_s * 1e9:
            self._writer.checkpoint()
            self._rows, self._began_ns = 0, None

    def tell(self, event: FallbackEvent) -> None:
        """Something happened to the feed. Rows it lost, or got from a poorer source, are a gap."""
        stream = _stream_of(event)
        if stream not in self._streams:
            return
        if event.after == "gapped":
            self.note(Gap(stream, event.ts_ns, event.ts_ns, event.reason))
        elif event.before == "websocket":
            self._away[event.component] = event, self._last_ns.get(stream, event.ts_ns)
        elif event.after == "websocket" and (away := self._away.pop(event.component, None)):
            left, first_ns = away
            self.note(Gap(stream, first_ns, max(event.ts_ns, first_ns), _reason_of(left)))

    def note(self, gap: Gap) -> None:
        """Rows of a stream were lost; the store says so from the next rotation on."""
        self._writer.gaps.append(gap)

    @property
    def gaps(self) -> int:
        """Gaps noted so far."""
        return len(self._writer.gaps)

    def report(self, dropped: dict[str, int]) -> StoreReport:
        """Sum up what was written."""
        return self._writer.report(dropped)

    def _resumed(self, ticks: Ticks) -> None:
        """The first row of a stream that was recorded before ends a gap."""
        for v, instrument in enumerate(ticks.instruments):
            if instrument.stream in self._before and (own := ticks.ts_recv_ns[ticks.stream == v]).size:
                last_ns = self._before.pop(instrument.stream)
                self.note(Gap(instrument.stream, last_ns, int(own[0]), "nothing was recorded"))


def _stream_of(event: FallbackEvent) -> str:
    """Its component is ``feed.venue:symbol.quotes`` or ``.trades``."""
    return event.component.removeprefix("feed.").rpartition(".")[0]


def _reason_of(left: FallbackEvent) -> str:
    return f"{left.after} in place of the {left.before}: {left.reason}"


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
