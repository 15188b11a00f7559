"""Bearer tokens: made and removed on the command line, kept as argon2 hashes, recognised at every request.

    python -m schwabot.server.tokens add NAME --role operator --days 90
    python -m schwabot.server.tokens list
    python -m schwabot.server.tokens remove NAME

token  sw_<8 hex digits: which one>_<43 characters: 256 random bits>
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import re
import secrets
import stat
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

from schwabot.errors import ConfigError
from schwabot.records.audit import FILE
from schwabot.secrets import learn
from schwabot.server.settings import ServerConfig

TOKEN = re.compile(r"sw_([0-9a-f]{8})_[A-Za-z0-9_-]{43}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}")
LOOK_EVERY_S = 1.0
"""How long a removed token may still be taken."""
MOST_BYTES = 1 << 20
VERSION = 1
_log = logging.getLogger("schwabot.server")


class Role(StrEnum):
    """What a token may do; each may do what those before it may.

    Example:
        >>> Role.ADMIN.covers(Role.OPERATOR), Role.VIEWER.covers(Role.OPERATOR)
        (True, False)
    """

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, needed: Role) -> bool:
        """Whether this role may do what ``needed`` may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(needed)


@dataclass(frozen=True)
class Entry:
    """One token, without its text.

    Args:
        id: the first part of its text.
        name: whose it is.
        role: what it may do.
        hash: argon2id of the whole text.
        created: ISO 8601, UTC.
        expires: likewise; None = never.
    """

    id: str
    name: str
    role: Role
    hash: str
    created: str
    expires: str | None = None

    def is_over(self, now_s: float) -> bool:
        """Whether it has expired."""
        return self.expires is not None and datetime.fromisoformat(self.expires).timestamp() <= now_s


def _hasher() -> Any:
    try:
        from argon2 import PasswordHasher
    except ImportError:
        raise ConfigError("tokens need argon2-cffi: pip install 'schwabot[server]'") from None
    return PasswordHasher(time_cost=2, memory_cost=19_456, parallelism=1)  # OWASP's; the text has 256 random bits


def new_token(name: str, role: Role, days: float | None = None) -> tuple[str, Entry]:
    """A token's text and what is kept of it.

    Args:
        name: whose it is: letters, digits, ``_``, ``.``, ``-``; 32 at most.
        role: what it may do.
        days: after which it expires; None = never.

    Raises:
        ConfigError: the name or the number of days can't be used, or argon2-cffi is not installed.

    Example:
        >>> text, entry = new_token("desk", Role.VIEWER)
        >>> len(text), text.startswith(f"sw_{entry.id}_"), text in entry.hash
        (55, True, False)
    """
    if not NAME.fullmatch(name):
        raise ConfigError(
            f"{name!r} is no name for a token: use up to 32 letters, digits, '_', '.', '-', a letter or digit first"
        )
    if name == FILE:
        raise ConfigError(f"{name!r} is no name for a token: changes of a settings file are told under it")
    if days is not None and not 0 < days <= 36_500:
        raise ConfigError(f"--days {days:g} is out of range: use more than 0, 36500 at most")
    id_ = secrets.token_hex(4)
    text = f"sw_{id_}_{secrets.token_urlsafe(32)}"
    now = datetime.now(UTC).replace(microsecond=0)
    expires = None if days is None else (now + timedelta(days=days)).isoformat()
    return text, Entry(id_, name, role, _hasher().hash(text), now.isoformat(), expires)


def read_tokens(path: Path) -> tuple[Entry, ...]:
    """What the file holds; nothing where there is none.

    Args:
        path: of the file.

    Raises:
        ConfigError: others may read or change it, or it is not what this program writes.
    """
    try:
        with path.open("rb") as file:
            _refuse_open_to_others(path, os.fstat(file.fileno()))
            data = json.loads(file.read(MOST_BYTES))
        if data["version"] != VERSION:
            raise ConfigError(f"{path}: version {data['version']} of this file is not known; use a newer schwabot")
        found = tuple(Entry(**{**one, "role": Role(one["role"])}) for one in data["tokens"])
        for one in found:
            one.is_over(0.0)
    except FileNotFoundError:
        return ()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; tokens are read from there") from None
    except ConfigError:
        raise
    except (ValueError, TypeError, KeyError):
        raise ConfigError(
            f"{path} is no file of tokens; move it away and make new ones: python -m schwabot.server.tokens add NAME"
        ) from None
    return found


def _refuse_open_to_others(path: Path, what: os.stat_result) -> None:
    if os.name != "posix":  # access lists are not looked at
        return
    if what.st_mode & 0o077:
        raise ConfigError(f"{path} may be read or changed by other users: chmod 600 {path}")
    if what.st_uid not in (os.getuid(), 0):
        raise ConfigError(f"{path} belongs to another user: chown {os.getuid()} {path}")


@contextmanager
def _changed(path: Path) -> Iterator[list[Entry]]:
    """The file's entries, written back at the end, whole or not at all; one process at a time."""
    new = path.with_name(path.name + ".new")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR)
    except FileExistsError:
        raise ConfigError(f"{new} is there: another command is changing the tokens; if none is, remove it") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}; tokens are kept there") from None
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        try:
            entries = list(read_tokens(path))
            yield entries
            json.dump({"version": VERSION, "tokens": [asdict(one) for one in entries]}, file, indent=2)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            new.unlink()
            raise
    new.replace(path)


