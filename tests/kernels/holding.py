"""Each stage of a compiled run held to its plain-torch reference, which is fed the kernel's own upstream bits.

Tolerances are those of kernels/schwabot_kernels/<op>/README.md.
"""

from __future__ import annotations

import numpy as np
import torch

from schwabot_kernels.align.cpu import BLOCK
from schwabot_kernels.align.reference import OK, UNSEEN, reference_price
from schwabot_kernels.arbitrage.reference import edges, windows
from schwabot_kernels.consensus.reference import consensus
from schwabot_kernels.forecast.reference import features, head
from schwabot_kernels.kalman.reference import kalman
from schwabot_kernels.lag.reference import (
    decisions,
    expected_costs,
    expected_lag,
    expected_move,
    penalty,
    price_range,
)
from schwabot_kernels.lanes import reference as lanes
from schwabot_kernels.phase.reference import drift_and_routes, phases
from schwabot_kernels.registry import reference as registry
from schwabot_kernels.registry.bounded_reference import remember_bounded
from schwabot_kernels.registry.cpu import scratch
from schwabot_kernels.registry.hash import codes_of, random_signs
from tests.kernels.making import Run, assert_close, assert_few, assert_same

NEVER = torch.tensor(False)
EPS = 1e-15


def hold_align(run: Run) -> None:
    assert_close(run.ours.x, run.mid, 1e-9, "mid")
    assert_close(run.ours.half, run.half, 1e-9, "half spread")


def hold_phase(run: Run) -> None:
    params = run.graph.params.phase
    ts = run.batch.ts_ns
    assert_close(phases(ts, run.aligned, params.tau_s, params.stale_ns), run.phase, run.bp, "phase")
    ours = drift_and_routes(ts, run.aligned, run.phase, params)
    assert_close(ours.drift, run.drift, run.bp, "drift")
    thresholds = torch.tensor([params.drifting_at, params.critical_at], dtype=torch.float64)
    in_doubt = ((run.drift[..., None] - thresholds).abs() < 1e-9).any(-1)
    assert_same(ours.status, run.status, in_doubt, "status")
    assert_same(ours.route, run.route, in_doubt, "route")


def compensated(run: Run) -> torch.Tensor:
    return drift_and_routes(run.batch.ts_ns, run.aligned, run.phase, run.graph.params.phase).compensated


def hold_ghost(run: Run) -> None:
    params, batch = run.graph.params, run.batch
    if params.estimator == 1:
        ours = kalman(
            batch.stream, run.aligned, compensated(run), run.route, params.q_bp2_per_s, torch.as_tensor(params.r_bp2)
        )
        assert_close(ours, run.ghost, run.bp, "kalman ghost")
    else:
        found = consensus(
            batch.ts_ns,
            batch.stream,
            batch.kind,
            run.aligned,
            run.phase,
            compensated(run),
            run.route,
            quoted(run),
            params.consensus,
        )
        # The mean depth over little time is as uncertain as a phase over little time.
        share = torch.where(found.depth_weight > 0, found.depth_weight, 1.0)
        assert_close(found.ghost, run.ghost, run.bp + EPS * run.spread_bp / share, "weighted ghost")
    assert_close(run.ghost[:, None] + compensated(run) - run.mid, run.deviation, run.bp, "deviation")


def given(run: Run) -> torch.Tensor | None:
    """The head's forecasts over the lanes' horizon. [N, V]"""
    params = run.graph.params.head
    return run.forecasts[..., params.lanes_horizon] if params.coefficients.size else None


def predicted(run: Run) -> torch.Tensor:
    """The ghost's move a head expects, 0 without one. [N]"""
    params = run.graph.params.head
    if not params.coefficients.size:
        return torch.zeros_like(run.ghost)
    return run.forecasts[..., params.memory_horizon].nanmean(1).nan_to_num(0.0)


def hold_forecast(run: Run) -> None:
    params = run.graph.params.head
    if not params.coefficients.size:
        assert run.forecasts.shape[-1] == 0
        return
    found = features(run.batch, run.graph.table, run.aligned, run.phase, run.route)
    ours = head(found, run.route == 0, params)
    weight = np.abs(params.coefficients).sum((0, 1))[:, : ours.shape[1]].T  # [V, H]
    assert_close(ours, run.forecasts, 1e-8 * torch.from_numpy(1.0 + weight) * run.bp / 1e-9, "forecasts")


