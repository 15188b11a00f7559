"""What may lie in the repository."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

LOCKS = ["requirements.txt", "benchmarks/peers/hftbacktest.txt", "benchmarks/peers/vectorbt.txt"]
MIB = 1 << 20


@pytest.fixture(scope="module")
def tracked(root: Path) -> list[Path]:
    """Every file that git knows and that is there."""
    if not (root / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout
    return [root / name for name in listed.split("\0") if name and (root / name).is_file()]


def test_no_file_is_larger_than_one_mebibyte(tracked: list[Path]) -> None:
    assert [str(file) for file in tracked if file.stat().st_size > MIB] == []


def test_no_python_file_is_longer_than_500_lines(tracked: list[Path]) -> None:
    long = {str(file): lines for file in tracked if file.suffix == ".py" and (lines := _lines(file)) > 500}
    assert long == {}


def test_no_module_is_named_for_nothing(tracked: list[Path]) -> None:
    names = {"utils", "util", "common", "misc", "helpers"}
    assert [str(file) for file in tracked if file.suffix == ".py" and {file.stem, file.parent.name} & names] == []


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_a_version_and_a_hash(root: Path, lock: str) -> None:
    requirements = (root / lock).read_text().replace("\\\n", " ").splitlines()
    pinned = [line for line in requirements if line.strip() and not line.strip().startswith("#")]
    assert len(pinned) > 20
    wrong = [line[:60] for line in pinned if not re.match(r"[a-z0-9.\-]+==\S+ .*--hash=sha256:[0-9a-f]{64}", line)]
    assert wrong == []


@pytest.mark.parametrize("lock", LOCKS)
def test_locks_name_no_index(root: Path, lock: str) -> None:
    text = (root / lock).read_text()
    assert re.findall(r"^--.*|\w+://\S+", text, re.MULTILINE) == []


def test_torch_and_what_cuda_brings_are_not_locked(root: Path) -> None:
    names = re.findall(r"^([a-z0-9.\-]+)==", (root / "requirements.txt").read_text(), re.MULTILINE)
    cuda = [name for name in names if re.match(r"torch$|triton$|cuda-|nvidia-(?!ml-py$)", name)]
    assert cuda == []
    assert {"numpy", "numba", "pyarrow", "hydra-core", "ccxt", "pytest"} <= set(names)


def _lines(file: Path) -> int:
    return file.read_text(encoding="utf-8").count("\n")
