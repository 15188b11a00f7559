"""Typed parameters of policies and signals, and the values a user gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from schwabot.errors import ConfigError, PolicyError, closest

EXACT = 2**53
"""Parameters travel as float64, which holds integers exactly up to here."""


@dataclass(frozen=True)
class Parameter:
    """A number a policy can be told; its type is that of the default: float, int or bool.

    Args:
        default: the value when none is given.
        low, high: smallest and largest value allowed; None = no limit. A bool has none.
        search: range a sweep searches when it is told none; default: ``low`` to ``high`` where both are given.
        log: search in equal ratios rather than equal steps.
        unit: e.g. "bp", for tables.
        about: one line, for tables.
        searched: False = a sweep leaves it alone unless told, as what says what is to be done, not how.
        name: filled in from the declaration.

    Raises:
        PolicyError: a default that is no number, or a range it does not lie in.

    Example:
        >>> Parameter(1.5, low=0.0, high=20.0, search=(0.5, 5.0), log=True, unit="bp").kind
        <class 'float'>
        >>> Parameter(3, low=5)
        Traceback (most recent call last):
        schwabot.errors.PolicyError: Parameter(3): the default is less than low=5
    """

    default: float
    low: float | None = None
    high: float | None = None
    search: tuple[float, float] | None = None
    log: bool = False
    unit: str = ""
    about: str = ""
    searched: bool = True
    name: str = ""

    def __post_init__(self) -> None:
        said = f"Parameter({self.default!r})"
        given: object = self.default
        if not isinstance(given, bool | int | float) or not isfinite(given):
            raise PolicyError(f"{said}: the default must be a float, an int or a bool, e.g. 1.0, 1 or True")
        if self.kind is bool:
            if (self.low, self.high, self.search, self.log) != (None, None, None, False):
                raise PolicyError(f"{said}: a parameter that is True or False has no range; for a number write 1")
            return
        for name in ("low", "high"):
            self._check_bound(said, name, getattr(self, name))
        if self.low is not None and self.high is not None and self.low > self.high:
            raise PolicyError(f"{said}: low={self.low} is more than high={self.high}")
        self._check_within(said, "the default", self.default)
        if self.kind is int and abs(self.default) > EXACT:
            raise PolicyError(f"{said}: integers go up to {EXACT}")
        if self.search is not None:
            pair: object = self.search
            if not isinstance(pair, Sequence) or len(pair) != 2:
                raise PolicyError(f"{said}: search={self.search!r} is not a pair: write search=(low, high)")
            for bound in self.search:
                self._check_bound(said, "search", bound)
                self._check_within(said, f"search={self.search}", bound)
            if self.search[0] > self.search[1]:
                raise PolicyError(f"{said}: search={self.search} runs backwards")
            object.__setattr__(self, "search", tuple(self.search))
        if self.log and (self.range is None or self.range[0] <= 0):
            raise PolicyError(f"{said}: log=True needs a range to search above 0: write search=(low, high)")

    def _check_bound(self, said: str, name: str, bound: object) -> None:
        if bound is None:
            return
        if isinstance(bound, bool) or not isinstance(bound, int | float) or not isfinite(bound):
            raise PolicyError(f"{said}: {name}={bound!r} is not a number")
        if self.kind is int and not isinstance(bound, int):
            raise PolicyError(
                f"{said}: {name}={bound!r} of a whole number must be whole; for a float write {said[:-1]}.0)"
            )

    def _check_within(self, said: str, what: str, value: float) -> None:
        if self.low is not None and value < self.low:
            raise PolicyError(f"{said}: {what} is less than low={self.low}")
        if self.high is not None and value > self.high:
            raise PolicyError(f"{said}: {what} is more than high={self.high}")

    @property
    def kind(self) -> type:
        """``float``, ``int`` or ``bool``."""
        return type(self.default)

    @property
    def range(self) -> tuple[float, float] | None:
        """What a sweep searches by itself; None = it leaves the parameter alone."""
        if not self.searched:
            return None
        if self.kind is bool:
            return (0, 1)
        if self.search is not None:
            return self.search
        return None if self.low is None or self.high is None else (self.low, self.high)

    def value(self, given: object, where: str = "") -> float:
        """The given value in the parameter's type.

        Args:
            given: from a configuration or a caller.
            where: what an error calls it; default: the name.

        Raises:
            ConfigError: of another type or out of range.

        Example:
            >>> Parameter(1.0, low=0.0, high=20.0, name="edge_bp").value(30)
            Traceback (most recent call last):
            schwabot.errors.ConfigError: edge_bp=30 is out of range: use 0.0 to 20.0
        """
        given = given.item() if hasattr(given, "item") else given  # numpy's numbers
        said = f"{where or self.name}={given}"
        if self.kind is bool:
            if isinstance(given, bool):
                return given
            raise ConfigError(f"{said} is not a choice: use true or false")
        whole = isinstance(given, int) or (isinstance(given, float) and given.is_integer())
        if isinstance(given, bool) or not isinstance(given, int | float) or not isfinite(given):
            raise ConfigError(f"{said} is not a number: use {self.allowed()}")
        if self.kind is int and (not whole or abs(given) > EXACT):
            raise ConfigError(f"{said} is not a whole number: use {self.allowed()}")
        value = self.kind(given)
        if (self.low is not None and value < self.low) or (self.high is not None and value > self.high):
            raise ConfigError(f"{said} is out of range: use {self.allowed()}")
        return value  # type: ignore[no-any-return]

    def allowed(self) -> str:
        """The allowed values in words.

        Example:
            >>> Parameter(1, low=1).allowed()
            '1 or more'
        """
        unit = f" {self.unit}" if self.unit else ""
        if self.low is not None and self.high is not None:
            return f"{self.low} to {self.high}{unit}"
        if self.low is not None:
            return f"{self.low} or more{unit}"
        if self.high is not None:
            return f"{self.high} or less{unit}"
        return ("a whole number" if self.kind is int else "a number") + unit


def named(declared: Mapping[str, object], where: str) -> tuple[Parameter, ...]:
    """The parameters with their names.

    Raises:
        PolicyError: something that is no ``Parameter``, or a name that can't be an attribute.
    """
    for name, one in declared.items():
        if not isinstance(one, Parameter):
            hint = f", e.g. {name}=Parameter({one!r})" if isinstance(one, bool | int | float) else ""
            raise PolicyError(f"{where}: {name}={one!r} is not a Parameter{hint}")
        if name.startswith("_"):
            raise PolicyError(f"{where}: the parameter {name} can't begin with an underscore")
    return tuple(replace(one, name=name) for name, one in declared.items() if isinstance(one, Parameter))


def values_of(
    owner: str, parameters: Iterable[Parameter], given: Mapping[str, object], settings: Sequence[str] = ()
) -> dict[str, float]:
    """Every parameter's value, in the order of their declaration.

    Args:
        owner: whose they are, for errors.
        parameters: as declared.
        given: values by name; what is absent has its default.
        settings: other names that may have been meant.

    Raises:
        ConfigError: unknown name, wrong type, out of range.

    Example:
        >>> values_of("mine", [Parameter(1.0, name="edge_bp")], {"edge": 2})
        Traceback (most recent call last):
        schwabot.errors.ConfigError: policy mine has no parameter edge, did you mean edge_bp? It has edge_bp
    """
    known = {one.name: one for one in parameters}
    for name in given:
        if name not in known:
            has = f"It has {', '.join(known)}" if known else "It has none"
            near = closest(str(name), [*known, *settings])
            raise ConfigError(f"policy {owner} has no parameter {name}{near or '.'} {has}")
    return {name: one.value(given.get(name, one.default), f"policy.{name}") for name, one in known.items()}


def as_row(values: Mapping[str, Any]) -> list[float]:
    """The values as the kernels take them: float64, in order of the declaration."""
    return [float(one) for one in values.values()]
