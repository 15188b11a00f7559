"""The simulated exchange in plain Python, row by row with whole integers: what the compiled one must agree with."""

from __future__ import annotations

from types import SimpleNamespace as Leg
from typing import Any, NamedTuple

import numpy as np

from schwabot_kernels.simulate.intent import CANCEL, NOTHING, POST, REPLACE, TAKE
from schwabot_kernels.simulate.records import (
    CALLS,
    CASH,
    COUNTS,
    DATA,
    DRAWDOWN2,
    EQUITY2,
    FEES,
    FILLED_LOTS,
    FILLS,
    FUNDING,
    HOLD_NS,
    MOMENTS,
    ORDERS,
    PEAK2,
    POSITION,
    PROPORTIONAL,
    REFUSED,
    REJECTED,
    SLIPPAGE,
    SLOTS,
    TABLE,
    TURNOVER,
    Market,
    Rules,
    Seen,
    Standing,
)
from schwabot_kernels.simulate.state import ORDER_COLUMNS

M64 = 2**64 - 1


class Simulated(NamedTuple):
    """counts [L, COUNTS] and moments [L, MOMENTS]; fills and orders: lists of rows of the logs; see README.md."""

    counts: Any
    moments: Any
    fills: list[list[int]]
    orders: list[list[int]]


