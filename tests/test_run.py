"""The command: what it writes, how it refuses, how it ends."""

from __future__ import annotations

import gzip
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
import yaml

import schwabot
from schwabot.modes.opening import notes_of
from schwabot.run import main
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed

SUMMARY_NAMES = {
    "mode", "device", "events", "quotes", "trades", "dropped", "span_s", "wall_s", "events_per_s", "peak_rss_mib",
    "streams", "skill", "lag_curve_bp", "compile_s", "notes", "lanes", "arbitrage", "truth", "interrupted",
}  # fmt: skip
STREAM_NAMES = {
    "events", "clock_offset_ms", "clock_offset_ci_ms", "clock_drift_ppm", "clock_drift_ci_ppm",
    "feed_delay_median_ms", "basis_bp", "drift_status", "book",
}  # fmt: skip
SKILL_NAMES = {"corr", "r2", "r2_ci", "r2_grid", "r2_after_1ms", "r2_without_top3", "placebo", "n"}


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def summary_of(folder: str) -> dict[str, Any]:
    summary: dict[str, Any] = json.loads(Path(folder, "summary.json").read_text())
    return summary


def test_main_job_from_an_empty_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["source.events=5000"])
    (run_dir,) = tmp_path.glob("outputs/*/*")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d/\d\d-\d\d-\d\d", str(run_dir.relative_to(tmp_path / "outputs")))
    names = {path.name.partition(".tfevents")[0] for path in run_dir.iterdir()}
    assert names == {
        "summary.json", "config.yaml", "signals.parquet", "lag_curve.parquet", "lag_decisions.parquet",
        "arbitrage.parquet", "drift.parquet", "events.out", "memory.parquet", "lag_curve.png", "run.log",
    }  # fmt: skip
    summary = summary_of(str(run_dir))
    assert summary.keys() >= SUMMARY_NAMES
    assert (summary["mode"], summary["events"], summary["interrupted"]) == ("replay", 5000, False)
    assert pq.read_metadata(run_dir / "signals.parquet").num_rows == 5000
    assert len(summary["streams"]) == 4
    for stream, numbers in summary["streams"].items():
        assert numbers.keys() >= STREAM_NAMES
        assert numbers["book"].keys() == {"bid", "bid_qty", "ask", "ask_qty"}
        assert summary["skill"][stream]["100"].keys() >= SKILL_NAMES
        assert summary["lag_curve_bp"][stream].keys() == {"1", "2", "5", "10", "20", "50", "100", "200", "500", "1000"}
    truth = summary["truth"]
    assert truth["ghost_rmse_bp"] > 0
    assert truth.keys() >= {"best_single_rmse_bp", "plain_mean_rmse_bp", "basis_error_bp", "clock_error"}
    assert summary["lanes"].keys() == {"LOW", "MEDIUM", "HIGH"}
    assert summary["arbitrage"].keys() == {
        "locked", "basis", "locked_s", "locked_median_ms", "realised_edge_left_median_bp",
    }  # fmt: skip
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    assert config["source"]["events"] == 5000
    out = capsys.readouterr().out
    assert "synthetic_a:BTC/USDT" in out
    assert f"files: {run_dir}" in out.replace("\n", "")


QUIET = ["sinks.tensorboard=false", "sinks.console=false", "source.events=3000"]


def ranges_of(run_dir: str) -> Counter[str]:
    with gzip.open(Path(run_dir, "profile", "run.pt.trace.json.gz")) as file:
        events = json.load(file)["traceEvents"]
    return Counter(event["name"] for event in events if event.get("cat") == "user_annotation")


