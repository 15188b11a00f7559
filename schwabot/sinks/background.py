"""A sink on a thread of its own: rows that come while files are written do not wait for them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from queue import Queue
from typing import Any

from schwabot.records.audit import StepRecord
from schwabot.sinks.base import RunHeader, Sink

MOST_WAITING = 256
"""Records: some 15 s of a live run."""


class BackgroundSink:
    """Hands records on to another sink, in order; past ``MOST_WAITING`` of them ``write`` waits.

    What the other one raises is raised by the next ``write``, or by ``close``; nothing is written after that.

    Args:
        inner: opened and closed by who opens and closes this one, told records on the thread.
    """

    def __init__(self, inner: Sink) -> None:
        self._inner = inner
        self._waiting: Queue[StepRecord | None] = Queue(MOST_WAITING)
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    def open(self, header: RunHeader) -> None:
        """Get ready."""
        self._inner.open(header)
        self._thread = threading.Thread(target=self._write, name=type(self._inner).__name__, daemon=True)
        self._thread.start()

    def write(self, record: StepRecord) -> None:
        """Take one batch."""
        self._raise()
        self._waiting.put(record)

    def close(self, summary: Mapping[str, Any]) -> None:
        """Write what waits, and finish."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join()
        try:
            self._inner.close(summary)
        finally:
            self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise error

    def _write(self) -> None:
        failed = False
        while (record := self._waiting.get()) is not None:
            if not failed:
                try:
                    self._inner.write(record)
                except BaseException as error:  # noqa: BLE001 - told to who writes next, on its own thread
                    failed, self._error = True, error
