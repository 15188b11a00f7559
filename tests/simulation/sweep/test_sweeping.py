"""A whole sweep over markets in closed form: what skipping promised is held to, and the surface is the best set's."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schwabot.api import _settings
from schwabot.config import RunConfig
from schwabot.errors import PolicyError
from schwabot.modes.sweep_slices import Slice, Slices
from schwabot.modes.sweeping import Key, OpenMarkets, Swept, sweep_markets
from schwabot.signals.builtin.threshold import threshold
from schwabot.signals.compiling import compile_policy
from schwabot.simulation.sweep.ranges import Declared, open_space
from schwabot.simulation.sweep.search import open_search
from schwabot.simulation.sweep.shards import MarketFacts, Resident, Shard, run_here
from schwabot_kernels.simulate import records as r
from tests.simulation.sweep.making import DECLARED, Hill, resident

GRAPH = Declared("modules.tensor_harness.tau_phase_s", "float", 0.1, 100.0)


class Threads:
    """Markets that are there already, run in this process."""

    slots = 1
    on_device = False

    def __init__(self, residents: Mapping[Key, Resident]) -> None:
        self._residents = dict(residents)

    def open(self, keys: Sequence[Key], stop: Callable[[], bool]) -> list[MarketFacts]:
        return [self._residents[key].facts for key in keys]

    def run(self, shards: Sequence[Shard]) -> pa.Table:
        return run_here(shards, self._residents, 1)

    def take_busy_s(self) -> float:
        return 0.0

    def summary(self) -> dict[str, Any]:
        return {"kind": "local"}


def settings_of(**sweep: Any) -> RunConfig:
    plain = {"folds": 2, "method": "grid", "sets": 1000, "min_trades": 1, "objectives": ["net"]}
    return _settings({"mode": "sweep", "policy": {"name": "threshold"}, "sweep": plain | sweep})


def swept(settings: RunConfig, kernels: Sequence[Any], unskipped: Any = None) -> Swept:
    """One market, a kernel for each setting of the graph."""
    space = open_space(settings.sweep.over, (*DECLARED, GRAPH))
    residents = {
        ("whole", graph): replace(resident(space, kernel, settings.sweep.folds + 1), unskipped=unskipped)
        for graph, kernel in enumerate(kernels)
    }
    opened = OpenMarkets({key: one.facts for key, one in residents.items()}, Slices((Slice(),)), settings, ())
    bench, search = Threads(residents), open_search(space, settings.sweep)
    return sweep_markets(settings, space, search, opened, bench, compile_policy(threshold))


class Other:
    """As the hill, but for one more in a column at one threshold of one fold; counts the sets it ran."""

    def __init__(self, threshold_bp: float, fold: int, column: int) -> None:
        self.threshold_bp, self.fold, self.column = threshold_bp, fold, column
        self.hill, self.ran = Hill(), 0

    def __call__(
        self, fold: Any, rules: r.Rules, params: Any, first: int, last: int, counts: Any, moments: Any
    ) -> None:
        self.hill(fold, rules, params, first, last, counts, moments)
        self.ran += last - first
        counts[(params[:, 0] == self.threshold_bp) & (fold == self.fold), 0, self.column] += 1


# 31 thresholds, 0.25 to 7.75 bp; the hill is highest at 2 bp, which is set 7. Every other set is looked at beside it
HILL: dict[str, Any] = {"over": {"threshold_bp": {"low": 0.25, "high": 7.75, "step": 0.25}}, "surface_ms": []}


@pytest.mark.parametrize(
    ("threshold_bp", "fold", "column", "said"),
    [
        (2.0, 1, r.REFUSED, "set 7 in fold 1 comes to refused=1 when every row is looked at, and to 0 when"),
        (2.0, 0, r.HOLD_NS, "set 7 in fold 0 comes to hold_s=1e-09 when every row is looked at, and to 0.0 when"),
        (7.75, 2, r.FILLS, "set 30 in fold 2 comes to trades=41 when every row is looked at, and to 40 when"),
    ],
)
def test_rows_that_skipping_changed_end_the_sweep(threshold_bp: float, fold: int, column: int, said: str) -> None:
    with pytest.raises(PolicyError) as caught:
        swept(settings_of(**HILL), [Hill()], Other(threshold_bp, fold, column))
    assert said in str(caught.value)
    assert "threshold.py" in str(caught.value)
    assert "its quiet function promises what the policy does not keep" in str(caught.value)


def test_rows_that_skipping_left_as_they_are() -> None:
    looking = Other(-1.0, 0, r.FEES)
    found = swept(settings_of(**HILL), [Hill()], looking)
    assert found.outcome.best == 7
    assert (found.numbers["sets"], found.numbers["skips"]) == (31, True)
    assert looking.ran == 16 * 3
    assert found.numbers["unskipped_per_s"] > 0


class Paying:
    """Net PnL in bp of the turnover, told from its digits: what the set and the market put in.

    10,000 x number of the graph's setting + 1000 x lots + 100 x fee (bp) + response (ms) + entry (ms) + threshold (bp),
    and 2 more in the second fold; half of 2,000,000 is lost in what is held out.
    """

    def __init__(self, graph: int) -> None:
        self.graph = graph

    def __call__(
        self, fold: Any, rules: r.Rules, params: Any, first: int, last: int, counts: Any, moments: Any
    ) -> None:
        for p in range(first, last):
            value = 10_000 * self.graph + 1000 * params[p, 1] + params[p, 0] + rules.taker_e7[p, 0] / 10
            value += (rules.response_ns[p, 0] + rules.entry_ns[p, 0]) / 1e6 + (0, 2, -1_000_000)[fold]
            counts[p, 0, r.EQUITY2] = round(2 * value)
            counts[p, 0, r.TURNOVER], counts[p, 0, r.FILLS] = 10_000, 40
            moments[p, 0] = [100, value, value**2, value**3, value**4]


def test_the_surface_is_of_the_best_set_where_it_was_searched() -> None:
    """The best set differs from the settings in all that it can; they are 5 ms there and back, 5 bp, 1 lot."""
    over = {
        "threshold_bp": {"low": 1, "high": 4, "step": 1},
        "lots": {"low": 1, "high": 3},
        GRAPH.name: {"choices": [2.0, 10.0]},
        "simulation.taker_fee_bp": {"choices": [0, 7]},
        "simulation.response_ms": {"choices": [1, 20]},
        "simulation.entry_ms": {"choices": [2, 30]},
    }
    settings = settings_of(over=over, surface_ms=[0.0, 10.0, 50.0], surface_levels=4)
    found = swept(settings, [Paying(0), Paying(1)])
    assert found.outcome.best is not None
    best = found.outcome.results.space.decoded(found.outcome.results.values[found.outcome.best])
    assert best == {
        "modules.tensor_harness.tau_phase_s": 10.0, "threshold_bp": 4.0, "lots": 3, "simulation.taker_fee_bp": 7,
        "simulation.response_ms": 20, "simulation.entry_ms": 30,
    }  # fmt: skip
    heat = found.surface
    assert heat is not None
    assert (heat.x, heat.y) == (("30", "40", "80"), ("1", "2", "3", "4"))
    at_best = 10_000 + 3000 + 700 + 20 + 1  # the folds come to 0 and 2 more
    expected = [[at_best + entry_ms + threshold_bp for entry_ms in (30, 40, 80)] for threshold_bp in (1, 2, 3, 4)]
    np.testing.assert_allclose(heat.z, expected, rtol=1e-12)
