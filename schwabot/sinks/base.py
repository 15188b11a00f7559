"""What every sink is told, and the contract it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from schwabot.records.audit import StepRecord
from schwabot.records.instrument import Instrument


@dataclass(frozen=True, slots=True)
class RunHeader:
    """What is known before the first batch.

    Attributes:
        run_dir: where a run's files go; it exists.
        mode: what runs.
        device: torch's name of the device.
        source: where the ticks come from, in words.
        instruments: V instruments.
        expected_events: rows the source will give, if known.
        config: the run's settings, secrets masked.
        notes: what was said to the user before the start, one line each; kept in the summary.
        rates: names of the streams that convert between currencies and price nothing else.
        horizons_ms: horizons of the trained forecast; none without one.
    """

    run_dir: Path
    mode: str
    device: str
    source: str
    instruments: tuple[Instrument, ...]
    expected_events: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    rates: tuple[str, ...] = ()
    horizons_ms: tuple[float, ...] = ()


class Sink(Protocol):
    """Takes what the engine says. ``close`` is called once, whatever happened before."""

    def open(self, header: RunHeader) -> None:
        """Get ready; called once, before the first record."""
        ...

    def write(self, record: StepRecord) -> None:
        """Take one batch."""
        ...

    def close(self, summary: Mapping[str, Any]) -> None:
        """Finish; ``summary`` is what summary.json holds."""
        ...
