"""Scalar Kalman filter over mid changes in plain torch. N events, V streams.

    P <- P + q dt;   at a mid change of stream v:   K = P / (P + r_v),   m <- m + K (y - m),   P <- (1 - K) P

The variance is a chain of Moebius maps; given it, the mean is linear. Whole batch, from the empty state, any device.
"""

from __future__ import annotations

import torch

from schwabot_kernels import scan
from schwabot_kernels.align.reference import OK, Aligned

SAME_BP = 1e-7


def mid_changes(stream: torch.Tensor, aligned: Aligned, route: torch.Tensor) -> torch.Tensor:
    """True where the event's stream takes part and its mid differs from the one last taken. Shape: [N]."""
    events, streams = aligned.x.shape
    own = stream.long()
    rows = torch.arange(events, device=own.device)
    change = torch.zeros(events, dtype=torch.bool, device=own.device)
    for v in range(streams):
        taken = rows[(own == v) & (route[:, v] == OK)]
        x = aligned.x[taken, v]
        change[taken[:1]] = True
        change[taken[1:]] = (x[1:] - x[:-1]).abs() > SAME_BP
    return change


def kalman(
    stream: torch.Tensor,
    aligned: Aligned,
    compensated: torch.Tensor,
    route: torch.Tensor,
    q_bp2_per_s: float,
    r_bp2: torch.Tensor,
) -> torch.Tensor:
    """The filtered mean, bp; NaN before the first observation and while nobody takes part.

    Args:
        stream: of each event. [N]
        aligned: as-of values.
        compensated: see the phase op. [N, V]
        route: see the phase op. [N, V]
        q_bp2_per_s: process variance.
        r_bp2: observation variance. [V]

    Shape: [N]
    """
    own = stream.long()
    rows = torch.arange(own.shape[0], device=own.device)
    seen = mid_changes(stream, aligned, route)
    noise = r_bp2.to(aligned.x)[own]
    grown = q_bp2_per_s * aligned.dt_s
    started = seen.cumsum(0) > 0
    start = seen & (seen.cumsum(0) == 1)
    # Observed: (P + g) r / (P + g + r). Not: P + g. The first observation sets P = r, m = y.
    one, zero = torch.ones_like(noise), torch.zeros_like(noise)
    p = torch.where(start, zero, torch.where(seen, noise, one))
    q = torch.where(start, noise, torch.where(seen, noise * grown, torch.where(started, grown, zero)))
    r = torch.where(seen & ~start, one, zero)
    s = torch.where(seen & ~start, grown + noise, one)
    variance = scan.moebius(p, q, r, s)
    predicted = torch.cat((zero[:1], variance[:-1])) + grown
    gain = torch.where(start, one, torch.where(seen, predicted / (predicted + noise), zero))
    y = torch.where(seen, aligned.x[rows, own] - compensated[rows, own], 0.0)
    mean = scan.affine(1.0 - gain, gain * y)
    return torch.where(started & (route == OK).any(1), mean, torch.nan)
