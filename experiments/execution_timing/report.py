"""Tables and figure of this folder: python experiments/execution_timing/report.py BTC_FILES ETH_FILES FOLDER."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))
from playing import Tape, head_of, mean_of, play, read, said  # noqa: E402

from schwabot_kernels.simulate.state import (  # noqa: E402
    FILL_LEG,
    FILL_ORDER,
    FILL_PRICE,
    FILL_SIDE,
    ORDER_ID,
    ORDER_NS,
)

FORECASTS = ("forecast_bp", "forecast_500ms_bp")
EVERY_S, OFFSETS = 0.6, 10
WINDOWS_MS = (100.0, 200.0, 500.0)
SEND_BP = (-0.5, -0.2, -0.1, -0.05, 0.0, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
LATENCIES_MS = (5.0, 20.0)
CHOSEN = {"forecast": "forecast_bp", "window_ms": 500.0, "send_bp": 0.05}
"""The most saved against that way of sending against which it saves less."""
AT_ONCE, AT_DEADLINE, BY_FORECAST = 0, 1, 2
BASELINES = {"deadline": AT_DEADLINE, "at once": AT_ONCE}


def parents(
    tape: Tape, latency_ms: float, mode: int, forecast: str, window_ms: float, send_bp: float
) -> dict[Any, Any]:
    """(leg, offset, parent) → (its time, side, price, how long before the last moment it was sent in ms)."""
    found: dict[Any, Any] = {}
    start = int(tape.market.ts_ns[0])
    for offset in range(OFFSETS):
        first_s = offset * EVERY_S / OFFSETS
        outcome = play(
            tape, "timed_execution", {"entry_ms": latency_ms, "response_ms": latency_ms}, forecast,
            every_s=EVERY_S, first_s=first_s, window_ms=window_ms, ahead_ms=latency_ms, mode=mode, send_bp=send_bp,
        )  # fmt: skip
        sent = dict(zip(outcome.orders[:, ORDER_ID].tolist(), outcome.orders[:, ORDER_NS].tolist(), strict=True))
        begin = start + int(first_s * 1e9)
        for fill in outcome.fills.tolist():
            at = sent[fill[FILL_ORDER]]
            number = (at - begin) // int(EVERY_S * 1e9)
            age_ms = (at - begin) / 1e6 - number * EVERY_S * 1e3
            found[fill[FILL_LEG], offset, number] = (
                begin + number * int(EVERY_S * 1e9), fill[FILL_SIDE], fill[FILL_PRICE], window_ms - latency_ms - age_ms,
            )  # fmt: skip
    return found


def saved(
    tape: Tape, latency_ms: float, forecast: str, window_ms: float, sends: tuple[float, ...]
) -> list[dict[str, Any]]:
    """Per threshold: times, legs, saved bp against each baseline and whether it was sent early, of common parents."""
    baselines = {name: parents(tape, latency_ms, mode, forecast, window_ms, 0.0) for name, mode in BASELINES.items()}
    rows = []
    for send_bp in sends:
        timed = parents(tape, latency_ms, BY_FORECAST, forecast, window_ms, send_bp)
        both = sorted(
            key for key in timed if all(timed[key][1] == one.get(key, (0, 0))[1] for one in baselines.values())
        )
        row: dict[str, Any] = {
            "send_bp": send_bp,
            "leg": np.array([key[0] for key in both]),
            "ts": np.array([timed[key][0] for key in both]),
            "early": np.array([float(timed[key][3] > 0) for key in both]),
            "unpaired": 1 - len(both) / max(len(timed), 1),
        }
        for name, one in baselines.items():
            row[name] = np.array([timed[k][1] * (one[k][2] - timed[k][2]) / timed[k][2] * 1e4 for k in both])
        rows.append(row)
    return rows


def choose(tape: Tape) -> None:
    """What each setting would have saved on the part where they are chosen, at 5 ms, all streams together."""
    print("| forecast | window ms | send_bp | early | against deadline | against at once | least |\n|" + "---|" * 7)
    for forecast, window_ms in product(FORECASTS, WINDOWS_MS):
        for row in saved(tape, 5.0, forecast, window_ms, SEND_BP):
            both = [mean_of(row["ts"], row[name]) for name in BASELINES]
            least = min(one[0] for one in both)
            print(
                f"| {forecast} | {window_ms:g} | {row['send_bp']:g} | {row['early'].mean():.0%} | {said(both[0], 3)}"
                f" | {said(both[1], 3)} | {least:.3f} |"
            )


def confirm(asset: str, tape: Tape) -> list[dict[str, Any]]:
    """The chosen setting on data nobody looked at."""
    found = []
    for latency_ms in LATENCIES_MS:
        (row,) = saved(tape, latency_ms, CHOSEN["forecast"], CHOSEN["window_ms"], (CHOSEN["send_bp"],))
        for leg, book in [*enumerate(tape.books), (-1, "all")]:
            own = (row["leg"] == leg) | (leg < 0)
            cells = {name: mean_of(row["ts"][own], row[name][own]) for name in BASELINES}
            found.append({"book": f"{asset} {book}", "latency_ms": latency_ms, **cells})
            print(
                f"| {asset} {book} | {latency_ms:g} | {own.sum()} | {row['early'][own].mean():.0%}"
                f" | {said(cells['deadline'], 3)} | {said(cells['at once'], 3)} |",
                flush=True,
            )
        print(f"  unpaired at {latency_ms:g} ms: {row['unpaired']:.2%}", file=sys.stderr)
    return found


def draw(rows: list[dict[str, Any]]) -> None:
    """Saved bp by book, baseline and latency."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.2), sharey=True, layout="constrained")
    books = [row["book"] for row in rows if row["latency_ms"] == LATENCIES_MS[0]]
    for panel, name in zip(panels, BASELINES, strict=True):
        for k, latency_ms in enumerate(LATENCIES_MS):
            own = [row[name] for row in rows if row["latency_ms"] == latency_ms]
            mean, low, high = np.array(own).T
            panel.errorbar(mean, np.arange(len(own)) + 0.2 * k, xerr=[mean - low, high - mean], fmt="o", ms=4,
                           capsize=2, label=f"{latency_ms:g} ms")  # fmt: skip
        panel.axvline(0.0, color="grey", lw=0.8)
        panel.set_yticks(range(len(books)), books)
        panel.set_xlabel(f"saved against sending {'at the deadline' if name == 'deadline' else name}, bp per order")
    panels[0].invert_yaxis()
    panels[0].legend(fontsize=8)
    figure.savefig(HERE / "figure.png", dpi=80)


def main(btc: str, eth: str, folder: Path) -> None:
    choose(read(btc, head_of(folder, 36), FORECASTS).between(0.36, 0.6))
    print("\n| book | latency ms | orders | early | against deadline | against at once |\n|---|---|---|---|---|---|")
    rows = confirm("BTC", read(btc, head_of(folder, 60), FORECASTS).between(0.6, 1.0))
    rows += confirm("ETH", read(eth, head_of(folder, 60), FORECASTS).between(0.6, 1.0))
    draw(rows)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
