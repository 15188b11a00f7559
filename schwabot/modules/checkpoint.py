"""A state in a file, with the streams it belongs to."""

from __future__ import annotations

import os
import pickle  # nosec B403
import zipfile
from collections.abc import Sequence
from pathlib import Path

import torch

from schwabot.errors import StateError
from schwabot.modules.stateful import State

FORMAT = 1


def save_state(file: str | Path, streams: Sequence[str], state: State) -> None:
    """Write a state; a file of the same name is replaced only once the new one is whole.

    Args:
        file: where to.
        streams: names of the V streams, in order.
        state: tensors by name.

    Example:
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     save_state(f"{folder}/state.pt", ["a:X/Y"], {"x": torch.ones(2)})
        ...     load_state(f"{folder}/state.pt", ["a:X/Y"])
        {'x': tensor([1., 1.])}
    """
    file = Path(file)
    partial = file.with_name(file.name + ".partial")
    torch.save({"schwabot_state": FORMAT, "streams": list(streams), "state": dict(state)}, partial)
    with partial.open("rb") as written:
        os.fsync(written.fileno())
    partial.replace(file)


def load_state(file: str | Path, streams: Sequence[str]) -> State:
    """Read a state that ``save_state`` wrote. Nothing in the file is executed.

    Args:
        file: where from.
        streams: names it must belong to, in order.

    Raises:
        StateError: not such a file, cut short, of another version, or of other streams.
        FileNotFoundError: there is none.
    """
    try:
        found = torch.load(file, map_location="cpu", weights_only=True)
    # pickle is imported for its error only; torch loads with weights_only.
    except (pickle.UnpicklingError, RuntimeError, EOFError, zipfile.BadZipFile, KeyError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise StateError(f"{file}: is no whole state file ({reason}); write it with Graph.save") from None
    if not isinstance(found, dict) or "schwabot_state" not in found:
        raise StateError(f"{file}: holds no state of Schwabot; write it with Graph.save")
    if found["schwabot_state"] != FORMAT:
        raise StateError(f"{file}: is of format {found['schwabot_state']}, this version reads {FORMAT}")
    if found["streams"] != list(streams):
        raise StateError(f"{file}: belongs to streams {', '.join(found['streams'])}, not {', '.join(streams)}")
    state: State = found["state"]
    return state
