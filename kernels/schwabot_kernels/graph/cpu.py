"""The whole module graph over a batch, block by block so that intermediate columns stay in cache. N events, V streams.

Every stage is the same compiled function that its own op calls, each strict IEEE and sequential over events, so the
block size, the batch size and N = 1 all give the same bits.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.align.cpu import Aligned, AlignState, Events, StreamTable, align
from schwabot_kernels.arbitrage.cpu import ArbitrageState, arbitrage
from schwabot_kernels.arrays import F64, I8, I64
from schwabot_kernels.consensus.cpu import ConsensusParams, ConsensusState, consensus
from schwabot_kernels.kalman.cpu import KalmanState, kalman
from schwabot_kernels.lag.cpu import LagParams, LagState, lag
from schwabot_kernels.lanes.cpu import Laned, LanesParams, LanesState, lanes
from schwabot_kernels.phase.cpu import Phased, PhaseParams, PhaseState, phase
from schwabot_kernels.registry.cpu import RegistryParams, RegistryState, Remembered, remember
from schwabot_kernels.scalar import NJIT

BLOCK = 128
WEIGHTED, KALMAN = 0, 1


class GraphParams(NamedTuple):
    """Settings of every stage.

    fungible: 1 where two streams deliver the same thing. [V, V]; fee_bp: taker fee. [V];
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
    fungible: I8
    fee_bp: F64
    min_edge_bp: float
    lanes: LanesParams
    style_fee_bp: F64


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


class GraphColumns(NamedTuple):
    """The graph's answer, see schwabot.records.audit.SignalColumns. [N] or [N, V]"""

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


def empty_columns(events: int, streams: int) -> GraphColumns:
    """Uninitialised columns for N events."""
    n, nv = (events,), (events, streams)
    shapes = {"ghost": n, "key": n, "entropy": n, "echo": n, "expected_lag": n, "penalty": n}
    small = {"route", "status", "lane", "pays_fees"}
    return GraphColumns(
        *(
            np.empty(shapes.get(name, nv), np.int64 if name == "key" else np.int8 if name in small else np.float64)
            for name in GraphColumns._fields
        )
    )


@njit(**NJIT)
def _room(rows: int, streams: int, state: GraphState) -> bool:
    """Whether every ring can take a block of rows."""
    return (
        state.consensus.due_ns.size - (state.consensus.head[1] - state.consensus.head[0]) >= rows
        and state.registry.due_ns.size - (state.registry.head[1] - state.registry.head[0]) >= rows
        and state.lanes.due_ns.size - (state.lanes.head[1] - state.lanes.head[0]) >= rows
        and state.lag.ts_ns.size - (state.lag.head[1] - state.lag.head[0]) >= rows * streams
        and state.arbitrage.pair.size - (state.arbitrage.head[1] - state.arbitrage.head[0]) >= rows * streams * streams
    )


@njit(**NJIT)
def graph_pass(
    events: Events, table: StreamTable, params: GraphParams, state: GraphState, out: GraphColumns, start: int
) -> int:
    """Fill rows of ``out`` from ``start`` on and move ``state`` on; returns the row it stopped at.

    That is N unless a ring is full: then the caller empties or grows the rings and calls again from there.
    """
    total = events.ts_ns.size
    streams = table.tick.size
    rows = min(BLOCK, total - start)
    shape = (rows, streams)
    scratch_i64 = np.empty(shape, np.int64)
    scratch = np.empty((7, rows, streams))
    scratch_i8 = np.empty(shape, np.int8)
    column = np.empty((2, rows))
    trusted = np.empty(rows, np.int8)
    i0 = start
    while i0 < total:
        i1 = min(i0 + BLOCK, total)
        n = i1 - i0
        if not _room(n, streams, state):
            return i0
        block = Events(
            events.ts_ns[i0:i1],
            events.stream[i0:i1],
            events.kind[i0:i1],
            events.bid_ticks[i0:i1],
            events.ask_ticks[i0:i1],
            events.bid_lots[i0:i1],
            events.ask_lots[i0:i1],
            events.price_ticks[i0:i1],
            events.latency_ns[i0:i1],
        )
        aligned = Aligned(
            scratch_i64[:n],
            out.mid[i0:i1],
            out.half[i0:i1],
            scratch[0, :n],
            scratch[1, :n],
            scratch[2, :n],
            scratch[3, :n],
            scratch_i8[:n],
            column[0, :n],
        )
        phased = Phased(
            out.phase[i0:i1], scratch[4, :n], out.drift[i0:i1], out.status[i0:i1], out.route[i0:i1]
        )
        ghost = out.ghost[i0:i1]
        deviation = out.deviation[i0:i1]
        align(block, table, params.latency_max_ns, state.align, aligned)
        phase(block.ts_ns, aligned, params.phase, state.phase, phased)
        if params.estimator == WEIGHTED:
            consensus(
                block.ts_ns, block.stream, block.kind, aligned, phased, params.consensus, state.consensus, ghost
            )
        else:
            kalman(block.stream, block.kind, aligned, phased, params.q_bp2_per_s, params.r_bp2, state.kalman, ghost)
        for i in range(n):
            for v in range(streams):
                deviation[i, v] = ghost[i] + phased.compensated[i, v] - aligned.x[i, v]
        memory = Remembered(out.key[i0:i1], out.entropy[i0:i1], column[1, :n], out.echo[i0:i1], trusted[:n])
        remember(block.ts_ns, aligned, phased, ghost, deviation, params.registry, state.registry, memory)
        expected = out.expected_lag[i0:i1]
        move = scratch[5].ravel()[:n]
        for i in range(n):
            move[i] = 0.5 * (memory.mean[i] + memory.echo[i])
        lag(
            block.ts_ns,
            block.stream,
            aligned,
            phased,
            ghost,
            deviation,
            memory.entropy,
            move,
            params.latencies_ns,
            params.lag,
            state.lag,
            expected,
            out.penalty[i0:i1],
        )
        arbitrage(
            block.ts_ns,
            aligned,
            phased,
            expected,
            params.fungible,
            params.fee_bp,
            params.min_edge_bp,
            state.arbitrage,
        )
        laned = Laned(
            out.forecast[i0:i1],
            out.snr[i0:i1],
            out.bits[i0:i1],
            out.voltage[i0:i1],
            out.lane[i0:i1],
            out.pays_fees[i0:i1],
        )
        lanes(
            block.ts_ns,
            aligned,
            phased,
            deviation,
            memory.mean,
            memory.trusted,
            expected,
            params.style_fee_bp,
            params.lanes,
            state.lanes,
            laned,
        )
        i0 = i1
    return total
