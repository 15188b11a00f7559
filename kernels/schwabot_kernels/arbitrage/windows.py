"""Windows of arbitrage: what is open, what has closed, and what is still to be told of each. V streams, C cycles.

A window's number is buy * V + sell for a pair, V * V + c for cycle c; there are K = V V + C of them.

Of every window the edge is told that was left once our latency had passed after its start. So a window that has closed
may have to wait for that, and one that is open may know it already: each is in a list until then.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.arrays import F64, I8, I32, I64
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.simd import padded

LEGS = 4
"""Most legs of a cycle."""
FAR_NS = 2**63 - 1


class ArbitrageParams(NamedTuple):
    """Settings.

    min_edge_bp: net edge above which a window opens.
    latency_ns: our own latency from decision to exchange.
    rate_stale_ns: oldest quote of a rate that still counts.
    fungible: 1 where two streams deliver the same thing for the same currency, 0 where not, -1 where the pair is left
        to cycles that convert the currency. [V, V]
    fee_bp: taker fee. [V]
    leg: of every cycle 2 stream + (0 buy, 1 sell), -1 beyond the last. [C, LEGS]
    first, through: cycles through stream v are through[first[v] : first[v + 1]]. [V + 1], [T]
    """

    min_edge_bp: float
    latency_ns: int
    rate_stale_ns: int
    fungible: I8
    fee_bp: F64
    leg: I32
    first: I64
    through: I32


class ArbitrageState(NamedTuple):
    """Open windows, cycles' edges, the row before, the list of windows that wait, and the ring of closed ones.

    open_ns: start time, -1 when closed; start_bp: edge then; best_bp, best_qty: largest edge so far and the size then;
        left_bp: edge left after our latency, 0 until it is known; waits: place in the list, -1 when not there. [K]
    open_count: open windows of pairs, of cycles. [2]
    usable: 1 where a stream can be a leg of a cycle; value: what buying and selling it adds to one, bp, -inf where it
        can't be one; gross: sum over the legs, before the expected move. [W], [2 V], [C]
    x, half, compensated: the row before. [1, W]
    next_ns: earliest time in the list. [1]
    head: [next to hand out, next to write, length of the list]. [3]
    wait_ns, wait_window, wait_slot: when the edge left is known, of which window, and its number in the ring, -1 while
        it is open. [capacity]
    window, start_ns, end_ns, first_bp, edge_bp, qty, rest_bp, known: ring of closed windows; edge at the start, the
        largest, the size then, the edge left, and whether that is known. [capacity]
    """

    open_ns: I64
    start_bp: F64
    best_bp: F64
    best_qty: F64
    left_bp: F64
    waits: I64
    open_count: I64
    usable: I8
    value: F64
    gross: F64
    x: F64
    half: F64
    compensated: F64
    next_ns: I64
    head: I64
    wait_ns: I64
    wait_window: I32
    wait_slot: I64
    window: I32
    start_ns: I64
    end_ns: I64
    first_bp: F64
    edge_bp: F64
    qty: F64
    rest_bp: F64
    known: I8


def empty_state(streams: int, capacity: int = 16384, cycles: int = 0) -> ArbitrageState:
    """State before the first event; ``capacity`` is a power of two."""
    windows, row = streams * streams + cycles, (1, padded(streams))
    return ArbitrageState(
        open_ns=np.full(windows, -1, np.int64),
        start_bp=np.zeros(windows),
        best_bp=np.zeros(windows),
        best_qty=np.zeros(windows),
        left_bp=np.zeros(windows),
        waits=np.full(windows, -1, np.int64),
        open_count=np.zeros(2, np.int64),
        usable=np.zeros(padded(streams), np.int8),
        value=np.full(2 * streams, -np.inf),
        gross=np.full(cycles, -np.inf),
        x=np.zeros(row),
        half=np.zeros(row),
        compensated=np.zeros(row),
        next_ns=np.full(1, FAR_NS, np.int64),
        head=np.zeros(3, np.int64),
        wait_ns=np.zeros(capacity, np.int64),
        wait_window=np.zeros(capacity, np.int32),
        wait_slot=np.zeros(capacity, np.int64),
        window=np.zeros(capacity, np.int32),
        start_ns=np.zeros(capacity, np.int64),
        end_ns=np.zeros(capacity, np.int64),
        first_bp=np.zeros(capacity),
        edge_bp=np.zeros(capacity),
        qty=np.zeros(capacity),
        rest_bp=np.zeros(capacity),
        known=np.zeros(capacity, np.int8),
    )


@njit(**NJIT)
def kind_of(window: int, state: ArbitrageState) -> int:
    """0 for a pair, 1 for a cycle."""
    return 0 if window < state.open_ns.size - state.gross.size else 1


@njit(**NJIT)
def open_window(window: int, now_ns: int, due_ns: int, edge_bp: float, state: ArbitrageState) -> None:
    """Begin a window; its edge left is that as of ``due_ns``."""
    state.open_ns[window] = now_ns
    state.start_bp[window] = edge_bp
    state.best_bp[window] = -np.inf
    state.left_bp[window] = 0.0
    state.open_count[kind_of(window, state)] += 1
    place = state.head[2]
    state.wait_ns[place] = due_ns
    state.wait_window[place] = window
    state.wait_slot[place] = -1
    state.waits[window] = place
    state.head[2] += 1
    state.next_ns[0] = min(state.next_ns[0], due_ns)


@njit(**NJIT)
def close_window(window: int, now_ns: int, state: ArbitrageState) -> None:
    """Move an open window to the ring."""
    number = state.head[1]
    slot = number & (state.window.size - 1)
    state.window[slot] = window
    state.start_ns[slot] = state.open_ns[window]
    state.end_ns[slot] = now_ns
    state.first_bp[slot] = state.start_bp[window]
    state.edge_bp[slot] = state.best_bp[window]
    state.qty[slot] = state.best_qty[window]
    state.rest_bp[slot] = state.left_bp[window]
    place = state.waits[window]
    state.known[slot] = 1 if place < 0 else 0
    if place >= 0:
        state.wait_slot[place] = number
        state.waits[window] = -1
    state.head[1] += 1
    state.open_ns[window] = -1
    state.open_count[kind_of(window, state)] -= 1


@njit(**NJIT)
def tell_rest(place: int, rest_bp: float, state: ArbitrageState) -> None:
    """Write the edge left of the window at a place of the list, and fill the place with the last one."""
    number = state.wait_slot[place]
    if number >= 0:
        slot = number & (state.window.size - 1)
        state.rest_bp[slot] = rest_bp
        state.known[slot] = 1
    else:
        window = state.wait_window[place]
        state.left_bp[window] = rest_bp
        state.waits[window] = -1
    state.head[2] -= 1
    last = state.head[2]
    if place != last:
        state.wait_ns[place] = state.wait_ns[last]
        state.wait_window[place] = state.wait_window[last]
        state.wait_slot[place] = state.wait_slot[last]
        if state.wait_slot[place] < 0:
            state.waits[state.wait_window[place]] = place
