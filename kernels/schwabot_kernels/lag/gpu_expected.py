"""What acting late is expected to cost, on the device. N events, V streams.

Any device's tensors; rows are [N, V]. The state is the CPU's, as tensors, at an event that is a multiple of ``edge``.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from schwabot_kernels.device_scan import BLOCK, EDGE, MAX_AFFINE, by_triton, carry, max_affine, then_max_affine
from schwabot_kernels.device_state import constants, on_16_bytes
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
    if by_triton(ghost):
        stream, dt_s, ghost, deviation, entropy, mean, echo, predicted = on_16_bytes(
            stream, dt_s, ghost, deviation, entropy, mean, echo, predicted
        )
        return _by_triton(stream, dt_s, ghost, deviation, entropy, mean, echo, predicted, params, state, edge, block)
    width, after = price_range(dt_s, ghost, params.tau_range_s, state, edge=edge, block=block)
    range_bp = width.nan_to_num(0.0).clamp(min=params.min_range_bp)
    own = deviation.gather(1, stream.long()[:, None])[:, 0]
    move = torch.where(ghost.isnan(), 0.0, params.latency_share * (predicted + 0.5 * (mean + echo)))
    along = torch.where(own > DEAD_BP, move, torch.where(own < -DEAD_BP, -move, 0.0))
    expected = along.clamp(min=0.0)
    penalty = (torch.exp(-entropy) * expected / range_bp).clamp(max=1.0)
    return Expected(move, expected, penalty, range_bp), after


@triton.jit(do_not_specialize=["N", "apply"])
def expected_kernel(  # type: ignore[no-untyped-def]
    stream, dt_s, ghost, deviation, entropy, mean, echo, predicted, settings, whole_bound, whole_keep, whole_back,
    starts, move, expected, penalty, range_bp, N, V: tl.constexpr, apply, BLOCK: tl.constexpr,
):  # fmt: skip
    """High and low of one block: their maps; if ``apply``, the range and what acting late is expected to cost."""
    block = tl.program_id(0).to(tl.int64)
    rows = block * BLOCK + tl.arange(0, BLOCK)
    inside = rows < N
    side = tl.arange(0, 2)[None, :]
    g = tl.load(ghost + rows, inside, other=float("nan"))
    known = g == g
    keep = tl.where(known, tl.exp(-tl.load(dt_s + rows, inside, other=0.0) / tl.load(settings)), 1.0)
    # The low is the high of -x.
    both = tl.where(known, g, 0.0)[:, None] * (1.0 - 2.0 * side.to(tl.float64))
    bound = tl.where(known[:, None], both, -float("inf"))
    back = tl.where(known[:, None], (1.0 - keep)[:, None] * both, 0.0)
    bound, keeps, back = tl.associative_scan(
        (bound, tl.broadcast_to(keep[:, None], [BLOCK, 2]), back), 0, then_max_affine
    )
    to = block * 2 + side + 0 * rows[:, None]
    if apply:
        start = tl.load(starts + to)
        high = tl.where(start == -float("inf"), bound, tl.maximum(bound, tl.fma(keeps, start, back)))
        width = tl.sum(high, 1)
        width = tl.where(width > tl.load(settings + 1), width, tl.load(settings + 1))
        own = tl.load(stream + rows, inside, other=0)
        d = tl.load(deviation + rows * V + own, inside, other=0.0)
        told = 0.5 * (tl.load(mean + rows, inside, other=0.0) + tl.load(echo + rows, inside, other=0.0))
        gone = tl.load(settings + 2) * (tl.load(predicted + rows, inside, other=0.0) + told)
        gone = tl.where(known, gone, 0.0)
        dead = tl.load(settings + 3)
        along = tl.where(d > dead, gone, tl.where(d < -dead, -gone, 0.0))
        cost = tl.where(along > 0.0, along, 0.0)
        share = tl.exp(-tl.load(entropy + rows, inside, other=0.0)) * cost / width
        tl.store(move + rows, gone, inside)
        tl.store(expected + rows, cost, inside)
        tl.store(penalty + rows, tl.where(share < 1.0, share, 1.0), inside)
        tl.store(range_bp + rows, width, inside)
    else:
        last = (rows[:, None] - block * BLOCK == BLOCK - 1) & (side < 2)
        tl.store(whole_bound + to, bound, last)
        tl.store(whole_keep + to, keeps, last)
        tl.store(whole_back + to, back, last)


def _by_triton(
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
    edge: int,
    block: int,
) -> tuple[Expected, torch.Tensor]:
    events, streams = deviation.shape
    blocks = triton.cdiv(events, block)
    values = (params.tau_range_s, params.min_range_bp, params.latency_share, DEAD_BP)
    settings = constants(values, ghost.device)
    whole = tuple(ghost.new_empty((blocks, 2)) for _ in range(3))
    found = Expected(*(torch.empty_like(ghost) for _ in range(4)))
    before = torch.stack((state[0], -state[1]))
    before = torch.where(before.isnan(), -torch.inf, before)
    starts = before
    for apply in (0, 1):
        expected_kernel[(blocks,)](
            stream, dt_s, ghost, deviation, entropy, mean, echo, predicted, settings, *whole, starts, *found, events,
            streams, apply, BLOCK=block, num_warps=4, enable_fp_fusion=False,
        )  # fmt: skip
        if not apply:
            starts = carry(MAX_AFFINE.value, whole, before, per_edge=edge // block)
    after = torch.where(starts[-1] == -torch.inf, torch.nan, starts[-1])
    return found, torch.stack((after[0], -after[1]))
