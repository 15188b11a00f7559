"""``schwabot.fit`` and ``schwabot.leadlag`` on a device: asked for and not there, and lost half way."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import schwabot
from schwabot.errors import ConfigError, DeviceError, FitError
from schwabot.tensors.device import DeviceConfig
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
        with pytest.raises(ConfigError, match=r"did you mean cuda.*auto, cpu or cuda"):
            asked()
    for nothing in ("cuda:", "cuda:one", "cpu:1", "", None, {"kind": "cuda"}, DeviceConfig(), torch.device("meta")):
        with pytest.raises(ConfigError, match="device="):
            schwabot.Graph(device=nothing)  # type: ignore[arg-type]


def test_a_device_as_torch_names_it() -> None:
    for asked in ("cuda:3", torch.device("cuda", 3)):
        assert schwabot.Graph(device=asked).settings.device == DeviceConfig("cuda", 3)
    assert schwabot.Graph(device=torch.device("cuda")).settings.device == DeviceConfig("cuda", 0)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (
            lambda: schwabot.sweep(market(), "threshold", device="cuda"),
            r"sweep\(\.\.\., graph=Graph\(device=\.\.\.\)\)",
        ),
        (lambda: schwabot.backtest(market(), "threshold", device="cuda"), r"backtest\(\.\.\., graph=Graph\(device="),
        (
            lambda: schwabot.fit(market, {"device": "cuda"}),
            r"it is an argument beside them: fit\(\.\.\., device=\.\.\.\)",
        ),
        (lambda: schwabot.Graph({"device": "cuda"}), r"device is an argument of Graph"),
        (lambda: schwabot.sweep(market(), "threshold", options={"device": 1}), "no such setting; settings of sweep"),
        (lambda: schwabot.leadlag(market(), required=True), "no such setting; settings of leadlag"),
    ],
    ids=["sweep", "backtest", "fit", "graph", "options", "leadlag"],
)
def test_a_device_in_the_wrong_place(asked: Callable[[], object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
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
