"""Features of the coming move and the trained head's forecasts.

V streams, E columns of the user's own, F = 9 + E features, H horizons, n events of one block.

Nine features per stream, all odd under a flip of the price, in plain bp or in units of the usual touch quantity L:

    0  d e^{-age / 100 ms},  d = mean of (x - phi) + phi - x   deviation from the plain mean of those that take part
    1  microprice - mid
    2, 3  asinh(sum of order-flow imbalance / L)          decayed with 5 and 30 ms
    4, 5  asinh(sum of signed trade quantity / L)         decayed with 5 and 30 ms
    6, 7  x - its decayed mean                            5 and 30 ms
    8  (last trade - x) e^{-age / 50 ms}                  of the trade; at most 20 bp from today's mid

L is the decayed (30 s) mean of (bid + ask quantity) / 2. A stream that takes no part in the ghost gives zeros. After
these come the user's own columns, as they are given; one that is not finite is 0.
The head:

    m[h, v] = sum over streams u and features k of C[h, v, u, k] clip(f[u, k] / scale[u, k])

Order-flow imbalance of a quote after another: Cont, Kukanov & Stoikov (2014).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.align.cpu import BLOCK, Aligned, Events
from schwabot_kernels.arrays import F64, I8, I64, aligned_zeros
from schwabot_kernels.blocks import decays
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.scalar import NJIT, exp_neg, log_pos
from schwabot_kernels.simd import (
    LANES,
    as_doubles,
    lanes_from,
    load,
    padded,
    splat,
    square_root,
    store,
    total,
    unknown,
    where,
)

FEATURES = 9
FAST_S, SLOW_S = 0.005, 0.03
DEVIATION_AGE_S, TRADE_AGE_S = 0.1, 0.05
LOTS_S = 30.0
FAR_BP = 20.0


class HeadParams(NamedTuple):
    """A trained head in the kernel's shapes; H = 0 is no head.

    inverse_scale: 1 / RMS of each feature in training, 0 where it is not used. [F, W]
    coefficients: bp per scaled feature: of every source stream and feature, for every horizon and target. [V, F, H, W]
    target: 1 where the head answers for the stream. [W]
    clip: limit of a scaled feature.
    lanes_horizon, memory_horizon: which horizon the lanes act on, and which the registry's outcomes have.
    """

    inverse_scale: F64
    coefficients: F64
    target: I8
    clip: float
    lanes_horizon: int
    memory_horizon: int


class ForecastState(NamedTuple):
    """What the features remember.

    bid, ask, bid_lots, ask_lots: last good touch, 0 before. int64 [W]
    lots_mean, lots_count: L and the decayed number of quotes it is made of. [W]
    flow_fast, flow_slow, deal_fast, deal_slow: decayed sums, lots. [W]
    mean_fast, mean_slow: decayed means of x, NaN before the first. [W]; x: the row before. [W]
    deal_x, deal_ns: log price of the last trade, bp, NaN where it can't be told, and its time. [W]
    """

    bid: I64
    ask: I64
    bid_lots: I64
    ask_lots: I64
    lots_mean: F64
    lots_count: F64
    flow_fast: F64
    flow_slow: F64
    deal_fast: F64
    deal_slow: F64
    mean_fast: F64
    mean_slow: F64
    x: F64
    deal_x: F64
    deal_ns: I64


class Foreseen(NamedTuple):
    """Features [F, BLOCK, W], forecasts in bp, NaN where there is none [H, BLOCK, W].

    predicted: the ghost's expected move over the memory's horizon, 0 without a head. [BLOCK]
    Scratch: fair, the mean of x - phi over the streams that take part [BLOCK]; scaled [F, BLOCK, W]; what the
    event itself adds: lots (0 = no quote), flow, deal, its log price, and 1 where it is a trade; decays. [BLOCK]
    """

    features: F64
    forecasts: F64
    predicted: F64
    fair: F64
    scaled: F64
    lots: F64
    flow: F64
    deal: F64
    deal_x: F64
    traded: I8
    keep_fast: F64
    keep_slow: F64
    keep_lots: F64


def no_head(streams: int, own: int = 0) -> HeadParams:
    """Settings that mean: no head; ``own`` is E."""
    width = padded(streams)
    return HeadParams(
        inverse_scale=np.zeros((FEATURES + own, width)),
        coefficients=np.zeros((streams, FEATURES + own, 0, width)),
        target=np.zeros(width, np.int8),
        clip=1.0,
        lanes_horizon=0,
        memory_horizon=0,
    )


def empty_state(streams: int) -> ForecastState:
    """State before the first event."""
    width = padded(streams)
    return ForecastState(
        bid=np.zeros(width, np.int64),
        ask=np.zeros(width, np.int64),
        bid_lots=np.zeros(width, np.int64),
        ask_lots=np.zeros(width, np.int64),
        lots_mean=np.zeros(width),
        lots_count=np.zeros(width),
        flow_fast=np.zeros(width),
        flow_slow=np.zeros(width),
        deal_fast=np.zeros(width),
        deal_slow=np.zeros(width),
        mean_fast=unknown(streams),
        mean_slow=unknown(streams),
        x=unknown(streams),
        deal_x=unknown(streams),
        deal_ns=np.zeros(width, np.int64),
    )


def scratch(streams: int, horizons: int, own: int = 0) -> Foreseen:
    """An empty block; ``own`` is E."""
    width = padded(streams)
    return Foreseen(
        features=aligned_zeros((FEATURES + own, BLOCK, width)),
        forecasts=aligned_zeros((horizons, BLOCK, width)),
        predicted=aligned_zeros((BLOCK,)),
        fair=aligned_zeros((BLOCK,)),
        scaled=aligned_zeros((FEATURES + own, BLOCK, width)),
        lots=aligned_zeros((BLOCK,)),
        flow=aligned_zeros((BLOCK,)),
        deal=aligned_zeros((BLOCK,)),
        deal_x=aligned_zeros((BLOCK,)),
        traded=aligned_zeros((BLOCK,), np.int8),
        keep_fast=aligned_zeros((BLOCK,)),
        keep_slow=aligned_zeros((BLOCK,)),
        keep_lots=aligned_zeros((BLOCK,)),
    )


@njit(**NJIT)
def _own(first: int, n: int, events: Events, aligned: Aligned, quoted: I8, state: ForecastState, out: Foreseen) -> None:
    """What each event adds by itself: quantity and imbalance of a good quote, quantity and log price of a trade."""
    bid, ask, bid_lots, ask_lots = state.bid, state.ask, state.bid_lots, state.ask_lots
    for j in range(n):
        i = first + j
        v = events.stream[i]
        lots = flow = deal = 0.0
        deal_x = np.nan
        traded = events.kind[i] == 1
        if traded:
            deal = float(events.side[i]) * float(events.qty_lots[i])
            if quoted[v] == 1 and bid[v] > 0 and events.price_ticks[i] > 0:
                price = float(2 * events.price_ticks[i]) / float(bid[v] + ask[v])
                deal_x = aligned.x[j, v] + 1e4 * log_pos(price)
        elif aligned.pricing[j] >= 0:
            lots = 0.5 * float(events.bid_lots[i] + events.ask_lots[i])
            if bid[v] > 0:
                if events.bid_ticks[i] >= bid[v]:
                    flow += float(events.bid_lots[i])
                if events.bid_ticks[i] <= bid[v]:
                    flow -= float(bid_lots[v])
                if events.ask_ticks[i] <= ask[v]:
                    flow -= float(events.ask_lots[i])
                if events.ask_ticks[i] >= ask[v]:
                    flow += float(ask_lots[v])
            bid[v], ask[v] = events.bid_ticks[i], events.ask_ticks[i]
            bid_lots[v], ask_lots[v] = events.bid_lots[i], events.ask_lots[i]
        out.lots[j] = lots
        out.flow[j] = flow
        out.deal[j] = deal
        out.deal_x[j] = deal_x
        out.traded[j] = 1 if traded else 0


@njit(inline="always", **NJIT)
def _asinh(x: Any) -> Any:
    """asinh of Doubles."""
    size = abs(x)
    value = log_pos(size + square_root(size * size + 1.0))
    return where(x < 0.0, -value, value)


@njit(inline="always", **NJIT)
def _follow(mean: Any, keep: float, before: Any, now: Any) -> Any:
    """The decayed mean of a price that stood at ``before`` since the last event; the first price is its own mean."""
    mean = keep * mean + (1.0 - keep) * before
    return where(mean == mean, mean, now)


@njit(**NJIT)
def features(
    first: int,
    n: int,
    events: Events,
    aligned: Aligned,
    phased: Phased,
    quoted: I8,
    state: ForecastState,
    out: Foreseen,
) -> None:
    """Fill ``out.features`` for events [first, first + n) and move ``state`` on. ``quoted`` is [W]."""
    _own(first, n, events, aligned, quoted, state, out)
    decays(n, aligned.dt_s, FAST_S, out.keep_fast)
    decays(n, aligned.dt_s, SLOW_S, out.keep_slow)
    decays(n, aligned.dt_s, LOTS_S, out.keep_lots)
    ts_ns, who, found = events.ts_ns, aligned.stream, out.features
    width = state.x.size
    size = BLOCK * width
    for j in range(n):
        prices, taking = splat(0.0), splat(0.0)
        for k in range(j * width, (j + 1) * width, LANES):
            takes_part = load(phased.route, k) == 0
            prices = prices + where(takes_part, load(aligned.x, k) - load(phased.phase, k), 0.0)
            taking = taking + where(takes_part, splat(1.0), 0.0)
        out.fair[j] = total(prices) / total(taking)
    for g in range(0, width, LANES):
        lane = lanes_from(g)
        usual, count = load(state.lots_mean, g), load(state.lots_count, g)
        flow_fast, flow_slow = load(state.flow_fast, g), load(state.flow_slow, g)
        deal_fast, deal_slow = load(state.deal_fast, g), load(state.deal_slow, g)
        mean_fast, mean_slow, before = load(state.mean_fast, g), load(state.mean_slow, g), load(state.x, g)
        deal_x, deal_ns = load(state.deal_x, g), load(state.deal_ns, g)
        for j in range(n):
            k = j * width + g
            t = splat(ts_ns[first + j])
            mine = lane == who[j]
            fast, slow = out.keep_fast[j], out.keep_slow[j]
            count = count * out.keep_lots[j]
            counts = mine & (splat(out.lots[j]) > 0.0)
            count = where(counts, count + 1.0, count)
            usual = where(counts, usual + (out.lots[j] - usual) / count, usual)
            flow, deal = where(mine, splat(out.flow[j]), 0.0), where(mine, splat(out.deal[j]), 0.0)
            flow_fast, flow_slow = flow_fast * fast + flow, flow_slow * slow + flow
            deal_fast, deal_slow = deal_fast * fast + deal, deal_slow * slow + deal
            x = load(aligned.x, k)
            mean_fast, mean_slow = _follow(mean_fast, fast, before, x), _follow(mean_slow, slow, before, x)
            before = x
            dealt = mine & (splat(np.int64(out.traded[j])) == 1)
            deal_x = where(dealt, splat(out.deal_x[j]), deal_x)
            deal_ns = where(dealt, t, deal_ns)

            d = out.fair[j] + load(phased.phase, k) - x
            live = load(phased.route, k) == 0
            age_s = as_doubles(t - load(aligned.last_ns, k)) * 1e-9
            dealt_s = as_doubles(t - deal_ns) * 1e-9
            per_lot = where(usual > 0.0, 1.0 / usual, 0.0)
            store(found, k, where(live, d * exp_neg(age_s * (-1.0 / DEVIATION_AGE_S)), 0.0))
            store(found, size + k, where(live, load(aligned.micro, k), 0.0))
            store(found, 2 * size + k, where(live, _asinh(flow_fast * per_lot), 0.0))
            store(found, 3 * size + k, where(live, _asinh(flow_slow * per_lot), 0.0))
            store(found, 4 * size + k, where(live, _asinh(deal_fast * per_lot), 0.0))
            store(found, 5 * size + k, where(live, _asinh(deal_slow * per_lot), 0.0))
            store(found, 6 * size + k, where(live, x - mean_fast, 0.0))
            store(found, 7 * size + k, where(live, x - mean_slow, 0.0))
            away = min(max(deal_x - x, -FAR_BP), FAR_BP) * exp_neg(dealt_s * (-1.0 / TRADE_AGE_S))
            store(found, 8 * size + k, where(live & (deal_x == deal_x), away, 0.0))
        store(state.lots_mean, g, usual)
        store(state.lots_count, g, count)
        store(state.flow_fast, g, flow_fast)
        store(state.flow_slow, g, flow_slow)
        store(state.deal_fast, g, deal_fast)
        store(state.deal_slow, g, deal_slow)
        store(state.mean_fast, g, mean_fast)
        store(state.mean_slow, g, mean_slow)
        store(state.x, g, before)
        store(state.deal_x, g, deal_x)
        store(state.deal_ns, g, deal_ns)


@njit(**NJIT)
def own_features(first: int, n: int, own: F64, phased: Phased, out: Foreseen) -> None:
    """Fill the features after the nine from the user's own columns [V, E, N]; 0 where there is no answer."""
    for v in range(own.shape[0]):
        for e in range(own.shape[1]):
            for j in range(n):
                value = own[v, e, first + j]
                answers = phased.route[j, v] == 0 and value - value == 0.0
                out.features[FEATURES + e, j, v] = value if answers else 0.0


