"""The server's process as the run sees it: started, told frames, listened to, ended."""

from __future__ import annotations

import json
import os
import subprocess  # nosec: this interpreter and a module of ours
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import Any

from schwabot.errors import ConfigError
from schwabot.secrets import without_secrets
from schwabot.server.settings import ServerConfig
from schwabot.server.wire import Frame, encode
from schwabot.sinks.log_settings import LogsConfig

READY_S = 60.0
END_S = 5.0


class ServerProcess:
    """A server that answers; ``begin`` lets frames flow, ``end`` has to be called.

    Args:
        config: of the server.
        logs: where and how it logs.
        news: asked again and again, on a thread of its own, what to tell it; nothing = nothing will come any more.
        asked: told what it wants, likewise.

    Raises:
        ConfigError: it can't start; says why.
    """

    def __init__(
        self,
        config: ServerConfig,
        logs: LogsConfig,
        news: Callable[[ServerProcess], Sequence[Frame]],
        asked: Callable[[ServerProcess, Frame], None],
    ) -> None:
        self._news, self._asked = news, asked
        process: Any = subprocess.Popen(  # nosec: arguments are ours
            [sys.executable, "-m", "schwabot.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=without_secrets(os.environ),
            # A Ctrl-C is for the run, which ends it. Not a new session: Linux shares processors among those first.
            process_group=0,
        )
        self._process = process
        settings = json.dumps({"server": asdict(config), "logs": asdict(logs)})
        with suppress(OSError):  # it has ended already: what it said is read below
            self._process.stdin.write(settings.encode() + b"\n")
            self._process.stdin.flush()
        self._first: Frame = {}
        ready = threading.Event()
        self._reader = threading.Thread(target=self._read, args=(ready,), name="server-answers", daemon=True)
        self._reader.start()
        self._writer = threading.Thread(target=self._write, name="server-frames", daemon=True)
        if not ready.wait(READY_S) or "url" not in self._first:
            self._process.kill()
            self._close()
            raise ConfigError(self._first.get("failed", f"the server has not started within {READY_S:.0f} s"))
        self.url: str = self._first["url"]
        self.notes: Sequence[str] = self._first.get("notes", ())

    @property
    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def begin(self) -> None:
        """Frames flow from now on."""
        self._writer.start()

    def wait(self) -> int:
        """Wait until it has ended: its exit status, that of a signal negative."""
        return int(self._process.wait())

    def end(self) -> None:
        """Tell what is left, and end it; may be called again."""
        if self._writer.ident is not None:
            self._writer.join(END_S)
            if self._writer.is_alive():  # it takes nothing, and holds the pipe
                self._process.kill()
        self._close()

    def _close(self) -> None:
        with suppress(OSError):
            self._process.stdin.close()  # by which it knows
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reader.join(END_S)
        self._process.stdout.close()

    def _write(self) -> None:
        while frames := self._news(self):
            lines = b"".join(map(encode, frames))
            try:
                self._process.stdin.write(lines)
                self._process.stdin.flush()
            except (OSError, ValueError):  # it has ended, or its pipe is closed
                return

    def _read(self, ready: threading.Event) -> None:
        for line in self._process.stdout:
            try:
                told = json.loads(line)
            except ValueError:  # what a library prints
                continue
            if ready.is_set():
                self._asked(self, told)
            else:
                self._first = told
                ready.set()
        ready.set()
