"""What a person sees: one line of what runs, and at the end one table with a row per stream."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO

from schwabot.records.audit import Lane, StepRecord
from schwabot.sinks.base import RunHeader
from schwabot.sinks.narrow import print_narrow

WIDTH = 120
SKILL_HORIZON_MS = "100"
LATENCIES_MS = ("10", "100")
COMPILING_S = 5.0
"""Getting kernels ready is worth a word from here on: reading compiled ones takes less."""
DASH = "-"


class ConsoleSink:
    """Prints the header and the table.

    Args:
        stream: where to; standard output by default.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stdout if stream is None else stream

    def open(self, header: RunHeader) -> None:
        """Say what runs."""
        from rich.console import Console
        from rich.markup import escape

        width = None if self._stream.isatty() else WIDTH
        self._console = Console(file=self._stream, width=width, highlight=False)
        self._header = header
        self._print(f"[bold]schwabot[/] {header.mode} on {header.device}: {escape(header.source)}")

    def write(self, record: StepRecord) -> None:
        """Nothing per batch; progress has its own place."""

    def close(self, summary: Mapping[str, Any]) -> None:
        """Print the table."""
        from rich.markup import escape

        titles = ["stream", "events", "clock\noffset ms", "drift\nppm", "basis\nbp", "phase\ndrift", "corr\n100 ms"]
        titles += ["R²\n100 ms", *(f"lag bp\n{ms} ms" for ms in LATENCIES_MS), "lanes %\nL/M/H", "arb.\nwindows"]
        rows = [stream_row(stream, facts, summary) for stream, facts in (summary.get("streams") or {}).items()]
        with suppress(SystemExit):
            print_narrow(self._console, titles, rows, left=("stream", "phase\ndrift"), gap=1)
        self._print("")
        for line in closing_lines(summary):
            self._print(line)
        self._print(escape(f"files: {self._header.run_dir}"))

    def _print(self, what: Any) -> None:
        # Where the reader is gone (``... | head``) rich falls silent, which is right, and exits: that would end the run
        with suppress(SystemExit):
            self._console.print(what, soft_wrap=isinstance(what, str))


def stream_row(stream: str, facts: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    """Cells of one stream."""
    skill = ((summary.get("skill") or {}).get(stream) or {}).get(SKILL_HORIZON_MS) or {}
    lag = _by_text((summary.get("lag_curve_bp") or {}).get(stream) or {})
    return [
        stream,
        f"{facts['events']:,}",
        _number(facts.get("clock_offset_ms"), ".2f"),
        _number(facts.get("clock_drift_ppm"), ".1f"),
        _number(facts.get("basis_bp"), ".2f"),
        "rate" if facts.get("route") == "rate" else facts.get("drift_status") or DASH,
        _number(skill.get("corr"), ".3f"),
        _number(skill.get("r2"), ".3f"),
        *(_number(lag.get(ms), ".3f") for ms in LATENCIES_MS),
        _shares(facts.get("lanes") or {}),
        f"{sum((facts.get('arbitrage') or {}).values()):,}",
    ]


def closing_lines(summary: Mapping[str, Any]) -> list[str]:
    """What concerns the whole run."""
    from rich.markup import escape

    events, wall_s = summary["events"], summary["wall_s"]
    compile_s = summary.get("compile_s") or 0.0
    compiling = f" ({compile_s:.0f} s of it compiling)" if compile_s > COMPILING_S else ""
    first = (
        f"{events:,} events ({summary['quotes']:,} quotes, {summary['trades']:,} trades) over "
        f"{summary['span_s']:,.1f} s of market in {wall_s:.1f} s{compiling}, "
        f"{summary['events_per_s']:,.0f} events/s in the loop, {summary['peak_rss_mib']:,.0f} MiB"
    )
    lines = [first]
    dropped = {reason: count for reason, count in (summary.get("dropped") or {}).items() if count}
    if dropped:
        lines.append("[yellow]dropped:[/] " + ", ".join(f"{count:,} {reason}" for reason, count in dropped.items()))
        lines += [f"  e.g. {escape(example)}" for example in (summary.get("dropped_examples") or ())[:3]]
    arbitrage, lanes = summary.get("arbitrage") or {}, summary.get("lanes") or {}
    lines.append(
        f"arbitrage windows: {arbitrage.get('locked', 0):,} locked, {arbitrage.get('basis', 0):,} against the basis; "
        f"lanes: {', '.join(f'{lanes.get(lane.name, 0):,} {lane.name}' for lane in Lane)}"
    )
    if arbitrage.get("locked"):
        lines.append(
            f"locked: {_number(arbitrage.get('locked_s'), ',.1f')} s of the run, one for"
            f" {_number(arbitrage.get('locked_median_ms'), ',.1f')} ms (median); edge left after our latency"
            f" {_number(arbitrage.get('realised_edge_left_median_bp'), '.2f')} bp (median)"
        )
    truth = summary.get("truth") or {}
    if truth:
        errors = (("ghost", "ghost"), ("best single mid", "best_single"), ("plain mean of mids", "plain_mean"))
        said = (f"{title} {_number(truth.get(f'{name}_rmse_bp'), '.3f')}" for title, name in errors)
        lines.append(f"distance from the true price, rmse in bp: {', '.join(said)}")
    if summary.get("interrupted"):
        lines.append("[yellow]interrupted:[/] the numbers cover what was done")
    return lines


def _by_text(cells: Mapping[Any, Any]) -> dict[str, Any]:
    return {f"{float(latency):g}": value for latency, value in cells.items()}


def _shares(lanes: Mapping[str, int]) -> str:
    counts: Sequence[int] = [lanes.get(lane.name, 0) for lane in Lane]
    total = sum(counts)
    return "/".join(f"{100 * count / total:.0f}" for count in counts) if total else DASH


def _is_number(value: object) -> bool:
    return isinstance(value, float | int) and value == value


def _number(value: object, how: str) -> str:
    return format(value, how) if _is_number(value) else DASH
