"""The machine: GPU, disks, folders, clock and ports."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from schwabot.doctor.findings import Finding, ok, problem, skipped, warning
from schwabot.errors import DeviceError, why

GIB = 1 << 30
FULL_BYTES, LOW_BYTES = GIB // 5, 5 * GIB
DASHBOARD_PORT, TENSORBOARD_PORT = 8080, 6006
_STA_UNSYNC = 0x40
_MAXERROR_US = 1_000_000


def gpu(settings: Any) -> Iterator[Finding]:
    """The driver, torch, and the device that a run takes.

    Args:
        settings: a RunConfig, or None where there is none.
    """
    driver, cards = _driver()
    try:
        import torch

        from schwabot.tensors.device import INSTALL, DeviceConfig, resolve_device, why_no_cuda
    except Exception as error:  # noqa: BLE001 a torch that is broken raises anything
        yield problem(
            "gpu", f"{driver}; torch can't be imported: {why(error)}", "pip install -r requirements-torch.txt"
        )
        return
    build = f"torch {torch.__version__}"
    config = DeviceConfig() if settings is None else settings.device
    try:
        device, note = resolve_device(config)
    except DeviceError as error:
        yield problem("gpu", f"{driver}; {build}; {error}", f"leave device.required=true out, or install {INSTALL}")
        return
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        yield ok("gpu", f"runs are on {device}, {name}; {driver}; {build}")
    elif config.kind == "cpu":
        yield ok("gpu", f"runs are on the CPU, as device=cpu says; {driver}; {build}")
    elif note is not None or cards:
        yield warning("gpu", f"{note or 'runs are on the CPU'}; {driver}; {build}", f"install {INSTALL}")
    else:
        yield ok("gpu", f"runs are on the CPU ({why_no_cuda(config.index)}); {driver}; {build}")


def _driver() -> tuple[str, int]:
    """What NVIDIA's driver says, and how many cards it has."""
    try:
        import pynvml
    except Exception:  # noqa: BLE001 it is there and broken
        return "the driver was not asked, as nvidia-ml-py can't be imported", 0
    nvml: Any = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError_LibraryNotFound:
        return "no NVIDIA driver", 0
    except nvml.NVMLError as error:
        return f"the NVIDIA driver does not start ({error})", 0
    try:
        count = int(nvml.nvmlDeviceGetCount())
        return f"driver {nvml.nvmlSystemGetDriverVersion()}, {count} GPU{'s' * (count != 1)}", count
    except nvml.NVMLError as error:
        return f"the NVIDIA driver does not answer ({error})", 0
    finally:
        nvml.nvmlShutdown()


def folder(check: str, name: str, path: Path, *, needed: bool = True) -> Finding:
    """Whether a folder can be written to, or made, and how much room there is.

    Args:
        check: word of the finding.
        name: what it is for.
        path: may not exist.
        needed: what was asked for does not go without it.
    """
    there = path.absolute()
    while not there.exists() and there != there.parent:
        there = there.parent
    made = "" if there == path.absolute() else ", to be made"
    bad = problem if needed else warning
    try:
        if not there.is_dir():
            return bad(check, f"{name}: {there} is no folder", "choose another place")
        tempfile.TemporaryFile(dir=there).close()
        free = shutil.disk_usage(there).free
    except OSError as error:
        who = f" as user {os.getuid()}" if hasattr(os, "getuid") else ""
        return bad(
            check, f"{name}: {path} can't be written to{who}: {error.strerror or error}",
            f"give {there} to the user that runs Schwabot, or choose another place",
        )  # fmt: skip
    said = f"{name}: {path}{made}, {free / GIB:,.1f} GiB free"
    if free < FULL_BYTES:
        return bad(check, said, "make room: a full disk ends runs")
    if free < LOW_BYTES:
        return warning(
            check, said, "make room, or choose another place: recordings and tables grow as long as a run goes on"
        )
    return ok(check, said)


def kernel_cache() -> Finding:
    """Where compiled kernels are kept."""
    try:
        from schwabot_kernels.cache import cache_folder
    except Exception as error:  # noqa: BLE001 numba is broken
        return problem("cache", f"where compiled kernels are kept is not known: {why(error)}", "pip install numba")
    path = cache_folder()
    found = folder("cache", "compiled kernels", path, needed=False)
    if found.level != "ok":
        return warning("cache", found.what, f"{found.do}; NUMBA_CACHE_DIR names one. Until then every process compiles"
                       " for minutes")  # fmt: skip
    if not path.exists():
        return ok("cache", f"{found.what}; the first run compiles for a minute or two")
    return found


class _Timex(ctypes.Structure):
    """The head of Linux's ``struct timex``; the rest is room."""

    _fields_ = (
        ("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long), ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long), ("status", ctypes.c_int), ("rest", ctypes.c_char * 256),
    )  # fmt: skip


def clock() -> Finding:
    """Whether a time service keeps the clock right, as the kernel knows it."""
    do = "let a time service run: timedatectl set-ntp true, or chrony; in a container it is the host's"
    if sys.platform != "linux":
        return skipped("clock", "whether a time service runs was not looked at on this system", "see that one does")
    state = _Timex()
    try:
        if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(state)) < 0:
            return skipped("clock", "the kernel does not say whether the clock is kept right", do)
    except (OSError, AttributeError):
        return skipped("clock", "the kernel does not say whether the clock is kept right", do)
    if state.status & _STA_UNSYNC or state.maxerror > _MAXERROR_US:
        return warning("clock", "no time service keeps this machine's clock right", do)
    return ok("clock", f"kept right by a time service, to {state.maxerror / 1e3:.0f} ms at worst")


def port(name: str, host: str, number: int, setting: str, *, is_needed: bool = False) -> Finding:
    """Whether a port is free.

    Args:
        name: what it is for.
        host: address to listen on.
        number: of the port.
        setting: how another one is chosen.
        is_needed: the run would be refused without it.
    """
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, number, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as one:
            if os.name == "posix":  # what was closed a minute ago is free; on Windows it would say so of taken ones
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            one.bind(address)
            one.listen(1)
    except OSError as error:
        return (problem if is_needed else warning)(
            "ports", f"{name}: {host}:{number} can't be listened on: {error.strerror or error}",
            f"end what listens there, or choose another: {setting}",
        )  # fmt: skip
    return ok("ports", f"{name}: {host}:{number} is free")


def ports(settings: Any) -> Iterator[Finding]:
    """The ports of the dashboard and of TensorBoard."""
    host, number = ("127.0.0.1", DASHBOARD_PORT) if settings is None else (settings.server.host, settings.server.port)
    if number:  # 0 = any that is free
        needed = settings is not None and (settings.server.enabled or settings.mode == "serve")
        yield port("dashboard", host, number, "server.port=N", is_needed=needed)
    yield port("TensorBoard", "127.0.0.1", TENSORBOARD_PORT, "tensorboard --port N")
