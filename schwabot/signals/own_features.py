"""Signals of the user's own as features of a trained forecast: declared for a fit, found again to serve it.

They are computed before the graph, from quotes and trades alone, because the forecast that they go into is made before
most of the graph's answers. Axis legend: N events, V streams, E columns, M floats of memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from schwabot.errors import ConfigError, PolicyError, closest
from schwabot.modules.forecast import FEATURES
from schwabot.modules.own_columns import OwnColumn, OwnColumns
from schwabot.modules.stateful import State
from schwabot.records.instrument import Instrument
from schwabot.signals.columns import check_names, column_of
from schwabot.signals.declaring import Signal
from schwabot.signals.loading import load_signal
from schwabot.signals.own_signals import PassState, make_pass
from schwabot.signals.parameters import as_row, values_of
from schwabot.signals.reading import read
from schwabot.signals.source_text import digest_of
from schwabot.tensors.tick_batch import TickBatch
from schwabot.ticks.merge import blank
from schwabot_kernels.arrays import F64, I64
from schwabot_kernels.simulate.records import Market

MOST_STREAMS = 127
"""Streams are numbered with 8 bits in the market that signals see."""
ELSEWHERE = ("leg", "bids", "asks")
"""What an event holds that depends on which other streams there are."""


class OwnState(NamedTuple):
    """What the passes carry; see ``PassState``. [E, V, 3], [E, V, 1], [E, V, 4, V] and [E, V, M]."""

    numbers: I64
    last: F64
    touch: I64
    memory: F64


def declare_columns(specs: Sequence[str], given: Mapping[str, Any] | None = None) -> tuple[OwnColumn, ...]:
    """What a head that is to be fitted says of the signals among its features, each after those that it reads.

    Args:
        specs: ``my_module:my_signal`` each.
        given: parameters by the signal's name.

    Raises:
        PolicyError: a signal that is not there, can't be compiled, or reads what is not known before the graph; with
            its line.
        ConfigError: two of one name, or parameters that can't be used.
    """
    signals = [load_signal(spec) for spec in specs]
    names = [one.name for one in signals]
    for spec, one in zip(specs, signals, strict=True):
        if names.count(one.name) > 1 or one.name in FEATURES:
            other = "a feature of the graph" if one.name in FEATURES else "another one"
            raise ConfigError(f"fit.signals: {spec} has the name of {other}: call it something else")
        _check_reads(one, names)
    given = given or {}
    for name, values in given.items():
        if name not in names:
            has = ", ".join(names) or "none"
            raise ConfigError(f"fit.{name}: fit.signals has no signal {name}{closest(name, names)}; it has {has}")
        if not isinstance(values, Mapping):
            raise ConfigError(f"fit.signal_parameters.{name}={values}: write fit.{name}.PARAMETER=VALUE")
    order = check_names(signals[0], names, {}, signals) if signals else ()
    by_name = dict(zip(names, specs, strict=True))
    return tuple(
        OwnColumn(
            one.name,
            by_name[one.name].strip(),
            digest_of(one),
            _values(one, given.get(one.name, {})),
        )
        for one in order
    )


def _check_reads(one: Signal, names: Sequence[str]) -> None:
    found = read(one)
    for name in ELSEWHERE:
        if name in found.seen_at:
            file, line = found.seen_at[name]
            raise PolicyError(
                f"{one.name} reads e.{name}, which depends on what other streams there are; a forecast is also served"
                " where one is missing, so a signal of fit.signals reads no prices but its own stream's",
                file=file,
                line=line,
            )
    for name in one.signals:
        file, line = found.signals_at.get(name, (one.file, one.line))
        if name in names:
            continue
        if column_of(name) is not None:
            raise PolicyError(
                f"{one.name} reads {name}, which the graph answers; signals of fit.signals are computed before the"
                " graph, whose forecast they go into: read quotes and trades (e.mid_ticks, e.trade_lots, ...) and other"
                " signals of fit.signals only; policies may read it",
                file=file,
                line=line,
            )
        raise PolicyError(
            f"{one.name} reads {name}, which is no signal of fit.signals{closest(name, names)}; list it there too,"
            f" fit.signals=[..., my_module:{name}]",
            file=file,
            line=line,
        )


def _values(one: Signal, given: Mapping[str, object]) -> dict[str, float]:
    return values_of(f"{one.name} (signal)", one.parameters, given)


def find_signals(columns: Sequence[OwnColumn], whose: str) -> tuple[Signal, ...]:
    """The signals that a head needs, from where they were when it was fitted.

    Args:
        columns: as the head says.
        whose: how errors begin, e.g. ``checkpoint=FILE``.

    Raises:
        ConfigError: one is not there, can't be used, or has another source than in training; says what to do.
    """
    found = []
    for one in columns:
        again = f"or fit again with fit.signals=[{', '.join(column.spec for column in columns)}]"
        needs = f"{whose}: its forecast is made of your signal {one.name}, {one.spec}"
        try:
            signal = load_signal(one.spec)
            digest = digest_of(signal)
            _values(signal, one.parameters)
        except (PolicyError, ConfigError) as error:
            raise ConfigError(
                f"{needs}, and: {error}. Start from the folder it was fitted in, or put the file where it was, {again}"
            ) from error
        if digest != one.digest:
            raise ConfigError(
                f"{needs}, whose source is another one now ({signal.file}:{signal.line}), so it would mean something"
                f" else: use the source it was fitted with, {again}"
            )
        found.append(signal)
    return tuple(found)


class OwnFeatures(OwnColumns):
    """Columns of the user's own for all streams, by the same compiled pass as in a backtest.

    Args:
        columns: as a head says, or ``declare_columns``.
        instruments: V instruments.
        whose: how errors begin.

    Raises:
        ConfigError: a signal that can't be found as it was, or too many streams.
    """

    def __init__(
        self, columns: Sequence[OwnColumn], instruments: Sequence[Instrument], whose: str = "the forecast head"
    ) -> None:
        streams = len(instruments)
        if streams > MOST_STREAMS:
            raise ConfigError(f"{whose}: signals of your own know up to {MOST_STREAMS} streams, here are {streams}")
        signals = find_signals(columns, whose)
        told = blake2b(repr([(one.digest, sorted(one.parameters.items())) for one in columns]).encode(), digest_size=6)
        super().__init__(
            "own",
            SimpleNamespace(),
            (),
            {"own": _empty(streams, [one.memory for one in signals])},
            streams,
            {"the digest of signals of your own": int.from_bytes(told.digest(), "big")},
        )
        self.columns = tuple(columns)
        self._memory = [one.memory for one in signals]
        names = [one.name for one in columns]
        self._passes: list[tuple[Any, F64]] = []
        for column, one in zip(columns, signals, strict=True):
            run = make_pass(one, tuple(names.index(name) for name in one.signals))
            self._passes.append((run, np.array([as_row(_values(one, column.parameters))], np.float64)))
        # Over no rows, so that the first batch need not wait for the compiler.
        self.advance(TickBatch.from_ticks(blank(tuple(instruments), 0)), self.initial_state())

    def bind(self, state: State) -> list[list[PassState]]:
        """The passes' states, [E][V], sharing memory."""
        parts = self._tuple("own", self._like["own"], state)
        assert isinstance(parts, OwnState)
        return [
            [
                PassState(parts.numbers[e, v], parts.last[e, v], parts.touch[e, v], parts.memory[e, v, :memory])
                for v in range(self.streams)
            ]
            for e, memory in enumerate(self._memory)
        ]

    def fill(self, market: Market, bound: list[list[PassState]]) -> None:
        """Fill ``market.signals`` [V, E, N] from its other columns, and move the bound state on."""
        rows = len(market.ts_ns)
        for e, (run, values) in enumerate(self._passes):
            for v, state in enumerate(bound[e]):
                run(market, state, values, v, e, 0, rows)


def own_features(columns: Sequence[OwnColumn], instruments: Sequence[Instrument]) -> OwnFeatures | None:
    """``OwnFeatures``, or None where there are no columns."""
    return OwnFeatures(columns, instruments) if columns else None


def _empty(streams: int, memory: Sequence[int]) -> OwnState:
    wide = (len(memory), streams)
    numbers = np.zeros((*wide, 3), np.int64)
    numbers[..., :2] = -1
    return OwnState(
        numbers,
        np.full((*wide, 1), math.nan),
        np.zeros((*wide, 4, streams), np.int64),
        np.zeros((*wide, max(memory, default=0))),
    )
