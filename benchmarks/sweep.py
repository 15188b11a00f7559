"""How fast is a sweep of a threshold policy over a recorded market, and what does skipping quiet blocks save?

The policy ``threshold`` on one stream of the default synthetic market: sets differ in thresholds, largest position,
entry latency (1 to 50 ms) and fee. A rate is sets x rows over CPU time in one process, block summaries and all
else that a sweep needs included, compilation not; it says little without the trades per set beside it. Skipping must
give the integers and the bits of walking through every row and of the general simulator, on every tenth set. Two cores:
two threads with half the sets each, wall time. Best of the repeats, in turn, as other work on the machine only slows.
"""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np

from benchmarks.measure import Finding, RedError
from benchmarks.sweep_market import costs, recorded, thresholds
from schwabot.signals.builtin.threshold import threshold
from schwabot.signals.compiling import compile_policy
from schwabot_kernels.simulate.cpu import make_sweep
from schwabot_kernels.simulate.records import COUNTS, FILLS, MOMENTS, Market, Rules
from schwabot_kernels.simulate.skipping import Lean, build, make_skipping

TARGETS = {"skipping": 1.2e9, "skipping, two cores": 2.2e9, "every row": 300e6, "every row, one set": 250e6}
TRADES, ROW_BYTES, SET_BYTES, TARGET_GIB = 1_000, 100, 1024, 4.0
"""Targets: median per set, at least; at most."""
STATE_BYTES = 8 * (11 + 3 + 4)
"""What a set carries from tile to tile, and its costs."""


class Sweeps:
    """The three sweeps of the policy, compiled."""

    def __init__(self) -> None:
        made = compile_policy(threshold)
        self.skipping = make_skipping(made.policy, made.quiet, made.event_of, made.params_of, made.key)
        self.general = make_sweep(made.policy, made.event_of, made.params_of, made.key)

    def lean(
        self, market: Market, rules: Rules, params: Any, sets: tuple[int, int], skip: bool, lean: Any = None
    ) -> Any:
        """Counts and moments of sets first to last - 1; ``lean`` if it is built already."""
        out = np.zeros((len(params), 1, COUNTS), np.int64), np.zeros((len(params), 1, MOMENTS))
        summed = build(market, 0, 0, rules.bucket_ns) if lean is None else lean
        self.skipping(summed, rules, params, *sets, *out, skip, 0)
        return out

    def everything(self, market: Market, rules: Rules, params: Any, sets: tuple[int, int]) -> Any:
        out = np.zeros((len(params), 1, COUNTS), np.int64), np.zeros((len(params), 1, MOMENTS))
        self.general(market, rules, params, *sets, *out, 0)
        return out

    def on_threads(self, market: Market, rules: Rules, params: Any, threads: int) -> None:
        lean = build(market, 0, 0, rules.bucket_ns)
        bounds = [len(params) * k // threads for k in range(threads + 1)]
        parts = [
            threading.Thread(target=self.lean, args=(market, rules, params, (first, last), True, lean))
            for first, last in pairwise(bounds)
        ]
        for part in parts:
            part.start()
        for part in parts:
            part.join()


def every_tenth(rules: Rules, params: Any) -> tuple[Rules, Any]:
    few = {name: getattr(rules, name)[::10].copy() for name in ("entry_ns", "response_ns", "taker_e7", "maker_e7")}
    return rules._replace(**few), params[::10].copy()


def must_agree(one: Any, other: Any, names: str) -> None:
    if not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True)):
        raise RedError(f"{names} disagree")


def bytes_of(market: Market, lean: Lean) -> int:
    """Of the market and of all that was built of it."""
    own = sum(array.nbytes for array in market)
    blocks = sum(array.nbytes for level in (lean.small, lean.large) for array in level[1:])
    return own + lean.mark.nbytes + lean.last.nbytes + lean.ends.nbytes + blocks


