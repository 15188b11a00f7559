"""SIGUSR1 as the kill switch, from the first moment on: what comes before anybody can act on it is kept."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self


class KillSignal:
    """Takes SIGUSR1 in a ``with`` on the main thread; Windows has none.

    Example:
        >>> with KillSignal() as stop:
        ...     signal.raise_signal(signal.SIGUSR1)
        ...     stop.meets(lambda who, why: print(who, why))
        SIGUSR1 the signal was sent
    """

    def __init__(self) -> None:
        self._number: Any = getattr(signal, "SIGUSR1", None)
        self._before: Any = None
        self._came = False
        self._act: Callable[[str, str], object] | None = None

    def __enter__(self) -> Self:
        if self._number is not None and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(self._number, lambda *_: self._take())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._before is not None:
            signal.signal(self._number, self._before)

    def meets(self, act: Callable[[str, str], object]) -> None:
        """Do this when it comes, told who and why; at once if it has come."""
        self._act = act
        if self._came:
            self._take()

    def _take(self) -> None:
        self._came = True
        if self._act is not None:
            self._act("SIGUSR1", "the signal was sent")
