"""Tells that kernels are being compiled, and only that: reading them from disk says nothing, however slow it is."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from numba.core import event

SAID = "compiling the kernels that this run needs, once per version of Schwabot and per policy: up to two minutes\n"


class _Compiled(event.Listener):  # type: ignore[misc]
    """Starts a timer at the first function that is compiled rather than read from disk."""

    def __init__(self, timer: threading.Timer) -> None:
        self._timer = timer
        self._is_started = False

    def on_start(self, event: event.Event) -> None:
        if not self._is_started:
            self._is_started = True
            self._timer.start()

    def on_end(self, event: event.Event) -> None:
        """More may follow."""


@contextmanager
def said_when_compiling(after_s: float) -> Iterator[None]:
    """Say so on stderr when something is still being done this long after compiling began.

    Args:
        after_s: s.

    Example:
        >>> from numba import njit
        >>> import time
        >>> with said_when_compiling(60.0):
        ...     njit(lambda x: x + 1)(1)
        2
    """
    timer = threading.Timer(after_s, sys.stderr.write, [SAID])
    timer.daemon = True
    with event.install_listener("numba:compile", _Compiled(timer)):
        try:
            yield
        finally:
            timer.cancel()
