"""What `make gpu-check` calls still is what it calls; its numbers need a GPU."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
