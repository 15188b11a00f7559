"""The wheel is all that a user needs: code, kernels and configuration travel in it."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    _run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(root)], folder)
    (built,) = folder.glob("schwabot-*.whl")
    return built


@pytest.fixture(scope="module")
def clean_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel in it.

    torch and the other libraries are borrowed from this environment by a path entry, which, unlike a real
    site folder, does not follow the links of an editable install: the checkout itself stays out of reach.
    """
    folder = tmp_path_factory.mktemp("env")
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], folder)
    python = folder / "bin" / "python"
    install = ["install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)]
    _run([sys.executable, "-m", "pip", "--python", str(python), *install], folder)
    packages = _run([str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], folder).strip()
    borrowed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()}
    Path(packages, "borrowed.pth").write_text("\n".join(sorted(borrowed)))
    return python


def test_wheel_holds_every_file_of_the_packages_and_the_configuration(root: Path, wheel: Path) -> None:
    sources = {"schwabot": "schwabot", "schwabot_kernels": "kernels/schwabot_kernels", "schwabot/conf": "conf"}
    expected = {
        f"{target}/{file.relative_to(root / source).as_posix()}"
        for target, source in sources.items()
        for file in (root / source).rglob("*")
        if file.suffix in {".py", ".yaml", ".typed"}
    }
    assert {"schwabot/py.typed", "schwabot/conf/config.yaml", "schwabot_kernels/__init__.py"} <= expected
    with zipfile.ZipFile(wheel) as archive:
        assert expected - set(archive.namelist()) == set()
        assert [name for name in archive.namelist() if name.startswith("tests/")] == []


def test_wheel_runs_alone_from_an_empty_folder(root: Path, clean_python: Path, tmp_path: Path) -> None:
    where = "import schwabot, schwabot_kernels; print(schwabot.__file__, schwabot_kernels.__file__)"
    found = _run([str(clean_python), "-c", where], tmp_path).split()
    assert [file for file in found if not file.startswith(str(clean_python.parents[1]))] == []

    _run([str(clean_python), "-m", "schwabot.run", "source.events=2000"], tmp_path)
    (summary,) = tmp_path.glob("outputs/*/*/summary.json")
    assert json.loads(summary.read_text())["events"] > 0


def _run(command: list[str], folder: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}}
    done = subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}\n{done.stderr}"
    return done.stdout
