"""Tables and figure of this experiment, from its runs: python experiments/latency_cost/report.py RUNS.

RUNS holds first/, second/, whole/ and ours/, made by the commands in README.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from schwabot.training.bootstrap import BlockSums, bootstrap_ratio

BOOKS = {"binance": "spot", "binanceusdm": "USD-M", "binancecoinm": "COIN-M"}
SHOWN_MS = ("1", "10", "100", "1000")
BLOCK_NS = 5_000_000_000


def book(stream: str) -> str:
    return BOOKS[stream.partition(":")[0]]


def runs(folder: Path) -> Iterator[tuple[Path, dict[str, Any], dict[str, Any], str]]:
    """Folder, summary, settings and asset of every run of a multirun, in its order."""
    for path in sorted(folder.glob("*/summary.json"), key=lambda path: int(path.parent.name)):
        config = OmegaConf.to_container(OmegaConf.load(path.parent / "config.yaml"))
        assert isinstance(config, dict)
        yield path.parent, json.loads(path.read_text()), config, Path(config["source"]["path"]).name  # type: ignore[misc]


def table(titles: list[str], rows: list[list[str]]) -> None:
    for row in [titles, ["---"] * len(titles), *rows]:
        print("| " + " | ".join(row) + " |")
    print()


def of(cell: dict[str, float], middle: str, low: str, high: str, digits: int = 3) -> str:
    return f"{cell[middle]:.{digits}f} [{cell[low]:.{digits}f}, {cell[high]:.{digits}f}]"


def curves(root: Path) -> None:
    rows = []
    for _, summary, _, asset in runs(root / "whole"):
        for stream, cells in summary["lag_curve"].items():
            for ms in SHOWN_MS:
                cell = cells[ms]
                rows.append(
                    [
                        f"{asset} {book(stream)}",
                        ms,
                        str(cell["n"]),
                        of(cell, "mean", "ci_low", "ci_high"),
                        of(cell, "expected", "expected_ci_low", "expected_ci_high"),
                        of(cell, "gap", "gap_ci_low", "gap_ci_high"),
                        of(cell, "mean_quote", "ci_low_quote", "ci_high_quote", 2),
                    ]
                )
    table(["book", "ms", "n", "realised bp", "expected bp", "realised − expected bp", "realised, 50,000 quote"], rows)


def halves(root: Path) -> None:
    found = {
        (asset, book(stream), part): cells
        for part in ("first", "second")
        for _, summary, _, asset in runs(root / part)
        for stream, cells in summary["lag_curve"].items()
    }
    rows = []
    for asset, name in dict.fromkeys((asset, name) for asset, name, _ in found):
        for part in ("first", "second"):
            cells = found[asset, name, part]
            costs = [of(cells[ms], "mean", "ci_low", "ci_high") for ms in ("10", "100", "1000")]
            rows.append([f"{asset} {name}", part, str(cells["10"]["n"]), *costs])
    table(["book", "half", "n", "10 ms", "100 ms", "1000 ms"], rows)
    for part in ("first", "second", "whole"):
        curves_of = [cells for _, summary, _, _ in runs(root / part) for cells in summary["lag_curve"].values()]
        every = [cell for cells in curves_of for cell in cells.values()]
        off = sum(not cell["gap_ci_low"] <= 0.0 <= cell["gap_ci_high"] for cell in every)
        print(f"{part}: the interval of realised − expected leaves zero out in {off} of {len(every)} cells\n")


def calibration(root: Path) -> None:
    """Slope of realised on expected cost over decisions, through the origin, and about the mean of each stream."""
    rows = []
    for folder, _, _, asset in runs(root / "whole"):
        made = pq.read_table(folder / "lag_decisions.parquet")
        stream = np.array(made["stream"].to_pylist())
        block = made["ts_recv_ns"].to_numpy() // BLOCK_NS
        for name in dict.fromkeys(stream.tolist()):
            cells = []
            for ms in SHOWN_MS:
                expected, realised = (made[f"{kind}_cost_{ms}ms_bp"].to_numpy() for kind in ("expected", "realised"))
                own = (stream == name) & np.isfinite(realised)
                x, y, at = expected[own], realised[own], block[own]
                whole = slope(x, y, at)
                within = slope(x - x.mean(), y - y.mean(), at)
                cells.append(f"{whole}; {within}")
            rows.append([f"{asset} {book(name)}", *cells])
    table(["book", *(f"{ms} ms: all; about the mean" for ms in SHOWN_MS)], rows)


def slope(x: Any, y: Any, block: Any) -> str:
    sums = BlockSums(2)
    sums.add(block, np.stack([x * y, x * x], axis=1))
    parts = sums.values()
    (low, high), *_ = bootstrap_ratio(parts[:, :1], parts[:, 1:], 2000, 0)
    return f"{parts[:, 0].sum() / parts[:, 1].sum():.2f} [{low:.2f}, {high:.2f}]"


def fees(root: Path) -> None:
    rows = []
    for _, summary, config, asset in runs(root / "whole"):
        known = {one["stream"]: one for one in config["instruments"].values()}
        for stream, cells in summary["lag_curve"].items():
            half = 0.5 * summary["latency_cost"][stream]["spread_bp"]
            fee = known[stream]["taker_fee_bp"]
            costs = [f"{cells[ms]['mean']:.3f} ({100 * cells[ms]['mean'] / fee:.1f} %)" for ms in SHOWN_MS]
            rows.append([f"{asset} {book(stream)}", f"{fee:g}", f"{half:.4f}", *costs])
    table(["book", "taker fee bp", "half spread bp", *(f"{ms} ms: bp (of the fee)" for ms in SHOWN_MS)], rows)


def ours(root: Path) -> None:
    """What modules.phantom_lag.latency_ms changes: the programme of Moallemi and Sağlam, lanes, windows."""
    rows = []
    for _, summary, config, asset in runs(root / "ours"):
        model = [
            "–" if one["relative"] is None else f"{100 * one['relative']:.1f} % = {one['lost_bp']:.4f} bp"
            for one in (summary["latency_cost"][stream] for stream in sorted(summary["latency_cost"], key=book))
        ]
        lanes = "/".join(str(summary["lanes"][lane]) for lane in ("MEDIUM", "HIGH"))
        latency = f"{config['modules']['phantom_lag']['latency_ms']:g}"
        rest = [lanes, str(summary["pays_fees"]), str(summary["arbitrage"]["basis"]), str(summary["avoid_reentry"])]
        rows.append([asset, latency, *model, *rest])
    names = [f"{name}: lost" for name in sorted(BOOKS.values())]
    table(["asset", "latency_ms", *names, "MEDIUM/HIGH", "pays_fees", "basis windows", "avoid_reentry"], rows)
    rows = []
    for _, summary, _, asset in runs(root / "whole"):
        for stream, one in summary["latency_cost"].items():
            limit_s = (one["spread_bp"] / one["sigma_bp_per_sqrt_s"]) ** 2 / (2.0 * np.pi)
            values = [one["sigma_bp_per_sqrt_s"], one["spread_bp"], one["buyers_per_s"], 1e6 * limit_s]
            rows.append([f"{asset} {book(stream)}", *(f"{value:.3g}" for value in values)])
    table(["book", "σ bp/√s", "spread bp", "buyers/s", "model holds below µs"], rows)


def draw(root: Path, file: Path) -> None:
    figure = Figure(figsize=(11.0, 6.0), dpi=90, layout="constrained")
    panels = figure.subplots(2, 3, sharex=True, sharey=True)
    for row, (_, summary, _, asset) in enumerate(runs(root / "whole")):
        for axes, (stream, cells) in zip(panels[row], summary["lag_curve"].items(), strict=True):
            ms = [float(one) for one in cells]
            for prefix, middle, colour, line, said in (
                ("", "mean", "C0", "-", "realised"),
                ("expected_", "expected", "C1", "--", "expected at the decision"),
            ):
                axes.plot(
                    ms, [cell[middle] for cell in cells.values()], line, color=colour, marker="o", ms=3, label=said
                )
                ends = ([cell[f"{prefix}ci_{end}"] for cell in cells.values()] for end in ("low", "high"))
                axes.fill_between(ms, *ends, color=colour, alpha=0.18, lw=0)
            axes.axhline(0.0, color="0.6", lw=0.8, zorder=0)
            axes.set_xscale("log")
            axes.set_title(f"{asset} {book(stream)} (n = {cells['10']['n']})", fontsize=10)
            axes.grid(visible=True, lw=0.4, alpha=0.6)
            axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[1]:
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("acting later than the decision (ms)")
    for axes in panels[:, 0]:
        axes.set_ylabel("cost of the touch (bp)")
    panels[0][0].legend(frameon=False, fontsize=8, loc="upper left")
    figure.savefig(file)


def main() -> None:
    root = Path(sys.argv[1])
    for part in (curves, halves, calibration, fees, ours):
        part(root)
    draw(root, Path(__file__).with_name("figure.png"))


if __name__ == "__main__":
    main()
