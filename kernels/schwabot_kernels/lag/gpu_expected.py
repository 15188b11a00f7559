"""What acting late is expected to cost, on the device. N events, V streams.

Any device's tensors; rows are [N, V]. The state is the CPU's, as tensors, at an event that is a multiple of ``edge``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from schwabot_kernels.device_scan import BLOCK, EDGE, max_affine
from schwabot_kernels.lag.cpu import DEAD_BP, LagParams


class Expected(NamedTuple):
    """move, bp, 0 without a ghost; the own stream's expected cost, bp, and penalty; range_bp: P_max. [N]."""

    move: torch.Tensor
    expected: torch.Tensor
    penalty: torch.Tensor
    range_bp: torch.Tensor


def price_range(
    dt_s: torch.Tensor,
    ghost: torch.Tensor,
    tau_s: float,
    state: torch.Tensor,
    *,
    edge: int = EDGE,
    block: int = BLOCK,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Recent high minus recent low, NaN before the first ghost [N], and [high, low] after the last event."""
    known = ~ghost.isnan()
    g = torch.where(known, ghost, 0.0)
    keep = torch.where(known, torch.exp(-dt_s / tau_s), 1.0)
    both = torch.stack((g, -g), 1)
    bound = torch.where(known[:, None], both, -torch.inf)
    # hi <- max(x, x + (hi - x) a), nothing yet being -inf; the low is the high of -x.
    back = torch.where(known[:, None], (1.0 - keep)[:, None] * both, 0.0)
    before = torch.stack((state[0], -state[1]))
    before = torch.where(before.isnan(), -torch.inf, before)
    found = max_affine(bound, keep[:, None], back, before, edge=edge, block=block)
    found = torch.where(found == -torch.inf, torch.nan, found)
    return found[:, 0] + found[:, 1], torch.stack((found[-1, 0], -found[-1, 1]))


def expected_lag(
    stream: torch.Tensor,
    dt_s: torch.Tensor,
    ghost: torch.Tensor,
    deviation: torch.Tensor,
    entropy: torch.Tensor,
    mean: torch.Tensor,
    echo: torch.Tensor,
    predicted: torch.Tensor,
    params: LagParams,
    state: torch.Tensor,
    *,
    edge: int = EDGE,
    block: int = BLOCK,
) -> tuple[Expected, torch.Tensor]:
    """What the price does within our latency, and what that costs the event's stream.

    Args:
        stream: of each event, at least one. [N]
        dt_s: time since the event before. [N]
        ghost: fair price, bp. [N]
        deviation: of every stream, bp. [N, V]
        entropy: of the outcome, nats. [N]
        mean: remembered mean outcome, bp. [N]
        echo: echo memory's readout, bp. [N]
        predicted: the ghost's move a trained head expects, bp, 0 without one. [N]
        params: settings.
        state: ``price_range`` of the lag's state, before the first event. [2]
        edge: see ``device_scan``.
        block: see ``device_scan``.

    Returns:
        The answers, and ``price_range`` after the last event.
    """
    width, after = price_range(dt_s, ghost, params.tau_range_s, state, edge=edge, block=block)
    range_bp = width.nan_to_num(0.0).clamp(min=params.min_range_bp)
    own = deviation.gather(1, stream.long()[:, None])[:, 0]
    move = torch.where(ghost.isnan(), 0.0, params.latency_share * (predicted + 0.5 * (mean + echo)))
    along = torch.where(own > DEAD_BP, move, torch.where(own < -DEAD_BP, -move, 0.0))
    expected = along.clamp(min=0.0)
    penalty = (torch.exp(-entropy) * expected / range_bp).clamp(max=1.0)
    return Expected(move, expected, penalty, range_bp), after
