"""Small policies by hand, plain and compiled, and markets to run them on.

Axis legend: N rows, L legs, S signals, P parameter sets.
"""

from __future__ import annotations

import math
from collections import namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.simulate.intent import CANCEL, POST, REPLACE, TAKE, Intent, cancel, nothing, post, take
from schwabot_kernels.simulate.records import CONSTANT, RISK_AVERSE, Market, Rules, Seen

Event = namedtuple("Event", (*Seen._fields, "x"))  # type: ignore[misc]
Threshold = namedtuple("Threshold", ("enter", "leave", "lots"))
Random = namedtuple("Random", ("rate", "lots", "apart"))


class Policy(NamedTuple):
    """plain, event_of and params_of as Python; compiled: the same three by numba; memory: floats."""

    plain: tuple[Any, Any, Any]
    compiled: tuple[Any, Any, Any]
    memory: int


def event_of(seen: Any, signals: Any, leg: int, row: int) -> Any:
    return Event(
        seen.ts_ns, seen.leg, seen.own, seen.kind, seen.bid_ticks, seen.ask_ticks, seen.bid_lots, seen.ask_lots,
        seen.mid_ticks, seen.trade_ticks, seen.trade_lots, seen.trade_side, seen.bids, seen.asks, signals[leg, 0, row],
    )  # fmt: skip


def threshold_of(params: Any, p: int) -> Any:
    return Threshold(params[p, 0], params[p, 1], int(params[p, 2]))


def random_of(params: Any, p: int) -> Any:
    return Random(params[p, 0], int(params[p, 1]), int(params[p, 2]))


def _compiled(policy: Callable[..., Any], params_of: Callable[..., Any], memory: int = 0) -> Policy:
    fast = {"nogil": True, "boundscheck": False, "error_model": "numpy"}
    return Policy(
        (policy, event_of, params_of),
        (njit(forceinline=True, **fast)(policy), njit(forceinline=True, **fast)(event_of), njit(**fast)(params_of)),
        memory,
    )


def _threshold(s: Any, e: Any, p: Any) -> Any:
    """Take when the signal is large, leave when it is small again."""
    if s.in_flight > 0:
        return nothing()
    if s.position == 0:
        if e.x > p.enter:
            return take(1, p.lots)
        if e.x < -p.enter:
            return take(-1, p.lots)
    elif s.position > 0:
        if e.x < p.leave:
            return take(-1, s.position)
    elif e.x > -p.leave:
        return take(1, -s.position)
    return nothing()


def _random(s: Any, e: Any, p: Any) -> Any:
    """Anything at all, by the digits of the signal and of what it sees of itself; writes its memory."""
    if math.isnan(e.x):
        return nothing()
    u = int(e.x * 1e9) + 7919 * s.call + 31 * s.position + 13 * s.in_flight + 5 * s.fills + 3 * s.buy_lots + s.sell_lots
    u += e.own + 2 * e.kind + 11 * e.trade_lots + 17 * e.trade_side + (e.trade_ticks & 3) + e.bids[0] + e.asks[-1]
    u += (
        s.positions[-1]
        + s.buy_ticks
        + s.sell_ticks
        + (s.last_fill_ns & 7)
        + (s.last_order_ns & 3)
        + int(s.entry_ticks * 8)
    )
    u += int(s.equity) + int(s.memory[0])
    for k in range(8):
        for c in range(11):
            u += (k + 1) * (c + 3) * s.orders[k, c]
    u = (abs(u) % 1000003 * 2654435761) & 0xFFFFFFFF
    s.memory[0] = float(u & 1023)
    if (u & 255) >= p.rate:
        return nothing()
    u >>= 8
    side = 1 if u & 1 else -1
    lots = u // 2 % p.lots
    u >>= 8
    near = e.bid_ticks if side > 0 else e.ask_ticks
    price = near - side * ((u & 7) % p.apart - 1)
    what = (u >> 3) & 15
    slot = (u >> 7) & 7
    if what & 1:
        slot = s.buy_order if side > 0 else s.sell_order
    if what < 4:
        return take(side, lots, 0 if u & 128 else price)
    if what < 9:
        return post(side, lots, price)
    if what < 12:
        return cancel(slot)
    if what < 15:
        return Intent(REPLACE, 0, lots, price, slot)
    return Intent(5, side, lots, price, slot)


