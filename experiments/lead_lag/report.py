"""Tables and figure of this experiment, from its runs: python experiments/lead_lag/report.py RUNS.

RUNS holds sweep/, bins/, first/, second/ and whole/, made by the commands in README.md.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from omegaconf import OmegaConf

import schwabot
from schwabot.records.market import MISSING_NS, Kind
from schwabot.ticks.venue_clock import VenueClock, VenueClockConfig
from schwabot.training.leadlag import LeadLagConfig
from schwabot.training.leadlag_streams import PriceCollector

BOOKS = {"binance": "spot", "binanceusdm": "USD-M", "binancecoinm": "COIN-M"}
PAIRS = [("USD-M", "COIN-M"), ("USD-M", "spot"), ("spot", "COIN-M")]
PARTS = ("first", "second", "whole")
Pair = dict[str, Any]


def book(stream: str) -> str:
    return BOOKS[stream.partition(":")[0]]


def runs(folder: Path) -> Iterator[tuple[Path, dict[str, Any], list[Pair]]]:
    """Folder, settings and pairs of every run of a multirun, in its order."""
    for path in sorted(folder.glob("*/summary.json"), key=lambda path: int(path.parent.name)):
        pairs = json.loads(path.read_text())["leadlag"]["pairs"]
        yield path.parent, OmegaConf.to_container(OmegaConf.load(path.parent / "config.yaml")), pairs  # type: ignore[misc]


def asset(config: dict[str, Any]) -> str:
    return Path(config["source"]["path"]).name


def oriented(pairs: list[Pair], clock: str, lead: str, follow: str) -> Pair:
    """The pair as ``lead`` before ``follow``, lags turned over where the run named them the other way."""
    (pair,) = (one for one in pairs if one["clock"] == clock and {book(one["x"]), book(one["y"])} == {lead, follow})
    sign = 1 if book(pair["leader"]) == lead else -1
    ends = sorted(sign * end for end in pair["lag_ci_ms"])
    sure = pair["confidence" if sign > 0 else "reverse_confidence"]
    ratio = pair["ratio"] if sign > 0 else 1.0 / pair["ratio"]
    lags = {"lag": sign * pair["lag_ms"] + 0.0, "bins": sign * pair["correlation_lag_ms"] + 0.0}
    return pair | lags | {"ci": ends, "sure": sure, "lean": ratio}


def table(titles: list[str], rows: list[list[str]]) -> None:
    for row in [titles, ["---"] * len(titles), *rows]:
        print("| " + " | ".join(row) + " |")
    print()


def cell(one: Pair) -> str:
    flag = ", disagree" * one["disagree"]
    return f"{one['lag']:g} [{one['ci'][0]:g}, {one['ci'][1]:g}], {100 * one['sure']:.0f} %{flag}"


def answers(root: Path) -> None:
    rows = []
    for part in PARTS:
        for _, config, pairs in runs(root / part):
            for lead, follow in PAIRS:
                both = [oriented(pairs, clock, lead, follow) for clock in ("receive", "event")]
                more = [f"{one['contrast']:.2f}, {one['lean']:.2f}, {one['bins']:g}" for one in both]
                names = [asset(config), part, f"{lead} before {follow}"]
                rows.append([*names, cell(both[0]), more[0], cell(both[1]), more[1]])
    rest = "contrast, ratio, lag of bins"
    table(["asset", "half", "pair", "receive: lag ms", rest, "exchange: lag ms", rest], rows)


def sensitivity(root: Path, folder: str, names: list[str]) -> None:
    rows = []
    for _, config, pairs in runs(root / folder):
        said = [str(config["leadlag"][name]) for name in names]
        found = [oriented(pairs, clock, *pair) for pair in PAIRS for clock in ("receive", "event")]
        rows.append([*said, *(f"{one['lag']:g} ({one['bins']:g})" + "*" * one["disagree"] for one in found)])
    clocks = [f"{lead} before {follow}, {said}" for lead, follow in PAIRS for said in ("receive", "exchange")]
    table([*names, *clocks], rows)


def lateness(root: Path) -> None:
    """How late price moves are received: receive time minus venue time on our clock, least transport taken as 0."""
    rows = []
    for _, config, _ in runs(root / "whole"):
        feed = schwabot.load(config["source"]["path"])
        clock = VenueClock(feed.instruments, VenueClockConfig())
        late_ms: dict[str, list[Any]] = {one.stream: [] for one in feed.instruments}
        before = dict.fromkeys(late_ms, -1)
        for ticks in feed.batches(65_536):
            venue_ns, _ = clock.update(ticks)
            for v, name in enumerate(late_ms):
                own = np.flatnonzero((ticks.stream == v) & (ticks.kind == Kind.QUOTE) & (venue_ns != MISSING_NS))
                mid = np.concatenate([[before[name]], ticks.bid_ticks[own] + ticks.ask_ticks[own]])
                before[name] = int(mid[-1])
                moved = own[np.diff(mid) != 0]
                late_ms[name].append((ticks.ts_recv_ns[moved] - venue_ns[moved]) / 1e6)
        for name, parts in late_ms.items():
            every = np.concatenate(parts)
            shares = [f"{value:.1f}" for value in np.percentile(every, [25, 50, 75, 90, 99])]
            rows.append([asset(config), book(name) + "†" * (book(name) == "spot"), f"{len(every):,}", *shares])
    table(["asset", "book", "mid changes", "25 %", "50 %", "75 %", "90 %", "99 %"], rows)


def energy(root: Path) -> None:
    """Sum of squared moves, and how much of it the most violent 5 s and 15 s hold."""
    rows = []
    for part in ("first", "second"):
        for _, config, _ in runs(root / part):
            source = config["source"]
            feed = schwabot.load(source["path"], start=source["start"], end=source["end"])
            prices = PriceCollector(feed.instruments, LeadLagConfig())
            for ticks in feed.batches(65_536):
                prices.update(ticks)
            for series in prices.series("receive"):
                block = (series.ts_ns[1:] - series.ts_ns[0]) // 5_000_000_000
                by_block = np.sort(np.bincount(block, np.diff(series.value) ** 2))[::-1] * 1e8
                shares = [f"{100 * by_block[:top].sum() / by_block.sum():.0f} %" for top in (1, 3)]
                names = [asset(config), part, book(series.name)]
                rows.append([*names, f"{series.moves}", f"{by_block.sum():.0f}", *shares])
    table(["asset", "half", "book", "mid moves", "Σ ΔX², bp²", "in the top 5 s", "in the top 3 × 5 s"], rows)


def draw(root: Path, file: Path) -> None:
    shown = PAIRS[:2]
    figure = Figure(figsize=(10.0, 6.0), dpi=90, layout="constrained")
    panels = figure.subplots(2, len(shown), sharex=True)
    for part, line in (("first", "--"), ("second", "-")):
        for row, (folder, config, pairs) in enumerate(runs(root / part)):
            curves = pq.read_table(folder / "leadlag.parquet").to_pylist()
            for axes, (lead, follow) in zip(panels[row], shown, strict=True):
                for clock, colour in (("receive", "tab:blue"), ("event", "tab:orange")):
                    one = oriented(pairs, clock, lead, follow)
                    sign = 1 if book(one["x"]) == lead else -1
                    name = f"{one['x']} ~ {one['y']}"
                    own = [at for at in curves if at["pair"] == name and at["clock"] == clock]
                    said = "exchange" if clock == "event" else clock
                    lags = [sign * at["lag_ms"] for at in own]
                    label = f"{said} time, {part} half"
                    axes.plot(lags, [at["signed_contrast"] for at in own], line, color=colour, lw=1.2, label=label)
                _dress(axes, f"{asset(config)}: {lead} (right) or {follow} (left) leads")
    for axes in panels[1]:
        axes.set_xlabel("lag (ms)")
    for axes in panels[:, 0]:
        axes.set_ylabel("contrast")
    panels[0][0].legend(frameon=False, fontsize=8)
    figure.savefig(file)


def _dress(axes: Axes, title: str) -> None:
    axes.axvline(0.0, color="0.6", lw=0.8, zorder=0)
    axes.axhline(0.0, color="0.6", lw=0.8, zorder=0)
    axes.set_xlim(-200, 200)
    axes.set_title(title, fontsize=10)
    axes.grid(visible=True, lw=0.4, alpha=0.6)
    axes.spines[["top", "right"]].set_visible(False)


def main() -> None:
    root = Path(sys.argv[1])
    answers(root)
    lateness(root)
    energy(root)
    sensitivity(root, "sweep", ["step_ms", "resolution_ms", "price"])
    sensitivity(root, "bins", ["bin_ms"])
    draw(root, Path(__file__).with_name("figure.png"))


if __name__ == "__main__":
    main()
