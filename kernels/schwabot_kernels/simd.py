"""Vectors of four doubles inside compiled code: one lane per stream, so that all streams move on together.

numba leaves short loops scalar (its SLP vectoriser is off). These types spell the vector out; LLVM splits it where
registers are narrower. They take the operators of numbers, and every operation works lane by lane in IEEE doubles, so
the same source serves numbers and lanes and gives the same bits.

    Doubles   four float64          load, store, splat, + - * / and unary -, abs, max, min, square_root, comparisons
    Longs     four int64            + - * & << >>, max, min, comparisons, lanes_from
    Mask      four truth values     & | ~, where, any_lane, count_lanes
    Floats    eight float32         + - *;                     more on these in registry/intrinsics.py
    Codes     sixteen int32         unary -
    LongCodes eight int64           unary -

Arrays are read and written at a flat index of their contiguous memory. Streams are padded to whole vectors, see
``padded``; rows of streams in scratch and state have that length.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import models
from numba.core.errors import TypingError
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, lower_cast, register_model

LANES = 4
"""Streams in one vector."""
EIGHT = 8
"""Numbers in a vector of float32."""

BIT, INT8, INT32, INT64 = ir.IntType(1), ir.IntType(8), ir.IntType(32), ir.IntType(64)


class VectorType(types.Type):  # type: ignore[misc]
    """numba's type of a vector."""

    def __init__(self, name: str, element: Any, length: int) -> None:
        super().__init__(name=name)
        self.element = element
        self.shape = ir.VectorType(element, length)


class DoublesType(VectorType):
    """Four float64."""


class LongsType(VectorType):
    """Four int64."""


class MaskType(VectorType):
    """Four truth values."""


class FloatsType(VectorType):
    """Eight float32."""


class CodesType(VectorType):
    """Sixteen int32."""


class LongCodesType(VectorType):
    """Eight int64."""


Doubles = DoublesType("Doubles", ir.DoubleType(), LANES)
Longs = LongsType("Longs", INT64, LANES)
Mask = MaskType("Mask", BIT, LANES)
Floats = FloatsType("Floats", ir.FloatType(), EIGHT)
Codes = CodesType("Codes", INT32, 16)
LongCodes = LongCodesType("LongCodes", INT64, EIGHT)


@register_model(DoublesType)
@register_model(LongsType)
@register_model(MaskType)
@register_model(FloatsType)
@register_model(CodesType)
@register_model(LongCodesType)
class _VectorModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, kind.shape)


