"""A sweep whose device fails on the way: it goes on on the CPU, or ends where the device is required."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from schwabot.api import _settings
from schwabot.engine import StopRequest
from schwabot.errors import DeviceError
from schwabot.modes.sweep_markets import Markets, declared
from schwabot.modes.sweep_slices import WHOLE, Slice, Slices
from schwabot.modes.trading import open_desk, open_policy
from schwabot.modules.device_graph import DeviceGraph
from schwabot.run import main
from schwabot.simulation.sweep.ranges import open_space
from tests.gpu.making_sweep import Card

SWEEP = [
    "mode=sweep", "source.events=6000", "sweep.over={enter_bp: [0.02, 0.3]}", "sweep.sets=12", "sweep.batch=4",
    "sweep.folds=4", "sweep.min_trades=2", "sinks.progress=false", "sinks.tensorboard=false", "sinks.console=false",
    "sinks.figures=false", "+device=cpu",
]  # fmt: skip


def swept(folder: Path, *more: str) -> tuple[Any, dict[str, Any]]:
    """Rows and summary."""
    main([*SWEEP, *more, f"hydra.run.dir={folder}"])
    return pq.read_table(folder / "sweep.parquet"), json.loads((folder / "summary.json").read_text())


def test_a_required_device_that_is_lost_ends_the_sweep_and_what_was_done_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wanted, _ = swept(tmp_path / "cpu")
    card = Card(fails_at=1 + 5 + 3)  # the check, the first block's five folds, two of the second's
    with monkeypatch.context() as patch:
        patch.setattr("schwabot.modes.sweep.Markets", partial(Markets, open_kernel=card.open_kernel))
        with pytest.raises(SystemExit) as ended:
            swept(tmp_path / "lost", "device.required=true", "sweep.threads=1")
    assert ended.value.code == 1
    reason = "RuntimeError: CUDA error: unspecified launch failure"
    error = f"device cuda:0 is required and can't sweep threshold: {reason}. Without device.required=true"
    assert error in capsys.readouterr().err
    summary = json.loads((tmp_path / "lost" / "summary.json").read_text())
    assert summary["error"].startswith(error)
    assert not summary["interrupted"]
    assert any(note.startswith("note: ended by its device after 4 of 12 sets") for note in summary["notes"])
    assert pq.read_table(tmp_path / "lost" / "sweep.parquet").equals(wanted.slice(0, 4 * 5))
    assert card.calls == 9  # and not asked again
    rows, summary = swept(tmp_path / "lost")  # goes on, on the CPU
    assert rows.equals(wanted)
    assert summary["sweep"]["recalled"] == 4


def test_nor_are_sets_lost_with_a_device_that_fails_behind_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = Card(fails_at=1 + 3 * 5 + 2)  # while the rate without skipping is taken
    monkeypatch.setattr("schwabot.modes.sweep.Markets", partial(Markets, open_kernel=card.open_kernel))
    with pytest.raises(SystemExit):
        swept(tmp_path, "device.required=true", "sweep.threads=1")
    assert pq.read_table(tmp_path / "sweep.parquet").num_rows == 12 * 5
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert "is required and can't sweep" in summary["error"]


def test_otherwise_the_cpu_goes_on_with_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, _ = swept(tmp_path / "cpu")
    card = Card(fails_at=9)
    monkeypatch.setattr("schwabot.modes.sweep.Markets", partial(Markets, open_kernel=card.open_kernel))
    rows, summary = swept(tmp_path / "lost")
    assert rows.equals(wanted)
    assert sum(note.startswith("warning: cuda:0 can't sweep threshold") for note in summary["notes"]) == 1


def test_a_required_device_that_fails_while_a_market_is_read_ends_the_sweep() -> None:
    def fails(*given: Any) -> list[torch.Tensor]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    settings = _settings({"mode": "sweep", "source": {"events": 2000}, "sinks": {"progress": False}})
    settings.policy.name, settings.device.kind, settings.device.required = "threshold", "cpu", True
    policy = open_policy(settings)
    space = open_space({"enter_bp": [0.5, 9.0]}, declared(policy.parameters, settings.modules))
    desk = open_desk(settings, policy, quiet=True)
    graph = desk.pipeline.graph
    desk.pipeline.run_on(DeviceGraph(graph, torch.device("cpu"), graph.initial_state(), call=fails))
    with pytest.raises(DeviceError, match="device cpu is required and failed: RuntimeError: CUDA error"):
        Markets(settings, policy, space, Slices((Slice(),)), StopRequest(), desk).get(WHOLE, 0)
