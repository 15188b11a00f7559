"""Pages of the repository as the tests read them: blocks of shell commands, and what they say they need."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "experiments").rglob("README.md"))]
NEEDS = (
    "the network",
    "a GPU",
    "real keys",
    "Windows",
    "Docker",
    "a cluster",
    "an account of the messenger",
    "root",
    "the captures",
    "many minutes",
    "a run that serves",
)
"""What a block may say that it needs."""
THERE = {"a run that serves"}
"""Of that, what CI has, so that it runs."""
BY_ITSELF = {
    "test": (".ci/run", "make test"),
    "lint": (".ci/run", "make lint"),
    "validate": (".ci/run", "make validate"),
    "docs": ("tests/test_docs.py", '"-m", "mkdocs", "build"'),
    "dist": ("tests/end_to_end/test_wheel.py", '"-m", "build", "--no-isolation"'),
}
"""Targets of make that are not typed once more, since CI does the same: where, and how that is written there."""
PROGRAMS = (
    "python|python3|make|pip|export|docker|ray|curl|mkdir|source|git|ssh|pytest|keyring|cd|cp|sudo|systemctl|apt-get"
    "|schwabot doctor|openssl|chmod"
)
"""First words of what is a command."""
_MARK = re.compile(r"\*Needs (.+?)(, the first time)?\.\*")
_FENCE = re.compile(r"^( *)```(\S*)[^\n]*\n(.*?)^\1```", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Command:
    """A command of a block.

    Attributes:
        page: the file it is in, from the root.
        line: its line there, counted from 1.
        text: as typed.
        words: without variables before it and comments after it.
        needs: what its block says it needs.
    """

    page: str
    line: int
    text: str
    words: tuple[str, ...]
    needs: tuple[str, ...]

    @property
    def is_run(self) -> bool:
        """Is it ``python -m schwabot.run``?"""
        return self.words[1:3] == ("-m", "schwabot.run")

    @property
    def runs_in_ci(self) -> bool:
        """Is it for the tests to run: nothing says that CI can't, or does the same anyway?"""
        by_itself = self.words[0] == "make" and {*self.words[1:]} <= BY_ITSELF.keys()
        return not by_itself and {*self.needs} <= THERE


@dataclass(frozen=True)
class Block:
    """A block of shell commands.

    Attributes:
        page: the file it is in, from the root.
        line: of its first command, counted from 1.
        text: what one would type.
        needs: what it says it needs; empty = it runs anywhere.
    """

    page: str
    line: int
    text: str
    needs: tuple[str, ...]

    def commands(self) -> list[Command]:
        """Each command."""
        found = []
        for typed in re.finditer(r"(?:\\\n|.)+", self.text):
            words = _without_variables(shlex.split(typed[0].replace("\\\n", " "), comments=True))
            if words:
                line = self.line + self.text[: typed.start()].count("\n")
                found.append(Command(self.page, line, typed[0], tuple(words), self.needs))
        return found


def _without_variables(words: list[str]) -> list[str]:
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


def blocks(page: Path) -> list[Block]:
    """Every block of a page that is marked ``sh``."""
    text = page.read_text(encoding="utf-8")
    found = []
    for fence in _FENCE.finditer(text):
        if fence[2] == "sh":
            body = "\n".join(line.removeprefix(fence[1]) for line in fence[3].splitlines())
            before = text[: fence.start()].rstrip().rpartition("\n")[2].strip()
            mark = _MARK.fullmatch(before)
            needs = tuple(re.split(r", | and (?!the$)", mark[1])) if mark else ()
            line = text[: fence.start()].count("\n") + 2
            found.append(Block(page.relative_to(ROOT).as_posix(), line, body, needs))
    return found


def other_blocks(page: Path) -> list[str]:
    """What stands in other fences, and indented as code."""
    text = page.read_text(encoding="utf-8")
    fenced = [fence[3] for fence in _FENCE.finditer(text) if fence[2] in ("", "text", "console", "bash", "shell")]
    indented = re.findall(r"(?:^ {4}\S.*\n)+", _FENCE.sub("", text), re.MULTILINE)
    return [*fenced, *(re.sub(r"^ {4}", "", one, flags=re.MULTILINE) for one in indented)]


BLOCKS = [block for page in PAGES for block in blocks(page)]
COMMANDS = [command for block in BLOCKS for command in block.commands()]


def inline(page: Path) -> list[tuple[str, ...]]:
    """Commands that the sentences of a page name, but for those with a place for a name, in capitals."""
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))
    codes = re.findall(r"(?<!`)`((?:make|pytest|python|schwabot doctor) [^`\n]*\w\w[^`\n]*)`(?!`)", text)
    named = [one for one in codes if not re.search(r"\b[A-Z]{3,}\b(?!=)|\.\.\.", one)]
    return [tuple(shlex.split(one)) for one in named]
