"""A file that a run touches while it moves on, for whoever watches it from outside: a container's health check.

``SCHWABOT_HEARTBEAT`` names the file; without it nothing is touched. The clock is the file's own time of change.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

VARIABLE = "SCHWABOT_HEARTBEAT"
EVERY_S = 1.0
_next_s = [0.0]


def beat() -> None:
    """Touch the file, at most once a second; a place that can't be written to is no reason to end a run."""
    file = os.environ.get(VARIABLE)
    now_s = time.monotonic()
    if not file or now_s < _next_s[0]:
        return
    _next_s[0] = now_s + EVERY_S
    with suppress(OSError):
        Path(file).touch()
