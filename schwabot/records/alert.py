"""What a person should hear of at once."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

KINDS = ("halt", "error", "fallback", "risk", "fill", "reload", "daily", "end")


class Level(IntEnum):
    """How much it matters."""

    INFO = 0
    WARNING = 1
    ERROR = 2


@dataclass(frozen=True, slots=True)
class Alert:
    """Something to tell.

    Attributes:
        ts_ns: when it happened.
        level: how much it matters; an ``ERROR`` is never held back by a rate limit.
        kind: one of ``KINDS``: what is limited, and chosen, together.
        text: for a person, one line or a few; no secrets.
        key: alerts of one kind and key say the same again; empty = the text.
    """

    ts_ns: int
    level: Level
    kind: str
    text: str
    key: str = ""
