"""What tells the source of one signal from another: what it computes, without comments and docstrings."""

from __future__ import annotations

import ast
import enum
import inspect
import math
import textwrap
from collections.abc import Callable
from hashlib import blake2b
from types import ModuleType
from typing import Any

import numpy as np

from schwabot.signals.declaring import Declared
from schwabot.signals.reading import _cell, _is_users, _plain

Function = Callable[..., Any]


def digest_of(declared: Declared) -> str:
    """Digest of a function, of all functions of the user's that it calls, and of the numbers outside that they read.

    Raises:
        PolicyError: the source can't be read.
    """
    said: set[str] = set()
    _walk(declared, declared.function, said, set())
    parameters = [(one.name, one.kind.__name__) for one in declared.parameters]
    whole = repr((declared.name, declared.memory, parameters, declared.signals, sorted(said)))
    return blake2b(whole.encode(), digest_size=16).hexdigest()


def _walk(declared: Declared, function: Function, said: set[str], done: set[Any]) -> None:
    if function in done:
        return
    done.add(function)
    said.add(_text(declared, function))
    said.add(f"{function.__name__}: {function.__defaults__!r} {function.__kwdefaults__!r}")
    code = function.__code__
    closure = zip(code.co_freevars, function.__closure__ or (), strict=True)
    names = {**function.__globals__, **{name: _cell(cell) for name, cell in closure}}
    for name in (*code.co_names, *code.co_freevars):
        if name in names:
            _note(declared, name, names[name], code.co_names, said, done)


def _note(
    declared: Declared, name: str, value: Any, attributes: tuple[str, ...], said: set[str], done: set[Any]
) -> None:
    plain = _plain(value)
    if plain is not None and _is_users(plain):
        _walk(declared, plain, said, done)
    elif isinstance(value, bool | int | float | tuple | np.generic):
        said.add(f"{name} = {value!r}")
    elif (isinstance(value, ModuleType) and value not in (math, np)) or (
        isinstance(value, type) and issubclass(value, enum.Enum)
    ):
        for attribute in attributes:  # those of other things too, which changes nothing
            inner = getattr(value, attribute, None)
            is_module = isinstance(inner, ModuleType)
            if is_module and (id(inner), attributes) in done:
                continue
            done.add((id(inner), attributes))
            _note(declared, f"{name}.{attribute}", inner, attributes if is_module else (), said, done)


def _text(declared: Declared, function: Function) -> str:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError, SyntaxError):
        raise declared.error(
            f"the source of {function.__name__} can't be read, so a checkpoint could not tell it from another: put it"
            " into a file"
        ) from None
    node = tree.body[0]
    if isinstance(node, ast.FunctionDef):
        node.decorator_list = []  # its parameters' values are in the checkpoint
        first = node.body[0]
        if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and len(node.body) > 1:
            node.body = node.body[1:]  # its docstring
    return ast.unparse(tree)
