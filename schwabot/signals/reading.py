"""What the source of a policy says: the signals it reads, the functions it calls, and what could not be compiled.

numba says where it stops, in its own words and often at another line: common mistakes are looked for here, before.
"""

# ruff: noqa: N802  # methods are named after the nodes of ast that they visit

from __future__ import annotations

import ast
import builtins
import enum
import inspect
import math
import textwrap
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from schwabot.errors import PolicyError, closest
from schwabot.signals.declaring import Declared, Policy, Signal, place
from schwabot_kernels.simulate import intent
from schwabot_kernels.simulate.records import Seen, Standing

Function = Callable[..., Any]

INTENTS = {name: getattr(intent, name) for name in ("nothing", "take", "post", "cancel", "replace")}
PAST = ("start_ns", "last_ns", "last", "rows", "memory")
"""What a signal knows of itself, see ``schwabot.signals.own_signals.Past``."""
MOVES = {"equity": "it moves with every quote, and a sweep asks quiet only when something of yours was reported"}
"""What a policy knows of itself that changes at events which skipping jumps over."""
ARRAYS = ("bids", "asks", "positions", "orders", "memory")
BUILTINS = ("abs", "bool", "divmod", "float", "int", "len", "max", "min", "pow", "range", "round")
NUMPY_INSTEAD = {
    "abs": "abs", "absolute": "abs", "maximum": "max", "minimum": "min", "fmax": "max", "fmin": "min", "max": "max",
    "min": "min", "clip": "min(max(x, low), high)", "sign": "math.copysign", "power": "**", "round": "round",
    "where": "a if condition else b", "int64": "int", "float64": "float", "bool_": "bool",
}  # fmt: skip
_END = "; return take(...), post(...), cancel(...), replace(...) or nothing()"


@dataclass
class Found:
    """What was read.

    signals_at: names of signals in the order of first use, with file and line. helpers: plain functions that it calls.
    seen_at: the same of what every event has. indexed: whether an array is read or written at a place that the source
    does not tell.
    """

    signals_at: dict[str, tuple[str, int]] = field(default_factory=dict)
    seen_at: dict[str, tuple[str, int]] = field(default_factory=dict)
    helpers: list[Function] = field(default_factory=list)
    indexed: bool = False
    done: set[Any] = field(default_factory=set)

    @property
    def signals(self) -> tuple[str, ...]:
        """Names of the signals."""
        return tuple(self.signals_at)


def read(declared: Declared) -> Found:
    """Check the source of a policy or signal and of all it calls.

    Raises:
        PolicyError: at the first thing that can't be compiled: file, line, what to write instead. Also where there is
            no source, as for a function typed into a prompt, unless ``inputs=`` says what it reads.
    """
    found = Found()
    roles = dict(zip(inspect.signature(declared.function).parameters, "sep", strict=True))
    ends = "intent" if isinstance(declared, Policy) else "number"
    _Reader(declared, declared.function, roles, ends, found).run()
    if isinstance(declared, Policy) and declared.quiet is not None:
        roles = dict(zip(inspect.signature(declared.quiet).parameters, "sp", strict=True))
        _Reader(declared, declared.quiet, roles, "pair", found, in_quiet=True).run()
    return found


