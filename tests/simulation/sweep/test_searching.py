"""A sweep finds what is there, is the same every time and every way it is cut, and goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from schwabot.errors import ConfigError
from schwabot.simulation.sweep.settings import SweepConfig
from schwabot_kernels.simulate.records import EQUITY2, SUM1, SUM3
from tests.simulation.sweep.making import BUCKET_S, Hill, swept

OVER = {"threshold_bp": {"low": 0.5, "high": 8.0, "log": True}, "simulation.entry_ms": [0.0, 50.0]}


def config(**changes: object) -> SweepConfig:
    one = SweepConfig(**({"sets": 96, "batch": 16, "folds": 4, "over": OVER} | changes))  # type: ignore[arg-type]
    one.check()
    return one


@pytest.mark.parametrize("method", ["random", "grid", "tpe", "cmaes"])
def test_every_method_finds_the_hill(method: str) -> None:
    results, ended, _ = swept(config(method=method), Hill())
    assert ended.whole
    objective = results.pooled(range(4)).objective("sharpe", BUCKET_S, 1)
    best = results.values[np.argmax(objective)]
    assert abs(np.log2(best[0] / 2)) < 0.35  # the hill is at 2 bp
    assert best[1] < 15.0  # and acting sooner earns more


def test_two_objectives_find_their_front() -> None:
    results, _, _ = swept(config(method="nsga2", objectives=["net", "fees"], over=OVER | {"lots": [1, 10]}), Hill())
    pooled = results.pooled(range(4))
    few = results.values[:, 1] if results.space.names[1] == "policy.lots" else results.values[:, 2]
    assert few.min() == 1  # fees grow with the lots, so the fewest are on the front
    assert few.max() >= 9  # and net PnL grows with them, so are the most
    assert pooled.net.max() > 0


@pytest.mark.parametrize("method", ["random", "grid", "tpe", "cmaes"])
def test_one_seed_is_one_sweep_and_another_is_another(method: str) -> None:
    first, again = (swept(config(method=method, seed=3), Hill())[0].table for _ in range(2))
    assert first.equals(again)
    if method != "grid":
        assert not first.equals(swept(config(method=method, seed=4), Hill())[0].table)


def test_how_a_block_is_cut_into_shards_changes_nothing() -> None:
    whole = swept(config(), Hill(), legs=2)[0].table
    assert whole.equals(swept(config(), Hill(), legs=2, pieces=5, threads=3)[0].table)


@pytest.mark.parametrize("method", ["random", "grid", "tpe", "cmaes"])
def test_an_interrupted_sweep_goes_on_where_it_was(method: str, tmp_path: Path) -> None:
    whole = swept(config(method=method), Hill())[0].table
    part, ended, _ = swept(config(method=method), Hill(), tmp_path, blocks=2)
    assert (ended.whole, ended.ran, part.sets) == (False, 32, 32)

    class Counting(Hill):
        sets = 0

        def __call__(self, fold, rules, params, first, last, counts, moments) -> None:  # type: ignore[no-untyped-def]
            Counting.sets += last - first
            super().__call__(fold, rules, params, first, last, counts, moments)

    results, ended, _ = swept(config(method=method), Counting(), tmp_path)
    assert ended.whole
    assert ended.recalled == 32
    assert Counting.sets == ended.ran * 5  # four folds and the one held out
    assert results.table.equals(whole)


def test_more_sets_go_on_where_fewer_ended(tmp_path: Path) -> None:
    swept(config(sets=40), Hill(), tmp_path)  # two blocks and a half
    results, ended, _ = swept(config(), Hill(), tmp_path)
    assert (ended.recalled, ended.ran) == (32, 64)
    assert results.table.equals(swept(config(), Hill())[0].table)


def test_a_part_that_is_torn_is_run_again(tmp_path: Path) -> None:
    swept(config(), Hill(), tmp_path)
    file = sorted((tmp_path / "sweep_parts").glob("sets_*"))[1]
    file.write_bytes(file.read_bytes()[:100])
    results, ended, _ = swept(config(), Hill(), tmp_path)
    assert ended.ran == 16
    assert results.table.equals(swept(config(), Hill())[0].table)


def test_parts_of_another_sweep_are_refused_and_named(tmp_path: Path) -> None:
    before = {"sweep": {"seed": 1}, "data": {"rows": 10, "digest": "a"}, "policy": "x"}
    swept(config(), Hill(), tmp_path, before, blocks=1)
    now = {"sweep": {"seed": 2}, "data": {"rows": 10, "digest": "b"}, "policy": "x"}
    with pytest.raises(ConfigError, match=r"data \(other rows\); sweep.seed was 1, is 2") as refused:
        swept(config(), Hill(), tmp_path, now)
    assert "policy" not in str(refused.value)
    _, ended, _ = swept(config(resume=False), Hill(), tmp_path, now)
    assert ended.ran == 96


def test_parts_of_other_sets_are_refused(tmp_path: Path) -> None:
    swept(config(), Hill(), tmp_path)
    with pytest.raises(ConfigError, match="other sets than the search asks for now"):
        swept(config(seed=1), Hill(), tmp_path)


def test_sets_that_hardly_trade_are_no_candidates_and_the_search_hears_it() -> None:
    results, _, _ = swept(config(method="tpe", min_trades=1000), Hill(trades=3))
    assert np.isnan(results.pooled(range(4)).objective("sharpe", BUCKET_S, 1000)).all()


def test_the_search_never_hears_of_what_is_held_out() -> None:
    class Held(Hill):
        """Where the fold that is held out is another market."""

        def __call__(self, fold, rules, params, first, last, counts, moments) -> None:  # type: ignore[no-untyped-def]
            super().__call__(fold, rules, params, first, last, counts, moments)
            if self.calls % 5 == 4:
                counts[..., EQUITY2] *= self.factor
                moments[..., [SUM1, SUM3]] *= self.factor
            self.calls += 1

        def __init__(self, factor: int) -> None:
            super().__init__()
            self.calls, self.factor = 0, factor

    values = [swept(config(method="tpe"), Held(factor))[0].values for factor in (1, -1)]
    assert np.array_equal(*values)
