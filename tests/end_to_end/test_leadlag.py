"""mode=leadlag as it is typed: captures, 1 s tables, the synthetic market, bad input, Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch

import schwabot
from schwabot.errors import ConfigError, DataError
from schwabot.run import main
from schwabot_kernels.leadlag import reference

SPOT, USDM, COINM = "binance:BTC/USDT", "binanceusdm:BTC/USDT:USDT", "binancecoinm:BTC/USD:BTC"
NAMES = {"leader", "follower", "lag_ms", "contrast", "ratio", "ratio_sq", "clock", "disagree", "edge", "confidence"}
TABLE = ["mode=leadlag", "source=table", "source.columns.time=date", "source.columns.price=last"]


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def summary_of(folder: str) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(Path(folder, "summary.json").read_text())
    return summary


def write_csv(path: Path, times_s: Any, prices: Any) -> None:
    stamps = np.datetime64("2024-08-09T00:00:00") + np.asarray(times_s).astype("timedelta64[s]")
    rows = [f"{str(stamp).replace('T', ' ')},{price:.2f}" for stamp, price in zip(stamps, prices, strict=True)]
    path.write_text("\n".join(["date,last", *rows]) + "\n")


def two_exchanges(folder: Path, lag_s: int = 7) -> None:
    """Last prices of two exchanges at whole seconds, some of them missing; slow does later what fast does."""
    rng = np.random.default_rng(0)
    path = 60_000 + np.cumsum(rng.normal(size=4_000))
    for name, delay, count in (("fast", 0, 2_500), ("slow", lag_s, 1_200)):
        times = np.sort(rng.choice(3_900, count, replace=False))
        write_csv(folder / f"{name}.csv", times, path[times + 50 - delay])


def test_last_prices_of_a_second_each(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two_exchanges(tmp_path)
    asked = ["leadlag.max_lag_s=30", "leadlag.step_ms=100", "leadlag.price=last", "leadlag.returns=log"]
    main([*TABLE, f"source.glob={tmp_path}/*.csv", *asked, "hydra.run.dir=run"])
    summary = summary_of("run")
    (pair,) = summary["leadlag"]["pairs"]  # a table without exchange stamps has one clock
    assert pair.keys() >= NAMES
    assert (pair["leader"], pair["follower"], pair["clock"]) == ("table:fast", "table:slow", "receive")
    assert abs(pair["lag_ms"] - 7_000) <= 500
    assert pair["confidence"] > 0.95
    assert pair["ratio"] > 1
    assert any("receive time only" in note for note in summary["notes"])
    assert summary["mode"] == "leadlag"
    assert {path.name for path in Path("run").iterdir()} == {
        "summary.json", "config.yaml", "leadlag.parquet", "leadlag.png", "run.log",
    }  # fmt: skip
    shown = capsys.readouterr().out
    assert "table:fast" in shown
    assert "7" in shown
    curve = pq.read_table("run/leadlag.parquet")
    assert curve.num_rows == 601
    assert curve.column_names == [
        "pair", "x", "y", "clock", "event_estimated", "lag_ms", "contrast", "signed_contrast", "correlation",
    ]  # fmt: skip
    peak = curve.sort_by([("contrast", "descending")]).slice(0, 1).to_pylist()[0]
    assert abs(peak["lag_ms"] - pair["lag_ms"]) <= 1_000  # x is table:fast, so it leads at lags above 0
    (at_lag,) = curve.filter(pc.equal(curve["lag_ms"], pair["lag_ms"])).to_pylist()
    assert at_lag["contrast"] == pytest.approx(pair["contrast"])
    assert pc.max(pc.abs(curve["correlation"])).as_py() <= 1.0 + 1e-12


def test_slow_tables_get_the_coarse_grid_and_simple_returns_are_differences(tmp_path: Path) -> None:
    two_exchanges(tmp_path)
    main([*TABLE, f"source.glob={tmp_path}/*.csv", "leadlag.returns=simple", "hydra.run.dir=run"])
    found = summary_of("run")["leadlag"]
    assert (found["max_lag_s"], found["step_ms"]) == (30.0, 100.0)
    curve = pq.read_table("run/leadlag.parquet")
    arrays: list[torch.Tensor] = []
    for name in ("fast", "slow"):
        table = np.genfromtxt(tmp_path / f"{name}.csv", delimiter=",", skip_header=1, dtype=None, encoding=None)
        times = np.array([row[0].replace(" ", "T") for row in table], "datetime64[ns]").astype(np.int64)
        arrays += [torch.from_numpy(times), torch.tensor([row[1] for row in table], dtype=torch.float64)]
    lags = torch.tensor([-3_000, 0, 6_500, 7_000]) * 1_000_000
    block = torch.zeros(len(arrays[0]), dtype=torch.int64)
    by_definition = reference.contrast(*arrays, lags, block, 1)[:, 0]
    norm = torch.sqrt((arrays[1].diff() ** 2).sum() * (arrays[3].diff() ** 2).sum())
    wanted = {float(lag) / 1e6: float(value) for lag, value in zip(lags, by_definition / norm, strict=True)}
    given = dict(zip(curve["lag_ms"].to_pylist(), curve["signed_contrast"].to_pylist(), strict=True))
    assert {lag: given[lag] for lag in wanted} == pytest.approx(wanted, abs=1e-9)


def pairs_of(folder: str) -> dict[tuple[str, frozenset[str]], dict[str, Any]]:
    pairs = summary_of(folder)["leadlag"]["pairs"]
    return {(pair["clock"], frozenset((pair["leader"], pair["follower"]))): pair for pair in pairs}


def test_known_leads_of_the_captures(captures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    glob = f"source.glob={captures}/binance/*/btc*.gz"
    main(["mode=leadlag", "source=capture", glob, "leadlag.max_lag_s=1", "leadlag.step_ms=10", "hydra.run.dir=fine"])
    fine = pairs_of("fine")
    assert len(fine) == 6
    for clock, one, other, leader, lag_ms in (
        ("receive", SPOT, COINM, SPOT, 30),
        ("receive", USDM, COINM, USDM, 40),
        ("event", USDM, COINM, USDM, 10),
    ):
        pair = fine[clock, frozenset((one, other))]
        assert pair["leader"] == leader
        assert abs(pair["lag_ms"] - lag_ms) <= 10
    assert summary_of("fine")["leadlag"]["streams"][SPOT]["stamps"] == "receive_minus_delay"
    curves = pq.read_table("fine/leadlag.parquet").group_by(["x", "y", "clock"]).aggregate([("event_estimated", "min")])
    estimated = {(row["x"], row["y"]) for row in curves.to_pylist() if row["event_estimated_min"]}
    assert estimated == {(SPOT, COINM), (SPOT, USDM)}
    assert {(pair["x"], pair["y"]) for pair in fine.values() if pair["event_estimated"]} == estimated
    shown = capsys.readouterr().out
    assert sum("event*" in line for line in shown.splitlines()) == 3  # two pairs, and what it means
    assert max(map(len, (line.rstrip() for line in shown.splitlines() if line.startswith(("binance", "("))))) <= 120
    assert "..." not in shown.split("lags to")[0].replace("…", "...")
    main(["mode=leadlag", "source=capture", glob, "leadlag.max_lag_s=1", "leadlag.step_ms=100", "hydra.run.dir=coarse"])
    assert {pair["lag_ms"] for pair in pairs_of("coarse").values()} == {0.0}
    assert any("try leadlag.step_ms=" in note for note in summary_of("coarse")["notes"])


def test_synthetic_market_and_a_second_run_into_the_folder_of_another_mode() -> None:
    main(["mode=leadlag", "source.events=20000", "source.streams=3", "leadlag.draws=20", "hydra.run.dir=run"])
    summary = summary_of("run")
    assert len(summary["leadlag"]["pairs"]) == 6
    assert summary["events"] == 20_000
    main(["mode=convert", "source.events=2000", "convert.out=store", "hydra.run.dir=run"])
    assert not list(Path("run").glob("leadlag.*"))


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["source.streams=1"], 2, "the source has one only (synthetic_a:BTC/USDT): use source.streams=2 or more\n"),
        (["source.reference=synthetic_a:BTC/USD"], 2, "not in the source, did you mean synthetic_a:BTC/USDT?"),
        (["leadlag.price=bid"], 2, "leadlag.price=bid is not a choice; use auto, mid or last"),
        (["leadlag.step_ms=2000", "leadlag.max_lag_s=1"], 2, "make it a fraction of it"),
        (["leadlag.step=1"], 2, "did you mean step_ms?"),
    ],
)
def test_settings_that_cannot_be_used(
    arguments: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["mode=leadlag", "source.events=2000", *arguments, "hydra.run.dir=run"])
    assert ended.value.code == code
    assert said in capsys.readouterr().err


def test_one_stream_of_files_or_of_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_csv(tmp_path / "a.csv", range(60), [7.0 + second % 3 for second in range(60)])
    main(["mode=convert", "source.events=500", "source.streams=1", "convert.out=store", "hydra.run.dir=c"])
    store = ["mode=leadlag", "source=store", "source.path=store"]
    for arguments, said in (
        ([*TABLE, f"source.glob={tmp_path}/*.csv"], "let source.glob match the files of another one too"),
        (store, "convert another one to that store too"),
        ([*store, "source.venues=[synthetic_a]"], "let source.venues take in another one"),
    ):
        with pytest.raises(SystemExit):
            main([*arguments, "hydra.run.dir=run"])
        shown = capsys.readouterr().err
        assert said in shown
        assert ("source.glob" in shown) == ("source=table" in arguments)


def test_a_reference_changes_nothing_and_a_note_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    asked = ["mode=leadlag", "source.events=20000", "source.streams=3", "leadlag.draws=20"]
    main([*asked, "hydra.run.dir=without"])
    assert "source.reference" not in capsys.readouterr().err
    main([*asked, "source.reference=synthetic_a:BTC/USDT", "hydra.run.dir=with"])
    said = "note: source.reference=synthetic_a:BTC/USDT changes nothing in mode=leadlag"
    assert said in capsys.readouterr().err
    assert sum(said in note for note in summary_of("with")["notes"]) == 1
    assert summary_of("with")["leadlag"] == summary_of("without")["leadlag"]


def test_what_is_no_lead_and_what_is_estimated_is_marked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two copies of one path, level; a third that comes 7 s later."""
    rng = np.random.default_rng(0)
    path = 60_000 + np.cumsum(rng.normal(size=2_100))
    for name, delay in (("a", 0), ("b", 0), ("late", 7)):
        write_csv(tmp_path / f"{name}.csv", range(2_000), path[50 - delay : 2_050 - delay])
    main([*TABLE, f"source.glob={tmp_path}/*.csv", "leadlag.step_ms=1000", "hydra.run.dir=run"])
    seen = {(pair["x"], pair["y"]): pair["lead_seen"] for pair in summary_of("run")["leadlag"]["pairs"]}
    a, b, late = "table:a", "table:b", "table:late"
    assert seen == {(a, b): False, (a, late): True, (b, late): True}
    lines = capsys.readouterr().out.splitlines()
    (level,) = (line for line in lines if line.startswith("(table"))
    assert level.rstrip().endswith("no lead")
    assert "100" not in level
    assert any("share of the resamples" in line for line in lines)
    assert not any("event*" in line for line in lines)
    assert not any(pq.read_table("run/leadlag.parquet")["event_estimated"].to_pylist())


