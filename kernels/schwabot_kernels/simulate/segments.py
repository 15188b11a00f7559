"""A skipping sweep in pieces that run side by side: sets x segments of the rows, each exactly as in one run.

Axis legend: N rows of the market in receive order, P parameter sets, G segments, T = G P threads, D bucket ends, M
floats of a policy's memory. Thread t plays segment t // P of set t % P.

A segment can't begin before the one in front has ended, so its beginning is guessed: what a run from flat over some
rows in front of it ends with. What a segment does depends on nothing but its beginning, accounts start at nothing and
are put together afterwards (sums add up; peak, low and fall combine; changes over buckets are taken in their order). A
guess that is not, to the last bit, what the segment in front ended with is played again from that. So the answer is
that of one run, however well it was guessed; rows that were played again are counted.

``Work.begun`` is what a segment began with, ``state`` and the rest what it ended with. All that a thread touches is in
its own column, so that threads side by side read and write side by side.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from schwabot_kernels.simulate.cutting import CARRIED, FLOATS, HELD, DeviceUnfitError
from schwabot_kernels.simulate.records import (
    BUCKETS,
    CASH,
    COUNTS,
    DRAWDOWN2,
    EQUITY2,
    GROSS,
    HOLD_NS,
    LEAST,
    MOST_GROSS,
    PEAK2,
    POSITION,
    SUM1,
    SUM2,
    SUM3,
    SUM4,
)
from schwabot_kernels.simulate.skipping import (
    END,
    ENTRY,
    FILL_LOTS,
    FILL_NS,
    FILL_PRICE,
    FILL_SLIPPAGE,
    FUNDED,
    HIGH,
    LOW,
    ORDER_NS,
    REPORT_ROW,
    SINCE,
    STATE,
    Path,
    begin_state,
    make_advance,
)
from schwabot_kernels.simulate.taking import BARE, COLD

UNSEEN = 2**62
"""Beyond every equity."""
GUESS, PLAY, MEND = 0, 1, 2
"""What a thread is to do."""
ENDLESS = "its segments do not come to an end: it does otherwise from the same state"
"""After a round for each segment every one but a policy that is no function of what it sees has settled."""


# the way of the equity within a segment: peak, largest fall and low


@njit(**BARE)
def _load(counts: Any) -> Any:
    return counts[PEAK2], counts[DRAWDOWN2], counts[EQUITY2]


@njit(**BARE)
def _store(counts: Any, way: Any) -> None:
    counts[PEAK2], counts[DRAWDOWN2], counts[EQUITY2] = way


@njit(**BARE)
def _met(way: Any, equity2: int) -> Any:
    peak2 = max(way[0], equity2)
    return peak2, max(way[1], peak2 - equity2), min(way[2], equity2)


@njit(**BARE)
def _walked(mark: Any, i: int, end: int, cash2: int, position: int, way: Any) -> Any:
    j, until = np.uint64(i), np.uint64(end)  # without a sign: see ``first_outside``
    while j < until:
        way = _met(way, cash2 + position * mark[j])
        j += np.uint64(1)
    return way


@njit(**BARE)
def _whole(blocks: Any, c: int, cash2: int, position: int, way: Any) -> Any:
    """After a whole block."""
    if position > 0:
        up, down, inside2 = blocks.top[c], blocks.bottom[c], position * blocks.fall[c]
    else:
        up, down, inside2 = blocks.bottom[c], blocks.top[c], -position * blocks.rise[c]
    low2 = cash2 + position * down
    return max(way[0], cash2 + position * up), max(way[1], inside2, way[0] - low2), min(way[2], low2)


@njit(**BARE)
def _is_within(blocks: Any, c: int, cash2: int, position: int, way: Any) -> bool:
    """Does no row of the block change anything?"""
    up, down = (blocks.top[c], blocks.bottom[c]) if position > 0 else (blocks.bottom[c], blocks.top[c])
    low2 = cash2 + position * down
    return bool(cash2 + position * up <= way[0] and low2 >= way[2] and way[0] - low2 <= way[1])


@njit(**BARE)
def _over(mark: Any, small: Any, large: Any, i: int, end: int, cash2: int, position: int, way: Any) -> Any:
    """As ``schwabot_kernels.simulate.lean.over``, with the low."""
    if position == 0:
        return _met(way, cash2) if i < end else way
    while i < end:
        if (i & ((1 << large.shift) - 1)) == 0 and i + (1 << large.shift) <= end:
            way = _whole(large, i >> large.shift, cash2, position, way)
            i += 1 << large.shift
            continue
        c = i >> small.shift
        stop = min((c + 1) << small.shift, end)
        if stop - i == 1 << small.shift or _is_within(small, c, cash2, position, way):
            way = _whole(small, c, cash2, position, way) if stop - i == 1 << small.shift else way
        else:
            way = _walked(mark, i, stop, cash2, position, way)
        i = stop
    return way


@njit(**COLD)
def _sample(lean: Any, until: int, counts: Any, state: Any, marks2: Any) -> None:
    """Note the equity at bucket ends before a row."""
    cash2, position = 2 * counts[CASH], counts[POSITION]
    k, ends = state[END], lean.ends
    while k < ends.size and ends[k] < until:
        marks2[k] = cash2 + position * lean.mark[ends[k]]
        k += 1
    state[END] = k


SEGMENT = Path(_load, _store, _over, _walked, _met, _sample)
"""Of a segment: what is needed to put it behind another."""


@njit(**BARE)
def _same(a: float, b: float) -> bool:
    """Bit for bit; NaN is NaN, or what holds one would be played again forever."""
    return bool((a == b or (a != a and b != b)) and math.copysign(1.0, a) == math.copysign(1.0, b))


@njit(**COLD)
def noted(plan: Any, work: Any, t: int) -> None:
    """Put how a thread ended where the one behind looks for it."""
    for row in range(STATE):
        work.ended[row, t] = work.state[row, t]
    work.ended[HELD, t] = work.counts[POSITION, t]
    for row in range(work.floats.shape[0]):
        work.ended_floats[row, t] = work.floats[row, t]


@njit(**COLD)
def _follows(plan: Any, work: Any, t: int) -> bool:
    """Did the segment begin with what the one in front ended with?"""
    begun, ended, at = work.begun, work.ended, t - plan.sets
    if begun[HELD, t] != ended[HELD, at] or begun[REPORT_ROW, t] != ended[REPORT_ROW, at]:
        return False
    if begun[REPORT_ROW, t] >= 0:
        for row in (FILL_LOTS, FILL_PRICE, FILL_SLIPPAGE):
            if begun[row, t] != ended[row, at]:
                return False
    for row in (LOW, HIGH):
        if not _same(work.begun_floats[row, t], work.ended_floats[row, at]):
            return False
    if plan.reads_times:
        if begun[FILL_NS, t] != ended[FILL_NS, at] or begun[ORDER_NS, t] != ended[ORDER_NS, at]:
            return False
        if not _same(work.begun_floats[ENTRY, t], work.ended_floats[ENTRY, at]):
            return False
    alike = True
    for row in range(FLOATS, work.floats.shape[0]):
        alike = alike and _same(work.begun_floats[row, t], work.ended_floats[row, at])
    return alike


@njit(**COLD)
def _begin_as_ended(plan: Any, work: Any, t: int) -> None:
    """Let a segment begin with what the one in front ended with."""
    at = t - plan.sets
    for row in range(CARRIED):
        work.begun[row, t] = work.ended[row, at]
    for row in range(work.floats.shape[0]):
        work.begun_floats[row, t] = work.ended_floats[row, at]


@njit(**COLD)
def _begin(plan: Any, work: Any, t: int) -> None:
    """Put a thread where its segment begins, with accounts of nothing."""
    counts, state, segment = work.counts[:, t], work.state[:, t], t // plan.sets
    for row in range(COUNTS):
        counts[row] = 0
    counts[PEAK2], counts[EQUITY2] = -UNSEEN, UNSEEN
    for row in range(STATE):
        state[row] = work.begun[row, t]
    counts[POSITION] = work.begun[HELD, t]
    for row in range(work.floats.shape[0]):
        work.floats[row, t] = work.begun_floats[row, t]
    state[SINCE], state[END], state[FUNDED] = plan.bounds[segment], plan.ends[segment], plan.funded[segment]


@njit(**COLD)
def _begin_flat(lean: Any, plan: Any, work: Any, t: int) -> None:
    """Put a thread in front of its segment, flat; no bucket is noted and no funding paid there."""
    state = work.state[:, t]
    for row in range(COUNTS):
        work.counts[row, t] = 0
    for row in range(STATE):
        state[row] = 0
    for row in range(work.floats.shape[0]):
        work.floats[row, t] = 0.0
    begin_state(state)
    state[SINCE], state[END], state[FUNDED] = plan.warm[t // plan.sets], lean.ends.size, plan.which.size - 1
    work.again[t], work.failed[t] = 0, 0


@njit(**COLD)
def _guess(work: Any, t: int) -> None:
    """Let the segment begin with where the thread is."""
    for row in range(STATE):
        work.begun[row, t] = work.state[row, t]
    work.begun[HELD, t] = work.counts[POSITION, t]
    for row in range(work.floats.shape[0]):
        work.begun_floats[row, t] = work.floats[row, t]


@njit(**COLD)
def joined(lean: Any, plan: Any, work: Any, p: int, counts: Any, moments: Any) -> None:
    """Put the segments of a set together, in order."""
    total, sums = counts[p, lean.leg], moments[p, lean.leg]
    for row in range(COUNTS):
        total[row] = 0
    before, sum1, sum2, sum3, sum4 = 0, 0.0, 0.0, 0.0, 0.0
    for segment in range(plan.bounds.size - 1):
        own, shift2 = work.counts[:, segment * plan.sets + p], 2 * total[CASH]
        for k in range(plan.ends[segment], plan.ends[segment + 1]):
            equity2 = work.marks2[k, p] + shift2
            x = float(equity2 - before)
            before = equity2
            sum1 += x
            sum2 += x * x
            sum3 += x * x * x
            sum4 += x * x * x * x
        gross, least, peak2, fall2 = total[GROSS], total[LEAST], total[PEAK2], total[DRAWDOWN2]
        if plan.bounds[segment] < plan.bounds[segment + 1]:
            fall2 = max(fall2, own[DRAWDOWN2], peak2 - (shift2 + own[EQUITY2]))
            peak2 = max(peak2, shift2 + own[PEAK2])
        for row in range(COUNTS):
            total[row] += own[row]
        total[POSITION], total[PEAK2], total[DRAWDOWN2] = own[POSITION], peak2, fall2
        total[GROSS], total[LEAST] = min(gross + own[GROSS], MOST_GROSS), min(least, own[LEAST])
    total[EQUITY2] = 0
    if lean.first < lean.market.ts_ns.size:
        total[EQUITY2] = 2 * total[CASH] + total[POSITION] * lean.mark[lean.market.ts_ns.size - 1]
    sums[BUCKETS] = float(lean.ends.size)
    sums[SUM1], sums[SUM2], sums[SUM3], sums[SUM4] = sum1, sum2, sum3, sum4


def make_step(policy: Any, quiet: Any, event_of: Any, params_of: Any, *, skip: bool = True) -> Any:
    """What a thread does, of one source for a CPU and for CUDA; the first four as of ``make_skipping``, as is ``skip``.

    Returns:
        step(lean, rules, params, plan, work, t, phase). GUESS: play what is in front of the segment. PLAY: play it.
        MEND: play it again if it began with another state than the one in front ended with, see ``noted``; ``wrong``
        becomes 1.
    """
    advance, settle = make_advance(policy, quiet, event_of, params_of, SEGMENT)

    @njit(**COLD)
    def step(lean, rules, params, plan, work, t, phase):  # type: ignore[no-untyped-def]
        p, segment = t % plan.sets, t // plan.sets
        counts, state, floats, memory = work.counts[:, t], work.state[:, t], work.floats[:, t], work.floats[FLOATS:, t]
        begin, end = plan.bounds[segment], plan.bounds[segment + 1]
        if phase == GUESS:
            begin, end = plan.warm[segment], begin
            _begin_flat(lean, plan, work, t)
            if begin < end:
                settle(lean, params, p, counts, state, floats, work.orders, memory)
        else:
            if phase == MEND:
                if segment == 0 or _follows(plan, work, t):
                    return
                _begin_as_ended(plan, work, t)
                work.wrong[0] = 1
                work.again[t] += end - begin
            _begin(plan, work, t)
        i, marks2, is_fine = begin, work.marks2[:, p], True
        while i < end and is_fine:
            stop = min(end, (i // lean.tile + 1) * lean.tile)
            is_fine = advance(
                lean, rules, params, p, i, stop, plan.due, plan.which, counts, marks2, state, floats, work.orders,
                memory, skip,
            )  # fmt: skip
            i = stop
        if not is_fine:
            work.failed[t] = 1
        if phase == GUESS:
            _guess(work, t)
        elif begin < end and counts[POSITION] != 0:
            ts_ns = lean.market.ts_ns
            counts[HOLD_NS] += ts_ns[min(end, ts_ns.size - 1)] - ts_ns[state[SINCE]]

    return step


def make_segmented(policy: Any, quiet: Any, event_of: Any, params_of: Any, *, skip: bool = True) -> Any:
    """The segments on the CPU, one thread after the other: what the device does, from the same functions.

    Returns:
        sweep(lean, rules, params, plan, work, counts, moments) -> rounds: fills counts [P, L, COUNTS], moments
        [P, L, MOMENTS] and ``work``; how often wrong guesses were played again. Raises DeviceUnfitError where that
        does not end.
    """
    step = make_step(policy, quiet, event_of, params_of, skip=skip)

    @njit(nogil=True, error_model="numpy", boundscheck=False)
    def sweep(lean, rules, params, plan, work, counts, moments):  # type: ignore[no-untyped-def]
        threads = plan.sets * (plan.bounds.size - 1)
        for phase in (GUESS, PLAY):
            for t in range(threads):
                step(lean, rules, params, plan, work, t, phase)
        rounds = 0
        while True:
            work.wrong[0] = 0
            for t in range(threads):
                noted(plan, work, t)
            for t in range(threads):
                step(lean, rules, params, plan, work, t, MEND)
            if work.wrong[0] == 0:
                break
            rounds += 1
            if rounds >= plan.bounds.size - 1:
                raise DeviceUnfitError(ENDLESS)
        for p in range(plan.sets):
            joined(lean, plan, work, p, counts, moments)
        return rounds

    return sweep