def _poster(s: Any, e: Any, p: Any) -> Any:
    """A thousand lots above the bid, where the signal says so."""
    if e.x > 0.0 and s.call == 0:
        return post(1, 1000, e.bid_ticks + 1)
    return nothing()


poster = _compiled(_poster, threshold_of)
threshold = _compiled(_threshold, threshold_of)
random_policy = _compiled(_random, random_of, 2)

SCRIPT = 5
"""Columns of a script: action, side, lots, price, order; as signals of the leg."""


def _scripted_event(seen: Any, signals: Any, leg: int, row: int) -> Any:
    return Scripted(
        seen.leg, signals[leg, 0, row], signals[leg, 1, row], signals[leg, 2, row], signals[leg, 3, row],
        signals[leg, 4, row],
    )  # fmt: skip


Scripted = namedtuple("Scripted", ("leg", "action", "side", "lots", "price", "order"))


def _scripted(s: Any, e: Any, p: Any) -> Any:
    """At every row what the script says; once."""
    if s.call > 0 or e.action == 0.0:
        return nothing()
    return Intent(int(e.action), int(e.side), int(e.lots), int(e.price), int(e.order))


scripted = Policy((_scripted, _scripted_event, random_of), (njit(_scripted), njit(_scripted_event), njit(random_of)), 0)


class Row(NamedTuple):
    """A quote or trade. ts, venue in ns."""

    ts: int
    venue: int
    leg: int = 0
    bid: int = 0
    ask: int = 0
    bid_lots: int = 0
    ask_lots: int = 0
    price: int = 0
    lots: int = 0
    side: int = 0


def quote(
    ts: int, bid: int, ask: int, bid_lots: int = 10, ask_lots: int = 10, *, venue: int | None = None, leg: int = 0
) -> Row:
    return Row(ts, ts if venue is None else venue, leg, bid, ask, bid_lots, ask_lots)


def trade(ts: int, price: int, lots: int, side: int, *, venue: int | None = None, leg: int = 0) -> Row:
    return Row(ts, ts if venue is None else venue, leg, 0, 0, 0, 0, price, lots, side)


def make_market(rows: list[Row], signals: Any, rules: Rules) -> Market:
    """Arrays of rows in receive order; signals [L, S, N]."""
    columns = np.array(rows, np.int64).reshape(len(rows), len(Row._fields)).T.copy()
    ts, venue, leg, bid, ask, bid_lots, ask_lots, price, lots, side = columns
    kind = (price > 0).astype(np.int8)
    mark = np.zeros(len(rows), np.int64)
    following = np.full(len(rows), -1, np.int32)
    last: dict[int, int] = {}
    for i in range(len(rows)):
        v = int(leg[i])
        if v in last:
            following[last[v]] = i
        last[v] = i
        if v >= 0 and not kind[i]:
            scale = int(rules.scale[v])
            mark[i] = sum(-(scale // int(x)) if rules.inverse[v] else int(x) * scale for x in (bid[i], ask[i]))
    return Market(
        ts, venue, leg.astype(np.int8), kind, side.astype(np.int8), bid, ask, bid_lots, ask_lots, price, lots, mark,
        following, np.ascontiguousarray(signals, np.float64),
    )  # fmt: skip


def make_rules(legs: int = 1, sets: int = 1, **changes: Any) -> Rules:
    """Constant latency 10 and 5 ns, taker 100e-7 x 10 = 1 bp, no rebate, linear, scale 10, at most 100 lots."""
    whole = np.int64
    rules = Rules(
        np.full((sets, legs), 10, whole), np.full((sets, legs), 5, whole), np.full((sets, legs), 1000, whole),
        np.full((sets, legs), 0, whole), CONSTANT, np.zeros((2, 1), whole), 1, np.full(legs, 10, whole),
        np.zeros(legs, np.int8), np.full(legs, 100, whole), 100_000, RISK_AVERSE, 1000, np.zeros(0, whole),
        np.zeros(0, whole), np.zeros(0, whole),
    )  # fmt: skip
    return rules._replace(**changes)


def script(rows: int, legs: int = 1) -> Any:
    """Signals of a script that does nothing yet. [L, SCRIPT, N]."""
    return np.zeros((legs, SCRIPT, rows))


ACTIONS = {"take": TAKE, "post": POST, "cancel": CANCEL, "replace": REPLACE}
