"""A fit as a table: one row per predictor, stream and horizon, and what the console shows of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import pyarrow as pa
import pyarrow.parquet as pq

WIDTH = 120
FIT = pa.schema(
    [
        ("part", pa.string()),
        ("asset", pa.string()),
        ("predictor", pa.string()),
        ("stream", pa.string()),
        ("horizon_ms", pa.float64()),
        ("corr", pa.float64()),
        ("r2", pa.float64()),
        ("r2_ci_low", pa.float64()),
        ("r2_ci_high", pa.float64()),
        ("r2_grid", pa.float64()),
        ("r2_after_1ms", pa.float64()),
        ("r2_without_top3", pa.float64()),
        ("placebo", pa.float64()),
        ("n", pa.int64()),
        ("excluded", pa.int64()),
    ]
)
"""Columns of fit.parquet. ``part``: held_out; without STREAM; fold_0, fold_1, ... of the walk forward."""


def fit_table(skill: Mapping[str, Any], fit: Mapping[str, Any]) -> pa.Table:
    """Every score of a fit.

    Args:
        skill: of the forecast: stream → horizon in ms → numbers.
        fit: ``fit`` of summary.json.
    """
    assets = {stream: base for base, one in fit["assets"].items() for stream in one["streams"]}
    rows: list[dict[str, Any]] = []

    def add(part: str, predictor: str, table: Mapping[str, Any]) -> None:
        for stream, cells in table.items():
            for h, cell in cells.items():
                low, high = cell.get("r2_ci", (None, None))
                numbers = {name: value for name, value in cell.items() if name != "r2_ci"}
                where = {"part": part, "asset": assets[stream], "predictor": predictor, "stream": stream}
                rows.append(where | {"horizon_ms": float(h)} | numbers | {"r2_ci_low": low, "r2_ci_high": high})

    add("held_out", "forecast", skill)
    for predictor, table in fit.get("baselines", {}).items():
        add("held_out", predictor, table)
    for stream, table in fit.get("missing", {}).items():
        add(f"without {stream}", "forecast", table)
    for k, fold in enumerate(fit["folds"]):
        for part in fold["assets"].values():
            table = {
                stream: {h: {"r2": r2, "r2_grid": part["r2_grid"][stream][h]} for h, r2 in cells.items()}
                for stream, cells in part["r2"].items()
            }
            add(f"fold_{k}", "forecast", table)
    return pa.Table.from_pylist(rows, schema=FIT)


def write_fit(file: Path, table: pa.Table) -> None:
    """Write fit.parquet, whole or not at all."""
    part = file.with_name(f"{file.name}.part")
    pq.write_table(table, part, compression="zstd")
    part.replace(file)


def show_fit(skill: Mapping[str, Any], fit: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """Print the forecast's R² by stream and horizon, and the mean of every predictor.

    Args:
        skill: of the forecast: stream → horizon in ms → numbers.
        fit: ``fit`` of summary.json.
        stream: where to; standard output by default.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    stream = sys.stdout if stream is None else stream
    console = Console(file=stream, width=None if stream.isatty() else WIDTH, highlight=False)
    horizons = list(next(iter(skill.values()), {}))
    table = Table(box=None, pad_edge=False, padding=(0, 1), collapse_padding=True, header_style="bold")
    table.add_column("held out: R² on quotes/grid")
    for h in horizons:
        table.add_column(f"{h} ms", justify="right", no_wrap=True)
    for name, cells in skill.items():
        table.add_row(Text(name), *(_pair(cells[h]["r2"], cells[h]["r2_grid"]) for h in horizons))
    means = Table(box=None, pad_edge=False, padding=(0, 1), collapse_padding=True, header_style="bold")
    means.add_column("mean over streams and 50, 100, 500 ms" if _usual(horizons) else "mean over streams and horizons")
    for predictor in next(iter(fit.get("mean_r2", {}).values()), {}):
        means.add_column(predictor, justify="right", no_wrap=True)
    for base, by_predictor in fit.get("mean_r2", {}).items():
        means.add_row(base, *(_pair(one["quotes"], one["grid"]) for one in by_predictor.values()))
    with suppress(SystemExit):  # a reader that is gone must not end the run
        for what in (table, means) if skill else ():
            console.print()
            console.print(what)
        for line in _lines(fit):
            console.print(line, markup=False, soft_wrap=True)


def _usual(horizons: list[str]) -> bool:
    return {"50", "100", "500"} <= set(horizons)


def _lines(fit: Mapping[str, Any]) -> Iterator[str]:
    chosen = f"{fit['lambda']:g}" if "lambda" in fit else ""
    rows = [f"{one['rows']['quotes']:,} quotes of {base}" for base, one in fit["assets"].items() if one["rows"]]
    yield ""
    if rows:
        yield f"fitted on {' and '.join(rows)}; penalty {chosen or 'not chosen yet'}; {len(fit['folds'])} folds"


def _pair(quotes: float | None, grid: float | None) -> str:
    return " / ".join("-" if value is None else f"{value:.3f}" for value in (quotes, grid))