def keys_of(run: Run) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The reference's keys [N, T], whether one lies within tolerance of a tie [N, T], and what counts as tie [N, b, T].

    All keys are compared, but not all that are in doubt count as ties. A stream that is alone is its own ghost: its
    features are 0 up to rounding or in fixed proportion, so that it ties often. An event that changes no feature
    repeats the tie of the one before, and where all are 0 there is nothing to round.
    """
    params = run.graph.params.registry
    z, use = registry.features(run.aligned, run.deviation, run.route, params.momentum_tau_s)
    scale = registry.learn_scale(z, use, run.ghost, params.warmup_events)
    scaled = registry.standardise(z, use, scale)
    projected = torch.einsum("nd,dbt->nbt", scaled, run.planes)
    # The kernel projects in float32. A spread that hardly varied in the warm-up has a large, uncertain scale.
    noise = 2e-6 * scaled.abs().sum(1) + 1e-10 * torch.where(use, scale.scale, 0.0).sum(1)
    tied = (projected.abs() <= noise[:, None, None]) & (noise > 0)[:, None, None]
    hashed = (torch.arange(len(z)) >= scale.first) & ~run.ghost.isnan()
    tied &= hashed[:, None, None]
    counts = ((run.route == OK).sum(1) > 1) & (scaled != 0).any(1)
    counts[1:] &= (scaled[1:] != scaled[:-1]).any(1)
    ties = tied & counts[:, None, None]
    return torch.where(hashed[:, None], registry.hash_keys(scaled, run.planes), -1), tied.any(1), ties


def compiled_keys(run: Run) -> torch.Tensor:
    """The kernel's keys of all tables [N, T]; it shows the first one only. -1 where there is none."""
    params, registry_config = run.graph.params.registry, run.graph.config.hash_registry
    z, use = registry.features(run.aligned, run.deviation, run.route, params.momentum_tau_s)
    scale = registry.learn_scale(z, use, run.ghost, params.warmup_events)
    scaled = registry.standardise(z, use, scale).float().numpy()
    signs = random_signs(len(run.graph.instruments), params.bits, registry_config.tables, registry_config.seed)
    block = scratch(len(run.graph.instruments), params.bits, registry_config.tables)
    tables = registry_config.tables
    keys = np.empty((len(z), tables), np.int64)
    for first in range(0, len(z), BLOCK):
        rows = scaled[first : first + BLOCK]
        block.hashing.scaled[: len(rows), : rows.shape[1]] = rows
        codes_of(len(rows), params.bits, registry_config.tables, signs, block.hashing, block.code)
        keys[first : first + BLOCK] = block.code[: rows.shape[0] * tables].reshape(-1, tables)
    hashed = (torch.arange(len(z)) >= scale.first) & ~run.ghost.isnan()
    return torch.where(hashed[:, None], torch.from_numpy(keys) & (2**params.bits - 1), -1)


def memory_of(run: Run, keys: torch.Tensor) -> registry.Remembered:
    params = run.graph.params.registry
    if params.bits > 16:
        return remember_bounded(
            run.batch.ts_ns, run.ghost, keys, predicted(run), params, run.graph.config.hash_registry.capacity
        )
    return registry.remember(run.batch.ts_ns, run.ghost, keys, predicted(run), params)


def hold_registry(run: Run) -> registry.Remembered:
    """Returns the reference's memory of the kernel's keys."""
    ours, in_doubt, ties = keys_of(run)
    ties = ties.flatten(1)
    worst = int(ties.sum(1).argmax()) if len(ties) else 0
    assert_few(torch.cat([ties[:worst], ties[worst + 1 :]]).flatten(), "bit of a key in doubt")  # one event may tie
    theirs = compiled_keys(run)
    assert_same(theirs[:, 0], run.key, NEVER, "key shown")
    assert_same(ours, theirs, in_doubt, "key")
    memory = memory_of(run, theirs)
    assert_close(memory.entropy, run.entropy, 1e-9, "entropy")
    assert_close(memory.echo, run.echo, run.bp, "echo")
    return memory


