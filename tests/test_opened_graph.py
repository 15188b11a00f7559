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
    pipeline, reason = tried(on, META, required=False)
    assert pipeline.device == torch.device("cpu")
    assert reason is not None
    assert reason.startswith("a trial of the graph failed there: ")
    with pytest.raises(DeviceError, match="device meta is required and can't be used: a trial of the graph failed"):
        tried(on, META, required=True)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_backtest_from_python_says_why_it_is_on_the_cpu() -> None:
    feed = schwabot.load("synthetic", events=500)
    with pytest.warns(RuntimeWarning, match="running on the CPU: "):
        found = schwabot.backtest(feed, "threshold", graph=schwabot.Graph(device="cuda"))
    assert found.notes[0].startswith("warning: running on the CPU: ")