@pytest.mark.parametrize(
    ("prices", "more", "code", "said"),
    [
        ([5.0] * 50, [], 1, "table:b stays at 5: a price that never moves neither leads nor follows"),
        ([5.0], [], 1, "table:b has 1 price at different times, and a move needs two: leave it out"),
        ([5.0, 6.0] * 3, [], 1, "table:b moved 5 times, which is too little"),
        ([5.0, 6.0] * 30, ["leadlag.price=mid"], 2, "no bid and ask: use leadlag.price=last"),
    ],
)
def test_bad_input(
    tmp_path: Path, prices: list[float], more: list[str], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write_csv(tmp_path / "a.csv", range(60), [7.0 + second % 3 for second in range(60)])
    write_csv(tmp_path / "b.csv", range(len(prices)), prices)
    with pytest.raises(SystemExit) as ended:
        main([*TABLE, f"source.glob={tmp_path}/*.csv", *more, "hydra.run.dir=run"])
    assert ended.value.code == code
    assert said in capsys.readouterr().err
    assert said in summary_of("run")["error"]


def test_streams_of_other_days_are_told_with_their_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, start in (("a", 0), ("faraway", 86_400)):
        write_csv(tmp_path / f"{name}.csv", np.arange(60) + start, [7.0 + second % 3 for second in range(60)])
    with pytest.raises(SystemExit):
        main([*TABLE, f"source.glob={tmp_path}/*.csv", "hydra.run.dir=run"])
    shown = capsys.readouterr().err
    assert shown.count("in common") == 1
    for said in (
        "table:a (2024-08-09T00:00:00.000000000Z to 2024-08-09T00:00:59",
        "table:faraway (2024-08-10T00:00:00",
    ):
        assert said in shown


@pytest.mark.parametrize("console", [True, False])
def test_a_note_is_shown_once_and_none_is_about_sizes(
    tmp_path: Path, console: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    two_exchanges(tmp_path)
    more = [f"sinks.console={str(console).lower()}", "source.reference=table:fast", "hydra.run.dir=run"]
    main([*TABLE, f"source.glob={tmp_path}/*.csv", "leadlag.draws=0", *more])
    shown = "".join(capsys.readouterr())
    notes = summary_of("run")["notes"]
    assert len(notes) >= 2
    assert all(shown.count(note) == 1 for note in notes)
    assert not any(word in shown for word in ("tick size", "lot size", "quantities", "fees"))


@pytest.mark.slow
def test_ctrl_c_while_reading_keeps_what_was_read(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "schwabot.run", "mode=leadlag", "source.events=100000000", "hydra.run.dir=run"]
    env = os.environ | {"PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as run:
        assert run.stderr is not None
        assert run.stdout is not None
        assert b"schwabot leadlag" in run.stdout.readline()
        said = run.stderr.readline()  # the first line of progress
        run.send_signal(signal.SIGINT)
        timer = threading.Timer(120, run.kill)
        timer.start()
        out, _ = run.communicate()
        timer.cancel()
    assert b"leadlag: reading" in said
    assert run.returncode == 130
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["interrupted"]
    assert 0 < summary["events"] < 100_000_000
    assert len(summary["leadlag"]["pairs"]) == 12
    assert b"interrupted" in out
    assert (tmp_path / "run" / "leadlag.parquet").is_file()


def test_python_takes_feeds_tables_and_arrays() -> None:
    feed = schwabot.load("synthetic", events=10_000, streams=2)
    found = schwabot.leadlag(feed, step_ms=5, draws=20)
    assert found.pairs.column("clock").to_pylist() == ["receive", "event"]
    assert found.curves.num_rows == 2 * 401
    assert found.summary["leadlag"]["pairs"][0]["leader"] == found.pairs["leader"][0].as_py()
    assert len(found.figure().axes) == 1
    with pytest.raises(ConfigError, match="already read"):
        schwabot.leadlag(feed)
    rng = np.random.default_rng(1)
    path = 100 + np.cumsum(rng.normal(size=1_100)) / 20
    time_ms = np.arange(1_000) * 20 + 1_700_000_000_000
    ticks = pa.table(
        {
            "time": np.repeat(time_ms, 2),
            "price": np.round(np.stack([path[50:1050], path[45:1045]], axis=1).ravel(), 2),
            "stream": ["a:X/Y", "b:X/Y"] * 1_000,
        }
    )
    of_table = schwabot.leadlag(ticks, max_lag_s=0.3, step_ms=10)
    assert (of_table.pairs["leader"][0].as_py(), of_table.pairs["lag_ms"][0].as_py()) == ("a:X/Y", 100.0)
    series = {name: (time_ms * 1_000_000, path[start : start + 1000]) for name, start in (("a", 50), ("b", 45))}
    of_arrays = schwabot.leadlag(series, max_lag_s=0.3, step_ms=10)
    assert (of_arrays.pairs["leader"][0].as_py(), of_arrays.pairs["lag_ms"][0].as_py()) == ("a", 100.0)
    with pytest.raises(ConfigError, match="there is one only"):
        schwabot.leadlag({"a": series["a"]})
    with pytest.raises(ConfigError, match="leave it out"):
        schwabot.leadlag(series, price="mid")
    with pytest.raises(ConfigError, match="did you mean draws"):
        schwabot.leadlag(series, drawz=3)


@pytest.mark.parametrize(("unit", "ns"), [("us", 10**3), ("ms", 10**6), ("s", 10**9)])
def test_python_refuses_times_that_are_dates_in_another_unit_only(unit: str, ns: int) -> None:
    time_s = np.arange(600) + 1_723_161_600
    price = 100 + np.cumsum(np.random.default_rng(0).normal(size=600)) / 20
    series = dict.fromkeys("ab", (time_s * (10**9 // ns), price))
    with pytest.raises(DataError, match=rf"series 'a': .*if they are {unit}: give int64 ns \(times \* {ns:,}\)"):
        schwabot.leadlag(series)
    dates = dict.fromkeys("ab", (time_s * 10**9, price))
    assert not any("span" in note for note in schwabot.leadlag(dates).summary["notes"])


def test_python_takes_a_clock_of_ones_own_and_says_how_long_it_ran() -> None:
    price = 100 + np.cumsum(np.random.default_rng(0).normal(size=600)) / 20
    for first in (0, 1):
        series = {name: ((np.arange(600) + first) * 10_000_000 * 100, price) for name in "ab"}
        assert (
            "note: times are read as ns on a clock of their own: the series span 599 s"
            in (schwabot.leadlag(series, draws=0).summary["notes"])
        )
