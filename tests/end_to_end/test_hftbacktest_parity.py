"""The same orders at the same moments here and in hftbacktest, on a recording: the same answers and fills.

Both are given the same rows with the same two times. Times of the orders are fixed; prices are the touch that each
knows then. Where the two differ, the cause is in docs/simulation.md, and every difference has one.
"""

from __future__ import annotations

import os
import subprocess
from collections import Counter, namedtuple
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numba import njit

from benchmarks.peers.hftbacktest_events import events_of
from schwabot.records.instrument import Instrument
from schwabot.ticks.capture import CaptureFeed
from schwabot.ticks.venue_clock import VenueClock
from schwabot_kernels.simulate.cpu import make_simulator, new_state
from schwabot_kernels.simulate.intent import CANCEL, POST, cancel, nothing, post, take
from schwabot_kernels.simulate.records import REFUSED, Market, Rules
from schwabot_kernels.simulate.state import (
    CANCELLED,
    DONE,
    FILL_MAKER,
    FILL_ORDER,
    FILL_PRICE,
    FILL_VENUE_NS,
    NOT_RECORDED,
    ORDER_ACTION,
    ORDER_ARRIVAL_ASK,
    ORDER_ARRIVAL_BID,
    ORDER_ASK,
    ORDER_BID,
    ORDER_END,
    ORDER_END_NS,
    ORDER_LIMIT,
    ORDER_NS,
    ORDER_ROW,
    ORDER_SIDE,
    OUTSIDE_LIMIT,
    WOULD_CROSS,
)
from tests.kernels.making_policies import Row, make_market, make_rules
from tests.kernels.plainly import simulate

MS = 1_000_000
TICK, LOT = 0.1, 0.001
REACH = 50
SENT_BACK, FILLED, GONE, BEHIND, OWN = "sent back", "filled", "cancelled", "behind the touch", "refused"
THEIR_ENDS = {2: SENT_BACK, 3: FILLED, 4: GONE}
OUR_ENDS = {DONE: FILLED, CANCELLED: GONE, OUTSIDE_LIMIT: SENT_BACK, WOULD_CROSS: SENT_BACK, NOT_RECORDED: BEHIND}
TAKEN, POSTED = "take", "post"

Event = namedtuple("Event", ("action", "bid_ticks", "ask_ticks"))
Params = namedtuple("Params", ("reach",))


def event_of(seen: Any, signals: Any, leg: int, row: int) -> Any:
    return Event(signals[leg, 0, row], seen.bid_ticks, seen.ask_ticks)


def params_of(params: Any, p: int) -> Any:
    return Params(int(params[p, 0]))


def scheduled(s: Any, e: Any, p: Any) -> Any:
    """What the schedule says for this row; see hftbacktest_orders.py for the numbers."""
    if s.call > 0 or e.action == 0.0:
        return nothing()
    side = 1 if e.action > 0.0 else -1
    what = int(e.action * side)
    if what <= 2:
        return take(side, 1, (e.ask_ticks if side > 0 else e.bid_ticks) + side * p.reach * (what - 1))
    if what == 3:
        return post(side, 1, e.bid_ticks if side > 0 else e.ask_ticks)
    order = s.buy_order if side > 0 else s.sell_order
    return cancel(order) if order >= 0 else nothing()


class Schedule(NamedTuple):
    """rows: at which it is decided, the last of their receive time; actions: see hftbacktest_orders.py."""

    rows: Any
    actions: Any


class Outcome(NamedTuple):
    """How an order ended: touch known when it was sent, how, price, venue time and maker of its fill or 0."""

    bid: int
    ask: int
    end: str
    price: int
    at_ns: int
    maker: int


@pytest.fixture(scope="session")
def peer(root: Path) -> Path:
    """The interpreter of hftbacktest's environment."""
    python = Path(os.environ.get("SCHWABOT_PEERS", root / ".venv-peers")) / "hftbacktest" / "bin" / "python"
    if not python.exists():
        pytest.skip(f"hftbacktest is not there: no {python}; `make peers` builds it")
    return python


