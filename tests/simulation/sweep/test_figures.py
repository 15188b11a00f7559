"""Pictures and pages of a sweep: what they show is what was there, with trades and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from schwabot.simulation.report import write_report
from schwabot.simulation.sweep.figures import sweep_facts, sweep_sections
from schwabot.simulation.sweep.maps import heat_maps, influence
from schwabot.simulation.sweep.outcome import Outcome, judge
from schwabot.simulation.sweep.settings import SweepConfig
from schwabot.simulation.sweep.shards import run_here, shards_of
from schwabot.simulation.sweep.surface import surface_heat, surface_of, threshold_of
from schwabot.simulation.sweep.table import Results
from schwabot.simulation.sweep.verdict import verdict
from schwabot.sinks.sweep_board import SweepBoard
from schwabot.sinks.sweep_figure import Heat, heat_figure, surface_figure
from tests.simulation.sweep.making import BUCKET_S, Hill, resident, rows_of_set, swept

OVER = {"threshold_bp": {"low": 0.5, "high": 8.0, "log": True}, "lots": [1, 10], "simulation.entry_ms": [0, 50]}


def outcome(kernel: Any = None, **changes: Any) -> Outcome:
    config = SweepConfig(**({"sets": 256, "folds": 4, "over": OVER} | changes))
    results, _, _ = swept(config, kernel or Hill(noise=200.0))
    return judge(results, config, BUCKET_S)


def surface(one: Outcome, kernel: Any) -> Heat:
    threshold = threshold_of(one)
    assert threshold is not None
    assert threshold.short == "threshold_bp"
    space, folds = one.results.space, one.config.folds
    best = one.results.values[one.best]
    around, values = surface_of(best, threshold, 5.0, [0.0, 20.0, 80.0], 7)
    shards = shards_of("x", around.space, 0, values, range(folds), 1, around=around)
    market = resident(space, kernel, folds + 1)
    results = Results(around.space, [row for row in rows_of_set(market) if row.fold < folds])
    results.append(values, run_here(shards, {("x", 0): market}, 1))
    return surface_heat(results.pooled(range(folds)), threshold, values, [5.0, 25.0, 85.0])


def test_influence_is_what_explains() -> None:
    rng = np.random.default_rng(0)
    unit = rng.random((4000, 3))
    y = unit[:, 0] + 0.5 * unit[:, 1] + 0.0 * unit[:, 2]
    # variances 1/12 and 1/48: 4/5 and 1/5, less what lies inside a bin of an eighth, 1/64 of it
    np.testing.assert_allclose(influence(unit, y), [0.8 * 63 / 64, 0.2 * 63 / 64, 0.0], atol=0.03)
    assert influence(unit, np.full(4000, 7.0)).tolist() == [0.0, 0.0, 0.0]
    assert influence(unit[:2], y[:2]).tolist() == [0.0, 0.0, 0.0]


def test_a_heat_map_shows_where_the_hill_is() -> None:
    heats = heat_maps(outcome())
    assert len(heats) == 3
    heat = next(one for one in heats if {one.x_name, one.y_name} == {"threshold_bp", "simulation.entry_ms"})
    z = heat.z if heat.x_name == "threshold_bp" else heat.z.T
    labels = heat.x if heat.x_name == "threshold_bp" else heat.y
    best = float(labels[int(np.nanargmax(np.nanmean(z, axis=0)))])
    assert 1.4 < best < 2.9


def test_cells_hold_medians() -> None:
    over = {"lots": {"choices": [1, 2]}, "fade": {"choices": [False, True]}}
    one = outcome(over=over, method="grid", sets=4)
    heat = heat_maps(one)[0]
    assert {heat.x, heat.y} == {("1", "2"), ("False", "True")}
    assert sorted(heat.z.ravel().tolist()) == sorted(one.objective.tolist())


def test_the_surface_falls_with_latency_and_away_from_the_hill() -> None:
    one = outcome()
    heat = surface(one, Hill(noise=200.0))
    assert heat.z.shape == (7, 3)
    assert (np.diff(heat.z, axis=1) < 0).all()  # later is worse at every threshold
    assert int(np.argmax(heat.z[:, 0])) == 3  # 0.5 to 8 in seven equal ratios: 2 is the fourth
    # by hand: gain 100 a lot and bucket, less the latency in ms; a unit of account is 0.01, equity half of twice itself
    lots = one.results.space.decoded(one.results.values[one.best])["lots"]
    net, turnover = (100 * lots - 5.0) * 100 * 0.5 * 0.01, 40 * lots * 10_000 * 0.01
    assert heat.z[3, 0] == pytest.approx(1e4 * net / turnover, rel=1e-3)


def test_the_report_is_one_page(tmp_path: Path) -> None:
    one = outcome()
    said = verdict(one)
    heat = surface(one, Hill(noise=200.0))
    sections = sweep_sections(one, said, heat, {"simulation.entry_ms": 5.0})
    titles = [section.title for section in sections]
    assert titles[0] == "Does the best set look like luck?"
    assert {"The best sets", "Walk forward", "What matters", "Latency and threshold", "Assumptions"} <= set(titles)
    write_report(tmp_path / "report.html", "Sweep", sections, sweep_facts(one, said), said.headline)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert said.headline.replace("'", "&#x27;") in page
    assert page.count('id="figure-') == sum(section.figure is not None for section in sections)
    assert {"trades (fills)", "sharpe (a year)"} <= set(sections[1].table[0])
    searched = next(section.table for section in sections if section.title == "What was searched")
    assert [(row["setting"], row["searched"]) for row in searched] == [
        ("policy.threshold_bp", "0.5 to 8, on a log scale"),
        ("policy.lots", "1 to 10"),
        ("simulation.entry_ms", "0 to 50"),
    ]
    assert sections[-1].table == []  # what was searched is not listed with one value
    assert "src=" not in page.split("</script>")[-1]  # nothing is loaded from elsewhere


def test_a_report_without_a_single_trade(tmp_path: Path) -> None:
    one = outcome(Hill(trades=0))
    said = verdict(one)
    sections = sweep_sections(one, said)
    write_report(tmp_path / "report.html", "Sweep", sections, sweep_facts(one, said))
    assert "No set traded" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert heat_maps(one) == [] or all(np.isnan(heat.z).all() for heat in heat_maps(one))


def test_several_objectives_show_their_front() -> None:
    one = outcome(method="nsga2", objectives=["net", "fees"])
    assert "net against fees" in [section.title for section in sweep_sections(one, verdict(one))]


def test_tensorboard_holds_maps_and_sets(tmp_path: Path) -> None:
    one = outcome()
    board = SweepBoard(tmp_path)
    board.progress(64, {"best": 1.0, "sets_per_s": 10.0, "nothing": float("nan")})
    board.found({"plateau": 0.9, "unknown": None})
    board.maps(heat_maps(one), surface(one, Hill(noise=200.0)))
    rows = one.top()[:3]
    board.sets(rows, [dimension.short for dimension in one.results.space.dimensions])
    board.close()
    events = EventAccumulator(str(tmp_path), size_guidance={"images": 0})
    events.Reload()
    assert {"sweep/best", "sweep/sets_per_s", "sweep_guards/plateau"} == set(events.Tags()["scalars"])
    assert {"latency_threshold/surface", "latency_threshold/map"} <= set(events.Tags()["images"])
    assert len(events.Tags()["images"]) == 5
    for row in rows:
        own = EventAccumulator(str(tmp_path / "sweep_sets" / f"set_{row['set']:07d}"))
        own.Reload()
        assert own.Scalars("hparam/net")[0].value == pytest.approx(row["net"], rel=1e-6)
        assert "_hparams_/session_start_info" in own.summary_metadata


def test_figures_of_nothing() -> None:
    heat = Heat("nothing", "a", "b", "z", ("1", "2"), ("1",), np.full((1, 2), np.nan))
    heat_figure(heat)
    surface_figure(Heat("nothing", "a", "b", "z", ("1", "2"), ("1", "2"), np.full((2, 2), np.nan)))
