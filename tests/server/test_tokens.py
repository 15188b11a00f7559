"""Tokens: what the command makes, what the file holds, who is recognised, and for how long."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from schwabot.errors import ConfigError
from schwabot.secrets import scrub
from schwabot.server import tokens
from schwabot.server.tokens import Role, TokenBook, add, main, read_tokens, remove

posix = pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "tokens.json"


def test_the_command_prints_a_token_once_and_keeps_a_hash(path: Path) -> None:
    command = [sys.executable, "-m", "schwabot.server.tokens", "add", "desk", "--role", "operator", "--file", str(path)]
    done = subprocess.run([*command, "--days", "90"], capture_output=True, text=True, check=True)
    text = done.stdout.strip()
    assert tokens.TOKEN.fullmatch(text)
    kept = path.read_text()
    assert text not in kept
    assert text[12:] not in kept
    (entry,) = read_tokens(path)
    assert (entry.name, entry.role, entry.hash[:10]) == ("desk", Role.OPERATOR, "$argon2id$")
    assert entry.expires is not None
    left = datetime.fromisoformat(entry.expires) - datetime.now(UTC)
    assert timedelta(days=89, hours=23) < left <= timedelta(days=90)


def test_names_are_listed_and_removed(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = add(path, "desk", Role.ADMIN)
    assert main(["list", "--file", str(path)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("desk ")
    assert " admin " in shown
    assert text not in shown
    assert main(["add", "desk", "--file", str(path)]) == 2
    assert "desk has a token: remove it first" in capsys.readouterr().err
    assert main(["remove", "dusk", "--file", str(path)]) == 2
    assert "no token is called 'dusk'; tokens: desk" in capsys.readouterr().err
    assert main(["remove", "desk", "--file", str(path)]) == 0
    assert read_tokens(path) == ()
    assert [one.name for one in path.parent.iterdir()] == ["tokens.json"]  # nothing of a failed change is left


@pytest.mark.parametrize("name", ["", "file", "a b", "../x", "x" * 33, "-", "a\nb", "é"])
def test_a_name_is_plain(path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="no name for a token"):
        add(path, name, Role.VIEWER)


@posix
def test_a_file_that_others_may_read_is_refused(path: Path) -> None:
    add(path, "desk", Role.VIEWER)
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    for mode in (0o640, 0o604, 0o620, 0o602):
        path.chmod(mode)
        with pytest.raises(ConfigError, match=f"other users: chmod 600 {path}"):
            read_tokens(path)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 1}', '{"version": 1, "tokens": [{"id": "x"}]}', "\x00" * 9]
)
def test_a_file_of_something_else_is_refused(path: Path, text: str) -> None:
    add(path, "desk", Role.VIEWER)
    path.write_text(text)
    with pytest.raises(ConfigError, match="is no file of tokens; move it away"):
        read_tokens(path)
    with pytest.raises(ConfigError):
        add(path, "other", Role.VIEWER)
    assert path.read_text() == text  # not written over


def test_two_commands_at_once_lose_nothing(path: Path) -> None:
    add(path, "desk", Role.VIEWER)
    path.with_name("tokens.json.new").touch()
    with pytest.raises(ConfigError, match="another command is changing the tokens"):
        add(path, "other", Role.VIEWER)


def test_a_token_is_recognised_and_hashed_but_once(path: Path) -> None:
    text = add(path, "desk", Role.OPERATOR)
    book = TokenBook(path)
    assert len(book) == 1
    assert book.recall(text) is None  # not before it was verified
    entry = book.verify(text)
    assert entry is not None
    assert (entry.name, entry.role) == ("desk", Role.OPERATOR)
    begun_s = time.perf_counter()
    for _ in range(1000):
        assert book.recall(text) is entry
    assert time.perf_counter() - begun_s < 0.5  # argon2 would take tens of seconds
    assert text not in repr(vars(book))
    assert scrub(f"curl -H 'Bearer {text}'") == "curl -H 'Bearer ***'"


def test_a_token_works_as_soon_as_it_is_made(path: Path) -> None:
    add(path, "desk", Role.VIEWER)
    book = TokenBook(path)  # has looked at the file now
    entry = book.verify(add(path, "other", Role.OPERATOR))
    assert entry is not None
    assert entry.name == "other"


def test_a_wrong_token_is_not_recognised(path: Path) -> None:
    text = add(path, "desk", Role.VIEWER)
    book = TokenBook(path)
    last = "A" if text[-1] != "A" else "B"
    for wrong in (text[:-1] + last, text[:-1], text + "A", text.upper(), f" {text}", "", "sw_", "x" * 100_000, "é"):
        assert book.recall(wrong) is None
        assert book.verify(wrong) is None
    begun_s = time.perf_counter()
    for _ in range(1000):  # an id that nobody has costs no argon2
        book.verify("sw_00000000_" + "A" * 43)
    assert time.perf_counter() - begun_s < 0.5


def test_removal_and_expiry_end_what_was_recognised(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LOOK_EVERY_S", 0.0)
    gone, short, kept = (add(path, name, Role.VIEWER, days) for name, days in (("a", None), ("b", 1), ("c", 3)))
    book = TokenBook(path)
    entry = book.verify(gone)
    assert entry is not None
    assert book.verify(short) is not None
    assert book.verify(kept) is not None
    remove(path, "a")
    assert (book.recall(gone), book.verify(gone), book.holds(entry.id)) == (None, None, False)
    assert book.recall(kept) is not None  # the others need no argon2 again
    later_s = time.time() + 2 * 86_400
    monkeypatch.setattr(time, "time", lambda: later_s)
    assert (book.recall(short), book.verify(short), len(book)) == (None, None, 1)


def test_a_file_that_turns_bad_allows_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tokens, "LOOK_EVERY_S", 0.0)
    text = add(path, "desk", Role.ADMIN)
    good = path.read_bytes()
    book = TokenBook(path)
    assert book.verify(text) is not None
    path.write_text("{")
    with caplog.at_level(logging.ERROR):
        assert book.recall(text) is None
        assert book.verify(text) is None
    assert caplog.text.count("no token is taken until this is mended") == 1
    path.write_bytes(good)
    assert book.verify(text) is not None


def test_what_was_recognised_is_forgotten_with_its_hash(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "LOOK_EVERY_S", 0.0)
    text, _ = add(path, "desk", Role.VIEWER), add(path, "other", Role.ADMIN)
    book = TokenBook(path)
    assert book.verify(text) is not None
    data = json.loads(path.read_text())
    data["tokens"][0]["hash"] = data["tokens"][1]["hash"]
    path.write_text(json.dumps(data))
    assert (book.recall(text), book.verify(text)) == (None, None)


def test_a_role_in_the_file_is_one_there_is(path: Path) -> None:
    add(path, "desk", Role.VIEWER)
    data = json.loads(path.read_text())
    data["tokens"][0]["role"] = "root"
    path.write_text(json.dumps(data))
    with pytest.raises(ConfigError, match="is no file of tokens"):
        TokenBook(path)