def padded(streams: int) -> int:
    """Length of a row of streams: V in whole vectors.

    Example:
        >>> [padded(v) for v in (1, 4, 5)]
        [4, 4, 8]
    """
    return -(-streams // LANES) * LANES


def unknown(streams: int, *, rows: int | None = None) -> Any:
    """NaN for each of V streams and 0 for the lanes beyond, [W] or [rows, W].

    Example:
        >>> unknown(3).tolist()
        [nan, nan, nan, 0.0]
    """
    values = np.zeros((rows or 1, padded(streams)))
    values[:, :streams] = np.nan
    return values if rows else values[0]


def _splat(builder: Any, value: Any, kind: Any) -> Any:
    nothing = ir.Constant(kind.shape, ir.Undefined)
    one = builder.insert_element(nothing, value, INT32(0))
    count = kind.shape.count
    return builder.shuffle_vector(one, nothing, ir.VectorType(INT32, count)([0] * count))


@lower_cast(types.Number, DoublesType)
def _number_to_doubles(context: Any, builder: Any, source: Any, target: Any, value: Any) -> Any:
    return _splat(builder, context.cast(builder, value, source, types.float64), target)


@lower_cast(types.Integer, LongsType)
def _number_to_longs(context: Any, builder: Any, source: Any, target: Any, value: Any) -> Any:
    return _splat(builder, context.cast(builder, value, source, types.int64), target)


@lower_cast(types.Number, FloatsType)
def _number_to_floats(context: Any, builder: Any, source: Any, target: Any, value: Any) -> Any:
    return _splat(builder, context.cast(builder, value, source, types.float32), target)


def _common(args: Any) -> Any:
    """The vector type of two arguments, of which one may be a number; None when this is not for us."""
    vectors = {a for a in args if isinstance(a, VectorType)}
    numbers = [a for a in args if not isinstance(a, VectorType)]
    if len(vectors) != 1 or not all(isinstance(a, types.Number) for a in numbers):
        return None
    kind = vectors.pop()
    if kind == Mask and numbers:
        return None
    if kind == Longs and not all(isinstance(a, types.Integer) for a in numbers):
        return None
    return kind


def _operator(function: Any, makers: dict[Any, Any], answer: Any = None) -> None:
    """Let a Python operator work on vectors: ``makers`` has the instruction for each kind of vector."""

    @infer_global(function)
    class _Template(AbstractTemplate):  # type: ignore[misc]
        def generic(self, args: Any, kws: Any) -> Any:
            kind = _common(args)
            if kind not in makers:
                return None
            return signature(answer or kind, *[kind] * len(args))

    for kind, make in makers.items():

        def lowered(context: Any, builder: Any, sig: Any, args: Any, make: Any = make) -> Any:
            return make(builder, *args)

        arity = 1 if function in (operator.neg, operator.invert, abs) else 2
        lower_builtin(function, *[type(kind)] * arity)(lowered)


def _pick(test: str, is_float: bool) -> Any:
    """What Python's max and min do: the second where it is beyond the first, else the first; so NaN first stays."""

    def make(builder: Any, a: Any, b: Any) -> Any:
        compare = builder.fcmp_ordered if is_float else builder.icmp_signed
        return builder.select(compare(test, b, a), b, a)

    return make


def _absolute(builder: Any, a: Any) -> Any:
    """Without the sign bit."""
    rest = ir.Constant(Longs.shape, [0x7FFFFFFFFFFFFFFF] * LANES)
    return builder.bitcast(builder.and_(builder.bitcast(a, Longs.shape), rest), Doubles.shape)


_operator(
    operator.add,
    {Doubles: ir.IRBuilder.fadd, Floats: ir.IRBuilder.fadd, Longs: ir.IRBuilder.add},
)
_operator(
    operator.sub,
    {Doubles: ir.IRBuilder.fsub, Floats: ir.IRBuilder.fsub, Longs: ir.IRBuilder.sub},
)
_operator(operator.mul, {Doubles: ir.IRBuilder.fmul, Floats: ir.IRBuilder.fmul, Longs: ir.IRBuilder.mul})
_operator(operator.truediv, {Doubles: ir.IRBuilder.fdiv})
_operator(
    operator.neg,
    {
        Doubles: lambda builder, a: builder.fneg(a),
        Codes: lambda builder, a: builder.neg(a),
        LongCodes: lambda builder, a: builder.neg(a),
    },
)
_operator(abs, {Doubles: _absolute})
_operator(max, {Doubles: _pick(">", True), Longs: _pick(">", False)})
_operator(min, {Doubles: _pick("<", True), Longs: _pick("<", False)})
_operator(operator.lshift, {Longs: ir.IRBuilder.shl})
_operator(operator.rshift, {Longs: ir.IRBuilder.ashr})
_operator(operator.and_, {Longs: ir.IRBuilder.and_, Mask: ir.IRBuilder.and_})
_operator(operator.or_, {Mask: ir.IRBuilder.or_})
_operator(operator.invert, {Mask: lambda builder, a: builder.not_(a)})


def _comparison(test: str) -> dict[Any, Any]:
    def doubles(builder: Any, a: Any, b: Any) -> Any:
        # As in Python, NaN is unequal to everything and neither above nor below.
        return builder.fcmp_unordered(test, a, b) if test == "!=" else builder.fcmp_ordered(test, a, b)

    return {Doubles: doubles, Longs: lambda builder, a, b: builder.icmp_signed(test, a, b)}


for _function, _test in (
    (operator.lt, "<"), (operator.le, "<="), (operator.gt, ">"), (operator.ge, ">="), (operator.eq, "=="),
    (operator.ne, "!="),
):  # fmt: skip
    _operator(_function, _comparison(_test), Mask)

_IN_MEMORY = {
    types.float64: (Doubles, ir.VectorType(ir.DoubleType(), LANES)),
    types.int64: (Longs, ir.VectorType(INT64, LANES)),
    types.int32: (Longs, ir.VectorType(INT32, LANES)),
    types.int8: (Longs, ir.VectorType(INT8, LANES)),
    types.float32: (Floats, ir.VectorType(ir.FloatType(), EIGHT)),
}
_STORED = {
    (Doubles, types.float64): ir.VectorType(ir.DoubleType(), LANES),
    (Doubles, types.float32): ir.VectorType(ir.FloatType(), LANES),
    (Longs, types.int64): ir.VectorType(INT64, LANES),
    (Longs, types.int8): ir.VectorType(INT8, LANES),
    (Mask, types.int8): ir.VectorType(INT8, LANES),
    (Floats, types.float32): ir.VectorType(ir.FloatType(), EIGHT),
    (Codes, types.int32): Codes.shape,
    (LongCodes, types.int64): LongCodes.shape,
}


def _check(array: Any) -> None:
    """Refuse at compile time what would be misread at run time."""
    if not isinstance(array, types.Array) or array.layout != "C" or array.dtype not in _IN_MEMORY:
        raise TypingError(f"{array}: vectors lie in contiguous arrays of float64, float32, int64, int32 and int8")


def address(context: Any, builder: Any, kind: Any, array: Any, index: Any, shape: Any) -> Any:
    """Where the vector of a shape begins that lies at a flat index."""
    data = context.make_array(kind)(context, builder, array).data
    return builder.bitcast(builder.gep(data, [index]), shape.as_pointer())


@intrinsic
def load(typing_context: Any, array: Any, index: Any) -> Any:
    """The vector that begins at a flat ``index``; int32 and int8 become Longs."""
    _check(array)
    kind, shape = _IN_MEMORY[array.dtype]
    size = array.dtype.bitwidth // 8

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = builder.load(address(context, builder, array, args[0], args[1], shape), align=size)
        return value if shape == kind.shape else builder.sext(value, kind.shape)

    return kind(array, types.int64), codegen


@intrinsic
def store(typing_context: Any, array: Any, index: Any, value: Any) -> Any:
    """Write a vector from a flat ``index`` on. Longs and Mask fit int8 too, Doubles float32."""
    _check(array)
    if (value, array.dtype) not in _STORED:
        raise TypingError(f"{value} does not fit an array of {array.dtype}")
    shape = _STORED[value, array.dtype]
    size = array.dtype.bitwidth // 8

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        vector = args[2]
        if value == Mask:
            vector = builder.zext(vector, shape)
        elif shape != value.shape:
            vector = builder.fptrunc(vector, shape) if value == Doubles else builder.trunc(vector, shape)
        builder.store(vector, address(context, builder, array, args[0], args[1], shape), align=size)
        return context.get_dummy_value()

    return types.void(array, types.int64, value), codegen


@intrinsic
def splat(typing_context: Any, x: Any) -> Any:
    """x in every lane: of Longs for an integer, of Doubles for a float."""
    kind = Longs if isinstance(x, types.Integer) else Doubles
    number = types.int64 if kind == Longs else types.float64

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _splat(builder, args[0], kind)

    return kind(number), codegen


@intrinsic
def doubles(typing_context: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """The vector of four numbers, lane 0 first."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        value = ir.Constant(Doubles.shape, ir.Undefined)
        for lane, part in enumerate(args):
            value = builder.insert_element(value, part, INT32(lane))
        return value

    return Doubles(*[types.float64] * LANES), codegen


@intrinsic
def first_lane(typing_context: Any, a: Any) -> Any:
    """Lane 0."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.extract_element(args[0], INT32(0))

    return types.float64(Doubles), codegen


@intrinsic
def lanes_from(typing_context: Any, first: Any) -> Any:
    """Longs of first, first + 1, first + 2, first + 3."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.add(_splat(builder, args[0], Longs), ir.Constant(Longs.shape, list(range(LANES))))

    return Longs(types.int64), codegen


@intrinsic
def where(typing_context: Any, test: Any, yes: Any, no: Any) -> Any:
    """yes where the test holds, else no, lane by lane; one of them may be a number. All three may be plain numbers."""
    vectors = [kind for kind in (yes, no) if isinstance(kind, VectorType)]
    if vectors and test == Mask:
        kind = vectors[0]
    elif not vectors and test == types.boolean:
        kind = types.int64 if isinstance(yes, types.Integer) and isinstance(no, types.Integer) else types.float64
    else:
        raise TypingError(f"where({test}, {yes}, {no}): a Mask goes with vectors, a truth value with numbers")

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.select(*args)

    return kind(test, kind, kind), codegen


@intrinsic
def as_doubles(typing_context: Any, x: Any) -> Any:
    """The same numbers as float64; for Longs and for an integer."""
    answer = Doubles if x == Longs else types.float64

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.sitofp(args[0], answer.shape if x == Longs else ir.DoubleType())

    return answer(x if x == Longs else types.int64), codegen


@intrinsic
def square_root(typing_context: Any, a: Any) -> Any:
    """Square root of Doubles, correctly rounded."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        signature = ir.FunctionType(Doubles.shape, [Doubles.shape])
        return builder.call(cgutils.get_or_insert_function(builder.module, signature, "llvm.sqrt.v4f64"), args)

    return Doubles(Doubles), codegen


@intrinsic
def total(typing_context: Any, a: Any) -> Any:
    """Sum of the lanes: (0 + 2) + (1 + 3)."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _fold(builder, args[0], builder.fadd)

    return types.float64(Doubles), codegen


@intrinsic
def largest(typing_context: Any, a: Any) -> Any:
    """Largest lane; no lane may be NaN."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return _fold(builder, args[0], lambda x, y: _pick(">", True)(builder, x, y))

    return types.float64(Doubles), codegen


def _fold(builder: Any, value: Any, combine: Any) -> Any:
    width = value.type.count
    while width > 1:
        width //= 2
        pick = ir.VectorType(INT32, width)
        low = builder.shuffle_vector(value, value, pick(list(range(width))))
        high = builder.shuffle_vector(value, value, pick(list(range(width, 2 * width))))
        value = combine(low, high)
    return builder.extract_element(value, INT32(0))


@intrinsic
def count_lanes(typing_context: Any, mask: Any) -> Any:
    """How many lanes are true."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = ir.IntType(LANES)
        function = builder.module.declare_intrinsic("llvm.ctpop", (INT64,), ir.FunctionType(INT64, [INT64]))
        return builder.call(function, [builder.zext(builder.bitcast(args[0], bits), INT64)])

    return types.int64(Mask), codegen


@intrinsic
def any_lane(typing_context: Any, mask: Any) -> Any:
    """Whether a lane is true."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        bits = ir.IntType(LANES)
        return builder.icmp_unsigned("!=", builder.bitcast(args[0], bits), bits(0))

    return types.boolean(Mask), codegen


@intrinsic
def gather(typing_context: Any, array: Any, index: Any) -> Any:
    """The numbers of an array at four flat indices; at one index the number. int8 and int32 become Longs, or an int."""
    _check(array)
    kind = _IN_MEMORY[array.dtype][0]
    number = types.float64 if kind == Doubles else types.int64

    def one(context: Any, builder: Any, data: Any, place: Any) -> Any:
        value = builder.load(builder.gep(data, [place]))
        return value if kind == Doubles or value.type == INT64 else builder.sext(value, INT64)

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        data = context.make_array(array)(context, builder, args[0]).data
        if index != Longs:
            return one(context, builder, data, args[1])
        value = ir.Constant(kind.shape, ir.Undefined)
        for lane in range(LANES):
            place = builder.extract_element(args[1], INT32(lane))
            value = builder.insert_element(value, one(context, builder, data, place), INT32(lane))
        return value

    if index == Longs:
        return kind(array, Longs), codegen
    return number(array, types.int64), codegen


def shuffled(builder: Any, a: Any, b: Any, order: list[int]) -> Any:
    """Instruction that takes places of two vectors after one another."""
    return builder.shuffle_vector(a, b, ir.VectorType(INT32, len(order))(order))


@intrinsic
def transposed(typing_context: Any, a: Any, b: Any, c: Any, d: Any) -> Any:
    """Four vectors as columns of the four given as rows."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        a, b, c, d = args
        ac, ac2 = shuffled(builder, a, c, [0, 4, 1, 5]), shuffled(builder, a, c, [2, 6, 3, 7])
        bd, bd2 = shuffled(builder, b, d, [0, 4, 1, 5]), shuffled(builder, b, d, [2, 6, 3, 7])
        columns = [
            shuffled(builder, ac, bd, [0, 4, 1, 5]),
            shuffled(builder, ac, bd, [2, 6, 3, 7]),
            shuffled(builder, ac2, bd2, [0, 4, 1, 5]),
            shuffled(builder, ac2, bd2, [2, 6, 3, 7]),
        ]
        return context.make_tuple(builder, sig.return_type, columns)

    kind = a
    return types.UniTuple(kind, LANES)(kind, kind, kind, kind), codegen
