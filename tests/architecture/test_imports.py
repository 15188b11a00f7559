"""Who may import whom, and what must import on a device without torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

IMPORT_ALL = """
import importlib, pkgutil, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ImportError(f"{name} is not there on a light device")

REFUSED = {"torch", "numba", "llvmlite", "hydra", "omegaconf", "ccxt", "ray", "tensorboard", "schwabot_kernels"}
sys.meta_path.insert(0, Refuse())
package = importlib.import_module(sys.argv[1])
names = [m.name for m in pkgutil.walk_packages(getattr(package, "__path__", []), package.__name__ + ".")]
for name in names:
    importlib.import_module(name)
print(len(names))
"""


def test_import_contract_holds(root: Path) -> None:
    command = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    done = subprocess.run([sys.executable, "-c", command, "--no-logo"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("package", ["schwabot.errors", "schwabot.records", "schwabot.ticks"])
def test_light_packages_import_without_heavy_libraries(root: Path, package: str) -> None:
    done = subprocess.run([sys.executable, "-c", IMPORT_ALL, package], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    if package != "schwabot.errors":
        assert int(done.stdout) > 0, "no module was found, so nothing was checked"


def test_the_public_package_imports_no_heavy_library(root: Path) -> None:
    heavy = ["ccxt", "fastapi", "matplotlib", "numba", "ray", "tensorboard", "torch", "triton"]
    command = f"import sys, schwabot; print(*[name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", command], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
