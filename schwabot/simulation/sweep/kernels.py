"""The simulator's kernels as a sweep calls them: one that jumps where the policy is quiet, one for every policy."""

from __future__ import annotations

import threading
import time
from typing import Any

import numpy as np

from schwabot.errors import PolicyError
from schwabot.records.market import Float64, Int64
from schwabot.signals.compiling import CompiledPolicy
from schwabot.simulation.recorder import MarketRecorder
from schwabot.simulation.rules import make_rules
from schwabot.simulation.sweep.shards import cut_market
from schwabot_kernels.simulate.records import COUNTS, MOMENTS, Market, Rules


class SweepKernel:
    """Runs parameter sets of one policy, and keeps the time.

    Args:
        policy: compiled. One that says where it is quiet is swept with skipping, on one leg.
        legs: number of traded streams.
    """

    def __init__(self, policy: CompiledPolicy, legs: int) -> None:
        self.skips = policy.quiet is not None and policy.skip_signal is not None and legs == 1
        self._memory, self._source = policy.memory, policy.source
        self._signal = policy.signals.index(policy.skip_signal) if policy.skip_signal in policy.signals else 0
        self._lock = threading.Lock()
        self.busy_s = 0.0
        self._sweep: Any
        if self.skips:
            from schwabot_kernels.simulate.skipping import make_skipping

            self._sweep = make_skipping(policy.policy, policy.quiet, policy.event_of, policy.params_of, policy.key)
        else:
            from schwabot_kernels.simulate.cpu import make_sweep

            self._sweep = make_sweep(policy.policy, policy.event_of, policy.params_of, policy.key)

    def warm_up(self, recorder: MarketRecorder) -> None:
        """Get everything compiled that a sweep of this recorder's market calls, or read from disk; plays no row of it.

        To be called before the market is read, so that neither reading nor sweeping counts the time this takes.
        """
        recorder.warm_up()
        rules = make_rules(recorder.config, recorder.builder)
        legs = len(recorder.builder.instruments)
        nothing = self.prepare(cut_market(recorder.builder.market, 0, 0), rules.bucket_ns)
        params = recorder.policy.row()[None, :]
        self(nothing, rules, params, 0, 1, np.zeros((1, legs, COUNTS), np.int64), np.zeros((1, legs, MOMENTS)))
        self.take_busy_s()

    def prepare(self, market: Market, bucket_ns: int) -> Any:
        """A fold as the kernel reads it; made once, and kept."""
        if not self.skips:
            return market
        from schwabot_kernels.simulate.skipping import build

        return build(market, 0, self._signal, bucket_ns)

    def __call__(
        self, fold: Any, rules: Rules, params: Float64, first: int, last: int, counts: Int64, moments: Float64
    ) -> None:
        """Run sets ``first`` to ``last`` - 1."""
        self._timed(fold, rules, params, first, last, counts, moments, skip=True)

    def unskipped(
        self, fold: Any, rules: Rules, params: Float64, first: int, last: int, counts: Int64, moments: Float64
    ) -> None:
        """The same through every row: what the rate of a skipping sweep has to stand beside."""
        self._timed(fold, rules, params, first, last, counts, moments, skip=False)

    def take_busy_s(self) -> float:
        """Time spent in the kernel since the last call, over all threads."""
        with self._lock:
            busy_s, self.busy_s = self.busy_s, 0.0
        return busy_s

    def _timed(
        self, fold: Any, rules: Rules, params: Float64, first: int, last: int, counts: Any, moments: Any, *, skip: bool
    ) -> None:
        started_s = time.perf_counter()
        if self.skips:
            try:
                self._sweep(fold, rules, params, first, last, counts, moments, skip, self._memory)
            except ValueError as error:
                raise PolicyError(f"{self._source}: {error}; leave signal= and quiet= out") from error
        else:
            self._sweep(fold, rules, params, first, last, counts, moments, self._memory)
        spent_s = time.perf_counter() - started_s
        with self._lock:
            self.busy_s += spent_s