def test_profile_says_where_the_time_of_a_run_goes(capfd: pytest.CaptureFixture[str]) -> None:
    main([*QUIET, "hydra.run.dir=r", "batch_events=200", "profile=true", "sinks.progress=false"])
    found = ranges_of("r")
    names = ("feed", "clock", "graph", "record", "meters", "sinks", "ParquetSink", "SummarySink")
    assert {name: found[name] for name in names} == dict.fromkeys(names, 8), "eight batches of more than fifteen"
    assert sum(name.startswith("ProfilerStep#") for name in found) == 8
    assert "Profiler" not in capfd.readouterr().err
    assert "gpu" not in summary_of("r") or os.path.exists("/dev/nvidiactl")
    main([*QUIET, "hydra.run.dir=r", "sinks.progress=false"])
    assert not Path("r", "profile").exists(), "of the run before, so it went with it"


@pytest.mark.slow
def test_profile_of_runs_that_trade() -> None:
    main([*QUIET, "hydra.run.dir=b", "mode=backtest", "batch_events=200", "profile=true", "sinks.figures=false"])
    assert ranges_of("b")["broker"] == 8
    main([*QUIET, "hydra.run.dir=s", "mode=sweep", "sweep.sets=40", "profile=true", "sinks.figures=false"])
    assert ranges_of("s")["sets"] >= 1


def test_convert_then_store_gives_the_same_answers() -> None:
    main([*QUIET, "hydra.run.dir=direct"])
    main([*QUIET, "hydra.run.dir=converted", "mode=convert", "convert.out=store"])
    store = ["source=store", "source.path=store", "sinks.tensorboard=false", "sinks.console=false"]
    main([*store, "hydra.run.dir=stored", "batch_events=777"])
    direct, stored, converted = summary_of("direct"), summary_of("stored"), summary_of("converted")
    changing = {"wall_s", "loop_s", "compile_s", "events_per_s", "peak_rss_mib", "truth"}
    assert {k: v for k, v in direct.items() if k not in changing} == {
        k: v for k, v in stored.items() if k not in changing
    }
    assert pq.read_table("direct/signals.parquet").equals(pq.read_table("stored/signals.parquet"))
    assert (converted["mode"], converted["events"], converted["interrupted"]) == ("convert", 3000, False)
    assert converted["span_s"] == direct["span_s"]
    graph = {"lanes", "pays_fees", "avoid_reentry", "arbitrage", "fallbacks", "reference", "skill"}
    assert not graph & converted.keys(), "no graph ran"
    for stream, numbers in converted["streams"].items():
        assert numbers == {name: direct["streams"][stream][name] for name in ("events", "book")}
    with pytest.raises(SystemExit) as refused:  # a store is not overwritten by accident
        main([*QUIET, "hydra.run.dir=again", "mode=convert", "convert.out=store"])
    assert refused.value.code == 2


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["modules.tensor_harness.tau=1"], 2, "there is no such setting, did you mean tau_phase_s?"),
        (["source=capture", "source.glob=no/*.gz"], 2, "source.glob=no/*.gz: no file matches"),
        (["events=5"], 2, "events: there is no such setting, did you mean source.events or live.events?"),
        (["source.streams=300"], 2, "source.streams=300: at most 256"),
        (["source=store", "source.path=/dev/null"], 1, "is a file, not the folder of a tick store"),
        (["source=5"], 2, "source=5 is not a choice"),
        (["source.reference=synthetic_z:BTC/USDT"], 2, "did you mean synthetic_"),
    ],
)
def test_refusals_are_one_line(
    arguments: list[str], code: int, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "hydra.run.dir=refused"])
    assert ended.value.code == code
    out, err = capfd.readouterr()
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1
    assert out == ""
    assert not (tmp_path / "refused").exists()


def test_convert_that_fails_says_how_far_it_came(capfd: pytest.CaptureFixture[str]) -> None:
    quote = '{{"stream":"btcusdt@bookTicker","data":{{"u":{u},"s":"BTCUSDT","b":"{bid}","B":"1","a":"5","A":"2"}}}}'
    Path("bad.txt").write_text("\n".join(f"{i} {quote.format(u=i, bid=b)}" for i, b in enumerate(("4", "9", "nan"))))
    with pytest.raises(SystemExit) as ended:
        main(["mode=convert", "convert.out=store", "source=capture", "source.glob=bad.txt", "hydra.run.dir=r"])
    assert ended.value.code == 1
    summary = summary_of("r")
    assert (summary["mode"], summary["events"], summary["dropped"]) == ("convert", 1, {"crossed": 1})
    assert len(summary["dropped_examples"]) == 1
    assert "bad.txt:3: " in summary["error"]
    assert summary["error"] in capfd.readouterr().err
    assert summary["store"]["rows"] == 0
    assert any("nothing was written" in note for note in summary["notes"])
    assert not Path("store", "_store.json").exists()


