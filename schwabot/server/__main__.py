"""The server's process beside a run; a run starts it, see ``link``. Settings and frames come on standard input."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import orjson

from schwabot.errors import SchwabotError
from schwabot.secrets import ScrubFilter, guard_process
from schwabot.server.serving import open_socket, parsed, serve, url_of
from schwabot.server.settings import ServerConfig
from schwabot.server.tls import check_exposure
from schwabot.server.wire import Frame, encode
from schwabot.sinks.log_file import RunLog
from schwabot.sinks.log_settings import LogsConfig

NICER = 10
"""Than the run, by the system's niceness (-20 to 19): where both want a processor, a tenth of the run's share."""


def step_back() -> None:
    """Where both want a processor, leave it to the run."""
    if hasattr(os, "nice"):
        with suppress(OSError):  # a hardened service may not change priorities
            os.nice(NICER)


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run is told, and ends it
    step_back()
    if hasattr(signal, "SIGTTOU"):  # a terminal may stop who writes to it from the background
        signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    guard_process()
    shown = logging.StreamHandler(sys.stderr)
    shown.addFilter(ScrubFilter())
    shown.setLevel(logging.WARNING)  # a line for every request is for server.log
    logging.basicConfig(level=logging.WARNING, format="server: %(message)s", handlers=[shown])
    out = sys.stdout.buffer

    def say(frame: Frame) -> None:
        out.write(encode(frame))
        out.flush()

    told = orjson.loads(sys.stdin.buffer.readline())
    config, logs = ServerConfig(**told["server"]), LogsConfig(**told["logs"])
    try:
        config.check()
        notes = check_exposure(config)
        sock = open_socket(config)
    except SchwabotError as error:
        say({"failed": str(error)})
        raise SystemExit(2) from None
    with RunLog(logs) as log:
        frames = _begins(sys.stdin.buffer, log)
        serve(config, sock, frames, say, lambda: say({"url": url_of(config, sock), "notes": notes}))
    logging.shutdown()
    sys.stderr.flush()
    os._exit(0)  # a thread still reads frames where somebody told it to end: the interpreter would not end in peace


def _begins(frames: Iterable[bytes], log: RunLog) -> Iterator[bytes]:
    """The frames; the first that names the run's folder begins the log there."""
    lines = iter(frames)
    for line in lines:
        folder = (parsed(line) or {}).get("run_dir")
        if isinstance(folder, str):
            log.begin(Path(folder), "server.log")
        yield line
        if isinstance(folder, str):
            break
    yield from lines


if __name__ == "__main__":
    main()
