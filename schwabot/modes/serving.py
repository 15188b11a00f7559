"""The dashboard beside a run: what it is told, and what it may do."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schwabot.config import RunConfig
from schwabot.modes.hot_reload import HotReload
from schwabot.modes.opening import say
from schwabot.records.audit import StepRecord

if TYPE_CHECKING:
    from schwabot.execution.live_control import LiveControl
    from schwabot.execution.paper_control import PaperControl
    from schwabot.execution.trading_view import TradingView
    from schwabot.records.health import HealthRecord
    from schwabot.server.link import ServerLink
    from schwabot.sinks.base import RunHeader, Sink

HEALTH_S = 0.2
"""To read how the parts are costs as much as to answer ten rows, so not with every record."""


class Served:
    """A run's dashboard, or nothing where ``server.enabled`` is false.

    Args:
        link: to the server; None = there is none.
    """

    def __init__(self, link: ServerLink | None) -> None:
        self.link = link
        self._view: TradingView | None = None
        self._starts = 0
        self._health: Callable[[], Any] = lambda: None
        self._due_s = 0.0

    @property
    def sinks(self) -> list[Sink]:
        """What tells it of each record."""
        return [] if self.link is None else [self.link.sink]

    def shows(self, view: TradingView | None = None, health: Callable[[], HealthRecord] | None = None) -> None:
        """Show how trading stands, and how the parts are."""
        self._view = view or self._view
        self._health = health or self._health

    def watch(self, record: StepRecord) -> StepRecord:
        """See ``engine.run``."""
        if self.link is None:
            return record
        now_s, health = time.monotonic(), None
        if now_s >= self._due_s:
            self._due_s, health = now_s + HEALTH_S, self._health()
        view, starts = self._view, self.link.starts
        if view is not None and starts != self._starts:
            self._starts = starts
            view.again()
        return replace(record, trading=None if view is None else view.take(), health=health)

    def controls(self, control: LiveControl | PaperControl) -> None:
        """Let a person halt, reduce, resume and cancel."""
        if self.link is not None:
            for name in ("halt", "reduce", "resume", "cancel_all"):
                self.link.actions[name] = getattr(control, name)

    def changes(self, changes: HotReload) -> None:
        """Let a person change the settings that may change."""
        if self.link is not None:
            self.link.change, self.link.hot = changes.ask, changes.values

    def begin_sweep(self, header: RunHeader) -> None:
        """A sweep begins, which has no records."""
        if self.link is not None:
            self.link.begin(header)

    def sweep(self, progress: Mapping[str, Any]) -> None:
        """Tell how far a sweep is."""
        if self.link is not None:
            self.link.put({"t": "sweep", **progress})

    def end_sweep(self, summary: Mapping[str, Any]) -> None:
        """Tell how it ended."""
        if self.link is not None:
            self.link.put({"t": "close", "summary": summary})


@contextmanager
def served(settings: RunConfig) -> Iterator[Served]:
    """The dashboard of a run, where one is asked for.

    Raises:
        ConfigError: it can't start.
    """
    if not settings.server.enabled:
        yield Served(None)
        return
    from schwabot.server.link import ServerLink

    version = import_module("schwabot").__version__
    with ServerLink(settings.server, version, lambda line: say([line]), settings.logs) as link:
        yield Served(link)
        run_dir = link.run_dir
    if run_dir is not None:
        runs, below = Path(settings.server.runs).absolute(), run_dir.parent
        where = "" if runs in run_dir.absolute().parents else f" server.runs={below}"
        say([f"note: the dashboard has ended with its run; mode=serve{where} shows it again"])
