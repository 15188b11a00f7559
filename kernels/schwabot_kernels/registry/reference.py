"""State hash, outcome tables and echo memory in plain torch. N events, V streams, D = 5 V features, T tables, b bits.

    H = sign(W z), key = its b bits packed, most significant first
    table: decayed count, sum, flat and up-minus-down of the outcomes y_j = g(t_j + h) - g(t_j) per key; ~key is -key
    echo:  sum_{t_j + h <= t_i} e^{-(t_i - t_j)/tau} y_j H_j · H_i / (b (1 + sum e^{...})), first table

Runs over a whole batch from the empty state; any device, any float type; b <= 16 (bounded_reference.py has the rest).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

from schwabot_kernels import scan
from schwabot_kernels.align.reference import OK, Aligned
from schwabot_kernels.outcomes import NS, Due, GroupSums, decay, when_due

if TYPE_CHECKING:
    from schwabot_kernels.registry.cpu import RegistryParams

HALF_SPREAD = 3
SHRINK = 20.0
COUNT, SUM, FLAT, UP_DOWN = 0, 1, 2, 3


class Scale(NamedTuple):
    """What the warm-up learnt: shift and scale of z [D]; ``first``, the row after it (N while it lasts)."""

    shift: torch.Tensor
    scale: torch.Tensor
    first: int


class Remembered(NamedTuple):
    """Entropy in nats, mean remembered move and echo in bp, skill = 2 sum m y - sum m², trusted when > 0.

    Shape: [N] each.
    """

    entropy: torch.Tensor
    mean: torch.Tensor
    echo: torch.Tensor
    skill: torch.Tensor


def features(
    aligned: Aligned, deviation: torch.Tensor, route: torch.Tensor, momentum_tau_s: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Deviation, microprice offset, imbalance, half spread, momentum; 0 where routed out, and where not.

    Shape: [N, D] each.
    """
    step = torch.zeros_like(aligned.x)
    step[1:] = aligned.x.diff(dim=0).nan_to_num(0.0)  # a stream's first price is its own mean
    momentum = scan.affine(decay(aligned.dt_s, momentum_tau_s)[:, None], step)
    use = (route == OK).repeat(1, 5)
    z = torch.cat((deviation, aligned.micro, aligned.imbalance, aligned.half, momentum), 1)
    return torch.where(use, z, 0.0), use


def learn_scale(z: torch.Tensor, use: torch.Tensor, ghost: torch.Tensor, warmup_events: int) -> Scale:
    """Root mean square of each feature over the first events with a ghost; of spreads, standard deviation and mean.

    Only events at which the stream takes part count. A stream that takes part in less than one in a hundred borrows the
    scale of all streams together.
    """
    events, features_ = z.shape
    rows = torch.arange(events, device=z.device)[~ghost.isnan()]
    if rows.shape[0] < warmup_events:
        return Scale(torch.zeros_like(z[0]), torch.ones_like(z[0]), events)
    rows = rows[:warmup_events]
    count, total, square = use[rows].sum(0).to(z), z[rows].sum(0), (z[rows] ** 2).sum(0)
    streams = features_ // 5
    rare = 100 * count < warmup_events
    together = [part.view(5, streams).sum(1).repeat_interleave(streams) for part in (count, total, square)]
    count, total, square = (
        torch.where(rare, pooled, own) for pooled, own in zip(together, (count, total, square), strict=True)
    )
    mean, square = total / count, square / count
    column = torch.arange(features_, device=z.device) // streams
    shift = torch.where(column == HALF_SPREAD, mean, 0.0)
    square = (square - shift * shift).clamp(min=0.0)
    still = square <= (1e-9 * mean * mean).clamp(min=1e-18)
    return Scale(shift, torch.where(still, 0.0, square.rsqrt()), int(rows[-1]) + 1)


def standardise(z: torch.Tensor, use: torch.Tensor, scale: Scale) -> torch.Tensor:
    """Features in units of their scale, 0 where routed out. Shape: [N, D]."""
    return torch.where(use, (z - scale.shift) * scale.scale, 0.0)


def hash_keys(scaled: torch.Tensor, planes: torch.Tensor) -> torch.Tensor:
    """Signs of W z, packed, most significant first.

    Shape: scaled [N, D], planes [D, b, T]; returns [N, T] int64.

    Example:
        >>> hash_keys(torch.eye(2), torch.tensor([[[1.0], [-1.0]], [[1.0], [1.0]]])).flatten().tolist()
        [2, 3]
    """
    bits, tables = planes.shape[1:]
    power = 2 ** torch.arange(bits - 1, -1, -1, device=scaled.device)
    # Table after table: all projections at once would take N b T numbers.
    return torch.stack([((scaled @ planes[..., k].to(scaled) > 0) * power).sum(1) for k in range(tables)], 1)


def unpack(keys: torch.Tensor, bits: int, dtype: torch.dtype) -> torch.Tensor:
    """+1 or -1 per bit, most significant first. Shape: [N]; returns [N, b]."""
    shift = torch.arange(bits - 1, -1, -1, device=keys.device)
    return 2.0 * ((keys[:, None] >> shift) & 1).to(dtype) - 1.0


