"""Lives with the exchange's faults on, each ended by SIGKILL; `make crash` has 200 of them at every venue."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL and no fork")
@pytest.mark.parametrize(("venue", "runs"), [("binance", 20), ("kraken", 3), ("coinbase", 2)])
def test_nothing_is_lost_and_nothing_sent_twice(venue: str, runs: int) -> None:
    command = [sys.executable, "-m", "tests.execution.crash", "--venue", venue, "--runs", str(runs), "--seed", "6"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith(f"{venue}: {runs} kills")