def run_alone(*arguments: str, code: str = "") -> subprocess.CompletedProcess[str]:
    """Run in a process of its own, whose standard output may be closed and whose kernels are not loaded."""
    command = ["-c", code] if code else ["-m", "schwabot.run", *arguments]
    return subprocess.run([sys.executable, *command], capture_output=True, text=True)


def test_version_is_ours(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"schwabot {schwabot.__version__}\n"


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["source.events=50", "sinks.tensorboard=false"]])
def test_a_reader_that_has_seen_enough_is_no_error(arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "schwabot.run", *arguments, *(["hydra.run.dir=r"] if "=" in arguments[0] else [])]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert "Traceback" not in done.stderr
    assert "BrokenPipe" not in done.stderr
    if "=" in arguments[0]:  # what was asked for is done all the same
        summary = summary_of("r")
        assert (summary["events"], summary.get("error"), done.returncode) == (50, None, 0)


def test_no_rate_counts_the_time_kernels_take_to_get_ready() -> None:
    done = run_alone(
        code="""
from schwabot.modes.opening import compile_kernels
from schwabot.run import main
from schwabot.modules.settings import ModulesConfig
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot_kernels.graph.cpu import graph_pass
compile_kernels(SyntheticFeed(SyntheticConfig()).instruments, ModulesConfig())
before = list(graph_pass.signatures)
main(["source.events=500", "sinks.tensorboard=false", "sinks.console=false", "hydra.run.dir=r"])
print(len(before), graph_pass.signatures == before)
"""
    )
    assert done.stdout.split() == ["1", "True"], done.stderr
    summary = summary_of("r")
    assert 0 < summary["compile_s"] < summary["wall_s"]
    assert summary["loop_s"] + summary["compile_s"] < summary["wall_s"]
    assert summary["events_per_s"] == pytest.approx(summary["events"] / summary["loop_s"])


@pytest.mark.parametrize("cached", [True, False])
def test_compiling_is_said_only_of_what_is_compiled(tmp_path: Path, *, cached: bool) -> None:
    """Whatever takes long: here a kernel of one's own, new or read from disk, and a long pause after it."""
    (tmp_path / "kernel.py").write_text(
        """
from numba import njit

@njit(cache=True)
def add(x):
    return x + 1
"""
    )
    code = """
import time
from kernel import add
from schwabot.modes import opening
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
opening.COMPILING_S = 0.5
opening.compile_by(lambda quote: (add(1), time.sleep(1.5)), SyntheticFeed(SyntheticConfig()).instruments)
"""
    if cached:
        run_alone(code="from kernel import add; add(1)")
    done = run_alone(code=code)
    assert done.returncode == 0, done.stderr
    assert ("compiling the kernels that this run needs" in done.stderr) is not cached


def test_many_streams_are_worth_a_word() -> None:
    assert notes_of(SyntheticFeed(SyntheticConfig(streams=4))) == []
    (note,) = notes_of(SyntheticFeed(SyntheticConfig(streams=100)))
    assert note.startswith(
        "note: 100 streams: phases and arbitrage compare every pair, which takes about 90 s per million"
    )


def test_one_stream_has_no_deviation_but_may_have_a_forecast() -> None:
    """What the note of a single stream says."""
    run = schwabot.Graph(hash_registry={"warmup_events": 200}).run(
        schwabot.load("synthetic", events=20_000, streams=1), wide=["deviation_bp", "forecast_bp"]
    )
    deviation, forecast = (abs(run.wide.column(at).to_numpy()).max() for at in (3, 4))
    assert deviation < 1e-9 < 0.01 < forecast
    assert {row["corr"] for row in run.skill.to_pylist()} == {None}


