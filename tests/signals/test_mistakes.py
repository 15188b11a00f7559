"""What a trader gets wrong first: each mistake is told with its file and line, and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from schwabot.errors import ConfigError, PolicyError
from schwabot.signals import load_policy, load_signal
from schwabot.signals.compiling import compile_policy
from schwabot.signals.own_signals import make_pass
from tests.signals.making import event, standing, written

# In each, the marked line is the one that has to be named; {} is the head @policy(...) def mine(s, e, p):
MISTAKES = {
    "f-string": ("x = f'{e.bid_ticks}'  #!", "f-string"),
    "text": ("side = 'buy'  #!", "text ('buy')", "BUY"),
    "text as side": ("return take('buy', 1)  #!", "text ('buy')"),
    "dict": ("x = {1: 2}  #!", "a dict", "s.memory"),
    "list": ("x = [1, 2]  #!", "a list", "s.memory"),
    "comprehension": ("x = sum(y for y in e.bids)  #!", "sum(...)"),
    "generator": ("x = max(y for y in e.bids)  #!", "a list"),
    "try": ("try:  #!\n        x = 1\n    except ValueError:\n        x = 2", "try/except"),
    "with": ("with open('x') as f:  #!\n        pass", "with"),
    "raise": ("raise ValueError(1)  #!", "raise", "return nothing()"),
    "assert": ("assert e.bid_ticks > 0  #!", "assert"),
    "yield": ("yield take(BUY, 1)  #!", "yield"),
    "global": ("global COUNT  #!\n    COUNT = 1", "global", "s.memory"),
    "import": ("import random  #!", "import"),
    "inner function": ("def f(x):  #!\n        return x", "a function within a function"),
    "lambda": ("f = lambda x: x  #!", "lambda"),
    "class": ("class A:  #!\n        pass", "a class"),
    "None": ("x = None  #!", "None", "math.nan"),
    "print": ("print(e.bid_ticks)  #!", "print(...)", "plain Python"),
    "isinstance": ("x = isinstance(e.bid_ticks, int)  #!", "isinstance(...)"),
    "numpy": ("x = np.sqrt(e.mid_ticks)  #!", "np.sqrt", "math.sqrt"),
    "numpy abs": ("x = np.abs(e.mid_ticks)  #!", "np.abs", "write abs"),
    "numpy array": ("x = np.zeros(3)  #!", "np.zeros"),
    "no such math": ("x = math.sqr(2.0)  #!", "math.sqr does not exist", "math.sqrt"),
    "no return": ("if e.bid_ticks > 5:  #!\n        return take(BUY, 1)", "without an answer", "return nothing()"),
    "pass": ("pass  #!", "without an answer"),
    "bare return": ("if e.bid_ticks > 5:\n        return  #!\n    return nothing()", "return nothing()"),
    "return None": ("return None  #!", "return nothing()"),
    "return True": ("return True  #!", "True", "no intent"),
    "return float": ("return 1.0  #!", "no intent"),
    "return expression": ("return e.bid_ticks + 1  #!", "a number", "no intent"),
    "return condition": ("return e.bid_ticks > 5  #!", "True or False", "no intent"),
    "return tuple": ("return BUY, 1  #!", "a tuple", "no intent"),
    "return side": ("return BUY  #!", "a number, which is no intent"),
    "return variable": ("x = e.bid_ticks + 1\n    return x", "no intent"),
    "return function": ("return nothing  #!", "write nothing(...)"),
    "not returned": ("take(BUY, 1)  #!\n    return nothing()", "write return take(BUY, 1)"),
    "too few": ("return take(BUY)  #!", "take(side, lots, price_ticks = 0)", "lots"),
    "too many": ("return nothing(1)  #!", "nothing()", "too many"),
    "no such argument": ("return take(BUY, lots=1, price=3)  #!", "price"),
    "unknown signal": ("x = e.forcast_bp  #!", "forcast_bp is not in the event", "did you mean forecast_bp?"),
    "short signal": ("x = e.deviation  #!", "did you mean deviation_bp?"),
    "unknown of event": ("x = e.bid  #!", "did you mean bid_ticks?"),
    "unknown of itself": ("x = s.pos  #!", "did you mean position?"),
    "in the wrong place": ("x = s.bid_ticks  #!", "it is in the event: e.bid_ticks"),
    "parameter in the wrong place": ("x = s.lots  #!", "it is a parameter: p.lots"),
    "unknown parameter": ("x = p.lot  #!", "did you mean lots?"),
    "undeclared parameter": ("x = p.edge_bp  #!", "add edge_bp=Parameter(1.0)"),
    "state set": ("s.position = 1  #!", "s.position can't be changed", "s.memory"),
    "parameter set": ("p.lots = 1  #!", "p.lots can't be changed"),
    "event array set": ("e.bids[0] = 1  #!", "only s.memory can"),
    "no memory": ("s.memory[0] = 1.0  #!", "@policy(memory=1, ...)"),
    "not defined": ("x = edge  #!", "edge is not defined"),
    "global list": ("x = TABLE[0]  #!", "TABLE is a list outside the function"),
    "global dict": ("x = LEVELS[1]  #!", "LEVELS is a dict outside the function"),
    "another policy": ("return other(s, e, p)  #!", "other is a policy"),
    "whole event": ("x = e  #!", "e is used as a whole"),
    "state renamed": ("s = 1  #!", "s can't be given another value"),
    "in a helper": ("return helper(e)", "a list"),
    "helper with wrong arguments": ("return helper(e, 1)  #!", "helper(e)", "too many"),
    "attribute of a number": ("x = e.mid_ticks.foo  #!", "foo"),
    "mixed kinds": (
        "x = 1.0\n    if e.bid_ticks > 5:\n        x = e.bids\n    return take(BUY, int(len(x)))",
        "different kinds",
    ),
    "a class": ("return take(BUY, Box.lots)  #!", "of a class"),
    "no value in a branch": ("return take(BUY, lots)  #!", "lots is not defined"),
}  # fmt: skip
REST = """
TABLE = [1, 2]
LEVELS = {1: 2}


