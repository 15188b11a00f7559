"""What is searched: names and ranges, checked against what their owners declare.

Axis legend: P parameter sets, D dimensions. A set is a row of D numbers; of a dimension with choices the number is the
place of the choice.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from schwabot.errors import ConfigError, closest
from schwabot.records.market import Float64, Int64

KINDS = ("float", "int", "choice")
KEYS = ("low", "high", "log", "step", "choices")
MOST_GRAPHS = 256
"""Settings of the graph; each is a run of the graph over the data."""


@dataclass(frozen=True, slots=True)
class Declared:
    """Something that may be searched, as its owner declares it.

    Attributes:
        name: full name, e.g. ``policy.threshold_bp``, ``simulation.entry_ms``.
        kind: ``float``, ``int`` or ``choice`` (booleans and texts).
        low, high: what its owner allows.
        search: range that is searched unless another is given: low, high, and whether on a log scale; None = it is left
            alone.
        quantum: finest step that means anything, 0 = none.
        choices: what may be chosen; empty = unknown.
    """

    name: str
    kind: str
    low: float = -math.inf
    high: float = math.inf
    search: tuple[float, float, bool] | None = None
    quantum: float = 0.0
    choices: tuple[Any, ...] = ()


SIMULATION = (
    Declared("simulation.entry_ms", "float", 0.0, 1e6, quantum=1e-6),
    Declared("simulation.response_ms", "float", 0.0, 1e6, quantum=1e-6),
    Declared("simulation.taker_fee_bp", "float", -100.0, 1000.0, quantum=1e-3),
    Declared("simulation.maker_fee_bp", "float", -100.0, 1000.0, quantum=1e-3),
)
"""Latencies and fees that may differ between sets; they are what the world does, not what you choose."""


@dataclass(frozen=True, slots=True)
class Dimension:
    """One searched parameter.

    Attributes:
        name: full name.
        kind: ``float``, ``int`` or ``choice``.
        low, high: ends, both included; of choices 0 and their number less one.
        log: searched on a log scale.
        step: distance of the values counted from ``low``; 0 = any (of integers 1).
        choices: what is chosen from.

    Example:
        >>> d = Dimension("policy.threshold_bp", "float", 0.5, 2.0, step=0.5)
        >>> d.size, d.at(np.array([0.0, 0.3, 0.99])).tolist(), d.unit(np.array([0.5, 2.0])).tolist()
        (4, [0.5, 1.0, 2.0], [0.0, 1.0])
    """

    name: str
    kind: str
    low: float
    high: float
    log: bool = False
    step: float = 0.0
    choices: tuple[Any, ...] = ()
    quantum: float = 0.0

    @property
    def short(self) -> str:
        """The name without ``policy.``."""
        return self.name.removeprefix("policy.")

    @property
    def size(self) -> int | None:
        """How many values there are; None = a continuum."""
        if self.choices:
            return len(self.choices)
        if self.kind == "float" and not self.step:
            return None
        return math.floor((self.high - self.low) / (self.step or 1.0) * (1 + 1e-12) + 1e-9) + 1

    def at(self, unit: Float64) -> Float64:
        """Values at places in [0, 1); the same share of places for each of finitely many values.

        Shape:
            unit: [P] -> [P]
        """
        size = self.size
        if size is None:
            straight = self.low + unit * (self.high - self.low)
            value = self.low * np.exp(unit * math.log(self.high / self.low)) if self.log else straight
            if self.quantum:
                value = np.round(value / self.quantum) * self.quantum
            return np.asarray(np.clip(value, self.low, self.high))
        if self.log:
            value = np.floor(self.low * np.exp(unit * math.log((self.high + 1) / self.low)))
            return np.asarray(np.clip(value, self.low, self.high))
        return self._count(np.minimum(np.floor(unit * size), size - 1))

    def unit(self, value: Float64) -> Float64:
        """Where values lie between the ends, 0 to 1.

        Shape:
            value: [P] -> [P]
        """
        if self.high == self.low:
            return np.zeros_like(value)
        if self.log:
            return np.asarray(np.log(value / self.low) / math.log(self.high / self.low))
        return np.asarray((value - self.low) / (self.high - self.low))

    def levels(self, most: int) -> Float64:
        """All values, or ``most`` evenly spaced ones of a continuum (and of whole numbers where there are more).

        Example:
            >>> Dimension("policy.lots", "int", 1, 100, log=True).levels(3).tolist()
            [1.0, 10.0, 100.0]
        """
        size = self.size
        if size is not None and (size <= most or self.step or self.choices):
            return self._count(np.arange(size, dtype=np.float64))
        places = np.linspace(0.0, 1.0, most) if most > 1 else np.array([0.5])
        value = (
            np.exp(np.log(self.low) + places * math.log(self.high / self.low))
            if self.log
            else self.low + places * (self.high - self.low)
        )
        if self.kind == "int":
            return np.unique(np.round(value))
        if self.quantum:
            value = np.round(value / self.quantum) * self.quantum
        return np.clip(value, self.low, self.high)

    def decoded(self, value: Float64) -> list[Any]:
        """Values as their owner has them: floats, ints or the choices themselves."""
        if self.choices:
            return [self.choices[int(one)] for one in value]
        if self.kind == "int":
            return [int(one) for one in value]
        return [float(one) for one in value]

    def _count(self, place: Float64) -> Float64:
        """Values by number; decimal steps give decimal numbers (0.1 x 3 is 0.3)."""
        if self.choices:
            return place
        value = self.low + place * (self.step or 1.0)
        return np.clip(np.round(value, 12) if self.kind == "float" else value, self.low, self.high)


@dataclass(frozen=True, slots=True)
class Space:
    """What is searched: D dimensions, those of the graph first."""

    dimensions: tuple[Dimension, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Full names."""
        return tuple(one.name for one in self.dimensions)

    @property
    def graph(self) -> tuple[int, ...]:
        """Which dimensions are settings of the graph."""
        return tuple(d for d, one in enumerate(self.dimensions) if one.name.startswith("modules."))

    @property
    def size(self) -> int | None:
        """How many different sets there are; None = a continuum."""
        total = 1
        for one in self.dimensions:
            if one.size is None:
                return None
            total *= one.size
        return total

    @property
    def graphs(self) -> int:
        """How many settings of the graph there are, at least 1."""
        return math.prod(self.dimensions[d].size or 1 for d in self.graph)

    def graph_of(self, values: Float64) -> Int64:
        """Number of each set's setting of the graph.

        Shape:
            values: [P, D] -> [P]
        """
        number = np.zeros(len(values), np.int64)
        for d in self.graph:
            one = self.dimensions[d]
            place = values[:, d] if one.choices else np.round((values[:, d] - one.low) / (one.step or 1.0))
            number = number * (one.size or 1) + place.astype(np.int64)
        return number

    def graph_setting(self, number: int) -> dict[str, Any]:
        """The graph's settings of that number, by full name."""
        setting: dict[str, Any] = {}
        for d in reversed(self.graph):
            one = self.dimensions[d]
            number, place = divmod(number, one.size or 1)
            setting[one.name] = one.decoded(one.levels(1 << 30)[place : place + 1])[0]
        return dict(reversed(setting.items()))

    def unit(self, values: Float64) -> Float64:
        """Every set's place in the unit cube.

        Shape:
            values: [P, D] -> [P, D]
        """
        columns = [one.unit(values[:, d]) for d, one in enumerate(self.dimensions)]
        return np.stack(columns, axis=1) if columns else np.zeros((len(values), 0))

    def decoded(self, row: Float64) -> dict[str, Any]:
        """One set by short name, as a person writes it."""
        return {one.short: one.decoded(row[d : d + 1])[0] for d, one in enumerate(self.dimensions)}