def test_a_table_of_prices_has_a_ghost() -> None:
    Path("btc.csv").write_text("t,p\n2024-08-09 00:00:01,60000.5\n2024-08-09 00:00:02,60001.5\n")
    columns = ["source.columns.time=t", "source.columns.price=p", "source.tick=0.5"]
    quiet = ["sinks.tensorboard=false", "sinks.console=false"]
    main(["source=table", "source.glob=btc.csv", *columns, *quiet, "hydra.run.dir=r"])
    summary = summary_of("r")
    assert (summary["trades"], list(summary["streams"]), summary["reference"]) == (2, ["table:btc"], "table:btc")
    said = (
        "column of quantities",
        "fees are not stated and taken as 0 bp",
        "is 0 up to rounding; what the registry remembers may",
    )
    assert [sum(part in note for note in summary["notes"]) for part in said] == [1, 1, 1]
    ghost = pq.read_table("r/signals.parquet")["ghost_bp"].to_pylist()
    assert ghost == pytest.approx([0.0, 1e4 * math.log(60001.5 / 60000.5)])


def test_bad_input_names_file_and_line(capfd: pytest.CaptureFixture[str]) -> None:
    quote = '{{"stream":"btcusdt@bookTicker","data":{{"u":{u},"s":"BTCUSDT","b":"{bid}","B":"1","a":"5","A":"2"}}}}'
    lines = [f"{10 + i} {quote.format(u=i, bid=bid)}" for i, bid in enumerate(("4", "nan", "4"))]
    Path("bad.txt").write_text("\n".join(lines))
    arguments = ["source=capture", "source.glob=bad.txt", "hydra.run.dir=r", "sinks.tensorboard=false"]
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 1
    err = capfd.readouterr().err
    assert "bad.txt:2: " in err
    assert "Traceback" not in err
    assert summary_of("r")["error"] in err
    main([*arguments, "source.policy.bad_price=drop", "sinks.console=false"])
    summary = summary_of("r")
    assert (summary["quotes"], summary["dropped"]) == (2, {"bad_price": 1})


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_without_a_gpu(capfd: pytest.CaptureFixture[str]) -> None:
    main([*QUIET, "+device=cuda", "hydra.run.dir=r"])
    warnings = [line for line in capfd.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert "running on the CPU: " in warnings[0]
    assert summary_of("r")["device"] == "cpu"
    with pytest.raises(SystemExit) as ended:
        main([*QUIET, "+device=cuda", "device.required=true", "hydra.run.dir=r"])
    assert ended.value.code == 1
    assert capfd.readouterr().err.startswith("error: device cuda is required and can't be used: ")


def test_one_run_per_device(tmp_path: Path) -> None:
    main(["-m", "device=cpu,auto", *QUIET, "hydra.sweep.dir=sweep", "sinks.signals=off"])
    configs = [yaml.safe_load((tmp_path / "sweep" / job / "config.yaml").read_text()) for job in "01"]
    assert [config["device"]["kind"] for config in configs] == ["cpu", "auto"]
    assert not (tmp_path / "sweep" / "0" / "signals.parquet").exists()


def test_an_unwritable_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        main(["source.events=100", f"hydra.run.dir={tmp_path / 'file' / 'run'}"])
    assert end.value.code == 2
    assert "is hydra.run.dir a folder you can write to?" in capsys.readouterr().err


def test_a_second_run_leaves_no_table_of_the_first(tmp_path: Path) -> None:
    quiet = ["source.events=300", "sinks.console=false", "sinks.tensorboard=false", f"hydra.run.dir={tmp_path}"]
    main(quiet)
    assert (tmp_path / "signals.parquet").exists()
    main([*quiet, "sinks.parquet=false"])
    assert (tmp_path / "summary.json").exists()
    assert not list(tmp_path.glob("*.parquet"))


def test_nor_anything_of_one_that_was_killed(tmp_path: Path) -> None:
    """It had finished tables, and no summary yet."""
    quiet = [
        "source.events=300",
        "sinks.console=false",
        "sinks.tensorboard=false",
        "sinks.figures=false",
        f"hydra.run.dir={tmp_path}",
    ]
    main([*quiet, "sinks.parquet=false"])
    (tmp_path / "summary.json").unlink()
    for name in ("memory.parquet", "events.out.tfevents.1.host"):
        (tmp_path / name).write_text("of the run that was killed")
    main([*quiet, "sinks.parquet=false"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.yaml", "run.log", "summary.json"]


def test_files_of_others_in_the_folder_of_a_sweep(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The message names the setting that chose the folder."""
    (tmp_path / "0").mkdir()
    (tmp_path / "0" / "summary.json").write_text("theirs")
    with pytest.raises(SystemExit):
        main([*QUIET, "-m", "source.events=300,301", f"hydra.sweep.dir={tmp_path}"])
    assert "say hydra.sweep.dir=NEW" in capfd.readouterr().err
    assert (tmp_path / "0" / "summary.json").read_text() == "theirs"


@pytest.mark.parametrize(
    "given", [["hydra.run.dir="], ["hydra.run.dir=' '"], ["+hydra.run.dir="], ["-m", "hydra.sweep.dir="]]
)
def test_an_empty_name_of_a_folder_is_refused(
    given: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([*QUIET, *given])
    assert end.value.code == 2
    assert re.match(r"error: hydra\.(run|sweep)\.dir is empty; say ", capfd.readouterr().err)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["config.yaml", "summary.json", "memory.parquet", "events.out.tfevents.1.host"])
@pytest.mark.parametrize("mode", [["mode=replay"], ["mode=convert", "convert.out=store"]])
def test_files_of_others_are_not_overwritten(
    name: str, mode: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / name).write_text("mode: theirs\nother: 1\n")
    with pytest.raises(SystemExit) as end:
        main(["source.events=300", *mode, f"hydra.run.dir={folder}"])
    assert end.value.code == 2
    said = capfd.readouterr().err
    assert said.startswith(f"error: {folder} holds {name}, ")
    assert "hydra.run.dir=NEW" in said
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [(name, "mode: theirs\nother: 1\n")]


def test_other_files_beside_a_run_stay(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    main([*QUIET, "source.events=300", f"hydra.run.dir={tmp_path}"])
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "summary.json").exists()


def test_a_delimiter_without_quotes_is_told_how_to_quote(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["source=table", "source.delimiter=;"])
    assert "can't read source.delimiter=;: put" in (said := capsys.readouterr().err)
    assert "\"source.delimiter=';'\"" in said


@pytest.mark.parametrize("name", ["h*", "v1/*", "btc.csv", "btc"])
def test_streams_are_named_as_the_message_says(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the +, which everybody forgets once, the message gives a line that can be typed."""
    with pytest.raises(SystemExit):
        main(["source=table", "source.glob=x", f'source.streams={{{name}: "a:B/C"}}'])
    said = capsys.readouterr().err
    shown = re.search(r"'(\+source\.streams=\{.*?\})'", said)
    assert shown is not None, said
    (tmp_path / "v1").mkdir()
    for file in ("h1", "btc", "v1/x"):
        (tmp_path / f"{file}.csv").write_text("t,p\n2024-08-09 00:00:01,1.5\n")
    quiet = ["sinks.console=false", "sinks.progress=false", "sinks.tensorboard=false", "skill.enabled=off"]
    columns = ["source.columns.time=t", "source.columns.price=p"]
    typed = shown[1].replace("...", "a:B/C")
    main(["source=table", f"source.glob={tmp_path}/**/*.csv", *columns, typed, *quiet, "hydra.run.dir=r"])
    assert "a:B/C" in summary_of("r")["streams"]
