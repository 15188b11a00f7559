"""The whole module graph over a batch, block by block so that intermediate columns stay in cache.

N events, V streams, E columns of the user's own that the head reads.

Every stage is strict IEEE arithmetic in event order, so block size, batch size and N = 1 all give the same bits.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.align import cpu as align_op
from schwabot_kernels.align.cpu import BLOCK, Aligned, AlignState, Events, StreamTable, align
from schwabot_kernels.arbitrage import cpu as arbitrage_op
from schwabot_kernels.arbitrage.cpu import ArbitrageParams, ArbitrageState, arbitrage
from schwabot_kernels.arrays import F64, I8, I64, aligned_zeros
from schwabot_kernels.blocks import store, store_all
from schwabot_kernels.consensus import cpu as consensus_op
from schwabot_kernels.consensus.cpu import ConsensusParams, ConsensusState, Weighed, consensus
from schwabot_kernels.forecast import cpu as forecast_op
from schwabot_kernels.forecast.cpu import ForecastState, Foreseen, HeadParams, features, head, own_features
from schwabot_kernels.kalman import cpu as kalman_op
from schwabot_kernels.kalman.cpu import KalmanState, kalman
from schwabot_kernels.lag import cpu as lag_op
from schwabot_kernels.lag.cpu import Desynced, LagParams, LagState, expected_lag, realised_lag
from schwabot_kernels.lanes import cpu as lanes_op
from schwabot_kernels.lanes.cpu import Laned, LanesParams, LanesState, lanes
from schwabot_kernels.phase import cpu as phase_op
from schwabot_kernels.phase.cpu import Phased, PhaseParams, PhaseState, phase
from schwabot_kernels.registry import cpu as registry_op
from schwabot_kernels.registry.cpu import RegistryParams, RegistryState, Remembered, remember
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.simd import LANES, padded
from schwabot_kernels.simd import load as load_lanes
from schwabot_kernels.simd import store as store_lanes

WEIGHTED, KALMAN = 0, 1


class GraphParams(NamedTuple):
    """Settings of every stage.

    style_fee_bp: fee of each lane's style. [3, V]; latencies_ns: of the realised lag curve. [L]; r_bp2: [V]
    """

    latency_max_ns: float
    phase: PhaseParams
    estimator: int
    consensus: ConsensusParams
    q_bp2_per_s: float
    r_bp2: F64
    registry: RegistryParams
    lag: LagParams
    latencies_ns: I64
    arbitrage: ArbitrageParams
    lanes: LanesParams
    style_fee_bp: F64
    head: HeadParams


class GraphState(NamedTuple):
    """State of every stage."""

    align: AlignState
    phase: PhaseState
    consensus: ConsensusState
    kalman: KalmanState
    registry: RegistryState
    lag: LagState
    arbitrage: ArbitrageState
    lanes: LanesState
    forecast: ForecastState


class Workspace(NamedTuple):
    """Scratch of one block; holds nothing between calls.

    deviation [BLOCK, W]; quoted, fee_bp [W] and style_fee_bp [3, W], as in the settings; the rest [BLOCK].
    """

    aligned: Aligned
    phased: Phased
    weighed: Weighed
    foreseen: Foreseen
    remembered: Remembered
    laned: Laned
    desynced: Desynced
    deviation: F64
    quoted: I8
    fee_bp: F64
    style_fee_bp: F64
    ghost: F64
    width: F64
    move: F64
    expected: F64
    penalty: F64
    bounds: F64


class GraphColumns(NamedTuple):
    """The graph's answer, see schwabot.records.audit.SignalColumns.

    [N], or stream-major [V, N]; forecasts [H, V, N].
    """

    ghost: F64
    mid: F64
    half: F64
    deviation: F64
    phase: F64
    drift: F64
    route: I8
    status: I8
    forecast: F64
    key: I64
    entropy: F64
    echo: F64
    expected_lag: F64
    penalty: F64
    snr: F64
    bits: F64
    voltage: F64
    lane: I8
    pays_fees: I8
    forecasts: F64


def workspace(streams: int, bits: int, tables: int, horizons: int, own: int = 0) -> Workspace:
    """Empty scratch; ``own`` is E."""
    return Workspace(
        aligned=align_op.scratch(streams),
        phased=phase_op.scratch(streams),
        weighed=consensus_op.scratch(streams),
        foreseen=forecast_op.scratch(streams, horizons, own),
        remembered=registry_op.scratch(streams, bits, tables),
        laned=lanes_op.scratch(streams),
        desynced=lag_op.scratch(streams),
        deviation=aligned_zeros((BLOCK, padded(streams))),
        quoted=aligned_zeros((padded(streams),), np.int8),
        fee_bp=aligned_zeros((padded(streams),)),
        style_fee_bp=aligned_zeros((3, padded(streams))),
        ghost=aligned_zeros((BLOCK,)),
        width=aligned_zeros((BLOCK,)),
        move=aligned_zeros((BLOCK,)),
        expected=aligned_zeros((BLOCK,)),
        penalty=aligned_zeros((BLOCK,)),
        bounds=aligned_zeros((BLOCK,)),
    )


def empty_state(
    streams: int,
    bits: int,
    tables: int,
    seed: int,
    slots: int,
    latencies: int,
    v0: float,
    capacity: int = 4096,
    cycles: int = 0,
) -> GraphState:
    """State before the first event; ``capacity`` is the first size of every ring, a power of two."""
    return GraphState(
        align=align_op.empty_state(streams),
        phase=phase_op.empty_state(streams),
        consensus=consensus_op.empty_state(streams, capacity),
        kalman=kalman_op.empty_state(streams),
        registry=registry_op.empty_state(streams, bits, tables, seed, slots, capacity),
        lag=lag_op.empty_state(streams, latencies, capacity),
        arbitrage=arbitrage_op.empty_state(streams, capacity, cycles),
        lanes=lanes_op.empty_state(streams, v0, capacity),
        forecast=forecast_op.empty_state(streams),
    )


def column_shapes(events: int, streams: int, horizons: int) -> list[tuple[type, tuple[int, ...]]]:
    """Type and shape of every column, in order."""
    plain = {"ghost", "key", "entropy", "echo", "expected_lag", "penalty"}
    small = {"route", "status", "lane", "pays_fees"}
    return [
        (
            np.int64 if name == "key" else np.int8 if name in small else np.float64,
            (events,) if name in plain else (horizons, streams, events) if name == "forecasts" else (streams, events),
        )
        for name in GraphColumns._fields
    ]


def empty_columns(events: int, streams: int, horizons: int) -> GraphColumns:
    """Uninitialised columns for N events."""
    columns: Any = (np.empty(shape, kind) for kind, shape in column_shapes(events, streams, horizons))
    return GraphColumns(*columns)


@njit(**NJIT)
def _room(rows: int, streams: int, state: GraphState) -> bool:
    """Whether every ring can take a block of rows."""
    return (
        state.consensus.due_ns.size - (state.consensus.head[1] - state.consensus.head[0]) >= rows
        and state.registry.due_ns.size - (state.registry.head[1] - state.registry.head[0]) >= rows
        and state.lanes.due_ns.size - (state.lanes.head[1] - state.lanes.head[0]) >= rows
        and state.lag.ts_ns.size - (state.lag.head[1] - state.lag.head[0]) >= rows * streams
        and state.arbitrage.closed_ns.shape[0]
        - max(state.arbitrage.head[1] - state.arbitrage.head[0], state.arbitrage.head[2])
        >= rows * state.arbitrage.open_ns.shape[1]
    )


@njit(**NJIT)
def _copy_out(first: int, n: int, work: Workspace, out: GraphColumns) -> None:
    """The block's columns to their place in the batch."""
    memory, aligned, phased, laned = work.remembered, work.aligned, work.phased, work.laned
    store(work.ghost, first, n, out.ghost)
    store(memory.key, first, n, out.key)
    store(memory.entropy, first, n, out.entropy)
    store(memory.echo, first, n, out.echo)
    store(work.expected, first, n, out.expected_lag)
    store(work.penalty, first, n, out.penalty)
    store_all(aligned.x, first, n, out.mid)
    store_all(aligned.half, first, n, out.half)
    store_all(work.deviation, first, n, out.deviation)
    store_all(phased.phase, first, n, out.phase)
    store_all(phased.drift, first, n, out.drift)
    store_all(phased.route, first, n, out.route)
    store_all(phased.status, first, n, out.status)
    store_all(laned.forecast, first, n, out.forecast)
    store_all(laned.snr, first, n, out.snr)
    store_all(laned.bits, first, n, out.bits)
    store_all(laned.voltage, first, n, out.voltage)
    store_all(laned.lane, first, n, out.lane)
    store_all(laned.pays_fees, first, n, out.pays_fees)
    for h in range(out.forecasts.shape[0]):
        store_all(work.foreseen.forecasts[h], first, n, out.forecasts[h])


