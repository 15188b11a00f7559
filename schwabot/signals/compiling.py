"""One source, compiled: from a declared policy to the functions that the simulator's kernels take.

Axis legend: S signals, L legs, N rows, P parameter sets, K parameters.
"""

from __future__ import annotations

import math
import re
import traceback
from collections import namedtuple
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numba
import numpy as np
from numba.core.errors import NumbaError
from numba.extending import register_jitable

from schwabot.errors import PolicyError
from schwabot.signals.columns import check_names
from schwabot.signals.declaring import Declared, Function, Policy, Signal, place
from schwabot.signals.identity import REGISTERED, content_of
from schwabot.signals.parameters import Parameter, as_row, values_of
from schwabot.signals.reading import Found, read
from schwabot_kernels.kept import Key
from schwabot_kernels.simulate.intent import NOTHING, Intent
from schwabot_kernels.simulate.records import SLOTS, Seen, Standing
from schwabot_kernels.simulate.state import ORDER_COLUMNS

OPTIONS: dict[str, Any] = {"error_model": "numpy", "boundscheck": False, "nogil": True, "forceinline": True}
"""Of every function compiled here: IEEE division, no fast-math, inlined into the kernel that calls it."""
SETTINGS = ("trade", "signals", "leader")
"""What may have been meant by a parameter that is not there: ``policy.trade`` and so on."""
OURS = sha256(Path(__file__).read_bytes()).hexdigest()
"""This file as it was imported: what it makes of a policy is part of what is kept on disk."""
MOST_MADE = 64
RANDOM_TRIALS = 16
"""Sets of parameters within their ranges at which a promise is tried."""


@dataclass(frozen=True)
class CompiledPolicy:
    """A policy as the kernels take it.

    Attributes:
        name: of the policy.
        python: the plain function.
        policy: (s, e, p) → ``Intent``, compiled.
        quiet: (s, p) → (low, high), compiled, or None.
        event_of: (seen, signals [L, S, N], leg, row) → event, compiled; signal number i is ``signals[i]``.
        params_of: (params [P, K], set) → parameters, compiled.
        signals: names of the signals it reads.
        skip_signal: the one ``quiet`` bounds, or None.
        parameters: as declared.
        memory: floats in ``s.memory``.
        source: where it is, ``file:line``.
        own: signals of the user's among ``signals`` and among what those read.
        key: what tells its code from all other, for ``schwabot_kernels.kept``; None = it can't be told.
    """

    name: str
    python: Function
    policy: Callable[..., Any]
    quiet: Callable[..., Any] | None
    event_of: Callable[..., Any]
    params_of: Callable[..., Any]
    signals: tuple[str, ...]
    skip_signal: str | None
    parameters: tuple[Parameter, ...]
    memory: int
    source: str
    own: tuple[Signal, ...] = ()
    key: Key | None = None

    def values(self, given: dict[str, object] | None = None) -> dict[str, float]:
        """Every parameter's value: those given, else the defaults; see ``values_of``."""
        return values_of(self.name, self.parameters, given or {}, (*SETTINGS, *(one.name for one in self.own)))

    def row(self, given: dict[str, object] | None = None) -> np.ndarray[Any, Any]:
        """The values [K] as one row of ``params``."""
        return np.array(as_row(self.values(given)), np.float64)


def compile_policy(policy: Policy, own: Sequence[Signal] = (), legs: int = 1) -> CompiledPolicy:
    """Compile a policy, and ask it once in plain Python and compiled whether the two agree.

    Both are done once for a policy as it is, on this machine: what was found right is on disk, see ``key_of``.

    Args:
        policy: as declared.
        own: signals of the user's that it may read, beside those it brings along.
        legs: streams it will trade: the length of ``e.bids``, ``e.asks`` and ``s.positions``.

    Raises:
        PolicyError: something that can't be compiled; says file, line and what to write instead.

    Example:
        >>> from schwabot.signals.builtin.threshold import threshold
        >>> compiled = compile_policy(threshold)
        >>> compiled.signals, compiled.row({"enter_bp": 2}).tolist()
        (('forecast_bp',), [2.0, 0.0, 1.0, 1.0])
    """
    own = tuple(dict.fromkeys((*policy.own, *own)))
    found = read(policy)
    signals = policy.signals
    needed = check_names(policy, signals, found.signals_at, own)
    make_jitable(found)
    key = key_of(policy, found, legs)
    made = made_once(key, lambda: _make(policy, found, legs, key))
    return CompiledPolicy(
        name=policy.name,
        python=policy.function,
        policy=made.policy,
        quiet=made.quiet,
        event_of=made.event_of,
        params_of=made.params_of,
        signals=signals,
        skip_signal=policy.signal,
        parameters=policy.parameters,
        memory=policy.memory,
        source=f"{policy.file}:{policy.line}",
        own=needed,
        key=key,
    )


