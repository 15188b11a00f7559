"""What `make gpu-check` calls still is what it calls; its numbers need a GPU."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_check, gpu_report, report
from schwabot_kernels.graph.gpu import graph as on_any


def test_the_graph_it_times(device: str) -> None:
    instruments, batch = gpu_check.long_market(3_000)
    graph = gpu_check.graph_of(instruments, 8)
    events, own, table, params, state = gpu_check.arguments(graph, batch, graph.initial_state(), device)
    columns, _ = on_any(events, own, table, params, state)
    wanted = graph.advance(batch, graph.initial_state()).signals
    torch.testing.assert_close(
        columns.ghost.cpu(), torch.from_numpy(wanted.ghost_bp), rtol=0, atol=1e-8, equal_nan=True
    )
    assert gpu_check.core(events, table, params, state).shape == (3_000,)


def test_a_graph_that_differs_is_not_timed(device: str) -> None:
    instruments, batch = gpu_check.long_market(700)
    graph = gpu_check.graph_of(instruments, 8)
    gpu_check.graphs_must_agree(graph, batch, device, on_any)

    def wrong(*given: Any) -> Any:
        columns, state = on_any(*given)
        columns.phase[1, 400] += 1e-5
        return columns, state

    with pytest.raises(SystemExit, match="red, nothing timed: graph: phase_bp"):
        gpu_check.graphs_must_agree(graph, batch, device, wrong)


def test_tests_that_say_much_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a pipe holds."""
    (tmp_path / "test_long.py").write_text("def test():\n    print('x' * 300_000)\n    assert False, 'this'\n")
    monkeypatch.setattr(gpu_check, "test_files", lambda: [tmp_path / "test_long.py"])
    monkeypatch.setattr(gpu_check, "TESTS_S", 60.0)
    good, said = gpu_check.run_tests(None)
    assert not good
    assert "1 failed" in said[0]
    assert any("this" in line for line in said[1:])


def test_what_is_not_installed_is_one_line(root: Path) -> None:
    script = (
        "import sys, runpy; sys.path[:0] = ['.', 'kernels']; sys.modules['pyarrow'] = None\n"
        "runpy.run_module('benchmarks.gpu_check', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: not installed here: pyarrow; ")
    assert done.stderr.count("\n") == 1


def test_a_market_of_any_length_runs_forward_in_time() -> None:
    _, batch = gpu_check.long_market(2_500)
    assert len(batch) == 2_500
    assert bool((batch.ts_ns[1:] >= batch.ts_ns[:-1]).all())


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so(root: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_check"], cwd=root, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert any(why in done.stderr for why in ("finds no CUDA device", "has no CUDA; install a CUDA build of torch"))
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(
    os.path.exists("/proc/driver/nvidia") or shutil.which("nvidia-smi") is not None, reason="there is a driver"
)
def test_nothing_is_installed_where_there_is_no_driver(root: Path, tmp_path: Path) -> None:
    command = ["make", "gpu-check", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("no NVIDIA driver is installed here")
    assert not (tmp_path / "venv").exists()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Figures of a card on another page than ours."""
    monkeypatch.setattr(report, "KEPT", tmp_path / "benchmarks.json")
    monkeypatch.setattr(report, "PAGE", tmp_path / "benchmarks.md")
    return tmp_path / "benchmarks.md"


CARD = {"device": "H100"}
ROWS = [gpu_report.Row("1,000 sets x 10,000,000 events, exact", 0.1, "s", 0.15, less=True)]


def test_what_is_red_is_not_kept(kept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert gpu_report.close(ROWS, ["sweep  <- RED"], CARD, good=False, seconds=1.0, keeping="How fast?") == 1
    assert capsys.readouterr().out.endswith("nothing kept: not all is green\n")
    assert not kept.exists()
    assert gpu_report.close(ROWS, [], CARD, good=True, seconds=1.0, keeping="How fast?") == 0
    assert capsys.readouterr().out.endswith(f"{kept}: written, 1 figures of H100\n")
    assert "| 1,000 sets x 10,000,000 events, exact | 0.1 s | at most 0.15 s | met |" in kept.read_text()


def test_figures_of_a_card_are_not_written_over_where_there_is_none(
    kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert gpu_check.without_device("no driver", keeping=True) == 0
    assert capsys.readouterr().out == f"no driver\n{kept}: written, that nothing was measured\n"
    assert gpu_check.without_device("no driver", keeping=True) == 0, "there is nothing to lose"
    gpu_report.keep(ROWS, "How fast?", CARD)
    before = kept.read_text()
    assert gpu_check.without_device("no driver", keeping=True) == 2
    assert "docs/benchmarks.md holds figures of H100, which stay" in capsys.readouterr().err
    assert kept.read_text() == before


def test_what_was_not_tested_is_not_kept(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        gpu_check.main(["--keep", "--no-tests"])
    assert "leave --no-tests out" in capsys.readouterr().err


def test_a_missed_target_is_called_missed() -> None:
    assert [
        gpu_report.Row("x", 1.0, "s", target, less=less).verdict for target, less in ((2.0, True), (2.0, False))
    ] == [
        "met",
        "MISSED",
    ]
