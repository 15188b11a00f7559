"""What `make gpu-check` calls still is what it calls; its numbers need a GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import gpu_check
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
    assert "finds no CUDA device" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missed_target_is_called_missed() -> None:
    assert [
        gpu_check.Row("x", 1.0, "s", target, less=less).verdict for target, less in ((2.0, True), (2.0, False))
    ] == [
        "met",
        "MISSED",
    ]
