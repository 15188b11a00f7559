"""How far a run is: a bar with rate and time left, or a plain line every few seconds where there is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self, TextIO

from schwabot.sinks.heartbeat import beat


class Progress:
    """Progress of one run.

    Args:
        enabled: show anything at all.
        stream: where to; standard error by default.
        every_s: time between plain lines.
        label: what is going on.
        unit: what is counted.
    """

    def __init__(
        self,
        enabled: bool = True,
        stream: TextIO | None = None,
        every_s: float = 5.0,
        label: str = "replay",
        unit: str = "events",
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._enabled = enabled
        self._every_s = every_s
        self._label = label
        self._unit = unit
        self._bar: Any = None

    def __enter__(self) -> Self:
        self._started_s = self._said_s = time.monotonic()
        beat()
        if self._enabled and self._stream.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn(
                    "{task.percentage:>3.0f} %  {task.fields[events]:,} {task.fields[unit]}  {task.fields[rate]}"
                ),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
                console=Console(file=self._stream),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self._label, total=1.0, events=0, rate="", unit=self._unit)
        return self

    def update(self, events: int, share: float, more: str = "") -> None:
        """Say how many events are done, what share of the source that is (0 to 1), and what else goes with the rate."""
        beat(ready=True)
        if not self._enabled:
            return
        now_s = time.monotonic()
        rate = f"{events / max(now_s - self._started_s, 1e-9):,.0f}/s{more}"
        if self._bar is not None:
            self._bar.update(self._task, completed=share, events=events, rate=rate)
        elif now_s - self._said_s >= self._every_s:
            self._said_s = now_s
            spent_s = now_s - self._started_s
            left = f", about {spent_s / share - spent_s:,.0f} s left" if share > 0 else ""
            self._say(f"{self._label}: {100 * share:.0f} %, {events:,} {self._unit}, {rate}{left}")

    def note(self, line: str) -> None:
        """Say one line without disturbing the bar."""
        if self._bar is not None:
            self._bar.console.print(line, markup=False, highlight=False)
        else:
            self._say(line)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def _say(self, line: str) -> None:
        self._stream.write(line + "\n")
        self._stream.flush()
