"""A fit whose sums a device does is the fit of the CPU; a device that fails is left for it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from schwabot.training.device_rows import DeviceRows
from schwabot.training.forecast_rows import Rows
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
    said: list[str] = []
    plain = [part(), part(seed=1, streams=2)]
    there = [replace(one, there=DeviceRows(one.rows, DEVICE, said.append)) for one in plain]
    cpu, device = (fit_ridge(parts, 3, [0.1, 3.0], CONFIG) for parts in (plain, there))
    np.testing.assert_allclose(device.scale, cpu.scale, rtol=1e-12)
    np.testing.assert_allclose(device.coefficients, cpu.coefficients, rtol=1e-9, atol=1e-12)
    for one, two in zip(plain, there, strict=True):
        for name in ("energy", "error"):
            np.testing.assert_allclose(getattr(score(cpu, two), name), getattr(score(cpu, one), name), rtol=1e-10)
    assert said == []
    assert all(one.there is not None and one.there.failed is None for one in there)


def test_a_device_that_fails_is_named_once_and_the_cpu_goes_on() -> None:
    said: list[str] = []
    plain = part()
    lost = replace(plain, there=DeviceRows(plain.rows, DEVICE, said.append))
    assert lost.there is not None
    del lost.there._features  # what a lost device leaves behind
    cpu, device = (fit_ridge([one], 3, [0.1], CONFIG) for one in (plain, lost))
    np.testing.assert_array_equal(device.coefficients, cpu.coefficients)
    np.testing.assert_array_equal(score(device, lost).error, score(cpu, plain).error)
    assert len(said) == 1
    assert "failed (AttributeError" in said[0]


def test_a_device_that_is_not_there_is_named() -> None:
    said: list[str] = []
    plain = part(rows=50)
    nowhere = DeviceRows(plain.rows, torch.device("cuda", 77), said.append)
    assert nowhere.failed is not None
    assert len(said) == 1
    assert nowhere.squares(np.ones(1), np.zeros(1, np.int64)) is None
