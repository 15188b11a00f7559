"""Traces of a run: bounded, whole, with the parts of the loop by name."""

from __future__ import annotations

import gzip
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from schwabot.modules.device_graph import DeviceGraph
from schwabot.pipeline import Pipeline
from schwabot.tensors import profiling
from schwabot.tensors.profiling import BATCHES, TRACE, Trace, span, spans
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed


def traced(folder: Path, batches: int, cuda: bool = False) -> dict[str, list[dict[str, Any]]]:
    """Events of a run of so many batches, by name."""
    x = torch.ones(8, device="cuda" if cuda else "cpu")
    with Trace(folder / TRACE, cuda=cuda) as trace:
        for number in spans("feed", range(batches)):
            with span("graph"), span(f"batch {number}"):
                x = x * 2
                time.sleep(0.001)
            trace.step()
    return events_of(folder / TRACE)


def events_of(file: Path) -> dict[str, list[dict[str, Any]]]:
    with gzip.open(file) as text:
        tree = json.load(text)
    found: dict[str, list[dict[str, Any]]] = {}
    for event in tree["traceEvents"]:
        found.setdefault(event["name"], []).append(event)
    return found


def recorded(events: dict[str, list[dict[str, Any]]]) -> list[int]:
    return sorted(int(name.split()[1]) for name in events if name.startswith("batch "))


@pytest.mark.parametrize(
    ("batches", "expected"),
    [
        (1, [0]),
        (2, [0]),  # the second was the warm-up
        (3, [2]),
        (5, [2, 3, 4]),
        (40, list(range(2, 2 + BATCHES))),
    ],
)
def test_a_few_batches_after_a_warm_up_or_what_there_is(tmp_path: Path, batches: int, expected: list[int]) -> None:
    events = traced(tmp_path, batches)
    assert recorded(events) == expected
    assert len(events["graph"]) == len(expected)
    assert {event["cat"] for event in events["graph"]} == {"user_annotation"}
    assert all(event["dur"] >= 1000 for event in events["graph"]), "in microseconds"
    assert len(events["aten::mul"]) == len(expected)
    assert [path.name for path in (tmp_path / "profile").iterdir()] == [Path(TRACE).name]
    assert profiling._open == []


def test_a_longer_run_makes_no_longer_trace(tmp_path: Path) -> None:
    sizes = []
    for batches in (12, 300):
        folder = tmp_path / str(batches)
        folder.mkdir()
        sizes.append(sum(len(found) for found in traced(folder, batches).values()))
    assert abs(sizes[0] - sizes[1]) <= 4


def test_what_was_traced_before_an_error_is_there(tmp_path: Path) -> None:
    def run() -> None:
        with Trace(tmp_path / TRACE) as trace:
            for number in range(40):
                with span(f"batch {number}"):
                    if number == 4:
                        raise ValueError
                trace.step()

    with pytest.raises(ValueError, match=r"^$"):
        run()
    assert recorded(events_of(tmp_path / TRACE)) == [2, 3, 4]
    assert profiling._open == []


def test_nothing_is_traced_unless_asked(tmp_path: Path) -> None:
    with Trace(None) as trace:
        assert list(spans("feed", [1, 2])) == [1, 2]
        trace.step()
    assert type(span("feed")).__name__ == "nullcontext"


def test_a_graph_on_a_device_shows_copies_and_computing_apart(tmp_path: Path) -> None:
    feed = SyntheticFeed(SyntheticConfig(events=600))
    pipeline = Pipeline(feed.instruments)
    pipeline.run_on(DeviceGraph(pipeline.graph, torch.device("cpu"), pipeline.state, edge=64, most_edges=1))
    with Trace(tmp_path / TRACE) as trace:
        for _ in pipeline.answers(feed.batches(100)):
            trace.step()
    events = events_of(tmp_path / TRACE)
    assert [len(events[name]) for name in ("graph", "upload", "compute", "download")] == [BATCHES] * 4


@pytest.mark.gpu
def test_what_the_gpu_does_is_in_it(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    events = traced(tmp_path, 12, cuda=True)
    kinds = Counter(event.get("cat") for found in events.values() for event in found)
    assert kinds["kernel"] >= BATCHES
