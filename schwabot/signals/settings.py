"""Settings of the policy that mode=backtest and mode=sweep run. Kept apart from the code, as --help needs no numba."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from schwabot.errors import ConfigError


@dataclass
class PolicyConfig:
    """Which policy, what it trades, and what it is told. docs/policies.md says how to write one.

    Attributes:
        name: a built-in policy, ``my_module:my_policy`` or ``path/to/file.py:my_policy``; short: ``policy=NAME``.
            Absent: ``threshold`` in the modes that trade.
        trade: streams that it trades, each by itself; empty = the stream with the lowest taker fee, of
            several a linear one, of those the first by name.
        parameters: by name, as the policy declares them; short: ``policy.enter_bp=1.5``.
        signals: signals of one's own that it reads, ``my_module:my_signal`` each.
        leader: stream that the policy's ``..._of_leader`` signals are of.
    """

    name: str | None = None
    trade: list[str] = field(default_factory=list)
    parameters: dict[str, Any] = field(default_factory=dict)
    signals: list[str] = field(default_factory=list)
    leader: str | None = None

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        if self.name is not None and not self.name.strip():
            raise ConfigError("policy= is empty: name one, e.g. policy=threshold, or leave it out")
        for stream in self.trade:
            if ":" not in stream:
                raise ConfigError(f"policy.trade: {stream} is not of the form venue:BASE/QUOTE")
        if len(set(self.trade)) != len(self.trade):
            raise ConfigError(f"policy.trade names a stream twice: {', '.join(self.trade)}")
        for name in self.signals:
            if ":" not in name:
                raise ConfigError(f"policy.signals: {name} is not of the form my_module:my_signal")
        if self.name is None:
            for setting in ("trade", "parameters", "signals", "leader"):
                if value := getattr(self, setting):
                    said = f"policy.{setting}={value}"
                    if setting == "parameters":
                        said = ", ".join(f"policy.{name}={one}" for name, one in value.items())
                    raise ConfigError(f"{said} does nothing without a policy: add policy=NAME, e.g. policy=threshold")
