"""Cycles against brute force in plain Python, on random markets; V streams."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations, product

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from schwabot.modules.currencies import legs_text
from schwabot.modules.ghost_bridge import GhostBridge
from schwabot.modules.graph import Graph
from schwabot.modules.settings import GhostBridgeConfig, TensorHarnessConfig
from schwabot.modules.tensor_harness import TensorHarness
from schwabot.records.instrument import Instrument
from tests.kernels import making
from tests.kernels.making import MS, START_NS, Market, quotes
from tests.modules.making import assert_same_answers, assert_same_state, joined

LOOPS = (
    ("BTC/USDT", "BTC/USD", "USDT/USD"), ("BTC/USDT", "BTC/EUR", "USDT/USD", "EUR/USD"),
    ("BTC/USD", "ETH/BTC", "ETH/USD"), ("BTC/USDT", "USDT/USD", "USDT/USD"),
    ("BTC/USDT", "BTC/EUR", "EUR/USDT", "ETH/BTC", "ETH/USDT"),
)  # fmt: skip
SYMBOLS = st.sampled_from(LOOPS).flatmap(
    lambda loop: st.lists(st.sampled_from(loop), max_size=2).flatmap(lambda more: st.permutations([*loop, *more]))
)
"""Streams of which all can be traded round, some at several venues."""
WORTH = {"BTC": 10_000.0, "USD": 1.0, "USDT": 0.999, "EUR": 1.1, "ETH": 500.0}
STALE_MS, RATE_STALE_MS, LATENCY_MS = 300.0, 700.0, 40.0
MIN_EDGE_BP = 0.0123456789
"""No ratio of prices on the grid is that: nothing depends on rounding."""


@dataclass
class Quote:
    """Last one of a stream."""

    t_ms: float
    bid: float
    ask: float
    bid_size: float
    ask_size: float


def _instruments(symbols: list[str], fees: list[float]) -> tuple[Instrument, ...]:
    return tuple(
        Instrument(f"v{k}:{symbol}", 1e-6, 1e-3, taker_fee_bp=fee)
        for k, (symbol, fee) in enumerate(zip(symbols, fees, strict=True))
    )


def _rows(instruments: tuple[Instrument, ...], n: int, seed: int, spread_bp: float, crossed: float) -> list[tuple]:
    rng = np.random.default_rng(seed)
    rows, t = [], 0.0
    for k in range(n):
        v = k % len(instruments) if k < len(instruments) else int(rng.integers(len(instruments)))
        one = instruments[v]
        mid = WORTH[one.base] / WORTH[one.quote] * math.exp(rng.normal(0, 4e-4))
        half = 0.5e-4 * spread_bp * rng.random() * (-1.0 if rng.random() < crossed else 1.0)
        rows.append((t, v, mid * (1 - half), mid * (1 + half), rng.integers(1, 99), rng.integers(1, 99)))
        t += float(rng.choice([0, 1, 10, 100, 400], p=[0.1, 0.3, 0.4, 0.15, 0.05]))
    return rows


def _brute(instruments: tuple[Instrument, ...], market: Market, rate: list[int], moves: list[float]) -> list[tuple]:
    """Every cycle with a rate in it, at every event, in prices: windows as (legs, start, end, edge, size, left)."""
    streams = range(len(instruments))
    cycles = {}
    for length in (2, 3, 4):
        for order in permutations(streams, length):
            for sides in product((1, -1), repeat=length):
                hops = [
                    (instruments[v].quote, instruments[v].base)[:: 1 if side > 0 else -1]
                    for v, side in zip(order, sides, strict=True)
                ]
                held = [hop[0] for hop in hops]
                if any(hops[k][1] != held[(k + 1) % length] for k in range(length)) or len(set(held)) < length:
                    continue
                if not any(rate[v] for v in order):
                    continue
                legs = list(zip(order, sides, strict=True))
                first = min(range(length), key=lambda k, legs=legs: _rank(legs, k, rate))
                cycles[tuple(legs[first:] + legs[:first])] = None
    batch = market.batch
    last: dict[int, Quote] = {}
    bad: dict[int, bool] = {}
    history, times = [], []
    open_at: dict[tuple, dict] = {}
    closed: list[dict] = []
    for i in range(len(batch)):
        t, v = (int(batch.ts_ns[i]) - START_NS) / MS, int(batch.stream[i])
        bid, ask = int(batch.bid_ticks[i]) * 1e-6, int(batch.ask_ticks[i]) * 1e-6
        bad[v] = bid > ask
        if bad[v]:
            if v in last:
                last[v] = Quote(t, last[v].bid, last[v].ask, last[v].bid_size, last[v].ask_size)
        else:
            last[v] = Quote(t, bid, ask, int(batch.bid_lots[i]) * 1e-3, int(batch.ask_lots[i]) * 1e-3)
        history.append(dict(last))
        times.append(t)
        for legs in cycles:
            use = all(
                u in last and not bad[u] and t - last[u].t_ms <= (RATE_STALE_MS if rate[u] else STALE_MS)
                for u, _ in legs
            )
            edge = _gross(instruments, legs, last) if use else -math.inf
            for u, side in legs:
                edge -= 0.0 if rate[u] else max(0.0, side * moves[i])
            if edge > MIN_EDGE_BP:
                if legs not in open_at:
                    open_at[legs] = {"legs": legs, "start": t, "first": edge, "best": -math.inf}
                if edge > open_at[legs]["best"]:
                    open_at[legs] |= {"best": edge, "size": _size(legs, last)}
            elif legs in open_at:
                closed.append(open_at.pop(legs) | {"end": t})
    closed += [window | {"end": times[-1]} for window in open_at.values()]
    for window in closed:
        due = window["start"] + LATENCY_MS
        row = max(i for i, t in enumerate(times) if t <= due)
        window["left"] = math.nan if due > times[-1] else _gross(instruments, window["legs"], history[row])
    return [
        (_text(instruments, w["legs"]), w["start"], w["end"], w["first"], w["best"], w["size"], w["left"])
        for w in closed
    ]


def _rank(legs: list[tuple[int, int]], k: int, rate: list[int]) -> tuple:
    v, side = legs[k]
    return (rate[v], -side, 2 * v + (side < 0))


def _text(instruments: tuple[Instrument, ...], legs: tuple) -> str:
    return ", ".join(f"{'buy' if side > 0 else 'sell'} {instruments[v].stream}" for v, side in legs)


def _gross(instruments: tuple[Instrument, ...], legs: tuple, last: dict[int, Quote]) -> float:
    value = math.prod(1 / last[v].ask if side > 0 else last[v].bid for v, side in legs)
    return 1e4 * math.log(value) - sum(instruments[v].taker_fee_bp for v, _ in legs)


def _size(legs: tuple, last: dict[int, Quote]) -> float:
    """In base asset of the first leg: what each leg offers, carried back through the legs before it."""
    first, side = legs[0]
    held = last[first].ask if side > 0 else 1.0  # of what the cycle begins with, per unit of that asset
    sizes = []
    for v, side in legs:
        quote = last[v]
        base = held / quote.ask if side > 0 else held
        sizes.append((quote.ask_size if side > 0 else quote.bid_size) / base)
        held = base if side > 0 else base * quote.bid
    return min(sizes)


@settings(max_examples=60)
@given(
    SYMBOLS,
    st.sampled_from([1, 2, 40, 257, 300]),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 1.0, 5.0]),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([0.0, 0.5]),
)
def test_windows_equal_brute_force(
    symbols: list[str], n: int, seed: int, spread_bp: float, crossed: float, fee_bp: float, move_bp: float
) -> None:
    rng = np.random.default_rng(seed)
    instruments = _instruments(symbols, (fee_bp * rng.random(len(symbols))).round(3).tolist())
    config = GhostBridgeConfig(asset="BTC", rate_stale_ms=RATE_STALE_MS, min_edge_bp=MIN_EDGE_BP)
    bridge = GhostBridge(instruments, config, latency_ms=LATENCY_MS)
    market = quotes(instruments, _rows(instruments, n, seed, spread_bp, crossed))
    moves = move_bp * torch.from_numpy(rng.normal(0, 1, len(market.batch)))
    # Nothing drifts critically here: what a stream is routed out for is its age, or that it is crossed.
    harness_config = TensorHarnessConfig(stale_s=STALE_MS / 1e3, drift_window_s=1e5)
    harness = TensorHarness(instruments, harness_config, rate=bridge.rate)
    line, state = harness(market.batch, harness.initial_state())
    found, after = bridge.arbitrage(market.batch, line, moves, bridge.initial_state() | state)
    rest = bridge.finish(after | state, int(market.batch.ts_ns[-1]))

    told = []
    for part in (found, rest):
        legs = np.where(part.sides == 0, -1, 2 * part.legs + (part.sides < 0))
        times = [((ns - START_NS) / MS).tolist() for ns in (part.start_ns, part.end_ns)]
        numbers = [x.tolist() for x in (part.start_bp, part.edge_bp, part.qty, part.realised_left_bp)]
        is_cycle = [any(bridge.rate[v] for v in row if v >= 0) for row in part.legs.tolist()]
        texts = [legs_text(instruments, row) for row in legs.tolist()]
        rows = zip(texts, *times, *numbers, strict=True)
        told += [row for row, ours in zip(rows, is_cycle, strict=True) if ours]
    wanted = sorted(_brute(instruments, market, bridge.rate.tolist(), moves.tolist()))
    assert [row[:3] for row in sorted(told)] == [row[:3] for row in wanted]
    for ours, theirs in zip(sorted(told), wanted, strict=True):
        assert ours[3:] == pytest.approx(theirs[3:], rel=1e-7, abs=1e-6, nan_ok=True)


def test_random_markets_hold_cycles_of_every_length() -> None:
    """The comparison above compares something."""
    symbols = ["BTC/USDT", "BTC/EUR", "USDT/USD", "EUR/USD", "EUR/USDT", "EUR/USD"]
    instruments = _instruments(symbols, [0.0] * 6)
    bridge = GhostBridge(
        instruments, GhostBridgeConfig(asset="BTC", rate_stale_ms=RATE_STALE_MS, min_edge_bp=MIN_EDGE_BP)
    )
    market = quotes(instruments, _rows(instruments, 300, 1, 1.0, 0.0))
    windows = _brute(instruments, market, bridge.rate.tolist(), [0.0] * 300)
    assert {text.count(",") + 1 for text, *_ in windows} == {2, 3, 4}


@settings(max_examples=40)
@given(
    SYMBOLS,
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.0, 0.1, 20.0]),
)
def test_one_consistent_set_of_prices_pays_nobody(symbols: list[str], seed: int, spread_bp: float) -> None:
    """Every currency has one worth for all; bids are at or below it, asks at or above it, and there are no fees."""
    rng = np.random.default_rng(seed)
    instruments = _instruments(symbols, [0.0] * len(symbols))
    bridge = GhostBridge(instruments, GhostBridgeConfig(asset="BTC", min_edge_bp=1e-7))
    worth = {name: math.exp(rng.normal(0, 5)) for name in WORTH}
    rows = []
    for k in range(120):
        one = instruments[k % len(instruments)]
        fair = worth[one.base] / worth[one.quote] / 1e-6
        low, high = (math.exp(1e-4 * spread_bp * side * rng.random()) for side in (-1, 1))
        bid, ask = math.floor(fair * low), math.ceil(fair * high)
        assume(bid > 0)
        rows.append((k, k % len(instruments), bid * 1e-6, ask * 1e-6, 1, 1))
    batch = quotes(instruments, rows).batch
    harness = TensorHarness(instruments, TensorHarnessConfig(drift_window_s=1e5), rate=bridge.rate)
    line, state = harness(batch, harness.initial_state())
    found, after = bridge.arbitrage(batch, line, torch.zeros(120, dtype=torch.float64), bridge.initial_state() | state)
    rest = bridge.finish(after | state, int(batch.ts_ns[-1]))
    assert not [part.legs for part in (found, rest) if (part.locked == 1).any()]


def test_rings_and_the_list_of_those_that_wait_grow_on_every_path() -> None:
    """Thousands of windows that all wait for a far end."""
    instruments = _instruments(["BTC/USDT", "BTC/USD", "USDT/USD"], [0.0] * 3)
    rows = [(0, 2, 0.99999, 1.0, 9, 9), (0, 0, 9_999, 10_000, 1, 1)]
    rows += [(1 + k, 1, 9_999 + 10 * (k % 2), 10_000 + 10 * (k % 2), 1, 1) for k in range(10_000)]
    batch = quotes(instruments, rows).batch
    config = making.settings(warmup_events=100)
    config.phantom_lag.latency_ms = 1e6
    config.tensor_harness.stale_s = config.ghost_bridge.rate_stale_ms = 1e6
    graph = Graph(instruments, config)
    whole, after = graph(batch, graph.initial_state())
    assert len(after["arbitrage.waiting"]) == len(after["arbitrage.closed_ns"]) > 4096
    assert int(after["arbitrage.head"][2]) >= 4_900
    by_module, other = graph.by_module(batch, graph.initial_state())
    moved = graph.initial_state()
    advanced = graph.advance(batch, moved)
    assert_same_answers(joined([whole]), joined([by_module]))
    assert_same_answers(joined([whole]), joined([advanced]))
    assert_same_state(after, other)
    assert_same_state(after, moved)
    rest = graph.finish(moved).arbitrage
    assert len(rest.legs) + len(whole.arbitrage.legs) >= 4_900
    assert np.isnan(rest.realised_left_bp).all()
    assert int(moved["arbitrage.head"][2]) == 0
