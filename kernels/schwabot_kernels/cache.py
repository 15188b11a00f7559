"""Where compiled kernels are kept on disk: one folder per version of the kernels' source.

numba notices a change of the file a function is in, but not of the functions it calls in other files, and would run
stale code after an edit or an upgrade. So the folder's name holds a hash of every kernel source. Base folder:
``NUMBA_CACHE_DIR`` if set, else ``~/.cache/schwabot/numba`` (``XDG_CACHE_HOME`` is respected).

numba also numbers the files of one function, one per signature, by what its index lists. Two processes that compile
the function for different types at once take the same number, and from then on one runs what was compiled for the
other. So files get a name nobody else takes; what is left of such a race is that one of the two compiles again.

And it keeps a function by the folder that its source lies in. One checkout, one installed wheel and the next would each
compile the same for minutes; here kernels are kept by their place in the package.

And it counts the functions of a process to name their code. Code of two processes that is loaded into a third, under
one name of the linker, would be one: the first. So every process counts from a place of its own.
"""

from __future__ import annotations

import atexit
import hashlib
import itertools
import os
import pickle  # nosec B403
import secrets
import shutil
import tempfile
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba.core.bytecode
import numba.core.caching
import numba.core.config

NOT_COMPILED = (
    "cache.py", "checking.py", "columns.py", "device_scan.py", "device_state.py", "gpu.py", "gpu_expected.py",
    "kept.py", "op.py", "outcomes.py", "rings.py", "scan.py", "tree.py",
)  # fmt: skip


@cache  # of what is imported, whatever becomes of the files
def source_hash() -> str:
    """16 hex digits over the sources that are compiled.

    Example:
        >>> len(source_hash())
        16
    """
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        if path.name.endswith(("reference.py", "gpu.py")) or path.name.startswith("device_"):
            continue  # never compiled by numba for the CPU
        if path.name in NOT_COMPILED:
            continue
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Folder of this version's compiled kernels; it exists once something was compiled."""
    base = os.environ.get("NUMBA_CACHE_DIR") or str(
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "schwabot" / "numba"
    )
    return Path(base) / source_hash()


class OwnNames(numba.core.caching.IndexDataCacheFile):  # type: ignore[misc]
    """Index and files of one compiled function, safe for processes that compile it at the same time.

    A torn file counts as none, and what there is no room for is not kept, which is said once.
    """

    def save(self, key: Any, data: Any) -> None:
        """Keep what was compiled."""
        try:
            super().save(key, data)
        except OSError as error:
            tell_unkept(cache_folder(), error)

    def load(self, key: Any) -> Any:
        """What was compiled, or None."""
        try:
            return super().load(key)
        except (EOFError, pickle.PickleError, ValueError):
            return None

    def _load_index(self) -> Any:
        try:
            return super()._load_index()
        except (EOFError, pickle.PickleError, ValueError):
            return {}

    def _data_name(self, number: int) -> str:
        return str(super()._data_name(secrets.randbits(63)))


_by_folder: Callable[[str], str] = numba.core.caching.UserProvidedCacheLocator.get_suitable_cache_subpath


def place_of(file: str) -> str:
    """Where below the cache's folder the functions of a source file are kept.

    Example:
        >>> place_of(__file__)
        'schwabot_kernels'
    """
    folder, kernels = Path(file).resolve().parent, Path(__file__).resolve().parent
    return ".".join(folder.relative_to(kernels.parent).parts) if folder.is_relative_to(kernels) else _by_folder(file)


_told: list[OSError] = []


def tell_unkept(folder: Path, error: OSError) -> None:
    """Warn that compiled kernels can't be kept; once a process."""
    if not _told:
        _told.append(error)
        warnings.warn(
            f"compiled kernels can't be kept in {folder} ({error.strerror or error}), so every process compiles them"
            " anew, which takes minutes; set NUMBA_CACHE_DIR to a folder that can be written to",
            RuntimeWarning,
            stacklevel=3,
        )


def writable(folder: Path) -> Path:
    """The folder, or where it can't be written to one of this process; numba would choose another that all share."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        tell_unkept(folder, error)
        folder = Path(tempfile.mkdtemp(prefix="schwabot-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def use_versioned_cache() -> None:
    """Point numba's cache at this version's folder, and let processes share it."""
    numba.core.config.CACHE_DIR = str(writable(cache_folder()))
    numba.core.caching.IndexDataCacheFile = OwnNames
    numba.core.caching.UserProvidedCacheLocator.get_suitable_cache_subpath = staticmethod(place_of)
    _count_apart()
    if hasattr(os, "register_at_fork"):  # not on Windows
        os.register_at_fork(after_in_child=_count_apart)


def _count_apart() -> None:
    numba.core.bytecode.FunctionIdentity._unique_ids = itertools.count(secrets.randbits(62))
