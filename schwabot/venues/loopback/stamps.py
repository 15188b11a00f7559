"""Times as text, as Coinbase and Kraken write them."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache

from schwabot.records.market import MISSING_NS
from schwabot.venues.loopback.player import Row


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
