"""How rows are cut into segments for a sweep, and what is kept while they are played; see ``segments``.

Axis legend: N rows of the market in receive order, P parameter sets, G segments, T = G P threads, D bucket ends, M
floats of a policy's memory, F payments of funding.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from schwabot_kernels.arrays import F64, I64
from schwabot_kernels.simulate.lean import Lean
from schwabot_kernels.simulate.reads import ACCOUNT, NO_TIMES
from schwabot_kernels.simulate.records import COUNTS, SLOTS, TABLE, Rules
from schwabot_kernels.simulate.skipping import STATE, funding_rows
from schwabot_kernels.simulate.state import ORDER_COLUMNS

HELD, CARRIED, FLOATS = STATE, STATE + 1, 3
"""Row of ``Work.begun`` with the position; rows of it; rows of ``Work.floats`` before the memory."""
WARM_ROWS = 16_384
"""Rows in front of a segment from which its beginning is guessed."""
LEAST_ROWS = 4_096
"""Rows of a segment, at least."""


class DeviceUnfitError(RuntimeError):
    """What can't run on a device, or not with the CPU's bits; the CPU can. Says what it is."""


class Plan(NamedTuple):
    """How a market is cut for some sets.

    bounds: first rows of segments, and N. [G + 1]
    warm: from where the beginning of each is guessed. [G]
    ends, funded: first bucket end and first payment from each bound on. [G + 1]
    due, which: rows of the leg's payments, N + 1 last; which payment. [F + 1]
    sets: P. reads_times: 1 = beginnings that differ in entry price and times alone differ.
    """

    bounds: I64
    warm: I64
    ends: I64
    funded: I64
    due: I64
    which: I64
    sets: int
    reads_times: int


class Work(NamedTuple):
    """What the threads of a launch keep.

    counts [COUNTS, T]: of the segment alone; EQUITY2 is the lowest. state [STATE, T], floats [FLOATS + M, T]: at its
    end, the policy's memory last. begun [CARRIED, T], begun_floats: at its beginning. ended, ended_floats: how the
    threads had ended before the last round. marks2 [D, P]: twice the equity at bucket ends.
    again [T]: rows played again. failed [T]: 1 = the policy did other than take. wrong [1]: 1 = something was played
    again in this round. orders: none. [K, columns]
    """

    counts: I64
    state: I64
    floats: F64
    begun: I64
    begun_floats: F64
    ended: I64
    ended_floats: F64
    marks2: I64
    again: I64
    failed: I64
    wrong: I64
    orders: I64


def plan(lean: Lean, rules: Rules, sets: int, segments: int, reads: int, warm_rows: int = WARM_ROWS) -> Plan:
    """Cut a market.

    Args:
        lean: of the market.
        rules: funding, latency model.
        sets: P.
        segments: G at most; 1 where a run depends on how many orders there were before.
        reads: what the policy reads, see ``reads_of``.
        warm_rows: rows in front of a segment from which its beginning is guessed.
    """
    rows = lean.market.ts_ns.size
    if reads == ACCOUNT or rules.model == TABLE:
        segments = 1
    bounds = lean.first + (rows - lean.first) * np.arange(segments + 1) // segments
    large = 1 << lean.large.shift
    if rows - lean.first >= 4 * segments * large:  # whole blocks, which are jumped over faster
        bounds[1:-1] = bounds[1:-1] // large * large
    due, which = funding_rows(lean, rules)
    return Plan(
        bounds=bounds,
        warm=np.maximum(lean.first, bounds[:-1] - warm_rows),
        ends=np.searchsorted(lean.ends, bounds),
        funded=np.searchsorted(due[:-1][due[:-1] <= rows], bounds),
        due=due,
        which=which,
        sets=sets,
        reads_times=int(reads != NO_TIMES),
    )


def segments_for(sets: int, rows: int, threads: int, least_rows: int = LEAST_ROWS) -> int:
    """Segments that make so many threads, none of them shorter than ``least_rows``.

    Example:
        >>> segments_for(100_000, 10_000_000, 65_536), segments_for(10, 100_000, 65_536)
        (1, 24)
    """
    return max(1, min(-(-threads // max(sets, 1)), rows // least_rows))


def shapes(plan: Plan, buckets: int, memory: int) -> dict[str, tuple[tuple[int, ...], Any]]:
    """Shape and kind of every field of ``Work``."""
    sets = plan.sets
    threads = sets * (len(plan.bounds) - 1)
    whole, real = np.int64, np.float64
    return {
        "counts": ((COUNTS, threads), whole),
        "state": ((STATE, threads), whole),
        "floats": ((FLOATS + memory, threads), real),
        "begun": ((CARRIED, threads), whole),
        "begun_floats": ((FLOATS + memory, threads), real),
        "ended": ((CARRIED, threads), whole),
        "ended_floats": ((FLOATS + memory, threads), real),
        "marks2": ((buckets, sets), whole),
        "again": ((threads,), whole),
        "failed": ((threads,), whole),
        "wrong": ((1,), whole),
        "orders": ((SLOTS, ORDER_COLUMNS), whole),
    }


def bytes_of(plan: Plan, buckets: int, memory: int) -> int:
    """What ``Work`` takes."""
    return 8 * sum(math.prod(shape) for shape, _ in shapes(plan, buckets, memory).values())
