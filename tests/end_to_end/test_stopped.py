"""A run that is told to stop keeps what it did; one that is killed leaves nothing that looks whole and is not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

RUN = [sys.executable, "-m", "schwabot.run", "hydra.run.dir=run", "sinks.tensorboard=false", "sinks.progress=false"]
TABLES = ["arbitrage", "drift", "lag_curve", "lag_decisions", "memory", "signals"]


def stop(folder: Path, number: signal.Signals, *settings: str) -> tuple[int, str]:
    """Send a signal in the middle of a run, once rows of signals are on disk."""
    command = [*RUN, *settings, "source.events=100_000_000", "sinks.signals=all", "batch_events=8192"]
    child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    part, until = folder / "run" / "signals.parquet.part", time.monotonic() + 300
    while not (part.exists() and part.stat().st_size > 100_000):
        assert child.poll() is None, child.communicate()[1]
        assert time.monotonic() < until, "no signals within 300 s"
        time.sleep(0.02)
    child.send_signal(number)
    return child.returncode if child.poll() is not None else child.wait(60), child.communicate()[1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_run_that_is_stopped_closes_every_file(tmp_path: Path, number: signal.Signals) -> None:
    code, said = stop(tmp_path, number)
    assert code == 130, said
    names = sorted(path.name for path in (tmp_path / "run").iterdir())
    others = ["config.yaml", "lag_curve.png", "run.log", "summary.json"]
    assert names == sorted([*others, *(f"{table}.parquet" for table in TABLES)])
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["interrupted"] is True
    assert pq.read_table(tmp_path / "run" / "signals.parquet").num_rows == summary["events"] > 60_000
    for table in TABLES:
        pq.read_table(tmp_path / "run" / f"{table}.parquet")


def test_a_backtest_that_is_stopped_is_not_run_again_with_more_latency(tmp_path: Path) -> None:
    code, said = stop(tmp_path, signal.SIGTERM, "mode=backtest", "policy.enter_bp=0.05")
    assert code == 130, said
    assert said.rstrip().endswith("note: interrupted: no latency sensitivity")
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "interrupted: no latency sensitivity" in page
    assert "What more latency would do" not in page
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert (summary["interrupted"], summary["backtest"]["fills"] > 0) == (True, True)
    assert pq.read_table(tmp_path / "run" / "fills.parquet").num_rows == summary["backtest"]["fills"]


@pytest.mark.parametrize("command", [["-m", "schwabot.run"], ["run_schwabot.py"]])
def test_ctrl_c_before_anything_began_is_one_line(command: list[str], root: Path, tmp_path: Path) -> None:
    """The first import of many is one that presses Ctrl-C."""
    (tmp_path / "hydra").mkdir()
    (tmp_path / "hydra" / "__init__.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n")
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, *command], cwd=root, env=env, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_a_run_that_is_killed_leaves_no_broken_table(tmp_path: Path) -> None:
    code, _ = stop(tmp_path, signal.SIGKILL)
    run = tmp_path / "run"
    assert code == -signal.SIGKILL
    assert [path.name for path in run.glob("*.parquet")] == []
    assert not (run / "summary.json").exists()
    left = sorted(path.name for path in run.glob("*.part"))
    assert left == [f"{table}.parquet.part" for table in TABLES if table != "lag_curve"]
    # Killed while it put its files in place: one table has its name already.
    pq.write_table(pa.table({"of": ["the killed run"]}), run / "signals.parquet")

    again = [*RUN, "source.events=2000", "sinks.signals=off"]
    done = subprocess.run(again, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "was killed: removing what it left" in done.stderr
    assert all(name in done.stderr for name in left)
    assert list(run.glob("*.part")) == []
    assert sorted(path.stem for path in run.glob("*.parquet")) == [table for table in TABLES if table != "signals"]


def test_parts_of_somebody_else_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "signals.parquet.part").write_text("mine")
    done = subprocess.run([*RUN, "source.events=2000"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "holds signals.parquet.part, but no config.yaml of a run" in done.stderr
    assert (tmp_path / "run" / "signals.parquet.part").read_text() == "mine"
