"""What is said of a GPU: sums of readings, the right card, and silence where there is none."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pynvml
import pytest
import torch

from schwabot.records.audit import FallbackEvent
from schwabot.sinks.gpu_telemetry import REASONS, GpuTelemetry, Reading, Totals, find_card, read, watch_gpu
from schwabot.sinks.tensorboard import TensorBoardSink
from tests.sinks.making import SUMMARY, header, records

HAS_DRIVER = os.path.exists("/dev/nvidiactl")


def totals(*readings: Reading) -> dict[str, Any]:
    found = Totals()
    for reading in readings:
        found.add(reading)
    return found.summary()


def test_means_peaks_and_throttled_seconds() -> None:
    said = totals(
        Reading(100.0, 0.0, 10.0, 500.0, 200.0, 40.0, ("power_cap",)),  # nothing is known of the time before it
        Reading(101.0, 0.0, 90.0, 900.0, 400.0, 70.0, ("power_cap", "thermal_software")),
        Reading(103.5, 0.0, 80.0, 700.0, 300.0, 65.0, ("power_cap",)),
        Reading(104.5, 0.0, 20.0, 700.0, 100.0, 60.0, ()),
    )
    assert said == {
        "readings": 4,
        "utilisation_mean": 50.0,
        "power_mean_w": 250.0,
        "memory_peak_mib": 900.0,
        "temperature_max_c": 70.0,
        "throttled_s": {"power_cap": 3.5, "thermal_software": 1.0},
    }


def test_what_a_card_does_not_say_is_absent() -> None:
    assert totals(Reading(0.0, 0.0)) == {"readings": 1}
    assert totals(Reading(0.0, 0.0, throttled_by=())) == {"readings": 1, "throttled_s": {}}
    now_and_then = totals(Reading(0.0, 0.0), Reading(1.0, 0.0, power_w=300.0), Reading(2.0, 0.0, power_w=100.0))
    assert now_and_then == {"readings": 3, "power_mean_w": 200.0}, "a mean of what was said"


def test_reasons_are_those_of_the_driver() -> None:
    """Every bit that NVML names is decoded, but for an idle GPU."""
    bits = {
        value
        for name, value in vars(pynvml).items()
        if name.startswith(("nvmlClocksEventReason", "nvmlClocksThrottleReason"))
        and isinstance(value, int)
        and not name.endswith(("All", "None", "GpuIdle"))
    }
    assert set(REASONS) == bits
    named = {"SwPowerCap": "power_cap", "SwThermalSlowdown": "thermal_software", "HwSlowdown": "hardware_slowdown"}
    for name, said in named.items():
        assert REASONS[getattr(pynvml, f"nvmlClocksEventReason{name}")] == said


class Driver:
    """NVML as a card answers it that does not report its temperature, with the errors of the real library."""

    NVMLError = pynvml.NVMLError
    NVML_TEMPERATURE_GPU = 0
    cards = ("GPU-aaaa", "GPU-bbbb", "00000001:0A:00.0", "MIG-cccc")

    def __getattr__(self, name: str) -> Any:
        answers = {
            "nvmlDeviceGetUtilizationRates": SimpleNamespace(gpu=87, memory=30),
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(used=3 << 30, total=80 << 30),
            "nvmlDeviceGetPowerUsage": 512_500,
            "nvmlDeviceGetCurrentClocksThrottleReasons": 0x1 | 0x4 | 0x40,
        }

        def answer(*_: object) -> Any:
            if name not in answers:
                raise pynvml.NVMLError_NotSupported
            return answers[name]

        return answer

    def card(self, name: str) -> str:
        if name not in self.cards:
            raise pynvml.NVMLError_NotFound
        return name

    nvmlDeviceGetHandleByUUID = nvmlDeviceGetHandleByPciBusId = card  # noqa: N815 as NVML calls them


def test_a_quantity_that_a_card_does_not_report_is_left_out() -> None:
    reading = read(Driver(), "GPU-aaaa")
    assert reading.temperature_c is None
    assert reading == Reading(
        reading.at_s, reading.time_s, 87.0, 3072.0, 512.5, None, ("power_cap", "thermal_hardware")
    )


@pytest.mark.parametrize(
    ("card", "handle"),
    [
        (SimpleNamespace(uuid="bbbb", pci_domain_id=0, pci_bus_id=1, pci_device_id=0), "GPU-bbbb"),
        (SimpleNamespace(uuid="cccc", pci_domain_id=1, pci_bus_id=10, pci_device_id=0), "MIG-cccc"),
        (SimpleNamespace(uuid="gone", pci_domain_id=1, pci_bus_id=10, pci_device_id=0), "00000001:0A:00.0"),
        (SimpleNamespace(pci_domain_id=1, pci_bus_id=10, pci_device_id=0), "00000001:0A:00.0"),
        (SimpleNamespace(uuid="gone", pci_domain_id=1, pci_bus_id=11, pci_device_id=0), None),
        (SimpleNamespace(name="a card of an older torch"), None),
    ],
)
def test_the_card_is_found_by_what_it_is_not_by_its_number(card: SimpleNamespace, handle: str | None) -> None:
    assert find_card(Driver(), card) == handle


def beat(every_s: float = 0.01) -> tuple[GpuTelemetry, list[Reading], list[str]]:
    """A card that is warmer by a degree at every reading."""
    given: list[Reading] = []
    closed: list[str] = []

    def one() -> Reading:
        given.append(Reading(time.monotonic(), time.time(), temperature_c=float(len(given)), throttled_by=()))
        return given[-1]

    return GpuTelemetry(one, {"name": "a card"}, every_s, lambda: closed.append("closed")), given, closed


def test_it_is_read_beside_the_run_until_the_run_ends() -> None:
    gpu, given, closed = beat()
    with gpu:
        while len(given) < 3:
            time.sleep(0.005)
        said = gpu.summary()["gpu"]
        assert not closed
    assert closed == ["closed"]
    count = len(given)
    assert gpu.take() == given
    assert gpu.take() == []
    assert said["name"] == "a card"
    assert 3 <= said["readings"] <= count
    time.sleep(0.05)
    assert len(given) == count, "nobody reads any more"


def test_a_run_that_is_shorter_than_the_time_between_readings_has_one() -> None:
    gpu, given, _ = beat(every_s=60.0)
    begun_s = time.monotonic()
    with gpu:
        assert gpu.summary() == {"gpu": {"name": "a card", "readings": 1, "temperature_max_c": 0.0, "throttled_s": {}}}
    assert len(given) == 1
    assert time.monotonic() - begun_s < 5.0, "waited for the next reading"


def test_a_device_that_was_given_up_is_not_read_on() -> None:
    gpu, given, _ = beat()
    (record,) = records(10)
    with gpu:
        gpu.update(None, record)
        while not given:
            time.sleep(0.005)
        gpu.update(None, replace(record, fallbacks=(FallbackEvent(0, "device", "cuda:0", "cpu", "lost"),)))
        time.sleep(0.05)
        count = len(given)
        time.sleep(0.05)
        assert len(given) == count


def test_tensorboard_draws_each_reading_once(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    waiting = [Reading(0.0, 1e9, 50.0, throttled_by=()), Reading(1.0, 1e9 + 1, 70.0, throttled_by=("power_cap",))]
    gpu = GpuTelemetry(lambda: waiting.pop(0))
    sink = TensorBoardSink(20, gpu)
    sink.open(header(tmp_path))
    first, second = records(200, cuts=(120,))
    for record in (first, second):
        gpu._add()
        sink.write(record)
    sink.close(SUMMARY)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    drawn = [(point.step, point.wall_time, point.value) for point in events.Scalars("device/utilisation_percent")]
    assert drawn == [(120, 1e9, 50.0), (200, 1e9 + 1, 70.0)]
    assert [point.value for point in events.Scalars("device/throttled/power_cap")] == [1.0]
    assert "device/power_w" not in events.Tags()["scalars"]


@pytest.mark.skipif(HAS_DRIVER, reason="there is a driver")
def test_no_driver_no_word(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(pynvml.NVMLError_LibraryNotFound):  # the real library, which is not there
        pynvml.nvmlInit()
    threads = threading.active_count()
    with watch_gpu("cuda:0") as gpu:
        assert threading.active_count() == threads
        assert (gpu.summary(), gpu.take()) == ({}, [])
    assert capfd.readouterr() == ("", "")


def test_on_the_cpu_nothing_is_imported() -> None:
    code = (
        "import sys; from schwabot.sinks.gpu_telemetry import watch_gpu\n"
        "with watch_gpu('cpu') as gpu: assert gpu.summary() == {}\n"
        "print(sorted({'pynvml', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.mark.gpu
def test_a_real_card_says_what_it_does() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    with watch_gpu("cuda:0") as gpu:
        held = torch.ones(1 << 28, device="cuda:0")  # 1 GiB
        until_s = time.monotonic() + 2.5
        while time.monotonic() < until_s:
            held.mul_(1.0)
            torch.cuda.synchronize()
        said = gpu.summary()["gpu"]
    assert said["name"] == torch.cuda.get_device_name(0)
    assert said["driver"][0].isdigit()
    assert said["readings"] == 2
    assert said["memory_peak_mib"] > 1024
    assert 0 < said.get("utilisation_mean", 100) <= 100
    assert 10 < said.get("temperature_max_c", 50) < 110
    assert 20 < said.get("power_mean_w", 100) < 2000
    assert all(0 <= seconds < 5 for seconds in said.get("throttled_s", {}).values())
    assert len(gpu.take()) == 2
