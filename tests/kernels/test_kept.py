"""Compiled code on disk: read where it is the same, never where it is not, never needed."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import numba.core.config
import numpy as np
import pytest
from numba import njit

from schwabot_kernels import cache, kept
from schwabot_kernels.cache import cache_folder
from schwabot_kernels.kept import Key, keep, kept_path, read_kept, write_kept

KERNELS = Path(kept.__file__).parent


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty one; numba's own settings stay as they are, since a change of them would move its cache as well."""
    monkeypatch.setattr(kept, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(cache, "_told", [])  # what is said once a process is said once a test
    return tmp_path / "made"


def adding(number: float, key: Key | None) -> Any:
    """A closure as a policy's kernel is one; compiled for what it is called with."""

    @njit
    def run(x):  # type: ignore[no-untyped-def]
        return x + number

    return keep(run, key)


def key(text: str, now: Callable[[], str | None] | None = None) -> Key:
    return Key(text, now or (lambda: text))


def test_what_was_compiled_is_read(folder: Path) -> None:
    first, second = adding(1.5, key("one and a half")), adding(1.5, key("one and a half"))
    assert (first(2.0), second(2.0)) == (3.5, 3.5)
    assert [sum(one.stats.cache_hits.values()) for one in (first, second)] == [0, 1]
    assert len(list(folder.iterdir())) == 1
    second(np.ones(1))
    assert len(list(folder.iterdir())) == 2, "other types are other code"


def test_another_key_is_other_code_and_none_is_not_kept(folder: Path) -> None:
    assert adding(1.5, key("one and a half"))(2.0) == 3.5
    assert adding(2.5, key("two and a half"))(2.0) == 4.5
    assert adding(3.5, None)(2.0) == 5.5
    assert len(list(folder.iterdir())) == 2


def test_what_changed_before_it_was_compiled_is_not_kept(folder: Path) -> None:
    assert adding(1.5, key("before", lambda: "after"))(2.0) == 3.5
    assert adding(1.5, key("before", lambda: None))(2.0) == 3.5
    assert not folder.exists()
    changed = key("before", lambda: "after")
    changed.mark_checked()
    assert not key("before").is_checked
    key("before").mark_checked()
    assert key("before").is_checked
    assert not changed.is_checked


def test_code_with_an_address_in_it_is_not_kept(folder: Path) -> None:
    """A large array from outside is code's only by its place in this process's memory."""
    few, many = np.arange(10.0), np.arange(200_000.0)

    def last_of(array: Any) -> Any:
        @njit
        def run(k):  # type: ignore[no-untyped-def]
            return array[k]

        return keep(run, key(f"{len(array)} numbers"))

    assert last_of(many)(199_999) == 199_999.0
    assert not folder.exists()
    assert last_of(few)(9) == 9.0
    assert len(list(folder.iterdir())) == 1


@pytest.mark.parametrize("harm", ["empty", "half", "one byte", "a folder"])
def test_a_torn_file_is_compiled_anew(folder: Path, harm: str) -> None:
    adding(1.5, key("k"))(2.0)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    if harm == "a folder":
        file.unlink()
        file.mkdir()
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        broken = {"empty": b"", "half": whole[:middle], "one byte": flipped}[harm]
        file.write_bytes(broken)
    again = adding(1.5, key("k"))
    with pytest.warns(RuntimeWarning, match="can't be kept in") if harm == "a folder" else nullcontext():
        assert again(2.0) == 3.5
    assert sum(again.stats.cache_hits.values()) == 0
    if harm != "a folder":
        assert sum(adding_hits(adding(1.5, key("k")))) == 1, "it was written again"


def adding_hits(function: Any) -> Any:
    function(2.0)
    return function.stats.cache_hits.values()


@contextmanager
def no_room() -> Iterator[None]:
    """Files may have 100 bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_or_no_folder_is_no_error(folder: Path) -> None:
    with no_room(), pytest.warns(RuntimeWarning, match="can't be kept in .* set NUMBA_CACHE_DIR"):
        assert adding(1.5, key("k"))(2.0) == 3.5
    assert list(folder.iterdir()) == []
    folder.rmdir()
    folder.write_text("in the way")
    assert adding(1.5, key("k"))(2.0) == 3.5
    assert folder.read_text() == "in the way"


def test_numbas_own_cache_needs_no_room_and_no_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "numbas_own.py"
    file.write_text("from numba import njit\n\n@njit(cache=True)\ndef twice(x):\n    return 2 * x\n")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import schwabot_kernels.scalar, resource\n"
    run = "from numbas_own import twice\nprint(twice(3), sum(twice.stats.cache_hits.values()))"
    full = "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    assert alone(code + full + run, env) == "6 0"
    assert alone(code + run, env) == "6 0"
    for ending in ("nbi", "nbc"):
        (one,) = (tmp_path / "cache").rglob(f"numbas_own*.{ending}")
        one.write_bytes(one.read_bytes()[:-20])
        assert alone(code + run, env) == "6 0", ending
        assert alone(code + run, env) == "6 1", ending
        for other in (tmp_path / "cache").rglob("numbas_own*"):
            other.unlink()
        assert alone(code + run, env) == "6 0"


def alone(code: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_writers_and_readers_at_once(folder: Path) -> None:
    path, parts = folder / "one", [bytes([k]) * 200_000 for k in range(3)]
    write_kept(path, parts[0])
    wrong: list[bytes | None] = []

    def read() -> None:
        wrong.extend(found for found in (read_kept(path) for _ in range(300)) if found not in parts)

    def write(data: bytes) -> None:
        for _ in range(100):
            write_kept(path, data)

    threads = [threading.Thread(target=write, args=(data,)) for data in parts] + [threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert [one.name for one in folder.iterdir()] == ["one"]


def test_code_of_two_processes_lives_together_in_a_third(tmp_path: Path) -> None:
    """Both count their functions from the start: code of one name would be one."""
    code = """
import sys
from pathlib import Path
import schwabot_kernels.scalar
from schwabot_kernels import cache, kept
kept.cache_folder = lambda: Path(sys.argv[1])
from numba import njit
def adding(number):
    @njit
    def helper(n):  # too much for LLVM to put into run
        return number if n < 2 else helper(n - 1) + helper(n - 2)
    @njit
    def run(x):
        return helper(x)
    return kept.keep(run, kept.Key(str(number), lambda: str(number)))
for number in map(float, sys.argv[2:]):
    run = adding(number)
    print(run(4), sum(run.stats.cache_hits.values()))
"""

    def run(*numbers: str) -> list[str]:
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path), *numbers], capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert (run("2"), run("3")) == (["10.0", "0"], ["15.0", "0"])
    assert run("2", "3") == ["10.0", "1", "15.0", "1"]


def test_the_oldest_make_room(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "MOST_FILES", 8)
    for k in range(8):
        write_kept(folder / str(k), b"")
        os.utime(folder / str(k), (k, k))
    assert read_kept(folder / "0") == b""  # used just now
    write_kept(folder / "8", b"")
    assert sorted(one.name for one in folder.iterdir()) == ["0", "4", "5", "6", "7", "8"]


def test_machine_and_versions_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    code = "import schwabot_kernels.kept as k; print(k.kept_path('run', 'k').name)"
    name = kept_path("run", "k").name
    assert alone(code) == name
    for changed in ({"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}, {"NUMBA_OPT": "1"}):
        assert alone(code, {**os.environ, **changed}) != name
    assert kept_path("sweep", "k").name != name
    assert kept_path("run", "l").name != name
    with monkeypatch.context() as patch:
        patch.setattr(numba.core.config, "CPU_NAME", "generic")
        assert kept_path("run", "k").name != name
    for at in range(len(kept.VERSIONS)):
        with monkeypatch.context() as patch:
            patch.setattr(kept, "VERSIONS", tuple("0" if k == at else v for k, v in enumerate(kept.VERSIONS)))
            assert kept_path("run", "k").name != name


@pytest.mark.parametrize("file", ["simulate/cpu.py", "simulate/skipping.py", "simulate/records.py", "scalar.py"])
def test_a_changed_kernel_has_another_folder(tmp_path: Path, file: str) -> None:
    shutil.copytree(KERNELS, tmp_path / "schwabot_kernels", ignore=shutil.ignore_patterns("__pycache__"))
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import schwabot_kernels.cache as c; print(c.__file__)"
    code += "; print(c.cache_folder())"
    where, same = alone(code).split()
    assert where.startswith(str(tmp_path))
    assert same == str(cache_folder())
    changed = tmp_path / "schwabot_kernels" / file
    changed.write_text(changed.read_text() + "# changed\n")
    assert alone(code).split()[1] != same
