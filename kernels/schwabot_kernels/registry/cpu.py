"""State hash, outcome tables and echo memory. N events, V streams, D = 5 V features, T tables, b bits.

    H = sign(W z), key = its b bits packed, most significant first
    table slot: decayed count n, sum and sum of squares of the outcome y, counts of flat and of up minus down
    echo: Psi_i = sum_{t_j + h <= t_i} e^{-(t_i - t_j)/tau} H_j y_j,   readout Psi' H / (b (1 + sum e^{...}))

Antipodal tying: an outcome y at key is also -y at ~key, so only keys whose first bit is 0 are stored, with a sign.
Decays: every weight is kept as e^{(t_j - t_ref)/tau} with t_ref on a fixed grid, so that reading costs one factor for
all slots; when the grid moves on, everything is scaled down once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.align.cpu import Aligned
from schwabot_kernels.arrays import F32, F64, I8, I64
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.scalar import MISSING_NS, NJIT, exp_neg, log_pos

FEATURES = 5
SLOT = 8
COUNT, SUM, SQUARES, FLAT, UP_DOWN, LAST_S = 0, 1, 2, 3, 4, 5
EPOCHS = 30.0
"""Decay times between two rebasings: weights stay within e^30."""
WAYS = 8
SHRINK = 20.0


class RegistryParams(NamedTuple):
    """Settings; see schwabot.modules.settings.HashRegistryConfig. tau_s = half_life_s / ln 2."""

    bits: int
    horizon_ns: int
    tau_s: float
    echo_tau_s: float
    momentum_tau_s: float
    warmup_events: int
    step_bp: float
    dead_band_steps: int
    min_count: float


class RegistryState(NamedTuple):
    """Scale of z, tables, echo memory, and outcomes still to come.

    planes: W, [D, b, T] float32. mean_x: decayed mean of each stream's log mid. [V]; x: the row before. [V]
    z_sum, z_squares: warm-up sums; z_shift, z_scale: frozen afterwards. [D]
    warm: [events learnt from, 1 once frozen]. [2]
    clock: [first event's time, table epoch, echo epoch]. [3]; ghost: last ghost. [1]
    table: [T, slots, SLOT]; table_key: [T, slots] for b > 16, else [0, 0]; prefix8, prefix4: [T, 128|0, SLOT], [T, 8|0, SLOT].
    echo: Psi of the first table. [b]; echo_weight: [1]
    skill: decayed sums [prediction * outcome, prediction²]. [2]
    head: [next due, next to write]. [2]; due_ns, due_ghost, due_prediction, due_weight, due_echo_weight: ring [capacity];
    due_keys: [capacity, T].
    """

    planes: F32
    mean_x: F64
    x: F64
    z_sum: F64
    z_squares: F64
    z_shift: F64
    z_scale: F64
    warm: I64
    clock: I64
    ghost: F64
    table: F64
    table_key: I64
    prefix8: F64
    prefix4: F64
    echo: F64
    echo_weight: F64
    skill: F64
    head: I64
    due_ns: I64
    due_ghost: F64
    due_prediction: F64
    due_weight: F64
    due_echo_weight: F64
    due_keys: I64


class Remembered(NamedTuple):
    """Per event [N]: key of the first table (-1 in warm-up), outcome entropy in nats, mean remembered move in bp
    (shrunk by n / (n + 20)), echo readout in bp, and 1 where the memory's own causal skill is positive."""

    key: I64
    entropy: F64
    mean: F64
    echo: F64
    trusted: I8


def empty_state(
    streams: int, bits: int, tables: int, seed: int, slots: int = 16384, capacity: int = 16384
) -> RegistryState:
    """State before the first event; ``slots`` bounds each table when bits > 16."""
    features = FEATURES * streams
    planes = np.random.default_rng(seed).standard_normal((features, bits, tables)).astype(np.float32)
    direct = 1 << (bits - 1) if bits <= 16 else slots
    return RegistryState(
        planes=planes,
        mean_x=np.full(streams, np.nan),
        x=np.full(streams, np.nan),
        z_sum=np.zeros(features),
        z_squares=np.zeros(features),
        z_shift=np.zeros(features),
        z_scale=np.ones(features),
        warm=np.zeros(2, np.int64),
        clock=np.array([MISSING_NS, 0, 0], np.int64),
        ghost=np.full(1, np.nan),
        table=np.zeros((tables, direct, SLOT)),
        table_key=np.full((tables, direct), -1, np.int64) if bits > 16 else np.full((0, 0), -1, np.int64),
        prefix8=np.zeros((tables, 128 if bits > 8 else 0, SLOT)),
        prefix4=np.zeros((tables, 8 if bits > 4 else 0, SLOT)),
        echo=np.zeros(bits),
        echo_weight=np.zeros(1),
        skill=np.zeros(2),
        head=np.zeros(2, np.int64),
        due_ns=np.zeros(capacity, np.int64),
        due_ghost=np.zeros(capacity),
        due_prediction=np.zeros(capacity),
        due_weight=np.zeros(capacity),
        due_echo_weight=np.zeros(capacity),
        due_keys=np.zeros((capacity, tables), np.int64),
    )


def empty_output(events: int) -> Remembered:
    """Uninitialised output for N events."""
    return Remembered(
        np.empty(events, np.int64), np.empty(events), np.empty(events), np.empty(events), np.empty(events, np.int8)
    )


@njit(inline="always", **NJIT)
def canonical(key: int, bits: int) -> int:
    """The key whose first bit is 0 of the antipodal pair key, ~key."""
    return key ^ (-(key >> (bits - 1)) & ((1 << bits) - 1))


@njit(**NJIT)
def _find(keys: I64, table: F64, key: int, insert: bool) -> int:
    """Slot of a key in an 8-way set-associative table; -1 if absent. Inserting evicts the smallest decayed count."""
    sets = keys.size // WAYS
    mixed = np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)
    base = int((mixed >> np.uint64(32)) % np.uint64(sets)) * WAYS
    weakest = base
    for slot in range(base, base + WAYS):
        if keys[slot] == key:
            return slot
        if table[slot, COUNT] < table[weakest, COUNT]:
            weakest = slot
    if not insert:
        return -1
    keys[weakest] = key
    for k in range(SLOT):
        table[weakest, k] = 0.0
    return weakest


