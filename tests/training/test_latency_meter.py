"""What a market is like, measured on one made by hand and on one that is known, and what our latency costs there."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot.records.audit import StepRecord
from schwabot.records.market import MISSING_NS, Kind, Ticks
from schwabot.ticks.merge import blank
from schwabot.training.latency_cost import latency_cost
from schwabot.training.latency_meter import LatencyCostMeter
from tests.training.making import EPOCH_NS, Market, instruments

S = 1_000_000_000
Step = tuple[Ticks, StepRecord]


def steps(market: Market, half_bp: np.ndarray, side: np.ndarray, event_ns: np.ndarray, cuts: list[int]) -> list[Step]:
    """Batches of ticks with what is said of them; every event is of stream 0."""
    made, start = [], 0
    for record in market.records(cuts):
        rows = slice(start, start + len(record.ts_recv_ns))
        ticks = replace(
            blank(instruments(2), len(record.ts_recv_ns)),
            ts_recv_ns=record.ts_recv_ns, ts_event_ns=event_ns[rows], stream=record.stream, kind=record.kind,
            side=side[rows],
        )  # fmt: skip
        made.append((ticks, replace(record, signals=replace(record.signals, half_spread_bp=half_bp[rows]))))
        start = rows.stop
    return made


def measured(batches: list[Step], latency_ms: float = 10.0) -> dict[str, dict[str, float | None]]:
    meter = LatencyCostMeter(instruments(2), latency_ms, notional_quote=20_000.0)
    for ticks, record in batches:
        meter.update(ticks, record)
    return dict(meter.summary()["latency_cost"])


def by_hand() -> tuple[Market, np.ndarray, np.ndarray, np.ndarray]:
    at_s = np.array([0.0, 0.5, 1.0, 1.5, 4.0, 4.5, 8.0])
    mid = np.array([0.0, 3.0, 9.0, 1.0, 1.0, 5.0, 7.0])
    nan = np.full(7, np.nan)
    kind = np.array([0, 1, 1, 1, 0, 1, 0], np.int8) * np.int8(Kind.TRADE)
    market = Market(EPOCH_NS + (at_s * S).astype(np.int64), np.stack([mid, nan], 1), np.zeros((7, 2)), kind)
    half = np.stack([np.array([1.0, 1.0, 2.0, np.nan, 0.5, 0.5, 9.0]), nan], 1)
    side = np.array([0, 1, 1, -1, 0, 1, 0], np.int8)
    event_ns = np.array([MISSING_NS, 7, 7, 7, MISSING_NS, 8, MISSING_NS])
    return market, half, side, event_ns


def test_by_hand() -> None:
    found = measured(steps(*by_hand(), cuts=[]))["venuea:X/Y"]
    # Ends of the seconds 0, 1 and 4: 3, 1, 5; the second 8 goes on. 4 bp² in 1 s and 16 in 3.
    assert found["sigma_bp_per_sqrt_s"] == pytest.approx(math.sqrt(20.0 / 4.0))
    # 1 for a second, 2 for half of one, unknown until 4 s, 0.5 for four seconds; twice that is the spread
    assert found["spread_bp"] == pytest.approx(2.0 * (1.0 + 1.0 + 2.0) / 5.5)
    # Buyers at 7 (two fills of one order) and at 8, a seller at 7: three orders, half of them buy, in 8 s
    assert found["buyers_per_s"] == pytest.approx(1.5 / 8.0)
    assert measured(steps(*by_hand(), cuts=[]))["venueb:X/Y"] == {
        "latency_ms": 10.0, "horizon_s": 10.0, "sigma_bp_per_sqrt_s": None, "spread_bp": None, "buyers_per_s": 0.0,
        "relative": None, "lost_bp": None, "lost_quote": None,
    }  # fmt: skip


@given(st.lists(st.integers(1, 6), max_size=6))
def test_no_cut_changes_a_bit(cuts: list[int]) -> None:
    assert measured(steps(*by_hand(), cuts=cuts)) == measured(steps(*by_hand(), cuts=[]))


def walk(sigma: float, spread: float) -> list[Step]:
    """An hour of a Brownian mid quoted every 100 ms, with one buyer and one seller in every second."""
    n, rng = 36_000, np.random.default_rng(3)
    mid = np.cumsum(rng.normal(0.0, sigma * math.sqrt(0.1), n))
    kind = np.where(np.arange(n) % 5 == 1, Kind.TRADE, Kind.QUOTE).astype(np.int8)
    side = np.where(np.arange(n) % 10 == 1, 1, -1).astype(np.int8)
    ts_ns = EPOCH_NS + np.arange(n) * (S // 10)
    market = Market(ts_ns, np.stack([mid, mid], 1), np.zeros((n, 2)), kind)
    return steps(market, np.full((n, 2), 0.5 * spread), side, np.full(n, MISSING_NS), [9_999])


def test_a_known_market_and_what_latency_costs_there() -> None:
    found = measured(walk(sigma=0.5, spread=1.0), latency_ms=20.0)["venuea:X/Y"]
    # 3,600 squared moves of one second: to sqrt(2 / 3600) / 2 of sigma, 1.2 %
    assert found["sigma_bp_per_sqrt_s"] == pytest.approx(0.5, rel=0.04)
    assert found["spread_bp"] == pytest.approx(1.0)
    assert found["buyers_per_s"] == pytest.approx(1.0, rel=1e-3)
    want = latency_cost(0.02, sigma=0.5, delta=1.0, mu=1.0, horizon_s=10.0)
    assert found["relative"] == pytest.approx(want.relative, rel=0.05)
    assert found["lost_bp"] == pytest.approx(want.lost, rel=0.05)
    assert found["lost_quote"] == pytest.approx(2.0 * found["lost_bp"])  # type: ignore[operator]


@pytest.mark.parametrize(
    ("spread", "latency_ms", "told"),
    [
        (0.2, 20.0, True),  # the limit is 0.5 sqrt(2 pi 0.02) = 0.177
        (0.17, 20.0, False),
        (1.0, 0.0, False),
        (9.0, 1100.0, False),  # more than one buyer within a latency
        (9.0, 0.01, True),  # ten thousand stages of 10 us: a horizon of 100 ms
    ],
)
def test_it_is_told_where_the_model_holds(spread: float, latency_ms: float, told: bool) -> None:
    found = measured(walk(sigma=0.5, spread=spread), latency_ms)["venuea:X/Y"]
    assert (found["relative"] is not None) == told
    assert found["horizon_s"] == pytest.approx(min(10.0, 10.0 * latency_ms))
