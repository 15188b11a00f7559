"""Which files a pattern means."""

from __future__ import annotations

import os
from glob import glob
from pathlib import Path

from schwabot.errors import ConfigError


def find_files(pattern: object, setting: str = "source.glob") -> list[Path]:
    """Files that match a pattern or any of a list of patterns, sorted, each once.

    Raises:
        ConfigError: nothing matches, or a file that may not be read.
    """
    given = pattern if isinstance(pattern, list) else [pattern]
    patterns = [one for one in given if isinstance(one, str) and one]
    if not patterns or len(patterns) < len(given):
        raise ConfigError(
            f"{setting}={pattern or ''}: use a file pattern or a list of them, e.g. '{setting}=ticks/*.gz'"
        )
    files: set[Path] = set()
    for one in patterns:
        found = [Path(name) for name in glob(str(Path(one).expanduser()), recursive=True)]
        matches = [path for path in found if path.is_file()]
        if not matches and found:
            raise ConfigError(f"{setting}={one} is a folder: name its files, e.g. '{setting}={found[0] / '*'}'")
        if not matches:
            raise ConfigError(f"{setting}={one}: no file matches, seen from {Path.cwd()}")
        files.update(matches)
    for path in sorted(files):
        if not os.access(path, os.R_OK):
            raise ConfigError(f"{setting}={path}: permission denied, this user may not read it")
    return sorted(files)
