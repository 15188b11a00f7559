"""How often a call of the graph on the device makes the host wait: a bound that a change has to move on purpose."""

from __future__ import annotations

import pytest

pytest.importorskip("triton")

from schwabot_kernels.graph.op import graph as graph_op
from schwabot_kernels.graph.op import on_tensors
from tests.gpu.test_graph import HABITS, arguments, start, state_of
from tests.gpu.waits import Waits
from tests.kernels.making import Habits, adversarial, settings


@pytest.mark.usefixtures("by_triton")
def test_a_call_waits_for_the_device_a_few_times(device: str) -> None:
    """Once streams have joined and the hash has its scale."""
    market = adversarial(Habits(events=277, streams=3, seed=8, **HABITS))
    graph, state = start(market, settings("weighted", bits=4, tables=1))
    before = state_of(graph_op(*arguments(graph, market.batch.rows(0, 257), state, "cpu")))
    with Waits() as waits:
        on_tensors(*arguments(graph, market.batch.rows(257, 277), before, device), edge=16, block=8)
    assert waits.of("align", "phase", "consensus", "gpu_expected") == 3, waits.at
    kept = waits.of("device_state")  # numbers that are on the device from the first call on
    assert waits.of("") - kept == 20, waits.at
