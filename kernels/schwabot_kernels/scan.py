"""Prefix scans of associative compositions in plain torch. N events, C columns, K = 64 rows per block.

Every recurrence of the reference graph is a composition of maps that is again a map of the same kind:

    affine      y <- a y + b                              decayed sums and means
    max-affine  y <- max(c, a y + b)                      recent high and low
    min-plus    y <- min(c, y + r)                        slew limit
    clamp       y <- min(max(y, lo), hi)                  hysteresis
    Moebius     y <- (p y + q) / (r y + s)                variance of a Kalman filter

The rows are laid out in blocks of K; all blocks go through their K rows side by side, then the blocks' ends are
scanned the same way and carried in. No exponential of a positive number occurs, so a quiet night can't overflow.

Source: Blelloch (1990), Prefix Sums and Their Applications.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

BLOCK = 64
Parts = tuple[torch.Tensor, ...]


def scan(combine: Callable[[Parts, Parts], Parts], parts: Parts) -> Parts:
    """Inclusive scan over dim 0: row i of the result is row 0, then row 1, ..., then row i.

    Args:
        combine: ``combine(earlier, later)``, associative, elementwise over rows, keeping every part's shape.
        parts: the parameters of each row's map; columns may differ as long as ``combine`` broadcasts them.

    Shape: every part [N, ...], N >= 0; the same back.

    Example:
        >>> (y,) = scan(lambda earlier, later: (earlier[0] + later[0],), (torch.ones(200),))
        >>> y[-1].item()
        200.0
    """
    length = parts[0].shape[0]
    if length <= 1:
        return parts
    if length <= BLOCK:
        return _rows_in_turn(combine, parts)
    blocks = -(-length // BLOCK)
    padding = blocks * BLOCK - length  # comes after every row that is asked for
    inner = _rows_in_turn(combine, tuple(_by_block(p, blocks, padding) for p in parts))
    carry = scan(combine, tuple(p[-1] for p in inner))
    joined = combine(tuple(c[None, :-1] for c in carry), tuple(p[:, 1:] for p in inner))
    return tuple(
        torch.cat((p[:, :1], j), 1).transpose(0, 1).reshape(blocks * BLOCK, *p.shape[2:])[:length]
        for p, j in zip(inner, joined, strict=True)
    )


def _by_block(part: torch.Tensor, blocks: int, padding: int) -> torch.Tensor:
    """[N, ...] as [K, blocks, ...]."""
    if padding:
        part = torch.cat((part, part[-1:].expand(padding, *part.shape[1:])))
    return part.reshape(blocks, BLOCK, *part.shape[1:]).transpose(0, 1).contiguous()


def _rows_in_turn(combine: Callable[[Parts, Parts], Parts], parts: Parts) -> Parts:
    rows = [tuple(p[0] for p in parts)]
    for k in range(1, parts[0].shape[0]):
        rows.append(combine(rows[-1], tuple(p[k] for p in parts)))
    return tuple(torch.stack(column) for column in zip(*rows, strict=True))


def affine(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """y_i = a_i y_{i-1} + b_i, y_{-1} = 0.

    Shape: a [N, C] or [N, 1], b [N, C], or both [N]; returns b's.

    Example:
        >>> affine(torch.tensor([0.5, 0.5, 0.0]), torch.tensor([1.0, 1.0, 4.0])).tolist()
        [1.0, 1.5, 4.0]
    """

    def combine(earlier: Parts, later: Parts) -> Parts:
        return earlier[0] * later[0], later[0] * earlier[1] + later[1]

    return scan(combine, (a, b))[1]


def max_affine(c: torch.Tensor, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """y_i = max(c_i, a_i y_{i-1} + b_i) with a >= 0; set a_0 = 0 to start from max(c_0, b_0); c = -inf is no bound.

    Example:
        >>> max_affine(torch.tensor([4.0, 1.0]), torch.tensor([0.0, 0.5]), torch.tensor([4.0, 0.5])).tolist()
        [4.0, 2.5]
    """

    def combine(earlier: Parts, later: Parts) -> Parts:
        c1, a1, b1 = earlier
        c2, a2, b2 = later
        bound = torch.where(c1.isinf(), c1, a2 * c1 + b2)  # 0 · inf is no bound either
        return torch.maximum(c2, bound), a1 * a2, a2 * b1 + b2

    c, _, b = scan(combine, (c, a, b))
    return torch.maximum(c, b)


def min_plus(cap: torch.Tensor, rise: torch.Tensor, start: float) -> torch.Tensor:
    """y_i = min(cap_i, y_{i-1} + rise_i), y_{-1} = start.

    Example:
        >>> min_plus(torch.tensor([3.0, 3.0, 1.0]), torch.tensor([1.0, 1.0, 1.0]), 0.5).tolist()
        [1.5, 2.5, 1.0]
    """

    def combine(earlier: Parts, later: Parts) -> Parts:
        return torch.minimum(later[0], earlier[0] + later[1]), earlier[1] + later[1]

    cap, rise = scan(combine, (cap, rise))
    return torch.minimum(cap, start + rise)


def clamp(low: torch.Tensor, high: torch.Tensor, start: int) -> torch.Tensor:
    """y_i = min(max(y_{i-1}, low_i), high_i) with low <= high, y_{-1} = start.

    Example:
        >>> clamp(torch.tensor([0, 2, 0, 0]), torch.tensor([1, 2, 2, 1]), 0).tolist()
        [0, 2, 2, 1]
    """

    def combine(earlier: Parts, later: Parts) -> Parts:
        return tuple(torch.minimum(torch.maximum(edge, later[0]), later[1]) for edge in earlier)

    low, high = scan(combine, (low, high))
    return high.clamp(max=start).maximum(low)


def moebius(p: torch.Tensor, q: torch.Tensor, r: torch.Tensor, s: torch.Tensor) -> torch.Tensor:
    """y_i = (p_i y_{i-1} + q_i) / (r_i y_{i-1} + s_i), y_{-1} = 0, all coefficients >= 0.

    Products of 2 x 2 matrices with no negative entry lose no digits; each is divided by its largest entry.

    Example:
        >>> one = torch.ones(2)
        >>> moebius(one, one, 0 * one, one).tolist()
        [1.0, 2.0]
    """

    def combine(earlier: Parts, later: Parts) -> Parts:
        p1, q1, r1, s1 = earlier
        p2, q2, r2, s2 = later
        product = (p2 * p1 + q2 * r1, p2 * q1 + q2 * s1, r2 * p1 + s2 * r1, r2 * q1 + s2 * s1)
        largest = torch.maximum(torch.maximum(product[0], product[1]), torch.maximum(product[2], product[3]))
        return tuple(entry / largest for entry in product)

    _, q, _, s = scan(combine, (p, q, r, s))
    return q / s
