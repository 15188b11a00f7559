"""Signals of the user's own: one causal pass over the market's rows per leg, in step with the market as it grows.

Axis legend: N rows, L legs, S columns of the market's signals, K parameters, M floats of memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numba
import numpy as np

from schwabot.errors import ConfigError
from schwabot.signals.columns import column_of
from schwabot.signals.compiling import (
    OPTIONS,
    CompiledPolicy,
    compile_for,
    dummies,
    in_python,
    jit,
    key_of,
    made_once,
    make_event_of,
    make_jitable,
    make_params_of,
)
from schwabot.signals.declaring import Signal
from schwabot.signals.parameters import as_row, values_of
from schwabot.signals.reading import Found, read
from schwabot_kernels.arrays import F64, I64
from schwabot_kernels.kept import Key, keep
from schwabot_kernels.simulate.records import Market, Seen

RUN_OPTIONS = {name: value for name, value in OPTIONS.items() if name != "forceinline"}
OURS = sha256(Path(__file__).read_bytes()).hexdigest()


class Past(NamedTuple):
    """What a signal knows of itself on one leg.

    start_ns: time of the first row of the data. last_ns: of the row it was last asked at, -1 = never. last: what it
    answered then, NaN before. rows: how often it was asked. memory: its own floats [M].
    """

    start_ns: int
    last_ns: int
    last: float
    rows: int
    memory: F64


class PassState(NamedTuple):
    """What a pass carries from one piece of the data to the next.

    numbers: start_ns, last_ns, rows [3]. last: last answer [1]. touch: bid, ask, bid_lots, ask_lots known [4, L].
    """

    numbers: I64
    last: F64
    touch: I64
    memory: F64


def new_state(legs: int, memory: int) -> PassState:
    """The state before the first row."""
    return PassState(
        np.array([-1, -1, 0], np.int64), np.full(1, math.nan), np.zeros((4, legs), np.int64), np.zeros(memory)
    )


def make_pass(signal: Signal, columns: tuple[int, ...]) -> Any:
    """Compile a signal into ``run(market, state, params, leg, column, first, end)``, which fills one column of one leg.

    It is compiled and checked once for a signal as it is, on this machine, as a policy is.

    Args:
        signal: as declared.
        columns: where in the market's signals each one that it reads is.

    Raises:
        PolicyError: something in it that can't be compiled.
    """
    found = read(signal)
    make_jitable(found)
    key = key_of(signal, found, columns, OURS)
    return made_once(key, lambda: _make_pass(signal, columns, found, key))


def _make_pass(signal: Signal, columns: tuple[int, ...], found: Found, key: Key | None) -> Any:
    event, event_of = make_event_of(signal.signals, columns)
    params, params_of = make_params_of(signal.parameters)
    answer = jit(signal.function, found)
    if key is None or not key.is_checked:
        _check(signal, answer, event, params)
        if key is not None:
            key.mark_checked()

    @numba.njit(**RUN_OPTIONS)  # type: ignore[untyped-decorator]
    def run(market: Market, state: PassState, values: F64, leg: int, column: int, first: int, end: int) -> None:
        p = params_of(values, 0)
        touch, numbers = state.touch, state.numbers
        bids, asks = touch[0], touch[1]
        for row in range(first, end):
            if numbers[0] == -1:
                numbers[0] = market.ts_ns[row]
            of = market.leg[row]
            quote = market.kind[row] == 0
            if of >= 0 and quote:
                bids[of], asks[of] = market.bid[row], market.ask[row]
                touch[2, of], touch[3, of] = market.bid_lots[row], market.ask_lots[row]
            if bids[leg] == 0:
                market.signals[leg, column, row] = math.nan
                continue
            own = 1 if of == leg else 0
            trade = own if not quote else 0
            seen = Seen(
                market.ts_ns[row], leg, own, int(market.kind[row]), bids[leg], asks[leg], touch[2, leg],
                touch[3, leg], 0.5 * (bids[leg] + asks[leg]), market.price[row] * trade, market.lots[row] * trade,
                int(market.side[row]) * trade, bids, asks,
            )  # fmt: skip
            s = Past(numbers[0], numbers[1], state.last[0], numbers[2], state.memory)
            value = float(answer(s, event_of(seen, market.signals, leg, row), p))
            market.signals[leg, column, row] = value
            state.last[0] = value
            numbers[1] = market.ts_ns[row]
            numbers[2] += 1

    return keep(run, key)


def _check(signal: Signal, compiled: Any, event: Any, params: Any) -> None:
    """Ask it in plain Python and compiled."""
    values = params(**signal.values()) if signal.parameters else params(0.0)
    for _, seen, signals in dummies(len(signal.signals), signal.memory):
        for last_ns, last, rows in ((-1, math.nan, 0), (10**18, 0.5, 1)):
            s = Past(10**18, last_ns, last, rows, np.zeros(signal.memory))
            e = event(*seen, *signals)
            if not compiled.signatures:
                compile_for(signal, compiled, s, e, values)
                kind = compiled.nopython_signatures[0].return_type
                if not isinstance(kind, numba.types.Number | numba.types.Boolean):
                    raise signal.error(f"{signal.name} answers no number; a signal answers one, math.nan for no answer")
            said = in_python(signal, signal.function, s._replace(memory=np.zeros(signal.memory)), e, values)
            if said is None:
                continue
            got = compiled(s, e, values)
            if not _close(float(said), float(got)):
                raise signal.error(f"{signal.name} answers {got} compiled and {said} in plain Python")


def _close(a: float, b: float) -> bool:
    return a == b or (math.isnan(a) and math.isnan(b)) or math.isclose(a, b, rel_tol=1e-9, abs_tol=1e-12)


class OwnSignals:
    """The signals of the user's own that a policy needs, for all legs, filled as the market's rows come.

    Args:
        needed: the signals, each after those that it reads; ``CompiledPolicy.own``.
        read: signals the policy reads; they come first among the columns.
        legs: number of legs.
        given: parameters of signals by the signal's name.

    Raises:
        ConfigError: parameters of a signal that is not there, or that it does not have.

    Attributes:
        names: the columns the market's signals need: those the policy reads, then what only signals read.
    """

    def __init__(
        self,
        needed: Sequence[Signal],
        read: Sequence[str],
        legs: int,
        given: Mapping[str, Mapping[str, object]] | None = None,
    ) -> None:
        given = given or {}
        for name in given:
            if name not in [one.name for one in needed]:
                has = ", ".join(one.name for one in needed) or "none"
                raise ConfigError(f"policy.{name}: the policy reads no signal {name} of your own; it reads {has}")
        self.names = tuple(dict.fromkeys((*read, *(name for one in needed for name in (*one.signals, one.name)))))
        self.legs = legs
        self._passes: list[tuple[Any, int, F64, list[PassState]]] = []
        for one in needed:
            values = values_of(f"{one.name} (signal)", one.parameters, given.get(one.name, {}))
            run = make_pass(one, tuple(self.names.index(name) for name in one.signals))
            row = np.array([as_row(values)], np.float64)
            states = [new_state(legs, one.memory) for _ in range(legs)]
            self._passes.append((run, self.names.index(one.name), row, states))

    @classmethod
    def of(
        cls, policy: CompiledPolicy, legs: int, given: Mapping[str, Mapping[str, object]] | None = None
    ) -> OwnSignals:
        """Those of a policy."""
        return cls(policy.own, policy.signals, legs, given)

    def fill(self, market: Market, first: int, end: int) -> None:
        """Fill their columns in ``market.signals`` [L, S, N] for rows ``first`` to ``end``; the rows before are done.

        Args:
            market: its columns are those of ``names``; the graph's ones are filled.
            first: where the last call ended.
            end: one beyond the last known row.
        """
        for run, column, values, states in self._passes:
            for leg, state in enumerate(states):
                run(market, state, values, leg, column, first, end)


def compute_signal(
    signal: Signal,
    market: Market,
    leg: int = 0,
    inputs: Mapping[str, F64] | None = None,
    given: Mapping[str, object] | None = None,
    own: Sequence[Signal] = (),
) -> F64:
    """One signal over a whole market.

    Args:
        signal: as declared.
        market: its rows; its ``signals`` are not read.
        leg: of which leg.
        inputs: columns of the graph that the signal reads, by name. [N]
        given: its parameters.
        own: other signals of one's own that it reads.

    Returns:
        Its value at every row, NaN before the leg's first quote. [N]

    Raises:
        ConfigError: an input is missing, or a parameter can't be used.
    """
    from schwabot.signals.columns import check_names

    needed = check_names(signal, [signal.name], {}, (*own, signal))
    signals = OwnSignals(needed, [signal.name], int(market.leg.max(initial=0)) + 1, {signal.name: given or {}})
    rows, legs = len(market.ts_ns), signals.legs
    columns = np.full((legs, len(signals.names), rows), math.nan)
    for s, name in enumerate(signals.names):
        if column_of(name) is not None:
            if name not in (inputs or {}):
                raise ConfigError(f"{signal.name} reads {name}: give it as inputs={{{name!r}: ...}}")
            columns[:, s] = (inputs or {})[name]
    market = market._replace(signals=columns)
    signals.fill(market, 0, rows)
    return np.array(columns[leg, signals.names.index(signal.name)])


def split_parameters(given: Mapping[str, Any]) -> tuple[dict[str, object], dict[str, Mapping[str, object]]]:
    """Parameters of the policy, and those of signals by the signal's name.

    Example:
        >>> split_parameters({"enter_bp": 1.5, "leader_move_bp": {"tau_ms": 50}})
        ({'enter_bp': 1.5}, {'leader_move_bp': {'tau_ms': 50}})
    """
    own = {name: value for name, value in given.items() if not isinstance(value, Mapping)}
    return own, {name: value for name, value in given.items() if isinstance(value, Mapping)}
