"""A graph is tried on its device before a run, in Python too, and why it is not there is kept."""

from __future__ import annotations

import pytest
import torch

import schwabot
from schwabot.errors import DeviceError
from schwabot.modes.opened_graph import tried
from schwabot.pipeline import Pipeline
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed

META = torch.device("meta")
"""A device that has no memory to read answers from."""


def on(device: torch.device) -> Pipeline:
    return Pipeline(SyntheticFeed(SyntheticConfig(events=10)).instruments, device=device)


def test_a_device_whose_trial_fails_is_left_before_the_run() -> None:
    pipeline, note = tried(on, META, required=False)
    assert pipeline.device == torch.device("cpu")
    assert note is not None
    assert note.startswith("warning: running on the CPU: a trial of the graph failed there: ")
    with pytest.raises(DeviceError, match="device meta is required and can't be used: a trial of the graph failed"):
        tried(on, META, required=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_what_trades_from_python_says_why_it_is_on_the_cpu() -> None:
    feed, graph = schwabot.load("synthetic", events=500), schwabot.Graph(device="cuda:0")
    with pytest.warns(RuntimeWarning, match="running on the CPU: ") as warned:
        found = schwabot.backtest(feed, "threshold", graph=graph)
    assert warned[0].filename == __file__
    assert found.notes == found.summary["notes"]
    assert found.notes[0].startswith("warning: running on the CPU: ")
    assert found.summary["device"] == "cpu"
    with pytest.warns(RuntimeWarning, match="running on the CPU: ") as warned:
        swept = schwabot.sweep(
            schwabot.load("synthetic", events=2_000), "threshold", {"enter_bp": [0.1, 0.3]}, sets=2, graph=graph
        )
    assert [one.filename for one in warned] == [__file__], "once"
    assert swept.summary["device"] == "cpu"
