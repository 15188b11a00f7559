"""Negative log-likelihood of the Kalman ghost's observations in plain torch, one observation after the other.

M observations, V streams. Its gradient is autograd's.
"""

from __future__ import annotations

import math

import torch


def negative_log_likelihood(
    dt_s: torch.Tensor, y: torch.Tensor, stream: torch.Tensor, q: torch.Tensor, r: torch.Tensor
) -> torch.Tensor:
    """NLL = ½ Σ_{i≥1} (ln 2π S_i + ν_i² / S_i); see likelihood.py.

    Args:
        dt_s: time since the observation before. [M]
        y: observed price, bp. [M]
        stream: that was observed. [M]
        q: process variance, bp² per second. []
        r: observation variance, bp². [V]

    Shape: []
    """
    noise = r[stream.long()]
    mean, variance, nll = y[0], noise[0], torch.zeros((), dtype=y.dtype)
    for i in range(1, len(y)):
        predicted = variance + q * dt_s[i]
        total = predicted + noise[i]
        error = y[i] - mean
        nll = nll + 0.5 * (math.log(2.0 * math.pi) + total.log() + error.square() / total)
        gain = predicted / total
        mean = mean + gain * error
        variance = (1.0 - gain) * predicted
    return nll
