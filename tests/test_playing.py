"""What the trading experiments share plays what mode=backtest plays, and their own policy does what its page says."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import schwabot
from schwabot.signals import BUY, SELL, load_policy, nothing, take
from schwabot_kernels.simulate.state import FILL_PRICE, FILL_ROW, FILL_VENUE_NS
from tests.signals.making import event, parameters, standing

EXPERIMENTS = Path(__file__).resolve().parents[1] / "experiments"
MARKET = {"events": 6000, "streams": 2, "seed": 5}
ROUND_TRIP = f"{EXPERIMENTS / 'lanes' / 'round_trip.py'}:round_trip"


@pytest.fixture(scope="module")
def playing() -> ModuleType:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXPERIMENTS))
        return importlib.import_module("playing")


@pytest.fixture(scope="module")
def tape(playing: ModuleType) -> Any:
    return playing.read(schwabot.load("synthetic", **MARKET), None, ["forecast_bp", "deviation_bp", "lane"])


def test_a_tape_plays_what_a_backtest_plays(playing: ModuleType, tape: Any) -> None:
    feed = schwabot.load("synthetic", **MARKET)
    streams = [one.stream for one in feed.instruments]
    simulation = {"entry_ms": 3.0, "response_ms": 2.0}
    expected = schwabot.backtest(feed, "mean_reversion", trade=streams, simulation=simulation, enter_bp=0.2)
    outcome = playing.play(tape, "mean_reversion", simulation, enter_bp=0.2)
    assert len(outcome.fills) > 20
    assert np.array_equal(outcome.fills, expected.outcome.fills)
    assert np.array_equal(outcome.counts, expected.outcome.counts)


def test_a_part_of_a_tape_is_a_market_of_its_own(playing: ModuleType, tape: Any) -> None:
    part, market = tape.between(0.4, 0.8), tape.market
    rows = np.flatnonzero((market.ts_ns >= part.market.ts_ns[0]) & (market.ts_ns <= part.market.ts_ns[-1]))
    assert 0 < len(rows) == len(part.market.ts_ns) < len(market.ts_ns)
    share = (part.market.ts_ns[[0, -1]] - market.ts_ns[0] - [1e9, 0]) / (market.ts_ns[-1] - market.ts_ns[0])
    assert share == pytest.approx([0.4, 0.8], abs=0.03), "1 s is left out before it"
    for leg in range(2):
        own = np.flatnonzero(part.market.leg == leg)
        assert part.market.next_row[own].tolist() == [*own[1:].tolist(), -1]
    outcome = playing.play(part, "mean_reversion", {}, enter_bp=0.2)
    assert len(outcome.fills) > 5
    assert outcome.fills[:, FILL_ROW].max() < len(rows)
    assert outcome.fills[:, FILL_VENUE_NS].min() >= part.market.ts_ns[0]
    assert (outcome.fills[:, FILL_PRICE] > 0).all()


def test_mids_are_those_known_then(playing: ModuleType, tape: Any) -> None:
    quotes = np.flatnonzero((tape.market.leg == 1) & (tape.market.kind == 0))
    second, third = quotes[1], quotes[2]
    mid = 0.5 * float(tape.market.bid[second] + tape.market.ask[second])
    times = np.array([tape.market.ts_ns[second], tape.market.ts_ns[third] - 1])
    assert playing.mid_ticks(tape.market, 1, times).tolist() == [mid, mid]
    outside = np.array([tape.market.ts_ns[0] - 1, tape.market.ts_ns[-1] + 1])
    assert np.isnan(playing.mid_ticks(tape.market, 1, outside)).all()


def test_a_difference_of_means_and_its_interval(playing: ModuleType) -> None:
    draw = np.random.default_rng(2)
    ts = np.sort(draw.integers(0, 400 * playing.BLOCK_NS, 4000))
    mean, low, high = playing.difference_of((ts, draw.normal(3.0, 1.0, 4000)), (ts[::2], draw.normal(1.0, 1.0, 2000)))
    assert low < 2.0 < high
    assert mean == pytest.approx(2.0, abs=0.1)
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(1 / 4000 + 1 / 2000), rel=0.15)
    assert all(math.isnan(one) for one in playing.difference_of((ts[:0], ts[:0] * 1.0), (ts, ts * 1.0)))


@pytest.mark.parametrize(
    ("s", "e", "answer"),
    [
        ({}, {"lane": 2.0, "forecast_bp": 0.1}, take(BUY, 3)),
        ({}, {"lane": 2.0, "forecast_bp": -0.1}, take(SELL, 3)),
        ({}, {"lane": 2.0, "forecast_bp": math.nan}, nothing()),
        ({}, {"lane": 1.0, "forecast_bp": 0.1}, nothing()),
        ({"in_flight": 1}, {"lane": 2.0, "forecast_bp": 0.1}, nothing()),
        ({"position": 3, "last_fill_ns": 10**18 - 99_000_000}, {"lane": 2.0, "forecast_bp": -0.1}, nothing()),
        ({"position": 3, "last_fill_ns": 10**18 - 100_000_000}, {"lane": 0.0, "forecast_bp": 0.1}, take(SELL, 3)),
        ({"position": -2, "last_fill_ns": 10**18 - 100_000_000}, {"lane": 0.0, "forecast_bp": 0.1}, take(BUY, 2)),
    ],
)
def test_round_trips_of_a_lane(s: dict[str, Any], e: dict[str, Any], answer: Any) -> None:
    policy = load_policy(ROUND_TRIP)
    assert policy(standing(**s), event(**e), parameters(policy, lane=2, hold_ms=100.0, lots=3)) == answer
