"""Who asks, and what they may do."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum


class Role(IntEnum):
    """Each may do what those before it may."""

    NONE = 0
    VIEWER = 1
    OPERATOR = 2
    ADMIN = 3


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks."""

    name: str
    role: Role


def viewer() -> Identity:
    """Who may read."""
    return Identity("anonymous", Role.ADMIN)


def operator() -> Identity:
    """Who may halt and resume."""
    return Identity("anonymous", Role.ADMIN)


def admin() -> Identity:
    """Who may change settings."""
    return Identity("anonymous", Role.ADMIN)
