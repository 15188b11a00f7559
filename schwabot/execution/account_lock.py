"""One process of a user trades on an account: two would take each other's orders for a stranger's.

XDG_STATE_HOME/schwabot/accounts/VENUE-FINGERPRINT.lock    held by who trades, let go of by the system with the process
                                            ....json    who that is, for the others
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from schwabot.errors import JournalError


def state_folder() -> Path:
    """Where the user's programs keep their state: ``XDG_STATE_HOME``, else ``~/.local/state``.

    Raises:
        JournalError: there is no such place.
    """
    try:
        return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "schwabot"
    except RuntimeError as error:  # a user without a home
        raise JournalError(f"{error}: set XDG_STATE_HOME to a folder that this user can write to") from error


def fingerprint(options: Mapping[str, Any]) -> str:
    """What tells accounts apart and does not show their key: a hash of it and of the addresses it is shown to.

    Args:
        options: of ccxt's constructor.

    Example:
        >>> one, other = fingerprint({"apiKey": ""}), fingerprint({"apiKey": "", "urls": {"api": "http://127.0.0.1:1"}})
        >>> len(one), one == other
        (16, False)
    """
    said = json.dumps([options.get("apiKey"), options.get("urls")], sort_keys=True)
    return hashlib.sha256(said.encode()).hexdigest()[:16]


class AccountLock:
    """Holds a venue's account for this process, until it is closed or the process ends, however it does.

    Args:
        venue: ccxt's name of it.
        options: of ccxt's constructor, the key among them, which is not kept.
        journal: file of this process's orders, told to who else wants the account.
        state: folder of locks; default that of the user.

    Raises:
        JournalError: another process of this user holds it; or the state folder can't be written to.

    Example:
        >>> import tempfile
        >>> state = Path(tempfile.mkdtemp())
        >>> with AccountLock("binance", {"apiKey": ""}, Path("orders/binance.db"), state) as lock:
        ...     lock.file.suffix
        '.lock'
    """

    def __init__(self, venue: str, options: Mapping[str, Any], journal: Path, state: Path | None = None) -> None:
        folder = (state or state_folder()) / "accounts"
        self.file = folder / f"{venue}-{fingerprint(options)}.lock"
        self._note = self.file.with_suffix(".json")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._held = sqlite3.connect(self.file, timeout=0.0, isolation_level=None, check_same_thread=False)
        except (OSError, sqlite3.OperationalError) as error:
            raise JournalError(_unusable(folder, error)) from error
        try:
            self._held.execute("BEGIN EXCLUSIVE")
            who = {"pid": os.getpid(), "since": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"}
            self._note.write_text(json.dumps(who | {"journal": str(journal.absolute())}), encoding="utf-8")
        except sqlite3.OperationalError as error:
            self._held.close()
            if getattr(error, "sqlite_errorcode", sqlite3.SQLITE_BUSY) != sqlite3.SQLITE_BUSY:
                raise JournalError(_unusable(folder, error)) from error
            raise JournalError(
                f"the account at {venue} is traded on by {self._holder()}; two runs would take each other's orders for"
                " a stranger's: stop that one first (Ctrl-C there, or SIGTERM), or use the key of another account"
            ) from error
        except OSError as error:
            self._held.close()
            raise JournalError(_unusable(folder, error)) from error

    def _holder(self) -> str:
        """Who holds it, in words."""
        try:
            who = json.loads(self._note.read_text(encoding="utf-8"))
            return f"process {who['pid']} of yours since {who['since']}, journal {who['journal']}"
        except (OSError, ValueError, KeyError, TypeError):  # it is just being written
            return "another process of yours"

    def close(self) -> None:
        """Let go of it. The file stays: another process may hold it by now."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _unusable(folder: Path, error: Exception) -> str:
    return (
        f"{folder} can't be written to ({error}), so nobody can see that this run trades on the account: set"
        " XDG_STATE_HOME to a folder that can"
    )
