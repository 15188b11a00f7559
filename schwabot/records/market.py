"""Ticks as columns. Axis legend: N events, V streams, K book levels."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from schwabot.records.instrument import Instrument

MISSING_NS = int(np.iinfo(np.int64).min)
"""Stands for a time stamp the venue does not give. Never zero."""

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Int8 = npt.NDArray[np.int8]
Float64 = npt.NDArray[np.float64]


class Kind(IntEnum):
    """What a row is."""

    QUOTE = 0
    TRADE = 1
    DEPTH = 2


@dataclass(frozen=True, slots=True)
class BookLevels:
    """The best K levels of the rebuilt book at DEPTH rows; zero quantity where there is no level.

    ``row`` holds the index (within the same ``Ticks``) of the DEPTH row each entry belongs to.

    Shape: ``row`` [M]; the others [M, K], best level first.
    """

    row: Int64
    bid_ticks: Int64
    bid_lots: Int64
    ask_ticks: Int64
    ask_lots: Int64


@dataclass(frozen=True, slots=True)
class Ticks:
    """A run of market events, in the order (ts_recv_ns, stream name, line of file).

    Attributes:
        instruments: V instruments sorted by stream name; ``stream`` indexes it.
        ts_recv_ns: when we received it, int64 ns since 1970 UTC, never decreasing. [N]
        ts_event_ns: when the venue says it happened (T where given, else E), or MISSING_NS. [N]
        ts_emit_ns: when the venue says it sent the message (E), or MISSING_NS; feeds the venue clock. [N]
        stream: index into ``instruments``. [N] int32
        kind: see ``Kind``; DEPTH rows carry the top of the rebuilt book. [N] int8
        bid_ticks, ask_ticks, bid_lots, ask_lots: touch, for QUOTE and DEPTH rows; 0 for trades. [N]
        price_ticks, qty_lots: the trade, for TRADE rows; 0 otherwise (qty 0 = unknown). [N]
        side: +1 the buyer was the aggressor, -1 the seller, 0 unknown or no trade. [N] int8
        levels: best K levels at DEPTH rows, when they were asked for.
    """

    instruments: tuple[Instrument, ...]
    ts_recv_ns: Int64
    ts_event_ns: Int64
    ts_emit_ns: Int64
    stream: Int32
    kind: Int8
    bid_ticks: Int64
    ask_ticks: Int64
    bid_lots: Int64
    ask_lots: Int64
    price_ticks: Int64
    qty_lots: Int64
    side: Int8
    levels: BookLevels | None = None

    def __len__(self) -> int:
        return len(self.ts_recv_ns)


@dataclass(frozen=True, slots=True)
class Gap:
    """A span in which rows of a stream were lost: by a venue, on the way, or because nobody recorded.

    Attributes:
        stream: ``venue:symbol``.
        first_ns: receive time of the last row before it.
        last_ns: of the first row after it; of one that is still open: when it was noted.
        reason: in a few words.
    """

    stream: str
    first_ns: int
    last_ns: int
    reason: str


class Row(NamedTuple):
    """One row of ``Ticks`` as plain numbers, and ``ts_venue_ns``: venue time on our clock, or MISSING_NS."""

    ts_recv_ns: int
    ts_event_ns: int
    ts_emit_ns: int
    stream: int
    kind: int
    bid_ticks: int
    ask_ticks: int
    bid_lots: int
    ask_lots: int
    price_ticks: int
    qty_lots: int
    side: int
    ts_venue_ns: int = MISSING_NS
