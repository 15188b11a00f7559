"""The run's side of the server: starts it, tells it what records say, and does what it is asked to do.

The server is a process of its own. Whatever it does, the run never waits for it: frames that it does not take in time
are put together, and if it ends, the run goes on, says so, and starts it again.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from schwabot.errors import ConfigError, SchwabotError
from schwabot.records.audit import StepRecord
from schwabot.secrets import scrub
from schwabot.server.process import ServerProcess
from schwabot.server.settings import ServerConfig
from schwabot.server.wire import Digest, Frame, as_it_stands, merge, open_frame
from schwabot.sinks.base import RunHeader
from schwabot.sinks.log_settings import LogsConfig

EVERY_S = 0.045
"""A frame is told this often at most: live records come every 50 ms."""
MOST_WAITING = 400
MOST_ACTIONS = 8
"""That are under way at once."""
MERGED = ("step", "log", "sweep")
"""Frames that may be put together."""
PAUSES_S = (1.0, 5.0, 30.0)
"""Before each new start of a server that ended; after the last, it stays away."""
CALM_S = 600.0
"""Within which it is started so often at most."""
ASKED_TO_END = (0, *(-getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name)))
"""How a server ends that somebody told to end; on Windows nobody can tell."""
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
        self._waiting: deque[Frame] = deque()
        self._news = threading.Condition()
        self._ends = threading.Event()
        self.merged = 0
        """Frames that were put together, as the server did not take them in time."""
        self.starts = 0
        """Of servers after the first: each knows nothing of the run yet."""
        self._opened: Frame = {}
        self._last: dict[str, Frame] = {}
        """How things stand, by kind of frame."""
        self.is_over = False
        """No server will come again."""
        self._server: ServerProcess | None = None
        self._room = threading.BoundedSemaphore(MOST_ACTIONS)
        self._handler = _LogLines(self.log)

    def __enter__(self) -> Self:
        try:
            import uvicorn  # noqa: F401 - the server's process would find it missing
        except ImportError:
            raise ConfigError(
                "server.enabled=true needs packages that are not installed: pip install 'schwabot[server]'"
            ) from None
        self._server = self._start(self.config)
        self._server.begin()
        self.url = self._server.url
        for line in (f"dashboard at {self.url}", *self._server.notes):
            self.say(f"note: {line}")
        threading.Thread(target=self._look_after, name="server-watch", daemon=True).start()
        logging.getLogger("schwabot").addHandler(self._handler)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        logging.getLogger("schwabot").removeHandler(self._handler)
        with self._news:
            self._ends.set()
            self._news.notify_all()
            server = self._server
        assert server is not None
        server.end()

    def _start(self, config: ServerConfig) -> ServerProcess:
        return ServerProcess(config, self._logs, self._next, self._asked)

    def _look_after(self) -> None:
        """Start the server again where it ends on its own."""
        config = replace(self.config, port=int(self.url.rpartition(":")[2]))  # pages that are open find it again
        tried_s: deque[float] = deque()
        while True:
            assert self._server is not None
            code = self._server.wait()
            if self._ends.is_set():
                return
            how, again = f"killed by signal {-code}" if code < 0 else f"exit status {code}", ""
            while tried_s and time.monotonic() - tried_s[0] > CALM_S:
                tried_s.popleft()
            found = None
            if code not in ASKED_TO_END and len(tried_s) < len(PAUSES_S):
                self.say(f"warning: the dashboard has died ({how}); it is started again, and the run goes on")
            while found is None and code not in ASKED_TO_END and len(tried_s) < len(PAUSES_S):
                if self._ends.wait(PAUSES_S[len(tried_s)]):
                    return
                tried_s.append(time.monotonic())
                try:
                    found = self._start(config)
                except ConfigError as error:
                    again = f"; it can't start again: {error}"
            if found is None:
                self.is_over = True
                told = "it was told to end" if code in ASKED_TO_END else f"{how}{again}"
                self.say(
                    f"warning: the dashboard has ended ({told}); the run goes on without it, and can be halted by"
                    " SIGUSR1 or execution.gateway.kill_file; the next run has one again"
                )
                return
            self._replace(found)
            self.say("warning: the dashboard is back; its charts and lists begin anew")

    def _replace(self, server: ServerProcess) -> None:
        """Tell a new server all that an old one knew."""
        opened = [self._opened | {"hot": self._hot()}] if self._opened else []
        with self._news:
            old, self._server = self._server, server
            waiting = [frame for frame in self._waiting if frame["t"] not in ("open", "answer")]
            self._waiting = deque(
                [*opened, *map(dict, self._last.values()), *waiting]
            )  # a record may be long in coming
            self.starts += 1
            server.begin()
            self._news.notify_all()
        assert old is not None
        old.end()
        if self._ends.is_set():  # the run has ended meanwhile, and knew of the old one only
            server.end()

    @property
    def run_dir(self) -> Path | None:
        """Of the run, once it has begun."""
        return Path(self._opened["run_dir"]) if self._opened else None

    def put(self, frame: Frame) -> None:
        """Tell the server; never waits."""
        if self.is_over:
            return
        with self._news:
            if frame["t"] == "step":
                self._last["step"] = as_it_stands(frame, self._last.get("step", {}))
            elif frame["t"] in ("sweep", "close"):
                self._last[frame["t"]] = frame
            if len(self._waiting) >= MOST_WAITING and frame["t"] in MERGED:
                newest = next((one for one in reversed(self._waiting) if one["t"] == frame["t"]), None)
                if newest is not None:
                    merge(newest, frame)
                    self.merged += 1
                    return
            self._waiting.append(frame)
            self._news.notify_all()

    def _next(self, server: ServerProcess) -> list[Frame]:
        """What to tell this server next, once there is something."""
        with self._news:
            while not self._waiting and not self._ends.is_set() and server.is_alive:
                self._news.wait(1.0)
            if server is not self._server or not server.is_alive:  # what waits is for the one that comes after it
                return []
            frames = list(self._waiting)
            self._waiting.clear()
            return frames

    def log(self, ts_ns: int, level: str, text: str) -> None:
        """A line of the log."""
        self.put({"t": "log", "lines": [{"ts_ns": ts_ns, "level": level, "text": text}]})

    def begin(self, header: RunHeader) -> None:
        """Tell what the run is."""
        named = [*(name for name in ACTIONS if name in self.actions), *(["settings"] if self.change else [])]
        self._opened = open_frame(header, self._hot(), named, self.version)
        self.put(dict(self._opened))

    def _asked(self, server: ServerProcess, asked: Frame) -> None:
        """The server wants something done."""
        if self._room.acquire(blocking=False):
            threading.Thread(target=self._do, args=(server, asked), name="server-action", daemon=True).start()
        else:
            self._answer(server, asked, {"ok": False, "said": f"{MOST_ACTIONS} actions are under way already"})

    def _do(self, server: ServerProcess, asked: Frame) -> None:
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
        self._answer(server, asked, answer)

    def _answer(self, server: ServerProcess, asked: Frame, answer: Mapping[str, Any]) -> None:
        if server is not self._server:  # one that came after it has numbers of its own
            return
        self.put({"t": "answer", "id": asked.get("id"), "hot": self._hot(), **answer})

    def _hot(self) -> Frame:
        try:
            return dict(self.hot())
        except Exception as error:  # noqa: BLE001 - an answer, or a server, must not be lost for it
            logging.getLogger("schwabot.server").error("settings can't be told: %s", error)
            return {}


class ServerSink:
    """Tells the server what records say.

    Args:
        link: to it.
    """

    def __init__(self, link: ServerLink) -> None:
        self._link = link
        self._due_s = 0.0
        self._starts = 0

    def open(self, header: RunHeader) -> None:
        """Tell what the run is."""
        self._digest = Digest(len(header.instruments))
        self._link.begin(header)

    def write(self, record: StepRecord) -> None:
        """Gather it; tell when a frame is due."""
        if self._link.is_over:
            return
        if self._starts != self._link.starts:
            self._starts = self._link.starts
            self._digest.again()
        self._digest.add(record)
        now_s = time.monotonic()
        if now_s >= self._due_s:
            self._due_s = now_s + EVERY_S
            self._link.put(self._digest.take(self._link.merged))

    def close(self, summary: Mapping[str, Any]) -> None:
        """Tell the rest, and how it ended."""
        if not self._digest.is_empty:
            self._link.put(self._digest.take(self._link.merged))
        self._link.put({"t": "close", "summary": summary})


class _LogLines(logging.Handler):
    """Hands lines of the log on; secrets are blanked."""

    def __init__(self, take: Callable[[int, str, str], None]) -> None:
        super().__init__(logging.INFO)
        self._take = take

    def emit(self, record: logging.LogRecord) -> None:
        self._take(int(record.created * 1e9), record.levelname, scrub(record.getMessage()))
