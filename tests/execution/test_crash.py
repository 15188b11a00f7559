"""Twenty lives with the exchange's faults on, each ended by SIGKILL; `make crash` has ten times as many."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL and no fork")
def test_nothing_is_lost_and_nothing_sent_twice() -> None:
    command = [sys.executable, "-m", "tests.execution.crash", "--runs", "20", "--seed", "3"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("20 kills")
