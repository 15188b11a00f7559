"""The whole graph on a device whose tensors don't mix with the host's: a stray one in device code fails here."""

from __future__ import annotations

from dataclasses import fields
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from schwabot.modules.device_graph import DeviceGraph
from schwabot.modules.graph import Graph
from schwabot.records.audit import SignalColumns
from schwabot_kernels.graph.op import on_tensors
from tests.gpu.pretended import There, pretended
from tests.kernels.making import Habits, adversarial, head, settings

EDGE = 64


def run(graph: Graph, batch: Any, device: torch.device) -> tuple[dict[str, np.ndarray], DeviceGraph]:
    def call(*given: Any) -> list[torch.Tensor]:
        assert given[0][0].device.type == device.type
        out = on_tensors(*given, edge=EDGE, block=8)
        assert all(part.device.type == device.type for part in out)
        return out

    runs = DeviceGraph(graph, device, graph.initial_state(), edge=EDGE, call=call)
    said = [runs.advance(batch.rows(a, b)).signals for a, b in pairwise((0, 50, len(batch)))]
    return {f.name: np.concatenate([getattr(one, f.name) for one in said]) for f in fields(SignalColumns)}, runs


@pytest.mark.parametrize(("estimator", "rates"), [("weighted", True), ("kalman", False)])
def test_the_graph_stays_on_its_device(estimator: str, rates: bool) -> None:
    market = adversarial(
        Habits(
            events=150, streams=4, seed=8, ties=0.2, round_times=True, gaps=0.02, trades=0.3, trades_only=0.0,
            crossed=0.05, no_size=0.1, still=0.3, outages=0.2, late=0.3, coarse=False, rates=rates,
        )
    )  # fmt: skip
    graph = Graph(market.instruments, settings(estimator, bits=8, tables=3), (), head(market.instruments))
    wanted, _ = run(graph, market.batch, torch.device("cpu"))
    with pretended() as device:
        found, runs = run(graph, market.batch, device)
        assert runs.failed is None
        left = runs.state
        assert not any(isinstance(part, There) for part in left.values())
    for name, column in wanted.items():
        np.testing.assert_array_equal(found[name], column, name)


def test_what_is_mixed_up_is_refused() -> None:
    with pretended() as device:
        there = torch.arange(4, device=device) + 1
        assert isinstance(there, There)
        assert there.device == device
        assert there[torch.tensor([0, 2])].tolist() == [1, 3]
        assert (there * torch.tensor(2)).sum().item() == 20
        with pytest.raises(RuntimeError, match="tensors of the host"):
            there + torch.arange(4)
        there[1:3] = torch.tensor([7, 8])
        assert there.cpu().tolist() == [1, 7, 8, 4]
