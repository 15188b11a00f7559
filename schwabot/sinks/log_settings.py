"""Settings of a run's log. Apart from what writes it so that ``--help`` loads little."""

from __future__ import annotations

from dataclasses import dataclass

from schwabot.errors import ConfigError, closest

LEVELS = ("debug", "info", "warning", "error")


@dataclass
class LogsConfig:
    """The file that keeps what happened in a run, a line each; see docs/outputs.md.

    Attributes:
        enabled: write it.
        file: its name; absent = run.log in the run's folder. One run at a time writes to a file.
        json: a JSON object per line, in place of text.
        level: the least that is written: debug, info, warning or error.
        max_mib: at this size it is put aside as FILE.1, the one before as FILE.2 and so on, and a new one is begun.
        count: files put aside that are kept; the oldest goes first.
        every_s: how often a line says how the run gets on; 0 = never.
    """

    enabled: bool = True
    file: str | None = None
    json: bool = False
    level: str = "info"
    max_mib: float = 10.0
    count: int = 5
    every_s: float = 60.0

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        if self.level not in LEVELS:
            raise ConfigError(
                f"logs.level={self.level} is not a choice{closest(self.level, LEVELS)}; use {', '.join(LEVELS)}"
            )
        for name, low, high in (("max_mib", 0.001, 1e5), ("count", 1, 1_000), ("every_s", 0.0, 1e6)):
            if not low <= getattr(self, name) <= high:
                raise ConfigError(f"logs.{name}={getattr(self, name)} is out of range: use {low:g} to {high:g}")
        if self.file is not None and not self.file.strip():
            raise ConfigError("logs.file= is empty: name a file, or leave it out for run.log in the run's folder")
