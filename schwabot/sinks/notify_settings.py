"""Settings of the alerts. Apart from the sink so that ``--help`` loads little."""

from __future__ import annotations

from dataclasses import dataclass, field

from schwabot.errors import ConfigError, closest
from schwabot.records.alert import KINDS, Level

TARGETS = ("slack", "telegram", "email", "urls")


@dataclass
class NotifyConfig:
    """Who is told of what, and how often. Where to comes from the environment; see docs/alerts.md.

    Attributes:
        to: messengers: ``slack``, ``telegram``, ``email``, ``urls`` (any that apprise knows, from NOTIFY_URLS), or
            ``[auto]`` = those whose variables are set; empty = nobody is told.
        kinds: what is told of: halt, error, fallback, risk (an order was refused, only positions get
            smaller), fill, reload, daily, end.
        level: the least that is told of: info, warning or error.
        per_minute: alerts of one kind per minute, once ``burst`` are used up. Errors pass always.
        burst: alerts of one kind at once.
        repeat_s: the same alert again within this time is counted, not sent; so is what went over the limit, and a
            count is sent after this time.
        queue: alerts that wait per messenger; more are dropped, and counted.
        flush_s: longest wait for what is still to be sent, at the end of a run.
        test: send one message to each messenger, and end.
    """

    to: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=lambda: list(KINDS))
    level: str = "info"
    per_minute: float = 6.0
    burst: int = 5
    repeat_s: float = 300.0
    queue: int = 256
    flush_s: float = 10.0
    test: bool = False

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        for name, given, choices in (
            ("to", self.to, (*TARGETS, "auto")),
            ("kinds", self.kinds, KINDS),
            ("level", [self.level], tuple(level.name.lower() for level in Level)),
        ):
            for one in given:
                if one not in choices:
                    hint = closest(one, choices)
                    raise ConfigError(f"notify.{name}: {one} is not a choice{hint}; use {', '.join(choices)}")
        if "auto" in self.to and len(self.to) > 1:
            raise ConfigError("notify.to: auto is all whose variables are set, so it stands alone: notify.to=[auto]")
        for name, low, high in (
            ("per_minute", 0.01, 6000.0), ("burst", 1, 10_000), ("repeat_s", 0.0, 1e6), ("queue", 1, 1_000_000),
            ("flush_s", 0.0, 600.0),
        ):  # fmt: skip
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"notify.{name}={getattr(self, name)} is out of range: use {low:g} to {high:g}")
        if self.test and not self.to:
            raise ConfigError("notify.test=true needs somebody to write to: add notify.to=[auto]")
