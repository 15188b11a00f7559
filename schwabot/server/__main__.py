"""The server's process beside a run; a run starts it, see ``link``. Settings and frames come on standard input.

What it logs, every request in a line of its own, goes to server.log beside the run's log.
"""

from __future__ import annotations

import logging
import signal
import sys
from dataclasses import replace
from pathlib import Path

import orjson

from schwabot.errors import SchwabotError
from schwabot.secrets import ScrubFilter, guard_process
from schwabot.server.serving import open_socket, serve, url_of
from schwabot.server.settings import ServerConfig
from schwabot.server.tls import check_exposure
from schwabot.server.wire import Frame, encode
from schwabot.sinks.log_file import RunLog
from schwabot.sinks.log_settings import LogsConfig


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run is told, and ends it
    guard_process()
    shown = logging.StreamHandler(sys.stderr)
    shown.addFilter(ScrubFilter())
    logging.basicConfig(level=logging.WARNING, format="server: %(message)s", handlers=[shown])
    out = sys.stdout.buffer

    def say(frame: Frame) -> None:
        out.write(encode(frame))
        out.flush()

    given = orjson.loads(sys.stdin.buffer.readline())
    config, logs = ServerConfig(**given["server"]), LogsConfig(**given["logs"])
    try:
        config.check()
        notes = check_exposure(config)
        sock = open_socket(config)
    except SchwabotError as error:
        say({"failed": str(error)})
        raise SystemExit(2) from None
    beside = None if logs.file is None else Path(logs.file).parent
    with RunLog(replace(logs, file=None)) as log:
        serve(
            config, sock, sys.stdin.buffer, say,
            ready=lambda: say({"url": url_of(config, sock), "notes": notes}),
            began=lambda run_dir: log.begin(beside or run_dir, "server.log"),
        )  # fmt: skip


if __name__ == "__main__":
    main()
