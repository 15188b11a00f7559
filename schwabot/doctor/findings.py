"""What a check says: how it is, what it saw, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How it is."""

    OK = "ok"
    SKIPPED = "skipped"
    """Nothing was looked at, or nothing is wanted of it."""
    WARNING = "warning"
    PROBLEM = "problem"
    """What was asked for does not go like this."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report.

    Attributes:
        check: what was looked at, in one word.
        level: how it is.
        what: what was seen.
        do: what to do about it; empty = nothing.

    Example:
        >>> Finding("port", Level.WARNING, "8080 is taken", "choose another").level
        <Level.WARNING: 'warning'>
    """

    check: str
    level: Level
    what: str
    do: str = ""


def ok(check: str, what: str) -> Finding:
    """All is well."""
    return Finding(check, Level.OK, what)


def skipped(check: str, what: str, do: str = "") -> Finding:
    """Not looked at, or not wanted."""
    return Finding(check, Level.SKIPPED, what, do)


def warning(check: str, what: str, do: str) -> Finding:
    """It goes, but."""
    return Finding(check, Level.WARNING, what, do)


def problem(check: str, what: str, do: str) -> Finding:
    """It does not go."""
    return Finding(check, Level.PROBLEM, what, do)
