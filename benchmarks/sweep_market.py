"""The market and the parameter sets that benchmarks of the sweep use. N rows, P parameter sets.

The default synthetic market of four venues, of which one stream is traded; repeated in time for more rows. The signal
is cheap: how far the mean of all log mids is from the traded one, its slow mean taken off, in its own RMS.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numba import njit

from benchmarks.market import market
from schwabot.records.market import Float64
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.simulate.records import Market, Rules

PART = 1_000_000
LEG = 1
SCALE = 100
FEED_DELAY_NS = 3_000_000


@njit(**NJIT)
def deviation(stream: Any, kind: Any, bid: Any, ask: Any, leg: int, streams: int) -> Any:
    """[N]"""
    rows = stream.size
    x, price = np.zeros(rows), np.zeros(streams)
    offset, known, slow = np.zeros(streams), 0, 0.0
    for i in range(rows):
        v = stream[i]
        if kind[i] == 0:
            known += price[v] == 0.0
            price[v] = np.log(0.5 * (bid[i] + ask[i]))
            if offset[v] == 0.0:
                offset[v] = price[v]
        if known == streams:
            far = np.mean(price - offset) - (price[leg] - offset[leg])
            slow += 1e-4 * (far - slow)
            x[i] = far - slow
    return x / np.sqrt(np.mean(x * x))


@cache
def recorded(rows: int) -> Market:
    """N rows of the market."""
    _, batch = market(min(rows, PART))
    ts, stream, kind, side = (one.numpy() for one in (batch.ts_ns, batch.stream, batch.kind, batch.side))
    bid, ask, bid_lots, ask_lots = (
        one.numpy() for one in (batch.bid_ticks, batch.ask_ticks, batch.bid_lots, batch.ask_lots)
    )
    price, lots = batch.price_ticks.numpy(), batch.qty_lots.numpy()
    x = deviation(stream, kind, bid, ask, LEG, int(stream.max()) + 1)
    own = stream == LEG
    repeats, length = -(-rows // len(ts)), int(ts[-1] - ts[0]) + 1_000_000

    def long(values: Any) -> Any:
        return np.tile(values, repeats)[:rows]

    def mine(values: Any) -> Any:
        return long(np.where(own, values, 0))

    later = np.repeat(np.arange(repeats) * length, len(ts))[:rows]
    received = long(ts) + later
    leg = long(np.where(own, 0, -1).astype(np.int8))
    chain, next_row = np.flatnonzero(leg == 0), np.full(rows, -1, np.int32)
    next_row[chain[:-1]] = chain[1:]
    return Market(
        ts_ns=received,
        venue_ns=received - FEED_DELAY_NS,
        leg=leg,
        kind=long(kind),
        side=long(np.where(own, side, 0).astype(np.int8)),
        bid=mine(bid),
        ask=mine(ask),
        bid_lots=mine(bid_lots),
        ask_lots=mine(ask_lots),
        price=mine(price),
        lots=mine(lots),
        mark=mine((bid + ask) * SCALE),
        next_row=next_row,
        signals=np.ascontiguousarray(long(x).reshape(1, 1, rows)),
    )


def costs(sets: int, *, entry_ms: tuple[float, float] = (1.0, 50.0), fee_bp: tuple[float, float] = (0.0, 5.0)) -> Rules:
    """Latency and fee of every set drawn evenly from a range; constant response of 1 ms."""
    rng = np.random.default_rng(1)
    entry_ns = (rng.uniform(*entry_ms, (sets, 1)) * 1e6).astype(np.int64)
    taker_e7 = (rng.uniform(*fee_bp, (sets, 1)) * 1e3).astype(np.int64)
    none = np.zeros(0, np.int64)
    return Rules(
        entry_ns=entry_ns,
        response_ns=np.full((sets, 1), 1_000_000),
        taker_e7=taker_e7,
        maker_e7=np.zeros((sets, 1), np.int64),
        model=0,
        tables=np.zeros((2, 1), np.int64),
        seed=0,
        scale=np.array([SCALE]),
        inverse=np.zeros(1, np.int8),
        max_lots=np.array([1_000]),
        protection_e7=500_000,
        queue=0,
        bucket_ns=1_000_000_000,
        funding_ns=none,
        funding_leg=none,
        funding_e9=none,
    )


def thresholds(sets: int) -> Float64:
    """Parameters of the policy ``threshold``: enter, exit, lots, largest position. [P, 4]"""
    rng = np.random.default_rng(2)
    enter, leave = rng.uniform(0.5, 3.5, sets), rng.uniform(0.0, 1.0, sets)
    return np.stack([enter, leave, np.ones(sets), rng.integers(1, 4, sets).astype(np.float64)], axis=1)
