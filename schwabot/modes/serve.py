"""mode=serve: the dashboard without a run: past runs, their results and reports."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from schwabot.config import RunConfig
from schwabot.errors import ConfigError
from schwabot.modes.opening import say
from schwabot.sinks.heartbeat import beat
from schwabot.sinks.log_file import begin_log


def serve(settings: RunConfig, run_dir: Path, started_s: float) -> dict[str, Any]:
    """mode=serve: serve until it is stopped. Writes nothing but serve.log and its lock, into the folder of runs.

    Returns:
        What little there is to tell at the end.

    Raises:
        ConfigError: the server can't start; says why.
    """
    try:
        from schwabot.server.serving import open_socket, url_of
        from schwabot.server.serving import serve as run
        from schwabot.server.tls import check_exposure
    except ImportError:
        raise ConfigError("mode=serve needs packages that are not installed: pip install 'schwabot[server]'") from None
    notes = check_exposure(settings.server)
    with suppress(OSError):
        os.rmdir(run_dir)  # nothing is written there
    sock = open_socket(settings.server)
    begin_log(Path(settings.server.runs), "serve.log", is_shared=True)  # server.log is of a run in that very folder
    url = url_of(settings.server, sock)
    ready = partial(say, [*(f"note: {one}" for one in notes), f"note: dashboard at {url}; Ctrl-C ends it"])
    run(settings.server, sock, ready=ready, alive=partial(beat, ready=True))
    return {"mode": settings.mode, "wall_s": time.perf_counter() - started_s}
