"""Times that can't be what they are read as: another unit, or a stamp far from when the row was received.

Axis legend: N rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from schwabot.records.market import MISSING_NS, Int64
from schwabot.ticks.overlap import utc

FAR_NS = 86_400 * 10**9
"""A venue's stamp is never this far from the time of receipt."""
DROP_SUCH = "source.policy.bad_time=drop leaves such rows out"
_UNITS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
FROM_NS, TO_NS = 946_684_800 * 10**9, 4_102_444_800 * 10**9
"""2000-01-01 and 2100-01-01."""


class Unit(NamedTuple):
    """A unit of time; ns: how many of them it is."""

    name: str
    ns: int


def likely_unit(first_ns: int, last_ns: int) -> Unit | None:
    """The unit that makes both ends of a span dates from 2000 to 2100 which are none in ns; None = ns will do.

    Example:
        >>> likely_unit(1_723_161_600_000_000, 1_723_165_200_000_000)
        Unit(name='us', ns=1000)
        >>> likely_unit(0, 3_600 * 10**9), likely_unit(10**9, 3_600 * 10**9)
        (None, None)
    """
    for name, ns in _UNITS.items():
        if first_ns * ns >= FROM_NS and last_ns * ns < TO_NS:
            return None if ns == 1 else Unit(name, ns)
    return None


def odd_times(
    recv_ns: Int64, event_ns: Int64, emit_ns: Int64, read_as: str = "", starts_ns: int | None = None
) -> dict[int, str]:
    """Say what is wrong with which row's times.

    A receive time before 2000 is refused where a larger unit of it gives a date from 2000 to 2100, unless the file
    begins outside of that: then small numbers are a clock of the user's own, which may pass any time from 0 on.

    Args:
        recv_ns: times of receipt, MISSING_NS where there is none. [N]
        event_ns: when the venue says it happened, likewise. [N]
        emit_ns: when the venue says it was sent, likewise. [N]
        read_as: unit of the receive times as they were written, if known; iso = text, which has none.
        starts_ns: receive time at which the file begins, if known.

    Example:
        >>> none = np.array([MISSING_NS])
        >>> odd_times(np.array([1_723_161_600_000_000]), none, none, "ns")[0]
        'receive time 1970-01-20T22:39:21.600000000Z, but 2024-08-09T00:00:00.000000000Z if it is in us, not ns'
        >>> odd_times(np.array([7]), none, none)
        {}
    """
    found: dict[int, str] = {}
    stated = _UNITS.get(read_as)
    for factor in (10**9, 10**6, 10**3) if read_as != "iso" else ():
        if starts_ns is not None and not FROM_NS // factor <= starts_ns < TO_NS // factor:
            continue
        unit = next((name for name, ns in _UNITS.items() if stated and ns == factor * stated), "")
        if not unit and (stated or factor > 10**3):
            continue
        other = (recv_ns >= FROM_NS // factor) & (recv_ns < TO_NS // factor)
        for row in np.flatnonzero(other).tolist():
            recv = int(recv_ns[row])
            in_unit = f"in {unit}, not {read_as}" if unit else f"in a unit {factor:,} times as large"
            found[row] = f"receive time {utc(recv)}, but {utc(recv * factor)} if it is {in_unit}"
    # Windows that are open and buckets of the clocks are told by times from 0 on.
    for row in np.flatnonzero((recv_ns < 0) & (recv_ns != MISSING_NS)).tolist():
        found[row] = f"receive time {utc(recv_ns[row])} is before 1970: count from a later start"
    for stamps in (event_ns, emit_ns):
        # In float64: the difference of two far times may not fit int64.
        far = (stamps != MISSING_NS) & (np.abs(recv_ns.astype(np.float64) - stamps) > FAR_NS)
        for row in np.flatnonzero(far).tolist():
            times = f"receive time {utc(recv_ns[row])} and the venue's stamp {utc(stamps[row])}"
            found.setdefault(row, f"{times} are more than a day apart")
    return found
