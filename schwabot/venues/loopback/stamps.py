"""Times as text, as Coinbase and Kraken write them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from schwabot.records.market import MISSING_NS
from schwabot.venues.loopback.player import Row

MS = 1_000_000
BUCKET_NS = 5_000_000_000


@lru_cache(maxsize=64)
def _second(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def iso(time_ns: int, digits: int) -> str:
    """RFC 3339 in UTC.

    Example:
        >>> iso(1_700_000_000_123_456_789, 6)
        '2023-11-14T22:13:20.123456Z'
    """
    return f"{_second(time_ns // 1_000_000_000)}.{time_ns % 1_000_000_000:09d}"[: 20 + digits] + "Z"


def event_of(row: Row) -> int:
    """When it happened, by the venue; where the source has no stamp, when it is published."""
    return row.event_ns if row.event_ns != MISSING_NS else emit_of(row)


def emit_of(row: Row) -> int:
    """When the venue sent it; likewise."""
    return row.emit_ns if row.emit_ns != MISSING_NS else row.now_ns


class OrderClock:
    """The clock that stamps orders and fills: the one that stamped the market, whose rows are shifted recordings.

    It is ahead of ours by what the least delayed rows of the last seconds were, so that an order that meets a quote is
    stamped after it.
    """

    def __init__(self) -> None:
        self._bucket = 0
        self._now = self._before = MISSING_NS

    def learn(self, row: Row) -> None:
        """A row is published; its stamps are without what the venue's clock is put off by."""
        stamp = row.emit_ns if row.emit_ns != MISSING_NS else row.event_ns
        if stamp == MISSING_NS:
            return
        if row.now_ns // BUCKET_NS != self._bucket:
            self._bucket, self._before, self._now = row.now_ns // BUCKET_NS, self._now, MISSING_NS
        self._now = max(self._now, stamp - row.now_ns)

    def now_ms(self, now_ns: int, skew_ms: int) -> int:
        """Its time, put off by ``skew_ms``; without a stamp in the market our clock, likewise."""
        ahead_ns = max(self._now, self._before)
        return (now_ns if ahead_ns == MISSING_NS else now_ns + ahead_ns) // MS + skew_ms
