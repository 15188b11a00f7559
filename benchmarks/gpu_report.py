"""What ``gpu_check`` measured: the table that it prints last, and what of it goes into docs/benchmarks.md."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

WANTED = (
    ("alignment, phases, ghost, expected lag; resident", "at least 4 G events/s"),
    ("whole graph, b = 8, 16 tables; resident", "at least 0.2 G events/s"),
    ("whole graph, b = 16, 16 tables; resident", "at least 0.2 G events/s"),
    ("host to result, of the pinned bandwidth", "at least 70 %"),
    ("threshold, skipping, 1,000 sets x 10,000,000", "at least 0.3 T param-events/s"),
    ("1,000 sets x 10,000,000 events, exact", "at most 0.15 s"),
    ("a user's policy, general simulator", "at least 50 G param-events/s"),
    ("lead-lag, 28 pairs of 1,000,000 quotes, 1,000 lags", "at most 1 s"),
)
"""What was asked for, of one H100."""
NO_DEVICE = {"device": "none"}


@dataclass(frozen=True)
class Row:
    """A line of the table; ``target`` is the least that was asked for, or the most where ``less`` is better."""

    what: str
    value: float
    unit: str
    target: float | None = None
    less: bool = False
    ratio: float | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        if self.target is None:
            return ""
        return "met" if (self.value <= self.target if self.less else self.value >= self.target) else "MISSED"


def close(
    rows: list[Row], said: list[str], machine: dict[str, str], *, good: bool, seconds: float, out: str | None = None,
    keeping: str | None = None,
) -> int:  # fmt: skip
    """Show what was measured, and where all is green write it down; gives the exit code.

    Args:
        rows: what was measured.
        said: of tests, and of what failed.
        machine: what it was measured on.
        good: all is green.
        seconds: what it took.
        out: JSON file to write to.
        keeping: what was asked, if it is to be kept in docs/benchmarks.md.
    """
    show(rows, said, machine, good=good, seconds=seconds)
    if out:
        Path(out).write_text(json.dumps({"device": machine, "rows": [asdict(row) for row in rows]}, indent=1))
    if keeping is not None:
        sys.stdout.write(f"{keep(rows, keeping, machine) if good else 'nothing kept: not all is green'}\n")
    return 0 if good else 1


def keep(rows: list[Row] | None, question: str, machine: dict[str, str]) -> str:
    """Into docs/benchmarks.md, None = there was no device; says what was written."""
    from benchmarks import report
    from benchmarks.__main__ import NAMES
    from benchmarks.measure import Finding

    order = (*NAMES, "gpu_check")
    if rows is None:
        targets = [(what, "not measured", wanted, None) for what, wanted in WANTED]
        note = "No CUDA device was there: the kernels are compiled and compared with the CPU's, and were never timed."
        report.keep("gpu_check", question, Finding([], list(targets), [note]), machine, order)
        return f"{report.PAGE}: written, that nothing was measured"
    found = {row.what: row for row in rows}
    told = []
    for what, wanted in WANTED:
        row = found.get(what)
        measured = "not measured" if row is None else f"{row.value:.3g} {row.unit}"
        told.append((what, measured, wanted, None if row is None else row.verdict == "met"))
    table = [
        {"what": r.what, "measured": f"{r.value:.3g} {r.unit}", "times the CPU": f"{r.ratio:,.0f}" if r.ratio else "",
         "": r.note}
        for r in rows
    ]  # fmt: skip
    report.keep("gpu_check", question, Finding(table, told, []), machine, order)
    return f"{report.PAGE}: written, {len(rows)} figures of {machine['device']}"


def figures() -> str | None:
    """The device whose figures docs/benchmarks.md holds; None where it holds none."""
    from benchmarks import report

    if not report.KEPT.exists():
        return None
    kept = json.loads(report.KEPT.read_text(encoding="utf-8")).get("gpu_check", {"machine": NO_DEVICE})
    return None if kept["machine"] == NO_DEVICE else str(kept["machine"]["device"])


def describe() -> dict[str, str]:
    import numba
    import triton

    from benchmarks.measure import _commit

    found = torch.cuda.get_device_properties(0)
    return {
        "device": f"{found.name}, {found.multi_processor_count} multiprocessors, {found.total_memory / 2**30:.0f} GiB",
        "versions": f"Python {sys.version.split()[0]}, torch {torch.__version__}, triton {triton.__version__},"
        f" numba {numba.__version__}",
        "commit": _commit(),
    }


def show(rows: list[Row], said: list[str], machine: dict[str, str], *, good: bool, seconds: float) -> None:
    """The table, last."""
    lines = ["", *said, "", *(f"{name}: {value}" for name, value in machine.items()), ""]
    for row in rows:
        wanted = "" if row.target is None else f"{'<=' if row.less else '>='} {row.target:g}"
        ratio = "" if row.ratio is None else f"{row.ratio:,.0f}x CPU"
        lines.append(
            f"{row.what:<62} {row.value:>10.3f} {row.unit:<17} {wanted:<8} {row.verdict:<7} {ratio:<12} {row.note}"
        )
    lines.append(f"{'all green' if good else 'RED, see above'}, {seconds:.0f} s")
    sys.stdout.write("\n".join(lines) + "\n")