class _Made(NamedTuple):
    policy: Any
    quiet: Any
    event_of: Any
    params_of: Any


_made: dict[Key, Any] = {}


def made_once(key: Key | None, make: Callable[[], Any]) -> Any:
    """What was made under this key in this process, else what is made now."""
    if key is None:
        return make()
    if key not in _made:
        made = make()
        while len(_made) >= MOST_MADE:
            del _made[next(iter(_made))]
        _made[key] = made
    return _made[key]


def _make(policy: Policy, found: Found, legs: int, key: Key | None) -> _Made:
    event, event_of = make_event_of(policy.signals)
    params, params_of = make_params_of(policy.parameters)
    compiled = jit(policy.function, found)
    quiet = None if policy.quiet is None else _quiet_of(policy)
    if key is None or not key.is_checked:
        _check(policy, compiled, quiet, event, params, legs)
        if key is not None:
            key.mark_checked()
    return _Made(compiled, quiet, event_of, params_of)


def key_of(declared: Declared, found: Found, *told: Any) -> Key | None:
    """What a policy or signal is compiled from and checked with; None where that can't be told for sure.

    Args:
        declared: as declared; all that its functions refer to counts, as deep as it goes.
        found: what was read of it.
        told: what else the code or the check depends on.
    """
    now = partial(_content, declared, found, OURS, *told)
    text = now()
    return None if text is None else Key(text, now)


def _content(declared: Declared, found: Found, *told: Any) -> str | None:
    if any(REGISTERED[helper] is None or REGISTERED[helper] != content_of(helper) for helper in found.helpers):
        return None
    quiet, bounded = getattr(declared, "quiet", None), getattr(declared, "signal", None)
    parameters = tuple(repr(one) for one in declared.parameters)
    of = (declared.what, declared.signals, bounded, parameters, declared.memory, found.indexed, *told)
    return content_of(declared.function, quiet, repr(sorted(OPTIONS.items())), of)


def make_event_of(signals: Sequence[str], columns: Sequence[int] | None = None) -> tuple[Any, Any]:
    """The event's type, and the compiled function that makes one.

    Args:
        signals: names.
        columns: where each is in the market's signals; default 0, 1, 2, ...
    """
    event = namedtuple("Event", (*Seen._fields, *signals))  # type: ignore[misc]
    at = range(len(signals)) if columns is None else columns
    given = [f"seen.{name}" for name in Seen._fields] + [f"signals[leg, {column}, row]" for column in at]
    return event, _generated("event_of(seen, signals, leg, row)", f"Event({', '.join(given)})", Event=event)


def make_params_of(parameters: Sequence[Parameter]) -> tuple[Any, Any]:
    """The parameters' type, and the compiled function that makes one set of them."""
    if not parameters:  # numba knows no empty tuple with names
        empty = namedtuple("empty", ("none",))
        return empty, _generated("params_of(params, p)", "Params(0.0)", Params=empty)
    params = namedtuple("params", tuple(one.name for one in parameters))  # type: ignore[misc]
    read_as = {float: "params[p, {}]", int: "int(params[p, {}])", bool: "params[p, {}] != 0.0"}
    given = [read_as[one.kind].format(k) for k, one in enumerate(parameters)]
    return params, _generated("params_of(params, p)", f"Params({', '.join(given)})", Params=params)


def _generated(head: str, answer: str, **names: Any) -> Any:
    space: dict[str, Any] = {"__name__": __name__, **names}  # what has no module is not kept on disk
    exec(f"def {head}:\n    return {answer}", space)  # nosec B102: names were checked, see declaring
    return numba.njit(**OPTIONS)(space[head.partition("(")[0]])


def make_jitable(found: Found) -> None:
    """Let compiled code call the plain functions that were found, each told to numba once."""
    for helper in found.helpers:
        if helper not in REGISTERED:
            content = content_of(helper)
            register_jitable(boundscheck=found.indexed)(helper)
            REGISTERED[helper] = content


def jit(function: Function, found: Found) -> Any:
    """Compile a user's function; an index that its source does not tell is checked where it is used."""
    return numba.njit(**{**OPTIONS, "boundscheck": found.indexed})(function)


