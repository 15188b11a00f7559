"""What is said of the best set: luck where there is only luck, none where there is a hill, nothing where nothing is."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from schwabot.simulation.sweep.outcome import Outcome, hours, judge
from schwabot.simulation.sweep.settings import SweepConfig
from schwabot.simulation.sweep.verdict import Verdict, verdict
from schwabot_kernels.simulate import records as r
from tests.simulation.sweep.making import BUCKET_S, Hill, Noise, swept

OVER = {"threshold_bp": {"low": 0.5, "high": 8.0, "log": True}, "lots": [1, 10]}


def judged(kernel: Any, **changes: Any) -> tuple[Outcome, Verdict]:
    config = SweepConfig(**({"sets": 128, "folds": 4, "over": OVER} | changes))
    results, _, _ = swept(config, kernel)
    outcome = judge(results, config, BUCKET_S)
    return outcome, verdict(outcome)


@pytest.mark.parametrize("seed", range(8))
def test_the_best_of_noise_looks_like_luck(seed: int) -> None:
    outcome, said = judged(Noise(seed))
    assert said.word == "luck"
    assert "looks like luck" in said.headline
    assert any("by luck alone" in reason for reason in said.reasons)
    assert outcome.guards is not None
    assert outcome.guards.trials == 128
    assert outcome.guards.probabilistic > 0.95  # alone it would have looked like something
    assert outcome.guards.deflated < 0.95
    assert outcome.guards.beyond_luck < 0.95


def test_the_best_of_noise_is_about_where_luck_puts_it() -> None:
    guards = [judged(Noise(seed), sets=64)[0].guards for seed in range(10)]
    shares = [one.sharpe / one.luck for one in guards if one is not None]
    assert np.mean(shares) == pytest.approx(1.0, abs=0.15)


def test_a_hill_that_holds_everywhere_is_not_called_luck() -> None:
    outcome, said = judged(Hill(noise=200.0))
    assert (said.word, said.reasons) == ("holds", ())
    assert "no promise" in said.headline
    guards = outcome.guards
    assert guards is not None
    assert guards.beyond_luck > 0.95
    assert guards.plateau > 0.6
    assert guards.overfitting.probability == 0.0
    assert guards.rank > 0.95
    assert sum(guards.forward) > 0


def test_nothing_holds_where_the_forecast_knew_what_came_after() -> None:
    outcome, said = judged(Hill(noise=200.0))
    assert said.word == "holds"
    knew = verdict(outcome, "the checkpoint was fitted on 60.0 s of these hours")
    assert (knew.word, knew.remarks[0]) == ("unclear", "the checkpoint was fitted on 60.0 s of these hours")
    assert knew.headline.endswith("can't be judged: the forecast knew these hours.")


def test_one_good_fold_is_named() -> None:
    class Once(Hill):
        def __call__(
            self, fold: Any, rules: Any, params: Any, first: int, last: int, counts: Any, moments: Any
        ) -> None:
            super().__call__(fold, rules, params, first, last, counts, moments)
            if fold != 1:
                counts[first:last, :, r.EQUITY2] //= -10
                moments[first:last, :, [r.SUM1, r.SUM3]] *= -0.1

    _, said = judged(Once())
    assert said.word == "luck"
    text = said.text
    assert "One of its 4 folds made all of it" in text
    assert "On the last 30 % of the time" in text
    assert "walk-forward" in text


def test_a_spike_among_losers_stands_alone() -> None:
    class Spike(Hill):
        def __call__(
            self, fold: Any, rules: Any, params: Any, first: int, last: int, counts: Any, moments: Any
        ) -> None:
            flat = np.full_like(params, 5.0)
            flat[:, 1] = 1.0
            flat[params[:, 1] == 7.0, 0] = 2.0
            super().__call__(fold, rules, flat, first, last, counts, moments)

    over = {"lots": {"choices": list(range(1, 65))}}
    _, said = judged(Spike(), over=over, method="grid", sets=64)
    assert said.word == "luck"
    assert any(reason.startswith("It stands alone: its 16 nearest sets share 0%") for reason in said.reasons)


def test_no_trades_at_all() -> None:
    class Still:
        def __call__(self, *everything: Any) -> None:
            pass

    outcome, said = judged(Still())
    assert (said.word, said.headline) == ("nothing", "No set traded: there is nothing to judge.")
    summary = outcome.summary()
    assert (summary["sets"], summary["best"], summary["trades_median"]) == (128, None, 0.0)
    assert outcome.top() == []


def test_too_few_trades_say_how_many_there_were() -> None:
    _, said = judged(Hill(trades=3))
    assert "No set had 20 fills (sweep.min_trades; the most was 12)" in said.headline


def test_orders_that_never_filled_are_told_from_no_orders() -> None:
    _, said = judged(Noise(0, trades=0))
    assert said.headline == "No set traded: there is nothing to judge."

    class Sent(Noise):
        def __call__(
            self, fold: Any, rules: Any, params: Any, first: int, last: int, counts: Any, moments: Any
        ) -> None:
            counts[first:last, :, r.ORDERS] = 5

    _, said = judged(Sent(0))
    assert "none was filled before the data ended" in said.headline


def test_nothing_made_money() -> None:
    _, said = judged(Hill(gain=-500.0), over={"threshold_bp": [1.5, 2.5]})
    assert said.word == "loss"
    assert said.headline.startswith("Nothing made money: the best of 128 sets")


def test_one_set_has_nothing_to_be_set_against() -> None:
    _, said = judged(Hill(), sets=1)
    assert said.word in ("luck", "unclear")
    assert "holds" not in said.word


def test_what_the_world_does_is_no_choice() -> None:
    over = {
        "threshold_bp": {"choices": [1.0, 2.0, 4.0]},
        "simulation.entry_ms": {"low": 0.0, "high": 50.0, "step": 10.0},
    }
    found, said = judged(Hill(), over=over, method="grid")
    assert found.best is not None
    best = found.results.space.decoded(found.results.values[found.best])
    assert best["simulation.entry_ms"] == 0.0  # the end of its range, and no remark that one should look beyond
    assert found.at_end == ()
    assert not any("At the end of its range" in line for line in said.remarks)
    assert any("Not yours to choose" in line and "simulation.entry_ms" in line for line in said.remarks)


def test_an_adaptive_search_says_that_it_flatters() -> None:
    _, said = judged(Hill(), method="tpe")
    assert any("judged roughly" in line for line in said.remarks)


def test_the_summary_holds_the_names_that_scripts_rely_on() -> None:
    outcome, _ = judged(Hill(noise=200.0))
    summary = outcome.summary()
    assert {"sets", "trades_median", "best"} <= set(summary)
    best = summary["best"]
    assert best["parameters"].keys() == {"threshold_bp", "lots"}
    assert best["searched"]["trades"] == 160
    assert best["held_out"]["trades"] == 40
    assert summary["trades_median"] == 200
    top = outcome.top()
    assert len(top) == 20
    assert top[0]["set"] == best["set"]
    # net in quote currency: half of twice the equity, at 0.01 a unit
    row = outcome.results.table.to_pylist()[best["set"] * 5]
    assert row["net"] == pytest.approx(row["equity2"] / 2 * 0.01)
    assert row["net_bp"] == pytest.approx(1e4 * row["net"] / row["turnover"])


def test_one_candidate_among_sets_that_hardly_traded_can_not_be_judged() -> None:
    class Lone(Hill):
        def __call__(
            self, fold: Any, rules: Any, params: Any, first: int, last: int, counts: Any, moments: Any
        ) -> None:
            super().__call__(fold, rules, params, first, last, counts, moments)
            counts[first:last, :, r.FILLS] = np.where(np.arange(first, last) == 0, 40, 1)[:, None]

    _, said = judged(Lone(noise=200.0), sets=4, method="grid", over={"lots": {"choices": [1, 2, 3, 4]}})
    assert said.word == "unclear"
    assert said.headline.endswith("can't be judged: there is no other set to set it against.")
    assert "nan" not in said.text


def test_a_sharpe_ratio_of_minutes_is_said_to_mean_nothing() -> None:
    found, said = judged(Hill())
    assert found.guards is not None
    assert [line for line in said.remarks if "a year's" in line] == [
        f"Sharpe ratios are a year's, from {hours(found.guards.searched_s)}: their size means nothing."
    ]
    long = judge(found.results, found.config, 30 * 86_400.0)  # a bucket a month
    assert not any("a year's" in line for line in verdict(long).remarks)
