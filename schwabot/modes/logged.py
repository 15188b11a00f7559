"""The log of a run: opened before anything runs, and told at last how it ended."""

from __future__ import annotations

import logging
import os
import platform
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from schwabot.config import RunConfig
from schwabot.errors import SchwabotError
from schwabot.modes.notifying import end_text
from schwabot.sinks.log_file import RunLog, begin_log

_log = logging.getLogger("schwabot.run")


def logged(settings: RunConfig, run: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Run, and log how it ended. A run that is refused before its folder is its own leaves no log.

    Args:
        settings: of the run.
        run: what is to be done; gives the summary.
    """
    with RunLog(settings.logs), _one_line_each():
        try:
            summary = run()
        except KeyboardInterrupt:
            _log.warning("%s was interrupted", settings.mode, extra={"event": "end"})
            raise
        except Exception as error:
            said = str(error) or type(error).__name__
            trace = not isinstance(error, SchwabotError)  # those say all there is to say
            _log.error("%s failed: %s", settings.mode, said, exc_info=trace, extra={"event": "error"})
            raise
        level = logging.WARNING if summary.get("interrupted") else logging.INFO
        _log.log(level, "%s", end_text(summary), extra={"event": "end"})
        return summary


@contextmanager
def _one_line_each() -> Iterator[None]:
    """What fails where nobody can catch it, as a file that a library closes late, is a line of the log."""
    before = threading.excepthook, sys.unraisablehook

    def failed(args: threading.ExceptHookArgs) -> None:
        name = args.thread.name if args.thread else "a thread"
        _log.error("%s failed: %s", name, args.exc_value or args.exc_type.__name__, extra={"event": "error"})

    def late(args: sys.UnraisableHookArgs) -> None:
        if isinstance(args.exc_value, OSError):
            _log.error("%s", args.exc_value, extra={"event": "error"})
        else:
            before[1](args)

    threading.excepthook, sys.unraisablehook = failed, late
    try:
        yield
    finally:
        threading.excepthook, sys.unraisablehook = before


def log_start(settings: RunConfig, run_dir: Path) -> None:
    """The run's folder is its own: the log is written from now on."""
    begin_log(run_dir)
    version = import_module("schwabot").__version__  # by name: the package's own module names the API, above this one
    told = {"version": version, "pid": os.getpid(), "folder": str(run_dir)}
    _log.info(
        "schwabot %s, mode=%s, process %s, Python %s, %s",
        version, settings.mode, told["pid"], platform.python_version(), platform.platform(),
        extra={"event": "start", "mode": settings.mode} | told,
    )  # fmt: skip


def log_notes(notes: Sequence[str]) -> None:
    """What the user is told, as it is told."""
    for note in notes:
        word = note.partition(":")[0]
        level = {"warning": logging.WARNING, "error": logging.ERROR}.get(word, logging.INFO)
        _log.log(level, "%s", note.removeprefix(f"{word}: ") if word in SAID else note, extra={"event": "note"})


SAID = ("note", "warning", "error")
