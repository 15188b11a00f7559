"""Outcome tables and echo memory of the state hash. V streams, D = 5 V features, T tables, b bits, n events a block.

    H = sign(W z), key = its b bits packed, most significant first (see hash.py)
    table slot: decayed count n, sum and sum of squares of the outcome y, counts of flat and of up minus down
    echo: Psi_i = sum_{t_j + h <= t_i} e^{-(t_i - t_j)/tau} H_j y_j,   readout Psi' H / (b (1 + sum e^{...}))

Antipodal tying: an outcome y at key is also -y at ~key, so one slot serves both, with a sign: the key is kept as a
two's complement number ("code"), ~key is then -1 - code, and the slot is the one of the two that is not negative.
Decays: every weight is kept as e^{(t_j - t_ref)/tau} with t_ref on a fixed grid, so that reading costs one factor for
all slots; when the grid moves on, everything is scaled down once.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.align.cpu import BLOCK, Aligned
from schwabot_kernels.arrays import F32, F64, I8, I64, aligned_zeros
from schwabot_kernels.blocks import decays
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.registry import hash as hashing
from schwabot_kernels.registry.hash import FEATURES, Hashing, codes_of, random_signs
from schwabot_kernels.registry.slots import (
    COUNT,
    FLAT,
    FOUND,
    LAST_S,
    SLOT,
    SUM,
    UP_DOWN,
    pack_outcome,
    read_backed_off,
    read_direct,
    working_vectors,
    write_bounded,
    write_direct,
)
from schwabot_kernels.scalar import MISSING_NS, NJIT, exp_neg, log_pos
from schwabot_kernels.simd import LANES, lanes_from, load, padded, splat, store, total, unknown, where

EPOCHS = 30.0
"""Decay times between two rebasings: weights stay within e^30."""
SHRINK = 20.0
HALF_SPREAD = 3
FAR_NS = 2**63 - 1


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

    signs: of the hyperplanes. [G, L]; mean_x: decayed mean of each stream's log mid; x: the row before. [W]
    z_count: events of the warm-up at which a stream took part. [W]
    z_sum, z_squares: warm-up sums; z_shift, z_scale: frozen afterwards. [5, W]
    warm: [events learnt from, 1 once frozen]. [2]
    clock: [first event's time, table epoch, echo epoch]. [3]; ghost: last ghost. [1]
    table: [T, slots, SLOT]; table_key: [T, slots] for b > 16, else [T, 0]; prefix: 8-bit level, b > 8. [T, 128, SLOT]
    echo: Psi of the first table, then zeros. [b in whole vectors]; echo_weight: [1]
    skill: decayed sums [prediction * outcome, prediction²]. [2]
    head: [next due, next to write]. [2]; due_*: ring of outcomes still to come. [capacity];
    due_code: [capacity, T], int32 for b <= 16, else int64.
    """

    signs: F32
    mean_x: F64
    x: F64
    z_count: F64
    z_sum: F64
    z_squares: F64
    z_shift: F64
    z_scale: F64
    warm: I64
    clock: I64
    ghost: F64
    table: F64
    table_key: I64
    prefix: F64
    echo: F64
    echo_weight: F64
    skill: F64
    head: I64
    due_ns: I64
    due_ghost: F64
    due_prediction: F64
    due_weight: F64
    due_echo_weight: F64
    due_code: Any


class Remembered(NamedTuple):
    """What the memory says per event of a block. [BLOCK].

    Key of the first table (-1 in warm-up), outcome entropy in nats, mean remembered move in bp (shrunk by
    n / (n + 20)), echo readout in bp, and 1 where the memory's own causal skill is positive.

    Scratch: z [BLOCK, 5, W]; hashing: see hash.Hashing; code: T per event, and 16 more; age, echo_age (minus the time
    since the epoch began, in decay times), scales, their inverses and epochs [BLOCK]; stats [3, BLOCK]; vectors: see
    slots.working_vectors; live: 1 for each bit of the echo, then 0.
    """

    key: I64
    entropy: F64
    mean: F64
    echo: F64
    trusted: I8
    z: F64
    hashing: Hashing
    code: Any
    age: F64
    echo_age: F64
    scale: F64
    echo_scale: F64
    inverse_scale: F64
    inverse_echo_scale: F64
    epoch: F64
    echo_epoch: F64
    stats: F64
    vectors: F64
    live: F64


