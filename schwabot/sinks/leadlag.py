"""What mode=leadlag leaves: the whole curves as an Arrow table, and the table a person sees.

Axis legend: L lags.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO

import numpy as np
import pyarrow as pa

from schwabot.sinks.console import DASH, WIDTH

CURVES = pa.schema(
    [
        pa.field("pair", pa.string(), nullable=False),
        pa.field("x", pa.string(), nullable=False),
        pa.field("y", pa.string(), nullable=False),
        pa.field("clock", pa.string(), nullable=False),
        pa.field("event_estimated", pa.bool_(), nullable=False),
        pa.field("lag_ms", pa.float64(), nullable=False),
        pa.field("contrast", pa.float64(), nullable=False),
        pa.field("signed_contrast", pa.float64(), nullable=False),
        pa.field("correlation", pa.float64()),
    ]
)
"""Columns of leadlag.parquet; ``lag_ms`` above 0: x leads."""
MOST_ROWS = 60
LEGEND = (
    "leads in %: share of the resamples of this very recording in which the leader leads; a peak at lag 0 is no lead",
    (
        "no lead: none seen, as the peak is at lag 0, its 95 % reach 0 or the other side, or that of bins disagrees;"
        " names in brackets only tell how to read the rest"
    ),
)
ESTIMATED = "event*: estimated; a stream of the pair lacks exchange time stamps, and has receive time minus usual delay"


def curves_table(pairs: Sequence[Mapping[str, Any]]) -> pa.Table:
    """One row per pair, clock and lag.

    Args:
        pairs: one per pair and clock: x, y, clock, event_estimated, lags_ms, curve (signed), correlations [L].

    Example:
        >>> grid = np.array([-1.0, 0.0, 1.0])
        >>> one = {"x": "a", "y": "b", "clock": "receive", "event_estimated": False}
        >>> one |= {"lags_ms": grid, "curve": -grid, "correlations": grid}
        >>> curves_table([one]).column("contrast").to_pylist()
        [1.0, 0.0, 1.0]
    """
    parts = []
    for pair in pairs:
        rows = len(pair["lags_ms"])
        same = [f"{pair['x']} ~ {pair['y']}", pair["x"], pair["y"], pair["clock"], pair["event_estimated"]]
        correlation = pa.array(pair["correlations"], from_pandas=True)  # NaN is null: one of the two did not move
        numbers = [pair["lags_ms"], np.abs(pair["curve"]), pair["curve"]]
        columns = [*(pa.repeat(one, rows) for one in same), *map(pa.array, numbers), correlation]
        parts.append(pa.Table.from_arrays(columns, schema=CURVES))
    return pa.concat_tables(parts) if parts else CURVES.empty_table()


def print_leadlag(
    summary: Mapping[str, Any], run_dir: object, stream: TextIO | None = None, *, said: Sequence[str] = ()
) -> None:
    """Print one line per pair and clock, leader first, with 95 % intervals; in brackets where no lead is seen.

    Args:
        summary: what summary.json holds.
        run_dir: where the files are.
        stream: where to; standard output by default.
        said: notes that were shown before.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    out = sys.stdout if stream is None else stream
    console = Console(file=out, width=None if out.isatty() else WIDTH, highlight=False)
    found = summary["leadlag"]
    table = Table(box=None, pad_edge=False, padding=(0, 1), collapse_padding=True, header_style="bold")
    for title in (
        "leader",
        "follower",
        "clock",
        "lag\nms",
        "95 %",
        "leads\nin %",
        "con-\ntrast",
        "ratio",
        "corr.\nlag ms",
        "",
    ):
        table.add_column(
            title, justify="left" if title in ("leader", "follower", "clock", "") else "right", no_wrap=True
        )
    for pair in found["pairs"][:MOST_ROWS]:
        table.add_row(*map(Text, pair_row(pair)))
    lines = ["", table, ""]
    if len(found["pairs"]) > MOST_ROWS:
        lines.append(Text(f"... {len(found['pairs']) - MOST_ROWS} more in summary.json"))
    if found["pairs"]:
        lines += map(Text, LEGEND)
    if any(pair["event_estimated"] for pair in found["pairs"]):
        lines.append(Text(ESTIMATED))
    lines.append(
        Text(
            f"lags to {found['max_lag_s']:g} s in steps of {found['step_ms']:g} ms; {summary['events']:,} events over"
            f" {summary['span_s']:,.1f} s of market in {summary['wall_s']:.1f} s, {summary['peak_rss_mib']:,.0f} MiB"
        )
    )
    lines += [Text(note) for note in summary["notes"] if note not in said]
    if summary.get("interrupted"):
        lines.append(Text("interrupted: the numbers cover what was done"))
    lines.append(Text(f"files: {run_dir}"))
    with suppress(SystemExit):  # rich exits where the reader is gone (``... | head``), and that would end the run
        for line in lines:
            console.print(line, soft_wrap=isinstance(line, Text))


def pair_row(pair: Mapping[str, Any]) -> list[str]:
    """Cells of one pair on one clock.

    Example:
        >>> pair = dict.fromkeys(["lag_ci_ms", "confidence"]) | {"leader": "a", "follower": "b"}
        >>> pair |= {"clock": "event", "lag_ms": 30.0, "contrast": 0.5, "ratio": 2.0, "correlation_lag_ms": 10.0}
        >>> pair |= {"disagree": False, "edge": True}
        >>> pair_row(pair | {"event_estimated": True, "lead_seen": None})
        ['a', 'b', 'event*', '30', '-', '-', '0.500', '2.00', '10', 'edge']
        >>> pair_row(pair | {"event_estimated": False, "lead_seen": False, "disagree": True, "edge": False})[-1]
        'no lead, disagree'
    """
    sure, seen = pair["confidence"], pair["lead_seen"] is not False
    flags = ["no lead"] * (not seen) + [name for name in ("disagree", "edge") if pair[name]]
    return [
        *(pair[name] if seen else f"({pair[name]})" for name in ("leader", "follower")),
        pair["clock"] + "*" * pair["event_estimated"],
        f"{pair['lag_ms']:g}",
        _interval(pair["lag_ci_ms"]),
        DASH if sure is None or pair["lag_ms"] == 0 else f"{100 * sure:.0f}",
        f"{pair['contrast']:.3f}",
        f"{pair['ratio']:.2f}",
        f"{pair['correlation_lag_ms']:g}",
        ", ".join(flags),
    ]


def _interval(ends: Sequence[float] | None) -> str:
    return DASH if ends is None else f"{ends[0]:g} to {ends[1]:g}"