class Box:
    lots = 1


@policy
def other(s, e, p):
    return nothing()


def helper(e):
    x = [1]
    return nothing()


@policy(lots=Parameter(1, low=1))
def mine(s, e, p):
    """


def said(file: Path, own: str = "mine") -> str:
    with pytest.raises(PolicyError) as caught:
        compile_policy(load_policy(f"{file}:{own}"))
    return str(caught.value)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistake_is_told_with_its_line(tmp_path: Path, mistake: str) -> None:
    body, *words = MISTAKES[mistake]
    ends = "" if mistake in ("no return", "pass") or "return" in body.splitlines()[-1] else "\n    return nothing()"
    file = written(tmp_path, REST + body + ends + "\n", f"mine_{mistake.replace(' ', '_').replace('-', '_')}.py")
    text = said(file)
    for word in words:
        assert word in text
    marked = [number for number, line in enumerate(file.read_text().splitlines(), 1) if "#!" in line]
    if mistake == "in a helper":
        marked = [number for number, line in enumerate(file.read_text().splitlines(), 1) if "x = [1]" in line]
    named = text.removeprefix(f"{file}:").partition(":")[0]
    assert text.startswith(f"{file}:")
    assert not marked or int(named) == marked[0], text


def test_memory_outside_what_was_declared(tmp_path: Path) -> None:
    file = written(
        tmp_path, "\n@policy(memory=2)\ndef mine(s, e, p):\n    s.memory[2] = 1.0\n    return nothing()\n", "memo.py"
    )
    assert said(file).startswith(f"{file}:7: s.memory[2] is outside the memory of 2: declare @policy(memory=3")
    by_index = "\n@policy(memory=2)\ndef mine(s, e, p):\n    i = 1 + e.bid_ticks\n    s.memory[i] = 1.0\n"
    by_index += "    return nothing()\n"
    file = written(tmp_path, by_index, "memo2.py")
    assert said(file).startswith(f"{file}:8: ")
    assert "(memory=N declares more)" in said(file)


def test_a_leg_that_is_not_traded_is_out_of_bounds_and_one_that_is_not(tmp_path: Path) -> None:
    pair = "\n@policy\ndef pair(s, e, p):\n    if e.bids[1] - e.asks[0] > s.positions[1]:\n        return nothing()\n"
    file = written(tmp_path, pair + "    return nothing()\n", "pair.py")
    with pytest.raises(PolicyError, match=r"pair\.py:7: .* one for each stream of policy\.trade"):
        compile_policy(load_policy(f"{file}:pair"))
    compile_policy(load_policy(f"{file}:pair"), legs=2)


def test_memory_and_quiet_exclude_each_other(tmp_path: Path) -> None:
    text = (
        "def quiet(s, p):\n    return -1.0, 1.0\n"
        "@policy(signal='forecast_bp', quiet=quiet, memory=1)\ndef mine(s, e, p):\n    return nothing()\n"
    )
    file = written(tmp_path, text, "both.py")
    with pytest.raises(PolicyError, match="none of its events can be skipped"):
        load_policy(f"{file}:mine")


def test_an_index_that_runs_out_later_is_caught(tmp_path: Path) -> None:
    text = "\n@policy(memory=2)\ndef mine(s, e, p):\n    s.memory[e.bid_lots] += 1.0\n    return nothing()\n"
    file = written(tmp_path, text.replace("e.bid_lots", "int(e.bid_lots == 9) * 5"), "later.py")
    compiled = compile_policy(load_policy(f"{file}:mine"))
    s, p = standing(memory_size=2), compiled.params_of(compiled.row()[None], 0)
    compiled.policy(s, event(bid_lots=1), p)
    with pytest.raises(IndexError):
        compiled.policy(s, event(bid_lots=9), p)


def test_a_promise_of_quiet_that_does_not_hold(tmp_path: Path) -> None:
    text = """