def code_type(bits: int) -> type:
    """Integer type of a code."""
    return np.int32 if bits <= 16 else np.int64


def empty_state(
    streams: int, bits: int, tables: int, seed: int, slots: int = 16384, capacity: int = 4096
) -> RegistryState:
    """State before the first event; ``slots`` bounds each table when bits > 16."""
    width = padded(streams)
    direct = 1 << (bits - 1) if bits <= 16 else slots
    return RegistryState(
        signs=random_signs(streams, bits, tables, seed),
        mean_x=unknown(streams),
        x=unknown(streams),
        z_count=np.zeros(width),
        z_sum=np.zeros((FEATURES, width)),
        z_squares=np.zeros((FEATURES, width)),
        z_shift=np.zeros((FEATURES, width)),
        z_scale=np.ones((FEATURES, width)),
        warm=np.zeros(2, np.int64),
        clock=np.array([MISSING_NS, 0, 0], np.int64),
        ghost=np.full(1, np.nan),
        table=aligned_zeros((tables, direct, SLOT)),
        table_key=np.full((tables, direct if bits > 16 else 0), -1, np.int64),
        prefix=aligned_zeros((tables, 128 if bits > 8 else 0, SLOT)),
        echo=aligned_zeros((padded(bits),)),
        echo_weight=np.zeros(1),
        skill=np.zeros(2),
        head=np.zeros(2, np.int64),
        due_ns=np.zeros(capacity, np.int64),
        due_ghost=np.zeros(capacity),
        due_prediction=np.zeros(capacity),
        due_weight=np.zeros(capacity),
        due_echo_weight=np.zeros(capacity),
        due_code=np.zeros((capacity, tables), code_type(bits)),
    )


def scratch(streams: int, bits: int, tables: int) -> Remembered:
    """An empty block."""
    return Remembered(
        key=aligned_zeros((BLOCK,), np.int64),
        entropy=aligned_zeros((BLOCK,)),
        mean=aligned_zeros((BLOCK,)),
        echo=aligned_zeros((BLOCK,)),
        trusted=aligned_zeros((BLOCK,), np.int8),
        z=aligned_zeros((BLOCK, FEATURES, padded(streams))),
        hashing=hashing.scratch(BLOCK, streams, bits, tables),
        code=aligned_zeros((BLOCK * tables + 16,), code_type(bits)),
        age=aligned_zeros((BLOCK,)),
        echo_age=aligned_zeros((BLOCK,)),
        scale=aligned_zeros((BLOCK,)),
        echo_scale=aligned_zeros((BLOCK,)),
        inverse_scale=aligned_zeros((BLOCK,)),
        inverse_echo_scale=aligned_zeros((BLOCK,)),
        epoch=aligned_zeros((BLOCK,)),
        echo_epoch=aligned_zeros((BLOCK,)),
        stats=aligned_zeros((3, BLOCK)),
        vectors=working_vectors(),
        live=(np.arange(padded(bits)) < bits).astype(np.float64),
    )