def simulate(market: Market, rules: Rules, params: Any, p: int, policy: Any, event_of: Any, params_of: Any,
             memory: int = 0) -> Simulated:  # fmt: skip
    """Play the whole market; policy, event_of and params_of are plain Python functions, p the parameter set."""
    ts, venue, leg_of, kind, side, bid, ask, bid_lots, ask_lots, price, lots, mark = (a.tolist() for a in market[:12])
    L, par, funded = len(rules.scale), params_of(params, p), 0
    fills: list[list[int]] = []
    sent: list[list[int]] = []
    legs = []
    for v in range(L):
        own = [i for i in range(len(ts)) if leg_of[i] == v]
        g = Leg(v=v, rows=own, k=0, book=None, touch=None, n=0, m=0, last_ta=-(2**63), last_tr=-(2**63), busy=0)
        g.requests, g.reports, g.live, g.known, g.memory = [], [], {}, {}, np.zeros(memory)
        g.entry, g.last_fill, g.last_order, g.sampled, g.c, g.s = 0.0, -1, -1, 0, [0] * COUNTS, [0.0] * MOMENTS
        legs.append(g)

    def w(v: int, x: int) -> int:
        return -(int(rules.scale[v]) // x) if rules.inverse[v] else x * int(rules.scale[v])

    def up(a: int, b: int) -> int:
        return -(-a // b)

    def delay(g: Leg, n: int, way: int, rows: list[int]) -> int:
        fixed = int((rules.entry_ns, rules.response_ns)[way][p][g.v])
        if rules.model == TABLE:
            z = (int(rules.seed) * 0x9E3779B97F4A7C15 + (g.v << 48) + 2 * n + way) & M64
            z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & M64
            z = ((z ^ z >> 27) * 0x94D049BB133111EB) & M64
            z ^= z >> 31
            return fixed + int(rules.tables[way][(z >> 32) * rules.tables.shape[1] >> 32])
        return fixed + (max(0, ts[rows[-1]] - venue[rows[-1]]) if rules.model == DATA and rows else 0)

    def tell(g: Leg, time: int, what: str, slot: int, number: int, **more: int) -> None:
        g.last_tr = max(time + delay(g, g.m, 1, [r for r in g.rows if venue[r] <= time]), g.last_tr)
        g.m += 1
        g.reports.append(Leg(at=g.last_tr, time=time, what=what, slot=slot, number=number, **more))

    def fill(g: Leg, o: Leg, time: int, q: int, x: int, maker: int, reason: int, touch: int = 0) -> None:
        o.lots, o.filled = o.lots - q, o.filled + q
        if reason:
            del g.live[o.slot]
        tell(g, time, "fill", o.slot, o.number, side=o.side, lots=q, price=x, maker=maker, touch=touch, reason=reason)

    def join(g: Leg, o: Leg) -> int:
        """The reason it is rejected for, or 0 and it rests."""
        if g.book is None:
            return 5
        own, other = (bid[g.book], ask[g.book]) if o.side > 0 else (ask[g.book], bid[g.book])
        there = bid_lots[g.book] if o.side > 0 else ask_lots[g.book]
        if o.side * (o.price - other) >= 0:
            return 6
        if o.side * (o.price - own) < 0 or (o.price == own and there == 0):
            return 7
        o.front = o.level = there if o.price == own else 0
        o.traded = 0
        g.live[o.slot] = o
        return 0

    def arrive(g: Leg, q: Leg) -> None:
        b, a = (bid[g.book], ask[g.book]) if g.book is not None else (0, 0)
        sent[q.number][10:13] = [q.at, b, a]
        o = g.live.get(q.slot)
        if q.action == TAKE:
            o = g.live[q.slot] = Leg(slot=q.slot, number=q.number, side=q.side, lots=q.lots, filled=0)
            x, there = ((a, g.book is not None and ask_lots[g.book]) if q.side > 0 else
                        (b, g.book is not None and bid_lots[g.book]))  # fmt: skip
            if g.book is None or q.side * (x - q.price) > 0:
                del g.live[q.slot]
                tell(g, q.at, "end", q.slot, q.number, request=q.number, reason=5 if g.book is None else 4)
            else:
                got = min(q.lots, there or q.lots)
                fill(g, o, q.at, got, x, 0, 1 if got == q.lots else 2, q.touch)
        elif q.action == POST:
            o = Leg(slot=q.slot, number=q.number, side=q.side, lots=q.lots, price=q.price, filled=0)
            reason = join(g, o)
            if reason:
                tell(g, q.at, "end", q.slot, q.number, request=q.number, reason=reason)
            else:
                tell(g, q.at, "rests", q.slot, q.number)
        elif o is None:
            tell(g, q.at, "late", q.slot, q.number)
        else:
            rest = q.lots - (o.filled - q.filled)
            del g.live[q.slot]
            if q.action == CANCEL or rest <= 0:
                tell(g, q.at, "end", q.slot, o.number, request=q.number, reason=3)
                return
            new = Leg(slot=q.slot, number=q.number, side=o.side, lots=rest, price=q.price, filled=o.filled)
            if q.price == o.price and rest <= o.lots:
                new.front, new.level, new.traded, reason = o.front, o.level, o.traded, 0
                g.live[q.slot] = new
            else:
                reason = join(g, new)
            if reason:
                tell(g, q.at, "end", q.slot, o.number, request=q.number, reason=reason)
            else:
                tell(g, q.at, "replaced", q.slot, o.number, request=q.number, rest=rest, price=q.price)

    def pass_row(g: Leg, r: int) -> None:
        """One row of the venue meets our resting orders."""
        if kind[r] == 0:
            g.book = r
        for slot in range(SLOTS):
            o = g.live.get(slot)
            if o is None:
                continue
            if kind[r] == 1:
                through, q = o.side * (o.price - price[r]), lots[r]
                if through > 0:
                    fill(g, o, venue[r], o.lots, o.price, 1, 1)
                elif through == 0 and side[r] != o.side:
                    o.traded += q
                    got = min(q - o.front, o.lots)
                    o.front = max(0, o.front - q)
                    if got > 0:
                        fill(g, o, venue[r], got, o.price, 1, int(got == o.lots))
                continue
            own, other, there = (bid[r], ask[r], bid_lots[r]) if o.side > 0 else (ask[r], bid[r], ask_lots[r])
            if o.side * (other - o.price) <= 0:
                fill(g, o, venue[r], o.lots, o.price, 1, 1)
            elif o.side * (own - o.price) < 0:
                o.front = o.level = o.traded = 0
            elif own == o.price and there > 0:
                gone = o.level - o.traded - there
                if rules.queue == PROPORTIONAL and gone > 0:
                    o.front -= gone * o.front // max(o.level - o.traded, 1)
                o.front, o.level, o.traded = min(o.front, there), there, 0

    def book_report(g: Leg, r: Leg, i: int) -> None:
        o, c = g.known.get(r.slot), g.c
        request = r.number if r.what == "late" else getattr(r, "request", -1)
        if r.what in ("late", "rests") or (r.what in ("end", "replaced") and request != r.number):
            g.busy -= 1  # the answer to a post, a cancel or a replace
        elif r.what == "end" or not r.maker:
            g.busy -= 1
        if r.what == "late":
            sent[r.number][13], sent[r.number][15] = r.at, 9
            if o is not None and o.change == r.number:
                o.change, o.change_lots, o.change_price = -1, 0, 0
            return
        if r.what == "rests":
            o.status = 2
            return
        if r.what == "fill":
            z, x, q = r.side, r.price, r.lots
            fee = up(q * abs(w(g.v, x)) * int((rules.maker_e7 if r.maker else rules.taker_e7)[p][g.v]), 10**7)
            before, after = c[POSITION], c[POSITION] + z * q
            if before * after < 0 or before == 0:
                g.entry = float(x)
            elif abs(after) > abs(before):
                g.entry = (abs(before) * g.entry + float(q * x)) / abs(after)
            elif after == 0:
                g.entry = 0.0
            c[POSITION], c[CASH], c[FEES] = after, c[CASH] - z * q * w(g.v, x) - fee, c[FEES] + fee
            c[FILLS], c[TURNOVER], c[FILLED_LOTS] = c[FILLS] + 1, c[TURNOVER] + q * abs(w(g.v, x)), c[FILLED_LOTS] + q
            c[SLIPPAGE] += 0 if r.maker else z * q * (w(g.v, x) - w(g.v, r.touch))
            g.last_fill, o.lots, o.filled = ts[i], o.lots - q, o.filled + q
            o.change_lots = max(0, o.change_lots - q)
            sent[r.number][14] += q
            fills.append([r.number, g.v, r.slot, z, q, x, r.maker, fee, r.time, r.at, i])
        elif r.what == "replaced":
            sent[r.number][13], sent[r.number][15], sent[r.number][18] = r.at, 8, request
            o.number, o.lots, o.price, o.change, o.change_lots, o.change_price = request, r.rest, r.price, -1, 0, 0
            return
        elif request != r.number:
            sent[request][13], sent[request][15] = r.at, r.reason
            sent[r.number][18] = request
        if r.reason:
            taken_out = r.what == "end" and request != r.number and sent[request][2] == REPLACE
            sent[r.number][13], sent[r.number][15] = r.at, 8 if taken_out else r.reason
            c[REJECTED] += 4 <= r.reason <= 7
            del g.known[r.slot]

    def open_lots(g: Leg, z: int) -> int:
        return sum(max(o.lots, o.change_lots) for o in g.known.values() if o.side == z)

    def crosses(g: Leg, z: int, x: int) -> bool:
        own = [o for o in g.known.values() if o.side == -z and o.action == POST]
        return any(z * (x - y) >= 0 for o in own for y in (o.price, o.change_price) if y)

    def send(g: Leg, i: int, t: Any) -> bool:
        action, z, q, x, slot = (int(a) for a in t)
        top = int(rules.max_lots[g.v])
        free = [k for k in range(SLOTS) if k not in g.known]
        o = g.known.get(slot)
        b, a = bid[g.touch], ask[g.touch]
        if action in (TAKE, POST):
            if q < 1 or z not in (1, -1) or not free or z * g.c[POSITION] + open_lots(g, z) + q > top:
                return False
            if action == POST and (x < 1 or crosses(g, z, x)):
                return False
            if action == TAKE and x == 0:
                x = a + a * int(rules.protection_e7) // 10**7 if z > 0 else b - b * int(rules.protection_e7) // 10**7
            slot = free[0]
            g.known[slot] = Leg(status=1, action=action, side=z, lots=q, price=x, number=len(sent), sent=ts[i],
                                change=-1, change_lots=0, change_price=0, filled=0)  # fmt: skip
            g.c[ORDERS] += 1
            of = already = -1
        elif action in (CANCEL, REPLACE):
            if o is None or o.change >= 0:
                return False
            z, of, already = o.side, o.number, o.filled
            if action == CANCEL:
                q = x = 0
            elif q < 1 or x < 1 or crosses(g, z, x):
                return False
            if action == REPLACE and z * g.c[POSITION] + open_lots(g, z) - o.lots + max(q, o.lots) > top:
                return False
            o.change, o.change_lots, o.change_price = len(sent), q, x
        else:
            return False
        seen = [r for r in g.rows if r <= i]
        g.last_ta, g.last_order, g.busy = max(ts[i] + delay(g, g.n, 0, seen), g.last_ta), ts[i], g.busy + 1
        g.n += 1
        g.requests.append(Leg(at=g.last_ta, action=action, slot=slot, side=z, lots=q, price=x, number=len(sent),
                              touch=a if z > 0 else b, filled=already))  # fmt: skip
        sent.append([len(sent), g.v, action, z, q, x, i, ts[i], b, a, -1, 0, 0, -1, 0, 0, slot, of, -1])
        return True

    def standing(g: Leg, call: int) -> Standing:
        orders = np.zeros((SLOTS, ORDER_COLUMNS), np.int64)
        for k, o in g.known.items():
            orders[k, :11] = [o.status, o.action, o.side, o.lots, o.price, o.number, o.sent, o.change + 1,
                              o.change_lots, o.change_price, o.filled]  # fmt: skip
        posts = [(o.number, k, o.side) for k, o in g.known.items() if o.action == POST]
        newest = {z: max((one for one in posts if one[2] == z), default=(-1, -1))[1] for z in (1, -1)}
        ticks = {z: g.known[k].price if k >= 0 else 0 for z, k in newest.items()}
        return Standing(g.c[POSITION], g.busy, open_lots(g, 1), open_lots(g, -1), newest[1], newest[-1], ticks[1],
                        ticks[-1], g.entry, 0.5 * g.c[EQUITY2], g.c[FILLS], g.last_fill, g.last_order, ts[0], call,
                        np.array([h.c[POSITION] for h in legs]), orders, g.memory)  # fmt: skip

    for i, t in enumerate(ts):
        here = legs[leg_of[i]] if leg_of[i] >= 0 else None
        if here is not None and kind[i] == 0:
            here.touch = i  # 1
        for g in legs:
            if i and g.c[POSITION]:
                g.c[HOLD_NS] += t - ts[i - 1]
            while True:  # 2
                r, q = g.rows[g.k] if g.k < len(g.rows) else -1, g.requests[0] if g.requests else None
                if r >= 0 and venue[r] <= t and (q is None or venue[r] <= q.at):
                    pass_row(g, r)
                    g.k += 1
                elif q is not None and q.at <= t and q.at <= venue[g.rows[-1]]:
                    arrive(g, g.requests.pop(0))
                else:
                    break
        while due := [(g.reports[0].at, g.v) for g in legs if g.reports and g.reports[0].at <= t]:  # 3
            g = legs[min(due)[1]]
            book_report(g, g.reports.pop(0), i)
        while funded < len(rules.funding_ns) and rules.funding_ns[funded] <= t:  # 4
            g = legs[rules.funding_leg[funded]]
            if g.touch is not None:
                paid = up(g.c[POSITION] * abs(mark[g.touch]) * int(rules.funding_e9[funded]), 2 * 10**9)
                g.c[CASH], g.c[FUNDING] = g.c[CASH] - paid, g.c[FUNDING] + paid
            funded += 1
        for g in legs:  # 5
            if g.touch is not None:
                c = g.c
                c[EQUITY2] = 2 * c[CASH] + c[POSITION] * mark[g.touch]
                c[PEAK2] = max(c[PEAK2], c[EQUITY2])
                c[DRAWDOWN2] = max(c[DRAWDOWN2], c[PEAK2] - c[EQUITY2])
            if i + 1 == len(ts) or ts[i + 1] // rules.bucket_ns != t // rules.bucket_ns:
                x = float(g.c[EQUITY2] - g.sampled)
                g.sampled, g.s[0] = g.c[EQUITY2], g.s[0] + 1.0
                for power, z in enumerate((x, x * x, x * x * x, x * x * x * x), 1):
                    g.s[power] += z
        for g in legs:  # 6
            for call in range(CALLS if g.touch is not None else 0):
                b, a, of = bid[g.touch], ask[g.touch], here is g and kind[i] == 1
                seen = Seen(t, g.v, int(here is g), kind[i], b, a, bid_lots[g.touch], ask_lots[g.touch], 0.5 * (b + a),
                            price[i] if of else 0, lots[i] if of else 0, side[i] if of else 0,
                            np.array([0 if h.touch is None else bid[h.touch] for h in legs]),
                            np.array([0 if h.touch is None else ask[h.touch] for h in legs]))  # fmt: skip
                intent = policy(standing(g, call), event_of(seen, market.signals, g.v, i), par)
                if intent.action == NOTHING:
                    break
                if not send(g, i, intent):
                    g.c[REFUSED] += 1
                    break
    return Simulated(np.array([g.c for g in legs]), np.array([g.s for g in legs]), fills, sent)
