"""Alerts of a run: who is told, how it ended, and the message that tests the way."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from schwabot.config import RunConfig
from schwabot.errors import SchwabotError, SendError
from schwabot.records.alert import Alert, Level
from schwabot.secrets import scrub


def check_notify(settings: RunConfig) -> None:
    """Refuse, before anything runs, messengers that can't be reached for want of a variable or a package.

    Raises:
        ConfigError: says what is missing.
    """
    if settings.notify.to:
        from schwabot.sinks.courier import sender_of
        from schwabot.sinks.notify_targets import targets_of

        for target in targets_of(settings.notify.to):
            sender_of(target)


def notify_sink(settings: RunConfig, say: Callable[[str], None]) -> Any:
    """The sink that tells of what happens while a run goes on.

    Args:
        settings: of the run.
        say: told what could not be sent.
    """
    from schwabot.sinks.notify import NotifySink
    from schwabot.sinks.notify_targets import targets_of

    return NotifySink(settings.notify, targets_of(settings.notify.to), say, settings.mode)


def told(settings: RunConfig, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run, and tell how it ended: also of runs that were refused before their first event, or crashed.

    Args:
        settings: of the run.
        run: what is to be done; gives the summary.
    """
    if not settings.notify.to:
        return run()
    try:
        summary = run()
    except KeyboardInterrupt:
        tell_now(settings, Level.WARNING, "end", f"{settings.mode} was interrupted")
        raise
    except Exception as error:
        tell_now(settings, Level.ERROR, "error", f"{settings.mode} failed: {str(error) or type(error).__name__}")
        raise
    stopped = summary.get("interrupted")
    tell_now(settings, Level.WARNING if stopped else Level.INFO, "end", end_text(summary))
    return summary


def tell_now(settings: RunConfig, level: Level, kind: str, text: str) -> None:
    """Send one alert now, from any thread, waiting ``flush_s`` at most; what goes wrong is said, and ends nothing."""
    try:
        sink = notify_sink(settings, _warn)
        sink.tell(Alert(time.time_ns(), level, kind, text))
        sink.close({})
    except SchwabotError as error:
        _warn(f"warning: no alert was sent: {error}")


def _warn(line: str) -> None:
    sys.stderr.write(f"{scrub(line)}\n")


def end_text(summary: Mapping[str, Any]) -> str:
    """How a run ended, in a line.

    Example:
        >>> end_text({"mode": "replay", "interrupted": True, "events": 12_000, "wall_s": 3.25, "fallbacks": 1})
        'replay was interrupted: 12,000 events, 3.2 s, 1 fallbacks'
        >>> end_text({"mode": "paper", "events": 900, "paper": {"net": -1.25, "currency": "USDT", "fills": 7}})
        'paper is done: 900 events, 7 fills, PnL -1.25 USDT'
    """
    said = [f"{summary[name]:{how}}{unit}" for name, how, unit in _FACTS if summary.get(name)]
    for part in (found for name in _PARTS if isinstance(found := summary.get(name), Mapping)):
        said += [f"{part[name]:,} {name}" for name in ("sets", "gaps", "fills") if part.get(name)]
        said += [f"PnL {part['net']:+,.6g} {part['currency']}"] if "net" in part else []
    how = "was interrupted" if summary.get("interrupted") else "is done"
    return f"{summary.get('mode', 'run')} {how}: {', '.join(said)}".removesuffix(": ")


_PARTS = ("sweep", "store", "backtest", "paper", "live")
_FACTS = (("events", ",", " events"), ("wall_s", ".1f", " s"), ("fallbacks", ",", " fallbacks"))


def send_test(settings: RunConfig) -> None:
    """Send a test message to every messenger, and say which took it.

    Raises:
        SendError: one did not; says why.
    """
    from schwabot.sinks.courier import Letter, sender_of
    from schwabot.sinks.notify import title_of
    from schwabot.sinks.notify_targets import targets_of

    letter = Letter(Level.INFO, title_of("test"), "this is a test: alerts will come here")
    failed = []
    for target in targets_of(settings.notify.to):
        why = sender_of(target)(letter)
        sys.stdout.write(f"{target.name}: {'sent' if why is None else 'not sent'}\n")
        if why is not None:
            failed.append(f"{target.name}: {why}")
    if failed:
        raise SendError(f"a test message was not taken: {'; '.join(failed)}")
