"""Kraken's call counter: what an account has asked for lately, in points that fade."""

from __future__ import annotations

import time
from collections.abc import Callable

MOST, FADES_PER_S = 15.0, 0.33
"""Of an account of the lowest tier."""
POINTS = {"AddOrder": 0.0, "CancelOrder": 0.0, "TradesHistory": 2.0}
"""Those that do not cost 1; orders have limits of their own, which are not kept here."""


class CallCounter:
    """Points of one account.

    Args:
        most: points there may be at once.
        now_s: a clock.

    Example:
        >>> counter = CallCounter(3.0, lambda: 0.0)
        >>> [counter.use(name) for name in ("TradesHistory", "Balance", "Balance", "AddOrder")]
        [True, True, False, True]
    """

    def __init__(self, most: float = MOST, now_s: Callable[[], float] = time.monotonic) -> None:
        self.most, self._now_s = most, now_s
        self.refused = 0
        self._points, self._at_s = 0.0, now_s()

    def use(self, name: str) -> bool:
        """Count a call; False = there were too many, and it is refused."""
        now_s = self._now_s()
        self._points = max(0.0, self._points - FADES_PER_S * (now_s - self._at_s))
        self._at_s = now_s
        points = POINTS.get(name, 1.0)
        if points and self._points + points > self.most:
            self.refused += 1
            return False
        self._points += points
        return True
