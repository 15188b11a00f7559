"""Lives with the exchange's faults on, each ended by SIGKILL; `make crash` has 200 of them at every venue."""

from __future__ import annotations

import subprocess
import sys

import pytest

RUNS = {"binance": 20, "kraken": 3, "coinbase": 2}


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL and no fork")
def test_nothing_is_lost_and_nothing_sent_twice() -> None:
    """Each venue with an exchange of its own; side by side, because they mostly wait."""
    command, pipe = [sys.executable, "-m", "tests.execution.crash", "--seed", "6"], subprocess.PIPE
    started = {
        venue: subprocess.Popen([*command, "--venue", venue, "--runs", str(runs)], stdout=pipe, stderr=pipe, text=True)
        for venue, runs in RUNS.items()
    }
    try:
        for venue, run in started.items():
            said, failed = run.communicate(timeout=300)
            assert run.returncode == 0, failed[-3000:]
            assert said.startswith(f"{venue}: {RUNS[venue]} kills")
    finally:
        for run in started.values():
            run.kill()
            run.communicate()
