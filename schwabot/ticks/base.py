"""The contract every source of ticks keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Protocol, runtime_checkable

from schwabot.errors import ConfigError
from schwabot.records.audit import FallbackEvent, StepRecord
from schwabot.records.instrument import Instrument
from schwabot.records.market import Ticks


class Feed(Protocol):
    """A source of ticks.

    A feed is read once, front to back (``ReadOnce``). ``instruments`` is known before the first batch and does not
    change; every batch carries the same tuple. Batches never overlap and, joined, do not depend on
    ``max_events``.
    """

    @property
    def instruments(self) -> tuple[Instrument, ...]:
        """V instruments, sorted by stream name."""
        ...

    @property
    def dropped(self) -> Mapping[str, int]:
        """Rows dropped so far, by reason (``DataError.reason``)."""
        ...

    @property
    def expected_events(self) -> int | None:
        """Rows this feed will yield, if known before reading."""
        ...

    def progress(self) -> float:
        """Share of the source read so far, 0 to 1 (by bytes or rows)."""
        ...

    def batches(self, max_events: int = 65_536) -> Iterator[Ticks]:
        """Yield batches of 1 to ``max_events`` rows, in order; once.

        A source that waits for its rows also yields an empty batch where none came for a while, so that whoever reads
        it can look after other things.

        Raises:
            ConfigError: it was called before.
        """
        ...


@runtime_checkable
class Telling(Protocol):
    """A feed to which things happen beside rows: a source that was lost, or came back."""

    def take_events(self) -> tuple[FallbackEvent, ...]:
        """What happened since the last call, in order."""
        ...


class ReadOnce:
    """Holds every source to the contract that a feed is read once: a source that is live can't begin anew.

    Example:
        >>> once = ReadOnce()
        >>> once.begin()
        >>> once.begin()
        Traceback (most recent call last):
        schwabot.errors.ConfigError: this feed was already read, which goes once: open its source again
    """

    def __init__(self) -> None:
        self._begun = False

    def begin(self) -> None:
        """Begin to read.

        Raises:
            ConfigError: it was begun before.
        """
        if self._begun:
            raise ConfigError("this feed was already read, which goes once: open its source again")
        self._begun = True


def events_of(feed: Feed) -> tuple[FallbackEvent, ...]:
    """What a feed has to tell since it was asked last: switches of source, rows lost."""
    return feed.take_events() if isinstance(feed, Telling) else ()


def with_events(record: StepRecord, told: tuple[FallbackEvent, ...]) -> StepRecord:
    """A record with what the feed told, before what the graph did."""
    return replace(record, fallbacks=(*told, *record.fallbacks)) if told else record
