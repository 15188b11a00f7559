"""Branch-free scalar functions that LLVM vectorises: exp and log without a call, the same bits in SIMD and scalar code.

numba without Intel's SVML calls libm for every ``math.exp`` (about 7 ns); these polynomials take about 1 ns inside a
vectorised loop. No fast-math and no contraction anywhere: a value must not depend on where in a block it is computed.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from schwabot_kernels.cache import use_versioned_cache
from schwabot_kernels.simd import Doubles, Longs, as_doubles

use_versioned_cache()

NJIT: dict[str, Any] = {"cache": True, "error_model": "numpy", "boundscheck": False, "nogil": True}
"""Options of every compiled function here: on-disk cache, IEEE division, no fast-math."""

MISSING_NS = -(2**63)
"""Stands for an absent time stamp; equals schwabot.records.market.MISSING_NS."""

NS = 1e-9

_MAGIC = 6755399441055744.0
_LOG2E = 1.4426950408889634
_LN2_HIGH = 6.93147180369123816490e-01
_LN2_LOW = 1.90821492927058770002e-10
_LN2 = 0.6931471805599453
_SQRT_HALF_BITS = 0x3FE6A09E667F3BCD


@intrinsic
def float_bits(typing_context: Any, x: Any) -> Any:
    """The 64 bits of a float as an int; of Doubles as Longs."""
    signature = Longs(Doubles) if x == Doubles else types.int64(types.float64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], Longs.shape if x == Doubles else ir.IntType(64))

    return signature, codegen


@intrinsic
def bits_float(typing_context: Any, x: Any) -> Any:
    """The float of 64 bits; of Longs the Doubles."""
    signature = Doubles(Longs) if x == Longs else types.float64(types.int64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.bitcast(args[0], Doubles.shape if x == Longs else ir.DoubleType())

    return signature, codegen


@njit(inline="always", **NJIT)
def exp_neg(x: Any) -> Any:
    """exp(x) for x <= 0, of a float or of Doubles, within 2 units in the last place; below -708 it stays at exp(-708).

    Cody–Waite reduction and a degree-13 Taylor polynomial on [-ln2/2, ln2/2], halves first (Estrin 1960): what waits
    for what before it is a third as long as in Horner's order.
    """
    x = max(x, -708.0)
    k = x * _LOG2E + _MAGIC
    n = k - _MAGIC
    r = x - n * _LN2_HIGH
    r = r - n * _LN2_LOW
    r2 = r * r
    r4 = r2 * r2
    low = (0.5 + r * (1.0 / 6.0)) + r2 * (1.0 / 24.0 + r * (1.0 / 120.0))
    mid = (1.0 / 720.0 + r * (1.0 / 5040.0)) + r2 * (1.0 / 40320.0 + r * (1.0 / 362880.0))
    high = (1.0 / 3628800.0 + r * (1.0 / 39916800.0)) + r2 * (1.0 / 479001600.0 + r * (1.0 / 6227020800.0))
    p = 1.0 + (r + r2 * (low + r4 * (mid + r4 * high)))
    return bits_float(float_bits(p) + (float_bits(k) << 52))


@njit(inline="always", **NJIT)
def log_pos(x: Any) -> Any:
    """ln(x) for positive normal x, of a float or of Doubles, within 3 units in the last place (atanh series)."""
    b = float_bits(x)
    e = (b - _SQRT_HALF_BITS) >> 52
    m = bits_float(b - (e << 52))
    f = (m - 1.0) / (m + 1.0)
    s = f * f
    s2 = s * s
    s4 = s2 * s2
    first = (1.0 / 3.0 + s * (1.0 / 5.0)) + s2 * (1.0 / 7.0 + s * (1.0 / 9.0))
    second = (1.0 / 11.0 + s * (1.0 / 13.0)) + s2 * (1.0 / 15.0 + s * (1.0 / 17.0))
    p = first + s4 * (second + s4 * (1.0 / 19.0))
    return as_doubles(e) * _LN2 + 2.0 * f * (1.0 + s * p)
