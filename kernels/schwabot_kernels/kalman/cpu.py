"""Random-walk efficient price seen through noisy mids: a scalar Kalman filter. V streams, n events of one block.

    predict  P <- P + q dt
    update   at a routed stream's mid change, y = x - phase:  K = P / (P + r_v),  m <- m + K (y - m),  P <- K r_v

K r is (1 - K) P, and loses no digits where K is close to 1, as after a night. A mid that repeats is no new observation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.align.cpu import Aligned
from schwabot_kernels.arrays import F64
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.scalar import NJIT
from schwabot_kernels.simd import LANES, any_lane, load

SAME_BP = 1e-7
"""A mid this close to the last one repeats it. Equal bits would not do: where the last one is of a state that a device
left, another logarithm rounded it."""


class KalmanState(NamedTuple):
    """Moments = [mean in bp (NaN at first), variance in bp²]; x: last mid per stream that took part. [V]."""

    moments: F64
    x: F64


def empty_state(streams: int) -> KalmanState:
    """State before the first event."""
    return KalmanState(moments=np.array([np.nan, 0.0]), x=np.full(streams, np.nan))


@njit(**NJIT)
def kalman(
    n: int,
    aligned: Aligned,
    phased: Phased,
    q_bp2_per_s: float,
    r_bp2: F64,
    state: KalmanState,
    ghost: F64,
) -> None:
    """Fill ``ghost`` [n] for the n events of the block, NaN while every stream is routed out. ``r_bp2`` is [V]."""
    x, compensated, route = aligned.x, phased.compensated, phased.route
    dt_s, stream, last_x, width = aligned.dt_s, aligned.stream, state.x, aligned.x.shape[1]
    mean, variance = state.moments[0], state.moments[1]
    for j in range(n):
        v = stream[j]
        variance += q_bp2_per_s * dt_s[j]
        if route[j, v] == 0:
            if not abs(x[j, v] - last_x[v]) <= SAME_BP:
                y = x[j, v] - compensated[j, v]
                if mean != mean:
                    mean = y
                    variance = r_bp2[v]
                else:
                    gain = variance / (variance + r_bp2[v])
                    mean += gain * (y - mean)
                    variance = gain * r_bp2[v]
            last_x[v] = x[j, v]
        routed = False
        for k in range(j * width, (j + 1) * width, LANES):
            routed = routed or any_lane(load(route, k) == 0)
        ghost[j] = mean if routed else np.nan
    state.moments[0], state.moments[1] = mean, variance
