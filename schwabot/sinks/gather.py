"""Small records put together, so that what a table or a histogram costs is paid once for many of them.

Axis legend: N rows of a record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np

from schwabot.records.audit import StepRecord

ROWS, RECORDS = 4_096, 64
_COMMON = (
    "instruments", "latencies_ms", "horizons_ms", "key_bits", "reentry_penalty", "lane_sizes", "lane_styles"
)  # fmt: skip
"""Fields that all rows of a record share."""
_COLUMNS = ("ts_recv_ns", "ts_event_ns", "ts_venue_ns", "stream", "kind")
_GROUPS = ("signals", "decisions", "arbitrage", "drift_events")
_LISTS = ("fallbacks", "alerts", "settings")
_LATEST = ("memory", "trading", "health")


class Gathered:
    """Holds records of a live run, 20 of them a second, until it is worth while to look at them.

    Args:
        rows: as soon as there are so many.
        records: or so many; one of a row or two takes a hundred times its rows' memory.

    Example:
        >>> from schwabot.pipeline import Pipeline
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed, gathered = SyntheticFeed(SyntheticConfig(events=300)), Gathered(rows=200)
        >>> pipeline = Pipeline(feed.instruments)
        >>> ready = [gathered.add(pipeline.step(ticks)) for ticks in feed.batches(100)]
        >>> [record is None for record in ready], sum(len(record.ts_recv_ns) for record in (ready[2], gathered.rest()))
        ([True, True, False, True], 300)
    """

    def __init__(self, rows: int = ROWS, records: int = RECORDS) -> None:
        self._most_rows, self._most_records = rows, records
        self._held: list[StepRecord] = []
        self._rows = 0

    def add(self, record: StepRecord) -> StepRecord | None:
        """Take a record of N rows; what was held, in one, when there is enough."""
        ready = self.rest() if self._held and not _alike(self._held[0], record) else None
        self._held.append(record)
        self._rows += len(record.ts_recv_ns)
        if ready is None and (self._rows >= self._most_rows or len(self._held) >= self._most_records):
            ready = self.rest()
        return ready

    def rest(self) -> StepRecord | None:
        """What is still held."""
        one = joined(self._held) if self._held else None
        self._held, self._rows = [], 0  # not before it is one: Ctrl-C may come at any time
        return one


def joined(records: Sequence[StepRecord]) -> StepRecord:
    """Records that follow one another, as if their rows had come in one batch.

    Args:
        records: with the same settings, at least one.

    Shape:
        The sum of their N.
    """
    if len(records) == 1:
        return records[0]
    found: dict[str, Any] = {name: np.concatenate([getattr(one, name) for one in records]) for name in _COLUMNS}
    for name in _GROUPS:
        groups = [getattr(one, name) for one in records]
        columns = {field.name: [getattr(group, field.name) for group in groups] for field in fields(groups[0])}
        found[name] = type(groups[0])(**{column: np.concatenate(parts) for column, parts in columns.items()})
    for name in _LISTS:
        found[name] = tuple(event for one in records for event in getattr(one, name))
    for name in _LATEST:
        found[name] = next((value for one in reversed(records) if (value := getattr(one, name)) is not None), None)
    depth_rows = sum(one.depth_rows for one in records)
    return replace(records[0], reference_price=records[-1].reference_price, depth_rows=depth_rows, **found)


def _alike(one: StepRecord, other: StepRecord) -> bool:
    return all(getattr(one, name) == getattr(other, name) for name in _COMMON)
