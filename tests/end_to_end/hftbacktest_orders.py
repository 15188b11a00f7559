"""Orders at fixed times in hftbacktest; run by the interpreter of its own environment.

In: market.npz (events), schedule.npz (time, action; settings), in a folder. Out: orders.npz, one row per entry of the
schedule, its number is the order's: bid and ask known at the decision, status, price, time at the exchange.
Actions: +-1 immediate or cancel at the touch, +-2 the same REACH ticks beyond, +-3 post-only at the own side's touch,
+-4 cancel the last post of that side if it can be cancelled; positive buys.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from hftbacktest import GTX, LIMIT, BacktestAsset, ROIVectorMarketDepthBacktest
from hftbacktest.order import IOC
from numba import njit

BID, ASK, STATUS, PRICE, AT_NS, MAKER, NOW_NS = range(7)


@njit
def play(hbt, times, actions, reach, tick, lot, end_ns, out):
    last = np.full(2, -1)
    hbt.elapse(0)
    for k in range(len(times)):
        if hbt.elapse(times[k] - hbt.current_timestamp) != 0:
            return k
        depth = hbt.depth(0)
        bid, ask = depth.best_bid_tick, depth.best_ask_tick
        out[k, BID], out[k, ASK], out[k, NOW_NS] = bid, ask, hbt.current_timestamp
        buys, what = actions[k] > 0, abs(actions[k])
        beyond = reach if what == 2 else 0
        own = 0 if buys else 1
        if what <= 2 and buys:
            hbt.submit_buy_order(0, k, (ask + beyond) * tick, lot, IOC, LIMIT, False)
        elif what <= 2:
            hbt.submit_sell_order(0, k, (bid - beyond) * tick, lot, IOC, LIMIT, False)
        elif what == 3:
            if buys:
                hbt.submit_buy_order(0, k, bid * tick, lot, GTX, LIMIT, False)
            else:
                hbt.submit_sell_order(0, k, ask * tick, lot, GTX, LIMIT, False)
            last[own] = k
        elif last[own] >= 0:
            order = hbt.orders(0).get(last[own])
            if order is not None and order.cancellable:
                hbt.cancel(0, last[own], False)
    hbt.elapse(end_ns - hbt.current_timestamp)
    return len(times)


@njit
def read(hbt, out):
    for k in range(len(out)):
        if k in hbt.orders(0):
            order = hbt.orders(0).get(k)
            one = order.arr[0]
            out[k, STATUS], out[k, PRICE], out[k, AT_NS] = one.status, one.exec_price_tick, one.exch_timestamp
            out[k, MAKER] = one.maker


def main() -> None:
    folder = Path(sys.argv[1])
    with np.load(folder / "schedule.npz") as file:
        given = {name: file[name] for name in file.files}
    tick, lot = float(given["tick"]), float(given["lot"])
    asset = (
        BacktestAsset()
        .data([str(folder / "market.npz")])
        .linear_asset(1.0)
        .constant_order_latency(int(given["entry_ns"]), int(given["response_ns"]))
        .risk_adverse_queue_model()
        .no_partial_fill_exchange()
        .trading_value_fee_model(0.0, 0.0)
        .tick_size(tick)
        .lot_size(lot)
        .roi_lb(float(given["low"]))
        .roi_ub(float(given["high"]))
    )
    hbt = ROIVectorMarketDepthBacktest([asset])
    out = np.zeros((len(given["times"]), 7), np.int64)
    done = play(hbt, given["times"], given["actions"], int(given["reach"]), tick, lot, int(given["end_ns"]), out)
    read(hbt, out)
    hbt.close()
    np.savez(folder / "orders.npz", orders=out, done=done)


if __name__ == "__main__":
    main()