@njit(**NJIT)
def _rebase(factor: float, echo_factor: float, state: RegistryState) -> None:
    """Scale every stored weight down when the reference time moves on."""
    for table in (state.table, state.prefix):
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
def _features(
    n: int, aligned: Aligned, phased: Phased, deviation: F64, tau_s: float, state: RegistryState, keep: F64, z: F64
) -> None:
    """Fill z [BLOCK, 5, W]: deviation, microprice offset, imbalance, half spread, log mid less its decayed mean.

    A stream that is routed out gives zeros. ``keep`` [BLOCK] is scratch.
    """
    decays(n, aligned.dt_s, tau_s, keep)
    width = state.x.size
    for g in range(0, width, LANES):
        mean, before = load(state.mean_x, g), load(state.x, g)
        for j in range(n):
            k = j * width + g
            use = load(phased.route, k) == 0
            x = load(aligned.x, k)
            mean = keep[j] * mean + (1.0 - keep[j]) * before
            mean = where(mean == mean, mean, x)
            at = j * FEATURES * width + g
            store(z, at, where(use, load(deviation, k), 0.0))
            store(z, at + width, where(use, load(aligned.micro, k), 0.0))
            store(z, at + 2 * width, where(use, load(aligned.imbalance, k), 0.0))
            store(z, at + 3 * width, where(use, load(aligned.half, k), 0.0))
            store(z, at + 4 * width, where(use, x - mean, 0.0))
            before = x
        store(state.mean_x, g, mean)
        store(state.x, g, before)


@njit(**NJIT)
def _standardise(n: int, streams: int, phased: Phased, state: RegistryState, z: F64, scaled: F32) -> None:
    """(z - shift) scale of every stream that takes part, else 0, feature after feature without gaps: [BLOCK, L]."""
    width, length = state.x.size, scaled.shape[1]
    for j in range(n):
        for f in range(FEATURES):
            # Lanes beyond V are zeros, and lie where the next feature comes or where zeros belong.
            for g in range(0, width, LANES):
                k = f * width + g
                value = (load(z, j * FEATURES * width + k) - load(state.z_shift, k)) * load(state.z_scale, k)
                use = load(phased.route, j * width + g) == 0
                store(scaled, j * length + f * streams + g, where(use, value, 0.0))


@njit(**NJIT)
def _learn_scale(n: int, z: F64, route: I8, ghost: F64, warmup_events: int, state: RegistryState) -> int:
    """Take events into the warm-up sums until it is full; returns the first event after it."""
    width = state.x.size
    for j in range(n):
        if state.warm[1] == 1:
            return j
        if ghost[j] != ghost[j]:
            continue
        for v in range(width):
            state.z_count[v] += 1.0 if route[j, v] == 0 else 0.0
            for f in range(FEATURES):
                state.z_sum[f, v] += z[j, f, v]
                state.z_squares[f, v] += z[j, f, v] * z[j, f, v]
        state.warm[0] += 1
        if state.warm[0] == warmup_events:
            _freeze_scale(warmup_events, state)
            return j + 1
    return n


@njit(**NJIT)
def _freeze_scale(warmup_events: int, state: RegistryState) -> None:
    """Scale of z over the events at which each stream took part.

    A stream that took part in less than one in a hundred borrows the scale of all streams together.
    """
    together = np.sum(state.z_count)
    for f in range(FEATURES):
        all_sum = np.sum(state.z_sum[f])
        all_squares = np.sum(state.z_squares[f])
        for v in range(state.z_count.size):
            rare = 100.0 * state.z_count[v] < warmup_events
            taken = together if rare else state.z_count[v]
            mean = (all_sum if rare else state.z_sum[f, v]) / taken
            square = (all_squares if rare else state.z_squares[f, v]) / taken
            # Spreads don't change sign with the price; every other feature does and keeps its zero.
            if f == HALF_SPREAD:
                state.z_shift[f, v] = mean
                square = max(square - mean * mean, 0.0)
            # A feature that stood still is left out; what rounding leaves of its variance is not a scale.
            still = square <= max(1e-18, 1e-9 * mean * mean)
            state.z_scale[f, v] = 0.0 if still else 1.0 / np.sqrt(square)
    state.warm[1] = 1


@njit(inline="always", **NJIT)
def _signs(code: int, shift: int) -> Any:
    """+1 where a bit of the code is set, else -1: lane k looks at bit shift + 3 - k. Bits below 0 are not set."""
    bit = splat(code << 3) >> (shift + 6 - lanes_from(0))
    return where(bit & 1 == 1, splat(1.0), -1.0)