def best(contenders: dict[str, Callable[[], object]], repeats: int) -> dict[str, tuple[float, float]]:
    """Least (CPU time of the process, wall time) of each over interleaved repeats, s."""
    took: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, work in contenders.items():
            cpu, wall = time.process_time(), time.perf_counter()
            work()
            took[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    return {name: (min(cpu for cpu, _ in runs), min(wall for _, wall in runs)) for name, runs in took.items()}


def run(*, quick: bool) -> Finding:
    rows, sets, repeats = (100_000, 100, 2) if quick else (1_000_000, 1_000, 5)
    market, rules, params = recorded(rows), costs(sets), thresholds(sets)
    few_rules, few_params = every_tenth(rules, params)
    few, sweeps = len(few_params), Sweeps()
    cut: Any = [array[..., : rows // 10].copy() for array in market]
    small = Market(*cut)
    small.next_row[small.next_row >= rows // 10] = -1
    whole = sweeps.lean(market, rules, params, (0, sets), True)
    walked = sweeps.lean(market, few_rules, few_params, (0, few), False)
    must_agree([one[::10] for one in whole], walked, "skipping and walking")
    jumped = sweeps.lean(small, few_rules, few_params, (0, few), True)
    must_agree(jumped, sweeps.everything(small, few_rules, few_params, (0, few)), "skipping and the general simulator")

    middle = int(np.argsort(walked[0][:, 0, FILLS])[few // 2])
    one_set = (middle, middle + 1)
    general_sets = max(1, few // 10)
    lean = build(market, 0, 0, rules.bucket_ns)
    work: dict[str, tuple[int, int, Callable[[], object]]] = {
        "skipping": (sets, 1, lambda: sweeps.lean(market, rules, params, (0, sets), True)),
        "skipping, two cores": (sets, 2, lambda: sweeps.on_threads(market, rules, params, 2)),
        "every row": (few, 1, lambda: sweeps.lean(market, few_rules, few_params, (0, few), False)),
        "every row, one set": (1, 1, lambda: sweeps.lean(market, few_rules, few_params, one_set, False, lean)),
        "general simulator": (
            general_sets,
            1,
            lambda: sweeps.everything(market, few_rules, few_params, (0, general_sets)),
        ),
    }
    took = best({name: one[2] for name, one in work.items()}, repeats)
    trades = {sets: whole[0][:, 0, FILLS], few: walked[0][:, 0, FILLS]}
    trades |= {1: walked[0][middle : middle + 1, 0, FILLS], general_sets: walked[0][:general_sets, 0, FILLS]}
    table, targets = [], []
    for name, (count, cores, _) in work.items():
        cpu_s, wall_s = took[name]
        rate = count * rows / (wall_s if cores > 1 else cpu_s)
        table.append(
            {
                "what": name,
                "sets": f"{count:,}",
                "rows": f"{rows:,}",
                "trades per set, median": f"{np.median(trades[count]):,.0f}",
                "CPU s": f"{cpu_s:.3f}",
                "wall s": f"{wall_s:.3f}",
                "M parameter rows/s": f"{rate / 1e6:,.0f}",
                "per CPU s": f"{count * rows / cpu_s / 1e6:,.0f}",
            }
        )
        if name in TARGETS:
            met = None if quick else rate >= TARGETS[name]
            targets.append((name, f"{rate / 1e6:,.0f} M/s", f"at least {TARGETS[name] / 1e6:,.0f} M/s", met))
    median, per_row = float(np.median(trades[sets])), bytes_of(market, lean) / rows
    per_set = 8 * (COUNTS + MOMENTS + params.shape[1]) + STATE_BYTES
    targets += [
        ("trades per set, median", f"{median:,.0f}", f"at least {TRADES:,}", None if quick else median >= TRADES),
        ("memory per row", f"{per_row:.1f} bytes", f"at most {ROW_BYTES}", None if quick else per_row <= ROW_BYTES),
        ("memory per set", f"{per_set} bytes", f"at most {SET_BYTES}", per_set <= SET_BYTES),
    ]
    if not quick:
        targets.append(_large(sweeps, rules, params))
    load = f"Load average {os.getloadavg()[0]:.1f} at the end; CPU time leaves out waiting, not what neighbours cost."
    return Finding(table, targets, [load])


def _large(sweeps: Sweeps, rules: Rules, params: Any) -> tuple[str, str, str, bool | None]:
    rows = 10_000_000
    market = recorded(rows)
    cpu = time.process_time()
    sweeps.lean(market, rules, params, (0, len(params)), True)
    cpu = time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    measured = f"{peak:.2f} GiB at most, all of the process; {len(params) * rows / cpu / 1e6:,.0f} M/s"
    return f"{rows:,} rows, {len(params):,} sets", measured, f"at most {TARGET_GIB:g} GiB", peak <= TARGET_GIB
