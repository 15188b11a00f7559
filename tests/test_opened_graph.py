"""A graph is tried on its device before a run, in Python too, and why it is not there is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import schwabot
from schwabot.config import RunConfig
from schwabot.errors import DeviceError
from schwabot.fallback import FallbackConfig
from schwabot.live_pipeline import RecordedPipeline
from schwabot.modes.opened_graph import open_pipeline, tried
from schwabot.modules.settings import ModulesConfig
from schwabot.pipeline import Pipeline
from schwabot.tensors.device import DeviceConfig
from schwabot.ticks.recorder import RecordConfig, Recorder
from schwabot.ticks.store import StoreConfig, StoreFeed
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


def test_a_recording_of_a_live_run_is_answered_with_its_chain(tmp_path: Path) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=20))
    with Recorder(feed.instruments, RecordConfig(out=str(tmp_path)), ghost_chain=True) as recorder:
        recorder.write(next(feed.batches(50)))
    with Recorder(feed.instruments, RecordConfig(out=str(tmp_path))):
        pass
    recorded = StoreFeed(StoreConfig(path=str(tmp_path)))
    assert recorded.ghost_chain, "it stays so, whoever goes on with the store"

    def kind(replay: bool | None, device: DeviceConfig | None = None) -> tuple[type[Pipeline], str | None]:
        settings = RunConfig(fallback=FallbackConfig(replay=replay), device=device or DeviceConfig("cpu"))
        pipeline, note = open_pipeline(settings, recorded, settings.modules, quiet=True)
        return type(pipeline), note

    assert kind(None) == (RecordedPipeline, None)
    assert kind(False) == (Pipeline, None)
    found, note = kind(True, DeviceConfig("cuda"))
    assert found is RecordedPipeline
    assert note is not None
    assert "fallback.replay=false leaves it out" in note
    with pytest.raises(DeviceError, match="is required and can't be used: the ghost's chain"):
        kind(None, DeviceConfig("cuda", required=True))
    sweep = open_pipeline(RunConfig(device=DeviceConfig("cpu")), recorded, ModulesConfig(), kind=Pipeline)[0]
    assert type(sweep) is Pipeline
