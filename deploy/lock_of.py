"""The part of the lock that some packages need, hashes and all: ``python lock_of.py [PACKAGE ...]``, default Schwabot.

requirements.txt locks what developing needs too; an image has no use for it. Were something left out here that is
needed, pip would refuse the result: with hashes it takes nothing that is not listed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

EXTRAS = ("cuda", "live", "server")


def lock_of(lock: str, wanted: set[str]) -> str:
    """Entries of the lock for some packages and all that they need.

    Args:
        lock: as uv writes it: each entry ends with comments that say which packages it is needed by.
        wanted: names of packages.
    """
    entries = re.findall(r"^\S.*?(?=^\S|\Z)", re.sub(r"^#.*\n", "", lock, flags=re.MULTILINE), re.MULTILINE | re.DOTALL)
    found = set(wanted)
    while True:
        kept = [one for one in entries if name_of(one) in found or parents(one) & found]
        more = {name_of(one) for one in kept} - found
        if not more:
            return "".join(kept)
        found |= more


def needed(pyproject: str) -> set[str]:
    """Packages that a machine needs on which Schwabot runs, with the extras ``EXTRAS``.

    Args:
        pyproject: text of pyproject.toml.
    """
    project = tomllib.loads(pyproject)["project"]
    more = [one for extra in EXTRAS for one in project["optional-dependencies"][extra]]
    return {name_of(one) for one in [*project["dependencies"], *more]}


def name_of(requirement: str) -> str:
    """Name of a package, as the lock writes names."""
    found = re.match(r"[\w.-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def parents(entry: str) -> set[str]:
    """Packages that an entry is needed by."""
    return set(re.findall(r"^    #(?: via| {2,})? +([\w.-]+)$", entry, re.MULTILINE))


def main() -> None:
    """Print it."""
    wanted = {name_of(one) for one in sys.argv[1:]} or needed(Path("pyproject.toml").read_text(encoding="utf-8"))
    sys.stdout.write(lock_of(Path("requirements.txt").read_text(encoding="utf-8"), wanted))


if __name__ == "__main__":
    main()
