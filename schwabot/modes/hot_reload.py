"""Settings that change while running: from a file, checked first, applied between two events, recorded.

file ─▶ SettingsFile.changed ─▶ reloaded ─▶ Applied ─▶ apply ─▶ SettingsEvent
                                        └─▶ Rejected ─────────▶ SettingsEvent.refused, and all stays as it was
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import orjson
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError, safe_load  # type: ignore[import-untyped]

from schwabot.compose import check_ranges, explain
from schwabot.config import RunConfig
from schwabot.errors import ConfigError, SchwabotError, closest
from schwabot.execution.settings import RiskConfig
from schwabot.modes.opened_graph import OpenedGraph
from schwabot.records.audit import FILE, SettingsEvent
from schwabot.secrets import refuse_secret, scrub
from schwabot.sinks.base import Sink
from schwabot.sinks.notify import NotifySink
from schwabot.training.heads import serve

RELOADABLE = (
    "modules.tensor_harness.stale_s", "modules.tensor_harness.drifting_at", "modules.tensor_harness.critical_at",
    "modules.ghost_bridge.desync_bp", "modules.ghost_bridge.min_edge_bp", "modules.phantom_lag.reentry_penalty",
    "modules.voltage_lanes.kappa", "modules.voltage_lanes.count_cap", "modules.voltage_lanes.medium_v",
    "modules.voltage_lanes.high_v", "modules.voltage_lanes.margin_v", "modules.voltage_lanes.slew_v_per_s",
    "modules.voltage_lanes.latency_max_ms", *(f"execution.risk.{one.name}" for one in fields(RiskConfig)),
    "notify.kinds", "notify.level", "notify.per_minute", "notify.burst", "notify.repeat_s",
)  # fmt: skip
"""Settings that may change while running; all others need a restart."""

_SUCH: Mapping[type, str] = {list: "[a, b]", dict: "{a: 1, b: 2}"}
Put = Callable[[RunConfig], None]
ASKED_S = 10.0
EVERY_S = 0.5
"""How often the file is looked at."""


@dataclass(frozen=True)
class Applied:
    """New settings that are in order.

    Attributes:
        settings: all of them.
        changes: name, value before, value after, of those that differ.
    """

    settings: RunConfig
    changes: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Rejected:
    """New settings that can't be used, and why."""

    why: str


def reloaded(start: RunConfig, current: RunConfig, text: str) -> Applied | Rejected:
    """What a file of settings means to a run.

    The file holds differences from the settings the run began with, so what is taken out of it goes back to those. A
    file or section without a word may be half of one: it sets nothing back. Who means it writes {}.

    Args:
        start: settings the run began with.
        current: settings now.
        text: YAML: nested names, or dotted ones.

    Example:
        >>> from schwabot.ticks.synthetic import SyntheticConfig
        >>> start = RunConfig(source=SyntheticConfig())
        >>> reloaded(start, start, "modules: {voltage_lanes: {high_v: 1.9}}").changes
        (('modules.voltage_lanes.high_v', '2.0', '1.9'),)
        >>> reloaded(start, start, "modules.voltage_lanes.high_v: 99")
        Rejected(why='modules.voltage_lanes.high_v=99.0 is out of range: use 1.2 to 3.3')
    """
    try:
        tree = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
        if not tree and safe_load(text) is None:
            tree = None
        given = _flat(tree)
        empty = [name for name, value in given.items() if value is None and _within(name)]
        for name in empty:
            del given[name]
        for name, value in given.items():
            _check_name(name, start.mode)
            _check_kind(name, value, _value(start, name))
        # The sections that are named alone: all settings would take a tenth of a second, in which nobody trades.
        named = dict.fromkeys(name.partition(".")[0] for name in given)
        whole = OmegaConf.create({name: OmegaConf.structured(getattr(start, name)) for name in named})
        for name, value in given.items():
            OmegaConf.update(whole, name, value, merge=False)
        sections: Any = OmegaConf.to_object(whole)
        check_ranges(sections)
        settings = replace(start, **sections)
    except YAMLError as error:
        return Rejected(scrub(f"it is no YAML: {' '.join(str(error).split())}"))
    except OmegaConfBaseException as error:
        return Rejected(scrub(str(explain(error))))
    except SchwabotError as error:
        return Rejected(scrub(str(error)))
    pairs = ((name, _shown(_value(current, name)), _shown(_value(settings, name))) for name in RELOADABLE)
    changes = tuple((name, before, after) for name, before, after in pairs if before != after)
    for section in empty:
        if back := [name for name, _, _ in changes if name not in given and name in _within(section)]:
            told = f"{section or 'it'} is empty, which would set back {', '.join(back)}"
            return Rejected(f"{told}: write {f'{section}: ' * bool(section)}{{}} if that is what you want")
    return Applied(settings, changes)


