r"""Negative log-likelihood of the Kalman ghost's observations, with its exact gradient. M observations, V streams.

    P⁻_i = P_{i−1} + q dt_i,  S_i = P⁻_i + r_v,  ν_i = y_i − m_{i−1},  NLL = ½ Σ_{i≥1} (ln 2π S_i + ν_i² / S_i)

The first observation starts the filter, m = y and P = r, as in cpu.py: that is the exact likelihood of a random walk
that could have been anywhere. The gradient is the chain rule run backwards over the kept P⁻ and ν, so it costs one more
pass whatever V is; sensitivities run forwards would cost V + 1 of them.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from schwabot_kernels.arrays import F64, I32
from schwabot_kernels.scalar import NJIT

LN_2PI = math.log(2.0 * math.pi)


@njit(**NJIT)
def _forwards(dt_s: F64, y: F64, stream: I32, q: float, r: F64, predicted: F64, error: F64) -> float:
    """NLL; leaves P⁻ [M] and ν [M] behind."""
    mean, variance, twice = y[0], r[stream[0]], 0.0
    for i in range(1, y.size):
        noise = r[stream[i]]
        before = variance + q * dt_s[i]
        total = before + noise
        nu = y[i] - mean
        share = before / total
        twice += LN_2PI + math.log(total) + nu * nu / total
        mean += share * nu
        variance = share * noise
        predicted[i], error[i] = before, nu
    return 0.5 * twice


@njit(**NJIT)
def _backwards(dt_s: F64, stream: I32, r: F64, predicted: F64, error: F64, slope_r: F64) -> float:
    """Slope of NLL in q; adds those in r to ``slope_r`` [V]."""
    slope_q, by_mean, by_variance = 0.0, 0.0, 0.0
    for i in range(stream.size - 1, 0, -1):
        v = stream[i]
        noise, before, nu = r[v], predicted[i], error[i]
        inverse = 1.0 / (before + noise)
        share = before * inverse
        by_gain = by_mean * nu
        by_nu = nu * inverse + by_mean * share
        by_total = 0.5 * inverse * (1.0 - nu * nu * inverse) - share * inverse * (by_gain + by_variance * noise)
        by_before = by_total + inverse * (by_gain + by_variance * noise)
        slope_r[v] += by_total + by_variance * share
        slope_q += by_before * dt_s[i]
        by_mean -= by_nu
        by_variance = by_before
    slope_r[stream[0]] += by_variance
    return slope_q


def negative_log_likelihood(dt_s: F64, y: F64, stream: I32, q: float, r: F64) -> tuple[float, float, F64]:
    """NLL and its slopes in q and in each r.

    Args:
        dt_s: time since the observation before; the first is not used. [M], M ≥ 1
        y: observed price, mid less compensated phase, bp. [M]
        stream: that was observed, in [0, V). int32 [M]
        q: process variance, bp² per second.
        r: observation variance, bp². [V]

    Returns:
        NLL, dNLL/dq, dNLL/dr [V].

    Source:
        Likelihood by prediction errors: Harvey (1989), Forecasting, Structural Time Series Models and the Kalman
        Filter, 3.4.

    Example:
        >>> dt_s, y, stream = np.ones(2), np.array([0.0, 2.0]), np.zeros(2, np.int32)
        >>> nll, slope_q, slope_r = negative_log_likelihood(dt_s, y, stream, 2.0, np.ones(1))
        >>> nll == 0.5 * (LN_2PI + math.log(4.0) + 1.0), slope_q, slope_r  # S = 1 + 2 + 1, ν = 2: at the bottom
        (True, 0.0, array([0.]))
    """
    predicted, error, slope_r = np.empty_like(y), np.empty_like(y), np.zeros_like(r)
    value = _forwards(dt_s, y, stream, q, r, predicted, error)
    return value, _backwards(dt_s, stream, r, predicted, error, slope_r), slope_r