def open_space(over: Mapping[str, Any], declared: Sequence[Declared]) -> Space:
    """Check ``sweep.over`` against what may be searched.

    Args:
        over: name → range, see ``SweepConfig.over``; empty = all that declare a search range.
        declared: what may be searched; ``policy.`` may be left out in ``over``.

    Raises:
        ConfigError: a name that is not there, a range that is empty, of the wrong type or beyond what is declared.

    Example:
        >>> threshold = Declared("policy.threshold_bp", "float", 0.0, 100.0, (0.1, 5.0, True))
        >>> open_space({}, [threshold]).dimensions[0].log
        True
        >>> open_space({"threshold_bp": [3, 1]}, [threshold])
        Traceback (most recent call last):
            ...
        schwabot.errors.ConfigError: sweep.over: threshold_bp=[3, 1]: 3 is not below 1; write the smaller end first
    """
    known = {one.name: one for one in declared}
    if not over:
        found = [
            Dimension(one.name, "choice", 0, len(one.choices) - 1, choices=one.choices)
            if one.choices
            else Dimension(one.name, one.kind, one.search[0], one.search[1], log=one.search[2], quantum=one.quantum)
            for one in declared
            if one.search is not None and one.search[0] < one.search[1]
        ]
        if not found:
            raise ConfigError(
                "sweep.over is empty and the policy declares no ranges: give one, e.g. 'sweep.over={NAME: [LOW, HIGH]}'"
            )
        return Space(tuple(found))
    found = []
    for name, given in _flat(over):
        full = name if name in known else f"policy.{name}"
        if full not in known:
            there = ", ".join(one.removeprefix("policy.") for one in known if not one.startswith("modules."))
            raise ConfigError(f"sweep.over: there is no {name}{closest(name, known)}; what can be searched: {there}")
        if any(one.name == full for one in found):
            raise ConfigError(f"sweep.over names {full} twice")
        found.append(_dimension(name, given, known[full]))
    space = Space(tuple(sorted(found, key=lambda one: not one.name.startswith("modules."))))
    if space.graphs > MOST_GRAPHS:
        raise ConfigError(
            f"sweep.over makes {space.graphs:,} settings of the graph, each of which is a run over the data;"
            f" use at most {MOST_GRAPHS}"
        )
    return space


