"""Copies to a device and back: the same values by every way, each tensor once, in whatever order it is asked for."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from schwabot.tensors.transfers import Transfers

DEVICES = [
    pytest.param(torch.device("cpu"), id="cpu"),
    pytest.param(torch.device("cuda"), id="cuda", marks=pytest.mark.gpu),
]


def tensors() -> list[torch.Tensor]:
    wide = torch.arange(24.0, dtype=torch.float64).reshape(4, 6)
    return [torch.arange(7), wide.T, wide[:, 2:5], wide[:, :0], torch.tensor([1, -1], dtype=torch.int8)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("pins", [True, False])
def test_there_and_back(device: torch.device, pins: bool) -> None:
    """Where nothing can be pinned, as without a GPU, copies are made all the same."""
    transfers = Transfers(device, pins=pins)
    for _ in range(3):
        given = tensors()
        transfers.begin(given[:3])
        asked = [given[4], given[1], given[0], given[3]]  # in another order, and one of them not
        there = transfers.up(asked)
        assert all(one.device.type == device.type for one in there)
        here = transfers.down([*there, given[2].to(device)])
        for one, other in zip([*asked, given[2]], here, strict=True):
            assert torch.equal(one, other)
            assert one.data_ptr() != other.data_ptr() or not one.numel()
    assert transfers.pins == (pins and torch.cuda.is_available())


@pytest.mark.parametrize("device", DEVICES)
def test_what_is_begun_is_sent_once(device: torch.device) -> None:
    transfers = Transfers(device)
    one, two = torch.arange(3), torch.arange(3)
    transfers.begin([one])
    assert transfers._begun is not None
    begun = transfers._begun.result()[0][1]
    assert [there is begun for there in transfers.up([two, one])] == [False, True]
    assert transfers.up([one])[0] is not begun or device.type == "cpu"


@pytest.mark.gpu
def test_pinned_memory_is_used_again() -> None:
    transfers = Transfers(torch.device("cuda"))
    there = torch.arange(1 << 20, device="cuda")
    places = {transfers.down([there])[0].data_ptr() for _ in range(5)}
    assert transfers.pins
    assert len(places) < 5


LOST = """
import sys
import torch
from schwabot.modules.device_graph import DeviceGraph
from schwabot.pipeline import Pipeline
from schwabot.ticks.synthetic import SyntheticConfig, SyntheticFeed
from schwabot_kernels.graph.op import graph

device, calls = torch.device(sys.argv[1]), []

def call(*given):
    calls.append(graph(*given))
    if len(calls) == 3:
        torch._assert_async(torch.zeros(1, device=device))
    return calls[-1]

feed = SyntheticFeed(SyntheticConfig(events=1500))
pipeline = Pipeline(feed.instruments)
pipeline.run_on(DeviceGraph(pipeline.graph, device, pipeline.state, edge=256, most_edges=1, call=call))
records = [record for _, record in pipeline.answers(feed.batches(100))]
lost = [event.reason for record in records for event in record.fallbacks if event.component == "device"]
rows = sum(len(record.stream) for record in records)
calls.clear()
del records, pipeline
print(len(lost), rows)
"""


@pytest.mark.gpu
def test_a_process_outlives_its_device() -> None:
    """An assertion in a kernel ends all work on the device for good; what was pinned is freed after that."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    ran = subprocess.run([sys.executable, "-c", LOST, device], capture_output=True, text=True, timeout=300, check=False)
    assert (ran.returncode, ran.stdout.split()) == (0, ["1", "1500"]), ran.stderr