@njit(inline="always", **NJIT)
def _add(
    table: F64, at: int, weight: float, y: float, square: float, flat: float, up_down: float, now_s: float
) -> None:
    """Add one outcome to the slot whose first number is table[at] (tables are passed flat: row views cost more)."""
    table[at + COUNT] += weight
    table[at + SUM] += y
    table[at + SQUARES] += square
    table[at + FLAT] += flat
    table[at + UP_DOWN] += up_down
    table[at + LAST_S] = now_s


@njit(**NJIT)
def _rebase(factor: float, echo_factor: float, state: RegistryState) -> None:
    """Scale every stored weight down when the reference time moves on."""
    for table in (state.table, state.prefix8, state.prefix4):
        for t in range(table.shape[0]):
            for slot in range(table.shape[1]):
                for k in range(LAST_S):
                    table[t, slot, k] *= factor
    for k in range(state.echo.size):
        state.echo[k] *= echo_factor
    state.echo_weight[0] *= echo_factor
    for k in range(2):
        state.skill[k] *= factor
    for j in range(state.head[0], state.head[1]):
        slot = j & (state.due_ns.size - 1)
        state.due_weight[slot] *= factor
        state.due_echo_weight[slot] *= echo_factor


@njit(**NJIT)
def _features(aligned: Aligned, phased: Phased, deviation: F64, params: RegistryParams, state: RegistryState, z: F64) -> None:
    """z [N, D]: deviation, microprice offset, imbalance, half spread, momentum of every routed stream, else 0."""
    events, streams = aligned.x.shape
    for i in range(events):
        a = exp_neg(-aligned.dt_s[i] / params.momentum_tau_s)
        for v in range(streams):
            x = aligned.x[i, v]
            mean = state.mean_x[v]
            mean = a * mean + (1.0 - a) * state.x[v] if mean == mean else x
            state.mean_x[v] = mean
            state.x[v] = x
            use = phased.route[i, v] == 0
            z[i, v] = deviation[i, v] if use else 0.0
            z[i, streams + v] = aligned.micro[i, v] if use else 0.0
            z[i, 2 * streams + v] = aligned.imbalance[i, v] if use else 0.0
            z[i, 3 * streams + v] = aligned.half[i, v] if use else 0.0
            z[i, 4 * streams + v] = x - mean if use else 0.0


@njit(**NJIT)
def _learn_scale(z: F64, ghost: F64, params: RegistryParams, state: RegistryState) -> int:
    """Take z rows into the warm-up sums until it is full; returns the first row after it."""
    for i in range(z.shape[0]):
        if state.warm[1] == 1:
            return i
        if ghost[i] != ghost[i]:
            continue
        for d in range(z.shape[1]):
            state.z_sum[d] += z[i, d]
            state.z_squares[d] += z[i, d] * z[i, d]
        state.warm[0] += 1
        if state.warm[0] == params.warmup_events:
            streams = z.shape[1] // FEATURES
            for d in range(z.shape[1]):
                mean = state.z_sum[d] / params.warmup_events
                square = state.z_squares[d] / params.warmup_events
                # Spreads don't change sign with the price; every other feature does and keeps its zero.
                if 3 * streams <= d < 4 * streams:
                    state.z_shift[d] = mean
                    square = max(square - mean * mean, 0.0)
                state.z_scale[d] = 1.0 / np.sqrt(square) if square > 1e-18 else 0.0
            state.warm[1] = 1
            return i + 1
    return z.shape[0]


