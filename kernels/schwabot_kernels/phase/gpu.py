"""Phase, drift and routing on the device. N events, V streams, P pairs, J joins.

Any device's tensors; rows are [N, V]. The state is the CPU's, as tensors, at an event that is a multiple of ``edge``.

A stream joins with a seed in the sums of its pairs, which depends on the sums of the pairs before: joins are taken in
turn, each with the sums up to its event. That is a property of the data, so it is the same however calls are cut.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from schwabot_kernels.align.reference import MISSING_NS, OK, Aligned
from schwabot_kernels.device_scan import BLOCK, EDGE, affine
from schwabot_kernels.device_state import shifted, total, with_lanes
from schwabot_kernels.phase.cpu import JOIN_WEIGHT, RING, PhaseParams, PhaseState
from schwabot_kernels.phase.reference import CRITICAL, DRIFTING, ROUTE_DRIFTING, ROUTE_STALE, STABLE


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
    state: PhaseState,
    *,
    edge: int = EDGE,
    block: int = BLOCK,
) -> tuple[Drifted, PhaseState]:
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
    events = ts_ns.shape[0]
    pairs = state.pair.shape[0]
    gain, step = _pair_gains(ts_ns, aligned, params, state)

    def sums(upto: int, joins: Joins) -> tuple[torch.Tensor, torch.Tensor]:
        """S and W of every pair after each of the first rows."""
        here = torch.arange(upto, device=ts_ns.device)[:, None] == joins.seed_row
        added = torch.cat(
            (step[:upto] + torch.where(here, joins.seed, 0.0), gain[:upto] + JOIN_WEIGHT * here.double()), 1
        )
        keep = (1.0 - gain[:upto]).repeat(1, 2)
        before = torch.cat((state.pair_sum[:pairs], state.pair_weight[:pairs]))
        found = affine(keep, added, before, edge=edge, block=block)
        return found[:, :pairs], found[:, pairs:]

    joins = _joins(ts_ns, aligned, params, state, sums)
    pair_sum, pair_weight = sums(events, joins)
    rows = torch.arange(events, device=ts_ns.device)
    seen = rows[:, None] >= joins.row
    offset = joins.offset[0].expand(events)
    for k in range(1, joins.offset.shape[0]):
        offset = torch.where(rows >= joins.offset_row[k], joins.offset[k], offset)
    phi = _phases(pair_sum, pair_weight, state.pair, seen, offset)
    past, ring, grid = _look_back(ts_ns, phi, params, state)

    strong = min(2.0 * params.k0, params.k_max)
    moved = (phi - past).nan_to_num(0.0)
    drift = (moved.abs() / past.abs().clamp(min=1.0)).nan_to_num(0.0)
    critical, drifting = drift >= params.critical_at, drift >= params.drifting_at
    status = torch.where(critical, CRITICAL, torch.where(drifting, DRIFTING, STABLE)).to(torch.int8)
    share = torch.where(critical, strong, params.k0 * drifting.double())
    stale = ts_ns[:, None] - aligned.last_ns > params.stale_ns
    in_use = torch.where(stale, ROUTE_STALE, torch.where(critical, ROUTE_DRIFTING, OK)).to(torch.int8)
    route = torch.where(aligned.bad != OK, aligned.bad, in_use)
    after = PhaseState(
        pair=state.pair,
        pair_sum=with_lanes(pair_sum[-1], state.pair_sum),
        pair_weight=with_lanes(pair_weight[-1], state.pair_weight),
        ring=ring,
        grid=grid,
        offset=offset[-1:].clone(),
        seen=with_lanes(seen[-1].to(torch.int8), state.seen),
        phi=with_lanes(phi[-1], state.phi),
        x=with_lanes(aligned.x[-1], state.x),
        last_ns=with_lanes(aligned.last_ns[-1], state.last_ns),
        bad=with_lanes(aligned.bad[-1], state.bad),
    )
    return Drifted(phi, phi + share * moved, drift, status, route), after


def _pair_gains(
    ts_ns: torch.Tensor, aligned: Aligned, params: PhaseParams, state: PhaseState
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


def _phases(
    pair_sum: torch.Tensor, pair_weight: torch.Tensor, pair: torch.Tensor, seen: torch.Tensor, offset: torch.Tensor
) -> torch.Tensor:
    """phi_v = c + mean over seen u of beta_vu, NaN while unseen. Shape: [N, V]."""
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
    state: PhaseState,
    sums: Callable[[int, Joins], tuple[torch.Tensor, torch.Tensor]],
) -> Joins:
    """Streams that quote for the first time, in order, and what they join with. Waits for the device once."""
    events, streams = aligned.x.shape
    pairs = state.pair.shape[0]
    rows = torch.arange(events, device=ts_ns.device)[:, None]
    first = torch.where(aligned.bad == OK, rows, events).amin(0)
    told = torch.where(state.seen[:streams] == 1, -1, first).tolist()
    place = {(v, u): p for p, (v, u) in enumerate((v, u) for v in range(streams) for u in range(v + 1, streams))}
    joins = Joins(
        row=torch.tensor([0 if row < 0 else row for row in told], device=ts_ns.device),
        seed_row=torch.full((pairs,), events, device=ts_ns.device),
        seed=torch.zeros(pairs, dtype=torch.float64, device=ts_ns.device),
        offset_row=torch.zeros(1, dtype=torch.int64, device=ts_ns.device),
        offset=state.offset,
    )
    old = [v for v, row in enumerate(told) if row < 0]
    for row, joined in sorted((row, v) for v, row in enumerate(told) if 0 <= row < events):
        if old:
            seen = torch.tensor([v in old for v in range(streams)], device=ts_ns.device)
            c = joins.offset[-1:]
            pair_sum, pair_weight = sums(row + 1, joins)
            phi = _phases(pair_sum[-1:], pair_weight[-1:], state.pair, seen[None], c)[0]
            valid = seen & (aligned.bad[row] == OK) & (ts_ns[row] - aligned.last_ns[row] <= params.stale_ns)
            # With nobody valid, the last known prices are all there is.
            trusted = torch.where(valid.any(), valid, seen)
            mean = total(torch.where(trusted, aligned.x[row] - phi, 0.0)) / trusted.sum()
            b = aligned.x[row, joined] - mean - c
            beta = phi - c - b
            own = [place[min(joined, v), max(joined, v)] for v in old]
            sign = torch.tensor([-1.0 if joined < v else 1.0 for v in old], dtype=torch.float64, device=ts_ns.device)
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


def _look_back(
    ts_ns: torch.Tensor, phi: torch.Tensor, params: PhaseParams, state: PhaseState
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The phases one window ago [N, V], and the ring [65, W] and grid [2] after the last event."""
    streams = phi.shape[1]
    grid_ns = params.window_ns // RING
    newest = torch.div(ts_ns, grid_ns, rounding_mode="floor")
    begun = torch.where(state.grid == MISSING_NS, newest[0], state.grid)

    def at(grid: torch.Tensor) -> torch.Tensor:
        """Phase at the last event before each grid time: of this call, of the row before it, or of the ring."""
        row = torch.searchsorted(ts_ns, grid * grid_ns) - 1
        kept = torch.where((grid > begun[0])[:, None], state.phi[:streams], state.ring[grid % (RING + 1), :streams])
        return torch.where((row >= 0)[:, None], phi[row.clamp(min=0)], kept)

    past = torch.where((newest - RING > begun[1])[:, None], at(newest - RING), torch.nan)
    slots = torch.arange(RING + 1, device=ts_ns.device)
    grid = newest[-1] - (newest[-1] - slots) % (RING + 1)  # the newest one that lies in each slot
    ring = state.ring.clone()
    ring[:, :streams] = torch.where((grid > begun[0])[:, None], at(grid), ring[:, :streams])
    return past, ring, torch.stack((newest[-1], begun[1]))