def hold_lag(run: Run, memory: registry.Remembered) -> None:
    params, batch = run.graph.params, run.batch
    move = expected_move(run.ghost, memory.mean, run.echo, predicted(run), params.lag.latency_share)
    ours = expected_lag(batch.stream, run.deviation, move)
    assert_close(ours, run.expected_lag, run.bp, "expected lag")
    width = price_range(run.aligned.dt_s, run.ghost, params.lag.tau_range_s, params.lag.min_range_bp)
    assert_close(penalty(run.expected_lag, run.entropy, width), run.penalty, 1e-9, "penalty")

    found = decisions(
        batch.ts_ns, run.aligned, run.deviation, run.route, params.lag.desync_bp, torch.as_tensor(params.latencies_ns),
        quoted(run), run.entropy, width,
    )  # fmt: skip
    for name, values in (("ts_ns", batch.ts_ns[found.row]), ("stream", found.stream), ("side", found.side)):
        assert_same(values, run.decisions[name], NEVER, f"decision {name}")
    assert_close(found.cost, run.decisions["realised_cost_bp"], run.bp, "realised cost")
    expected = expected_costs(
        batch.ts_ns, found, memory.mean, run.echo, predicted(run), torch.as_tensor(params.latencies_ns),
        params.lag.horizon_ns, params.lag.tau_curve_s, params.lag.prior_decisions,
    )  # fmt: skip
    assert_close(expected, run.decisions["expected_cost_bp"], 10.0 * run.bp, "expected cost")
    assert_close(found.entropy, run.decisions["entropy"], 0.0, "entropy of a decision")
    assert_close(found.range_bp, run.decisions["range_bp"], run.bp, "range at a decision")
    assert_close(found.penalty, run.decisions["realised_penalty"], run.bp, "realised penalty")


def quoted(run: Run) -> torch.Tensor:
    return torch.tensor([0 if i.trades_only else 1 for i in run.graph.instruments])


def window_numbers(run: Run) -> torch.Tensor:
    """Numbers of the windows of a run: buy V + sell of a pair, V V + c of cycle c."""
    leg, streams = run.graph.params.arbitrage.leg, len(run.graph.instruments)
    number = {(2 * a, 2 * b + 1, -1, -1): a * streams + b for a in range(streams) for b in range(streams)}
    number |= {tuple(legs): streams * streams + c for c, legs in enumerate(leg.tolist())}
    sides = run.windows["sides"]
    told = torch.where(sides == 0, -1, 2 * run.windows["legs"] + (sides < 0))
    return torch.tensor([number[tuple(legs)] for legs in told.tolist()], dtype=torch.int64)


def hold_arbitrage(run: Run, memory: registry.Remembered) -> None:
    params, batch = run.graph.params, run.batch
    traded, rate = params.arbitrage, torch.as_tensor(run.graph.table.rate)
    leg = torch.as_tensor(traded.leg)
    reference_bp = 1e4 * reference_price(batch, run.graph.table).log()[None]
    edge = edges(
        batch.ts_ns,
        run.aligned,
        compensated(run),
        run.route,
        quoted(run),
        rate,
        expected_move(run.ghost, memory.mean, run.echo, predicted(run), params.lag.latency_share),
        torch.as_tensor(traded.fungible),
        torch.as_tensor(traded.fee_bp),
        leg,
        reference_bp,
        traded.rate_stale_ns,
    )
    # An edge in doubt moves the ends of its own window; every other pair's and cycle's windows are compared.
    close = (edge.net - traded.min_edge_bp).abs() < 1e-9
    assert_few(close.any(1), "edge in doubt")
    clear = ~close.any(0)
    found = windows(
        batch.ts_ns, run.aligned, edge, rate, leg, reference_bp, traded.min_edge_bp, traded.latency_ns,
        params.latency_max_ns,
    )  # fmt: skip
    number = window_numbers(run)
    ours, theirs = clear[found.window], clear[number]
    window = found.window[ours]
    told = {name: values[theirs] for name, values in run.windows.items()}
    start_ns = batch.ts_ns[found.start_row[ours]]
    assert_same(window, number[theirs], NEVER, "window")
    for name, values in (("start_ns", start_ns), ("end_ns", found.end_ns[ours])):
        assert_same(values, told[name], NEVER, f"window {name}")
    locked = torch.cat((torch.as_tensor(traded.fungible).flatten(), torch.ones(len(leg), dtype=torch.int8)))[window]
    assert_same(locked, told["locked"], NEVER, "window locked")
    assert_close(found.first_bp[ours], told["start_bp"], run.bp, "edge at the start of a window")
    assert_close(found.edge_bp[ours], told["edge_bp"], run.bp, "window edge")
    assert_close(found.rest_bp[ours], told["realised_left_bp"], run.bp, "edge left of a window")
    # Where an edge comes twice within rounding, either moment's size will do; unknown sizes have no answer.
    twice = ((edge.net[:, window] - found.edge_bp[ours]).abs() < 1e-9).sum(0) > 1
    qty = found.qty[ours]
    known = ~qty.isnan() & ~twice
    assert_close(qty[known], told["qty"][known].double(), 1e-9 * qty[known].abs(), "window size")


