"""The run's side of the server: starts it, tells it what records say, and does what it is asked to do.

The server is a process of its own. Whatever it does, the run never waits for it: frames that it does not take in time
are dropped, and if it ends, the run says so and goes on.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess  # nosec: this interpreter and a module of ours
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from types import TracebackType
from typing import Any, Self

from schwabot.errors import ConfigError, SchwabotError
from schwabot.records.audit import StepRecord
from schwabot.secrets import scrub, without_secrets
from schwabot.server.settings import ServerConfig
from schwabot.server.wire import Digest, Frame, encode, open_frame
from schwabot.sinks.base import RunHeader
from schwabot.sinks.log_settings import LogsConfig

EVERY_S = 0.045
"""A frame is told this often at most: live records come every 50 ms."""
MOST_WAITING = 400
READY_S = 60.0
END_S = 5.0
MOST_ACTIONS = 8
"""That are under way at once."""
KEPT = ("open", "answer", "close")
"""Frames that are never dropped."""
URGENT = ("halt", "reduce")
"""Done however late they come; what makes trading go on is not."""
ACTIONS = ("halt", "resume", "reduce", "cancel_all")
Act = Callable[[str, str], str]
"""Told who asks and why; says what came of it."""


class ServerLink:
    """A server beside a run; use it in a ``with``, and its ``sink`` among the run's sinks.

    Args:
        config: of the server.
        version: of the program, shown.
        say: told, in a line, what a person has to know.
        logs: of the run; the server writes server.log beside the run's own. None = it writes none.

    Raises:
        ConfigError: on entering: the server can't start; says why.
    """

    def __init__(
        self, config: ServerConfig, version: str, say: Callable[[str], object], logs: LogsConfig | None = None
    ) -> None:
        self._logs = LogsConfig(enabled=False) if logs is None else logs
        if self._logs.file is not None:
            self._logs = replace(self._logs, file=f"{self._logs.file}.server")  # one process writes to a file
        self.config, self.version, self.say = config, version, say
        self.url = ""
        self.actions: dict[str, Act] = {}
        """What a person may do: ``ACTIONS`` → what does it."""
        self.change: Callable[[str, Mapping[str, Any]], str] | None = None
        """Takes changed settings: who asks, name → value."""
        self.hot: Callable[[], Mapping[str, Any]] = dict
        """Settings that may change, with their values."""
        self.sink = ServerSink(self)
        self._waiting: deque[Mapping[str, Any]] = deque()
        self._news = threading.Condition()
        self._ends = self._is_gone = False
        self.dropped = 0
        """Frames that the server did not take in time."""
        self._process: Any = None
        self._room = threading.BoundedSemaphore(MOST_ACTIONS)
        self._handler = _LogLines(self.log)

    def __enter__(self) -> Self:
        try:
            import uvicorn  # noqa: F401 - the server's process would find it missing
        except ImportError:
            raise ConfigError(
                "server.enabled=true needs packages that are not installed: pip install 'schwabot[server]'"
            ) from None
        self._process = subprocess.Popen(  # nosec: arguments are ours
            [sys.executable, "-m", "schwabot.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=without_secrets(os.environ),
            start_new_session=True,  # a Ctrl-C is for the run, which ends it
        )
        self._process.stdin.write(
            json.dumps({"server": asdict(self.config), "logs": asdict(self._logs)}).encode() + b"\n"
        )
        self._process.stdin.flush()
        ready = threading.Event()
        self._first: Frame = {}
        self._reader = threading.Thread(target=self._read, args=(ready,), name="server-answers", daemon=True)
        self._reader.start()
        if not ready.wait(READY_S) or "url" not in self._first:
            self._process.kill()
            self._leave()
            raise ConfigError(self._first.get("failed", f"the server has not started within {READY_S:.0f} s"))
        self.url = self._first["url"]
        for line in (f"dashboard at {self.url}", *self._first.get("notes", ())):
            self.say(f"note: {line}")
        self._writer = threading.Thread(target=self._write, name="server-frames", daemon=True)
        self._writer.start()
        logging.getLogger("schwabot").addHandler(self._handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger("schwabot").removeHandler(self._handler)
        with self._news:
            self._ends = True
            self._news.notify()
        self._writer.join(END_S)
        if self._writer.is_alive():  # it takes nothing, and holds the pipe
            self._process.kill()
        self._leave()

    def _leave(self) -> None:
        with suppress(OSError):
            self._process.stdin.close()  # by which it knows
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
        self._reader.join(END_S)
        self._process.stdout.close()

    def put(self, frame: Mapping[str, Any]) -> None:
        """Tell the server; never waits."""
        with self._news:
            if len(self._waiting) >= MOST_WAITING and frame["t"] not in KEPT:
                oldest = next((at for at, one in enumerate(self._waiting) if one["t"] not in KEPT), None)
                if oldest is not None:
                    del self._waiting[oldest]
                    self.dropped += 1
            self._waiting.append(frame)
            self._news.notify()

    def log(self, ts_ns: int, level: str, text: str) -> None:
        """A line of the log."""
        self.put({"t": "log", "lines": [{"ts_ns": ts_ns, "level": level, "text": text}]})

    def begin(self, header: RunHeader) -> None:
        """Tell what the run is."""
        named = [*(name for name in ACTIONS if name in self.actions), *(["settings"] if self.change else [])]
        self.put(open_frame(header, self.hot(), named, self.version))

    def _write(self) -> None:
        while True:
            with self._news:
                while not self._waiting and not self._ends:
                    self._news.wait()
                frames = list(self._waiting)
                self._waiting.clear()
                ends = self._ends
            try:
                self._process.stdin.write(b"".join(map(encode, frames)))
                self._process.stdin.flush()
            except (OSError, ValueError):
                self._gone()
                return
            if ends:
                return

    def _read(self, ready: threading.Event) -> None:
        for line in self._process.stdout:
            try:
                asked = json.loads(line)
            except ValueError:  # what a library prints
                continue
            if not ready.is_set():
                self._first = asked
                ready.set()
            elif self._room.acquire(blocking=False):
                threading.Thread(target=self._do, args=(asked,), name="server-action", daemon=True).start()
            else:
                self._answer(asked, {"ok": False, "said": f"{MOST_ACTIONS} actions are under way already"})
        ready.set()
        self._gone()

    def _gone(self) -> None:
        if not self._ends and not self._is_gone and self.url:
            self._is_gone = True
            self.say(
                "warning: the dashboard has ended; the run goes on without it, and can be halted by SIGUSR1 or"
                " execution.gateway.kill_file; the next run has one again"
            )

    def _do(self, asked: Mapping[str, Any]) -> None:
        name, who, why = str(asked.get("do")), str(asked.get("who")), str(asked.get("why"))
        try:
            if name not in URGENT and time.time_ns() > asked.get("until_ns", 2**63):
                raise ConfigError(f"{name} was asked for too long ago: nobody waits for it any more")
            if name == "settings" and self.change is not None:
                said = self.change(who, asked["changes"])
            elif name in self.actions:
                said = self.actions[name](who, why)
            else:
                raise ConfigError(f"{name} can't be done in this run")
            answer = {"ok": True, "said": said}
        except SchwabotError as error:
            answer = {"ok": False, "said": str(error)}
        except Exception as error:  # noqa: BLE001 - who asked has to hear of it, whatever it is
            answer = {"ok": False, "said": f"{name} failed: {str(error) or type(error).__name__}"}
        finally:
            self._room.release()
        answer["said"] = scrub(str(answer["said"]))
        how = "" if answer["ok"] else "not done: "
        logging.getLogger("schwabot.server").info("%s by %s, %s: %s%s", name, who, why, how, answer["said"])
        self._answer(asked, answer)

    def _answer(self, asked: Mapping[str, Any], answer: Mapping[str, Any]) -> None:
        self.put({"t": "answer", "id": asked.get("id"), "hot": dict(self.hot()), **answer})


class ServerSink:
    """Tells the server what records say.

    Args:
        link: to it.
    """

    def __init__(self, link: ServerLink) -> None:
        self._link = link
        self._due_s = 0.0

    def open(self, header: RunHeader) -> None:
        """Tell what the run is."""
        self._digest = Digest(len(header.instruments))
        self._link.begin(header)

    def write(self, record: StepRecord) -> None:
        """Gather it; tell when a frame is due."""
        self._digest.add(record)
        now_s = time.monotonic()
        if now_s >= self._due_s:
            self._due_s = now_s + EVERY_S
            self._link.put(self._digest.take(self._link.dropped))

    def close(self, summary: Mapping[str, Any]) -> None:
        """Tell the rest, and how it ended."""
        if not self._digest.is_empty:
            self._link.put(self._digest.take(self._link.dropped))
        self._link.put({"t": "close", "summary": summary})


class _LogLines(logging.Handler):
    """Hands lines of the log on; secrets are blanked."""

    def __init__(self, take: Callable[[int, str, str], None]) -> None:
        super().__init__(logging.INFO)
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        self._take(int(record.created * 1e9), record.levelname, scrub(record.getMessage()))
