"""Two processes of a user do not trade on one account, and a killed one does not keep it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from schwabot.errors import JournalError
from schwabot.execution.account_lock import AccountLock, state_folder
from schwabot.venues.loopback.urls import ccxt_options

KEY = "canary-key-of-the-account"
HOLDER = """
import sys, time
from pathlib import Path
from schwabot.execution.account_lock import AccountLock
lock = AccountLock("binance", {"apiKey": sys.argv[1]}, Path("theirs.db"))
print("held", flush=True)
time.sleep(20)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "schwabot" / "accounts"


def held_by_another(folder: Path) -> subprocess.Popen[str]:
    one = subprocess.Popen(
        [sys.executable, "-c", HOLDER, KEY], cwd=folder.parents[1], stdout=subprocess.PIPE, text=True
    )
    assert one.stdout is not None
    assert one.stdout.readline() == "held\n"
    return one


def test_another_process_is_refused_until_the_first_is_gone_even_killed(folder: Path) -> None:
    with held_by_another(folder) as one:
        with pytest.raises(JournalError) as refused:
            AccountLock("binance", {"apiKey": KEY}, Path("mine.db"))
        said = str(refused.value)
        assert f"process {one.pid} of yours since 20" in said
        assert f"{folder.parents[1] / 'theirs.db'}; two runs would" in said
        with (
            AccountLock("binanceusdm", {"apiKey": KEY}, Path("mine.db")),
            AccountLock("binance", {"apiKey": "of another account"}, Path("mine.db")),  # pragma: allowlist secret
            AccountLock("binance", {"apiKey": KEY} | ccxt_options("binance", 1), Path("mine.db")),
            AccountLock("binance", {"apiKey": KEY} | ccxt_options("binance", 2), Path("mine.db")),
        ):
            pass
        one.send_signal(signal.SIGKILL)
    with AccountLock("binance", {"apiKey": KEY}, Path("mine.db")):
        pass
    mine = AccountLock("binance", {"apiKey": KEY}, Path("mine.db"))
    with mine, pytest.raises(JournalError, match=r"journal .*mine\.db"):
        AccountLock("binance", {"apiKey": KEY}, Path("other.db"))
    for file in folder.iterdir():
        assert KEY not in file.name
        assert KEY.encode() not in file.read_bytes()


def test_a_state_folder_that_cannot_be_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "schwabot").write_text("in the way")
    with pytest.raises(JournalError, match="set XDG_STATE_HOME to a folder that can"):
        AccountLock("binance", {"apiKey": KEY}, Path("mine.db"))
    monkeypatch.setenv("XDG_STATE_HOME", "")
    monkeypatch.setenv("HOME", "/somewhere")
    assert state_folder() == Path("/somewhere/.local/state/schwabot")