def _flat(tree: Any, where: str = "") -> dict[str, Any]:
    """Dotted name → value; of a section without a word, and of a file without one (whose name is empty), None."""
    if tree is None:
        return {where: None}
    if not isinstance(tree, Mapping):
        raise ConfigError("it holds no settings: write name: value, one a line")
    found: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{where}{key}"
        if isinstance(value, Mapping) and name not in RELOADABLE:
            found |= _flat(value, f"{name}.")
        else:
            found[name] = value
    return found


def _within(section: str) -> list[str]:
    """The settings of a section that may change while running; of the file, all of them."""
    return [name for name in RELOADABLE if not section or name.startswith(f"{section}.")]


def reloadable(mode: str) -> tuple[str, ...]:
    """Those of a mode: limits of orders are those of mode=live."""
    return tuple(name for name in RELOADABLE if mode == "live" or not name.startswith("execution."))


def _check_name(name: str, mode: str) -> None:
    refuse_secret(name)
    if name not in reloadable(mode) and name in RELOADABLE:
        raise ConfigError(f"{name} does nothing in mode={mode}: its limits are those of mode=live")
    if name not in RELOADABLE:
        hint = closest(name, RELOADABLE)
        raise ConfigError(f"{name} can't change while running{hint}; these can: {', '.join(RELOADABLE)}")


def _check_kind(name: str, value: Any, now: Any) -> None:
    """Say as a file has it what the settings' own checks say as the command line has it."""
    missing, kind = value is None, next((one for one in _SUCH if isinstance(now, one)), None)
    if missing or (kind is not None and not isinstance(value, kind)):
        such = f"write one such as {now if kind is None else _SUCH[kind]}"
        none = f"null is no value, {such}, or take the line out"
        raise ConfigError(f"{name}: {none if missing else such}")


def _value(settings: RunConfig, name: str) -> Any:
    value: Any = settings
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _shown(value: Any) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list) else str(value)


