"""Joining a feed's batches for a device, which likes them large and ending where its sums do.

    chunks   ─65,536─┬─65,536─┬─ … ─┬─65,536─┬─ …          as they are read
    groups   ────────── events ──────────┬─ …              quotes and trades count, depth rows don't

A group is read before the one ahead of it is answered, so that it can be on its way by then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np

from schwabot.records.market import Kind, Ticks
from schwabot.ticks.merge import concat, cut

MOST_ROWS = 4
"""Rows of a group per event that was asked for: depth rows take memory too."""


def grouped(chunks: Iterable[Ticks], events: Callable[[], int | None]) -> Iterator[Ticks]:
    """Join and cut chunks so that groups end after multiples of a number of quotes and trades.

    What was read is handed on before an error of the chunks is raised.

    Args:
        chunks: as a feed yields them.
        events: quotes and trades of a group, asked before each chunk is read. None = from now on chunks as they come.

    Example:
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=1000, depth_interval_ms=0.0))
        >>> [len(ticks) for ticks in grouped(feed.batches(100), lambda: 384)]
        [384, 384, 232]
    """
    source = iter(chunks)
    waiting: list[Ticks] = []
    handed = found = 0
    while (due := events()) is not None:
        try:
            chunk = next(source)
        except StopIteration:
            break
        except Exception:
            if waiting:
                yield concat(waiting)
            raise
        waiting.append(chunk)
        found += _events(chunk)
        left = due - handed % due
        while found >= left:
            joined = concat(waiting)
            stop = int(np.flatnonzero(joined.kind != Kind.DEPTH)[left - 1]) + 1
            yield cut(joined, 0, stop)
            waiting = [cut(joined, stop, len(joined))] if stop < len(joined) else []
            handed, found, left = handed + left, found - left, due
        if sum(map(len, waiting)) >= MOST_ROWS * due:
            yield concat(waiting)
            handed, found, waiting = handed + found, 0, []
    if due is None:
        yield from waiting
        yield from source
    elif waiting:
        yield concat(waiting)


def _events(ticks: Ticks) -> int:
    return int(np.count_nonzero(ticks.kind != Kind.DEPTH))


def one_ahead(groups: Iterable[Ticks]) -> Iterator[tuple[Ticks, Ticks | None]]:
    """Each group with the next one; None where there is none. An error of the groups is raised after what came before.

    Example:
        >>> from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
        >>> feed = SyntheticFeed(SyntheticConfig(events=250, depth_interval_ms=0.0))
        >>> [(len(now), ahead and len(ahead)) for now, ahead in one_ahead(feed.batches(100))]
        [(100, 100), (100, 50), (50, None)]
    """
    source = iter(groups)
    now = next(source, None)
    failure: Exception | None = None
    while now is not None:
        ahead = None
        try:
            ahead = next(source, None)
        except Exception as error:  # noqa: BLE001 whatever a source raises, it is raised below
            failure = error
        yield now, ahead
        now = ahead
    if failure is not None:
        raise failure
