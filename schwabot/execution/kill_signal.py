"""SIGUSR1 as the kill switch, from the first moment on: what comes before anybody can act on it is kept.

Python runs a signal's handler on the main thread, between two of its own instructions. A policy is compiled: in one
that loops for ever there is no such moment. So a thread hears signals by the pipe that the interpreter writes their
numbers into at once, wherever the main thread is.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self


class KillSignal:
    """Takes SIGUSR1 in a ``with`` on the main thread; Windows has none.

    Example:
        >>> heard = threading.Event()
        >>> with KillSignal() as stop:
        ...     signal.raise_signal(signal.SIGUSR1)
        ...     stop.meets(lambda who, why: (print(who, why), heard.set()))
        ...     heard.wait(5.0)
        SIGUSR1 the signal was sent
        True
    """

    def __init__(self) -> None:
        self.ends = threading.Event()
        """Set once SIGINT or SIGTERM has come, whose handlers belong to others, and may have to wait."""
        self._number: Any = getattr(signal, "SIGUSR1", None)
        self._before: Any = None
        self._fd_before = -1
        self._pipe: tuple[int, int] | None = None
        self._thread = threading.Thread(target=self._listen, name="signals", daemon=True)
        self._lock = threading.Lock()
        self._came = False
        self._act: Callable[[str, str], object] | None = None

    def __enter__(self) -> Self:
        if self._number is not None and threading.current_thread() is threading.main_thread():
            self._pipe = os.pipe()
            os.set_blocking(self._pipe[1], False)  # as the interpreter wants it
            self._fd_before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            self._before = signal.signal(self._number, lambda *_: None)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._pipe is not None:
            signal.signal(self._number, self._before)
            signal.set_wakeup_fd(self._fd_before)
            os.write(self._pipe[1], b"\0")  # no signal's number: the thread ends
            self._thread.join()
            for end in self._pipe:
                os.close(end)

    def meets(self, act: Callable[[str, str], object]) -> None:
        """Do this when it comes, told who and why, on a thread of its own; at once if it has come."""
        with self._lock:
            self._act = act
            came = self._came
        if came:
            act("SIGUSR1", "the signal was sent")

    def _listen(self) -> None:
        assert self._pipe is not None
        numbers = b""
        while 0 not in numbers:
            numbers = os.read(self._pipe[0], 64)
            if signal.SIGINT in numbers or signal.SIGTERM in numbers:
                self.ends.set()
            if self._number in numbers:
                with self._lock:
                    self._came, act = True, self._act
                if act is not None:
                    act("SIGUSR1", "the signal was sent")
