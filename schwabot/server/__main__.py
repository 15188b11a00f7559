"""The server's process beside a run; a run starts it, see ``link``. Settings and frames come on standard input."""

from __future__ import annotations

import logging
import signal
import sys

import orjson

from schwabot.errors import SchwabotError
from schwabot.server.serving import open_socket, serve, url_of
from schwabot.server.settings import ServerConfig
from schwabot.server.wire import Frame, encode


def main() -> None:
    """Serve until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the run is told, and ends it
    logging.basicConfig(level=logging.WARNING, format="server: %(message)s", stream=sys.stderr)
    out = sys.stdout.buffer

    def say(frame: Frame) -> None:
        out.write(encode(frame))
        out.flush()

    config = ServerConfig(**orjson.loads(sys.stdin.buffer.readline()))
    try:
        config.check()
        sock = open_socket(config)
    except SchwabotError as error:
        say({"failed": str(error)})
        raise SystemExit(2) from None
    serve(config, sock, sys.stdin.buffer, say, lambda: say({"url": url_of(config, sock)}))


if __name__ == "__main__":
    main()
