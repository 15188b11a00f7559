"""The plain simulator as tests use it: rows and terms made for it, policies asked as the kernels ask them, what it
played summed up and laid out.

Axis legend: N rows, L legs, K order slots.
"""

from __future__ import annotations

from collections import namedtuple
from itertools import accumulate, pairwise
from typing import Any, NamedTuple

import numpy as np

from schwabot_kernels.simulate import records as r
from schwabot_kernels.simulate import state as s
from schwabot_kernels.simulate.intent import POST, TAKE
from schwabot_kernels.simulate.reference import Leg
from schwabot_kernels.simulate.reference import simulate as play


class Row(namedtuple("Row", r.Market._fields[:12])):  # type: ignore[misc]
    """A quote or trade."""

    @property
    def quote(self) -> dict[int, tuple[int, int]]:
        """Side → (price, lots)."""
        return {1: (self.bid, self.bid_lots), -1: (self.ask, self.ask_lots)}


class Terms:
    """The rules of one set for one leg: what things cost and how long they take."""

    def __init__(self, v: int, rows: list[Any], rules: r.Rules, p: int) -> None:
        self.rows, self.own, self.v, self.rules = rows, [row for row in rows if row.leg == v], v, rules
        self.payments = list(zip(*(a.tolist() for a in rules[-3:]), strict=True))
        self.queue, self.max_lots = rules.queue, int(rules.max_lots[v])
        self.ways = [int(by_set[p, v]) for by_set in (rules.entry_ns, rules.response_ns)]
        self.fees = [int(by_set[p, v]) for by_set in (rules.taker_e7, rules.maker_e7)]

    def worth(self, price: int) -> int:
        """w(p)."""
        scale = int(self.rules.scale[self.v])
        return -(scale // price) if self.rules.inverse[self.v] else price * scale

    def fee(self, maker: int, notional: int) -> int:
        """Rounded up."""
        return -(-notional * self.fees[maker] // 10**7)

    def worst(self, side: int, near: int) -> int:
        """Price of a taking order that names none."""
        return near + side * (near * int(self.rules.protection_e7) // 10**7)

    def due(self, i: int) -> list[int]:
        """Rates of the funding that a row is the first to see due."""
        since = self.rows[i - 1].ts_ns if i else -(2**63)
        return [rate for ns, v, rate in self.payments if v == self.v and since < ns <= self.rows[i].ts_ns]

    def funding(self, twice: int, rate_e9: int) -> int:
        """Of twice the notional, rounded up."""
        return -(-twice * rate_e9 // (2 * 10**9))

    def entry(self, n: int, i: int) -> int:
        """Latency of request n, decided at a row."""
        last = next((row for row in self.rows[i::-1] if row.leg == self.v), None)
        return self._delay(0, n, last)

    def response(self, n: int, time: int) -> int:
        """Latency of report n, of something at this venue time."""
        last = next((row for row in reversed(self.own) if row.venue_ns <= time), None)
        return self._delay(1, n, last)

    def _delay(self, way: int, n: int, last: Row | None) -> int:
        model, tables = self.rules.model, self.rules.tables
        if model != r.TABLE:
            return self.ways[way] + (max(0, last.ts_ns - last.venue_ns) if model == r.DATA and last else 0)
        z = (int(self.rules.seed) * 0x9E3779B97F4A7C15 + (self.v << 48) + 2 * n + way) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return self.ways[way] + int(tables[way][((z ^ z >> 31) >> 32) * tables.shape[1] >> 32])


class Simulated(NamedTuple):
    """counts [L, COUNTS] and moments [L, MOMENTS]; fills and orders: lists of rows of the logs; see README.md."""

    counts: Any
    moments: Any
    fills: list[list[int]]
    orders: list[list[int]]


def simulate(market: r.Market, rules: r.Rules, params: Any, p: int, policy: Any, event_of: Any, params_of: Any,
             memory: int = 0) -> Simulated:  # fmt: skip
    """Play the whole market; policy, event_of and params_of are plain Python functions, p the parameter set."""
    rows = [Row(*one) for one in zip(*(a.tolist() for a in market[:12]), strict=True)]
    terms = [Terms(v, rows, rules, p) for v in range(len(rules.scale))]
    declared, own = params_of(params, p), [_Own(np.zeros(memory)) for _ in rules.scale]

    def ask(legs: list[Leg], g: Leg, i: int, call: int) -> Any:
        standing = _standing(legs, g, rows, call, own[g.v])
        return policy(standing, event_of(_seen(legs, g, rows[i]), market.signals, g.v, i), declared)

    legs = play(rows, terms, ask)
    fills = sorted(((g, one) for g in legs for one in g.fills), key=lambda of: (of[1].row, of[1].at, of[0].v))
    sent = sorted(((g, q) for g in legs for q in g.sent), key=lambda of: of[1].number)
    return Simulated(
        np.array([_counts(g, rows) for g in legs], object),
        np.array([_moments(g, rows, int(rules.bucket_ns)) for g in legs]),
        [[f.q.number, g.v, f.q.slot, f.q.side, f.lots, f.price, f.maker, f.fee, f.time, f.at, f.row] for g, f in fills],
        [_order(g, q, rows) for g, q in sent],
    )


def _counts(g: Leg, rows: list[Row]) -> list[int]:
    """Everything that is a sum over the fills, the requests or the path."""
    c = [0] * r.COUNTS
    notionals = [f.lots * abs(g.terms.worth(f.price)) for f in g.fills]
    late = [
        0 if f.maker else f.q.side * f.lots * (g.terms.worth(f.price) - g.terms.worth(_near(g, f.q, rows)))
        for f in g.fills
    ]
    ends = [q.end[1] for q in g.sent]
    c[r.LEAST] = min(accumulate((f.q.side * f.lots for f in g.fills), initial=0))
    paid = sum(g.paid)
    c[r.CASH], c[r.POSITION], c[r.FUNDING], c[r.REFUSED] = g.cash - paid, g.position, paid, g.refused
    c[r.FILLS], c[r.FILLED_LOTS], c[r.FEES] = len(g.fills), sum(f.lots for f in g.fills), sum(f.fee for f in g.fills)
    c[r.TURNOVER], c[r.SLIPPAGE] = sum(notionals), sum(late)
    added = (*notionals, *(f.fee for f in g.fills), *late, *g.paid)
    c[r.GROSS] = min(sum(map(abs, added)), r.MOST_GROSS)
    c[r.ORDERS] = sum(q.action in (TAKE, POST) for q in g.sent)
    c[r.REJECTED] = sum(end in (s.OUTSIDE_LIMIT, s.NO_BOOK, s.WOULD_CROSS, s.NOT_RECORDED) for end in ends)
    steps = zip(pairwise(rows), g.path, strict=False)
    c[r.HOLD_NS] = sum(after.ts_ns - before.ts_ns for (before, after), (_, held) in steps if held)
    for equity2, _ in g.path:
        c[r.EQUITY2], c[r.PEAK2] = equity2, max(c[r.PEAK2], equity2)
        c[r.DRAWDOWN2] = max(c[r.DRAWDOWN2], c[r.PEAK2] - equity2)
    return c


def _moments(g: Leg, rows: list[Row], bucket_ns: int) -> list[float]:
    m, before = [0.0] * r.MOMENTS, 0
    for i, (row, (equity2, _)) in enumerate(zip(rows, g.path, strict=True)):
        if i + 1 == len(rows) or rows[i + 1].ts_ns // bucket_ns != row.ts_ns // bucket_ns:
            x, before = float(equity2 - before), equity2
            m = [m[0] + 1.0, m[1] + x, m[2] + x * x, m[3] + x * x * x, m[4] + x * x * x * x]
    return m


def _touch(g: Leg, row: int, rows: list[Row]) -> Any:
    """The quote that was known at a row."""
    return next(one for one in rows[row::-1] if one.leg == g.v and one.kind == 0)


def _near(g: Leg, q: Any, rows: list[Row]) -> int:
    """The price known at the decision of what an order takes."""
    touch = _touch(g, q.row, rows)
    price: int = touch.ask if q.side > 0 else touch.bid
    return price


def _order(g: Leg, q: Any, rows: list[Row]) -> list[int]:
    """A row of the log of orders."""
    touch, arrived = _touch(g, q.row, rows), any(one is q for one in g.sent[: g.arrived])
    book = [one for one in g.rows if one.kind == 0 and one.venue_ns <= q.at]
    met = (book[-1].bid, book[-1].ask) if arrived and book else (0, 0)
    filled = sum(one.lots for one in g.fills if one.q is q)
    ended_ns, end, by = q.end
    return [q.number, g.v, q.action, q.side, q.lots, q.price, q.row, rows[q.row].ts_ns, touch.bid, touch.ask,
            q.at if arrived else -1, *met, ended_ns, filled, end, q.slot, q.of, by]  # fmt: skip


def _seen(legs: list[Leg], g: Leg, row: Any) -> r.Seen:
    of, touch = row.leg == g.v and row.kind == 1, g.touch
    return r.Seen(
        row.ts_ns, g.v, int(row.leg == g.v), row.kind, touch.bid, touch.ask, touch.bid_lots, touch.ask_lots,
        0.5 * (touch.bid + touch.ask), row.price if of else 0, row.lots if of else 0, row.side if of else 0,
        np.array([h.touch.bid if h.touch else 0 for h in legs]),
        np.array([h.touch.ask if h.touch else 0 for h in legs]),
    )  # fmt: skip


class _Own:
    """What a policy knows of itself on one leg beside its orders, kept up from what was booked."""

    def __init__(self, memory: Any) -> None:
        self.memory, self.answered, self.booked = memory, set[int](), 0
        self.fills, self.position, self.entry = 0, 0, 0.0

    def go_on(self, g: Leg) -> None:
        """Take in what was booked since the last time."""
        self.answered |= {m.q.number for m in g.reports[self.booked : g.booked]}
        self.booked = g.booked
        for f in g.fills[self.fills :]:
            before, self.position = self.position, self.position + f.q.side * f.lots
            if before == 0 or before * self.position < 0:
                self.entry = float(f.price)
            elif abs(self.position) > abs(before):
                self.entry = (abs(before) * self.entry + float(f.lots * f.price)) / abs(self.position)
            elif self.position == 0:
                self.entry = 0.0
        self.fills = len(g.fills)


def _standing(legs: list[Leg], g: Leg, rows: list[Row], call: int, own: _Own) -> r.Standing:
    own.go_on(g)
    orders = np.zeros((r.SLOTS, s.ORDER_COLUMNS), np.int64)
    for k, o in g.known.items():
        status = s.RESTING if o.action == POST and o.first.number in own.answered else s.SENT
        change = o.change.number + 1 if o.change else 0
        orders[k, :11] = [status, o.action, o.q.side, o.lots, o.q.price, o.q.number, rows[o.first.row].ts_ns, change,
                          *o.want, o.filled]  # fmt: skip
    posts = [(o.q.number, k, o.q.side) for k, o in g.known.items() if o.action == POST]
    newest = {side: max((one for one in posts if one[2] == side), default=(-1, -1))[1] for side in (1, -1)}
    open_lots = {z: sum(max(o.lots, o.want[0]) for o in g.known.values() if o.q.side == z) for z in (1, -1)}
    ticks = {side: g.known[k].q.price if k >= 0 else 0 for side, k in newest.items()}
    return r.Standing(
        g.position, len(g.sent) - len(own.answered), open_lots[1], open_lots[-1], newest[1], newest[-1], ticks[1],
        ticks[-1], own.entry, 0.5 * g.path[-1][0], len(g.fills), rows[g.fills[-1].row].ts_ns if g.fills else -1,
        rows[g.sent[-1].row].ts_ns if g.sent else -1, rows[0].ts_ns, call, np.array([h.position for h in legs]),
        orders, own.memory,
    )  # fmt: skip
