"""Where compiled kernels are kept on disk: one folder per version of the kernels' source.

numba notices a change of the file a function is in, but not of the functions it calls in other files, and would run
stale code after an edit or an upgrade. So the folder's name holds a hash of every kernel source. Base folder:
``NUMBA_CACHE_DIR`` if set, else ``~/.cache/schwabot/numba`` (``XDG_CACHE_HOME`` is respected).

numba also numbers the files of one function, one per signature, by what its index lists. Two processes that compile
the function for different types at once take the same number, and from then on one runs what was compiled for the
other. So files get a name nobody else takes; what is left of such a race is that one of the two compiles again.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

import numba.core.caching
import numba.core.config

NOT_COMPILED = ("cache.py", "checking.py", "columns.py", "op.py", "outcomes.py", "rings.py", "scan.py", "tree.py")


def source_hash() -> str:
    """16 hex digits over the sources that are compiled.

    Example:
        >>> len(source_hash())
        16
    """
    digest = hashlib.sha256()
    root = Path(__file__).parent
    for path in sorted(root.rglob("*.py")):
        if path.name.endswith("reference.py") or path.name in NOT_COMPILED:
            continue  # never compiled
        digest.update(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def cache_folder() -> Path:
    """Folder of this version's compiled kernels; it exists once something was compiled."""
    base = os.environ.get("NUMBA_CACHE_DIR") or str(
        Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "schwabot" / "numba"
    )
    return Path(base) / source_hash()


class OwnNames(numba.core.caching.IndexDataCacheFile):  # type: ignore[misc]
    """Index and files of one compiled function, safe for processes that compile it at the same time."""

    def _data_name(self, number: int) -> str:
        return str(super()._data_name(secrets.randbits(63)))


def use_versioned_cache() -> None:
    """Point numba's cache at this version's folder, and let processes share it."""
    numba.core.config.CACHE_DIR = str(cache_folder())
    numba.core.caching.IndexDataCacheFile = OwnNames
