"""Step records made by hand. Axis legend: N events, V streams, D decisions, L latencies."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np

from schwabot.records.audit import (
    ArbitrageEvents,
    DriftEvents,
    LagDecisions,
    MemoryColumns,
    SignalColumns,
    StepRecord,
)
from schwabot.records.instrument import Instrument
from schwabot.records.market import MISSING_NS, Kind
from schwabot.sinks.base import RunHeader

INSTRUMENTS = (
    Instrument("binance:BTC/USDT", 0.01, 1e-5),
    Instrument("binanceusdm:BTC/USDT:USDT", 0.1, 1e-3),
)
LATENCIES_MS = (1.0, 10.0, 100.0)
START_NS = 1_723_161_240_000_000_000
MEMORY = MemoryColumns(
    table=np.array([0, 0, 1], np.int32),
    key=np.array([0, 63, 17]),
    count=np.array([2.0, 2.0, 0.5]),
    mean_bp=np.array([0.25, -0.25, 1.0]),
    variance_bp2=np.array([1.0, 1.0, 0.0]),
    entropy=np.array([0.5, 0.5, 1.0]),
    age_s=np.array([3.0, 3.0, 0.125]),
)


def header(run_dir: Path, expected_events: int | None = None) -> RunHeader:
    """What a sink is told first."""
    return RunHeader(run_dir, "replay", "cpu", "by hand", INSTRUMENTS, expected_events)


def records(events: int, cuts: tuple[int, ...] = ()) -> list[StepRecord]:
    """One run of random answers, cut into batches at the given events; what happens, happens in the first batch."""
    rng = np.random.default_rng(events)
    V = len(INSTRUMENTS)
    wide = {name: rng.normal(size=(events, V)) for name in ("mid", "deviation", "phase", "drift", "snr", "bits")}
    wide["deviation"][::7] = np.nan
    flat = {name: rng.normal(size=events) for name in ("ghost", "entropy", "echo", "lag")}
    flat["echo"][::3] = np.nan
    stream = rng.integers(0, V, events).astype(np.int32)
    key = np.where(np.arange(events) < 5, -1, rng.integers(0, 256, events))
    voltage = rng.uniform(0.8, 3.3, (events, V))
    lane = ((voltage >= 1.2).astype(np.int8) + (voltage >= 2.0)).astype(np.int8)
    ts_ns = START_NS + np.cumsum(rng.integers(0, 2_000_000, events))
    penalty = rng.choice([0.05, 0.1, 0.2, np.nan], events)
    pays = rng.integers(0, 2, (events, V)).astype(np.int8)
    event_ns = np.where(stream == 0, MISSING_NS, ts_ns - 1_000_000)
    edges = [0, *cuts, events]
    out = []
    for batch, (i, j) in enumerate(pairwise(edges)):
        small = np.zeros((j - i, V), np.int8)
        signals = SignalColumns(
            ghost_bp=flat["ghost"][i:j],
            mid_bp=wide["mid"][i:j],
            half_spread_bp=wide["mid"][i:j],
            deviation_bp=wide["deviation"][i:j],
            phase_bp=wide["phase"][i:j],
            drift=wide["drift"][i:j],
            route=small,
            status=small,
            forecast_bp=wide["mid"][i:j],
            key=key[i:j],
            entropy=flat["entropy"][i:j],
            echo_bp=flat["echo"][i:j],
            expected_lag_bp=flat["lag"][i:j],
            penalty=penalty[i:j],
            snr=wide["snr"][i:j],
            bits=wide["bits"][i:j],
            voltage=voltage[i:j],
            lane=lane[i:j],
            pays_fees=pays[i:j],
            forecasts_bp=np.zeros((j - i, V, 0)),
        )
        happened = 1 if batch == 0 else 0
        long, small_ = np.ones(happened, np.int64), np.ones(happened, np.int8)
        out.append(
            StepRecord(
                batch=batch,
                first_event=i,
                instruments=INSTRUMENTS,
                reference_price=60_000.0,
                latencies_ms=LATENCIES_MS,
                key_bits=8,
                reentry_penalty=0.1,
                lane_sizes=(0.0, 0.5, 3.0),
                lane_styles=("observe", "cross", "cross"),
                ts_recv_ns=ts_ns[i:j],
                ts_event_ns=event_ns[i:j],
                ts_venue_ns=ts_ns[i:j],
                stream=stream[i:j],
                kind=np.where(np.arange(i, j) % 3 == 2, Kind.TRADE, Kind.QUOTE).astype(np.int8),
                signals=signals,
                decisions=LagDecisions(
                    START_NS * long, long.astype(np.int32), -small_, np.array([[0.25, 0.75, 1.0]])[:happened],
                    np.array([[0.5, 1.5, np.nan]])[:happened],
                    0.75 * long, 4.0 * long, np.array([[0.0625, 0.125, np.nan]])[:happened],
                ),
                arbitrage=ArbitrageEvents(
                    small_,
                    np.array([[0, 1, -1, -1]], np.int32)[:happened], np.array([[1, -1, 0, 0]], np.int8)[:happened],
                    START_NS * long, START_NS * long + 1, 0.125 * long, 0.25 * long, 0.5 * long, np.nan * long,
                ),
                drift_events=DriftEvents(
                    START_NS * np.ones(2 * happened, np.int64),
                    np.zeros(2 * happened, np.int32),
                    np.array([0, 1], np.int8)[: 2 * happened],
                    np.array([0, 0], np.int8)[: 2 * happened],
                    np.array([2, 4], np.int8)[: 2 * happened],
                    np.array([5.0, np.nan])[: 2 * happened],
                ),
                memory=MEMORY if j == events else None,
            )
        )  # fmt: skip
    return out


SUMMARY = {
    "events": 100,
    "quotes": 80,
    "trades": 20,
    "span_s": 12.5,
    "wall_s": 1.0,
    "events_per_s": 1e6,
    "peak_rss_mib": 300.0,
    "dropped": {"crossed": 2},
    "streams": {
        instrument.stream: {
            "events": 50,
            "clock_offset_ms": -1272.0,
            "clock_drift_ppm": -4.9,
            "basis_bp": -3.7,
            "drift_status": "stable",
            "lanes": {"LOW": 45, "MEDIUM": 4, "HIGH": 1},
            "arbitrage": {"locked": 1, "basis": 2},
        }
        for instrument in INSTRUMENTS
    },
    "skill": {INSTRUMENTS[1].stream: {"100": {"corr": 0.459, "r2": 0.25}}},
    "lag_curve_bp": {INSTRUMENTS[0].stream: {"10": 0.4, "100": float("nan")}},
    "lag_curve": {
        INSTRUMENTS[0].stream: {
            "10": {"mean": 0.4, "n": 7, "ci_low": 0.1, "ci_high": 0.7, "expected": 0.25, "gap": 0.15}
            | {"mean_quote": 0.8, "ci_low_quote": 0.2, "ci_high_quote": 1.4},
            "100": {"mean": None, "n": 0, "ci_low": None, "ci_high": None}
            | {"mean_quote": None, "ci_low_quote": None, "ci_high_quote": None},
        }
    },
    "lag_notional_quote": 20_000.0,
    "lanes": {"LOW": 90, "MEDIUM": 8, "HIGH": 2},
    "arbitrage": {"locked": 1, "basis": 2},
}
