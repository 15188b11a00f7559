"""What is held out chooses nothing: whatever happened there, the same sets are asked for, and the same one is best."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from schwabot.simulation.sweep.outcome import Outcome, judge
from schwabot.simulation.sweep.settings import SweepConfig
from schwabot.simulation.sweep.table import Results
from schwabot_kernels.simulate import records as r
from tests.simulation.sweep.making import BUCKET_S, Hill, swept

FOLDS = 4
OVER = {"threshold_bp": {"low": 0.5, "high": 8.0, "log": True}, "lots": [1, 10]}


class Otherwise(Hill):
    """The hill, and in what is held out its opposite, a hundredfold, with other numbers of trades."""

    def __call__(self, fold: Any, rules: Any, params: Any, first: int, last: int, counts: Any, moments: Any) -> None:
        super().__call__(fold, rules, params, first, last, counts, moments)
        if fold == FOLDS:
            some = slice(first, last)
            counts[some, :, r.EQUITY2] *= -100
            counts[some, :, r.FILLS] = (np.arange(first, last) % 3 * 1000)[:, None]
            counts[some, :, [r.FEES, r.TURNOVER]] *= 7
            counts[some, :, r.DRAWDOWN2] = 10**9
            moments[some, :, r.SUM1] *= -100.0
            moments[some, :, r.SUM3] *= -100.0


def config(**changes: Any) -> SweepConfig:
    given: dict[str, Any] = {"sets": 96, "batch": 16, "folds": FOLDS, "over": OVER, "min_trades": 50} | changes
    one = SweepConfig(**given)
    one.check()
    return one


@pytest.mark.parametrize("method", ["random", "tpe", "cmaes", "nsga2"])
def test_the_same_sets_are_asked_for(method: str) -> None:
    one = config(method=method, objectives=["net", "drawdown"] if method == "nsga2" else ["net"])
    plain, other = (swept(one, kernel)[0] for kernel in (Hill(), Otherwise()))
    assert plain.values.tolist() == other.values.tolist()
    held_out = np.array(plain.table["fold"]) == FOLDS
    there = [np.array(one.table["equity2"])[held_out] for one in (plain, other)]
    assert (there[0] * -100 == there[1]).all()


@pytest.mark.parametrize("objectives", [["net"], ["sharpe"], ["fees", "net"]])
def test_the_same_set_is_best_and_equally_doubted(objectives: list[str]) -> None:
    """All but what looks at the held-out part itself."""
    one = config(objectives=objectives)
    plain, other = (judge(swept(one, kernel)[0], one, BUCKET_S) for kernel in (Hill(), Otherwise()))
    assert plain.best == other.best
    assert plain.order.tolist() == other.order.tolist()
    np.testing.assert_array_equal(plain.objective, other.objective)
    np.testing.assert_array_equal(plain.plateaus, other.plateaus)
    assert plain.front.tolist() == other.front.tolist()
    assert plain.at_end == other.at_end
    np.testing.assert_equal(doubts(plain), doubts(other))
    assert plain.looked.tolist() != other.looked.tolist()


def doubts(outcome: Outcome) -> dict[str, Any]:
    assert outcome.guards is not None
    found = dataclasses.asdict(outcome.guards)
    del found["rank"]
    return found


def test_a_set_that_traded_only_in_what_is_held_out_is_no_candidate() -> None:
    results, _, _ = swept(config(), Hill())
    table = results.table
    trades = np.where(np.array(table["fold"]) == FOLDS, 10**6, 3)
    column = table.schema.get_field_index("trades")
    changed = Results(results.space, results.rows)
    changed.append(results.values, table.set_column(column, "trades", pa.array(trades)))
    assert judge(changed, config(), BUCKET_S).best is None
