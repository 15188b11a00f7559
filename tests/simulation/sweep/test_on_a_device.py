"""A sweep whose device fails or is too small: the CPU goes on, or it ends; folds are put there as there is room."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
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
from schwabot.signals.builtin.threshold import threshold
from schwabot.signals.compiling import compile_policy
from schwabot.simulation.sweep.device_kernel import DeviceFolds
from schwabot.simulation.sweep.ranges import open_space
from schwabot_kernels.simulate.records import COUNTS, MOMENTS
from tests.kernels.making_threshold import make_market, make_rules
from tests.simulation.sweep.making_device import PLENTY, Card

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


@pytest.mark.parametrize("fails_at", [1, 2])
def test_a_required_device_that_fails_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], fails_at: int
) -> None:
    """When it is compared with the CPU, which is before there is a run to write of; at the first set."""
    card = Card(fails_at=fails_at)
    monkeypatch.setattr("schwabot.modes.sweep.Markets", partial(Markets, open_kernel=card.open_kernel))
    with pytest.raises(SystemExit):
        swept(tmp_path, "device.required=true", "sweep.threads=1")
    assert "error: device cuda:0 is required and can't sweep threshold" in capsys.readouterr().err
    assert not (tmp_path / "sweep.parquet").exists()
    assert (tmp_path / "summary.json").exists() == (fails_at > 1)


def test_a_required_device_that_was_given_up_is_not_passed_over_by_another_thread() -> None:
    compiled, card, told = compile_policy(threshold), Card(fails_at=1), list[str]()
    kernel = card.open_kernel(compiled, 1, torch.device("cpu"), told.append, required=True)
    market = make_market(5, 300, inverse=False, late_leg=False, nan=0.1, ties=False)
    rules = make_rules(5, 2, market, inverse=False, model=0, latency_ns=60, funding=1, bucket_ns=500)
    fold, params = kernel.prepare(market, rules.bucket_ns), compiled.row()[None, :].repeat(2, 0)
    for _ in range(2):
        with pytest.raises(DeviceError, match="unspecified launch failure"):
            kernel(fold, rules, params, 0, 2, np.zeros((2, 1, COUNTS), np.int64), np.zeros((2, 1, MOMENTS)))
    assert card.calls == 1
    assert told == []


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


# a device that is smaller than all folds


FOLD = 200_000
"""Bytes of the largest fold and somewhat more; the smallest is half of it at least."""


@pytest.mark.parametrize(
    ("room", "memory", "puts"),
    [
        (PLENTY, PLENTY, 5),  # once, for the check, all blocks, with skipping and without
        (2 * FOLD, PLENTY, None),
        (PLENTY, 2 * FOLD, None),  # it says that there is more than there is
        (0, FOLD, None),
    ],
)
def test_folds_go_through_a_device_that_is_smaller(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int, memory: int, puts: int | None
) -> None:
    card = Card(room=room, memory=memory)
    monkeypatch.setattr("schwabot.modes.sweep.Markets", partial(Markets, open_kernel=card.open_kernel))
    _, summary = swept(tmp_path, f"sweep.threads={1 if puts is None else 8}")
    assert not any("can't sweep" in note for note in summary["notes"])
    assert card.most <= min(room or FOLD, memory)
    if puts is not None:
        assert card.puts == puts
        assert card.calls == 1 + 3 * 5 + 5 + 4  # a set is not cut off from its block for the threads there are
    elif room:
        assert 5 < card.puts < card.calls  # some were still there when they were asked for again
    else:
        assert card.puts > 5


def test_what_fits_nowhere_is_swept_on_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = Card(memory=FOLD // 8)
    monkeypatch.setattr("schwabot.modes.sweep.Markets", partial(Markets, open_kernel=card.open_kernel))
    _, summary = swept(tmp_path, "sweep.threads=1")
    (told,) = (note for note in summary["notes"] if "can't sweep" in note)
    assert "(OutOfMemoryError: CUDA out of memory: " in told
    assert card.calls == 0


def test_folds_that_are_asked_for_in_turn_are_not_all_put_out() -> None:
    folds, puts = [np.zeros(k) for k in (10, 11, 12, 13)], list[int]()

    class Small:
        def room(self) -> int:
            return 8 * 34

        def put(self, fold: Any) -> Any:
            puts.append(len(fold))
            return fold

    there, small = DeviceFolds(), Small()
    for _ in range(3):
        for fold in folds:
            assert there.get(small, fold) is fold
    assert puts == [10, 11, 12, 13, 12, 13, 12, 13]
    there.clear()  # as memory ran out
    for fold in folds[:3]:
        there.get(small, fold)
    assert puts[8:] == [10, 11, 12]
    assert len(there._there) == 1
