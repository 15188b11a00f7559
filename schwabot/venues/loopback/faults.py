"""Faults on request: what networks and exchanges do to those who rely on them."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from fnmatch import fnmatch
from itertools import count
from typing import Any, TypeVar

from schwabot.errors import ConfigError, closest

Message = TypeVar("Message")

MESSAGES = ("disconnect", "freeze", "duplicate", "reorder", "gap")
"""Happen to messages of channels."""
REQUESTS = ("rate_limit", "ban", "server_error", "slow_answer", "lost_answer")
"""Happen to requests."""
KINDS = (*MESSAGES, *REQUESTS, "partial_cancel", "clock_skew")


@dataclass(slots=True)
class Fault:
    """One fault.

    Args:
        kind: one of ``KINDS``.
        venue: ccxt's id; * = all.
        stream: channel, e.g. ``btcusdt@trade`` or ``user``; with * and ?.
        path: of requests, with the method before it, e.g. ``POST */order``.
        count: times it happens; 0 = until it is taken away.
        probability: that it happens to one of those it fits.
        seed: of that.
        after: so many that it fits are left alone first.
        seconds: how long a freeze lasts (0 = until it is taken away), how late a slow answer is, how long to stay away
            after too many requests.
        status: of a server's error.
        ms: by how much the venue's clock is ahead.
    """

    kind: str
    venue: str = "*"
    stream: str = "*"
    path: str = "*"
    count: int = 1
    probability: float = 1.0
    seed: int = 0
    after: int = 0
    seconds: float = 0.0
    status: int = 503
    ms: int = 0
    happened: int = field(default=0, kw_only=True)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"kind={self.kind!r} is no fault{closest(self.kind, KINDS)}: {', '.join(KINDS)}")
        if not 0 < self.probability <= 1 or self.count < 0 or self.after < 0 or self.seconds < 0:
            raise ConfigError(f"{self.kind}: probability above 0 and at most 1; count, after and seconds not negative")


class Faults:
    """All faults that were asked for and are not over."""

    def __init__(self) -> None:
        self._ids = count(1)
        self._active: dict[int, Fault] = {}
        self._draws: dict[int, random.Random] = {}
        self._since: dict[int, float] = {}
        self._seen: dict[int, int] = {}
        self._held: dict[tuple[str, str], Any] = {}
        self.happened: dict[str, int] = {}
        self.on_messages = False

    def add(self, asked: Mapping[str, Any]) -> int:
        """Take a fault on, as ``Fault`` has it; its number.

        Raises:
            ConfigError: no such fault, or a setting it does not have.
        """
        known = [one.name for one in fields(Fault) if one.name != "happened"]
        if unknown := next((name for name in asked if name not in known), None):
            raise ConfigError(f"{unknown}: a fault has no such setting{closest(unknown, known)}: {', '.join(known)}")
        try:
            fault = Fault(**asked)
        except TypeError as error:
            raise ConfigError(f"a fault needs its kind, one of {', '.join(KINDS)}; and numbers ({error})") from None
        number = next(self._ids)
        self._active[number] = fault
        self._draws[number] = random.Random(fault.seed)  # nosec B311
        self._since[number] = time.monotonic()
        self._seen[number] = 0
        self._note()
        return number

    def remove(self, number: int | None = None) -> None:
        """Take a fault away, or all."""
        for one in [number] if number is not None else list(self._active):
            self._active.pop(one, None)
        self._note()

    def listed(self) -> dict[str, Any]:
        """Those that are on, by number."""
        return {str(number): asdict(fault) for number, fault in self._active.items()}

    def hits(self, kind: str, venue: str, subject: str) -> Fault | None:
        """The fault of a kind that happens to this channel or request now, if any."""
        for number, fault in tuple(self._active.items()):
            if fault.kind != kind or not fnmatch(venue, fault.venue):
                continue
            if not fnmatch(subject, fault.stream if kind in MESSAGES else fault.path):
                continue
            if kind == "freeze":
                if fault.seconds and time.monotonic() > self._since[number] + fault.seconds:
                    self.remove(number)
                    continue
            else:
                self._seen[number] += 1
                if self._seen[number] <= fault.after or self._draws[number].random() >= fault.probability:
                    continue
                if fault.count and fault.happened + 1 >= fault.count:
                    self._active.pop(number)
                    self._note()
            fault.happened += 1
            self.happened[kind] = self.happened.get(kind, 0) + 1
            return fault
        return None

    def skew_ms(self, venue: str) -> int:
        """How far the venue's clock is ahead."""
        return sum(one.ms for one in self._active.values() if one.kind == "clock_skew" and fnmatch(venue, one.venue))

    def messages(self, venue: str, name: str, message: Message) -> list[Message] | None:
        """What is sent in place of a message; None = the sockets are cut."""
        if self.hits("disconnect", venue, name):
            self._held.pop((venue, name), None)
            return None
        if self.hits("freeze", venue, name) or self.hits("gap", venue, name):
            return []
        if (held := self._held.pop((venue, name), None)) is not None:
            return [message, held]
        if self.hits("reorder", venue, name):
            self._held[venue, name] = message
            self.on_messages = True
            return []
        return [message, message] if self.hits("duplicate", venue, name) else [message]

    def _note(self) -> None:
        self.on_messages = bool(self._held) or any(one.kind in MESSAGES for one in self._active.values())
