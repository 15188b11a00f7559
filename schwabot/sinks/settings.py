"""Settings of the sinks."""

from __future__ import annotations

import re
from dataclasses import dataclass

from schwabot.errors import ConfigError

AUTO_OFF_EVENTS = 5_000_000
"""Above this many events ``sinks.signals=auto`` writes no signals.parquet."""


@dataclass
class SinksConfig:
    """What a run writes and shows.

    Attributes:
        console: the table at the end.
        progress: the progress bar; plain lines where there is no terminal.
        parquet: the Parquet tables.
        signals: rows of signals.parquet: ``all``, ``off``, ``every_n`` (each ``signals_n``-th event), ``every_100``
            and the like, or ``auto`` = all, but off above 5 million events.
        signals_n: the n of ``every_n``.
        figures: lag_curve.png or leadlag.png.
        tensorboard: TensorBoard events.
        tensorboard_points: about how many points a scalar gets before they are spread wider.
    """

    console: bool = True
    progress: bool = True
    parquet: bool = True
    signals: str = "auto"
    signals_n: int = 100
    figures: bool = True
    tensorboard: bool = True
    tensorboard_points: int = 400

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        self.signals_stride()
        if self.signals_n < 1:
            raise ConfigError(f"sinks.signals_n={self.signals_n} is out of range: use 1 or more")
        if not 10 <= self.tensorboard_points <= 100_000:
            raise ConfigError(f"sinks.tensorboard_points={self.tensorboard_points} is out of range: use 10 to 100000")

    def signals_stride(self) -> int:
        """Every how many events a row is written; 0 = none.

        Raises:
            ConfigError: ``signals`` is not one of its choices.

        Example:
            >>> [SinksConfig(signals=s).signals_stride() for s in ("auto", "all", "off", "every_n", "every_25")]
            [1, 1, 0, 100, 25]
        """
        if self.signals in ("auto", "all"):
            return 1
        if self.signals == "off":
            return 0
        if self.signals == "every_n":
            return self.signals_n
        match = re.fullmatch(r"every_([1-9]\d{0,8})", self.signals)
        if match is None:
            raise ConfigError(
                f"sinks.signals={self.signals} is not a choice: use auto, all, off, every_n (with sinks.signals_n) "
                "or every_<number>, e.g. every_100"
            )
        return int(match.group(1))