def canonical(keys: torch.Tensor, bits: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Of the antipodal pair key, ~key the one whose first bit is 0, and -1 where that is the other one, else +1.

    Example:
        >>> [part.tolist() for part in canonical(torch.tensor([0b0011, 0b1100]), bits=4)]
        [[3, 3], [1, -1]]
    """
    other = keys >> (bits - 1) == 1
    return torch.where(other, ~keys & (2**bits - 1), keys), torch.where(other, -1, 1)


def entropy(flat: torch.Tensor, up: torch.Tensor, down: torch.Tensor) -> torch.Tensor:
    """Shannon entropy of the outcome, nats, with one pseudo-count per class.

    Args:
        flat: decayed count.
        up: decayed count.
        down: decayed count.

    Example:
        >>> zero = torch.zeros((), dtype=torch.float64)
        >>> round(entropy(zero, zero, zero).item(), 12)  # ln 3
        1.098612288668
    """
    share = torch.stack((flat, up, down)) + 1.0
    share = share / share.sum(0)
    return -(share * share.log()).sum(0)


def remember(
    ts_ns: torch.Tensor, ghost: torch.Tensor, keys: torch.Tensor, predicted: torch.Tensor, params: RegistryParams
) -> Remembered:
    """What followed the same state before.

    Args:
        ts_ns: event times. [N]
        ghost: fair price, bp. [N]
        keys: of every table, -1 in warm-up and where there is no ghost. [N, T]
        predicted: the move that is expected anyway, bp; what is remembered is what came beyond it. [N]
        params: see HashRegistryConfig.
    """
    events, tables = keys.shape
    asks = torch.arange(events, device=keys.device)[keys[:, 0] >= 0]
    t_asked = ts_ns[asks]
    due = when_due(ts_ns, t_asked + params.horizon_ns)
    move = ghost[due.source] - (ghost[asks] + predicted[asks])
    written = due.known & ~move.isnan()
    y = move[written]
    steps = torch.round(y / params.step_bp)
    flat = (steps.abs() <= params.dead_band_steps).to(y)
    direction = torch.where(flat > 0, 0.0, torch.where(steps > 0, 1.0, -1.0).to(y))

    found = y.new_zeros(asks.shape[0], 4)
    for table in range(tables):
        home, sign = canonical(keys[asks, table], params.bits)
        ours = sign[written].to(y)
        values = torch.stack((torch.ones_like(y), ours * y, flat, ours * direction), 1)
        read = None
        for level in [4, 8, 16]:  # thin slots back off to their 8-bit, those to their 4-bit prefix
            if level > params.bits:
                break
            group = home >> (params.bits - level)
            known = GroupSums(group[written], due.row[written], t_asked[written], values, params.tau_s, events)
            at_level = known.read(group, asks, t_asked)
            thick = (at_level[:, COUNT] >= params.min_count)[:, None]
            read = at_level if read is None else torch.where(thick, at_level, read)
        assert read is not None
        signed = torch.ones_like(read)
        signed[:, SUM] = signed[:, UP_DOWN] = sign.to(y)
        found += read * signed / tables

    stats = y.new_zeros(events, 4)
    stats[asks] = found
    count, total, flats, up_down = stats.unbind(1)
    moved = (count - flats).clamp(min=0.0)
    up, down = (0.5 * (moved + up_down)).clamp(min=0.0), (0.5 * (moved - up_down)).clamp(min=0.0)
    mean = total / (count + SHRINK)
    return Remembered(
        entropy(flats, up, down),
        mean,
        _echo(ts_ns, asks, keys[asks, 0], due, written, y, params),
        _skill(ts_ns, t_asked[written], due.row[written], mean[asks][written], y, params.tau_s),
    )


def _echo(
    ts_ns: torch.Tensor,
    asks: torch.Tensor,
    keys: torch.Tensor,
    due: Due,
    written: torch.Tensor,
    y: torch.Tensor,
    params: RegistryParams,
) -> torch.Tensor:
    """Readout of the echo memory. Shape: [N]."""
    code = unpack(keys, params.bits, y.dtype)
    one_group = torch.zeros_like(asks)
    values = torch.cat((code[written] * y[:, None], torch.ones_like(y)[:, None]), 1)
    memory = GroupSums(
        one_group[written], due.row[written], ts_ns[asks][written], values, params.echo_tau_s, ts_ns.shape[0]
    )
    now = memory.read(one_group, asks, ts_ns[asks])
    out = y.new_zeros(ts_ns.shape[0])
    out[asks] = (now[:, :-1] * code).sum(1) / (params.bits * (1.0 + now[:, -1]))
    return out


def _skill(
    ts_ns: torch.Tensor, t_asked: torch.Tensor, row: torch.Tensor, mean: torch.Tensor, y: torch.Tensor, tau_s: float
) -> torch.Tensor:
    """Decayed 2 sum m y - sum m²: positive when the remembered mean was better than saying nothing. Shape: [N]."""
    gone = decay((ts_ns[row] - t_asked).to(y) * NS, tau_s)
    added = torch.zeros_like(ts_ns, dtype=y.dtype).index_add_(0, row, gone * (2.0 * mean * y - mean * mean))
    step = torch.cat((ts_ns.new_zeros(1), ts_ns.diff()))[: ts_ns.shape[0]].to(y) * NS
    return scan.affine(decay(step, tau_s), added)
