"""Every stage of the compiled graph against plain torch, stage by stage from the same bits, on many markets."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schwabot.modules.settings import ModulesConfig
from schwabot.records.audit import Lane
from schwabot.records.instrument import Instrument
from schwabot.ticks.capture import CaptureFeed
from schwabot_kernels.graph.reference import graph
from tests.kernels import making
from tests.kernels.holding import hold
from tests.kernels.making import HABITS, RATE_HABITS, Habits, Run, adversarial, run_graph, synthetic

QUIET = {
    "ties": 0.2, "round_times": True, "gaps": 0.02, "trades": 0.3, "trades_only": 0.0, "crossed": 0.0, "no_size": 0.0,
    "still": 0.5, "outages": 0.0, "late": 0.0, "coarse": False,
}  # fmt: skip


@settings(max_examples=60)
@given(HABITS, st.sampled_from(["weighted", "kalman"]), st.sampled_from([(4, 1), (8, 1), (8, 3), (16, 1), (16, 2)]))
@example(Habits(events=1, streams=1, seed=0, **QUIET), "weighted", (8, 1))
@example(Habits(events=600, streams=6, seed=1, **QUIET), "kalman", (16, 2))
@example(
    # A price that falls to a tick after three hours without one.
    Habits(
        events=129,
        streams=1,
        seed=2927,
        ties=0.7,
        round_times=True,
        gaps=0.02,
        trades=0.0,
        trades_only=1.0,
        crossed=0.1,
        no_size=0.0,
        still=0.0,
        outages=0.5,
        late=0.0,
        coarse=False,
    ),
    "kalman",
    (16, 2),
)
@example(
    # One stream is left for 48 events: its deviation from itself is 0 up to rounding, and so are all projections.
    Habits(
        events=600,
        streams=6,
        seed=5313,
        ties=0.0,
        round_times=True,
        gaps=0.0,
        trades=1.0,
        trades_only=1.0,
        crossed=0.1,
        no_size=0.2,
        still=0.5,
        outages=0.5,
        late=0.0,
        coarse=False,
    ),
    "weighted",
    (8, 3),
)
@example(
    # Two of the three projections of one event are ties.
    Habits(
        events=600,
        streams=4,
        seed=3187,
        ties=0.7,
        round_times=False,
        gaps=0.02,
        trades=0.0,
        trades_only=1.0,
        crossed=0.1,
        no_size=1.0,
        still=0.0,
        outages=0.5,
        late=0.0,
        coarse=False,
    ),
    "kalman",
    (8, 3),
)
@example(
    # Outlooks of thousands of bp, a fifth of which is expected within 20 ms.
    Habits(
        events=257,
        streams=6,
        seed=4161140481,
        ties=0.7,
        round_times=False,
        gaps=0.0,
        trades=0.0,
        trades_only=0.3,
        crossed=0.1,
        no_size=1.0,
        still=0.5,
        outages=0.0,
        late=0.5,
        coarse=False,
    ),
    "weighted",
    (16, 2),
)
def test_adversarial_markets(habits: Habits, estimator: str, code: tuple[int, int]) -> None:
    bits, tables = code
    hold(run_graph(adversarial(habits), making.settings(estimator, bits=bits, tables=tables)))


@settings(max_examples=40)
@given(RATE_HABITS, st.sampled_from(["weighted", "kalman"]))
def test_adversarial_markets_with_rates(habits: Habits, estimator: str) -> None:
    hold(run_graph(adversarial(habits), making.settings(estimator)))


@settings(max_examples=10)
@given(HABITS, st.sampled_from([(32, 1), (42, 2)]))
def test_bounded_tables(habits: Habits, code: tuple[int, int]) -> None:
    bits, tables = code
    hold(run_graph(adversarial(habits), making.settings(bits=bits, tables=tables)))


@pytest.fixture(scope="module")
def synthetic_run() -> Run:
    """Four venues for 10 s, default settings but for a shorter warm-up and lanes that so short a time can reach."""
    config = ModulesConfig()
    config.hash_registry.warmup_events = 1000
    config.voltage_lanes.medium_v = 0.82
    config.voltage_lanes.high_v = 0.9
    config.voltage_lanes.margin_v = 0.005
    return run_graph(synthetic(6_000), config)


def test_synthetic_market(synthetic_run: Run) -> None:
    hold(synthetic_run)


def test_synthetic_market_reaches_what_is_compared(synthetic_run: Run) -> None:
    run = synthetic_run
    assert (run.key >= 0).float().mean() > 0.8
    assert len(set(run.key.tolist())) > 30
    assert len(run.decisions["ts_ns"]) > 100
    assert all((run.lane == lane).sum() > 10 for lane in Lane)
    assert run.entropy.min() < 1.0 < run.entropy.max()
    assert run.expected_lag.max() > 0.0


@pytest.mark.parametrize("estimator", ["weighted", "kalman"])
@pytest.mark.parametrize("streams", [2, 5, 9])
def test_synthetic_market_of_other_shapes(estimator: str, streams: int) -> None:
    # The first stream alone has two features that are proportional while its spread stands: projections of exactly 0.
    settings = making.settings(estimator, bits=4, lanes_tau_s=2.0, warmup_events=60)
    hold(run_graph(synthetic(4_001, seed=streams, streams=streams), settings))


def test_adversarial_markets_reach_every_branch() -> None:
    """What a comparison can't see it can't hold: routes, statuses, lanes, windows, decisions all occur."""
    loud = Habits(
        events=4_000, streams=5, seed=5, ties=0.2, round_times=True, gaps=0.01, trades=0.3, trades_only=0.2,
        crossed=0.05, no_size=0.2, still=0.0, outages=0.5, late=0.5, coarse=True,
    )  # fmt: skip
    config = making.settings()
    config.voltage_lanes.medium_v, config.voltage_lanes.high_v = 0.85, 0.95  # no noise reaches the usual HIGH
    run = run_graph(adversarial(loud), config)
    hold(run)
    assert set(run.route.unique().tolist()) == {0, 1, 2, 3, 4}
    assert set(run.status.unique().tolist()) == {0, 1, 2}
    assert set(run.lane.unique().tolist()) == {0, 1, 2}
    assert set(run.windows["locked"].tolist()) == {0, 1}
    assert len(run.decisions["ts_ns"]) > 100
    assert run.ghost.isnan().any()
    assert run.pays_fees.any()


def test_markets_with_rates_reach_every_branch() -> None:
    loud = Habits(
        events=4_000, streams=6, seed=4, ties=0.2, round_times=True, gaps=0.01, trades=0.2, trades_only=0.0,
        crossed=0.05, no_size=0.2, still=0.0, outages=0.5, late=0.5, coarse=True, rates=True,
    )  # fmt: skip
    run = run_graph(adversarial(loud), making.settings())
    hold(run)
    assert run.route[:, [2, 4]].unique().tolist() == [1, 3, 5]
    lengths = (run.windows["sides"] != 0).sum(1)
    assert set(lengths.tolist()) == {2, 3}
    assert run.windows["realised_left_bp"].isfinite().float().mean() > 0.9
    between = (run.windows["legs"][:, :3] == torch.tensor([2, 4, -1])).all(1)
    assert between.any(), "no window between the two rates"


def test_recorded_market(captures: Path) -> None:
    known = {
        i.stream: i
        for i in (
            Instrument("binance:BTC/USDT", 0.01, 1e-5, taker_fee_bp=10.0),
            Instrument("binanceusdm:BTC/USDT:USDT", 0.1, 0.001, taker_fee_bp=5.0),
            Instrument("binancecoinm:BTC/USD:BTC", 0.1, 1.0, 100.0, inverse=True, taker_fee_bp=5.0),
        )
    }
    feed = CaptureFeed(sorted((captures / "binance").glob("*/btc*.gz")), known)
    config = ModulesConfig()
    config.hash_registry.warmup_events = 1000
    run = run_graph(making.first_events(feed, 12_000), config)
    assert run.mid.shape == (12_000, 3)
    hold(run)


def test_whole_chain_in_one_go() -> None:
    """The reference's own columns, not fed with the kernel's: rounding travels, so means are compared, not bits."""
    run = run_graph(synthetic(6_000), making.settings(warmup_events=500))
    ours, found, _ = graph(run.batch, run.graph.table, run.graph.params, run.planes)
    for name in ("ghost", "mid", "half", "deviation", "phase", "drift"):
        making.assert_close(getattr(ours, name), getattr(run, name), 1e-8, name)
    for name in ("route", "status", "key"):
        assert (getattr(ours, name) != getattr(run, name)).double().mean() <= 1e-4, name
    same_lane = (ours.lane == run.lane).double().mean()
    assert same_lane > 0.999
    assert torch.equal(run.batch.ts_ns[found.row], run.decisions["ts_ns"])
