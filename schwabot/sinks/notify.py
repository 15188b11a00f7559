"""Tells people: fallbacks, alerts, changed settings and the day's numbers go to the messengers that are wanted."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from schwabot.records.alert import Alert, Level
from schwabot.records.audit import FallbackEvent, SettingsEvent, StepRecord
from schwabot.secrets import scrub
from schwabot.sinks.base import RunHeader
from schwabot.sinks.courier import Courier, Letter, Target, close_all
from schwabot.sinks.notes import settings_text
from schwabot.sinks.notify_settings import NotifyConfig
from schwabot.sinks.throttle import Throttle

DAY_NS = 86_400_000_000_000
NOTHING = "none"
"""What a part that has not answered yet is called in a ``FallbackEvent``."""


class NotifySink:
    """Sends alerts without ever holding up the engine.

    Args:
        config: what is told of, and how often.
        targets: messengers, as ``targets_of`` gives them.
        say: told what could not be sent, one line each.
        mode: what runs, for the title of every message.
        now_s: a clock that never runs backwards.

    Raises:
        ConfigError: apprise is not installed, or can't read an address.
    """

    def __init__(
        self,
        config: NotifyConfig,
        targets: Sequence[Target],
        say: Callable[[str], None],
        mode: str,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._throttle = Throttle(config)
        self._couriers = [Courier(target, config.queue, say) for target in targets]
        self._now_s = now_s
        self._title = title_of(mode)
        self._day: int | None = None
        self._events = 0
        self._seen: Counter[str] = Counter()
        self._answered: set[str] = set()

    @property
    def config(self) -> NotifyConfig:
        """What is told of, and how often; may be replaced between batches."""
        return self._throttle.config

    @config.setter
    def config(self, config: NotifyConfig) -> None:
        self._throttle.config = config

    def open(self, header: RunHeader) -> None:
        """Nothing to get ready."""

    def write(self, record: StepRecord) -> None:
        """Send what this batch brought."""
        alerts = self._alerts_of(record)
        if len(record.ts_recv_ns):
            if self._turn_day(int(record.ts_recv_ns[-1]), [alert.text for alert in alerts if alert.kind == "daily"]):
                alerts = [alert for alert in alerts if alert.kind != "daily"]
            self._events += len(record.ts_recv_ns)
        for alert in alerts:
            self._seen[alert.kind] += 1
            self.tell(alert)
        self._count()

    def switched(self, events: Sequence[FallbackEvent]) -> None:
        """Send what happened to a feed that no graph answers; to be called now and then also with none."""
        for event in events:
            self.tell(_of_fallback(event))
        self._count()

    def tell(self, alert: Alert) -> None:
        """Send an alert, unless it is held back."""
        if self._throttle.admit(alert, self._now_s()):
            self._send(alert.level, alert.text)

    def close(self, summary: Mapping[str, Any]) -> None:
        """Send what was only counted and what waits, for as long as ``flush_s`` allows."""
        self._count(at_end=True)
        close_all(self._couriers, self.config.flush_s)

    def _alerts_of(self, record: StepRecord) -> list[Alert]:
        """What a batch brought that a person should hear of; that a part answers for the first time is no fallback."""
        told = [*record.alerts, *(_of_settings(event) for event in record.settings)]
        for event in record.fallbacks:
            if event.before != NOTHING or event.component in self._answered:
                told.append(_of_fallback(event))
            self._answered.add(event.component)
        return told

    def _count(self, *, at_end: bool = False) -> None:
        """Send how many were held back, where that is due."""
        for text in self._throttle.counts(self._now_s(), at_end=at_end):
            self._send(Level.INFO, text)

    def _send(self, level: Level, text: str) -> None:
        letter = Letter(level, self._title, scrub(text))
        for courier in self._couriers:
            courier.send(letter)

    def _turn_day(self, ts_ns: int, others: Sequence[str]) -> bool:
        """At the first event of a UTC day, tell of the one before, also what others have to say of it."""
        before, self._day = self._day, ts_ns // DAY_NS
        if before is None or self._day <= before:
            return False
        text = "; ".join([day_text(before, self._events, self._seen), *others])
        self.tell(Alert(ts_ns, Level.INFO, "daily", text))
        self._events, self._seen = 0, Counter()
        return True


def title_of(mode: str) -> str:
    """Title of every message: what runs, and where."""
    return f"schwabot {mode} on {socket.gethostname()}"


def _of_fallback(event: FallbackEvent) -> Alert:
    text = f"{event.component}: {event.before} → {event.after}: {event.reason}"
    return Alert(event.ts_ns, Level.WARNING, "fallback", text, f"{event.component} {event.before} {event.after}")


def _of_settings(event: SettingsEvent) -> Alert:
    return Alert(event.ts_ns, Level.WARNING if event.refused else Level.INFO, "reload", settings_text(event))


def day_text(day: int, events: int, seen: Mapping[str, int]) -> str:
    """A day in a line.

    Example:
        >>> day_text(19_944, 1_234_567, {"fallback": 2, "fill": 31})
        '2024-08-09 UTC: 1,234,567 events, 31 fill, 2 fallback'
    """
    date = time.strftime("%Y-%m-%d", time.gmtime(day * DAY_NS // 1_000_000_000))
    kinds = sorted(seen.items(), key=lambda one: -one[1])
    return ", ".join([f"{date} UTC: {events:,} events", *(f"{count:,} {kind}" for kind, count in kinds)])
