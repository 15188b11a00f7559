"""The log of a process: what loggers below ``schwabot`` say, to one file that is put aside when it is full.

any thread ─▶ queue ─▶ one thread: blank secrets, format, write, put aside

Whoever logs waits for no disk. What can't be written is counted and said once, and ends nothing.
"""

from __future__ import annotations

import copy
import logging
import queue
import sqlite3
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from typing import Any, Self

import orjson

from schwabot.secrets import scrub
from schwabot.sinks.log_settings import LogsConfig

ROOT = "schwabot"
WAITING = 10_000
"""Records that wait to be written; further ones are dropped, and counted."""
END_S = 5.0
"""Longest wait for what is still to be written, at the end."""
LOOK_S = 0.02
"""How often the queue is looked at: a process that is killed loses the lines since then."""
RETRY_S = 60.0
"""How long a file that could not be put aside is written on before the next try."""
MOST_BESIDE = 9
"""So many processes have a log each in a folder that they share."""
_FIXED = (str, int, float, type(None))
_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
logging.getLogger(ROOT).addHandler(logging.NullHandler())  # without a log, nothing of ours goes to stderr by itself


class RunLog:
    """Takes what is logged from ``__enter__`` on, and writes it from ``begin`` on.

    So a run that is refused before its folder is its own leaves no file, and one that begins misses no line.

    Args:
        config: of the log.
        say: told once when lines can't be written; default stderr.
    """

    def __init__(self, config: LogsConfig, say: Callable[[str], None] | None = None) -> None:
        self.config = config
        self._say = say or _to_stderr
        self._logger = logging.getLogger(ROOT)
        self._queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._handler = _Enqueue(self._queue)
        self._file: _File | None = None
        self._writer: _Writer | None = None
        self._lock: sqlite3.Connection | None = None
        self._level_before = self._logger.level

    def __enter__(self) -> Self:
        if self.config.enabled:
            self._level_before = self._logger.level
            self._logger.setLevel(self.config.level.upper())
            self._logger.addHandler(self._handler)
            _open.append(self)
        return self

    def begin(self, run_dir: Path, name: str = "run.log", is_shared: bool = False) -> None:
        """Write from now on, also what has waited.

        Args:
            run_dir: where the file goes, if the settings name none.
            name: of it there.
            is_shared: another process may have the same folder: then this one takes the next name that is free, and
                says so, as files that two put aside lose lines.
        """
        if self._file is not None or self not in _open:
            return
        first = Path(self.config.file) if self.config.file else run_dir / name
        names = [first]
        if is_shared and not self.config.file:
            names += [first.with_stem(f"{first.stem}-{number}") for number in range(2, MOST_BESIDE + 1)]
        needs_lock = is_shared or bool(self.config.file)
        path = next((one for one in names if not needs_lock or self._take(one)), None)
        if path is None:
            self._say(f"warning: another process writes to {first}: this run writes no log; say logs.file=ANOTHER")
            self.__exit__()
            return
        if path != first:
            self._say(f"note: another process writes to {first}: the log of this one is {path}")
        self._file = _File(path, self.config, self._say, self._handler.take_dropped)
        self._writer = _Writer(self._queue, self._file)
        self._writer.start()

    def flush(self, wait_s: float = END_S) -> None:
        """Wait until all is written that was logged so far."""
        until_s = time.monotonic() + wait_s
        put = self._handler.put
        while self._writer is not None and self._writer.done < put and time.monotonic() < until_s:
            time.sleep(0.001)

    def __exit__(self, *_: object) -> None:
        if self not in _open:
            return
        _open.remove(self)
        self._logger.removeHandler(self._handler)
        self._logger.setLevel(self._level_before)
        if self._writer is not None:
            self._writer.stop()
        if self._lock is not None:
            self._lock.close()

    def _take(self, path: Path) -> bool:
        """Whether nobody else writes to a file that several runs may name; then nobody else will, until we end."""
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = sqlite3.connect(f"{path}.lock", timeout=0.0, isolation_level=None, check_same_thread=False)
        except sqlite3.OperationalError:  # a folder that can't be written to is told of with the first line
            return True
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            lock.close()
            return "locked" not in str(error)
        self._lock = lock
        return True


_open: list[RunLog] = []


def begin_log(run_dir: Path, name: str = "run.log", is_shared: bool = False) -> None:
    """Write the log there, if there is to be one; see ``RunLog.begin``."""
    if _open:
        _open[-1].begin(run_dir, name, is_shared)


def flush_log() -> None:
    """Wait until all is written, before a process ends without saying good-bye."""
    if _open:
        _open[-1].flush()


@contextmanager
def log_to(folder: Path, name: str, config: LogsConfig) -> Iterator[RunLog]:
    """Write what this process logs to a file of its own, at once.

    Args:
        folder: where the file goes.
        name: of it.
        config: of the log.
    """
    with RunLog(config) as log:
        log.begin(folder, name)
        yield log


class _Enqueue(QueueHandler):
    """Puts a record into the queue; drops and counts what does not fit."""

    def __init__(self, waiting: queue.SimpleQueue[Any]) -> None:
        super().__init__(waiting)
        self._waiting = waiting
        self.put = 0
        self._dropped = 0

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        """The record, or a copy of it that no longer holds on to what may change before it is written."""
        if not record.exc_info and isinstance(record.args, tuple) and all(type(one) in _FIXED for one in record.args):
            return record
        ready = copy.copy(record)
        ready.msg, ready.args = record.getMessage(), None
        if record.exc_info and not record.exc_text:
            ready.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        ready.exc_info = None
        return ready

    def enqueue(self, record: logging.LogRecord) -> None:
        """Never waits."""
        if self._waiting.qsize() >= WAITING:
            self._dropped += 1
        else:
            self._waiting.put(record)
            self.put += 1

    def take_dropped(self) -> int:
        """How many were dropped since the last time."""
        dropped, self._dropped = self._dropped, 0
        return dropped