@njit(**NJIT)
def _add_own(j: int, params: HeadParams, scaled: F64, forecasts: F64) -> None:
    """Add what the features after the nine say to row j of ``forecasts``."""
    coefficients = params.coefficients
    streams, count, horizons, width = coefficients.shape
    size, stride = BLOCK * width, horizons * width
    for h in range(horizons):
        for g in range(0, width, LANES):
            row = h * size + j * width + g
            said = load(forecasts, row)
            for u in range(streams):
                for k in range(FEATURES, count):
                    said = said + load(coefficients, (u * count + k) * stride + h * width + g) * scaled[k, j, u]
            store(forecasts, row, said)


@njit(**NJIT)
def head(n: int, phased: Phased, params: HeadParams, out: Foreseen) -> None:
    """Fill ``out.forecasts`` and ``out.predicted`` from ``out.features``."""
    coefficients, scaled, forecasts = params.coefficients, out.scaled, out.forecasts
    streams, count, horizons, width = coefficients.shape
    clip, size, stride = params.clip, BLOCK * width, horizons * width
    for k in range(count):
        for g in range(0, width, LANES):
            inverse = load(params.inverse_scale, k * width + g)
            for j in range(n):
                at = k * size + j * width + g
                store(scaled, at, min(max(load(out.features, at) * inverse, -clip), clip))
    for j in range(n):
        for h in range(horizons):
            for g in range(0, width, LANES):
                row = j * width + g
                # Three sums side by side, so that no addition waits for the one before.
                a, b, c = splat(0.0), splat(0.0), splat(0.0)
                for u in range(streams):
                    at = u * count * stride + h * width + g
                    for k in range(0, FEATURES, 3):
                        a = a + load(coefficients, at + k * stride) * scaled[k, j, u]
                        b = b + load(coefficients, at + (k + 1) * stride) * scaled[k + 1, j, u]
                        c = c + load(coefficients, at + (k + 2) * stride) * scaled[k + 2, j, u]
                answers = (load(phased.route, row) == 0) & (load(params.target, g) == 1)
                store(forecasts, h * size + row, where(answers, a + (b + c), np.nan))
        if count > FEATURES:
            _add_own(j, params, scaled, forecasts)
        moves, known = 0.0, 0.0
        for v in range(streams):
            move = forecasts[params.memory_horizon, j, v]
            if move == move:
                moves += move
                known += 1.0
        out.predicted[j] = moves / known if known > 0.0 else 0.0
