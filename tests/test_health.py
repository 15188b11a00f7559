"""The health check: what it says of runs that move on, are stuck, or were never begun."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from schwabot import health
from schwabot.health import run_state
from schwabot.run import main
from schwabot.sinks import heartbeat
from schwabot.sinks.heartbeat import VARIABLE
from schwabot.sinks.progress import Progress

HAS_DRIVER = os.path.exists("/dev/nvidiactl")


def check(**env: str) -> tuple[int, str, str]:
    done = subprocess.run(
        [sys.executable, "-m", "schwabot.health"], env=dict(os.environ) | env, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


def test_a_run_that_moves_on_is_healthy_and_one_that_is_stuck_is_not(tmp_path: Path) -> None:
    file = tmp_path / "heartbeat"
    code, out, _ = check(**{VARIABLE: str(file), "SCHWABOT_STALLED_S": "1e9"})
    assert (code, out.split(";")[0]) == (0, "healthy: no run has begun")
    file.touch()
    code, out, _ = check(**{VARIABLE: str(file)})
    assert code == 0
    assert out.startswith("healthy: the run moved on ")
    if not HAS_DRIVER:
        assert out.endswith("; no driver, so on the CPU\n")
    before_s = time.time() - 1000
    os.utime(file, (before_s, before_s))
    code, out, _ = check(**{VARIABLE: str(file)})
    assert code == 1
    assert out.startswith("unhealthy: the run has not moved on for 1,00")
    assert check(**{VARIABLE: str(file), "SCHWABOT_STALLED_S": "2000"})[0] == 0
    assert check(**{VARIABLE: str(file), "SCHWABOT_STALLED_S": "soon"}) == (
        1, "", "error: SCHWABOT_STALLED_S=soon is no number of seconds above 0\n",
    )  # fmt: skip


@pytest.mark.parametrize("given", ["nan", "inf", "0", "-5"])
def test_no_pause_is_no_limit(given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SCHWABOT_STALLED_S", given)
    with pytest.raises(SystemExit, match="1"):
        health.main([])
    assert "is no number of seconds above 0" in capsys.readouterr().err


def test_what_it_is_not_asked_for_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        health.main(["--quiet"])
    with pytest.raises(SystemExit, match="0"):
        health.main(["--help"])
    assert "python -m schwabot.health" in capsys.readouterr().out


def test_a_run_that_never_begins_is_not_well_for_ever() -> None:
    """Nor is one that can't write to its file."""
    assert run_state("/proc/nowhere/heartbeat", 900.0, 0.0, up_s=899.0) == (True, "no run has begun")
    assert run_state("/proc/nowhere/heartbeat", 900.0, 0.0, up_s=901.0) == (
        False, f"no run has begun in 901 s, or it can't write to {VARIABLE}=/proc/nowhere/heartbeat",
    )  # fmt: skip


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_the_start_is_before_now_and_after_the_machine_s() -> None:
    found = health.up_s()
    assert found is not None
    assert 0 < found <= time.clock_gettime(time.CLOCK_BOOTTIME)


class Driver:
    """NVML of two cards, of which the first has no answer to this question."""

    class NVMLError(Exception):
        """Of NVML."""

    class NVMLError_NotSupported(NVMLError):  # noqa: N801, N818 NVML's name
        """Of NVML."""

    def __init__(self, second: Exception | None = None) -> None:
        self._said = [self.NVMLError_NotSupported(), second]

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> None:  # noqa: N802
        if (error := self._said[handle]) is not None:
            raise error


def test_a_card_that_does_not_say_hides_none_behind_it() -> None:
    assert health.cards_state(Driver()) == (True, "2 GPUs")
    assert health.cards_state(Driver(Driver.NVMLError("lost"))) == (False, "GPU 1 does not answer: lost")


def test_without_a_file_to_look_at_it_does_not_say_that_all_is_well() -> None:
    assert run_state(None, 900.0, 0.0) == (
        False, f"nothing is known of a run: set {VARIABLE}=FILE for it and for this check",
    )  # fmt: skip


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(VARIABLE, str(tmp_path / "heartbeat"))
    monkeypatch.setattr(heartbeat, "_next_s", [0.0])
    monkeypatch.setattr(heartbeat, "_ready", [True])
    return tmp_path / "heartbeat"


def test_a_loop_touches_it_while_it_goes_and_only_then(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Progress(enabled=False) as progress:
        assert file.exists(), "from the start"
        os.utime(file, (0, 0))
        progress.update(1, 0.5)
        assert file.stat().st_mtime == 0, "once a second is enough"
        monkeypatch.setattr(heartbeat, "_next_s", [0.0])
        progress.update(2, 1.0)
        assert file.stat().st_mtime > 0


def test_the_command_touches_it_before_anything_is_compiled(file: Path) -> None:
    main(["--version"])
    assert file.exists()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="systemd's socket is one of UNIX")
@pytest.mark.parametrize(
    "abstract", [False, pytest.param(True, marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux's"))]
)
def test_systemd_is_told_once_that_the_run_is_ready_and_then_that_it_is_alive(
    abstract: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heartbeat, "_next_s", [0.0])
    monkeypatch.setattr(heartbeat, "_ready", [False])
    name = f"@schwabot-{os.getpid()}" if abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind("\0" + name[1:] if abstract else name)
        systemd.settimeout(5.0)
        monkeypatch.setenv(heartbeat.SOCKET, name)
        with Progress(enabled=False) as progress:
            assert systemd.recv(100) == b"WATCHDOG=1", "what comes before is no reason to call it ready"
            progress.update(1, 0.5)
            assert systemd.recv(100) == b"READY=1\nWATCHDOG=1", "at once, however soon after"
            progress.update(2, 0.6)
            monkeypatch.setattr(heartbeat, "_next_s", [0.0])
            progress.update(3, 0.7)
        assert systemd.recv(100) == b"WATCHDOG=1"
        systemd.setblocking(False)
        with pytest.raises(BlockingIOError):
            systemd.recv(100)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="systemd's socket is one of UNIX")
def test_a_server_without_a_run_tells_systemd_too(tmp_path: Path) -> None:
    name = str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name)
        systemd.settimeout(60.0)
        command = [sys.executable, "-m", "schwabot.run", "mode=serve", "server.port=0"]
        server = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {heartbeat.SOCKET: name})
        try:
            said = [systemd.recv(100) for _ in range(4)]
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(60) == 130
    assert said == [b"WATCHDOG=1", b"READY=1\nWATCHDOG=1", b"WATCHDOG=1", b"WATCHDOG=1"]


def test_a_systemd_that_does_not_listen_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "_next_s", [0.0])
    monkeypatch.setenv(heartbeat.SOCKET, str(tmp_path / "nobody"))
    heartbeat.beat(ready=True)


def test_a_place_that_cannot_be_written_to_ends_no_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "/proc/nowhere/heartbeat")
    monkeypatch.setattr(heartbeat, "_next_s", [0.0])
    heartbeat.beat()
