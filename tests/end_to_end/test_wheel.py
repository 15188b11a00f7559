"""The wheel is all that a user needs: code, kernels and configuration travel in it."""

from __future__ import annotations

import email
import json
import os
import site
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # As a release is built: the wheel is made of the sdist, so whatever that lacks is missing.
    _run([sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(root)], folder)
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
        if file.is_file()
        and "__pycache__" not in file.parts
        and (source != "kernels/schwabot_kernels" or file.suffix != ".md")
    }
    assert {"schwabot/py.typed", "schwabot/conf/config.yaml", "schwabot_kernels/__init__.py"} <= expected
    with zipfile.ZipFile(wheel) as archive:
        assert expected - set(archive.namelist()) == set()
        assert {name.partition("/")[0] for name in archive.namelist()} == {
            "schwabot", "schwabot_kernels", wheel.name.partition("-py3")[0] + ".dist-info",
        }  # fmt: skip


def test_wheel_says_what_it_is(root: Path, wheel: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    with zipfile.ZipFile(wheel) as archive:
        info = wheel.name.partition("-py3")[0] + ".dist-info"
        said = email.message_from_bytes(archive.read(f"{info}/METADATA"))
        assert {"LICENSE", "NOTICE.md"} <= {Path(name).name for name in archive.namelist() if "/licenses/" in name}
    assert (said["Version"], said["Requires-Python"]) == (project["version"], project["requires-python"])
    assert said["License-Expression"] == "MIT"
    assert set(said.get_all("Provides-Extra")) >= {"cuda", "live", "server", "cluster"}
    pythons = {name.rpartition(" ")[2] for name in said.get_all("Classifier") if ":: Python :: 3." in name}
    assert pythons == {"3.11", "3.12", "3.13"}
    assert f"{sys.version_info.major}.{sys.version_info.minor}" in pythons


def test_the_changelog_knows_the_version(root: Path) -> None:
    version = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    assert f"\n## [{version}]" in (root / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_sdist_holds_what_a_packager_needs(root: Path, wheel: Path) -> None:
    (sdist,) = wheel.parent.glob("schwabot-*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for needed in (
        "pyproject.toml",
        "LICENSE",
        "NOTICE.md",
        "CHANGELOG.md",
        "requirements.txt",
        "Makefile",
        "tests/conftest.py",
    ):
        assert needed in names
    assert not [name for name in names if name.startswith((".venv", "outputs", "orders", ".git/"))]


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
