"""Which alerts are sent and which are only counted. Pure: the caller tells the time."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from schwabot.records.alert import Alert, Level
from schwabot.sinks.notify_settings import NotifyConfig

KEYS = 1_024
"""Different alerts remembered; the one sent longest ago is forgotten first."""


@dataclass
class _Kind:
    """Tokens of one kind, and what was left out since a count of it was sent."""

    tokens: float
    filled_s: float
    left_out: int = 0
    since_s: float = 0.0
    last: str = ""


@dataclass
class Throttle:
    """A token bucket per kind, and a window in which the same alert is sent once.

    Args:
        config: ``kinds``, ``level``, ``per_minute``, ``burst``, ``repeat_s``; may be replaced while running.

    Example:
        >>> throttle = Throttle(NotifyConfig(repeat_s=60.0))
        >>> alert = Alert(0, Level.WARNING, "fallback", "device: cuda → cpu")
        >>> [throttle.admit(alert, at_s) for at_s in (0.0, 30.0, 31.0, 61.0)]
        [True, False, False, True]
        >>> throttle.counts(90.0)
        ['2 more of fallback in 1.0 minutes, the last: device: cuda → cpu']
    """

    config: NotifyConfig
    _kinds: dict[str, _Kind] = field(default_factory=dict)
    _sent_s: OrderedDict[tuple[str, str], float] = field(default_factory=OrderedDict)

    def admit(self, alert: Alert, now_s: float) -> bool:
        """Is it to be sent? If not it is counted, unless nobody wants its kind or level.

        Args:
            alert: what happened.
            now_s: time, from a clock that never runs backwards.
        """
        config = self.config
        if alert.kind not in config.kinds or alert.level < Level[config.level.upper()]:
            return False
        name = (alert.kind, alert.key or alert.text)
        kind = self._filled(alert.kind, now_s)
        sent_s = self._sent_s.get(name)
        is_new = sent_s is None or now_s - sent_s >= config.repeat_s
        if not is_new or (alert.level < Level.ERROR and kind.tokens < 1.0):
            kind.since_s = kind.since_s if kind.left_out else now_s
            kind.left_out += 1
            kind.last = alert.text
            return False
        kind.tokens = max(0.0, kind.tokens - 1.0)
        self._sent_s[name] = now_s
        self._sent_s.move_to_end(name)
        if len(self._sent_s) > KEYS:
            self._sent_s.popitem(last=False)
        return True

    def counts(self, now_s: float, *, at_end: bool = False) -> list[str]:
        """What was left out, a text per kind: of those that have waited ``repeat_s``, and all at the end of a run."""
        wait_s = 0.0 if at_end else max(self.config.repeat_s, 60.0 / self.config.per_minute)
        said = []
        for name, kind in self._kinds.items():
            if kind.left_out and now_s - kind.since_s >= wait_s:
                minutes = (now_s - kind.since_s) / 60.0
                said.append(f"{kind.left_out} more of {name} in {minutes:.1f} minutes, the last: {kind.last}")
                kind.left_out = 0
        return said

    def _filled(self, name: str, now_s: float) -> _Kind:
        config = self.config
        kind = self._kinds.setdefault(name, _Kind(float(config.burst), now_s))
        gained = (now_s - kind.filled_s) * config.per_minute / 60.0
        kind.tokens, kind.filled_s = min(float(config.burst), kind.tokens + gained), now_s
        return kind