@pytest.fixture(scope="module")
def market(captures: Path) -> Market:
    """Quotes and trades of the BTC perpetual, venue time by the venue clock."""
    known = {"binanceusdm:BTC/USDT:USDT": Instrument("binanceusdm:BTC/USDT:USDT", TICK, LOT)}
    feed = CaptureFeed([captures / "binance" / "usdm" / "btcusdt_20240808.gz"], known)
    clock, rows = VenueClock(feed.instruments), []
    for ticks in feed.batches():
        venue_ns, _ = clock.update(ticks)
        columns = (ticks.ts_recv_ns, venue_ns, ticks.kind, ticks.bid_ticks, ticks.ask_ticks, ticks.bid_lots)
        columns += (ticks.ask_lots, ticks.price_ticks, ticks.qty_lots, ticks.side)
        for ts, venue, kind, *rest in zip(*(column.tolist() for column in columns), strict=True):
            if kind in (0, 1):
                rows.append(Row(ts, venue, 0, *rest))
    return make_market(rows, np.zeros((1, 1, len(rows))), make_rules())


def scheduled_rows(market: Market) -> Schedule:
    """A take every 250 ms, sides in turn, every third with a limit beyond the touch; every second a bid and an ask at
    the touch, half a second apart, each cancelled 800 ms later."""
    ts = market.ts_ns
    first, last = int(ts[0]) + 2_000 * MS, int(ts[-1]) - 3_000 * MS
    wanted: list[tuple[int, int]] = []
    for k, at in enumerate(range(first + 125 * MS, last, 250 * MS)):
        wanted.append((at, (1 if k % 2 else -1) * (2 if k % 3 == 0 else 1)))
    for at in range(first, last - 2_000 * MS, 1_000 * MS):
        wanted += [(at, 3), (at + 800 * MS, 4), (at + 500 * MS, -3), (at + 1_300 * MS, -4)]
    wanted.sort()
    following = np.searchsorted(ts, ts, side="right")  # of every row, the first one of a later time
    rows, free = [], 0
    for row in np.searchsorted(ts, [at for at, _ in wanted]).tolist():  # the first row at or after, one decision a row
        rows.append(int(following[max(row, free)]) - 1)
        free = rows[-1] + 1
    return Schedule(np.array(rows), np.array([action for _, action in wanted], np.int64))


@pytest.fixture(scope="module")
def compiled() -> Any:
    """The simulator of the schedule."""
    return make_simulator(njit(scheduled), njit(event_of), njit(params_of))


def ours(run: Any, market: Market, schedule: Schedule, rules: Rules) -> dict[int, Outcome]:
    """By entry of the schedule; the compiled simulator, which must agree with the one in plain Python."""
    market.signals[:] = 0.0
    market.signals[0, 0, schedule.rows] = schedule.actions
    params = np.array([[float(REACH)]])
    state = new_state(1, 0, 10_000, 10_000)
    assert run(market, rules, params, 0, state, len(market.ts_ns), True) == len(market.ts_ns)
    orders, fills = state.orders_log[: state.logged[1]].tolist(), state.fills[: state.logged[0]].tolist()
    plain = simulate(market, rules, params, 0, scheduled, event_of, params_of)
    assert (plain.orders, plain.fills) == (orders, fills)
    entry = {row: k for k, row in enumerate(schedule.rows.tolist())}
    filled = {fill[FILL_ORDER]: fill for fill in fills}
    out = {}
    for number, order in enumerate(orders):
        if order[ORDER_ACTION] == CANCEL:
            continue
        fill = filled.get(number)
        told = (fill[FILL_PRICE], fill[FILL_VENUE_NS], fill[FILL_MAKER]) if fill else (0, 0, 0)
        end = OUR_ENDS[order[ORDER_END]]
        if end == BEHIND:  # the touch has moved away from the price
            near = order[ORDER_ARRIVAL_BID] if order[ORDER_SIDE] > 0 else -order[ORDER_ARRIVAL_ASK]
            assert near > order[ORDER_SIDE] * order[ORDER_LIMIT]
        out[entry[order[ORDER_ROW]]] = Outcome(order[ORDER_BID], order[ORDER_ASK], end, *told)
    for k in np.flatnonzero(np.abs(schedule.actions) == 3).tolist():
        if k not in out:
            out[k] = refused(market, schedule, k, orders)
    assert state.counts[0, REFUSED] == sum(one.end == OWN for one in out.values())
    return out


