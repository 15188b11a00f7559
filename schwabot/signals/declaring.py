"""Declaring policies and signals: ``@policy(...)`` and ``@signal(...)`` on a plain scalar function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any, overload

from schwabot.errors import PolicyError
from schwabot.signals.parameters import Parameter, named, values_of
from schwabot_kernels.simulate.records import Seen

__all__ = ["Parameter", "Policy", "Signal", "policy", "signal"]

Function = Callable[..., Any]
LARGEST_MEMORY = 4096


class Declared:
    """What a policy and a signal have in common: a function (state, event, parameters), still callable as such."""

    what = "policy"

    def __init__(
        self,
        function: Function,
        parameters: Mapping[str, object],
        memory: int,
        inputs: Sequence[str] | None,
    ) -> None:
        if not inspect.isfunction(function):
            raise PolicyError(f"@{self.what} goes on a plain function, not on {function!r}")
        told: object = memory
        self.function = function
        self.name = function.__name__
        self.file, self.line = place(function)
        self.parameters = self._named(parameters)
        taken = inspect.signature(function).parameters.values()
        plain = [one for one in taken if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
        if len(plain) != 3 or len(taken) != 3 or any(one.default is not one.empty for one in taken):
            raise self.error(
                f"{self.name} takes ({', '.join(map(str, taken))}), but a {self.what} takes three: write def"
                f" {self.name}(s, e, p) for its state, the event and the parameters"
            )
        if isinstance(told, bool) or not isinstance(told, int) or not 0 <= told <= LARGEST_MEMORY:
            raise self.error(f"memory={memory!r}: say how many floats s.memory holds, 0 to {LARGEST_MEMORY}")
        self.memory = memory
        if isinstance(inputs, str):
            raise self.error(f"inputs={inputs!r}: write a list of names, inputs=[{inputs!r}]")
        self.inputs = None if inputs is None else tuple(inputs)
        self.__doc__, self.__module__, self.__wrapped__ = function.__doc__, function.__module__, function

    def _named(self, parameters: Mapping[str, object]) -> tuple[Parameter, ...]:
        try:
            return named(parameters, f"{self.what} {self.name}")
        except PolicyError as error:
            raise self.error(error.what) from None

    def error(self, what: str) -> PolicyError:
        """An error that names the function's place."""
        return PolicyError(what, file=self.file, line=self.line)

    def __call__(self, s: Any, e: Any, p: Any) -> Any:
        """Answer in plain Python."""
        return self.function(s, e, p)

    def __repr__(self) -> str:
        return f"<{self.what} {self.name} of {self.file}>"

    @cached_property
    def signals(self) -> tuple[str, ...]:
        """Signals it reads, in the order of their first use.

        Raises:
            PolicyError: the source can't tell, or something in it can't be compiled.
        """
        from schwabot.signals.reading import read  # it reads the source, which declaring need not

        found = read(self).signals if self.inputs is None else self.inputs
        if clash := [name for name in found if name in Seen._fields or not name.isidentifier()]:
            raise self.error(f"inputs: {clash[0]} is not the name of a signal; what every event has needs no mention")
        skip = getattr(self, "signal", None)
        return found if skip is None or skip in found else (*found, skip)

    def values(self, given: Mapping[str, object] | None = None) -> dict[str, float]:
        """Every parameter's value: those given, else the defaults.

        Raises:
            ConfigError: unknown name, wrong type, out of range.
        """
        return values_of(self.name, self.parameters, given or {})


class Policy(Declared):
    """A declared policy; made by ``@policy``.

    Attributes:
        function: the plain function. name: its name. file, line: where it is.
        parameters: as declared. memory: floats in ``s.memory``. inputs: signals as stated, None = read off the source.
        signal, quiet: what lets a sweep skip events, or None.
        own: signals of the user's that it brings along.
    """

    def __init__(
        self,
        function: Function,
        parameters: Mapping[str, object],
        memory: int = 0,
        inputs: Sequence[str] | None = None,
        signal: str | None = None,
        quiet: Function | None = None,
        signals: Sequence[Signal] = (),
    ) -> None:
        super().__init__(function, parameters, memory, inputs)
        if (signal is None) != (quiet is None):
            raise self.error("signal= and quiet= belong together: signal names what quiet(s, p) gives bounds of")
        if quiet is not None and (not inspect.isfunction(quiet) or len(inspect.signature(quiet).parameters) != 2):
            raise self.error("quiet= takes a plain function of (s, p) that returns (low, high)")
        if signal is not None and not isinstance(signal, str):
            raise self.error(f"signal={signal!r}: write the name of the signal, e.g. signal='forecast_bp'")
        if quiet is not None and memory:
            raise self.error(
                "a policy with memory= can do otherwise while quiet(s, p) stays as it is, so none of its events can be"
                " skipped: leave signal= and quiet= out"
            )
        for one in signals:
            if not isinstance(one, Signal):
                raise self.error(f"signals={one!r}: list functions declared with @signal")
        self.signal, self.quiet, self.own = signal, quiet, tuple(signals)