class _Writer(QueueListener):
    """A listener that ends in time, whatever the disk does."""

    def __init__(self, waiting: queue.SimpleQueue[Any], file: logging.Handler) -> None:
        super().__init__(waiting, file)
        self._waiting = waiting
        self.done = 0
        """Records written, or lost."""

    def dequeue(self, block: bool) -> Any:
        """The next record. Looked for now and then: to wake a thread takes who logs longer than all the rest."""
        while True:
            with suppress(queue.Empty):
                return self._waiting.get_nowait()
            time.sleep(LOOK_S)

    def handle(self, record: logging.LogRecord) -> None:
        """Write one."""
        super().handle(record)
        self.done += 1

    def stop(self) -> None:
        """Write what waits, and end."""
        thread = self._thread
        self.enqueue_sentinel()
        if thread is not None:
            thread.join(END_S)
        for handler in self.handlers:
            with suppress(OSError):
                handler.close()


class _File(RotatingFileHandler):
    """Writes lines; what can't be written is counted, said once, and told of in the file when it works again."""

    def __init__(
        self, path: Path, config: LogsConfig, say: Callable[[str], None], take_dropped: Callable[[], int]
    ) -> None:
        super().__init__(
            path, maxBytes=int(config.max_mib * 2**20), backupCount=config.count, encoding="utf-8", delay=True,
            errors="backslashreplace",
        )  # fmt: skip
        self.setFormatter(JsonLines() if config.json else TextLines())
        self._say, self._take_dropped = say, take_dropped
        self._lost, self._is_said, self._aside_s = 0, False, float("-inf")

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line, and before it how many are missing there."""
        self._lost += self._take_dropped()
        if self._lost:
            lost, self._lost = self._lost, 0
            gap = logging.makeLogRecord({
                "name": f"{ROOT}.log", "levelno": logging.WARNING, "levelname": "WARNING", "event": "log",
                "msg": f"{lost:,} lines are missing here: they could not be written",
            })  # fmt: skip
            super().emit(gap)
            if self._lost:  # neither could that one
                self._lost = lost + 1
                return
        super().emit(record)

    def shouldRollover(self, record: logging.LogRecord) -> bool:  # noqa: N802 - the name that logging calls
        """Whether the file is full."""
        return time.monotonic() >= self._aside_s and bool(super().shouldRollover(record))

    def doRollover(self) -> None:  # noqa: N802
        """Put the file aside; where that fails, go on in it."""
        try:
            super().doRollover()
        except OSError as error:
            self._aside_s = time.monotonic() + RETRY_S
            self._tell(f"it can't be put aside ({error.strerror}) and grows on")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """A line could not be written."""
        self._lost += 1
        stream, self.stream = self.stream, None  # opened again for the next line
        with suppress(OSError, ValueError):
            if stream is not None:
                stream.close()
        error = sys.exc_info()[1]
        self._tell(f"{getattr(error, 'strerror', None) or error}; the run goes on")

    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = super()._open()
        if path.stat().st_size and not _ends_a_line(path):  # whoever wrote it was killed, or the disk was full
            stream.write("\n")
        return stream

    def _tell(self, what: str) -> None:
        if not self._is_said:
            self._is_said = True
            self._say(f"warning: the log {self.baseFilename}: {what}")


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read(1) == b"\n"


class TextLines(logging.Formatter):
    r"""``time LEVEL event: text``; what was logged can't begin a line of its own.

    Example:
        >>> record = logging.makeLogRecord({"created": 0.5, "levelname": "INFO", "event": "note", "msg": "one\ntwo"})
        >>> TextLines().format(record)
        '1970-01-01T00:00:00.500Z INFO    note: one\\ntwo'
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, and a traceback indented below it."""
        text = _one_line(scrub(record.getMessage()))
        trace = "".join(f"\n    {_one_line(line)}" for line in scrub(record.exc_text or "").splitlines())
        return f"{_time(record)} {record.levelname:<7} {getattr(record, 'event', record.name)}: {text}{trace}"


class JsonLines(logging.Formatter):
    """An object per line: ``time``, ``level``, ``logger``, ``text``, what else was given, ``trace`` of an error.

    Example:
        >>> record = logging.makeLogRecord({"created": 0.5, "levelname": "INFO", "event": "note", "msg": "x"})
        >>> JsonLines().format(record)
        '{"time":"1970-01-01T00:00:00.500Z","level":"info","logger":null,"text":"x","event":"note"}'
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        told: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": record.getMessage(),
        }
        told |= {name: value for name, value in record.__dict__.items() if name not in _PLAIN and name not in told}
        if record.exc_text:
            told["trace"] = record.exc_text
        return orjson.dumps(_clean(told)).decode()


def _clean(value: Any) -> Any:
    """As JSON has it, without secrets; before it is encoded, which would hide some from who looks for them."""
    if isinstance(value, Mapping):
        return {_clean(str(name)): _clean(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(one) for one in value]
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 2**63):
        return value
    return scrub(str(value).encode("utf-8", "backslashreplace").decode())


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z"


def _one_line(text: str) -> str:
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def _to_stderr(line: str) -> None:
    with suppress(OSError, ValueError):
        sys.stderr.write(f"{scrub(line)}\n")
