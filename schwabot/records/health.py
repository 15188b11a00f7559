"""How well the parts of a run are, for whoever watches it. No logic, no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

TIMING_PER_DECADE = 10
"""Bins of a ``Timing`` for each power of ten."""
TIMING_BINS = 9 * TIMING_PER_DECADE
"""From 1 us to 1,000 s."""


@dataclass(frozen=True, slots=True)
class Part:
    """One component of a chain of fallbacks.

    Attributes:
        component: its name, as in ``FallbackEvent``.
        now: the link that is in use, e.g. websocket.
        best: whether that is the first choice.
        health: 0 to 1 of the link in use.
    """

    component: str
    now: str
    best: bool
    health: float


@dataclass(frozen=True, slots=True)
class Timing:
    """How long something takes: counts since the run began.

    Attributes:
        name: what is measured.
        counts: bin k counts times of 10**(k / TIMING_PER_DECADE) us and more; ``TIMING_BINS`` of them.
    """

    name: str
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class HealthRecord:
    """How the parts stand.

    Attributes:
        parts: chains of fallbacks.
        timings: since the run began.
        queue_rows: rows that wait for their answer now.
        queue_most: the most that ever waited.
        messages: received from venues.
        reconnects: of all streams.
        dropped: messages that made no row, how many for each reason.
    """

    parts: tuple[Part, ...] = ()
    timings: tuple[Timing, ...] = ()
    queue_rows: int = 0
    queue_most: int = 0
    messages: int = 0
    reconnects: int = 0
    dropped: Mapping[str, int] = field(default_factory=dict)
