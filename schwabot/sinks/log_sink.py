"""Logs what happens in a run: fallbacks, alerts, settings, and now and then how it gets on."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from typing import Any

from schwabot.records.alert import Level
from schwabot.records.audit import StepRecord
from schwabot.sinks.base import RunHeader
from schwabot.sinks.notes import settings_text

NOTHING = "none"
"""What a part that has not answered yet is called in a ``FallbackEvent``."""
LEVELS = {Level.INFO: logging.INFO, Level.WARNING: logging.WARNING, Level.ERROR: logging.ERROR}
_log = logging.getLogger("schwabot.run")


class LogSink:
    """Logs to ``schwabot.run``; ``log_file`` writes it down.

    Args:
        every_s: how often a line says how the run gets on; 0 = never.
        now_s: a clock that never runs backwards.
    """

    def __init__(self, every_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._every_s = every_s or math.inf
        self._now_s = now_s
        self._events = self._said_events = 0
        self._said_s = now_s()

    def open(self, header: RunHeader) -> None:
        """Say what runs."""
        streams = [instrument.stream for instrument in header.instruments]
        _log.info(
            "%s on %s: %s; %s streams: %s",
            header.mode, header.device, header.source, len(streams), ", ".join(streams[:20]),
            extra={"event": "open", "mode": header.mode, "device": header.device, "streams": streams},
        )  # fmt: skip
        self._said_s = self._now_s()

    def write(self, record: StepRecord) -> None:
        """Log what this batch brought."""
        self._events += len(record.ts_recv_ns)
        for one in record.fallbacks:
            level = logging.INFO if one.before == NOTHING else logging.WARNING
            told = {"component": one.component, "before": one.before, "after": one.after, "reason": one.reason}
            text = f"{one.component}: {one.before} → {one.after}: {one.reason}"
            _log.log(level, "%s", text, extra={"event": "fallback", "ts_ns": one.ts_ns} | told)
        for alert in record.alerts:
            _log.log(LEVELS[alert.level], "%s", alert.text, extra={"event": alert.kind, "ts_ns": alert.ts_ns})
        for change in record.settings:
            extra = {"event": "reload", "ts_ns": change.ts_ns, "changes": change.changes, "who": change.who}
            level = logging.WARNING if change.refused else logging.INFO
            _log.log(level, "%s", settings_text(change), extra=extra)
        now_s = self._now_s()
        if now_s - self._said_s >= self._every_s:
            self._say(record, now_s)

    def close(self, summary: Mapping[str, Any]) -> None:
        """Nothing: who started the run says how it ended."""

    def _say(self, record: StepRecord, now_s: float) -> None:
        rate = (self._events - self._said_events) / (now_s - self._said_s)
        extra: dict[str, Any] = {"event": "status", "events": self._events, "events_per_s": rate}
        ghost = ""
        if len(record.ts_recv_ns):
            price = record.reference_price * math.exp(float(record.signals.ghost_bp[-1]) / 1e4)
            extra |= {"ts_ns": int(record.ts_recv_ns[-1]), "ghost": price if math.isfinite(price) else None}
            ghost = f", ghost {price:,.6g}" if math.isfinite(price) else ", no ghost"
        _log.info("%s", f"{self._events:,} events, {rate:,.0f}/s{ghost}", extra=extra)
        self._said_s, self._said_events = now_s, self._events
