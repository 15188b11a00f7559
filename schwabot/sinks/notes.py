"""What a user is told of what happened while a run goes on, a line each."""

from __future__ import annotations

from schwabot.records.alert import Alert
from schwabot.records.audit import FILE, FallbackEvent, SettingsEvent
from schwabot.secrets import scrub

SAID = ("warning", "note: settings changed")
"""How lines begin that are said when they come, so not again at the end."""


def lost_note(lost: FallbackEvent) -> str:
    """What the user is told of a device that failed."""
    return f"warning: {lost.before} failed ({lost.reason}); the run goes on on the {lost.after.upper()}"


def required_note(lost: FallbackEvent) -> str:
    """What the user is told of a device that failed and is required."""
    return f"device {lost.before} is required and failed: {lost.reason}"


def settings_note(event: SettingsEvent) -> str:
    """What the user is told of settings that changed, or did not."""
    if event.refused:
        return f"warning: new settings{_by('of', event)} were refused, all stays as it was: {event.refused}"
    return f"note: {settings_text(event)}"


def settings_text(event: SettingsEvent) -> str:
    """What changed, or why nothing did, and who asked for it.

    Example:
        >>> settings_text(SettingsEvent(0, (("notify.burst", "5", "6"),), who="ann"))
        'settings changed by ann: notify.burst: 5 → 6'
    """
    if event.refused:
        return f"new settings{_by('of', event)} were refused: {event.refused}"
    text = ", ".join(f"{name}: {before} → {after}" for name, before, after in event.changes)
    return f"settings changed{_by('by', event)}: {text}"


def _by(word: str, event: SettingsEvent) -> str:
    return f" {word} {event.who}" if event.who not in ("", FILE) else ""


def alert_note(alert: Alert) -> str:
    """What the user is told of an alert that matters."""
    return f"warning: {alert.kind}: {_plain(scrub(alert.text))}"


def _plain(text: str) -> str:
    """Without what moves a terminal's cursor or begins a line: part of it may be what somebody typed elsewhere."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