@njit(**NJIT)
def _project(z: F64, first: int, state: RegistryState, keys: I64) -> None:
    """Pack the signs of W z into keys [N, T], most significant bit first."""
    features, bits, tables = state.planes.shape
    planes = state.planes.reshape(features, bits * tables)
    width = bits * tables
    acc = np.empty(width, np.float32)
    scaled = np.empty(features, np.float32)
    for i in range(first, z.shape[0]):
        for d in range(features):
            scaled[d] = np.float32((z[i, d] - state.z_shift[d]) * state.z_scale[d])
        for k in range(width):
            acc[k] = np.float32(0.0)
        d = 0
        while d + 5 <= features:
            z0, z1, z2, z3, z4 = scaled[d], scaled[d + 1], scaled[d + 2], scaled[d + 3], scaled[d + 4]
            for k in range(width):
                acc[k] = (
                    acc[k]
                    + z0 * planes[d, k]
                    + z1 * planes[d + 1, k]
                    + z2 * planes[d + 2, k]
                    + z3 * planes[d + 3, k]
                    + z4 * planes[d + 4, k]
                )
            d += 5
        for t in range(tables):
            keys[i, t] = 0
        for k in range(bits):
            for t in range(tables):
                keys[i, t] = keys[i, t] * 2 + (1 if acc[k * tables + t] > np.float32(0.0) else 0)


@njit(inline="always", **NJIT)
def _write_outcome(j: int, y: float, now_s: float, params: RegistryParams, state: RegistryState) -> None:
    """Add outcome y of ring entry j to every table, its prefixes, the echo memory and the skill sums."""
    bits = params.bits
    tables = state.table.shape[0]
    weight = state.due_weight[j]
    steps = np.rint(y / params.step_bp)
    flat = weight if abs(steps) <= params.dead_band_steps else 0.0
    direction = 0.0 if flat > 0.0 else (weight if steps > 0.0 else -weight)
    table, prefix8, prefix4 = state.table.ravel(), state.prefix8.ravel(), state.prefix4.ravel()
    slots = state.table.shape[1]
    square = weight * y * y
    for t in range(tables):
        key = state.due_keys[j, t]
        sign = 1.0 - 2.0 * (key >> (bits - 1))
        home = canonical(key, bits)
        signed_y = sign * weight * y
        signed_direction = sign * direction
        slot = home if bits <= 16 else _find(state.table_key[t], state.table[t], home, True)
        _add(table, (t * slots + slot) * SLOT, weight, signed_y, square, flat, signed_direction, now_s)
        if bits > 8:
            at = (t * 128 + (home >> (bits - 8))) * SLOT
            _add(prefix8, at, weight, signed_y, square, flat, signed_direction, now_s)
        if bits > 4:
            at = (t * 8 + (home >> (bits - 4))) * SLOT
            _add(prefix4, at, weight, signed_y, square, flat, signed_direction, now_s)
    echo_weight = state.due_echo_weight[j]
    key = state.due_keys[j, 0]
    for k in range(bits):
        state.echo[k] += echo_weight * y * (2.0 * ((key >> (bits - 1 - k)) & 1) - 1.0)
    state.echo_weight[0] += echo_weight
    state.skill[0] += weight * state.due_prediction[j] * y
    state.skill[1] += weight * state.due_prediction[j] * state.due_prediction[j]


