"""Skipping gives what walking gives, and both what the rules say row by row. N rows, P parameter sets.

``told`` is the rules of a taking order once more, in plain Python, one row after the other and with nothing looked up
ahead; the oracle of all orders is in ``schwabot_kernels.simulate.reference``.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba import njit

from schwabot_kernels.simulate import records as r
from schwabot_kernels.simulate.records import Market, Rules
from schwabot_kernels.simulate.skipping import build, make_skipping
from tests.kernels import making_threshold as made
from tests.kernels.making_threshold import Event, Params, make_market, make_params, make_rules

SETS = 4
SWEEP = make_skipping(
    njit(**made.INLINED)(made.policy), njit(**made.INLINED)(made.quiet), made.event_of, made.params_of
)


class Mine:
    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)


def mixed(seed: int, number: int) -> int:
    full = 2**64 - 1
    z = (seed * 0x9E3779B97F4A7C15 + number) & full
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & full
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & full
    return z ^ (z >> 31)


def told(market: Market, rules: Rules, params: Any, p: int) -> tuple[list[int], list[float]]:
    """Counts and moments of one set."""
    m = Market(*(array.tolist() for array in market[:-1]), signals=market.signals)
    rows, inverse, scale = len(m.ts_ns), rules.inverse[0], int(rules.scale[0])
    own = [i for i in range(rows) if m.leg[i] == 0]
    quotes = [i for i in own if m.kind[i] == 0]

    def w(price: int) -> int:
        return -(scale // price) if inverse else price * scale

    def delay(way: int, number: int, seen: list[int]) -> int:
        if rules.model == r.TABLE:
            table = rules.tables[way]
            return int(table[(mixed(rules.seed, 2 * number + way) >> 32) * len(table) >> 32])
        if rules.model == r.DATA and seen:
            return max(0, m.ts_ns[seen[-1]] - m.venue_ns[seen[-1]])
        return 0

    c, moments = [0] * r.COUNTS, [0.0] * r.MOMENTS
    set_ = Params(params[p, 0], params[p, 1], *(int(value) for value in params[p, 2:]))
    touch, sent, arrived, reported, reports, paid, sampled2, mark = None, None, -(10**9), -(10**9), 0, 0, 0, 0
    s = Mine(position=0, in_flight=0, fills=0, last_fill_ns=-1, last_order_ns=-1, start_ns=m.ts_ns[0] if rows else 0)
    s.__dict__.update(call=0, entry_ticks=0.0, positions=[0], orders=np.zeros((1, 1), int), buy_order=-1, memory=[0.0])
    for i in range(rows):
        now = m.ts_ns[i]
        c[r.HOLD_NS] += now - m.ts_ns[i - 1] if i and c[r.POSITION] else 0
        if i in quotes:
            touch, mark = i, m.mark[i]
        if sent and sent["report"] is None and sent["arrival"] <= now and sent["arrival"] <= m.venue_ns[own[-1]]:
            at, side = sent["arrival"], sent["side"]
            met = [q for q in quotes if m.venue_ns[q] <= at][-1:]
            price, there = 0, 0
            if met:
                price, there = (m.ask, m.ask_lots) if side > 0 else (m.bid, m.bid_lots)
                price, there = price[met[0]], there[met[0]]
            good = bool(met) and side * price <= side * sent["limit"]
            sent["lots"] = (min(sent["lots"], there) if there else sent["lots"]) if good else 0
            sent["price"] = price
            late = delay(1, reports, [q for q in own if m.venue_ns[q] <= at])
            reported = sent["report"] = max(reported, at + int(rules.response_ns[p, 0]) + late)
            reports += 1
        if sent and sent["report"] is not None and sent["report"] <= now:
            lots, price, side = sent["lots"], sent["price"], sent["side"]
            if lots:
                notional = lots * abs(w(price))
                fee = ceil(Fraction(notional * int(rules.taker_e7[p, 0]), 10**7))
                c[r.CASH] -= side * lots * w(price) + fee
                c[r.POSITION] += side * lots
                c[r.FILLS] += 1
                c[r.FEES] += fee
                c[r.TURNOVER] += notional
                c[r.FILLED_LOTS] += lots
                c[r.SLIPPAGE] += side * (w(price) - w(sent["known"])) * lots
                before, after = s.position, c[r.POSITION]
                if after and before * side >= 0:
                    s.entry_ticks = (abs(before) * s.entry_ticks + lots * price) / abs(after)
                elif after * before <= 0:
                    s.entry_ticks = float(price) if after else 0.0
                s.last_fill_ns, s.position, s.positions, s.fills = now, after, [after], c[r.FILLS]
            else:
                c[r.REJECTED] += 1
            sent = None
        while paid < len(rules.funding_ns) and rules.funding_ns[paid] <= now:
            costs = ceil(Fraction(c[r.POSITION] * mark * int(rules.funding_e9[paid]), 2 * 10**9))
            c[r.CASH] -= costs
            c[r.FUNDING] += costs
            paid += 1
        if touch is None:
            continue
        c[r.EQUITY2] = 2 * c[r.CASH] + c[r.POSITION] * mark
        c[r.PEAK2] = max(c[r.PEAK2], c[r.EQUITY2])
        c[r.DRAWDOWN2] = max(c[r.DRAWDOWN2], c[r.PEAK2] - c[r.EQUITY2])
        if i == rows - 1 or m.ts_ns[i + 1] // rules.bucket_ns != now // rules.bucket_ns:
            x = float(c[r.EQUITY2] - sampled2)
            sampled2 = c[r.EQUITY2]
            for k, term in enumerate((1.0, x, x * x, x * x * x, x * x * x * x)):
                moments[k] += term
        if sent:
            continue
        bid, ask = m.bid[touch], m.ask[touch]
        s.equity = 0.5 * c[r.EQUITY2]
        trade = (m.price[i], m.lots[i], m.side[i]) if i in own and m.kind[i] == 1 else (0, 0, 0)
        touches = (bid, ask, m.bid_lots[touch], m.ask_lots[touch], (bid + ask) / 2, *trade, [bid], [ask])
        e = Event(now, 0, i in own, m.kind[i], *touches, market.signals[0, 0, i])
        intent = made.policy(s, e, set_)
        if intent.action == 0:
            continue
        if intent.lots < 1 or abs(c[r.POSITION] + intent.side * intent.lots) > rules.max_lots[0]:
            c[r.REFUSED] += 1
            continue
        known = ask if intent.side > 0 else bid
        limit = intent.price_ticks or known + intent.side * (known * rules.protection_e7 // 10**7)
        late = delay(0, c[r.ORDERS], [q for q in own if q <= i])
        arrived = max(arrived, now + int(rules.entry_ns[p, 0]) + late)
        s.last_order_ns = now
        sent = {"arrival": arrived, "side": intent.side, "lots": intent.lots, "limit": limit, "known": known}
        sent["report"] = None
        c[r.ORDERS] += 1
    return c, moments


def swept(market: Market, rules: Rules, params: Any, *, skip: bool, **blocks: int) -> tuple[Any, Any]:
    sets = len(params)
    counts, moments = np.full((sets, 1, r.COUNTS), -7, np.int64), np.full((sets, 1, r.MOMENTS), np.nan)
    SWEEP(build(market, 0, 0, rules.bucket_ns, **blocks), rules, params, 0, sets, counts, moments, skip, 1)
    return counts[:, 0], moments[:, 0]


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.one_of(st.integers(0, 12), st.integers(13, 160)),
    shifts=st.sampled_from([(0, 0, 1), (0, 1, 3), (1, 2, 4), (2, 4, 4), (2, 3, 9), (6, 10, 14)]),
    inverse=st.booleans(),
    late_leg=st.booleans(),
    nan=st.sampled_from([0.0, 0.3, 1.0]),
    ties=st.booleans(),
    model=st.sampled_from([r.CONSTANT, r.TABLE, r.DATA]),
    latency_ns=st.sampled_from([0, 30, 400, 10**6]),
    funding=st.sampled_from([0, 1, 6]),
    bucket_ns=st.sampled_from([7, 100, 1_000, 10**9]),
    calm=st.booleans(),
)
def test_skipping_walking_and_the_rules_agree(
    seed: int,
    rows: int,
    shifts: tuple[int, int, int],
    inverse: bool,
    late_leg: bool,
    nan: float,
    ties: bool,
    model: int,
    latency_ns: int,
    funding: int,
    bucket_ns: int,
    calm: bool,
) -> None:
    market = make_market(seed, rows, inverse=inverse, late_leg=late_leg, nan=nan, ties=ties)
    if calm:  # long quiet stretches, so that whole blocks are jumped over with a position held
        market.signals[:, :, (np.arange(rows) // 9) % 3 > 0] *= 0.1
    rules = make_rules(
        seed, SETS, market, inverse=inverse, model=model, latency_ns=latency_ns, funding=funding, bucket_ns=bucket_ns
    )
    params = make_params(seed, SETS)
    block, large, tile = (1 << shift for shift in shifts)
    jumped = swept(market, rules, params, skip=True, block=block, large=large, tile=tile)
    walked = swept(market, rules, params, skip=False, block=block, large=large, tile=tile)
    for p in range(SETS):
        counts, moments = told(market, rules, params, p)
        for name, got in (("skipping", jumped), ("walking", walked)):
            assert got[0][p].tolist() == counts, name
            assert got[1][p].tobytes() == np.array(moments).tobytes(), name
