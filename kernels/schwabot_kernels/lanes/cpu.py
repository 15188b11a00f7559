"""From evidence to a discrete conviction level, for every stream at every event. N events, V streams.

    forecast  m_v = slope_v d_v (+ the registry's mean where it is trusted), slope_v the decayed regression of moves on d
    bucket    half octaves of |m| / sigma per stream; remembers E = sign(m) move - half spread over the horizon
    bits      b = clip(kappa / 2 log2(1 + n SNR), 0, 16),  SNR = max(0, mean E)² / var E,  n = min(n_eff, cap)
    voltage   V = V0 2^{b/8}; rises by at most slew dt, falls at once
    lane      clamp(lane before, lane(V - margin) if latency < max else LOW, lane(V))

One stream's outcome is remembered per event, in turn by absolute event number: outcomes overlap far more than the
effective count can use, and no stream is favoured by its own quotes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.align.cpu import Aligned
from schwabot_kernels.arrays import F64, I8, I32, I64
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.scalar import MISSING_NS, NJIT, exp_neg, float_bits, log_pos

BUCKETS = 16
CENTRE = 8
"""Bucket of ratios in [1, sqrt 2); each bucket is half an octave wide."""
EPOCHS = 30.0
N_EFF, COUNT, SUM, SQUARES = 0, 1, 2, 3


class LanesParams(NamedTuple):
    """Settings; see schwabot.modules.settings.VoltageLanesConfig. ``may_rise`` = latency < max."""

    horizon_ns: int
    tau_s: float
    slope_tau_s: float
    kappa: float
    count_cap: float
    v0: float
    v_max: float
    medium: float
    high: float
    margin: float
    slew_per_s: float
    may_rise: bool


class LanesState(NamedTuple):
    """Regression and bucket memories, output voltages, outcomes still to come.

    clock: [first event's time, bucket epoch, slope epoch, events so far]. [4]
    products, squares: sums of d y and d² per stream. [V]; energy: [sum of m², weight] per stream. [V, 2]
    buckets: [n_eff, count, sum E, sum E²] per stream and bucket. [V, BUCKETS, 4]; last_ns: last outcome. [V, BUCKETS]
    slope, inverse_energy [V], bucket_mean, bucket_snr [V, BUCKETS]: ratios of the above, so that reading divides nothing.
    voltage, lane: output before. [V]; x: the row before. [V]
    head: [next due, next to write]. [2]; due_*: ring. [capacity]
    """

    clock: I64
    products: F64
    squares: F64
    energy: F64
    buckets: F64
    last_ns: I64
    slope: F64
    inverse_energy: F64
    bucket_mean: F64
    bucket_snr: F64
    voltage: F64
    lane: I8
    x: F64
    head: I64
    due_ns: I64
    due_stream: I32
    due_bucket: I32
    due_x: F64
    due_deviation: F64
    due_forecast: F64
    due_half: F64
    due_weight: F64
    due_slope_weight: F64


class Laned(NamedTuple):
    """forecast in bp, SNR, bits, voltage in V, lane, pays_fees. [N, V]"""

    forecast: F64
    snr: F64
    bits: F64
    voltage: F64
    lane: I8
    pays_fees: I8


def empty_state(streams: int, v0: float, capacity: int = 16384) -> LanesState:
    """State before the first event."""
    return LanesState(
        clock=np.array([MISSING_NS, 0, 0, 0], np.int64),
        products=np.zeros(streams),
        squares=np.zeros(streams),
        energy=np.zeros((streams, 2)),
        buckets=np.zeros((streams, BUCKETS, 4)),
        last_ns=np.full((streams, BUCKETS), MISSING_NS, np.int64),
        slope=np.zeros(streams),
        inverse_energy=np.zeros(streams),
        bucket_mean=np.zeros((streams, BUCKETS)),
        bucket_snr=np.zeros((streams, BUCKETS)),
        voltage=np.full(streams, v0),
        lane=np.zeros(streams, np.int8),
        x=np.full(streams, np.nan),
        head=np.zeros(2, np.int64),
        due_ns=np.zeros(capacity, np.int64),
        due_stream=np.zeros(capacity, np.int32),
        due_bucket=np.zeros(capacity, np.int32),
        due_x=np.zeros(capacity),
        due_deviation=np.zeros(capacity),
        due_forecast=np.zeros(capacity),
        due_half=np.zeros(capacity),
        due_weight=np.zeros(capacity),
        due_slope_weight=np.zeros(capacity),
    )


def empty_output(events: int, streams: int) -> Laned:
    """Uninitialised output for N events."""
    shape = (events, streams)
    return Laned(
        np.empty(shape),
        np.empty(shape),
        np.empty(shape),
        np.empty(shape),
        np.empty(shape, np.int8),
        np.empty(shape, np.int8),
    )


@njit(inline="always", **NJIT)
def bucket_of(ratio: float) -> int:
    """floor(2 log2(|m| / sigma)) + 8, clipped to [0, 15], from ratio = m² / sigma²: its exponent is the half octave."""
    return min(max((float_bits(ratio) >> 52) - 1023 + CENTRE, 0), BUCKETS - 1)


@njit(**NJIT)
def _rebase(factor: float, slope_factor: float, state: LanesState) -> None:
    """Scale every stored weight down when the reference time moves on."""
    for v in range(state.products.size):
        state.products[v] *= slope_factor
        state.squares[v] *= slope_factor
        state.energy[v, 0] *= slope_factor
        state.energy[v, 1] *= slope_factor
        for k in range(BUCKETS):
            for c in range(4):
                state.buckets[v, k, c] *= factor
    for j in range(state.head[0], state.head[1]):
        slot = j & (state.due_ns.size - 1)
        state.due_weight[slot] *= factor
        state.due_slope_weight[slot] *= slope_factor


@njit(inline="always", **NJIT)
def _write_outcome(j: int, later_x: float, horizon_ns: int, state: LanesState) -> None:
    """Add the move that followed ring entry j to its stream's regression and its bucket."""
    v = state.due_stream[j]
    d = state.due_deviation[j]
    move = later_x - state.due_x[j]
    slope_weight = state.due_slope_weight[j]
    state.products[v] += slope_weight * d * move
    state.squares[v] += slope_weight * d * d
    state.slope[v] = state.products[v] / (state.squares[v] + 1e-12)
    k = state.due_bucket[j]
    if k >= 0:
        edge = (move if state.due_forecast[j] > 0.0 else -move) - state.due_half[j]
        weight = state.due_weight[j]
        last = state.last_ns[v, k]
        gap = state.due_ns[j] - last
        share = 1.0 if last == MISSING_NS or gap >= horizon_ns else float(gap) / float(horizon_ns)
        count = state.buckets[v, k, COUNT] + weight
        total = state.buckets[v, k, SUM] + weight * edge
        squares = state.buckets[v, k, SQUARES] + weight * edge * edge
        state.buckets[v, k, N_EFF] += weight * share
        state.buckets[v, k, COUNT] = count
        state.buckets[v, k, SUM] = total
        state.buckets[v, k, SQUARES] = squares
        state.last_ns[v, k] = state.due_ns[j]
        mean = total / count
        variance = max(squares / count - mean * mean, 1e-6)
        state.bucket_mean[v, k] = mean
        state.bucket_snr[v, k] = mean * mean / variance if mean > 0.0 else 0.0


@njit(**NJIT)
def lanes(
    ts_ns: I64,
    aligned: Aligned,
    phased: Phased,
    deviation: F64,
    memory_mean: F64,
    memory_trusted: I8,
    expected_lag: F64,
    style_fee_bp: F64,
    params: LanesParams,
    state: LanesState,
    out: Laned,
) -> None:
    """Fill ``out`` and move ``state`` on by N events. The ring must have N free places. style_fee_bp is [3, V]."""
    events, streams = aligned.x.shape
    mask = state.due_ns.size - 1
    evidence = np.empty((events, streams))
    edge = np.empty((events, streams))
    scale = np.empty(events)
    slope_scale = np.empty(events)
    if state.clock[0] == MISSING_NS:
        state.clock[0] = ts_ns[0]
    origin = state.clock[0]
    span = EPOCHS * params.tau_s
    slope_span = EPOCHS * params.slope_tau_s
    for i in range(events):
        since = float(ts_ns[i] - origin) * 1e-9
        scale[i] = exp_neg(-(since - np.floor(since / span) * span) / params.tau_s)
        slope_scale[i] = exp_neg(-(since - np.floor(since / slope_span) * slope_span) / params.slope_tau_s)

    for i in range(events):
        t = ts_ns[i]
        now_s = float(t - origin) * 1e-9
        epoch = int(now_s / span)
        slope_epoch = int(now_s / slope_span)
        if epoch != state.clock[1] or slope_epoch != state.clock[2]:
            _rebase(
                exp_neg(-EPOCHS * (epoch - state.clock[1])), exp_neg(-EPOCHS * (slope_epoch - state.clock[2])), state
            )
            state.clock[1] = epoch
            state.clock[2] = slope_epoch
        while state.head[0] < state.head[1]:
            j = state.head[0] & mask
            due = state.due_ns[j]
            if due > t:
                break
            u = state.due_stream[j]
            _write_outcome(j, aligned.x[i, u] if due == t else state.x[u], params.horizon_ns, state)
            state.head[0] += 1

        turn = state.clock[3] % streams
        state.clock[3] += 1
        extra = memory_mean[i] if memory_trusted[i] == 1 else 0.0
        for v in range(streams):
            state.x[v] = aligned.x[i, v]
            d = deviation[i, v]
            live = phased.route[i, v] == 0 and d == d
            m = state.slope[v] * d + extra if live else 0.0
            k = bucket_of(m * m * state.inverse_energy[v]) if m != 0.0 else -1
            snr = 0.0
            mean = 0.0
            count = 0.0
            if k >= 0:
                snr = state.bucket_snr[v, k]
                mean = state.bucket_mean[v, k]
                count = min(state.buckets[v, k, N_EFF] * scale[i], params.count_cap)
            out.forecast[i, v] = m
            out.snr[i, v] = snr
            edge[i, v] = mean
            evidence[i, v] = snr * count
            if v == turn and live:
                slot = state.head[1] & mask
                state.due_ns[slot] = t + params.horizon_ns
                state.due_stream[slot] = v
                state.due_bucket[slot] = k
                state.due_x[slot] = aligned.x[i, v]
                state.due_deviation[slot] = d
                state.due_forecast[slot] = m
                state.due_half[slot] = aligned.half[i, v]
                state.due_weight[slot] = 1.0 / scale[i]
                state.due_slope_weight[slot] = 1.0 / slope_scale[i]
                state.head[1] += 1
                state.energy[v, 0] += m * m / slope_scale[i]
                state.energy[v, 1] += 1.0 / slope_scale[i]
                state.inverse_energy[v] = state.energy[v, 1] / state.energy[v, 0] if state.energy[v, 0] > 0.0 else 0.0

    octaves = 0.5 * params.kappa / np.log(2.0)
    for i in range(events):
        for v in range(streams):
            b = min(octaves * log_pos(1.0 + evidence[i, v]), 16.0)
            out.bits[i, v] = b
            # 2^(b/8) as 4 exp(-(16 - b) ln 2 / 8), which keeps the argument negative.
            volts = 4.0 * params.v0 * exp_neg((b - 16.0) * (np.log(2.0) / 8.0))
            out.voltage[i, v] = min(volts, params.v_max)

    for i in range(events):
        rise = params.slew_per_s * aligned.dt_s[i]
        for v in range(streams):
            volts = min(out.voltage[i, v], state.voltage[v] + rise)
            state.voltage[v] = volts
            out.voltage[i, v] = volts
            upper = 2 if volts >= params.high else (1 if volts >= params.medium else 0)
            sure = volts - params.margin
            lower = 0
            if params.may_rise:
                lower = 2 if sure >= params.high else (1 if sure >= params.medium else 0)
            lane = min(max(state.lane[v], lower), upper)
            state.lane[v] = lane
            out.lane[i, v] = lane
            out.pays_fees[i, v] = 1 if lane > 0 and edge[i, v] - expected_lag[i] - style_fee_bp[lane, v] > 0.0 else 0