@njit(**NJIT)
def remember(
    ts_ns: I64,
    aligned: Aligned,
    phased: Phased,
    ghost: F64,
    deviation: F64,
    params: RegistryParams,
    state: RegistryState,
    out: Remembered,
) -> None:
    """Fill ``out`` and move ``state`` on by N events. The ring must have N free places."""
    events = ts_ns.size
    bits = params.bits
    tables = state.table.shape[0]
    mask = state.due_ns.size - 1
    z = np.empty((events, aligned.x.shape[1] * FEATURES))
    keys = np.empty((events, tables), np.int64)
    scale = np.empty(events)
    echo_scale = np.empty(events)
    stats = np.empty((events, 3))
    if state.clock[0] == MISSING_NS:
        state.clock[0] = ts_ns[0]
    origin = state.clock[0]
    span = EPOCHS * params.tau_s
    echo_span = EPOCHS * params.echo_tau_s
    for i in range(events):
        since = float(ts_ns[i] - origin) * 1e-9
        scale[i] = exp_neg(-(since - np.floor(since / span) * span) / params.tau_s)
        echo_scale[i] = exp_neg(-(since - np.floor(since / echo_span) * echo_span) / params.echo_tau_s)

    _features(aligned, phased, deviation, params, state, z)
    first = _learn_scale(z, ghost, params, state)
    _project(z, first, state, keys)

    table, prefix8, prefix4 = state.table.ravel(), state.prefix8.ravel(), state.prefix4.ravel()
    slots = state.table.shape[1]
    for i in range(events):
        t = ts_ns[i]
        g = ghost[i]
        now_s = float(t - origin) * 1e-9
        epoch = int(now_s / span)
        echo_epoch = int(now_s / echo_span)
        if epoch != state.clock[1] or echo_epoch != state.clock[2]:
            _rebase(
                exp_neg(-EPOCHS * (epoch - state.clock[1])), exp_neg(-EPOCHS * (echo_epoch - state.clock[2])), state
            )
            state.clock[1] = epoch
            state.clock[2] = echo_epoch
        while state.head[0] < state.head[1]:
            j = state.head[0] & mask
            due = state.due_ns[j]
            if due > t:
                break
            later = g if due == t else state.ghost[0]
            if later == later:
                _write_outcome(j, later - state.due_ghost[j], now_s, params, state)
            state.head[0] += 1
        state.ghost[0] = g
        out.trusted[i] = 1 if 2.0 * state.skill[0] > state.skill[1] else 0
        if i < first or g != g:
            out.key[i] = -1
            out.mean[i] = 0.0
            out.echo[i] = 0.0
            stats[i, 0] = 0.0
            stats[i, 1] = 0.0
            stats[i, 2] = 0.0
            continue

        count = 0.0
        total = 0.0
        flat = 0.0
        up_down = 0.0
        enough = params.min_count / scale[i]
        for k in range(tables):
            key = keys[i, k]
            sign = 1.0 - 2.0 * (key >> (bits - 1))
            home = canonical(key, bits)
            slot = home if bits <= 16 else _find(state.table_key[k], state.table[k], home, False)
            at = (k * slots + max(slot, 0)) * SLOT
            if slot < 0 or table[at + COUNT] < enough:
                at8 = (k * 128 + (home >> (bits - 8))) * SLOT if bits > 8 else 0
                if bits > 8 and prefix8[at8 + COUNT] >= enough:
                    count += prefix8[at8 + COUNT]
                    flat += prefix8[at8 + FLAT]
                    total += sign * prefix8[at8 + SUM]
                    up_down += sign * prefix8[at8 + UP_DOWN]
                elif bits > 4:
                    at4 = (k * 8 + (home >> (bits - 4))) * SLOT
                    count += prefix4[at4 + COUNT]
                    flat += prefix4[at4 + FLAT]
                    total += sign * prefix4[at4 + SUM]
                    up_down += sign * prefix4[at4 + UP_DOWN]
                continue
            count += table[at + COUNT]
            flat += table[at + FLAT]
            total += sign * table[at + SUM]
            up_down += sign * table[at + UP_DOWN]
        average = scale[i] / tables
        count *= average
        mean = total * average / (count + SHRINK)
        stats[i, 0] = count
        stats[i, 1] = flat * average
        stats[i, 2] = up_down * average

        key = keys[i, 0]
        echo = 0.0
        for k in range(bits):
            echo += state.echo[k] * (2.0 * ((key >> (bits - 1 - k)) & 1) - 1.0)
        out.echo[i] = echo * echo_scale[i] / (bits * (1.0 + state.echo_weight[0] * echo_scale[i]))
        out.key[i] = key
        out.mean[i] = mean

        slot = state.head[1] & mask
        state.due_ns[slot] = t + params.horizon_ns
        state.due_ghost[slot] = g
        state.due_prediction[slot] = mean
        state.due_weight[slot] = 1.0 / scale[i]
        state.due_echo_weight[slot] = 1.0 / echo_scale[i]
        for k in range(tables):
            state.due_keys[slot, k] = keys[i, k]
        state.head[1] += 1

    for i in range(events):
        inverse = 1.0 / (stats[i, 0] + 3.0)
        moved = max(stats[i, 0] - stats[i, 1], 0.0)
        flat = (stats[i, 1] + 1.0) * inverse
        up = (max(0.5 * (moved + stats[i, 2]), 0.0) + 1.0) * inverse
        down = (max(0.5 * (moved - stats[i, 2]), 0.0) + 1.0) * inverse
        out.entropy[i] = -(flat * log_pos(flat) + up * log_pos(up) + down * log_pos(down))
