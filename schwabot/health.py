"""``python -m schwabot.health``: exit code 0 where all is well, 1 where it is not, and one line that says why.

Two things are looked at: whether the run moves on (it touches a file as it goes, see ``schwabot.sinks.heartbeat``), and
whether the driver answers for every GPU there is. No kernel is run: a second CUDA context each minute would take some
hundred MiB from the card that the run is on. A run whose GPU is lost goes on on the CPU, and is reported all the same.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schwabot.errors import ConfigError
from schwabot.sinks.heartbeat import VARIABLE

STALLED = "SCHWABOT_STALLED_S"
STALLED_S = 900.0
"""Longest pause of a run that is well: compiling all kernels takes minutes, and so may a single block of a sweep."""


def run_state(file: str | None, stalled_s: float, now_s: float, up_s: float | None = None) -> tuple[bool, str]:
    """Is the run well, and what is there to say of it?

    A run touches its file before all else. Where there is none for longer than a pause may be, there is no run, or it
    can't write there.

    Args:
        file: that it touches; None = it was not told to.
        stalled_s: pause from which on it counts as stuck.
        now_s: time, s since 1970.
        up_s: time since the container was started; None = not known.

    Example:
        >>> run_state("/no/such/file", 900.0, 0.0, up_s=3.0)
        (True, 'no run has begun')
    """
    if not file:
        return False, f"nothing is known of a run: set {VARIABLE}=FILE for it and for this check"
    try:
        pause_s = now_s - Path(file).stat().st_mtime
    except OSError:
        if up_s is None or up_s <= stalled_s:
            return True, "no run has begun"
        return False, f"no run has begun in {up_s:,.0f} s, or it can't write to {VARIABLE}={file}"
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
    try:
        return cards_state(nvml)
    finally:
        nvml.nvmlShutdown()


def cards_state(nvml: Any) -> tuple[bool, str]:
    """Does every GPU answer?

    Args:
        nvml: the driver's library, started.
    """
    index = -1
    try:
        count = nvml.nvmlDeviceGetCount()
        for index in range(count):
            try:
                nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(index))
            except nvml.NVMLError_NotSupported:  # of a part of a card; it answered
                continue
    except nvml.NVMLError as error:
        return False, f"GPU {index} does not answer: {error}" if index >= 0 else f"the driver does not answer: {error}"
    return True, f"{count} GPU" + "s" * (count != 1)


def up_s() -> float | None:
    """Time since process 1 was started, which is the container's; None where the system does not say."""
    try:
        started = int(Path("/proc/1/stat").read_text().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - started / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError, AttributeError):  # no Linux, or another's processes are hidden
        return None


def stalled_s() -> float:
    """Longest pause of a run that is well, s.

    Raises:
        ConfigError: the environment says something else than a time.
    """
    given = os.environ.get(STALLED) or str(STALLED_S)
    try:
        seconds = float(given)
    except ValueError:
        seconds = math.nan
    if not 0 < seconds < math.inf:
        raise ConfigError(f"{STALLED}={given} is no number of seconds above 0")
    return seconds


def main(given: Sequence[str] | None = None) -> None:
    """Look, say, and exit.

    Raises:
        SystemExit: always.
    """
    argparse.ArgumentParser(prog="python -m schwabot.health", description=__doc__).parse_args(given)
    try:
        pause_s = stalled_s()
    except ConfigError as error:
        sys.stderr.write(f"error: {error}\n")
        raise SystemExit(1) from None
    states = [run_state(os.environ.get(VARIABLE), pause_s, time.time(), up_s()), gpu_state()]
    well = all(good for good, _ in states)
    sys.stdout.write(f"{'healthy' if well else 'unhealthy'}: {'; '.join(said for _, said in states)}\n")
    raise SystemExit(not well)


if __name__ == "__main__":
    main()
