"""Tables and figure of this folder, from the runs its README names: python experiments/ghost_skill/report.py FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from schwabot.sinks.fit_figure import fit_figure

HERE = Path(__file__).parent
RUNS = {"both": "both", "BTC only": "btc", "ETH only": "eth"}
COUNTED_MS = (50.0, 100.0, 500.0)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "fit.parquet").to_pylist()
    return rows


def mean(rows: list[dict[str, Any]], asset: str, predictor: str, part: str, name: str) -> float:
    values = [
        row[name]
        for row in rows
        if (row["part"], row["asset"], row["predictor"]) == (part, asset, predictor) and row["horizon_ms"] in COUNTED_MS
    ]
    return sum(values) / len(values)


def main(folder: Path) -> None:
    runs = {name: rows_of(folder / place) for name, place in RUNS.items()}
    print("| fitted on | BTC | ETH |\n|---|---|---|")
    names = [(name, rows, "forecast") for name, rows in runs.items()]
    names += [(one, runs["both"], one) for one in ("weighted", "mean", "kalman", "microprice")]
    for name, rows, predictor in names:
        cells = [
            f"{mean(rows, asset, predictor, 'held_out', 'r2'):.3f} / "
            f"{mean(rows, asset, predictor, 'held_out', 'r2_grid'):.3f}"
            for asset in ("BTC", "ETH")
        ]
        print(f"| {name} | {' | '.join(cells)} |")
    both = [row for row in runs["both"] if row["part"] == "held_out"]
    print("\n| stream | ms | R² quotes | 95 % | 10 ms grid | from 1 ms on | without top 3 | 7 s old |\n|" + "---|" * 8)
    for row in both:
        if row["predictor"] == "forecast":
            print(
                f"| {row['stream']} | {row['horizon_ms']:g} | {row['r2']:.3f}"
                f" | [{row['r2_ci_low']:.2f}, {row['r2_ci_high']:.2f}] | {row['r2_grid']:.3f}"
                f" | {row['r2_after_1ms']:.3f} | {row['r2_without_top3']:.3f} | {row['placebo']:.3f} |"
            )
    tables: dict[str, Any] = {}
    for row in both:
        cell = row | {"r2_ci": [row["r2_ci_low"], row["r2_ci_high"]]}
        tables.setdefault(row["predictor"], {}).setdefault(row["stream"], {})[f"{row['horizon_ms']:g}"] = cell
    fit_figure({"forecast": tables.pop("forecast")} | tables).savefig(HERE / "figure.png", dpi=80)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
