"""Compiled CUDA kernels on disk between processes, beside what ``kept`` holds for the CPU.

numba-cuda's own cache goes by the file that a kernel is in and by what it closes over. Kernels of a sweep close over
functions that a policy was put into, which are others in every process, so nothing would be found again.
"""

from __future__ import annotations

import pickle  # nosec B403
import zlib
from contextlib import suppress
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from numba.core import sigutils
from numba.core.caching import NullCache
from numba.cuda import dispatcher, serialize

from schwabot_kernels.kept import UNREADABLE, Key, kept_path, read_kept, write_kept


class KeptKernel(NullCache):  # type: ignore[misc]
    """The cache of one kernel, as numba-cuda's dispatchers call it; what can't be read is compiled."""

    def __init__(self, name: str, key: Key) -> None:
        self._name, self._key = name, key

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled for these types and this kind of card, or None."""
        data = read_kept(self._path(sig, target_context))
        if data is None:
            return None
        try:
            found = dispatcher._Kernel._rebuild(**pickle.loads(zlib.decompress(data)))  # nosec B301
        except UNREADABLE:
            return None
        return found if found.argument_types == sigutils.normalize_signature(sig)[0] else None

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled."""
        if self._key.now() == self._key.text:
            with suppress(pickle.PickleError, TypeError, AttributeError, RuntimeError):
                packed = zlib.compress(serialize.dumps(data._reduce_states()), 1)  # 9 MB of text for a kernel
                write_kept(self._path(sig, data.target_context), packed)

    def _path(self, sig: Any, target_context: Any) -> Path:
        told = (*_made_by(), target_context.codegen().magic_tuple())
        return kept_path(f"cuda_{self._name}", f"{self._key.text}\n{sigutils.normalize_signature(sig)[0]}\n{told}")


@cache
def _made_by() -> tuple[str, ...]:
    """Compilers, and the source that the folder's name leaves out, as nothing of it is compiled for the CPU."""
    found = [sha256(Path(__file__).with_name("gpu.py").read_bytes()).hexdigest()]
    for name in ("numba-cuda", "nvidia-nvvm", "nvidia-nvjitlink", "nvidia-cuda-nvcc"):
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return tuple(found)


def keep(kernel: Any, name: str, key: Key | None) -> Any:
    """Keep what this kernel is compiled to, under name and key; without a key it is compiled in every process."""
    if key is not None:
        kernel._cache = KeptKernel(name, key)
    return kernel
