"""``schwabot.run`` with a clock around each part; the last line on stderr says part → [wall s, CPU s] as JSON.

Times are exclusive: what one part spends in another counts there. CPU time is the whole process's.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

Clock = tuple[float, float]


def now() -> Clock:
    return time.time(), time.process_time()


class Parts:
    """Exclusive time per part: the innermost part that is open gets what passes."""

    def __init__(self, first: str, since: Clock) -> None:
        self.spent: dict[str, list[float]] = {}
        self._open = [first]
        self._since = since

    def _charge(self) -> None:
        wall, cpu = now()
        spent = self.spent.setdefault(self._open[-1], [0.0, 0.0])
        spent[0] += wall - self._since[0]
        spent[1] += cpu - self._since[1]
        self._since = wall, cpu

    def enter(self, part: str) -> None:
        self._charge()
        self._open.append(part)

    def leave(self) -> None:
        self._charge()
        self._open.pop()

    def switch(self, part: str) -> None:
        """From now on the outermost part is another one."""
        self._charge()
        self._open[0] = part

    def method(self, kind: type, name: str, part: str) -> None:
        """Charge calls of a method to a part."""
        plain: Callable[..., Any] = getattr(kind, name)

        @functools.wraps(plain)
        def clocked(*arguments: Any, **options: Any) -> Any:
            self.enter(part)
            try:
                return plain(*arguments, **options)
            finally:
                self.leave()

        setattr(kind, name, clocked)

    def generator(self, kind: type, name: str, part: str) -> None:
        """Charge what a generator does between its yields to a part."""
        plain: Callable[..., Iterator[Any]] = getattr(kind, name)

        @functools.wraps(plain)
        def clocked(*arguments: Any, **options: Any) -> Iterator[Any]:
            self.enter(part)
            try:
                rest = iter(plain(*arguments, **options))
                while True:
                    value = next(rest, None)
                    if value is None:
                        return
                    self.leave()
                    try:
                        yield value
                    finally:
                        self.enter(part)
            finally:
                self.leave()

        setattr(kind, name, clocked)


def main() -> None:
    parts = Parts("start-up", (started_s(), 0.0))
    from schwabot import engine, run, tally
    from schwabot.pipeline import Pipeline
    from schwabot.sinks.console import ConsoleSink
    from schwabot.sinks.parquet import ParquetSink
    from schwabot.sinks.summary import SummarySink
    from schwabot.sinks.tensorboard import TensorBoardSink
    from schwabot.ticks.capture import CaptureFeed
    from schwabot.ticks.venue_clock import VenueClock
    from schwabot.training.lag_curve import LagCurve
    from schwabot.training.skill import SkillMeter

    parts.method(CaptureFeed, "__init__", "parse: look into the files")
    parts.generator(CaptureFeed, "batches", "parse")
    parts.method(Pipeline, "step", "graph")
    parts.method(VenueClock, "update", "venue clock")
    parts.method(SkillMeter, "update", "skill")
    parts.method(SkillMeter, "summary", "skill")
    parts.method(LagCurve, "update", "lag curve")
    parts.method(LagCurve, "summary", "lag curve")
    parts.method(tally.Tally, "update", "tally")
    for kind, part in (
        (ParquetSink, "Parquet"),
        (TensorBoardSink, "TensorBoard"),
        (ConsoleSink, "console"),
        (SummarySink, "summary"),
    ):
        for name in ("open", "write", "close"):
            parts.method(kind, name, part)
    plain = engine.run

    def loop(*arguments: Any, **options: Any) -> Any:
        parts.switch("the rest of the loop")
        try:
            return plain(*arguments, **options)
        finally:
            parts.switch("exit")

    engine.run = loop
    try:
        run.main(sys.argv[1:])
    finally:
        parts.switch("exit")
        sys.stderr.write("\n" + json.dumps(parts.spent) + "\n")


def started_s() -> float:
    """When the process started, s since 1970."""
    with open("/proc/self/stat") as file:
        ticks = int(file.read().rsplit(")", 1)[1].split()[19])
    with open("/proc/uptime") as file:
        up_s = float(file.read().split()[0])

    return time.time() - up_s + ticks / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
