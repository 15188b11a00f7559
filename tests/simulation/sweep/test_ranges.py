"""Ranges: what is refused and how, what values come out, grids and their size, folds of time."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from schwabot.config import conf_dir
from schwabot.errors import ConfigError, DataError
from schwabot.simulation.sweep.ranges import Declared, Dimension, declared_modules, open_space
from schwabot.simulation.sweep.search import grid, open_search, random
from schwabot.simulation.sweep.settings import SweepConfig
from schwabot.simulation.sweep.shards import MarketFacts, check_folds, cut, cut_market, edges_of, params_of, rules_of
from schwabot_kernels.simulate.records import Market
from tests.simulation.sweep.making import DECLARED, Hill, resident

GRAPH = tuple(declared_modules({"lanes": {"kappa": 4.0, "kind": "a", "on": True}, "hash": {"bits": 8}}))
REFUSED: list[tuple[dict[str, Any], str]] = [
    (
        {"treshold_bp": [1, 2]},
        "there is no treshold_bp, did you mean policy.threshold_bp?; what can be searched: thres",
    ),
    ({"simulation.entry": [1, 2]}, "did you mean simulation.entry_ms?"),
    ({"threshold_bp": []}, r"threshold_bp=[] is empty: write [LOW, HIGH]"),
    ({"threshold_bp": [3, 1]}, "3 is not below 1; write the smaller end first"),
    ({"threshold_bp": [2, 2]}, "one value is no range, set the parameter itself"),
    ({"threshold_bp": [-1, 2]}, "-1 is out of what policy.threshold_bp allows, 0 to 100"),
    ({"threshold_bp": [1, 200]}, "200 is out of what policy.threshold_bp allows"),
    ({"threshold_bp": [1, 2, 3]}, "for single values write {choices: [1, 2, 3]}"),
    ({"threshold_bp": 5}, "a single value is set on the parameter itself"),
    ({"threshold_bp": ["a", 5]}, "'a' is not a number"),
    ({"threshold_bp": [float("nan"), 5]}, "nan is not a number"),
    ({"threshold_bp": {"low": 1}}, "both low and high are wanted"),
    ({"threshold_bp": {"low": 0, "high": 5, "log": True}}, "a log scale begins above 0"),
    ({"threshold_bp": {"low": 1, "high": 5, "log": True, "step": 1}}, "step and log do not go together"),
    ({"threshold_bp": {"low": 1, "high": 5, "step": 9}}, "step is more than 0 and at most 4"),
    ({"threshold_bp": {"low": 1, "high": 5, "steps": 1}}, "steps is not part of a range, did you mean step?"),
    ({"threshold_bp": {"choices": []}}, "choices is a list of at least one value"),
    ({"threshold_bp": {"choices": [1, 1]}}, "names one choice twice"),
    ({"threshold_bp": {"choices": [1, 101]}}, "101 is out of what"),
    ({"lots": [1, 2.5]}, "policy.lots takes whole numbers, 2.5 is none"),
    ({"fade": {"low": 0, "high": 1}}, "has no order; write {choices: [...]}"),
    ({"fade": ["maybe"]}, "maybe is not a choice; use False, True"),
    ({"lots": [1, 5], "policy.lots": [1, 6]}, "names policy.lots twice"),
    ({"simulation.taker_fee_bp": {"low": 0, "high": 1, "step": 0.0005}}, "is counted in 0.001, and step is finer"),
    ({"modules.lanes.kappa": [1.0, 2.0]}, "every setting of the graph is a run over the data; give step or choices"),
    ({"modules.hash.bits": [1, 5000]}, "makes 5,000 settings of the graph"),
]


@pytest.mark.parametrize(("over", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_ranges_that_are_refused(over: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_space(over, (*DECLARED, *GRAPH))
    assert said in str(refused.value)
    assert str(refused.value).startswith("sweep.over")


def test_ranges_as_a_command_line_gives_them() -> None:
    nested = {
        "simulation": {"entry_ms": [1, 2]},
        "policy": {"lots": {"low": 1, "high": 4}},
        "modules": {"hash": {"bits": {"choices": [4]}}},
    }
    space = open_space(nested, (*DECLARED, *GRAPH))
    assert space.names == ("modules.hash.bits", "simulation.entry_ms", "policy.lots")


def test_no_ranges_are_the_declared_ones() -> None:
    space = open_space({}, DECLARED)
    assert space.names == ("policy.threshold_bp", "policy.lots", "policy.fade")
    assert space.dimensions[0].log
    with pytest.raises(ConfigError, match="declares no ranges"):
        open_space({}, [Declared("policy.a", "float", 0.0, 1.0)])


def test_steps_end_where_their_last_value_is() -> None:
    one = open_space({"threshold_bp": {"low": 0.5, "high": 2.2, "step": 0.5}}, DECLARED).dimensions[0]
    assert one.levels(100).tolist() == [0.5, 1.0, 1.5, 2.0]
    assert one.high == 2.0
    tenth = open_space({"threshold_bp": {"low": 0.1, "high": 1.0, "step": 0.1}}, DECLARED).dimensions[0]
    assert tenth.levels(100).tolist() == [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]


def test_values_stay_in_their_range_and_kind() -> None:
    unit = np.linspace(0.0, 1.0, 1001)[:-1]
    whole = Dimension("policy.lots", "int", 2, 9).at(unit)
    assert np.unique(whole).tolist() == list(range(2, 10))
    assert np.bincount(whole.astype(int))[2:].std() <= 1
    log = Dimension("policy.lots", "int", 1, 1000, log=True).at(unit)
    assert (log.min(), log.max()) == (1, 994)
    assert Dimension("policy.lots", "int", 1, 1000, log=True).at(np.array([1 - 1e-9])) == 1000
    assert abs(np.mean(log < 32) - 0.5) < 0.02  # half of the places lie below the root
    fee = Dimension("simulation.taker_fee_bp", "float", -1.0, 5.0, quantum=1e-3).at(unit)
    np.testing.assert_allclose(fee * 1000, np.round(fee * 1000), atol=1e-9)
    choice = Dimension("policy.fade", "choice", 0, 1, choices=(False, True))
    assert choice.decoded(choice.at(np.array([0.1, 0.9]))) == [False, True]


def test_a_grid_is_the_whole_product() -> None:
    over = {"threshold_bp": {"choices": [3, 1, 2]}, "lots": [1, 4], "fade": [False, True]}
    space = open_space(over, DECLARED)
    values, notes = grid(space, 24)
    assert notes == ()
    rows = {tuple(space.decoded(row).values()) for row in values}
    assert rows == {(a, b, c) for a in (1, 2, 3) for b in (1, 2, 3, 4) for c in (False, True)}
    with pytest.raises(ConfigError, match=r"3 x 4 x 2 = 24 sets, and sweep\.sets=23"):
        grid(space, 23)


def test_a_grid_over_a_continuum_fills_the_sets() -> None:
    over = {"threshold_bp": {"low": 1, "high": 16, "log": True}, "lots": [1, 4]}
    values, notes = grid(open_space(over, DECLARED), 20)
    assert len(values) == 20
    np.testing.assert_allclose(np.unique(values[:, 0]), [1, 2, 4, 8, 16])
    assert "5 values of threshold_bp" in notes[0]
    with pytest.raises(ConfigError, match="at least 2 x at least 2 = 4 sets at least"):
        grid(open_space(over, DECLARED), 3)


def test_few_different_sets_are_all_tried() -> None:
    config = SweepConfig(sets=100, over={"lots": [1, 4], "fade": [False, True]})
    search = open_search(open_space(config.over, DECLARED), config)
    assert search.sets == 8
    assert "8 different sets" in search.notes[0]


def test_random_sets_are_even_and_do_not_depend_on_how_many() -> None:
    space = open_space({}, DECLARED)
    values = random(space, 256, seed=1)
    assert np.array_equal(values[:100], random(space, 100, seed=1))
    unit = space.unit(values)
    assert np.histogram(unit[:, 0], 16, (0, 1))[0].tolist() == [16] * 16  # a Sobol sequence
    assert not np.array_equal(values, random(space, 256, seed=2))


def test_settings_of_the_graph_are_numbered_and_come_together() -> None:
    over = {
        "threshold_bp": [1, 2],
        "modules.hash.bits": {"choices": [4, 8]},
        "modules.lanes.kind": {"choices": ["a", "b", "c"]},
    }
    space = open_space(over, (*DECLARED, *GRAPH))
    assert space.graphs == 6
    values = random(space, 64, seed=0)
    graph = space.graph_of(values)
    assert (np.diff(graph) >= 0).all()
    assert set(graph.tolist()) == set(range(6))
    for row, number in zip(values, graph, strict=True):
        chosen = space.decoded(row)
        setting = space.graph_setting(int(number))
        assert setting == {name: chosen[name] for name in setting}


def test_rules_and_parameters_of_each_set() -> None:
    space = open_space({"simulation.entry_ms": [0, 9], "simulation.maker_fee_bp": [-1, 1], "lots": [1, 9]}, DECLARED)
    one = resident(space, Hill(), folds=2, legs=2)
    values = np.array([[1.5, -0.25, 3.0], [8.0, 0.5, 7.0]])
    made = rules_of(one, values)
    assert made.entry_ns.tolist() == [[1_500_000] * 2, [8_000_000] * 2]
    assert made.response_ns.tolist() == [[5_000_000] * 2] * 2
    assert made.maker_e7.tolist() == [[-250] * 2, [500] * 2]
    assert params_of(one, values).tolist() == [[2.0, 3.0, 0.0], [2.0, 7.0, 0.0]]


def test_folds_of_time_need_rows() -> None:
    ts = np.concatenate([np.arange(50), np.arange(90, 100)]) * 10**9
    config = SweepConfig(folds=8, split=0.9)
    found = cut(ts, edges_of(int(ts[0]), int(ts[-1]), config))
    assert list(found) == [0, 1, 2, 3, 4, 8]
    folds = {fold: (end - first, 10**9) for fold, (first, end) in found.items()}
    facts = MarketFacts("", 0, 99 * 10**9, folds, ())
    with pytest.raises(DataError, match=r"60 rows over 99 s leave fewer than two to fold 6 of 8"):
        check_folds([facts], config)
    other = dataclasses.replace(facts, folds=dict.fromkeys((5, 6, 7), (2, 1)))
    check_folds([facts, other], config)  # what one market has not, another one may have
    with pytest.raises(DataError, match="at one moment"):
        edges_of(5, 5, config)


def test_a_cut_market_is_a_market() -> None:
    n = 6
    columns = {name: np.arange(n, dtype=np.int64) for name in Market._fields}
    columns["next_row"] = np.array([2, 3, 4, 5, -1, -1], np.int32)
    columns["signals"] = np.arange(2 * n, dtype=np.float64).reshape(1, 2, n)
    market = cut_market(Market(**columns), 1, 5)  # type: ignore[arg-type]
    assert market.next_row.tolist() == [2, 3, -1, -1]
    assert market.ts_ns.tolist() == [1, 2, 3, 4]
    assert market.signals.tolist() == [[[1.0, 2.0, 3.0, 4.0], [7.0, 8.0, 9.0, 10.0]]]
    assert market.signals.flags.c_contiguous


SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"sets": 0}, "sweep.sets=0 is out of range: use 1 to 1e+07"),
    ({"method": "tpee"}, "did you mean tpe?"),
    ({"folds": 3}, "use an even number"),
    ({"objectives": []}, "is empty"),
    ({"objectives": ["sharp"]}, "did you mean sharpe?"),
    ({"objectives": ["net", "net"]}, "names one twice"),
    ({"method": "cmaes", "objectives": ["net", "fees"]}, "takes one objective"),
    ({"method": "nsga2"}, "name two"),
    ({"split": float("nan")}, "out of range"),
    ({"surface_ms": [-1.0]}, "surface_ms holds -1"),
]


@pytest.mark.parametrize(("changes", "said"), SETTINGS, ids=[said for _, said in SETTINGS])
def test_settings_that_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        SweepConfig(**changes).check()
    assert said in str(refused.value)


def test_the_yaml_is_the_dataclass() -> None:
    written = OmegaConf.to_container(OmegaConf.load(conf_dir() / "sweep" / "default.yaml"))
    assert written == vars(SweepConfig())
    SweepConfig().check()


def test_cmaes_needs_numbers() -> None:
    over = {"modules.lanes.kind": {"choices": ["a", "b"]}, "lots": [1, 5]}
    with pytest.raises(ConfigError, match=r"modules\.lanes\.kind has names"):
        open_search(open_space(over, (*DECLARED, *GRAPH)), SweepConfig(method="cmaes"))
