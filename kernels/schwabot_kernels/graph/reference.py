"""The whole module graph in plain torch, stage after stage over a whole batch. N events, V streams, L latencies.

Starts from the empty state and keeps none: it is what the compiled pass is held to, and the vectorised path that
benchmarks compare it with. Any device, any float type.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from schwabot_kernels.align.reference import align, reference_price
from schwabot_kernels.arbitrage.reference import Windows, edges, windows
from schwabot_kernels.consensus.reference import consensus
from schwabot_kernels.forecast.reference import Dealt, head
from schwabot_kernels.forecast.reference import features as coming
from schwabot_kernels.kalman.reference import kalman
from schwabot_kernels.lag.reference import (
    Decisions,
    decisions,
    expected_lag,
    expected_move,
    penalty,
    price_range,
)
from schwabot_kernels.lanes import reference as lanes
from schwabot_kernels.phase.reference import drift_and_routes, phases
from schwabot_kernels.registry.reference import features, hash_keys, learn_scale, remember, standardise

if TYPE_CHECKING:
    from schwabot_kernels.align.cpu import StreamTable
    from schwabot_kernels.graph.cpu import GraphParams

KALMAN = 1


class Columns(NamedTuple):
    """The graph's answer, see schwabot.records.audit.SignalColumns. Shape: [N] or [N, V]; forecasts [N, V, H]."""

    ghost: torch.Tensor
    mid: torch.Tensor
    half: torch.Tensor
    deviation: torch.Tensor
    phase: torch.Tensor
    drift: torch.Tensor
    route: torch.Tensor
    status: torch.Tensor
    forecast: torch.Tensor
    key: torch.Tensor
    entropy: torch.Tensor
    echo: torch.Tensor
    expected_lag: torch.Tensor
    penalty: torch.Tensor
    snr: torch.Tensor
    bits: torch.Tensor
    voltage: torch.Tensor
    lane: torch.Tensor
    pays_fees: torch.Tensor
    forecasts: torch.Tensor


class Answer(NamedTuple):
    """Columns, realised decisions and arbitrage windows of a batch; its end is taken as the end of the data."""

    columns: Columns
    decisions: Decisions
    windows: Windows


def graph(
    events: Dealt,
    table: StreamTable,
    params: GraphParams,
    planes: torch.Tensor,
    dtype: torch.dtype = torch.float64,
    own: torch.Tensor | None = None,
) -> Answer:
    """Every stage over the whole batch.

    Args:
        events: the batch, from the beginning of the data; N >= 1.
        table: what turns ticks and lots into prices and quantities. [V]
        params: settings of every stage.
        planes: W of the state hash. [D, b, T]
        dtype: of everything computed.
        own: columns of the user's own that the head reads, if any. [V, E, N]
    """
    ts_ns, stream, device = events.ts_ns, events.stream, events.ts_ns.device
    quoted = 1 - torch.as_tensor(table.trades_only, device=device)
    aligned = align(events, table, params.latency_max_ns, dtype)
    phase = phases(ts_ns, aligned, params.phase.tau_s, params.phase.stale_ns)
    compensated, drift, status, route = drift_and_routes(ts_ns, aligned, phase, params.phase)
    if params.estimator == KALMAN:
        noise = torch.as_tensor(params.r_bp2, dtype=dtype, device=device)
        ghost = kalman(stream, aligned, compensated, route, params.q_bp2_per_s, noise)
    else:
        ghost = consensus(
            ts_ns, stream, events.kind, aligned, phase, compensated, route, quoted, params.consensus
        ).ghost
    deviation = ghost[:, None] + compensated - aligned.x

    forecasts, predicted, given = deviation[..., None][..., :0], torch.zeros_like(ghost), None
    if params.head.coefficients.size:
        forecasts = head(coming(events, table, aligned, phase, route, own), route == 0, params.head)
        known = forecasts[..., params.head.memory_horizon]
        predicted = known.nanmean(1).nan_to_num(0.0)
        given = forecasts[..., params.head.lanes_horizon]

    z, use = features(aligned, deviation, route, params.registry.momentum_tau_s)
    scale = learn_scale(z, use, ghost, params.registry.warmup_events)
    keys = hash_keys(standardise(z, use, scale), planes.to(device))
    warm = torch.arange(keys.shape[0], device=device) >= scale.first
    keys = torch.where((warm & ~ghost.isnan())[:, None], keys, -1)
    memory = remember(ts_ns, ghost, keys, predicted, params.registry)

    move = expected_move(ghost, memory.mean, memory.echo, predicted, params.lag.latency_share)
    lag = expected_lag(stream, deviation, move)
    width = price_range(aligned.dt_s, ghost, params.lag.tau_range_s, params.lag.min_range_bp)
    latencies_ns = torch.as_tensor(params.latencies_ns, device=device)
    traded = params.arbitrage
    rate, leg = torch.as_tensor(table.rate, device=device), torch.as_tensor(traded.leg, device=device)
    fee_bp = torch.as_tensor(traded.fee_bp, dtype=dtype, device=device)
    reference_bp = 1e4 * torch.log(reference_price(events, table, dtype))[None]
    edge = edges(
        ts_ns, aligned, compensated, route, quoted, rate, move, torch.as_tensor(traded.fungible, device=device), fee_bp,
        leg, reference_bp, traded.rate_stale_ns,
    )  # fmt: skip

    trusted = torch.where(memory.skill > 0, memory.mean, 0.0)
    kept = lanes.turns(ts_ns, aligned.x, deviation, route, params.lanes.horizon_ns)
    slope = lanes.slopes(ts_ns, deviation, kept, params.lanes.slope_tau_s)
    forecast = lanes.forecasts(deviation, route, slope, trusted, given)
    ratio = lanes.energy_ratio(ts_ns, forecast, deviation, route, params.lanes.slope_tau_s)
    found = lanes.evidence(ts_ns, aligned.half, forecast, ratio, kept, params.lanes)
    volts = lanes.voltage(found.bits, params.lanes.v0, params.lanes.v_max)
    volts = lanes.slew(aligned.dt_s, volts, params.lanes.v0, params.lanes.slew_per_s)
    lane = lanes.hysteresis(volts, aligned.latency_weight, quoted, params.lanes)
    style_fee_bp = torch.as_tensor(params.style_fee_bp, dtype=dtype, device=device)

    columns = Columns(
        ghost=ghost,
        mid=aligned.x,
        half=aligned.half,
        deviation=deviation,
        phase=phase,
        drift=drift,
        route=route,
        status=status,
        forecast=forecast,
        key=keys[:, 0],
        entropy=memory.entropy,
        echo=memory.echo,
        expected_lag=lag,
        penalty=penalty(lag, memory.entropy, width),
        snr=found.snr,
        bits=found.bits,
        voltage=volts,
        lane=lane.to(torch.int8),
        pays_fees=lanes.pays_fees(lane, found.edge, forecast, move, style_fee_bp).to(torch.int8),
        forecasts=forecasts,
    )
    return Answer(
        columns,
        decisions(ts_ns, aligned, deviation, route, params.lag.desync_bp, latencies_ns, quoted, memory.entropy, width),
        windows(
            ts_ns, aligned, edge, rate, leg, reference_bp, traded.min_edge_bp, traded.latency_ns, params.latency_max_ns
        ),
    )
