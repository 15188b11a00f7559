"""What the hash needs of vectors beyond arithmetic: the Walsh-Hadamard transform, and bits to keys.

A key of up to 16 bits is a lane of Codes, one per table; a longer one is a lane of LongCodes. Bytes are taken lowest
first, as little-endian machines keep them.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from schwabot_kernels.simd import BIT, EIGHT, INT8, INT64, Codes, Floats, LongCodes, address, shuffled

PAIR_STAGES = (
    ((0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)),
    ((0, 8, 1, 9, 4, 12, 5, 13), (2, 10, 3, 11, 6, 14, 7, 15)),
    ((0, 1, 2, 3, 8, 9, 10, 11), (4, 5, 6, 7, 12, 13, 14, 15)),
)
"""How two vectors are dealt anew before each stage of ``hadamard_pair``: places in the sixteen numbers of both."""


@intrinsic
def hadamard8(typing_context: Any, a: Any) -> Any:
    """Walsh-Hadamard transform of eight numbers: sums and differences at distance 1, 2 and 4."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = args[0]
        for h in (1, 2, 4):
            other = shuffled(builder, value, value, [lane ^ h for lane in range(EIGHT)])
            signs = ir.Constant(Floats.shape, [-1.0 if lane & h else 1.0 for lane in range(EIGHT)])
            value = builder.fadd(other, builder.fmul(value, signs))
        return value

    return Floats(Floats), codegen


@intrinsic
def hadamard_pair(typing_context: Any, a: Any, b: Any) -> Any:
    """Walsh-Hadamard transform of sixteen numbers, in the order that ``PAIR_STAGES`` leaves them in.

    Sums and differences of the two vectors, four times; between, their numbers are dealt anew, which takes fewer
    instructions than to add within one vector.
    """

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        plus, minus = builder.fadd(*args), builder.fsub(*args)
        for low, high in PAIR_STAGES:
            p, q = shuffled(builder, plus, minus, list(low)), shuffled(builder, plus, minus, list(high))
            plus, minus = builder.fadd(p, q), builder.fsub(p, q)
        return context.make_tuple(builder, sig.return_type, (plus, minus))

    return types.UniTuple(Floats, 2)(Floats, Floats), codegen


@intrinsic
def positive_bits(typing_context: Any, a: Any) -> Any:
    """The byte whose bit k says whether lane k is above zero."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        above = builder.fcmp_ordered(">", args[0], ir.Constant(Floats.shape, [0.0] * EIGHT))
        return builder.zext(builder.bitcast(above, INT8), INT64)

    return types.int64(Floats), codegen


@intrinsic
def no_codes(typing_context: Any, array: Any) -> Any:
    """Zeros: Codes for an int32 array, LongCodes for an int64 one."""
    kind = Codes if array.dtype == types.int32 else LongCodes

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return ir.Constant(kind.shape, None)

    return kind(array), codegen


@intrinsic
def pushed(typing_context: Any, codes: Any, word: Any) -> Any:
    """2 code + bit in every lane; lane k takes bit k of the word."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        codes, word = args
        count = codes.type.count
        bits = builder.bitcast(builder.trunc(word, ir.IntType(count)), ir.VectorType(BIT, count))
        return builder.add(builder.add(codes, codes), builder.zext(bits, codes.type))

    return codes(codes, types.int64), codegen


@intrinsic
def lanes_in(typing_context: Any, codes: Any) -> Any:
    """How many lanes a vector has."""
    count = codes.shape.count

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return INT64(count)

    return types.int64(codes), codegen


@intrinsic
def read_word(typing_context: Any, array: Any, index: Any) -> Any:
    """Eight bytes of a uint8 array from ``index`` on, as an int64, lowest first."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(address(context, builder, array, args[0], args[1], INT64), align=1)

    return types.int64(array, types.int64), codegen
