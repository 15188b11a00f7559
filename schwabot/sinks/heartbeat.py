"""What a run tells whoever watches it from outside while it moves on: a container's health check, and systemd.

``SCHWABOT_HEARTBEAT`` names a file that is touched; the clock is the file's own time of change. ``NOTIFY_SOCKET``,
which systemd sets for a unit with ``Type=notify``, is told that the run is ready, and that it is alive. Without them
nothing is done.
"""

from __future__ import annotations

import os
import socket
import time
from contextlib import suppress
from pathlib import Path

VARIABLE = "SCHWABOT_HEARTBEAT"
SOCKET = "NOTIFY_SOCKET"
EVERY_S = 1.0
_next_s = [0.0]
_ready = [False]


def beat(ready: bool = False) -> None:
    """Tell that the run moves on, at most once a second; what can't be told is no reason to end a run.

    Args:
        ready: it has got going: what comes before may take minutes (kernels, venues), and no watchdog waits for it.
    """
    now_s = time.monotonic()
    first = ready and not _ready[0]
    if now_s < _next_s[0] and not first:
        return
    _next_s[0], _ready[0] = now_s + EVERY_S, _ready[0] or ready
    if file := os.environ.get(VARIABLE):
        with suppress(OSError):
            Path(file).touch()
    if address := os.environ.get(SOCKET):
        _tell(address, "READY=1\nWATCHDOG=1" if first else "WATCHDOG=1")


def _tell(address: str, said: str) -> None:
    """One datagram to systemd; a name that begins with @ is one without a file."""
    if not hasattr(socket, "AF_UNIX"):
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.setblocking(False)
        to.connect("\0" + address[1:] if address.startswith("@") else address)
        to.send(said.encode())
