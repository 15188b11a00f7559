"""``schwabot.fit`` and ``schwabot.leadlag`` on a device: asked for and not there, and lost half way."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import schwabot
from schwabot.errors import ConfigError, DeviceError, FitError
from schwabot.ticks.base import Feed

S = 1_000_000_000
no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")


def series() -> dict[str, tuple[Any, Any]]:
    rng = np.random.default_rng(0)
    path = 100.0 + np.cumsum(rng.normal(size=3_000)) / 100.0
    at = np.arange(0, 2_900, 2)
    return {"fast": (at * S, path[at + 20]), "slow": (at[::2] * S, path[at[::2]])}


def market() -> Feed:
    return schwabot.load("synthetic", events=4_000, streams=2)


def fit(**given: Any) -> schwabot.Fit:
    return schwabot.fit(market, folds=1, blocks=2, **given)


@pytest.fixture
def without_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A device is found that fails at the first thing it is asked: ``meta`` holds no numbers."""
    monkeypatch.setattr("schwabot.training.leadlag_sums.resolve_device", lambda config: (torch.device("meta"), None))


@no_gpu
def test_a_device_that_is_not_there_is_the_cpu() -> None:
    with pytest.warns(RuntimeWarning, match="running on the CPU: ") as warned:
        found = schwabot.leadlag(series(), step_ms=1_000, device="cuda")
    assert warned[0].filename == __file__
    assert found.summary["device"] == "cpu"
    assert "warning: running on the CPU: " in found.summary["notes"][-1]
    with pytest.warns(RuntimeWarning, match="running on the CPU: "), pytest.raises(FitError):
        schwabot.fit(lambda: schwabot.load("synthetic", events=10), device="cuda")
    graph = schwabot.Graph(device="cuda")
    graph.settings.device.required = True
    with pytest.raises(DeviceError, match="device cuda is required"):
        fit(graph=graph)


def test_no_such_device() -> None:
    for asked in (lambda: schwabot.leadlag(series(), device="gpu"), lambda: fit(device="gpu")):
        with pytest.raises(ConfigError, match="auto, cpu, cuda"):
            asked()


@pytest.mark.usefixtures("without_memory")
def test_a_device_that_is_lost_is_left_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(RuntimeWarning, match="meta failed"):
        found = schwabot.leadlag(series(), step_ms=1_000)
    assert found.summary["device"] == "meta, then cpu"
    with pytest.warns(RuntimeWarning, match="meta failed"):
        trained = fit()
    graph = schwabot.Graph()
    graph.settings.device.required = True
    with pytest.raises(DeviceError, match="device meta is required and failed"):
        fit(graph=graph)
    monkeypatch.undo()
    wanted = schwabot.leadlag(series(), step_ms=1_000, device="cpu")
    assert found.pairs.equals(wanted.pairs)
    assert found.curves.equals(wanted.curves)
    np.testing.assert_array_equal(trained.head.coefficients, fit(device="cpu").head.coefficients)
