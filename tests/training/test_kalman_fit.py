"""Maximum-likelihood q and r of the Kalman ghost: simulated truth, what can't be fitted, and what is collected."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from schwabot.errors import ConfigError, FitError, UnsortedTimeError
from schwabot.modules.graph import Graph
from schwabot.modules.settings import GhostBridgeConfig, ModulesConfig, TensorHarnessConfig
from schwabot.modules.tensor_harness import TensorHarness
from schwabot.pipeline import Pipeline
from schwabot.records.audit import Route
from schwabot.records.market import Ticks
from schwabot.tensors.tick_batch import TickBatch
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.training.kalman_fit import LEAST, MIN_OBSERVATIONS, KalmanCollector, Observations, fit_kalman
from schwabot_kernels.kalman.likelihood import negative_log_likelihood
from schwabot_kernels.kalman.reference import mid_changes
from tests.invariants.making import concat, pieces
from tests.training.making import EPOCH_NS, Market

Q, R = 1.5, np.array([0.02, 0.3, 0.08])
STREAMS = ("a:X/Y", "b:X/Y", "c:X/Y")


def simulated(size: int, seed: int, q: float = Q, r: np.ndarray = R) -> Observations:
    """A random walk seen by streams of different noise, each at its own random times."""
    rng = np.random.default_rng(seed)
    ts_ns = EPOCH_NS + np.rint(1e9 * rng.exponential(0.1, size).cumsum()).astype(np.int64)
    dt_s = np.diff(ts_ns, prepend=ts_ns[:1]) / 1e9
    stream = rng.integers(0, len(r), size).astype(np.int32)
    price = (np.sqrt(q * dt_s) * rng.normal(size=size)).cumsum()
    return Observations(ts_ns, price + np.sqrt(r[stream]) * rng.normal(size=size), stream)


def nll(seen: Observations, q: float, r: np.ndarray) -> float:
    return negative_log_likelihood(np.diff(seen.ts_ns, prepend=seen.ts_ns[0]) / 1e9, seen.y_bp, seen.stream, q, r)[0]


def test_simulated_truth_lies_within_the_errors() -> None:
    """Squared distances in standard errors over 20 runs of 4 numbers: mean 1, itself known to 0.16."""
    squares = []
    for seed in range(20):
        seen = simulated(3_000, seed)
        fit = fit_kalman(seen, STREAMS)
        assert fit.converged
        assert not fit.held
        assert fit.log_likelihood >= -nll(seen, Q, R)
        squares.append((math.log(fit.q_bp2_per_s / Q) / fit.q_error) ** 2)
        squares += list((np.log(fit.r_bp2 / R) / fit.r_error) ** 2)
    assert 0.5 < np.mean(squares) < 1.5
    assert max(squares) < 4.0**2


def test_one_stream_tells_q_from_r() -> None:
    fit = fit_kalman(simulated(5_000, 1, r=np.array([0.2])), ("a:X/Y",))
    assert fit.converged
    assert abs(math.log(fit.q_bp2_per_s / Q)) < 3.0 * fit.q_error < 0.3
    assert abs(math.log(fit.r_bp2[0] / 0.2)) < 3.0 * fit.r_error[0] < 0.3


def test_the_order_of_the_streams_does_not_matter() -> None:
    seen = simulated(2_000, 3)
    one = fit_kalman(seen, STREAMS)
    turned = np.array([2, 0, 1], np.int32)  # stream v becomes turned[v]
    two = fit_kalman(seen._replace(stream=turned[seen.stream]), ("b:X/Y", "c:X/Y", "a:X/Y"))
    assert two.q_bp2_per_s == pytest.approx(one.q_bp2_per_s, rel=1e-5)
    np.testing.assert_allclose(two.r_bp2[turned], one.r_bp2, rtol=1e-5)
    np.testing.assert_allclose(two.r_error[turned], one.r_error, rtol=1e-4)
    assert (two.observations[turned] == one.observations).all()


def test_the_scale_of_prices_and_times_does_not_matter() -> None:
    seen = simulated(2_000, 4)
    one = fit_kalman(seen, STREAMS)
    two = fit_kalman(seen._replace(y_bp=1e4 + 30.0 * seen.y_bp, ts_ns=10 * seen.ts_ns), STREAMS)
    assert two.q_bp2_per_s == pytest.approx(90.0 * one.q_bp2_per_s, rel=1e-5)
    np.testing.assert_allclose(two.r_bp2, 900.0 * one.r_bp2, rtol=1e-5)


def test_a_stream_that_never_moves_keeps_the_prior() -> None:
    seen = simulated(3_000, 5)
    fit = fit_kalman(seen, (*STREAMS, "still:X/Y"), prior_r_bp2=0.7)
    assert fit.r_bp2[3] == pytest.approx(0.7)
    assert math.isnan(fit.r_error[3])
    assert list(fit.held) == ["still:X/Y"]
    assert "0 mid changes say too little" in fit.held["still:X/Y"]
    assert fit.converged
    np.testing.assert_allclose(fit.r_bp2[:3], fit_kalman(seen, STREAMS).r_bp2, rtol=1e-6)
    said = fit.summary()
    assert said["streams"]["still:X/Y"] == {"r_bp2": fit.r_bp2[3], "ln_r_error": None, "observations": 0}
    assert said["ln_q_error"] == fit.q_error
    assert said["observations"] == 3_000


def test_a_stream_without_noise_is_put_at_the_bound() -> None:
    """In about half of all samples; in the others the likelihood of some noise is a little above that of none."""
    fits = [fit_kalman(simulated(3_000, seed, r=np.array([0.0, 0.3, 0.08])), STREAMS) for seed in range(8)]
    at_bound = [fit for fit in fits if fit.held]
    assert 1 <= len(at_bound) <= 7
    for fit in at_bound:
        assert fit.r_bp2[0] == pytest.approx(LEAST)
        assert math.isnan(fit.r_error[0])
        assert "lower bound" in fit.held["a:X/Y"]
    for fit in fits:
        assert fit.converged
        assert fit.r_bp2[0] < 0.01  # a fifteenth of what the price walks between two observations
        assert abs(math.log(fit.r_bp2[1] / 0.3)) < 4.0 * fit.r_error[1]


def test_a_price_that_does_not_walk_has_no_q() -> None:
    fit = fit_kalman(simulated(3_000, 7, q=0.0), STREAMS)
    assert list(fit.held) in (["q"], [])  # the likelihood of a small q may be a hair above that of none
    assert fit.q_bp2_per_s < 1e-4
    assert abs(math.log(fit.r_bp2[1] / 0.3)) < 3.0 * fit.r_error[1]


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        (simulated(0, 0), "0 mid changes, 0 of the busiest stream"),
        (simulated(60, 0), "60 mid changes"),
        (simulated(300, 0)._replace(y_bp=np.ones(300)), "no price moves"),
        (simulated(300, 0)._replace(ts_ns=np.full(300, EPOCH_NS)), "no time moves"),
    ],
)
def test_too_little_is_refused(seen: Observations, said: str) -> None:
    with pytest.raises(FitError, match=said):
        fit_kalman(seen, STREAMS)


def test_wrong_input_is_refused() -> None:
    seen = simulated(300, 0)
    with pytest.raises(UnsortedTimeError, match="backwards"):
        fit_kalman(seen._replace(ts_ns=seen.ts_ns[::-1]), STREAMS)
    with pytest.raises(ConfigError, match="there are 2 streams"):
        fit_kalman(seen, STREAMS[:2])
    with pytest.raises(ConfigError, match="one row each"):
        fit_kalman(seen._replace(y_bp=seen.y_bp[1:]), STREAMS)
    with pytest.raises(ConfigError, match="finite"):
        fit_kalman(seen._replace(y_bp=np.full(300, np.nan)), STREAMS)
    with pytest.raises(ConfigError, match="prior_r_bp2=0"):
        fit_kalman(seen, STREAMS, prior_r_bp2=0.0)
    with pytest.raises(ConfigError, match="max_observations=10"):
        KalmanCollector(SyntheticFeed(SyntheticConfig()).instruments, max_observations=10)


@pytest.fixture(scope="module")
def ticks() -> Ticks:
    return concat(*SyntheticFeed(SyntheticConfig(events=6_000, outages_per_hour=[2000.0], outage_s=3.0)).batches())


def collected(
    ticks: Ticks, cuts: range, modules: ModulesConfig | None = None, until_ns: int | None = None, room: int = 10**6
) -> KalmanCollector:
    pipeline = Pipeline(ticks.instruments, modules)
    collector = KalmanCollector(ticks.instruments, until_ns=until_ns, max_observations=room)
    for piece in pieces(ticks, cuts):
        collector.update(piece, pipeline.step(piece))
    collector.update(None, pipeline.finish())
    return collector


@pytest.mark.parametrize("estimator", ["weighted", "kalman"])
def test_what_is_collected_is_what_the_filter_sees(ticks: Ticks, estimator: str) -> None:
    drift = TensorHarnessConfig(tau_phase_s=0.5, drift_window_s=1.0, drifting_at=0.1, critical_at=0.5)
    modules = ModulesConfig(tensor_harness=drift, ghost_bridge=GhostBridgeConfig(estimator))
    seen = collected(ticks, range(0, len(ticks), 611), modules).observations()
    harness = TensorHarness(ticks.instruments, drift)
    batch = TickBatch.from_ticks(ticks, np.zeros(len(ticks), np.int64))
    timeline, _ = harness(batch, harness.initial_state())
    own_route = timeline.route[torch.arange(len(batch)), batch.stream.long()]
    assert (own_route == Route.DRIFTING).sum() > 100
    at = torch.nonzero(mid_changes(batch.stream, timeline.aligned, timeline.route))[:, 0]
    own = batch.stream[at].long()
    np.testing.assert_array_equal(seen.ts_ns, batch.ts_ns[at].numpy())
    np.testing.assert_array_equal(seen.stream, own.numpy())
    expected = timeline.aligned.x[at, own] - timeline.compensated[at, own]
    np.testing.assert_allclose(seen.y_bp, expected.numpy(), rtol=0, atol=1e-9)


def test_cuts_change_no_bit(ticks: Ticks) -> None:
    whole = collected(ticks, range(0)).observations()
    for step in (1_000, 37):
        cut = collected(ticks, range(0, len(ticks), step)).observations()
        assert all(np.array_equal(a, b) for a, b in zip(whole, cut, strict=True))


def test_until_and_the_room_there_is(ticks: Ticks) -> None:
    whole = collected(ticks, range(0, len(ticks), 500))
    until_ns = int(whole.observations().ts_ns[400])
    early, late = whole.observations(until_ns), collected(ticks, range(0, len(ticks), 500), until_ns=until_ns)
    assert early.ts_ns[-1] == until_ns
    assert all(np.array_equal(a, b) for a, b in zip(early, late.observations(), strict=True))
    assert late.fit().q_bp2_per_s == whole.fit(until_ns).q_bp2_per_s != whole.fit().q_bp2_per_s
    small = collected(ticks, range(0, len(ticks), 500), room=250)
    assert len(small) == 250
    assert small.forgotten == small.fit().forgotten == len(whole) - 250
    assert np.array_equal(small.observations().y_bp, whole.observations().y_bp[-250:])
    with pytest.raises(FitError, match="longer piece"):
        whole.fit(int(whole.observations().ts_ns[30]))


def test_records_out_of_order_are_refused() -> None:
    ts_ns = EPOCH_NS + np.arange(4)
    market = Market(ts_ns, np.arange(4.0)[:, None], np.zeros((4, 1)), np.zeros(4, np.int8))
    record = replace(market.records()[0], ts_recv_ns=ts_ns)
    record = replace(record, signals=replace(record.signals, ghost_bp=np.zeros(4)))
    collector = KalmanCollector(record.instruments)
    collector.update(None, record)
    assert len(collector) == 4
    with pytest.raises(UnsortedTimeError, match="backwards"):
        collector.update(None, record)


def test_a_fit_goes_into_the_settings(ticks: Ticks) -> None:
    fit = collected(ticks, range(0)).fit()
    assert list(fit.held) == ["synthetic_c:BTC/USDT"]  # silent most of the time
    assert fit.observations[2] < MIN_OBSERVATIONS
    graph = Graph(ticks.instruments, ModulesConfig(ghost_bridge=GhostBridgeConfig("kalman", **fit.settings())))
    assert graph.params.q_bp2_per_s == fit.q_bp2_per_s
    assert np.array_equal(graph.params.r_bp2, fit.r_bp2)


def test_errors_are_those_of_the_whole_curvature() -> None:
    """Minus the second derivatives of the joint normal density of the observations, inverted: no filter."""
    rng = np.random.default_rng(4)
    n = 80
    time_s = np.arange(n) * 0.5
    stream = (np.arange(n) % 5 == 0).astype(np.int32)
    y = np.cumsum(rng.normal(size=n)) * 0.6 + rng.normal(size=n) * np.where(stream == 0, 0.8, 0.5)
    fit = fit_kalman(Observations((time_s * 1e9).astype(np.int64), y, stream), ("a:X/Y", "b:X/Y"), prior_r_bp2=0.3)
    assert list(fit.held) == ["b:X/Y"]

    def log_density(ln_q: float, ln_r: float) -> float:
        noise = np.where(stream == 0, np.exp(ln_r), 0.3)
        since = time_s[1:] - time_s[0]
        covariance = np.exp(ln_q) * np.minimum.outer(since, since) + np.diag(noise[1:]) + noise[0]
        moved = y[1:] - y[0]
        return -0.5 * float(np.linalg.slogdet(2 * math.pi * covariance)[1] + moved @ np.linalg.solve(covariance, moved))

    at = np.log([fit.q_bp2_per_s, fit.r_bp2[0]])
    h = 1e-3
    steps = np.eye(2) * h
    information = -np.array(
        [
            [
                sum(a * b * log_density(*(at + a * i + b * j)) for a in (1, -1) for b in (1, -1)) / (4 * h * h)
                for j in steps
            ]
            for i in steps
        ]
    )
    errors = np.sqrt(np.diag(np.linalg.inv(information)))
    assert fit.log_likelihood == pytest.approx(log_density(*at))
    assert [fit.q_error, fit.r_error[0]] == pytest.approx(errors, rel=1e-3)
    assert errors[0] > 1.05 / math.sqrt(information[0, 0])  # q and r lean on each other


def test_noise_above_the_range_is_at_the_upper_bound_and_said_to_be() -> None:
    rng = np.random.default_rng(0)
    y = np.concatenate([rng.normal(size=300) * 3e3, rng.normal(size=300)])
    stream = np.repeat(np.array([0, 1], np.int32), 300)
    order = rng.permutation(600)
    fit = fit_kalman(Observations(np.arange(600) * 10**9, y[order], stream[order]), ("a:X/Y", "b:X/Y"))
    assert fit.held["a:X/Y"].startswith("at the upper bound")
    assert fit.r_bp2[0] == pytest.approx(1e6)
    assert math.isnan(fit.r_error[0])
