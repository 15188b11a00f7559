"""Where the graph runs, and what is said when it is not where it was asked for."""

from __future__ import annotations

import pytest
import torch

from schwabot.errors import ConfigError, DeviceError
from schwabot.tensors.device import DeviceConfig, resolve_device

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