def _flat(over: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """``simulation: {entry_ms: ...}`` as ``simulation.entry_ms: ...``; a command line gives the former."""
    for key, given in over.items():
        name = f"{prefix}{key}"
        if (
            name.partition(".")[0] in ("policy", "simulation", "modules")
            and isinstance(given, Mapping)
            and (not given or not set(map(str, given)) & set(KEYS))
        ):
            yield from _flat(given, f"{name}.")
        else:
            yield name, given


def _dimension(name: str, given: Any, declared: Declared) -> Dimension:
    said = f"sweep.over: {name}={_written(given)}"
    if isinstance(given, Mapping):
        if extra := [str(key) for key in given if key not in KEYS]:
            raise ConfigError(
                f"{said}: {extra[0]} is not part of a range{closest(extra[0], KEYS)}; use {', '.join(KEYS)}"
            )
        if "choices" in given:
            if len(given) > 1:
                raise ConfigError(f"{said}: choices stand alone, without low, high, log and step")
            return _choices(said, given["choices"], declared)
        if "low" not in given or "high" not in given:
            raise ConfigError(f"{said}: both low and high are wanted, or choices")
        low, high, log, step = given["low"], given["high"], given.get("log", False), given.get("step") or 0.0
    elif isinstance(given, Sequence) and not isinstance(given, str):
        if not given:
            raise ConfigError(f"{said} is empty: write [LOW, HIGH] or {{choices: [...]}}")
        if declared.kind == "choice":
            return _choices(said, given, declared)
        if len(given) != 2:
            raise ConfigError(f"{said}: a range is [LOW, HIGH]; for single values write {{choices: {_written(given)}}}")
        (low, high), log, step = given, False, 0.0
    else:
        raise ConfigError(
            f"{said}: write [LOW, HIGH] or {{choices: [...]}}; a single value is set on the parameter itself"
        )
    if declared.kind == "choice":
        raise ConfigError(f"{said}: {declared.name} has no order; write {{choices: [...]}}")
    for value in (low, high):
        _number(said, value, declared)
    if isinstance(step, bool) or not isinstance(step, int | float) or not math.isfinite(step):
        raise ConfigError(f"{said}: {step!r} is not a number")
    if declared.kind == "int" and step != int(step):
        raise ConfigError(f"{said}: {declared.name} takes whole numbers, a step of {step:g} is none")
    if not isinstance(log, bool):
        raise ConfigError(f"{said}: log is true or false")
    if low >= high:
        same = "one value is no range, set the parameter itself" if low == high else "write the smaller end first"
        raise ConfigError(f"{said}: {low:g} is not below {high:g}; {same}")
    if log and low <= 0:
        raise ConfigError(f"{said}: a log scale begins above 0")
    if log and step:
        raise ConfigError(f"{said}: step and log do not go together")
    if step < 0 or step > high - low:
        raise ConfigError(f"{said}: step is more than 0 and at most {high - low:g}")
    if declared.quantum and step and abs(step / declared.quantum - round(step / declared.quantum)) > 1e-6:
        raise ConfigError(f"{said}: {declared.name} is counted in {declared.quantum:g}, and step is finer")
    if declared.name.startswith("modules.") and not step and declared.kind != "int":
        raise ConfigError(f"{said}: every setting of the graph is a run over the data; give step or choices")
    if step:  # the last value of the range, not its end
        high = min(high, round(low + math.floor((high - low) / step * (1 + 1e-12) + 1e-9) * step, 12))
        if high == low:
            raise ConfigError(f"{said}: the step leaves one value only")
    return Dimension(
        declared.name, declared.kind, float(low), float(high), log=log, step=float(step), quantum=declared.quantum
    )


def _choices(said: str, choices: Any, declared: Declared) -> Dimension:
    if not isinstance(choices, Sequence) or isinstance(choices, str) or not choices:
        raise ConfigError(f"{said}: choices is a list of at least one value")
    for value in choices:
        if declared.kind != "choice":
            _number(said, value, declared)
        elif declared.choices and value not in declared.choices:
            raise ConfigError(f"{said}: {value} is not a choice; use {', '.join(map(str, declared.choices))}")
    if len({(type(value), value) for value in choices}) < len(choices):
        raise ConfigError(f"{said} names one choice twice")
    kept = tuple(choices) if declared.kind == "choice" else tuple(sorted(choices))
    return Dimension(declared.name, "choice", 0, len(kept) - 1, choices=kept)


def _number(said: str, value: Any, declared: Declared) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ConfigError(f"{said}: {value!r} is not a number")
    if declared.kind == "int" and value != int(value):
        raise ConfigError(f"{said}: {declared.name} takes whole numbers, {value:g} is none")
    if not declared.low <= value <= declared.high:
        raise ConfigError(
            f"{said}: {value:g} is out of what {declared.name} allows, {declared.low:g} to {declared.high:g}"
        )


def _written(given: Any) -> str:
    if isinstance(given, Mapping):
        return "{" + ", ".join(f"{key}: {_written(value)}" for key, value in given.items()) + "}"
    if isinstance(given, Sequence) and not isinstance(given, str):
        return "[" + ", ".join(map(_written, given)) + "]"
    return str(given).lower() if isinstance(given, bool) else str(given)


def declared_modules(tree: Mapping[str, Any], prefix: str = "modules") -> Iterable[Declared]:
    """Every single-valued setting of the graph; its own checks refuse what is out of range.

    Args:
        tree: ``modules`` of the run's settings as nested dicts.
        prefix: what their names begin with.

    Example:
        >>> [(one.name, one.kind) for one in declared_modules({"a": {"tau_s": 1.0, "bits": 8, "kind": "x"}})]
        [('modules.a.tau_s', 'float'), ('modules.a.bits', 'int'), ('modules.a.kind', 'choice')]
    """
    for key, value in tree.items():
        name = f"{prefix}.{key}"
        if isinstance(value, Mapping):
            yield from declared_modules(value, name)
        elif isinstance(value, bool):
            yield Declared(name, "choice", choices=(False, True))
        elif isinstance(value, str) or value is None:
            yield Declared(name, "choice")
        elif isinstance(value, int | float):
            yield Declared(name, "int" if isinstance(value, int) else "float")
