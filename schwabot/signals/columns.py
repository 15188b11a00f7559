"""Which column of the graph's answer a signal's name means. The one place that knows the rule.

A policy reads ``e.NAME``:

- ``ghost_bp``, ``echo_bp``, ...: one number per event, the same for all streams;
- ``deviation_bp``, ``mid_bp``, ...: of the stream that the policy is asked about;
- ``forecast_100ms_bp``: of that stream, at that horizon of a trained head (``forecast_0_5ms_bp``: 0.5 ms);
- ``NAME_of_leader``: of the stream that ``policy.leader`` names, for all of these that are per stream;
- the name of a signal of one's own.

Axis legend: N events of a record.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from schwabot.errors import ConfigError, PolicyError, closest
from schwabot.records.audit import SignalColumns
from schwabot.records.market import Float64
from schwabot.signals.declaring import Declared, Signal
from schwabot.signals.reading import read
from schwabot_kernels.simulate.records import Seen

PER_EVENT = ("ghost_bp", "key", "entropy", "echo_bp", "expected_lag_bp", "penalty")
PER_STREAM = (
    "mid_bp", "half_spread_bp", "deviation_bp", "phase_bp", "drift", "route", "status", "forecast_bp", "snr", "bits",
    "voltage", "lane", "pays_fees",
)  # fmt: skip
OF_LEADER = "_of_leader"
_HORIZON = re.compile(r"forecast_(\d+(?:_\d+)?)ms_bp")

Take = Callable[[SignalColumns], Float64]


@dataclass(frozen=True)
class Column:
    """What a name means.

    Attributes:
        field: field of ``SignalColumns``.
        per_stream: False = the same for all streams.
        leader: of the leader's stream instead of the leg's.
        horizon_ms: of a trained head, or None.
    """

    field: str
    per_stream: bool
    leader: bool = False
    horizon_ms: float | None = None


def column_of(name: str) -> Column | None:
    """What a name means; None = it is no column of the graph.

    Example:
        >>> column_of("forecast_100ms_bp_of_leader")
        Column(field='forecasts_bp', per_stream=True, leader=True, horizon_ms=100.0)
    """
    base = name.removesuffix(OF_LEADER)
    leader = base != name
    if base in PER_EVENT and not leader:
        return Column(base, per_stream=False)
    if base in PER_STREAM:
        return Column(base, per_stream=True, leader=leader)
    if found := _HORIZON.fullmatch(base):
        return Column("forecasts_bp", per_stream=True, leader=leader, horizon_ms=float(found[1].replace("_", ".")))
    return None


def known_names() -> list[str]:
    """Every name there is, but for horizons and signals of one's own."""
    return [*PER_EVENT, *PER_STREAM, *(name + OF_LEADER for name in PER_STREAM)]


def check_names(
    declared: Declared, names: Sequence[str], at: Mapping[str, tuple[str, int]], own: Sequence[Signal]
) -> tuple[Signal, ...]:
    """The own signals that are needed for these names, each after those that it reads.

    Raises:
        PolicyError: a name that nothing answers to, with the line where it is read; own signals that read each other.
    """
    known = {one.name: one for one in own}
    for name, one in known.items():
        if column_of(name) is not None:
            raise one.error(f"{name} is what the graph answers already: give the signal another name")
    order: dict[str, Signal] = {}

    def visit(
        names: Sequence[str], reader: Declared, at: Mapping[str, tuple[str, int]], above: tuple[str, ...]
    ) -> None:
        for name in names:
            if name in above:
                raise known[name].error(f"signals read each other in a circle: {' → '.join((*above, name))}")
            if name in known and name not in order:
                visit(known[name].signals, known[name], read(known[name]).signals_at, (*above, name))
                order[name] = known[name]
            elif name not in known and column_of(name) is None:
                file, line = at.get(name, (reader.file, reader.line))
                raise PolicyError(_unknown(name, known), file=file, line=line)

    visit(names, declared, at, ())
    return tuple(order.values())


def _unknown(name: str, own: Mapping[str, Signal]) -> str:
    near = closest(name, [*Seen._fields, *own, *known_names(), "forecast_100ms_bp"])
    known = "" if near else f"; there are {', '.join((*Seen._fields, *PER_EVENT, *PER_STREAM, *own))}"
    return f"{name} is not in the event{near}{known}"


def takers(
    names: Sequence[str], legs: Sequence[str], streams: Sequence[str], horizons_ms: Sequence[float], leader: str | None
) -> list[list[Take | None]]:
    """Per leg and name, how to take the column out of a record; None for what is no column of the graph.

    Args:
        names: signals.
        legs: streams that are traded.
        streams: all streams, in the graph's order.
        horizons_ms: of the trained head; empty without one.
        leader: stream of ``_of_leader``, or None.

    Raises:
        ConfigError: a leg that is not in the source, a leader that is needed and not there, a horizon that the head
            does not have.
    """
    for leg in legs:
        if leg not in streams:
            near = closest(leg, streams)
            raise ConfigError(f"policy.trade: {leg} is not in the source{near or ','} it has {', '.join(streams)}")
    return [[_taker(name, leg, streams, horizons_ms, leader) for name in names] for leg in legs]


def _taker(
    name: str, leg: str, streams: Sequence[str], horizons_ms: Sequence[float], leader: str | None
) -> Take | None:
    column = column_of(name)
    if column is None:
        return None
    stream = leg
    if column.leader:
        if leader is None:
            raise ConfigError(f"the policy reads {name}: say which stream leads, policy.leader=STREAM; there are"
                              f" {', '.join(streams)}")  # fmt: skip
        if leader not in streams:
            raise ConfigError(f"policy.leader={leader} is not in the source{closest(leader, streams)}; it has"
                              f" {', '.join(streams)}")  # fmt: skip
        stream = leader
    v = streams.index(stream)
    if column.horizon_ms is not None:
        return _horizon(name, column.horizon_ms, horizons_ms, v)
    field, per_stream = column.field, column.per_stream

    def take(signals: SignalColumns) -> Float64:
        values: Any = getattr(signals, field)
        values = values[:, v] if per_stream else values
        if field == "key":  # -1 in warm-up
            return np.where(values < 0, np.nan, values)
        return np.asarray(values, np.float64)

    return take


def _horizon(name: str, horizon_ms: float, horizons_ms: Sequence[float], v: int) -> Take:
    if horizon_ms not in horizons_ms:
        has = ", ".join(f"forecast_{one:g}ms_bp".replace(".", "_") for one in horizons_ms)
        raise ConfigError(
            f"the policy reads {name}: "
            + (f"the head of checkpoint= has {has}" if has else "add checkpoint=FILE, a head that mode=fit trained")
        )
    h = list(horizons_ms).index(horizon_ms)
    return lambda signals: np.asarray(signals.forecasts_bp[:, v, h], np.float64)
