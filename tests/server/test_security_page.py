"""docs/security.md: every line of the threat model has tests, and they are there."""

from __future__ import annotations

import ast
import re
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODEL = (ROOT / "docs" / "security.md").read_text(encoding="utf-8").partition("## Threat model")[2]
LINES = [line for line in MODEL.splitlines() if line.startswith("| ") and not line.startswith("| attack |")]


@lru_cache
def names_in(path: str) -> frozenset[str]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(one.name for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))


def test_every_line_of_the_threat_model_names_tests_that_there_are() -> None:
    assert len(LINES) > 30
    for line in LINES:
        attack, defence, tests = (cell.strip() for cell in line.strip("|").split("|"))
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", tests)
        assert attack, line
        assert defence, line
        assert named, line
        for path, name in named:
            assert name in names_in(path), f"{path}::{name}"
