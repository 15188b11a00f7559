"""The digest that a checkpoint has of a feature is another one when a value from outside is, and only then."""

from __future__ import annotations

import importlib
import linecache
import sys
from pathlib import Path

import pytest

from schwabot.signals.loading import load_signal
from schwabot.signals.source_text import digest_of
from tests.signals.making import HEAD

FILES = {
    "pk/__init__.py": "",
    "pk/consts.py": "SCALE = 3.0\nUNUSED = 1.0\n",
    "pk/deep/__init__.py": "",
    "pk/deep/down.py": "LIFT = 0.5\n",
    "plain.py": "SHIFT, UNUSED = 0.25, 1\ndef shift(x):\n    return x - SHIFT\n",
    "mine.py": HEAD
    + """
import enum
import pk.consts
import pk.deep.down
import plain

BY, ALSO, TIMES, MORE, UNUSED = 2.0, 4.0, 5.0, 6.0, 7.0

class Mode(enum.IntEnum):
    FAST = 2
    SLOW = 3

def by_default(x, by=BY, *, also=ALSO):
    return x + by + also

def times(factor):
    def inner(x):
        return x * factor
    return inner

timed = times(TIMES)

def made(more):
    @signal
    def mine(s, e, p):
        x = by_default(timed(e.mid_ticks)) * pk.consts.SCALE + pk.deep.down.LIFT
        return plain.shift(x) * plain.SHIFT + more + Mode.FAST
    return mine

mine = made(MORE)
""",
}
MODULES = ("mine", "plain", "pk", "pk.consts", "pk.deep", "pk.deep.down")


def digest(folder: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str, str] | None = None) -> str:
    """As a new process that is started in this folder finds it."""
    for name, text in FILES.items():
        if change is not None and name == change[0]:
            assert text.count(change[1]) == 1
            text = text.replace(*change[1:])
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    for name in MODULES:
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    linecache.clearcache()
    with monkeypatch.context() as patch:
        patch.chdir(folder)
        patch.syspath_prepend(str(folder))
        patch.setattr(sys, "dont_write_bytecode", True)
        found = digest_of(load_signal("mine:mine"))
    for name in MODULES:
        sys.modules.pop(name, None)
    return found


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (("mine.py", "BY, ALSO, TIMES, MORE, UNUSED = 2.0", "BY, ALSO, TIMES, MORE, UNUSED = 2.5"), False),
        (("mine.py", "4.0, 5.0", "4.5, 5.0"), False),  # the value of by= and of also= is told by a name
        (("mine.py", "5.0, 6.0", "5.5, 6.0"), False),  # a free variable of a helper
        (("mine.py", "6.0, 7.0", "6.5, 7.0"), False),  # of the feature itself
        (("mine.py", "6.0, 7.0", "6.0, 7.5"), True),
        (("mine.py", "FAST = 2", "FAST = 4"), False),
        (("mine.py", "SLOW = 3", "SLOW = 4"), True),
        (("pk/consts.py", "SCALE = 3.0", "SCALE = 3.5"), False),
        (("pk/consts.py", "UNUSED = 1.0", "UNUSED = 1.5"), True),
        (("pk/deep/down.py", "LIFT = 0.5", "LIFT = 0.75"), False),
        (("plain.py", "SHIFT, UNUSED = 0.25", "SHIFT, UNUSED = 0.5"), False),
        (("plain.py", "0.25, 1", "0.25, 2"), True),
        (("plain.py", "x - SHIFT", "x + SHIFT"), False),
    ],
)
def test_what_is_read_from_outside_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: tuple[str, str, str], same: bool
) -> None:
    before = digest(tmp_path, monkeypatch)
    assert (digest(tmp_path, monkeypatch, change) == before) is same