def _quiet_of(policy: Policy) -> Any:
    inner = numba.njit(**OPTIONS)(policy.quiet)

    def quiet(s: Any, p: Any) -> tuple[float, float]:
        low, high = inner(s, p)
        return float(low), float(high)

    return numba.njit(**OPTIONS)(quiet)


# the first use


def _check(policy: Policy, compiled: Any, quiet: Any, event: Any, params: Any, legs: int) -> None:
    values = params(**policy.values()) if policy.parameters else params(0.0)
    trials = [] if quiet is None else [params(**(policy.values() | one)) for one in tried(policy.parameters)]
    for number, (standing, seen, signals) in enumerate(dummies(len(policy.signals), policy.memory, legs)):
        e = event(*seen, *signals)
        if number == 0:
            compile_for(policy, compiled, standing, e, values)
            _check_answer(policy, compiled)
        again = standing._replace(memory=standing.memory.copy())
        said = in_python(policy, policy.function, again, e, values)
        if said is None:  # nor is it run compiled, where nothing would stop it
            continue
        got = compiled(standing, e, values)
        if not _same(said, got):
            raise policy.error(
                f"{policy.name} answers {_words(got)} compiled and {_words(said)} in plain Python: does it use"
                " something outside that changes, or divide whole numbers by 0?"
            )
        if quiet is not None:
            for given in (values, *trials):
                _check_quiet(policy, quiet, standing, e, given)


def tried(parameters: Sequence[Parameter]) -> list[dict[str, float]]:
    """Values at which a promise is tried beside the defaults: ends of the ranges, one by one and all, and within.

    Example:
        >>> tried([Parameter(2, low=1, high=9, name="lots"), Parameter(0.5, name="edge_bp")])[:2]
        [{'lots': 1}, {'lots': 9}]
    """
    spans = {one.name: one.search or (one.low, one.high) for one in parameters if one.kind is not bool}
    ends: dict[str, list[float]] = {
        name: [end for end in span if end is not None] for name, span in spans.items() if span != (None, None)
    }
    ends |= {one.name: [False, True] for one in parameters if one.kind is bool}
    found: list[dict[str, float]] = [{name: end} for name, some in ends.items() for end in some]
    found += [{name: some[k] for name, some in ends.items()} for k in (0, -1)] if ends else []
    draw = np.random.default_rng(0)
    for _ in range(RANDOM_TRIALS if ends else 0):
        one_set: dict[str, float] = {}
        for one in parameters:
            low, high = (ends.get(one.name) or [one.default])[0], (ends.get(one.name) or [one.default])[-1]
            x = low * (high / low) ** draw.random() if one.log else low + (high - low) * draw.random()
            one_set[one.name] = one.kind(round(x)) if one.kind is not float else min(max(float(x), low), high)
        found.append(one_set)
    return found


def compile_for(declared: Declared, compiled: Any, *given: Any) -> None:
    """Compile for what is given, without running it.

    Raises:
        PolicyError: what the compiler could not take, with file and line.
    """
    try:
        compiled.compile(tuple(map(numba.typeof, given)))
    except NumbaError as error:
        explain(declared, error)


def _check_answer(policy: Policy, compiled: Any) -> None:
    kind = compiled.nopython_signatures[0].return_type
    if getattr(kind, "instance_class", None) is not Intent:
        said = {"none": "nothing at all", "boolean": "True or False"}.get(str(kind), "a number")
        raise policy.error(
            f"{policy.name} returns {said}, which is no intent; return take(...), post(...), cancel(...), replace(...)"
            " or nothing()"
        )


def _check_quiet(policy: Policy, quiet: Any, standing: Standing, e: Any, values: Any) -> None:
    """Hold the policy to its promise at a few events."""
    assert policy.quiet is not None
    assert policy.signal is not None
    try:
        low, high = quiet(standing, values)
    except NumbaError as error:
        explain(policy, error, policy.quiet)
    said = in_python(policy, policy.quiet, standing, values)
    if said is not None and (float(said[0]), float(said[1])) != (low, high):
        raise policy.error(f"quiet answers {(low, high)} compiled and {tuple(said)} in plain Python")
    if standing.in_flight and (low, high) != (-math.inf, math.inf):
        raise policy.error("quiet must return (-math.inf, math.inf) while s.in_flight > 0: one request at a time")
    inside = [low, high, 0.5 * (low + high), math.nan, 0.0, -1e9, 1e9]
    for x in inside:
        if not (math.isnan(x) or (low <= x <= high)) or math.isinf(x):
            continue
        got = in_python(policy, policy.function, standing, e._replace(**{policy.signal: x}), values)
        if got is not None and got.action != NOTHING:
            told = "".join(f", {name}={value:g}" for name, value in values._asdict().items() if policy.parameters)
            raise policy.error(
                f"quiet promises that {policy.name} does nothing for {low} <= {policy.signal} <= {high} (and for NaN)"
                f" with position {standing.position}{told}, but at {x} it answers {_words(got)}"
            )


