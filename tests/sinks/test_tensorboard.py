"""TensorBoard events: what they hold, read back with TensorBoard's own reader."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest

from schwabot.modules.ghost_bridge import Ghost, GhostBridge
from schwabot.modules.hash_registry import HashRegistry, Memory
from schwabot.modules.phantom_lag import Lag, PhantomLag
from schwabot.modules.tensor_harness import TensorHarness, Timeline
from schwabot.modules.voltage_lanes import VoltageLanes
from schwabot.records.audit import StepRecord
from schwabot.sinks.graph_picture import nodes
from schwabot.sinks.tensorboard import TensorBoardSink, graph_def
from tests.sinks.making import SUMMARY, header, records


def write(folder: Path, run: list[StepRecord], points: int = 50, expected: int | None = None) -> Any:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    sink = TensorBoardSink(points)
    start = replace(header(folder, expected), config={"modules": {"ghost_bridge": {"estimator": "weighted"}}})
    sink.open(start)
    for record in run:
        sink.write(record)
    sink.close(SUMMARY)
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "histograms": 0})
    events.Reload()
    return events


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return write(tmp_path_factory.mktemp("run"), records(2000, cuts=(5, 1300)), expected=2000)


def test_scalars_are_points_of_the_run(written: Any) -> None:
    (whole,) = records(2000)
    points = written.Scalars("ghost_bp")
    assert [point.step for point in points] == list(range(0, 2000, 40))
    np.testing.assert_allclose([point.value for point in points], whole.signals.ghost_bp[::40], rtol=1e-6)
    assert abs(points[-1].wall_time - whole.ts_recv_ns[1960] / 1e9) < 1e-3
    names = set(written.Tags()["scalars"])
    for kind in ("deviation_bp", "phase_bp", "drift", "voltage"):
        assert {f"{kind}/binance.BTC-USDT", f"{kind}/binanceusdm.BTC-USDT.USDT"} <= names
    assert {"entropy", "echo_bp"} <= names
    # no answer is no point
    assert len(written.Scalars("echo_bp")) == sum(step % 3 != 0 for step in range(0, 2000, 40))


def test_histograms_figure_and_hparams(written: Any) -> None:
    tags = written.Tags()
    assert {"lanes", "voltage/binance.BTC-USDT", "realised_lag_bp/10ms"} <= set(tags["histograms"])
    lanes = written.Histograms("lanes")[0].histogram_value
    assert [int(count) for count in lanes.bucket if count] == [90, 8, 2]
    assert "lag_curve" in tags["images"]
    assert written.Scalars("hparam/events_per_s")[0].value == 1e6


def test_histogram_of_costs_holds_its_extremes(tmp_path: Path) -> None:
    """Costs beyond ±10 bp are drawn where they are: the outer bins reach as far as the data."""
    run = []
    for record, cost in zip(records(50, cuts=(20,)), ([[-10.25, 0.25, np.nan]], [[9.95, 31.5, np.nan]]), strict=True):
        decisions = replace(records(50)[0].decisions, realised_cost_bp=np.array(cost))
        run.append(replace(record, decisions=decisions))
    events = write(tmp_path, run)
    one = events.Histograms("realised_lag_bp/1ms")[0].histogram_value
    ten = events.Histograms("realised_lag_bp/10ms")[0].histogram_value
    assert (one.min, one.bucket_limit[0], one.num) == (-10.25, -10.0, 2)
    assert [int(count) for count in one.bucket if count] == [1, 1]
    assert one.max == pytest.approx(10.0)
    assert (ten.max, ten.bucket_limit[-1], ten.num) == (31.5, 31.5, 2)
    assert ten.min == pytest.approx(0.2)
    assert "realised_lag_bp/100ms" not in events.Tags()["histograms"]


def test_histograms_do_not_depend_on_batches(tmp_path: Path) -> None:
    """The last record has no rows, as what the end of a run settles: its decisions count."""
    (whole,) = records(9_000)
    first, *more = records(9_000, cuts=tuple(range(60, 9_000, 60)))  # counted three times before the end
    late = replace(first.decisions, realised_cost_bp=first.decisions.realised_cost_bp + 40.0)
    none = records(9_000, cuts=(9_000,))[1]
    assert not len(none.ts_recv_ns)
    parts = [first, *more[:100], replace(more[100], decisions=late), *more[101:], replace(none, decisions=late)]
    every = [first.decisions.realised_cost_bp, late.realised_cost_bp, late.realised_cost_bp]
    whole = replace(whole, decisions=replace(first.decisions, realised_cost_bp=np.concatenate(every)))
    found = [write(tmp_path / name, run) for name, run in (("whole", [whole]), ("cut", parts))]
    tags = [tag for tag in found[0].Tags()["histograms"] if tag != "lanes"]
    assert len(tags) == 2 + 2  # at 100 ms nothing is known
    for tag in tags:
        one, other = (events.Histograms(tag)[0].histogram_value for events in found)
        assert one == other, tag
    assert tags[-1] == "realised_lag_bp/10ms"
    assert one.num == sum(int(np.isfinite(costs[:, 1]).sum()) for costs in every)


def test_graph_tab_has_the_modules(written: Any) -> None:
    names = {node.name for node in written.Graph().node}
    assert {"Feed", "TensorHarness/phase", "GhostBridge/ghost", "VoltageLanes/voltage", "Signal"} <= names
    ghost = next(node for node in written.Graph().node if node.name == "GhostBridge/ghost")
    assert ghost.attr["estimator"].s == b"weighted"
    assert "TensorHarness/align" in ghost.input


def test_arrows_between_modules_are_what_their_calls_take() -> None:
    """A module that is handed another one's answers has an arrow from it, and no other."""
    gives = {Timeline: "TensorHarness", Ghost: "GhostBridge", Memory: "HashRegistry", Lag: "PhantomLag"}
    takes = {
        (gives[kind], module.__name__)
        for module in (TensorHarness, GhostBridge, HashRegistry, PhantomLag, VoltageLanes)
        for name, kind in get_type_hints(module.forward).items()
        if kind in gives and name != "return"
    }
    assert len(takes) == 10
    takes |= {("Feed", "TensorHarness"), ("PhantomLag", "GhostBridge")}  # arbitrage is net of the expected lag
    drawn = {
        (source.partition("/")[0], node.name.partition("/")[0])
        for node in nodes({})
        for source in node.inputs
        if node.name != "Signal"
    }
    assert {(a, b) for a, b in drawn if a != b} == takes


def test_graph_is_the_feed_forward_chain() -> None:
    done: set[str] = set()
    waiting = {node.name: set(node.input) for node in graph_def(nodes({})).node}
    while waiting:
        ready = {name for name, inputs in waiting.items() if inputs <= done}
        assert ready, f"a cycle among {sorted(waiting)}"
        done |= ready
        waiting = {name: inputs for name, inputs in waiting.items() if name not in ready}


def test_points_do_not_depend_on_batches_when_the_length_is_unknown(tmp_path: Path) -> None:
    steps = []
    for name, cuts in (("whole", ()), ("cut", (1, 64, 65, 3000))):
        events = write(tmp_path / name, records(20_000, cuts), points=20)
        steps.append([point.step for point in events.Scalars("ghost_bp")])
    assert steps[0] == steps[1]
    assert 40 < len(steps[0]) < 120


@pytest.mark.skipif(os.path.exists("/dev/nvidia0"), reason="there is a GPU")
def test_no_gpu_no_telemetry(written: Any) -> None:
    assert not [name for name in written.Tags()["scalars"] if name.startswith("device/")]
