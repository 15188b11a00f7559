"""Random-walk efficient price seen through noisy mids: a scalar Kalman filter in event order. N events, V streams.

    predict  P <- P + q dt
    update   at a routed stream's mid change, y = x - phase:  K = P / (P + r_v),  m <- m + K (y - m),  P <- (1 - K) P

A mid that repeats is not a new observation.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from schwabot_kernels.align.cpu import Aligned
from schwabot_kernels.arrays import F64, I8, I32
from schwabot_kernels.phase.cpu import Phased
from schwabot_kernels.scalar import NJIT


class KalmanState(NamedTuple):
    """moments = [mean in bp (NaN before the first observation), variance in bp²]; x: last observed mid per stream. [V]"""

    moments: F64
    x: F64


def empty_state(streams: int) -> KalmanState:
    """State before the first event."""
    return KalmanState(moments=np.array([np.nan, 0.0]), x=np.full(streams, np.nan))


@njit(**NJIT)
def kalman(
    stream: I32,
    kind: I8,
    aligned: Aligned,
    phased: Phased,
    q_bp2_per_s: float,
    r_bp2: F64,
    state: KalmanState,
    ghost: F64,
) -> None:
    """Fill ``ghost`` [N], NaN while no stream is routed in, and move ``state`` on. ``r_bp2`` is [V]."""
    events, streams = aligned.x.shape
    mean = state.moments[0]
    variance = state.moments[1]
    for i in range(events):
        v = stream[i]
        variance += q_bp2_per_s * aligned.dt_s[i]
        x = aligned.x[i, v]
        if phased.route[i, v] == 0 and x != state.x[v]:
            y = x - phased.compensated[i, v]
            if mean != mean:
                mean = y
                variance = r_bp2[v]
            else:
                gain = variance / (variance + r_bp2[v])
                mean += gain * (y - mean)
                variance *= 1.0 - gain
            state.x[v] = x
        any_routed = False
        for u in range(streams):
            any_routed = any_routed or phased.route[i, u] == 0
        ghost[i] = mean if any_routed else np.nan
    state.moments[0] = mean
    state.moments[1] = variance
