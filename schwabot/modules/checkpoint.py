"""A state in a file, with the streams it belongs to."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from schwabot.errors import StateError
from schwabot.modules.stateful import State

FORMAT = 6


def save_state(file: str | Path, streams: Sequence[str], state: State) -> None:
    """Write a state; a file of the same name is replaced only once the new one is whole.

    Args:
        file: where to.
        streams: names of the V streams, in order.
        state: tensors by name.

    Raises:
        StateError: the file can't be written; nothing is left of the attempt.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     save_state(f"{folder}/state.pt", ["a:X/Y"], {"x": torch.ones(2)})
        ...     load_state(f"{folder}/state.pt", ["a:X/Y"])
        {'x': tensor([1., 1.])}
    """
    file = Path(file)
    partial = file.with_name(file.name + ".partial")
    sha256 = _checksum(streams, state)
    content = {"schwabot_state": FORMAT, "streams": list(streams), "state": dict(state), "sha256": sha256}
    try:
        with partial.open("wb") as written:
            torch.save(content, written)
            written.flush()
            os.fsync(written.fileno())
        partial.replace(file)
    except (OSError, RuntimeError) as error:  # torch says RuntimeError where the disk is full
        if partial.is_file():
            partial.unlink()
        reason = (isinstance(error, OSError) and error.strerror) or str(error).splitlines()[0]
        raise StateError(f"{file}: can't be written ({reason}); name a file in a folder you can write to") from None


def load_state(file: str | Path, streams: Sequence[str]) -> State:
    """Read a state that ``save_state`` wrote. Nothing in the file is executed.

    Args:
        file: where from.
        streams: names it must belong to, in order.

    Raises:
        StateError: not such a file, cut short, damaged, of another version, or of other streams.
        FileNotFoundError: there is none.
    """
    again = "save it again with Pipeline.save or Graph.save"
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except PermissionError as error:
        raise StateError(f"{file}: can't be read ({error.strerror or error})") from None
    except MemoryError:
        raise
    except Exception as error:  # bytes that are no state fail in any way in torch and pickle; it stays the cause
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise StateError(f"{file}: is no whole state file ({reason}); {again}") from error
    if not isinstance(found, dict) or "schwabot_state" not in found:
        raise StateError(f"{file}: holds no state of Schwabot; write one with Pipeline.save or Graph.save")
    if found["schwabot_state"] != FORMAT:
        raise StateError(f"{file}: is of format {found['schwabot_state']}, this version reads {FORMAT}; {again}")
    if not _is_whole(found):
        raise StateError(f"{file}: is no whole state file: it is damaged, its checksum does not fit; {again}")
    if found["streams"] != list(streams):
        raise StateError(f"{file}: belongs to streams {', '.join(found['streams'])}, not {', '.join(streams)}")
    state: State = found["state"]
    return state


def _is_whole(found: dict[str, Any]) -> bool:
    """Is what was read what was written? Any part of a damaged file may be of any type."""
    streams, state = found.get("streams"), found.get("state")
    if not isinstance(streams, list) or not isinstance(state, dict):
        return False
    named = all(isinstance(name, str) for name in (*streams, *state))
    tensors = all(isinstance(tensor, torch.Tensor) for tensor in state.values())
    try:
        return named and tensors and found.get("sha256") == _checksum(streams, state)
    except (TypeError, RuntimeError, NotImplementedError):  # sparse, quantised, without memory: none of ours
        return False


def _checksum(streams: Sequence[str], state: State) -> str:
    """SHA-256 over streams and, in order of name, every tensor's name, type, shape and bytes."""
    checksum = hashlib.sha256(repr(list(streams)).encode())
    for name, tensor in sorted(state.items()):
        checksum.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        checksum.update(tensor.detach().cpu().numpy().tobytes())
    return checksum.hexdigest()
