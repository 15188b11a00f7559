"""What the driver says of the GPU that a run uses: read once a second beside the run, drawn and summed up.

A thread of its own reads, so that a mean is one over time, whatever a batch takes. Where the run is on the CPU nothing
is imported; where there is no driver, or the card does not report a quantity, that is left out.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Self

from schwabot.records.audit import StepRecord

EVERY_S = 1.0
KEPT = 3_600
"""Readings that wait to be drawn; where nobody draws them, older ones go."""
REASONS = {
    0x002: "application_clocks",
    0x004: "power_cap",
    0x008: "hardware_slowdown",
    0x010: "sync_boost",
    0x020: "thermal_software",
    0x040: "thermal_hardware",
    0x080: "power_brake",
    0x100: "display_clocks",
    0x200: "board_limit",
    0x400: "reliability",
}
"""Bits of NVML's clock event reasons. Not among them: 0x1, the clocks are low because the GPU is idle."""


@dataclass(frozen=True, slots=True)
class Reading:
    """The state of a GPU; None = it does not say.

    Attributes:
        at_s: when, on the monotonic clock, s.
        time_s: when, s since 1970.
        utilisation_percent: share of the driver's last sampling period in which a kernel ran.
        memory_used_mib: of the whole card, by all processes.
        power_w: drawn now.
        temperature_c: of the chip.
        throttled_by: why its clocks are held down, names of ``REASONS``.
    """

    at_s: float
    time_s: float
    utilisation_percent: float | None = None
    memory_used_mib: float | None = None
    power_w: float | None = None
    temperature_c: float | None = None
    throttled_by: tuple[str, ...] | None = None


Read = Callable[[], Reading]


class Totals:
    """Means, peaks and throttled time of readings, without keeping them.

    Example:
        >>> totals = Totals()
        >>> totals.add(Reading(10.0, 0.0, utilisation_percent=50.0, throttled_by=()))
        >>> totals.add(Reading(11.0, 1.0, utilisation_percent=100.0, throttled_by=("power_cap",)))
        >>> totals.summary()
        {'readings': 2, 'utilisation_mean': 75.0, 'throttled_s': {'power_cap': 1.0}}
    """

    def __init__(self) -> None:
        self.readings = 0
        self._before_s: float | None = None
        self._sums: dict[str, tuple[float, int]] = {}
        self._peaks: dict[str, float] = {}
        self._throttled_s: dict[str, float] | None = None

    def add(self, reading: Reading) -> None:
        """Take the next reading; its reasons hold for the time since the one before."""
        for name in ("utilisation_percent", "power_w"):
            if (value := getattr(reading, name)) is not None:
                total, count = self._sums.get(name, (0.0, 0))
                self._sums[name] = total + value, count + 1
        for name in ("memory_used_mib", "temperature_c"):
            if (value := getattr(reading, name)) is not None:
                self._peaks[name] = max(value, self._peaks.get(name, value))
        if reading.throttled_by is not None:
            self._throttled_s = self._throttled_s or {}
            passed_s = 0.0 if self._before_s is None else reading.at_s - self._before_s
            for reason in reading.throttled_by:
                self._throttled_s[reason] = self._throttled_s.get(reason, 0.0) + passed_s
        self._before_s = reading.at_s
        self.readings += 1

    def summary(self) -> dict[str, Any]:
        """Entries of ``gpu`` in summary.json; what the card never said is absent."""
        means = {name: total / count for name, (total, count) in self._sums.items()}
        found = {
            "memory_peak_mib": self._peaks.get("memory_used_mib"),
            "utilisation_mean": means.get("utilisation_percent"),
            "power_mean_w": means.get("power_w"),
            "temperature_max_c": self._peaks.get("temperature_c"),
            "throttled_s": self._throttled_s,
        }
        return {"readings": self.readings} | {name: value for name, value in found.items() if value is not None}


