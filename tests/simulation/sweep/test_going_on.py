"""What the rows of a sweep depend on: with anything of it changed, an earlier part of another sweep is refused."""

from __future__ import annotations

import importlib
import json
import linecache
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from schwabot.api import _settings
from schwabot.errors import ConfigError
from schwabot.modes.sweep_slices import Slice, Slices
from schwabot.modes.sweeping import OpenMarkets, identity
from schwabot.records.instrument import Instrument
from schwabot.run import main
from schwabot.signals.compiling import compile_policy
from schwabot.signals.loading import load_policy
from schwabot.simulation.sweep.parts import IDENTITY, Parts
from schwabot.simulation.sweep.ranges import SIMULATION, Declared, open_space
from schwabot.simulation.sweep.shards import MarketFacts
from schwabot.simulation.sweep.table import Leg
from tests.signals.making import HEAD

FACTS = MarketFacts("abc", 0, 10**12, dict.fromkeys(range(3), (1000, 10**11)), (Leg("v:BTC/USDT", 0.01, "USDT"),))
MINE = """
import helping

@policy(edge=Parameter(1.0, low=0.0, high=9.0))
def mine(s, e, p):
    return take(BUY, 1) if helping.far(e.deviation_bp) > p.edge else nothing()
"""
HELPING = "from deeper import LIFT\ndef far(x):\n    return x + LIFT\n"


@dataclass
class Run:
    """What a sweep is begun with.

    Attributes:
        tree: settings, beside those of every one.
        facts: of the markets, by name and setting of the graph.
        instrument: that is traded.
        files: of the user's, and the funding rates.
    """

    tree: dict[str, Any] = field(default_factory=dict)
    facts: dict[tuple[str, int], MarketFacts] = field(default_factory=lambda: {("whole", 0): FACTS})
    instrument: Instrument = field(default_factory=lambda: Instrument("v:BTC/USDT", 0.01, 0.001))
    files: dict[str, str] = field(
        default_factory=lambda: {
            "mine.py": HEAD + MINE, "helping.py": HELPING, "deeper.py": "LIFT = 1.0\n", "rates.csv": "1",
        }
    )  # fmt: skip

    def written(self, folder: Path) -> None:
        """The files, and nothing of them in memory."""
        for name, text in self.files.items():
            (folder / name).write_text(text)
        for name in ("mine", "helping", "deeper"):
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        linecache.clearcache()

    def begun(self, folder: Path) -> dict[str, Any]:
        """As a new process begins it, in that folder."""
        self.written(folder)
        tree: dict[str, Any] = {"mode": "sweep", "policy": {"name": "mine:mine"}, "sweep": {"folds": 2}}
        settings = _settings({**tree, "simulation": {"funding": "rates.csv"}, **self.tree})
        space = open_space({"edge": [1, 2]}, (Declared("policy.edge", "float", 0.0, 9.0), *SIMULATION))
        opened = OpenMarkets(self.facts, Slices((Slice("eth"), Slice())), settings, (self.instrument,))
        told = identity(settings, compile_policy(load_policy("mine:mine")), space, opened)
        Parts(folder / "run", told, settings.sweep.resume)
        return told


@pytest.fixture(autouse=True)
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)


def test_the_same_goes_on(tmp_path: Path) -> None:
    first = Run().begun(tmp_path)
    assert Run().begun(tmp_path) == first
    others = dict(Run().files)
    others["helping.py"] = "# a word\n" + others["helping.py"] + "UNUSED = 1\n"
    assert Run(files=others).begun(tmp_path) == first


def file(name: str, old: str, new: str) -> Callable[[], Run]:
    files = dict(Run().files)
    assert files[name].count(old) == 1
    return lambda: Run(files=files | {name: files[name].replace(old, new)})


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (file("mine.py", "> p.edge", ">= p.edge"), "the policy's source"),
        (file("helping.py", "x + LIFT", "x - LIFT"), "the policy's source"),  # a helper in another file
        (file("deeper.py", "1.0", "1.5"), "the policy's source"),  # a number two files away
        (file("rates.csv", "1", "2"), "settings.funding was "),
        (lambda: Run(facts={("whole", 0): replace(FACTS, digest="abd")}), "data.whole, graph 1 (other rows)"),
        (
            lambda: Run(facts={("whole", 0): FACTS, ("whole", 1): replace(FACTS, digest="abd")}),
            "data.whole, graph 2.rows was not there, is 3000",
        ),
        (lambda: Run(facts={("eth", 0): FACTS}), "data.eth, graph 1"),
        (lambda: Run(instrument=Instrument("v:BTC/USDT", 0.01, 0.001, taker_fee_bp=1.0)), "settings.instruments was"),
        (lambda: Run(tree={"simulation": {"funding": "rates.csv", "entry_ms": 6.0}}), "entry_ms was 5.0, is 6.0"),
        (
            lambda: Run(tree={"policy": {"name": "mine:mine", "parameters": {"edge": 2.0}}}),
            "policy.parameters.edge was",
        ),
    ],
)
def test_another_one_is_refused(tmp_path: Path, other: Callable[[], Run], said: str) -> None:
    Run().begun(tmp_path)
    with pytest.raises(ConfigError) as caught:
        other().begun(tmp_path)
    assert said in str(caught.value)
    assert "holds part of another sweep" in str(caught.value)


def test_what_computed_it_is_told(tmp_path: Path) -> None:
    told = Run().begun(tmp_path)["settings"]["versions"]
    assert told["python"] == platform.python_version()
    assert {name: told[name] for name in ("numpy", "numba", "llvmlite")} == {
        name: version(name) for name in ("numpy", "numba", "llvmlite")
    }
    there = tmp_path / "run" / "sweep_parts" / IDENTITY
    before = json.loads(there.read_text())
    for name in ("numba", "sources"):  # as another version would have left it
        changed = json.loads(json.dumps(before))
        changed["settings"]["versions"][name] = "0.1"
        there.write_text(json.dumps(changed))
        with pytest.raises(ConfigError, match=rf"settings.versions.{name} was 0.1, is {told[name]}"):
            Run().begun(tmp_path)


def test_a_helper_in_another_file_that_changed_between_two_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = ["mode=sweep", "policy=mine:mine", "source.events=2000", "sweep.folds=2", "sweep.sets=8"]
    run += ["sinks.tensorboard=false", "sinks.figures=false", "sinks.progress=false", "hydra.run.dir=run"]
    over = ["sweep.over={edge: [0.1, 2]}", "sweep.surface_ms=[]"]
    Run().written(tmp_path)
    main([*run, *over])
    there = {one: one.read_bytes() for one in Path("run").rglob("*") if one.is_file()}
    file("helping.py", "x + LIFT", "x - LIFT")().written(tmp_path)
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main([*run, *over])
    assert ended.value.code == 2
    assert "holds part of another sweep: the policy's source" in capsys.readouterr().err
    assert {one: one.read_bytes() for one in Path("run").rglob("*") if one.is_file()} == there
    Run().written(tmp_path)
    main([*run, *over])
    assert json.loads(Path("run/summary.json").read_text())["sweep"]["recalled"] == 8
