"""Sees that a row is not answered any more: a policy is compiled, and nothing can stop one that loops for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from schwabot.records.audit import SignalColumns
from schwabot.records.market import Row

LOOK_S = 0.25
STUCK_S = 10.0
"""A row that takes so long is told of."""
LEAVE_S = 5.0
"""A run that is to end does not wait longer for the row at hand."""


class RowWatch:
    """Does with each row what is to be done, while a thread looks on; use it in a ``with``.

    Time is counted in looks, so that a machine that stood still for an hour is not taken for a policy that hangs.

    Args:
        on_row: done with each row, on one thread.
        stuck: told, with s, of a row that is not answered; once a row, on the thread that looks on.
        ends: whether the run is to end.
        leave: done where it is, and the row at hand is not answered.
        look_s: between two looks.

    Example:
        >>> told, go_on = [], threading.Event()
        >>> def stuck(age_s):
        ...     told.append(age_s)
        ...     go_on.set()
        >>> with RowWatch(lambda row, signals: go_on.wait(5.0), stuck, lambda: False, print, look_s=0.001) as watch:
        ...     watch(None, None)
        >>> told
        [10.0]
    """

    def __init__(
        self, on_row: Callable[[Row, SignalColumns], object], stuck: Callable[[float], None], ends: Callable[[], bool],
        leave: Callable[[], object], look_s: float = LOOK_S,
    ) -> None:  # fmt: skip
        self._on_row, self._stuck, self._ends, self._leave, self._look_s = on_row, stuck, ends, leave, look_s
        self._at = 0  # odd while a row is being answered
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_on, name="row watch", daemon=True)

    def __call__(self, row: Row, signals: SignalColumns) -> None:
        """Do it, seen from the other thread."""
        self._at += 1
        try:
            self._on_row(row, signals)
        finally:
            self._at += 1

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _look_on(self) -> None:
        last, looks = 0, 0
        while not self._over.wait(self._look_s):
            at = self._at
            last, looks = at, looks + 1 if at == last and at % 2 else 0
            if looks == round(STUCK_S / LOOK_S):
                self._stuck(looks * LOOK_S)
            if looks >= round(LEAVE_S / LOOK_S) and self._ends():
                self._leave()
                return
