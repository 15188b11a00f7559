"""Clocks: what time it is, in int64 ns since 1970 UTC. Replay reads the ticks' time, live the machine's."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Tells the engine's time."""

    def now_ns(self) -> int:
        """Time now."""
        ...

    def advance(self, ts_recv_ns: int) -> None:
        """Learn the receive time of the newest event."""
        ...


class ReplayClock:
    """Stands at the newest event's receive time; never runs backwards.

    Example:
        >>> clock = ReplayClock()
        >>> clock.advance(5); clock.advance(3); clock.now_ns()
        5
    """

    def __init__(self, start_ns: int = 0) -> None:
        self._now_ns = start_ns

    def now_ns(self) -> int:
        """Receive time of the newest event."""
        return self._now_ns

    def advance(self, ts_recv_ns: int) -> None:
        """Move to a later event; an earlier one changes nothing."""
        self._now_ns = max(self._now_ns, ts_recv_ns)


class LiveClock:
    """The machine's clock, held from running backwards when it is stepped."""

    def __init__(self) -> None:
        self._last_ns = 0

    def now_ns(self) -> int:
        """Time now."""
        self._last_ns = max(self._last_ns, time.time_ns())
        return self._last_ns

    def advance(self, ts_recv_ns: int) -> None:
        """Nothing to do: time passes by itself."""