def in_python(declared: Declared, function: Function, *given: Any) -> Any:
    """The answer of the plain function, or None where Python refuses what IEEE arithmetic answers."""
    try:
        return function(*given)
    except (ZeroDivisionError, OverflowError, ValueError):
        return None
    except Exception as error:  # whatever a user's function raises is told with its line
        at = next(
            (one for one in reversed(traceback.extract_tb(error.__traceback__)) if one.filename == declared.file), None
        )
        if isinstance(error, IndexError):
            said = (
                f"{error}: s.memory has {declared.memory} numbers (memory=N declares more); e.bids, e.asks and"
                " s.positions have one for each stream of policy.trade"
            )
        else:
            said = f"{type(error).__name__}: {error}"
        file, line = (declared.file, declared.line) if at is None else (at.filename, at.lineno)
        raise PolicyError(said, file=file, line=line) from error


def _same(python: Any, compiled: Any) -> bool:
    return type(python).__name__ == "Intent" and tuple(map(int, python)) == tuple(compiled)


def _words(intent: Any) -> str:
    return "nothing()" if getattr(intent, "action", None) == NOTHING else repr(intent)


def dummies(signals: int, memory: int, legs: int = 1) -> Iterator[tuple[Standing, Seen, tuple[float, ...]]]:
    """Made-up events and standings to try a policy on."""
    bids, asks = np.full(legs, 60_000, np.int64), np.full(legs, 60_002, np.int64)
    for position in (0, 2, -2):
        for in_flight in (0, 1):
            standing = Standing(
                position, in_flight, 0, 0, -1, -1, 0, 0, 60_001.0 if position else 0.0, 0.0, abs(position),
                10**18 if position else -1, 10**18 if position else -1, 10**18, 0, np.full(legs, position, np.int64),
                np.zeros((SLOTS, ORDER_COLUMNS), np.int64), np.zeros(memory),
            )  # fmt: skip
            for x in (0.3, -7.0, 7.0, math.nan):
                seen = Seen(10**18 + 10**9, 0, 1, 0, 60_000, 60_002, 3, 4, 60_001.0, 0, 0, 0, bids, asks)
                yield standing._replace(memory=np.zeros(memory)), seen, (x,) * signals


# errors of the compiler


def explain(declared: Declared, error: Exception, function: Function | None = None) -> NoReturn:
    """Say what the compiler could not take, with file and line."""
    said = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    file, line = place(function or declared.function)
    here = re.findall(r'File "(.+?)", line (\d+)', said)
    own = [int(number) for name, number in here if Path(file).as_posix().endswith(Path(name).as_posix())]
    location = getattr(error, "loc", None)
    if own:
        line = own[-1]
    elif location is not None and location.filename == file:
        line = location.line
    raise PolicyError(_short(said), file=file, line=line) from error


def _short(said: str) -> str:
    if "Can't unify return type" in said or "unify" in said:
        return (
            "answers of different kinds in different branches: return take(...), post(...), cancel(...), replace(...)"
            " or nothing() everywhere, and give a variable the same kind of value in every branch"
        )
    if found := re.search(r"Unknown attribute '(\w+)' of type (.+)", said):
        return f"{found[1]} can't be used here: {found[2]} has no such thing in compiled code"
    if found := re.search(r"(?:NameError: name|Untyped global name) '(\w+)'", said):
        return f"{found[1]} can't be compiled: use parameters, s.memory, math and functions of your own"
    if found := re.search(r"No implementation of function Function\((.+?)\) found for signature:\s*>>> (.+)", said):
        return f"{_plain_name(found[1])} can't be compiled for these values: {found[2].strip()}"
    if found := re.search(r"variable '(\w+)' is not (?:defined|typed)|'(\w+)' is not defined", said):
        return f"{found[1] or found[2]} has no value in some branch: give it one first"
    lines = [one.strip() for one in said.splitlines() if one.strip() and "pipeline" not in one and "During" not in one]
    return f"can't be compiled: {' '.join(lines[:2]) if lines else 'for a reason the compiler does not give'}"


def _plain_name(name: str) -> str:
    return re.sub(r"<built-in function (\w+)>|<function (\w+) at .*>", lambda found: found[1] or found[2], name)
