"""What a policy reads of itself, told by compiling it: the less, the sooner two runs of it come to the same."""

from __future__ import annotations

from collections import namedtuple
from typing import Any

import numpy as np
from numba import njit, typeof
from numba.core.errors import NumbaError

from schwabot_kernels.arrays import F64
from schwabot_kernels.simulate.lean import Lean
from schwabot_kernels.simulate.records import SLOTS, Standing
from schwabot_kernels.simulate.skipping import make_event
from schwabot_kernels.simulate.state import ORDER_COLUMNS

NO_TIMES, TIMES, ACCOUNT = 0, 1, 2
"""Beside position and memory: nothing; entry price and times of orders and fills; number of fills or equity."""
ACCOUNTS = ("fills", "equity")
HIDDEN = ((NO_TIMES, (*ACCOUNTS, "entry_ticks", "last_fill_ns", "last_order_ns")), (TIMES, ACCOUNTS))


def reads_of(policy: Any, quiet: Any, event_of: Any, params_of: Any, lean: Lean, params: F64, memory: int) -> int:
    """What a policy and its quiet function read of themselves: the more, the later two runs come to the same.

    Told by compiling them for a standing that has no such fields: what compiles reads none of them.

    Returns:
        NO_TIMES, TIMES or ACCOUNT; ACCOUNT where it can't be told.
    """
    event = make_event(event_of)
    unused = njit(_unused)
    for told, hidden in HIDDEN:
        names = [f"no_{name}" if name in hidden else name for name in Standing._fields]
        blind = namedtuple("Blind", names)  # type: ignore[misc]
        fills, equity, entry, times = (
            unused if name in hidden else given
            for name, given in (("fills", 0), ("equity", 0.0), ("entry_ticks", 0.0), ("last_fill_ns", 0))
        )
        own = (0, 0, 0, 0, -1, -1, 0, 0, entry, equity, fills, times, times, 0, 0)

        asked = _asked(policy, quiet, event, params_of, blind, own)
        given = (lean, params, np.zeros(1, np.int64), np.zeros((SLOTS, ORDER_COLUMNS), np.int64), np.zeros(memory))
        try:
            njit(asked).compile(tuple(map(typeof, given)))
        except NumbaError:
            continue
        return told
    return ACCOUNT


def _asked(policy: Any, quiet: Any, event: Any, params_of: Any, blind: Any, own: Any) -> Any:
    def asked(lean, params, positions, orders, memory):  # type: ignore[no-untyped-def]
        s, p = blind(*own, positions, orders, memory), params_of(params, 0)
        quiet(s, p)
        return policy(s, event(lean, 0), p)

    return asked


def _unused() -> None:
    """Stands where a policy must not look; nothing can be made of it."""
