"""Where tensors live: the CPU, or a CUDA device if one can really be used."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schwabot.errors import ConfigError, DeviceError, closest

if TYPE_CHECKING:
    import torch

KINDS = ("auto", "cpu", "cuda")
OLDEST = (7, 5)
"""Compute capability of the oldest GPU that CUDA 13 supports (Turing)."""
ON_CPU = "warning: running on the CPU: "
"""How the note begins that says why it is not the device that was asked for."""
PASSED_OVER = "note: running on the CPU: "
"""How the note begins that says why ``auto`` does not take a device that is there."""
INSTALL = "pip install -r requirements-torch.txt and pip install '.[cuda]' in the clone (docs/gpu.md)"
INTERPRETERS = ("TRITON_INTERPRET", "NUMBA_ENABLE_CUDASIM")
"""Variables of the environment that let kernels be interpreted on the CPU."""


@dataclass
class DeviceConfig:
    """Which device to use.

    Attributes:
        kind: ``cpu``, ``cuda``, or ``auto`` = cuda where it works, else cpu.
        index: number of the CUDA device.
        required: fail instead of falling back to the CPU.
    """

    kind: str = "auto"
    index: int = 0
    required: bool = False

    def check(self) -> None:
        """Raise ConfigError when a value is out of range."""
        if self.kind not in KINDS:
            raise ConfigError(no_such_kind("device.kind=", self.kind))
        if not 0 <= self.index < 128:
            raise ConfigError(f"device.index={self.index} is out of range: use 0 to 127")
        if self.required and self.kind == "auto":
            raise ConfigError("device.required=true needs a device to require: add +device=cuda or +device=cpu")


def no_such_kind(before: str, given: str) -> str:
    """What is said of a device of no kind.

    Args:
        before: what stands before it where it was asked for.
        given: what was asked for.

    Example:
        >>> no_such_kind("device=", "gpu")
        'device=gpu is not a choice, did you mean cuda?; use auto, cpu or cuda'
        >>> no_such_kind("device=", "cuda:1")
        'device=cuda:1 is not a choice, did you mean cuda and device.index=1?; use auto, cpu or cuda'
    """
    kind, _, index = given.lower().partition(":")
    if kind == "cuda" and index.isdecimal():
        hint = f", did you mean cuda and device.index={int(index)}?"
    elif kind in ("gpu", "nvidia", "cuda"):
        hint = ", did you mean cuda?"
    else:
        hint = closest(given, KINDS)
    return f"{before}{given} is not a choice{hint}; use auto, cpu or cuda"


def resolve_device(config: DeviceConfig) -> tuple[torch.device, str | None]:
    """Pick the device, and say why when it is not the one that was asked for, or that is there.

    A CUDA device counts as usable only after a small computation on it, by a kernel compiled for it, came back right.

    Args:
        config: what was asked for.

    Returns:
        The device, and a note for the user: the warning of a fallback from ``cuda`` to the CPU, or why ``auto`` does
        not take a CUDA device that torch sees; else None.

    Raises:
        DeviceError: ``cuda`` is required and can't be used.

    Example:
        >>> resolve_device(DeviceConfig(kind="cpu"))
        (device(type='cpu'), None)
    """
    import torch

    config.check()
    if config.kind == "cpu":
        return torch.device("cpu"), None
    reason = why_no_cuda(config.index)
    if reason is None:
        return torch.device("cuda", config.index), None
    return torch.device("cpu"), told(config, reason, seen=torch.cuda.is_available())


def told(config: DeviceConfig, reason: str, *, seen: bool) -> str | None:
    """What the user is told where CUDA can't be used.

    Args:
        config: what was asked for.
        reason: why.
        seen: torch sees a CUDA device.

    Raises:
        DeviceError: it is required.

    Example:
        >>> told(DeviceConfig(), "Old has compute capability 6.1", seen=True)
        'note: running on the CPU: Old has compute capability 6.1'
    """
    if config.kind == "auto":
        return f"{PASSED_OVER}{reason}" if seen else None
    if config.required:
        raise DeviceError(f"device cuda is required and can't be used: {reason}")
    return f"{ON_CPU}{reason}"


def why_no_cuda(index: int) -> str | None:
    """Why a CUDA device can't be used; None when it can, as a small computation there showed."""
    import torch

    if torch.version.cuda is None:
        return f"this build of torch ({torch.__version__}) has no CUDA; install a CUDA build of torch"
    if not torch.cuda.is_available():
        return "torch finds no CUDA device; is an NVIDIA driver installed and a GPU visible (nvidia-smi)?"
    if index >= torch.cuda.device_count():
        return f"there is no CUDA device {index}; there are {torch.cuda.device_count()}"
    return why_not_used(
        lambda: (torch.cuda.get_device_name(index), torch.cuda.get_device_capability(index)),
        lambda: _probe(torch.device("cuda", index)),
    )


def why_not_used(about: Callable[[], tuple[str, tuple[int, int]]], probe: Callable[[], str | None]) -> str | None:
    """Why a device that is there can't be used; None when it can.

    Args:
        about: its name and compute capability. Asking for them starts CUDA, which may fail like any other work there.
        probe: what is wrong with a small computation there.

    Example:
        >>> why_not_used(lambda: ("Old", (6, 1)), lambda: None)
        'Old has compute capability 6.1; 7.5 or newer is supported'
    """
    for variable in INTERPRETERS:
        if os.environ.get(variable, "").strip().lower() not in ("", "0", "false", "no", "off"):
            return f"{variable}={os.environ[variable]} lets kernels be interpreted on the CPU; unset it to use the GPU"
    name = "the device"
    try:
        name, capability = about()
        if capability < OLDEST:
            found, oldest = (".".join(map(str, each)) for each in (capability, OLDEST))
            return f"{name} has compute capability {found}; {oldest} or newer is supported"
        return probe()
    except ImportError as error:
        return f"{error}; install the GPU's packages: {INSTALL}"
    except Exception as error:  # noqa: BLE001 busy, no memory, a driver too old, a compiler that fails: all differ
        return f"a test computation on {name} failed: {(str(error).splitlines() or [type(error).__name__])[0]}"


def _probe(device: torch.device) -> str | None:
    """What is wrong with a decayed sum on the device."""
    import torch

    from schwabot_kernels.device_scan import affine

    half, one = torch.full((5, 1), 0.5, dtype=torch.float64), torch.ones(5, 1, dtype=torch.float64)
    with torch.cuda.device(device):  # on which Triton launches
        found = affine(half.to(device), one.to(device), one[0].to(device)).cpu().flatten().tolist()
    if found != [1.5, 1.75, 1.875, 1.9375, 1.96875]:
        return f"a test computation on {torch.cuda.get_device_name(device)} gave {found} instead of 1.5, 1.75, ..."
    return None
