"""Dockerfile.cuda without an engine to build it: linted, read, and its steps done in a folder of their own.

What needs root or a package manager (installing the C compiler, adding a user) is read and not done.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.lock_of import lock_of, name_of, needed
from schwabot.sinks.heartbeat import VARIABLE

ROOT = Path(__file__).resolve().parents[1]
NEEDS_ROOT = re.compile(r"\bapt-get\b|\buseradd\b")
PLACES = re.compile(r"(?<![\w./-])/(opt|build|cache|data)\b")
"""Folders of the image, which lie below a folder of the test's own here."""


@dataclass
class Stage:
    """Instructions between a FROM and the next."""

    base: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def values(self, name: str) -> list[str]:
        return [value for one, value in self.steps if one == name]

    @property
    def env(self) -> dict[str, str]:
        pairs = " ".join(self.values("ENV")).split()
        return {name: value for name, _, value in (pair.partition("=") for pair in pairs)}


def stages() -> list[Stage]:
    text = (ROOT / "Dockerfile.cuda").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)
    found: list[Stage] = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        if line.strip():
            name, _, value = line.strip().partition(" ")
            if name == "FROM":
                found.append(Stage(value))
            else:
                found[-1].steps.append((name, " ".join(value.split())))
    return found


BUILD, FINAL = stages()


def command_of(value: str) -> list[str]:
    """``["a", "b"]`` or a line for the shell."""
    found: list[str] = eval(value) if value.startswith("[") else ["sh", "-ec", value]
    return found


def test_lint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([str(hadolint), "--no-color", str(ROOT / "Dockerfile.cuda")], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_base_is_pinned_small_and_one() -> None:
    bases = {stage.base.partition(" ")[0] for stage in (BUILD, FINAL)}
    assert len(bases) == 1, "what one Python installed, another one can't run"
    assert re.fullmatch(r"python:3\.\d+\.\d+-slim-\w+", bases.pop())


def test_it_does_not_run_as_root() -> None:
    names = [name for name, _ in FINAL.steps]
    (user,) = FINAL.values("USER")
    assert int(user) >= 1000, "a number, so that a cluster can see that it is not root"
    assert f"--uid {user} " in " ".join(FINAL.values("RUN"))
    after = names.index("USER")
    assert not any(NEEDS_ROOT.search(value) for name, value in FINAL.steps[after:] if name == "RUN")
    assert names.index("ENTRYPOINT") > after
    assert names.index("HEALTHCHECK") > after


def test_what_is_written_lies_in_volumes_that_anybody_may_write_to() -> None:
    (made,) = [value for value in FINAL.values("RUN") if "--mode=1777" in value]
    (volumes,) = FINAL.values("VOLUME")
    for volume in command_of(volumes):
        assert f" {volume}" in made
    for name in ("HOME", "NUMBA_CACHE_DIR", "TRITON_CACHE_DIR", "MPLCONFIGDIR"):
        assert FINAL.env[name].startswith("/cache")
    assert FINAL.values("WORKDIR") == ["/data"]
    assert VARIABLE in FINAL.env


def test_triton_finds_its_compiler() -> None:
    assert any(re.search(r"install .* gcc libc6-dev\b", value) for value in FINAL.values("RUN"))


def test_every_file_that_is_copied_is_sent_to_the_engine() -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
    assert "*" in lines, "nothing else travels"
    sent = {line[1:] for line in lines if line.startswith("!")}
    copied = {name for value in BUILD.values("COPY") for name in value.split()[:-1]}
    assert copied == sent
    assert [name for name in copied if not (ROOT / name).exists()] == []
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.split()
    secret = [name for name in tracked if re.search(r"\.env$|credential|\.pem$", name)]
    assert [name for name in secret if name.split("/")[0] in sent] == []


def test_the_lock_of_the_image_is_what_running_needs() -> None:
    lock = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    wanted = needed((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    part = lock_of(lock, wanted)
    names = {name_of(line) for line in part.splitlines() if line[:1].isalnum()}
    assert {"torch", "triton"} <= wanted - names, "these are not in the lock"
    assert wanted - names <= {"torch", "triton", "numba-cuda"}
    assert {"apprise", "fastapi", "argon2-cffi", "watchfiles"} <= names, "alerts and the dashboard go there too"
    assert {"llvmlite", "jinja2", "sympy"} <= names, "what numba and torch need"
    developing = {"ray", "mypy", "ruff", "bandit", "polars", "pre-commit", "hatchling", "hypothesis"}
    assert not developing & names
    assert part.count("--hash=sha256:") > len(names)
    assert set(part.splitlines()) <= set(lock.splitlines())
    building = {name_of(line) for line in lock_of(lock, {"hatchling"}).splitlines() if line[:1].isalnum()}
    assert {"hatchling", "pathspec", "packaging"} <= building
    assert len(building) < 10


@pytest.mark.slow
def test_its_steps_make_an_environment_that_runs(tmp_path: Path) -> None:
    """Minutes and some GB: the lock and torch are installed as in the image, from where pip is set up to look."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    base = getattr(sys, "_base_executable", sys.executable)
    python.write_text(f'#!/bin/sh\nexec "{base}" "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "NUMBA", "SCHWABOT"))}
    env |= {"PATH": f"{python.parent}:{env['PATH']}", "HOME": str(tmp_path)}

    def here(text: str) -> str:
        return PLACES.sub(lambda found: f"{tmp_path}{found[0]}", text)

    for place in ("opt", "cache", "data/outputs"):  # what the steps that are left out would make
        (tmp_path / place).mkdir(parents=True)
    done = 0
    for stage in (BUILD, FINAL):
        folder = tmp_path
        for name, value in stage.steps:
            if name == "WORKDIR":
                folder = Path(here(value))
                folder.mkdir(exist_ok=True)
            elif name == "COPY" and not value.startswith("--from"):
                *sources, target = value.split()
                for source in sources:
                    copy(ROOT / source, folder / target / ("" if (ROOT / source).is_dir() else Path(source).name))
            elif name == "ENV":
                env |= {key: here(part).replace("$PATH", env["PATH"]) for key, part in stage.env.items()}
            elif name == "RUN" and not NEEDS_ROOT.search(value):
                run([here(word) for word in command_of(value)], folder, env)
                done += 1
    assert done == 3
    env[VARIABLE] = str(tmp_path / "heartbeat")
    entry, check = (
        command_of(FINAL.values("ENTRYPOINT")[0]),
        command_of(FINAL.values("HEALTHCHECK")[0].split("CMD ")[1]),
    )
    said = run([*entry, "mode=convert", "convert.out=outputs/ticks", "source.events=2000"], tmp_path / "data", env)
    assert "2,000 quotes and trades" in said
    assert run(check, tmp_path / "data", env).startswith("healthy: the run moved on ")
    where = "import schwabot, schwabot_kernels, triton; print(schwabot.__file__, schwabot_kernels.__file__)"
    for file in run(["python", "-c", where], tmp_path / "data", env).split():
        assert file.startswith(str(tmp_path / "opt" / "schwabot"))
    installed = run(["python", "-m", "pip", "list", "--format=freeze"], tmp_path / "data", env)
    assert "ray==" not in installed
    assert run(["python", "-m", "pip", "check"], tmp_path / "data", env) == "No broken requirements found.\n"


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def run(command: list[str], folder: Path, env: dict[str, str]) -> str:
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout
