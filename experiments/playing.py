"""What the trading experiments share: a recording is read through the graph once, then many orders are played on it.

Axis legend: N rows, L legs (all streams), S signals, F fills, M values.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

import schwabot
from schwabot.modules.forecast import ForecastHead
from schwabot.pipeline import Pipeline
from schwabot.signals.columns import takers
from schwabot.signals.compiling import CompiledPolicy, compile_policy
from schwabot.signals.loading import load_policy
from schwabot.simulation.market import MarketBuilder
from schwabot.simulation.outcome import Outcome
from schwabot.simulation.rules import make_rules
from schwabot.simulation.settings import SimulationConfig
from schwabot.ticks.base import Feed
from schwabot.training.bootstrap import bootstrap_ratio
from schwabot.training.heads import serve
from schwabot_kernels.simulate.cpu import make_simulator
from schwabot_kernels.simulate.records import Market
from schwabot_kernels.simulate.state import FILLS_LOGGED, IS_FULL, ORDERS_SENT, grown, new_state

BLOCK_NS = 5_000_000_000
DRAWS, SEED = 2000, 7
EMBARGO_S = 1.0
NAMES = {"binance": "spot", "binanceusdm": "USD-M", "binancecoinm": "COIN-M"}


@dataclasses.dataclass(frozen=True)
class Tape:
    """Rows of a recording with the graph's answers, or a part of them; every stream can be traded."""

    builder: MarketBuilder
    market: Market
    lanes: Any
    signals: tuple[str, ...]

    @property
    def books(self) -> list[str]:
        """Short names of the legs."""
        return [NAMES.get(one.stream.split(":")[0], one.stream) for one in self.builder.instruments]

    @property
    def minutes(self) -> float:
        """How long it is."""
        return float(self.market.ts_ns[-1] - self.market.ts_ns[0]) / 60e9

    def between(self, first: float, last: float) -> Tape:
        """The rows from one share of the time to another; from the second part on a second is left out before."""
        market = self.market
        quotes = [np.flatnonzero((market.leg == v) & (market.kind == 0))[0] for v in range(len(self.books))]
        begin, end = int(market.ts_ns[max(quotes)]), int(market.ts_ns[-1])
        low = begin + int(first * (end - begin)) + (int(EMBARGO_S * 1e9) if first else 0)
        a = np.searchsorted(market.ts_ns, low, side="left")
        b = np.searchsorted(market.ts_ns, begin + int(last * (end - begin)), side="right")
        rows = {name: getattr(market, name)[..., a:b].copy() for name in Market._fields}
        after = rows["next_row"] - a
        rows["next_row"] = np.where((rows["next_row"] < a) | (after >= b - a), -1, after).astype(np.int32)
        return dataclasses.replace(self, market=Market(**rows), lanes=np.ascontiguousarray(self.lanes[:, a:b]))


def read(places: str | Feed, head: ForecastHead | None, signals: Sequence[str], **settings: Any) -> Tape:
    """One pass through the graph, with a head's forecast and changed settings of modules."""
    graph = schwabot.Graph(checkpoint=head, **settings)
    feed = schwabot.load(places) if isinstance(places, str) else places
    modules = graph.settings.modules
    if head is not None:
        modules = serve(head, "head", modules, feed.instruments)
    pipeline = Pipeline(feed.instruments, modules, graph.settings.latency, head=head)
    legs = [one.stream for one in feed.instruments]
    columns = takers(signals, legs, legs, pipeline.graph.horizons_ms, None)
    builder = MarketBuilder(feed.instruments, legs, columns, SimulationConfig().max_notional)
    for ticks in feed.batches(65_536):
        builder.append(ticks, pipeline.step(ticks))
    return Tape(builder, builder.market, builder.lanes, tuple(signals))


@cache
def compiled(name: str) -> tuple[CompiledPolicy, Any]:
    """A policy and its simulator."""
    policy = compile_policy(load_policy(name))
    return policy, make_simulator(policy.policy, policy.event_of, policy.params_of, policy.key)


