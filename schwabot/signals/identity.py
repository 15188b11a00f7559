"""What a plain function depends on, in a text: equal only where the same code is compiled from it.

Its bytecode and constants, and what it refers to outside: functions as deep as they go, numbers with their values,
what it reads of modules. Where that can't be told for sure there is no text, and nothing is kept of the function.
"""

from __future__ import annotations

import builtins
import dis
import enum
import sys
import types
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import numpy as np
from numba.core.typing.templates import builtin_registry

REGISTERED: dict[Any, str | None] = {}
"""Functions that numba was told to compile along, and their content then; what they are compiled to does not change."""
PLAIN = (bool, int, complex, str, bytes, type(None), type(...))
READS_ATTRIBUTE = ("LOAD_ATTR", "LOAD_METHOD")


class _UnknownError(Exception):
    """Something whose value or code can't be told."""


def content_of(*things: Any) -> str | None:
    """A digest of functions and values with all that they depend on, None where that can't be told.

    Args:
        things: plain functions, numbers, text, None, tuples of those.

    Example:
        >>> def one(x):
        ...     return x + STEP
        >>> STEP = 1
        >>> before = content_of(one)
        >>> STEP = 2
        >>> content_of(one) == before
        False
        >>> content_of([]) is None
        True
    """
    try:
        return sha256(repr(_Teller().value(things)).encode()).hexdigest()
    except _UnknownError:
        return None


class _Teller:
    """Turns what it is given into tuples of text, each function and module once."""

    def __init__(self) -> None:
        self._seen: dict[Any, int] = {}
        self._alive: list[Any] = []  # so that no id comes twice

    def value(self, x: Any, attributes: frozenset[str] = frozenset()) -> tuple[Any, ...]:
        """Anything a function may refer to; ``attributes``: names that it reads of something."""
        kind = type(x)
        if kind is float:
            return "float", x.hex()
        if kind in PLAIN:
            return kind.__name__, repr(x)
        if isinstance(x, np.bool_ | np.number):
            return x.dtype.str, x.tobytes()
        if kind in (tuple, frozenset):
            parts = [self.value(one, attributes) for one in x]
            return kind.__name__, *(sorted(parts, key=repr) if kind is frozenset else parts)
        if isinstance(x, enum.Enum):
            return "enum", kind.__module__, kind.__qualname__, x.name, self.value(x.value)
        if isinstance(x, enum.EnumMeta):
            members: list[Any] = list(x.__members__.values())
            return "enum", *map(self.value, members)
        if isinstance(x, types.CodeType):
            return self._code(x)
        if isinstance(x, types.ModuleType):
            return self._once((id(x), attributes), x) or ("module", *self._module(x, attributes))
        if _is_kernels(x):
            return "kernels", x.__module__, x.__qualname__  # their source names the folder
        if isinstance(x, types.BuiltinFunctionType | type) and x.__module__ in ("builtins", "math", "cmath"):
            return "builtin", x.__module__, x.__qualname__
        if isinstance(x, types.FunctionType):
            return self._once(id(x), x) or ("function", *self._function(x))
        raise _UnknownError(x)

    def _once(self, key: Any, x: Any) -> tuple[Any, ...] | None:
        if key in self._seen:
            return "seen", self._seen[key]
        self._seen[key] = len(self._seen)
        self._alive.append(x)
        return None

    def _function(self, function: types.FunctionType) -> Iterator[Any]:
        if function not in REGISTERED and any(one is function for one, _ in builtin_registry.globals):
            raise _UnknownError(function)  # its user told numba to compile something else in its place
        yield function.__module__
        yield function.__qualname__
        yield self._code(function.__code__)
        names, attributes = set(), set()
        for code in _codes(function.__code__):
            for step in dis.get_instructions(code):
                if step.opname in READS_ATTRIBUTE:
                    attributes.add(step.argval)
                elif step.opname in ("IMPORT_NAME", "STORE_GLOBAL"):
                    raise _UnknownError(function)
                elif "GLOBAL" in step.opname or step.opname == "LOAD_NAME":
                    names.add(step.argval)
        read = frozenset(attributes)
        yield self.value(function.__defaults__, read)
        yield self.value(tuple(sorted((function.__kwdefaults__ or {}).items())), read)
        for cell in function.__closure__ or ():
            try:
                yield self.value(cell.cell_contents, read)
            except ValueError:
                yield "empty"
        space = function.__globals__
        for name in sorted(names):
            yield name
            yield self.value(space[name], read) if name in space else self._builtin(name, read)

    def _builtin(self, name: str, attributes: frozenset[str]) -> tuple[Any, ...]:
        return self.value(getattr(builtins, name), attributes) if hasattr(builtins, name) else ("absent",)

    def _code(self, code: types.CodeType) -> tuple[Any, ...]:
        numbers = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags)
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        constants = self.value(code.co_consts)
        return "code", numbers, names, code.co_code, getattr(code, "co_exceptiontable", b""), constants

    def _module(self, module: types.ModuleType, attributes: frozenset[str]) -> Iterator[Any]:
        yield module.__name__
        for name in sorted(attributes):
            if name in vars(module):
                yield name
                yield self.value(vars(module)[name], attributes)


def _is_kernels(x: Any) -> bool:
    module = getattr(x, "__module__", None)
    if not isinstance(module, str) or module.partition(".")[0] != "schwabot_kernels":
        return False
    return getattr(sys.modules.get(module), getattr(x, "__qualname__", ""), None) is x


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            yield from _codes(one)
