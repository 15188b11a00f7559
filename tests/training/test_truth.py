"""The truth meter against hand-made estimates and the synthetic market's own truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schwabot.records.audit import StepRecord
from schwabot.records.market import MISSING_NS, Float64
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed, SyntheticTruth
from schwabot.training.meters import TruthEntry
from schwabot.training.truth import TruthMeter, clock_errors
from tests.training.making import EPOCH_NS, Market, instruments


def run(ghost: Float64, mid: Float64, phase: Float64, cuts: list[int] | None = None) -> list[StepRecord]:
    n = len(ghost)
    market = Market(EPOCH_NS + np.arange(n), mid, np.zeros_like(mid), np.zeros(n, np.int8))
    records = []
    for record in market.records(cuts or []):
        part = slice(record.first_event, record.first_event + len(record.ts_recv_ns))
        records.append(replace(record, signals=replace(record.signals, ghost_bp=ghost[part], phase_bp=phase[part])))
    return records


def measure(records: list[StepRecord], efficient: Float64, basis: Float64) -> TruthMeter:
    meter = TruthMeter(instruments(basis.shape[1]))
    for record in records:
        part = slice(record.first_event, record.first_event + len(record.ts_recv_ns))
        meter.update(record, SyntheticTruth(1.0, efficient[part], basis[part], np.zeros_like(basis[part])))
    return meter


def test_by_hand() -> None:
    efficient = np.array([0.0, 1.0, 2.0, 3.0])
    ghost = efficient + 7.0 + np.array([1.0, -1.0, 1.0, -1.0])
    mid = np.stack([efficient - 3.0 + np.array([2, -2, 2, -2]), efficient + 100 + np.array([4, -4, 4, -4])], axis=1)
    basis = np.tile([0.0, 5.0], (4, 1))
    phase = basis + 40.0 + np.array([0.3, -0.3])  # the constant does not count, the error of 0.3 does
    summary = measure(run(ghost, mid, phase), efficient, basis).summary()
    assert summary["ghost_rmse_bp"] == pytest.approx(1.0)
    assert (summary["best_single_rmse_bp"], summary["best_single_stream"]) == (pytest.approx(2.0), "venuea:X/Y")
    assert summary["plain_mean_rmse_bp"] == pytest.approx(3.0)
    assert summary["basis_error_bp"] == {"venuea:X/Y": pytest.approx(0.3), "venueb:X/Y": pytest.approx(0.3)}
    assert summary["rows"] == 4


def test_rows_before_a_stream_joins_count_for_nobody() -> None:
    efficient = np.zeros(4)
    mid = np.array([[9.0, np.nan], [0.0, 1.0], [0.0, 1.0], [2.0, 1.0]])
    ghost = np.array([50.0, np.nan, 1.0, 3.0])
    summary = measure(run(ghost, mid, np.zeros((4, 2))), efficient, np.zeros((4, 2))).summary()
    assert summary["rows"] == 2
    assert summary["ghost_rmse_bp"] == pytest.approx(1.0)
    assert summary["best_single_rmse_bp"] == pytest.approx(0.0)
    assert summary["plain_mean_rmse_bp"] == pytest.approx(0.5)


@given(cuts=st.lists(st.integers(1, 199), max_size=12), offset=st.sampled_from([0.0, 1e5]))
def test_no_cut_changes_a_bit_and_a_large_offset_costs_no_digits(cuts: list[int], offset: float) -> None:
    rng = np.random.default_rng(0)
    efficient = np.cumsum(rng.normal(size=200))
    error = 1e-3 * rng.normal(size=200)
    mid = efficient[:, None] + rng.normal(size=(200, 2))
    basis, phase = rng.normal(size=(200, 2)), rng.normal(size=(200, 2))
    ghost = efficient + offset + error
    whole = measure(run(ghost, mid, phase), efficient, basis).summary()
    assert measure(run(ghost, mid, phase, cuts), efficient, basis).summary() == whole
    assert whole["ghost_rmse_bp"] == pytest.approx(error.std(), rel=1e-6)


def test_nothing_measured_is_none() -> None:
    summary = TruthMeter(instruments(2)).summary()
    assert summary["ghost_rmse_bp"] is summary["best_single_rmse_bp"] is summary["best_single_stream"] is None
    assert summary["basis_error_bp"] == {"venuea:X/Y": None, "venueb:X/Y": None}


def test_truth_of_the_synthetic_market_scores_zero() -> None:
    feed = SyntheticFeed(SyntheticConfig(events=2_000, streams=3))
    ts = np.concatenate([ticks.ts_recv_ns for ticks in feed.batches()])
    truth = feed.truth_at(ts)
    mid = truth.efficient_bp[:, None] + truth.basis_bp + np.random.default_rng(0).normal(size=truth.basis_bp.shape)
    record = replace(run(truth.efficient_bp + 5.0, mid, truth.basis_bp - 5.0)[0], ts_recv_ns=ts)
    meter = TruthMeter(feed.instruments)
    meter.update(record, feed.truth_at(record.ts_recv_ns))
    summary = meter.summary()
    assert summary["ghost_rmse_bp"] == pytest.approx(0.0, abs=1e-9)
    assert max(summary["basis_error_bp"].values()) == pytest.approx(0.0, abs=1e-9)
    assert 0.5 < summary["plain_mean_rmse_bp"] < 0.7 < summary["best_single_rmse_bp"]


def test_clock_errors() -> None:
    feed = SyntheticFeed(
        SyntheticConfig(streams=2, clock_offset_ms=[-1000.0, 30.0], clock_drift_ppm=[-5.0, 2.0], latency_min_ms=[2.0])
    )
    first, second = (instrument.stream for instrument in feed.instruments)
    clock: dict[str, dict[str, float | None]] = {
        first: {"clock_offset_ms": -998.4, "clock_drift_ppm": -4.5},
        second: {"clock_offset_ms": None},
    }
    # After 100 s the first venue's envelope truly lies at -1000 - 0.5 + 2 ms.
    assert clock_errors(clock, feed.truth_summary(), since_s={first: 100.0, second: 100.0}) == {
        first: {"offset_ms": pytest.approx(0.1), "drift_ppm": pytest.approx(0.5)},
        second: {"offset_ms": None, "drift_ppm": None},
    }


def test_the_true_drift_of_a_clock_that_wanders() -> None:
    """Over one period of A sin(2 pi t/P) the least-squares slope is -6 A/(pi P)."""
    feed = SyntheticFeed(
        SyntheticConfig(streams=1, clock_drift_ppm=[5.0], clock_wander_ms=[30.0], clock_wander_period_s=120.0)
    )
    stream = feed.instruments[0].stream
    slope_ppm = -6 * 15.0 / (np.pi * 120.0) * 1e3
    clock = {stream: {"clock_offset_ms": None, "clock_drift_ppm": 5.0 + slope_ppm}}
    found = clock_errors(clock, feed.truth_summary(), since_s={stream: 120.0})[stream]["drift_ppm"]
    assert found == pytest.approx(0.0, abs=1.0)


def test_a_clock_is_compared_at_its_last_stamp() -> None:
    """The venue's quotes carry no time, its trades do: after the last of those nothing more is known of its clock."""
    feed = SyntheticFeed(SyntheticConfig(events=3_000, stamped_quotes=[False], trade_share=0.02))
    entry, last_ns = TruthEntry(feed, dict), {}
    for ticks in feed.batches(500):
        market = Market(EPOCH_NS + np.arange(1), np.zeros((1, 4)), np.zeros((1, 4)), np.zeros(1, np.int8))
        entry.update(ticks, replace(market.records([])[0], ts_recv_ns=np.zeros(0, np.int64)))
        for v, instrument in enumerate(feed.instruments):
            stamped = (ticks.stream == v) & (ticks.ts_emit_ns != MISSING_NS)
            if stamped.any():
                last_ns[instrument.stream] = int(ticks.ts_recv_ns[stamped].max())
    assert entry._last_ns == last_ns
    assert len(set(last_ns.values())) == 4
