"""What is kept of a policy is renewed when anything it depends on has changed, and only then."""

from __future__ import annotations

import functools
import importlib
import linecache
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pytest
from numba.extending import overload

from schwabot.signals import compiling, own_signals
from schwabot.signals.builtin.lead_lag import leader_move_bp
from schwabot.signals.compiling import compile_policy, key_of, make_jitable
from schwabot.signals.declaring import Policy
from schwabot.signals.identity import content_of
from schwabot.signals.reading import read
from tests.signals.making import HEAD

OTHER = """
import deep
SCALE, LIFT = 3.0, 0.0

def shift(x):
    return x - deep.OFFSET
"""
DEEP = "OFFSET = 0.25\nUNUSED = 1\n"
MINE = """
import enum
import other
from other import shift as moved

STEP, PAIR, ON = 1.5, (1.0, 2.0), True

class Mode(enum.IntEnum):
    FAST = 2

def far(x, by=2.0):
    return x + by + other.LIFT

def near(x):
    return far(x) * STEP

def band(s, p):
    return (-p.edge, p.edge) if s.in_flight == 0 else (-math.inf, math.inf)

@policy(edge=Parameter(1.0, low=0.0, high=9.0), lots=Parameter(1, low=1), signal="deviation_bp", quiet=band)
def mine(s, e, p):
    if s.in_flight > 0 or not math.fabs(e.deviation_bp) > p.edge or not ON:
        return nothing()
    x = near(e.deviation_bp) + other.shift(e.ghost_bp) * other.SCALE + moved(0.5) + PAIR[0]
    return take(BUY, p.lots + Mode.FAST) if x > 0.0 else nothing()
"""
SAME = [
    ("mine.py", "STEP, PAIR", "# a word\n\nSTEP, PAIR"),
    ("other.py", "SCALE, LIFT = 3.0", "NEVER_READ = []\nSCALE, LIFT = 3.0"),
    ("deep.py", "UNUSED = 1", "UNUSED = 2"),
]
CHANGES = [
    ("mine.py", "STEP, PAIR, ON = 1.5", "STEP, PAIR, ON = 1.25"),  # a constant of a helper
    ("mine.py", "(1.0, 2.0)", "(1.5, 2.0)"),
    ("mine.py", "(1.0, 2.0), True", "(1.0, 2.0), False"),
    ("mine.py", "STEP, PAIR, ON = 1.5", "STEP, PAIR, ON = 1"),
    ("mine.py", "x + by", "x - by"),  # a helper of a helper
    ("mine.py", "by=2.0", "by=2.5"),
    ("mine.py", "FAST = 2", "FAST = 3"),
    ("mine.py", "(-p.edge, p.edge) if", "(-p.edge, 2.0 * p.edge) if"),  # quiet
    ("mine.py", "> p.edge or", ">= p.edge or"),
    ("mine.py", "+ moved(0.5)", "+ moved(0.25)"),
    ("mine.py", "math.fabs", "math.sqrt"),
    ("mine.py", "s.in_flight > 0 or", "s.fills > 0 or"),
    ("mine.py", "take(BUY", "take(SELL"),
    ("mine.py", "e.ghost_bp", "e.phase_bp"),  # a signal
    ("mine.py", "Parameter(1.0, low", "Parameter(1.1, low"),
    ("mine.py", "high=9.0", "high=8.0"),
    ("mine.py", "Parameter(1, low", "Parameter(1.0, low"),
    (
        "mine.py",
        "edge=Parameter(1.0, low=0.0, high=9.0), lots=Parameter(1, low=1)",
        "lots=Parameter(1, low=1), edge=Parameter(1.0, low=0.0, high=9.0)",
    ),
    ("mine.py", 'signal="deviation_bp", quiet=band', "memory=2"),
    ("other.py", "LIFT = 3.0", "LIFT = 3.5"),  # another file of the user's
    ("other.py", "3.0, 0.0", "3.0, 0.5"),
    ("other.py", "x - deep.OFFSET", "x + deep.OFFSET"),
    ("deep.py", "OFFSET = 0.25", "OFFSET = 0.5"),  # two files away
]


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield tmp_path
    forget()


