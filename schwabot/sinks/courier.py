"""Carries texts to one messenger each, in threads of their own, so that a slow or dead one holds up nothing."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from schwabot.errors import ConfigError
from schwabot.records.alert import Level
from schwabot.secrets import Secret, scrub

ATTEMPTS = 3
PAUSE_S = 1.0
"""Before the second attempt; twice as long before the third."""


@dataclass(frozen=True)
class Target:
    """A messenger.

    Attributes:
        name: for messages to the user.
        url: as apprise understands it.
    """

    name: str
    url: Secret


@dataclass(frozen=True)
class Letter:
    """A title, a text and how much it matters."""

    level: Level
    title: str
    text: str


class Courier:
    """One messenger, one thread, one bounded queue; ``send`` returns at once.

    Args:
        target: where to.
        size: letters that may wait; more are dropped and counted.
        say: told, once per row of failures, what went wrong.

    Raises:
        ConfigError: apprise is not installed, or can't read the target's address.
    """

    def __init__(self, target: Target, size: int, say: Callable[[str], None]) -> None:
        self.name = target.name
        self._sender = sender_of(target)
        self._say = say
        self._queue: queue.Queue[Letter | None] = queue.Queue(size)
        self._failing = False
        self._stop = threading.Event()
        self._given = self._sent = 0
        self._thread = threading.Thread(target=self._work, name=f"notify-{target.name}", daemon=True)
        self._thread.start()

    @property
    def missing(self) -> int:
        """Letters that were given and not sent, those that still wait among them."""
        return self._given - self._sent

    def send(self, letter: Letter) -> None:
        """Queue a letter; where the queue is full it is dropped."""
        self._given += 1
        with suppress(queue.Full):
            self._queue.put_nowait(letter)

    def close(self, deadline_s: float) -> None:
        """Send what waits, until then, and say how many letters did not arrive.

        Args:
            deadline_s: of ``time.monotonic()``.
        """
        with suppress(queue.Full):
            self._queue.put(None, timeout=max(0.0, deadline_s - time.monotonic()))
            self._thread.join(max(0.0, deadline_s - time.monotonic()))
        self._stop.set()
        if self.missing:
            self._say(f"warning: {self.missing} alerts did not reach {self.name}")

    def _work(self) -> None:
        while (letter := self._queue.get()) is not None and not self._stop.is_set():
            why = self._tried(letter)
            if why is None:
                self._sent += 1
            elif not self._failing:
                self._say(f"warning: {self.name} took no alert: {why}")
            self._failing = why is not None

    def _tried(self, letter: Letter) -> str | None:
        """Why it could not be sent, after all attempts; a messenger that is failing already gets one."""
        why: str | None = None
        for attempt in range(1 if self._failing else ATTEMPTS):
            if attempt and self._stop.wait(PAUSE_S * 2 ** (attempt - 1)):
                break
            why = self._sender(letter)
            if why is None:
                return None
        return why


def sender_of(target: Target) -> Callable[[Letter], str | None]:
    """What sends a letter now, and says why it could not.

    Raises:
        ConfigError: apprise is not installed, or can't read the address.
    """
    try:
        import apprise
    except ImportError:
        raise ConfigError("notify.to: alerts need the package apprise: pip install 'schwabot[live]'") from None
    kinds = {
        Level.INFO: apprise.NotifyType.INFO,
        Level.WARNING: apprise.NotifyType.WARNING,
        Level.ERROR: apprise.NotifyType.FAILURE,
    }
    nothing: dict[str, Any] = {"app_desc": "", "app_url": "", "image_url_mask": "", "image_url_logo": ""}
    asset = apprise.AppriseAsset(storage_mode=apprise.PersistentStoreMode.MEMORY, app_id="Schwabot", **nothing)
    with _Said() as wrong:
        plugin: Any = apprise.Apprise.instantiate(target.url.reveal(), asset=asset, suppress_exceptions=True)
    if plugin is None or wrong.lines:  # a receiver it left out is no small thing: it would never be told
        why = f": {scrub(' '.join(wrong.lines))}" if plugin is not None else ""
        raise ConfigError(f"notify.to: apprise can't read the address of {target.name}, {target.url.name}{why}")

    def send(letter: Letter) -> str | None:
        with _Said() as said:
            try:
                done = plugin.notify(body=letter.text, title=letter.title, notify_type=kinds[letter.level])
            except Exception as error:  # noqa: BLE001  a plugin may raise anything, and no alert may end a run
                return scrub(f"{type(error).__name__}: {error}")
        return None if done else scrub(" ".join(said.lines)) or "no reason given"

    return send


class _Said(logging.Handler):
    """What apprise logs in this thread: it has no other way to say why, and what it logs may hold the address."""

    def __enter__(self) -> Self:
        self.lines: list[str] = []
        self._thread = threading.get_ident()
        logging.getLogger("apprise").addHandler(self)
        return self

    def __exit__(self, *what: object) -> None:
        logging.getLogger("apprise").removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line."""
        if record.thread == self._thread and record.levelno >= logging.WARNING:
            self.lines.append(record.getMessage())


def close_all(couriers: Sequence[Courier], flush_s: float) -> None:
    """Close all, in ``flush_s`` together."""
    deadline_s = time.monotonic() + flush_s
    for courier in couriers:
        courier.close(deadline_s)
