"""A sweep from Python gives the rows of mode=sweep, and says what it can't do."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest

import schwabot
from schwabot.errors import ConfigError
from schwabot.run import main

OVER = {"enter_bp": {"low": 0.02, "high": 0.3, "log": True}, "modules.tensor_harness.tau_phase_s": {"choices": [2, 10]}}
OPTIONS = {"folds": 4, "min_trades": 2, "batch": 8}


def test_the_rows_of_the_command(tmp_path: Path) -> None:
    over = "{enter_bp: {low: 0.02, high: 0.3, log: true}, modules.tensor_harness.tau_phase_s: {choices: [2, 10]}}"
    main(
        [
            "mode=sweep",
            "source.events=6000",
            f"sweep.over={over}",
            "sweep.sets=12",
            "policy.lots=2",
            "sweep.folds=4",
            "sweep.min_trades=2",
            "sweep.batch=8",
            "sinks.progress=false",
            "sinks.tensorboard=false",
            "sinks.console=false",
            f"hydra.run.dir={tmp_path}",
        ]
    )
    # a source that is read twice, as its graph has two settings
    store = tmp_path / "store"
    main(
        [
            "mode=convert",
            "source.events=6000",
            f"convert.out={store}",
            "sinks.progress=false",
            "sinks.console=false",
            f"hydra.run.dir={tmp_path / 'convert'}",
        ]
    )
    found = schwabot.sweep(store, "threshold", OVER, sets=12, options=OPTIONS, lots=2)
    assert found.table.equals(pq.read_table(tmp_path / "sweep.parquet"))
    assert found.verdict.splitlines()[0] == found.summary["reasons"][0]
    assert found.summary["policy"] == "threshold"
    assert repr(found).startswith("Sweep(threshold: 12 sets; ")
    assert found.best[0]["set"] == found.summary["best"]["set"]
    page = found.report(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "Does the best set look like luck?" in page
    with pytest.raises(ConfigError, match="is there and no page"):
        found.report(tmp_path / "sweep.parquet")
    with pytest.raises(ConfigError, match="there is no folder"):
        found.report(tmp_path / "nowhere" / "page.html")


def test_what_is_refused() -> None:
    feed = schwabot.load("synthetic", events=2000)
    with pytest.raises(ConfigError, match="the source is read 2 times, and a feed is read once"):
        schwabot.sweep(feed, "threshold", OVER, sets=4)
    with pytest.raises(ConfigError, match="each needs a store and mode=sweep"):
        schwabot.sweep("synthetic", "threshold", options={"each": ["day"]})
    with pytest.raises(ConfigError, match=r"there is no enter_bbp, did you mean policy\.enter_bp"):
        schwabot.sweep("synthetic", "threshold", {"enter_bbp": [1, 2]})
    with pytest.raises(ConfigError, match="enter_bp is set and searched"):
        schwabot.sweep("synthetic", "threshold", {"enter_bp": [0.1, 0.2]}, sets=4, enter_bp=0.1)
    with pytest.raises(ConfigError, match="trade='a:B/C': use a list"):
        schwabot.sweep("synthetic", "threshold", trade="a:B/C")
    with pytest.raises(ConfigError, match="sets=0 is out of range"):
        schwabot.sweep("synthetic", "threshold", sets=0)