def play(
    tape: Tape, name: str, simulation: dict[str, Any], forecast: str = "forecast_bp", **parameters: Any
) -> Outcome:
    """A policy on every stream of the tape, from flat, with every fill and order kept.

    ``forecast``: signal it reads as ``forecast_bp``, as with ``modules.voltage_lanes.horizon_ms`` of that horizon.
    """
    policy, run = compiled(name)
    columns = [tape.signals.index(forecast if one == "forecast_bp" else one) for one in policy.signals]
    market = tape.market._replace(signals=np.ascontiguousarray(tape.market.signals[:, columns]))
    rules = make_rules(SimulationConfig(**simulation), tape.builder)
    legs, rows = len(tape.books), len(market.ts_ns)
    state = new_state(legs, policy.memory, 1 << 12, 1 << 12)
    while run(market, rules, policy.row(parameters)[None, :], 0, state, rows, True) < rows or state.logged[IS_FULL]:
        state = grown(state)
    return Outcome(
        market=market,
        instruments=tape.builder.instruments,
        accounts=tuple(tape.builder.accounts),
        rules=rules,
        counts=state.counts,
        moments=state.moments,
        fills=state.fills[: int(state.logged[FILLS_LOGGED])],
        orders=state.orders_log[: int(state.logged[ORDERS_SENT])],
        lanes=tape.lanes,
        rows=rows,
    )


def mid_ticks(market: Market, leg: int, ts_ns: Any) -> Any:
    """Mid of the touch known at a time on our clock, in ticks; NaN before the first and after the last row."""
    quotes = np.flatnonzero((market.leg == leg) & (market.kind == 0))
    at = np.searchsorted(market.ts_ns[quotes], ts_ns, side="right") - 1
    mid = 0.5 * (market.bid[quotes] + market.ask[quotes])[np.maximum(at, 0)]
    return np.where((at < 0) | (ts_ns > market.ts_ns[-1]), np.nan, mid)


def mean_of(ts_ns: Any, value: Any, weight: Any = None) -> tuple[float, float, float]:
    """A mean and its 95 % interval over blocks of 5 s."""
    weight = np.ones(len(value)) if weight is None else weight
    _, block = np.unique(ts_ns // BLOCK_NS, return_inverse=True)
    top = np.bincount(block, value * weight)[:, None]
    low, high = bootstrap_ratio(top, np.bincount(block, weight)[:, None], DRAWS, SEED)[0]
    return float(top.sum() / max(weight.sum(), 1)), float(low), float(high)


def difference_of(first: tuple[Any, Any], second: tuple[Any, Any]) -> tuple[float, float, float]:
    """Mean of one sample less that of another, each (times, values), with a 95 % interval over common blocks of 5 s."""
    blocks, place = np.unique(np.concatenate([first[0], second[0]]) // BLOCK_NS, return_inverse=True)
    places = place[: len(first[0])], place[len(first[0]) :]
    sums = np.stack(
        [
            np.bincount(places[k], weight, len(blocks))
            for k, (_, values) in enumerate((first, second))
            for weight in (values, np.ones(len(values)))
        ]
    )
    if len(blocks) < 2 or not len(first[1]) or not len(second[1]):
        return float("nan"), float("nan"), float("nan")
    picks = np.random.default_rng(SEED).integers(len(blocks), size=(DRAWS, len(blocks)))
    drawn = sums[:, picks].sum(axis=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        low, high = np.nanquantile(drawn[0] / drawn[1] - drawn[2] / drawn[3], [0.025, 0.975])
    return float(first[1].mean() - second[1].mean()), float(low), float(high)


def said(values: tuple[float, float, float], digits: int = 2) -> str:
    """A mean with its interval."""
    mean, low, high = (f"{value:.{digits}f}" for value in values)
    return "–" if mean == "nan" else f"{mean} [{low}, {high}]"


def head_of(folder: Path, share: int) -> ForecastHead:
    """The head that was fitted on the first ``share`` % of the time."""
    return ForecastHead.load(folder / f"fit{share}" / "checkpoint.safetensors")
