"""Where the graph runs, and what is said when it is not where it was asked for."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from schwabot.errors import ConfigError, DeviceError
from schwabot.tensors.device import INSTALL, DeviceConfig, resolve_device, told, why_not_used

no_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


def test_cpu_is_the_cpu() -> None:
    assert resolve_device(DeviceConfig(kind="cpu", required=True)) == (torch.device("cpu"), None)


@no_gpu
def test_automatic_falls_back_without_a_word() -> None:
    assert resolve_device(DeviceConfig()) == (torch.device("cpu"), None)


@no_gpu
def test_cuda_falls_back_with_a_reason() -> None:
    device, reason = resolve_device(DeviceConfig(kind="cuda"))
    assert device == torch.device("cpu")
    assert reason
    with pytest.raises(DeviceError, match="required and can't be used"):
        resolve_device(DeviceConfig(kind="cuda", required=True))


@pytest.mark.parametrize(
    "config", [DeviceConfig(kind="gpu"), DeviceConfig(index=-1), DeviceConfig(required=True)], ids=str
)
def test_nonsense_is_refused(config: DeviceConfig) -> None:
    with pytest.raises(ConfigError):
        resolve_device(config)


def raising(error: Exception) -> Callable[[], tuple[str, tuple[int, int]]]:
    def about() -> tuple[str, tuple[int, int]]:
        raise error

    return about


@pytest.mark.parametrize(
    ("about", "probe", "reason"),
    [
        (lambda: ("H100", (9, 0)), lambda: None, None),
        (lambda: ("H100", (9, 0)), lambda: "3 instead of 2", "3 instead of 2"),
        (lambda: ("P4", (6, 1)), lambda: None, "P4 has compute capability 6.1; 7.5 or newer is supported"),
        (
            raising(RuntimeError("CUDA error: all CUDA-capable devices are busy\nmore")),
            lambda: None,
            "a test computation on the device failed: CUDA error: all CUDA-capable devices are busy",
        ),
        (
            lambda: ("H100", (9, 0)),
            raising(torch.OutOfMemoryError("")),
            "a test computation on H100 failed: OutOfMemoryError",
        ),
        (
            lambda: ("H100", (9, 0)),
            raising(ModuleNotFoundError("No module named 'triton'")),
            f"No module named 'triton'; install the GPU's packages: {INSTALL}",
        ),
    ],
    ids=["fine", "wrong", "old", "busy", "memory", "triton"],
)
def test_a_device_that_fails_is_a_reason(
    about: Callable[[], tuple[str, tuple[int, int]]], probe: Callable[[], str | None], reason: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert why_not_used(about, probe) == reason


@pytest.mark.parametrize("name", ["TRITON_INTERPRET", "NUMBA_ENABLE_CUDASIM"])
def test_kernels_that_would_be_interpreted_are_a_reason(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv(name, "1")
    reason = why_not_used(lambda: ("H100", (9, 0)), lambda: None)
    assert reason == f"{name}=1 lets kernels be interpreted on the CPU; unset it to use the GPU"
    monkeypatch.setenv(name, "0")
    assert why_not_used(lambda: ("H100", (9, 0)), lambda: None) is None


def test_automatic_says_why_a_device_that_is_there_is_not_taken() -> None:
    assert told(DeviceConfig(), "it is busy", seen=True) == "note: running on the CPU: it is busy"
    assert told(DeviceConfig(), "there is none", seen=False) is None
    assert told(DeviceConfig(kind="cuda"), "it is busy", seen=True) == "warning: running on the CPU: it is busy"
