"""docs/troubleshooting.md quotes messages as the source has them, and leaves no kind of error out."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from schwabot import errors

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "troubleshooting.md"
CODE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
ANY = "…"


def quoted() -> list[str]:
    """First column of every table, but for the words around what is quoted."""
    text = PAGE.read_text(encoding="utf-8").replace("\\|", "\0")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return [found.replace("\0", "|") for row in rows for found in CODE.findall(row) if " " in found]


@cache
def messages() -> tuple[str, ...]:
    """Every text of the source, with … for what is put into it, and the lines that make says."""
    found = [(ROOT / "Makefile").read_text(encoding="utf-8")]
    for file in (*(ROOT / "schwabot").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        found += [_template(node) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr | ast.Constant)]
    return tuple(one for one in set(found) if " " in one)


def _template(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    assert isinstance(node, ast.JoinedStr)
    return "".join(one.value if isinstance(one, ast.Constant) else ANY for one in node.values)


def is_said(message: str) -> bool:
    """Do its fixed parts stand in one text of the source, in this order?"""
    parts = [part.strip() for part in message.split(ANY) if part.strip()]
    return any(_in_order(parts, text) for text in messages())


def _in_order(parts: list[str], text: str) -> bool:
    at = 0
    for part in parts:
        at = text.find(part, at) + len(part)
        if at < len(part):
            return False
    return True


def test_messages_are_quoted() -> None:
    assert len(quoted()) > 80


@pytest.mark.parametrize("message", quoted())
def test_a_quoted_message_is_in_the_source(message: str) -> None:
    assert is_said(message)


def test_a_message_that_nobody_says_is_found_out() -> None:
    assert not is_said("device cuda is required and can not be used: …")


def test_every_kind_of_error_is_named() -> None:
    page = PAGE.read_text(encoding="utf-8")
    kinds = [name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, Exception)]
    assert [name for name in kinds if name not in page and name != "SchwabotError"] == []
