"""Two files that tell of the same stream at the same time: which is right, or are they one, counted twice?

Axis legend: N rows.
"""

from __future__ import annotations

import numpy as np

from schwabot.errors import OverlapError
from schwabot.records.market import Int64, Kind, Ticks


class Overlaps:
    """Watches the spans of receive time that files cover, as they are read, and refuses two that overlap.

    Spans are per stream and kind of row: quotes and trades of a stream may be in files of their own. Two files
    may share a moment where one ends and the other begins.

    Example:
        >>> from dataclasses import replace
        >>> from schwabot.records.instrument import Instrument
        >>> from schwabot.ticks.merge import blank
        >>> rows = blank((Instrument("x:A/B", 0.1, 1.0),), 2)
        >>> overlaps = Overlaps()
        >>> overlaps.saw("a.csv", replace(rows, ts_recv_ns=np.array([5, 7])))
        >>> overlaps.saw("b.csv", replace(rows, ts_recv_ns=np.array([7, 9])))
        >>> overlaps.saw("c.csv", replace(rows, ts_recv_ns=np.array([6, 6])))
        Traceback (most recent call last):
        schwabot.errors.OverlapError: c.csv: a.csv too has quotes of x:A/B at that time, from 1970-01-01T00:00:00...
    """

    def __init__(self) -> None:
        self._spans: dict[tuple[int, int], dict[str, tuple[int, int]]] = {}

    def saw(self, file: str, ticks: Ticks) -> None:
        """Take the next rows of a file, in order of time.

        Raises:
            OverlapError: another file has rows of the same stream and kind at that time.
        """
        key = ticks.stream.astype(np.int64) * len(Kind) + ticks.kind
        found, first = np.unique(key, return_index=True)
        last = len(key) - 1 - np.unique(key[::-1], return_index=True)[1]
        for one, start, end in zip(found.tolist(), first.tolist(), last.tolist(), strict=True):
            stream, kind = divmod(one, len(Kind))
            spans = self._spans.setdefault((stream, kind), {})
            start_ns, end_ns = int(ticks.ts_recv_ns[start]), int(ticks.ts_recv_ns[end])
            spans[file] = (spans.get(file, (start_ns, end_ns))[0], end_ns)
            for other, (from_ns, to_ns) in spans.items():
                begins, ends = spans[file]
                inside = begins < to_ns and from_ns < ends
                if other != file and (inside or (begins, ends) == (from_ns, to_ns)):
                    name = ticks.instruments[stream].stream
                    raise OverlapError(_message(other, name, Kind(kind), max(begins, from_ns)), file=file)


def _message(other: str, stream: str, kind: Kind, from_ns: int) -> str:
    rows = {Kind.QUOTE: "quotes", Kind.TRADE: "trades", Kind.DEPTH: "depth rows"}[kind]
    return (
        f"{other} too has {rows} of {stream} at that time, from {utc(from_ns)} on: leave one of the two files out of"
        " source.glob, or, where they are two streams of a table, name them apart:"
        " '+source.streams={FOLDER/FILE: VENUE:BASE/QUOTE}'"
    )


def utc(ts_ns: int | Int64) -> str:
    """Write a time for people.

    Example:
        >>> utc(1_723_161_600_000_000_001)
        '2024-08-09T00:00:00.000000001Z'
    """
    return f"{np.datetime64(int(ts_ns), 'ns')}Z"
