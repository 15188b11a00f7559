"""Windows of arbitrage on the device. See cpu.py and cycles.py for the formulas, windows.py for the state.

N events, V streams, W = V in whole vectors, C cycles, K = V V + C windows, R rows at which one may be open, A windows.

Most events open no pair: the CPU's bound on every edge, which needs no logarithm, is taken of all of them, and edges of
pairs are computed of the R rows whose bound is above the least one; cycles are summed up at every event. A run of open
rows is a window; the first continues one that was open before. Nothing adds up along a run, only the largest edge is
kept, so the answer does not depend on how events are cut into calls, nor on the order in which anything is done.

Plain torch on any device; the list of windows that wait comes out in order of due time, then window.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from schwabot_kernels.align.reference import OK, RATE
from schwabot_kernels.arbitrage.windows import (
    BEST,
    DUE,
    FAR_NS,
    FIRST,
    KNOWN,
    LEGS,
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


class Cycles(NamedTuple):
    """What cycles of trades need beside what pairs do.

    last_ns: time of the stream's last quote. int64 [N, V]
    rate: 1 where a stream prices another asset. int8 [V]
    leg: of every cycle 2 stream + (0 buy, 1 sell), -1 beyond the last. int32 [C, 4]
    reference_bp: log price that 0 bp stands for; NaN before it is known. float64 [1]
    rate_stale_ns: oldest quote of a rate that counts.
    """

    last_ns: torch.Tensor
    rate: torch.Tensor
    leg: torch.Tensor
    reference_bp: torch.Tensor
    rate_stale_ns: int


class Touches(NamedTuple):
    """What edges are made of: log mid, half spread and compensated phase, bp. [N, V]."""

    x: torch.Tensor
    half: torch.Tensor
    compensated: torch.Tensor


class Terms(NamedTuple):
    """What windows are: 1 same thing delivered, 0 not, -1 no pair [V, V]; taker fee, bp [V]; legs and rates of cycles.

    leg: of every window, those of pairs first, filled up with the first one; used: which of them are legs. [K, 4]
    shift: what makes a log price absolute, bp: 0 for rates. [V]; rate: bool [V]
    """

    fungible: torch.Tensor
    fee_bp: torch.Tensor
    leg: torch.Tensor
    used: torch.Tensor
    shift: torch.Tensor
    rate: torch.Tensor


class Runs(NamedTuple):
    """Windows of a call, by number, then in time: its number, first row and the row after the last; [A].

    first_bp, best_bp: edge at the first row, and the largest; best_row: the first row that has it.
    """

    window: torch.Tensor
    begin: torch.Tensor
    end: torch.Tensor
    first_bp: torch.Tensor
    best_bp: torch.Tensor
    best_row: torch.Tensor


class Both(NamedTuple):
    """Windows open before the first event, and the call's own; [A].

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
    state: Any,
    cycles: Cycles | None = None,
) -> ArbitrageState:
    """Open, widen and close the windows in which a pair or a cycle pays after fees; the state after the last event.

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
        cycles: of trades, where the graph has any.

    Raises:
        ValueError: the state has another number of cycles than is given.
    """
    given = 0 if cycles is None else cycles.leg.shape[0]
    if given != state.gross.shape[0]:
        raise ValueError(f"the state has {state.gross.shape[0]} cycles, {given} are given: pass the graph's as cycles")
    rows, streams = x.shape
    if rows == 0:
        return ArbitrageState(*(part.clone() for part in state))
    told, terms = Touches(x, half, compensated), _terms(fungible, fee_bp, cycles)
    use = (route == OK) & (quoted == 1)
    candidates = _candidates(told, use, fee_bp, min_edge_bp)
    row, window, edge = _open(told, terms, use, move, candidates, min_edge_bp)
    usable = state.usable
    if cycles is not None and given:
        fresh = (route == RATE) & (ts_ns[:, None] - cycles.last_ns <= cycles.rate_stale_ns)
        usable = torch.where(terms.rate, fresh, route == OK) & (quoted == 1)
        found = _open_cycles(told, terms, usable, move, min_edge_bp)
        row, window, edge = (torch.cat(parts) for parts in zip((row, window, edge), found, strict=True))

    runs = _runs(row, window, edge, rows)
    size = _quantities(told, depth, imbalance, terms, runs.best_row, runs.window)
    was_open = state.open_ns[START] >= 0
    goes_on = (runs.begin == 0) & was_open[runs.window]
    bests, sizes = state.open_bp[BEST][runs.window], state.open_bp[SIZE][runs.window]
    wider = ~goes_on | (runs.best_bp > bests)
    delay = torch.floor((1.0 - latency_weight[runs.begin]) * latency_max_ns + 0.5).long()
    slowest = delay.gather(1, terms.leg[runs.window] >> 1).amax(1)
    start_ns = torch.where(goes_on, state.open_ns[START][runs.window], ts_ns[runs.begin])
    first_bp = torch.where(goes_on, state.open_bp[FIRST][runs.window], runs.first_bp)
    # Windows that were open and are not any more at the first event.
    continued = torch.zeros_like(state.open_ns[START]).index_add(0, runs.window, goes_on.long())
    over = (was_open & (continued == 0)).nonzero()[:, 0]
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
            torch.cat((state.open_bp[SIZE][over], torch.where(wider, size, sizes))),
            torch.cat((state.open_bp[REST][over], torch.where(goes_on, state.open_bp[REST][runs.window], 0.0))),
        ), 1),
    )  # fmt: skip
    after = _after(both, ts_ns, told, terms, state)
    if cycles is not None and given:
        value = _values(told, terms, usable, slice(rows - 1, rows))
        after.usable[:streams] = usable[-1].to(torch.int8)
        after.value[:] = value[0]
        after.gross[:] = _gross(value, terms)[0]
    return after


