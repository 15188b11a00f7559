"""A fit whose sums a device does is the fit of the CPU; a device that fails is left for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from schwabot.errors import DeviceError
from schwabot.training.device_rows import DeviceRows
from schwabot.training.forecast_rows import Rows
from schwabot.training.leadlag_sums import SumsDevice
from schwabot.training.ridge import Part, RidgeConfig, fit_ridge, score

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
CONFIG = RidgeConfig(clip=2.0, grid_share=0.3, mask_share=0.2)


def part(rows: int = 3_001, streams: int = 3, seed: int = 0) -> Part:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(rows, streams, 9)).astype(np.float32)
    features[:, 1, 4] = 0.0  # says nothing
    outcome = (features[:, :, :2] + rng.normal(size=(rows, streams, 2))).astype(np.float32)
    made = Rows(np.arange(rows) * 10, rng.random(rows) < 0.7, features, outcome, reach_ns=5)
    return Part(made, rng.random(rows) < 0.9, (2, 0, 1)[:streams])


def test_sums_on_a_device_are_those_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("schwabot.training.device_rows.CHUNK", 1_000)  # three whole chunks and a row
    plain, device = [part(), part(seed=1, streams=2)], SumsDevice(str(DEVICE))
    there = [replace(one, there=DeviceRows(one.rows, device)) for one in plain]
    cpu, found = (fit_ridge(parts, 3, [0.1, 3.0], CONFIG) for parts in (plain, there))
    np.testing.assert_allclose(found.scale, cpu.scale, rtol=1e-12)
    np.testing.assert_allclose(found.coefficients, cpu.coefficients, rtol=1e-9, atol=1e-12)
    for one, two in zip(plain, there, strict=True):
        for name in ("energy", "error"):
            np.testing.assert_allclose(getattr(score(cpu, two), name), getattr(score(cpu, one), name), rtol=1e-10)
    assert device.failed is None


def test_a_device_that_fails_is_left_by_every_asset_for_the_cpu() -> None:
    """A device without memory to read from."""
    device, plain = SumsDevice("meta"), [part(), part(seed=1, streams=2)]
    lost = [replace(one, there=DeviceRows(one.rows, device)) for one in plain]
    cpu, found = (fit_ridge(parts, 3, [0.1], CONFIG) for parts in (plain, lost))
    np.testing.assert_array_equal(found.coefficients, cpu.coefficients)
    np.testing.assert_array_equal(score(found, lost[1]).error, score(cpu, plain[1]).error)
    assert device.warning is not None
    assert device.warning.startswith("warning: meta failed (NotImplementedError")
    assert device.said == "meta, then cpu"


def test_a_required_device_that_fails_ends_the_fit() -> None:
    one = part()
    lost = replace(one, there=DeviceRows(one.rows, SumsDevice("meta", required=True)))
    with pytest.raises(DeviceError, match="device meta is required and failed: NotImplementedError"):
        fit_ridge([lost], 3, [0.1], CONFIG)


def test_a_device_that_is_not_there_gives_no_sums() -> None:
    device, plain = SumsDevice("cuda:77"), part(rows=50)
    nowhere = DeviceRows(plain.rows, device)
    assert device.failed is not None
    assert nowhere.squares(np.ones(1), np.zeros(1, np.int64)) is None
