"""The whole graph on the device, stage after stage over a batch. N events, V streams, E own columns, H horizons.

Tensors of any device. The state is the CPU's, as tensors, at an event that is a multiple of ``edge``; so is the state
after the last event, but it is only to be gone on from, bit for bit, where that event is at an edge too.
"""

from __future__ import annotations

from typing import Any

import torch

from schwabot_kernels.align.gpu import align
from schwabot_kernels.arbitrage.gpu import Cycles, arbitrage
from schwabot_kernels.consensus.gpu import consensus
from schwabot_kernels.device_scan import BLOCK, EDGE
from schwabot_kernels.forecast.gpu import features, head
from schwabot_kernels.graph.cpu import WEIGHTED, GraphColumns, GraphState
from schwabot_kernels.kalman.gpu import kalman
from schwabot_kernels.lag.gpu import realised_lag
from schwabot_kernels.lag.gpu_expected import expected_lag
from schwabot_kernels.lanes.gpu import lanes
from schwabot_kernels.phase.gpu import phase
from schwabot_kernels.registry.gpu import remember


def graph(
    events: Any,
    own: torch.Tensor,
    table: Any,
    params: Any,
    state: Any,
    *,
    edge: int = EDGE,
    block: int = BLOCK,
) -> tuple[Any, Any]:
    """A batch of events through every stage.

    Args:
        events: ``Events``, at least one, in order of time; of streams 0 to V - 1. [N]
        own: columns of the user's own that the head reads. [V, E, N]
        table: ``StreamTable``. [V]
        params: ``GraphParams``; arrays are tensors, here as in the other tuples.
        state: ``GraphState`` before the first event; left as it is.
        edge: see ``device_scan``.
        block: see ``device_scan``.

    Returns:
        Columns, stream-major as the CPU's, and the state after the last event.

    Raises:
        ValueError: a setting that only the CPU can do.
    """
    sizes: Any = {"edge": edge, "block": block}
    ts_ns, stream = events.ts_ns, events.stream
    quoted = 1 - table.trades_only
    align_state: Any
    aligned, align_state = align(events, table, params.latency_max_ns, state.align, **sizes)
    drifted, phase_state = phase(ts_ns, aligned, params.phase, state.phase, **sizes)
    route, compensated = drifted.route, drifted.compensated
    consensus_state, kalman_state = state.consensus, state.kalman
    if params.estimator == WEIGHTED:
        (ghost, deviation), consensus_state = consensus(
            ts_ns, stream, events.kind, aligned, drifted.phase, compensated, route, quoted, params.consensus,
            state.consensus, **sizes,
        )  # fmt: skip
    else:
        ghost, kalman_state = kalman(
            stream, aligned, compensated, route, params.q_bp2_per_s, params.r_bp2, state.kalman, **sizes
        )
        deviation = ghost[:, None] + compensated - aligned.x

    forecasts, predicted, given = deviation[None][:0], torch.zeros_like(ghost), None
    forecast_state = state.forecast
    if params.head.coefficients.numel():
        found, forecast_state = features(
            events, quoted, aligned.last_ns, aligned.x, aligned.micro, aligned.dt_s, drifted.phase, route,
            own.permute(1, 2, 0).contiguous(), state.forecast, **sizes,
        )  # fmt: skip
        forecasts, predicted = head(found, route, params.head)
        given = forecasts[params.head.lanes_horizon]

    memory, registry_state = remember(
        ts_ns, aligned.x, aligned.micro, aligned.imbalance, aligned.half, aligned.dt_s, route, ghost, deviation,
        predicted, params.registry, state.registry, **sizes,
    )  # fmt: skip
    lag, price_range = expected_lag(
        stream, aligned.dt_s, ghost, deviation, memory.entropy, memory.mean, memory.echo, predicted, params.lag,
        state.lag.price_range, **sizes,
    )  # fmt: skip
    lag_state: Any = realised_lag(
        ts_ns, aligned.x, aligned.half, route, deviation, quoted, memory.entropy, memory.mean, memory.echo, predicted,
        lag.range_bp, params.latencies_ns, params.lag, state.lag, edge=edge,
    )  # fmt: skip
    traded = params.arbitrage
    cycles = None
    if traded.leg.shape[0]:
        log_ref_bp = 1e4 * align_state.log_ref
        cycles = Cycles(aligned.last_ns, table.rate, traded.leg, log_ref_bp, traded.rate_stale_ns)
    arbitrage_state = arbitrage(
        ts_ns, aligned.x, aligned.half, aligned.depth, aligned.imbalance, aligned.latency_weight, compensated, route,
        quoted, lag.move, traded.fungible, traded.fee_bp, traded.min_edge_bp, traded.latency_ns, params.latency_max_ns,
        state.arbitrage, cycles,
    )  # fmt: skip
    laned, lanes_state = lanes(
        ts_ns, aligned.x, aligned.half, aligned.dt_s, route, deviation, given, memory.mean, memory.trusted,
        aligned.latency_weight, lag.move, quoted, params.style_fee_bp, params.lanes, state.lanes, **sizes,
    )  # fmt: skip
    columns: Any = {
        "ghost": ghost,
        "mid": aligned.x.T,
        "half": aligned.half.T,
        "deviation": deviation.T,
        "phase": drifted.phase.T,
        "drift": drifted.drift.T,
        "route": route.T,
        "status": drifted.status.T,
        "forecast": laned.forecast.T,
        "key": memory.key,
        "entropy": memory.entropy,
        "echo": memory.echo,
        "expected_lag": lag.expected,
        "penalty": lag.penalty,
        "snr": laned.snr.T,
        "bits": laned.bits.T,
        "voltage": laned.voltage.T,
        "lane": laned.lane.T,
        "pays_fees": laned.pays_fees.T,
        "forecasts": forecasts.transpose(1, 2),
    }
    after: Any = {
        "align": align_state,
        "phase": phase_state,
        "consensus": consensus_state,
        "kalman": kalman_state,
        "registry": registry_state,
        "lag": lag_state._replace(price_range=price_range),
        "arbitrage": arbitrage_state,
        "lanes": lanes_state,
        "forecast": forecast_state,
    }
    return GraphColumns(**columns), GraphState(**after)
