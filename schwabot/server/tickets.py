"""Links that a browser may follow once without a token: it can't send one along with a click."""

from __future__ import annotations

import hashlib
import secrets
import threading
import time
from collections.abc import Callable

LASTS_S = 60.0
MOST = 1_000
"""Tickets that wait at once; the oldest is forgotten first."""


class Tickets:
    """One use each, within a minute, for one thing. In memory only: a restart forgets them.

    Args:
        clock_s: never runs backwards.

    Example:
        >>> tickets = Tickets()
        >>> one = tickets.issue("report.html")
        >>> tickets.redeem(one, "else"), tickets.redeem(one, "report.html"), tickets.redeem(one, "report.html")
        (False, True, False)
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._waiting: dict[bytes, tuple[str, float]] = {}

    def issue(self, what: str) -> str:
        """A new ticket for something."""
        ticket = secrets.token_urlsafe(32)
        now_s = self._clock_s()
        with self._lock:
            for one in [one for one, (_, until_s) in self._waiting.items() if until_s <= now_s]:
                del self._waiting[one]
            while len(self._waiting) >= MOST:
                del self._waiting[next(iter(self._waiting))]
            self._waiting[_digest(ticket)] = (what, now_s + LASTS_S)
        return ticket

    def redeem(self, ticket: str, what: str) -> bool:
        """Whether this ticket is for that, and is used here for the first time and in time."""
        with self._lock:
            found = self._waiting.get(_digest(ticket))
            if found is None or found[0] != what:
                return False
            del self._waiting[_digest(ticket)]
        return found[1] > self._clock_s()


def _digest(ticket: str) -> bytes:
    """What is looked for: so the time of the look-up tells nothing of a ticket."""
    return hashlib.sha256(ticket.encode("utf-8", "surrogatepass")).digest()
