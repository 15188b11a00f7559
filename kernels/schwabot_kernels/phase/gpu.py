"""Phase, drift and routing on the device. N events, V streams, P pairs, J joins.

Any device's tensors; rows are [N, V]. The state is the CPU's, as tensors, at an event that is a multiple of ``edge``.

A stream joins with a seed in the sums of its pairs, which depends on the sums of the pairs before: joins are taken in
turn, each with the sums up to its event. That is a property of the data, so it is the same however calls are cut.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from schwabot_kernels.align.reference import MISSING_NS, OK, Aligned
from schwabot_kernels.device_scan import AFFINE, BLOCK, EDGE, affine, by_triton, carry, then_two_affine
from schwabot_kernels.device_state import OnDevice, on_16_bytes, shifted, total, with_lanes
from schwabot_kernels.phase.cpu import JOIN_WEIGHT, RING, PhaseParams
from schwabot_kernels.phase.reference import CRITICAL, DRIFTING, ROUTE_DRIFTING, ROUTE_STALE, STABLE

CELLS = 1024
"""Streams times events of a program that carries nothing from row to row; with more it spills."""


class Drifted(NamedTuple):
    """Phase and compensated phase, bp; drift; status; route. Shape: [N, V]."""

    phase: torch.Tensor
    compensated: torch.Tensor
    drift: torch.Tensor
    status: torch.Tensor
    route: torch.Tensor


class Joins(NamedTuple):
    """What joins do to the sums.

    row: from which each stream counts, 0 if before, N if never. [V]
    seed_row: at which a pair's sums begin, N if not now. [P]
    seed: of the sum; that of the weight is always JOIN_WEIGHT. [P]
    offset_row, offset: the constant c from a row on, the first before row 0. [J + 1]
    """

    row: torch.Tensor
    seed_row: torch.Tensor
    seed: torch.Tensor
    offset_row: torch.Tensor
    offset: torch.Tensor


def phase(
    ts_ns: torch.Tensor,
    aligned: Aligned,
    params: PhaseParams,
    state: OnDevice,
    *,
    edge: int = EDGE,
    block: int = BLOCK,
) -> tuple[Drifted, OnDevice]:
    """Phase of every stream against the others, its drift, and routing.

    Args:
        ts_ns: event times, at least one. [N]
        aligned: as-of values.
        params: settings.
        state: before the first event.
        edge: see ``device_scan``.
        block: see ``device_scan``.

    Returns:
        Phases and routes [N, V], and the state after the last event.
    """
    ts_ns, *columns = on_16_bytes(ts_ns, *aligned)
    aligned = Aligned._make(columns)
    joins = _joins(ts_ns, aligned, params, state, edge, block)
    begun = state.grid.where(state.grid != MISSING_NS, ts_ns[0] // (params.window_ns // RING))
    if by_triton(aligned.x):
        phi, sums = _phases_by_triton(ts_ns, aligned, params, state, joins, edge, block)
        drifted = _drift_by_triton(ts_ns, aligned, phi, params, state, begun)
    else:
        found = _sums(ts_ns, aligned, params, state, joins, edge, block)
        sums = found[-1]
        rows = torch.arange(ts_ns.shape[0], device=ts_ns.device)
        offset = joins.offset[0].expand(rows.shape[0])
        for k in range(1, joins.offset.shape[0]):
            offset = torch.where(rows >= joins.offset_row[k], joins.offset[k], offset)
        phi = _phases(found, rows[:, None] >= joins.row, offset)
        drifted = _drift(ts_ns, aligned, phi, params, state, begun)
    pairs = state.pair.shape[0]
    after = state._replace(
        pair=state.pair,
        pair_sum=with_lanes(sums[:pairs], state.pair_sum),
        pair_weight=with_lanes(sums[pairs:], state.pair_weight),
        ring=_ring(ts_ns, phi, params, state, begun),
        grid=torch.stack((ts_ns[-1] // (params.window_ns // RING), begun[1])),
        offset=joins.offset[-1:].clone(),
        seen=with_lanes((joins.row < ts_ns.shape[0]).to(torch.int8), state.seen),
        phi=with_lanes(phi[-1], state.phi),
        x=with_lanes(aligned.x[-1], state.x),
        last_ns=with_lanes(aligned.last_ns[-1], state.last_ns),
        bad=with_lanes(aligned.bad[-1], state.bad),
    )
    return drifted, after


def _sums(
    ts_ns: torch.Tensor,
    aligned: Aligned,
    params: PhaseParams,
    state: OnDevice,
    joins: Joins,
    edge: int,
    block: int,
) -> torch.Tensor:
    """S, then W, of every pair after each event. Shape: [N, 2 P]."""
    pairs = state.pair.shape[0]
    gain, step = _pair_gains(ts_ns, aligned, params, state)
    here = (torch.arange(ts_ns.shape[0], device=ts_ns.device)[:, None] == joins.seed_row).double()
    added = torch.cat((step + here * joins.seed, gain + here * JOIN_WEIGHT), 1)
    before = torch.cat((state.pair_sum[:pairs], state.pair_weight[:pairs]))
    return affine((1.0 - gain).repeat(1, 2), added, before, edge=edge, block=block)


def _pair_gains(
    ts_ns: torch.Tensor, aligned: Aligned, params: PhaseParams, state: OnDevice
) -> tuple[torch.Tensor, torch.Tensor]:
    """g and g (x_v - x_u) of every pair over the gap before each event. Shape: [N, P] each."""
    streams = aligned.x.shape[1]
    last_ns = shifted(aligned.last_ns, state.last_ns[:streams])
    bad = shifted(aligned.bad, state.bad[:streams])
    valid = (bad == OK) & (ts_ns[:, None] - last_ns <= params.stale_ns)
    price = torch.where(valid, shifted(aligned.x, state.x[:streams]), 0.0)
    forget = 1.0 - torch.exp(-aligned.dt_s / params.tau_s)
    v, u = state.pair[:, 0].long(), state.pair[:, 1].long()
    gain = torch.where(valid[:, v] & valid[:, u], forget[:, None], 0.0)
    return gain, (price[:, v] - price[:, u]) * gain


def _phases(sums: torch.Tensor, seen: torch.Tensor, offset: torch.Tensor) -> torch.Tensor:
    """phi_v = c + mean over seen u of beta_vu, NaN while unseen. Shape: [N, V]."""
    pair_sum, pair_weight = sums.chunk(2, 1)
    beta = torch.where(pair_weight > 0.0, pair_sum / pair_weight, 0.0)
    streams = seen.shape[1]
    share = 1.0 / seen.sum(1).clamp(min=1).double()
    columns: list[torch.Tensor] = [torch.zeros_like(offset) for _ in range(streams)]
    place = 0
    for v in range(streams):
        for u in range(v + 1, streams):
            columns[v] = columns[v] + beta[:, place]
            columns[u] = columns[u] - beta[:, place]
            place += 1
    phi = torch.stack(columns, 1) * share[:, None] + offset[:, None]
    return torch.where(seen, phi, torch.nan)


def _joins(
    ts_ns: torch.Tensor,
    aligned: Aligned,
    params: PhaseParams,
    state: OnDevice,
    edge: int,
    block: int,
) -> Joins:
    """Streams that quote for the first time, in order, and what they join with. Waits for the device once or twice."""
    events, streams = aligned.x.shape
    pairs, device = state.pair.shape[0], ts_ns.device
    told = [-1 if seen else events for seen in state.seen[:streams].tolist()]
    if max(told) == events:
        good = aligned.bad == OK
        first = torch.where(good.any(0), good.to(torch.int8).argmax(0), events).tolist()
        told = [-1 if row < 0 else found for row, found in zip(told, first, strict=True)]
    place = {(v, u): p for p, (v, u) in enumerate((v, u) for v in range(streams) for u in range(v + 1, streams))}
    joins = Joins(
        row=torch.tensor([max(row, 0) for row in told], device=device),
        seed_row=torch.full((pairs,), events, device=device),
        seed=torch.zeros(pairs, dtype=torch.float64, device=device),
        offset_row=torch.zeros(1, dtype=torch.int64, device=device),
        offset=state.offset,
    )
    old = [v for v, row in enumerate(told) if row < 0]
    for row, joined in sorted((row, v) for v, row in enumerate(told) if 0 <= row < events):
        if old:
            seen = torch.tensor([v in old for v in range(streams)], device=device)
            c = joins.offset[-1:]
            upto = Aligned(*(column[: row + 1] for column in aligned))
            sums = _sums(ts_ns[: row + 1], upto, params, state, joins, edge, block)
            phi = _phases(sums[-1:], seen[None], c)[0]
            valid = seen & (aligned.bad[row] == OK) & (ts_ns[row] - aligned.last_ns[row] <= params.stale_ns)
            # With nobody valid, the last known prices are all there is.
            trusted = torch.where(valid.any(), valid, seen)
            mean = total(torch.where(trusted, aligned.x[row] - phi, 0.0)) / trusted.sum()
            b = aligned.x[row, joined] - mean - c
            beta = phi - c - b
            own = [place[min(joined, v), max(joined, v)] for v in old]
            sign = torch.tensor([-1.0 if joined < v else 1.0 for v in old], dtype=torch.float64, device=device)
            seed, seed_row = joins.seed.clone(), joins.seed_row.clone()
            seed[own], seed_row[own] = JOIN_WEIGHT * (sign * beta[old]), row
            joins = joins._replace(
                seed=seed,
                seed_row=seed_row,
                offset_row=torch.cat((joins.offset_row, torch.full_like(joins.offset_row[:1], row))),
                offset=torch.cat((joins.offset, c + b / (len(old) + 1))),
            )
        old.append(joined)
    return joins


def _past_at(
    grid: torch.Tensor,
    ts_ns: torch.Tensor,
    phi: torch.Tensor,
    params: PhaseParams,
    state: OnDevice,
    begun: torch.Tensor,
) -> torch.Tensor:
    """Phase at the last event before each grid time: of this call, of the row before it, or of the ring.

    Shape: [G, V]
    """
    streams = phi.shape[1]
    row = torch.searchsorted(ts_ns, grid * (params.window_ns // RING)) - 1
    kept = torch.where((grid > begun[0])[:, None], state.phi[:streams], state.ring[grid % (RING + 1), :streams])
    return torch.where((row >= 0)[:, None], phi[row.clamp(min=0)], kept)


def _ring(
    ts_ns: torch.Tensor, phi: torch.Tensor, params: PhaseParams, state: OnDevice, begun: torch.Tensor
) -> torch.Tensor:
    """The ring after the last event. Shape: [65, W]."""
    newest = ts_ns[-1] // (params.window_ns // RING)
    slots = torch.arange(RING + 1, device=ts_ns.device)
    grid = newest - (newest - slots) % (RING + 1)  # the newest one that lies in each slot
    ring, streams = state.ring.clone(), phi.shape[1]
    fresh = _past_at(grid, ts_ns, phi, params, state, begun)
    ring[:, :streams] = torch.where((grid > begun[0])[:, None], fresh, ring[:, :streams])
    return ring


def _drift(
    ts_ns: torch.Tensor,
    aligned: Aligned,
    phi: torch.Tensor,
    params: PhaseParams,
    state: OnDevice,
    begun: torch.Tensor,
) -> Drifted:
    """How far the phase moved over the window, what that makes of the stream, and who takes part."""
    past_grid = ts_ns // (params.window_ns // RING) - RING
    past = _past_at(past_grid, ts_ns, phi, params, state, begun)
    past = torch.where((past_grid > begun[1])[:, None], past, torch.nan)
    moved = (phi - past).nan_to_num(0.0)
    drift = (moved.abs() / past.abs().clamp(min=1.0)).nan_to_num(0.0)
    critical, drifting = drift >= params.critical_at, drift >= params.drifting_at
    status = torch.where(critical, CRITICAL, torch.where(drifting, DRIFTING, STABLE)).to(torch.int8)
    share = torch.where(critical, min(2.0 * params.k0, params.k_max), params.k0 * drifting.double())
    stale = ts_ns[:, None] - aligned.last_ns > params.stale_ns
    in_use = torch.where(stale, ROUTE_STALE, torch.where(critical, ROUTE_DRIFTING, OK)).to(torch.int8)
    route = torch.where(aligned.bad != OK, aligned.bad, in_use)
    return Drifted(phi, phi + share * moved, drift, status, route)


@triton.jit(do_not_specialize=["N", "joins", "stale_ns", "apply"])
def pair_kernel(  # type: ignore[no-untyped-def]
    ts_ns, dt_s, x, last_ns, bad, state_x, state_last_ns, state_bad,
    join_row, seed_row, seed, offset_row, offset, settings, whole_keep, whole_added, starts, phi,
    N, joins, stale_ns, apply, V: tl.constexpr, P: tl.constexpr,
    BLOCK: tl.constexpr, WIDTH: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Pairs of every stream with all others over one block: the block's maps, or, if ``apply``, the phases.

    A pair is seen from both its streams, in the same bits but for the sign; the maps are those of the smaller number.
    """
    block = tl.program_id(0).to(tl.int64)
    rows = block * BLOCK + tl.arange(0, BLOCK)
    inside = rows < N
    before = rows - 1
    old = inside & (before >= 0)
    t = tl.load(ts_ns + rows, inside, other=0)
    forget = 1.0 - tl.exp(-tl.load(dt_s + rows, inside, other=0.0) / tl.load(settings))
    for v in range(V):
        own_x = tl.where(old, tl.load(x + before * V + v, old, other=0.0), tl.load(state_x + v))
        own_bad = tl.where(old, tl.load(bad + before * V + v, old, other=0), tl.load(state_bad + v))
        own_ns = tl.where(old, tl.load(last_ns + before * V + v, old, other=0), tl.load(state_last_ns + v))
        own_valid = inside & (own_bad == 0) & (t - own_ns <= stale_ns)
        seen = tl.zeros([BLOCK], tl.int32)
        all_beta = tl.zeros([BLOCK], tl.float64)
        for first_u in range(0, WIDTH, TILE):
            u = first_u + tl.arange(0, TILE)[None, :]
            at, here = before[:, None] * V + u, old[:, None] & (u < V)
            other_x = tl.where(here, tl.load(x + at, here, other=0.0), tl.load(state_x + u, u < V, other=0.0))
            other_bad = tl.where(here, tl.load(bad + at, here, other=0), tl.load(state_bad + u, u < V, other=1))
            other_ns = tl.where(here, tl.load(last_ns + at, here, other=0), tl.load(state_last_ns + u, u < V, other=0))
            is_pair = (u < V) & (u != v)
            both = is_pair & own_valid[:, None] & (other_bad == 0) & (t[:, None] - other_ns <= stale_ns)

            low, high = tl.minimum(u, v), tl.maximum(u, v)
            p = tl.where(is_pair, low * (2 * V - low - 1) // 2 + high - low - 1, 0)
            sign = 1.0 - 2.0 * (u < v).to(tl.float64)
            gain = tl.where(both, forget[:, None], 0.0)
            step = tl.where(both, (own_x[:, None] - other_x) * gain, 0.0)
            joins_here = inside[:, None] & (rows[:, None] == tl.load(seed_row + p, is_pair, other=-1))
            seeded = joins_here.to(tl.float64)
            step += seeded * (sign * tl.load(seed + p, is_pair, other=0.0))
            keep, total, weight = tl.associative_scan(
                (1.0 - gain, step, gain + seeded * tl.load(settings + 1)), 0, then_two_affine
            )
            first = block * 2 * P + p + 0 * rows[:, None]
            if apply:
                total = tl.fma(keep, sign * tl.load(starts + first, is_pair, other=0.0), total)
                weight = tl.fma(keep, tl.load(starts + first + P, is_pair, other=0.0), weight)
                used = is_pair & (weight > 0.0)
                all_beta += tl.sum(tl.where(used, total / tl.where(used, weight, 1.0), 0.0), 1)
                seen += tl.sum(((u < V) & (rows[:, None] >= tl.load(join_row + u, u < V, other=0))).to(tl.int32), 1)
            else:
                last = (rows[:, None] - block * BLOCK == BLOCK - 1) & is_pair & (u > v)
                tl.store(whole_keep + first, keep, last)
                tl.store(whole_keep + first + P, keep, last)
                tl.store(whole_added + first, total, last)
                tl.store(whole_added + first + P, weight, last)
        if apply:
            c = tl.load(offset) + 0.0 * all_beta
            for k in range(1, joins):
                c = tl.where(rows >= tl.load(offset_row + k), tl.load(offset + k), c)
            share = 1.0 / tl.maximum(seen, 1).to(tl.float64)
            found = tl.where(rows >= tl.load(join_row + v), tl.fma(all_beta, share, c), float("nan"))
            tl.store(phi + rows * V + v, found, inside)


@triton.jit(do_not_specialize=["N", "grid_ns", "stale_ns", "steps"])
def drift_kernel(  # type: ignore[no-untyped-def]
    ts_ns, last_ns, bad, phi, state_phi, ring, begun, settings, compensated, drift, status, route,
    N, grid_ns, stale_ns, steps, V: tl.constexpr, W: tl.constexpr,
    RING: tl.constexpr, BLOCK: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Drift, status, compensated phase and route of one block; the row one window ago is found by halving."""
    rows = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    u = tl.arange(0, WIDTH)[None, :]
    inside = rows < N
    t = tl.load(ts_ns + rows, inside, other=0)
    grid = t // grid_ns - RING
    low, high = tl.zeros_like(rows), tl.where(inside, rows, 0)
    for _ in range(steps):
        middle = (low + high) // 2
        open_ = low < high
        earlier = open_ & (tl.load(ts_ns + middle, open_, other=0) < grid * grid_ns)
        high = tl.where(open_ & ~earlier, middle, high)
        low = tl.where(earlier, middle + 1, low)
    past_row = (low - 1)[:, None]
    mask = inside[:, None] & (u < V)
    ours = mask & (past_row >= 0)
    after = (grid > tl.load(begun))[:, None]
    kept = mask & ~ours & ~after & (grid >= 0)[:, None]  # Triton's remainder of less than 0 is less than 0
    slot = (grid % (RING + 1))[:, None]
    past = tl.where(
        ours,
        tl.load(phi + past_row * V + u, ours, other=0.0),
        tl.where(after, tl.load(state_phi + u, u < V, other=0.0), tl.load(ring + slot * W + u, kept, other=0.0)),
    )
    past = tl.where((grid > tl.load(begun + 1))[:, None], past, float("nan"))

    at = rows[:, None] * V + u
    now = tl.load(phi + at, mask, other=0.0)
    moved = now - past
    moved = tl.where(moved == moved, moved, 0.0)
    ratio = tl.abs(moved) / tl.where(tl.abs(past) > 1.0, tl.abs(past), 1.0)
    ratio = tl.where(past == past, ratio, 0.0)
    critical, drifting = ratio >= tl.load(settings + 3), ratio >= tl.load(settings + 2)
    share = tl.where(critical, tl.load(settings + 5), tl.where(drifting, tl.load(settings + 4), 0.0))
    stale = t[:, None] - tl.load(last_ns + at, mask, other=0) > stale_ns
    wrong = tl.load(bad + at, mask, other=0).to(tl.int32)
    tl.store(compensated + at, tl.fma(share, moved, now), mask)
    tl.store(drift + at, ratio, mask)
    tl.store(status + at, tl.where(critical, 2, tl.where(drifting, 1, 0)).to(tl.int8), mask)
    code = tl.where(wrong != 0, wrong, tl.where(stale, 2, tl.where(critical, 4, 0)))
    tl.store(route + at, code.to(tl.int8), mask)


def _settings(params: PhaseParams, device: torch.device) -> torch.Tensor:
    """Floats for the kernels: a number in a launch has only 32 bits."""
    strong = min(2.0 * params.k0, params.k_max)
    values = (params.tau_s, JOIN_WEIGHT, params.drifting_at, params.critical_at, params.k0, strong)
    return torch.tensor(values, dtype=torch.float64, device=device)


def _phases_by_triton(
    ts_ns: torch.Tensor,
    aligned: Aligned,
    params: PhaseParams,
    state: OnDevice,
    joins: Joins,
    edge: int,
    block: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """phi [N, V], and S, then W, of every pair after the last event [2 P]."""
    events, streams = aligned.x.shape
    pairs, blocks = state.pair.shape[0], triton.cdiv(events, block)
    phi = torch.empty_like(aligned.x)
    keep, added = (aligned.x.new_empty((blocks, 2 * pairs)) for _ in range(2))
    settings, width = _settings(params, ts_ns.device), max(4, triton.next_power_of_2(streams))

    def run(starts: torch.Tensor, apply: int) -> None:
        pair_kernel[(blocks,)](
            ts_ns, aligned.dt_s, aligned.x, aligned.last_ns, aligned.bad, state.x, state.last_ns, state.bad,
            *joins, settings, keep, added, starts, phi, events, joins.offset.shape[0],
            params.stale_ns, apply, V=streams, P=pairs, BLOCK=block, WIDTH=width, TILE=4, num_warps=8,
            enable_fp_fusion=False,
        )  # fmt: skip

    before = torch.cat((state.pair_sum[:pairs], state.pair_weight[:pairs]))
    starts = before.expand(blocks + 1, 2 * pairs)
    if pairs:
        run(phi, 0)
        starts = carry(AFFINE.value, (keep, added), before, per_edge=edge // block)
    run(starts, 1)
    return phi, starts[-1]


def _drift_by_triton(
    ts_ns: torch.Tensor,
    aligned: Aligned,
    phi: torch.Tensor,
    params: PhaseParams,
    state: OnDevice,
    begun: torch.Tensor,
) -> Drifted:
    """The same as ``_drift``."""
    events, streams = phi.shape
    compensated, drift = torch.empty_like(phi), torch.empty_like(phi)
    status, route = torch.empty_like(aligned.bad), torch.empty_like(aligned.bad)
    width = max(4, triton.next_power_of_2(streams))
    tile = max(1, min(128, CELLS // width))
    drift_kernel[(triton.cdiv(events, tile),)](
        ts_ns, aligned.last_ns, aligned.bad, phi, state.phi, state.ring, begun, _settings(params, ts_ns.device),
        compensated, drift, status, route, events, params.window_ns // RING, params.stale_ns, events.bit_length(),
        V=streams, W=state.ring.shape[1], RING=RING, BLOCK=tile, WIDTH=width,
        num_warps=4, enable_fp_fusion=False,
    )  # fmt: skip
    return Drifted(phi, compensated, drift, status, route)
