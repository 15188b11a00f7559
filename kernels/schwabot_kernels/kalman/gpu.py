"""Kalman estimate of the efficient price on the device. N events, V streams.

Any device's tensors; rows are [N, V]. The state is the CPU's, as tensors, at an event that is a multiple of ``edge``.
"""

from __future__ import annotations

import torch

from schwabot_kernels.align.reference import OK, Aligned
from schwabot_kernels.device_scan import BLOCK, EDGE, affine, last_row, moebius
from schwabot_kernels.device_state import OnDevice, shifted
from schwabot_kernels.kalman.cpu import SAME_BP


def kalman(
    stream: torch.Tensor,
    aligned: Aligned,
    compensated: torch.Tensor,
    route: torch.Tensor,
    q_bp2_per_s: float,
    r_bp2: torch.Tensor,
    state: OnDevice,
    *,
    edge: int = EDGE,
    block: int = BLOCK,
) -> tuple[torch.Tensor, OnDevice]:
    """The filtered mean, bp; NaN before the first observation and while nobody takes part.

    Args:
        stream: of each event, at least one. [N]
        aligned: as-of values.
        compensated: see the phase op. [N, V]
        route: see the phase op. [N, V]
        q_bp2_per_s: process variance.
        r_bp2: observation variance. [V]
        state: before the first event.
        edge: see ``device_scan``.
        block: see ``device_scan``.

    Returns:
        The ghost price [N], and the state after the last event.
    """
    events, streams = aligned.x.shape
    own = stream.long()[:, None]
    x = aligned.x.gather(1, own)[:, 0]
    takes = route.gather(1, own)[:, 0] == OK
    mine = takes[:, None] & (own == torch.arange(streams, device=own.device))
    none = torch.full((streams,), -1, device=own.device)
    taken = last_row(mine, none, edge=edge, block=block)
    before = shifted(taken, none).gather(1, own)[:, 0]
    last_x = torch.where(before >= 0, x[before.clamp(min=0)], state.x[own[:, 0]])
    seen = takes & ~((x - last_x).abs() <= SAME_BP)

    rows = torch.arange(events, device=own.device)
    begun = ~state.moments[0].isnan()
    first = torch.where(begun, -1, torch.where(seen, rows, events).amin())
    start, started = rows == first, rows >= first
    seen = seen & ~start
    noise = r_bp2[own[:, 0]]
    grown = q_bp2_per_s * aligned.dt_s
    one, zero = torch.ones_like(noise), torch.zeros_like(noise)
    # Observed: (P + g) r / (P + g + r). Not: P + g. The first observation sets P = r, m = y.
    variance = moebius(
        torch.where(start, zero, torch.where(seen, noise, one))[:, None],
        torch.where(start, noise, torch.where(seen, noise * grown, grown))[:, None],
        torch.where(seen, one, zero)[:, None],
        torch.where(seen, grown + noise, one)[:, None],
        state.moments[1:],
        edge=edge,
        block=block,
    )[:, 0]
    predicted = shifted(variance, state.moments[1]) + grown
    gain = torch.where(start, one, torch.where(seen, predicted / (predicted + noise), zero))
    y = torch.where(gain > 0.0, x - compensated.gather(1, own)[:, 0], 0.0)
    mean = affine(
        (1.0 - gain)[:, None], (gain * y)[:, None], state.moments[:1].nan_to_num(0.0), edge=edge, block=block
    )[:, 0]
    mean = torch.where(started, mean, torch.nan)
    ghost = torch.where((route == OK).any(1), mean, torch.nan)
    kept = torch.where(taken[-1] >= 0, x[taken[-1].clamp(min=0)], state.x)
    return ghost, state._replace(moments=torch.stack((mean[-1], variance[-1])), x=kept)
