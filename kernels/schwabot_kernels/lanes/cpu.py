"""From evidence to a discrete conviction level, for every stream at every event. V streams, n events of one block.

    forecast  m_v = a trained head's, else slope_v d_v, slope_v the decayed regression of moves on d;
              plus the registry's mean where trusted
    bucket    half octaves of |m| / sigma per stream; remembers E = sign(m) move - half spread over the horizon
    bits      b = clip(kappa / 2 log2(1 + n SNR), 0, 16),  SNR = max(0, mean E)² / var E,  n = min(n_eff, cap)
    voltage   V = V0 2^{b/8}; rises by at most slew dt, falls at once
    lane      clamp(lane before, lane(V - margin) if latency < max else LOW, lane(V))
    pays      mean E - max(0, sign(m) move) - fee of the lane's style > 0

A stream without quotes has no known spread and stays LOW.

One stream's outcome is remembered per event, in turn by absolute event number: outcomes overlap far more than the
effective count can use, and no stream is favoured by its own quotes. A bucket's mean and variance count one more
outcome of zero edge, as heavy as the newest, so that one lucky outcome is no evidence.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.align.cpu import BLOCK, Aligned
from schwabot_kernels.arrays import F64, I8, I32, I64, aligned_zeros
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.scalar import MISSING_NS, NJIT, exp_neg, float_bits, log_pos
from schwabot_kernels.simd import LANES, gather, lanes_from, load, padded, splat, store, unknown, where

BUCKETS = 16
CENTRE = 8
"""Bucket of ratios in [1, sqrt 2); each bucket is half an octave wide."""
EPOCHS = 30.0
N_EFF, COUNT, SUM, SQUARES = 0, 1, 2, 3
SLOPE_PRIOR_BP2 = 1.0
"""Pull of the slope to zero, in squared deviations; as heavy as the newest outcome, so it never decays away."""
FAR_NS = 2**63 - 1


class LanesParams(NamedTuple):
    """Settings; see schwabot.modules.settings.VoltageLanesConfig.

    A lane is left upward while the stream's latency weight, 1 - latency / latency_max, is above ``weight_min``.
    """

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
    weight_min: float


class LanesState(NamedTuple):
    """Regression and bucket memories, output voltages, outcomes still to come.

    clock: [first event's time, bucket epoch, slope epoch, events so far]. [4]
    products, squares: sums of d y and d² per stream. [W]; energy: [sum of m², weight] per stream. [W, 2]
    buckets: [n_eff, count, sum E, sum E²] per stream and bucket. [W, BUCKETS, 4]; last_ns: last outcome. [W, BUCKETS]
    slope, inverse_energy [W], bucket_mean, bucket_snr [W, BUCKETS]: ratios of the above; reading then divides nothing.
    voltage, lane: output before. [W]; x: the row before. [W]
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
    """Forecast in bp, SNR, bits, voltage in V, lane, pays_fees. [BLOCK, W].

    Scratch: edge, evidence [BLOCK, W]; age, slope_age (minus the time since the epoch began, in decay times), scale,
    inverse scales, epochs [BLOCK].
    """

    forecast: F64
    snr: F64
    bits: F64
    voltage: F64
    lane: I8
    pays_fees: I8
    edge: F64
    evidence: F64
    age: F64
    slope_age: F64
    scale: F64
    inverse_scale: F64
    inverse_slope_scale: F64
    epoch: F64
    slope_epoch: F64


def empty_state(streams: int, v0: float, capacity: int = 4096) -> LanesState:
    """State before the first event."""
    width = padded(streams)
    return LanesState(
        clock=np.array([MISSING_NS, 0, 0, 0], np.int64),
        products=np.zeros(width),
        squares=np.zeros(width),
        energy=np.zeros((width, 2)),
        buckets=np.zeros((width, BUCKETS, 4)),
        last_ns=np.full((width, BUCKETS), MISSING_NS, np.int64),
        slope=np.zeros(width),
        inverse_energy=np.zeros(width),
        bucket_mean=np.zeros((width, BUCKETS)),
        bucket_snr=np.zeros((width, BUCKETS)),
        voltage=np.full(width, v0),
        lane=np.zeros(width, np.int8),
        x=unknown(streams),
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


def scratch(streams: int) -> Laned:
    """An empty block."""
    shape = (BLOCK, padded(streams))
    return Laned(
        forecast=aligned_zeros(shape),
        snr=aligned_zeros(shape),
        bits=aligned_zeros(shape),
        voltage=aligned_zeros(shape),
        lane=aligned_zeros(shape, np.int8),
        pays_fees=aligned_zeros(shape, np.int8),
        edge=aligned_zeros(shape),
        evidence=aligned_zeros(shape),
        age=aligned_zeros((BLOCK,)),
        slope_age=aligned_zeros((BLOCK,)),
        scale=aligned_zeros((BLOCK,)),
        inverse_scale=aligned_zeros((BLOCK,)),
        inverse_slope_scale=aligned_zeros((BLOCK,)),
        epoch=aligned_zeros((BLOCK,)),
        slope_epoch=aligned_zeros((BLOCK,)),
    )


@njit(inline="always", **NJIT)
def bucket_of(ratio: Any) -> Any:
    """floor(2 log2(|m| / sigma)) + 8, clipped to [0, 15], from ratio = m² / sigma²: its exponent is the half octave."""
    return min(max((float_bits(ratio) >> 52) - 1023 + CENTRE, 0), BUCKETS - 1)


@njit(inline="always", **NJIT)
def _put(row: F64, v: int, value: float) -> None:
    """row[v] = value, by whole vectors: a vector read soon after a single number was written has to wait for it."""
    g = v & -LANES
    store(row, g, where(lanes_from(g) == v, value, load(row, g)))


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


@njit(**NJIT)
def _evidence(
    first: int,
    n: int,
    ts_ns: I64,
    aligned: Aligned,
    phased: Phased,
    deviation: F64,
    given: F64,
    memory_mean: F64,
    memory_trusted: I8,
    streams: int,
    params: LanesParams,
    state: LanesState,
    out: Laned,
) -> None:
    """Forecast, remembered edge and n SNR of every stream; outcomes that are due go into the memories first."""
    width = state.x.size
    scale, inverse_scale, inverse_slope_scale = out.scale, out.inverse_scale, out.inverse_slope_scale
    epochs, slope_epochs, age, slope_age = out.epoch, out.slope_epoch, out.age, out.slope_age
    origin = state.clock[0]
    span = EPOCHS * params.tau_s
    slope_span = EPOCHS * params.slope_tau_s
    for j in range(n):
        since = float(ts_ns[first + j] - origin) * 1e-9
        epochs[j] = np.floor(since / span)
        slope_epochs[j] = np.floor(since / slope_span)
        age[j] = (epochs[j] * span - since) / params.tau_s
        slope_age[j] = (slope_epochs[j] * slope_span - since) / params.slope_tau_s
    for j in range(0, n, LANES):
        kept = exp_neg(load(age, j))
        store(scale, j, kept)
        store(inverse_scale, j, 1.0 / kept)
        store(inverse_slope_scale, j, 1.0 / exp_neg(load(slope_age, j)))

    x, half, route = aligned.x, aligned.half, phased.route
    products, squares, slope, energy = state.products, state.squares, state.slope, state.energy
    inverse_energy, buckets, last_ns = state.inverse_energy, state.buckets, state.last_ns
    bucket_mean, bucket_snr = state.bucket_mean, state.bucket_snr
    head, due_ns, due_stream, due_bucket = state.head, state.due_ns, state.due_stream, state.due_bucket
    due_x, due_deviation, due_forecast = state.due_x, state.due_deviation, state.due_forecast
    due_half, due_weight, due_slope_weight = state.due_half, state.due_weight, state.due_slope_weight
    out_forecast, out_snr, out_edge, out_evidence = out.forecast, out.snr, out.edge, out.evidence
    horizon_ns, count_cap = params.horizon_ns, params.count_cap
    mask = due_ns.size - 1
    trained = given.size > 0
    read, write = head[0], head[1]
    next_due = due_ns[read & mask] if read < write else np.int64(FAR_NS)
    turn = state.clock[3] % streams
    epoch, slope_epoch = float(state.clock[1]), float(state.clock[2])
    for j in range(n):
        t = ts_ns[first + j]
        if epochs[j] != epoch or slope_epochs[j] != slope_epoch:
            head[0], head[1] = read, write
            _rebase(exp_neg(EPOCHS * (epoch - epochs[j])), exp_neg(EPOCHS * (slope_epoch - slope_epochs[j])), state)
            epoch, slope_epoch = epochs[j], slope_epochs[j]
        while next_due <= t:
            slot = read & mask
            v = due_stream[slot]
            d = due_deviation[slot]
            then = x[j, v] if next_due == t else (x[j - 1, v] if j > 0 else state.x[v])
            move = then - due_x[slot]
            weight = due_slope_weight[slot]
            products[v] += weight * d * move
            squares[v] += weight * d * d
            _put(slope, v, products[v] / (squares[v] + weight * SLOPE_PRIOR_BP2))
            k = due_bucket[slot]
            if k >= 0:
                edge = (move if due_forecast[slot] > 0.0 else -move) - due_half[slot]
                weight = due_weight[slot]
                last = last_ns[v, k]
                gap = next_due - last if last != MISSING_NS else horizon_ns
                share = min(float(gap) / float(horizon_ns), 1.0)
                last_ns[v, k] = next_due
                count = buckets[v, k, COUNT] + weight
                total = buckets[v, k, SUM] + weight * edge
                square = buckets[v, k, SQUARES] + weight * edge * edge
                buckets[v, k, N_EFF] += weight * share
                buckets[v, k, COUNT] = count
                buckets[v, k, SUM] = total
                buckets[v, k, SQUARES] = square
                mean = total / (count + weight)
                variance = max(square / (count + weight) - mean * mean, 1e-6)
                bucket_mean[v, k] = mean
                positive = max(mean, 0.0)
                bucket_snr[v, k] = positive * positive / variance
            read += 1
            next_due = due_ns[read & mask] if read < write else np.int64(FAR_NS)

        extra = memory_mean[j] if memory_trusted[j] == 1 else 0.0
        scale_j = scale[j]
        for g in range(0, width, LANES):
            row = j * width + g
            d = load(deviation, row)
            live = (load(route, row) == 0) & (d == d)
            m = load(slope, g) * d
            if trained:
                m = where(load(given, row) == load(given, row), load(given, row), m)
            m = where(live, m + extra, 0.0)
            known = m != 0.0
            place = lanes_from(g) * BUCKETS + bucket_of(m * m * load(inverse_energy, g))
            snr = where(known, gather(bucket_snr, place), 0.0)
            store(out_forecast, row, m)
            store(out_edge, row, where(known, gather(bucket_mean, place), 0.0))
            store(out_snr, row, snr)
            store(out_evidence, row, snr * min(gather(buckets, place << 2) * scale_j, count_cap))
        d = deviation[j, turn]
        if route[j, turn] == 0 and d == d:
            m = out_forecast[j, turn]
            slot = write & mask
            due_ns[slot] = t + horizon_ns
            due_stream[slot] = turn
            due_bucket[slot] = bucket_of(m * m * inverse_energy[turn]) if m != 0.0 else -1
            due_x[slot] = x[j, turn]
            due_deviation[slot] = d
            due_forecast[slot] = m
            due_half[slot] = half[j, turn]
            due_weight[slot] = inverse_scale[j]
            weight = inverse_slope_scale[j]
            due_slope_weight[slot] = weight
            if read == write:
                next_due = due_ns[slot]
            write += 1
            squared = energy[turn, 0] + weight * m * m
            count = energy[turn, 1] + weight
            energy[turn, 0] = squared
            energy[turn, 1] = count
            _put(inverse_energy, turn, count / squared if squared > 0.0 else 0.0)
        turn = turn + 1 if turn + 1 < streams else 0
    head[0], head[1] = read, write
    state.clock[1], state.clock[2] = np.int64(epoch), np.int64(slope_epoch)
    state.clock[3] += n
    for g in range(0, width, LANES):
        store(state.x, g, load(x, (n - 1) * width + g))


@njit(**NJIT)
def lanes(
    first: int,
    n: int,
    ts_ns: I64,
    aligned: Aligned,
    phased: Phased,
    deviation: F64,
    given: F64,
    memory_mean: F64,
    memory_trusted: I8,
    move: F64,
    quoted: I8,
    style_fee_bp: F64,
    streams: int,
    params: LanesParams,
    state: LanesState,
    out: Laned,
) -> None:
    """Fill ``out`` for events [first, first + n) and move ``state`` on. The ring must have n free places.

    given: a trained head's forecasts, bp, NaN where it has none [BLOCK, W]; of size 0 without a head.
    move: what the price does while an order is on its way, bp. [n]; quoted: 1 where the stream has a touch. [W]
    style_fee_bp: fee of each lane's style. [3, W]; streams: V
    """
    width = state.x.size
    if state.clock[0] == MISSING_NS:
        state.clock[0] = ts_ns[first]
    _evidence(
        first,
        n,
        ts_ns,
        aligned,
        phased,
        deviation,
        given,
        memory_mean,
        memory_trusted,
        streams,
        params,
        state,
        out,
    )
    dt_s = aligned.dt_s
    octaves = 0.5 * params.kappa / np.log(2.0)
    rate = np.log(2.0) / 8.0
    v_full, v_max, slew, enough = 4.0 * params.v0, params.v_max, params.slew_per_s, params.weight_min
    high, medium, margin = params.high, params.medium, params.margin
    for g in range(0, width, LANES):
        volts, level = load(state.voltage, g), load(state.lane, g)
        fee_medium, fee_high = load(style_fee_bp, width + g), load(style_fee_bp, 2 * width + g)
        has_touch = load(quoted, g) == 1
        for j in range(n):
            k = j * width + g
            bits = min(octaves * log_pos(1.0 + load(out.evidence, k)), 16.0)
            # 2^(b/8) as 4 exp(-(16 - b) ln 2 / 8), which keeps the argument negative.
            aim = min(v_full * exp_neg((bits - 16.0) * rate), v_max)
            volts = min(aim, volts + slew * dt_s[j])
            # Without quotes the half spread is unknown, and so is what is left after it.
            upper = where(has_touch, _lane_of(volts, medium, high), 0)
            lower = where(load(aligned.latency_weight, k) > enough, _lane_of(volts - margin, medium, high), 0)
            level = min(max(level, lower), upper)
            missed = max(where(load(out.forecast, k) > 0.0, splat(move[j]), -move[j]), 0.0)
            net = load(out.edge, k) - missed - where(level == 2, fee_high, fee_medium)
            store(out.bits, k, bits)
            store(out.voltage, k, volts)
            store(out.lane, k, level)
            store(out.pays_fees, k, (net > 0.0) & (level > 0))
        store(state.voltage, g, volts)
        store(state.lane, g, level)


@njit(inline="always", **NJIT)
def _lane_of(volts: Any, medium: float, high: float) -> Any:
    """2 from ``high`` on, 1 from ``medium`` on, else 0."""
    return where(volts >= high, splat(2), where(volts >= medium, splat(1), 0))