def _due_of(state: Any) -> torch.Tensor:
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
    step = max(1, CELLS // streams**2)
    for k in range(0, len(candidates), step):
        at = candidates[k : k + step]
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


def _runs(row: torch.Tensor, window: torch.Tensor, edge: torch.Tensor, rows: int) -> Runs:
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
    return Runs(window[first], row[first], row[last] + 1, edge[first], best, best_row)


def _after(both: Both, ts_ns: torch.Tensor, told: Touches, terms: Terms, state: Any) -> ArbitrageState:
    """The state after the last event: what is open, what has closed, and what waits."""
    rows, streams = told.x.shape
    oldest, newest, waiting, closes = torch.cat((state.head, (both.end < rows).sum()[None])).tolist()
    # In the order in which they close, what stays open last.
    order = torch.argsort(both.end * len(terms.leg) + both.window, stable=True)
    both = Both(*(part[order] for part in both))
    number = torch.arange(newest, newest + len(order), device=ts_ns.device)
    number[closes:] = -1

    # What waited before this call, and what it adds.
    old = state.waiting[:waiting]
    due = torch.cat((old[:, DUE], both.due_ns))
    which = torch.cat((old[:, WHICH], both.window))
    numbers = torch.cat((old[:, NUMBER], number))
    # Those of windows that were open are in ``both`` too.
    waits = torch.cat((old[:, NUMBER] >= 0, both.due_ns >= 0))
    told_now = waits & (due < ts_ns[-1])
    source = torch.searchsorted(ts_ns, due, right=True) - 1  # the row before the event that tells
    rest = torch.where(
        source >= 0,
        _rests(told, terms, source.clamp(min=0), which),
        _rests(Touches(*(row[None, :streams] for row in state.row)), terms, torch.zeros_like(source), which),
    )
    both.bp[:, REST] = torch.where(told_now[waiting:], rest[waiting:], both.bp[:, REST])
    known = ~waits[waiting:] | told_now[waiting:]

    stays = (waits & ~told_now).nonzero()[:, 0]
    stays = stays[torch.argsort(which[stays], stable=True)]
    stays = stays[torch.argsort(due[stays], stable=True)]
    after = _grown(state, oldest, newest, closes, len(stays))
    mask = after.closed_ns.shape[0] - 1
    over = told_now[:waiting].nonzero()[:, 0]
    slots = numbers[over] & mask
    after.closed_bp[slots, REST] = rest[over]
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
    # Windows that have closed have no place: theirs is one beyond the last.
    windows = len(terms.leg)
    place = which.new_full((windows + 1,), -1)
    place[torch.where(numbers[stays] < 0, which[stays], windows)] = torch.arange(len(stays), device=ts_ns.device)
    after.open_ns[PLACE] = place[:windows]
    after.head[1], after.head[2] = newest + closes, len(stays)
    after.counts[0] = (now_open < streams**2).sum()
    after.counts[1] = (now_open >= streams**2).sum()
    after.counts[2:] = due[stays[:1]] if len(stays) else FAR_NS
    for k, column in enumerate(told):
        after.row[k, :streams] = column[-1]
    return after


def _terms(fungible: torch.Tensor, fee_bp: torch.Tensor, cycles: Cycles | None) -> Terms:
    """What all windows are made of."""
    streams, device = fee_bp.shape[0], fee_bp.device
    number = torch.arange(streams**2, device=device)
    buy, sell = 2 * (number // streams), 2 * (number % streams) + 1
    leg, used = torch.stack((buy, sell, buy, buy), 1), torch.arange(LEGS, device=device)[None] < 2
    used = used.expand(streams**2, -1)
    rate, shift = torch.zeros(streams, dtype=torch.bool, device=device), torch.zeros_like(fee_bp)
    if cycles is not None:
        given = cycles.leg.long()
        leg = torch.cat((leg, torch.where(given < 0, given[:, :1], given)))
        used = torch.cat((used, given >= 0))
        rate = cycles.rate == 1
        shift = torch.where(rate, 0.0, cycles.reference_bp)
    return Terms(fungible, fee_bp, leg, used, shift, rate)


def _values(told: Touches, terms: Terms, usable: torch.Tensor, rows: slice) -> torch.Tensor:
    """What buying and selling a stream adds to a cycle, bp, -inf where it can be no leg. Shape: [R, 2 V]."""
    x, half = told.x[rows], told.half[rows]
    one = torch.ones_like(x)
    ask = -(touch_bp(x, half, one) + terms.shift) - terms.fee_bp
    bid = touch_bp(x, half, -one) + terms.shift - terms.fee_bp
    return torch.where(usable[rows, :, None], torch.stack((ask, bid), 2), -torch.inf).flatten(1)


def _gross(value: torch.Tensor, terms: Terms) -> torch.Tensor:
    """Sum over the legs of every cycle, before the expected move. Shape: [R, C]."""
    leg, used = (part[terms.fee_bp.shape[0] ** 2 :] for part in (terms.leg, terms.used))
    gross = value[:, leg[:, 0]]
    for k in range(1, LEGS):
        gross = gross + torch.where(used[:, k], value[:, leg[:, k]], 0.0)
    return gross


def _open_cycles(
    told: Touches, terms: Terms, usable: torch.Tensor, move: torch.Tensor, min_edge_bp: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Row, window and net edge of every cycle that is open, by window, then row."""
    pairs = terms.fee_bp.shape[0] ** 2
    leg, used = terms.leg[pairs:], terms.used[pairs:] & ~terms.rate[terms.leg[pairs:] >> 1]
    # How many legs buy the asset, and how many sell it: the move is against each of them.
    buys, sells = ((used & (leg % 2 == side)).sum(1) for side in (0, 1))
    found = []
    step = max(1, CELLS // max(1, len(leg)))
    for first in range(0, len(move), step):
        rows = slice(first, first + step)
        gross = _gross(_values(told, terms, usable, rows), terms)
        place, cycle = (gross > min_edge_bp).nonzero(as_tuple=True)
        up = move[rows][place]
        net = gross[place, cycle] - buys[cycle] * up.clamp(min=0.0) - sells[cycle] * (-up).clamp(min=0.0)
        is_open = net > min_edge_bp
        found.append((first + place[is_open], pairs + cycle[is_open], net[is_open]))
    row, window, edge = (torch.cat(parts) for parts in zip(*found, strict=True))
    window, order = torch.sort(window, stable=True)
    return row[order], window, edge[order]


def _quantities(
    told: Touches,
    depth: torch.Tensor,
    imbalance: torch.Tensor,
    terms: Terms,
    at: torch.Tensor,
    window: torch.Tensor,
) -> torch.Tensor:
    """Largest amount that passes through all legs, in base asset of the first; NaN where one is unknown. Shape: [A]."""
    streams = terms.fee_bp.shape[0]
    leg, used = terms.leg[window], terms.used[window]
    amount, size = torch.ones_like(told.x[at, 0]), torch.full_like(told.x[at, 0], torch.inf)
    unknown = torch.zeros_like(used[:, 0])
    of_pair = window < streams**2
    for k in range(LEGS):
        v, sells = leg[:, k] >> 1, leg[:, k] % 2 == 1
        mid = torch.exp(1e-4 * (told.x[at, v] + terms.shift[v]))
        half = 1e-4 * told.half[at, v]
        # Mean depth and imbalance together give back the quantity of each side.
        held = depth[at, v] * (1.0 + torch.where(sells, imbalance[at, v], -imbalance[at, v]))
        bought = torch.ones_like(amount) if k == 0 else amount / (mid * (1.0 + half))
        # Both legs of a pair trade one base asset.
        needed = torch.where(of_pair, 1.0, torch.where(sells, amount, bought))
        unknown |= used[:, k] & held.isnan()
        size = torch.where(used[:, k], torch.minimum(size, held / needed), size)
        amount = torch.where(used[:, k], torch.where(sells, needed * mid * (1.0 - half), needed), amount)
    return torch.where(unknown, torch.nan, size)


def _rests(told: Touches, terms: Terms, at: torch.Tensor, window: torch.Tensor) -> torch.Tensor:
    """Edge of windows at one row each, without the expected move. Shape: [A]."""
    streams = terms.fee_bp.shape[0]
    of_pair = window < streams**2
    leg, used = terms.leg[window], terms.used[window]
    edge = torch.zeros_like(told.x[at, 0])
    for k in range(LEGS):
        v, side = leg[:, k] >> 1, 2.0 * (leg[:, k] % 2) - 1.0  # the bid where it sells: -1 for what is paid
        touch = touch_bp(told.x[at, v], told.half[at, v], -side) + torch.where(of_pair, 0.0, terms.shift[v])
        edge = edge + torch.where(used[:, k], side * touch - terms.fee_bp[v], 0.0)
    buy, sell = leg[:, 0] >> 1, leg[:, 1] >> 1
    basis = told.compensated[at, sell] - told.compensated[at, buy]
    number = torch.where(of_pair, window, 0)
    differs = of_pair & (terms.fungible.flatten()[number] == 0)
    return torch.where(differs, edge - basis, edge)


def _grown(state: Any, oldest: int, newest: int, more: int, waiting: int) -> Any:
    """A copy of the state with room for so many more closed windows, and for a list so long."""
    size = capacity = state.closed_ns.shape[0]
    while capacity - (newest - oldest) < more or capacity < waiting:
        capacity *= 2
    after: Any = ArbitrageState(*(part.clone() for part in state))
    if capacity == size:
        return after
    live = torch.arange(oldest, newest, device=state.head.device)
    larger = {}
    for name in ("closed_ns", "closed_bp"):
        values = getattr(state, name)
        larger[name] = values.new_zeros((capacity, values.shape[1]))
        larger[name][live & (capacity - 1)] = values[live & (size - 1)]
    return after._replace(waiting=state.waiting.new_zeros((capacity, 3)), **larger)