@njit(**NJIT)
def _walk(
    first: int,
    n: int,
    start: int,
    ts_ns: I64,
    ghost: F64,
    predicted: F64,
    params: RegistryParams,
    state: RegistryState,
    out: Remembered,
) -> None:
    """Write what became due, then read, event after event, and move ``state`` on.

    The loops over tables hold no call, no rare case and no branch on a sign, so that they stay in registers and are
    never guessed wrong.
    """
    bits, origin, tables, slots, prefix_slots = (
        params.bits,
        state.clock[0],
        state.table.shape[0],
        state.table.shape[1],
        state.prefix.shape[1],
    )
    direct, wide = bits <= 16, bits > 8
    scale, echo_scale, epochs, echo_epochs = out.scale, out.echo_scale, out.epoch, out.echo_epoch
    inverse_scale, inverse_echo_scale = out.inverse_scale, out.inverse_echo_scale
    code, work, live = out.code, out.vectors, out.live
    table, prefix, table_key = state.table.reshape(-1), state.prefix.reshape(-1), state.table_key
    head, due_ns, due_ghost, due_prediction = state.head, state.due_ns, state.due_ghost, state.due_prediction
    due_weight, due_echo_weight, due_code = state.due_weight, state.due_echo_weight, state.due_code.reshape(-1)
    echo, echo_weight, skill = state.echo, state.echo_weight, state.skill
    out_key, out_mean, out_echo, out_trusted = out.key, out.mean, out.echo, out.trusted
    counts, flats, up_downs = out.stats[0], out.stats[1], out.stats[2]
    mask = due_ns.size - 1
    low_bits = (np.int64(1) << bits) - 1
    read, write = head[0], head[1]
    next_due = due_ns[read & mask] if read < write else np.int64(FAR_NS)
    epoch, echo_epoch = float(state.clock[1]), float(state.clock[2])
    for j in range(n):
        t = ts_ns[first + j]
        g = ghost[j]
        if epochs[j] != epoch or echo_epochs[j] != echo_epoch:
            head[0], head[1] = read, write
            _rebase(exp_neg(EPOCHS * (epoch - epochs[j])), exp_neg(EPOCHS * (echo_epoch - echo_epochs[j])), state)
            epoch, echo_epoch = epochs[j], echo_epochs[j]
        while next_due <= t:
            slot = read & mask
            later = g if next_due == t else (ghost[j - 1] if j > 0 else state.ghost[0])
            if later == later:
                y = later - due_ghost[slot]
                weight = due_weight[slot]
                steps = np.rint(y / params.step_bp)
                flat = weight if abs(steps) <= params.dead_band_steps else 0.0
                direction = 0.0 if flat > 0.0 else (weight if steps > 0.0 else -weight)
                second = pack_outcome(weight, flat, y, direction, float(t - origin) * 1e-9, work)
                if direct:
                    write_direct(table, slots, due_code, slot * tables, tables, 0, second, work)
                else:
                    write_bounded(table_key, state.table, due_code, slot * tables, second, work)
                if wide:
                    write_direct(prefix, prefix_slots, due_code, slot * tables, tables, bits - 8, second, work)
                c = np.int64(due_code[slot * tables])
                weighted = due_echo_weight[slot] * y
                for k in range(0, bits, LANES):
                    store(echo, k, load(echo, k) + _signs(c, bits - LANES - k) * weighted * load(live, k))
                echo_weight[0] += due_echo_weight[slot]
                prediction = due_prediction[slot]
                skill[0] += weight * prediction * y
                skill[1] += weight * prediction * prediction
            read += 1
            next_due = due_ns[read & mask] if read < write else np.int64(FAR_NS)
        out_trusted[j] = 1 if 2.0 * skill[0] > skill[1] else 0
        counts[j] = 0.0
        flats[j] = 0.0
        up_downs[j] = 0.0
        if j < start or g != g:
            out_key[j] = -1
            out_mean[j] = 0.0
            out_echo[j] = 0.0
            continue

        new = write & mask
        for k in range(tables):
            due_code[new * tables + k] = code[j * tables + k]
        enough = params.min_count * inverse_scale[j]
        if not direct or not read_direct(table, slots, due_code, new * tables, tables, enough, work):
            read_backed_off(table_key, state.table, state.prefix, due_code, new * tables, bits, enough, work)
        average = scale[j] / tables
        count = work[FOUND + COUNT] * average
        mean = work[FOUND + SUM] * average / (count + SHRINK)
        counts[j] = count
        flats[j] = work[FOUND + FLAT] * average
        up_downs[j] = work[FOUND + UP_DOWN] * average

        c = np.int64(due_code[new * tables])
        sounded = splat(0.0)
        for k in range(0, bits, LANES):
            sounded = sounded + load(echo, k) * _signs(c, bits - LANES - k)
        out_echo[j] = total(sounded) * echo_scale[j] / (bits * (1.0 + echo_weight[0] * echo_scale[j]))
        out_key[j] = c & low_bits
        out_mean[j] = mean

        due_ns[new] = t + params.horizon_ns
        due_ghost[new] = g + predicted[j]
        due_prediction[new] = mean
        due_weight[new] = inverse_scale[j]
        due_echo_weight[new] = inverse_echo_scale[j]
        if read == write:
            next_due = due_ns[new]
        write += 1
    head[0], head[1] = read, write
    state.clock[1], state.clock[2] = np.int64(epoch), np.int64(echo_epoch)
    state.ghost[0] = ghost[n - 1]


