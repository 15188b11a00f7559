"""Vectors of eight doubles inside compiled code: one table slot is one vector, read, added to and written at once.

Streams lie in vectors of four, see simd.py.

numba leaves short loops scalar (its SLP vectoriser is off), so a slot of eight numbers would take eight loads and eight
stores. These intrinsics spell the vector out; LLVM splits it where registers are narrower. Every operation works lane
by lane in IEEE doubles, so the values are those of the scalar loop, to the bit.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core.datamodel import models
from numba.core.errors import TypingError
from numba.extending import intrinsic, register_model

WIDTH = 8
"""Doubles in one vector."""

_DOUBLES = ir.VectorType(ir.DoubleType(), WIDTH)
_LONGS = ir.VectorType(ir.IntType(64), WIDTH)
_INT32 = ir.IntType(32)


class Vector8Type(types.Type):  # type: ignore[misc]
    """numba's type of a vector of eight doubles."""

    def __init__(self) -> None:
        super().__init__(name="Vector8")


_vector8 = Vector8Type()


@register_model(Vector8Type)
class _Vector8Model(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _DOUBLES)


def _check(array: Any) -> None:
    """Refuse at compile time what would be misread at run time."""
    if not isinstance(array, types.Array) or (array.dtype, array.ndim, array.layout) != (types.float64, 1, "C"):
        raise TypingError(f"{array}: vectors are read from and written to contiguous one-dimensional float64 arrays")


def _address(context: Any, builder: Any, kind: Any, array: Any, index: Any) -> Any:
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), _DOUBLES.as_pointer())


def _splat(builder: Any, value: Any, kind: Any) -> Any:
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, _INT32(0))
    return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), ir.VectorType(_INT32, WIDTH)([0] * WIDTH))


@intrinsic
def load8(typing_context: Any, array: Any, index: Any) -> Any:
    """The eight doubles of a one-dimensional contiguous array from ``index`` on."""
    _check(array)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.load(_address(context, builder, signature.args[0], *args), align=8)

    return _vector8(array, types.int64), codegen


@intrinsic
def store8(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Write a vector into a one-dimensional contiguous array from ``index`` on."""
    _check(array)

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        builder.store(args[2], _address(context, builder, signature.args[0], *args[:2]), align=8)
        return context.get_dummy_value()

    return types.void(array, types.int64, _vector8), codegen


@intrinsic
def add8(typing_context: Any, a: Any, b: Any) -> Any:
    """a + b, lane by lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fadd(*args)

    return _vector8(_vector8, _vector8), codegen


@intrinsic
def mul8(typing_context: Any, a: Any, b: Any) -> Any:
    """a b, lane by lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.fmul(*args)

    return _vector8(_vector8, _vector8), codegen


@intrinsic
def least8(typing_context: Any, a: Any, b: Any) -> Any:
    """b where it is less than a, else a, lane by lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        a, b = args
        return builder.select(builder.fcmp_ordered("<", b, a), b, a)

    return _vector8(_vector8, _vector8), codegen


@intrinsic
def splat8(typing_context: Any, x: Any) -> Any:
    """x in every lane."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return _splat(builder, args[0], _DOUBLES)

    return _vector8(types.float64), codegen


@intrinsic
def first8(typing_context: Any, a: Any) -> Any:
    """Lane 0."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.extract_element(args[0], _INT32(0))

    return types.float64(_vector8), codegen


@intrinsic
def sum8(typing_context: Any, a: Any) -> Any:
    """Sum of the lanes, halves first: ((0+4)+(2+6)) + ((1+5)+(3+7))."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value, width = args[0], WIDTH
        while width > 1:
            width //= 2
            mask = ir.VectorType(_INT32, width)
            low = builder.shuffle_vector(value, value, mask(list(range(width))))
            high = builder.shuffle_vector(value, value, mask(list(range(width, 2 * width))))
            value = builder.fadd(low, high)
        return builder.extract_element(value, _INT32(0))

    return types.float64(_vector8), codegen


@intrinsic
def signs8(typing_context: Any, code: Any, shift: Any) -> Any:
    """+1 where a bit of ``code`` is set, else -1: lane k looks at bit shift + 7 - k. Bits below 0 are not set."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        code, shift = args
        # Bits are pushed up by 7 first, so that a code of 4 bits has its highest in lane 0.
        moved = builder.shl(code, ir.Constant(ir.IntType(64), 7))
        start = builder.add(shift, ir.Constant(ir.IntType(64), 7))
        place = builder.add(_splat(builder, start, _LONGS), ir.Constant(_LONGS, [7 - k for k in range(WIDTH)]))
        bit = builder.and_(builder.lshr(_splat(builder, moved, _LONGS), place), ir.Constant(_LONGS, [1] * WIDTH))
        is_set = builder.icmp_unsigned("!=", bit, ir.Constant(_LONGS, [0] * WIDTH))
        return builder.select(is_set, ir.Constant(_DOUBLES, [1.0] * WIDTH), ir.Constant(_DOUBLES, [-1.0] * WIDTH))

    return _vector8(types.int64, types.int64), codegen


@intrinsic
def vector8(typing_context: Any, a: Any, b: Any, c: Any, d: Any, e: Any, f: Any, g: Any, h: Any) -> Any:
    """The vector of eight numbers, lane 0 first."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        value = ir.Constant(_DOUBLES, ir.Undefined)
        for lane, part in enumerate(args):
            value = builder.insert_element(value, part, _INT32(lane))
        return value

    return _vector8(*[types.float64] * WIDTH), codegen