@njit(**NJIT)
def deviations(n: int, ghost: F64, aligned: Aligned, phased: Phased, deviation: F64) -> None:
    """d = ghost + compensated phase - log mid, bp, [BLOCK, W]."""
    width = deviation.shape[1]
    for j in range(n):
        for k in range(j * width, (j + 1) * width, LANES):
            store_lanes(deviation, k, ghost[j] + load_lanes(phased.compensated, k) - load_lanes(aligned.x, k))


@njit(**NJIT)
def graph_block(
    first: int,
    n: int,
    events: Events,
    own: F64,
    table: StreamTable,
    params: GraphParams,
    state: GraphState,
    work: Workspace,
) -> None:
    """Events [first, first + n), n <= BLOCK, through every stage; the answers stay in ``work``. ``own``: [V, E, N]."""
    aligned, phased, memory, ghost, deviation = work.aligned, work.phased, work.remembered, work.ghost, work.deviation
    ts_ns, streams = events.ts_ns, table.tick.size
    for v in range(streams):
        work.quoted[v] = np.int8(1) - table.trades_only[v]
        work.fee_bp[v] = params.arbitrage.fee_bp[v]
        for level in range(3):
            work.style_fee_bp[level, v] = params.style_fee_bp[level, v]
    align(first, n, events, table, params.latency_max_ns, state.align, aligned)
    phase(first, n, ts_ns, aligned, params.phase, state.phase, phased)
    if params.estimator == WEIGHTED:
        consensus(first, n, ts_ns, aligned, phased, params.consensus, state.consensus, work.weighed, ghost)
    else:
        kalman(n, aligned, phased, params.q_bp2_per_s, params.r_bp2, state.kalman, ghost)
    deviations(n, ghost, aligned, phased, deviation)
    foreseen = work.foreseen
    given = deviation[:0]
    if params.head.coefficients.size > 0:
        features(first, n, events, aligned, phased, work.quoted, state.forecast, foreseen)
        own_features(first, n, own, phased, foreseen)
        head(n, phased, params.head, foreseen)
        given = foreseen.forecasts[params.head.lanes_horizon]
    remember(
        first,
        n,
        ts_ns,
        aligned,
        phased,
        ghost,
        deviation,
        foreseen.predicted,
        streams,
        params.registry,
        state.registry,
        memory,
    )
    expected_lag(
        n,
        aligned,
        ghost,
        deviation,
        memory.entropy,
        memory.mean,
        memory.echo,
        foreseen.predicted,
        params.lag,
        state.lag,
        work.width,
        work.move,
        work.expected,
        work.penalty,
    )
    realised_lag(
        first,
        n,
        ts_ns,
        aligned,
        phased,
        deviation,
        work.quoted,
        memory.entropy,
        memory.mean,
        memory.echo,
        foreseen.predicted,
        work.width,
        params.latencies_ns,
        params.lag,
        state.lag,
        work.desynced,
    )
    arbitrage(
        first,
        n,
        ts_ns,
        aligned,
        phased,
        work.quoted,
        work.fee_bp,
        work.move,
        1e4 * state.align.log_ref[0],
        params.latency_max_ns,
        params.arbitrage,
        state.arbitrage,
        work.bounds,
    )
    lanes(
        first,
        n,
        ts_ns,
        aligned,
        phased,
        deviation,
        given,
        memory.mean,
        memory.trusted,
        work.move,
        work.quoted,
        work.style_fee_bp,
        streams,
        params.lanes,
        state.lanes,
        work.laned,
    )


@njit(**NJIT)
def graph_pass(
    start: int,
    events: Events,
    own: F64,
    table: StreamTable,
    params: GraphParams,
    state: GraphState,
    work: Workspace,
    out: GraphColumns,
) -> int:
    """Fill rows of ``out`` from ``start`` on and move ``state`` on; returns the row it stopped at.

    That is N unless a ring is full: then the caller empties or grows the rings and calls again from there.
    """
    total = events.ts_ns.size
    streams = table.tick.size
    first = start
    while first < total:
        n = min(BLOCK, total - first)
        if not _room(n, streams, state):
            return first
        graph_block(first, n, events, own, table, params, state, work)
        _copy_out(first, n, work, out)
        first += n
    return total
