"""The vectorbt side of sweep_peers.py, in its own environment. N rows, P parameter sets.

One column per set: boolean signals of the threshold, then Portfolio.from_signals at the mid with half the spread as
slippage, which is the touch. Reads market.npz and sets.npz from a folder; answers each line on stdin, "first last",
with CPU and wall time of those sets, fills and cash as JSON. No statistics are asked for: they would come on top.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import vectorbt as vbt


def main() -> None:
    folder = Path(sys.argv[1])
    with np.load(folder / "market.npz") as file:
        x, bid, ask = file["x"], file["bid"], file["ask"]
    with np.load(folder / "sets.npz") as file:
        sets = {name: file[name] for name in file.files}
    mid = 0.5 * (bid + ask)[:, None]
    half = (0.5 * (ask - bid))[:, None] / mid

    def some(first: int, last: int) -> tuple[list[int], list[float]]:
        enter, leave = sets["enter"][first:last, None], sets["leave"][first:last, None]
        either = np.minimum(enter, leave)
        # Column by column in memory, and what all columns share once: this is how it is fastest.
        portfolio = vbt.Portfolio.from_signals(
            mid,
            entries=(x > enter).T,
            exits=(x < -either).T,
            short_entries=(x < -enter).T,
            short_exits=(x > either).T,
            size=1.0,
            price=mid,
            slippage=half,
            upon_opposite_entry="close",
            init_cash=1e12,
            max_orders=int(sets["max_orders"]),
            freq="1s",
        )
        records = portfolio.orders.values
        signed = np.where(records["side"] == 0, -1.0, 1.0) * records["size"] * records["price"]
        fills = np.bincount(records["col"], minlength=last - first)
        cash = np.bincount(records["col"], weights=signed, minlength=last - first)
        return fills.tolist(), cash.tolist()

    some(0, 2)  # compiles
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        first, last = map(int, line.split())
        cpu, wall = time.process_time(), time.perf_counter()
        fills, cash = some(first, last)
        took = time.process_time() - cpu, time.perf_counter() - wall
        print(json.dumps({"cpu_s": took[0], "wall_s": took[1], "fills": fills, "cash": cash}), flush=True)


if __name__ == "__main__":
    main()