def quiet(s, p):
    if s.in_flight > 0:
        return -math.inf, math.inf
    return -2.0 * p.edge_bp, 2.0 * p.edge_bp

@policy(signal="forecast_bp", quiet=quiet, edge_bp=Parameter(1.0, low=0.0, high=9.0))
def mine(s, e, p):
    if s.in_flight > 0:
        return nothing()
    return take(BUY, 1) if e.forecast_bp > p.edge_bp else nothing()
"""
    file = written(tmp_path, text, "promise.py")
    assert "quiet promises that mine does nothing for -2.0 <= forecast_bp <= 2.0" in said(file)
    text = text.replace("2.0 * ", "").replace("if s.in_flight > 0:\n        return -math.inf, math.inf", "pass")
    file = written(tmp_path, text, "flight.py")
    assert "while s.in_flight > 0" in said(file)


def test_a_promise_that_fails_at_other_parameters_than_the_defaults(tmp_path: Path) -> None:
    """With the default the band is what it says; from lots=4 on, within the range, it is twice as wide."""
    text = """
def quiet(s, p):
    if s.in_flight > 0:
        return -math.inf, math.inf
    return (-1.0, 1.0) if p.lots < 4 else (-2.0, 2.0)

@policy(signal="forecast_bp", quiet=quiet, lots=Parameter(1, low=1, high=9), edge_bp=Parameter(1.0))
def mine(s, e, p):
    if s.in_flight > 0:
        return nothing()
    return take(BUY, p.lots) if e.forecast_bp > p.edge_bp else nothing()
"""
    text = said(written(tmp_path, text, "elsewhere.py"))
    assert "quiet promises that mine does nothing for -2.0 <= forecast_bp <= 2.0" in text
    assert "lots=9, edge_bp=1, but at 2.0 it answers" in text


@pytest.mark.parametrize("helped", [False, True])
def test_quiet_may_not_read_what_moves_while_events_are_skipped(tmp_path: Path, helped: bool) -> None:
    lost = "lost(s)" if helped else "s.equity < 0.0"
    text = f"""
def lost(s):
    return s.equity < 0.0

def quiet(s, p):
    if s.in_flight > 0 or {lost}:
        return -math.inf, math.inf
    return -1.0, 1.0

@policy(signal="forecast_bp", quiet=quiet)
def mine(s, e, p):
    if s.in_flight > 0 or lost(s):
        return nothing()
    return take(BUY, 1) if e.forecast_bp > 1.0 else nothing()