@njit(**NJIT)
def remember(
    first: int,
    n: int,
    ts_ns: I64,
    aligned: Aligned,
    phased: Phased,
    ghost: F64,
    deviation: F64,
    predicted: F64,
    streams: int,
    params: RegistryParams,
    state: RegistryState,
    out: Remembered,
) -> None:
    """Fill ``out`` for events [first, first + n) and move ``state`` on. The ring must have n free places.

    predicted: the move that is expected anyway, bp: what is remembered is what the price did beyond it. [BLOCK]
    """
    bits = params.bits
    tables = state.table.shape[0]
    scale, echo_scale = out.scale, out.echo_scale
    if state.clock[0] == MISSING_NS:
        state.clock[0] = ts_ns[first]
    origin = state.clock[0]
    span = EPOCHS * params.tau_s
    echo_span = EPOCHS * params.echo_tau_s

    _features(n, aligned, phased, deviation, params.momentum_tau_s, state, scale, out.z)
    start = 0 if state.warm[1] == 1 else _learn_scale(n, out.z, phased.route, ghost, params.warmup_events, state)
    _standardise(n, streams, phased, state, out.z, out.hashing.scaled)
    codes_of(n, bits, tables, state.signs, out.hashing, out.code)

    inverse_scale, inverse_echo_scale = out.inverse_scale, out.inverse_echo_scale
    epochs, echo_epochs, age, echo_age = out.epoch, out.echo_epoch, out.age, out.echo_age
    for j in range(n):
        since = float(ts_ns[first + j] - origin) * 1e-9
        epochs[j] = np.floor(since / span)
        echo_epochs[j] = np.floor(since / echo_span)
        age[j] = (epochs[j] * span - since) / params.tau_s
        echo_age[j] = (echo_epochs[j] * echo_span - since) / params.echo_tau_s
    for j in range(0, n, LANES):
        kept, echo_kept = exp_neg(load(age, j)), exp_neg(load(echo_age, j))
        store(scale, j, kept)
        store(echo_scale, j, echo_kept)
        store(inverse_scale, j, 1.0 / kept)
        store(inverse_echo_scale, j, 1.0 / echo_kept)

    _walk(first, n, start, ts_ns, ghost, predicted, params, state, out)
    for j in range(0, n, LANES):
        count, flats, up_downs = load(out.stats, j), load(out.stats, BLOCK + j), load(out.stats, 2 * BLOCK + j)
        share = 1.0 / (count + 3.0)
        moved = max(count - flats, 0.0)
        flat = (flats + 1.0) * share
        up = (max(0.5 * (moved + up_downs), 0.0) + 1.0) * share
        down = (max(0.5 * (moved - up_downs), 0.0) + 1.0) * share
        store(out.entropy, j, -(flat * log_pos(flat) + up * log_pos(up) + down * log_pos(down)))
