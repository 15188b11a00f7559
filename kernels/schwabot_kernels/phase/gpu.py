"""Phase, drift and routing on the device. N events, V streams, P pairs, J joins.

Any device's tensors; rows are [N, V]. The state is the CPU's, as tensors, at an event that is a multiple of ``edge``.

A stream joins with a seed in the sums of its pairs, which depends on the phases of the streams before it: joins are
taken in turn, each with the phases up to its event, by the same blocks that all phases come from. So they have the same
bits however calls are cut.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from schwabot_kernels.align.reference import MISSING_NS, OK, Aligned
from schwabot_kernels.device_scan import AFFINE, BLOCK, EDGE, affine, by_triton, carry, then_two_affine
from schwabot_kernels.device_state import OnDevice, constants, on_16_bytes, shifted, total, with_lanes
from schwabot_kernels.phase.cpu import JOIN_WEIGHT, RING, PhaseParams
from schwabot_kernels.phase.reference import CRITICAL, DRIFTING, ROUTE_DRIFTING, ROUTE_STALE, STABLE

CELLS = 1024
"""Streams times events of a program that carries nothing from row to row; with more it spills."""
HELD = 8
"""Added to the fault of a stream whose price stood over the gap before an event; faults are less."""


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
    fault = _faults(ts_ns, aligned, params, state)
    joins = _joins(aligned, fault, params, state, edge, block)
    begun = state.grid.where(state.grid != MISSING_NS, ts_ns[0] // (params.window_ns // RING))
    phi, sums = _phases(aligned.dt_s, aligned.x, fault, params, state, joins, edge, block)
    drift = _drift_by_triton if by_triton(phi) else _drift
    drifted = drift(ts_ns, fault, phi, params, state, begun)
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


def _faults(ts_ns: torch.Tensor, aligned: Aligned, params: PhaseParams, state: OnDevice) -> torch.Tensor:
    """Route of every stream but for its drift, plus ``HELD`` where pairs count the gap before. Shape: int8 [N, V]."""
    streams = aligned.x.shape[1]
    if by_triton(aligned.x):
        fault, cells = torch.empty_like(aligned.bad), aligned.bad.numel()
        fault_kernel[(triton.cdiv(cells, CELLS),)](
            ts_ns, aligned.last_ns, aligned.bad, state.last_ns, state.bad, fault, cells, params.stale_ns, V=streams,
            HELD=HELD, CELLS=CELLS, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
        return fault
    stale = ts_ns[:, None] - aligned.last_ns > params.stale_ns
    fault = torch.where(aligned.bad != OK, aligned.bad, torch.where(stale, ROUTE_STALE, OK).to(torch.int8))
    stood = ts_ns[:, None] - shifted(aligned.last_ns, state.last_ns[:streams]) <= params.stale_ns
    held = stood & (shifted(aligned.bad, state.bad[:streams]) == OK)
    return fault + HELD * held.to(torch.int8)


def _phases(
    dt_s: torch.Tensor,
    x: torch.Tensor,
    fault: torch.Tensor,
    params: PhaseParams,
    state: OnDevice,
    joins: Joins,
    edge: int,
    block: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """phi_v = c + mean over seen u of beta_vu, NaN while unseen [N, V]; S, then W, of pairs after the last event [2 P].

    Rows have the same bits however many follow them.
    """
    if by_triton(x):
        return _phases_by_triton(dt_s, x, fault, params, state, joins, edge, block)
    events, streams = x.shape
    sums = _sums(dt_s, x, fault, params, state, joins, edge, block)
    pair_sum, pair_weight = sums.chunk(2, 1)
    beta = torch.where(pair_weight > 0.0, pair_sum / pair_weight, 0.0)
    rows = torch.arange(events, device=x.device)
    offset = joins.offset[0].expand(events)
    for k in range(1, joins.offset.shape[0]):
        offset = torch.where(rows >= joins.offset_row[k], joins.offset[k], offset)
    seen = rows[:, None] >= joins.row
    share = 1.0 / seen.sum(1).clamp(min=1).double()
    columns: list[torch.Tensor] = [torch.zeros_like(offset) for _ in range(streams)]
    for p, (low, high) in enumerate(combinations(range(streams), 2)):
        columns[low] = columns[low] + beta[:, p]
        columns[high] = columns[high] - beta[:, p]
    phi = torch.stack(columns, 1) * share[:, None] + offset[:, None]
    return torch.where(seen, phi, torch.nan), sums[-1]


def _sums(
    dt_s: torch.Tensor,
    x: torch.Tensor,
    fault: torch.Tensor,
    params: PhaseParams,
    state: OnDevice,
    joins: Joins,
    edge: int,
    block: int,
) -> torch.Tensor:
    """S, then W, of every pair after each event. Shape: [N, 2 P]."""
    pairs, streams = state.pair.shape[0], x.shape[1]
    held = fault >= HELD
    price = torch.where(held, shifted(x, state.x[:streams]), 0.0)
    forget = 1.0 - torch.exp(-dt_s / params.tau_s)
    v, u = state.pair[:, 0].long(), state.pair[:, 1].long()
    gain = torch.where(held[:, v] & held[:, u], forget[:, None], 0.0)
    here = (torch.arange(x.shape[0], device=x.device)[:, None] == joins.seed_row).double()
    added = torch.cat(((price[:, v] - price[:, u]) * gain + here * joins.seed, gain + here * JOIN_WEIGHT), 1)
    before = torch.cat((state.pair_sum[:pairs], state.pair_weight[:pairs]))
    return affine((1.0 - gain).repeat(1, 2), added, before, edge=edge, block=block)


def _joins(
    aligned: Aligned,
    fault: torch.Tensor,
    params: PhaseParams,
    state: OnDevice,
    edge: int,
    block: int,
) -> Joins:
    """Streams that quote for the first time, in order, and what they join with. Waits for the device once or twice."""
    events, streams = aligned.x.shape
    pairs, device = state.pair.shape[0], fault.device
    told = [-1 if seen else events for seen in state.seen[:streams].tolist()]
    if max(told) == events:
        good = aligned.bad == OK
        first = torch.where(good.any(0), good.to(torch.int8).argmax(0), events).tolist()
        told = [-1 if row < 0 else found for row, found in zip(told, first, strict=True)]
    place = {pair: p for p, pair in enumerate(combinations(range(streams), 2))}
    joins = Joins(
        row=torch.tensor([max(row, 0) for row in told], device=device)
        if max(told) >= 0
        else torch.zeros(streams, dtype=torch.int64, device=device),
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
            upto, before = slice(row + 1), joins._replace(row=torch.where(seen, joins.row, events))
            phi = _phases(aligned.dt_s[upto], aligned.x[upto], fault[upto], params, state, before, edge, block)[0][-1]
            valid = seen & (fault[row] % HELD == OK)
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
    fault: torch.Tensor,
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
    wrong = fault % HELD
    route = torch.where(wrong != OK, wrong, torch.where(critical, ROUTE_DRIFTING, OK).to(torch.int8))
    return Drifted(phi, phi + share * moved, drift, status, route)


@triton.jit(do_not_specialize=["N", "stale_ns"])
def fault_kernel(  # type: ignore[no-untyped-def]
    ts_ns, last_ns, bad, state_last_ns, state_bad, fault, N, stale_ns, V: tl.constexpr, HELD: tl.constexpr,
    CELLS: tl.constexpr,
):  # fmt: skip
    """What is wrong with streams at events, cell after cell; what the pairs and the drift need of times and codes."""
    cell = tl.program_id(0).to(tl.int64) * CELLS + tl.arange(0, CELLS)
    mask = cell < N
    row, u = cell // V, cell % V
    old, begins = mask & (row > 0), mask & (row == 0)
    t = tl.load(ts_ns + row, mask, other=0)
    wrong = tl.load(bad + cell, mask, other=0).to(tl.int32)
    stale = t - tl.load(last_ns + cell, mask, other=0) > stale_ns
    stood_ns = tl.where(old, tl.load(last_ns + cell - V, old, other=0), tl.load(state_last_ns + u, begins, other=0))
    stood_bad = tl.where(old, tl.load(bad + cell - V, old, other=0), tl.load(state_bad + u, begins, other=0))
    held = (stood_bad == 0) & (t - stood_ns <= stale_ns)
    code = tl.where(wrong != 0, wrong, tl.where(stale, 2, 0)) + tl.where(held, HELD, 0)
    tl.store(fault + cell, code.to(tl.int8), mask)


@triton.jit(do_not_specialize=["N", "joins", "apply"])
def pair_kernel(  # type: ignore[no-untyped-def]
    dt_s, x, fault, state_x, join_row, seed_row, seed, offset_row, offset, settings, whole_keep, whole_added, starts,
    phi, N, joins, apply, V: tl.constexpr, P: tl.constexpr, HELD: tl.constexpr,
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
    forget = 1.0 - tl.exp(-tl.load(dt_s + rows, inside, other=0.0) / tl.load(settings))
    for v in range(V):
        own_x = tl.where(old, tl.load(x + before * V + v, old, other=0.0), tl.load(state_x + v))
        own_held = tl.load(fault + rows * V + v, inside, other=0) >= HELD
        seen = tl.zeros([BLOCK], tl.int32)
        all_beta = tl.zeros([BLOCK], tl.float64)
        for first_u in range(0, WIDTH, TILE):
            u = first_u + tl.arange(0, TILE)[None, :]
            at, here = before[:, None] * V + u, old[:, None] & (u < V)
            other_x = tl.where(here, tl.load(x + at, here, other=0.0), tl.load(state_x + u, u < V, other=0.0))
            is_pair = (u < V) & (u != v)
            held = tl.load(fault + rows[:, None] * V + u, inside[:, None] & is_pair, other=0) >= HELD
            both = held & own_held[:, None]

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


@triton.jit(do_not_specialize=["N", "grid_ns", "steps"])
def drift_kernel(  # type: ignore[no-untyped-def]
    ts_ns, fault, phi, state_phi, ring, begun, settings, compensated, drift, status, route,
    N, grid_ns, steps, V: tl.constexpr, W: tl.constexpr, HELD: tl.constexpr,
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
    wrong = tl.load(fault + at, mask, other=0).to(tl.int32) % HELD
    tl.store(compensated + at, tl.fma(share, moved, now), mask)
    tl.store(drift + at, ratio, mask)
    tl.store(status + at, tl.where(critical, 2, tl.where(drifting, 1, 0)).to(tl.int8), mask)
    code = tl.where(wrong != 0, wrong, tl.where(critical, 4, 0))
    tl.store(route + at, code.to(tl.int8), mask)


def _settings(params: PhaseParams, device: torch.device) -> torch.Tensor:
    """Floats for the kernels."""
    strong = min(2.0 * params.k0, params.k_max)
    values = (params.tau_s, JOIN_WEIGHT, params.drifting_at, params.critical_at, params.k0, strong)
    return constants(values, device)


def _phases_by_triton(
    dt_s: torch.Tensor,
    x: torch.Tensor,
    fault: torch.Tensor,
    params: PhaseParams,
    state: OnDevice,
    joins: Joins,
    edge: int,
    block: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    events, streams = x.shape
    pairs, blocks = state.pair.shape[0], triton.cdiv(events, block)
    phi = torch.empty_like(x)
    keep, added = (x.new_empty((blocks, 2 * pairs)) for _ in range(2))
    settings, width = _settings(params, x.device), max(4, triton.next_power_of_2(streams))

    def run(starts: torch.Tensor, apply: int) -> None:
        pair_kernel[(blocks,)](
            dt_s, x, fault, state.x, *joins, settings, keep, added, starts, phi, events, joins.offset.shape[0], apply,
            V=streams, P=pairs, HELD=HELD, BLOCK=block, WIDTH=width, TILE=4, num_warps=8, enable_fp_fusion=False,
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
    fault: torch.Tensor,
    phi: torch.Tensor,
    params: PhaseParams,
    state: OnDevice,
    begun: torch.Tensor,
) -> Drifted:
    """The same as ``_drift``."""
    events, streams = phi.shape
    compensated, drift = torch.empty_like(phi), torch.empty_like(phi)
    status, route = torch.empty_like(fault), torch.empty_like(fault)
    width = max(4, triton.next_power_of_2(streams))
    tile = max(1, min(128, CELLS // width))
    drift_kernel[(triton.cdiv(events, tile),)](
        ts_ns, fault, phi, state.phi, state.ring, begun, _settings(params, ts_ns.device), compensated, drift, status,
        route, events, params.window_ns // RING, events.bit_length(), V=streams, W=state.ring.shape[1], HELD=HELD,
        RING=RING, BLOCK=tile, WIDTH=width,
        num_warps=4, enable_fp_fusion=False,
    )  # fmt: skip
    return Drifted(phi, compensated, drift, status, route)
