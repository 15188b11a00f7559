"""Where a run's time goes: a ``torch.profiler`` trace of a few of its batches, the parts of the loop as named ranges.

    batch    0       1         2 … 9            10 …
             saved   warm-up   saved instead    not looked at

The first batch is kept until there is something better: on a GPU it compiles kernels, but a run may have no other.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

TRACE = "profile/run.pt.trace.json.gz"
"""File in a run's folder; by its ending TensorBoard's profile plugin knows it."""
BATCHES = 8
"""Batches in a trace, of a sweep blocks of sets: so many make one of a day no larger than one of a minute."""

Item = TypeVar("Item")
_open: list[Trace] = []


class Trace:
    """Traces a few of the batches that pass while it is entered, and writes them as soon as it has them.

    Args:
        file: where to, named as ``TRACE``; None = nowhere, nothing is traced.
        cuda: what a GPU does too.

    Example:
        >>> with Trace(None) as trace:
        ...     for batch in spans("feed", [1, 2]):
        ...         with span("graph"):
        ...             trace.step()
    """

    def __init__(self, file: Path | None, *, cuda: bool = False) -> None:
        self._file = file
        self._cuda = cuda
        self._profiler: Any = None
        self._done = 0

    def __enter__(self) -> Self:
        if self._file is not None:
            os.environ.setdefault("KINETO_LOG_LEVEL", "6")  # it tells stderr of each start and stop
            from torch.profiler import ProfilerActivity, profile

            activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if self._cuda else [])]
            self._profiler = profile(
                activities=activities, schedule=_action, on_trace_ready=self._write, acc_events=True
            )
            self._profiler.start()
            _open.append(self)
        return self

    def step(self) -> None:
        """A batch is done."""
        self._done += 1
        if self._profiler is not None:
            self._profiler.step()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._profiler is not None:
            _open.remove(self)
            self._profiler.stop()
            self._profiler = None

    def _write(self, profiler: Any) -> None:
        """Whole or not at all."""
        assert self._file is not None
        if self._done == 2:  # the run ended with the warm-up
            return
        self._file.parent.mkdir(exist_ok=True)
        part = self._file.with_name(self._file.name + ".part")
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder, self._file.name)  # by its ending torch knows to compress it
            profiler.export_chrome_trace(str(made))
            shutil.move(made, part)
        part.replace(self._file)


def _action(step: int) -> Any:
    from torch.profiler import ProfilerAction

    if step in (0, BATCHES + 1):
        return ProfilerAction.RECORD_AND_SAVE
    if step == 1:
        return ProfilerAction.WARMUP
    return ProfilerAction.RECORD if step < BATCHES + 1 else ProfilerAction.NONE


def span(name: str) -> AbstractContextManager[Any]:
    """What is done within it is shown under this name; costs nothing where nothing is traced."""
    if not _open:
        return nullcontext()
    from torch.profiler import record_function

    return record_function(name)


def spans(name: str, items: Iterable[Item]) -> Iterator[Item]:
    """The items, with the time that each of them takes to come under this name."""
    source = iter(items)
    while True:
        with span(name):
            try:
                item = next(source)
            except StopIteration:
                return
        yield item
