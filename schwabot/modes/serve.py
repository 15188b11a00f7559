"""mode=serve: the dashboard without a run: past runs, their results and reports."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from schwabot.config import RunConfig
from schwabot.errors import ConfigError
from schwabot.modes.opening import say


def serve(settings: RunConfig, run_dir: Path, started_s: float) -> dict[str, Any]:
    """mode=serve: serve until it is stopped. Writes no files.

    Returns:
        What little there is to tell at the end.

    Raises:
        ConfigError: the server can't start; says why.
    """
    try:
        from schwabot.server.serving import open_socket, url_of
        from schwabot.server.serving import serve as run
    except ImportError:
        raise ConfigError("mode=serve needs packages that are not installed: pip install 'schwabot[server]'") from None
    with suppress(OSError):
        os.rmdir(run_dir)  # nothing is written there
    sock = open_socket(settings.server)
    url = url_of(settings.server, sock)
    run(settings.server, sock, ready=lambda: say([f"note: dashboard at {url}; Ctrl-C ends it"]))
    return {"mode": settings.mode, "wall_s": time.perf_counter() - started_s}