class GpuTelemetry:
    """Reads a GPU while it is entered, in a thread; does nothing without one.

    Args:
        read: what to ask; None = there is nothing to ask.
        names: entries of the summary that do not change: name of the card, version of the driver.
        every_s: time between readings.
        done: called at the end.

    Example:
        >>> with watch_gpu("cpu") as gpu:
        ...     gpu.summary(), gpu.take()
        ({}, [])
    """

    def __init__(
        self,
        read: Read | None = None,
        names: Mapping[str, str] | None = None,
        every_s: float = EVERY_S,
        done: Callable[[], object] = lambda: None,
    ) -> None:
        self._read = read
        self._names = dict(names or {})
        self._every_s = every_s
        self._done = done
        self._totals = Totals()
        self._fresh: deque[Reading] = deque(maxlen=KEPT)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._read is not None:
            self._thread = threading.Thread(target=self._run, name="gpu-telemetry", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._done()

    def update(self, ticks: object, record: StepRecord) -> None:
        """Take one batch of the run: with the device given up, the rest of the run says nothing about the card."""
        if any(event.component == "device" for event in record.fallbacks):
            self._stop.set()

    def summary(self) -> dict[str, Any]:
        """``gpu``; nothing without a GPU."""
        if self._read is None:
            return {}
        if not self._totals.readings:  # shorter than the time between readings
            self._add()
        with self._lock:
            return {"gpu": self._names | self._totals.summary()}

    def take(self) -> list[Reading]:
        """Readings since the last call."""
        with self._lock:
            fresh = list(self._fresh)
            self._fresh.clear()
        return fresh

    def _run(self) -> None:
        while not self._stop.wait(self._every_s):
            self._add()

    def _add(self) -> None:
        assert self._read is not None
        reading = self._read()
        with self._lock:
            self._totals.add(reading)
            self._fresh.append(reading)


def scalars(reading: Reading, seen: set[str]) -> Iterator[tuple[str, float]]:
    """Tags and values for TensorBoard. A reason is drawn, as 1 or 0, from when it was first seen on.

    Args:
        reading: what to draw.
        seen: reasons seen so far; those of the reading are added.

    Example:
        >>> seen = set()
        >>> list(scalars(Reading(0.0, 0.0, power_w=300.0, throttled_by=("power_cap",)), seen))
        [('device/power_w', 300.0), ('device/throttled/power_cap', 1.0)]
        >>> list(scalars(Reading(1.0, 1.0, throttled_by=()), seen))
        [('device/throttled/power_cap', 0.0)]
    """
    for name in ("utilisation_percent", "memory_used_mib", "power_w", "temperature_c"):
        if (value := getattr(reading, name)) is not None:
            yield f"device/{name}", value
    if reading.throttled_by is not None:
        seen.update(reading.throttled_by)
        for reason in sorted(seen):
            yield f"device/throttled/{reason}", float(reason in reading.throttled_by)


def watch_gpu(device: str) -> GpuTelemetry:
    """Telemetry of a run's device.

    Args:
        device: torch's name of it.

    Returns:
        One that says nothing where the device is the CPU, where there is no driver, or where the driver does not know
        the card that torch means.
    """
    if not device.startswith("cuda"):
        return GpuTelemetry()
    try:
        import pynvml
    except ImportError:
        return GpuTelemetry()
    nvml: Any = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:
        return GpuTelemetry()
    import torch

    handle = find_card(nvml, torch.cuda.get_device_properties(torch.device(device)))
    if handle is None:
        nvml.nvmlShutdown()
        return GpuTelemetry()
    found = {
        "name": _asked(nvml, lambda: nvml.nvmlDeviceGetName(handle)),
        "driver": _asked(nvml, nvml.nvmlSystemGetDriverVersion),
    }
    names = {name: _text(value) for name, value in found.items() if value is not None}
    return GpuTelemetry(lambda: read(nvml, handle), names, done=nvml.nvmlShutdown)


def find_card(nvml: Any, card: Any) -> Any:
    """NVML's handle of a card of torch's; CUDA_VISIBLE_DEVICES numbers torch's cards otherwise than NVML does.

    Args:
        nvml: ``pynvml``.
        card: what ``torch.cuda.get_device_properties`` gives.

    Returns:
        None where NVML knows no such card: rather nothing than another one's readings.
    """
    if (uuid := getattr(card, "uuid", None)) is not None:
        for name in (f"GPU-{uuid}", f"MIG-{uuid}"):
            handle = _asked(nvml, partial(nvml.nvmlDeviceGetHandleByUUID, name))
            if handle is not None:
                return handle
    place = [getattr(card, name, None) for name in ("pci_domain_id", "pci_bus_id", "pci_device_id")]
    if None in place:
        return None
    domain, bus, slot = place
    return _asked(nvml, lambda: nvml.nvmlDeviceGetHandleByPciBusId(f"{domain:08X}:{bus:02X}:{slot:02X}.0"))


def read(nvml: Any, handle: Any) -> Reading:
    """Ask the driver; what it refuses to say is None.

    Args:
        nvml: ``pynvml``.
        handle: of the card.
    """
    rates = _asked(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    memory = _asked(nvml, lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    power_mw = _asked(nvml, lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    temperature_c = _asked(nvml, lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))
    reasons = _asked(nvml, lambda: nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle))  # drivers old and new
    return Reading(
        at_s=time.monotonic(),
        time_s=time.time(),
        utilisation_percent=None if rates is None else float(rates.gpu),
        memory_used_mib=None if memory is None else memory.used / 2**20,
        power_w=None if power_mw is None else power_mw / 1e3,
        temperature_c=None if temperature_c is None else float(temperature_c),
        throttled_by=None if reasons is None else tuple(name for bit, name in REASONS.items() if reasons & bit),
    )


def _asked(nvml: Any, ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except nvml.NVMLError:  # not supported by this card, or the card is lost
        return None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
