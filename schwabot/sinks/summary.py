"""summary.json: the numbers of a run under stable names."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from schwabot.records.audit import StepRecord
from schwabot.secrets import scrub
from schwabot.sinks.base import RunHeader


class SummarySink:
    """Writes summary.json once, whole or not at all."""

    def open(self, header: RunHeader) -> None:
        """Remember where to write."""
        self._path = header.run_dir / "summary.json"

    def write(self, record: StepRecord) -> None:
        """Nothing per batch."""

    def close(self, summary: Mapping[str, Any]) -> None:
        """Write the file."""
        write_json(self._path, summary)


def write_json(path: Path, tree: Mapping[str, Any]) -> None:
    """Write JSON so that a reader sees the old file or the new one, never half of it; secrets are blanked."""
    text = scrub(orjson.dumps(plain(tree), option=orjson.OPT_INDENT_2).decode()).encode() + b"\n"
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def plain(tree: Any) -> Any:
    """Nested values as JSON has them: string keys, no NaN or infinity (null), no numpy types.

    Example:
        >>> plain({10: np.float64("nan"), "n": np.int64(3), "ci": (0.1, float("inf"))})
        {'10': None, 'n': 3, 'ci': [0.1, None]}
    """
    if isinstance(tree, Mapping):
        return {_name(key): plain(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [plain(value) for value in tree]
    if isinstance(tree, np.ndarray | np.generic):
        return plain(tree.tolist())
    if isinstance(tree, float) and not math.isfinite(tree):
        return None
    return tree


def _name(key: object) -> str:
    """Key as text; 10.0 becomes ``10`` so that latencies read as written in conf."""
    return str(int(key)) if isinstance(key, float) and key.is_integer() else str(key)
