"""Event arrays of hftbacktest (.npz): the touch rebuilt from depth events, and trades.

Axis legend: N events of the file, M rows made of them.

Source: hftbacktest 2, ``hftbacktest/src/types.rs`` and ``docs``: fields ev, exch_ts, local_ts, px, qty,
order_id, ival, fval; the kind is in the low byte of ``ev``, flags in its high bits.
"""

from __future__ import annotations

import heapq
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from schwabot.errors import CorruptFileError, DataError, MalformedLineError, SchemaError
from schwabot.records.market import MISSING_NS, Kind
from schwabot.ticks.table_files import Rows

DEPTH, TRADE, CLEAR, SNAPSHOT, BBO = 1, 2, 3, 4, 5
KIND_MASK = 0xFF
EXCH, LOCAL, BUY, SELL = 1 << 31, 1 << 30, 1 << 29, 1 << 28
NAMES = ("ev", "exch_ts", "local_ts", "px", "qty")
READ_EVENTS = 65_536


class NpzFile:
    """One array of events, read in pieces.

    Only events for the local side count, in receive time; a quote is made when the touch differs
    after the events of one (local_ts, exch_ts), which are the parts of one message.

    Args:
        path: the file.

    Raises:
        SchemaError: not the fields of hftbacktest's events; lists those there are.
        CorruptFileError: no npz file, or one that is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        self._events = 0
        for _ in self._chunks():
            break

    def streams(self) -> list[str]:
        """One file holds one stream."""
        return []

    def progress(self) -> float:
        """Share of the events read so far."""
        return self._read / self._events if self._events else 1.0

    def rows(self) -> Iterator[Rows]:
        """Yield rows in order; raises CorruptFileError after the last good one."""
        book = _Touch()
        out = _Made(self.path)
        message = (0, 0)
        for events in self._chunks():
            local = np.flatnonzero(events["ev"] & np.uint64(LOCAL))
            picked = events[local]
            line = (local + self._read + 1).tolist()
            columns = (picked[name].tolist() for name in NAMES)
            for at, ev, exch_ns, local_ns, price, quantity in zip(line, *columns, strict=True):
                if (local_ns, exch_ns) != message:
                    out.quote(book, message)
                    message = (local_ns, exch_ns)
                kind = ev & KIND_MASK
                if kind == TRADE:
                    side = 1 if ev & BUY else -1 if ev & SELL else 0
                    out.quote(book, message)
                    out.trade(at, message, price, quantity, side)
                elif kind in (DEPTH, SNAPSHOT, BBO, CLEAR):
                    book.change(at, kind, ev, price, quantity)
                else:
                    what = f"event kind {kind} is none of depth, trade, clear, snapshot, best bid and offer"
                    out.fault(MalformedLineError(what, file=str(self.path), line=at))
            self._read += len(events)
            if out.lines:
                yield out.take()
        out.quote(book, message)
        if out.lines or out.faults:
            yield out.take()

    def _chunks(self) -> Iterator[npt.NDArray[Any]]:
        self._read = 0
        try:
            with zipfile.ZipFile(self.path) as archive:
                names = [name for name in archive.namelist() if name.endswith(".npy")]
                name = "data.npy" if "data.npy" in names else names[0] if len(names) == 1 else None
                if name is None:
                    raise SchemaError(f"no array 'data'; it has {', '.join(names)}", file=str(self.path))
                with archive.open(name) as file:
                    dtype, self._events = self._header(file)
                    done = 0
                    while done < self._events:
                        wanted = min(READ_EVENTS, self._events - done)
                        data = file.read(wanted * dtype.itemsize)
                        whole = len(data) // dtype.itemsize
                        if whole:
                            yield np.frombuffer(data, dtype=dtype, count=whole)
                        done += whole
                        if whole < wanted:
                            what = f"ends after event {done} of {self._events}"
                            raise CorruptFileError(what, file=str(self.path), line=done + 1)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError) as error:
            what = f"is no whole npz file ({error}): get a whole copy"
            raise CorruptFileError(what, file=str(self.path), line=self._read + 1) from error

    def _header(self, file: IO[bytes]) -> tuple[np.dtype[Any], int]:
        try:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(file)
        except ValueError as error:
            raise CorruptFileError(f"its array has no readable header ({error})", file=str(self.path)) from error
        there = dtype.names or ()
        if len(shape) != 1 or any(name not in there for name in NAMES):
            what = f"not the events of hftbacktest: fields {', '.join(there) or dtype}, shape {shape}; need {NAMES}"
            raise SchemaError(what, file=str(self.path))
        return dtype, int(shape[0])


class _Touch:
    """Best bid and ask of a book kept by price; bids are kept under their negative price."""

    def __init__(self) -> None:
        self.sides: tuple[dict[float, float], dict[float, float]] = ({}, {})
        self._heaps: tuple[list[float], list[float]] = ([], [])
        self.line = 0

    def change(self, line: int, kind: int, ev: int, price: float, quantity: float) -> None:
        self.line = line
        for side, flag, sign in ((0, BUY, -1.0), (1, SELL, 1.0)):
            if not ev & flag and not (kind == CLEAR and not ev & (BUY | SELL)):
                continue
            levels, key = self.sides[side], sign * price
            if kind == CLEAR:
                # A clear removes one side from the touch down to the price; without a side it empties both.
                gone = [k for k in levels if not ev & flag or k <= key]
                for k in gone:
                    del levels[k]
            elif kind == BBO:
                # The best price is stated: what was better is gone.
                for k in [k for k in levels if k < key]:
                    del levels[k]
                self._set(side, key, quantity)
            else:
                self._set(side, key, quantity)

    def best(self) -> tuple[float, float, float, float] | None:
        """Bid, ask, bid quantity, ask quantity; None while a side is empty."""
        keys = []
        for levels, heap in zip(self.sides, self._heaps, strict=True):
            while heap and heap[0] not in levels:
                heapq.heappop(heap)
            if not heap:
                return None
            keys.append(heap[0])
        return -keys[0], keys[1], self.sides[0][keys[0]], self.sides[1][keys[1]]

    def _set(self, side: int, key: float, quantity: float) -> None:
        levels = self.sides[side]
        if quantity == 0.0:
            levels.pop(key, None)
            return
        if key not in levels:
            heapq.heappush(self._heaps[side], key)
        levels[key] = quantity


class _Made:
    """Rows made so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[tuple[Any, ...]] = []
        self.faults: list[tuple[int, DataError]] = []
        self._shown: tuple[float, float, float, float] | None = None

    def quote(self, book: _Touch, message: tuple[int, int]) -> None:
        """Add the touch if it has changed."""
        best = book.best()
        if best is not None and best != self._shown:
            self._shown = best
            bid, ask, bid_qty, ask_qty = best
            self.lines.append((book.line, *message, Kind.QUOTE, bid, ask, bid_qty, ask_qty, np.nan, np.nan, 0))

    def trade(self, line: int, message: tuple[int, int], price: float, quantity: float, side: int) -> None:
        """Add a trade."""
        nan = np.nan
        self.lines.append((line, *message, Kind.TRADE, nan, nan, nan, nan, price, quantity, side))

    def fault(self, error: DataError) -> None:
        """Add an event that can't be read."""
        self.faults.append((-1, error))

    def take(self) -> Rows:
        """Hand over what there is."""
        columns: list[Any] = [list(column) for column in zip(*self.lines, strict=True)] or [[] for _ in range(11)]
        longs = [np.array(columns[i], dtype=np.int64) for i in range(3)]
        floats = [np.array(columns[i], dtype=np.float64) for i in range(4, 10)]
        rows = Rows(
            line=longs[0],
            recv_ns=longs[1],
            event_ns=longs[2],
            emit_ns=np.full(len(longs[0]), MISSING_NS),
            kind=np.array(columns[3], dtype=np.int8),
            bid=floats[0],
            ask=floats[1],
            bid_qty=floats[2],
            ask_qty=floats[3],
            price=floats[4],
            qty=floats[5],
            side=np.array(columns[10], dtype=np.int8),
            faults=self.faults,
        )
        self.lines, self.faults = [], []
        return rows
