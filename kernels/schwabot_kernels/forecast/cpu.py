"""Features of the coming move and the trained head's forecasts. V streams, H horizons, n events of one block.

Nine features per stream, all odd under a flip of the price, in plain bp or in units of the usual touch quantity L:

    0  d e^{-age / 100 ms}                                deviation from the ghost
    1  microprice - mid
    2, 3  asinh(sum of order-flow imbalance / L)          decayed with 20 and 100 ms
    4, 5  asinh(sum of signed trade quantity / L)         decayed with 20 and 100 ms
    6, 7  x - its decayed mean                            20 and 100 ms
    8  side max(|trade - mid| - half spread, 0) e^{-age / 20 ms}    the last trade, at most 20 bp from the mid

L is the decayed (30 s) mean of (bid + ask quantity) / 2. A stream that takes no part in the ghost gives zeros.
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
from schwabot_kernels.simd import LANES, as_doubles, lanes_from, load, padded, splat, square_root, store, unknown, where

FEATURES = 9
FAST_S, SLOW_S = 0.02, 0.1
DEVIATION_AGE_S, TRADE_AGE_S = 0.1, 0.02
LOTS_S = 30.0
FAR_BP = 20.0


class HeadParams(NamedTuple):
    """A trained head in the kernel's shapes; H = 0 is no head.

    inverse_scale: 1 / RMS of each feature in training, 0 where it is not used. [FEATURES, W]
    coefficients: bp per scaled feature: of every source stream and feature, for every horizon and target. [V,
        FEATURES, H, W]
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
    beyond, beyond_ns: the last trade beyond the touch, bp, and its time. [W]
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
    beyond: F64
    beyond_ns: I64


class Foreseen(NamedTuple):
    """Features [FEATURES, BLOCK, W], forecasts in bp, NaN where there is none [H, BLOCK, W].

    predicted: the ghost's expected move over the memory's horizon, 0 without a head. [BLOCK]
    Scratch: scaled [FEATURES, BLOCK, W]; what the event itself adds: lots (0 = no quote), flow, deal, beyond, and 1
    where it is a trade; decays. [BLOCK]
    """

    features: F64
    forecasts: F64
    predicted: F64
    scaled: F64
    lots: F64
    flow: F64
    deal: F64
    beyond: F64
    traded: I8
    keep_fast: F64
    keep_slow: F64
    keep_lots: F64


def no_head(streams: int) -> HeadParams:
    """Settings that mean: no head."""
    width = padded(streams)
    return HeadParams(
        inverse_scale=np.zeros((FEATURES, width)),
        coefficients=np.zeros((streams, FEATURES, 0, width)),
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
        beyond=np.zeros(width),
        beyond_ns=np.zeros(width, np.int64),
    )


def scratch(streams: int, horizons: int) -> Foreseen:
    """An empty block."""
    width = padded(streams)
    return Foreseen(
        features=aligned_zeros((FEATURES, BLOCK, width)),
        forecasts=aligned_zeros((horizons, BLOCK, width)),
        predicted=aligned_zeros((BLOCK,)),
        scaled=aligned_zeros((FEATURES, BLOCK, width)),
        lots=aligned_zeros((BLOCK,)),
        flow=aligned_zeros((BLOCK,)),
        deal=aligned_zeros((BLOCK,)),
        beyond=aligned_zeros((BLOCK,)),
        traded=aligned_zeros((BLOCK,), np.int8),
        keep_fast=aligned_zeros((BLOCK,)),
        keep_slow=aligned_zeros((BLOCK,)),
        keep_lots=aligned_zeros((BLOCK,)),
    )


