"""mode=sweep as it is typed: files and names, going on, both kernels, several streams, nothing to find, bad input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from schwabot.run import main
from schwabot.server.sweep_table import read_sweep

EVENTS = 6000
RUN = ["mode=sweep", f"source.events={EVENTS}", "sweep.folds=4", "sweep.min_trades=2", "sinks.progress=false"]
OVER = "sweep.over={enter_bp: {low: 0.02, high: 0.3, log: true}, simulation.taker_fee_bp: {choices: [0, 0.5]}}"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def summary_of(folder: str) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(Path(folder, "summary.json").read_text())
    return summary


def test_what_a_sweep_leaves(capsys: pytest.CaptureFixture[str]) -> None:
    main([*RUN, "policy=threshold", OVER, "sweep.sets=48", "sweep.batch=16", "hydra.run.dir=run"])
    said = capsys.readouterr().out
    found = summary_of("run")
    sweep = found["sweep"]
    assert (found["mode"], found["interrupted"], found["events"]) == ("sweep", False, EVENTS)
    assert {"sets", "param_events_per_s", "unskipped_per_s", "trades_median", "kernel_s", "best"} <= set(sweep)
    assert (sweep["sets"], sweep["events"], sweep["skips"]) == (48, EVENTS, True)
    assert sweep["best"]["parameters"]["simulation.taker_fee_bp"] == 0  # nobody earns by paying more
    assert sweep["verdict"] in ("loss", "luck", "holds", "unclear")
    assert sweep["reasons"][0] in said
    table = pq.read_table("run/sweep.parquet")
    assert table.num_rows == 48 * 5
    best = table.filter((pc.field("set") == sweep["best"]["set"]) & (pc.field("fold") < 4))
    assert pc.sum(best["net"]).as_py() == pytest.approx(sweep["best"]["searched"]["net"])
    assert pc.sum(best["trades"]).as_py() == sweep["best"]["searched"]["trades"]
    pooled = read_sweep(Path("run/sweep.parquet"), Path("run/config.yaml").read_bytes())  # as the dashboard tells it
    (row,) = pooled.rows("set", 0, 1, np.array([sweep["best"]["set"]]))
    for part, prefix in (("searched", ""), ("held_out", "held_out_")):
        for name in ("net", "net_bp", "trades", "sharpe", "fees", "turnover", "slippage_bp", "orders"):
            assert row[f"{prefix}{name}"] == pytest.approx(sweep["best"][part][name], nan_ok=True), (part, name)
    assert "INFO    end: sweep is done: " in Path("run/run.log").read_text(encoding="utf-8")
    assert set(table["simulation.taker_fee_bp"].to_pylist()) == {0.0, 0.5}
    paid = table.filter(pc.field("simulation.taker_fee_bp") == 0.5)
    fees = pc.divide(pc.sum(paid["fees"]), pc.sum(paid["turnover"])).as_py()
    assert fees == pytest.approx(0.5e-4, rel=1e-3)  # rounded against us
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert "Latency and threshold" in page
    assert len(list(Path("run").glob("events.out.tfevents.*"))) == 1
    assert len(list(Path("run/sweep_sets").iterdir())) == min(20, sweep["candidates"])

    main([*RUN, "policy=threshold", OVER, "sweep.sets=80", "sweep.batch=16", "hydra.run.dir=run"])
    more = summary_of("run")["sweep"]
    assert (more["sets"], more["recalled"], more["ran"]) == (80, 48, 32)
    longer = pq.read_table("run/sweep.parquet")
    assert longer.slice(0, 48 * 5).equals(table)
    with pytest.raises(SystemExit) as ended:
        main([*RUN, "policy=threshold", OVER, "sweep.sets=80", "simulation.entry_ms=6", "hydra.run.dir=run"])
    assert ended.value.code == 2
    assert "settings.simulation.entry_ms was 5.0, is 6.0" in capsys.readouterr().err


def test_a_sweep_that_is_refused_leaves_what_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    main([*RUN, "policy=threshold", OVER, "sweep.sets=8", "sinks.tensorboard=false", "hydra.run.dir=run"])
    there = {file: file.read_bytes() for file in Path("run").rglob("*") if file.is_file()}
    for wrong in ("policy=nope", "sweep.over={enter_bp: [0.1, 0.2]}", "simulation.funding=none.csv"):
        with pytest.raises(SystemExit):
            main([*RUN, "policy=threshold", wrong, "sweep.sets=8", "sinks.tensorboard=false", "hydra.run.dir=run"])
    for wrong in ("policy=nope", "simulation.funding=none.csv", "policy.trade=[no:BTC/USDT]"):
        with pytest.raises(SystemExit):
            main(["mode=backtest", "source.events=6000", wrong, "hydra.run.dir=run"])
    assert {file: file.read_bytes() for file in Path("run").rglob("*") if file.is_file()} == there
    with pytest.raises(SystemExit):
        main([*RUN, "policy=threshold", OVER, "policy.enter_bp=0.2", "hydra.run.dir=run"])
    assert "policy.enter_bp is set and searched" in capsys.readouterr().err


def test_both_kernels_give_the_same_rows() -> None:
    Path("mine.py").write_text(
        "from schwabot.signals.builtin.threshold import threshold as built_in\n"
        "from schwabot.signals.declaring import Policy\n"
        "same = Policy(built_in.function, {one.name: one for one in built_in.parameters}, built_in.memory)\n"
    )
    for policy, folder in (("threshold", "skipping"), ("mine.py:same", "general")):
        main([*RUN, f"policy={policy}", OVER, "sweep.sets=20", "sinks.tensorboard=false", f"hydra.run.dir={folder}"])
    assert (summary_of("skipping")["sweep"]["skips"], summary_of("general")["sweep"]["skips"]) == (True, False)
    tables = [pq.read_table(f"{folder}/sweep.parquet") for folder in ("skipping", "general")]
    assert pc.sum(tables[0]["trades"]).as_py() > 100
    assert tables[0].equals(tables[1])


def test_settings_of_the_graph_and_several_streams() -> None:
    over = "sweep.over={enter_bp: [0.02, 0.2], modules.tensor_harness.tau_phase_s: {choices: [2.0, 10.0]}}"
    streams = "policy.trade=synthetic_a:BTC/USDT,synthetic_d:BTC/USD:BTC"
    main([*RUN, "policy=threshold", streams, over, "sweep.sets=12", "sweep.method=grid", "hydra.run.dir=run"])
    table = pq.read_table("run/sweep.parquet")
    assert table.num_rows == 12 * 5 * 2
    assert set(table["stream"].to_pylist()) == {"synthetic_a:BTC/USDT", "synthetic_d:BTC/USD:BTC"}
    by_graph = [table.filter(pc.field("graph") == number) for number in (0, 1)]
    assert [set(one["modules.tensor_harness.tau_phase_s"].to_pylist()) for one in by_graph] == [{2.0}, {10.0}]
    traded = table.filter(pc.field("stream") == "synthetic_d:BTC/USD:BTC")
    assert pc.sum(traded["trades"]).as_py() > 0
    assert pc.max(traded["turnover"]).as_py() > 10.0  # a contract that settles in BTC is told in USD
    assert any("USDT and USD are added up one for one" in note for note in summary_of("run")["notes"])
    assert not by_graph[0]["net"].equals(by_graph[1]["net"])


def test_a_market_in_which_nothing_trades(capsys: pytest.CaptureFixture[str]) -> None:
    main([*RUN, "policy=threshold", "sweep.over={enter_bp: [90, 100]}", "sweep.sets=8", "hydra.run.dir=run"])
    sweep = summary_of("run")["sweep"]
    assert (sweep["best"], sweep["trades_median"], sweep["verdict"]) == (None, 0.0, "nothing")
    assert any("no set ever asked for an order" in note for note in summary_of("run")["notes"])
    assert "No set traded" in capsys.readouterr().out
    assert "No set traded" in Path("run/report.html").read_text(encoding="utf-8")


def test_data_shorter_than_the_latency() -> None:
    main([*RUN, "policy=threshold", OVER, "sweep.sets=8", "simulation.entry_ms=600000", "hydra.run.dir=run"])
    found = summary_of("run")
    assert found["sweep"]["verdict"] == "nothing"
    assert any("nothing can come back in it" in note for note in found["notes"])


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("sweep.over={enter_bpp: [1, 2]}", "there is no enter_bpp, did you mean policy.enter_bp?"),
        ("sweep.over={enter_bp: []}", "is empty: write [LOW, HIGH]"),
        ("sweep.over={enter_bp: [1, 5000]}", "is out of what policy.enter_bp allows"),
        ("policy.trade=nowhere:BTC/USDT", "policy.trade: nowhere:BTC/USDT is not in the source"),
        ("sweep.sets=0", "sweep.sets=0 is out of range"),
        ("source.events=20", "use more data or smaller sweep.folds"),
    ],
)
def test_what_is_refused(wrong: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*RUN, "policy=threshold", wrong, "hydra.run.dir=run"])
    assert said in capsys.readouterr().err


def test_a_policy_that_promised_only_to_take_and_posts_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("posting.py").write_text(
        "from schwabot.signals import BUY, nothing, policy, post\n"
        "def quiet(s, p):\n"
        "    return (-1e9, 1e9) if s.in_flight > 0 else (-0.01, 0.01)\n"
        "@policy(signal='forecast_bp', quiet=quiet)\n"
        "def posts(s, e, p):\n"
        "    if s.in_flight == 0 and (e.forecast_bp > 0.01 or e.forecast_bp < -0.01):\n"
        "        return post(BUY, 1, e.bid_ticks)\n"
        "    return nothing()\n"
    )
    text = Path("posting.py").read_text().replace("(-1e9, 1e9)", "(-math.inf, math.inf)")
    Path("posting.py").write_text("import math\n" + text)
    with pytest.raises(SystemExit):
        main([*RUN, "policy=posting:posts", "sweep.sets=2", "sweep.over={simulation.entry_ms: [1, 2]}"])
    said = capsys.readouterr().err
    assert "posting.py" in said
    assert "may only take; leave signal= and quiet= out" in said
