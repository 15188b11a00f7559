"""Codes of the state on the device: scaled features, a Walsh-Hadamard transform per group of hyperplanes, packed signs.

N rows, V streams, T tables, b bits, G groups of L hyperplanes; see hash.py, whose sums these are, in its order.
"""

from __future__ import annotations

import torch

from schwabot_kernels.registry.intrinsics import PAIR_STAGES
from schwabot_kernels.simd import EIGHT


def codes_of(
    parts: tuple[torch.Tensor, ...],
    use: torch.Tensor,
    shift: torch.Tensor,
    factor: torch.Tensor,
    signs: torch.Tensor,
    bits: int,
    tables: int,
) -> torch.Tensor:
    """The b-bit key of every table read as a two's complement number, so that ~key has code -1 - code.

    Args:
        parts: deviation, microprice offset, imbalance, half spread, log mid and its decayed mean. [N, V] each
        use: whether a stream takes part. [N, V]
        shift, factor: the learnt scale. [5, W]
        signs: of the hyperplanes. float32 [G, L]
        bits: b
        tables: T

    Shape: int32 [T, N]
    """
    rows, streams = use.shape
    *features, x, mean_x = parts
    z = torch.stack((*features, x - mean_x), 1)
    scaled = torch.where(use[:, None], (z - shift[:, :streams]) * factor[:, :streams], 0.0).float().flatten(1)
    groups, length = signs.shape
    padded = scaled.new_zeros((length, rows))
    padded[: scaled.shape[1]] = scaled.T
    code = torch.zeros((tables, rows), dtype=torch.int32, device=use.device)
    for group in range(groups):
        above = (transformed(padded * signs[group, :, None]) > 0.0).int()
        # Hyperplane k T + t gives bit k of table t, most significant first; the first one counts negative.
        for i in range(length):
            k, t = divmod(group * length + i, tables)
            if k < bits:
                code[t] += (-above[i] if k == 0 else above[i]) << (bits - 1 - k)
    return code


def transformed(rows: torch.Tensor) -> torch.Tensor:
    """Walsh-Hadamard transform over dim 0, in the order of ``hash.hadamard`` and with its additions. Shape: [L, N].

    Example:
        >>> from schwabot_kernels.registry.hash import hadamard
        >>> bool((transformed(torch.eye(32)) == torch.from_numpy(hadamard(32))).all())
        True
    """
    length = rows.shape[0]
    if length == EIGHT:
        for h in (1, 2, 4):
            lane = torch.arange(EIGHT, device=rows.device)
            upper = (lane & h > 0)[:, None]
            rows = rows[lane ^ h] + torch.where(upper, -rows, rows)
        return rows
    parts = []
    for i in range(0, length, 2 * EIGHT):
        a, b = rows[i : i + EIGHT], rows[i + EIGHT : i + 2 * EIGHT]
        both = torch.cat((a + b, a - b))
        for low, high in PAIR_STAGES:
            p, q = both[list(low)], both[list(high)]
            both = torch.cat((p + q, p - q))
        parts.append(both)
    rows = torch.cat(parts)
    h = 2 * EIGHT
    while h < length:
        pairs = rows.view(-1, 2, h, rows.shape[1])
        a, b = pairs[:, 0], pairs[:, 1]
        rows = torch.stack((a + b, a - b), 1).reshape(length, -1)
        h *= 2
    return rows
