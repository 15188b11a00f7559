"""The ``device`` argument of the Python API, and how its calls say where they run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from warnings import warn

import torch

from schwabot.errors import ConfigError
from schwabot.tensors.device import KINDS, no_such_kind

WARNING = "warning: "


def device_settings(device: object) -> dict[str, Any]:
    """The settings under ``device.`` that an argument stands for.

    Args:
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` or such a ``torch.device``.

    Raises:
        ConfigError: something else.

    Example:
        >>> device_settings("cuda:1")
        {'kind': 'cuda', 'index': 1}
        >>> device_settings(torch.device("cpu"))
        {'kind': 'cpu'}
        >>> device_settings("gpu")
        Traceback (most recent call last):
        schwabot.errors.ConfigError: device=gpu is not a choice, did you mean cuda?; use auto, cpu or cuda
    """
    if not isinstance(device, str | torch.device):
        raise ConfigError(
            f"device={device!r} is of type {type(device).__name__}: use 'auto', 'cpu', 'cuda' or 'cuda:1'"
        )
    kind, _, index = str(device).partition(":")
    if kind == "cuda" and index.isdecimal():
        return {"kind": kind, "index": int(index)}
    if str(device) not in KINDS:
        raise ConfigError(no_such_kind("device=", str(device)))
    return {"kind": kind}


def refuse_device(function: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Say where the device is named to who names it where a policy's parameters are.

    Args:
        function: that was called.
        given: parameters that were given.
        known: those of the policy.

    Raises:
        ConfigError: a device is among them.
    """
    if "device" in given and "device" not in known:
        raise ConfigError(f"{function} runs where its graph does: use {function}(..., graph=Graph(device=...))")


def warn_of(note: str | None) -> None:
    """Python's warning to the caller of the API where a note is one; called from the API's own functions.

    Args:
        note: as notes of a summary are; one that is no warning is left to the summary.
    """
    if note is not None and note.startswith(WARNING):
        warn(note.removeprefix(WARNING), RuntimeWarning, stacklevel=4)
