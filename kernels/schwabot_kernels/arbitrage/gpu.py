"""Windows of arbitrage between pairs on the device. See cpu.py for the formulas, windows.py for the state.

N events, V streams, W = V in whole vectors, K = V V windows (no cycles), R rows at which one may be open, A windows.

Most events open nothing: the CPU's bound on every edge, which needs no logarithm, is taken of all of them, and edges are
computed of the R rows whose bound is above the least edge. A run of open rows is a window; the first continues one that
was open before. Nothing adds up along a run, only the largest edge is kept, so the answer does not depend on how events
are cut into calls, nor on the order in which anything is done.

Plain torch on any device; the list of windows that wait comes out in order of due time, then window.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch

from schwabot_kernels.align.reference import OK
from schwabot_kernels.arbitrage.windows import (
    BEST,
    DUE,
    FAR_NS,
    FIRST,
    KNOWN,
    NUMBER,
    PLACE,
    REST,
    SIZE,
    START,
    WHICH,
    ArbitrageState,
)
from schwabot_kernels.lag.reference import touch_bp

CELLS = 2**25
"""Windows times rows whose edges are computed at a time."""


class Touches(NamedTuple):
    """What edges are made of: log mid, half spread and compensated phase, bp. [N, V]"""

    x: torch.Tensor
    half: torch.Tensor
    compensated: torch.Tensor


class Terms(NamedTuple):
    """What pairs are traded at: 1 same thing delivered, 0 not, -1 no pair [V, V]; taker fee, bp [V]."""

    fungible: torch.Tensor
    fee_bp: torch.Tensor


class Runs(NamedTuple):
    """Windows of a call, by number, then in time: its number, first row and the row after the last. [A]

    first_bp, best_bp, size: edge at the first row, largest edge, and the quantity at the first row that has it.
    """

    window: torch.Tensor
    begin: torch.Tensor
    end: torch.Tensor
    first_bp: torch.Tensor
    best_bp: torch.Tensor
    size: torch.Tensor


class Both(NamedTuple):
    """Windows open before the first event, and the call's own. [A]

    end: the row that closes it, N if none; due_ns: when the edge left is known, -1 where it is; bp: edge at the start,
    largest edge, size then, edge left. [A, 4]
    """

    window: torch.Tensor
    start_ns: torch.Tensor
    end: torch.Tensor
    due_ns: torch.Tensor
    bp: torch.Tensor


def arbitrage(
    ts_ns: torch.Tensor,
    x: torch.Tensor,
    half: torch.Tensor,
    depth: torch.Tensor,
    imbalance: torch.Tensor,
    latency_weight: torch.Tensor,
    compensated: torch.Tensor,
    route: torch.Tensor,
    quoted: torch.Tensor,
    move: torch.Tensor,
    fungible: torch.Tensor,
    fee_bp: torch.Tensor,
    min_edge_bp: float,
    latency_ns: int,
    latency_max_ns: float,
    state: ArbitrageState,
) -> ArbitrageState:
    """Open, widen and close the windows in which a pair pays after fees; the state after the last event.

    Args:
        ts_ns: event times, never decreasing. int64 [N]
        x: log mid, bp. float64 [N, V]
        half: half spread, bp. float64 [N, V]
        depth: mean of both touch quantities. float64 [N, V]
        imbalance: in [-1, 1]. float64 [N, V]
        latency_weight: 1 - feed delay / ``latency_max_ns``. float64 [N, V]
        compensated: compensated phase, bp. float64 [N, V]
        route: 0 = takes part. int8 [N, V]
        quoted: 1 where a stream has a touch. int8 [V]
        move: what the price is expected to do within our latency, bp. float64 [N]
        fungible: see ``ArbitrageParams``. int8 [V, V]
        fee_bp: taker fee. float64 [V]
        min_edge_bp: net edge above which a window opens.
        latency_ns: our own.
        latency_max_ns: feed delay at which ``latency_weight`` is 0.
        state: ``ArbitrageState`` of tensors on the events' device, left alone; ring and list grow where they have to.

    Raises:
        NotImplementedError: the state is of a graph with cycles.
    """
    cycles = state.gross.shape[0]
    if cycles:
        raise NotImplementedError(
            f"arbitrage on the device: {cycles} cycles of trades run on the CPU only; run this op there"
            " (schwabot_kernels.arbitrage.op), or leave out the streams that convert currencies"
        )
    rows, streams = x.shape
    if rows == 0:
        return ArbitrageState(*(part.clone() for part in state))
    told, terms = Touches(x, half, compensated), Terms(fungible, fee_bp)
    use = (route == OK) & (quoted == 1)
    candidates = _candidates(told, use, fee_bp, min_edge_bp)
    row, window, edge = _open(told, terms, use, move, candidates, min_edge_bp)

    def quantity(at: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
        buy, sell = number // streams, number % streams
        bought, sold = depth[at, buy] * (1.0 - imbalance[at, buy]), depth[at, sell] * (1.0 + imbalance[at, sell])
        known = ~bought.isnan() & ~sold.isnan()
        return torch.where(known, torch.minimum(bought, sold), torch.nan)

    runs = _runs(row, window, edge, quantity, rows)
    was_open = state.open_ns[START] >= 0
    goes_on = (runs.begin == 0) & was_open[runs.window]
    bests, sizes = state.open_bp[BEST][runs.window], state.open_bp[SIZE][runs.window]
    wider = ~goes_on | (runs.best_bp > bests)
    delay = torch.floor((1.0 - latency_weight[runs.begin]) * latency_max_ns + 0.5).long()
    slowest = torch.maximum(
        delay.gather(1, (runs.window // streams)[:, None]), delay.gather(1, (runs.window % streams)[:, None])
    )[:, 0]
    start_ns = torch.where(goes_on, state.open_ns[START][runs.window], ts_ns[runs.begin])
    first_bp = torch.where(goes_on, state.open_bp[FIRST][runs.window], runs.first_bp)
    # Windows that were open and are not any more at the first event.
    continued = torch.zeros_like(was_open)
    continued[runs.window[goes_on]] = True
    over = (was_open & ~continued).nonzero()[:, 0]
    both = Both(
        window=torch.cat((over, runs.window)),
        start_ns=torch.cat((state.open_ns[START][over], start_ns)),
        end=torch.cat((torch.zeros_like(over), runs.end)),
        due_ns=torch.cat((_due_of(state)[over], torch.where(
            goes_on, _due_of(state)[runs.window], ts_ns[runs.begin] + latency_ns + slowest
        ))),
        bp=torch.stack((
            torch.cat((state.open_bp[FIRST][over], first_bp)),
            torch.cat((state.open_bp[BEST][over], torch.where(wider, runs.best_bp, bests))),
            torch.cat((state.open_bp[SIZE][over], torch.where(wider, runs.size, sizes))),
            torch.cat((state.open_bp[REST][over], torch.where(goes_on, state.open_bp[REST][runs.window], 0.0))),
        ), 1),
    )  # fmt: skip
    return _after(both, ts_ns, told, terms, state)


def _due_of(state: ArbitrageState) -> torch.Tensor:
    """When the edge left of each open window is known; -1 where it is, or where none is open. Shape: [K]."""
    place = state.open_ns[PLACE]
    return torch.where(place >= 0, state.waiting[place.clamp(min=0), DUE], -1)


def _candidates(told: Touches, use: torch.Tensor, fee_bp: torch.Tensor, min_edge_bp: float) -> torch.Tensor:
    """Rows at which an edge may be above the least one, by ln(1 - h) <= -h and ln(1 + h) >= h - h h / 2. Shape: [R]."""
    bid = torch.where(use, told.x - told.half - fee_bp, -torch.inf)
    less_ask = torch.where(use, 0.5e-4 * told.half * told.half - told.x - told.half - fee_bp, -torch.inf)
    bound = bid.amax(1) + less_ask.amax(1)
    free = torch.where(use, bid - told.compensated, -torch.inf).amax(1)
    free = free + torch.where(use, less_ask + told.compensated, -torch.inf).amax(1)
    return (torch.maximum(bound, free) > min_edge_bp).nonzero()[:, 0]


def _edges(told: Touches, terms: Terms, at: torch.Tensor) -> torch.Tensor:
    """Edge of every pair at some rows, without the expected move, whoever can trade. Shape: [R, V, V], buy and sell."""
    x, half, compensated = (column[at] for column in told)
    bid, ask = touch_bp(x, half, -torch.ones_like(x)), touch_bp(x, half, torch.ones_like(x))
    edge = bid[:, None, :] - ask[:, :, None] - (terms.fee_bp[None, :] + terms.fee_bp[:, None])
    basis = compensated[:, None, :] - compensated[:, :, None]
    return torch.where(terms.fungible == 0, edge - basis, edge)


def _open(
    told: Touches,
    terms: Terms,
    use: torch.Tensor,
    move: torch.Tensor,
    candidates: torch.Tensor,
    min_edge_bp: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Row, window and net edge of everything that is open, by window, then row."""
    streams = told.x.shape[1]
    pair = (terms.fungible >= 0) & ~torch.eye(streams, dtype=torch.bool, device=use.device)
    found = []
    for at in candidates.split(max(1, CELLS // streams**2)):
        net = _edges(told, terms, at) - move[at].abs()[:, None, None]
        # NaN is above nothing.
        is_open = (net > min_edge_bp) & pair & use[at][:, None, :] & use[at][:, :, None]
        place, buy, sell = is_open.nonzero(as_tuple=True)
        found.append((at[place], buy * streams + sell, net[place, buy, sell]))
    if not found:
        none = torch.zeros_like(candidates)
        return none, none, told.x.new_zeros(0)
    row, window, edge = (torch.cat(parts) for parts in zip(*found, strict=True))
    window, order = torch.sort(window, stable=True)
    return row[order], window, edge[order]


def _runs(row: torch.Tensor, window: torch.Tensor, edge: torch.Tensor, quantity: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], rows: int) -> Runs:
    """Runs of rows one after the other."""
    begins = torch.ones_like(row, dtype=torch.bool)
    begins[1:] = (window[1:] != window[:-1]) | (row[1:] != row[:-1] + 1)
    first = begins.nonzero()[:, 0]
    of = begins.cumsum(0) - 1
    # The largest, and the first row that has it: neither depends on an order.
    best = edge.new_full(first.shape, -torch.inf).scatter_reduce(0, of, edge, "amax")
    at_best = torch.where(edge == best[of], row, rows)
    best_row = row.new_full(first.shape, rows).scatter_reduce(0, of, at_best, "amin")
    last = torch.cat((first[1:], first.new_full((min(1, len(row)),), len(row)))) - 1
    return Runs(window[first], row[first], row[last] + 1, edge[first], best, quantity(best_row, window[first]))


def _after(both: Both, ts_ns: torch.Tensor, told: Touches, terms: Terms, state: ArbitrageState) -> ArbitrageState:
    """The state after the last event: what is open, what has closed, and what waits."""
    rows, streams = told.x.shape
    oldest, newest, waiting = state.head.tolist()
    # In the order in which they close, what stays open last.
    order = torch.argsort(both.end * streams**2 + both.window, stable=True)
    both = Both(*(part[order] for part in both))
    closes = int((both.end < rows).sum())
    number = torch.arange(newest, newest + len(order), device=ts_ns.device)
    number[closes:] = -1

    # Closed before this call, and still waiting.
    old = state.waiting[:waiting]
    old = old[old[:, NUMBER] >= 0]
    waits = both.due_ns >= 0
    due = torch.cat((old[:, DUE], both.due_ns[waits]))
    which = torch.cat((old[:, WHICH], both.window[waits]))
    numbers = torch.cat((old[:, NUMBER], number[waits]))
    told_now = due < ts_ns[-1]
    source = torch.searchsorted(ts_ns, due, right=True) - 1  # the row before the event that tells
    rest = torch.where(
        source >= 0,
        _rests(told, terms, source.clamp(min=0), which),
        _rests(Touches(*(row[None, :streams] for row in state.row)), terms, torch.zeros_like(source), which),
    )
    of_old, of_both = slice(0, len(old)), slice(len(old), None)
    told_both = torch.zeros_like(waits)
    told_both[waits] = told_now[of_both]
    both.bp[told_both, REST] = rest[of_both][told_now[of_both]]
    known = ~waits | told_both

    stays = (~told_now).nonzero()[:, 0]
    stays = stays[torch.argsort(which[stays], stable=True)]
    stays = stays[torch.argsort(due[stays], stable=True)]
    after = _grown(state, oldest, newest, closes, len(stays))
    mask = after.closed_ns.shape[0] - 1
    slots = numbers[of_old][told_now[of_old]] & mask
    after.closed_bp[slots, REST] = rest[of_old][told_now[of_old]]
    after.closed_ns[slots, KNOWN] = 1
    slots = number[:closes] & mask
    closed = [part[:closes] for part in (both.window, both.start_ns, ts_ns[both.end.clamp(max=rows - 1)], known.long())]
    after.closed_ns[slots] = torch.stack(closed, 1)
    after.closed_bp[slots] = both.bp[:closes]

    now_open = both.window[closes:]
    after.open_ns[:] = -1
    after.open_ns[START, now_open] = both.start_ns[closes:]
    after.open_bp[:, now_open] = both.bp[closes:].T
    after.waiting[: len(stays)] = torch.stack((due, which, numbers), 1)[stays]
    place = torch.arange(len(stays), device=ts_ns.device)
    of_open = numbers[stays] < 0
    after.open_ns[PLACE, which[stays][of_open]] = place[of_open]
    after.head[1:] = after.head.new_tensor((newest + closes, len(stays)))
    after.counts[0] = len(now_open)
    after.counts[2] = due[stays[0]] if len(stays) else FAR_NS
    for k, column in enumerate(told):
        after.row[k, :streams] = column[-1]
    return after


def _rests(told: Touches, terms: Terms, at: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """Edge of windows at one row each, without the expected move. Shape: [A]."""
    streams = terms.fee_bp.shape[0]
    buy, sell = window // streams, window % streams
    one = torch.ones_like(told.x[at, buy])
    bid = touch_bp(told.x[at, sell], told.half[at, sell], -one)
    edge = bid - touch_bp(told.x[at, buy], told.half[at, buy], one) - (terms.fee_bp[buy] + terms.fee_bp[sell])
    basis = told.compensated[at, sell] - told.compensated[at, buy]
    return torch.where(terms.fungible[buy, sell] == 0, edge - basis, edge)


def _grown(state: ArbitrageState, oldest: int, newest: int, more: int, waiting: int) -> ArbitrageState:
    """A copy of the state with room for so many more closed windows, and for a list so long."""
    size = capacity = state.closed_ns.shape[0]
    while capacity - (newest - oldest) < more or capacity < waiting:
        capacity *= 2
    after = ArbitrageState(*(part.clone() for part in state))
    if capacity == size:
        return after
    live = torch.arange(oldest, newest, device=state.head.device)
    larger = {}
    for name in ("closed_ns", "closed_bp"):
        values = getattr(state, name)
        larger[name] = values.new_zeros((capacity, values.shape[1]))
        larger[name][live & (capacity - 1)] = values[live & (size - 1)]
    return after._replace(waiting=state.waiting.new_zeros((capacity, 3)), **larger)