class SettingsFile:
    """A file that is looked at now and then, by its name: editors replace it, mounts don't tell of changes.

    Args:
        file: its path.
        now_s: a clock that never runs backwards.

    Raises:
        ConfigError: it can't be read.
    """

    def __init__(self, file: str | Path, now_s: Callable[[], float] = time.monotonic) -> None:
        self._path = Path(file)
        self._now_s = now_s
        self._next_s = now_s()
        self._read: tuple[int, ...] | None = None
        self._before: tuple[int, ...] | None = None
        self._told: tuple[int, ...] | None = None
        try:
            self.text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"reload={file}: {_why_unread(error)}") from None
        self._first = True

    def changed(self) -> str | None:
        """The text, where it is another than last time, and has stood for ``EVERY_S``: half a file is nobody's wish.

        Raises:
            ConfigError: there is a file and it can't be read, told once; what was read stays in force.
        """
        if self._first:
            self._first = False
            self._read = self._before = self._stamp()
            return self.text
        now_s = self._now_s()
        if now_s < self._next_s:
            return None
        self._next_s = now_s + EVERY_S
        stamp, before = self._stamp(), self._before
        self._before = stamp
        if stamp is None or stamp == self._read or stamp != before:
            return None
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:  # gone again
            return None
        except (OSError, UnicodeDecodeError) as error:
            # Tried again all the same: a right to read it changes no stamp.
            if self._told == stamp:
                return None
            self._told = stamp
            raise ConfigError(f"it can't be read: {_why_unread(error)}") from None
        self._read = stamp
        is_new, self.text = text != self.text, text
        return text if is_new else None

    def _stamp(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size


def _why_unread(error: OSError | UnicodeDecodeError) -> str:
    return "it is not text in UTF-8" if isinstance(error, UnicodeDecodeError) else error.strerror or str(error)


@dataclass(eq=False)
class _Asked:
    """Changes that another thread asks for: who does, YAML, and what came of it."""

    who: str
    text: str
    refused: str = ""
    done: threading.Event = field(default_factory=threading.Event)


class HotReload:
    """Takes new settings from a file while a run goes on.

    Args:
        settings: the run began with.
        file: of ``reload=``; None = nothing ever changes.

    Raises:
        ConfigError: the file holds what can't be used: a run does not begin with that.
    """

    def __init__(self, settings: RunConfig, file: SettingsFile | None) -> None:
        self._start = self._current = settings
        self._file = file
        self._puts: tuple[Put, ...] = ()
        self._asked: deque[_Asked] = deque()
        if file is None:
            return
        first = reloaded(settings, settings, file.text)
        if isinstance(first, Rejected):
            raise ConfigError(f"reload={settings.reload}: {first.why}")

    def put_into(self, *puts: Put) -> None:
        """Put new settings into these, in this order; once one has taken them, none may refuse."""
        self._puts = puts

    def take(self, now_ns: int) -> tuple[SettingsEvent, ...]:
        """Put into force what has changed; to be called between two batches.

        Args:
            now_ns: time on the run's clock.
        """
        try:
            text = None if self._file is None else self._file.changed()
        except ConfigError as error:
            return (SettingsEvent(now_ns, (), str(error), FILE),)
        events = [] if text is None else self._put(now_ns, FILE, reloaded(self._start, self._current, text))
        while self._asked:
            asked = self._asked.popleft()
            found = reloaded(self._current, self._current, asked.text)
            own = self._put(now_ns, asked.who, found)
            asked.refused = own[0].refused if own else ""
            events += own
            asked.done.set()
        return tuple(events)

    def _put(self, now_ns: int, who: str, found: Applied | Rejected) -> list[SettingsEvent]:
        if isinstance(found, Rejected):
            return [SettingsEvent(now_ns, (), found.why, who)]
        if not found.changes:
            return []
        try:
            for put in self._puts:
                put(found.settings)
        except SchwabotError as error:
            return [SettingsEvent(now_ns, (), scrub(str(error)), who)]
        self._current = found.settings
        return [SettingsEvent(now_ns, found.changes, who=who)]

    def ask(self, who: str, changes: Mapping[str, Any]) -> str:
        """Change settings from another thread; they come into force between two batches, all or none.

        What ``reload=`` says later, it says of the settings that the run began with: it takes these back.

        Args:
            who: asks for it.
            changes: dotted name → value.

        Returns:
            What changed, in words.

        Raises:
            ConfigError: they can't be used, or no batch came.
        """
        before = self._current
        asked = _Asked(who, orjson.dumps(dict(changes)).decode())
        self._asked.append(asked)
        if not asked.done.wait(ASKED_S):
            try:
                self._asked.remove(asked)
            except ValueError:  # it is being put into force
                asked.done.wait()
            else:
                raise ConfigError(f"no event has come for {ASKED_S:.0f} s, so nothing was changed")
        if asked.refused:
            raise ConfigError(asked.refused)
        pairs = ((name, _shown(_value(before, name)), _shown(_value(self._current, name))) for name in changes)
        return f"changed by {who}: " + ", ".join(f"{name}: {old} → {new}" for name, old, new in pairs)

    def values(self) -> dict[str, Any]:
        """Every setting that may change, with its value now."""
        return {name: _value(self._current, name) for name in reloadable(self._current.mode)}


def open_reload(settings: RunConfig) -> HotReload:
    """What takes the settings of ``reload=`` into a run; without that, nothing.

    Raises:
        ConfigError: the file can't be read, or holds what can't be used.
    """
    return HotReload(settings, None if settings.reload is None else SettingsFile(settings.reload))


def put_into_graph(opened: OpenedGraph, settings: RunConfig) -> None:
    """Let a run's graph go on with these settings.

    Raises:
        StateError: what it remembers means something else under them.
    """
    modules = settings.modules
    if opened.head is not None:
        modules = serve(opened.head, settings.checkpoint or "head", modules, opened.feed.instruments)
    opened.pipeline.retune(modules)


def put_into_alerts(sinks: Sequence[Sink], settings: RunConfig) -> None:
    """Let a run's alerts go on with these settings."""
    for sink in sinks:
        if isinstance(sink, NotifySink):
            sink.config = settings.notify