def forget() -> None:
    for name in ("mine", "other", "deep"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    linecache.clearcache()


def loaded(folder: Path, **changed: str) -> Any:
    """The user's module as a new process finds it."""
    texts = {"mine.py": HEAD + MINE, "other.py": OTHER, "deep.py": DEEP} | changed
    for name, text in texts.items():
        (folder / name).write_text(text)
    forget()
    return importlib.import_module("mine")


def text_of(policy: Any, legs: int = 1) -> str | None:
    found = read(policy)
    make_jitable(found)
    key = key_of(policy, found, legs)
    return None if key is None else key.text


def changed(file: str, old: str, new: str) -> dict[str, str]:
    text = {"mine.py": HEAD + MINE, "other.py": OTHER, "deep.py": DEEP}[file]
    assert old in text
    return {file: text.replace(old, new)}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_of_anything_it_reads_is_another_key(user: Path, change: tuple[str, str, str]) -> None:
    before = text_of(loaded(user).mine)
    assert before is not None
    assert text_of(loaded(user, **changed(*change)).mine) not in (before, None)


@pytest.mark.parametrize("change", SAME)
def test_what_changes_no_code_changes_no_key(user: Path, change: tuple[str, str, str]) -> None:
    assert text_of(loaded(user).mine) == text_of(loaded(user, **changed(*change)).mine)


def test_legs_and_our_own_part_count(user: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = loaded(user).mine
    one = text_of(policy)
    assert text_of(policy, 2) != one
    found, other = read(policy), read(policy)
    other.indexed = not found.indexed  # which says whether indices are checked
    assert key_of(policy, found, 1) != key_of(policy, other, 1)
    orders = [Policy(policy.function, {}, inputs=names) for names in (["a", "b"], ["b", "a"])]
    assert key_of(orders[0], found) != key_of(orders[1], found)
    for name, value in (("OURS", "another version"), ("OPTIONS", compiling.OPTIONS | {"boundscheck": True})):
        with monkeypatch.context() as patch:
            patch.setattr(compiling, name, value)
            assert text_of(policy) != one
    assert text_of(policy) == one


def test_a_value_changed_in_a_running_process_is_another_key(user: Path) -> None:
    module = loaded(user)
    before = text_of(module.mine)
    module.PAIR = (9.0, 2.0)
    assert text_of(module.mine) not in (before, None)
    module.PAIR = (1.0, 2.0)
    assert text_of(module.mine) == before
    module.STEP = 9.0  # of a helper, whose compiled code stays as it was
    assert text_of(module.mine) is None


def test_memory_and_columns_of_signals_count() -> None:
    made = own_signals.make_pass(leader_move_bp, (0,))
    assert own_signals.make_pass(leader_move_bp, (0,)) is made
    assert own_signals.make_pass(leader_move_bp, (1,)) is not made

    def text(memory: int) -> str | None:
        found = read(leader_move_bp)
        before, leader_move_bp.memory = leader_move_bp.memory, memory
        key = key_of(leader_move_bp, found)
        leader_move_bp.memory = before
        return key and key.text

    assert text(leader_move_bp.memory) == text(leader_move_bp.memory)
    assert text(leader_move_bp.memory + 1) != text(leader_move_bp.memory)


NUMBERS, TABLE, THING = [1.0], np.ones(3), object()


def test_what_can_not_be_told_is_not_kept() -> None:
    @numba.njit
    def compiled(x: float) -> float:
        return x

    @functools.lru_cache
    def remembered(x: float) -> float:
        return x

    def replaced(x: float) -> float:
        return x

    @overload(replaced)
    def _replaced(x: Any) -> Any:
        return lambda x: x + 1.0

    unknown = [NUMBERS, TABLE, THING, compiled, remembered, replaced, functools.partial(max, 1)]
    for thing in unknown:
        assert content_of(lambda x, thing=thing: thing) is None  # a default
        assert content_of(lambda x: thing) is None  # noqa: B023  # of a closure, asked at once
    assert content_of(lambda x: NUMBERS) is None
    assert content_of(lambda x: np.cos(x)) is None

    def importing(x: float) -> float:
        import math

        return math.sqrt(x)

    assert content_of(importing) is None


def test_numbers_are_told_apart() -> None:
    values = [0, 0.0, -0.0, False, 1, 1.0, True, np.float32(1), np.float64(1), np.int64(1), "1", (1,), (1.0,), None]
    values += [float("nan"), ((), 1), ((1,),), "", b"", frozenset({1}), frozenset({True})]
    told = [content_of(value) for value in values]
    assert None not in told
    assert len(set(told)) == len(values)


def test_a_policy_that_can_not_be_told_is_compiled_every_time(user: Path) -> None:
    text = MINE.replace("def far(", "import numba\n@numba.njit\ndef far(")
    policy = loaded(user, **{"mine.py": HEAD + text}).mine
    made = compile_policy(policy)
    assert made.key is None
    assert compile_policy(policy).policy is not made.policy


def test_in_one_process_it_is_made_once(user: Path) -> None:
    made = compile_policy(loaded(user).mine)
    again = compile_policy(loaded(user).mine)  # other function objects
    assert again.policy is made.policy
    assert again.python is not made.python
    other = compile_policy(loaded(user, **changed("other.py", "LIFT = 3.0", "LIFT = 3.5")).mine)
    assert other.policy is not made.policy


SCRIPT = """
from pathlib import Path
import numpy as np
from numba.core import event
from schwabot.signals import load_signal
from schwabot.signals.own_signals import compute_signal
from schwabot_kernels import kept
from schwabot_kernels.simulate.records import Market
kept.cache_folder = lambda: Path("cache")

class Counter(event.Listener):
    compiled = 0
    def on_start(self, event):
        Counter.compiled += 1
    def on_end(self, event):
        pass

rows = 3
whole = {name: np.zeros(rows, np.int64) for name in Market._fields[:-2]}
small = {name: np.zeros(rows, np.int8) for name in ("leg", "kind", "side")}
whole |= small | {"bid": np.full(rows, 100), "ask": np.full(rows, 102), "ts_ns": np.arange(rows)}
market = Market(**whole, next_row=np.full(rows, -1, np.int32), signals=np.zeros((1, 0, rows)))
with event.install_listener("numba:compile", Counter()):
    print(compute_signal(load_signal("one:mine"), market)[-1], Counter.compiled)
"""


def test_a_signal_of_ones_own_is_compiled_by_one_process_only(user: Path) -> None:
    text = """
        import helping
        from schwabot.signals import signal

        @signal(memory=2)
        def mine(s, e, p):
            s.memory[0] += 1.0
            return helping.scaled(e.mid_ticks) + s.memory[0]
    """
    (user / "one.py").write_text(textwrap.dedent(text))

    def run(factor: float) -> str:
        (user / "helping.py").write_text(f"FACTOR = {factor}\n\ndef scaled(x):\n    return FACTOR * x\n")
        done = subprocess.run([sys.executable, "-B", "-c", SCRIPT], cwd=user, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    value, compiled = run(2.0).split()
    assert (float(value), int(compiled) > 0) == (205.0, True)
    assert run(2.0) == "205.0 0"
    value, compiled = run(3.0).split()  # of another file of the user's
    assert (float(value), int(compiled) > 0) == (306.0, True)
    assert run(2.0) == "205.0 0"
    assert run(3.0) == "306.0 0"