def refused(market: Market, schedule: Schedule, k: int, orders: list[list[int]]) -> Outcome:
    """A post that was not sent: an own post of the other side was open at its price or beyond."""
    row, side = int(schedule.rows[k]), int(np.sign(schedule.actions[k]))
    touch = np.flatnonzero(market.kind[: row + 1] == 0)[-1]
    bid, ask = int(market.bid[touch]), int(market.ask[touch])
    price, now = bid if side > 0 else ask, int(market.ts_ns[row])
    assert any(
        order[ORDER_ACTION] == POST and order[ORDER_SIDE] == -side
        and order[ORDER_NS] <= now < order[ORDER_END_NS] and side * order[ORDER_LIMIT] <= side * price
        for order in orders
    )  # fmt: skip
    return Outcome(bid, ask, OWN, 0, 0, 0)


def theirs(market: Market, schedule: Schedule, rules: Rules, peer: Path, folder: Path) -> dict[int, Outcome]:
    events = events_of(market, 0, TICK, LOT)
    np.savez(folder / "market.npz", data=events)
    prices = events["px"]
    np.savez(
        folder / "schedule.npz", times=market.ts_ns[schedule.rows], actions=schedule.actions, reach=REACH, tick=TICK,
        lot=LOT, entry_ns=rules.entry_ns[0, 0], response_ns=rules.response_ns[0, 0], end_ns=market.ts_ns[-1],
        low=prices.min() - 100.0, high=prices.max() + 100.0,
    )  # fmt: skip
    script = Path(__file__).with_name("hftbacktest_orders.py")
    done = subprocess.run([peer, script, folder], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(folder / "orders.npz") as file:
        assert int(file["done"]) == len(schedule.rows)
        orders = file["orders"].tolist()
    out = {}
    for k, (bid, ask, status, price, at_ns, maker, now_ns) in enumerate(orders):
        assert now_ns == market.ts_ns[schedule.rows[k]]
        if abs(schedule.actions[k]) <= 3:
            told = (price, at_ns, maker) if status == 3 else (0, 0, 0)
            out[k] = Outcome(bid, ask, THEIR_ENDS[status], *told)
    return out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("way_ms", "alike", "different"),
    [
        (
            5,
            {(TAKEN, FILLED): 1338, (TAKEN, SENT_BACK): 19, (POSTED, FILLED): 177, (POSTED, GONE): 466,
             (POSTED, SENT_BACK): 15},
            {(BEHIND, GONE): 14, (BEHIND, FILLED): 4},
        ),
        (
            50,
            {(TAKEN, FILLED): 1317, (TAKEN, SENT_BACK): 40, (POSTED, FILLED): 170, (POSTED, GONE): 439,
             (POSTED, SENT_BACK): 27},
            {(BEHIND, GONE): 31, (BEHIND, FILLED): 6, (OWN, GONE): 3},
        ),
    ],
)  # fmt: skip
def test_every_order_ends_alike_or_for_a_reason(
    market: Market, compiled: Any, peer: Path, tmp_path: Path, way_ms: int,
    alike: dict[tuple[str, str], int], different: dict[tuple[str, str], int],
) -> None:  # fmt: skip
    """Entry and response take ``way_ms``. Counts of (what, how it ended) and of (how it ended here, how there)."""
    schedule = scheduled_rows(market)
    way = np.array([[way_ms * MS]])
    rules = make_rules(entry_ns=way, response_ns=way, max_lots=np.array([10_000]))
    here, there = ours(compiled, market, schedule, rules), theirs(market, schedule, rules, peer, tmp_path)
    assert set(here) == set(there)
    same: Counter[tuple[str, str]] = Counter()
    other: Counter[tuple[str, str]] = Counter()
    for k, one in here.items():
        if one == there[k]:  # touch known, end, price, venue time to the nanosecond, maker or taker
            same[POSTED if abs(schedule.actions[k]) == 3 else TAKEN, one.end] += 1
        else:
            assert (one.bid, one.ask) == (there[k].bid, there[k].ask)
            other[one.end, there[k].end] += 1
    assert (dict(same), dict(other)) == (alike, different)