def hold_lanes(run: Run, memory: registry.Remembered) -> None:
    params, batch = run.graph.params, run.batch
    kept = lanes.turns(batch.ts_ns, run.aligned.x, run.deviation, run.route, params.lanes.horizon_ns)
    slope = lanes.slopes(batch.ts_ns, run.deviation, kept, params.lanes.slope_tau_s)
    trusted = torch.where(memory.skill > 0, memory.mean, 0.0)
    # A skill that has faded to nothing, over a night to 1e-308 or to 0, has no sign.
    faded = (run.aligned.dt_s > 100 * params.registry.tau_s).cumsum(0) > 0
    in_doubt = (memory.skill.abs() < 1e-12) & faded
    sure = ~in_doubt
    ours = lanes.forecasts(run.deviation, run.route, slope, trusted, given(run))
    assert_close(ours[sure], run.forecast[sure], run.bp * (1.0 + run.forecast[sure].abs()), "forecast")

    ratio = lanes.energy_ratio(batch.ts_ns, run.forecast, run.deviation, run.route, params.lanes.slope_tau_s)
    found = lanes.evidence(batch.ts_ns, run.half, run.forecast, ratio, kept, params.lanes)
    # A forecast on the edge of two buckets is remembered in either: all that stream says later is left out.
    mantissa = torch.frexp(ratio).mantissa
    on_edge = (ratio > 0) & ((mantissa - 0.5 < 1e-9) | (1.0 - mantissa < 1e-9))
    clear = on_edge.cumsum(0) == 0
    # E's variance is a difference of squares; SNR = mean² / variance inherits what that loses.
    assert_close(
        torch.where(clear, found.snr, 0.0),
        torch.where(clear, run.snr, 0.0),
        1e-9 * (1.0 + run.snr) + 1e-13 * run.snr**2,
        "snr",
    )
    assert_close(torch.where(clear, found.bits, 0.0), torch.where(clear, run.bits, 0.0), 1e-8, "bits")

    volts = lanes.voltage(run.bits, params.lanes.v0, params.lanes.v_max)
    volts = lanes.slew(run.aligned.dt_s, volts, params.lanes.v0, params.lanes.slew_per_s)
    assert_close(volts, run.voltage, 1e-9, "voltage")
    assert_same(
        lanes.hysteresis(run.voltage, run.aligned.latency_weight, quoted(run), params.lanes), run.lane, NEVER, "lane"
    )
    fees = torch.as_tensor(params.style_fee_bp)
    lane = run.lane.long()
    move = expected_move(run.ghost, memory.mean, run.echo, predicted(run), params.lag.latency_share)
    missed = torch.where(run.forecast > 0, move[:, None], -move[:, None]).clamp(min=0.0)
    net = found.edge - missed - fees[lane, torch.arange(lane.shape[1])]
    ours = lanes.pays_fees(lane, found.edge, run.forecast, move, fees)
    assert_same(ours, run.pays_fees, (net.abs() < 1e-9) | ~clear | ~sure[:, None], "pays fees")


def hold(run: Run) -> None:
    """Every stage."""
    assert not bool(((run.aligned.bad == UNSEEN) != run.mid.isnan()).any())
    hold_align(run)
    hold_phase(run)
    hold_ghost(run)
    hold_forecast(run)
    memory = hold_registry(run)
    hold_lag(run, memory)
    hold_arbitrage(run, memory)
    hold_lanes(run, memory)
