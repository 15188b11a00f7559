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
    through: cycles through stream v are through[through[v] : through[v + 1]]. [V + 1 + their number]
    """

    min_edge_bp: float
    latency_ns: int
    rate_stale_ns: int
    fungible: I8
    fee_bp: F64
    leg: I32
    through: I32


class ArbitrageState(NamedTuple):
    """Open windows, cycles' edges, the row before, the list of windows that wait, and the ring of closed ones.

    Numbers of one kind share an array: one event's step takes its time for every array.

    open_ns: start time, -1 when closed, and place in the list, -1 when not there. [2, K]
    open_bp: edge at the start, largest edge so far, the size then, and the edge left, 0 until it is known. [4, K]
    counts: open pairs, open cycles, earliest time in the list. [3]
    usable: 1 where a stream can be a leg of a cycle; value: what buying and selling it adds to one, bp, -inf where it
        can't be one; gross: sum over the legs, before the expected move. [W], [2 V], [C]
    row: x, half and compensated phase of the row before. [3, W]
    head: [next to hand out, next to write, length of the list]. [3]
    waiting: when the edge left is known, of which window, and its number in the ring, -1 while it is open.
        [capacity, 3]
    closed_ns: window, start, end, and whether the edge left is known; closed_bp: edge at the start, the largest, the
        size then, the edge left: ring of closed windows. [capacity, 4]
    """

    open_ns: I64
    open_bp: F64
    counts: I64
    usable: I8
    value: F64
    gross: F64
    row: F64
    head: I64
    waiting: I64
    closed_ns: I64
    closed_bp: F64


START, PLACE = 0, 1
"""Rows of ``open_ns``."""
FIRST, BEST, SIZE, REST = 0, 1, 2, 3
"""Rows of ``open_bp``, columns of ``closed_bp``."""
DUE, WHICH, NUMBER = 0, 1, 2
"""Columns of ``waiting``."""
KNOWN = 3
"""Column of ``closed_ns`` after window, start and end."""


def empty_state(streams: int, capacity: int = 16384, cycles: int = 0) -> ArbitrageState:
    """State before the first event; ``capacity`` is a power of two."""
    windows = streams * streams + cycles
    return ArbitrageState(
        open_ns=np.full((2, windows), -1, np.int64),
        open_bp=np.zeros((4, windows)),
        counts=np.array([0, 0, FAR_NS], np.int64),
        usable=np.zeros(padded(streams), np.int8),
        value=np.full(2 * streams, -np.inf),
        gross=np.full(cycles, -np.inf),
        row=np.zeros((3, padded(streams))),
        head=np.zeros(3, np.int64),
        waiting=np.zeros((capacity, 3), np.int64),
        closed_ns=np.zeros((capacity, 4), np.int64),
        closed_bp=np.zeros((capacity, 4)),
    )


@njit(**NJIT)
def kind_of(window: int, state: ArbitrageState) -> int:
    """0 for a pair, 1 for a cycle."""
    return 0 if window < state.open_ns.shape[1] - state.gross.size else 1


@njit(**NJIT)
def open_window(window: int, now_ns: int, due_ns: int, edge_bp: float, state: ArbitrageState) -> None:
    """Begin a window; its edge left is that as of ``due_ns``."""
    state.open_ns[START, window] = now_ns
    state.open_bp[FIRST, window] = edge_bp
    state.open_bp[BEST, window] = -np.inf
    state.open_bp[REST, window] = 0.0
    state.counts[kind_of(window, state)] += 1
    place = state.head[2]
    state.waiting[place, DUE] = due_ns
    state.waiting[place, WHICH] = window
    state.waiting[place, NUMBER] = -1
    state.open_ns[PLACE, window] = place
    state.head[2] += 1
    state.counts[2] = min(state.counts[2], due_ns)


@njit(**NJIT)
def close_window(window: int, now_ns: int, state: ArbitrageState) -> None:
    """Move an open window to the ring."""
    number = state.head[1]
    slot = number & (state.closed_ns.shape[0] - 1)
    place = state.open_ns[PLACE, window]
    state.closed_ns[slot, 0] = window
    state.closed_ns[slot, 1] = state.open_ns[START, window]
    state.closed_ns[slot, 2] = now_ns
    state.closed_ns[slot, KNOWN] = 1 if place < 0 else 0
    for k in range(4):
        state.closed_bp[slot, k] = state.open_bp[k, window]
    if place >= 0:
        state.waiting[place, NUMBER] = number
        state.open_ns[PLACE, window] = -1
    state.head[1] += 1
    state.open_ns[START, window] = -1
    state.counts[kind_of(window, state)] -= 1


@njit(**NJIT)
def tell_rest(place: int, rest_bp: float, state: ArbitrageState) -> None:
    """Write the edge left of the window at a place of the list, and fill the place with the last one."""
    waiting = state.waiting
    number = waiting[place, NUMBER]
    if number >= 0:
        slot = number & (state.closed_ns.shape[0] - 1)
        state.closed_bp[slot, REST] = rest_bp
        state.closed_ns[slot, KNOWN] = 1
    else:
        window = waiting[place, WHICH]
        state.open_bp[REST, window] = rest_bp
        state.open_ns[PLACE, window] = -1
    state.head[2] -= 1
    last = state.head[2]
    if place != last:
        for k in range(3):
            waiting[place, k] = waiting[last, k]
        if waiting[place, NUMBER] < 0:
            state.open_ns[PLACE, waiting[place, WHICH]] = place
