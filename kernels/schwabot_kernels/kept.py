"""Compiled code of what is made at run time, a user's policy above all, on disk between processes.

numba's own cache can't hold it: functions that a policy was put into are closures over compiled functions. Here whoever
makes such a function says what tells it from every other (``Key``); types and processor are added, and kernels of other
source lie in another folder. Each compiled signature is one file that is written whole or not at all and begins with
its checksum, so that processes may write the same one at once, and a torn one counts as none. Nothing here fails for
want of a folder: what can't be read is compiled, what can't be written is not kept.
"""

from __future__ import annotations

import os
import pickle  # nosec B403
import platform
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import sigutils
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from numba.core.registry import cpu_target
from numba.core.serialize import dumps

from schwabot_kernels.cache import cache_folder, tell_unkept

MOST_FILES = 1024
"""Files that are kept per version of the kernels; those not used for longest go."""
UNREADABLE = (OSError, EOFError, pickle.PickleError, ValueError, TypeError, AttributeError, ImportError, LookupError)
"""What reading a file can end in that was meant for another machine or module: it is compiled again."""


@dataclass(frozen=True)
class Key:
    """What tells one made function from every other.

    Attributes:
        text: equal only where the same code comes out.
        now: the text as of now; what was compiled after it had changed is not kept.
    """

    text: str
    now: Callable[[], str | None] = field(compare=False, repr=False)

    @property
    def is_checked(self) -> bool:
        """Whether ``mark_checked`` was called with this key, by any process."""
        return self.text == self.now() and read_kept(self._mark()) is not None

    def mark_checked(self) -> None:
        """Remember that what belongs to this key needs no checking again."""
        if self.text == self.now():
            write_kept(self._mark(), b"")

    def _mark(self) -> Path:
        return kept_path("checked", self.text)


class KeptCode(NullCache):  # type: ignore[misc]
    """The cache of one compiled function, as numba's dispatchers call it."""

    def __init__(self, name: str, key: Key) -> None:
        self._name, self._key = name, key

    @property
    def cache_path(self) -> str:
        """The folder."""
        return str(kept_path("", "").parent)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled for these types, or None."""
        target_context.refresh()
        data = read_kept(self._path(sig))
        if data is None:
            return None
        try:
            found = CompileResult._rebuild(target_context, *pickle.loads(data))  # nosec B301
        except UNREADABLE:
            return None
        return found if found.signature.args == sigutils.normalize_signature(sig)[0] else None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled for these types."""
        if data.lifted or data.library.has_dynamic_globals or self._key.now() != self._key.text:
            return
        with suppress(pickle.PickleError, TypeError, AttributeError):
            write_kept(self._path(sig), dumps(data._reduce()))

    def _path(self, sig: Any) -> Path:
        return kept_path(self._name, f"{self._key.text}\n{sigutils.normalize_signature(sig)[0]}")


def keep(function: Any, key: Key | None) -> Any:
    """Keep what this njit function is compiled to, under the key; without one it is compiled in every process."""
    if key is not None:
        function._cache = KeptCode(function.py_func.__name__, key)
    return function


def kept_path(name: str, text: str) -> Path:
    """The file of what a text tells from all else, on this processor and with these settings of numba."""
    made_for = cpu_target.target_context.codegen().magic_tuple()
    told = sorted((one, value) for one, value in os.environ.items() if one.startswith("NUMBA_") and one not in PLACES)
    digest = sha256(repr((name, text, made_for, told, VERSIONS)).encode()).hexdigest()[:40]
    return cache_folder() / "made" / f"{name}-{digest}"


VERSIONS = (
    platform.python_implementation(),
    platform.python_version(),
    numba.__version__,
    llvmlite.__version__,
    np.__version__,
)
PLACES = ("NUMBA_CACHE_DIR", "NUMBA_NUM_THREADS")
"""Of numba's settings those that change no code."""


def read_kept(path: Path) -> bytes | None:
    """What was written there; None where nothing was, or not all of it."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if sha256(data[32:]).digest() != data[:32]:
        return None
    with suppress(OSError):
        os.utime(path)  # the newest stay
    return data[32:]


def write_kept(path: Path, data: bytes) -> None:
    """Write a file whole; where there is no room or no right to, that is said once."""
    part = path.with_name(f"{path.name}.{secrets.token_hex(8)}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(sha256(data).digest() + data)
        part.replace(path)
        _make_room(path.parent)
    except OSError as error:
        tell_unkept(cache_folder(), error)
        with suppress(OSError):
            part.unlink()


def _make_room(folder: Path) -> None:
    files = list(folder.iterdir())
    if len(files) > MOST_FILES:
        files.sort(key=lambda one: one.stat().st_mtime)
        for one in files[: len(files) - MOST_FILES * 3 // 4]:
            one.unlink(missing_ok=True)
