"""Python and the packages: there, in a version that goes, and not broken."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import time
import tomllib
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from schwabot.doctor.findings import Finding, ok, problem, skipped, warning
from schwabot.errors import why

if TYPE_CHECKING:
    from packaging.requirements import Requirement

OLDEST = (3, 11)
EXTRAS = {
    "cuda": "runs on a GPU",
    "live": "alerts, and settings that change while running",
    "server": "the dashboard and its API",
    "cluster": "a sweep on a Ray cluster",
    "dev": "tests and lints",
}
"""Extra → what it is for."""
_MODULES = {"hydra-core": "hydra", "nvidia-ml-py": "pynvml"}
"""Distributions whose module has another name."""


def python() -> Iterator[Finding]:
    """The interpreter."""
    said = f"{platform.python_implementation()} {platform.python_version()}, {sys.executable}"
    if sys.version_info < OLDEST:
        yield problem("python", said, "make an environment with Python 3.11 or newer: make venv PYTHON=python3.12")
    elif sys.maxsize < 1 << 32:
        yield problem("python", f"{said}, 32 bits", "use a 64-bit Python: torch and numba have no other builds")
    elif sys.prefix == sys.base_prefix:
        yield warning("python", f"{said}, the system's own", "use an environment of its own: make venv")
    else:
        yield ok("python", said)


def needed() -> list[tuple[str | None, Requirement]]:
    """Extra (None = always) and requirement, for every package that this machine may need.

    Raises:
        ImportError: without the package ``packaging`` versions can't be compared.
        OSError: Schwabot is not installed, and there is no pyproject.toml beside it.
    """
    from packaging.requirements import Requirement

    try:
        lines = [(None, line) for line in importlib.metadata.requires("schwabot") or ()]
    except importlib.metadata.PackageNotFoundError:
        file = Path(__file__).parents[2] / "pyproject.toml"
        project = tomllib.loads(file.read_text(encoding="utf-8"))["project"]
        lines = [(None, line) for line in project["dependencies"]]
        lines += [(extra, line) for extra, more in project["optional-dependencies"].items() for line in more]
    found: list[tuple[str | None, Requirement]] = []
    for given, line in lines:
        one = Requirement(line)
        if one.marker is None or one.marker.evaluate({"extra": ""}):
            found.append((given, one))
        else:
            found += [(extra, one) for extra in EXTRAS if one.marker.evaluate({"extra": extra})]
    return found


def packages(wanted: Mapping[str, str]) -> Iterator[Finding]:
    """Every package that is needed, and those of each extra.

    Args:
        wanted: extra → the setting that wants it.
    """
    try:
        every = needed()
    except (ImportError, OSError) as error:
        yield problem("packages", f"what is needed is not known: {why(error)}", "install Schwabot: pip install .")
        return
    always = [one for extra, one in every if extra is None]
    missing, other = _states(always)
    for one in missing:
        yield problem("packages", f"{one} is missing", f"pip install '{_plain(one)}', or make venv in a clone")
    for one, version in other:
        yield problem("packages", f"{one.name} is {version}, and {one} is needed", f"pip install '{_plain(one)}'")
    if not missing and not other:
        yield ok("packages", f"{len(always)} that are needed are there")
    for extra in EXTRAS:
        yield _extra(extra, [one for of, one in every if of == extra], wanted.get(extra))


def _extra(extra: str, of: list[Requirement], who: str | None) -> Finding:
    missing, other = _states(of)
    what, do = f"extra {extra}, for {EXTRAS[extra]}", f"pip install 'schwabot[{extra}]', or '.[{extra}]' in a clone"
    if not missing and not other:
        return ok("packages", f"{what}: {len(of)} are there")
    lacks = ", ".join([one.name for one in missing] + [f"{one.name} {version}" for one, version in other])
    if who is not None:
        return problem("packages", f"{what}: {lacks} {'is' if len(missing) == 1 else 'are'} not there; {who} needs it"
                       if not other else f"{what}: not as needed: {lacks}; {who} needs it", do)  # fmt: skip
    if other:
        return warning("packages", f"{what}: other versions than are needed: {lacks}", do)
    return skipped("packages", f"{what}: without {lacks}", do)


def _states(of: list[Requirement]) -> tuple[list[Requirement], list[tuple[Requirement, str]]]:
    """Those that are missing, and those whose version does not go."""
    missing: list[Requirement] = []
    other: list[tuple[Requirement, str]] = []
    for one in of:
        try:
            version = importlib.metadata.version(one.name)
        except importlib.metadata.PackageNotFoundError:
            missing.append(one)
            continue
        if not one.specifier.contains(version, prereleases=True):
            other.append((one, version))
    return missing, other


def _plain(one: Requirement) -> str:
    return f"{one.name}{one.specifier}"


def imports() -> Iterator[Finding]:
    """Whether what is needed can be imported: a wheel of another machine is there, and breaks then."""
    began_s = time.perf_counter()
    try:
        names = [one.name for extra, one in needed() if extra is None and one.name != "pytest"]
    except (ImportError, OSError):
        return  # said already
    broken = 0
    for name in names:
        try:
            importlib.metadata.version(name)
            import_module(_MODULES.get(name, name.replace("-", "_")))
        except importlib.metadata.PackageNotFoundError:
            continue  # said already
        except Exception as error:  # noqa: BLE001 a library that is broken raises anything
            broken += 1
            yield problem(
                "imports",
                f"{name} is there and can't be imported: {why(error)}",
                f"pip install --force-reinstall {name}",
            )
    if not broken:
        yield ok("imports", f"what is needed can be imported, in {time.perf_counter() - began_s:.1f} s")


def wanted_extras(settings: Any) -> dict[str, str]:
    """Extra → the setting that wants it.

    Args:
        settings: a RunConfig, or None where there is none.
    """
    if settings is None:
        return {}
    found = {}
    if settings.notify.to:
        found["live"] = f"notify.to=[{','.join(settings.notify.to)}]"
    if settings.reload:
        found["live"] = f"reload={settings.reload}"
    if settings.cluster.kind == "ray":
        found["cluster"] = "cluster=ray"
    if settings.device.kind == "cuda":
        found["cuda"] = "device=cuda"
    if settings.mode == "serve" or settings.server.enabled:
        found["server"] = "mode=serve" if settings.mode == "serve" else "server.enabled=true"
    return found
