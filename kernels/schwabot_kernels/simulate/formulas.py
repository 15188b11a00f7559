"""What an order costs and how long it takes, in whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from schwabot_kernels.scalar import NJIT
from schwabot_kernels.simulate.records import SUM1, SUM2, SUM3, SUM4

BARE: dict[str, Any] = NJIT | {"forceinline": True}
TEN7 = 10_000_000
TWO_E9 = 2_000_000_000


@njit(**BARE)
def worth(price: int, scale: int, inverse: int) -> int:
    """w(p): p scale, of an inverse contract -(scale // p).

    Example:
        >>> worth(3, 10, 0), worth(3, 10, 1)
        (30, -3)
    """
    return -(scale // price) if inverse else price * scale


@njit(**BARE)
def fee_of(notional: int, fee_e7: int) -> int:
    """ceil(notional fee / 10^7), exactly.

    Example:
        >>> fee_of(10_000_001, 3), fee_of(10_000_001, -3)
        (4, -3)
    """
    return (notional // TEN7) * fee_e7 - (-(notional % TEN7) * fee_e7) // TEN7


@njit(**BARE)
def funding_of(position: int, mark: int, rate_e9: int) -> int:
    """ceil(position |mark|/2 rate / 10^9), exactly: what the position pays. Marks of inverse contracts are negative.

    Example:
        >>> funding_of(1, 2_000_000_001, 1), funding_of(-1, 2_000_000_001, 1), funding_of(1, -2_000_000_001, 1)
        (2, -1, 2)
    """
    twice = position * abs(mark)
    return (twice // TWO_E9) * rate_e9 - (-(twice % TWO_E9) * rate_e9) // TWO_E9


@njit(**BARE)
def drawn(tables: Any, way: int, seed: int, leg: int, number: int) -> int:
    """Latency of request (way 0) or report (way 1) n of a leg: its table at SplitMix64 of seed, leg and 2n + way.

    Source: Steele, Lea, Flood 2014, Fast splittable pseudorandom number generators.
    """
    z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + (np.uint64(leg) << np.uint64(48))
    z += np.uint64(2 * number + way)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    at = ((z >> np.uint64(32)) * np.uint64(tables.shape[1])) >> np.uint64(32)
    return tables[way, np.int64(at)]


@njit(**NJIT)
def share(gone: int, front: int, level: int) -> int:
    """(gone front) // level for 0 <= gone <= level < 2^62, exactly however large the product.

    Example:
        >>> share(5, 7, 10), share(2**61, 2**60, 2**61) == 2**60
        (3, True)
    """
    if gone < 2_000_000_000 and front < 2_000_000_000:
        return gone * front // level
    whole, rest = 0, 0
    for k in range(62, -1, -1):
        whole, rest = 2 * whole, 2 * rest
        if rest >= level:
            whole, rest = whole + 1, rest - level
        if (front >> k) & 1:
            rest += gone
            if rest >= level:
                whole, rest = whole + 1, rest - level
    return whole


@njit(**NJIT)
def add_sample(moments: Any, leg: int, change2: int) -> None:
    """One more bucket in which twice the equity of the leg changed by this much."""
    x = float(change2)
    moments[leg, 0] += 1.0
    moments[leg, SUM1] += x
    moments[leg, SUM2] += x * x
    moments[leg, SUM3] += x * x * x
    moments[leg, SUM4] += x * x * x * x
