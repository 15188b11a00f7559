"""What was measured, as a table for the terminal and as docs/benchmarks.md.

Findings are kept in docs/benchmarks.json by benchmark, so that one can be run again without losing the others.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.measure import ROOT, Finding

KEPT = ROOT / "docs" / "benchmarks.json"
PAGE = ROOT / "docs" / "benchmarks.md"
HEAD = """# Benchmarks

`make bench` runs them; `python -m benchmarks NAME --quick` tries one at a smaller size and writes nothing. Contenders
do the same work in the same run, in turn; medians and ratios are reported, and nothing is timed before the answers
agree. "Per core" divides by CPU time, which hardly depends on what else the machine does; wall time is what you would
wait for. Numbers that miss their target stand here like the others.

"""


def keep(name: str, question: str, finding: Finding, machine: dict[str, str], order: Sequence[str]) -> None:
    """Put one finding in the place of its older self and write the page anew, in the given order; others after it."""
    kept: dict[str, Any] = json.loads(KEPT.read_text()) if KEPT.exists() else {}
    kept[name] = {"question": question, "machine": machine, **asdict(finding)}
    kept = dict(sorted(kept.items(), key=lambda item: order.index(item[0]) if item[0] in order else len(order)))
    KEPT.write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(page(kept), encoding="utf-8")


def page(kept: dict[str, Any]) -> str:
    """docs/benchmarks.md."""
    lines = [
        [target, measured, wanted, verdict(met)]
        for one in kept.values()
        for target, measured, wanted, met in one["targets"]
    ]
    parts = [HEAD + markdown(["what", "measured", "target", ""], lines)]
    for name, one in kept.items():
        title, _, how = one["question"].partition("\n\n")
        command = "make gpu-check" if name == "gpu_check" else f"python -m benchmarks {name}"
        part = [f"## {title}", f"`{command}`", how.strip()]
        if one["rows"]:
            part.append(markdown(list(one["rows"][0]), [list(row.values()) for row in one["rows"]]))
        part.append("\n".join(f"{note}" for note in one["notes"]))
        part.append("\n".join(f"- {what}: {value}" for what, value in one["machine"].items()))
        parts.append("\n\n".join(filter(None, part)))
    return "\n\n".join(parts) + "\n"


def markdown(head: list[str], lines: list[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join("| " + " | ".join(map(str, row)) + " |" for row in rows)


def verdict(met: bool | None) -> str:
    return {True: "met", False: "**missed**", None: "not measured"}[met]


def show(findings: dict[str, Finding], machine: dict[str, str]) -> None:
    """A table per benchmark, then one line per target."""
    console = Console()
    console.width = max(console.width, 130)
    for name, finding in findings.items():
        if finding.rows:
            table = Table(title=name, title_justify="left")
            for column in finding.rows[0]:
                table.add_column(column, justify="left" if column in ("contender", "run") else "right")
            for row in finding.rows:
                table.add_row(*map(str, row.values()))
            console.print(table)
        for note in finding.notes:
            console.print(note, style="dim")
    console.print(", ".join(f"{what}: {value}" for what, value in machine.items()), style="dim")
    short = Table("what", "measured", "target", "")
    for finding in findings.values():
        for target, measured, wanted, met in finding.targets:
            short.add_row(target, measured, wanted, verdict(met).strip("*"))
    console.print(short)
