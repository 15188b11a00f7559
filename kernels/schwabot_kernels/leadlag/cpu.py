"""Lead-lag of two streams, compiled. n + 1 and m + 1 prices, L lags, B blocks of time, N and M moves.

The moves of Y that meet one of X are neighbours, and the sum of neighbouring moves is the difference of two prices:

    U(theta) = sum_i dX_i (Y at the first stamp at or after s_i + theta - Y at the last one up to s_{i-1} + theta)

Both stamps move on with i, so a lag takes one walk along X and Y: O(n + m), and X's moves of zero are left out.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from schwabot_kernels.arrays import F64, I64
from schwabot_kernels.scalar import NJIT


@njit(**NJIT)
def contrast(time_x: I64, x: F64, time_y: I64, y: F64, lags: I64, block: I64, blocks: int) -> F64:
    """U(theta) by block of time; see ``reference.contrast``. Shape: [L, B]."""
    moved = np.flatnonzero(np.diff(x)) + 1
    last = time_y.size - 1
    out = np.zeros((lags.size, blocks))
    for row in range(lags.size):
        lag = lags[row]
        before = after = 0
        for i in moved:
            start, end = time_x[i - 1] + lag, time_x[i] + lag
            while before < last and time_y[before + 1] <= start:
                before += 1
            while after < last and time_y[after] < end:
                after += 1
            if after > before:  # else X moved before Y's first price or after its last
                out[row, block[i]] += (x[i] - x[i - 1]) * (y[after] - y[before])
    return out


@njit(**NJIT)
def binned(time: I64, price: F64, width: int, origin: int) -> tuple[I64, F64]:
    """Bins in which the price moved and by how much, the earliest first. Shape: both [N]."""
    bins = np.empty(time.size, np.int64)
    moves = np.empty(time.size)
    count = 0
    for i in range(1, time.size):
        move = price[i] - price[i - 1]
        if move == 0.0:
            continue
        number = (time[i] - origin) // width
        if count and bins[count - 1] == number:
            moves[count - 1] += move
        else:
            bins[count], moves[count] = number, move
            count += 1
    return bins[:count], moves[:count]


@njit(**NJIT)
def bin_correlation(time_x: I64, x: F64, time_y: I64, y: F64, lags: I64, width: int, origin: int) -> F64:
    """Correlation of the moves within bins; see ``reference.bin_correlation``. O(n + m) per lag. Shape: [L]."""
    bins_x, moves_x = binned(time_x, x, width, origin)
    energy_x = (moves_x * moves_x).sum()
    moved_y = np.flatnonzero(np.diff(y)) + 1
    out = np.full(lags.size, math.nan)
    if bins_x.size == 0:
        return out
    for row in range(lags.size):
        at, product, energy_y = 0, 0.0, 0.0
        number, move, ends = -1, 0.0, origin
        shift = lags[row]
        for k in range(moved_y.size + 1):
            if k < moved_y.size:
                j = moved_y[k]
                time = time_y[j] - shift
                if time < ends:  # the bin goes on
                    move += y[j] - y[j - 1]
                    continue
            if number >= 0:  # the bin is whole
                energy_y += move * move
                while at < bins_x.size and bins_x[at] < number:
                    at += 1
                if at < bins_x.size and bins_x[at] == number:
                    product += moves_x[at] * move
            if k < moved_y.size:
                number = (time - origin) // width
                ends = origin + (number + 1) * width
                move = y[j] - y[j - 1]
        if energy_x > 0.0 and energy_y > 0.0:
            out[row] = product / math.sqrt(energy_x * energy_y)
    return out