"""
    file = written(tmp_path, text, f"moves_{helped}.py")
    assert said(file).startswith(f"{file}:{6 if helped else 9}: quiet reads s.equity: it moves with every quote")
    compile_policy(load_policy(f"{written(tmp_path, text.replace('s.equity < 0.0', 's.fills > 9'))}:mine"))


DECLARATIONS = {
    "@policy\ndef mine(s, e):": ("takes (s, e)", "def mine(s, e, p)"),
    "@policy(edge_bp=1.0)\ndef mine(s, e, p):": ("edge_bp=1.0 is not a Parameter", "edge_bp=Parameter(1.0)"),
    "@policy(edge_bp=Parameter(30.0, low=0.0, high=20.0))\ndef mine(s, e, p):": ("more than high=20.0",),
    "@policy(edge_bp=Parameter('1'))\ndef mine(s, e, p):": ("must be a float",),
    "@policy(n=Parameter(1, low=0.5))\ndef mine(s, e, p):": ("must be whole",),
    "@policy(n=Parameter(1.0, log=True))\ndef mine(s, e, p):": ("log=True needs a range",),
    "@policy(n=Parameter(True, low=0))\ndef mine(s, e, p):": ("has no range",),
    "@policy(memory=-1)\ndef mine(s, e, p):": ("memory=-1",),
    "@policy(inputs='x')\ndef mine(s, e, p):": ("write a list of names",),
    "@policy(signal='x')\ndef mine(s, e, p):": ("belong together",),
}


@pytest.mark.parametrize("number", range(len(DECLARATIONS)))
def test_wrong_declarations(tmp_path: Path, number: int) -> None:
    text, words = list(DECLARATIONS.items())[number]
    text = said(written(tmp_path, text + "\n    return nothing()\n", f"declared_{number}.py"))
    for word in words:
        assert word in text
    assert f"declared_{number}.py:" in text, "says the file"


def test_signals_answer_one_number(tmp_path: Path) -> None:
    for number, (body, words) in enumerate(
        {
            "return e.mid_ticks, 1.0": "one number",
            "return None": "math.nan",
            "x = 1.0": "math.nan for no answer",
            "return s.position": "a signal knows no such thing",
            "return take(BUY, 1)": "answers",
        }.items()
    ):
        file = written(tmp_path, f"\n@signal\ndef mine(s, e, p):\n    {body}\n", f"answer_{number}.py")
        with pytest.raises(PolicyError, match=words) as caught:
            make_pass(load_signal(f"{file}:mine"), ())
        assert f"answer_{number}.py:" in str(caught.value)


def test_values_of_parameters_are_checked(tmp_path: Path) -> None:
    threshold = load_policy("threshold")
    for given, words in (
        ({"enter": 1.0}, "did you mean enter_bp"),
        ({"enter_bp": -1.0}, "0.0 to 1000.0 bp"),
        ({"lots": 1.5}, "not a whole number"),
        ({"lots": "many"}, "not a number"),
        ({"enter_bp": True}, "not a number"),
        ({"enter_bp": float("nan")}, "not a number"),
        ({"trde": 1}, "no parameter trde"),
    ):
        with pytest.raises(ConfigError, match=words):
            threshold.values(given)
    assert threshold.values({"lots": 2.0})["lots"] == 2


def test_a_policy_from_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = "\n@policy\ndef first(s, e, p):\n    return nothing()\n\ndef plain(s, e, p):\n    return nothing()\n"
    written(tmp_path, text + "\n@signal\ndef sig(s, e, p):\n    return 1.0\n", "from_here_a.py")
    (tmp_path / "from_here_b.py").write_text("import math\nx = 1 / 0\n")
    (tmp_path / "from_here_c.py").write_text("def f(:\n")
    (tmp_path / "from_here_d.py").write_text("import not_installed_anywhere\n")
    assert load_policy("from_here_a:first").name == "first"
    assert load_policy("from_here_a.py:first").name == "first"
    for name, words in (
        ("fron_here_a:first", "there is no module fron_here_a, did you mean from_here_a"),
        ("from_here_a:frist", "did you mean first"),
        ("from_here_a:plain", "put @policy"),
        ("from_here_a:sig", "is a signal"),
        ("from_here_a:math", "is a module"),
        ("from_here_b:first", "from_here_b.py:2: ZeroDivisionError"),
        ("from_here_c:first", "from_here_c.py:1: "),
        ("from_here_d:first", "from_here_d.py:1: ModuleNotFoundError"),
        ("none.py:first", "there is no file"),
        ("from_here_a", "is not built in"),
        ("from_here_a:", "not complete"),
        ("treshold", "did you mean threshold"),
    ):
        with pytest.raises(PolicyError) as caught:
            load_policy(name)
        assert words in str(caught.value)
