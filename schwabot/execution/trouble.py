"""What became of a request that failed, and asking again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from enum import Enum
from typing import Any

from schwabot.errors import VenueError

_PATIENCE_S = 30.0


class Fate(Enum):
    """What became of a request that failed."""

    REFUSED = "refused"
    """The venue did not carry it out."""
    LOST = "lost"
    """Nobody knows: it may have been carried out."""
    THROTTLED = "throttled"
    """Not carried out: too many requests."""
    ABSENT = "absent"
    """What it was about is not there."""


class Trouble(VenueError):  # noqa: N818 - it says what became of it
    """A request that failed.

    Args:
        fate: what became of it.
        what: in the venue's words.
        wait_s: how long to leave the venue alone.
    """

    def __init__(self, fate: Fate, what: str, wait_s: float = 0.0) -> None:
        super().__init__(what)
        self.fate, self.wait_s = fate, wait_s


async def patiently(ask: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Ask again while a venue is busy or out of reach; what it refuses, it refuses."""
    for pause in (0.2, 0.5, 1.0, 2.0, 4.0):
        try:
            return await ask()
        except Trouble as trouble:
            if trouble.fate not in (Fate.LOST, Fate.THROTTLED) or trouble.wait_s > _PATIENCE_S:
                raise
            await asyncio.sleep(max(pause, trouble.wait_s))
    return await ask()