@njit(**NJIT)
def _own(first: int, n: int, events: Events, aligned: Aligned, quoted: I8, state: ForecastState, out: Foreseen) -> None:
    """What each event adds by itself: quantity and imbalance of a good quote, quantity and distance of a trade."""
    bid, ask, bid_lots, ask_lots = state.bid, state.ask, state.bid_lots, state.ask_lots
    for j in range(n):
        i = first + j
        v = events.stream[i]
        lots = flow = deal = beyond = 0.0
        traded = events.kind[i] == 1
        if traded:
            side = events.side[i]
            deal = float(side) * float(events.qty_lots[i])
            if quoted[v] == 1 and bid[v] > 0 and events.price_ticks[i] > 0:
                price = float(2 * events.price_ticks[i]) / float(bid[v] + ask[v])
                beyond = float(side) * max(min(abs(1e4 * log_pos(price)), FAR_BP) - aligned.half[j, v], 0.0)
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
        out.beyond[j] = beyond
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
    deviation: F64,
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
    for g in range(0, width, LANES):
        lane = lanes_from(g)
        usual, count = load(state.lots_mean, g), load(state.lots_count, g)
        flow_fast, flow_slow = load(state.flow_fast, g), load(state.flow_slow, g)
        deal_fast, deal_slow = load(state.deal_fast, g), load(state.deal_slow, g)
        mean_fast, mean_slow, before = load(state.mean_fast, g), load(state.mean_slow, g), load(state.x, g)
        beyond, beyond_ns = load(state.beyond, g), load(state.beyond_ns, g)
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
            beyond = where(dealt, splat(out.beyond[j]), beyond)
            beyond_ns = where(dealt, t, beyond_ns)

            d = load(deviation, k)
            live = (load(phased.route, k) == 0) & (d == d)
            age_s = as_doubles(t - load(aligned.last_ns, k)) * 1e-9
            dealt_s = as_doubles(t - beyond_ns) * 1e-9
            per_lot = where(usual > 0.0, 1.0 / usual, 0.0)
            store(found, k, where(live, d * exp_neg(age_s * (-1.0 / DEVIATION_AGE_S)), 0.0))
            store(found, size + k, where(live, load(aligned.micro, k), 0.0))
            store(found, 2 * size + k, where(live, _asinh(flow_fast * per_lot), 0.0))
            store(found, 3 * size + k, where(live, _asinh(flow_slow * per_lot), 0.0))
            store(found, 4 * size + k, where(live, _asinh(deal_fast * per_lot), 0.0))
            store(found, 5 * size + k, where(live, _asinh(deal_slow * per_lot), 0.0))
            store(found, 6 * size + k, where(live, x - mean_fast, 0.0))
            store(found, 7 * size + k, where(live, x - mean_slow, 0.0))
            store(found, 8 * size + k, where(live, beyond * exp_neg(dealt_s * (-1.0 / TRADE_AGE_S)), 0.0))
        store(state.lots_mean, g, usual)
        store(state.lots_count, g, count)
        store(state.flow_fast, g, flow_fast)
        store(state.flow_slow, g, flow_slow)
        store(state.deal_fast, g, deal_fast)
        store(state.deal_slow, g, deal_slow)
        store(state.mean_fast, g, mean_fast)
        store(state.mean_slow, g, mean_slow)
        store(state.x, g, before)
        store(state.beyond, g, beyond)
        store(state.beyond_ns, g, beyond_ns)


@njit(**NJIT)
def head(n: int, phased: Phased, deviation: F64, params: HeadParams, out: Foreseen) -> None:
    """Fill ``out.forecasts`` and ``out.predicted`` from ``out.features``."""
    coefficients, scaled, forecasts = params.coefficients, out.scaled, out.forecasts
    streams, horizons, width = coefficients.shape[0], coefficients.shape[2], coefficients.shape[3]
    clip, size, stride = params.clip, BLOCK * width, horizons * width
    for k in range(FEATURES):
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
                    at = u * FEATURES * stride + h * width + g
                    for k in range(0, FEATURES, 3):
                        a = a + load(coefficients, at + k * stride) * scaled[k, j, u]
                        b = b + load(coefficients, at + (k + 1) * stride) * scaled[k + 1, j, u]
                        c = c + load(coefficients, at + (k + 2) * stride) * scaled[k + 2, j, u]
                d = load(deviation, row)
                answers = (load(phased.route, row) == 0) & (d == d) & (load(params.target, g) == 1)
                store(forecasts, h * size + row, where(answers, a + (b + c), np.nan))
        moves, known = 0.0, 0.0
        for v in range(streams):
            move = forecasts[params.memory_horizon, j, v]
            if move == move:
                moves += move
                known += 1.0
        out.predicted[j] = moves / known if known > 0.0 else 0.0
