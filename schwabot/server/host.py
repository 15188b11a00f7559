"""The machine: processor, memory, disk and GPU, of the run's process and as a whole."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

MIB = 1 << 20


class Host:
    """Measures when asked.

    Args:
        pid: of the run's process; None = there is none.
        folder: whose disk is looked at.
    """

    def __init__(self, pid: int | None, folder: Path) -> None:
        self.pid, self._folder = pid, folder
        self._own = psutil.Process()
        self._run: psutil.Process | None = None
        if pid is not None:
            with suppress(psutil.Error):
                self._run = psutil.Process(pid)
        self._nvml = _nvml()
        psutil.cpu_percent()
        for one in (self._own, self._run):
            if one is not None:
                with suppress(psutil.Error):
                    one.cpu_percent()

    def read(self) -> dict[str, Any]:
        """What it is now; shares of one processor in percent, sizes in MiB."""
        memory = psutil.virtual_memory()
        found: dict[str, Any] = {
            "cpus": psutil.cpu_count() or 1,
            "cpu_percent": psutil.cpu_percent(),
            "memory_mib": memory.total / MIB,
            "memory_used_mib": (memory.total - memory.available) / MIB,
            "server": _process(self._own),
            "run": None if self._run is None else _process(self._run),
            "gpus": self._gpus(),
        }
        with suppress(OSError):
            disk = shutil.disk_usage(self._folder if self._folder.exists() else Path.cwd())
            found |= {"disk_mib": disk.total / MIB, "disk_free_mib": disk.free / MIB}
        return found

    def _gpus(self) -> list[dict[str, Any]]:
        nvml, found = self._nvml, []
        if nvml is None:
            return []
        with suppress(nvml.NVMLError):
            for index in range(nvml.nvmlDeviceGetCount()):
                card = nvml.nvmlDeviceGetHandleByIndex(index)
                memory, name = nvml.nvmlDeviceGetMemoryInfo(card), nvml.nvmlDeviceGetName(card)
                one: dict[str, Any] = {
                    "name": name if isinstance(name, str) else name.decode(),
                    "memory_mib": memory.total / MIB,
                    "memory_used_mib": memory.used / MIB,
                }
                with suppress(nvml.NVMLError):
                    one["busy_percent"] = nvml.nvmlDeviceGetUtilizationRates(card).gpu
                with suppress(nvml.NVMLError):
                    one["temperature_c"] = nvml.nvmlDeviceGetTemperature(card, nvml.NVML_TEMPERATURE_GPU)
                found.append(one)
        return found


def _process(one: psutil.Process) -> dict[str, Any] | None:
    try:
        with one.oneshot():
            memory = one.memory_info().rss / MIB
            return {"cpu_percent": one.cpu_percent(), "rss_mib": memory, "threads": one.num_threads()}
    except psutil.Error:
        return None


def _nvml() -> Any:
    try:
        import pynvml
    except ImportError:
        return None
    nvml: Any = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError:  # no driver
        return None
    return nvml