def add(path: Path, name: str, role: Role, days: float | None = None) -> str:
    """Make a token; its text, which nothing else keeps.

    Raises:
        ConfigError: the name is taken or can't be used, or the file can't.
    """
    text, entry = new_token(name, role, days)
    with _changed(path) as entries:
        if any(one.name == name for one in entries):
            raise ConfigError(f"{name} has a token: remove it first, python -m schwabot.server.tokens remove {name}")
        entries.append(entry)
    return text


def remove(path: Path, name: str) -> None:
    """Remove a token; a server that is running stops taking it within a second or two.

    Raises:
        ConfigError: nobody has this name, or the file can't be used.
    """
    with _changed(path) as entries:
        kept = [one for one in entries if one.name != name]
        if len(kept) == len(entries):
            names = ", ".join(one.name for one in entries) or "there are none"
            raise ConfigError(f"no token is called {name!r}; tokens: {names}")
        entries[:] = kept


class TokenBook:
    """Recognises tokens: argon2 once, from then on a keyed hash; follows its file.

    Args:
        path: of the file.

    Raises:
        ConfigError: the file can't be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._key = secrets.token_bytes(32)
        self._lock = threading.Lock()
        self._seen: dict[bytes, str] = {}
        """Keyed hash of a text → id. A wrong one does not get in, so it never grows beyond the file."""
        self._stamp = self._look()
        self._entries = {one.id: one for one in read_tokens(path)}
        self._looked_s = time.monotonic()
        self._hasher = _hasher() if self._entries else None

    def __len__(self) -> int:
        self._follow()
        now_s = time.time()
        return sum(not one.is_over(now_s) for one in self._entries.values())

    def holds(self, id_: str) -> bool:
        """Whether this token is neither removed nor expired."""
        self._follow()
        return self._valid(id_) is not None

    def recall(self, text: str) -> Entry | None:
        """Whose text this is, if it was verified before; takes microseconds."""
        self._follow()
        id_ = self._seen.get(self._digest(text))
        return None if id_ is None else self._valid(id_)

    def verify(self, text: str) -> Entry | None:
        """Whose text this is; takes some tens of milliseconds where the first part of it is known."""
        self._follow()
        match = TOKEN.fullmatch(text)
        if match is None:
            return None
        if match[1] not in self._entries:  # it may have been made just now
            self._follow(at_once=True)
        entry = self._valid(match[1])
        if entry is None:
            return None
        from argon2.exceptions import InvalidHashError, VerificationError

        try:
            (self._hasher or _hasher()).verify(entry.hash, text)
        except (VerificationError, InvalidHashError):
            return None
        learn(text)  # blanked in logs from now on
        with self._lock:
            if self._valid(entry.id) is not entry:  # removed meanwhile
                return None
            self._seen[self._digest(text)] = entry.id
        return entry

    def _digest(self, text: str) -> bytes:
        return hashlib.blake2b(text.encode("utf-8", "replace"), key=self._key, digest_size=32).digest()

    def _valid(self, id_: str) -> Entry | None:
        entry = self._entries.get(id_)
        return None if entry is None or entry.is_over(time.time()) else entry

    def _look(self) -> tuple[int, ...] | None:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino, found.st_mode, found.st_uid

    def _follow(self, *, at_once: bool = False) -> None:
        """Read the file again where it changed; what can't be read allows nothing."""
        now_s = time.monotonic()
        if not at_once and now_s - self._looked_s < LOOK_EVERY_S:
            return
        self._looked_s = now_s
        with self._lock:  # ``verify`` runs in threads
            stamp = self._look()
            if stamp == self._stamp:
                return
            self._stamp = stamp
            try:
                entries = {one.id: one for one in read_tokens(self._path)}
            except ConfigError as error:
                _log.error("no token is taken until this is mended: %s", error)
                entries = {}
            before, self._entries = self._entries, entries
            self._seen = {digest: id_ for digest, id_ in self._seen.items() if entries.get(id_) == before.get(id_)}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0 where it did what was asked."""
    parser = argparse.ArgumentParser(prog="python -m schwabot.server.tokens", description="Tokens of the HTTP API")
    file = argparse.ArgumentParser(add_help=False)
    file.add_argument(
        "--file", type=Path, default=ServerConfig().tokens_file, help="default: that of the setting server.tokens"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    adding = commands.add_parser("add", parents=[file], help="make a token and print it, once")
    adding.add_argument("name")
    adding.add_argument("--role", type=Role, choices=list(Role), default=Role.VIEWER, help="default: %(default)s")
    adding.add_argument("--days", type=float, help="it expires after so many; default: never")
    removing = commands.add_parser("remove", parents=[file], help="end a token")
    removing.add_argument("name")
    commands.add_parser("list", parents=[file], help="whose tokens there are, what they may do, until when")
    given = parser.parse_args(arguments)
    try:
        if given.command == "add":
            text = add(given.file, given.name, given.role, given.days)
            sys.stderr.write("Shown this once, kept nowhere; send it as 'Authorization: Bearer TOKEN'.\n")
            sys.stdout.write(f"{text}\n")
        elif given.command == "remove":
            remove(given.file, given.name)
        else:
            sys.stdout.writelines(_line(one) for one in read_tokens(given.file))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _line(entry: Entry) -> str:
    until = "never expires" if entry.expires is None else f"until {entry.expires}"
    over = " (expired)" if entry.is_over(time.time()) else ""
    return f"{entry.name:<32} {entry.role:<8} sw_{entry.id}_…  made {entry.created}  {until}{over}\n"


if __name__ == "__main__":
    sys.exit(main())
