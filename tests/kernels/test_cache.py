"""Compiled kernels on disk, shared by processes."""

from __future__ import annotations

import importlib.util
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numba.core.caching
import pytest

import schwabot_kernels.scalar  # noqa: F401, what sets numba's cache up
from schwabot_kernels import cache as caching
from schwabot_kernels.kept import write_kept

BOTH = threading.Barrier(2, timeout=30)


@dataclass(frozen=True)
class Key:
    """A signature that is written down once both writers have read what is there: the worst moment."""

    name: str
    met: list[bool] = field(default_factory=list, compare=False)

    def __reduce__(self) -> tuple[Callable[[str], Key], tuple[str]]:
        if not self.met:
            self.met.append(True)
            BOTH.wait()
        return Key, (self.name,)


def test_two_writers_at_once_never_swap_their_code(tmp_path: Path) -> None:
    def cache() -> numba.core.caching.IndexDataCacheFile:
        return numba.core.caching.IndexDataCacheFile(str(tmp_path), "function-1.py311", "stamp")

    keys = [Key("float64"), Key("int64")]
    threads = [threading.Thread(target=cache().save, args=(key, f"code for {key.name}")) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(list(tmp_path.glob("*.nbc"))) == 2, "each has a file of its own"
    said = [cache().load(key) for key in keys]
    assert sorted(map(str, said)) in (["None", "code for float64"], ["None", "code for int64"])
    for key, code in zip(keys, said, strict=True):
        assert code in (None, f"code for {key.name}")


def test_what_was_saved_is_loaded_and_saved_over(tmp_path: Path) -> None:
    cache = numba.core.caching.IndexDataCacheFile(str(tmp_path), "function-1.py311", "stamp")
    for key in ("float64", "int64"):
        cache.save(key, f"code for {key}")
    cache.save("float64", "newer code")
    assert [cache.load(key) for key in ("float64", "int64", "int32")] == ["newer code", "code for int64", None]
    assert len(list(tmp_path.glob("*.nbc"))) == 2


@pytest.mark.parametrize("way", ["folder", "numba", "made"])
def test_that_nothing_can_be_kept_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setattr(caching, "_told", [])
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(file))

    def keep() -> None:
        if way == "folder":
            assert caching.writable(caching.cache_folder()).is_dir()
        elif way == "numba":
            numba.core.caching.IndexDataCacheFile(str(file), "function-1.py311", "stamp").save("float64", "code")
        else:
            write_kept(caching.cache_folder() / "made" / "x", b"code")

    with pytest.warns(RuntimeWarning, match="every process compiles them anew.*set NUMBA_CACHE_DIR") as warned:
        keep()
    assert str(file) in str(warned[0].message)
    keep()  # a second warning would be an error


def test_another_copy_of_the_package_has_the_same_places(tmp_path: Path) -> None:
    """So that an installed wheel, or a second environment, does not compile anew what a checkout has compiled."""
    copy = tmp_path / "schwabot_kernels"
    copy.mkdir()
    shutil.copy(caching.__file__, copy)
    spec = importlib.util.spec_from_file_location("copied", copy / "cache.py")
    assert spec is not None
    assert spec.loader is not None
    copied = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(copied)
    ours = Path(caching.__file__).parent
    for file in ("scan.py", "graph/cpu.py"):
        assert copied.place_of(str(copy / file)) == caching.place_of(str(ours / file))
    assert caching.place_of(str(ours / "scan.py")) != caching.place_of(str(ours / "graph" / "cpu.py"))
    assert caching.place_of(str(copy / "scan.py")) != caching.place_of(str(ours / "scan.py")), "a user's own kernels"