class Signal(Declared):
    """A declared signal of the user's own; made by ``@signal``. Attributes as of ``Policy``."""

    what = "signal"

    def __init__(
        self,
        function: Function,
        parameters: Mapping[str, object],
        memory: int = 0,
        inputs: Sequence[str] | None = None,
    ) -> None:
        super().__init__(function, parameters, memory, inputs)
        if self.name in Seen._fields:
            raise self.error(f"{self.name} is what every event has already: give the signal another name")


@overload
def policy(function: Function, /) -> Policy: ...


@overload
def policy(
    *,
    memory: int = 0,
    inputs: Sequence[str] | None = None,
    signal: str | None = None,
    quiet: Function | None = None,
    signals: Sequence[Signal] = (),
    **parameters: Parameter,
) -> Callable[[Function], Policy]: ...


def policy(
    function: Function | None = None,
    /,
    *,
    memory: int = 0,
    inputs: Sequence[str] | None = None,
    signal: str | None = None,
    quiet: Function | None = None,
    signals: Sequence[Signal] = (),
    **parameters: Parameter,
) -> Policy | Callable[[Function], Policy]:
    """Declare a function (s, e, p) → intent as a policy. docs/policies.md says what s, e and p hold.

    Args:
        function: the function, when used without parentheses.
        memory: floats in ``s.memory``, which start at 0 and which the policy may write.
        inputs: signals it reads, where its source can't tell.
        signal: name of the signal that ``quiet`` bounds.
        quiet: promise that lets a sweep skip: while ``s`` stays as it is, the policy does nothing as long as
            ``low <= e.signal <= high`` with ``low, high = quiet(s, p)``, and it only ever takes, on one stream.
        signals: signals of one's own, declared with ``@signal``, that it reads.
        parameters: name → ``Parameter``.

    Raises:
        PolicyError: says what is wrong with the declaration, with file and line.

    Example:
        >>> from schwabot.signals import BUY, nothing, take
        >>> @policy(edge_bp=Parameter(1.0, low=0.0, high=20.0), lots=Parameter(1, low=1))
        ... def cheap(s, e, p):
        ...     return take(BUY, p.lots) if s.position == 0 and e.deviation_bp > p.edge_bp else nothing()
        >>> cheap.values({"edge_bp": 2})
        {'edge_bp': 2.0, 'lots': 1}
    """

    def declare(function: Function) -> Policy:
        return Policy(function, parameters, memory, inputs, signal, quiet, signals)

    return declare if function is None else declare(function)


@overload
def signal(function: Function, /) -> Signal: ...


@overload
def signal(
    *, memory: int = 0, inputs: Sequence[str] | None = None, **parameters: Parameter
) -> Callable[[Function], Signal]: ...


def signal(
    function: Function | None = None,
    /,
    *,
    memory: int = 0,
    inputs: Sequence[str] | None = None,
    **parameters: Parameter,
) -> Signal | Callable[[Function], Signal]:
    """Declare a causal function (s, e, p) → float as a signal, which policies read as ``e.NAME``.

    Args:
        function: the function, when used without parentheses.
        memory: floats in ``s.memory``, which start at 0 and which the signal may write.
        inputs: signals it reads, where its source can't tell.
        parameters: name → ``Parameter``.

    Example:
        >>> @signal(memory=1)
        ... def change_ticks(s, e, p):
        ...     before, s.memory[0] = s.memory[0], e.mid_ticks
        ...     return e.mid_ticks - before if s.rows > 0 else 0.0
        >>> change_ticks.name
        'change_ticks'
    """

    def declare(function: Function) -> Signal:
        return Signal(function, parameters, memory, inputs)

    return declare if function is None else declare(function)


def place(function: Function) -> tuple[str, int]:
    """File and line of a function."""
    code = function.__code__
    return code.co_filename, code.co_firstlineno
