"""What a skipping sweep reads of a market, and what it knows of whole blocks of rows.

Summaries combine exactly: extremes of the signal and of the mark, the largest fall and rise of the mark inside.

Axis legend: N rows of the market in receive order, C blocks of rows, D bucket ends.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numba import njit

from schwabot_kernels.arrays import F64, I32, I64
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.simulate.records import Market
from schwabot_kernels.simulate.taking import BARE


class Blocks(NamedTuple):
    """Summaries of blocks of 2^shift rows. [C] each.

    low, high: extremes of the signal where it is a number. until_ns: receive time of the last row.
    bottom, top: extremes of the mark. fall, rise: largest move of the mark down and up, from a row to a later one.
    """

    shift: int
    low: F64
    high: F64
    until_ns: I64
    bottom: I64
    top: I64
    fall: I64
    rise: I64


class Lean(NamedTuple):
    """What the sweep of one leg reads.

    market: as given. leg: the one that is traded. signal: the one that quiet speaks of, a view. [N]
    mark: of the leg's last quote; 0 before the first one. [N]
    last: row of the leg's last quote, -1 = none yet. [N]
    first: row of the first quote, N = none. first_own: of the leg's first row, -1 = none.
    last_venue_ns: venue time of the leg's last row; orders that arrive later are not answered.
    ends: last rows of buckets. [D]
    small, large: summaries of small blocks and of larger ones. tile: rows that all sets go through in turn.
    """

    market: Market
    leg: int
    signal: F64
    mark: I64
    last: I32
    first: int
    first_own: int
    last_venue_ns: int
    ends: I64
    bucket_ns: int
    small: Blocks
    large: Blocks
    tile: int


def build(
    market: Market,
    leg: int,
    signal: int,
    bucket_ns: int,
    *,
    block: int = 64,
    large: int = 1024,
    tile: int = 16384,
) -> Lean:
    """Sum up a market for sweeps over one leg.

    Args:
        market: all of it; exactly N rows.
        leg: the leg the policy trades.
        signal: number of the signal its quiet band is of.
        bucket_ns: as in ``Rules``.
        block: rows of a small block; like the next two a power of two.
        large: rows of a large block, at least as many.
        tile: rows that all sets go through before the next ones, at least as many.

    Raises:
        ValueError: the market has more than one leg; block, large or tile is not a power of two, or they do not grow.
    """
    if market.signals.shape[0] != 1:
        raise ValueError(f"the market has {market.signals.shape[0]} legs: sweep policies on several with make_sweep")
    if any(rows < 1 or rows & (rows - 1) for rows in (block, large, tile)) or not block <= large <= tile:
        raise ValueError(f"block={block}, large={large}, tile={tile}: use powers of two that do not fall")
    last, mark, first_own = _known(market.leg, market.kind, market.mark, leg)
    first = int(np.searchsorted(last >= 0, True))
    own = np.flatnonzero(market.leg == leg)[-1:]
    x = market.signals[leg, signal]
    return Lean(
        market=market,
        leg=leg,
        signal=x,
        mark=mark,
        last=last,
        first=first,
        first_own=first_own,
        last_venue_ns=int(market.venue_ns[own[0]]) if len(own) else -(2**63),
        ends=_bucket_ends(market.ts_ns, bucket_ns),
        bucket_ns=bucket_ns,
        small=Blocks(block.bit_length() - 1, *_summed_up(x, market.ts_ns, mark, block)),
        large=Blocks(large.bit_length() - 1, *_summed_up(x, market.ts_ns, mark, large)),
        tile=tile,
    )


@njit(**NJIT)
def _known(leg_of: Any, kind: Any, marks: Any, leg: int) -> Any:
    rows = leg_of.size
    last, mark = np.empty(rows, np.int32), np.empty(rows, np.int64)
    known, value, first_own = -1, 0, -1
    for i in range(rows):
        if leg_of[i] == leg:
            if first_own < 0:
                first_own = i
            if kind[i] == 0:
                known, value = i, marks[i]
        last[i], mark[i] = known, value
    return last, mark, first_own


@njit(**NJIT)
def _bucket_ends(ts_ns: Any, bucket_ns: int) -> Any:
    rows, count = ts_ns.size, 0
    ends = np.empty(16, np.int64)
    for i in range(rows):
        if i == rows - 1 or ts_ns[i + 1] // bucket_ns != ts_ns[i] // bucket_ns:
            if count == ends.size:
                grown = np.empty(2 * count, np.int64)
                grown[:count] = ends
                ends = grown
            ends[count] = i
            count += 1
    return ends[:count].copy()


@njit(**NJIT)
def _summed_up(x: Any, ts_ns: Any, mark: Any, block: int) -> Any:
    rows = x.size
    count = (rows + block - 1) // block
    low, high = np.empty(count, np.float64), np.empty(count, np.float64)
    until_ns = np.empty(count, np.int64)
    bottom, top = np.empty(count, np.int64), np.empty(count, np.int64)
    fall, rise = np.empty(count, np.int64), np.empty(count, np.int64)
    for c in range(count):
        begin, end = c * block, min(rows, (c + 1) * block)
        least, most = np.inf, -np.inf
        lo = hi = mark[begin]
        down = up = 0
        for i in range(begin, end):
            if x[i] < least:
                least = x[i]
            if x[i] > most:
                most = x[i]
            lo, hi = min(lo, mark[i]), max(hi, mark[i])
            down, up = max(down, hi - mark[i]), max(up, mark[i] - lo)
        low[c], high[c], until_ns[c] = least, most, ts_ns[end - 1]
        bottom[c], top[c], fall[c], rise[c] = lo, hi, down, up
    return low, high, until_ns, bottom, top, fall, rise


@njit(**BARE)
def first_outside(x: Any, small: Any, large: Any, i: int, end: int, low: float, high: float) -> int:
    """First row of [i, end) whose signal lies outside [low, high], else end."""
    first = True
    while i < end:
        c = i >> large.shift
        if (first or (i & ((1 << large.shift) - 1)) == 0) and large.high[c] <= high and large.low[c] >= low:
            i = (c + 1) << large.shift
            continue
        first = False
        c = i >> small.shift
        stop = min((c + 1) << small.shift, end)
        if not (small.high[c] <= high and small.low[c] >= low):
            # Row numbers without a sign: numba asks at every access whether a signed one counts from the end.
            j, until = np.uint64(i), np.uint64(stop)
            while j < until:
                if x[j] > high or x[j] < low:
                    return numba.int64(j)
                j += np.uint64(1)
        i = stop
    return end


@njit(**BARE)
def first_from(ts_ns: Any, small: Any, large: Any, i: int, time_ns: int) -> int:
    """First row from i on that is received at time_ns or later, N = none."""
    rows = ts_ns.size
    if i >= rows:
        return rows
    c, count = i >> small.shift, small.until_ns.size
    between = large.shift - small.shift
    while c < count and small.until_ns[c] < time_ns:
        c += 1
        while (c & ((1 << between) - 1)) == 0 and c < count and large.until_ns[c >> between] < time_ns:
            c += 1 << between
    if c >= count:
        return rows
    begin = max(i, c << small.shift)
    end = min((c + 1) << small.shift, rows)
    before = 0
    for j in range(begin, end):
        before += ts_ns[j] < time_ns
    return begin + before


@njit(**BARE)
def _piece(mark: Any, blocks: Any, c: int, i: int, end: int, cash2: int, position: int, peak2: int, fall2: int) -> Any:
    """Peak and largest fall of the equity after rows [i, end) of block c."""
    up, down = (blocks.top[c], blocks.bottom[c]) if position > 0 else (blocks.bottom[c], blocks.top[c])
    if cash2 + position * up <= peak2:  # no new peak, so only the lowest equity counts
        if peak2 - (cash2 + position * down) > fall2:
            worst = mark[i]
            if position > 0:
                for j in range(i, end):
                    worst = min(worst, mark[j])
            else:
                for j in range(i, end):
                    worst = max(worst, mark[j])
            fall2 = max(fall2, peak2 - (cash2 + position * worst))
        return peak2, fall2
    for j in range(i, end):
        equity2 = cash2 + position * mark[j]
        peak2 = max(peak2, equity2)
        fall2 = max(fall2, peak2 - equity2)
    return peak2, fall2


@njit(**BARE)
def _whole(blocks: Any, c: int, cash2: int, position: int, peak2: int, fall2: int) -> Any:
    """Peak and largest fall of the equity after a whole block."""
    if position > 0:
        up, down, inside = blocks.top[c], blocks.bottom[c], position * blocks.fall[c]
    else:
        up, down, inside = blocks.bottom[c], blocks.top[c], -position * blocks.rise[c]
    fall2 = max(fall2, inside, peak2 - (cash2 + position * down))
    return max(peak2, cash2 + position * up), fall2


@njit(**BARE)
def over(mark: Any, small: Any, large: Any, i: int, end: int, cash2: int, position: int, peak2: int, fall2: int) -> Any:
    """Peak and largest fall of the equity after rows [i, end) in which the account stays as it is."""
    if position == 0:
        if i < end:
            peak2 = max(peak2, cash2)
            fall2 = max(fall2, peak2 - cash2)
        return peak2, fall2
    while i < end:
        if (i & ((1 << large.shift) - 1)) == 0 and i + (1 << large.shift) <= end:
            peak2, fall2 = _whole(large, i >> large.shift, cash2, position, peak2, fall2)
            i += 1 << large.shift
            continue
        c = i >> small.shift
        stop = min((c + 1) << small.shift, end)
        if stop - i == 1 << small.shift:
            peak2, fall2 = _whole(small, c, cash2, position, peak2, fall2)
        else:
            peak2, fall2 = _piece(mark, small, c, i, stop, cash2, position, peak2, fall2)
        i = stop
    return peak2, fall2


@njit(**BARE)
def walked(mark: Any, i: int, end: int, cash2: int, position: int, peak2: int, fall2: int) -> Any:
    """The same, row by row."""
    for j in range(i, end):
        equity2 = cash2 + position * mark[j]
        peak2 = max(peak2, equity2)
        fall2 = max(fall2, peak2 - equity2)
    return peak2, fall2
