"""Where a run and its dashboard want the same processor, the run gets it."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

from tests.server.making import server

UNDER_A_FILTER = """
import ctypes, os, struct
from schwabot.server.__main__ import step_back
lines = [(0x20, 0, 0, 0), (0x15, 0, 1, 141), (0x06, 0, 0, 0x00050000 | 1), (0x06, 0, 0, 0x7FFF0000)]
code = b"".join(struct.pack("HBBI", *line) for line in lines)
program = struct.pack("HxxxxxxP", len(lines), ctypes.cast(code, ctypes.c_void_p).value)
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, program, 0, 0) == 0, ctypes.get_errno()
try:
    os.nice(1)
except PermissionError:
    step_back()
    print("went on")
"""
"""setpriority (141) is refused with EPERM, as by ``SystemCallFilter=~@resources`` of systemd."""


@pytest.mark.skipif(os.name != "posix", reason="niceness")
def test_the_server_takes_a_tenth_of_the_run_s_share(tmp_path: Path) -> None:
    with server(tmp_path) as beside:
        pid = beside.process.pid
        assert os.getpriority(os.PRIO_PROCESS, pid) == min(19, os.getpriority(os.PRIO_PROCESS, 0) + 10)
        assert os.getsid(pid) == os.getsid(0)  # Linux shares processors among sessions first, niceness comes within one
        assert os.getpgid(pid) != os.getpgid(0)  # a Ctrl-C is not for it


@pytest.mark.skipif((sys.platform, platform.machine()) != ("linux", "x86_64"), reason="a filter of its system calls")
def test_a_service_that_may_not_change_priorities_goes_on_without() -> None:
    done = subprocess.run([sys.executable, "-c", UNDER_A_FILTER], capture_output=True, text=True, check=False)
    assert done.stdout == "went on\n", done.stderr
