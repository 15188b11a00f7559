"""Tables and figure of this folder: python experiments/quote_guard/report.py BTC_FILES ETH_FILES FOLDER."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from playing import Tape, difference_of, head_of, mean_of, mid_ticks, play, read, said  # noqa: E402

from schwabot_kernels.simulate.state import (  # noqa: E402
    FILL_LEG,
    FILL_PRICE,
    FILL_SIDE,
    FILL_VENUE_NS,
)

FORECASTS = ("forecast_bp", "forecast_500ms_bp")
SIGNALS = (*FORECASTS, "deviation_bp")
QUEUES = ("risk_averse", "proportional")
MARKOUT_MS = 500.0
LATENCY_MS = 5.0
OFFSETS_BP = (-100.0, 0.0)
GUARDS_BP = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
CHOSEN = {"forecast": "forecast_500ms_bp", "offset_bp": 0.0, "guard_bp": 0.05}
"""The largest difference of all books together among settings that keep a quarter of the fills."""
LARGE = 1_000_000
"""Most lots: so large that the position never decides, so that both runs quote by the same rule."""


def fills(tape: Tape, queue: str, forecast: str, offset_bp: float, guard_bp: float | None) -> dict[str, Any]:
    """Legs, times and markouts of every fill, one lot each; without a guard where ``guard_bp`` is None.

    ``ahead``: the forecast, the quote's way, that a cancel in time for the fill would have had to go by.
    """
    outcome = play(
        tape, "quote_guard", {"queue": queue, "entry_ms": LATENCY_MS, "response_ms": LATENCY_MS}, forecast,
        offset_bp=offset_bp, guard=guard_bp is not None, guard_bp=guard_bp or 0.3, max_lots=LARGE,
    )  # fmt: skip
    rows = outcome.fills
    leg, side, price = rows[:, FILL_LEG], rows[:, FILL_SIDE], rows[:, FILL_PRICE]
    found = {"leg": leg, "ts": rows[:, FILL_VENUE_NS], "markout": np.full(len(rows), np.nan)}
    row = np.searchsorted(tape.market.ts_ns, rows[:, FILL_VENUE_NS] - int(LATENCY_MS * 1e6), side="right") - 1
    known = tape.market.signals[leg, tape.signals.index(forecast), np.maximum(row, 0)]
    found["ahead"] = side * known
    for v in range(len(tape.books)):
        own = leg == v
        later = mid_ticks(tape.market, v, rows[own, FILL_VENUE_NS] + int(MARKOUT_MS * 1e6))
        found["markout"][own] = side[own] * (later - price[own]) / price[own] * 1e4
    kept = np.isfinite(found["markout"])
    return {name: values[kept] for name, values in found.items()}


def of(found: dict[str, Any], leg: int) -> tuple[Any, Any]:
    """Times and markouts of a leg; -1 = of all."""
    own = (found["leg"] == leg) | (leg < 0)
    return found["ts"][own], found["markout"][own]


def compared(
    tape: Tape, queue: str, forecast: str, offset_bp: float, guards_bp: tuple[float, ...]
) -> list[dict[str, Any]]:
    """Per guard and leg: markout, adverse share and fills with it, beside those without, and the difference.

    ``told apart``: of the fills without it, those the guard would not have pulled less all of them: what the forecast
    knows, were no place in the queue lost.
    """
    plain = fills(tape, queue, forecast, offset_bp, None)
    rows = []
    for guard_bp in guards_bp:
        guarded = fills(tape, queue, forecast, offset_bp, guard_bp)
        for leg, book in [*enumerate(tape.books), (-1, "all")]:
            with_it, without = of(guarded, leg), of(plain, leg)
            left = of({name: values[plain["ahead"] >= -guard_bp] for name, values in plain.items()}, leg)
            rows.append(
                {
                    "guard_bp": guard_bp,
                    "book": book,
                    "difference": difference_of(with_it, without),
                    "told apart": difference_of(left, without),
                    **{
                        f"{name} {what}": value
                        for what, (ts, markout) in {"with": with_it, "without": without}.items()
                        for name, value in {
                            "markout": mean_of(ts, markout) if len(ts) else (np.nan,) * 3,
                            "adverse": float((markout < 0).mean()) if len(ts) else np.nan,
                            "fills": len(ts) / tape.minutes,
                        }.items()
                    },
                }
            )
    return rows


def line(row: dict[str, Any]) -> str:
    """One row of a table."""
    return (
        f"{row['fills without']:.0f} → {row['fills with']:.0f} | {row['adverse without']:.0%} →"
        f" {row['adverse with']:.0%} | {said(row['markout without'])} | {said(row['markout with'])}"
        f" | {said(row['difference'])} | {said(row['told apart'])}"
    )


HEADER = "fills/min without → with | adverse | markout without, bp | with | difference | told apart"


def choose(tape: Tape) -> None:
    """Every setting on the part where they are chosen."""
    print(f"| forecast | offset_bp | guard_bp | book | {HEADER} |\n|" + "---|" * 10)
    for forecast, offset_bp in product(FORECASTS, OFFSETS_BP):
        for row in compared(tape, "risk_averse", forecast, offset_bp, GUARDS_BP):
            print(f"| {forecast} | {offset_bp:g} | {row['guard_bp']:g} | {row['book']} | {line(row)} |", flush=True)


def confirm(asset: str, tape: Tape) -> list[dict[str, Any]]:
    """The chosen setting on data nobody looked at."""
    found = []
    for queue in QUEUES:
        for row in compared(tape, queue, CHOSEN["forecast"], CHOSEN["offset_bp"], (CHOSEN["guard_bp"],)):
            print(f"| {asset} {row['book']} | {queue} | {line(row)} |", flush=True)
            found.append(row | {"book": f"{asset} {row['book']}", "queue": queue})
    return found


def draw(rows: list[dict[str, Any]]) -> None:
    """Markout with and without, and the difference."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
    rows = [row for row in rows if row["queue"] == QUEUES[0]]
    at = np.arange(len(rows))
    for k, name in enumerate(("without", "with")):
        mean, low, high = np.array([row[f"markout {name}"] for row in rows]).T
        panels[0].errorbar(mean, at + 0.2 * k, xerr=[mean - low, high - mean], fmt="o", ms=4, capsize=2, label=name)
    mean, low, high = np.array([row["difference"] for row in rows]).T
    panels[1].errorbar(mean, at, xerr=[mean - low, high - mean], fmt="o", ms=4, capsize=2, color="black")
    for panel, label in zip(panels, ("markout at 500 ms, bp", "with less without, bp"), strict=True):
        panel.axvline(0.0, color="grey", lw=0.8)
        panel.set_xlabel(label)
    panels[0].set_yticks(at, [row["book"] for row in rows])
    panels[0].invert_yaxis()
    panels[0].legend(fontsize=8)
    figure.savefig(HERE / "figure.png", dpi=80)


def main(btc: str, eth: str, folder: Path) -> None:
    choose(read(btc, head_of(folder, 36), SIGNALS).between(0.36, 0.6))
    print(f"\n| book | queue | {HEADER} |\n|" + "---|" * 8)
    rows = confirm("BTC", read(btc, head_of(folder, 60), SIGNALS).between(0.6, 1.0))
    rows += confirm("ETH", read(eth, head_of(folder, 60), SIGNALS).between(0.6, 1.0))
    draw(rows)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
