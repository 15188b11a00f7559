"""``python -m schwabot.health``: exit code 0 where all is well, 1 where it is not, and one line that says why.

Two things are looked at: whether the run moves on (it touches a file as it goes, see ``schwabot.sinks.heartbeat``), and
whether the driver answers for every GPU there is. No kernel is run: a second CUDA context each minute would take some
hundred MiB from the card that the run is on. A run whose GPU is lost goes on on the CPU, and is reported all the same.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from schwabot.errors import ConfigError
from schwabot.sinks.heartbeat import VARIABLE

STALLED = "SCHWABOT_STALLED_S"
STALLED_S = 900.0
"""Longest pause of a run that is well: compiling all kernels takes minutes, and so may a single block of a sweep."""


def run_state(file: str | None, stalled_s: float, now_s: float) -> tuple[bool, str]:
    """Is the run well, and what is there to say of it?

    Args:
        file: that it touches; None = it was not told to.
        stalled_s: pause from which on it counts as stuck.
        now_s: time, s since 1970.
    """
    if not file:
        return False, f"nothing is known of a run: set {VARIABLE}=FILE for it and for this check"
    try:
        pause_s = now_s - Path(file).stat().st_mtime
    except OSError:
        return True, "no run has begun"
    if pause_s > stalled_s:
        return False, f"the run has not moved on for {pause_s:,.0f} s ({STALLED}={stalled_s:g})"
    return True, f"the run moved on {max(pause_s, 0.0):,.0f} s ago"


def gpu_state() -> tuple[bool, str]:
    """Does the driver answer for every GPU? Without a driver there is nothing to answer for."""
    try:
        import pynvml
    except ImportError:
        return True, "no GPU asked for"
    nvml: Any = pynvml
    try:
        nvml.nvmlInit()
    except nvml.NVMLError_LibraryNotFound:
        return True, "no driver, so on the CPU"
    except nvml.NVMLError as error:
        return False, f"the driver does not start: {error}"
    count = 0
    try:
        count = nvml.nvmlDeviceGetCount()
        for index in range(count):
            nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(index))
    except nvml.NVMLError_NotSupported:  # of a part of a card; it answered
        pass
    except nvml.NVMLError as error:
        return False, f"a GPU does not answer: {error}"
    finally:
        nvml.nvmlShutdown()
    return True, f"{count} GPU" + "s" * (count != 1)


def main() -> None:
    """Look, say, and exit.

    Raises:
        SystemExit: always.
    """
    given = os.environ.get(STALLED) or str(STALLED_S)
    try:
        stalled_s = float(given)
    except ValueError:
        sys.stderr.write(f"error: {ConfigError(f'{STALLED}={given} is no number of seconds')}\n")
        raise SystemExit(1) from None
    states = [run_state(os.environ.get(VARIABLE), stalled_s, time.time()), gpu_state()]
    well = all(good for good, _ in states)
    sys.stdout.write(f"{'healthy' if well else 'unhealthy'}: {'; '.join(said for _, said in states)}\n")
    raise SystemExit(not well)


if __name__ == "__main__":
    main()
