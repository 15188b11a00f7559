"""The hftbacktest side of sweep_peers.py, in its own environment. N rows, E events, P parameter sets.

One compiled loop per set: elapse to the next row, look at the order under way, decide. Reads market.npz and sets.npz
from a folder; answers each line on stdin, "first last", with CPU and wall time of those sets, fills and cash as JSON.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from hftbacktest import FILLED, LIMIT, BacktestAsset, ROIVectorMarketDepthBacktest
from hftbacktest.order import EXPIRED, IOC
from numba import njit


@njit
def threshold(hbt, ts, x, enter, leave, tick):
    number, under_way = 0, False
    hbt.elapse(0)
    for i in range(len(ts)):
        if hbt.elapse(ts[i] - hbt.current_timestamp) != 0:
            break
        if under_way:
            order = hbt.orders(0).get(number)
            if order is None or (order.status != FILLED and order.status != EXPIRED):
                continue
            hbt.clear_inactive_orders(0)
            under_way = False
        now, position = x[i], hbt.position(0)
        buys = (position < 0.0 and (now > leave or now > enter)) or (position == 0.0 and now > enter)
        sells = (position > 0.0 and (now < -leave or now < -enter)) or (position == 0.0 and now < -enter)
        if buys or sells:
            number += 1
            under_way = True
            depth = hbt.depth(0)
            if buys:
                hbt.submit_buy_order(0, number, round(1.05 * depth.best_ask_tick) * tick, 1.0, IOC, LIMIT, False)
            else:
                hbt.submit_sell_order(0, number, round(0.95 * depth.best_bid_tick) * tick, 1.0, IOC, LIMIT, False)
    state = hbt.state_values(0)
    return state.num_trades, state.balance


def main() -> None:
    folder = Path(sys.argv[1])
    with np.load(folder / "market.npz") as file:
        ts, x, events = file["ts"], file["x"], file["events"]
    with np.load(folder / "sets.npz") as file:
        sets = {name: file[name] for name in file.files}
    low, high = events["px"].min(), events["px"].max()

    def one(p: int) -> tuple[int, float]:
        asset = (
            BacktestAsset()
            .data(events)
            .linear_asset(1.0)
            .constant_order_latency(int(sets["entry_ns"][p]), int(sets["response_ns"][p]))
            .risk_adverse_queue_model()
            .no_partial_fill_exchange()
            .trading_value_fee_model(0.0, 0.0)
            .tick_size(1.0)
            .lot_size(1.0)
            .roi_lb(low - 1.0)
            .roi_ub(high + 1.0)
        )
        hbt = ROIVectorMarketDepthBacktest([asset])
        fills, cash = threshold(hbt, ts, x, sets["enter"][p], sets["leave"][p], 1.0)
        hbt.close()
        return int(fills), float(cash)

    one(0)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        first, last = map(int, line.split())
        cpu, wall = time.process_time(), time.perf_counter()
        answers = [one(p) for p in range(first, last)]
        took = time.process_time() - cpu, time.perf_counter() - wall
        told = {"cpu_s": took[0], "wall_s": took[1], "fills": [a for a, _ in answers], "cash": [b for _, b in answers]}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
