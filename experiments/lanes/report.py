"""Tables and figure of this folder: python experiments/lanes/report.py BTC_FILES ETH_FILES FOLDER."""

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

from schwabot.simulation.details import orders_table  # noqa: E402
from schwabot_kernels.simulate.state import FILL_LEG, FILL_PRICE, FILL_SIDE, FILL_VENUE_NS  # noqa: E402

SIGNALS = ("forecast_bp", "lane")
LANES = ("LOW", "MEDIUM", "HIGH")
POLICY = f"{HERE / 'round_trip.py'}:round_trip"
EDGES_V = ((1.2, 2.0), (1.0, 1.2), (0.95, 1.1), (0.9, 1.05))
"""Edges of MEDIUM and HIGH; the first are the default."""
HOLDS_MS = (50.0, 100.0, 200.0, 500.0, 1000.0)
CHOSEN = {"edges_v": EDGES_V[3], "hold_ms": 100.0}
"""The best lower limit of both steps, MEDIUM over LOW and HIGH over MEDIUM, of all books together."""
MARKOUT_MS = 100.0
"""Horizon of the lanes' forecast."""
LATENCY_MS = 5.0


def trips(tape: Tape, lane: int, hold_ms: float) -> tuple[dict[str, Any], Any]:
    """Every round trip of a lane: leg, time, gross bp, taker fees bp, markout of the entry; and the run."""
    simulation = {"entry_ms": LATENCY_MS, "response_ms": LATENCY_MS}
    outcome = play(tape, POLICY, simulation, lane=lane, hold_ms=hold_ms)
    found: dict[str, list[Any]] = {name: [] for name in ("leg", "ts", "gross", "fees", "markout")}
    for v, instrument in enumerate(outcome.instruments):
        rows = outcome.fills[outcome.fills[:, FILL_LEG] == v]
        rows = rows[: len(rows) // 2 * 2]  # one lot in, one lot out; the last may be open
        enter, leave = rows[::2], rows[1::2]
        side, paid = enter[:, FILL_SIDE], enter[:, FILL_PRICE]
        later = mid_ticks(tape.market, v, enter[:, FILL_VENUE_NS] + int(MARKOUT_MS * 1e6))
        found["leg"].append(np.full(len(enter), v))
        found["ts"].append(enter[:, FILL_VENUE_NS])
        found["gross"].append(side * (leave[:, FILL_PRICE] - paid) / paid * 1e4)
        found["fees"].append(instrument.taker_fee_bp * (1 + leave[:, FILL_PRICE] / paid))
        found["markout"].append(side * (later - paid) / paid * 1e4)
    return {name: np.concatenate(values) for name, values in found.items()}, outcome


def of(found: dict[str, Any], leg: int, name: str) -> tuple[Any, Any]:
    """Times and values of a leg; -1 = of all."""
    own = ((found["leg"] == leg) | (leg < 0)) & np.isfinite(found[name])
    return found["ts"][own], found[name][own]


def choose(tapes: dict[tuple[float, float], Tape]) -> None:
    """Every setting on the part where they are chosen."""
    print("| MEDIUM, HIGH from V | hold ms | book | trips LOW, MEDIUM, HIGH | gross bp LOW | MEDIUM | HIGH"
          " | MEDIUM − LOW | HIGH − MEDIUM |\n|" + "---|" * 9)  # fmt: skip
    for (edges, tape), hold_ms in product(tapes.items(), HOLDS_MS):
        lanes = [trips(tape, lane, hold_ms)[0] for lane in range(3)]
        for leg, book in [*enumerate(tape.books), (-1, "all")]:
            gross = [of(one, leg, "gross") for one in lanes]
            cells = [said(mean_of(*one)) if len(one[0]) else "–" for one in gross]
            steps = [said(difference_of(gross[1], gross[0])), said(difference_of(gross[2], gross[1]))]
            counts = ", ".join(str(len(one[0])) for one in gross)
            print(f"| {edges[0]:g}, {edges[1]:g} | {hold_ms:g} | {book} | {counts} | {' | '.join(cells + steps)} |",
                  flush=True)  # fmt: skip


def confirm(asset: str, tape: Tape) -> list[dict[str, Any]]:
    """The chosen setting on data nobody looked at."""
    runs = [trips(tape, lane, CHOSEN["hold_ms"]) for lane in range(3)]
    rows = []
    for leg, book in [*enumerate(tape.books), (-1, "all")]:
        for lane, (found, _) in enumerate(runs):
            ts, gross = of(found, leg, "gross")
            _, fees = of(found, leg, "fees")
            row: dict[str, Any] = {"book": f"{asset} {book}", "lane": LANES[lane], "trips": len(ts)}
            if len(ts):
                row |= {"gross": mean_of(ts, gross), "net": mean_of(ts, gross - fees)}
                row["markout"] = mean_of(*of(found, leg, "markout"))
            if lane:
                row["step"] = difference_of((ts, gross), of(runs[lane - 1][0], leg, "gross"))
                row["above LOW"] = difference_of((ts, gross), of(runs[0][0], leg, "gross"))
            rows.append(row)
            cells = [
                said(row[name]) if name in row else "–" for name in ("gross", "net", "markout", "step", "above LOW")
            ]
            print(f"| {row['book']} | {row['lane']} | {len(ts)} | {' | '.join(cells)} |", flush=True)
    net = np.concatenate([found["gross"] - found["fees"] for found, _ in runs])
    BEST.append(
        f"{asset}: {(net > 0).sum()} of {len(net)} round trips above zero after fees, the best {net.max():.1f} bp"
    )
    for lane, (_, outcome) in enumerate(runs):
        losses(asset, LANES[lane], orders_table(outcome))
    return rows


def losses(asset: str, lane: str, orders: Any) -> None:
    """What the orders of a lane's trips lost, by part, and the phantom events among them."""
    table = orders.to_pydict()
    events = np.array(table["realised_phantom"], dtype=object)
    opens = np.array(table["opens"], dtype=bool)
    for name, own in (("entries", opens), ("exits", ~opens)):
        if not own.any():
            continue
        parts = []
        for part in ("delay_bp", "realised_bp", "missed_bp", "fees_bp", "total_bp"):
            value = np.array([np.nan if one is None else one for one in table[part]])
            at = np.array([0 if one is None else one for one in table["ts_decision_ns"]])
            ok = own & np.isfinite(value)
            parts.append(said(mean_of(at[ok], value[ok]), 3))
        counts = ", ".join(
            str(int((events[own] == one).sum())) for one in ("missed_entry", "early_exit", "delayed_action")
        )
        LOSSES.append(f"| {asset} | {lane} | {name} | {own.sum()} | {' | '.join(parts)} | {counts} |")


LOSSES: list[str] = []
BEST: list[str] = []


def draw(rows: list[dict[str, Any]]) -> None:
    """Gross edge per trip by lane and book."""
    figure, panels = plt.subplots(1, 2, figsize=(9, 3.0), sharey=True, layout="constrained")
    for panel, asset in zip(panels, ("BTC", "ETH"), strict=True):
        own = [row for row in rows if row["book"].startswith(asset)]
        books = list(dict.fromkeys(row["book"] for row in own))
        for k, lane in enumerate(LANES):
            there = [row for row in own if row["lane"] == lane and "gross" in row]
            if not there:
                continue
            mean, low, high = np.array([row["gross"] for row in there]).T
            at = np.array([books.index(row["book"]) for row in there]) + 0.2 * (k - 1)
            panel.errorbar(at, mean, yerr=[mean - low, high - mean], fmt="o", ms=4, capsize=2, label=lane)
        panel.axhline(0.0, color="grey", lw=0.8)
        panel.set_xticks(range(len(books)), books)
    panels[0].set_ylabel("gross per round trip, bp")
    panels[1].legend(fontsize=8)
    figure.savefig(HERE / "figure.png", dpi=80)


def finish(rows: list[dict[str, Any]]) -> None:
    """Second table and figure."""
    print("\n| asset | lane | orders | n | delay bp | realised bp | missed bp | fees bp | total bp"
          " | missed entry, early exit, delayed action |\n|" + "---|" * 10)  # fmt: skip
    print("\n".join([*LOSSES, "", *BEST]))
    draw(rows)


HEADER = (
    "| book | lane | trips | gross bp | net bp | markout 100 ms bp | above the lane below | above LOW |\n|" + "---|" * 8
)


def main(btc: str, eth: str, folder: Path) -> None:
    head = head_of(folder, 36)
    choose(
        {edges: read(btc, head, SIGNALS, medium_v=edges[0], high_v=edges[1]).between(0.36, 0.6) for edges in EDGES_V}
    )
    print("\n" + HEADER)
    medium, high = CHOSEN["edges_v"]
    rows = []
    for asset, places in (("BTC", btc), ("ETH", eth)):
        tape = read(places, head_of(folder, 60), SIGNALS, medium_v=medium, high_v=high)
        rows += confirm(asset, tape.between(0.6, 1.0))
    finish(rows)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
