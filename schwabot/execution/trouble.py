"""What became of a request that failed."""

from __future__ import annotations

from enum import Enum

from schwabot.errors import VenueError


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
