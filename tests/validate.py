"""Every formula and the whole system against known answers, in one table: ``python -m tests.validate``.

Ends with code 1 when a line fails. A line that can't be checked here says why and fails nothing.
"""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.table import Table

from tests.validation import captures, clocks, formulas, kalman, whole_system
from tests.validation.claim import Line

WORDS = {True: "[green]ok[/]", False: "[bold red]FAIL[/]", None: "[yellow]not checked[/]"}


def collect(console: Console) -> list[Line]:
    """All lines, a group that breaks being one that fails."""
    lines: list[Line] = []
    for module in (formulas, clocks, whole_system, kalman, captures):
        for group in module.CLAIMS:
            with console.status(f"{group.__name__.replace('_', ' ')} ..."):
                try:
                    lines += group()
                except Exception as error:  # noqa: BLE001, whatever breaks is a line that fails, and the rest is checked
                    what = f"{type(error).__name__}: {error}".splitlines()[0][:200]
                    lines.append(Line(module.__name__.rpartition(".")[2], group.__name__, "an answer", what, False))
    return lines


def main() -> int:
    console = Console()
    began = time.perf_counter()
    lines = collect(console)
    table = Table("claim", "expected", "found", "", title="Schwabot, validated", title_justify="left")
    part = None
    for line in lines:
        if line.part != part:
            part = line.part
            table.add_section()
            table.add_row(f"[bold]{part}[/]")
        table.add_row(line.claim, line.expected, line.found, WORDS[line.ok])
    console.print(table)
    counts = {
        word: sum(line.ok is ok for line in lines)
        for word, ok in (("ok", True), ("failed", False), ("not checked", None))
    }
    console.print(", ".join(f"{n} {word}" for word, n in counts.items()) + f", {time.perf_counter() - began:.0f} s")
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
