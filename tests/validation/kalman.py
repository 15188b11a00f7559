"""The fit of the Kalman ghost: errors that cover the truth, and a ghost nearer to it on what comes later."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

from schwabot.modules.settings import GhostBridgeConfig, ModulesConfig
from schwabot.pipeline import Pipeline
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot.training.kalman_fit import KalmanCollector, fit_kalman
from tests.training.test_kalman_fit import STREAMS, Q, R, simulated
from tests.validation.claim import Line, holds

PART = "Kalman fit"
SEEDS = 100
EVENTS = 150_000
GAP_NS = 10**9


def coverage() -> Iterator[Line]:
    """The intervals of 1.96 errors; 400 of them, so the share is known to 0.011."""
    inside = []
    for seed in range(SEEDS):
        fit = fit_kalman(simulated(3_000, seed), STREAMS)
        off = np.log([fit.q_bp2_per_s / Q, *(fit.r_bp2 / R)]) / [fit.q_error, *fit.r_error]
        inside += list(np.abs(off) < 1.96)
    share = float(np.mean(inside))
    yield holds(
        PART, f"95 % intervals that hold q or r, {SEEDS} runs", "0.92 to 0.98", f"{share:.3f}", 0.92 <= share <= 0.98
    )


def out_of_sample() -> Iterator[Line]:
    """Fitted on 60 % of a synthetic market, scored on the rest beside the defaults."""
    for seed in (5, 6, 7):
        feed = SyntheticFeed(SyntheticConfig(events=EVENTS, seed=seed))
        collector = KalmanCollector(feed.instruments)
        pipeline, last_ns = Pipeline(feed.instruments), 0
        for ticks in feed.batches():
            collector.update(ticks, pipeline.step(ticks))
            last_ns = int(ticks.ts_recv_ns[-1])
        until_ns = feed.config.start_ns + round(0.6 * (last_ns - feed.config.start_ns))
        fitted = error_after(until_ns + GAP_NS, seed, GhostBridgeConfig("kalman", **collector.fit(until_ns).settings()))
        default = error_after(until_ns + GAP_NS, seed, GhostBridgeConfig("kalman"))
        claim = f"error of the fitted ghost against that of the defaults, later 40 %, seed {seed}"
        yield holds(PART, claim, f"< {default:.3f} bp", f"{fitted:.3f} bp", fitted < default)


def error_after(after_ns: int, seed: int, config: GhostBridgeConfig) -> float:
    """Root mean square distance of the ghost from the efficient price about its mean, bp."""
    feed = SyntheticFeed(SyntheticConfig(events=EVENTS, seed=seed))
    pipeline = Pipeline(feed.instruments, ModulesConfig(ghost_bridge=config))
    errors = []
    for ticks in feed.batches():
        record = pipeline.step(ticks)
        late = (record.ts_recv_ns > after_ns) & np.isfinite(record.signals.ghost_bp)
        truth = feed.truth_at(record.ts_recv_ns[late]).efficient_bp
        errors.append(record.signals.ghost_bp[late] - truth)
    return math.sqrt(np.concatenate(errors).var())


CLAIMS = (coverage, out_of_sample)
