"""mode=backtest as it is typed: its files, numbers that add up, one's own policy, nothing to trade, bad input."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from schwabot.modes import opening
from schwabot.run import main
from schwabot_kernels import kept

RUN = ["mode=backtest", "source.events=8000", "sinks.progress=false", "sinks.tensorboard=false", "sinks.signals=off"]
PERPETUAL, INVERSE = "synthetic_b:BTC/USDT:USDT", "synthetic_d:BTC/USD:BTC"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "outputs.md"


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def summary_of(folder: str) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(Path(folder, "summary.json").read_text())
    return summary


def names_in(tree: dict[str, Any]) -> set[str]:
    found = {name for name in tree if ":" not in name}
    return found.union(*(names_in(value) for value in tree.values() if isinstance(value, dict)))


def test_files_and_numbers_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    main([*RUN, f"policy.trade=[{PERPETUAL},{INVERSE}]", "policy.enter_bp=0.05", "hydra.run.dir=run"])
    said = capsys.readouterr().out
    found = summary_of("run")["backtest"]
    tables = {name: pq.read_table(f"run/{name}.parquet") for name in ("fills", "shortfall", "trades", "equity")}
    fills, orders, trades, equity = (tables[name].to_pylist() for name in tables)
    assert (found["policy"], found["trade"]) == ("threshold", [PERPETUAL, INVERSE])
    assert len(fills) == found["fills"] > 20
    assert len(orders) == found["orders"]
    for stream in (PERPETUAL, INVERSE):
        leg = found["legs"][stream]
        own = [fill for fill in fills if fill["stream"] == stream]
        assert sum(fill["fee"] for fill in own) == pytest.approx(leg["fees"])
        assert own[-1]["position"] == pytest.approx(leg["position"])
        # What the fills themselves say, in plain arithmetic: money in less money out, the rest at the last mid.
        last = [row for row in equity if row["stream"] == stream][-1]
        signs = [1.0 if fill["side"] == "buy" else -1.0 for fill in own]
        if stream == INVERSE:  # 100 USD a contract, settled in BTC
            flows = [sign * 100.0 * fill["qty"] / fill["price"] for sign, fill in zip(signs, own, strict=True)]
            net_btc = sum(flows) - 100.0 * leg["position"] / last["mid"] - leg["fees"]
            assert net_btc == pytest.approx(leg["net"], abs=1e-6 * len(own) * 100.0 / last["mid"])
            assert last["equity"] == pytest.approx(leg["net"] * last["mid"])
        else:
            flows = [-sign * fill["qty"] * fill["price"] for sign, fill in zip(signs, own, strict=True)]
            assert sum(flows) + leg["position"] * last["mid"] - leg["fees"] == pytest.approx(leg["net"], abs=1e-6)
            assert last["equity"] == pytest.approx(leg["net"])
        trips = [trade for trade in trades if trade["stream"] == stream]
        assert sum(trade["pnl"] for trade in trips) == pytest.approx(leg["net"], rel=1e-6, abs=1e-9)
        assert sum(trade["fees"] for trade in trips) == pytest.approx(leg["fees"], rel=1e-6)
    filled = [order for order in orders if order["filled_qty"] > 0]
    parts = ("delay_bp", "realised_bp", "missed_bp", "fees_bp")
    for order in filled:
        assert sum(order[part] for part in parts) == pytest.approx(order["total_bp"], abs=1e-6)
        assert order["ts_decision_ns"] < order["ts_arrival_ns"] < order["ts_end_ns"]
        assert order["ts_arrival_ns"] - order["ts_decision_ns"] == 5_000_000
    assert np.mean([order["fees_bp"] for order in filled]) == pytest.approx(5.0, rel=2e-3)  # taker fee of both
    page = Path("run/report.html").read_text(encoding="utf-8")
    assert re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=", page) == []
    for title in ("Equity and drawdown", "By lane", "By hour", "Lag cost per order", "What more latency would do"):
        assert f"<h2>{title}</h2>" in page
    assert "report:" in said
    described = set(re.split(r"[^\w]+", " ".join(re.findall(r"`([^`\n]+)`", PAGE.read_text(encoding="utf-8")))))
    parameters = {"enter_bp", "exit_bp", "lots", "max_lots"}
    assert sorted(names_in(found) - described - parameters) == []
    for table in tables.values():
        assert [name for name in table.column_names if name not in described] == []


def test_added_latency_of_the_report_is_what_a_run_with_it_gives() -> None:
    main([*RUN, "policy.enter_bp=0.05", "simulation.added_ms=[0,15]", "hydra.run.dir=five"])
    main([*RUN, "policy.enter_bp=0.05", "simulation.entry_ms=20", "sinks.figures=false", "hydra.run.dir=twenty"])
    page = Path("five/report.html").read_text(encoding="utf-8")
    nets = [summary_of(folder)["backtest"]["net"] for folder in ("five", "twenty")]
    assert nets[0] != nets[1]
    for net in nets:
        assert f"<td>{net:,.6g}</td>" in page
    assert not Path("twenty/report.html").exists()


def test_a_policy_of_ones_own_from_the_current_folder() -> None:
    Path("mine.py").write_text(
        "from schwabot.signals import BUY, SELL, Parameter, nothing, policy, take\n"
        "@policy(lots=Parameter(2, low=1, high=10))\n"
        "def hold(s, e, p):\n"
        "    if s.position == 0 and s.in_flight == 0 and s.fills == 0:\n"
        "        return take(BUY, p.lots)\n"
        "    return nothing()\n"
    )
    main([*RUN, "policy=mine:hold", "policy.lots=3", "hydra.run.dir=run"])
    (trade,) = pq.read_table("run/trades.parquet").to_pylist()
    assert (trade["side"], trade["qty"], trade["closed"]) == ("long", pytest.approx(0.003), False)
    main([*RUN, "policy=mine.py:hold", "simulation.max_notional=100", "hydra.run.dir=small"])
    found = summary_of("small")["backtest"]
    assert (found["fills"], found["orders"]) == (0, 0)
    assert found["refused"] > 0


def test_compiling_a_policy_is_said_and_counted_outside_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    main([*RUN, "hydra.run.dir=graph"])  # the graph is compiled
    monkeypatch.setattr(kept, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(opening, "COMPILING_S", 0.2)
    Path("new.py").write_text(
        "from schwabot.signals import nothing, policy\n@policy\ndef idle(s, e, p):\n    return nothing()\n"
    )
    seconds = []
    for folder, said in (("cold", True), ("warm", False)):
        capsys.readouterr()
        main([*RUN, "policy=new:idle", f"hydra.run.dir={folder}"])
        assert ("compiling the kernels that this run needs" in capsys.readouterr().err) is said
        seconds.append(summary_of(folder)["compile_s"])
    assert seconds[0] > seconds[1] + 1.0
    assert summary_of("cold")["loop_s"] < seconds[0]


def test_nothing_to_trade_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    main([*RUN, "policy.enter_bp=500", "hydra.run.dir=run"])
    assert "no trades: the policy never asked for an order" in capsys.readouterr().err
    assert summary_of("run")["backtest"]["net"] == 0.0
    assert pq.read_table("run/fills.parquet").num_rows == pq.read_table("run/trades.parquet").num_rows == 0
    main([*RUN, "source.events=20", "policy.enter_bp=0", "simulation.entry_ms=60000", "hydra.run.dir=short"])
    assert "nothing could come back" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["policy=treshold"], "did you mean threshold?"),
        (["policy.enter=1"], "policy threshold has no parameter enter, did you mean enter_bp?"),
        (["policy.enter_bp=-1"], "policy.enter_bp=-1 is out of range: use 0.0 to 1000.0 bp"),
        (["policy.trade=[nowhere:BTC/USDT]"], "nowhere:BTC/USDT is not in the source"),
        (["simulation.entry_ms=-1"], "simulation.entry_ms=-1.0 is out of range"),
        (["simulation.queue=fifo"], "use risk_averse, proportional"),
        (["simulation.latency=table"], "entry_quantiles_ms and simulation.latency=table belong together"),
        (["simulation.max_notional=1"], "is less than one lot of synthetic_b:BTC/USDT:USDT"),
        (["simulation.funding=nowhere.csv"], "simulation.funding=nowhere.csv: there is no such file"),
        (["simulation.taker_fee_bp=0.00001"], "counted in 0.001 bp"),
        (["policy=lead_lag"], "policy.leader"),
    ],
)
def test_bad_input(given: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*RUN, *given, "hydra.run.dir=run"])
    assert ended.value.code in (1, 2)
    assert words in capsys.readouterr().err


def test_a_funding_file_with_a_gap_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("gap.csv").write_text(f"time,stream,rate\n1700000005000000000,{PERPETUAL},0.001\n,{PERPETUAL},0.001\n")
    with pytest.raises(SystemExit):
        main([*RUN, "simulation.funding=gap.csv", "hydra.run.dir=run"])
    assert "gap.csv:3: time is missing in 1 rows" in capsys.readouterr().err


def test_spot_that_nobody_held_is_noted(capsys: pytest.CaptureFixture[str]) -> None:
    Path("short.py").write_text(
        "from schwabot.signals import SELL, nothing, policy, take\n"
        "@policy\ndef sells(s, e, p):\n"
        "    return take(SELL, 3) if s.position == 0 and s.in_flight == 0 else nothing()\n"
    )
    spot = "synthetic_a:BTC/USDT"
    for stream, noted in ((spot, True), (PERPETUAL, False)):
        main([*RUN, "policy=short:sells", f"policy.trade=[{stream}]", f"hydra.run.dir=run_{noted}"])
        said = capsys.readouterr().err
        assert ("note: spot sold short: assumed borrowed at no cost (" in said) == noted
        least = min(row["position"] for row in pq.read_table(f"run_{noted}/fills.parquet").to_pylist())
        assert least < 0
        assert (f"{stream} down to {least:.6g} BTC" in said) == noted


def test_funding_is_paid_by_the_holder() -> None:
    start_ns = 1_700_000_000_000_000_000  # a module of its own name: Python keeps what it imported before
    lines = [f"{start_ns + second * 1_000_000_000},{PERPETUAL},0.001" for second in (5, 6)]
    Path("funding.csv").write_text("\n".join(["time,stream,rate", *lines]) + "\n")
    Path("funded.py").write_text(
        "from schwabot.signals import BUY, nothing, policy, take\n"
        "@policy\n"
        "def hold(s, e, p):\n"
        "    return take(BUY, 1) if s.last_order_ns < 0 else nothing()\n"
    )
    main([*RUN, "policy=funded:hold", "simulation.funding=funding.csv", "hydra.run.dir=run"])
    leg = summary_of("run")["backtest"]["legs"][PERPETUAL]
    assert leg["position"] == pytest.approx(0.001)
    assert leg["funding"] == pytest.approx(2 * 0.001 * 0.001 * 60_000, rel=1e-2)
    curve = pq.read_table("run/equity.parquet").to_pylist()
    assert curve[-1]["equity"] == pytest.approx(leg["net"])
    steps = {row["ts_ns"] // 10**9 - start_ns // 10**9: row["equity"] for row in curve}
    # A payment of 0.06 at 5 s is far more than a thousandth of a coin moves in a second.
    assert steps[5] - steps[4] == pytest.approx(-0.06, abs=0.02)
    assert steps[3] - steps[2] == pytest.approx(0.0, abs=0.02)