class _Reader:
    """Walks one function.

    roles: which of its arguments is s, e or p. ends: what it has to return. in_quiet: it is quiet, or called by it.
    """

    def __init__(
        self, declared: Declared, function: Function, roles: dict[str, str], ends: str, found: Found,
        in_quiet: bool = False,
    ) -> None:  # fmt: skip
        self.in_quiet = in_quiet
        self.declared, self.function, self.roles, self.ends, self.found = declared, function, roles, ends, found
        self.file, self.first_line = place(function)
        self.code = function.__code__
        closure = zip(self.code.co_freevars, function.__closure__ or (), strict=True)
        self.names = {**vars(builtins), **function.__globals__, **{name: _cell(cell) for name, cell in closure}}
        self.local = {*self.code.co_varnames, *self.code.co_cellvars}

    def fail(self, what: str, node: ast.AST | None = None) -> NoReturn:
        line = self.first_line if node is None else self.first_line - 1 + getattr(node, "lineno", 1)
        raise PolicyError(what, file=self.file, line=line)

    def run(self) -> None:
        tree = self._tree()
        if tree is None:
            return
        if isinstance(tree, ast.Lambda):
            self._visit(tree.body)
            return
        if isinstance(tree, ast.AsyncFunctionDef):
            self.fail(f"{tree.name} is async; a policy is a plain function: remove async", tree)
        body = tree.body
        if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
            body = body[1:]  # its docstring
        for statement in body:
            self._visit(statement)
        if self.ends != "any" and not _always_returns(body):
            missing = {
                "intent": "return nothing() at the end",
                "number": "return a number at the end, math.nan for no answer",
                "pair": "return (-math.inf, math.inf) at the end",
            }[self.ends]
            self.fail(f"{tree.name} can end without an answer: write {missing}", body[-1] if body else tree)

    def _tree(self) -> ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | None:
        try:
            lines, self.first_line = inspect.getsourcelines(self.function)
            tree = ast.parse(textwrap.dedent("".join(lines))).body[0]
        except (OSError, TypeError, SyntaxError, IndentationError):
            if self.declared.inputs is not None:
                self.found.indexed = True
                return None
            self.fail(
                f"the source of {self.function.__name__} can't be read, as of something typed into a prompt: put it"
                " into a file, or say what it reads: inputs=['deviation_bp', ...]"
            )
        self.first_line = max(self.first_line, 1)
        if isinstance(tree, ast.FunctionDef | ast.AsyncFunctionDef):
            return tree
        return next((node for node in ast.walk(tree) if isinstance(node, ast.Lambda)), None)

    # one node after the other

    def _visit(self, node: ast.AST) -> None:
        check = getattr(self, f"_{type(node).__name__}", None)
        if check is None or not check(node):
            for child in ast.iter_child_nodes(node):
                self._visit(child)

    def _refuse(self, node: ast.AST, what: str, instead: str) -> NoReturn:
        self.fail(f"{what} can't be compiled; {instead}", node)

    def _Constant(self, node: ast.Constant) -> bool:
        if isinstance(node.value, str | bytes):
            self._refuse(node, f"text ({node.value!r})", "use numbers: BUY and SELL, or a parameter with whole numbers")
        if node.value is None:
            self._refuse(node, "None", "use math.nan for no answer, -1 or 0 for none")
        if isinstance(node.value, complex) or node.value is ...:
            self._refuse(node, repr(node.value), "use floats, ints, True and False")
        return True

    def _JoinedStr(self, node: ast.AST) -> bool:
        self._refuse(node, "an f-string", "a policy has no text: the log of orders says what it did")

    def _collection(self, node: ast.AST) -> bool:
        kind = {"Dict": "a dict", "DictComp": "a dict", "Set": "a set", "SetComp": "a set"}.get(
            type(node).__name__, "a list"
        )
        self._refuse(node, kind, "keep numbers in s.memory[0], s.memory[1], ... (declared with memory=N)")

    _Dict = _DictComp = _Set = _SetComp = _List = _ListComp = _GeneratorExp = _collection

    def _statement(self, node: ast.AST) -> bool:
        said, instead = {
            "Try": ("try/except", "test beforehand, e.g. if x != 0.0"),
            "TryStar": ("try/except", "test beforehand, e.g. if x != 0.0"),
            "With": ("with", "a policy has no files or locks"),
            "Raise": ("raise", "do nothing instead: return nothing()"),
            "Assert": ("assert", "test in a test, or do nothing: if not ...: return nothing()"),
            "Yield": ("yield", "a policy returns one intent and is asked again"),
            "YieldFrom": ("yield", "a policy returns one intent and is asked again"),
            "Await": ("await", "a policy does not wait: it is asked at every event"),
            "Global": ("global", "numbers outside can't be changed: keep them in s.memory (declared with memory=N)"),
            "Nonlocal": (
                "nonlocal",
                "numbers outside can't be changed: keep them in s.memory (declared with memory=N)",
            ),
            "Import": ("import", "import at the top of the file"),
            "ImportFrom": ("import", "import at the top of the file"),
            "FunctionDef": ("a function within a function", "define it outside"),
            "Lambda": ("lambda", "define a function outside"),
            "ClassDef": ("a class", "use numbers"),
            "Delete": ("del", "leave it out"),
            "Match": ("match", "write if ... elif"),
            "Starred": ("*", "write the arguments out"),
        }[type(node).__name__]
        self._refuse(node, said, instead)

    _Try = _TryStar = _With = _Raise = _Assert = _Yield = _YieldFrom = _Await = _Global = _Nonlocal = _statement
    _Import = _ImportFrom = _FunctionDef = _Lambda = _ClassDef = _Delete = _Match = _Starred = _statement

    def _Expr(self, node: ast.Expr) -> bool:
        if isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Name):
            name = node.value.func.id
            if self._value(name) in INTENTS.values():
                self.fail(f"{name}(...) does nothing by itself: write return {ast.unparse(node.value)}", node)
        return False

    def _Return(self, node: ast.Return) -> bool:
        value = node.value
        nothing_said = value is None or (isinstance(value, ast.Constant) and value.value is None)
        if self.ends == "intent":
            if nothing_said:
                self.fail("return without an intent: to do nothing write return nothing()", node)
            self._check_intent(value, node)
        elif nothing_said:
            what = {"number": "math.nan for no answer", "pair": "(low, high)"}.get(self.ends, "a number")
            self.fail(f"return without a value: return {what}", node)
        elif self.ends == "pair" and not isinstance(value, ast.Tuple | ast.Call | ast.Name | ast.IfExp):
            self.fail("quiet returns a pair of floats: (low, high)", node)
        elif self.ends == "number" and isinstance(value, ast.Tuple):
            self.fail("a signal returns one number", node)
        return False

    def _check_intent(self, value: ast.expr | None, node: ast.AST) -> None:
        if isinstance(value, ast.IfExp):
            self._check_intent(value.body, node)
            self._check_intent(value.orelse, node)
            return
        wrong = {
            ast.Tuple: "a tuple", ast.BinOp: "a number", ast.UnaryOp: "a number", ast.Compare: "True or False",
            ast.BoolOp: "True or False", ast.Attribute: "a number", ast.Subscript: "a number",
        }  # fmt: skip
        if isinstance(value, ast.Constant):
            self.fail(f"returns {value.value!r}, which is no intent{_END}", node)
        if isinstance(value, ast.Name) and value.id not in self.local and self._value(value.id) in INTENTS.values():
            self.fail(f"returns the function {value.id} itself: write {value.id}(...)", node)
        if isinstance(value, ast.Name) and value.id not in self.local and isinstance(self._value(value.id), int):
            self.fail(f"returns {value.id}, a number, which is no intent{_END}", node)
        for kind, said in wrong.items():
            if isinstance(value, kind):
                self.fail(f"returns {said}, which is no intent{_END}", node)

    def _Name(self, node: ast.Name) -> bool:
        if isinstance(node.ctx, ast.Store):
            if node.id in self.roles:
                self.fail(f"{node.id} can't be given another value: use another name", node)
            return True
        if node.id in self.roles:
            role = self.roles[node.id]
            self.fail(
                f"{node.id} is used as a whole; what it holds is read by name, e.g. {node.id}."
                f"{ {'s': 'position', 'e': 'bid_ticks', 'p': 'lots'}[role] }, or handed on to a function of your own",
                node,
            )
        if node.id not in self.local:
            self._check_global(node, self._value(node.id))
        return True

    def _check_global(self, node: ast.Name, value: Any) -> None:
        name = node.id
        if value is _ABSENT:
            near = closest(name, [*self.local, *self.names])
            known = ", is it imported?" if name in (*INTENTS, "BUY", "SELL") else near or ""
            hint = f" Write from schwabot.signals import {name}" if name in (*INTENTS, "BUY", "SELL") else ""
            self.fail(f"{name} is not defined{known}{hint}", node)
        if isinstance(value, Policy | Signal):
            self.fail(
                f"{name} is a {value.what}, which can't be called from here: put what both need into a plain function,"
                " or name the signal in e",
                node,
            )
        if isinstance(value, list | dict | set | np.ndarray | str | bytearray):
            kind = "text" if isinstance(value, str) else f"a {type(value).__name__}"
            self.fail(
                f"{name} is {kind} outside the function, which can't be compiled; use a parameter, a tuple of numbers,"
                " or s.memory for what changes",
                node,
            )

    def _Attribute(self, node: ast.Attribute) -> bool:
        base = node.value
        if not isinstance(base, ast.Name):
            return False
        if base.id in self.roles:
            self._check_field(node, base.id, self.roles[base.id])
            return True
        if base.id in self.local:
            return False
        value = self._value(base.id)
        if value is math and not hasattr(math, node.attr):
            near = closest(f"math.{node.attr}", [f"math.{name}" for name in dir(math)])
            self.fail(f"math.{node.attr} does not exist{near}", node)
        if value is np:
            self._refuse_numpy(node)
        if isinstance(value, types.ModuleType) and value is not math:
            inner = getattr(value, node.attr, _ABSENT)
            if inner in INTENTS.values():
                return True
            if isinstance(inner, types.FunctionType) and not _is_users(inner):
                self._refuse(node, f"{base.id}.{node.attr}", "use math, + - * / and functions of your own")
        if isinstance(value, type) and issubclass(value, enum.Enum):
            return True
        if isinstance(value, type):
            self._refuse(
                node, f"{base.id}.{node.attr}, of a class,", "use a parameter, or a number at the top of the file"
            )
        self._check_global(base, value)
        return True

    def _refuse_numpy(self, node: ast.Attribute) -> NoReturn:
        if hasattr(math, node.attr):
            instead = f"write math.{node.attr}"
        elif node.attr in NUMPY_INSTEAD:
            instead = f"write {NUMPY_INSTEAD[node.attr]}"
        else:
            instead = "use math, + - * / and functions of your own on single numbers"
        self._refuse(node, f"numpy (np.{node.attr})", instead)

    def _check_field(self, node: ast.Attribute, name: str, role: str) -> None:
        field_name = node.attr
        if isinstance(node.ctx, ast.Store):
            hint = "keep numbers of your own in s.memory" if role == "s" else "use a variable of your own"
            self.fail(f"{name}.{field_name} can't be changed: {hint}", node)
        if role == "e":
            at = self.found.seen_at if field_name in Seen._fields else self.found.signals_at
            at.setdefault(field_name, (self.file, self.first_line - 1 + node.lineno))
            return
        if role == "s":
            known: tuple[str, ...] = PAST if isinstance(self.declared, Signal) else Standing._fields
            if field_name not in known:
                elsewhere = self._elsewhere(field_name)
                near = elsewhere or closest(field_name, known) or f"; it has {', '.join(known)}"
                self.fail(f"{name}.{field_name}: a {self.declared.what} knows no such thing of itself{near}", node)
            if self.in_quiet and field_name in MOVES:
                self.fail(
                    f"quiet reads {name}.{field_name}: {MOVES[field_name]}; decide by it in {self.declared.name} alone,"
                    " and where that can be inside the band, leave signal= and quiet= out",
                    node,
                )
            if field_name == "memory" and self.declared.memory == 0:
                self.fail(f"{name}.memory has no room: declare it, @{self.declared.what}(memory=1, ...)", node)
            return
        known = tuple(one.name for one in self.declared.parameters)
        if field_name not in known:
            near = closest(field_name, known) or f"; add {field_name}=Parameter(1.0) to @{self.declared.what}(...)"
            self.fail(f"{name}.{field_name}: {self.declared.name} declares no such parameter{near}", node)

    def _elsewhere(self, field_name: str) -> str:
        by_role = {role: name for name, role in self.roles.items()}
        if field_name in Seen._fields and "e" in by_role:
            return f", it is in the event: {by_role['e']}.{field_name}"
        if field_name in {one.name for one in self.declared.parameters} and "p" in by_role:
            return f", it is a parameter: {by_role['p']}.{field_name}"
        return ""

    def _Subscript(self, node: ast.Subscript) -> bool:
        target = node.value
        is_array = isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.attr in ARRAYS
        whose = self.roles.get(target.value.id) if is_array else None  # type: ignore[attr-defined]
        if isinstance(node.ctx, ast.Store) and whose and (whose, target.attr) != ("s", "memory"):  # type: ignore[attr-defined]
            self.fail(f"{ast.unparse(node)} can't be changed: only s.memory can", node)
        self.found.indexed |= whose is None or target.attr != "memory"  # type: ignore[attr-defined]
        if (whose, getattr(target, "attr", "")) == ("s", "memory"):
            index = node.slice
            if isinstance(index, ast.Slice):
                self._refuse(node, "a part of s.memory", "write one number at a time: s.memory[0]")
            number = _whole(index)
            self.found.indexed |= number is None
            if number is not None and not 0 <= number < self.declared.memory:
                if number < 0:
                    self.fail(f"{ast.unparse(node)}: count from 0, s.memory[{self.declared.memory + number}]", node)
                self.fail(
                    f"{ast.unparse(node)} is outside the memory of {self.declared.memory}: declare"
                    f" @{self.declared.what}(memory={number + 1}, ...)",
                    node,
                )
        return False

    def _Call(self, node: ast.Call) -> bool:
        called = node.func
        value = self._called(called)
        for keyword in node.keywords:
            if keyword.arg is None:
                self._refuse(node, "**", "write the arguments out")
        if value in INTENTS.values():
            self._check_arguments(node, value)
        elif isinstance(called, ast.Name) and value is getattr(builtins, called.id, _ABSENT):
            if called.id not in BUILTINS:
                instead = (
                    "to see what it does, call it in plain Python, or read the log of orders"
                    if called.id == "print"
                    else f"use numbers, math, {', '.join(BUILTINS)} and functions of your own"
                )
                self._refuse(node, f"{called.id}(...)", instead)
        elif isinstance(called, ast.Name) and isinstance(value, int | float | tuple):
            self.fail(f"{called.id} is a number and can't be called", node)
        elif (plain := _plain(value)) is not None and (value is not plain or _is_users(plain)):
            self._check_helper(node, value, plain)
            for argument in (*node.args, *(keyword.value for keyword in node.keywords)):
                if not (isinstance(argument, ast.Name) and argument.id in self.roles):
                    self._visit(argument)
            return True
        return False

    def _called(self, called: ast.expr) -> Any:
        if isinstance(called, ast.Name) and called.id not in self.local:
            return self._value(called.id)
        if (
            isinstance(called, ast.Attribute)
            and isinstance(called.value, ast.Name)
            and called.value.id not in self.local
        ):
            module = self._value(called.value.id)
            return getattr(module, called.attr, _ABSENT) if isinstance(module, types.ModuleType) else _ABSENT
        return _ABSENT

    def _check_arguments(self, node: ast.Call, function: Function) -> inspect.BoundArguments:
        signature = inspect.signature(function)
        try:
            return signature.bind(*node.args, **{str(keyword.arg): keyword.value for keyword in node.keywords})
        except TypeError as error:
            wants = ", ".join(str(one).split(":")[0] + (f" = {one.default}" if one.default is not one.empty else "")
                              for one in signature.parameters.values())  # fmt: skip
            self.fail(f"{function.__name__}({wants}) is called with other arguments: {error}", node)

    def _check_helper(self, node: ast.Call, value: Any, plain: Function) -> None:
        bound = self._check_arguments(node, plain)
        roles = {
            name: self.roles[argument.id]
            for name, argument in bound.arguments.items()
            if isinstance(argument, ast.Name) and argument.id in self.roles
        }
        first_time = plain not in self.found.helpers and value is plain
        if first_time:
            self.found.helpers.append(plain)
        if value is plain or roles:
            key = (plain, tuple(sorted(roles.items())), self.in_quiet)
            if key not in self.found.done:
                self.found.done.add(key)
                _Reader(self.declared, plain, roles, "any", self.found, self.in_quiet).run()

    def _value(self, name: str) -> Any:
        return self.names.get(name, _ABSENT)


_ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "absent"})()


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # defined further down
        return _ABSENT


def _plain(value: Any) -> Function | None:
    """The Python function of a plain or a compiled one."""
    if isinstance(value, types.FunctionType):
        return value
    inner = getattr(value, "py_func", None)
    return inner if isinstance(inner, types.FunctionType) else None


def _is_users(function: Function) -> bool:
    """Whether it is a function to compile along, not one of a library."""
    module = (function.__module__ or "").partition(".")[0]
    return module not in ("numba", "numpy", "torch", "schwabot_kernels", "random", "statistics", "time", "os")


def _whole(node: ast.AST) -> int | None:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value if isinstance(value, int) else None


def _always_returns(body: list[ast.stmt]) -> bool:
    return any(map(_returns, body))


def _returns(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Return):
        return True
    if isinstance(statement, ast.If):
        return _always_returns(statement.body) and _always_returns(statement.orelse)
    if isinstance(statement, ast.While):
        endless = isinstance(statement.test, ast.Constant) and bool(statement.test.value)
        return endless and not any(isinstance(one, ast.Break) for one in _walk(statement))
    if isinstance(statement, ast.For):
        return bool(statement.orelse) and _always_returns(statement.orelse)
    return False


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    yield from ast.walk(node)
