"""Where tensors live: the CPU, or a CUDA device if one can really be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schwabot.errors import ConfigError, DeviceError

if TYPE_CHECKING:
    import torch

KINDS = ("auto", "cpu", "cuda")
OLDEST = (7, 5)
"""Compute capability of the oldest GPU that CUDA 13 supports (Turing)."""


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
            raise ConfigError(f"device.kind={self.kind} is not a choice: use one of {', '.join(KINDS)}")
        if not 0 <= self.index < 128:
            raise ConfigError(f"device.index={self.index} is out of range: use 0 to 127")
        if self.required and self.kind == "auto":
            raise ConfigError("device.required=true needs a device to require: add +device=cuda or +device=cpu")


def resolve_device(config: DeviceConfig) -> tuple[torch.device, str | None]:
    """Pick the device, and say why when it is not the one that was asked for.

    A CUDA device counts as usable only after a small computation on it, by a kernel compiled for it, came back right.

    Args:
        config: what was asked for.

    Returns:
        The device, and the reason of a fallback from ``cuda`` to the CPU (None when there was none).

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
    reason = _why_no_cuda(config.index)
    if reason is None:
        return torch.device("cuda", config.index), None
    if config.kind == "auto":
        return torch.device("cpu"), None
    if config.required:
        raise DeviceError(f"device cuda is required and can't be used: {reason}")
    return torch.device("cpu"), reason


def _why_no_cuda(index: int) -> str | None:
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
    name = "the device"
    try:
        name, capability = about()
        if capability < OLDEST:
            found, oldest = (".".join(map(str, each)) for each in (capability, OLDEST))
            return f"{name} has compute capability {found}; {oldest} or newer is supported"
        return probe()
    except ImportError as error:
        return f"{error}; install the GPU's packages: pip install 'schwabot[cuda]'"
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
